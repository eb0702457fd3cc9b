//! Checks the parsed text of a connector file against the schema, with the position of each mistake.

use std::ops::Range;

use serde_json::Value as Schema;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::{Pointer, Template};
use crate::near::{did_you_mean, did_you_mean_or_list};

/// Byte offset, key and message of each mistake.
pub(super) type SchemaViolations = Vec<(usize, String, String)>;

/// What of a file does not fit the schema. Missing keys are looked for where the file is `whole`: with what it inherits.
pub(super) fn check(document: &DeTable<'_>, root: &Schema, whole: bool) -> SchemaViolations {
    let mut walk = SchemaChecker { root, found: Vec::new(), checks_required: whole };
    walk.table(document, 0, root, "");
    walk.found
}

struct SchemaChecker<'s> {
    root: &'s Schema,
    found: SchemaViolations,
    checks_required: bool,
}

impl<'s> SchemaChecker<'s> {
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
        let others = schema.get("additionalProperties").filter(|others| *others != &Schema::Bool(false));
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let path = below(path, name);
            if let Some(names) = schema.get("propertyNames") {
                self.text(name, key.span().start, names, &path);
            }
            match properties.and_then(|properties| properties.get(name)).or(others) {
                Some(inner) => self.value(value, inner, &path),
                None => {
                    let known: Vec<&str> = properties.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                    let message = format!("unknown key{}", did_you_mean_or_list(name, known));
                    self.report(key.span().start, &path, message);
                }
            }
        }
        if self.checks_required {
            self.required(table, offset, schema, path);
        }
    }

    fn required(&mut self, table: &DeTable<'_>, offset: usize, schema: &'s Schema, path: &str) {
        let names = schema.get("required").and_then(Schema::as_array).into_iter().flatten();
        for name in names.filter_map(Schema::as_str).filter(|name| !table.contains_key(*name)) {
            self.report(offset, &below(path, name), "is missing".to_owned());
        }
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, schema: &'s Schema, path: &str) {
        let schema = self.resolve(schema);
        if takes_anything(schema) {
            return self.json_value(value, path);
        }
        let kind = toml_kind(value.get_ref());
        let choices = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Schema::as_array);
        if let Some(choices) = choices
            && schema.get("type").is_none()
        {
            let choices: Vec<&Schema> = choices.iter().map(|choice| self.resolve(choice)).collect();
            // Documented words come as one `const` each, the others as an `enum`; optional things as the thing or null.
            let words: Vec<&str> = choices.iter().flat_map(|choice| words_of(choice)).collect();
            let table = choices.iter().find(|choice| words_of(choice).is_empty() && self.accepts_kind(choice, kind));
            if !words.is_empty() && (kind != "object" || table.is_none()) {
                return self.enum_value(value, &words, path);
            }
            return match choices.iter().find(|choice| self.accepts_kind(choice, kind)) {
                Some(choice) => self.value(value, choice, path),
                None => self.wrong_kind(value, &choices, path),
            };
        }
        let words = words_of(schema);
        if !words.is_empty() {
            return self.enum_value(value, &words, path);
        }
        if !accepts(schema, kind) {
            return self.wrong_kind(value, &[schema], path);
        }
        match value.get_ref() {
            DeValue::Table(table) => self.table(table, value.span().start, schema, path),
            DeValue::Array(items) => {
                if let Some(inner) = schema.get("items") {
                    for (index, item) in items.iter().enumerate() {
                        self.value(item, inner, &below(path, &index.to_string()));
                    }
                }
            }
            DeValue::String(text) => self.text(text, value.span().start, schema, path),
            DeValue::Integer(number) => self.integer(number, value.span(), schema, path),
            _ => {}
        }
    }

    /// Whether a value of this kind may fit: where there are choices, one of them.
    fn accepts_kind(&self, schema: &'s Schema, kind: &str) -> bool {
        match schema.get("oneOf").and_then(Schema::as_array).filter(|_| schema.get("type").is_none()) {
            Some(choices) => choices.iter().any(|choice| self.accepts_kind(self.resolve(choice), kind)),
            None => accepts(schema, kind),
        }
    }

    /// What a text must be beside a text.
    fn text(&mut self, text: &str, offset: usize, schema: &Schema, path: &str) {
        let wrong = match schema.get("format").and_then(Schema::as_str) {
            Some(Template::FORMAT) => Template::parse(text).err().map(|error| error.to_string()),
            Some(Pointer::FORMAT) => {
                Pointer::parse(text).map_or_else(Some, |pointer| star_outside_streams(&pointer, path))
            }
            _ => None,
        };
        if let Some(message) = wrong {
            self.report(offset, path, message);
        }
    }

    fn integer(&mut self, number: &DeInteger<'_>, span: Range<usize>, schema: &Schema, path: &str) {
        let (least, most) = limits(schema);
        let value = i128::from_str_radix(number.as_str(), number.radix()).ok();
        if value.is_some_and(|value| (least..=most).contains(&value)) {
            return;
        }
        let range = match value {
            Some(value) if value < least && most == i128::from(u32::MAX) => format!("{least} or more"),
            _ => format!("{least} to {most}"),
        };
        self.report(span.start, path, format!("takes {range}, not {number}"));
    }

    fn enum_value(&mut self, value: &Spanned<DeValue<'_>>, words: &[&str], path: &str) {
        let DeValue::String(text) = value.get_ref() else {
            let message = format!("takes one of {}, not {}", words.join(", "), with_article(value.get_ref()));
            return self.report(value.span().start, path, message);
        };
        if !words.contains(&text.as_ref()) {
            let message =
                format!("{text:?} is none of {}{}", words.join(", "), did_you_mean(text, words.iter().copied()));
            self.report(value.span().start, path, message);
        }
    }

    fn wrong_kind(&mut self, value: &Spanned<DeValue<'_>>, schemas: &[&Schema], path: &str) {
        let mut message = format!("takes {}, not {}", expected(schemas), with_article(value.get_ref()));
        let of_tables = |schema: &&Schema| {
            let items = schema.get("items").map(|items| self.resolve(items));
            items.is_some_and(|items| items.get("properties").is_some())
        };
        if matches!(value.get_ref(), DeValue::Table(_)) && schemas.iter().any(of_tables) {
            message.push_str(&format!(": write [[{path}]]"));
        }
        self.report(value.span().start, path, message);
    }

    /// A value that goes into JSON as it is, which has neither dates nor endless numbers.
    fn json_value(&mut self, value: &Spanned<DeValue<'_>>, path: &str) {
        let start = value.span().start;
        match value.get_ref() {
            DeValue::Datetime(date) => {
                self.report(start, path, format!("takes what JSON can hold, and a date is a string there: \"{date}\""));
            }
            DeValue::Float(number) if !number.as_str().parse::<f64>().is_ok_and(f64::is_finite) => {
                self.report(start, path, format!("takes what JSON can hold, and {number} is not a number there"));
            }
            DeValue::Integer(number) => self.integer(number, value.span(), &Schema::Null, path),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.json_value(item, &below(path, &index.to_string()));
                }
            }
            DeValue::Table(table) => {
                for (key, value) in table {
                    self.json_value(value, &below(path, key.get_ref()));
                }
            }
            DeValue::String(_) | DeValue::Boolean(_) | DeValue::Float(_) => {}
        }
    }
}

