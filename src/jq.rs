//! jq expressions over JSON: what `--jq` prints, and which events a filter lets through.

use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, data, unwrap_valr};
use jaq_json::{Val, read};
use serde_json::Value;
use thiserror::Error;

use crate::error::{Kind, Remedy};

#[derive(Debug, Error)]
pub enum JqError {
    #[error("{0:?} is not a jq expression")]
    Expression(String),
    #[error("the jq expression failed: {0}")]
    Failed(String),
}

impl Remedy for JqError {
    fn kind(&self) -> Kind {
        Kind::Usage
    }

    fn code(&self) -> &'static str {
        "jq"
    }

    fn hint(&self) -> Option<String> {
        Some("run it with --json alone to see what the expression is given".to_owned())
    }
}

/// An expression that is compiled once and run over any number of documents.
pub struct Expression(jaq_core::Filter<data::JustLut<Val>>);

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Expression")
    }
}

impl Expression {
    /// # Errors
    /// [`JqError::Expression`].
    pub fn parse(text: &str) -> Result<Self, JqError> {
        let wrong = || JqError::Expression(text.to_owned());
        let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
        let arena = Arena::default();
        let modules = Loader::new(definitions).load(&arena, File { code: text, path: () }).map_err(|_| wrong())?;
        Compiler::default().with_funs(functions).compile(modules).map(Self).map_err(|_| wrong())
    }

    /// Its results as JSON texts.
    ///
    /// # Errors
    /// [`JqError::Failed`].
    pub fn results(&self, value: &Value) -> Result<Vec<String>, JqError> {
        let failed = |error: &dyn std::fmt::Display| JqError::Failed(error.to_string());
        let text = value.to_string();
        let input = read::parse_single(text.as_bytes()).map_err(|error| failed(&error))?;
        let context = Ctx::<data::JustLut<Val>>::new(&self.0.lut, Vars::new([]));
        let results = self.0.id.run((context, input)).map(unwrap_valr);
        results.map(|result| Ok(result.map_err(|error| failed(&error))?.to_string())).collect()
    }

    /// Whether any of its results is neither false nor null, as `select` judges. What fails lets nothing through.
    pub fn admits(&self, value: &Value) -> bool {
        let results = self.results(value).unwrap_or_default();
        results.iter().any(|result| !matches!(result.as_str(), "false" | "null"))
    }
}

/// The results, one a line; strings without their quotes, as `jq -r` prints them.
///
/// # Errors
/// [`JqError`].
pub fn run(expression: &str, value: &Value) -> Result<String, JqError> {
    let mut out = String::new();
    for text in Expression::parse(expression)?.results(value)? {
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
        assert!(matches!(run(".[", &value), Err(JqError::Expression(_))));
        assert!(matches!(run(".n | keys", &value), Err(JqError::Failed(_))));
    }
}
