//! TOML syntax errors in plain words: where, what, and how to fix it. Errors that follow from another are left out.

mod keys;

use std::collections::BTreeSet;

use crate::nesting;
use toml_parser::parser::{Event, EventKind, RecursionGuard};
use toml_parser::{ParseError, Source};

use self::keys::KeyOffsets;
use super::schema_check::SchemaViolations;
use super::validate::LineIndex;

/// No deeper than the parser itself goes, so that no nesting is too much for the stack.
const DEPTH: u32 = nesting::MAX_DEPTH as u32;

/// What the parser's errors mean to a person, in the order of the text and one for each line.
pub(super) fn explain(text: &str, broken: &[toml::de::Error], lines: &LineIndex) -> SchemaViolations {
    let source = Source::new(text);
    let (events, errors) = parse(source);
    let keys = KeyOffsets::of(source, &events);
    let mut spans: Vec<_> = broken.iter().map(|error| (error.span().unwrap_or(0..0), error.message())).collect();
    for (span, message) in spans.iter_mut().filter(|(_, message)| is_open_text(message)) {
        // The parser means its end; what has to be fixed is where it begins.
        if let Some(begin) = text_around(&events, span.start) {
            *span = begin..begin;
            *message = OPEN_TEXT;
        }
    }
    spans.sort_by_key(|(span, _)| span.start);
    let mut found = SchemaViolations::new();
    let open = never_closed(&errors);
    if let Some((offset, _)) = open {
        // The rest of the file was read as a part of it.
        spans.retain(|(span, _)| span.start < offset);
    }
    let mut told = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for (span, message) in spans {
        if !told.insert(lines.line_at(span.start)) {
            continue;
        }
        match keys.first_definition(span.start) {
            Some((key, first)) if is_twice(message) => {
                // What stands in a table that is there twice is there twice too.
                if key.match_indices('.').all(|(at, _)| !twice.contains(&key[..at])) {
                    found.push((
                        span.start,
                        key.to_owned(),
                        format!("is already defined on line {}", lines.line_at(first)),
                    ));
                    twice.insert(key);
                }
            }
            _ => found.push((span.start, String::new(), describe_error(text, span.start, message))),
        }
    }
    if let Some((offset, message)) = open {
        found.push((offset, String::new(), message.to_owned()));
    }
    found
}

/// What is said here of a text without an end, whatever quotes it began with.
const OPEN_TEXT: &str = "unclosed text";

fn is_open_text(message: &str) -> bool {
    ["\"", "'"].iter().any(|quote| message.ends_with(&format!(" string, expected `{quote}`")))
}

/// Where the text begins that an offset is in.
fn text_around(events: &[Event], offset: usize) -> Option<usize> {
    let is_text = |event: &&Event| matches!(event.kind(), EventKind::Scalar | EventKind::SimpleKey);
    let before = &events[..events.partition_point(|event| event.span().start() <= offset)];
    before.iter().rev().find(is_text).map(|event| event.span().start())
}

fn parse(source: Source<'_>) -> (Vec<Event>, Vec<ParseError>) {
    let tokens = source.lex().into_vec();
    let mut events = Vec::with_capacity(tokens.len());
    let mut errors = Vec::new();
    let mut guard = RecursionGuard::new(&mut events, DEPTH);
    toml_parser::parser::parse_document(&tokens, &mut guard, &mut errors);
    (events, errors)
}

/// The outermost array or table in one line that has no end: where it begins, and what to say of it.
fn never_closed(errors: &[ParseError]) -> Option<(usize, &'static str)> {
    let open = errors.iter().filter_map(|error| {
        let message = match error.description() {
            "unclosed array" => "an array that begins here is never closed: add ']'",
            "unclosed inline table" => "a table that begins here is never closed: add '}'",
            _ => return None,
        };
        Some((error.context()?.start(), message))
    });
    open.min_by_key(|(offset, _)| *offset)
}

fn is_twice(message: &str) -> bool {
    message == "duplicate key" || message.starts_with("cannot extend value")
}

const MORE: &str = "there is more after the value: each key begins a line";

