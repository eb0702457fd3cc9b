//! jq expressions over JSON, for `--jq` and event filters.
//!
//! An expression may come from a connector's file and documents come from services, so neither may use up the machine. What
//! is known to be cheap (`plain`) is evaluated here; everything else is evaluated by a process with limits (`worker`).

mod converters;
mod plain;
mod program;
mod rewrite;
mod worker;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, data, unwrap_valr};
use jaq_json::{Val, read};
use serde_json::Value;
use thiserror::Error;

use self::worker::WorkerProcess;
pub(crate) use self::worker::{WORKER_ARGUMENT, serve};
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::json::{self, Json, without_lone_surrogates};

pub(crate) use self::program::{Program, missing_path, with_term};
pub(crate) use self::rewrite::path_text;

/// The longest expression.
const MAX_EXPRESSION_BYTES: usize = 8 << 10;

/// The stack on which an expression is parsed, and evaluated where it is not plain.
const STACK: usize = 256 << 20;

/// What a document may have for its evaluation here: more levels need a larger stack, and more digits take longer than the
/// document is long.
const DEEPEST_HERE: usize = 128;
const LONGEST_NUMBER_HERE: usize = 1_024;

/// What the results of one document may come to.
const MOST_OUTPUT: usize = 64 << 20;

/// Why a jq expression cannot be parsed or evaluated.
#[derive(Debug, Error)]
pub enum JqError {
    #[error("invalid jq expression {expression:?}: {what} at character {at}")]
    InvalidExpression { expression: String, what: String, at: usize },
    #[error("the jq expression is longer than {most} bytes")]
    TooLong { most: usize },
    #[error("the jq expression failed: {0}")]
    Failed(String),
    #[error("the jq expression did not finish within {seconds} s")]
    Timeout { seconds: u64 },
    #[error("the jq expression recurses too deeply or needs more than {mebibytes} MiB of memory")]
    OutOfMemory { mebibytes: u64 },
    #[error("the results of the jq expression are larger than {mebibytes} MiB")]
    OutputTooLarge { mebibytes: usize },
    #[error("cannot start the process that evaluates jq expressions")]
    WorkerStart { source: std::io::Error },
}

impl Remedy for JqError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::TooLong { .. } | Self::Timeout { .. } | Self::OutOfMemory { .. } | Self::OutputTooLarge { .. } => {
                Diagnostic::new(Kind::Usage, "jq_limit")
                    .hint(Hint::text("print the JSON with --json and process it with another program"))
            }
            Self::InvalidExpression { .. } => {
                Diagnostic::new(Kind::Usage, "jq").hint(Hint::text("see https://jqlang.org/manual"))
            }
            _ => Diagnostic::new(Kind::Usage, "jq")
                .hint(Hint::text("run it with --json alone to see what the expression is given")),
        }
    }
}

/// An expression that is compiled once and run over any number of documents.
pub struct Expression {
    text: String,
    /// Absent where it is not known to be cheap.
    here: Option<Compiled>,
    worker: Mutex<WorkerState>,
}

/// Of the worker: what had to be stopped is not tried again, for the next document would take as long.
enum WorkerState {
    Idle,
    Running(WorkerProcess),
    Stopped(JqError),
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Expression")
    }
}
impl Expression {
    /// # Errors
    /// [`JqError::InvalidExpression`] and [`JqError::TooLong`].
    pub fn parse(text: &str) -> Result<Self, JqError> {
        if text.len() > MAX_EXPRESSION_BYTES {
            return Err(JqError::TooLong { most: MAX_EXPRESSION_BYTES });
        }
        if plain::is_plain(text) {
            let here = Some(Compiled::new(text)?);
            return Ok(Self { text: text.to_owned(), here, worker: Mutex::new(WorkerState::Idle) });
        }
        // Whether it is right is seen at once.
        on_large_stack(text, || Compiled::new(text).map(drop))??;
        Ok(Self::for_worker(text.to_owned()))
    }

    /// An expression that is known to be right, for the worker.
    fn for_worker(text: String) -> Self {
        Self { text, here: None, worker: Mutex::new(WorkerState::Idle) }
    }

    /// Its results as JSON texts.
    ///
    /// # Errors
    /// [`JqError`].
    pub fn results(&self, value: &Value) -> Result<Vec<String>, JqError> {
        self.results_for_text(&value.to_string())
    }

