//! Finds every mistake of a connector file at once: line, key, what is wrong, and what was probably meant.
//!
//! Three passes. The TOML itself; its shape against the schema that the model gives, walked over the parsed text so that
//! each mistake has its place; and, where the shape is right, what the values say together (`semantic`).

use std::fmt;

use serde_json::Value as Schema;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{catalogue, schema, semantic};

/// One mistake of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// From 1; 0 where it is about the whole file.
    pub line: usize,
    /// The dotted path of the key: `auth.oauth.oauth2.token_url`.
    pub key: String,
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// All mistakes of a connector file, in the order of their lines; none for a valid one.
pub fn validate(text: &str) -> Vec<Mistake> {
    // Found once: a hostile file has a mistake on each of a hundred thousand lines.
    let breaks: Vec<usize> = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
    let line_of = |offset: usize| breaks.partition_point(|at| *at < offset) + 1;
    let (document, broken) = DeTable::parse_recoverable(text);
    let mut mistakes: Vec<Mistake> = broken
        .iter()
        .map(|error| Mistake {
            line: line_of(error.span().map_or(0, |span| span.start)),
            key: String::new(),
            message: error.message().to_owned(),
        })
        .collect();
    let root = schema::json_schema();
    let mut walk = Walk { root: &root, found: Vec::new(), inherits: document.get_ref().get("vendor").is_some() };
    if mistakes.is_empty() {
        walk.table(document.get_ref(), 0, &root, "");
    }
    mistakes.extend(walk.found.into_iter().map(|(offset, key, message)| Mistake {
        line: line_of(offset),
        key,
        message,
    }));
    if mistakes.is_empty() {
        mistakes = match catalogue::parse(text) {
            Ok(connector) => semantic::check(&connector)
                .into_iter()
                .map(|(key, message)| {
                    let line = offset_of(document.get_ref(), &key).map_or(0, line_of);
                    Mistake { line, key, message }
                })
                .collect(),
            Err(message) => vec![Mistake { line: 0, key: String::new(), message }],
        };
    }
    mistakes.sort_by_key(|mistake| mistake.line);
    mistakes
}

/// Where the key of a dotted path stands, or the nearest one above it that does.
fn offset_of(table: &DeTable<'_>, path: &str) -> Option<usize> {
    let mut at = table;
    let mut offset = None;
    let mut rest = path;
    while !rest.is_empty() {
        // A key may hold dots itself (a scope's name): the longest that fits is taken.
        let ends = rest.match_indices('.').map(|(at, _)| at).chain([rest.len()]);
        let (key, value) = ends.rev().find_map(|end| at.get_key_value(&rest[..end]))?;
        offset = Some(key.span().start);
        rest = rest[key.get_ref().len()..].trim_start_matches('.');
        match value.get_ref() {
            DeValue::Table(inner) => at = inner,
            _ => break,
        }
    }
    offset
}

struct Walk<'s> {
    root: &'s Schema,
    /// Byte offset, key and message.
    found: Vec<(usize, String, String)>,
    /// Whether missing keys may come from the vendor's file.
    inherits: bool,
}

impl<'s> Walk<'s> {
    fn report(&mut self, offset: usize, key: &str, message: String) {
        self.found.push((offset, key.to_owned(), message));
    }

