//! `integ link`.

use std::ops::ControlFlow;

use clap::{Args, Subcommand};
use serde_json::json;
use thiserror::Error;

use super::input_file::read_input_file;
use super::table::{TableCell, table};
use super::ui::{Render, Ui, is_reader_closed};
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::model::{ConnectionName, Entity, LinkedObject, UserId};
use crate::ops::links::{
    self, AddLinkRequest, FindLinksRequest, ImportLinksRequest, LinkSide, ListLinksRequest, RemoveLinkRequest,
};
use crate::runtime::Workspace;
use crate::view::link::{AddedLinkView, ImportedLinksView, LinkListView, LinkOutcome, LinkView, RemovedLinkView};

/// Link your entities to objects of services
///
/// A link is a pair: your entity, as TYPE/ID, and an object of a service, as CONNECTION/RESOURCE and its ID there. An
/// entity can have one object per resource of a connection, and an object one entity. Links stay when a connection is
/// renamed or reconnected, follow objects that the service merges, and are removed with their connection.
#[derive(Debug, Args)]
pub(super) struct LinkArgs {
    #[command(subcommand)]
    command: LinkCommand,
}

#[derive(Debug, Subcommand)]
enum LinkCommand {
    /// Link an entity to an object
    Add {
        /// Your entity: customer/42
        #[arg(value_name = "TYPE/ID")]
        entity: Entity,
        /// Connection, and the kind of object: a stream such as contacts
        #[arg(value_name = "CONNECTION/RESOURCE", add = super::complete::streams())]
        resource: String,
        /// Id of the object at the service
        object: String,
        /// Your user that owns the entity (default: the connection's)
        #[arg(long, value_name = "ID")]
        user: Option<UserId>,
    },
    /// List links
    List {
        /// Only links of this connection or resource (default: all)
        #[arg(value_name = "CONNECTION[/RESOURCE]", add = super::complete::streams())]
        resource: Option<String>,
        /// Only entities of this type (default: all)
        #[arg(long = "type", value_name = "TYPE")]
        entity_type: Option<String>,
        /// Only links of this user (default: all)
        #[arg(long, value_name = "ID")]
        user: Option<UserId>,
        /// Maximum number of links (default: all)
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Find the objects of an entity, or the entity of an object
    Find {
        /// Your entity, or the connection and resource of the object that follows
        #[arg(value_name = "TYPE/ID|CONNECTION/RESOURCE")]
        subject: String,
        /// Id of the object at the service
        object: Option<String>,
        /// Only links of this user (default: all)
        #[arg(long, value_name = "ID")]
        user: Option<UserId>,
    },
    /// Remove a link; the entity and the object stay as they are
    Remove {
        /// Your entity: customer/42
        #[arg(value_name = "TYPE/ID")]
        entity: Entity,
        /// Connection and resource of the object
        #[arg(value_name = "CONNECTION/RESOURCE", add = super::complete::streams())]
        resource: String,
        /// Your user that owns the entity, if several have one with this name
        #[arg(long, value_name = "ID")]
        user: Option<UserId>,
    },
    /// Add links from a file, as JSON lines or CSV
    ///
    /// Each line has the members or columns entity_type, entity_id, connection, resource and object, and optionally
    /// user, as `integ link list --json` prints them. Lines that cannot be added are listed; the others are added.
    Import {
        /// File to read; - for stdin
        file: String,
    },
}

/// Words of the command line that name no link.
#[derive(Debug, Error)]
enum LinkArgumentError {
    #[error("{text:?} has no resource: write CONNECTION/RESOURCE")]
    Resource { text: String },
    #[error("cannot read {file:?}")]
    Read { file: String, source: std::io::Error },
    #[error("{file:?} is not UTF-8 text")]
    Text { file: String },
}

impl Remedy for LinkArgumentError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Resource { .. } => {
                Diagnostic::new(Kind::Usage, "invalid_target").run("integ link add TYPE/ID CONNECTION/RESOURCE OBJECT")
            }
            Self::Read { .. } => Diagnostic::new(Kind::Failed, "io"),
            Self::Text { .. } => Diagnostic::new(Kind::Usage, "invalid_import")
                .hint(Hint::text("save it as UTF-8, as spreadsheets do on request")),
        }
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: LinkArgs) -> Result<u8> {
    match args.command {
        LinkCommand::Add { entity, resource, object, user } => {
            let (connection, resource) = parse_resource(ui, &resource)?;
            let object = LinkedObject::new(&resource, &object)?;
            let request = AddLinkRequest { user, entity, connection, object };
            ui.show(&workspace.run(links::add_link(workspace, request))?)?;
        }
        LinkCommand::List { resource, entity_type, user, limit } => {
            let (connection, resource) = match resource.as_deref() {
                Some(text) if text.contains('/') => {
                    let (connection, resource) = parse_resource(ui, text)?;
                    (Some(connection), Some(resource))
                }
                Some(text) => (Some(ui.project.resolve(text)?), None),
                None => (None, None),
            };
            list(workspace, ui, ListLinksRequest { user, entity_type, connection, resource, limit, after: None })?;
        }
        LinkCommand::Find { subject, object, user } => {
            let side = match object {
                None => LinkSide::Entity(subject.parse()?),
                Some(object) => {
                    let (connection, resource) = parse_resource(ui, &subject)?;
                    LinkSide::Object(connection, LinkedObject::new(&resource, &object)?)
                }
            };
            ui.show(&workspace.run(links::find_links(workspace, FindLinksRequest { user, side }))?)?;
        }
        LinkCommand::Remove { entity, resource, user } => {
            let (connection, resource) = parse_resource(ui, &resource)?;
            let request = RemoveLinkRequest { user, entity, connection, resource };
            ui.show(&workspace.run(links::remove_link(workspace, request))?)?;
        }
        LinkCommand::Import { file } => {
            let read = |source| LinkArgumentError::Read { file: file.clone(), source };
            let text = String::from_utf8(read_input_file(&file).map_err(read)?);
            let text = text.map_err(|_| LinkArgumentError::Text { file: file.clone() })?;
            let view = workspace.run(links::import_links(workspace, ImportLinksRequest { text }))?;
            ui.show(&view)?;
            if !view.rejected.is_empty() {
                return Ok(Kind::Partial.exit_code());
            }
        }
    }
    Ok(0)
}