    /// Its results, for a document as it was written. Numbers that the expression does not calculate with keep their digits.
    ///
    /// # Errors
    /// [`JqError`].
    pub fn results_for_text(&self, document: &str) -> Result<Vec<String>, JqError> {
        let document = without_lone_surrogates(document);
        let extent = Json::from_validated(&document).extent();
        match &self.here {
            Some(compiled) if extent.levels <= DEEPEST_HERE && extent.longest_number <= LONGEST_NUMBER_HERE => {
                let mut results = Vec::new();
                compiled.each(&document, |result| {
                    results.push(result);
                    true
                })?;
                Ok(results)
            }
            _ => self.results_by_worker(&json::minified(&document)),
        }
    }

    /// Its results by the worker, which reads the document from one line.
    fn results_by_worker(&self, document: &str) -> Result<Vec<String>, JqError> {
        self.worker.lock().unwrap_or_else(PoisonError::into_inner).results(&self.text, document)
    }

    /// Whether any of its results is neither false nor null, as `select` judges. What fails lets nothing through.
    pub fn matches(&self, value: &Value) -> bool {
        let results = self.results(value).unwrap_or_default();
        results.iter().any(|result| !matches!(result.as_str(), "false" | "null"))
    }
}

impl WorkerState {
    fn results(&mut self, text: &str, document: &str) -> Result<Vec<String>, JqError> {
        if matches!(self, Self::Idle) {
            *self = Self::Running(WorkerProcess::start(text)?);
        }
        let result = match self {
            Self::Running(worker) => worker.results(document),
            Self::Stopped(error) => return Err(error.again()),
            Self::Idle => Ok(Vec::new()),
        };
        if let Err(error @ (JqError::Timeout { .. } | JqError::OutOfMemory { .. })) = &result {
            *self = Self::Stopped(error.again());
        }
        result
    }
}

impl JqError {
    /// `at` is in bytes; a person counts characters, from 1.
    fn invalid(expression: &str, what: String, at: usize) -> Self {
        let at = expression.get(..at).unwrap_or_default().chars().count() + 1;
        Self::InvalidExpression { expression: expression.to_owned(), what, at }
    }

    /// The same limit, met once more.
    fn again(&self) -> Self {
        match self {
            Self::Timeout { seconds } => Self::Timeout { seconds: *seconds },
            Self::OutOfMemory { mebibytes } => Self::OutOfMemory { mebibytes: *mebibytes },
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Does something with an expression on a stack that brackets inside brackets do not use up.
fn on_large_stack<T: Send>(expression: &str, work: impl FnOnce() -> T + Send) -> Result<T, JqError> {
    let done = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        thread.spawn_scoped(scope, work).map(std::thread::ScopedJoinHandle::join)
    });
    match done {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) => Err(JqError::invalid(expression, "too many levels".to_owned(), 0)),
        Err(source) => Err(JqError::WorkerStart { source }),
    }
}

/// What jaq has made of a text.
struct Compiled(jaq_core::Filter<data::JustLut<Val>>);

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Compiled")
    }
}

impl Compiled {
    fn new(text: &str) -> Result<Self, JqError> {
        let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs()).chain(converters::funs());
        let arena = Arena::default();
        let modules = Loader::new(definitions).load(&arena, File { code: text, path: () });
        let modules = modules.map_err(|errors| {
            let error = errors.first().map(|(_, error)| error);
            let (what, found) = match error {
                Some(load::Error::Lex(errors)) => errors.first().map(|(expected, found)| (expected.as_str(), *found)),
                Some(load::Error::Parse(errors)) => errors.first().map(|(expected, found)| (expected.as_str(), *found)),
                Some(load::Error::Io(_)) | None => None,
            }
            .unwrap_or(("an expression", text));
            JqError::invalid(text, format!("expected {what}"), offset_of(text, found))
        })?;
        Compiler::default().with_funs(functions).compile(modules).map(Self).map_err(|errors| {
            let undefined = errors.first().and_then(|(_, errors)| errors.first());
            let (what, name) = undefined.map_or(("name", text), |(name, kind)| (kind.as_str(), *name));
            JqError::invalid(text, format!("undefined {what} `{name}`"), offset_of(text, name))
        })
    }

    /// Hands on each result as a JSON text, until no more are taken.
    fn each(&self, document: &str, take: impl FnMut(String) -> bool) -> Result<(), JqError> {
        let input = read::parse_single(document.as_bytes()).map_err(|error| JqError::Failed(error.to_string()))?;
        self.each_of(input, take)
    }

    /// The same for a document that was read.
    fn each_of(&self, input: Val, mut take: impl FnMut(String) -> bool) -> Result<(), JqError> {
        // An error that is a text is shown without its quotes.
        let failed = |error: &dyn std::fmt::Display| {
            let text = error.to_string();
            JqError::Failed(serde_json::from_str::<String>(&text).unwrap_or(text))
        };
        let context = Ctx::<data::JustLut<Val>>::new(&self.0.lut, Vars::new([]));
        let mut printed = 0;
        for result in self.0.id.run((context, input)).map(unwrap_valr) {
            let text = result.map_err(|error| failed(&error))?.to_string();
            printed += text.len();
            if printed > MOST_OUTPUT {
                return Err(JqError::OutputTooLarge { mebibytes: MOST_OUTPUT >> 20 });
            }
            if !take(text) {
                break;
            }
        }
        Ok(())
    }
}

