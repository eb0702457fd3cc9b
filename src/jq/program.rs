//! Several expressions over one document: the fields of a binding that are more than paths.
//!
//! Each has the check of [`super::rewrite`] behind its paths. Those that are known to be cheap run here, the others together
//! in one worker, so that a document is handed over once.

use jaq_core::load::parse::Term;
use jaq_json::{Val, read};

use super::rewrite::{self, Strict};
use super::{
    Compiled, DEEPEST_HERE, Expression, JqError, LONGEST_NUMBER_HERE, MAX_EXPRESSION_BYTES, converters, on_large_stack,
    plain,
};
use crate::json::{Json, JsonType, minified, without_lone_surrogates};

/// What one expression made of a document: its results as JSON texts, or why it failed.
pub(crate) type Outcome = Result<Vec<String>, String>;

/// Expressions that are compiled once and run over any number of documents.
#[derive(Debug, Default)]
pub(crate) struct Program {
    /// The cheap ones, each with its index.
    here: Vec<(usize, Compiled)>,
    /// The others, by their indexes, as one.
    worker: Option<(Expression, Vec<usize>)>,
    /// All of them as one, for documents that are not read here.
    all: Option<Expression>,
    count: usize,
}

impl Program {
    /// Compiles expressions. `definitions` go before each that calls one of them by the name `called`.
    ///
    /// # Errors
    /// The index of the first expression that is wrong, and why.
    pub(crate) fn compile(texts: &[String], called: &str, definitions: &str) -> Result<Self, (usize, JqError)> {
        let (mut here, mut others, mut rewritten) = (Vec::new(), Vec::new(), Vec::new());
        for (index, text) in texts.iter().enumerate() {
            let at = |error| (index, error);
            check(text).map_err(at)?;
            let mut strict = with_term(text, |term| rewrite::write(term, Strict::Yes)).map_err(at)?;
            if text.contains(called) {
                strict.insert_str(0, definitions);
            }
            if plain::is_plain(text) {
                here.push((index, Compiled::new(&strict).map_err(at)?));
            } else {
                others.push(index);
            }
            rewritten.push(strict);
        }
        let worker = (!others.is_empty()).then(|| {
            let texts: Vec<&str> = others.iter().map(|index| rewritten[*index].as_str()).collect();
            (Expression::for_worker(as_one(&texts)), others)
        });
        let texts: Vec<&str> = rewritten.iter().map(String::as_str).collect();
        let all = (!here.is_empty()).then(|| Expression::for_worker(as_one(&texts)));
        Ok(Self { here, worker, all, count: texts.len() })
    }

    /// Whether it has no expressions.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Runs all expressions over a document; the outcomes are in their order.
    pub(crate) fn run(&self, document: &str) -> Vec<Outcome> {
        let document = without_lone_surrogates(document);
        let extent = Json::from_validated(&document).extent();
        let mut outcomes = vec![Err(String::new()); self.count];
        if extent.levels > DEEPEST_HERE || extent.longest_number > LONGEST_NUMBER_HERE {
            let all: Vec<usize> = (0..self.count).collect();
            let expression = self.all.as_ref().or(self.worker.as_ref().map(|(expression, _)| expression));
            run_in_worker(expression, &all, &document, &mut outcomes);
            return outcomes;
        }
        if !self.here.is_empty() {
            match read::parse_single(document.as_bytes()) {
                Ok(input) => {
                    for (index, compiled) in &self.here {
                        outcomes[*index] = run_here(compiled, input.clone());
                    }
                }
                Err(error) => self.here.iter().for_each(|(index, _)| outcomes[*index] = Err(error.to_string())),
            }
        }
        if let Some((expression, indexes)) = &self.worker {
            run_in_worker(Some(expression), indexes, &document, &mut outcomes);
        }
        outcomes
    }
}

