//! An answer whose parts are looked at without being copied: records stay as the vendor wrote them, digit for digit.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use thiserror::Error;

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

    /// Returns the records at these places, each a list; where no place is named, the document itself or the one list at
    /// its top. Below a part `*`, and for the document itself, what is not a list is one record.
    ///
    /// # Errors
    /// [`NotAList`] for a place that is not there or holds anything else.
    pub(super) fn records(&self, places: &[Pointer]) -> Result<Found<'d>, NotAList> {
        let mut items = Vec::new();
        if places.is_empty() {
            items = self.top.only_list()?;
        }
        for at in places {
            self.collect_records(at, &mut items)?;
        }
        let all = items.len();
        items.retain(|record| record.get() != "null");
        Ok(Found { nulls: all - items.len(), records: items })
    }

    fn collect_records(&self, at: &Pointer, items: &mut Vec<&'d RawValue>) -> Result<(), NotAList> {
        let tokens: Vec<Cow<'_, str>> = at.parts().collect();
        let wrong = |found: &'static str| NotAList { at: Some(at.clone()), found };
        if tokens.is_empty() {
            match &self.top {
                Level::List(found) => items.extend(found),
                Level::Object(_) => items.extend(self.all(at)),
                Level::Scalar => return Err(wrong(scalar_name(self.text))),
            }
            return Ok(());
        }
        let star = tokens.iter().position(|token| token == "*");
        let outer = self.top.value_at(&tokens[..star.unwrap_or(tokens.len())]);
        let value = match outer {
            Some(value) => value,
            // The star is at the top.
            None if star == Some(0) => {
                self.all(&Pointer::default()).first().copied().ok_or_else(|| wrong("nothing"))?
            }
            None => return Err(wrong("nothing")),
        };
        match (level(value), star) {
            (Some(Level::List(found)), None) => items.extend(found),
            (Some(Level::List(_) | Level::Object(_)), Some(_)) => {
                for value in self.all(at) {
                    match level(value) {
                        Some(Level::List(found)) => items.extend(found),
                        _ => items.push(value),
                    }
                }
            }
            (Some(Level::Object(_)), None) => return Err(wrong("an object")),
            _ => return Err(wrong(scalar_name(value.get()))),
        }
        Ok(())
    }

    /// What an answer says of an error at its top: a member `error` or `errors` that is not empty.
    pub(super) fn error_member(&self) -> Option<&'static str> {
        let Level::Object(members) = &self.top else { return None };
        let says = |name: &&str| {
            let value = members.iter().rfind(|(known, _)| known == name).map(|(_, value)| value.get());
            value
                .is_some_and(|value| !matches!(minified(value).as_ref(), "null" | "false" | "0" | "\"\"" | "[]" | "{}"))
        };
        ["error", "errors"].into_iter().find(says)
    }
}

/// The records that an answer holds.
#[derive(Debug)]
pub(super) struct Found<'d> {
    pub(super) records: Vec<&'d RawValue>,
    /// Items of the list that are null.
    pub(super) nulls: usize,
}

/// An answer without a list where one should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{found} {}", at.as_ref().map_or_else(|| "in place of one list".to_owned(), |at| format!("at {at:?}", at = at.to_string())))]
pub struct NotAList {
    /// Where the list should be; absent where no place is named.
    at: Option<Pointer>,
    found: &'static str,
}

impl NotAList {
    /// Whether the place is not there or null, as some services write an empty list.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self.found, "nothing" | "null" | "no list")
    }
}

