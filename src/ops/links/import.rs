//! Importing links from JSON lines or CSV.

use std::collections::HashMap;

use serde::Deserialize;

use super::{LinkOperationError, new_link};
use crate::error::{Result, on_one_line};
use crate::model::{Connection, Entity, LinkInsertResult, LinkedObject, NewLink};
use crate::runtime::Workspace;
use crate::view::link::{ImportedLinksView, RejectedLineView};

/// Number of links per commit, so that others can write in between.
const BATCH_SIZE: usize = 1_000;

/// Links to import.
#[derive(Clone, Debug)]
pub struct ImportLinksRequest {
    /// A JSON object a line, or CSV with a heading; the names are those of `link list --json`.
    pub text: String,
}

/// A link in a line. Other members of the line, such as those of an export, are ignored.
#[derive(Debug, Deserialize)]
struct LinkLine {
    #[serde(default)]
    user: Option<String>,
    entity_type: String,
    entity_id: String,
    connection: String,
    resource: String,
    object: String,
}

/// Imports links line by line. A line that is wrong or whose entity or object has another link is in the view, and the
/// others are stored; the same import can be repeated.
///
/// # Errors
/// [`LinkOperationError::InvalidImport`] for a text that cannot be split into lines.
pub async fn import_links(workspace: &Workspace, request: ImportLinksRequest) -> Result<ImportedLinksView> {
    let lines = parse(&request.text)?;
    let mut view = ImportedLinksView { added: 0, unchanged: 0, rejected: Vec::new() };
    let (mut batch, mut known) = (Vec::new(), HashMap::new());
    for (line, parsed) in lines {
        let link = match parsed {
            Ok(parsed) => resolve(workspace, parsed, &mut known).await,
            Err(error) => Err(error),
        };
        match link {
            Ok(link) => batch.push((line, link)),
            Err(error) => view.rejected.push(RejectedLineView { line, error }),
        }
        if batch.len() == BATCH_SIZE {
            store(workspace, std::mem::take(&mut batch), &mut view).await?;
        }
    }
    store(workspace, batch, &mut view).await?;
    view.rejected.sort_by_key(|rejected| rejected.line);
    Ok(view)
}

async fn store(workspace: &Workspace, batch: Vec<(u64, NewLink)>, view: &mut ImportedLinksView) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let (lines, links): (Vec<u64>, Vec<NewLink>) = batch.into_iter().unzip();
    let now = workspace.clock.now();
    let results = workspace.store().await?.links().insert(links, now).await?;
    for (line, result) in lines.into_iter().zip(results) {
        let error = match result {
            LinkInsertResult::Added(_) => {
                view.added += 1;
                continue;
            }
            LinkInsertResult::Unchanged(_) => {
                view.unchanged += 1;
                continue;
            }
            LinkInsertResult::EntityLinked(link) => LinkOperationError::entity_linked(link),
            LinkInsertResult::ObjectLinked(link) => LinkOperationError::object_linked(link),
        };
        view.rejected.push(RejectedLineView { line, error: on_one_line(&error) });
    }
    Ok(())
}

/// The link of a line. `known` are the connections that earlier lines named.
async fn resolve(
    workspace: &Workspace,
    line: LinkLine,
    known: &mut HashMap<String, std::result::Result<Connection, String>>,
) -> std::result::Result<NewLink, String> {
    let message = |error: &dyn std::error::Error| error.to_string();
    let entity = Entity::new(&line.entity_type, &line.entity_id).map_err(|error| message(&error))?;
    let object = LinkedObject::new(&line.resource, &line.object).map_err(|error| message(&error))?;
    let user = line.user.filter(|user| !user.is_empty()).map(|user| user.parse()).transpose();
    let user = user.map_err(|error: crate::model::UserIdError| message(&error))?;
    if !known.contains_key(&line.connection) {
        let found = match line.connection.parse() {
            Ok(name) => workspace.connection(&name).await.map_err(|error| error.message()),
            Err(error) => Err(message(&error as &crate::model::NameError)),
        };
        known.insert(line.connection.clone(), found);
    }
    match &known[&line.connection] {
        Ok(connection) => Ok(new_link(connection, user, entity, object)),
        Err(error) => Err(error.clone()),
    }
}

/// A line with its number, from 1.
type NumberedLine = (u64, std::result::Result<LinkLine, String>);

/// The lines of a text that are not empty, with their numbers.
fn parse(text: &str) -> Result<Vec<NumberedLine>> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with('{') || text.trim().is_empty() {
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        return Ok(lines.map(|(number, line)| (number, parse_json(line))).collect());
    }
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let invalid = |error: &csv::Error| LinkOperationError::InvalidImport { reason: error.to_string() };
    let headings = reader.headers().map_err(|error| invalid(&error))?.clone();
    let needed = ["entity_type", "entity_id", "connection", "resource", "object"];
    let missing: Vec<&str> =
        needed.into_iter().filter(|needed| !headings.iter().any(|heading| heading == *needed)).collect();
    if !missing.is_empty() {
        let reason = format!("the heading lacks {}", missing.join(", "));
        return Err(LinkOperationError::InvalidImport { reason }.into());
    }
    let mut lines = Vec::new();
    for record in reader.records() {
        match record {
            Ok(record) => {
                let line = record.position().map_or(0, csv::Position::line);
                lines.push((line, record.deserialize(Some(&headings)).map_err(|error| error.to_string())));
            }
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                lines.push((line, Err(error.to_string())));
            }
        }
    }
    Ok(lines)
}

fn parse_json(line: &str) -> std::result::Result<LinkLine, String> {
    serde_json::from_str(line).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_json_or_csv() {
        let json = "{\"entity_type\":\"customer\",\"entity_id\":\"1\",\"connection\":\"hubspot\",\
                    \"resource\":\"contacts\",\"object\":\"15\",\"created_at\":\"2026-01-01T00:00:00Z\"}\n\nnonsense\n";
        let lines = parse(json).unwrap();
        assert_eq!(
            lines.iter().map(|(line, parsed)| (*line, parsed.is_ok())).collect::<Vec<_>>(),
            [(1, true), (3, false)]
        );
        let csv =
            "\u{feff}object,connection,resource,entity_type,entity_id\n15,hubspot,contacts,customer,\"a, b\"\n1,2\n";
        let lines = parse(csv).unwrap();
        assert_eq!(lines[0].1.as_ref().unwrap().entity_id, "a, b");
        assert_eq!((lines[0].0, lines[1].0, lines[1].1.is_err()), (2, 3, true));
        assert!(parse("a,b\n1,2\n").unwrap_err().message().contains("lacks entity_type"));
        assert!(parse("").unwrap().is_empty());
    }
}
