//! Operations that agents ask for, through MCP: actions as tools, and what is stored here.
//!
//! Three things protect what an agent must not have, each without the others:
//!
//! 1. No operation with reach `agent` returns a credential.
//! 2. An [`AgentSession`] has the named connections alone, reads unless it is allowed to write, and needs a person's approval
//!    of the exact call for what destroys. What a model or its client says about a call counts for nothing.
//! 3. [`CredentialRegistry`] knows every credential of the workspace, and nothing leaves for an agent before they are masked.

mod call;
mod credentials;
mod server;
mod tools;

use std::collections::BTreeSet;
use std::sync::Arc;

use thiserror::Error;

pub use call::{AgentCallError, ToolResult};
pub use credentials::CredentialRegistry;
pub use server::{AgentEndpoint, AgentServer};
pub use tools::{AgentTool, allowed_effects};

use super::{Effect, Operation, OperationScope};
use crate::audit::AuditTicket;
use crate::error::{Diagnostic, Kind, Remedy, Result};
use crate::model::{ApiToken, ApprovalId, ApprovalPolicy, AuditActor, AuditRecord, ConnectionAccess, ConnectionName};
use crate::runtime::Workspace;
use crate::{audit, ops};

/// The operations of this module. What an agent calls is decided call by call, and recorded as the operation that it is.
pub const OPERATIONS: &[Operation] = &[Operation::local("mcp serve", OperationScope::Connections, Effect::Destroy)];

/// Why an agent does not get what it asks for.
#[derive(Debug, Error)]
pub enum AgentError {
    #[error("an agent may not use {0:?}")]
    NotAllowed(&'static str),
}

impl Remedy for AgentError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NotAllowed(_) => Diagnostic::new(Kind::Usage, "forbidden"),
        }
    }
}

/// One agent: what it may do, and in whose name.
#[derive(Clone)]
pub struct AgentSession {
    /// Limited to the connections that the agent may use.
    pub workspace: Arc<Workspace>,
    /// The effects that its calls may have. Reading is always among them.
    pub allowed: BTreeSet<Effect>,
    /// Which calls need an approval; those that destroy always do.
    pub approve: ApprovalPolicy,
    /// The API token that it came with; absent on this machine.
    pub token: Option<Arc<ApiToken>>,
    /// The address that it came from.
    pub source: Option<String>,
    pub credentials: Arc<CredentialRegistry>,
}

/// What an agent is started with on this machine.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    pub connections: Vec<ConnectionName>,
    /// The effects that its calls may have, beside reading.
    pub allowed: BTreeSet<Effect>,
    pub approve: ApprovalPolicy,
}

impl AgentSession {
    /// Creates the agent of a program on this machine.
    ///
    /// # Errors
    /// Unknown connections.
    pub async fn local(workspace: &Arc<Workspace>, options: AgentOptions) -> Result<Self> {
        let mut named = BTreeSet::new();
        for name in &options.connections {
            named.insert(workspace.connection(name).await?.id);
        }
        Ok(Self {
            workspace: Arc::new(workspace.limited_to(ConnectionAccess::Only(named))),
            allowed: options.allowed,
            approve: options.approve,
            token: None,
            source: None,
            credentials: Arc::new(CredentialRegistry::new(Arc::clone(workspace))),
        })
    }

    /// Whether calls with this effect are among the tools.
    pub fn offers(&self, effect: Effect) -> bool {
        effect == Effect::Read || self.allowed.contains(&effect)
    }

    /// Whether a call with this effect needs an approval.
    pub fn needs_approval(&self, effect: Effect) -> bool {
        effect == Effect::Destroy || self.approve.covers(effect)
    }

    /// Whether the agent may use an operation: its reach says so, and the scopes of its token, if it came with one.
    pub fn may_use(&self, operation: &str) -> bool {
        let operation = ops::operations().find(|known| known.name == operation);
        operation.is_some_and(|operation| {
            let has_scope = self.token.as_ref().is_none_or(|token| token.allows(&operation.api_scope()));
            operation.reach == ops::Reach::Agent && has_scope
        })
    }

    /// Runs an operation that only reads what is stored here, and records it.
    ///
    /// # Errors
    /// [`AgentError::NotAllowed`], and those of the operation.
    pub async fn read<T>(
        &self,
        client: &str,
        operation: &'static str,
        read: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let detail = client.to_owned();
        let request = AgentAuditEntry { operation, effect: Effect::Read, connection: None, detail, approval: None };
        let ticket = self.begin(request).await?;
        if !self.may_use(operation) {
            return ticket.run(async { Err(AgentError::NotAllowed(operation).into()) }).await;
        }
        ticket.run(read).await
    }

    async fn begin(&self, request: AgentAuditEntry<'_>) -> Result<AuditTicket<'_>> {
        let actor = self.token.as_ref().map_or(AuditActor::Local, |token| AuditActor::ApiToken(token.id.to_string()));
        let now = self.workspace.clock.now_millis();
        let approval = request.approval.map(|approval| format!(", approval {approval}")).unwrap_or_default();
        let record = AuditRecord::new(now, actor, request.operation, request.effect)
            .with_detail(&format!("agent {}{approval}", request.detail));
        let record = match request.connection {
            Some(connection) => record.with_connection(connection, None),
            None => record,
        };
        audit::begin(&self.workspace, AuditRecord { source: self.source.clone(), ..record }).await
    }
}

/// What an agent asks for, as the audit log has it.
struct AgentAuditEntry<'a> {
    operation: &'a str,
    effect: Effect,
    connection: Option<&'a ConnectionName>,
    /// The client, and the digest of the arguments.
    detail: String,
    approval: Option<ApprovalId>,
}
