//! Names that people choose, parsed at the door and never checked again.
//!
//! A hostname becomes a queue name and a routing key, so its alphabet is closed. The other texts
//! are shown on terminals and pages, so they hold no control characters.

use std::fmt;

use crate::error::{Error, Result};
use crate::rules::limits::{GROUP_CHARS_MAX, HOSTNAME_BYTES_MAX, USER_CHARS_MAX};

/// A server's name: RFC 1123 labels, lower-cased, at most 253 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hostname(String);

impl Hostname {
    /// Reads a hostname as a person may write it. `field` is named in the error.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let name = text.to_ascii_lowercase();
        if name.len() <= HOSTNAME_BYTES_MAX && name.split('.').all(is_label) {
            return Ok(Self(name));
        }
        Err(Error::bad_input(format!(
            "`{field}` must be a hostname: letters, digits and hyphens in labels of 1 to 63, joined by dots, at most {HOSTNAME_BYTES_MAX} characters"
        )))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// A group's name: any printable text up to 64 characters, without blanks at its ends.
pub fn group(field: &str, text: &str) -> Result<String> {
    let chars = text.chars().count();
    if (1..=GROUP_CHARS_MAX).contains(&chars) && text.trim() == text && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(Error::bad_input(format!(
        "`{field}` must be printable text of 1 to {GROUP_CHARS_MAX} characters without blanks at its ends"
    )))
}

/// The name of a user account on a server.
pub fn user(field: &str, text: &str) -> Result<String> {
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && c != ':' && c != '/';
    if (1..=USER_CHARS_MAX).contains(&text.chars().count()) && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Err(Error::bad_input(format!(
        "`{field}` must be an account's name of 1 to {USER_CHARS_MAX} characters without blanks, `:` or `/`"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostnames() {
        for good in ["a", "web-1", "WEB-1.Example.org", "10.0.0.1", "a.".repeat(126).trim_end_matches('.')] {
            assert!(Hostname::parse("hostname", good).is_ok(), "{good}");
        }
        let long = "a".repeat(64);
        let too_long = ["a"; 128].join(".");
        for bad in ["", ".", "a b", "a..b", "-a", "a-", "a.", "ünï", "a\0", "a\n", "*", "#", &long, &too_long] {
            assert!(Hostname::parse("hostname", bad).is_err(), "{bad:?}");
        }
        assert_eq!(Hostname::parse("hostname", "Web-1").unwrap().as_str(), "web-1");
    }

    #[test]
    fn groups_and_users() {
        assert!(group("group", "前端 web").is_ok());
        for bad in ["", " web", "web\u{7}", "a\0b", &"x".repeat(65)] {
            assert!(group("group", bad).is_err(), "{bad:?}");
        }
        assert!(user("user", "deploy").is_ok());
        for bad in ["", "a b", "a:b", "../x", "a\0"] {
            assert!(user("user", bad).is_err(), "{bad:?}");
        }
    }
}
