//! Reads the API's JSON.

use serde_json::Value;

/// The fields of an object, where what is missing is empty.
pub(super) trait Fields {
    /// Returns a text; empty if there is none.
    fn text(&self, name: &str) -> &str;

    /// Returns a text that is there and is not empty.
    fn maybe(&self, name: &str) -> Option<&str>;

    /// Returns a number; 0 if there is none.
    fn number(&self, name: &str) -> i64;

    /// Returns the items of a list.
    fn items(&self, name: &str) -> &[Value];

    /// Returns the texts of a list.
    fn texts(&self, name: &str) -> Vec<&str>;

    /// Whether a value is true.
    fn is(&self, name: &str) -> bool;
}

impl Fields for Value {
    fn text(&self, name: &str) -> &str {
        self[name].as_str().unwrap_or_default()
    }

    fn maybe(&self, name: &str) -> Option<&str> {
        self[name].as_str().filter(|text| !text.is_empty())
    }

    fn number(&self, name: &str) -> i64 {
        self[name].as_i64().unwrap_or_default()
    }

    fn items(&self, name: &str) -> &[Value] {
        self[name].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    fn texts(&self, name: &str) -> Vec<&str> {
        self.items(name).iter().filter_map(Value::as_str).collect()
    }

    fn is(&self, name: &str) -> bool {
        self[name].as_bool().unwrap_or_default()
    }
}

/// Replaces the characters of all texts that would hide or reorder what a person reads.
pub(super) fn clean(value: &mut Value) {
    match value {
        Value::String(text) => {
            if text.chars().any(is_deceptive) {
                *text = text.chars().map(|c| if is_deceptive(c) { '\u{FFFD}' } else { c }).collect();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Object(members) => members.values_mut().for_each(clean),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Control characters, and those that change the direction of text (as `crate::http::html::escape` replaces).
fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
        || (c.is_control() && !matches!(c, '\n' | '\t' | '\r'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_cleaned_at_every_depth() {
        let mut value = json!({ "a": ["x\u{202e}y", { "b": "\u{1b}[1m" }], "c": "fine\n<b>" });
        clean(&mut value);
        assert_eq!(value, json!({ "a": ["x\u{FFFD}y", { "b": "\u{FFFD}[1m" }], "c": "fine\n<b>" }));
    }

    #[test]
    fn what_is_missing_is_empty() {
        let value = json!({ "a": "", "n": 3, "l": ["x", 1] });
        assert_eq!((value.text("b"), value.maybe("a"), value.number("n")), ("", None, 3));
        assert_eq!((value.texts("l"), value.items("a").len(), value.is("n")), (vec!["x"], 0, false));
    }
}
