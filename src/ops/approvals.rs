//! Operations on approvals: a person's yes to one exact request of an API token or an agent.
//!
//! A token sees the approvals that it and the tokens that it led to asked for, and decides about none.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use super::api_tokens::visible_tokens;
use super::{Effect, Operation, OperationScope, Reach};
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::hash::sha256_of_parts;
use crate::http::redact_json;
use crate::json;
use crate::model::{
    APPROVAL_LIFETIME, ApiToken, ApiTokenId, ApiTokenName, Approval, ApprovalClaim, ApprovalDecision, ApprovalId,
    ApprovalRequest, ApprovalStatus, ApprovalUse, Connection, MAX_APPROVAL_WINDOW, Notification, approval_summary,
};
use crate::runtime::Workspace;
use crate::view::approval::{ApprovalDetailView, ApprovalListView, ApprovalView};

/// The operations of this module. Deciding is left to people: at the machine, or signed in as an approver.
pub const OPERATIONS: &[Operation] = &[
    Operation::local("approval list", OperationScope::Approvals, Effect::Read).reachable_by(Reach::Api),
    Operation::local("approval show", OperationScope::Approvals, Effect::Read).reachable_by(Reach::Api),
    Operation::local("approval grant", OperationScope::Approvals, Effect::Write).reachable_by(Reach::Operator),
    Operation::local("approval deny", OperationScope::Approvals, Effect::Write).reachable_by(Reach::Operator),
];

/// Approvals that are read from the store at once.
const PAGE_SIZE: u32 = 500;

/// Why a request is not made, or why an approval cannot be decided about.
#[derive(Debug, Error)]
pub enum ApprovalError {
    #[error("the request needs an approval: a person has to grant {approval}")]
    Required { approval: ApprovalId },
    #[error("the request was denied: {approval}")]
    Denied { approval: ApprovalId },
    #[error("too many requests of this caller wait for an approval")]
    TooMany,
    #[error("approval {0} not found")]
    NotFound(ApprovalId),
    #[error("approval {id} can no longer be decided: it is {status}")]
    Closed { id: ApprovalId, status: ApprovalStatus },
    #[error("an approval is valid for at least a second and at most 30 days")]
    InvalidWindow,
}

impl ApprovalError {
    /// Returns the approval that a refused request waits for, or that was denied.
    pub fn approval(&self) -> Option<&ApprovalId> {
        match self {
            Self::Required { approval } | Self::Denied { approval } => Some(approval),
            Self::TooMany | Self::NotFound(_) | Self::Closed { .. } | Self::InvalidWindow => None,
        }
    }
}

impl Remedy for ApprovalError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Required { approval } => Diagnostic::new(Kind::AuthNeeded, "approval_required").hint(Hint::new(
                "a person runs this at the machine of the server; then send the same request again:",
                format!("integ approval grant {approval}"),
            )),
            Self::Denied { approval } => {
                Diagnostic::new(Kind::AuthNeeded, "approval_denied").run(format!("integ approval show {approval}"))
            }
            Self::TooMany => Diagnostic::new(Kind::Temporary, "too_many_approvals").run("integ approval list"),
            Self::NotFound(_) => Diagnostic::new(Kind::NotFound, "approval_not_found").run("integ approval list --all"),
            Self::Closed { id, .. } => {
                Diagnostic::new(Kind::Conflict, "approval_closed").run(format!("integ approval show {id}"))
            }
            Self::InvalidWindow => {
                Diagnostic::new(Kind::Usage, "invalid_time").hint(Hint::text("write a time such as 1h or 7d"))
            }
        }
    }
}

/// Bytes of a request that needs an approval: nobody reads more before deciding.
pub const MAX_APPROVED_BYTES: usize = 64 * 1024;

