//! Derives columns from the top-level members of records. Pure.

use indexmap::IndexMap;

use super::shape::members;
use super::time_text::TimeText;
use crate::json::{Json, JsonType};

/// The members of all records that were looked at, by the names that they have outside, in the order in which they were met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns(pub IndexMap<String, JsonTypes>);

impl Columns {
    /// Looks at a record.
    pub fn add(&mut self, json: &str) {
        for (name, value) in members(json) {
            match self.0.get_mut(name.as_ref()) {
                Some(types) => types.add(value),
                None => self.0.entry(name.into_owned()).or_default().add(value),
            }
        }
    }
}

/// The JSON types that a member's values have, null aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JsonTypes {
    /// A text that is neither a date nor a time.
    pub text: bool,
    /// A text that is a full date.
    pub date: bool,
    /// A text that is a time with its date and offset, which microseconds hold to the last digit.
    pub time: bool,
    /// The same with more digits.
    pub fine_time: bool,
    /// Within 64 bits.
    pub integer: bool,
    /// An integer within 64 bits that is not one of `f64`.
    pub wide: bool,
    /// A number that neither 64 bits nor an `f64` hold to the last digit.
    pub large: bool,
    pub number: bool,
    pub boolean: bool,
    pub object: bool,
    pub array: bool,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    Text,
    /// Texts that are all full dates.
    Date,
    /// Texts that are all times with their date and offset, to the microsecond.
    Time,
    Integer,
    Number,
    Boolean,
    /// JSON, as it was written.
    Json,
}

impl JsonTypes {
    fn add(&mut self, json: Json<'_>) {
        match json.kind() {
            JsonType::Null => {}
            JsonType::String => match TimeText::read(json.as_str()) {
                Some(TimeText::Date(_)) => self.date = true,
                Some(TimeText::Instant(_)) => self.time = true,
                Some(TimeText::Finer) => self.fine_time = true,
                None => self.text = true,
            },
            JsonType::Bool => self.boolean = true,
            JsonType::Object => self.object = true,
            JsonType::Array => self.array = true,
            JsonType::Number if json.as_str().contains(['.', 'e', 'E']) => {
                self.number = true;
                self.large |= !is_exact(json.as_str());
            }
            JsonType::Number => match json.as_str().parse::<i64>() {
                // There is no -0 among integers.
                Ok(0) if json.as_str().starts_with('-') => self.number = true,
                Ok(_) => {
                    self.integer = true;
                    self.wide |= !is_exact(json.as_str());
                }
                Err(_) => self.large = true,
            },
        }
    }

    fn any_text(self) -> bool {
        self.text || self.date || self.time || self.fine_time
    }

    /// Whether all texts are times with their date and offset.
    pub fn is_time(self) -> bool {
        (self.time || self.fine_time) && !self.text && !self.date
    }

    /// The column that holds all of them. One that was never more than null is one of text.
    pub fn column_type(self) -> ColumnType {
        if self.object || self.array || self.large {
            return ColumnType::Json;
        }
        match (self.any_text(), self.integer, self.number, self.boolean) {
            (_, false, false, false) => match (self.text || self.fine_time, self.date, self.time) {
                (false, true, false) => ColumnType::Date,
                (false, false, true) => ColumnType::Time,
                _ => ColumnType::Text,
            },
            (false, false, false, true) => ColumnType::Boolean,
            (false, true, false, false) => ColumnType::Integer,
            (false, _, true, false) if !self.wide => ColumnType::Number,
            _ => ColumnType::Json,
        }
    }

    /// The names that JSON Schema has for them.
    pub fn json_schema_types(self) -> impl Iterator<Item = &'static str> {
        // An integer is a number, and says more where nothing else is there.
        let integer = (self.integer || self.large) && !self.number;
        let all = [
            (self.object, "object"),
            (self.array, "array"),
            (integer, "integer"),
            (self.number, "number"),
            (self.boolean, "boolean"),
            (self.any_text() || self == Self::default(), "string"),
        ];
        all.into_iter().filter_map(|(is_there, name)| is_there.then_some(name))
    }
}

/// Whether an `f64` says the same number to the last digit.
fn is_exact(number: &str) -> bool {
    let float = number.parse::<f64>().ok().filter(|float| float.is_finite());
    float.is_some_and(|float| digits(&format!("{float:e}")) == digits(number))
}

