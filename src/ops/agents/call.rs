//! The calls of an agent: from the arguments of a tool to the answer of the service.

use serde_json::{Map, Value};
use thiserror::Error;

use super::{AgentAuditEntry, AgentSession, AgentTool};
use crate::api::{ApiError, Input};
use crate::error::{Diagnostic, Error, Kind, Remedy, Result};
use crate::hash::sha256;
use crate::hex;
use crate::json::canonical;
use crate::model::ApprovalId;
use crate::ops::approvals::{self, ApprovalError, ExactRequest, MAX_APPROVED_BYTES};
use crate::ops::calls::{self, CallActionRequest};
use crate::view::call::CallResultView;

/// The operation that each call is recorded as.
const CALL: &str = "call";

/// Bytes of a digest of arguments in the audit log.
const DIGEST_BYTES: usize = 16;

/// Why a call is not made.
#[derive(Debug, Error)]
pub enum AgentCallError {
    #[error("the arguments have more than {MAX_APPROVED_BYTES} bytes, too many for a person to approve")]
    TooLargeToApprove,
    #[error("the arguments have no canonical form: {reason}")]
    Arguments { reason: String },
}

impl Remedy for AgentCallError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::TooLargeToApprove => Diagnostic::new(Kind::Usage, "too_large"),
            Self::Arguments { .. } => Diagnostic::new(Kind::Usage, "invalid_parameters"),
        }
    }
}

/// What a service answered to an agent.
#[derive(Debug)]
pub struct ToolResult {
    pub view: CallResultView,
    /// Whether the service refused the call.
    pub is_refused: bool,
}

impl AgentSession {
    /// Calls the action of a tool, with an approval if it needs one. Each call is an audit entry with the client, the
    /// digest of the arguments and the approval.
    ///
    /// # Errors
    /// [`AgentCallError`], [`ApprovalError`], and those of [`calls::call_action`].
    pub async fn call(&self, client: &str, tool: &AgentTool, arguments: Map<String, Value>) -> Result<ToolResult> {
        let text = Value::Object(arguments.clone()).to_string();
        let text = canonical(&text).map_err(|error| AgentCallError::Arguments { reason: error.to_string() })?;
        let digest = hex::encode(&sha256(text.as_bytes())[..DIGEST_BYTES]);
        let detail = format!("{client}, input sha256:{digest}");
        let entry = |approval| AgentAuditEntry {
            operation: CALL,
            effect: tool.effect,
            connection: Some(&tool.connection),
            detail: detail.clone(),
            approval,
        };
        let input: Input = arguments.into_iter().collect();
        let approval = match self.approval(tool, &input, text).await {
            Ok(approval) => approval,
            Err(error) => {
                let waiting = error.downcast_ref::<ApprovalError>().and_then(ApprovalError::approval).cloned();
                return self.begin(entry(waiting)).await?.run(async { Err(error) }).await;
            }
        };
        let request = CallActionRequest {
            connection: tool.connection.clone(),
            action: tool.action.clone(),
            input,
            idempotency_key: None,
        };
        let mut refused = None;
        let called = self.begin(entry(approval)).await?.run(async {
            let mut view = Box::pin(calls::call_action(&self.workspace, request)).await?;
            match view.refusal.take() {
                None => Ok(view),
                Some(refusal) => {
                    refused = Some(view);
                    Err(Error::from(refusal))
                }
            }
        });
        let called = called.await;
        match (called, refused) {
            (Ok(view), _) => Ok(ToolResult { view, is_refused: false }),
            // What the service answered says more than the error.
            (Err(error), Some(view)) if error.downcast_ref::<ApiError>().is_some() => {
                Ok(ToolResult { view: CallResultView { refusal: None, ..view }, is_refused: true })
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Uses up the approval of a call, if it needs one.
    async fn approval(&self, tool: &AgentTool, input: &Input, canonical_input: String) -> Result<Option<ApprovalId>> {
        let connection = self.workspace.connection(&tool.connection).await?;
        let found = calls::find_action(&self.workspace, tool.connection.clone(), &tool.action).await?;
        // Nobody is asked about a call that would be refused.
        found.parameters().check(input).map_err(|problems| found.invalid_parameters(problems))?;
        if !self.needs_approval(found.action.effect()) {
            return Ok(None);
        }
        let request = ExactRequest {
            token: self.token.as_ref().map(|token| &token.id),
            operation: CALL,
            effect: found.action.effect(),
            connection: Some(&connection),
            // As the request of the HTTP API that does the same.
            method: "POST",
            path: &format!("/v1/connections/{}/actions/{}", tool.connection, tool.action),
            query: Vec::new(),
            body: format!(r#"{{"input":{canonical_input}}}"#),
        };
        let request = request.describe().ok_or(AgentCallError::TooLargeToApprove)?;
        Ok(Some(approvals::claim_approval(&self.workspace, request).await?))
    }
}