/// A request as a person approves it: everything that decides what it does.
#[derive(Clone, Debug)]
pub struct ExactRequest<'a> {
    /// The token that asks; absent for an agent or a program on this machine.
    pub token: Option<&'a ApiTokenId>,
    pub operation: &'a str,
    pub effect: Effect,
    pub connection: Option<&'a Connection>,
    pub method: &'a str,
    pub path: &'a str,
    /// Names and values; the values of one name keep their order.
    pub query: Vec<(String, String)>,
    /// As canonical JSON.
    pub body: String,
}

impl ExactRequest<'_> {
    /// Describes the request for an approval. The digest also covers the id of the connection, so that an approval never
    /// reaches another account of the same name. `None` if it has more than [`MAX_APPROVED_BYTES`].
    pub fn describe(mut self) -> Option<ApprovalRequest> {
        // Stable: the values of one name keep their order.
        self.query.sort_by(|(one, _), (other, _)| one.cmp(other));
        let shown_query: String = self.query.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        let summary = format!("{}: {} {}{shown_query}", self.operation, self.method, self.path);
        let query: Vec<Value> = self.query.into_iter().map(|(name, value)| Value::from(vec![name, value])).collect();
        let request = format!(
            r#"{{"method":{},"path":{},"query":{},"body":{}}}"#,
            Value::from(self.method),
            Value::from(self.path),
            Value::from(query),
            self.body
        );
        let id = self.connection.map_or(0, |connection| connection.id.0).to_be_bytes();
        (request.len() <= MAX_APPROVED_BYTES).then(|| ApprovalRequest {
            token: self.token.cloned(),
            operation: self.operation.to_owned(),
            effect: self.effect,
            connection: self.connection.map(|connection| connection.name.clone()),
            digest: sha256_of_parts(&[request.as_bytes(), &id]),
            summary: approval_summary(&summary),
            request,
        })
    }
}

/// Uses the approval of a request, and returns its id. The first request without one asks for it, and notifies the user's
/// hooks.
///
/// # Errors
/// [`ApprovalError::Required`], [`ApprovalError::Denied`], [`ApprovalError::TooMany`]: the request must not be made.
pub async fn claim_approval(workspace: &Workspace, request: ApprovalRequest) -> Result<ApprovalId> {
    let now = workspace.clock.now();
    let new = Approval::pending(request, now);
    match workspace.store().await?.approvals().claim(&new, now).await? {
        ApprovalClaim::Granted(approval) => Ok(approval.id),
        ApprovalClaim::Pending { approval, is_new } => {
            if is_new {
                workspace.notify(Notification::approval_requested(&approval, &workspace.name, now));
            }
            Err(ApprovalError::Required { approval: approval.id }.into())
        }
        ApprovalClaim::Denied(approval) => Err(ApprovalError::Denied { approval: approval.id }.into()),
        ApprovalClaim::TooMany => Err(ApprovalError::TooMany.into()),
    }
}

/// The approvals to list.
#[derive(Clone, Debug)]
pub struct ListApprovalsRequest {
    /// All if absent.
    pub status: Option<ApprovalStatus>,
    /// Only those after this one: the last of the page before.
    pub after: Option<ApprovalId>,
    /// Maximum number of approvals.
    pub limit: u32,
}

