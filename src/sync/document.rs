//! A response whose parts are read without copying: records stay as the vendor wrote them, digit for digit.

use std::borrow::Cow;

use serde_json::Value;
use thiserror::Error;

use crate::connector::Pointer;
use crate::json::{Json, JsonError, JsonType, minified};

/// A document of which the outermost level is read once, and deeper levels when needed.
#[derive(Debug)]
pub(super) struct Document<'d> {
    json: Json<'d>,
    top: Level<'d>,
}

#[derive(Debug)]
enum Level<'d> {
    List(Vec<Json<'d>>),
    Object(Vec<(Cow<'d, str>, Json<'d>)>),
    Scalar,
}

impl<'d> Document<'d> {
    /// # Errors
    /// [`JsonError`].
    pub(super) fn parse(text: &'d str) -> Result<Self, JsonError> {
        Json::validate(text).map(Self::of)
    }

    pub(super) fn of(json: Json<'d>) -> Self {
        Self { json, top: level(json) }
    }

    /// Every value at a place, in which the part `*` matches all items of a list or members of an object. Nulls are left
    /// out.
    pub(super) fn all(&self, at: &Pointer) -> Vec<Json<'d>> {
        let tokens: Vec<Cow<'_, str>> = at.segments().collect();
        let mut found = Vec::new();
        if tokens.is_empty() {
            found.push(self.json);
        }
        self.top.collect(&tokens, &mut found);
        found
    }

    /// The value at a place; absent where it is null.
    pub(super) fn find(&self, at: &Pointer) -> Option<Value> {
        Some(self.all(at).first()?.value())
    }

    /// Whether a place holds one of these values; `*` matches any.
    pub(super) fn holds(&self, at: &Pointer, values: &[Value]) -> bool {
        self.all(at).first().is_some_and(|found| values.iter().any(|value| value == "*" || found.equals(value)))
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
    pub(super) fn records(&self, places: &[Pointer]) -> Result<RecordList<'d>, NotAList> {
        let mut items = Vec::new();
        if places.is_empty() {
            items = self.top.only_list()?;
        }
        for at in places {
            self.collect_records(at, &mut items)?;
        }
        let all = items.len();
        items.retain(|record| !record.is_null());
        Ok(RecordList { nulls: all - items.len(), records: items })
    }

    fn collect_records(&self, at: &Pointer, items: &mut Vec<Json<'d>>) -> Result<(), NotAList> {
        let tokens: Vec<Cow<'_, str>> = at.segments().collect();
        let wrong = |found: &'static str| NotAList { at: Some(at.clone()), found };
        if tokens.is_empty() {
            match &self.top {
                Level::List(found) => items.extend(found),
                Level::Object(_) => items.extend(self.all(at)),
                Level::Scalar => return Err(wrong(scalar_name(self.json))),
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
            (Level::List(found), None) => items.extend(found),
            (Level::List(_) | Level::Object(_), Some(_)) => {
                for value in self.all(at) {
                    match level(value) {
                        Level::List(found) => items.extend(found),
                        _ => items.push(value),
                    }
                }
            }
            (Level::Object(_), None) => return Err(wrong("an object")),
            _ => return Err(wrong(scalar_name(value))),
        }
        Ok(())
    }

    /// What an answer says of an error at its top: a member `error` or `errors` that is not empty.
    pub(super) fn error_member(&self) -> Option<&'static str> {
        let Level::Object(members) = &self.top else { return None };
        let says = |name: &&str| {
            let value = members.iter().rfind(|(known, _)| known == name).map(|(_, value)| minified(value.as_str()));
            value.is_some_and(|value| !matches!(value.as_ref(), "null" | "false" | "0" | "\"\"" | "[]" | "{}"))
        };
        ["error", "errors"].into_iter().find(says)
    }
}

/// The records that an answer holds.
#[derive(Debug)]
pub(super) struct RecordList<'d> {
    pub(super) records: Vec<Json<'d>>,
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

