//! Times: RFC 3339 in UTC, with three decimals and a `Z`, wherever one is shown.

use serde_json::Value;

/// The form, with `0` for any digit.
const FORM: &str = "0000-00-00T00:00:00.000Z";

/// Checks every time in an answer.
pub fn check(answer: &Value) {
    match answer {
        Value::Array(items) => items.iter().for_each(check),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| field(name, value)),
        _ => (),
    }
}

fn field(name: &str, value: &Value) {
    let is_time = name.ends_with("_at") || ["timestamp", "deadline", "last_heartbeat"].contains(&name);
    if !is_time {
        return check(value);
    }
    if !value.is_null() {
        let text = value.as_str().unwrap_or_else(|| panic!("`{name}` is no text: {value}"));
        let form: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(form, FORM, "`{name}`: {text}");
    }
}
