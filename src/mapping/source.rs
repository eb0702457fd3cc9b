//! The text of a binding, taken apart: fields, tables, examples.
//!
//! A statement is a line, with the lines below it that are indented or begin with a closing bracket. `#` at the beginning of
//! a line makes it a comment; elsewhere it is jq's.

use std::collections::HashMap;
use std::sync::Arc;

use super::BindingError;
use super::coerce::FieldType;
use crate::converter::LookupTable;
use crate::json::Json;
use crate::model::{ConflictPolicy, EntityDeletion};

/// The longest text of a binding.
pub const MAX_SOURCE_BYTES: usize = 64 << 10;

/// The most fields, entries of tables and examples.
const MAX_FIELDS: usize = 500;

/// The text of a binding, taken apart and not compiled.
#[derive(Clone, Debug, Default)]
pub struct BindingSource {
    pub(super) fields: Vec<FieldSource>,
    pub(super) tables: Vec<Arc<LookupTable>>,
    pub examples: Vec<Example>,
    /// Present in two-way bindings.
    pub sync: Option<SyncRules>,
    /// The parameters of the actions that create and update an object, then those of one of them alone.
    pub(super) out: [Vec<FieldSource>; 3],
}

/// The `[sync]` section of a binding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncRules {
    pub conflict: ConflictPolicy,
    pub delete: EntityDeletion,
    /// Fields that no two objects share the values of.
    pub identify: Vec<String>,
}

/// Which actions the parameters of an `[out]` are for; the number is an index of [`BindingSource::out`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutScope {
    Both = 0,
    Create = 1,
    Update = 2,
}

/// A field as it was written.
#[derive(Clone, Debug)]
pub(super) struct FieldSource {
    pub(super) line: usize,
    /// The parts of its name: `address.city` is a member of an object.
    pub(super) path: Vec<String>,
    pub(super) is_optional: bool,
    pub(super) kind: FieldType,
    pub(super) expression: String,
}

impl FieldSource {
    pub(super) fn name(&self) -> String {
        self.path.join(".")
    }
}

/// An example that a binding is tested with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    pub name: String,
    pub line: usize,
    /// JSON.
    pub input: String,
    pub expected: Expected,
}

/// What a binding makes of an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This document, as JSON.
    Output(String),
    /// A failure with a text that contains this one.
    Error(String),
}

/// What a statement belongs to.
enum Section {
    Fields,
    Table(LookupTable),
    Example { name: String, line: usize, input: Option<String>, expected: Option<Expected> },
    Sync,
    Out(OutScope),
}

impl BindingSource {
    /// Takes the text of a binding apart.
    ///
    /// # Errors
    /// [`BindingError`] with the line, but for expressions, which are read when it is compiled.
    pub fn parse(text: &str) -> Result<Self, BindingError> {
        if text.len() > MAX_SOURCE_BYTES {
            return Err(BindingError::TooLong);
        }
        let mut source = Self::default();
        let mut section = Section::Fields;
        for (line, statement) in statements(text) {
            if let Some(heading) = statement.strip_prefix('[') {
                source.end(section)?;
                section = begin(line, heading)?;
                if matches!(section, Section::Sync | Section::Out(_)) {
                    source.sync.get_or_insert_default();
                }
            } else {
                source.statement(&mut section, line, &statement)?;
            }
        }
        source.end(section)?;
        if source.fields.is_empty() {
            return Err(BindingError::Empty);
        }
        Ok(source)
    }

    fn statement(&mut self, section: &mut Section, line: usize, statement: &str) -> Result<(), BindingError> {
        let (name, value) = assignment(line, statement)?;
        match section {
            Section::Fields => add(&mut self.fields, field(line, name, value)?)?,
            Section::Out(scope) => add(&mut self.out[*scope as usize], field(line, name, value)?)?,
            Section::Sync => self.sync.get_or_insert_default().set(line, name, value)?,
            Section::Table(table) => {
                let value = json(line, value)?;
                if name == "*" {
                    table.other = Some(value);
                } else {
                    table.values.insert(unquoted(name), value);
                }
            }
            Section::Example { input, expected, .. } => match name {
                "input" => *input = Some(json(line, value)?),
                "output" => *expected = Some(Expected::Output(json(line, value)?)),
                "error" => {
                    let text = json(line, value)?;
                    let text = Json::from_validated(&text).string().map(std::borrow::Cow::into_owned);
                    let problem = || syntax(line, "an example's error is a text in double quotes");
                    *expected = Some(Expected::Error(text.ok_or_else(problem)?));
                }
                other => return Err(syntax(line, format!("an example has input, output or error, not {other}"))),
            },
        }
        Ok(())
    }

