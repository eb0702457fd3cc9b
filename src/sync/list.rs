//! Reading one list of a stream, from where it stands to its end, and again where its place is lost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::SyncError;
use super::ask::List;
use super::fetch::Trouble;
use super::plan::{self, Goal, Progress, goes_on, is_sweeping};
use super::walk::{Ended, Walk};
use crate::api::Token;
use crate::connector::{PageKind, Pages, Stream};
use crate::error::{Error, Result};
use crate::model::ConnectionName;
use crate::runtime::{App, Session};
use crate::store::{Counts, FullList, JobId, Mode, Part, RecordHasher, StreamId, Sweep, Traffic};
use crate::vault::Opened;

/// Times that a list is restarted because its place was lost.
const MOST_RESTARTS: u32 = 3;

/// All there is.
const ALL: Goal = Goal { mode: Mode::Full, since: None, until: None };

/// Who looks on.
pub trait Watch: Sync {
    fn began(&self, _stream: &str) {}
    /// A page was kept; `left` are the requests that the vendor still allows, where it says so.
    fn page(&self, _stream: &str, _counts: Counts, _traffic: Traffic, _left: Option<u64>) {}
    /// Something that the user should know, in a sentence.
    fn note(&self, _stream: &str, _text: &str) {}
    fn ended(&self, _report: &super::Report) {}
}

/// What is read of one stream.
pub(super) struct Reader<'a> {
    pub(super) app: &'a App,
    pub(super) opened: &'a Arc<Opened>,
    pub(super) session: &'a Session,
    pub(super) name: &'a str,
    pub(super) stream: &'a Stream,
    pub(super) id: StreamId,
    pub(super) goal: &'a Goal,
    pub(super) job: JobId,
    pub(super) hasher: RecordHasher,
    pub(super) watch: &'a dyn Watch,
    /// What was asked without bringing a page.
    pub(super) beside: Mutex<Traffic>,
    /// Whether a sweep may take more than half of the stream.
    pub(super) allow_deletes: bool,
    /// Records that sweeps of this run have taken.
    pub(super) swept: AtomicU64,
    /// Whether a list was read from a cursor on, or not at all as it would hold nothing new.
    pub(super) looked_back: AtomicBool,
}

/// What the reading of a part, or of all of them, brought.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Brought {
    pub(super) counts: Counts,
    pub(super) traffic: Traffic,
}

/// How the reading of a part ended.
#[derive(Clone, Debug)]
pub(super) enum PartEnd {
    Read,
    /// All of it was listed: what was not met may be swept away.
    Listed(FullList),
    /// The vendor has nothing to list here.
    Skipped,
}

