//! `integ disconnect`.

use clap::Args;

use super::ui::{Render, Ui};
use crate::connect::DisconnectResult;
use crate::error::Result;
use crate::ops::connections::{self, DisconnectRequest};
use crate::runtime::Workspace;
use crate::view::connection::{DisconnectPreview, DisconnectView};

/// Revoke an account's grant at the service, and remove the connection
#[derive(Debug, Args)]
pub(super) struct DisconnectArgs {
    /// The connection to disconnect
    #[arg(add = super::complete::connections())]
    pub connection: String,
    /// Only remove it here; the grant stays valid at the service
    #[arg(long)]
    pub local: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

impl Render for DisconnectView {
    fn text(&self, _ui: &Ui) -> String {
        let grant = match self.result {
            DisconnectResult::Revoked => "revoked its grant at the service",
            DisconnectResult::AlreadyRevoked => "its grant was revoked already",
            DisconnectResult::KeyNotRevoked => "the key stays valid at the service until you delete it there",
            DisconnectResult::LocalOnly => "its grant is still valid at the service",
            DisconnectResult::NotRevocable => {
                "its connector names no way to revoke it: remove it in the service's own settings"
            }
        };
        let target = self.target.as_ref().map(|target| format!(" ({target})")).unwrap_or_default();
        format!("Disconnected {}{target}: {grant}", self.connection)
    }
}

/// What the user is asked to agree to.
fn consequences(preview: &DisconnectPreview) -> String {
    let DisconnectPreview { connection, records, waiting_events, subscriptions, .. } = preview;
    let mut text = format!("This forgets {connection}, its tokens and everything that belongs to it.");
    if *records > 0 {
        text.push_str(&format!(
            " With it go its {records} synced records, which `integ records` can still write to files."
        ));
    }
    if *waiting_events > 0 {
        text.push_str(&format!(" {waiting_events} of its events wait to be handled, and are deleted."));
    }
    if *subscriptions > 0 {
        text.push_str(&format!(
            " Its {subscriptions} webhook subscriptions stay at the service: `integ webhook unsubscribe {connection} --all` ends them."
        ));
    }
    text
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &DisconnectArgs) -> Result<u8> {
    let connection = ui.project.resolve(&args.connection)?;
    let names = std::slice::from_ref(&connection);
    let previews = workspace.run(connections::preview_disconnect(workspace, names))?.connections;
    let question: Vec<String> = previews.iter().map(consequences).collect();
    if !args.yes && !ui.terminal().confirm(&question.join(" "))? {
        ui.note("Nothing was changed.");
        return Ok(1);
    }
    let request = DisconnectRequest { connection, local_only: args.local };
    ui.show(&workspace.run(connections::disconnect(workspace, request))?)?;
    Ok(0)
}
