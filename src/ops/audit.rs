//! Operations on the audit log, and how operations get into it.

use std::ops::ControlFlow;

use super::{Operation, OperationScope, Reach, operations};
use crate::audit::{self, AuditCaller, AuditError, AuditTicket, AuditTiming};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::{AuditActorFilter, AuditFilter, AuditRecord, AuditSequence, ConnectionName, Effect, UserId};
use crate::runtime::Workspace;
use crate::view::audit::{AuditCheckpointView, AuditEntryView, AuditListView, AuditVerificationView};

/// The operations of this module.
pub const OPERATIONS: &[Operation] = &[
    Operation::local("audit list", OperationScope::Audit, Effect::Read).reachable_by(Reach::Api),
    Operation::local("audit verify", OperationScope::Audit, Effect::Read).reachable_by(Reach::Api),
    Operation::local("audit export", OperationScope::Audit, Effect::Read).reachable_by(Reach::Api),
];

/// Changes that no workspace's log can hold, and why. All others are in the log of their workspace.
pub const UNRECORDED: &[(&str, &str)] = &[
    ("config set", "the settings belong to no workspace"),
    ("config unset", "the settings belong to no workspace"),
    ("connector install", "connectors belong to all workspaces"),
    ("connector new", "it writes a draft"),
    ("connector remove", "connectors belong to all workspaces"),
    ("mcp install", "it changes the settings of another program"),
    ("mcp serve", "each call of a tool has an entry of its own"),
    ("mcp uninstall", "it changes the settings of another program"),
    ("proxy", "each request has an entry of its own"),
    ("vault check", "it has to work with a store that is damaged"),
    ("vault lock", "it ends a process and changes nothing that is stored"),
    ("vault unlock", "it starts a process and changes nothing that is stored"),
    ("workspace create", "the log begins with the workspace"),
    ("workspace delete", "the log is deleted with its workspace"),
];

/// Changes of something other than rows of the store: they are recorded when they are done.
const RECORDED_AFTERWARDS: &[&str] = &[
    "vault identity import",
    "vault move",
    "vault move-identity",
    "vault move-tokens",
    "vault recipients add",
    "vault recipients remove",
    "vault rekey",
    "vault restore",
    "webhook simulate",
];

/// Number of entries read per query.
const PAGE_SIZE: u32 = 500;

impl Operation {
    /// Begins the operation for somebody other than the owner at the machine, who gets a ticket to run it with only if a
    /// change could be recorded.
    ///
    /// # Errors
    /// [`AuditError::Write`]; the operation must not run then.
    pub async fn begin<'a>(&self, workspace: &'a Workspace, caller: AuditCaller) -> Result<AuditTicket<'a>> {
        let record = AuditRecord::new(workspace.clock.now_millis(), caller.actor, self.name, self.effect);
        let record = match caller.approval {
            Some(approval) => record.with_detail(&format!("approval {approval}")),
            None => record,
        };
        audit::begin(workspace, AuditRecord { source: caller.source, request_id: caller.request_id, ..record }).await
    }

    /// Whether the log of a workspace gets the operation if the owner at the machine requests it.
    pub fn is_recorded(&self) -> bool {
        self.effect != Effect::Read && UNRECORDED.iter().all(|(name, _)| *name != self.name)
    }

    /// Returns what commits the entry that the operation was started.
    pub fn audit_timing(&self) -> AuditTiming {
        if super::calls::OPERATIONS.iter().any(|operation| operation.name == self.name) {
            AuditTiming::ServiceWrite
        } else if RECORDED_AFTERWARDS.contains(&self.name) {
            AuditTiming::Afterwards
        } else {
            AuditTiming::FirstWrite
        }
    }
}

/// Returns the operation of a command, from its words, and whether a flag was given. Of several declared
/// for the command with a flag each, a dry run counts first, then the one that can change most.
pub fn find_operation(words: &str, has_flag: impl Fn(&str) -> bool) -> Option<&'static Operation> {
    let with_flag = operations().filter(|operation| {
        let flag = operation.name.strip_prefix(words).and_then(|rest| rest.strip_prefix(" --"));
        flag.is_some_and(&has_flag)
    });
    let rank = |operation: &&Operation| (operation.name.ends_with(" --dry-run"), operation.effect);
    let plain = || operations().find(|operation| operation.name == words);
    with_flag.max_by_key(rank).or_else(plain)
}

