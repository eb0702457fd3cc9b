//! Operations on operators: people who use the dashboard, their one-time links and their sessions.
//!
//! A link and a session are known by their secret; any process of the workspace can use up a link that another one made, and
//! continue a session that another one started.

use thiserror::Error;
use url::Url;

use super::{Effect, Operation, OperationScope};
use crate::audit::AuditCaller;
use crate::clock::Timestamp;
use crate::connect::pending::{new_token, token_hash};
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::model::{AuditActor, DASHBOARD_LINK_LIFETIME, Operator, OperatorName, OperatorRole, OperatorSession};
use crate::runtime::Workspace;
use crate::secret::Secret;
use crate::view::operator::{
    NewDashboardLinkView, OperatorListView, OperatorView, RemovedOperatorView, SetOperatorView,
};

/// The operations of this module. Signing in and out is recorded as done by the operator.
pub const OPERATIONS: &[Operation] = &[
    Operation::local("dashboard", OperationScope::Operators, Effect::Write),
    Operation::local("dashboard link", OperationScope::Operators, Effect::Write),
    SIGN_IN,
    SIGN_OUT,
    Operation::local("operator list", OperationScope::Operators, Effect::Read),
    Operation::local("operator set", OperationScope::Operators, Effect::Write),
    Operation::local("operator remove", OperationScope::Operators, Effect::Destroy),
];

const SIGN_IN: Operation = Operation::local("dashboard sign-in", OperationScope::Operators, Effect::Write);
const SIGN_OUT: Operation = Operation::local("dashboard sign-out", OperationScope::Operators, Effect::Write);

/// How old the note of a session's last use may be, in seconds.
const TOUCH_INTERVAL_SECS: i64 = 60;

/// Why an operation on operators cannot be done.
#[derive(Debug, Error)]
pub enum OperatorError {
    #[error("operator {0} not found")]
    NotFound(OperatorName),
    #[error("this link to the dashboard is not valid: it was used, or has expired")]
    InvalidLink,
    #[error("the server has no public URL")]
    NoPublicUrl,
}

impl Remedy for OperatorError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NotFound(_) => Diagnostic::new(Kind::NotFound, "operator_not_found").run("integ operator list"),
            Self::InvalidLink => Diagnostic::new(Kind::AuthNeeded, "invalid_dashboard_link")
                .hint(Hint::new("make a new one at the machine of the server:", "integ dashboard link --as NAME")),
            Self::NoPublicUrl => {
                Diagnostic::new(Kind::Usage, "no_public_url").run("integ config set serve.public_url https://HOST")
            }
        }
    }
}

/// Returns all operators, sorted by name.
pub async fn list_operators(workspace: &Workspace) -> Result<OperatorListView> {
    let now = workspace.clock.now();
    let operators = match workspace.has_vault() {
        true => workspace.store().await?.operators().list(now).await?,
        false => Vec::new(),
    };
    Ok(OperatorListView { operators: operators.into_iter().map(|one| OperatorView::new(one, now)).collect() })
}

/// Adds an operator, or changes the role of one. Sessions have the new role at once.
pub async fn set_operator(workspace: &Workspace, name: &OperatorName, role: OperatorRole) -> Result<SetOperatorView> {
    let now = workspace.clock.now();
    note(workspace, &format!("operator {name}: {role}"));
    let is_new = workspace.store_or_new().await?.operators().set(name, role, now).await?;
    Ok(SetOperatorView { operator: name.clone(), role, is_new })
}

/// Removes an operator. Their links and sessions end at once.
///
/// # Errors
/// [`OperatorError::NotFound`].
pub async fn remove_operator(workspace: &Workspace, name: &OperatorName) -> Result<RemovedOperatorView> {
    note(workspace, &format!("operator {name}"));
    let removed = workspace.has_vault() && workspace.store().await?.operators().remove(name).await?;
    if removed {
        Ok(RemovedOperatorView { removed: name.clone() })
    } else {
        Err(OperatorError::NotFound(name.clone()).into())
    }
}

/// A link to make.
#[derive(Clone, Debug)]
pub struct CreateDashboardLinkRequest {
    pub operator: OperatorName,
    /// The role to have from now on; that of the operator, or a new viewer, if absent.
    pub role: Option<OperatorRole>,
    /// Where browsers reach the server; as in the settings if absent.
    pub public_url: Option<Url>,
}

