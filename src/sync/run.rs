//! A run: which streams of a connection, in which order, each with its lock and its job.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::stream::{self, StreamExt};

use super::ask::List;
use super::list::{PartEnd, Reader, Watch};
use super::plan::{self, Goal};
use super::{SyncError, record};
use crate::api::{self, Token};
use crate::app::{App, Session};
use crate::clock::{Stopwatch, Timestamp};
use crate::connection::ConnectionName;
use crate::connector::{Connector, Param, Parent, Pointer, Stream};
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::http::redact_url;
use crate::oauth::access::{self, Want};
use crate::store::{
    Counts, EndedJob, Given, JobState, Mode, NewJob, Part, PartId, RecordId, StoredRecord, StoredStream, StreamId,
    Traffic,
};
use crate::vault::Opened;

/// Streams, and lists of one stream, that are read side by side.
const STREAMS_AT_ONCE: usize = 4;
const PARTS_AT_ONCE: usize = 4;

/// Records of a parent that are taken from the store at once.
const PARENTS_A_PAGE: u32 = 200;

/// What a user asks for, of one connection.
#[derive(Clone, Debug)]
pub struct Order {
    pub connection: ConnectionName,
    /// All streams where empty.
    pub streams: Vec<String>,
    pub mode: Mode,
    /// Of a backfill.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub params: Given,
}

/// How a stream's run ended.
#[derive(Debug)]
pub enum Outcome {
    Done,
    /// The vendor's rate limit ended it, in order.
    Limited(Timestamp),
    Cancelled,
    Failed(Error),
    /// It was not begun: why.
    Left(String),
}

impl Outcome {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Limited(_) => "limited",
            Self::Cancelled => "cancelled",
            Self::Failed(_) => "failed",
            Self::Left(_) => "left",
        }
    }
}

/// What a run of a stream brought.
#[derive(Debug)]
pub struct Report {
    pub connection: ConnectionName,
    pub stream: String,
    pub mode: Mode,
    pub outcome: Outcome,
    pub counts: Counts,
    pub traffic: Traffic,
    pub seconds: f64,
}

impl Report {
    /// Of an order that nothing could be begun of.
    pub fn failed(order: &Order, error: Error) -> Self {
        Self {
            connection: order.connection.clone(),
            stream: order.streams.first().cloned().unwrap_or_else(|| "*".to_owned()),
            mode: order.mode,
            outcome: Outcome::Failed(error),
            counts: Counts::default(),
            traffic: Traffic::default(),
            seconds: 0.0,
        }
    }
}

/// What a run of a stream would ask first.
#[derive(Clone, Debug)]
pub struct Planned {
    pub stream: String,
    pub mode: Mode,
    /// Lists there are of it so far.
    pub parts: usize,
    /// Where the first of them stands.
    pub cursor: Option<String>,
    /// Method and URL, without secrets; absent where the parents are not known yet.
    pub request: Option<String>,
    /// Why it would be left out.
    pub left: Option<String>,
}

/// A stream that takes part.
struct Chosen<'c> {
    name: &'c str,
    stream: &'c Stream,
    mode: Mode,
}

/// Syncs streams of one connection. What goes wrong with a stream is in its report.
///
/// # Errors
/// [`SyncError`] for what is not there or not given, and whatever keeps the connection from being used.
pub async fn run(app: &App, order: &Order, watch: &dyn Watch) -> Result<Vec<Report>> {
    let session = app.session(access::load(app, &order.connection)?.connection)?;
    let (chosen, mut reports) = choose(app, &session, order)?;
    let opened = app.opened()?;
    let token = Token::from(&access::grant(app, &order.connection, Want::Usable).await?);
    let run = Run { app, opened, session: &session, order, token, watch, stop: AtomicBool::new(false) };
    for report in &reports {
        watch.ended(report);
    }
    let depths: BTreeSet<usize> = chosen.iter().map(|chosen| depth(&session.connector, chosen.name)).collect();
    for level in depths {
        let level = chosen.iter().filter(|chosen| depth(&session.connector, chosen.name) == level);
        let runs = level.map(|chosen| run.stream(chosen));
        reports.extend(stream::iter(runs).buffer_unordered(STREAMS_AT_ONCE).collect::<Vec<_>>().await);
    }
    Ok(reports)
}

