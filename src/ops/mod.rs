//! The operations of integ: one function each, shared by the command line, the HTTP API and MCP.
//!
//! An operation takes the workspace and a request, and returns a view. It does not prompt, print or use the terminal;
//! `cli` reads files and arguments first. Each module declares its operations in a constant; [`operations`] lists all
//! of them.

pub mod bindings;
pub mod bundles;
pub mod calendar;
pub mod calls;
pub mod connect_links;
pub mod connections;
pub mod connectors;
pub mod endpoints;
pub mod git_credential;
pub mod links;
pub mod mcp;
pub mod sandbox;
#[cfg(test)]
mod send_tests;
pub mod sign_ins;
pub mod sync;
pub mod tokens;
pub mod vault;
pub mod webhooks;
pub mod workspaces;

use crate::model::words;

/// The effect of an operation at the service or on stored data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Read,
    Write,
    /// Destroys data that cannot be restored.
    Destroy,
}

words!(Effect { Read => "read", Write => "write", Destroy => "destroy" });

/// Who may request an operation. Operations that run programs, use local paths, change an origin or export keys are
/// `Local`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The owner at the machine.
    Local,
    /// A token's holder as well.
    Api,
    /// An agent as well.
    Agent,
}

words!(Reach { Local => "local", Api => "api", Agent => "agent" });

/// The scope that an API token needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OperationScope {
    Calendars,
    Connections,
    Tokens,
    Connectors,
    Sync,
    Webhooks,
    Endpoints,
    Links,
    Bindings,
    Sandbox,
    Vault,
    Workspaces,
}

words!(OperationScope {
    Calendars => "calendars",
    Connections => "connections",
    Tokens => "tokens",
    Connectors => "connectors",
    Sync => "sync",
    Webhooks => "webhooks",
    Endpoints => "endpoints",
    Links => "links",
    Bindings => "bindings",
    Sandbox => "sandbox",
    Vault => "vault",
    Workspaces => "workspaces",
});

/// The declaration of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// As on the command line, without `integ`: `status`, `sync`, `webhook retry`.
    pub name: &'static str,
    pub scope: OperationScope,
    pub effect: Effect,
    pub reach: Reach,
}

impl Operation {
    /// Declares an operation for the owner at the machine only, the default.
    pub const fn local(name: &'static str, scope: OperationScope, effect: Effect) -> Self {
        Self { name, scope, effect, reach: Reach::Local }
    }

    /// Makes it available to others as well.
    #[must_use]
    pub const fn reachable_by(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }
}

/// Every operation, module by module.
pub fn operations() -> impl Iterator<Item = &'static Operation> {
    let modules = [
        bindings::OPERATIONS,
        bundles::OPERATIONS,
        calendar::OPERATIONS,
        calls::OPERATIONS,
        connect_links::OPERATIONS,
        connections::OPERATIONS,
        connectors::OPERATIONS,
        endpoints::OPERATIONS,
        git_credential::OPERATIONS,
        links::OPERATIONS,
        mcp::OPERATIONS,
        sandbox::OPERATIONS,
        sign_ins::OPERATIONS,
        sync::OPERATIONS,
        tokens::OPERATIONS,
        vault::OPERATIONS,
        webhooks::OPERATIONS,
        workspaces::OPERATIONS,
    ];
    modules.into_iter().flatten()
}
