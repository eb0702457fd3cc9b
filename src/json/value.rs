//! Builds values from a text, and decodes its strings.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

use super::JsonError;
use super::visit::{JsonVisitor, visit};

/// Makes a tree of a text. Of a name that comes twice the last one counts.
pub(super) fn build(text: &str) -> Result<Value, JsonError> {
    let mut builder = ValueBuilder::default();
    visit(text, &mut builder)?;
    Ok(builder.whole)
}

#[derive(Default)]
struct ValueBuilder {
    open: Vec<OpenContainer>,
    whole: Value,
}

enum OpenContainer {
    Array(Vec<Value>),
    Object(Map<String, Value>, String),
}

impl ValueBuilder {
    fn put(&mut self, value: Value) {
        match self.open.last_mut() {
            None => self.whole = value,
            Some(OpenContainer::Array(items)) => items.push(value),
            Some(OpenContainer::Object(members, name)) => _ = members.insert(std::mem::take(name), value),
        }
    }
}

impl JsonVisitor for ValueBuilder {
    fn begin(&mut self, object: bool) {
        self.open.push(if object {
            OpenContainer::Object(Map::new(), String::new())
        } else {
            OpenContainer::Array(Vec::new())
        });
    }

    fn end(&mut self, _: bool) {
        match self.open.pop() {
            Some(OpenContainer::Array(items)) => self.put(Value::Array(items)),
            Some(OpenContainer::Object(members, _)) => self.put(Value::Object(members)),
            None => {}
        }
    }

    fn name(&mut self, text: &str) {
        if let Some(OpenContainer::Object(_, name)) = self.open.last_mut() {
            *name = replaced(text);
        }
    }

    fn scalar(&mut self, text: &str) {
        let value = match text.as_bytes().first() {
            Some(b'"') => Value::String(replaced(text)),
            Some(b't') => Value::Bool(true),
            Some(b'f') => Value::Bool(false),
            Some(b'n') | None => Value::Null,
            // `Number`'s own parser writes `1e5` as `1e+5`; this keeps what was read, and that is a number already.
            Some(_) => Value::Number(Number::from_string_unchecked(text.to_owned())),
        };
        self.put(value);
    }
}

fn replaced(text: &str) -> String {
    unescape(text, |_| Cow::Borrowed("\u{fffd}")).unwrap_or_default().into_owned()
}

/// What a string in quotes says; `lone` writes half of a surrogate pair. Absent where it is not a string.
pub(super) fn unescape(text: &str, lone: impl Fn(u16) -> Cow<'static, str>) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let Some(first) = memchr::memchr(b'\\', inner.as_bytes()) else { return Some(Cow::Borrowed(inner)) };
    let mut said = String::with_capacity(inner.len());
    let (mut rest, mut at) = (inner, first);
    loop {
        said.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match rest.as_bytes().get(1)? {
            b'u' => {
                let (unicode_escape, length) = unicode_escape(rest)?;
                match unicode_escape {
                    Ok(c) => said.push(c),
                    Err(half) => said.push_str(&lone(half)),
                }
                length
            }
            escape => {
                said.push(match escape {
                    b'b' => '\u{8}',
                    b'f' => '\u{c}',
                    b'n' => '\n',
                    b'r' => '\r',
                    b't' => '\t',
                    other => char::from(*other),
                });
                2
            }
        };
        rest = rest.get(length..)?;
        match rest.find('\\') {
            Some(next) => at = next,
            None => break,
        }
    }
    said.push_str(rest);
    Some(Cow::Owned(said))
}

/// The character that `\u….` escapes at the beginning of a text stand for, or the half of one, and their length.
pub(super) fn unicode_escape(text: &str) -> Option<(Result<char, u16>, usize)> {
    let hex = |text: &str| u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok();
    let first = hex(text)?;
    let second = text.get(6..).and_then(hex).filter(|_| (0xd800..0xdc00).contains(&first));
    let pair = second.filter(|second| (0xdc00..0xe000).contains(second));
    Some(match (pair, char::from_u32(first.into())) {
        (Some(second), _) => {
            let code = 0x1_0000 + ((u32::from(first) - 0xd800) << 10) + (u32::from(second) - 0xdc00);
            (char::from_u32(code).ok_or(first), 12)
        }
        (None, Some(c)) => (Ok(c), 6),
        (None, None) => (Err(first), 6),
    })
}