/// What a run would ask, without asking.
///
/// # Errors
/// As [`run`].
pub fn check(app: &App, order: &Order) -> Result<Vec<Planned>> {
    let loaded = access::load(app, &order.connection)?;
    let token = Token::from(&loaded);
    let session = app.session(loaded.connection)?;
    let (chosen, left) = choose(app, &session, order)?;
    let store = app.store()?;
    let now = app.clock.now();
    let mut planned = Vec::new();
    for Chosen { name, stream, mode } in chosen {
        let kept = store.streams().find(session.connection.id, name)?;
        let given = own_given(stream, kept.as_ref(), order);
        let parts = kept.as_ref().map(|kept| store.streams().parts(kept.id)).transpose()?.unwrap_or_default();
        let goal = goal(order, mode);
        let first = parts.first();
        let part = first.map(|part| part.given.clone()).or_else(|| (stream.parents.is_empty()).then(|| given.clone()));
        let cursor = first.and_then(|part| part.cursor.clone());
        let progress = plan::begin(stream, &goal, cursor.as_deref(), now);
        let request = part.map(|given| {
            let list = List { session: &session, name, stream, given: &given, now };
            let request = list.page(&progress, &token.grant)?;
            Ok::<_, Error>(format!("{} {}", request.method, redact_url(&request.url, &request.secrets)))
        });
        planned.push(Planned {
            stream: name.to_owned(),
            mode,
            parts: parts.len(),
            cursor,
            request: request.transpose()?,
            left: None,
        });
    }
    planned.extend(left.into_iter().map(|report| Planned {
        stream: report.stream,
        mode: report.mode,
        parts: 0,
        cursor: None,
        request: None,
        left: match report.outcome {
            Outcome::Left(why) => Some(why),
            _ => None,
        },
    }));
    Ok(planned)
}

/// The streams of an order with the parents that they need, and reports on those that cannot take part.
fn choose<'c>(app: &App, session: &'c Session, order: &Order) -> Result<(Vec<Chosen<'c>>, Vec<Report>)> {
    let connector = &session.connector;
    if connector.streams.is_empty() {
        return Err(SyncError::NoStreams { connection: order.connection.clone() }.into());
    }
    let mut named = Vec::new();
    for name in &order.streams {
        let (name, stream) = find_stream(connector, name)?;
        lacking(app, session, name, stream, order)?;
        named.push((name, stream));
    }
    let mut left = Vec::new();
    if order.streams.is_empty() {
        for (name, stream) in &connector.streams {
            match lacking(app, session, name, stream, order) {
                Ok(()) => named.push((name, stream)),
                Err(error) => left.push(Report {
                    connection: order.connection.clone(),
                    stream: name.clone(),
                    mode: order.mode,
                    outcome: Outcome::Left(error.message()),
                    counts: Counts::default(),
                    traffic: Traffic::default(),
                    seconds: 0.0,
                }),
            }
        }
    }
    known_params(order, &named)?;
    if order.mode == Mode::Backfill {
        if order.streams.is_empty() {
            named.retain(|(_, stream)| no_backfill(stream, order).is_none());
        }
        for (name, stream) in &named {
            if let Some(why) = no_backfill(stream, order) {
                let (connection, stream) = (order.connection.clone(), (*name).to_owned());
                return Err(SyncError::NoBackfill { connection, stream, why }.into());
            }
        }
    }
    let mut chosen: Vec<Chosen<'c>> =
        named.iter().map(|(name, stream)| Chosen { name, stream, mode: order.mode }).collect();
    let mut at = 0;
    while let Some(Chosen { stream, .. }) = chosen.get(at) {
        at += 1;
        if given_by_user(stream, order).is_some() {
            continue;
        }
        for parent in &stream.parents {
            if chosen.iter().all(|chosen| chosen.name != parent.stream)
                && let Some((name, stream)) = connector.streams.get_key_value(&parent.stream)
            {
                chosen.push(Chosen { name, stream, mode: Mode::Incremental });
            }
        }
    }
    Ok((chosen, left))
}

/// A stream of a connector by its name.
///
/// # Errors
/// [`SyncError::UnknownStream`] with the likely one.
pub fn find_stream<'c>(connector: &'c Connector, name: &str) -> Result<(&'c str, &'c Stream), SyncError> {
    if let Some((name, stream)) = connector.streams.get_key_value(name) {
        return Ok((name, stream));
    }
    let scored = connector.streams.keys().map(|known| (strsim::jaro_winkler(known, name), known));
    let likely = scored.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score > 0.7);
    Err(SyncError::UnknownStream {
        connector: connector.id.clone(),
        stream: name.to_owned(),
        likely: likely.map(|(_, name)| name.clone()),
    })
}

