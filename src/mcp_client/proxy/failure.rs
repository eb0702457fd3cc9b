//! Errors of the relay itself, as JSON-RPC error responses. Pure.

use serde_json::{Value, json};

use super::envelope::EnvelopeError;
use crate::error::{Error, Hint};
use crate::mcp_client::Refusal;
use crate::model::WorkspaceName;

/// JSON-RPC 2.0 section 5.1, and the first code that it leaves to implementations.
const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const INVALID_PARAMS: i64 = -32602;
const RELAY_ERROR: i64 = -32000;

/// An error response without its id.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RpcFailure {
    code: i64,
    message: String,
    /// A stable code, and the command that helps.
    data: Option<Value>,
}

impl RpcFailure {
    /// An error of the relay; `word` is a stable name for programs.
    pub(super) fn new(word: &str, message: impl Into<String>) -> Self {
        Self { code: RELAY_ERROR, message: message.into(), data: Some(json!({ "code": word })) }
    }

    /// An error of integ's, with the command that helps, as it runs in this workspace.
    pub(super) fn from_error(error: &Error, workspace: &WorkspaceName) -> Self {
        Self::new(error.code(), error.on_one_line()).hint(error.hint(), workspace)
    }

    pub(super) fn from_refusal(refusal: &Refusal, workspace: &WorkspaceName) -> Self {
        Self::new("refused", &refusal.message).hint(refusal.command.as_deref().map(Hint::run), workspace)
    }

    /// The answer to what is not a message.
    pub(super) fn malformed(error: &EnvelopeError) -> Self {
        let code = match error {
            EnvelopeError::Syntax(_) => PARSE_ERROR,
            EnvelopeError::Shape(_) => INVALID_REQUEST,
        };
        Self { code, message: error.to_string(), data: None }
    }

    pub(super) fn invalid_request(message: &str) -> Self {
        Self { code: INVALID_REQUEST, message: message.to_owned(), data: None }
    }

    /// The answer to the call of a tool that the filter hides.
    pub(super) fn tool_not_allowed(name: Option<&str>) -> Self {
        let message = match name {
            Some(name) => format!("tool {name:?} is not allowed here: it is filtered by --allow-tool or --ignore-tool"),
            None => "the tool's name cannot be read, and tools are filtered".to_owned(),
        };
        Self { code: INVALID_PARAMS, message, data: Some(json!({ "code": "tool_not_allowed" })) }
    }

    fn hint(mut self, hint: Option<Hint>, workspace: &WorkspaceName) -> Self {
        let Some(hint) = hint else { return self };
        let hint = if *workspace == WorkspaceName::default() { hint } else { hint.in_workspace(workspace.as_str()) };
        let advice = match (&hint.command, hint.text.is_empty()) {
            (Some(command), true) => format!("run `{command}`"),
            _ => hint.to_string(),
        };
        self.message = format!("{}; {advice}", self.message);
        if let (Some(data), Some(command)) = (&mut self.data, hint.command) {
            data["command"] = Value::from(command);
        }
        self
    }

    /// Warns that the request may have been carried out.
    pub(super) fn perhaps_done(mut self) -> Self {
        self.message =
            format!("{}; the server may have carried the request out, so it is not sent again", self.message);
        self
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The response to the request of this id, as JSON on one line; `null` for what could not be read.
    pub(super) fn response(&self, id: &str) -> String {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(data) = &self.data {
            error["data"] = data.clone();
        }
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp_client::RefusalCause;

    #[test]
    fn an_error_names_the_command_that_helps() {
        let refusal = Refusal {
            cause: RefusalCause::Token,
            message: "the server refused the token".to_owned(),
            command: Some("integ reconnect mcp@x".to_owned()),
        };
        let failure = RpcFailure::from_refusal(&refusal, &"team".parse().unwrap());
        let response: Value = serde_json::from_str(&failure.response("\"a\"")).unwrap();
        assert_eq!(response["id"], "a");
        assert_eq!(response["error"]["message"], "the server refused the token; run `integ -w team reconnect mcp@x`");
        assert_eq!(response["error"]["data"]["command"], "integ -w team reconnect mcp@x");
        let plain = RpcFailure::from_refusal(&refusal, &WorkspaceName::default());
        assert!(plain.message().ends_with("run `integ reconnect mcp@x`"), "{plain:?}");
        assert!(!RpcFailure::invalid_request("a\nb").response("null").contains('\n'));
    }
}
