//! `integ reveal`.

use clap::{Args, ValueEnum};

use super::owner;
use super::ui::{Render, Ui};
use crate::error::Result;
use crate::model::RevealPolicy;
use crate::ops::reveal::{reveal_policy, set_reveal_policy};
use crate::runtime::Workspace;
use crate::view::connection::RevealView;

/// Set whether the credential of a connection may be revealed
///
/// With `never`, `token`, `exec`, `export`, `git-credential` and the HTTP API refuse to reveal it; calls, syncs and refreshes
/// go on. To allow it again, a person has to confirm at a terminal, with the passphrase of the vault if it has one.
#[derive(Debug, Args)]
pub(super) struct RevealArgs {
    /// The connection
    #[arg(add = super::complete::connections())]
    connection: String,
    /// Whether it may be revealed
    policy: RevealPolicyArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RevealPolicyArg {
    Never,
    Allowed,
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &RevealArgs) -> Result<u8> {
    let connection = ui.project.resolve(&args.connection)?;
    let policy = match args.policy {
        RevealPolicyArg::Never => RevealPolicy::Never,
        RevealPolicyArg::Allowed => RevealPolicy::Allowed,
    };
    if policy == RevealPolicy::Allowed && workspace.run(reveal_policy(workspace, &connection))? == RevealPolicy::Never {
        let what = format!("Programs will be able to read the credential of {connection}.");
        if !owner::confirm(workspace, ui, &what)? {
            ui.note("Nothing was changed.");
            return Ok(1);
        }
    }
    ui.show(&workspace.run(set_reveal_policy(workspace, &connection, policy))?)?;
    Ok(0)
}

impl Render for RevealView {
    fn text(&self, _ui: &Ui) -> String {
        match self.reveal {
            RevealPolicy::Never => format!(
                "{}: `token`, `exec`, `export` and the HTTP API no longer reveal its credential",
                self.connection
            ),
            RevealPolicy::Allowed => format!("{}: its credential may be revealed", self.connection),
        }
    }
}
