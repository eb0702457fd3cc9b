//! The canonical form of a JSON text, by which two requests are compared.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{Json, JsonError, JsonType};

/// Why a text has no canonical form.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CanonicalError {
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Parsers differ in which of the members counts.
    #[error("the member {name:?} appears twice")]
    DuplicateMember { name: String },
}

/// Returns a JSON text without space between its parts, with the members of objects sorted by name. Numbers stay as they
/// are written: `1`, `1.0` and `1e0` differ, and no digit is lost.
///
/// ```
/// # use integ::json::canonical;
/// assert_eq!(canonical(r#"{"b": 1.0, "a": [true, "x"]}"#).unwrap(), r#"{"a":[true,"x"],"b":1.0}"#);
/// ```
///
/// # Errors
/// A text that is not JSON; [`CanonicalError::DuplicateMember`].
pub fn canonical(text: &str) -> Result<String, CanonicalError> {
    let mut written = String::with_capacity(text.len());
    write(Json::validate(text)?, &mut written)?;
    Ok(written)
}

/// Writes a value. Its depth is bounded by [`super::MAX_DEPTH`].
fn write(value: Json<'_>, written: &mut String) -> Result<(), CanonicalError> {
    match value.kind() {
        JsonType::Null | JsonType::Bool | JsonType::Number => written.push_str(value.as_str()),
        JsonType::String => written.push_str(&string(value)),
        JsonType::Array => {
            written.push('[');
            for (index, item) in value.items().enumerate() {
                if index > 0 {
                    written.push(',');
                }
                write(item, written)?;
            }
            written.push(']');
        }
        JsonType::Object => {
            let mut members = BTreeMap::new();
            for (name, member) in value.written_members() {
                let decoded = name.string().unwrap_or_default().into_owned();
                if members.insert(decoded.clone(), (name, member)).is_some() {
                    return Err(CanonicalError::DuplicateMember { name: decoded });
                }
            }
            written.push('{');
            for (index, (name, member)) in members.into_values().enumerate() {
                if index > 0 {
                    written.push(',');
                }
                written.push_str(&string(name));
                written.push(':');
                write(member, written)?;
            }
            written.push('}');
        }
    }
    Ok(())
}

/// Writes a string with the fewest escapes. Half of a surrogate pair, which no text can hold, stays as it is written.
fn string(value: Json<'_>) -> String {
    let text = value.string().unwrap_or_default();
    if text.contains('\u{fffd}') {
        return value.as_str().to_owned();
    }
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_sorted_at_every_level_and_items_are_not() {
        let text = r#" { "b" : [ 3, 1, { "z": null, "y": {} } ], "a": "x" } "#;
        assert_eq!(canonical(text).unwrap(), r#"{"a":"x","b":[3,1,{"y":{},"z":null}]}"#);
        assert_eq!(canonical("[]").unwrap(), "[]");
    }

    #[test]
    fn numbers_stay_as_they_are_written() {
        let text = "[1,1.0,1e0,-0,0.10,123456789012345678901234567890,1E400]";
        assert_eq!(canonical(text).unwrap(), text);
    }

    #[test]
    fn strings_are_compared_by_what_they_say() {
        assert_eq!(canonical(r#"{"\u0061": "\u00e9\/"}"#).unwrap(), canonical(r#"{"a":"é/"}"#).unwrap());
        assert_ne!(canonical(r#""\ud83d""#).unwrap(), canonical(r#""\ud83e""#).unwrap());
        assert_ne!(canonical(r#""1""#).unwrap(), canonical("1").unwrap());
    }

    #[test]
    fn a_repeated_member_is_refused_however_it_is_written() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, r#"[{"b":{"c":1,"c":2}}]"#] {
            assert!(matches!(canonical(text), Err(CanonicalError::DuplicateMember { .. })), "{text}");
        }
        assert!(matches!(canonical("{"), Err(CanonicalError::Json(_))));
    }
}
