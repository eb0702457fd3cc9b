//! Reading one list of a stream: pages are fetched ahead while the one before is written.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::{self, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::SyncError;
use super::ask::List;
use super::fetch::{Fetched, Trouble, weigh};
use super::plan::{self, Goal, Progress, Step, advance, goes_on, is_sweeping};
use crate::api::Token;
use crate::app::{App, Session};
use crate::connection::ConnectionName;
use crate::connector::{PageKind, Pages, Stream};
use crate::error::{Error, Result};
use crate::store::{Counts, FullList, JobId, Mode, NewPage, PagePlace, Part, StreamId, Traffic};
use crate::vault::Opened;

/// Pages of one list that are asked for side by side, where their number is known, and records of which each is.
pub(super) const SIDE_BY_SIDE: usize = 8;

/// Pages that wait to be written, and KiB of them: more are not fetched ahead.
const MOST_WAITING: usize = 16;
const ROOM_KIB: u32 = 2048;

/// Times that a list is begun anew because its place was lost.
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
    pub(super) watch: &'a dyn Watch,
    /// What was asked without bringing a page.
    pub(super) beside: Mutex<Traffic>,
}

/// What the reading of a part, or of all of them, brought.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Brought {
    pub(super) counts: Counts,
    pub(super) traffic: Traffic,
}

/// How the reading of a part ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum PartEnd {
    Read,
    /// All of it was listed: what was not met may be swept away.
    Listed(FullList),
    /// The vendor has nothing to list here.
    Skipped,
}

/// A page on its way to the store, and who waits for it.
type Parcel = (NewPage, oneshot::Sender<()>, OwnedSemaphorePermit);

