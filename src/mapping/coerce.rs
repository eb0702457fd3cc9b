//! The types of fields. A value of another type becomes one if nothing is lost by it, and is an error otherwise.

use std::borrow::Cow;

use crate::clock::Timestamp;
use crate::converter::{quoted, shown};
use crate::json::{Json, JsonType};
use crate::model::words;

/// The type of a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldType {
    /// Any JSON value.
    #[default]
    Any,
    /// A text; numbers and truth values become texts.
    Text,
    /// A whole number; a text that is one becomes it.
    Integer,
    /// A number; a text that is one becomes it.
    Number,
    /// A truth value; the texts `true` and `false` become it.
    Boolean,
    /// A time as RFC 3339 in UTC; every offset becomes UTC.
    Time,
    /// A date such as 2026-11-29.
    Date,
    List,
    Object,
}

words!(FieldType {
    Any => "any",
    Text => "text",
    Integer => "integer",
    Number => "number",
    Boolean => "boolean",
    Time => "time",
    Date => "date",
    List => "list",
    Object => "object",
});

/// A value as one of a type. `value` is not null.
pub(super) fn coerce<'v>(kind: FieldType, value: Cow<'v, str>) -> Result<Cow<'v, str>, String> {
    let json = Json::from_validated(&value);
    let wrong = || format!("{} is not {}", shown(json), with_article(kind));
    match (kind, json.kind()) {
        (FieldType::Any, _)
        | (FieldType::Text, JsonType::String)
        | (FieldType::Number, JsonType::Number)
        | (FieldType::Boolean, JsonType::Bool)
        | (FieldType::List, JsonType::Array)
        | (FieldType::Object, JsonType::Object) => Ok(value),
        (FieldType::Text, JsonType::Number | JsonType::Bool) => Ok(Cow::Owned(quoted(json.as_str()))),
        (FieldType::Integer, JsonType::Number) => integer(json.as_str()).map(Cow::Owned).ok_or_else(wrong),
        (FieldType::Integer, JsonType::String) => {
            integer(&json.string().unwrap_or_default()).map(Cow::Owned).ok_or_else(wrong)
        }
        (FieldType::Number, JsonType::String) => {
            let text = json.string().unwrap_or_default();
            let is_number = Json::validate(&text).is_ok_and(|number| number.kind() == JsonType::Number);
            if is_number { Ok(Cow::Owned(text.trim().to_owned())) } else { Err(wrong()) }
        }
        (FieldType::Boolean, JsonType::String) => match json.string().as_deref() {
            Some(text @ ("true" | "false")) => Ok(Cow::Owned(text.to_owned())),
            _ => Err(wrong()),
        },
        (FieldType::Time, JsonType::String) => {
            let time: Option<Timestamp> = json.string().and_then(|text| text.parse().ok());
            time.map(|time| Cow::Owned(quoted(&time.to_string()))).ok_or_else(wrong)
        }
        (FieldType::Date, JsonType::String) => {
            let text = json.string().unwrap_or_default();
            let is_date = text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok();
            if is_date { Ok(value) } else { Err(wrong()) }
        }
        _ => Err(wrong()),
    }
}

/// A whole number without a sign of being anything else: `7.0` and `7e2` are written so.
fn integer(text: &str) -> Option<String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let is_canonical = digits == "0" || !digits.starts_with('0');
        return is_canonical.then(|| text.to_owned());
    }
    let whole = text.strip_suffix(".0")?;
    integer(whole)
}

fn with_article(kind: FieldType) -> String {
    let article = if matches!(kind, FieldType::Integer | FieldType::Object) { "an" } else { "a" };
    format!("{article} {kind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_becomes_another_type_only_without_loss() {
        for (kind, value, result) in [
            ("text", "7", Some("\"7\"")),
            ("text", "true", Some("\"true\"")),
            ("text", "\"a\"", Some("\"a\"")),
            ("text", "{}", None),
            ("integer", "\"42\"", Some("42")),
            ("integer", "12345678901234567890123", Some("12345678901234567890123")),
            ("integer", "7.0", Some("7")),
            ("integer", "7.5", None),
            ("integer", "\"007\"", None),
            ("integer", "\"\"", None),
            ("number", "\"1.10\"", Some("1.10")),
            ("number", "1e400", Some("1e400")),
            ("number", "\"1,5\"", None),
            ("number", "true", None),
            ("boolean", "\"true\"", Some("true")),
            ("boolean", "1", None),
            ("time", "\"2026-11-29T10:00:00+01:00\"", Some("\"2026-11-29T09:00:00Z\"")),
            ("time", "\"2026-11-29\"", None),
            ("date", "\"2026-11-29\"", Some("\"2026-11-29\"")),
            ("date", "\"2026-11-31\"", None),
            ("date", "\"2026-11-29T10:00:00Z\"", None),
            ("list", "[]", Some("[]")),
            ("object", "[]", None),
            ("any", "[1]", Some("[1]")),
        ] {
            let coerced = coerce(kind.parse().unwrap(), Cow::Borrowed(value));
            assert_eq!(coerced.ok().as_deref(), result, "{kind} {value}");
        }
    }
}
