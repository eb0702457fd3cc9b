//! Lossless reading of JSON as services write it.
//!
//! `serde_json` turns numbers into `f64`, and refuses texts that RFC 8259 allows or that other parsers read: half of a
//! surrogate pair (`"\ud83d"`), `1e400`, 200 levels, a byte-order mark, another charset. A record or an event must not be
//! lost for that, so whatever comes from outside is read here:
//!
//! 1. [`decode()`] makes UTF-8 text of the bytes, by their byte-order mark, their declared charset or their shape.
//! 2. [`Json::validate`] checks the text once, without recursion. The result is a slice: values inside it are found without
//!    a tree, and are printed and stored as the service wrote them, digit for digit.
//! 3. [`Json::value`] makes a [`Value`] where a program has to look at many places. Numbers keep their digits (the
//!    `arbitrary_precision` feature of `serde_json`), half of a surrogate pair becomes U+FFFD.
//!
//! [`parse_bytes`] does all three. Never use `serde_json::from_slice` or `from_str` for a [`Value`] from outside: besides the
//! limits above, they take the member names that `serde_json` uses internally for something else than names.
//!
//! What is refused has a reason, a [`JsonError`]: text that is not JSON (`NaN`, comments, single quotes, control
//! characters inside strings), more than [`MAX_DEPTH`] levels, a charset that is unknown.

mod canonical;
mod decode;
mod value;
mod visit;
mod write;

use std::borrow::Cow;

use serde_json::Value;
use thiserror::Error;

pub use self::canonical::{CanonicalError, canonical};
pub use self::decode::decode;
use self::visit::{JsonVisitor, skip_space, value_end, visit};
pub use self::write::{minified, pretty, without_lone_surrogates};

/// Levels of arrays and objects that a text may have. Values of this depth are dropped and written by recursion, which
/// the stack of any thread has room for.
pub const MAX_DEPTH: usize = 1_000;

/// Why a text is not read as JSON. Positions are bytes of the UTF-8 text, from 0.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum JsonError {
    #[error("it is empty")]
    Empty,
    #[error("it is an HTML page, not JSON")]
    Html,
    #[error("it ends in the middle of a value, after {at} bytes")]
    Truncated { at: usize },
    #[error("it is not JSON: {what} at byte {at}")]
    Syntax { what: &'static str, at: usize },
    #[error("it is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("unknown charset {charset:?}")]
    UnknownCharset { charset: String },
}

impl JsonError {
    /// Whether asking again may help: the answer was cut off on its way, or a gateway answered with a page.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Empty | Self::Html | Self::Truncated { .. })
    }
}

/// Reads bytes as a JSON value; `charset` is what their `Content-Type` declares.
///
/// # Errors
/// [`JsonError`].
pub fn parse_bytes(bytes: &[u8], charset: Option<&str>) -> Result<Value, JsonError> {
    parse(&decode(bytes, charset)?)
}

/// Reads a text as a JSON value.
///
/// # Errors
/// [`JsonError`].
pub fn parse(text: &str) -> Result<Value, JsonError> {
    value::build(text)
}

/// The charset that a `Content-Type` declares, as in `application/json; charset="ISO-8859-1"` (RFC 9110 section 8.3.1).
pub fn charset(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|param| {
        let (name, value) = param.split_once('=')?;
        let value = value.trim().trim_matches(['"', '\'']);
        (name.trim().eq_ignore_ascii_case("charset") && !value.is_empty()).then_some(value)
    })
}

/// A JSON value as it was written, without the space around it. It was checked: everything inside it is JSON too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json<'t>(&'t str);

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonType {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// What a text costs programs that make a tree of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Levels of arrays and objects.
    pub levels: usize,
    /// Bytes of the longest number.
    pub longest_number: usize,
}

impl<'t> Json<'t> {
    /// The value `null`.
    pub const NULL: Json<'static> = Json("null");

    /// Checks that a text is one JSON value.
    ///
    /// # Errors
    /// [`JsonError`].
    pub fn validate(text: &'t str) -> Result<Self, JsonError> {
        visit(text, &mut ())?;
        Ok(Self(trimmed(text)))
    }

    /// Takes a text that was checked before it was stored. Another one gives wrong results, and never a panic.
    pub fn from_validated(text: &'t str) -> Self {
        Self(trimmed(text))
    }

