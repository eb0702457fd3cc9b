//! What the members at the top of records hold, so that they become columns. Pure.

use std::borrow::Cow;
use std::collections::HashMap;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The members at the top of a record, each as it was written.
pub(super) type Members<'r> = HashMap<Cow<'r, str>, &'r RawValue>;

/// Absent where a record is no object.
pub(super) fn members(json: &str) -> Option<Members<'_>> {
    serde_json::from_str(json).ok()
}

/// The members of all records that were looked at, in the order in which they were met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns(pub IndexMap<String, Types>);

impl Columns {
    /// Looks at a record.
    pub fn add(&mut self, json: &str) {
        // A map that keeps the order, for columns that are new.
        let Ok(members) = serde_json::from_str::<IndexMap<Name<'_>, &RawValue>>(json) else { return };
        for (Name(name), value) in members {
            match self.0.get_mut(name.as_ref()) {
                Some(types) => types.add(value.get()),
                None => self.0.entry(name.into_owned()).or_default().add(value.get()),
            }
        }
    }
}

#[derive(Deserialize, PartialEq, Eq, Hash)]
struct Name<'r>(#[serde(borrow)] Cow<'r, str>);

/// The JSON types that a member's values have, null aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Types {
    pub text: bool,
    /// Within 64 bits.
    pub integer: bool,
    /// Beyond them.
    pub large: bool,
    pub number: bool,
    pub truth: bool,
    pub object: bool,
    pub list: bool,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Integer,
    Number,
    Truth,
    /// JSON, as it was written.
    Json,
}

impl Types {
    fn add(&mut self, json: &str) {
        match json.as_bytes().first() {
            Some(b'"') => self.text = true,
            Some(b't' | b'f') => self.truth = true,
            Some(b'{') => self.object = true,
            Some(b'[') => self.list = true,
            Some(b'-' | b'0'..=b'9') if json.contains(['.', 'e', 'E']) => self.number = true,
            Some(b'-' | b'0'..=b'9') if json.parse::<i64>().is_ok() => self.integer = true,
            Some(b'-' | b'0'..=b'9') => self.large = true,
            _ => {}
        }
    }

    /// The column that holds all of them. One that was never more than null is one of text.
    pub fn kind(self) -> Kind {
        match self {
            Self { object: true, .. } | Self { list: true, .. } | Self { large: true, .. } => Kind::Json,
            Self { text, integer: false, number: false, truth, .. } if !(text && truth) => {
                if truth {
                    Kind::Truth
                } else {
                    Kind::Text
                }
            }
            Self { text: false, integer: true, number: false, truth: false, .. } => Kind::Integer,
            Self { text: false, truth: false, .. } => Kind::Number,
            Self { .. } => Kind::Json,
        }
    }

    /// The names that JSON Schema has for them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        // An integer is a number, and says more where nothing else is there.
        let integer = (self.integer || self.large) && !self.number;
        let all = [
            (self.object, "object"),
            (self.list, "array"),
            (integer, "integer"),
            (self.number, "number"),
            (self.truth, "boolean"),
            (self.text || self == Self::default(), "string"),
        ];
        all.into_iter().filter_map(|(is_there, name)| is_there.then_some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(values: &[&str]) -> Types {
        let mut types = Types::default();
        values.iter().for_each(|value| types.add(value));
        types
    }

    #[test]
    fn a_column_is_of_the_type_that_all_its_values_have() {
        assert_eq!(types(&["\"a\"", "null"]).kind(), Kind::Text);
        assert_eq!(types(&["null"]).kind(), Kind::Text);
        assert_eq!(types(&["1", "-9223372036854775808"]).kind(), Kind::Integer);
        assert_eq!(types(&["1", "2.5", "1e3"]).kind(), Kind::Number);
        assert_eq!(types(&["true", "false"]).kind(), Kind::Truth);
        for mixed in
            [&["1", "\"1\""][..], &["true", "1"], &["true", "\"\""], &["{}"], &["[]"], &["9223372036854775808"]]
        {
            assert_eq!(types(mixed).kind(), Kind::Json, "{mixed:?}");
        }
    }

    #[test]
    fn schemas_name_every_type() {
        let names = |values| types(values).names().collect::<Vec<_>>();
        assert_eq!(names(&["1", "2.5"]), ["number"]);
        assert_eq!(names(&["9223372036854775808"]), ["integer"]);
        assert_eq!(names(&["1", "\"x\"", "{}"]), ["object", "integer", "string"]);
        assert_eq!(names(&["null"]), ["string"]);
    }

    #[test]
    fn columns_come_in_the_order_in_which_they_are_met() {
        let mut columns = Columns::default();
        columns.add(r#"{"b":1,"a":null}"#);
        columns.add(r#"{"c":true,"a":"x"}"#);
        columns.add("7");
        assert_eq!(columns.0.keys().collect::<Vec<_>>(), ["b", "a", "c"]);
        assert_eq!(columns.0["a"].kind(), Kind::Text);
    }
}
