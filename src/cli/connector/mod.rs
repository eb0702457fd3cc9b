//! `integ connector`.

mod action;
mod descriptor;
mod install;
mod list;
mod new;
mod remove;
mod schema;
mod search;
mod setup;
mod show;
mod source;
mod stream;
mod validate;

use clap::{Args, Subcommand};

use super::ui::Ui;
use crate::error::Result;
use crate::runtime::Workspace;

/// Show, install and write connectors
#[derive(Debug, Args)]
pub(super) struct ConnectorArgs {
    #[command(subcommand)]
    command: ConnectorCommand,
}

#[derive(Debug, Subcommand)]
enum ConnectorCommand {
    List(list::ListArgs),
    Show(show::ConnectorShowArgs),
    Descriptor(descriptor::DescriptorArgs),
    /// Print the JSON Schema of connector files; editors use it if a file begins with `#:schema FILE`
    Schema,
    Search(search::SearchArgs),
    Validate(validate::ValidateArgs),
    Setup(setup::SetupArgs),
    New(Box<new::NewArgs>),
    Install(install::InstallArgs),
    Remove(remove::RemoveArgs),
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: ConnectorArgs) -> Result<u8> {
    match args.command {
        ConnectorCommand::List(args) => list::run(workspace, ui, &args),
        ConnectorCommand::Show(args) => show::run(workspace, ui, &args),
        ConnectorCommand::Descriptor(args) => descriptor::run(workspace, ui, &args),
        ConnectorCommand::Schema => schema::run(ui),
        ConnectorCommand::Search(args) => search::run(workspace, ui, &args),
        ConnectorCommand::Validate(args) => validate::run(workspace, ui, args),
        ConnectorCommand::Setup(args) => setup::run(workspace, ui, &args),
        ConnectorCommand::New(args) => new::run(workspace, ui, &args),
        ConnectorCommand::Install(args) => install::run(workspace, ui, &args),
        ConnectorCommand::Remove(args) => remove::run(workspace, ui, &args),
    }
}
