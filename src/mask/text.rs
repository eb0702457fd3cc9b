//! Masks secrets in texts and JSON documents that are there as a whole, also under escapes that no list of forms covers
//! (`%74oken`, `&#116;oken`, `\u0074oken`, and escapes of escapes), and broken into lines.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::{Map, Value};

use super::{MASK, SecretPatterns};

/// Escapes within escapes that are undone.
const MAX_DEPTH: usize = 3;

/// The longest HTML reference that is undone: `&#x0010FFFF;`.
const LONGEST_REFERENCE: usize = 12;

/// The HTML references that name an ASCII character, but for letters and digits.
const REFERENCES: &[(&str, u8)] = &[
    ("amp", b'&'),
    ("apos", b'\''),
    ("ast", b'*'),
    ("bsol", b'\\'),
    ("colon", b':'),
    ("comma", b','),
    ("commat", b'@'),
    ("dollar", b'$'),
    ("equals", b'='),
    ("excl", b'!'),
    ("grave", b'`'),
    ("gt", b'>'),
    ("hyphen", b'-'),
    ("lowbar", b'_'),
    ("lpar", b'('),
    ("lsqb", b'['),
    ("lt", b'<'),
    ("num", b'#'),
    ("percnt", b'%'),
    ("period", b'.'),
    ("plus", b'+'),
    ("quest", b'?'),
    ("quot", b'"'),
    ("rpar", b')'),
    ("rsqb", b']'),
    ("semi", b';'),
    ("sol", b'/'),
    ("verbar", b'|'),
];

/// Bytes, and of each the place in the original text that it was read from.
struct Decoded {
    bytes: Vec<u8>,
    places: Vec<Range<usize>>,
}

impl Decoded {
    fn of(text: &str) -> Self {
        let places = (0..text.len()).map(|at| at..at + 1).collect();
        Self { bytes: text.as_bytes().to_vec(), places }
    }

    /// Undoes one layer of escapes; `None` if there are none.
    fn unescaped(&self) -> Option<Self> {
        let mut next = Self { bytes: Vec::with_capacity(self.bytes.len()), places: Vec::new() };
        let (mut at, mut has_escapes) = (0, false);
        while at < self.bytes.len() {
            let escape = match self.bytes[at] {
                b'%' => percent(&self.bytes[at..]),
                b'&' => reference(&self.bytes[at..]),
                b'\\' => backslash(&self.bytes[at..]),
                _ => None,
            };
            let (character, length) = match escape {
                Some((character, length)) => {
                    has_escapes = true;
                    (character, length)
                }
                None => (Character::Byte(self.bytes[at]), 1),
            };
            let place = self.places[at].start..self.places[at + length - 1].end;
            let mut push = |byte| {
                next.bytes.push(byte);
                next.places.push(place.clone());
            };
            match character {
                Character::Byte(byte) => push(byte),
                Character::Char(c) => c.encode_utf8(&mut [0; 4]).bytes().for_each(push),
            }
            at += length;
        }
        has_escapes.then_some(next)
    }

    /// Joins the lines, without the blanks that begin the following ones; `None` if there is one line.
    fn joined(&self) -> Option<Self> {
        let mut next = Self { bytes: Vec::with_capacity(self.bytes.len()), places: Vec::new() };
        let mut is_start = false;
        for (byte, place) in self.bytes.iter().zip(&self.places) {
            match byte {
                b'\r' | b'\n' => is_start = true,
                b' ' | b'\t' if is_start => {}
                byte => {
                    is_start = false;
                    next.bytes.push(*byte);
                    next.places.push(place.clone());
                }
            }
        }
        (next.bytes.len() < self.bytes.len()).then_some(next)
    }

    /// The places in the original text of these parts.
    fn places_of(&self, parts: Vec<Range<usize>>) -> impl Iterator<Item = Range<usize>> {
        parts.into_iter().map(|part| self.places[part.start].start..self.places[part.end - 1].end)
    }
}

enum Character {
    Byte(u8),
    Char(char),
}

/// The byte of `%41`, and the length of the escape.
fn percent(text: &[u8]) -> Option<(Character, usize)> {
    Some((Character::Byte(u8::try_from(number(text.get(1..3)?, 16)?).ok()?), 3))
}

/// The character of `&amp;`, `&#65;` or `&#x41;`, and the length of the reference.
fn reference(text: &[u8]) -> Option<(Character, usize)> {
    let end = text.iter().take(LONGEST_REFERENCE).position(|byte| *byte == b';')?;
    let name = &text[1..end];
    let code = match name {
        [b'#', b'x' | b'X', digits @ ..] => number(digits, 16),
        [b'#', digits @ ..] => number(digits, 10),
        name => REFERENCES.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, byte)| u32::from(*byte)),
    };
    Some((Character::Char(char::from_u32(code?)?), end + 1))
}

/// The character of an escape in JSON or JavaScript, and its length.
fn backslash(text: &[u8]) -> Option<(Character, usize)> {
    let unit = |at: usize| number(text.get(at..at + 4)?, 16);
    let byte = match text.get(1)? {
        b'u' => {
            let first = unit(2)?;
            let pair = (0xd800..0xdc00).contains(&first) && text.get(6..8) == Some(b"\\u");
            return match pair.then(|| unit(8)).flatten() {
                Some(second @ 0xdc00..0xe000) => {
                    let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                    Some((Character::Char(char::from_u32(code)?), 12))
                }
                _ => Some((Character::Char(char::from_u32(first)?), 6)),
            };
        }
        b'x' => return Some((Character::Byte(u8::try_from(number(text.get(2..4)?, 16)?).ok()?), 4)),
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        byte @ (b'"' | b'\'' | b'/' | b'\\') => *byte,
        _ => return None,
    };
    Some((Character::Byte(byte), 2))
}