fn scalar_name(json: &str) -> &'static str {
    match json.trim_start().as_bytes().first() {
        Some(b'n') => "null",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a truth value",
        _ => "a number",
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

    /// The value at a place without stars.
    fn value_at(&self, tokens: &[Cow<'_, str>]) -> Option<&'d RawValue> {
        let (token, rest) = tokens.split_first()?;
        let value = match self {
            Self::List(items) => token.parse::<usize>().ok().and_then(|index| items.get(index)).copied()?,
            // Of a name that comes twice the last counts, as everywhere.
            Self::Object(members) => members.iter().rfind(|(name, _)| name == token).map(|(_, value)| *value)?,
            Self::Scalar => return None,
        };
        if rest.is_empty() { Some(value) } else { level(value)?.value_at(rest) }
    }

    /// The list that the document is, or the one at its top.
    fn only_list(&self) -> Result<Vec<&'d RawValue>, NotAList> {
        let wrong = |found| NotAList { at: None, found };
        let members = match self {
            Self::List(items) => return Ok(items.clone()),
            Self::Object(members) => members,
            Self::Scalar => return Err(wrong("a single value")),
        };
        let mut lists = members.iter().filter(|(_, value)| value.get().starts_with('['));
        match (lists.next(), lists.next()) {
            (Some((_, list)), None) => match level(list) {
                Some(Self::List(items)) => Ok(items),
                _ => Err(wrong("no list")),
            },
            (None, _) => Err(wrong("no list")),
            (Some(_), Some(_)) => Err(wrong("several lists")),
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
        let found = document.records(&places).unwrap_or_else(|error| panic!("{text}: {error}"));
        found.records.iter().map(|record| record.get().to_owned()).collect()
    }

    fn refusal(text: &str, places: &[&str]) -> String {
        let places: Vec<Pointer> = places.iter().map(|at| Pointer::parse(at).unwrap()).collect();
        Document::parse(text).unwrap().records(&places).unwrap_err().to_string()
    }

    #[test]
    fn records_are_found_where_they_are_said_to_be() {
        assert_eq!(records(&json!([1, 2]), &[]), ["1", "2"]);
        assert_eq!(records(&json!([1, null, 2]), &[""]), ["1", "2"]);
        assert_eq!(records(&json!({"ok": true, "items": [1]}), &[]), ["1"]);
        let nested =
            json!({"r": [{"q": {"Customer": [{"n": 1}], "Invoice": [{"n": 2}]}}, {"q": {"Customer": {"n": 3}}}]});
        assert_eq!(records(&nested, &["/r/*/q/Customer"]), [r#"{"n":1}"#, r#"{"n":3}"#]);
        assert_eq!(records(&nested, &["/r/*/q/*"]).len(), 3);
        assert_eq!(records(&json!({"id": 7}), &[""]), [r#"{"id":7}"#]);
        assert!(records(&json!({"items": []}), &["/items"]).is_empty());
        assert!(records(&json!({"history": [{"other": []}]}), &["/history/*/added/*"]).is_empty());
        assert_eq!(records(&json!({"a": {"n": 1}, "b": {"n": 2}}), &["/*"]).len(), 2);
    }

    #[test]
    fn what_is_not_a_list_holds_no_records_but_an_error() {
        for (text, places, expected) in [
            (r#"{"error":"maintenance"}"#, &["/items"][..], r#"nothing at "/items""#),
            (r#"{"items":null}"#, &["/items"], r#"null at "/items""#),
            (r#"{"items":{"id":"1"}}"#, &["/items"], r#"an object at "/items""#),
            (r#"{"items":"none"}"#, &["/items"], r#"a string at "/items""#),
            (r#"{"data":{}}"#, &["/data/list"], r#"nothing at "/data/list""#),
            (r#"{"data":[{"id":"0"}]}"#, &["/history/*/added"], r#"nothing at "/history/*/added""#),
            (r#"{"history":7}"#, &["/history/*/added"], r#"a number at "/history/*/added""#),
            ("null", &[""], r#"null at """#),
            ("true", &[], "a single value in place of one list"),
            (r#"{"a":1}"#, &[], "no list in place of one list"),
            (r#"{"a":[1],"b":[2]}"#, &[], "several lists in place of one list"),
        ] {
            assert_eq!(refusal(text, places), expected, "{text}");
        }
    }

    #[test]
    fn an_error_beside_a_list_is_seen() {
        let said = |text: &str| Document::parse(text).unwrap().error_member();
        assert_eq!(said(r#"{"items":[],"error":"maintenance"}"#), Some("error"));
        assert_eq!(said(r#"{"data":{"items":[]},"errors":[{"message":"x"}]}"#), Some("errors"));
        for harmless in [r#"{"items":[],"error":null,"errors":[ ]}"#, r#"{"error":false,"errors":{}}"#, "[]"] {
            assert_eq!(said(harmless), None, "{harmless}");
        }
    }

    #[test]
    fn digits_stay_as_they_came() {
        let text = r#"{"items": [{"price": 1.10, "id": 12345678901234567890123}]}"#;
        let document = Document::parse(text).unwrap();
        let found = document.records(&[Pointer::parse("/items").unwrap()]).unwrap();
        assert_eq!(minified(found.records[0].get()), r#"{"price":1.10,"id":12345678901234567890123}"#);
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