/// The entries to list.
#[derive(Clone, Debug, Default)]
pub struct ListAuditRequest {
    /// All connections if absent; the name of one that was removed may be given.
    pub connection: Option<ConnectionName>,
    pub user: Option<UserId>,
    pub actor: Option<AuditActorFilter>,
    /// The names of operations, such as `webhook retry`; all if empty.
    pub operations: Vec<String>,
    pub since: Option<Timestamp>,
    /// Only entries before this one: the last of the page before.
    pub before: Option<AuditSequence>,
    /// Maximum number of entries.
    pub limit: u32,
}

/// Returns entries of the audit log, the newest first.
pub async fn list_entries(workspace: &Workspace, request: ListAuditRequest) -> Result<AuditListView> {
    let ListAuditRequest { connection, user, actor, mut operations, since, before, limit } = request;
    operations.sort_unstable();
    operations.dedup();
    let filter = AuditFilter { connection, user, actor, operations, since, hides_monitoring: false };
    let found = match workspace.has_vault() {
        true => workspace.store().await?.audit().list(&filter, before, limit).await?,
        false => Vec::new(),
    };
    let entries = found.into_iter().map(AuditEntryView::from).collect();
    Ok(AuditListView { listed_at: workspace.clock.now(), entries })
}

/// Verifies the audit log. `checkpoint` is the text of one, or an export that ends with one. Problems are in the view.
///
/// # Errors
/// [`AuditError::InvalidCheckpoint`]; [`AuditError::ForeignCheckpoint`].
pub async fn verify_log(workspace: &Workspace, checkpoint: Option<&str>) -> Result<AuditVerificationView> {
    let checkpoint = checkpoint.map(read_checkpoint).transpose()?;
    let checkpoint = checkpoint.map(|view| view.read()).transpose();
    let checkpoint = checkpoint.map_err(|reason| AuditError::InvalidCheckpoint { reason })?;
    Ok(audit::verify(workspace, checkpoint.as_ref()).await?.into())
}

fn read_checkpoint(text: &str) -> Result<AuditCheckpointView, AuditError> {
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let whole = serde_json::from_str(text).or_else(|_| serde_json::from_str(last));
    whole.map_err(|error| AuditError::InvalidCheckpoint { reason: error.to_string() })
}

/// Passes the entries of the audit log to `each`, the oldest first, until it breaks, and returns a signed checkpoint of
/// the last one.
///
/// # Errors
/// Those of `each`.
pub async fn export_log(
    workspace: &Workspace,
    mut each: impl FnMut(AuditEntryView) -> Result<ControlFlow<()>>,
) -> Result<Option<AuditCheckpointView>> {
    let log = workspace.store().await?.audit();
    let checkpoint = log.checkpoint(workspace.clock.now_millis()).await?;
    let mut last = AuditSequence(0);
    loop {
        let page = log.read(last, PAGE_SIZE).await?;
        let Some(end) = page.last() else { break };
        last = end.sequence;
        for entry in page.into_iter().filter(|entry| entry.sequence <= checkpoint.sequence) {
            if each(entry.into())?.is_break() {
                return Ok(None);
            }
        }
        if last >= checkpoint.sequence {
            break;
        }
    }
    Ok(Some(checkpoint.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_choose_among_the_operations_of_a_command() {
        let name = |words: &str, flags: &[&str]| {
            find_operation(words, |flag| flags.contains(&flag)).map(|operation| operation.name)
        };
        assert_eq!(name("sync", &[]), Some("sync"));
        assert_eq!(name("sync", &["due"]), Some("sync --due"));
        assert_eq!(name("sync", &["due", "dry-run"]), Some("sync --dry-run"));
        assert_eq!(name("webhook secret", &["set", "print-secret"]), Some("webhook secret --set"));
        assert_eq!(name("doctor", &[]), None);
    }

    #[test]
    fn what_is_not_recorded_is_a_change_that_exists() {
        assert!(UNRECORDED.is_sorted() && RECORDED_AFTERWARDS.is_sorted());
        let is_known = |name: &&str| operations().any(|operation| operation.name == *name && operation.is_recorded());
        assert!(RECORDED_AFTERWARDS.iter().all(is_known));
        for (name, _) in UNRECORDED {
            let operation = operations().find(|operation| operation.name == *name);
            assert!(operation.is_some_and(|operation| operation.effect != Effect::Read), "{name}");
        }
        let mut unrecorded =
            operations().filter(|operation| operation.reach > Reach::Local && !operation.is_recorded());
        assert!(unrecorded.all(|operation| operation.effect == Effect::Read));
    }
}
