//! An answer whose parts are looked at without being copied: records stay as the vendor wrote them, digit for digit.

use std::borrow::Cow;

use serde_json::Value;

use crate::connector::Pointer;
use crate::json::{Json, JsonError, Type};

/// A document of which the outermost level is read once, and what is deeper when it is asked for.
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
        Json::check(text).map(Self::of)
    }

    pub(super) fn of(json: Json<'d>) -> Self {
        Self { json, top: level(json) }
    }

    /// Every value at a place, in which a part `*` stands for all items of a list or members of an object. Nulls are left
    /// out.
    pub(super) fn all(&self, at: &Pointer) -> Vec<Json<'d>> {
        let tokens: Vec<Cow<'_, str>> = at.parts().collect();
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

    /// Whether a place holds one of these values; `*` stands for any.
    pub(super) fn holds(&self, at: &Pointer, values: &[Value]) -> bool {
        self.all(at).first().is_some_and(|found| values.iter().any(|value| value == "*" || found.equals(value)))
    }

    /// Whether it is an object without a member of this name.
    pub(super) fn lacks(&self, name: &str) -> bool {
        matches!(&self.top, Level::Object(members) if members.iter().all(|(known, _)| known != name))
    }

    /// The records at these places, each a list of them or one; where no place is named, the document itself or the one
    /// list at its top. A place that is not there holds none.
    pub(super) fn records(&self, places: &[Pointer]) -> Vec<Json<'d>> {
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
                    Level::List(items) => records.extend(items),
                    _ => records.push(value),
                }
            }
        }
        records.retain(|record| !record.is_null());
        records
    }
}

fn level(json: Json<'_>) -> Level<'_> {
    match json.kind() {
        Type::Array => Level::List(json.items().collect()),
        Type::Object => Level::Object(json.members().collect()),
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

    fn usual(&self) -> Vec<Json<'d>> {
        match self {
            Self::List(items) => items.clone(),
            Self::Object(members) => {
                let mut lists = members.iter().filter(|(_, value)| value.kind() == Type::Array);
                match (lists.next(), lists.next()) {
                    (Some((_, list)), None) => list.items().collect(),
                    _ => Vec::new(),
                }
            }
            Self::Scalar => Vec::new(),
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
        document.records(&places).iter().map(|record| record.as_str().to_owned()).collect()
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

    proptest! {
        #[test]
        fn no_answer_panics(text in ".{0,60}") {
            if let Ok(document) = Document::parse(&text) {
                let _ = document.records(&[Pointer::parse("/a/*/b").unwrap()]);
            }
        }
    }
}