/// A number as its sign, its digits without zeros around them, and the exponent of the last one.
fn digits(number: &str) -> Option<(bool, String, i64)> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let negative = whole.starts_with('-');
    let all = format!("{}{part}", whole.trim_start_matches('-'));
    let trimmed = all.trim_end_matches('0');
    let significant = trimmed.trim_start_matches('0');
    if significant.is_empty() {
        return Some((negative, String::new(), 0));
    }
    let shift = i64::try_from(part.len()).ok()? - i64::try_from(all.len() - trimmed.len()).ok()?;
    Some((negative, significant.to_owned(), exponent.parse::<i64>().ok()?.checked_sub(shift)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(values: &[&str]) -> JsonTypes {
        let mut types = JsonTypes::default();
        values.iter().for_each(|value| types.add(Json::from_validated(value)));
        types
    }

    #[test]
    fn a_column_is_of_the_type_that_all_its_values_have() {
        assert_eq!(types(&["\"a\"", "null"]).column_type(), ColumnType::Text);
        assert_eq!(types(&["null"]).column_type(), ColumnType::Text);
        assert_eq!(types(&["1", "-9223372036854775808"]).column_type(), ColumnType::Integer);
        assert_eq!(types(&["1", "2.5", "1e3"]).column_type(), ColumnType::Number);
        assert_eq!(types(&["true", "false"]).column_type(), ColumnType::Boolean);
        assert_eq!(
            types(&["1.10", "0.10e1", "-0", "-0.0", "1e22", "123", "100E-2", "5e-324"]).column_type(),
            ColumnType::Number
        );
        assert_eq!(types(&["9007199254740993"]).column_type(), ColumnType::Integer);
        for inexact in [&["0.1234567890123456789"][..], &["1e400"], &["1e-400"], &["9007199254740993", "1.5"]] {
            assert_eq!(types(inexact).column_type(), ColumnType::Json, "{inexact:?}");
        }
        for mixed in
            [&["1", "\"1\""][..], &["true", "1"], &["true", "\"\""], &["{}"], &["[]"], &["9223372036854775808"]]
        {
            assert_eq!(types(mixed).column_type(), ColumnType::Json, "{mixed:?}");
        }
    }

    #[test]
    fn schemas_name_every_type() {
        let names = |values| types(values).json_schema_types().collect::<Vec<_>>();
        assert_eq!(names(&["1", "2.5"]), ["number"]);
        assert_eq!(names(&["9223372036854775808"]), ["integer"]);
        assert_eq!(names(&["1", "\"x\"", "{}"]), ["object", "integer", "string"]);
        assert_eq!(names(&["null"]), ["string"]);
    }

    #[test]
    fn texts_that_are_all_times_are_times() {
        let times = ["\"2026-11-28T10:00:00Z\"", "null", "\"2026-11-28T10:00:00.123456+01:00\""];
        assert!(types(&times).is_time());
        assert_eq!(types(&times).column_type(), ColumnType::Time);
        assert_eq!(types(&["\"2026-11-28\"", "null"]).column_type(), ColumnType::Date);
        assert!(!types(&["\"2026-11-28\""]).is_time());
        // One that microseconds do not hold keeps all of them as they were written.
        let finer = types(&[times[0], "\"2026-11-28T10:00:00.123456789Z\""]);
        assert_eq!((finer.column_type(), finer.is_time()), (ColumnType::Text, true));
        for mixed in [&["\"2026-11-28\"", times[0]][..], &[times[0], "\"\""], &["\"2026-11-28\"", "\"soon\""]] {
            assert_eq!(types(mixed).column_type(), ColumnType::Text, "{mixed:?}");
        }
        assert_eq!(types(&[times[0], "1"]).column_type(), ColumnType::Json);
        for text in ["", "2026-11-28", "2026-11-28T10:00:00", "2026-11-28 10:00:00Z", "2026-13-28T10:00:00Z", "x"] {
            assert!(!types(&[times[0], &format!("{text:?}")]).is_time(), "{text}");
        }
    }

    #[test]
    fn columns_come_in_the_order_in_which_they_are_met() {
        let mut columns = Columns::default();
        columns.add(r#"{"b":1,"a":null}"#);
        columns.add(r#"{"c":true,"a":"x"}"#);
        columns.add(r#"{"_key":1}"#);
        columns.add("7");
        assert_eq!(columns.0.keys().collect::<Vec<_>>(), ["b", "a", "c", "__key", "_record"]);
        assert_eq!(columns.0["a"].column_type(), ColumnType::Text);
    }
}