/// What the parser says, in words for somebody who may not know TOML. What is not known here stays as it is.
fn describe_error(text: &str, offset: usize, message: &str) -> String {
    let rest = text.get(offset..).unwrap_or_default();
    let line = text.get(..offset).map_or(0, |before| before.rfind('\n').map_or(0, |at| at + 1));
    let line = text.get(line..).and_then(|line| line.lines().next()).unwrap_or_default();
    let description = message.split(", expected").next().unwrap_or(message);
    match description {
        "string values must be quoted" | "invalid boolean" => unquoted(rest),
        "missing value" | "missing value for key" => "missing value after '='".to_owned(),
        "extra `=`" => "there is one '=' too many".to_owned(),
        "key with no value" | "invalid unquoted key" if is_yaml(line) => {
            let (key, value) = line.split_once(':').unwrap_or((line, ""));
            format!("a key and its value are separated by '=', as in {} = {:?}", key.trim(), value.trim())
        }
        "key with no value" => "a key has no value: write '=' and the value after it".to_owned(),
        "missing escaped value" => match rest.chars().next() {
            Some(c) => format!("'\\{c}' is not an escape: write '\\\\' for a backslash"),
            None => "a text ends in a '\\': write '\\\\' for a backslash".to_owned(),
        },
        "invalid unquoted key" => {
            let key = key_around(text, offset);
            format!("a key with characters other than letters, digits, '-' and '_' needs quotes: {key:?}")
        }
        "unclosed table" => "the name of a table is never closed: add ']'".to_owned(),
        "unclosed array table" => "the name of a table is never closed: add ']]'".to_owned(),
        "missing comma between array elements" | "missing comma between key-value pairs" => {
            "a ',' is missing before this".to_owned()
        }
        "unexpected key or value" => MORE.to_owned(),
        "recursion limit" | "cannot recurse further; max recursion depth met" => nesting::TOO_DEEP.to_owned(),
        "duplicate key" => "duplicate key".to_owned(),
        OPEN_TEXT => {
            let quotes = ["\"\"\"", "'''", "\"", "'"];
            let quote = quotes.into_iter().find(|quote| rest.starts_with(quote)).unwrap_or("\"");
            format!("a text is never closed: add {quote}")
        }
        _ => message.to_owned(),
    }
}

fn is_yaml(line: &str) -> bool {
    !line.contains('=') && line.split_once(':').is_some_and(|(key, _)| !key.trim().is_empty())
}

/// Something that is not a text, number, truth value, array or table.
fn unquoted(rest: &str) -> String {
    let line = rest.lines().next().unwrap_or_default();
    let end = line.find(['#', ',', ']', '}']).unwrap_or(line.len());
    let value = line[..end].trim();
    let bare = value.trim_matches(['“', '”', '„', '‘', '’', '«', '»']);
    if value.is_empty() {
        "missing value after '='".to_owned()
    } else if bare != value {
        format!("a string needs straight quotes: {bare:?}")
    } else if value.contains('=') && value.starts_with(|c: char| c.is_ascii_digit()) {
        MORE.to_owned()
    } else if value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false") {
        format!("a truth value is written in small letters: {}", value.to_ascii_lowercase())
    } else {
        format!("a string needs quotes: {value:?}")
    }
}

/// The key that an offset is within, as it was written.
fn key_around(text: &str, offset: usize) -> &str {
    let ends = ['=', '.', '[', ']', '{', '}', ',', '"', '\'', '\n'];
    let before = text.get(..offset).unwrap_or_default();
    let start = before.rfind(ends).map_or(0, |at| at + 1);
    let after = text.get(offset..).unwrap_or_default();
    let end = offset + after.find(ends).unwrap_or(after.len());
    text.get(start..end).unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use crate::connector::validate;

    #[test]
    fn each_mistake_is_told_once_and_in_words() {
        let cases = [
            ("a = TRUE", "line 1: a truth value is written in small letters: true"),
            ("a = “x”", "line 1: a string needs straight quotes: \"x\""),
            ("a = [\"x\" \"y\"]", "line 1: a ',' is missing before this"),
            ("a = { b = 1", "line 1: a table that begins here is never closed: add '}'"),
            ("a = \"\"\"\nx\n\ny", "line 1: a text is never closed: add \"\"\""),
            ("a = 'x", "line 1: a text is never closed: add '"),
            ("a\n", "line 1: a key has no value: write '=' and the value after it"),
            ("a = 1 b = 2", "line 1: there is more after the value: each key begins a line"),
            ("[[a]\nb = 1", "line 1: the name of a table is never closed: add ']]'"),
            ("[a]\nb = 1\n[a.b]\nc = 1", "line 3: a.b: is already defined on line 2"),
            ("[[a]]\nb = 1\n[[a]]\nb = 1\nb = 2", "line 5: a.1.b: is already defined on line 4"),
            ("a = { b = 1, c = 2,\nb = 3 }", "line 2: a.b: is already defined on line 1"),
            ("a = [{ b = 1 }, { b = 1,\nb = 2 }]", "line 2: a.1.b: is already defined on line 1"),
        ];
        for (text, expected) in cases {
            let said: Vec<String> = validate(text).iter().map(ToString::to_string).collect();
            assert_eq!(said, [expected], "{text}");
        }
    }

    #[test]
    fn nesting_without_end_is_refused() {
        let text = format!("a = {}", "[".repeat(100_000));
        assert_eq!(validate(&text).len(), 1);
    }
}
