//! Expressions that run on the JSON text itself: paths, constants, texts with paths in them, converters, defaults.
//!
//! What jaq parsed becomes one of these, or stays jq's. Both give the same: an expression is moved here only for speed.

use std::borrow::Cow;
use std::sync::Arc;

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Term};
use jaq_core::path::{Opt, Part, Path};

use super::extract::{Extractor, PathStep};
use crate::converter::{Converter, LookupTable, quoted};
use crate::jq::path_text;
use crate::json::{Json, JsonType, minified};

/// An expression over the values that an [`Extractor`] has found.
#[derive(Debug)]
pub(super) enum FieldExpression {
    Path {
        number: usize,
        text: String,
        is_optional: bool,
    },
    /// JSON.
    Constant(String),
    Convert(Box<FieldExpression>, Converter),
    /// `left // right`.
    Default(Box<FieldExpression>, Box<FieldExpression>),
    /// A text with the values of expressions in it.
    Text(Vec<TextPart>),
}

#[derive(Debug)]
pub(super) enum TextPart {
    Literal(String),
    Value(FieldExpression),
}

/// Why an expression gives no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The path leads nowhere, or to null.
    Missing(String),
    Failed(String),
}

/// An expression before its paths are numbered.
#[derive(Clone, Debug)]
pub(super) enum Draft {
    Path { steps: Vec<PathStep>, text: String, is_optional: bool },
    Constant(String),
    Convert(Box<Draft>, Converter),
    Default(Box<Draft>, Box<Draft>),
    Text(Vec<Result<String, Draft>>),
}

/// Makes an expression of what jaq parsed; `None` for what is jq's.
///
/// # Errors
/// Arguments of a converter that cannot be used.
pub(super) fn draft(term: &Term<&str>, tables: &[Arc<LookupTable>]) -> Result<Option<Draft>, String> {
    build(term, None, tables)
}

fn build(term: &Term<&str>, input: Option<Draft>, tables: &[Arc<LookupTable>]) -> Result<Option<Draft>, String> {
    if let (None, Some(constant)) = (&input, constant(term)) {
        return Ok(Some(Draft::Constant(constant)));
    }
    match term {
        Term::Id => {
            Ok(Some(input.unwrap_or(Draft::Path { steps: Vec::new(), text: ".".to_owned(), is_optional: false })))
        }
        Term::Path(start, path) if input.is_none() && matches!(**start, Term::Id) => Ok(path_draft(path)),
        Term::BinOp(left, BinaryOp::Pipe(None), right) => match build(left, input, tables)? {
            Some(left) => build(right, Some(left), tables),
            None => Ok(None),
        },
        Term::BinOp(left, BinaryOp::Alt, right) if input.is_none() => {
            let (left, right) = (build(left, None, tables)?, build(right, None, tables)?);
            Ok(left.zip(right).map(|(left, right)| Draft::Default(Box::new(left), Box::new(right))))
        }
        Term::Str(None, parts) if input.is_none() => text(parts, tables),
        Term::Call(name, arguments) if Converter::exists(name, arguments.len()) => {
            let Some(arguments) = arguments.iter().map(constant).collect::<Option<Vec<String>>>() else {
                return Ok(None);
            };
            let arguments: Vec<Json<'_>> = arguments.iter().map(|text| Json::from_validated(text)).collect();
            let converter = Converter::new(name, &arguments, tables)?;
            let whole = Draft::Path { steps: Vec::new(), text: ".".to_owned(), is_optional: false };
            Ok(Some(Draft::Convert(Box::new(input.unwrap_or(whole)), converter)))
        }
        _ => Ok(None),
    }
}

/// The JSON of a literal.
fn constant(term: &Term<&str>) -> Option<String> {
    match term {
        Term::Num(text) => Json::validate(text).is_ok().then(|| (*text).to_owned()),
        Term::Neg(inner) => match &**inner {
            Term::Num(text) => Json::validate(text).is_ok().then(|| format!("-{text}")),
            _ => None,
        },
        Term::Str(None, parts) => literal(parts).map(|text| quoted(&text)),
        Term::Call(name @ ("true" | "false" | "null"), arguments) if arguments.is_empty() => Some((*name).to_owned()),
        _ => None,
    }
}

/// What a string without terms in it says.
fn literal(parts: &[StrPart<&str, Term<&str>>]) -> Option<String> {
    let mut text = String::new();
    for part in parts {
        match part {
            StrPart::Str(part) => text.push_str(part),
            StrPart::Char(c) => text.push(*c),
            StrPart::Term(_) => return None,
        }
    }
    Some(text)
}

fn text(parts: &[StrPart<&str, Term<&str>>], tables: &[Arc<LookupTable>]) -> Result<Option<Draft>, String> {
    let mut drafts: Vec<Result<String, Draft>> = Vec::new();
    for part in parts {
        match part {
            StrPart::Str(part) => drafts.push(Ok((*part).to_owned())),
            StrPart::Char(c) => drafts.push(Ok(c.to_string())),
            StrPart::Term(term) => match build(term, None, tables)? {
                Some(draft) => drafts.push(Err(draft)),
                None => return Ok(None),
            },
        }
    }
    Ok(Some(Draft::Text(drafts)))
}

