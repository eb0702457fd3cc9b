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
mod stream;
mod validate;

use clap::{Args, Subcommand};

use super::ui::Ui;
use crate::error::Result;
use crate::runtime::App;

/// Look at the services that integ can connect, and add others
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
    /// The JSON Schema of connector files, for editors: `#:schema FILE` in a file's first line
    Schema,
    Search(search::SearchArgs),
    Validate(validate::ValidateArgs),
    Setup(setup::SetupArgs),
    New(Box<new::NewArgs>),
    Install(install::InstallArgs),
    Remove(remove::RemoveArgs),
}

pub(super) fn run(app: &App, ui: &Ui, args: ConnectorArgs) -> Result<u8> {
    match args.command {
        ConnectorCommand::List(args) => list::run(app, ui, &args),
        ConnectorCommand::Show(args) => show::run(app, ui, &args),
        ConnectorCommand::Descriptor(args) => descriptor::run(app, ui, &args),
        ConnectorCommand::Schema => schema::run(ui),
        ConnectorCommand::Search(args) => search::run(app, ui, &args),
        ConnectorCommand::Validate(args) => validate::run(app, ui, args),
        ConnectorCommand::Setup(args) => setup::run(app, ui, &args),
        ConnectorCommand::New(args) => new::run(app, ui, &args),
        ConnectorCommand::Install(args) => install::run(app, ui, &args),
        ConnectorCommand::Remove(args) => remove::run(app, ui, &args),
    }
}

/// The words of the format are the variants' own names, in kebab and snake case.
fn word(value: impl std::fmt::Debug) -> String {
    let mut word = String::new();
    for c in format!("{value:?}").chars() {
        if c.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(c.to_ascii_lowercase());
    }
    word
}

/// Where a connector comes from, for people.
fn source_words(source: &'static str, replaces_built_in: bool) -> &'static str {
    match source {
        "own" => "own file",
        _ if replaces_built_in => "installed, replaces the built-in",
        other => other,
    }
}

/// The connections of this workspace that use a connector; absent where the vault does not open.
fn users(app: &App, connector: &str) -> Option<Vec<String>> {
    if !app.has_vault() {
        return Some(Vec::new());
    }
    let names = app.store().ok()?.connections().names().ok()?;
    Some(names.into_iter().filter(|name| name.connector() == connector).map(|name| name.to_string()).collect())
}
