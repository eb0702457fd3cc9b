//! A flow in which nobody can be asked: what would be asked is an error that names the value.

use std::process::Child;

use url::Url;

use super::{ConnectEvent, DefaultAnswer, PromptError, PromptQuestion, Prompter};
use crate::secret::Secret;

/// Answers no question and shows nothing.
pub(super) struct Unattended;

impl Unattended {
    fn refusal(prompt: &str) -> PromptError {
        PromptError::NoTerminal { prompt: prompt.to_owned(), missing: "the request".to_owned() }
    }
}

impl Prompter for Unattended {
    fn notify(&self, _: &ConnectEvent<'_>) {}

    fn open_browser(&self, _: &Url) -> Option<Child> {
        None
    }

    fn prompt(&self, question: &PromptQuestion<'_>) -> Result<Secret, PromptError> {
        Err(match question {
            PromptQuestion::Text { prompt, .. } | PromptQuestion::File { prompt, .. } => Self::refusal(prompt),
            PromptQuestion::CallbackUrl => Self::refusal("the callback URL"),
        })
    }

    fn select(&self, prompt: &str, _: &[String]) -> Result<usize, PromptError> {
        Err(Self::refusal(prompt))
    }

    fn confirm(&self, statement: &str, _: DefaultAnswer) -> Result<bool, PromptError> {
        Err(Self::refusal(statement))
    }

    fn is_interactive(&self) -> bool {
        false
    }
}