    /// Returns the value's JSON text, as it was written.
    pub fn as_str(self) -> &'t str {
        self.0
    }

    /// Returns the type, which the first byte decides.
    pub fn kind(self) -> JsonType {
        match self.0.as_bytes().first() {
            Some(b'{') => JsonType::Object,
            Some(b'[') => JsonType::Array,
            Some(b'"') => JsonType::String,
            Some(b't' | b'f') => JsonType::Bool,
            Some(b'-' | b'0'..=b'9') => JsonType::Number,
            _ => JsonType::Null,
        }
    }

    /// Whether the value is `null`.
    pub fn is_null(self) -> bool {
        self.kind() == JsonType::Null
    }

    /// The items of an array; none of any other value.
    pub fn items(self) -> impl Iterator<Item = Json<'t>> {
        let mut parts = JsonParts::of(self.0, b'[');
        std::iter::from_fn(move || parts.next_value())
    }

    /// The members of an object in the order in which they were written, a repeated name as often as it comes; none of
    /// any other value.
    pub fn members(self) -> impl Iterator<Item = (Cow<'t, str>, Json<'t>)> {
        self.written_members().map(|(name, value)| (name.string().unwrap_or_default(), value))
    }

    /// [`members`](Self::members) with their names as they were written: half of a surrogate pair stays the escape that it is.
    pub fn written_members(self) -> impl Iterator<Item = (Json<'t>, Json<'t>)> {
        let mut parts = JsonParts::of(self.0, b'{');
        std::iter::from_fn(move || Some((parts.next_value()?, parts.next_value()?)))
    }

    /// The last member of this name, which is the one that counts, or the item of this index.
    pub fn get(self, name: &str) -> Option<Json<'t>> {
        match self.kind() {
            JsonType::Object => self.members().filter(|(known, _)| known == name).last().map(|(_, value)| value),
            JsonType::Array => self.items().nth(array_index(name)?),
            _ => None,
        }
    }

    /// What a string says, half of a surrogate pair as U+FFFD; absent for any other value.
    pub fn string(self) -> Option<Cow<'t, str>> {
        value::unescape(self.0, |_| Cow::Borrowed("\u{fffd}"))
    }

    /// A string, a number or a truth value as text; an empty string counts as absent.
    pub fn text(self) -> Option<Cow<'t, str>> {
        self.scalar(self.string())
    }

    /// [`text`](Self::text) in which half of a surrogate pair stays the escape that it is, so that two texts are equal
    /// only if they were written equal.
    pub fn exact_text(self) -> Option<Cow<'t, str>> {
        self.scalar(value::unescape(self.0, |unit| Cow::Owned(format!("\\u{unit:04x}"))))
    }

    fn scalar(self, string: Option<Cow<'t, str>>) -> Option<Cow<'t, str>> {
        match self.kind() {
            JsonType::String => string.filter(|text| !text.is_empty()),
            JsonType::Number | JsonType::Bool => Some(Cow::Borrowed(self.0)),
            _ => None,
        }
    }

    /// Whether it says the same as a value that a file or a command line gives. Numbers are equal if their values are.
    pub fn equals(self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.string().is_some_and(|said| said == text.as_str()),
            Value::Number(number) => self.kind() == JsonType::Number && same_number(self.0, number.as_str()),
            Value::Null => self.is_null(),
            Value::Bool(truth) => self.0 == if *truth { "true" } else { "false" },
            Value::Array(_) | Value::Object(_) => self.value() == *value,
        }
    }

    /// The value as a tree.
    pub fn value(self) -> Value {
        value::build(self.0).unwrap_or_default()
    }

    /// Measures the depth and the longest number; reads the whole text.
    pub fn extent(self) -> Extent {
        let mut measure = ExtentVisitor::default();
        let _ = visit(self.0, &mut measure);
        measure.extent
    }
}

fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r'])
}

/// `f64` has 15 digits that are always exact: longer numbers are equal only if they are written alike.
fn same_number(one: &str, other: &str) -> bool {
    const EXACT: usize = 15;
    let short = one.len() <= EXACT && other.len() <= EXACT;
    one == other || (short && one.parse::<f64>().ok() == other.parse::<f64>().ok())
}

/// An array index as RFC 6901 writes it: no sign, no leading zero.
pub fn array_index(name: &str) -> Option<usize> {
    let canonical = name == "0" || !name.starts_with(['0', '+']);
    canonical.then(|| name.parse().ok()).flatten()
}

#[derive(Default)]
struct ExtentVisitor {
    level: usize,
    extent: Extent,
}

impl JsonVisitor for ExtentVisitor {
    fn begin(&mut self, _: bool) {
        self.level += 1;
        self.extent.levels = self.extent.levels.max(self.level);
    }

    fn end(&mut self, _: bool) {
        self.level -= 1;
    }

    fn scalar(&mut self, text: &str) {
        if !text.starts_with('"') {
            self.extent.longest_number = self.extent.longest_number.max(text.len());
        }
    }
}

/// The values at one level of a text that was checked, names among them.
struct JsonParts<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> JsonParts<'t> {
    fn of(text: &'t str, open: u8) -> Self {
        let is_open = text.as_bytes().first() == Some(&open);
        Self { text, at: if is_open { 1 } else { text.len() } }
    }

    fn next_value(&mut self) -> Option<Json<'t>> {
        let bytes = self.text.as_bytes();
        let mut begin = skip_space(bytes, self.at);
        while matches!(bytes.get(begin), Some(b',' | b':')) {
            begin = skip_space(bytes, begin + 1);
        }
        if matches!(bytes.get(begin), None | Some(b']' | b'}')) {
            self.at = bytes.len();
            return None;
        }
        let end = value_end(bytes, begin);
        self.at = end;
        self.text.get(begin..end).map(Json)
    }
}

#[cfg(test)]
mod tests;
