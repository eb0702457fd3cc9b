//! An answer whose parts are looked at without being copied: records stay as the vendor wrote them, digit for digit.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::connector::Pointer;

/// As many members as most records have.
const MANY: usize = 16;

/// A document of which the outermost level is read once, and what is deeper when it is asked for.
#[derive(Debug)]
pub(super) struct Document<'d> {
    text: &'d str,
    top: Level<'d>,
}

#[derive(Debug)]
enum Level<'d> {
    List(Vec<&'d RawValue>),
    Object(Vec<(Cow<'d, str>, &'d RawValue)>),
    Scalar,
}

impl<'d> Document<'d> {
    /// # Errors
    /// Where it is no JSON.
    pub(super) fn parse(text: &'d str) -> serde_json::Result<Self> {
        Ok(Self { text, top: serde_json::from_str(text)? })
    }

    /// # Errors
    /// Where it is no JSON in UTF-8.
    pub(super) fn from_bytes(bytes: &'d [u8]) -> serde_json::Result<Self> {
        Self::parse(std::str::from_utf8(bytes).map_err(serde_json::Error::custom)?)
    }

    /// Every value at a place, in which a part `*` stands for all items of a list or members of an object. Nulls are left
    /// out.
    pub(super) fn all(&self, at: &Pointer) -> Vec<&'d RawValue> {
        let tokens: Vec<Cow<'_, str>> = at.parts().collect();
        let mut found = Vec::new();
        if tokens.is_empty() {
            found.extend(serde_json::from_str::<&RawValue>(self.text).ok());
        }
        self.top.collect(&tokens, &mut found);
        found
    }

    /// The value at a place; absent where it is null.
    pub(super) fn find(&self, at: &Pointer) -> Option<Value> {
        serde_json::from_str(self.all(at).first()?.get()).ok()
    }

    /// The value at a place as text, as [`Pointer::text`] gives it.
    pub(super) fn text(&self, at: &Pointer) -> Option<String> {
        Pointer::default().text(&self.find(at)?)
    }

    /// Whether a place holds one of these values; `*` stands for any.
    pub(super) fn holds(&self, at: &Pointer, values: &[Value]) -> bool {
        self.find(at).is_some_and(|found| values.iter().any(|value| value == "*" || *value == found))
    }

    /// Whether it is an object without a member of this name.
    pub(super) fn lacks(&self, name: &str) -> bool {
        matches!(&self.top, Level::Object(members) if members.iter().all(|(known, _)| known != name))
    }

    /// The records at these places, each a list of them or one; where no place is named, the document itself or the one
    /// list at its top. A place that is not there holds none.
    pub(super) fn records(&self, places: &[Pointer]) -> Vec<&'d RawValue> {
        if places.is_empty() {
            return self.top.usual();
        }
        let mut records = Vec::new();
        for at in places {
            if at.parts().next().is_none()
                && let Level::List(items) = &self.top
            {
                records.extend(items);
                continue;
            }
            for value in self.all(at) {
                match level(value) {
                    Some(Level::List(items)) => records.extend(items),
                    _ => records.push(value),
                }
            }
        }
        records.retain(|record| record.get() != "null");
        records
    }
}

fn level(value: &RawValue) -> Option<Level<'_>> {
    serde_json::from_str(value.get()).ok()
}

impl<'d> Level<'d> {
    fn collect(&self, tokens: &[Cow<'_, str>], found: &mut Vec<&'d RawValue>) {
        let Some((token, rest)) = tokens.split_first() else { return };
        let mut each = |value: &'d RawValue| match rest {
            [] if value.get() != "null" => found.push(value),
            [] => {}
            rest => {
                if let Some(inner) = level(value) {
                    inner.collect(rest, found);
                }
            }
        };
        match self {
            Self::List(items) if token == "*" => items.iter().for_each(|item| each(item)),
            Self::List(items) => {
                if let Some(item) = token.parse::<usize>().ok().and_then(|index| items.get(index)) {
                    each(item);
                }
            }
            Self::Object(members) if token == "*" => members.iter().for_each(|(_, value)| each(value)),
            Self::Object(members) => {
                // Of a name that comes twice the last counts, as everywhere.
                if let Some((_, value)) = members.iter().rfind(|(name, _)| name == token) {
                    each(value);
                }
            }
            Self::Scalar => {}
        }
    }

