//! Walks the grammar of RFC 8259 without recursion.

use super::{JsonError, MAX_DEPTH};

/// What a walk over a text meets; names and scalars as they were written, strings with their quotes.
pub(super) trait JsonVisitor {
    fn begin(&mut self, _object: bool) {}
    fn end(&mut self, _object: bool) {}
    fn name(&mut self, _text: &str) {}
    fn scalar(&mut self, _text: &str) {}
}

/// Only checks.
impl JsonVisitor for () {}

/// Walks over a text that is to be one JSON value.
pub(super) fn visit(text: &str, events: &mut impl JsonVisitor) -> Result<(), JsonError> {
    let bytes = text.as_bytes();
    let mut at = skip_space(bytes, 0);
    match bytes.get(at) {
        None => return Err(JsonError::Empty),
        Some(b'<') => return Err(JsonError::Html),
        Some(_) => {}
    }
    // True for an object.
    let mut open: Vec<bool> = Vec::new();
    'values: loop {
        match bytes.get(at) {
            Some(begin @ (b'{' | b'[')) => {
                let object = *begin == b'{';
                if open.len() == MAX_DEPTH {
                    return Err(JsonError::TooDeep);
                }
                open.push(object);
                events.begin(object);
                at = skip_space(bytes, at + 1);
                if bytes.get(at) != Some(&closing(object)) {
                    if object {
                        at = name(text, at, events)?;
                    }
                    continue 'values;
                }
            }
            _ => {
                let end = scalar(bytes, at)?;
                events.scalar(&text[at..end]);
                at = skip_space(bytes, end);
            }
        }
        // Behind a value, or at the end of a container.
        loop {
            let Some(object) = open.last().copied() else {
                return if at == bytes.len() { Ok(()) } else { Err(wrong("more text after the value", bytes, at)) };
            };
            match bytes.get(at) {
                Some(b',') => {
                    at = skip_space(bytes, at + 1);
                    if object {
                        at = name(text, at, events)?;
                    }
                    continue 'values;
                }
                Some(byte) if *byte == closing(object) => {
                    events.end(object);
                    open.pop();
                    at = skip_space(bytes, at + 1);
                }
                _ if object => return Err(wrong("expected ',' or '}'", bytes, at)),
                _ => return Err(wrong("expected ',' or ']'", bytes, at)),
            }
        }
    }
}

fn closing(object: bool) -> u8 {
    if object { b'}' } else { b']' }
}

fn wrong(what: &'static str, bytes: &[u8], at: usize) -> JsonError {
    if at >= bytes.len() { JsonError::Truncated { at: bytes.len() } } else { JsonError::Syntax { what, at } }
}

/// A member's name and its colon; the place where its value begins.
fn name(text: &str, at: usize, events: &mut impl JsonVisitor) -> Result<usize, JsonError> {
    let bytes = text.as_bytes();
    if bytes.get(at) != Some(&b'"') {
        return Err(wrong("expected a member's name in double quotes", bytes, at));
    }
    let end = string(bytes, at)?;
    events.name(&text[at..end]);
    let colon = skip_space(bytes, end);
    if bytes.get(colon) != Some(&b':') {
        return Err(wrong("expected ':'", bytes, colon));
    }
    Ok(skip_space(bytes, colon + 1))
}

/// The place behind a scalar.
fn scalar(bytes: &[u8], at: usize) -> Result<usize, JsonError> {
    match bytes.get(at) {
        Some(b'"') => string(bytes, at),
        Some(b'-' | b'0'..=b'9') => number(bytes, at),
        Some(b't') => literal(bytes, at, b"true"),
        Some(b'f') => literal(bytes, at, b"false"),
        Some(b'n') => literal(bytes, at, b"null"),
        _ => Err(wrong("expected a value", bytes, at)),
    }
}

fn literal(bytes: &[u8], at: usize, word: &[u8]) -> Result<usize, JsonError> {
    let same = bytes[at..].iter().zip(word).take_while(|(found, wanted)| found == wanted).count();
    let end = at + same;
    if same == word.len() { Ok(end) } else { Err(wrong("expected true, false or null", bytes, end)) }
}

fn number(bytes: &[u8], begin: usize) -> Result<usize, JsonError> {
    let digits = |at: usize| {
        let count = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 { Err(wrong("expected a digit", bytes, at)) } else { Ok(at + count) }
    };
    let whole = begin + usize::from(bytes[begin] == b'-');
    let mut at = digits(whole)?;
    if bytes[whole] == b'0' && at > whole + 1 {
        return Err(wrong("a number with a leading zero", bytes, whole));
    }
    if bytes.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at = digits(at + 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-'))))?;
    }
    Ok(at)
}

fn string(bytes: &[u8], begin: usize) -> Result<usize, JsonError> {
    let mut at = begin + 1;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let plain = &rest[..memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len())];
        if has_control(plain) {
            let length = plain.iter().take_while(|byte| **byte >= b' ').count();
            return Err(wrong("a control character inside a string", bytes, at + length));
        }
        at += plain.len();
        match bytes.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => match bytes.get(at + 1) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => at += 2,
                Some(b'u') => {
                    let hex = bytes[at + 2..].iter().take(4).take_while(|byte| byte.is_ascii_hexdigit()).count();
                    if hex < 4 {
                        return Err(wrong("expected four hexadecimal digits", bytes, at + 2 + hex));
                    }
                    at += 6;
                }
                _ => return Err(wrong("an unknown escape", bytes, at + 1)),
            },
            _ => return Err(wrong("", bytes, at)),
        }
    }
}

/// Whether any byte is below a space. Looks at every byte, so that the compiler compares many at once.
fn has_control(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, byte| found | (*byte < b' '))
}

pub(super) fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

/// The place behind a string that begins here, in a text that was checked.
pub(super) fn string_end(bytes: &[u8], begin: usize) -> usize {
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

/// The place behind a value that begins here, in a text that was checked.
pub(super) fn value_end(bytes: &[u8], begin: usize) -> usize {
    match bytes.get(begin) {
        Some(b'"') => return string_end(bytes, begin),
        Some(b'{' | b'[') => {}
        _ => {
            let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b':' | b' ' | b'\n' | b'\r' | b'\t');
            return bytes[begin..].iter().position(ends).map_or(bytes.len(), |length| begin + length.max(1));
        }
    }
    let (mut at, mut level) = (begin, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(bytes, at);
                continue;
            }
            b'{' | b'[' => level += 1,
            b'}' | b']' => {
                level -= 1;
                if level == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}