/// What keeps a stream from being synced at all, or one of those that it is listed for: its way of authenticating, scopes,
/// parameters.
fn lacking(app: &App, session: &Session, name: &str, stream: &Stream, order: &Order) -> Result<()> {
    api::check_allowed(session, name, &stream.auth, &stream.scopes)?;
    let kept = app.store()?.streams().find(session.connection.id, name)?.map(|kept| kept.params).unwrap_or_default();
    let missing: Vec<String> = stream
        .params
        .iter()
        .filter(|(_, param)| !param.optional && param.default.is_none())
        .map(|(name, _)| name.clone())
        .filter(|name| !order.params.contains_key(name) && !kept.contains_key(name))
        .collect();
    if !missing.is_empty() {
        let connection = session.connection.name.clone();
        return Err(SyncError::MissingParams { connection, stream: name.to_owned(), missing }.into());
    }
    if given_by_user(stream, order).is_some() {
        return Ok(());
    }
    let above = stream.parents.iter().filter(|parent| parent.stream != name);
    let above = above.filter_map(|parent| session.connector.streams.get_key_value(&parent.stream));
    above.into_iter().try_for_each(|(name, stream)| lacking(app, session, name, stream, order))
}

/// The values that a stream's templates may name beside the connection's.
fn names_taken(stream: &Stream) -> impl Iterator<Item = &String> {
    let parents = stream.parents.first().into_iter().flat_map(|parent| parent.values.keys());
    stream.params.keys().chain(parents)
}

fn known_params(order: &Order, named: &[(&str, &Stream)]) -> Result<(), SyncError> {
    for param in order.params.keys() {
        if named.iter().any(|(_, stream)| names_taken(stream).any(|name| name == param)) {
            continue;
        }
        return Err(SyncError::UnknownParam {
            connection: order.connection.clone(),
            stream: named.first().map(|(name, _)| (*name).to_owned()).unwrap_or_default(),
            param: param.clone(),
            known: named.iter().flat_map(|(_, stream)| names_taken(stream)).cloned().collect(),
        });
    }
    Ok(())
}

/// Why a stretch of time cannot be asked of a stream.
fn no_backfill(stream: &Stream, order: &Order) -> Option<&'static str> {
    let Some(rule) = &stream.incremental else { return Some("the service lists all of it or nothing") };
    let bounded = !rule.until.is_empty() || rule.window_secs.is_some();
    (order.until.is_some() && !bounded).then_some("the service takes no end of it")
}

/// The parent's values, where the user gives all of them: then nobody's record has to.
fn given_by_user(stream: &Stream, order: &Order) -> Option<Given> {
    let names = &stream.parents.first()?.values;
    let value = |name: &String| Some((name.clone(), order.params.get(name)?.clone()));
    names.keys().map(value).collect()
}

/// The stream's own parameters: what is given now, what was before, what the file says.
pub(super) fn own_given(stream: &Stream, kept: Option<&StoredStream>, order: &Order) -> Given {
    let value = |(name, param): (&String, &Param)| {
        let given = order.params.get(name).or_else(|| kept?.params.get(name)).or(param.default.as_ref())?;
        Some((name.clone(), given.clone()))
    };
    stream.params.iter().filter_map(value).collect()
}

fn goal(order: &Order, mode: Mode) -> Goal {
    let bounds = mode == Mode::Backfill;
    Goal { mode, since: order.since.filter(|_| bounds), until: order.until.filter(|_| bounds) }
}

/// How many streams stand above one.
fn depth(connector: &Connector, name: &str) -> usize {
    let parents = connector.streams.get(name).map(|stream| &stream.parents);
    let above = parents.into_iter().flatten().filter(|parent| parent.stream != name);
    above.map(|parent| 1 + depth(connector, &parent.stream)).max().unwrap_or_default()
}

/// One run of one connection.
struct Run<'a> {
    app: &'a App,
    opened: Arc<Opened>,
    session: &'a Session,
    order: &'a Order,
    token: Token,
    watch: &'a dyn Watch,
    /// The vendor wants no more requests for now, or the token is no good: nothing else is begun.
    stop: AtomicBool,
}