fn scalar_name(json: Json<'_>) -> &'static str {
    match json.kind() {
        JsonType::Null => "null",
        JsonType::String => "a string",
        JsonType::Bool => "a truth value",
        _ => "a number",
    }
}

fn level(json: Json<'_>) -> Level<'_> {
    match json.kind() {
        JsonType::Array => Level::List(json.items().collect()),
        JsonType::Object => Level::Object(json.members().collect()),
        _ => Level::Scalar,
    }
}

impl<'d> Level<'d> {
    fn collect(&self, tokens: &[Cow<'_, str>], found: &mut Vec<Json<'d>>) {
        let Some((token, rest)) = tokens.split_first() else { return };
        let mut each = |value: Json<'d>| match rest {
            [] if !value.is_null() => found.push(value),
            [] => {}
            rest => level(value).collect(rest, found),
        };
        match self {
            Self::List(items) if token == "*" => items.iter().for_each(|item| each(*item)),
            Self::List(items) => {
                if let Some(item) = token.parse::<usize>().ok().and_then(|index| items.get(index)) {
                    each(*item);
                }
            }
            Self::Object(members) if token == "*" => members.iter().for_each(|(_, value)| each(*value)),
            Self::Object(members) => {
                // Of a name that comes twice the last counts, as everywhere.
                if let Some((_, value)) = members.iter().rfind(|(name, _)| name == token) {
                    each(*value);
                }
            }
            Self::Scalar => {}
        }
    }

    /// The value at a place without stars.
    fn value_at(&self, tokens: &[Cow<'_, str>]) -> Option<Json<'d>> {
        let (token, rest) = tokens.split_first()?;
        let value = match self {
            Self::List(items) => token.parse::<usize>().ok().and_then(|index| items.get(index)).copied()?,
            // Of a name that comes twice the last counts, as everywhere.
            Self::Object(members) => members.iter().rfind(|(name, _)| name == token).map(|(_, value)| *value)?,
            Self::Scalar => return None,
        };
        if rest.is_empty() { Some(value) } else { level(value).value_at(rest) }
    }

    /// The list that the document is, or the one at its top.
    fn only_list(&self) -> Result<Vec<Json<'d>>, NotAList> {
        let wrong = |found| NotAList { at: None, found };
        let members = match self {
            Self::List(items) => return Ok(items.clone()),
            Self::Object(members) => members,
            Self::Scalar => return Err(wrong("a single value")),
        };
        let mut lists = members.iter().filter(|(_, value)| value.kind() == JsonType::Array);
        match (lists.next(), lists.next()) {
            (Some((_, list)), None) => Ok(list.items().collect()),
            (None, _) => Err(wrong("no list")),
            (Some(_), Some(_)) => Err(wrong("several lists")),
        }
    }
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
        found.records.iter().map(|record| record.as_str().to_owned()).collect()
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
        let error_member = |text: &str| Document::parse(text).unwrap().error_member();
        assert_eq!(error_member(r#"{"items":[],"error":"maintenance"}"#), Some("error"));
        assert_eq!(error_member(r#"{"data":{"items":[]},"errors":[{"message":"x"}]}"#), Some("errors"));
        for harmless in [r#"{"items":[],"error":null,"errors":[ ]}"#, r#"{"error":false,"errors":{}}"#, "[]"] {
            assert_eq!(error_member(harmless), None, "{harmless}");
        }
    }

    #[test]
    fn digits_stay_as_they_came() {
        let text = r#"{"items": [{"price": 1.10, "id": 12345678901234567890123}]}"#;
        let document = Document::parse(text).unwrap();
        let found = document.records(&[Pointer::parse("/items").unwrap()]).unwrap();
        assert_eq!(minified(found.records[0].as_str()), r#"{"price":1.10,"id":12345678901234567890123}"#);
    }

    proptest! {
        #[test]
        fn no_answer_panics(text in ".{0,60}") {
            if let Ok(document) = Document::parse(&text) {
                let _ = document.records(&[Pointer::parse("/a/*/b").unwrap()]);
            }
        }
    }
}