/// Returns approvals, the newest first; for a token, those that it may see.
pub async fn list_approvals(
    workspace: &Workspace,
    request: ListApprovalsRequest,
    actor: Option<&ApiToken>,
) -> Result<ApprovalListView> {
    let mut approvals = Vec::new();
    if !workspace.has_vault() {
        return Ok(ApprovalListView { approvals });
    }
    let (visible, now) = (Visible::load(workspace, actor).await?, workspace.clock.now());
    let store = workspace.store().await?.approvals();
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let mut after = request.after;
    loop {
        let page = store.list(after.as_ref(), PAGE_SIZE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        for approval in page {
            let is_wanted = request.status.is_none_or(|wanted| approval.status_at(now) == wanted);
            if is_wanted && visible.contains(&approval) && approvals.len() < limit {
                let name = visible.name(&approval);
                approvals.push(ApprovalView::new(approval, name, now));
            }
        }
        if approvals.len() == limit {
            break;
        }
    }
    Ok(ApprovalListView { approvals })
}

/// Returns an approval with the whole request.
///
/// # Errors
/// [`ApprovalError::NotFound`].
pub async fn show_approval(
    workspace: &Workspace,
    id: &ApprovalId,
    actor: Option<&ApiToken>,
) -> Result<ApprovalDetailView> {
    let not_found = || ApprovalError::NotFound(id.clone());
    if !workspace.has_vault() {
        return Err(not_found().into());
    }
    let visible = Visible::load(workspace, actor).await?;
    let found = workspace.store().await?.approvals().find(id).await?;
    let approval = found.filter(|approval| visible.contains(approval)).ok_or_else(not_found)?;
    detail(workspace, approval, &visible)
}

/// Grants an approval for one request within a day, or for the same request as often as wanted during `window`. The caller asks
/// the owner first.
///
/// # Errors
/// [`ApprovalError::InvalidWindow`], [`ApprovalError::NotFound`], [`ApprovalError::Closed`].
pub async fn grant_approval(
    workspace: &Workspace,
    id: &ApprovalId,
    window: Option<Duration>,
) -> Result<ApprovalDetailView> {
    if window.is_some_and(|window| window.is_zero() || window > MAX_APPROVAL_WINDOW) {
        return Err(ApprovalError::InvalidWindow.into());
    }
    let use_limit = if window.is_some() { ApprovalUse::Repeated } else { ApprovalUse::Once };
    let end = workspace.clock.now().checked_add(window.unwrap_or(APPROVAL_LIFETIME));
    let expires_at = end.map_err(|_| ApprovalError::InvalidWindow)?;
    decide(workspace, id, ApprovalDecision::Grant { use_limit, expires_at }).await
}

/// Denies an approval, also one that was granted and not used.
///
/// # Errors
/// [`ApprovalError::NotFound`], [`ApprovalError::Closed`].
pub async fn deny_approval(workspace: &Workspace, id: &ApprovalId) -> Result<ApprovalDetailView> {
    decide(workspace, id, ApprovalDecision::Deny).await
}

async fn decide(workspace: &Workspace, id: &ApprovalId, decision: ApprovalDecision) -> Result<ApprovalDetailView> {
    let now = workspace.clock.now();
    let before = show_approval(workspace, id, None).await?.approval;
    if let Some(audit) = workspace.audit_entry() {
        audit.set_detail(&format!("approval {id}: {}", before.summary));
    }
    let decided = workspace.store().await?.approvals().decide(id, decision, now).await?;
    let visible = Visible::load(workspace, None).await?;
    match decided {
        Some(approval) => detail(workspace, approval, &visible),
        None => Err(ApprovalError::Closed { id: id.clone(), status: before.status }.into()),
    }
}

fn detail(workspace: &Workspace, approval: Approval, visible: &Visible) -> Result<ApprovalDetailView> {
    let mut request = json::parse(&approval.request.request).unwrap_or_default();
    redact_json(&mut request);
    let name = visible.name(&approval);
    Ok(ApprovalDetailView { approval: ApprovalView::new(approval, name, workspace.clock.now()), request })
}

/// The tokens whose approvals an actor may see, with their names.
struct Visible {
    tokens: BTreeMap<ApiTokenId, ApiTokenName>,
    /// The owner also sees those of agents on this machine.
    is_owner: bool,
}

impl Visible {
    async fn load(workspace: &Workspace, actor: Option<&ApiToken>) -> Result<Self> {
        let tokens = visible_tokens(workspace.store().await?, actor).await?;
        let tokens = tokens.into_iter().map(|token| (token.id, token.name)).collect();
        Ok(Self { tokens, is_owner: actor.is_none() })
    }

    fn contains(&self, approval: &Approval) -> bool {
        match &approval.request.token {
            Some(token) => self.tokens.contains_key(token),
            None => self.is_owner,
        }
    }

    fn name(&self, approval: &Approval) -> Option<ApiTokenName> {
        self.tokens.get(approval.request.token.as_ref()?).cloned()
    }
}