/// Calls `use_term` with what an expression parses to, on a stack that fits it.
///
/// # Errors
/// [`JqError::InvalidExpression`] and [`JqError::TooLong`].
pub(crate) fn with_term<T: Send>(text: &str, use_term: impl FnOnce(&Term<&str>) -> T + Send) -> Result<T, JqError> {
    if text.len() > MAX_EXPRESSION_BYTES {
        return Err(JqError::TooLong { most: MAX_EXPRESSION_BYTES });
    }
    let parsed = on_large_stack(text, || jaq_core::load::parse(text, |parser| parser.term()).as_ref().map(use_term))?;
    match parsed {
        Some(result) => Ok(result),
        // It says what is wrong, and where.
        None => check(text).and(Err(JqError::invalid(text, "expected an expression".to_owned(), 0))),
    }
}

/// Whether an expression is right, on a stack that fits it.
fn check(text: &str) -> Result<(), JqError> {
    if text.len() > MAX_EXPRESSION_BYTES {
        return Err(JqError::TooLong { most: MAX_EXPRESSION_BYTES });
    }
    on_large_stack(text, || Compiled::new(text).map(drop))?
}

/// Several expressions as one, which returns a list of results or an error for each.
fn as_one(texts: &[&str]) -> String {
    let each: Vec<String> = texts.iter().map(|text| format!("(try [{text}] catch {{error: tostring}})")).collect();
    format!("[{}]", each.join(","))
}

fn run_here(compiled: &Compiled, input: Val) -> Outcome {
    let mut results = Vec::new();
    let ran = compiled.each_of(input, |result| {
        results.push(result);
        true
    });
    match ran {
        Ok(()) => Ok(results),
        Err(JqError::Failed(why)) => Err(why),
        Err(other) => Err(other.to_string()),
    }
}

fn run_in_worker(expression: Option<&Expression>, indexes: &[usize], document: &str, outcomes: &mut [Outcome]) {
    let Some(expression) = expression else { return };
    let results = expression.results_by_worker(&minified(document));
    let list = results.as_ref().map(|results| results.first().map_or("[]", String::as_str));
    match list {
        Ok(list) => {
            for (index, outcome) in indexes.iter().zip(Json::from_validated(list).items()) {
                outcomes[*index] = match outcome.kind() {
                    JsonType::Array => Ok(outcome.items().map(|result| result.as_str().to_owned()).collect()),
                    _ => Err(outcome.get("error").and_then(Json::string).unwrap_or_default().into_owned()),
                };
            }
        }
        Err(error) => indexes.iter().for_each(|index| outcomes[*index] = Err(error.to_string())),
    }
}

/// The path of a value that was missing, if an expression failed for that.
pub(crate) fn missing_path(why: &str) -> Option<&str> {
    why.strip_prefix(converters::MISSING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(texts: &[&str], document: &str) -> Vec<Outcome> {
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        Program::compile(&texts, "lookup", "").unwrap().run(document)
    }

    #[test]
    fn cheap_expressions_run_over_one_document() {
        let texts = [".a + 1", "[.list[].x]", ".list[]", ".b | length", "empty", "\"\\(.a)\" | sha256"];
        let outcomes = run(&texts, "{\"a\": 1.50, \"list\": [{\"x\": 1}, {}], \"b\": null}");
        assert_eq!(outcomes[0], Ok(vec!["2.5".to_owned()]));
        assert_eq!(missing_path(outcomes[1].as_ref().unwrap_err()), Some(".list[].x"));
        assert_eq!(outcomes[2], Ok(vec!["{\"x\":1}".to_owned(), "{}".to_owned()]));
        assert_eq!(missing_path(outcomes[3].as_ref().unwrap_err()), Some(".b"));
        assert_eq!(outcomes[4], Ok(Vec::new()));
        assert_eq!(outcomes[5].as_ref().unwrap()[0].len(), 66);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_index() {
        let compile = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
            Program::compile(&texts, "lookup", "").map(drop).unwrap_err()
        };
        assert_eq!(compile(&[".a", ".b |"]).0, 1);
        let (index, error) = compile(&[".a | keyz", "("]);
        assert_eq!((index, error.to_string().contains("undefined filter `keyz` at character 6")), (0, true));
        let nested = format!("{}1{}", "(".repeat(4_000), ")".repeat(4_000));
        assert!(with_term(&nested, |_| ()).is_ok());
    }
}
