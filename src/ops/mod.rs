//! The operations of integ: one function each, shared by the command line, the HTTP API and MCP.
//!
//! An operation takes the workspace and a request, and returns a view. It does not prompt, print or use the terminal;
//! `cli` reads files and arguments first. Each module declares its operations in a constant; [`operations`] lists all
//! of them.

pub mod agents;
pub mod alerts;
pub mod api_tokens;
pub mod approvals;
pub mod audit;
pub mod bindings;
pub mod bundles;
pub mod calendar;
pub mod calls;
pub mod connect_links;
pub mod connections;
pub mod connectors;
pub mod consents;
pub mod endpoints;
pub mod git_credential;
pub mod idempotency;
pub mod links;
pub mod logs;
pub mod mcp;
pub mod metrics;
pub mod operators;
pub mod proxy;
pub mod reveal;
pub mod sandbox;
#[cfg(test)]
mod send_tests;
pub mod serving;
pub mod sign_ins;
pub mod sync;
pub mod tokens;
pub mod users;
pub mod vault;
pub mod webhooks;
pub mod workspaces;

use crate::model::{ApiScope, ApiVerb, words};
pub use crate::model::{Effect, OperationScope};

/// Who may request an operation. Operations that run programs, use local paths, change an origin or export keys are
/// `Local`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The owner at the machine.
    Local,
    /// An operator who is signed in to the dashboard as well, but no program.
    Operator,
    /// A token's holder as well.
    Api,
    /// An agent as well.
    Agent,
}

words!(Reach { Local => "local", Operator => "operator", Api => "api", Agent => "agent" });

/// The declaration of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// As on the command line, without `integ`: `status`, `sync`, `webhook retry`.
    pub name: &'static str,
    pub scope: OperationScope,
    pub effect: Effect,
    pub reach: Reach,
    /// The verb of the scope that an API token needs.
    pub verb: ApiVerb,
}

impl Operation {
    /// Declares an operation for the owner at the machine only, the default. The effect decides the verb.
    pub const fn local(name: &'static str, scope: OperationScope, effect: Effect) -> Self {
        let verb = match effect {
            Effect::Read => ApiVerb::Read,
            Effect::Write => ApiVerb::Write,
            Effect::Destroy => ApiVerb::Delete,
        };
        Self { name, scope, effect, reach: Reach::Local, verb }
    }

    /// Makes it available to others as well.
    #[must_use]
    pub const fn reachable_by(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// Requires another verb of API tokens than the effect suggests.
    #[must_use]
    pub const fn requires(self, verb: ApiVerb) -> Self {
        Self { verb, ..self }
    }

    /// Returns the scope that an API token needs.
    pub const fn api_scope(&self) -> ApiScope {
        ApiScope::new(self.scope, self.verb)
    }
}

/// Every operation, module by module.
pub fn operations() -> impl Iterator<Item = &'static Operation> {
    let modules = [
        agents::OPERATIONS,
        alerts::OPERATIONS,
        api_tokens::OPERATIONS,
        approvals::OPERATIONS,
        audit::OPERATIONS,
        bindings::OPERATIONS,
        bundles::OPERATIONS,
        calendar::OPERATIONS,
        calls::OPERATIONS,
        connect_links::OPERATIONS,
        connections::OPERATIONS,
        connectors::OPERATIONS,
        consents::OPERATIONS,
        endpoints::OPERATIONS,
        git_credential::OPERATIONS,
        links::OPERATIONS,
        logs::OPERATIONS,
        mcp::OPERATIONS,
        metrics::OPERATIONS,
        operators::OPERATIONS,
        proxy::OPERATIONS,
        reveal::OPERATIONS,
        sandbox::OPERATIONS,
        sign_ins::OPERATIONS,
        sync::OPERATIONS,
        tokens::OPERATIONS,
        users::OPERATIONS,
        vault::OPERATIONS,
        webhooks::OPERATIONS,
        workspaces::OPERATIONS,
    ];
    modules.into_iter().flatten()
}
