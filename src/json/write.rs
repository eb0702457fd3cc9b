//! Rewrites JSON in another layout.

use std::borrow::Cow;

use super::value::unicode_escape;
use super::visit::{JsonVisitor, string_end, visit};

/// JSON without the space between its parts; strings keep theirs.
pub fn minified(json: &str) -> Cow<'_, str> {
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

/// JSON with a line for each value, indented by two spaces. A text that is not JSON stays as it is.
pub fn pretty(json: &str) -> String {
    let mut lines = PrettyPrinter { out: String::with_capacity(json.len() * 2), level: 0, first: true, named: false };
    match visit(json, &mut lines) {
        Ok(()) => lines.out,
        Err(_) => json.to_owned(),
    }
}

struct PrettyPrinter {
    out: String,
    level: usize,
    /// Whether the next value is the first of its container.
    first: bool,
    /// Whether the next value follows its name.
    named: bool,
}

impl PrettyPrinter {
    /// What precedes a value or a name.
    fn lead(&mut self) {
        if std::mem::take(&mut self.named) {
            self.out.push(' ');
        } else if self.level > 0 {
            self.out.push_str(if self.first { "\n" } else { ",\n" });
            self.indent();
        }
        self.first = false;
    }

    fn indent(&mut self) {
        self.out.extend(std::iter::repeat_n("  ", self.level));
    }
}

impl JsonVisitor for PrettyPrinter {
    fn begin(&mut self, object: bool) {
        self.lead();
        self.out.push(if object { '{' } else { '[' });
        self.level += 1;
        self.first = true;
    }

    fn end(&mut self, object: bool) {
        self.level -= 1;
        if !std::mem::take(&mut self.first) {
            self.out.push('\n');
            self.indent();
        }
        self.out.push(if object { '}' } else { ']' });
    }

    fn name(&mut self, text: &str) {
        self.lead();
        self.out.push_str(text);
        self.out.push(':');
        self.named = true;
    }

    fn scalar(&mut self, text: &str) {
        self.lead();
        self.out.push_str(text);
    }
}

/// JSON in which each half of a surrogate pair is U+FFFD, for programs that refuse it.
pub fn without_lone_surrogates(json: &str) -> Cow<'_, str> {
    let mut kept = String::new();
    let (mut from, mut at) = (0, 0);
    while let Some(found) = memchr::memchr(b'\\', json.as_bytes().get(at..).unwrap_or_default()) {
        at += found;
        at += match unicode_escape(&json[at..]) {
            Some((Ok(_), length)) => length,
            Some((Err(_), length)) => {
                kept.push_str(&json[from..at]);
                kept.push('\u{fffd}');
                from = at + length;
                length
            }
            None => 2,
        };
    }
    if from == 0 {
        return Cow::Borrowed(json);
    }
    kept.push_str(&json[from..]);
    Cow::Owned(kept)
}
