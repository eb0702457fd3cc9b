//! The log: one list of what the audit log, health checks, deliveries, events and sync jobs record. It has no table of its
//! own, so that no fact is stored twice and none contradicts another.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::{Effect, Operation, OperationScope, Reach};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::{
    AuditFilter, AuditSequence, ConnectionAccess, ConnectionId, ConnectionName, DeliveryFilter, DeliveryId,
    EventFilter, EventId, HealthCheckId, JobId, LogPosition, LogSource,
};
use crate::runtime::Workspace;
use crate::store::Store;
use crate::view::log::{LogEntryView, LogListView};

/// The operations of this module.
pub const OPERATIONS: &[Operation] =
    &[Operation::local("logs", OperationScope::Logs, Effect::Read).reachable_by(Reach::Api)];

/// Entries that a follower reads at once.
const FOLLOWED_PAGE: u32 = 200;

/// For how long a follower looks for changes of an entry.
const FOLLOWED_TIME: Duration = Duration::from_secs(3600);

/// The entries to list.
#[derive(Clone, Debug, Default)]
pub struct ListLogsRequest {
    /// Absent for all connections, and for what belongs to none.
    pub connection: Option<ConnectionName>,
    pub since: Option<Timestamp>,
    /// The place behind the last entry of the page before.
    pub after: LogPosition,
    /// Maximum number of entries.
    pub limit: u32,
}

/// Returns entries of the log, the newest first. A caller who may use only some connections gets the entries of these.
///
/// # Errors
/// Unknown connections.
pub async fn list_logs(workspace: &Workspace, request: &ListLogsRequest) -> Result<LogListView> {
    let listed_at = workspace.clock.now();
    let scopes = scopes(workspace, request.connection.as_ref()).await?;
    let mut sources: BTreeMap<LogSource, VecDeque<(i64, LogEntryView)>> = BTreeMap::new();
    for scope in &scopes {
        let store = workspace.store().await?;
        for source in LogSource::ALL {
            sources.entry(source).or_default().extend(read(store, source, scope, request).await?);
        }
    }
    for entries in sources.values_mut() {
        entries.make_contiguous().sort_by_key(|(id, _)| std::cmp::Reverse(*id));
    }
    Ok(LogListView { listed_at, entries: merge(sources, request) })
}

/// What is read of each source.
enum LogScope {
    Workspace,
    Connection(ConnectionId, ConnectionName),
}

impl LogScope {
    fn id(&self) -> Option<ConnectionId> {
        match self {
            Self::Workspace => None,
            Self::Connection(id, _) => Some(*id),
        }
    }
}

async fn scopes(workspace: &Workspace, name: Option<&ConnectionName>) -> Result<Vec<LogScope>> {
    let connections = match name {
        Some(name) => vec![workspace.connection(name).await?],
        None if !workspace.has_vault() => Vec::new(),
        None if *workspace.access() == ConnectionAccess::All => return Ok(vec![LogScope::Workspace]),
        None => workspace.connections().await?,
    };
    Ok(connections.into_iter().map(|connection| LogScope::Connection(connection.id, connection.name)).collect())
}

/// Reads up to a page of entries of one source, with their ids.
async fn read(
    store: &dyn Store,
    source: LogSource,
    scope: &LogScope,
    request: &ListLogsRequest,
) -> Result<Vec<(i64, LogEntryView)>> {
    let ListLogsRequest { since, after, limit, .. } = request;
    let (before, connection, limit) = (after.of(source), scope.id(), *limit);
    Ok(match source {
        LogSource::Audit => {
            let connection = match scope {
                LogScope::Workspace => None,
                LogScope::Connection(_, name) => Some(name.clone()),
            };
            let filter = AuditFilter { connection, since: *since, hides_monitoring: true, ..AuditFilter::default() };
            let before = before.map(|id| AuditSequence(id.unsigned_abs()));
            let entries = store.audit().list(&filter, before, limit).await?;
            let id = |sequence: AuditSequence| i64::try_from(sequence.0).unwrap_or(i64::MAX);
            entries.into_iter().map(|entry| (id(entry.sequence), entry.into())).collect()
        }
        LogSource::Check => {
            let checks = store.health_checks().list(connection, before.map(HealthCheckId), limit).await?;
            checks.into_iter().map(|check| (check.id.0, check.into())).collect()
        }
        // Endpoints belong to no connection.
        LogSource::Delivery if connection.is_some() => Vec::new(),
        LogSource::Delivery => {
            let before = before.map(DeliveryId);
            let filter = DeliveryFilter { since: *since, before, limit, ..DeliveryFilter::default() };
            let deliveries = store.outbox().list(&filter).await?;
            deliveries.into_iter().map(|delivery| (delivery.id.0, delivery.into())).collect()
        }
        LogSource::Event => {
            let before = before.map(EventId);
            let filter = EventFilter { connection, since: *since, before, limit, ..EventFilter::default() };
            let events = store.events().list(&filter).await?;
            events.into_iter().map(|event| (event.id.0, event.into())).collect()
        }
        LogSource::Sync => {
            let jobs = store.jobs().list(connection, before.map(JobId), limit).await?;
            jobs.into_iter().map(|job| (job.id.0, job.into())).collect()
        }
    })
}

