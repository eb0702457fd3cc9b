//! Finds all mistakes in a connector file: line, key, problem, and suggestion.
//!
//! Three passes. The TOML itself (`syntax`); its shape against the schema that the model gives (`shape`); and, where the
//! shape is right, what the values say together (`semantic`). A pass that finds something ends it: what the next would say
//! of a file that is half understood would only follow from that.

use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{catalogue, charset, schema, schema_check, semantic, syntax};
use crate::nesting;

/// One mistake of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDiagnostic {
    /// From 1.
    pub line: usize,
    /// The dotted path of the key, as in `auth.oauth.oauth2.token_url`; empty where the TOML itself is broken.
    pub key: String,
    pub message: String,
}

impl fmt::Display for FileDiagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// All mistakes of a connector file, in the order of their lines; none for a valid one.
pub fn validate(text: &str) -> Vec<FileDiagnostic> {
    let lines = LineIndex::of(text);
    if let Some(offset) = nesting::find_too_deep(text) {
        let message = nesting::TOO_DEEP.to_owned();
        return vec![FileDiagnostic { line: lines.line_at(offset), key: String::new(), message }];
    }
    let (document, broken) = DeTable::parse_recoverable(text);
    let found = if broken.is_empty() { check(&document) } else { syntax::explain(text, &broken, &lines) };
    let mut mistakes: Vec<FileDiagnostic> = found
        .into_iter()
        .map(|(offset, key, message)| FileDiagnostic { line: lines.line_at(offset), key, message })
        .collect();
    mistakes.sort_by_key(|mistake| mistake.line);
    mistakes
}

/// The mistakes of a file with valid TOML.
fn check(own: &Spanned<DeTable<'_>>) -> schema_check::SchemaViolations {
    let root = schema::json_schema();
    let document = match catalogue::inherit(own.clone()) {
        Ok(document) => document,
        Err(unknown) => {
            let mut found = schema_check::check(own.get_ref(), root, false);
            found.push((unknown.offset, "vendor".to_owned(), unknown.message));
            return found;
        }
    };
    let mut found = schema_check::check(document.get_ref(), root, true);
    check_hidden_characters(own.get_ref(), &mut found);
    if !found.is_empty() {
        return found;
    }
    match catalogue::deserialize(document.clone()) {
        Ok(connector) => {
            for (key, message) in semantic::check(&connector) {
                found.push((offset_of(document.get_ref(), &key), key, message));
            }
        }
        // The shape says all that the model does: this is for what the two might one day not share.
        Err(error) => {
            let offset = error.span().map_or(0, |span| span.start);
            found.push((offset, String::new(), error.message().to_owned()));
        }
    }
    found
}

/// Finds texts and keys with characters that steer a terminal or are not seen: what is shown of a file must be what it says.
fn check_hidden_characters(table: &DeTable<'_>, found: &mut schema_check::SchemaViolations) {
    let mut say = |offset: usize, text: &str| {
        if let Some(c) = charset::first_hidden_char(text) {
            let message = format!("holds U+{:04X}, an invisible or control character", u32::from(c));
            found.push((offset, String::new(), message));
        }
    };
    for (key, value) in table {
        say(key.span().start, key.get_ref());
        texts(value, &mut say);
    }
}

fn texts(value: &Spanned<DeValue<'_>>, say: &mut impl FnMut(usize, &str)) {
    match value.get_ref() {
        DeValue::String(text) => say(value.span().start, text),
        DeValue::Array(items) => items.iter().for_each(|item| texts(item, say)),
        DeValue::Table(table) => {
            for (key, value) in table {
                say(key.span().start, key.get_ref());
                texts(value, say);
            }
        }
        _ => {}
    }
}

/// Where each line of a text begins.
pub(super) struct LineIndex(Vec<usize>);

impl LineIndex {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1).collect())
    }

    /// The line of a byte, from 1.
    pub(super) fn line_at(&self, offset: usize) -> usize {
        self.0.partition_point(|begin| *begin <= offset) + 1
    }
}

/// The position of the key of a dotted path, or the nearest one above it that does.
fn offset_of(table: &DeTable<'_>, path: &str) -> usize {
    // A key may hold dots itself (a scope's name): the longest that fits is taken.
    let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
    let Some((key, value)) = ends.rev().find_map(|end| table.get_key_value(&path[..end])) else { return 0 };
    let rest = path[key.get_ref().len()..].trim_start_matches('.');
    within(value.get_ref(), rest).unwrap_or(key.span().start)
}

/// The same within a value; absent where nothing of the path is found there.
fn within(value: &DeValue<'_>, path: &str) -> Option<usize> {
    match value {
        DeValue::Table(table) => Some(offset_of(table, path)).filter(|offset| *offset > 0),
        DeValue::Array(items) => {
            let (index, rest) = path.split_once('.').unwrap_or((path, ""));
            let item = items.get(index.parse::<usize>().ok()?)?;
            Some(within(item.get_ref(), rest).unwrap_or(item.span().start))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = include_str!("../../connectors/slack.toml");

    fn mistakes(text: &str) -> Vec<String> {
        validate(text).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_mistakes_are_found_at_once_with_line_and_likely_key() {
        let text = "id = \"acme\"\nname = \"Acme\"\ncategory = \"projets\"\ndescription = \"x\"\ndocs = 3\n\
                    [auth.key]\nlable = \"Key\"\n[auth.key.fields.token]\nprompt = \"Token\"\nsecret = \"yes\"\n";
        assert_eq!(
            mistakes(text),
            [
                "line 3: category: \"projets\" is none of calendar, communication, crm, developer, documents, email, finance, \
                 forms, generic, payments, projects, storage, did you mean projects?",
                "line 5: docs: takes a string, not an integer",
                "line 6: auth.key.label: is missing",
                "line 7: auth.key.lable: unknown key, did you mean label?",
                "line 10: auth.key.fields.token.secret: takes true or false, not a string",
            ]
        );
    }

    #[test]
    fn broken_toml_is_a_mistake_with_its_line() {
        assert!(mistakes("id = \"a\"\nname = = 1\n")[0].starts_with("line 2: "));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Any text, and any cut and splice of a valid file, is judged without a panic.
        #[test]
        fn no_input_panics(from in 0usize..3000, to in 0usize..3000, noise in ".{0,40}") {
            let cut = |at: usize| GOOD.char_indices().map(|(at, _)| at).nth(at).unwrap_or(GOOD.len());
            let _ = validate(&format!("{}{noise}{}", &GOOD[..cut(from)], &GOOD[cut(to)..]));
            let _ = validate(&noise);
        }
    }
}
