//! `integ disconnect`.

use clap::Args;
use serde::Serialize;

use super::ui::{Ui, View};
use crate::connect::{DisconnectResult, disconnect};
use crate::error::Result;
use crate::model::Connection;
use crate::runtime::App;

/// Revoke an account's grant at the service, and forget it
#[derive(Debug, Args)]
pub(super) struct DisconnectArgs {
    #[arg(add = super::complete::connections())]
    pub connection: String,
    /// Only forget it here; the grant stays alive at the service
    #[arg(long)]
    pub local: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

#[derive(Serialize)]
struct DisconnectView {
    disconnected: String,
    /// `sandbox`, or the origin that its traffic went to.
    place: Option<String>,
    grant: &'static str,
}

impl View for DisconnectView {
    fn text(&self, _ui: &Ui) -> String {
        let grant = match self.grant {
            "revoked" => "its grant is revoked",
            "already_gone" => "its grant was gone already",
            "key_kept" => "the key stays valid at the service until you delete it there",
            "local" => "its grant is still alive at the service",
            _ => "its connector names no way to revoke it: remove it in the service's own settings",
        };
        let place = self.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
        format!("Disconnected {}{place}: {grant}", self.disconnected)
    }
}

pub(super) fn run(app: &App, ui: &Ui, args: &DisconnectArgs) -> Result<u8> {
    let name = ui.project.resolve(&args.connection)?;
    let connection = app.connection(&name)?;
    let mut lost = format!("This forgets {name}, its tokens and everything that hangs on it.");
    let records = records(app, &connection)?;
    if records > 0 {
        lost.push_str(&format!(
            " With it go its {records} synced records, which `integ records` can still write to files."
        ));
    }
    let subscriptions = app.store()?.subscriptions().list(Some(connection.id))?.len();
    if subscriptions > 0 {
        lost.push_str(&format!(
            " Its {subscriptions} webhook subscriptions stay at the service: `integ webhook unsubscribe {name} --all` ends them."
        ));
    }
    if !args.yes && !ui.terminal().confirm(&lost)? {
        ui.note("Nothing was changed.");
        return Ok(1);
    }
    let place = connection.target();
    let ended = app.run(disconnect(app, connection, args.local))?;
    let grant = match ended {
        DisconnectResult::Revoked => "revoked",
        DisconnectResult::AlreadyRevoked => "already_gone",
        DisconnectResult::NotRevocable => "still_live",
        DisconnectResult::KeyNotRevoked => "key_kept",
        DisconnectResult::LocalOnly => "local",
    };
    ui.show(&DisconnectView { disconnected: name.to_string(), place, grant })?;
    Ok(0)
}

/// Records that were synced of a connection.
fn records(app: &App, connection: &Connection) -> Result<u64> {
    let store = app.store()?;
    let streams = store.streams().list(connection.id)?;
    streams.iter().try_fold(0, |sum, stream| Ok(sum + store.records().count(stream.id)?))
}
