//! A run: which streams of a connection, in which order, each with its lock and its job.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::{self, StreamExt};

use super::SyncError;
use super::ask::List;
use super::list::{Reader, Watch};
use super::order::{Chosen, Order, choose, depth, goal, own_given};
use super::parts::{Ends, Parts};
use super::plan;
use crate::api::Token;
use crate::clock::{Stopwatch, Timestamp};
use crate::error::{Error, Result};
use crate::files;
use crate::http::redact_url;
use crate::model::ConnectionName;
use crate::notify::Notice;
use crate::oauth::access::{self, Want};
use crate::runtime::{App, Session};
use crate::store::{Counts, EndedJob, Given, JobState, Mode, NewJob, StoredStream, StreamId, Traffic};
use crate::vault::Opened;

/// Streams that are read side by side.
const STREAMS_AT_ONCE: usize = 4;

/// How a stream's run ended.
#[derive(Debug)]
pub enum Outcome {
    Done,
    /// The vendor gave none of its lists.
    Skipped,
    /// The vendor's rate limit ended it, in order.
    Limited(Timestamp),
    Cancelled,
    Failed(Error),
    /// It was not begun: why.
    Left(Error),
}

impl Outcome {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Skipped => "skipped",
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
    /// Lists of which the vendor said that there is nothing, or nothing for this account.
    pub skipped: usize,
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
            skipped: 0,
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
            let url = session.route.shown(&request.url);
            Ok::<_, Error>(format!("{} {}", request.method, redact_url(&url, &request.secrets)))
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
            Outcome::Left(why) => Some(why.message()),
            _ => None,
        },
    }));
    Ok(planned)
}

/// One run of one connection.
pub(super) struct Run<'a> {
    pub(super) app: &'a App,
    pub(super) opened: Arc<Opened>,
    pub(super) session: &'a Session,
    pub(super) order: &'a Order,
    pub(super) token: Token,
    watch: &'a dyn Watch,
    /// The vendor wants no more requests for now, or the token is no good: nothing else is begun.
    pub(super) stop: AtomicBool,
}

impl Run<'_> {
    async fn stream(&self, chosen: &Chosen<'_>) -> Report {
        self.watch.began(chosen.name);
        let stopwatch = Stopwatch::start();
        let mut ends = Ends::default();
        let outcome = match self.locked(chosen, &mut ends).await {
            Ok(()) if ends.is_skipped() => Outcome::Skipped,
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
            counts: ends.brought.counts,
            traffic: ends.brought.traffic,
            skipped: ends.skipped,
            seconds: stopwatch.elapsed().as_secs_f64(),
        };
        self.watch.ended(&report);
        report
    }

    /// Holds the stream's lock, and notes the job's beginning and end.
    async fn locked(&self, chosen: &Chosen<'_>, ends: &mut Ends) -> Result<()> {
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
        // Hooks run when it begins, not at each sync.
        let was_held = store.jobs().last_code(stream.id)?.as_deref() == Some("sweep_held");
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
            hasher: store.record_hasher(),
            watch: self.watch,
            beside: Mutex::default(),
            allow_deletes: self.order.allow_deletes,
            swept: AtomicU64::new(0),
            looked_back: AtomicBool::new(false),
        };
        let parts = Parts { run: self, reader: &reader, given };
        let result = parts.read_all(ends).await;
        let beside = *reader.beside.lock().unwrap_or_else(PoisonError::into_inner);
        ends.brought.traffic.add(beside);
        let (state, resumes_at) = match result.as_ref().map_err(|error| error.downcast_ref::<SyncError>()) {
            Ok(()) if ends.is_skipped() => (JobState::Skipped, None),
            Ok(()) => (JobState::Done, None),
            Err(Some(SyncError::Limited { resumes_at, .. })) => (JobState::Limited, Some(*resumes_at)),
            Err(Some(SyncError::Cancelled { .. })) => (JobState::Cancelled, None),
            Err(_) => (JobState::Failed, None),
        };
        let error = result.as_ref().err().filter(|_| state == JobState::Failed);
        if let Some(overlooked) = chosen.stream.overlooks.as_ref().filter(|_| reader.looked_back.into_inner()) {
            let name = self.order.connection.to_string();
            self.watch.note(chosen.name, &overlooked.replace("{name}", &name));
        }
        if let Some(SyncError::SweepHeld { .. }) = error.and_then(Error::downcast_ref)
            && !was_held
        {
            let reason = error.map(Error::message).unwrap_or_default();
            let (connection, now) = (&self.session.connection, self.app.clock.now());
            self.app.tell(Notice::sweep_held(connection, chosen.name, &reason, &self.app.workspace, now));
        }
        store.jobs().end(&EndedJob {
            id: job,
            state,
            error: error.map(Error::message),
            code: error.map(|error| error.code().to_owned()),
            resumes_at,
            traffic: beside,
            ended_at: self.app.clock.now(),
        })?;
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
    let Ok(file) = files::open_existing(&lock_path(app, stream)) else { return false };
    matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock))
}
