//! JSON Pointers (RFC 6901), which connector files use to find values in responses.

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::json::{self, Json};

/// A checked JSON Pointer: empty for the whole document, else `/name/0/name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", extend("format" = Pointer::FORMAT))]
pub struct Pointer(String);

impl Pointer {
    /// How the schema marks the strings, and the names of members, that are pointers: as JSON Schema itself does.
    pub(super) const FORMAT: &str = "json-pointer";

    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.is_empty() && !text.starts_with('/') {
            let meant = from_json_path(text).unwrap_or_else(|| format!("/{text}"));
            return Err(format!("{text:?} is not a JSON Pointer: it starts with '/', as in {meant:?}"));
        }
        let mut rest = text;
        while let Some(at) = rest.find('~') {
            rest = &rest[at + 1..];
            if !rest.starts_with(['0', '1']) {
                return Err(format!("{text:?} is not a JSON Pointer: '~' must be followed by 0 or 1 (RFC 6901)"));
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// To a member at the top.
    pub fn from_member(name: &str) -> Self {
        Self(format!("/{}", name.replace('~', "~0").replace('/', "~1")))
    }

    /// The names on the way, outermost first.
    pub fn tokens(&self) -> impl Iterator<Item = String> {
        self.segments().map(Cow::into_owned)
    }

    /// The same, where they are only looked at.
    pub fn segments(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.0.split('/').skip(1).map(|token| match token.contains('~') {
            true => Cow::Owned(token.replace("~1", "/").replace("~0", "~")),
            false => Cow::Borrowed(token),
        })
    }

    /// Returns the value at this place; None if it is absent or null.
    pub fn find<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        let found = self.segments().try_fold(document, |at, name| match at {
            Value::Object(members) => members.get(&*name),
            Value::Array(items) => items.get(json::array_index(&name)?),
            _ => None,
        })?;
        (!found.is_null()).then_some(found)
    }

    /// The value in a text that was checked, found without a tree; absent where it is null.
    pub fn find_in<'t>(&self, json: Json<'t>) -> Option<Json<'t>> {
        let found = self.segments().try_fold(json, |at, name| at.get(&name))?;
        (!found.is_null()).then_some(found)
    }

    /// The value in a text that was checked, as [`text`](Self::text) gives it.
    pub fn text_in(&self, json: Json<'_>) -> Option<String> {
        Some(self.find_in(json)?.text()?.into_owned())
    }

    /// The value as text where it is a string, a number or a truth value; an empty string counts as absent.
    pub fn text(&self, document: &Value) -> Option<String> {
        match self.find(document)? {
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(truth) => Some(truth.to_string()),
            _ => None,
        }
    }

    /// Puts a value where the pointer points, making the objects and arrays on the way.
    pub fn set(&self, document: &mut Value, new: Value) {
        let mut at = document;
        for name in self.tokens() {
            // Samples are small; an index over this is a name.
            const LONGEST_ARRAY: usize = 64;
            at = match name.parse::<usize>() {
                Ok(index) if index < LONGEST_ARRAY => {
                    if !at.is_array() {
                        *at = Value::Array(Vec::new());
                    }
                    let Value::Array(items) = at else { return };
                    while items.len() <= index {
                        items.push(Value::Null);
                    }
                    &mut items[index]
                }
                _ => {
                    if !at.is_object() {
                        *at = Value::Object(Map::new());
                    }
                    let Value::Object(members) = at else { return };
                    members.entry(name).or_insert(Value::Null)
                }
            };
        }
        *at = new;
    }
}

/// The pointer that a plain JSONPath (RFC 9535) such as `$.data.id` stands for.
fn from_json_path(text: &str) -> Option<String> {
    let path = text.strip_prefix('$')?;
    path.starts_with('.').then(|| path.replace('.', "/"))
}

impl TryFrom<String> for Pointer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn put_and_find_agree() {
        let mut document = Value::Null;
        for (path, value) in [("/a/b", json!("x")), ("/a/list/1/c", json!(7)), ("/t~1e~0", json!(true))] {
            let pointer = Pointer::parse(path).unwrap();
            pointer.set(&mut document, value.clone());
            assert_eq!(pointer.find(&document), Some(&value));
        }
        assert_eq!(document, json!({"a": {"b": "x", "list": [null, {"c": 7}]}, "t/e~": true}));
    }

    #[test]
    fn refuses_what_is_none() {
        assert!(Pointer::parse("a").unwrap_err().contains("\"/a\""));
        assert!(Pointer::parse("$.a.b").unwrap_err().contains("\"/a/b\""));
        assert!(Pointer::parse("/a~2").is_err());
    }
}