/// The way of pages to the store, which takes all that wait at once: an fsync, and the pages of the indexes, for several.
struct Sender {
    pages: mpsc::Sender<Parcel>,
    /// KiB of answers that may wait.
    room: Arc<Semaphore>,
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
        let mut progress = match kept.filter(|kept| goes_on(self.goal, kept, &fresh())) {
            Some(kept) if kept.swept_next => {
                self.sweep(vec![FullList { part: part.id, begun: kept.begun }], brought).await?;
                self.anew(part, fresh()).await?
            }
            Some(kept) => kept,
            None => self.anew(part, fresh()).await?,
        };
        let mut looks_again = !progress.again && list.pages().is_some_and(may_shift);
        for _ in 0..=MOST_RESTARTS {
            let sweeping = is_sweeping(self.stream, &progress, self.goal);
            let read = FullList { part: part.id, begun: progress.begun };
            let requests = brought.traffic.requests;
            let walk = self.walk(&list, part, progress.clone(), parent_version, sweeping, token.clone(), brought);
            match walk.await {
                Ok(()) if !sweeping => return Ok(PartEnd::Read),
                Ok(()) => {
                    let parted = brought.traffic.requests > requests + 1;
                    let again = std::mem::take(&mut looks_again) && parted;
                    if !again || !self.in_store(move |opened| Ok(opened.store.records().misses_any(read)?)).await? {
                        return Ok(PartEnd::Listed(read));
                    }
                    // Pages that are counted move when something before them goes: what was not met may have slipped
                    // from one page to the one before while that was read.
                    let second = plan::begin(self.stream, &ALL, None, now);
                    progress = Progress { begun: read.begun, again: true, ..second };
                }
                Err(Trouble::Expired) => {
                    progress = match Self::same_list(&progress) {
                        Some(same) => same,
                        None => self.anew(part, self.all(part)).await?,
                    }
                }
                Err(Trouble::Skipped) => return Ok(PartEnd::Skipped),
                Err(Trouble::Failed(error)) => return Err(error),
                Err(Trouble::Stopped) => break,
            }
        }
        Err(self.error(|connection, stream| SyncError::PlaceLost { connection, stream }))
    }

    /// Ends full lists, as what was not met in them is gone.
    pub(super) async fn sweep(&self, listed: Vec<FullList>, brought: &mut Brought) -> Result<()> {
        let (job, stream, now) = (self.job, self.id, self.app.clock.now());
        let sweep = move |opened: &Opened| Ok(opened.store.records().sweep(job, stream, &listed, now)?);
        brought.counts.deleted += self.in_store(sweep).await?;
        Ok(())
    }

    /// Begins a list; what was met of one that was begun before is forgotten.
    async fn anew(&self, part: &Part, progress: Progress) -> Result<Progress> {
        if !is_sweeping(self.stream, &progress, self.goal) {
            return Ok(progress);
        }
        let id = part.id;
        let begun = self.in_store(move |opened| Ok(opened.store.records().begin_list(id)?)).await?;
        Ok(Progress { begun, ..progress })
    }

    /// The same list from its beginning, where only the page of it may be lost. What was met of it stays so.
    fn same_list(lost: &Progress) -> Option<Progress> {
        lost.turn.is_some().then(|| Progress { turn: None, seen: 0, ..lost.clone() })
    }

    /// All of it, where its cursor is lost.
    fn all(&self, part: &Part) -> Progress {
        let place = if part.given.is_empty() { String::new() } else { format!(" of {}", given_text(&part.given)) };
        self.watch.note(self.name, &format!("the vendor no longer knows the cursor{place}: all is listed anew"));
        plan::begin(self.stream, &ALL, None, self.app.clock.now())
    }

    #[expect(clippy::too_many_arguments, reason = "what a walk begins with; it is called from one place")]
    async fn walk(
        &self,
        list: &List<'_>,
        part: &Part,
        progress: Progress,
        parent_version: Option<u64>,
        sweeping: bool,
        token: Token,
        brought: &mut Brought,
    ) -> Result<(), Trouble> {
        let (pages, receiver) = mpsc::channel::<Parcel>(MOST_WAITING);
        let sender = Sender { pages, room: Arc::new(Semaphore::new(ROOM_KIB as usize)) };
        let fetch = self.fetch_all(list, part, progress, parent_version, sweeping, token, sender);
        // Moved in, so that the channel closes when the writer ends.
        let write = async move {
            let mut receiver = receiver;
            let mut parcels = Vec::new();
            while receiver.recv_many(&mut parcels, MOST_WAITING).await > 0 {
                let mut traffic = Traffic::default();
                let (mut pages, mut waiting) = (Vec::new(), Vec::new());
                for (page, kept, room) in parcels.drain(..) {
                    traffic.add(page.traffic);
                    pages.push(page);
                    waiting.push((kept, room));
                }
                let committed = self.in_store(move |opened| Ok(opened.store.records().commit(&pages)?)).await;
                let (counts, cancelled) = committed?;
                brought.counts += counts;
                brought.traffic.add(traffic);
                self.watch.page(self.name, counts, traffic, self.app.pace(self.session).left());
                for (kept, _room) in waiting {
                    let _ = kept.send(());
                }
                if cancelled {
                    return Err(self.error(|connection, stream| SyncError::Cancelled { connection, stream }));
                }
            }
            Ok(())
        };
        let (fetched, written) = tokio::join!(fetch, write);
        written.map_err(Trouble::Failed)?;
        fetched
    }

    #[expect(clippy::too_many_arguments, reason = "as above")]
    async fn fetch_all(
        &self,
        list: &List<'_>,
        part: &Part,
        mut progress: Progress,
        parent_version: Option<u64>,
        sweeping: bool,
        mut token: Token,
        sender: Sender,
    ) -> Result<(), Trouble> {
        let cursor = part.cursor.as_deref();
        let mut seen = HashSet::new();
        let mut first = true;
        let (begun, again) = (progress.begun, progress.again);
        let page_of = |fetched: Fetched, step: &Step| NewPage {
            job: self.job,
            stream: self.id,
            part: part.id,
            records: fetched.records.into_iter().map(|pulled| pulled.record).collect(),
            known: fetched.known,
            gone: fetched.gone,
            sweeping,
            again,
            place: self.place(step, sweeping, begun, parent_version),
            traffic: fetched.traffic,
            now: list.now,
        };
        if let Some(rule) = self.stream.token.as_ref().and_then(|rule| rule.first.as_ref())
            && progress.since.is_none()
            && progress.token.is_none()
        {
            let answer = self.send(&mut token, |grant| list.first_token(rule, grant)).await?;
            self.count_beside(weigh(&answer));
            self.judge(&answer, &progress, false)?;
            progress.token = answer.response.json().and_then(|document| rule.at.text(&document));
        }
        loop {
            if !seen.insert(fingerprint(&progress)) {
                return Err(self.error(|connection, stream| SyncError::Repeated { connection, stream }).into_trouble());
            }
            let resumed = std::mem::take(&mut first) && progress.turn.is_some();
            let mut fetched = self.fetch(list, &progress, &mut token, resumed).await?;
            let turns = fetched.turns.take().filter(|turns| turns.len() > 1);
            let count = fetched.page.count;
            let step = advance(self.stream, progress.clone(), cursor, std::mem::take(&mut fetched.page));
            self.hand_over(&sender, page_of(fetched, &step), list).await?;
            match step {
                Step::End { .. } => return Ok(()),
                Step::More(next) => progress = *next,
            }
            let Some(turns) = turns else { continue };
            let seen_before = progress.seen;
            let begun = progress.clone();
            let places = turns.into_iter().enumerate().map(|(index, turn)| Progress {
                turn: Some(turn),
                seen: seen_before + index * count,
                ..begun.clone()
            });
            let mut pages = stream::iter(places)
                .map(|place| {
                    let mut token = token.clone();
                    async move {
                        let fetched = self.fetch(list, &place, &mut token, false).await;
                        (place, fetched)
                    }
                })
                .buffered(SIDE_BY_SIDE);
            while let Some((place, fetched)) = pages.next().await {
                // A list that changes meanwhile turns otherwise than was foreseen: it is read on page by page.
                if place.turn != progress.turn {
                    break;
                }
                seen.insert(fingerprint(&place));
                let mut fetched = fetched?;
                let step = advance(self.stream, progress.clone(), cursor, std::mem::take(&mut fetched.page));
                self.hand_over(&sender, page_of(fetched, &step), list).await?;
                match step {
                    Step::End { .. } => return Ok(()),
                    Step::More(next) => progress = *next,
                }
            }
        }
    }

    fn place(&self, step: &Step, sweeping: bool, begun: u64, parent_version: Option<u64>) -> PagePlace {
        let json = |progress: &Progress| serde_json::to_string(progress).unwrap_or_default();
        match (self.goal.mode, step) {
            (Mode::Backfill, Step::More(progress)) => PagePlace::Backfill(Some(json(progress))),
            (Mode::Backfill, Step::End { .. }) => PagePlace::Backfill(None),
            (_, Step::More(progress)) => PagePlace::Under(json(progress)),
            (_, Step::End { cursor }) => {
                let waits = Progress { full: true, swept_next: true, begun, ..Progress::default() };
                let progress = sweeping.then(|| json(&waits));
                PagePlace::End { cursor: cursor.clone(), parent_version, progress }
            }
        }
    }

    async fn hand_over(&self, sender: &Sender, page: NewPage, list: &List<'_>) -> Result<(), Trouble> {
        let (kept, waits) = oneshot::channel();
        let kib = u32::try_from(page.traffic.bytes / 1024).unwrap_or(ROOM_KIB).clamp(1, ROOM_KIB);
        let room = Arc::clone(&sender.room).acquire_many_owned(kib).await.map_err(|_| Trouble::Stopped)?;
        sender.pages.send((page, kept, room)).await.map_err(|_| Trouble::Stopped)?;
        // The next request tells the vendor to forget what is not kept yet.
        if list.pages().is_some_and(|pages| pages.acknowledges) {
            waits.await.map_err(|_| Trouble::Stopped)?;
        }
        Ok(())
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

/// What tells one request of a list from another.
fn fingerprint(progress: &Progress) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&progress.since, &progress.until).hash(&mut hasher);
    serde_json::to_string(&progress.turn).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

/// Values for people: `channel=C1`.
pub(super) fn given_text(given: &crate::store::Given) -> String {
    given.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}
