//! A program as a Lambda function.

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::runtime_api::{Outcome, RuntimeApi};
use crate::process::{Launch, Process};
use crate::stack::TOKEN;

/// What Lambda puts into a function's environment, but for the runtime API, and what every service needs.
pub const ENVIRONMENT: [(&str, &str); 4] = [
    ("AWS_LAMBDA_FUNCTION_NAME", "test"),
    ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
    ("MUSTER_API_TOKEN", TOKEN),
];

/// How a function is started, with its log in `folder`.
pub fn launch(folder: &TempDir, name: &'static str, vars: &[(&'static str, &str)]) -> Launch {
    let env = vars.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Launch { name, arguments: Vec::new(), env, log: folder.path().join("log") }
}

/// A function, warm or about to be.
pub struct Function {
    api: RuntimeApi,
    process: Process,
    _folder: TempDir,
}

impl Function {
    pub async fn start(name: &'static str, vars: &[(&'static str, &str)]) -> Self {
        let (api, folder) = (RuntimeApi::start().await, tempfile::tempdir().unwrap());
        let address = api.address();
        let all = [&ENVIRONMENT, vars, &[("AWS_LAMBDA_RUNTIME_API", address.as_str())]].concat();
        Self { process: launch(&folder, name, &all).start(), api, _folder: folder }
    }

    pub async fn invoke(&self, event: Value) -> Outcome {
        self.api.invoke(event).await
    }

    /// Hands in a request and returns the answer's status and body.
    pub async fn ask(&self, request: Value) -> (u64, Value) {
        let answer = self.invoke(request).await.unwrap();
        let body = answer["body"].as_str().map_or(Value::Null, |body| serde_json::from_str(body).unwrap());
        (answer["statusCode"].as_u64().unwrap(), body)
    }

    /// Stops the process where it stands, as Lambda does between two events.
    pub fn freeze(&self) {
        self.process.signal(Signal::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.process.signal(Signal::SIGCONT);
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: {}", self.process.launch.name, self.process.launch.said());
        }
    }
}
