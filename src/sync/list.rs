//! Reading one list of a stream: pages are fetched ahead while the one before is written.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::SyncError;
use super::ask::List;
use super::document::Document;
use super::plan::{self, Goal, Progress, Step, advance, goes_on, is_sweeping};
use super::record::{self, Pulled};
use crate::api::{self, Answer, Listed, Patience, SendError, Token, Turn, all_turns, greatest, next_page};
use crate::app::{App, AppError, Session};
use crate::clock::Timestamp;
use crate::connection::ConnectionName;
use crate::connector::{ErrorClass, PageKind, Pages, Skip, Stream};
use crate::error::{Error, Result};
use crate::http::{Request, Response};
use crate::store::{Counts, FullList, JobId, Mode, NewPage, PagePlace, Part, StreamId, Traffic};
use crate::vault::Opened;

/// Tries of a request.
const TRIES: u32 = 6;

/// A longer wait ends the run in order.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Pages of one list that are asked for side by side, where their number is known, and records of which each is.
const SIDE_BY_SIDE: usize = 8;

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

/// A page that was fetched.
struct Fetched {
    records: Vec<Pulled>,
    known: Vec<String>,
    gone: Vec<String>,
    page: plan::Page,
    /// The turns of all further pages, where the vendor says how many there are.
    turns: Option<Vec<Turn>>,
    traffic: Traffic,
}

/// Why a page did not come.
enum Trouble {
    /// The place is lost: a token or a page that the vendor knows no longer.
    Expired,
    Skipped,
    /// The writer ended, and says why.
    Stopped,
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
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
    fn connection(&self) -> &ConnectionName {
        &self.session.connection.name
    }