impl Run<'_> {
    async fn stream(&self, chosen: &Chosen<'_>) -> Report {
        self.watch.began(chosen.name);
        let stopwatch = Stopwatch::start();
        let mut end = PartEnd::default();
        let outcome = match self.locked(chosen, &mut end).await {
            Ok(()) => Outcome::Done,
            Err(error) => match error.downcast_ref::<SyncError>() {
                Some(SyncError::Limited { resumes_at, .. }) => Outcome::Limited(*resumes_at),
                Some(SyncError::Cancelled { .. }) => Outcome::Cancelled,
                _ => Outcome::Failed(error),
            },
        };
        let report = Report {
            connection: self.order.connection.clone(),
            stream: chosen.name.to_owned(),
            mode: chosen.mode,
            outcome,
            counts: end.counts,
            traffic: end.traffic,
            seconds: stopwatch.elapsed().as_secs_f64(),
        };
        self.watch.ended(&report);
        report
    }

    /// Holds the stream's lock, and notes the job's beginning and end.
    async fn locked(&self, chosen: &Chosen<'_>, end: &mut PartEnd) -> Result<()> {
        let store = &self.opened.store;
        let stream = store.streams().ensure(self.session.connection.id, chosen.name)?;
        let _lock = lock(self.app, &self.order.connection, &stream)?;
        let given = own_given(chosen.stream, Some(&stream), self.order);
        let said: Given =
            given.iter().filter(|(name, _)| self.order.params.contains_key(*name)).map(own_pair).collect();
        if said.iter().any(|(name, value)| stream.params.get(name) != Some(value)) {
            let mut params = stream.params.clone();
            params.extend(said);
            store.streams().set_params(stream.id, &params)?;
        }
        let goal = goal(self.order, chosen.mode);
        let job = store.jobs().begin(&NewJob {
            stream: stream.id,
            mode: chosen.mode,
            since: goal.since.map(|time| time.to_string()),
            until: goal.until.map(|time| time.to_string()),
            started_at: self.app.clock.now(),
        })?;
        let reader = Reader {
            app: self.app,
            opened: &self.opened,
            session: self.session,
            name: chosen.name,
            stream: chosen.stream,
            id: stream.id,
            goal: &goal,
            job,
            watch: self.watch,
        };
        let parts = Parts { run: self, reader: &reader, given };
        let result = parts.read_all(end).await;
        let (state, resumes_at) = match result.as_ref().map_err(|error| error.downcast_ref::<SyncError>()) {
            Ok(()) => (JobState::Done, None),
            Err(Some(SyncError::Limited { resumes_at, .. })) => (JobState::Limited, Some(*resumes_at)),
            Err(Some(SyncError::Cancelled { .. })) => (JobState::Cancelled, None),
            Err(_) => (JobState::Failed, None),
        };
        let error = result.as_ref().err().filter(|_| state == JobState::Failed).map(Error::message);
        store.jobs().end(&EndedJob { id: job, state, error, resumes_at, ended_at: self.app.clock.now() })?;
        result
    }
}

/// Takes the lock of a stream, or says that another process has it.
pub(super) fn lock(app: &App, connection: &ConnectionName, stream: &StoredStream) -> Result<File, SyncError> {
    let path = lock_path(app, stream.id);
    let failed = |source| SyncError::Lock { path: path.display().to_string(), source };
    let file = files::open_lock(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(SyncError::Busy { connection: connection.clone(), stream: stream.name.clone() })
        }
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn own_pair((name, value): (&String, &String)) -> (String, String) {
    (name.clone(), value.clone())
}

/// The lock of a stream: held for as long as a job of it runs.
fn lock_path(app: &App, stream: StreamId) -> PathBuf {
    app.folders.workspace(&app.workspace).join("locks").join(format!("stream-{}.lock", stream.0))
}

/// Whether a process syncs this stream now.
pub fn is_running(app: &App, stream: StreamId) -> bool {
    let Ok(file) = File::open(lock_path(app, stream)) else { return false };
    matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock))
}

/// The lists of one stream.
struct Parts<'a> {
    run: &'a Run<'a>,
    reader: &'a Reader<'a>,
    /// The stream's own parameters.
    given: Given,
}

/// What became of all lists of a stream.
#[derive(Default)]
struct Ends {
    sweepable: Vec<PartId>,
    /// The first failure, which is no reason not to go on with the other lists.
    failed: Option<Error>,
}