/// Only the places of streams have more than one value; elsewhere a `*` would be the name of a member.
fn star_outside_streams(pointer: &Pointer, path: &str) -> Option<String> {
    let has_star = !path.starts_with("streams.") && pointer.segments().any(|name| name == "*");
    has_star.then(|| format!("{pointer}: '*' matches items only in streams; use a number, as in /items/0/id"))
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
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

/// The least and the greatest integer that a schema takes; what TOML and JSON share where it says nothing.
fn limits(schema: &Schema) -> (i128, i128) {
    let number = |key: &str| schema.get(key).and_then(Schema::as_i64).map(i128::from);
    let wide = schema.get("format").and_then(Schema::as_str) == Some("uint32");
    let most = if wide { i128::from(u32::MAX) } else { i128::from(i64::MAX) };
    (number("minimum").unwrap_or(i128::from(i64::MIN)), number("maximum").unwrap_or(most))
}

fn toml_kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "string",
        DeValue::Integer(_) => "integer",
        DeValue::Float(_) => "number",
        DeValue::Boolean(_) => "boolean",
        DeValue::Array(_) => "array",
        DeValue::Table(_) => "object",
        // JSON Schema has no word for it, so that it fits nothing.
        DeValue::Datetime(_) => "datetime",
    }
}

fn with_article(value: &DeValue<'_>) -> String {
    let kind = value.type_str();
    format!("{} {kind}", if kind.starts_with(['a', 'i']) { "an" } else { "a" })
}

fn accepts(schema: &Schema, kind: &str) -> bool {
    let fits = |name: &Schema| name == kind || (name == "number" && kind == "integer");
    match schema.get("type") {
        Some(Schema::Array(kinds)) => kinds.iter().any(fits),
        Some(one) => fits(one),
        None if schema.get("enum").is_some() || schema.get("const").is_some() => kind == "string",
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