/// Prints links: JSON lines, or a table.
fn list(workspace: &Workspace, ui: &Ui, request: ListLinksRequest) -> Result<()> {
    if ui.json {
        return workspace.run(links::read_links(workspace, request, |link| {
            ui.show_line(&json!(link))?;
            Ok(if is_reader_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        }));
    }
    Ok(ui.show(&workspace.run(links::list_links(workspace, request))?)?)
}

fn parse_resource(ui: &Ui, text: &str) -> Result<(ConnectionName, String)> {
    match text.split_once('/') {
        Some((connection, resource)) => Ok((ui.project.resolve(connection)?, resource.to_owned())),
        None => Err(LinkArgumentError::Resource { text: text.to_owned() }.into()),
    }
}

/// A link in a sentence.
fn sentence(link: &LinkView) -> String {
    let user = link.user.as_ref().map(|user| format!(" of user {user}")).unwrap_or_default();
    let LinkView { entity_type, entity_id, connection, resource, object, .. } = link;
    super::ui::escape(&format!("{entity_type}/{entity_id}{user} to {connection}/{resource} {object}"))
}

impl Render for LinkListView {
    fn text(&self, ui: &Ui) -> String {
        if self.links.is_empty() {
            return "No links. `integ link add customer/42 hubspot/contacts OBJECT` adds one.".to_owned();
        }
        let has_users = self.links.iter().any(|link| link.user.is_some());
        let has_merged = self.links.iter().any(|link| link.merged_into.is_some());
        let row = |link: &LinkView| {
            let mut row: Vec<TableCell> = vec![
                format!("{}/{}", link.entity_type, link.entity_id).into(),
                format!("{}/{}", link.connection, link.resource).into(),
                link.object.clone().into(),
            ];
            if has_merged {
                row.push(link.merged_into.clone().unwrap_or_else(|| "-".to_owned()).into());
            }
            if has_users {
                row.push(link.user.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string).into());
            }
            row
        };
        let mut headings = vec!["entity", "resource", "object"];
        headings.extend(has_merged.then_some("merged into"));
        headings.extend(has_users.then_some("user"));
        table(ui, &headings, self.links.iter().map(row).collect())
    }
}

impl Render for AddedLinkView {
    fn text(&self, _ui: &Ui) -> String {
        match self.outcome {
            LinkOutcome::Added => format!("Linked {}", sentence(&self.link)),
            LinkOutcome::Unchanged => format!("Already linked: {}", sentence(&self.link)),
        }
    }
}

impl Render for RemovedLinkView {
    fn text(&self, _ui: &Ui) -> String {
        format!("Removed the link of {}", sentence(&self.removed))
    }
}

impl Render for ImportedLinksView {
    fn text(&self, ui: &Ui) -> String {
        let counts = format!("{} added, {} unchanged, {} rejected", self.added, self.unchanged, self.rejected.len());
        if self.rejected.is_empty() {
            return counts;
        }
        let rows = self.rejected.iter().map(|line| vec![line.line.to_string().into(), line.error.clone().into()]);
        format!("{}\n{counts}", table(ui, &["line", "error"], rows.collect()))
    }
}
