//! From the text of a binding to a mapper.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use super::coerce::{FieldType, coerce};
use super::expression::{self, Draft, Failure, FieldExpression};
use super::extract::{Extractor, PathStep};
use super::source::{BindingSource, FieldSource};
use super::{BindingError, FieldFailure};
use crate::converter::{LookupTable, quoted};
use crate::jq::{self, Program, missing_path};
use crate::json::{Json, minified, without_lone_surrogates};

/// The longest expression of a field, in bytes.
const MAX_EXPRESSION_BYTES: usize = 4 << 10;

/// A binding that is ready to map documents.
#[derive(Debug)]
pub struct Mapper {
    fields: Vec<Field>,
    output: Vec<OutputMember>,
    extractor: Extractor,
    program: Program,
}

#[derive(Debug)]
struct Field {
    name: String,
    is_optional: bool,
    kind: FieldType,
    value: FieldValue,
    /// The paths that its expression reads.
    paths: Vec<(Vec<PathStep>, String)>,
    expression: String,
}

#[derive(Debug)]
enum FieldValue {
    Here(FieldExpression),
    /// The index of an expression of the program.
    Jq(usize),
}

/// A member of the document that is made: a field, or an object of further members.
#[derive(Debug)]
enum OutputMember {
    Field { key: String, index: usize },
    Object { key: String, members: Vec<OutputMember> },
}

/// A value that a field is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldInput {
    pub path: String,
    /// JSON; absent if the path leads nowhere.
    pub value: Option<String>,
}

/// What a field was made of, and what it became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedField {
    pub field: String,
    pub expression: String,
    pub inputs: Vec<FieldInput>,
    /// JSON, or why it could not be made.
    pub result: Result<String, String>,
}

/// A document that was mapped, field by field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedDocument {
    pub fields: Vec<MappedField>,
}

impl Mapper {
    /// Makes a mapper of the text of a binding.
    ///
    /// # Errors
    /// [`BindingError`].
    pub fn new(text: &str) -> Result<Self, BindingError> {
        Self::compile(&BindingSource::parse(text)?)
    }

    /// Makes a mapper of a binding that was taken apart.
    ///
    /// # Errors
    /// [`BindingError`] of the first expression that is wrong.
    pub fn compile(source: &BindingSource) -> Result<Self, BindingError> {
        Self::of_fields(&source.fields, &source.tables)
    }

    /// Makes a mapper of fields that may use tables.
    pub(super) fn of_fields(sources: &[FieldSource], tables: &[Arc<LookupTable>]) -> Result<Self, BindingError> {
        let (mut fields, mut extractor) = (Vec::with_capacity(sources.len()), Extractor::default());
        let (mut expressions, mut lines) = (Vec::new(), Vec::new());
        for field in sources {
            let (draft, paths) = read(field, tables)?;
            let value = match draft {
                Some(draft) => FieldValue::Here(draft.finish(&mut extractor)),
                None => {
                    expressions.push(field.expression.clone());
                    lines.push(field);
                    FieldValue::Jq(expressions.len() - 1)
                }
            };
            fields.push(Field {
                name: field.name(),
                is_optional: field.is_optional,
                kind: field.kind,
                value,
                paths,
                expression: field.expression.clone(),
            });
        }
        let definitions = lookup_definition(tables);
        let program = Program::compile(&expressions, "lookup", &definitions).map_err(|(index, source)| {
            BindingError::Expression {
                line: lines.get(index).map_or(0, |field| field.line),
                field: lines.get(index).map(|field| field.name()).unwrap_or_default(),
                source,
            }
        })?;
        let paths: Vec<(usize, &[String])> =
            sources.iter().enumerate().map(|(index, field)| (index, field.path.as_slice())).collect();
        Ok(Self { fields, output: members(&paths), extractor, program })
    }

    /// Maps a document: JSON that was validated. The result is a JSON object on one line, with every field in the order of
    /// the binding; an optional one that is missing is null.
    ///
    /// # Errors
    /// Every field that could not be made, and why.
    pub fn map(&self, document: &str) -> Result<String, Vec<FieldFailure>> {
        let values = self.values(document);
        let failures: Vec<FieldFailure> = self
            .fields
            .iter()
            .zip(&values)
            .filter_map(|(field, value)| {
                let reason = value.as_ref().err()?.clone();
                Some(FieldFailure { field: field.name.clone(), reason })
            })
            .collect();
        if !failures.is_empty() {
            return Err(failures);
        }
        let mut out = String::with_capacity(document.len().min(4096));
        write(&self.output, &values, &mut out);
        Ok(out)
    }

