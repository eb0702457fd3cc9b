//! `integ connector descriptor`.

use clap::Args;

use super::super::ui::Ui;
use crate::error::Result;
use crate::ops::connectors::describe_connector;
use crate::runtime::Workspace;

/// Print what a connector can do, as JSON for other programs: actions, triggers, scopes, parameters
#[derive(Debug, Args)]
pub(super) struct DescriptorArgs {
    /// Connector to describe
    #[arg(add = crate::cli::complete::connectors())]
    connector: String,
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &DescriptorArgs) -> Result<u8> {
    let descriptor = workspace.run(describe_connector(workspace, &args.connector))?;
    ui.show_document(&serde_json::to_string(&descriptor).unwrap_or_default())?;
    Ok(0)
}