/// Where a part of a text begins, in bytes.
fn offset_of(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize).filter(|at| *at <= text.len()).unwrap_or_default()
}

thread_local! {
    /// The last expression: rows that are printed one by one are all filtered by the same.
    static LAST: RefCell<Option<(String, Rc<Expression>)>> = const { RefCell::new(None) };
}

/// The results, one a line; strings without their quotes, as `jq -r` prints them.
///
/// # Errors
/// [`JqError`].
pub fn run(expression: &str, value: &Value) -> Result<String, JqError> {
    run_text(expression, &value.to_string())
}

/// [`run`], for a document as it was written.
///
/// # Errors
/// [`JqError`].
pub fn run_text(expression: &str, document: &str) -> Result<String, JqError> {
    let known = LAST
        .with_borrow(|last| last.as_ref().filter(|(text, _)| text == expression).map(|(_, known)| Rc::clone(known)));
    let compiled = match known {
        Some(known) => known,
        None => {
            let new = Rc::new(Expression::parse(expression)?);
            LAST.set(Some((expression.to_owned(), Rc::clone(&new))));
            new
        }
    };
    let mut out = String::new();
    for text in compiled.results_for_text(document)? {
        // A JSON string is printed as what it says.
        out.push_str(&serde_json::from_str::<String>(&text).unwrap_or(text));
        out.push('\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn filters_and_prints_strings_bare() {
        let value = json!({ "connections": [{ "connection": "slack" }, { "connection": "jira@work" }], "n": 2 });
        assert_eq!(run(".connections[].connection", &value).unwrap(), "slack\njira@work\n");
        assert_eq!(run("{n}", &value).unwrap(), "{\"n\":2}\n");
        for (text, says) in [
            (".[", "invalid jq expression \".[\": expected closing bracket at character 3"),
            (".a | keyz", "invalid jq expression \".a | keyz\": undefined filter `keyz` at character 6"),
            ("é(", "invalid jq expression \"é(\": expected token at character 1"),
            (".a b", "invalid jq expression \".a b\": expected nothing at character 4"),
        ] {
            assert_eq!(run(text, &value).unwrap_err().to_string(), says);
        }
        assert!(matches!(run(".n | keys", &value), Err(JqError::Failed(_))));
        assert!(matches!(run(&"-".repeat(MAX_EXPRESSION_BYTES + 1), &value), Err(JqError::TooLong { .. })));
    }

    #[test]
    fn what_is_not_calculated_with_keeps_its_digits() {
        let text =
            r#"{"a":1.10,"b":33066915805160912602000,"c":1e400,"d":[1E5,-7,0.1234567890123456789],"e":"\ud83d"}"#;
        for filter in [".", "[.] | .[0]"] {
            let shown = run_text(filter, text).unwrap();
            assert_eq!(shown.trim_end(), text.replace("\\ud83d", "\u{fffd}"), "{filter}");
        }
        assert_eq!(
            run_text(".a, .b, .c, .d[0], .e", text).unwrap(),
            "1.10\n33066915805160912602000\n1e400\n1E5\n\u{fffd}\n"
        );
        assert_eq!(run_text(".a + 1", text).unwrap(), "2.1\n");
        assert_eq!(run_text(".", " {\n\"a\" : 1 }\n").unwrap(), "{\"a\":1}\n");
    }

    #[test]
    fn brackets_inside_brackets_do_not_use_up_the_stack() {
        for (open, close) in [("[", "]"), ("(", ")"), ("-", ""), ("try ", ""), ("if ", "")] {
            let times = MAX_EXPRESSION_BYTES / (open.len() + close.len()) - 1;
            let text = format!("{}1{}", open.repeat(times), close.repeat(times));
            let parsed = Expression::parse(&text);
            assert!(parsed.is_ok() || matches!(parsed, Err(JqError::InvalidExpression { .. })), "{open}");
        }
    }
}