    fn usual(&self) -> Vec<&'d RawValue> {
        match self {
            Self::List(items) => items.clone(),
            Self::Object(members) => {
                let mut lists = members.iter().filter(|(_, value)| value.get().starts_with('['));
                match (lists.next(), lists.next()) {
                    (Some((_, list)), None) => match level(list) {
                        Some(Self::List(items)) => items,
                        _ => Vec::new(),
                    },
                    _ => Vec::new(),
                }
            }
            Self::Scalar => Vec::new(),
        }
    }
}

impl<'de> Deserialize<'de> for Level<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Outermost;

        impl<'de> Visitor<'de> for Outermost {
            type Value = Level<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::with_capacity(MANY);
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Level::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
                let mut object = Vec::with_capacity(MANY);
                while let Some((Name(name), value)) = members.next_entry()? {
                    object.push((name, value));
                }
                Ok(Level::Object(object))
            }

            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(Level::Scalar)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Level::Scalar)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Level::Scalar)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Level::Scalar)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Level::Scalar)
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Level::Scalar)
            }
        }

        deserializer.deserialize_any(Outermost)
    }
}

/// A member's name, borrowed unless it holds an escape.
#[derive(Deserialize)]
struct Name<'d>(#[serde(borrow)] Cow<'d, str>);

/// JSON without the space between its parts; strings keep theirs.
pub(super) fn minified(json: &str) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    let mut kept = String::new();
    // Where what is not in `kept` begins, and how far was looked.
    let (mut from, mut at) = (0, 0);
    while let Some(found) = bytes[at..].iter().position(|byte| *byte == b'"' || byte.is_ascii_whitespace()) {
        at += found;
        if bytes[at] == b'"' {
            at = string_end(bytes, at);
            continue;
        }
        kept.push_str(&json[from..at]);
        at += 1;
        from = at;
    }
    if from == 0 {
        return Cow::Borrowed(json);
    }
    kept.push_str(&json[from..]);
    Cow::Owned(kept)
}

/// The place behind a string that begins here.
fn string_end(bytes: &[u8], begin: usize) -> usize {
    let mut at = begin + 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        at += found;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn records(document: &Value, places: &[&str]) -> Vec<String> {
        let text = document.to_string();
        let places: Vec<Pointer> = places.iter().map(|at| Pointer::parse(at).unwrap()).collect();
        let document = Document::parse(&text).unwrap();
        document.records(&places).iter().map(|record| record.get().to_owned()).collect()
    }

    #[test]
    fn records_are_found_where_they_are_said_to_be() {
        assert_eq!(records(&json!([1, 2]), &[]), ["1", "2"]);
        assert_eq!(records(&json!([1, null, 2]), &[""]), ["1", "2"]);
        assert_eq!(records(&json!({"ok": true, "items": [1]}), &[]), ["1"]);
        assert!(records(&json!({"a": [1], "b": [2]}), &[]).is_empty());
        let nested =
            json!({"r": [{"q": {"Customer": [{"n": 1}], "Invoice": [{"n": 2}]}}, {"q": {"Customer": {"n": 3}}}]});
        assert_eq!(records(&nested, &["/r/*/q/Customer"]), [r#"{"n":1}"#, r#"{"n":3}"#]);
        assert_eq!(records(&nested, &["/r/*/q/*"]).len(), 3);
        assert!(records(&nested, &["/none/*"]).is_empty());
        assert_eq!(records(&json!({"id": 7}), &[""]), [r#"{"id":7}"#]);
    }

    #[test]
    fn digits_stay_as_they_came() {
        let text = r#"{"items": [{"price": 1.10, "id": 12345678901234567890123}]}"#;
        let document = Document::parse(text).unwrap();
        let records = document.records(&[Pointer::parse("/items").unwrap()]);
        assert_eq!(minified(records[0].get()), r#"{"price":1.10,"id":12345678901234567890123}"#);
    }

    proptest! {
        #[test]
        fn nothing_but_space_is_lost(text in "[ \\n\"\\\\a-c{}:,é]{0,40}") {
            let value = json!({ "text": text, "list": [text, 1, { text.clone(): null }] });
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let minified = minified(&pretty);
            prop_assert_eq!(minified.as_ref(), value.to_string());
        }

        #[test]
        fn no_answer_panics(text in ".{0,60}") {
            if let Ok(document) = Document::parse(&text) {
                let _ = document.records(&[Pointer::parse("/a/*/b").unwrap()]);
            }
        }
    }
}
