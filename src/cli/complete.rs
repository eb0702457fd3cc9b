//! What Tab offers: connectors, connections of the live store, workspaces.

use std::str::FromStr;

use clap_complete::{ArgValueCandidates, CompletionCandidate};

use super::terminal::Terminal;
use crate::app::App;
use crate::config::{Folders, Project};
use crate::connection::WorkspaceName;
use crate::connector::Catalogue;

pub(super) fn connectors() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let Ok(folders) = Folders::from_env() else { return Vec::new() };
        Catalogue::new(&folders.connectors()).ids().into_iter().map(|(id, _)| CompletionCandidate::new(id)).collect()
    })
}

pub(super) fn connections() -> ArgValueCandidates {
    ArgValueCandidates::new(|| names().unwrap_or_default().into_iter().map(CompletionCandidate::new).collect())
}

/// Nothing is asked and nothing is made: a vault that does not open at once offers nothing.
fn names() -> Option<Vec<String>> {
    let folders = Folders::from_env().ok()?;
    let settings = crate::config::load(&folders.config_file()).ok()?;
    let project = Project::find().ok()?;
    let given = crate::env::named("INTEG_WORKSPACE");
    let workspace = given.or(project.workspace).unwrap_or_else(|| settings.workspace.clone());
    let nobody = Terminal { interactive: false, json: false, quiet: true };
    let app = App::new(folders, settings, WorkspaceName::from_str(&workspace).ok()?, Box::new(nobody));
    if !app.has_vault() {
        return None;
    }
    let names = app.store().ok()?.connections().names().ok()?;
    Some(names.into_iter().map(|name| name.to_string()).collect())
}

pub(super) fn workspaces() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let Ok(folders) = Folders::from_env() else { return Vec::new() };
        super::workspace::names(&folders).into_iter().map(CompletionCandidate::new).collect()
    })
}
