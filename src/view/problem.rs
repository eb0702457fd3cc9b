//! A failure in the HTTP API: problem details (RFC 9457) with the codes and hints of the command line.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::word;
use crate::error::{Error, Hint, Kind};

/// The body of a response that reports a failure.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct ProblemView {
    /// `about:blank`: `code` says what happened.
    #[serde(rename = "type")]
    pub uri: String,
    /// The meaning of the status.
    pub title: String,
    pub status: u16,
    /// What failed and why, on one line.
    pub detail: String,
    /// The stable name of the failure: `needs_reauth`, `unknown_connection`.
    pub code: String,
    /// What sort of failure it is, which decides the exit code of a command.
    #[serde(serialize_with = "word")]
    pub kind: Kind,
    /// What to do, as shown to a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The command in the hint, for the machine that runs `integ serve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The connection that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// The approval that the request waits for, or that was denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
}

impl ProblemView {
    /// Creates the view of an error, with the status of its kind.
    pub fn new(error: &Error, title: &str) -> Self {
        let hint = error.hint();
        Self {
            uri: "about:blank".to_owned(),
            title: title.to_owned(),
            status: error.kind().http_status(),
            detail: error.on_one_line(),
            code: error.code().to_owned(),
            kind: error.kind(),
            hint: hint.as_ref().map(ToString::to_string),
            command: hint.and_then(|hint| hint.command),
            connection: error.connection(),
            approval: None,
        }
    }

    /// Returns the hint as it was before it was written: a text, a command, or a text that leads up to a command.
    pub fn parsed_hint(&self) -> Option<Hint> {
        match (&self.hint, &self.command) {
            (Some(hint), Some(command)) => match hint.strip_suffix(&format!(" `{command}`")) {
                Some(text) => Some(Hint::new(text, command)),
                None => Some(Hint::run(command)),
            },
            (None, Some(command)) => Some(Hint::run(command)),
            (Some(text), None) => Some(Hint::text(text)),
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Diagnostic, Remedy};

    #[derive(Debug, thiserror::Error)]
    #[error("it failed")]
    struct Failure(Hint);

    impl Remedy for Failure {
        fn diagnostic(&self) -> Diagnostic {
            Diagnostic::new(Kind::Vault, "failed").hint(self.0.clone())
        }
    }

    #[test]
    fn a_problem_keeps_kind_and_hint_on_its_way() {
        let hints = [Hint::run("integ status"), Hint::new("list them:", "integ status"), Hint::text("try again")];
        for hint in hints {
            let sent = ProblemView::new(&Failure(hint.clone()).into(), "Service Unavailable");
            let text = serde_json::to_string(&sent).unwrap();
            let received: ProblemView = serde_json::from_str(&text).unwrap();
            assert_eq!((received.parsed_hint(), received.kind), (Some(hint), Kind::Vault));
            assert_eq!((received.status, received.detail.as_str()), (503, "it failed"));
        }
    }
}