/// A path with only literal steps.
fn path_draft(Path(parts): &Path<Term<&str>>) -> Option<Draft> {
    let steps: Option<Vec<PathStep>> = parts.iter().map(|(part, _)| step(part)).collect();
    let is_optional = parts.iter().any(|(_, opt)| matches!(opt, Opt::Optional));
    Some(Draft::Path { steps: steps?, text: path_text(parts), is_optional })
}

fn step(part: &Part<Term<&str>>) -> Option<PathStep> {
    match part {
        Part::Index(Term::Str(None, parts)) => literal(parts).map(PathStep::Member),
        Part::Index(Term::Num(number)) => number.parse().ok().map(PathStep::Item),
        _ => None,
    }
}

/// The paths that an expression reads, each with its text.
pub(super) type PathsRead = Vec<(Vec<PathStep>, String)>;

/// The paths of a term that begin at the document, as far as their steps are literals, with their texts.
pub(super) fn paths(term: &Term<&str>) -> PathsRead {
    let mut found = Vec::new();
    collect(term, &mut found);
    found
}

fn collect(term: &Term<&str>, found: &mut PathsRead) {
    match term {
        Term::Path(start, Path(parts)) => {
            if matches!(**start, Term::Id) {
                let literal = parts.iter().take_while(|(part, _)| step(part).is_some()).count();
                let steps: Vec<PathStep> = parts[..literal].iter().filter_map(|(part, _)| step(part)).collect();
                let text = path_text(&parts[..literal]);
                if literal > 0 && !found.iter().any(|(_, known)| *known == text) {
                    found.push((steps, text));
                }
            } else {
                collect(start, found);
            }
        }
        Term::Str(_, parts) => parts.iter().for_each(|part| {
            if let StrPart::Term(term) = part {
                collect(term, found);
            }
        }),
        Term::Arr(Some(inner)) | Term::Neg(inner) => collect(inner, found),
        Term::Obj(members) => {
            members.iter().for_each(|(_, value)| value.iter().for_each(|value| collect(value, found)));
        }
        // What follows a pipe begins at another value.
        Term::BinOp(left, BinaryOp::Pipe(_), _) => collect(left, found),
        Term::BinOp(left, _, right) => {
            collect(left, found);
            collect(right, found);
        }
        Term::TryCatch(inner, _) => collect(inner, found),
        Term::IfThenElse(cases, last) => {
            cases.iter().for_each(|(condition, then)| {
                collect(condition, found);
                collect(then, found);
            });
            last.iter().for_each(|last| collect(last, found));
        }
        _ => {}
    }
}

impl Draft {
    /// Numbers the paths.
    pub(super) fn finish(self, extractor: &mut Extractor) -> FieldExpression {
        match self {
            Self::Path { steps, text, is_optional } => {
                FieldExpression::Path { number: extractor.add(&steps), text, is_optional }
            }
            Self::Constant(json) => FieldExpression::Constant(json),
            Self::Convert(inner, converter) => FieldExpression::Convert(Box::new(inner.finish(extractor)), converter),
            Self::Default(left, right) => {
                let left = Box::new(left.finish(extractor));
                FieldExpression::Default(left, Box::new(right.finish(extractor)))
            }
            Self::Text(parts) => FieldExpression::Text(
                parts
                    .into_iter()
                    .map(|part| match part {
                        Ok(literal) => TextPart::Literal(literal),
                        Err(draft) => TextPart::Value(draft.finish(extractor)),
                    })
                    .collect(),
            ),
        }
    }
}

impl FieldExpression {
    /// The JSON that it gives for the values that were found.
    pub(super) fn evaluate<'d>(&'d self, found: &[Option<Json<'d>>]) -> Result<Cow<'d, str>, Failure> {
        match self {
            Self::Path { number, text, is_optional } => match found[*number].filter(|value| !value.is_null()) {
                Some(value) => Ok(Cow::Borrowed(value.as_str())),
                None if *is_optional => Ok(Cow::Borrowed("null")),
                None => Err(Failure::Missing(text.clone())),
            },
            Self::Constant(json) => Ok(Cow::Borrowed(json)),
            Self::Convert(inner, converter) => {
                let input = inner.evaluate(found)?;
                converter.apply(Json::from_validated(&input)).map(Cow::Owned).map_err(Failure::Failed)
            }
            Self::Default(left, right) => match left.evaluate(found) {
                Ok(value) if !matches!(value.as_ref(), "null" | "false") => Ok(value),
                Ok(_) | Err(Failure::Missing(_)) => right.evaluate(found),
                Err(failed) => Err(failed),
            },
            Self::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        TextPart::Literal(literal) => text.push_str(literal),
                        TextPart::Value(expression) => {
                            let value = expression.evaluate(found)?;
                            let json = Json::from_validated(&value);
                            match json.kind() {
                                JsonType::String => text.push_str(&json.string().unwrap_or_default()),
                                _ => text.push_str(&minified(json.as_str())),
                            }
                        }
                    }
                }
                Ok(Cow::Owned(quoted(&text)))
            }
        }
    }
}
