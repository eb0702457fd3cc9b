//! Checks stored connections, and the user's connectors.

use std::collections::HashMap;
use std::sync::Arc;

use super::{DoctorContext, Finding};
use crate::connector::scopes;
use crate::connector::{Catalogue, Connector, validate};
use crate::error::Remedy;
use crate::files;
use crate::health::{ConnectionStatus, StatusSummary, status_of};
use crate::model::{Connection, ConnectionMode};
use crate::oauth::refresh::reconnect_command;

/// More of one kind are counted, not listed.
const MAX_LISTED: usize = 10;

/// A token that expires within this time and cannot be refreshed is reported.
const SOON_SECS: i64 = 7 * 86_400;

/// A larger file is not a connector.
const MAX_FILE_SIZE: u64 = 1 << 20;

pub(super) fn check_connections(connections: &[Connection], around: &DoctorContext) -> Vec<Finding> {
    let now = around.clock.now();
    let catalogue = around.catalogue();
    let mut connectors: HashMap<&str, Option<Arc<Connector>>> = HashMap::new();
    let mut summary = StatusSummary::default();
    let (mut broken, mut weak) = (Vec::new(), Vec::new());
    for connection in connections {
        let name = connection.name.to_string();
        let (status, reason) = status_of(connection, now);
        summary.add(status);
        let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let message = format!("{name}: {}{why}", status.as_str().replace('_', " "));
        match status {
            ConnectionStatus::NeedsReauth | ConnectionStatus::Disconnected => {
                broken.push(Finding::error("connections", message, Some(reconnect_command(&connection.name))));
            }
            ConnectionStatus::Error => {
                broken.push(Finding::error("connections", message, Some(format!("integ test {name}"))));
            }
            ConnectionStatus::Active | ConnectionStatus::Expiring => {}
        }
        let id = connection.name.connector();
        let connector = connectors.entry(id).or_insert_with(|| catalogue.get(id).ok());
        let Some(connector) = connector else {
            let message = format!("{name} has no connector: {id} is missing or invalid");
            broken.push(Finding::error("connections", message, Some(format!("integ connector validate {id}"))));
            continue;
        };
        let missing = scopes::missing(connector, &connection.scopes_requested, connection.scopes_granted.as_deref());
        if !missing.is_empty() {
            let message = format!("{name} was not granted {}", missing.join(", "));
            weak.push(Finding::warning("connections", message, reconnect_command(&connection.name)));
        }
        let expiry = &connection.expiry;
        if let Some(at) = expiry.refresh_started_at.filter(|_| status != ConnectionStatus::NeedsReauth) {
            let message = format!("{name}: a refresh was started at {at} and its answer is not stored");
            weak.push(Finding::warning("connections", message, format!("integ refresh {name}")));
        }
        if let Some(left) =
            expiry.remaining_secs(now).filter(|left| !expiry.is_refreshable && (1..SOON_SECS).contains(left))
        {
            let message = format!("{name} expires in {} h and cannot be refreshed", left / 3600);
            weak.push(Finding::warning("connections", message, reconnect_command(&connection.name)));
        }
    }
    let sandbox = connections.iter().filter(|connection| connection.mode == ConnectionMode::Sandbox).count();
    let mut findings = vec![Finding::ok("connections", counted(&summary, sandbox))];
    findings.extend(truncate_findings(broken));
    findings.extend(truncate_findings(weak));
    findings
}

fn counted(summary: &StatusSummary, sandbox: usize) -> String {
    if summary.total == 0 {
        return "none yet: `integ connect slack --sandbox` adds one".to_owned();
    }
    let parts = [
        (summary.active, "active"),
        (summary.expiring, "expiring"),
        (summary.needs_reauth, "needs reauth"),
        (summary.error, "error"),
        (summary.disconnected, "disconnected"),
        (sandbox, "of the sandbox"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    parts.collect::<Vec<_>>().join(", ")
}

/// The first of many, and how many there are beside them.
fn truncate_findings(mut findings: Vec<Finding>) -> Vec<Finding> {
    let further = findings.len().saturating_sub(MAX_LISTED);
    if further > 0 {
        findings.truncate(MAX_LISTED);
        let level = findings[0].severity;
        let message = format!("and {further} further ones");
        findings.push(Finding { check: "connections", severity: level, message, fix: Some("integ status".to_owned()) });
    }
    findings
}

/// Whether every file that the user installed is a connector.
pub(super) fn check_connectors(around: &DoctorContext) -> Vec<Finding> {
    let catalogue: Catalogue = around.catalogue();
    let ids = catalogue.ids();
    let total = ids.len();
    let mut installed = 0;
    let mut findings = Vec::new();
    for (id, source) in ids {
        let Some(path) = source.path() else { continue };
        installed += 1;
        let fix = || Some(format!("integ connector validate {}", files::shell_quoted(path)));
        match files::read_trusted_text(path, MAX_FILE_SIZE) {
            Err(error) => findings.push(Finding::failure("connectors", error)),
            Ok(None) => {
                findings.push(Finding::error("connectors", format!("{} cannot be read", path.display()), fix()));
            }
            Ok(Some(text)) => match (validate(&text).first(), catalogue.get(&id)) {
                (Some(first), _) => findings.push(Finding::error("connectors", format!("{id}: {first}"), fix())),
                // One that was changed since it was installed, or speaks for another.
                (None, Err(error)) => {
                    let hint = error.hint().map(|hint| hint.to_string());
                    findings.push(Finding::error("connectors", format!("{id}: {error}"), hint));
                }
                (None, Ok(_)) => {}
            },
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok("connectors", format!("{} built in, {installed} added", total - installed)));
    }
    findings
}