    fn error(&self, make: impl FnOnce(ConnectionName, String) -> SyncError) -> Error {
        make(self.connection().clone(), self.name.to_owned()).into()
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
            Some(kept) if kept.swept_next => return Ok(PartEnd::Listed(FullList { part: part.id, begun: kept.begun })),
            Some(kept) => kept,
            None => self.anew(part, fresh()).await?,
        };
        let mut looks_again = list.pages().is_some_and(may_shift);
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
                    progress = Progress { begun: read.begun, ..plan::begin(self.stream, &ALL, None, now) };
                }
                Err(Trouble::Expired) => progress = self.anew(part, self.restarted(part, &progress)).await?,
                Err(Trouble::Skipped) => return Ok(PartEnd::Skipped),
                Err(Trouble::Failed(error)) => return Err(error),
                Err(Trouble::Stopped) => break,
            }
        }
        Err(self.error(|connection, stream| SyncError::Repeated { connection, stream }))
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

    /// Where to begin after the place was lost: at the list's beginning, or with all of it where its token is lost.
    fn restarted(&self, part: &Part, lost: &Progress) -> Progress {
        if lost.turn.is_some() && self.stream.token.as_ref().is_none_or(|_| lost.since.is_none()) {
            return Progress { turn: None, seen: 0, ..lost.clone() };
        }
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
        let begun = progress.begun;
        let page_of = |fetched: Fetched, step: &Step| NewPage {
            job: self.job,
            stream: self.id,
            part: part.id,
            records: fetched.records.into_iter().map(|pulled| pulled.record).collect(),
            known: fetched.known,
            gone: fetched.gone,
            sweeping,
            place: self.place(step, sweeping, begun, parent_version),
            traffic: fetched.traffic,
            now: list.now,
        };
        if let Some(rule) = self.stream.token.as_ref().and_then(|rule| rule.first.as_ref())
            && progress.since.is_none()
            && progress.token.is_none()
        {
            let answer = self.send(&mut token, |grant| list.first_token(rule, grant)).await?;
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

    async fn fetch(
        &self,
        list: &List<'_>,
        progress: &Progress,
        token: &mut Token,
        resumed: bool,
    ) -> Result<Fetched, Trouble> {
        let mut traffic = Traffic::default();
        for _ in 0..TRIES {
            let request = list.page(progress, &token.grant)?;
            let answer = self.send(token, |grant| list.page(progress, grant)).await?;
            traffic.add(weigh(&answer));
            self.judge(&answer, progress, resumed)?;
            let body = &answer.response.body;
            // 204, or nothing at all: an empty list.
            let text: &[u8] = if body.iter().all(u8::is_ascii_whitespace) { b"[]" } else { body };
            match Document::parse(text) {
                Ok(document) => {
                    let mut fetched = self.understand(list, progress, &request, &answer.response, &document)?;
                    self.complete(list, progress, token, &mut fetched, &mut traffic).await?;
                    return Ok(Fetched { traffic, ..fetched });
                }
                // Cut off on its way: it may come whole the next time.
                Err(source) if traffic.requests >= TRIES.into() => {
                    return Err(self
                        .error(|connection, stream| SyncError::NotJson { connection, stream, source })
                        .into_trouble());
                }
                Err(_) => traffic.retries += 1,
            }
        }
        Err(Trouble::Stopped)
    }

    /// What an answer says: its records, and how the list goes on.
    fn understand(
        &self,
        list: &List<'_>,
        progress: &Progress,
        request: &Request,
        response: &Response,
        document: &Document<'_>,
    ) -> Result<Fetched, Trouble> {
        let stream = self.stream;
        let pages = list.pages();
        let token = stream.token.as_ref();
        let changes = token.filter(|_| progress.since.is_some());
        let usual = || match pages.and_then(|pages| pages.records.clone()) {
            Some(at) if stream.records.is_empty() => vec![at],
            _ => stream.records.clone(),
        };
        let places = match changes {
            Some(token) if !token.records.is_empty() => token.records.clone(),
            _ => usual(),
        };
        let raw = document.records(&places);
        let keyless = |record::Keyless(at)| {
            self.error(|connection, stream| SyncError::Keyless { connection, stream, at }).into_trouble()
        };
        let listed_only = stream.detail.is_some();
        let records = record::records(stream, &raw, &list.added()?).map_err(keyless)?;
        let gone = changes.and_then(|token| token.gone.as_ref());
        let gone = gone.map(|gone| record::gone_keys(gone, &document.records(&gone.at))).unwrap_or_default();
        let ids = |at| records.iter().rev().filter_map(move |pulled: &Pulled| pulled.text(at));
        let id = pages.and_then(|pages| {
            let at = pages.id.as_ref()?;
            if pages.kind == PageKind::MaxRecord { greatest(ids(at)) } else { ids(at).next() }
        });
        let find = |at: &crate::connector::Pointer| document.find(at);
        let listed = Listed {
            url: &request.url,
            turn: progress.turn.as_ref(),
            link: response.header("link"),
            find: &find,
            count: raw.len(),
            seen: progress.seen + raw.len(),
            id,
        };
        let high = records
            .iter()
            .filter_map(|pulled| pulled.at.clone())
            .reduce(|one, other| if other.0 > one.0 { other } else { one });
        // A list that began with a token of its own takes none from its pages.
        let token = token.filter(|token| token.first.is_none() || progress.since.is_some());
        let next_token = token.and_then(|token| document.find(&token.at)).and_then(|value| match value {
            serde_json::Value::String(text) if !text.is_empty() => Some(text),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        // A list that is asked for anew after so many records turns otherwise than it says.
        let moves = stream.incremental.as_ref().is_some_and(|rule| rule.restart_after.is_some());
        let ahead = progress.turn.is_none() && !listed_only && !moves && !pages.is_some_and(|pages| pages.acknowledges);
        Ok(Fetched {
            turns: pages.filter(|_| ahead).and_then(|pages| all_turns(pages, &listed)),
            page: plan::Page { count: raw.len(), high, next: next_page(pages, &listed), token: next_token },
            records,
            known: Vec::new(),
            gone,
            traffic: Traffic::default(),
        })
    }

    /// Fetches each record of which the list has only the name.
    async fn complete(
        &self,
        list: &List<'_>,
        progress: &Progress,
        token: &Token,
        fetched: &mut Fetched,
        traffic: &mut Traffic,
    ) -> Result<(), Trouble> {
        let Some(detail) = &self.stream.detail else { return Ok(()) };
        let mut listed = std::mem::take(&mut fetched.records);
        if detail.once && (self.stream.token.is_none() || progress.since.is_none()) {
            let keys: Vec<String> = listed.iter().map(|pulled| pulled.record.key.clone()).collect();
            let id = self.id;
            let known = self.in_store(move |opened| Ok(opened.store.records().known(id, &keys)?)).await?;
            let mut known = known.into_iter();
            listed.retain(|pulled| {
                let is_known = known.next() == Some(true);
                if is_known {
                    fetched.known.push(pulled.record.key.clone());
                }
                !is_known
            });
        }
        let mut seen = HashSet::new();
        listed.retain(|pulled| seen.insert(pulled.record.key.clone()));
        let added = list.added()?;
        let mut details = stream::iter(listed)
            .map(|pulled| {
                let mut token = token.clone();
                async move {
                    let answer = self.send(&mut token, |grant| list.detail(detail, &pulled.document(), grant)).await;
                    (pulled.record.key, answer)
                }
            })
            .buffered(SIDE_BY_SIDE);
        while let Some((key, answer)) = details.next().await {
            let answer = answer?;
            traffic.add(weigh(&answer));
            if matches!(answer.response.status, 404 | 410) {
                fetched.gone.push(key);
                continue;
            }
            self.judge(&answer, &Progress::default(), false)?;
            let text = String::from_utf8_lossy(&answer.response.body);
            let pulled = record::record(self.stream, &text, &added).map_err(|record::Keyless(at)| {
                self.error(|connection, stream| SyncError::Keyless { connection, stream, at }).into_trouble()
            })?;
            fetched.records.push(pulled);
        }
        Ok(())
    }

    async fn send(
        &self,
        token: &mut Token,
        build: impl Fn(&crate::connection::Grant) -> Result<Request>,
    ) -> Result<Answer, Trouble> {
        let patience = Patience { tries: TRIES, longest_wait: LONGEST_WAIT, repeatable: true };
        match api::send(self.app, self.session, token, patience, build).await {
            Ok(answer) => Ok(answer),
            Err(SendError::Paced(paced)) => Err(self.limited(paced.resumes_at).into_trouble()),
            Err(error) => Err(Trouble::Failed(error.into())),
        }
    }

    /// What an answer that is no success means.
    fn judge(&self, answer: &Answer, progress: &Progress, resumed: bool) -> Result<(), Trouble> {
        let Some(class) = answer.class else { return Ok(()) };
        let response = &answer.response;
        let in_token = self.stream.token.as_ref().is_some_and(|_| progress.since.is_some());
        let expired = self.stream.token.as_ref().is_some_and(|token| token.expired.contains(&response.status));
        let has_place = progress.turn.is_some() || progress.since.is_some();
        if (class == ErrorClass::CursorExpired && has_place) || (in_token && expired) {
            return Err(Trouble::Expired);
        }
        // A page that was good for another process may have ended since.
        if resumed && matches!(class, ErrorClass::Fail | ErrorClass::NotFound) {
            return Err(Trouble::Expired);
        }
        if class == ErrorClass::RateLimit {
            let now = self.app.clock.now();
            let hints = &self.session.connector.rate.retry_hints;
            let wait = response.retry_after(hints, now).unwrap_or(LONGEST_WAIT);
            return Err(self.limited(now.checked_add(wait).unwrap_or(Timestamp::MAX)).into_trouble());
        }
        if self.stream.skip.iter().any(|skip| fits(skip, response)) {
            return Err(Trouble::Skipped);
        }
        let what = format!("the list of {}", self.name);
        Err(api::refused(self.session, &what, class, response).into())
    }

    fn limited(&self, resumes_at: Timestamp) -> Error {
        SyncError::Limited { connection: self.connection().clone(), resumes_at }.into()
    }

    /// The store blocks, and the network goes on meanwhile.
    pub(super) async fn in_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Opened) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let opened = Arc::clone(self.opened);
        let done = tokio::task::spawn_blocking(move || work(&opened)).await;
        done.map_err(|error| AppError::Runtime { source: std::io::Error::other(error) })?
    }
}

impl Error {
    fn into_trouble(self) -> Trouble {
        Trouble::Failed(self)
    }
}

impl Traffic {
    pub(super) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.retries += other.retries;
        self.bytes += other.bytes;
    }
}

fn weigh(answer: &Answer) -> Traffic {
    let bytes = answer.response.body.len() as u64;
    Traffic { requests: answer.tries.into(), retries: u64::from(answer.tries.saturating_sub(1)), bytes }
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

fn fits(skip: &Skip, response: &Response) -> bool {
    if !skip.status.is_empty() && !skip.status.contains(&response.status) {
        return false;
    }
    let document = response.json().unwrap_or_default();
    skip.body.iter().all(|(at, values)| record::holds(&document, at, values))
}

/// Values for people: `channel=C1`.
pub(super) fn given_text(given: &crate::store::Given) -> String {
    given.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}