impl Parts<'_> {
    async fn read_all(&self, end: &mut PartEnd) -> Result<()> {
        let mut ends = Ends::default();
        let stream = self.reader.stream;
        if stream.parents.is_empty() {
            self.read_some(vec![(self.given.clone(), None)], end, &mut ends).await?;
        } else if let Some(values) = given_by_user(stream, self.run.order) {
            let given = self.given.clone().into_iter().chain(values).collect();
            self.read_some(vec![(given, None)], end, &mut ends).await?;
        } else {
            // What is listed for records of the stream itself comes last: they are there by then.
            let own = |parent: &&Parent| parent.stream == self.reader.name;
            for parent in stream.parents.iter().filter(|parent| !own(parent)).chain(stream.parents.iter().filter(own)) {
                self.read_below(parent, end, &mut ends).await?;
            }
        }
        let job = self.reader.job;
        let (stream, now) = (self.reader.id, self.run.app.clock.now());
        let gone = self.reader.in_store(move |opened| {
            let orphans = opened.store.streams().orphans(stream)?;
            if ends.sweepable.is_empty() && orphans.is_empty() {
                return Ok((0, ends.failed));
            }
            let gone = opened.store.records().sweep(job, &ends.sweepable, &orphans, now)?;
            Ok((gone, ends.failed))
        });
        let (gone, failed) = gone.await?;
        end.counts.deleted += gone;
        failed.map_or(Ok(()), Err)
    }

    /// The lists of all records of a parent.
    async fn read_below(&self, parent: &Parent, end: &mut PartEnd, ends: &mut Ends) -> Result<()> {
        let store = &self.run.opened.store;
        let Some(above) = store.streams().find(self.run.session.connection.id, &parent.stream)? else { return Ok(()) };
        let mut after = RecordId(0);
        loop {
            let records = store.records().list(above.id, after, PARENTS_A_PAGE)?;
            let Some(last) = records.last() else { return Ok(()) };
            after = last.id;
            let lists = records.iter().filter_map(|record| {
                let given = self.values(parent, record)?;
                Some((given, Some((record.id, record.version, parent.changed))))
            });
            self.read_some(lists.collect(), end, ends).await?;
        }
    }

    /// What a parent's record gives; absent where nothing is listed for it.
    fn values(&self, parent: &Parent, record: &StoredRecord) -> Option<Given> {
        let document = serde_json::from_str(&record.json).ok()?;
        if !parent.when.iter().all(|(at, values)| record::holds(&document, at, values)) {
            return None;
        }
        let value = |(name, at): (&String, &Pointer)| Some((name.clone(), at.text(&document)?));
        let values: Option<Given> = parent.values.iter().map(value).collect();
        Some(self.given.clone().into_iter().chain(values?).collect())
    }

    async fn read_some(&self, lists: Vec<Below>, end: &mut PartEnd, ends: &mut Ends) -> Result<()> {
        let reads = stream::iter(lists).map(|(given, parent)| self.read_one(given, parent));
        let mut reads = reads.buffer_unordered(PARTS_AT_ONCE);
        let mut last = None;
        while let Some(read) = reads.next().await {
            match read {
                Ok(None) => {}
                Ok(Some((part, read))) => {
                    end.counts += read.counts;
                    end.traffic.add(read.traffic);
                    ends.sweepable.extend(Some(part).filter(|_| read.sweepable));
                }
                // Every other list would fail as this one did.
                Err(error) if matches!(error.kind(), Kind::Temporary | Kind::AuthNeeded | Kind::Vault) => {
                    self.run.stop.store(true, Ordering::Relaxed);
                    last.get_or_insert(error);
                }
                Err(error) if error.downcast_ref::<SyncError>().is_some_and(is_cancelled) => {
                    last.get_or_insert(error);
                    break;
                }
                Err(error) => _ = ends.failed.get_or_insert(error),
            }
        }
        last.map_or(Ok(()), Err)
    }

    async fn read_one(&self, given: Given, parent: Option<Above>) -> Result<Option<(PartId, PartEnd)>> {
        if self.run.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let (id, record) = (self.reader.id, parent.map(|(record, ..)| record));
        let part: Part =
            self.reader.in_store(move |opened| Ok(opened.store.streams().part(id, &given, record)?)).await?;
        let version = parent.map(|(_, version, _)| version);
        let unchanged = version.is_some() && part.parent_version == version && part.progress.is_none();
        if parent.is_some_and(|(.., changed)| changed) && unchanged && self.reader.goal.mode == Mode::Incremental {
            return Ok(None);
        }
        let read = self.reader.read(&part, version, &self.run.token).await?;
        Ok(Some((part.id, read)))
    }
}

/// A parent's record, its version, and whether only changed ones are listed for.
type Above = (RecordId, u64, bool);

/// The values of a list, and what gives them.
type Below = (Given, Option<Above>);

fn is_cancelled(error: &SyncError) -> bool {
    matches!(error, SyncError::Cancelled { .. })
}
