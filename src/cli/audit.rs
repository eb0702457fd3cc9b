//! `integ audit`, and the audit entry of a command.

use std::ops::ControlFlow;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;

use super::input_file::read_input_file;
use super::table::{TableCell, relative, remove_spare, table};
use super::terminal::Terminal;
use super::ui::{Render, Tone, Ui, is_reader_closed};
use super::value_parser;
use crate::audit::{self, AuditError, PendingAudit};
use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::model::{AuditOutcome, AuditSequence, CheckpointState, Effect, UserId};
use crate::notify::Notifier;
use crate::ops::Operation;
use crate::ops::audit::{ListAuditRequest, export_log, list_entries, verify_log};
use crate::runtime::{Engine, Workspace};
use crate::view::audit::{AuditEntryView, AuditListView, AuditVerificationView};

/// Show and verify the audit log: who changed what
///
/// A change and its entry are one commit; a change at a service is recorded before the request is sent. Entries form a
/// chain, so that `integ audit verify` finds every entry that was edited, removed or moved. A checkpoint from `integ
/// audit export`, stored elsewhere, also proves that nothing was cut off. With `integ config set audit.local true`,
/// what you read is recorded as well.
#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// List audit entries, newest first
    List {
        /// Only entries of this connection, which may have been removed (default: all)
        #[arg(long, value_name = "CONNECTION", add = super::complete::connections())]
        connection: Option<String>,
        /// Only entries of this user (default: all)
        #[arg(long, value_name = "ID")]
        user: Option<UserId>,
        /// Only entries of this API token's ID or operator's name, or of a kind: local, api_token, operator or worker
        /// (default: all)
        #[arg(long, value_name = "ACTOR")]
        actor: Option<String>,
        /// Only entries of this operation, such as 'webhook retry'; may be repeated (default: all)
        #[arg(long = "operation", value_name = "OPERATION")]
        operations: Vec<String>,
        /// Start: 90s, 2h, 7d ago, or a date
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Only entries before this one
        #[arg(long, value_name = "SEQUENCE")]
        before: Option<u64>,
        /// Maximum number of entries
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
    },
    /// Verify that no entry was edited, removed, moved or cut off
    ///
    /// Exits with 6 if the log was changed.
    Verify {
        /// File with a checkpoint that the log must contain, or an export; - for stdin
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<String>,
    },
    /// Write all entries as JSON lines, and a signed checkpoint at the end
    Export,
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: AuditArgs) -> Result<u8> {
    match args.command {
        AuditCommand::List { connection, user, actor, operations, since, before, limit } => {
            let request = ListAuditRequest {
                connection: connection.as_deref().map(|word| ui.project.resolve(word)).transpose()?,
                user,
                actor: actor.map(Into::into),
                operations,
                since: since.as_deref().map(|text| value_parser::time(workspace, text)).transpose()?,
                before: before.map(AuditSequence),
                limit,
            };
            let found = workspace.run(list_entries(workspace, request))?;
            if ui.json {
                found.entries.iter().try_for_each(|entry| ui.show_line(&json!(entry)))?;
            } else {
                ui.show(&found)?;
            }
        }
        AuditCommand::Verify { checkpoint } => {
            let text = checkpoint.as_deref().map(read_text).transpose()?;
            let view = workspace.run(verify_log(workspace, text.as_deref()))?;
            ui.show(&view)?;
            if !view.problems.is_empty() {
                return Ok(Kind::Unhealthy.exit_code());
            }
        }
        AuditCommand::Export => {
            let checkpoint = workspace.run(export_log(workspace, |entry| {
                ui.show_line(&json!(entry))?;
                Ok(if is_reader_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            }))?;
            checkpoint.iter().try_for_each(|checkpoint| ui.show_line(&json!(checkpoint)))?;
        }
    }
    Ok(0)
}

fn read_text(file: &str) -> Result<String, AuditError> {
    let invalid = |reason: String| AuditError::InvalidCheckpoint { reason };
    let bytes = read_input_file(file).map_err(|error| invalid(error.to_string()))?;
    String::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8 text".to_owned()))
}

/// Returns the audit entry of a command, if it is recorded.
pub(super) fn pending_entry(operation: &Operation, settings: &Config) -> Option<Arc<PendingAudit>> {
    let is_read = operation.effect == Effect::Read && settings.audit.local;
    let is_recorded = is_read || operation.is_recorded();
    let new = || PendingAudit::new(Clock::system(), operation.name, operation.effect, operation.audit_timing());
    is_recorded.then(|| Arc::new(new()))
}

/// Records what is about to be read, where the settings ask for that.
///
/// # Errors
/// Nothing is read if the log cannot be written.
pub(super) fn record_read(workspace: &Workspace) -> Result<()> {
    match &workspace.engine.audit {
        Some(pending) if pending.effect() == Effect::Read && workspace.has_vault() => {
            workspace.run(audit::commit_started(workspace, pending))
        }
        _ => Ok(()),
    }
}

/// Records how a command ended: with an error, or with an exit code.
pub(super) fn record_outcome(workspace: &Workspace, ui: &Ui, error: Option<&Error>, code: u8) {
    let Some(pending) = &workspace.engine.audit else { return };
    if !workspace.has_vault() {
        return;
    }
    let recorded = if workspace.is_open() {
        workspace.run_to_end(audit::finish(workspace, pending, error, code))
    } else if error.is_none() && pending.is_recorded_afterwards() {
        // The command changed files of the vault, not rows: it is opened again, if that needs no passphrase.
        let quiet = Terminal { interactive: false, json: false, quiet: true, animates: false };
        let (folders, config) = (workspace.engine.folders.clone(), workspace.engine.config.clone());
        let notifier = Box::new(Notifier::new(&config));
        let reopened =
            Workspace::new(Arc::new(Engine::new(folders, config, Box::new(quiet), notifier)), workspace.name.clone());
        reopened.run_to_end(audit::finish(&reopened, pending, error, code))
    } else {
        Ok(())
    };
    if let Err(error) = recorded {
        ui.warning(&format!("the end of this command is not in the audit log: {}", error.on_one_line()));
    }
}

impl Render for AuditListView {
    fn text(&self, ui: &Ui) -> String {
        if self.entries.is_empty() {
            return "No audit entries.".to_owned();
        }
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let row = |entry: &AuditEntryView| -> Vec<TableCell> {
            let actor = entry.actor_id.clone().unwrap_or_else(|| entry.actor.to_string());
            vec![
                entry.sequence.to_string().into(),
                relative(entry.at.as_second() - self.listed_at.as_second()).into(),
                actor.into(),
                entry.operation.clone().into(),
                or_dash(&entry.connection).into(),
                or_dash(&entry.user).into(),
                outcome(entry),
            ]
        };
        let mut headings = vec!["sequence", "at", "actor", "operation", "connection", "user", "outcome"];
        let mut rows: Vec<Vec<TableCell>> = self.entries.iter().map(row).collect();
        remove_spare(ui, &mut headings, &mut rows, &["user", "actor"]);
        table(ui, &headings, rows)
    }
}

fn outcome(entry: &AuditEntryView) -> TableCell {
    let tone = match entry.outcome {
        AuditOutcome::Started => None,
        AuditOutcome::Done => Some(Tone::Good),
        AuditOutcome::Refused => Some(Tone::Warn),
        AuditOutcome::Failed => Some(Tone::Bad),
    };
    let code = entry.error_code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
    TableCell(format!("{}{code}", entry.outcome), tone)
}

impl Render for AuditVerificationView {
    fn text(&self, ui: &Ui) -> String {
        let checkpoint = match self.checkpoint {
            Some(CheckpointState::Contained) => "; it contains the checkpoint",
            Some(CheckpointState::Pruned) => "; the entry of the checkpoint was removed after its retention",
            Some(CheckpointState::Missing) => "; it does not contain the checkpoint",
            None => "",
        };
        let range = match self.entries {
            0 => String::new(),
            _ => format!(", {} to {}", self.first, self.last),
        };
        if self.problems.is_empty() {
            return format!("The audit log is unchanged: {} entries{range}{checkpoint}", self.entries);
        }
        let rows = self.problems.iter().map(|problem| {
            vec![TableCell::from(problem.sequence.to_string()), TableCell(problem.kind.to_string(), Some(Tone::Bad))]
        });
        let rows = table(ui, &["sequence", "problem"], rows.collect());
        format!("{rows}\nThe audit log was changed: {} entries{range}{checkpoint}", self.entries)
    }
}