    /// Maps a document, and says of each field what it was made of.
    pub fn trace(&self, document: &str) -> MappedDocument {
        let values = self.values(document).into_iter().map(|value| value.map(Cow::into_owned));
        let json = Json::from_validated(document);
        let fields = self.fields.iter().zip(values).map(|(field, result)| {
            let mut extractor = Extractor::default();
            field.paths.iter().for_each(|(steps, _)| _ = extractor.add(steps));
            let found = extractor.find(json);
            let input = |((_, path), value): (&(Vec<PathStep>, String), Option<Json<'_>>)| FieldInput {
                path: path.clone(),
                value: value.map(|value| value.as_str().to_owned()),
            };
            MappedField {
                field: field.name.clone(),
                expression: field.expression.clone(),
                inputs: field.paths.iter().zip(found).map(input).collect(),
                result,
            }
        });
        MappedDocument { fields: fields.collect() }
    }

    /// The names of the fields, in their order.
    pub fn field_names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.name.as_str())
    }

    /// Returns the value of each field, or why there is none.
    pub(super) fn values<'d>(&'d self, document: &'d str) -> Vec<Result<Cow<'d, str>, String>> {
        let found = self.extractor.find(Json::from_validated(document));
        let mut outcomes =
            if self.program.is_empty() { Vec::new() } else { self.program.run(&without_lone_surrogates(document)) };
        let value = |field: &'d Field| {
            let evaluated = match &field.value {
                FieldValue::Here(expression) => expression.evaluate(&found),
                FieldValue::Jq(index) => of_jq(std::mem::replace(&mut outcomes[*index], Ok(Vec::new()))),
            };
            field.finish(evaluated)
        };
        self.fields.iter().map(value).collect()
    }
}

/// The one result of an expression of jq's.
fn of_jq(outcome: Result<Vec<String>, String>) -> Result<Cow<'static, str>, Failure> {
    match outcome {
        Ok(mut results) => match results.len() {
            1 => Ok(Cow::Owned(results.swap_remove(0))),
            0 => Err(Failure::Missing("the expression gives nothing".to_owned())),
            count => Err(Failure::Failed(format!("the expression gives {count} values: put it into [ ] for a list"))),
        },
        Err(why) => Err(match missing_path(&why) {
            Some(path) => Failure::Missing(path.to_owned()),
            None => Failure::Failed(why),
        }),
    }
}

impl Field {
    fn finish<'d>(&self, evaluated: Result<Cow<'d, str>, Failure>) -> Result<Cow<'d, str>, String> {
        match evaluated {
            Ok(value) if value.trim() == "null" => match self.is_optional {
                true => Ok(Cow::Borrowed("null")),
                false => Err("the value is null".to_owned()),
            },
            Ok(value) => coerce(self.kind, value),
            Err(Failure::Missing(_)) if self.is_optional => Ok(Cow::Borrowed("null")),
            Err(Failure::Missing(path)) if path.starts_with('.') => Err(format!("{path} is missing")),
            Err(Failure::Missing(what)) => Err(what),
            Err(Failure::Failed(why)) => Err(why),
        }
    }
}

/// What an expression is: one that runs here, or jq's; and the paths that it reads.
pub(super) fn read(
    field: &FieldSource,
    tables: &[Arc<LookupTable>],
) -> Result<(Option<Draft>, expression::PathsRead), BindingError> {
    let at = |source| BindingError::Expression { line: field.line, field: field.name(), source };
    if field.expression.len() > MAX_EXPRESSION_BYTES {
        return Err(at(jq::JqError::TooLong { most: MAX_EXPRESSION_BYTES }));
    }
    let read = jq::with_term(&field.expression, |term| {
        expression::draft(term, tables).map(|draft| (draft, expression::paths(term)))
    });
    read.map_err(at)?.map_err(|problem| BindingError::Converter { line: field.line, field: field.name(), problem })
}

/// A definition of `lookup` that knows the binding's tables.
fn lookup_definition(tables: &[Arc<LookupTable>]) -> String {
    let mut all = String::new();
    for table in tables {
        let mut values = String::new();
        for (key, value) in &table.values {
            let _ = write!(values, "{}{}: {value}", if values.is_empty() { "" } else { ", " }, quoted(key));
        }
        let other = table.other.as_ref().map(|other| format!(", other: {other}")).unwrap_or_default();
        let _ = write!(
            all,
            "{}{}: {{values: {{{values}}}{other}}}",
            if all.is_empty() { "" } else { ", " },
            quoted(&table.name)
        );
    }
    format!(
        "def lookup($t): ({{{all}}} | .[$t]?) as $table \
         | (if type == \"string\" then . else tostring end) as $key \
         | if $table == null then error(\"unknown table [lookup.\\($t)]\") \
           elif ($table | .values? | has($key)) then $table | .values?[$key]? \
           elif ($table | has(\"other\")) then $table | .other? \
           else error(\"[lookup.\\($t)] has no value for \\(tojson)\") end; "
    )
}