/// Returns the role that an operator will have by a request. The caller confirms that of an approver with a person.
pub async fn role_of(workspace: &Workspace, request: &CreateDashboardLinkRequest) -> Result<OperatorRole> {
    if let Some(role) = request.role {
        return Ok(role);
    }
    let known = match workspace.has_vault() {
        true => workspace.store().await?.operators().find(&request.operator).await?,
        false => None,
    };
    Ok(known.map_or(OperatorRole::Viewer, |operator| operator.role))
}

/// Makes a link with which an operator signs in to the dashboard, once, within ten minutes. Its URL is returned only here.
///
/// # Errors
/// [`OperatorError::NoPublicUrl`].
pub async fn create_dashboard_link(
    workspace: &Workspace,
    request: CreateDashboardLinkRequest,
) -> Result<NewDashboardLinkView> {
    let role = role_of(workspace, &request).await?;
    let now = workspace.clock.now();
    let secret = new_token(&workspace.name);
    let settings = &workspace.engine.config.serve;
    let base = request.public_url.or_else(|| settings.public_url()).ok_or(OperatorError::NoPublicUrl)?;
    let mut url = base.join("dashboard/sign-in").map_err(|_| OperatorError::NoPublicUrl)?;
    url.query_pairs_mut().append_pair("link", secret.expose());
    note(workspace, &format!("operator {}: {role}", request.operator));
    let operators = workspace.store_or_new().await?.operators();
    operators.set(&request.operator, role, now).await?;
    if !operators.add_link(&request.operator, &token_hash(&secret), now).await? {
        return Err(OperatorError::NotFound(request.operator).into());
    }
    let expires_at = now.checked_add(DASHBOARD_LINK_LIFETIME).unwrap_or(Timestamp::MAX);
    Ok(NewDashboardLinkView { url: url.to_string(), operator: request.operator, role, expires_at })
}

/// Returns the operator of a link that can be used. It changes nothing: programs that fetch links in advance use up none.
///
/// # Errors
/// [`OperatorError::InvalidLink`].
pub async fn show_link(workspace: &Workspace, link: &Secret) -> Result<Operator> {
    let now = workspace.clock.now();
    let found = match workspace.has_vault() {
        true => workspace.store().await?.operators().find_link(&token_hash(link), now).await?,
        false => None,
    };
    Ok(found.ok_or(OperatorError::InvalidLink)?)
}

/// Where a request of a browser came from.
#[derive(Clone, Debug)]
pub struct BrowserSource {
    pub address: Option<String>,
    pub request_id: String,
}

/// Uses up a link, and returns the secret of a new session.
///
/// # Errors
/// [`OperatorError::InvalidLink`].
pub async fn sign_in(workspace: &Workspace, link: &Secret, source: BrowserSource) -> Result<Secret> {
    let operator = show_link(workspace, link).await?;
    let ticket = SIGN_IN.begin(workspace, caller(&operator, source)).await?;
    let start = async {
        let secret = new_token(&workspace.name);
        let now = workspace.clock.now();
        let operators = workspace.store().await?.operators();
        let started = operators.start_session(&token_hash(link), &token_hash(&secret), now).await?;
        started.ok_or(OperatorError::InvalidLink)?;
        Ok(secret)
    };
    ticket.run(start).await
}

/// Returns the session of a secret, if it has not ended.
pub async fn find_session(workspace: &Workspace, secret: &Secret) -> Result<Option<OperatorSession>> {
    if !workspace.has_vault() {
        return Ok(None);
    }
    let (hash, now) = (token_hash(secret), workspace.clock.now());
    let operators = workspace.store().await?.operators();
    let Some(session) = operators.find_session(&hash).await?.filter(|session| session.is_active(now)) else {
        return Ok(None);
    };
    if now.as_second() - session.last_seen_at.as_second() >= TOUCH_INTERVAL_SECS {
        operators.touch_session(&hash, now).await?;
    }
    Ok(Some(session))
}

/// Ends a session.
pub async fn sign_out(
    workspace: &Workspace,
    secret: &Secret,
    operator: &Operator,
    source: BrowserSource,
) -> Result<()> {
    let ticket = SIGN_OUT.begin(workspace, caller(operator, source)).await?;
    let end = async { Ok(workspace.store().await?.operators().end_session(&token_hash(secret)).await?) };
    ticket.run(end).await
}

fn caller(operator: &Operator, source: BrowserSource) -> AuditCaller {
    AuditCaller {
        actor: AuditActor::Operator(operator.name.to_string()),
        source: source.address,
        request_id: Some(source.request_id),
        approval: None,
    }
}

fn note(workspace: &Workspace, detail: &str) {
    if let Some(audit) = workspace.audit_entry() {
        audit.set_detail(detail);
    }
}