/// Merges the sources, of which each has its own order, by time: the newest of their next entries comes first.
fn merge(
    mut sources: BTreeMap<LogSource, VecDeque<(i64, LogEntryView)>>,
    request: &ListLogsRequest,
) -> Vec<LogEntryView> {
    let is_meant = |entry: &LogEntryView| request.since.is_none_or(|since| entry.at >= since);
    sources.values_mut().for_each(|entries| entries.retain(|(_, entry)| is_meant(entry)));
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let (mut merged, mut position) = (Vec::new(), request.after);
    while merged.len() < limit {
        let heads = sources.iter().filter_map(|(source, entries)| Some((entries.front()?.1.at, *source)));
        let Some((_, source)) = heads.max() else { break };
        let Some((id, entry)) = sources.get_mut(&source).and_then(VecDeque::pop_front) else { break };
        position = position.after(source, id);
        merged.push(LogEntryView { position, ..entry });
    }
    merged
}

/// Follows the log: reads it again and again, and returns what is new. An entry whose outcome has changed is new as well, such
/// as a job that has ended.
#[derive(Debug)]
pub struct LogFollower {
    request: ListLogsRequest,
    /// The outcome of each entry that was returned.
    seen: HashMap<(LogSource, String), (Timestamp, String)>,
}

impl LogFollower {
    /// Creates a follower. The first entries that it returns are those since `since`, or those from now on.
    pub fn new(workspace: &Workspace, connection: Option<ConnectionName>, since: Option<Timestamp>) -> Self {
        let since = since.or(Some(workspace.clock.now()));
        let request = ListLogsRequest { connection, since, limit: FOLLOWED_PAGE, ..ListLogsRequest::default() };
        Self { request, seen: HashMap::new() }
    }

    /// Returns the entries that are new since the last call, the oldest first.
    ///
    /// # Errors
    /// Those of [`list_logs`].
    pub async fn poll(&mut self, workspace: &Workspace) -> Result<Vec<LogEntryView>> {
        let mut new = Vec::new();
        self.request.after = LogPosition::default();
        loop {
            let page = list_logs(workspace, &self.request).await?.entries;
            let Some(last) = page.last() else { break };
            self.request.after = last.position;
            let is_last = page.len() < FOLLOWED_PAGE as usize;
            let news = self.news(page);
            // What is older was there at the last look; its changes are looked for on the first page alone.
            let is_known = news.is_empty();
            new.extend(news);
            if is_last || is_known {
                break;
            }
        }
        self.forget(workspace.clock.now());
        new.reverse();
        Ok(new)
    }

    /// Returns those entries that are new or changed.
    fn news(&mut self, entries: Vec<LogEntryView>) -> Vec<LogEntryView> {
        let is_new = |entry: &LogEntryView| {
            let state = (entry.at, format!("{} {}", entry.outcome, entry.attempts.unwrap_or_default()));
            let earlier = self.seen.insert((entry.source, entry.id.clone()), state.clone());
            earlier != Some(state)
        };
        entries.into_iter().filter(is_new).collect()
    }

    /// Forgets old entries, and looks no longer for changes of them.
    fn forget(&mut self, now: Timestamp) {
        let oldest = now.checked_sub(FOLLOWED_TIME).unwrap_or(Timestamp::MIN);
        self.request.since = self.request.since.map(|since| since.max(oldest));
        self.seen.retain(|_, (at, _)| *at >= oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HealthCheck, HealthOutcome, StoredHealthCheck};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + second).unwrap()
    }

    fn entry(source: LogSource, id: i64, second: i64) -> (i64, LogEntryView) {
        let check = HealthCheck::new(at(second), HealthOutcome::Healthy, None);
        let check = StoredHealthCheck { id: HealthCheckId(id), connection: "slack".parse().unwrap(), check };
        (id, LogEntryView { source, ..check.into() })
    }

    fn sources() -> BTreeMap<LogSource, VecDeque<(i64, LogEntryView)>> {
        BTreeMap::from([
            // The clock was set back between 8 and 9.
            (LogSource::Check, [(9, 20), (8, 50), (7, 10)].map(|(id, at)| entry(LogSource::Check, id, at)).into()),
            (LogSource::Sync, [(3, 40), (2, 15)].map(|(id, at)| entry(LogSource::Sync, id, at)).into()),
        ])
    }

    fn ids(entries: &[LogEntryView]) -> Vec<String> {
        entries.iter().map(|entry| format!("{}{}", entry.source.as_str(), entry.id)).collect()
    }

    #[test]
    fn pages_follow_each_other_without_gaps_although_a_clock_was_set_back() {
        let mut request = ListLogsRequest { limit: 100, ..ListLogsRequest::default() };
        let whole = ids(&merge(sources(), &request));
        assert_eq!(whole, ["sync3", "check9", "check8", "sync2", "check7"]);
        request.limit = 2;
        let mut paged = Vec::new();
        loop {
            let mut rest = sources();
            for (source, entries) in &mut rest {
                entries.retain(|(id, _)| request.after.of(*source).is_none_or(|after| *id < after));
            }
            let page = merge(rest, &request);
            let Some(last) = page.last() else { break };
            request.after = last.position;
            paged.extend(ids(&page));
        }
        assert_eq!(paged, whole);
        let since = ListLogsRequest { since: Some(at(20)), limit: 100, ..ListLogsRequest::default() };
        assert_eq!(ids(&merge(sources(), &since)), ["sync3", "check9", "check8"]);
    }

    #[test]
    fn a_follower_returns_what_is_new_or_changed() {
        let mut follower = LogFollower { request: ListLogsRequest::default(), seen: HashMap::new() };
        let read = |outcome: &str| LogEntryView { outcome: outcome.to_owned(), ..entry(LogSource::Sync, 1, 5).1 };
        assert_eq!(follower.news(vec![read("running"), entry(LogSource::Check, 1, 5).1]).len(), 2);
        assert_eq!(follower.news(vec![read("running")]).len(), 0);
        assert_eq!(follower.news(vec![read("done")]).len(), 1);
        follower.forget(at(5 + 3601));
        assert_eq!(follower.seen.len(), 0);
    }
}
