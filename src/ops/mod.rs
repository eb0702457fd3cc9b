//! What a user can have done: one function an operation, the same for the command line, the HTTP API and MCP.
//!
//! An operation takes the workspace and a request, and returns a view. It asks nobody, prints nothing and knows no terminal;
//! files and words of the command line are read before, in `cli`. Each module declares its operations in a constant;
//! [`operations`] lists them all.

pub mod bindings;
pub mod bundles;
pub mod calendar;
pub mod calls;
pub mod connections;
pub mod connectors;
pub mod endpoints;
pub mod git_credential;
pub mod links;
pub mod mcp;
pub mod sandbox;
#[cfg(test)]
mod send_tests;
pub mod sync;
pub mod tokens;
pub mod vault;
pub mod webhooks;
pub mod workspaces;

use crate::model::words;

/// What an operation does at the service, or to what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Read,
    Write,
    /// Something is lost that cannot be restored.
    Destroy,
}

words!(Effect { Read => "read", Write => "write", Destroy => "destroy" });

/// Who may ask for an operation. What runs a program, names a local path, changes an origin or exports keys is `Local`.
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

/// The part of integ that an API token must be allowed to use.
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
    /// An operation that only the owner at the machine may ask for, which is the default.
    pub const fn local(name: &'static str, scope: OperationScope, effect: Effect) -> Self {
        Self { name, scope, effect, reach: Reach::Local }
    }

    /// Opens it to others as well.
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
        connections::OPERATIONS,
        connectors::OPERATIONS,
        endpoints::OPERATIONS,
        git_credential::OPERATIONS,
        links::OPERATIONS,
        mcp::OPERATIONS,
        sandbox::OPERATIONS,
        sync::OPERATIONS,
        tokens::OPERATIONS,
        vault::OPERATIONS,
        webhooks::OPERATIONS,
        workspaces::OPERATIONS,
    ];
    modules.into_iter().flatten()
}
