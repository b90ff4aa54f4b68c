//! What AWS Lambda puts into the environment of a function. The runtime's own client panics where
//! something is missing, so it is looked at first.

use http::Uri;

use crate::error::{Error, Result};

/// Where the runtime API is; set on Lambda and nowhere else.
const RUNTIME_API: &str = "AWS_LAMBDA_RUNTIME_API";
/// What is there as text.
const NAMES: [&str; 2] = ["AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION"];
/// What is there as a number.
const MEMORY_SIZE: &str = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE";

/// Whether the process is a Lambda function.
pub fn is_lambda() -> bool {
    std::env::var_os(RUNTIME_API).is_some()
}

/// Makes sure that all is there.
///
/// # Errors
/// Bad input that names the first variable that is missing or wrong.
pub fn check(get: impl Fn(&str) -> Option<String>) -> Result<()> {
    let need = |name| get(name).ok_or_else(|| wrong(name, "is not set"));
    need(RUNTIME_API)?.parse::<Uri>().map_err(|_| wrong(RUNTIME_API, "must be like 127.0.0.1:9001"))?;
    for name in NAMES {
        need(name)?;
    }
    need(MEMORY_SIZE)?.parse::<i32>().map(drop).map_err(|_| wrong(MEMORY_SIZE, "must be a number of megabytes"))
}

fn wrong(name: &str, what: &str) -> Error {
    Error::bad_input(format!("{name} {what}; AWS Lambda sets it, and outside of Lambda {RUNTIME_API} must not be set"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(changed: &str, to: Option<&str>) -> Result<()> {
        check(|name| match name {
            _ if name == changed => to.map(str::to_owned),
            RUNTIME_API => Some("127.0.0.1:9001".to_owned()),
            MEMORY_SIZE => Some("256".to_owned()),
            _ => Some("x".to_owned()),
        })
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        assert!(vars("", None).is_ok());
        for (name, value) in [
            (RUNTIME_API, None),
            (RUNTIME_API, Some("127.0.0.1:9001/x")),
            (NAMES[0], None),
            (NAMES[1], None),
            (MEMORY_SIZE, None),
            (MEMORY_SIZE, Some("much")),
        ] {
            assert!(vars(name, value).unwrap_err().detail().starts_with(name), "{name}");
        }
    }
}