    fn resolve(&self, schema: &'s Schema) -> &'s Schema {
        match schema.get("$ref").and_then(Schema::as_str) {
            Some(reference) => self.root.pointer(reference.trim_start_matches('#')).unwrap_or(schema),
            None => schema,
        }
    }

    fn table(&mut self, table: &DeTable<'_>, offset: usize, schema: &'s Schema, path: &str) {
        let properties = schema.get("properties").and_then(Schema::as_object);
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            match properties.and_then(|properties| properties.get(name)).or(others) {
                Some(inner) => self.value(value, inner, &path),
                None if schema.get("additionalProperties") == Some(&Schema::Bool(true)) => {}
                None => {
                    let known: Vec<&str> = properties.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                    self.report(key.span().start, &path, format!("there is no such key{}", suggest(name, &known)));
                }
            }
        }
        if self.inherits {
            return;
        }
        for name in schema.get("required").and_then(Schema::as_array).into_iter().flatten().filter_map(Schema::as_str) {
            if !table.iter().any(|(key, _)| key.get_ref() == name) {
                let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                self.report(offset, &path, "is missing".to_owned());
            }
        }
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, schema: &'s Schema, path: &str) {
        let schema = self.resolve(schema);
        if takes_anything(schema) {
            return;
        }
        let kind = toml_kind(value.get_ref());
        let choices = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Schema::as_array);
        if let Some(choices) = choices
            && schema.get("type").is_none()
        {
            let choices: Vec<&Schema> = choices.iter().map(|choice| self.resolve(choice)).collect();
            // Documented words come as one `const` each, the others as an `enum`; optional things as the thing or null.
            let words: Vec<&str> = choices.iter().flat_map(|choice| words_of(choice)).collect();
            if !words.is_empty() {
                return self.word(value, &words, path);
            }
            return match choices.iter().find(|choice| accepts(choice, kind)) {
                Some(choice) => self.value(value, choice, path),
                None => self.wrong_kind(value, &expected(&choices), path),
            };
        }
        let words = words_of(schema);
        if !words.is_empty() {
            return self.word(value, &words, path);
        }
        if !accepts(schema, kind) {
            return self.wrong_kind(value, &expected(&[schema]), path);
        }
        match value.get_ref() {
            DeValue::Table(table) => self.table(table, value.span().start, schema, path),
            DeValue::Array(items) => {
                if let Some(inner) = schema.get("items") {
                    for (index, item) in items.iter().enumerate() {
                        self.value(item, inner, &format!("{path}.{index}"));
                    }
                }
            }
            _ => {}
        }
    }

    fn word(&mut self, value: &Spanned<DeValue<'_>>, words: &[&str], path: &str) {
        match value.get_ref() {
            DeValue::String(text) if words.contains(&text.as_ref()) => {}
            DeValue::String(text) => {
                let message = format!("{text:?} is none of {}{}", words.join(", "), suggest(text, words));
                self.report(value.span().start, path, message);
            }
            _ => self.wrong_kind(value, &format!("one of {}", words.join(", ")), path),
        }
    }

    fn wrong_kind(&mut self, value: &Spanned<DeValue<'_>>, expected: &str, path: &str) {
        self.report(value.span().start, path, format!("takes {expected}, not a {}", value.get_ref().type_str()));
    }
}

/// Whether a schema says nothing of a value.
fn takes_anything(schema: &Schema) -> bool {
    let says = |key: &String| !matches!(key.as_str(), "description" | "default");
    schema == &Schema::Bool(true) || schema.as_object().is_some_and(|schema| !schema.keys().any(says))
}

/// The words that a schema of fixed words takes.
fn words_of(schema: &Schema) -> Vec<&str> {
    let listed = schema.get("enum").and_then(Schema::as_array).into_iter().flatten();
    listed.chain(schema.get("const")).filter_map(Schema::as_str).collect()
}

fn toml_kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) | DeValue::Datetime(_) => "string",
        DeValue::Integer(_) => "integer",
        DeValue::Float(_) => "number",
        DeValue::Boolean(_) => "boolean",
        DeValue::Array(_) => "array",
        DeValue::Table(_) => "object",
    }
}

fn accepts(schema: &Schema, kind: &str) -> bool {
    let fits = |name: &Schema| name == kind || (name == "number" && kind == "integer");
    match schema.get("type") {
        Some(Schema::Array(kinds)) => kinds.iter().any(fits),
        Some(one) => fits(one),
        None if schema.get("enum").is_some() || schema.get("const").is_some() || schema.get("oneOf").is_some() => {
            kind == "string"
        }
        None => true,
    }
}

/// The kinds that the schemas take, in the words of TOML.
fn expected(schemas: &[&Schema]) -> String {
    let mut kinds: Vec<&str> = Vec::new();
    for schema in schemas {
        match schema.get("type") {
            Some(Schema::Array(several)) => kinds.extend(several.iter().filter_map(Schema::as_str)),
            Some(Schema::String(one)) => kinds.push(one),
            _ => kinds.push("string"),
        }
    }
    kinds.retain(|kind| *kind != "null");
    kinds.dedup();
    let words: Vec<&str> = kinds
        .into_iter()
        .map(|kind| match kind {
            "object" => "a table",
            "array" => "an array",
            "integer" => "an integer",
            "boolean" => "true or false",
            "number" => "a number",
            _ => "a string",
        })
        .collect();
    words.join(" or ")
}

/// `, did you mean X?` where one of the known words is near.
fn suggest(word: &str, known: &[&str]) -> String {
    let scored = known.iter().map(|known| (strsim::jaro_winkler(known, word), *known));
    match scored.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((score, best)) if score > 0.75 => format!(", did you mean {best}?"),
        _ => String::new(),
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
                "line 5: docs: takes a string, not a integer",
                "line 6: auth.key.label: is missing",
                "line 7: auth.key.lable: there is no such key, did you mean label?",
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