    fn end(&mut self, section: Section) -> Result<(), BindingError> {
        match section {
            Section::Fields | Section::Sync | Section::Out(_) => {}
            Section::Table(table) => self.tables.push(Arc::new(table)),
            Section::Example { name, line, input, expected } => {
                let (Some(input), Some(expected)) = (input, expected) else {
                    return Err(syntax(line, "an example needs input, and output or error"));
                };
                self.examples.push(Example { name, line, input, expected });
            }
        }
        Ok(())
    }
}

impl SyncRules {
    /// Takes over a line of a `[sync]`.
    fn set(&mut self, line: usize, name: &str, value: &str) -> Result<(), BindingError> {
        let value = unquoted(value);
        let unknown = |error: crate::model::UnknownWord| {
            syntax(line, format!("unknown value {:?} of {name}: use one of {}", error.word, error.expected))
        };
        match name {
            "conflict" => self.conflict = value.parse().map_err(unknown)?,
            "delete" => self.delete = value.parse().map_err(unknown)?,
            "match" => self.identify = value.split(',').map(|field| field.trim().to_owned()).collect(),
            other => return Err(syntax(line, format!("[sync] has conflict, delete and match, not {other}"))),
        }
        Ok(())
    }
}

/// Adds a field to its list, in which names differ and none is a part of another.
fn add(fields: &mut Vec<FieldSource>, field: FieldSource) -> Result<(), BindingError> {
    let line = field.line;
    let taken = fields.iter().find(|other| {
        let shorter = other.path.len().min(field.path.len());
        other.path[..shorter] == field.path[..shorter]
    });
    if let Some(other) = taken {
        return Err(syntax(line, format!("{} is on line {} already", other.name(), other.line)));
    }
    if fields.len() == MAX_FIELDS {
        return Err(syntax(line, format!("a binding has at most {MAX_FIELDS} fields")));
    }
    fields.push(field);
    Ok(())
}

fn syntax(line: usize, problem: impl Into<String>) -> BindingError {
    BindingError::Syntax { line, problem: problem.into() }
}

/// The statements of a text with the lines on which they begin.
fn statements(text: &str) -> Vec<(usize, String)> {
    let mut statements: Vec<(usize, String)> = Vec::new();
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let continues = line.starts_with([' ', '\t', ')', ']', '}']);
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match statements.last_mut() {
            Some((_, last)) if continues => {
                last.push('\n');
                last.push_str(line.trim_end());
            }
            _ => statements.push((number, line.trim().to_owned())),
        }
    }
    statements
}

/// The section that a heading begins; `heading` is without its first bracket.
fn begin(line: usize, heading: &str) -> Result<Section, BindingError> {
    let heading = heading.strip_suffix(']').ok_or_else(|| syntax(line, "a heading ends with ]"))?.trim();
    let (kind, name) = heading.split_once(['.', ' ']).unwrap_or((heading, ""));
    let name = unquoted(name.trim());
    match kind {
        "lookup" if !name.is_empty() => Ok(Section::Table(LookupTable { name, values: HashMap::new(), other: None })),
        "lookup" => Err(syntax(line, "a table has a name: [lookup.NAME]")),
        "example" => {
            let name = if name.is_empty() { format!("line {line}") } else { name };
            Ok(Section::Example { name, line, input: None, expected: None })
        }
        "sync" if name.is_empty() => Ok(Section::Sync),
        "out" if name.is_empty() => Ok(Section::Out(OutScope::Both)),
        "out" if name == "create" => Ok(Section::Out(OutScope::Create)),
        "out" if name == "update" => Ok(Section::Out(OutScope::Update)),
        _ => {
            let known = "[lookup.NAME], [sync], [out], [out.create], [out.update] nor [example NAME]";
            Err(syntax(line, format!("[{heading}] is neither {known}")))
        }
    }
}

fn assignment(line: usize, statement: &str) -> Result<(&str, &str), BindingError> {
    let split = match statement.strip_prefix('"').and_then(|rest| rest.find('"')) {
        // A key in quotes may hold anything.
        Some(end) => statement[end + 2..].find('=').map(|at| at + end + 2),
        None => statement.find('='),
    };
    let at = split.ok_or_else(|| syntax(line, "expected NAME = EXPRESSION"))?;
    let (name, value) = (statement[..at].trim(), statement[at + 1..].trim());
    match (name.is_empty(), value.is_empty()) {
        (false, false) => Ok((name, value)),
        _ => Err(syntax(line, "expected NAME = EXPRESSION")),
    }
}

