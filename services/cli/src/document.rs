//! An answer of the API twice: as it came, for programs, and as we understand it, for people. So
//! `--json` shows fields that are newer than this program, in the order in which they were sent.

use std::ops::Deref;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A part of an answer.
#[derive(Debug)]
pub struct Document<T> {
    json: Box<RawValue>,
    body: T,
}

impl<T> Deref for Document<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.body
    }
}

impl<T> Document<T> {
    /// As it came.
    pub fn json(&self) -> &str {
        self.json.get()
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Document<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        let body = serde_json::from_str(json.get()).map_err(D::Error::custom)?;
        Ok(Self { json, body })
    }
}

impl<T> Serialize for Document<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_out_as_it_went_in() {
        let json = r#"[{"status":"ok","newer":[1, 2]}]"#;
        let read: Vec<Document<shared::contract::task::Health>> = serde_json::from_str(json).unwrap();
        assert_eq!(read[0].status, "ok");
        assert_eq!(serde_json::to_string(&read).unwrap(), json);
    }
}
