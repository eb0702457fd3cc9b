//! `integ connector descriptor`.

use clap::Args;

use super::super::ui::Ui;
use crate::connector::descriptor;
use crate::error::Result;
use crate::runtime::App;

/// What a connector can do, as JSON for other programs: actions, triggers, scopes, parameters
#[derive(Debug, Args)]
pub(super) struct DescriptorArgs {
    #[arg(add = crate::cli::complete::connectors())]
    connector: String,
}

pub(super) fn run(app: &App, ui: &Ui, args: &DescriptorArgs) -> Result<u8> {
    let shape = descriptor(&app.catalogue.get(&args.connector)?);
    ui.show_document(&serde_json::to_string(&shape).unwrap_or_default())?;
    Ok(0)
}
