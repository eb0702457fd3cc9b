//! `--jq`: a jq expression over the JSON that a command prints.

use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, data, unwrap_valr};
use jaq_json::{Val, read};
use serde_json::Value;
use thiserror::Error;

use crate::error::{Kind, Remedy};

#[derive(Debug, Error)]
pub(super) enum JqError {
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

/// The results, one a line; strings without their quotes, as `jq -r` prints them.
///
/// # Errors
/// [`JqError`].
pub(super) fn run(expression: &str, value: &Value) -> Result<String, JqError> {
    let failed = |error: &dyn std::fmt::Display| JqError::Failed(error.to_string());
    let text = value.to_string();
    let input = read::parse_single(text.as_bytes()).map_err(|error| failed(&error))?;
    let wrong = || JqError::Expression(expression.to_owned());
    let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let arena = Arena::default();
    let modules = Loader::new(definitions).load(&arena, File { code: expression, path: () }).map_err(|_| wrong())?;
    let filter = Compiler::default().with_funs(functions).compile(modules).map_err(|_| wrong())?;
    let context = Ctx::<data::JustLut<Val>>::new(&filter.lut, Vars::new([]));
    let mut out = String::new();
    for result in filter.id.run((context, input)).map(unwrap_valr) {
        let text = result.map_err(|error| failed(&error))?.to_string();
        // A JSON string is printed as what it says.
        let text = serde_json::from_str::<String>(&text).unwrap_or(text);
        out.push_str(&text);
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
