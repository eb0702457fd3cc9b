//! `integ rename`.

use clap::Args;

use super::ui::{Render, Ui};
use crate::error::Result;
use crate::ops::connections::{self, RenameRequest};
use crate::runtime::Workspace;
use crate::view::connection::RenameView;

/// Rename a connection
///
/// Its tokens, records, cursors, events and schedules stay with it. The connector cannot be changed.
#[derive(Debug, Args)]
pub(super) struct RenameArgs {
    /// Connection to rename
    #[arg(add = super::complete::connections())]
    connection: String,
    /// New name: `slack@work`, or `work` for short; `slack` drops the account's name
    name: String,
}

impl Render for RenameView {
    fn text(&self, _ui: &Ui) -> String {
        format!("Renamed {} to {}", self.previous, self.connection)
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: RenameArgs) -> Result<u8> {
    let request = RenameRequest { connection: ui.project.resolve(&args.connection)?, name: args.name };
    ui.show(&workspace.run(connections::rename(workspace, request))?)?;
    Ok(0)
}