/// Digits alone: a sign is none.
fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok()?;
    let plain = !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    plain.then(|| u32::from_str_radix(text, radix).ok()).flatten()
}

impl SecretPatterns {
    /// Returns a whole text with its secrets masked, in every form that is known and under escapes.
    pub fn mask_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut found = Vec::new();
        if text.contains(['%', '&', '\\', '\n', '\r']) {
            let mut layer = Decoded::of(text);
            for _ in 0..=MAX_DEPTH {
                found.extend(layer.places_of(self.ranges(&layer.bytes)));
                if let Some(joined) = layer.joined() {
                    found.extend(joined.places_of(self.ranges(&joined.bytes)));
                }
                let Some(next) = layer.unescaped() else { break };
                layer = next;
            }
        } else {
            found = self.ranges(text.as_bytes());
        }
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        found.sort_by_key(|range| range.start);
        let (mut masked, mut at) = (String::with_capacity(text.len()), 0);
        for range in found {
            if range.start >= at {
                // Forms begin and end between characters.
                masked.push_str(text.get(at..range.start).unwrap_or_default());
                masked.push_str(&String::from_utf8_lossy(MASK));
            }
            at = at.max(range.end);
        }
        masked.push_str(text.get(at..).unwrap_or_default());
        Cow::Owned(masked)
    }

    /// Masks the secrets in the texts, the names of members and the numbers of a document.
    pub fn mask_json(&self, document: &mut Value) {
        match document {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => {
                if let Cow::Owned(masked) = self.mask_text(&number.to_string()) {
                    *document = Value::String(masked);
                }
            }
            Value::String(text) => {
                if let Cow::Owned(masked) = self.mask_text(text) {
                    *text = masked;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.mask_json(item)),
            Value::Object(members) => {
                members.values_mut().for_each(|member| self.mask_json(member));
                if members.keys().any(|name| matches!(self.mask_text(name), Cow::Owned(_))) {
                    let masked = std::mem::take(members).into_iter();
                    *members = masked
                        .map(|(name, member)| (self.mask_text(&name).into_owned(), member))
                        .collect::<Map<_, _>>();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::secret::Secret;

    const TOKEN: &str = "tok/en+\"1234\"<&>";

    fn patterns() -> SecretPatterns {
        SecretPatterns::new(&[Secret::from(TOKEN), Secret::from("99887766")]).unwrap()
    }

    #[test]
    fn a_secret_is_found_under_escapes_of_each_kind() {
        let percent: String = TOKEN.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let decimal: String = TOKEN.bytes().map(|byte| format!("&#{byte};")).collect();
        let hexadecimal: String = TOKEN.bytes().map(|byte| format!("&#x{byte:X};")).collect();
        let json: String = TOKEN.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
        let script: String = TOKEN.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
        let named = "tok&sol;en&plus;&quot;1234&quot;&lt;&amp;&gt;".to_owned();
        let mixed = "%74ok\\/en%2b\\u00221234&quot;&lt;&amp;%3E".to_owned();
        let twice: String = percent.bytes().map(|byte| format!("&#{byte};")).collect();
        let thrice = json.replace('\\', "\\\\").replace('u', "%75");
        for text in [percent, decimal, hexadecimal, json, script, named, mixed, twice, thrice, TOKEN.to_owned()] {
            assert_eq!(patterns().mask_text(&format!("a {text} b")), "a *** b", "{text}");
        }
    }

    #[test]
    fn a_secret_is_found_where_it_is_broken_into_lines() {
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(format!("name:{TOKEN}:x"));
        for whole in [TOKEN, &encoded] {
            for columns in 1..whole.len() {
                let lines: Vec<&str> =
                    (0..whole.len()).step_by(columns).map(|at| &whole[at..whole.len().min(at + columns)]).collect();
                for end in ["\n", "\r\n", "\n  \t", "\\n", "%0D%0A", "&#10;"] {
                    let masked = patterns().mask_text(&format!("a {} b", lines.join(end))).into_owned();
                    assert!(masked.contains("***"), "{columns} {end:?}: {masked}");
                    let left = masked.replace(end, "");
                    assert!(!left.contains(&whole[4..whole.len() - 4]), "{columns} {end:?}: {masked}");
                }
            }
        }
    }

    #[test]
    fn other_text_stays_as_it_is() {
        for text in
            ["tok\nen", "a\r\n b\n\nc\n", "", "100% &c. \\o/ &amp; %zz &#; &#x110000; \\u12 \\ud800 %", "\u{e9}%C3%A9"]
        {
            assert_eq!(patterns().mask_text(text), text);
        }
    }

    #[test]
    fn names_and_numbers_of_a_document_are_masked() {
        let mut document =
            json!({ "a": [TOKEN, 99_887_766, 1.5, null], TOKEN: { "b": "x 99887766" }, "c": 5_998_877_661_u64 });
        patterns().mask_json(&mut document);
        let masked = json!({ "a": ["***", "***", 1.5, null], "***": { "b": "x ***" }, "c": "5***1" });
        assert_eq!(document, masked);
    }
}