fn field(line: usize, declared: &str, expression: &str) -> Result<FieldSource, BindingError> {
    let (name, kind) = match declared.split_once(':') {
        Some((name, kind)) => (name.trim(), kind.trim()),
        None => (declared, "any"),
    };
    let (name, is_optional) = match name.strip_suffix('?') {
        Some(name) => (name, true),
        None => (name, false),
    };
    let is_name = |part: &str| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
    };
    if !name.split('.').all(is_name) {
        let rule = "use letters, digits, _ and -, and a dot before a member of an object";
        return Err(syntax(line, format!("{name:?} is not a field's name: {rule}")));
    }
    let kind = kind.parse().map_err(|error: crate::model::UnknownWord| {
        syntax(line, format!("unknown type {:?}: use one of {}", error.word, error.expected))
    })?;
    let path = name.split('.').map(str::to_owned).collect();
    Ok(FieldSource { line, path, is_optional, kind, expression: expression.to_owned() })
}

/// A JSON value of a statement.
fn json(line: usize, text: &str) -> Result<String, BindingError> {
    let value = Json::validate(text).map_err(|error| syntax(line, error.to_string()))?;
    Ok(crate::json::minified(value.as_str()).into_owned())
}

fn unquoted(text: &str) -> String {
    Json::validate(text).ok().and_then(Json::string).map_or_else(|| text.to_owned(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_taken_apart() {
        let source = BindingSource::parse(
            "# Contacts\n\nid = .id # the key\nphone?: text = .phone\naddress.city = .city\nname =\n  .first +\n  .last\n\
             tags = [\n  .a\n]\n[lookup.stage]\nlead = \"prospect\"\n\"a = b\" = {\"x\": 1}\n* = null\n\
             [example a lead]\ninput = {\n  \"id\": \"1\"\n}\noutput = {\"id\": \"1\"}\n[example]\ninput = {}\nerror = \"id\"\n",
        )
        .unwrap();
        let fields: Vec<_> = source.fields.iter().map(|field| (field.name(), field.is_optional, field.line)).collect();
        assert_eq!(
            fields,
            [
                ("id".to_owned(), false, 3),
                ("phone".to_owned(), true, 4),
                ("address.city".to_owned(), false, 5),
                ("name".to_owned(), false, 6),
                ("tags".to_owned(), false, 9),
            ]
        );
        assert_eq!(source.fields[0].expression, ".id # the key");
        assert_eq!(source.fields[3].expression, ".first +\n  .last");
        let table = &source.tables[0];
        assert_eq!((table.values["a = b"].as_str(), table.other.as_deref()), ("{\"x\":1}", Some("null")));
        assert_eq!(source.examples[0].input, "{\"id\":\"1\"}");
        assert_eq!(source.examples[1].expected, Expected::Error("id".to_owned()));
    }

    #[test]
    fn what_is_wrong_has_its_line() {
        for (text, message) in [
            ("", "the binding has no fields"),
            ("a = .a\nb", "line 2: expected NAME = EXPRESSION"),
            ("a =", "line 1: expected NAME = EXPRESSION"),
            (
                "a b = .a",
                "line 1: \"a b\" is not a field's name: use letters, digits, _ and -, and a dot before a member of an object",
            ),
            (
                "a: string = .a",
                "line 1: unknown type \"string\": use one of any, text, integer, number, boolean, time, date, list, object",
            ),
            ("a = .a\na.b = .b", "line 2: a is on line 1 already"),
            (
                "a = .a\n[table x]",
                "line 2: [table x] is neither [lookup.NAME], [sync], [out], [out.create], [out.update] nor [example NAME]",
            ),
            (
                "a = .a\n[sync]\nconflict = mine",
                "line 3: unknown value \"mine\" of conflict: use one of newest, ours, theirs, ask",
            ),
            ("a = .a\n[sync]\npolicy = ours", "line 3: [sync] has conflict, delete and match, not policy"),
            ("a = .a\n[out]\nx = .a\nx.y = .a", "line 4: x is on line 3 already"),
            ("a = .a\n[lookup.x]\nk = v", "line 3: it is not JSON: expected a value at byte 0"),
            ("a = .a\n[example x]\ninput = 1", "line 2: an example needs input, and output or error"),
        ] {
            assert_eq!(BindingSource::parse(text).unwrap_err().to_string(), message);
        }
        assert!(matches!(BindingSource::parse(&"a".repeat(MAX_SOURCE_BYTES + 1)), Err(BindingError::TooLong)));
    }
}