impl Reader<'_> {
    pub(super) fn connection(&self) -> &ConnectionName {
        &self.session.connection.name
    }

    pub(super) fn error(&self, make: impl FnOnce(ConnectionName, String) -> SyncError) -> Error {
        make(self.connection().clone(), self.name.to_owned()).into()
    }

    pub(super) fn count_beside(&self, traffic: Traffic) {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner).add(traffic);
    }

    /// Reads a part to its end, from where it stands.
    pub(super) async fn read(
        &self,
        part: &Part,
        parent_version: Option<u64>,
        token: &Token,
        brought: &mut Brought,
    ) -> Result<PartEnd> {
        let now = self.app.clock.now();
        let list = List { session: self.session, name: self.name, stream: self.stream, given: &part.given, now };
        let fresh = || plan::begin(self.stream, self.goal, part.cursor.as_deref(), now);
        let kept = if self.goal.mode == Mode::Backfill { &part.backfill } else { &part.progress };
        let kept = kept.as_ref().and_then(|json| serde_json::from_str::<Progress>(json).ok());
        let mut part = part.clone();
        let mut progress = match kept.filter(|kept| !kept.doubtful && goes_on(self.goal, kept, &fresh())) {
            Some(kept) if kept.swept_next => {
                let listed = FullList {
                    part: part.id,
                    begun: kept.begun,
                    cursor: kept.reached.clone(),
                    parent_version: kept.parent_version,
                };
                self.sweep(vec![listed], brought).await?;
                part.cursor = kept.reached;
                self.restart(&part, plan::begin(self.stream, self.goal, part.cursor.as_deref(), now)).await?
            }
            Some(kept) => kept,
            None => self.restart(&part, fresh()).await?,
        };
        if progress.since.is_some() && self.goal.mode == Mode::Incremental {
            self.looked_back.store(true, Ordering::Relaxed);
        }
        // Also at a list that goes on where another run left it, whichever look that was.
        let mut looks_again = list.pages().is_some_and(may_shift);
        let mut was_doubtful = false;
        for _ in 0..=MOST_RESTARTS {
            let walk = Walk { reader: self, list: &list, part: &part, parent_version, looks_again };
            match walk.run(progress.clone(), token.clone(), brought).await {
                Ok(Ended::Read) => return Ok(PartEnd::Read),
                Ok(Ended::Listed(read, None)) => return Ok(PartEnd::Listed(read)),
                // Pages that are counted move when something before them goes: what was not met may have slipped from one
                // page to the one before while that was read.
                Ok(Ended::Listed(read, Some(second))) => {
                    let asked = read.clone();
                    if !self.in_store(move |opened| Ok(opened.store.records().misses_any(&asked)?)).await? {
                        return Ok(PartEnd::Listed(read));
                    }
                    (progress, looks_again) = (*second, false);
                }
                // Records that move while a list is read are met twice, but not a second time.
                Ok(Ended::Doubtful(second)) if !was_doubtful => {
                    (progress, looks_again, was_doubtful) = (*second, false, true);
                }
                Ok(Ended::Doubtful(_)) => {
                    self.forget(&part).await?;
                    return Err(self.error(|connection, stream| SyncError::Repeated { connection, stream }));
                }
                // The same list from its beginning: what was met of it stays so.
                Err(Trouble::Expired { page: true }) => {
                    progress = Progress { turn: None, seen: 0, tie: None, last_page: None, ..progress };
                }
                Err(Trouble::Expired { page: false }) => progress = self.restart(&part, self.all(&part)).await?,
                Err(Trouble::Skipped) => return Ok(PartEnd::Skipped),
                Err(Trouble::Failed(error)) => {
                    if matches!(error.downcast_ref(), Some(SyncError::Repeated { .. })) {
                        self.forget(&part).await?;
                    }
                    return Err(error);
                }
                Err(Trouble::Stopped) => break,
            }
        }
        Err(self.error(|connection, stream| SyncError::PlaceLost { connection, stream }))
    }

    /// Ends full lists: what was not met in them is deleted, and their cursors move.
    ///
    /// # Errors
    /// [`SyncError::SweepHeld`] where that would take too much; the lists are forgotten then, and nothing else is changed.
    pub(super) async fn sweep(&self, listed: Vec<FullList>, brought: &mut Brought) -> Result<()> {
        let (job, stream, now) = (self.job, self.id, self.app.clock.now());
        let limit = (!self.allow_deletes).then(|| self.swept.load(Ordering::Relaxed));
        let sweep = move |opened: &Opened| Ok(opened.store.records().sweep(job, stream, &listed, limit, now)?);
        match self.in_store(sweep).await? {
            Sweep::Done { deleted } => {
                self.swept.fetch_add(deleted, Ordering::Relaxed);
                brought.counts.deleted += deleted;
                Ok(())
            }
            Sweep::Held { missing, known } => {
                let job = self.job.0;
                let held = |connection, stream| SyncError::SweepHeld { connection, stream, missing, known, job };
                Err(self.error(held))
            }
        }
    }

    /// Forgets how far a list has come: the next run begins it again.
    async fn forget(&self, part: &Part) -> Result<()> {
        let id = part.id;
        self.in_store(move |opened| Ok(opened.store.records().forget_list(id)?)).await
    }

    /// Begins a list; what was met of one that was begun before is forgotten.
    async fn restart(&self, part: &Part, progress: Progress) -> Result<Progress> {
        if !is_sweeping(self.stream, &progress, self.goal) {
            return Ok(progress);
        }
        let id = part.id;
        let begun = self.in_store(move |opened| Ok(opened.store.records().begin_list(id)?)).await?;
        Ok(Progress { begun, ..progress })
    }

    /// All of it, where its cursor is lost.
    fn all(&self, part: &Part) -> Progress {
        let place = if part.given.is_empty() { String::new() } else { format!(" of {}", given_text(&part.given)) };
        self.watch.note(self.name, &format!("the vendor no longer knows the cursor{place}: all is listed anew"));
        plan::begin(self.stream, &ALL, None, self.app.clock.now())
    }
}

impl Traffic {
    pub(super) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.retries += other.retries;
        self.bytes += other.bytes;
    }
}

/// Whether records move from page to page while a list is read: those that are counted, and those that nobody knows of.
fn may_shift(pages: &Pages) -> bool {
    match pages.kind {
        PageKind::Page | PageKind::Offset | PageKind::LinkHeader | PageKind::NextUrl | PageKind::Links => true,
        PageKind::None | PageKind::Cursor | PageKind::LastRecord | PageKind::MaxRecord => false,
    }
}

/// Values for people: `channel=C1`.
pub(super) fn given_text(given: &crate::store::Given) -> String {
    given.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}
