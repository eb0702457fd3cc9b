//! `integ operator`.

use clap::{Args, Subcommand};

use super::owner;
use super::table::{TableCell, relative, table};
use super::ui::{Render, Ui, escape};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::{OperatorName, OperatorRole};
use crate::ops::operators;
use crate::runtime::Workspace;
use crate::view::operator::{OperatorListView, OperatorView, RemovedOperatorView, SetOperatorView};

/// Manage the people who use the dashboard
///
/// A viewer reads everything but credentials. An editor also changes connections, syncs, webhooks, bindings and endpoints. An
/// approver also grants approvals, and manages API tokens, consents and users. `integ dashboard link` lets an operator sign in.
#[derive(Debug, Args)]
pub(super) struct OperatorArgs {
    #[command(subcommand)]
    command: OperatorCommand,
}

impl OperatorArgs {
    /// Whether it may make the workspace that it works in.
    pub(super) fn makes_workspace(&self) -> bool {
        matches!(self.command, OperatorCommand::Set { .. })
    }
}

#[derive(Debug, Subcommand)]
enum OperatorCommand {
    /// List the operators with their roles
    List,
    /// Add an operator, or change the role of one; asks at the terminal before it makes an approver
    Set {
        /// Name of the operator
        #[arg(value_name = "NAME")]
        name: OperatorName,
        /// What the operator may do: viewer, editor or approver
        #[arg(long, value_name = "ROLE")]
        role: OperatorRole,
    },
    /// Remove an operator and end their sessions
    Remove {
        /// Name of the operator
        #[arg(value_name = "NAME")]
        name: OperatorName,
    },
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: OperatorArgs) -> Result<u8> {
    match args.command {
        OperatorCommand::List => ui.show(&workspace.run(operators::list_operators(workspace))?)?,
        OperatorCommand::Set { name, role } => {
            if !confirm_role(workspace, ui, &name, role)? {
                return Ok(1);
            }
            ui.show(&workspace.run(operators::set_operator(workspace, &name, role))?)?;
        }
        OperatorCommand::Remove { name } => {
            ui.show(&workspace.run(operators::remove_operator(workspace, &name))?)?;
        }
    }
    Ok(0)
}

/// Asks the person at the terminal before somebody can grant approvals: an agent that runs commands cannot grant its own.
///
/// # Errors
/// [`owner::NoPersonError`].
pub(super) fn confirm_role(workspace: &Workspace, ui: &Ui, name: &OperatorName, role: OperatorRole) -> Result<bool> {
    if role != OperatorRole::Approver {
        return Ok(true);
    }
    let what = format!("{} will be able to grant approvals.", escape(name.as_str()));
    let confirmed = owner::confirm(workspace, ui, &what)?;
    if !confirmed {
        ui.note("Nothing was changed.");
    }
    Ok(confirmed)
}

impl Render for OperatorListView {
    fn text(&self, ui: &Ui) -> String {
        if self.operators.is_empty() {
            return "No operators. `integ dashboard link --as NAME` lets one sign in to the dashboard.".to_owned();
        }
        let row = |view: &OperatorView| -> Vec<TableCell> {
            let since = |at: Timestamp| relative(at.as_second() - view.as_of.as_second());
            vec![
                view.operator.to_string().into(),
                view.role.to_string().into(),
                view.sessions.to_string().into(),
                view.last_seen_at.map_or_else(|| "-".to_owned(), since).into(),
                since(view.created_at).into(),
            ]
        };
        let headings = ["operator", "role", "sessions", "last seen", "created"];
        table(ui, &headings, self.operators.iter().map(row).collect())
    }
}

impl Render for SetOperatorView {
    fn text(&self, _ui: &Ui) -> String {
        let name = escape(self.operator.as_str());
        match self.is_new {
            true => format!("Added the {} {name}", self.role),
            false => format!("{name} has the role {} now", self.role),
        }
    }
}

impl Render for RemovedOperatorView {
    fn text(&self, _ui: &Ui) -> String {
        format!("Removed the operator {} and ended their sessions", escape(self.removed.as_str()))
    }
}