/// The members of the output, nested as the names of the fields are.
fn members(fields: &[(usize, &[String])]) -> Vec<OutputMember> {
    let mut out = Vec::new();
    let mut done: Vec<&String> = Vec::new();
    for (index, path) in fields {
        let Some((first, rest)) = path.split_first() else { continue };
        if done.contains(&first) {
            continue;
        }
        done.push(first);
        let key = quoted(first);
        if rest.is_empty() {
            out.push(OutputMember::Field { key, index: *index });
        } else {
            let below: Vec<(usize, &[String])> = fields
                .iter()
                .filter(|(_, path)| path.first() == Some(first))
                .map(|(index, path)| (*index, &path[1..]))
                .collect();
            out.push(OutputMember::Object { key, members: members(&below) });
        }
    }
    out
}

fn write(output: &[OutputMember], values: &[Result<Cow<'_, str>, String>], out: &mut String) {
    out.push('{');
    for (position, member) in output.iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        match member {
            OutputMember::Field { key, index } => {
                out.push_str(key);
                out.push(':');
                let value = values[*index].as_deref().unwrap_or("null");
                out.push_str(&minified(value));
            }
            OutputMember::Object { key, members } => {
                out.push_str(key);
                out.push(':');
                write(members, values, out);
            }
        }
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONTACT: &str = r#"{"id":"15","properties":{"email":"Ada@Example.com","firstname":"Ada","lastname":"Lovelace","amount":"1500.00","stage":"lead","phone":null,"city":"London"},"createdAt":"2026-11-29T10:00:00+01:00","tags":["a","b"]}"#;

    fn map(binding: &str, document: &str) -> Result<String, String> {
        let mapper = Mapper::new(binding).map_err(|error| crate::error::on_one_line(&error))?;
        mapper.map(document).map_err(|failures| super::super::failure_text(&failures))
    }

    #[test]
    fn a_record_becomes_the_users_own_shape() {
        let binding = "id = .id\nemail: text = .properties.email | lower\n\
                       name = \"\\(.properties.firstname) \\(.properties.lastname)\"\n\
                       phone?: text = .properties.phone\nfax? = .properties.fax | lower\n\
                       stage = .properties.stage | lookup(\"stage\")\ncents: integer = .properties.amount | minor_units(\"EUR\")\n\
                       address.city = .properties.city\naddress.country = .properties.country // \"GB\"\n\
                       created: time = .createdAt\ntags = [.tags[] | ascii_upcase]\nfirst = .tags[0]\nsource = \"hubspot\"\n\
                       again = .properties | .stage | lookup(\"stage\")\n[lookup.stage]\nlead = \"prospect\"\n";
        assert_eq!(
            map(binding, CONTACT).unwrap(),
            r#"{"id":"15","email":"ada@example.com","name":"Ada Lovelace","phone":null,"fax":null,"stage":"prospect","cents":150000,"address":{"city":"London","country":"GB"},"created":"2026-11-29T09:00:00Z","tags":["A","B"],"first":"a","source":"hubspot","again":"prospect"}"#
        );
    }

    #[test]
    fn each_field_that_cannot_be_made_is_named() {
        let binding = "a = .properties.emial\nb = .properties.phone\nc: integer = .properties.stage\nd = .id | time\n\
                       e = .tags[]\nf = empty\ng = [.tags[] | .x]\nh = .properties.stage | lookup(\"s\")\n\
                       i = .properties | .emial\nj = .id\n[lookup.s]\n";
        assert_eq!(
            map(binding, CONTACT).unwrap_err(),
            "a: .properties.emial is missing; b: .properties.phone is missing; c: \"lead\" is not an integer; \
             d: \"15\" is not a time; e: the expression gives 2 values: put it into [ ] for a list; \
             f: the expression gives nothing; g: cannot index \"a\" with \"x\"; h: [lookup.s] has no value for \"lead\"; \
             i: .emial is missing"
        );
    }

    #[test]
    fn mistakes_of_expressions_are_found_when_it_is_compiled() {
        for (binding, message) in [
            ("a = .a\nb = .b |", "line 2: invalid expression for b"),
            ("a = keyz", "line 1: invalid expression for a: invalid jq expression \"keyz\": undefined filter `keyz`"),
            ("a = .a | lookup(\"x\")", "line 1: a: unknown table [lookup.x]"),
            ("a = .a | in_zone(\"Mars\")", "line 1: a: unknown time zone \"Mars\""),
            ("a = .a | extract(\"(\")", "line 1: a: invalid regular expression \"(\""),
        ] {
            let error = map(binding, "{}").unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn a_trace_shows_what_each_field_was_made_of() {
        let mapper =
            Mapper::new("name = \"\\(.properties.firstname)\"\nup = .tags | map(ascii_upcase)\nx = .nope").unwrap();
        let traced = mapper.trace(CONTACT);
        let inputs: Vec<Vec<(&str, Option<&str>)>> = traced
            .fields
            .iter()
            .map(|field| field.inputs.iter().map(|input| (input.path.as_str(), input.value.as_deref())).collect())
            .collect();
        assert_eq!(
            inputs,
            [
                vec![(".properties.firstname", Some("\"Ada\""))],
                vec![(".tags", Some("[\"a\",\"b\"]"))],
                vec![(".nope", None)]
            ]
        );
        assert_eq!(traced.fields[2].result, Err(".nope is missing".to_owned()));
    }

    /// Expressions that run without jq, and the same ones written so that jq runs them.
    #[test]
    fn what_runs_here_gives_what_jq_gives() {
        for expression in [
            ".id",
            ".properties.email",
            ".properties.nope",
            ".properties.phone",
            ".properties.phone?",
            ".properties.phone // \"none\"",
            ".properties.nope? // .id",
            "\"<\\(.id)> \\(.tags) \\(.properties.amount)\"",
            "\"\\(.nope) x\"",
            ".tags[1]",
            ".tags[7]",
            ".createdAt | time",
            ".createdAt | in_zone(\"Asia/Tokyo\") | upper",
            ".properties.amount | minor_units(\"JPY\")",
            ".id | lookup(\"t\")",
            ".properties.stage | lookup(\"t\")",
            "-15",
            "\"a\\u00e9\\n\"",
            "true",
            ".",
        ] {
            let tables = "\n[lookup.t]\n15 = {\"x\": 1}\n";
            let fast = map(&format!("f? = {expression}{tables}"), CONTACT);
            let slow = map(&format!("f? = [{expression}] | .[0]{tables}"), CONTACT);
            assert_eq!(fast.is_ok(), slow.is_ok(), "{expression}: {fast:?} {slow:?}");
            if let (Ok(fast), Ok(slow)) = (fast, slow) {
                assert_eq!(
                    Json::validate(&fast).unwrap().value(),
                    Json::validate(&slow).unwrap().value(),
                    "{expression}"
                );
            }
        }
    }

    fn document() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<f64>().prop_map(serde_json::Value::from),
            "\\PC{0,12}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
                prop::collection::hash_map("[a-c]|id|properties|email", inner, 0..5)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn every_document_is_mapped_or_says_why_not(
            documents in prop::collection::vec(document(), 1..8),
            path in "(\\.(a|b|id|properties|email)){1,3}",
            optional in any::<bool>(),
            kind in prop::sample::select(FieldType::ALL.to_vec()),
        ) {
            let mark = if optional { "?" } else { "" };
            let binding = format!(
                "x{mark}: {kind} = {path}\ny? = {path} | lower\nz.a = \"\\({path}?)\"\nq{mark} = [{path} | tostring]\n"
            );
            let mapper = Mapper::new(&binding).unwrap();
            let (mut mapped, mut failed) = (0, 0);
            for document in &documents {
                match mapper.map(&document.to_string()) {
                    Ok(text) => {
                        let value = Json::validate(&text).unwrap().value();
                        prop_assert_eq!(value.as_object().unwrap().len(), 4);
                        prop_assert!(optional || !value["x"].is_null());
                        mapped += 1;
                    }
                    Err(failures) => {
                        prop_assert!(failures.iter().all(|failure| !failure.reason.is_empty()));
                        failed += 1;
                    }
                }
            }
            prop_assert_eq!(mapped + failed, documents.len());
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "(\\PC|\n|=|\\[|\\]|:|\\?){0,80}") {
            if let Ok(mapper) = Mapper::new(&text) {
                let _ = mapper.map("{\"a\":1}");
            }
        }
    }
}
