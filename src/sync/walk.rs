//! One way through a list: while a page is understood and written, the next is asked for.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::SyncError;
use super::ask::List;
use super::fetch::{Fetched, Trouble, weigh};
use super::list::{Brought, Reader};
use super::plan::{Progress, Step, advance, begin, is_sweeping, second_look};
use crate::api::{Answer, Met, Token, Trail, Turn, hash_of};
use crate::error::{Error, Kind, Result};
use crate::store::{FullList, Mode, NewPage, PagePlace, Part, Traffic};

/// Pages of one list that are asked for side by side, where their number is known, and records of which each is.
pub(super) const SIDE_BY_SIDE: usize = 8;

/// Pages that wait to be written, and KiB of them: more are not fetched ahead.
const MOST_WAITING: usize = 16;
const ROOM_KIB: u32 = 2048;

/// A walk through a list of one part.
pub(super) struct Walk<'w> {
    pub(super) reader: &'w Reader<'w>,
    pub(super) list: &'w List<'w>,
    pub(super) part: &'w Part,
    /// The version of the parent's record.
    pub(super) parent_version: Option<u64>,
    /// Whether a list of several pages is looked at a second time before what is missing from it is swept away.
    pub(super) looks_again: bool,
}

/// How a list was read to its end.
pub(super) enum Ended {
    Read,
    /// It holds everything: what was not met in it may be swept away, if need be after a second look.
    Listed(FullList, Option<Box<Progress>>),
    /// A page of it held nothing new: how to look at it a second time.
    Doubtful(Box<Progress>),
}

/// What was asked and met of a list so far.
struct Path {
    /// Fingerprints of requests.
    asked: HashSet<u64>,
    trail: Trail,
}

/// A page on its way to the store, and who waits for it.
type Parcel = (NewPage, oneshot::Sender<()>, OwnedSemaphorePermit);

/// The way of pages to the store, which takes all that wait at once: an fsync, and the pages of the indexes, for several.
struct Sender {
    pages: mpsc::Sender<Parcel>,
    /// KiB of answers that may wait.
    room: Arc<Semaphore>,
}

/// What follows a page that was handed over to be written.
enum Kept {
    More(Box<Progress>),
    Ended(Ended),
}

/// What followed from a page.
struct Taken {
    kept: Kept,
    /// Its records.
    count: usize,
    /// All pages that come after it, where they are known.
    turns: Option<Vec<Turn>>,
    /// The page that was asked for meanwhile.
    ahead: Option<(Progress, Result<Answer, Trouble>)>,
}

impl Walk<'_> {
    /// Reads the list to its end.
    pub(super) async fn run(&self, progress: Progress, token: Token, brought: &mut Brought) -> Result<Ended, Trouble> {
        let (pages, receiver) = mpsc::channel::<Parcel>(MOST_WAITING);
        let sender = Sender { pages, room: Arc::new(Semaphore::new(ROOM_KIB as usize)) };
        // Each owns its end of the channel, so that the one ends with the other.
        let (fetched, written) = tokio::join!(self.fetch(progress, token, sender), self.write(receiver, brought));
        written.map_err(Trouble::Failed)?;
        fetched
    }

    async fn write(&self, mut receiver: mpsc::Receiver<Parcel>, brought: &mut Brought) -> Result<()> {
        let reader = self.reader;
        let mut parcels = Vec::new();
        while receiver.recv_many(&mut parcels, MOST_WAITING).await > 0 {
            let mut traffic = Traffic::default();
            let (mut pages, mut waiting) = (Vec::new(), Vec::new());
            for (page, kept, room) in parcels.drain(..) {
                traffic.add(page.traffic);
                pages.push(page);
                waiting.push((kept, room));
            }
            let committed = reader.in_store(move |opened| Ok(opened.store.records().commit(&pages)?)).await;
            let (counts, cancelled) = committed?;
            brought.counts += counts;
            brought.traffic.add(traffic);
            reader.watch.page(reader.name, counts, traffic, reader.app.pace(reader.session).left());
            for (kept, _room) in waiting {
                let _ = kept.send(());
            }
            if cancelled {
                return Err(reader.error(|connection, stream| SyncError::Cancelled { connection, stream }));
            }
        }
        Ok(())
    }

    async fn fetch(&self, mut progress: Progress, mut token: Token, sender: Sender) -> Result<Ended, Trouble> {
        self.begin_with_token(&mut progress, &mut token).await?;
        let mut path = Path { asked: HashSet::new(), trail: Trail::behind(progress.last_page) };
        let mut resumed = progress.turn.is_some();
        let mut answer = None;
        loop {
            if !path.asked.insert(request_of(&progress)) {
                return Err(self.repeated());
            }
            let taken = match self.take(&progress, &mut token, resumed, answer.take(), &mut path, &sender).await {
                // The place was kept by another run, and may itself be what is wrong.
                Err(Trouble::Failed(error)) if resumed && !is_passing(&error) => {
                    return Err(Trouble::Expired { page: true });
                }
                taken => taken?,
            };
            resumed = false;
            match taken.kept {
                Kept::Ended(ended) => return Ok(ended),
                Kept::More(next) => progress = follow(&progress, *next, &mut path),
            }
            match taken.ahead {
                Some((place, answered)) if request_of(&place) == request_of(&progress) => answer = Some(answered),
                Some((_, Ok(unused))) => self.reader.count_beside(weigh(&unused)),
                _ => {}
            }
            if let Some(turns) = taken.turns {
                let places = turns.into_iter().enumerate();
                let places = places.map(|(index, turn)| turned(&progress, turn, index * taken.count)).collect();
                match self.side_by_side(progress, places, &token, &mut path, &sender).await? {
                    Kept::Ended(ended) => return Ok(ended),
                    Kept::More(next) => progress = *next,
                }
            }
        }
    }

    fn repeated(&self) -> Trouble {
        self.reader.error(|connection, stream| SyncError::Repeated { connection, stream }).into_trouble()
    }

    /// Asks for the token that changes begin with, where a list is to begin with one.
    async fn begin_with_token(&self, progress: &mut Progress, token: &mut Token) -> Result<(), Trouble> {
        let reader = self.reader;
        let Some(rule) = reader.stream.token.as_ref().and_then(|rule| rule.first.as_ref()) else { return Ok(()) };
        if progress.since.is_some() || progress.token.is_some() {
            return Ok(());
        }
        let answer = reader.send(token, |grant| self.list.first_token(rule, grant)).await?;
        reader.count_beside(weigh(&answer));
        reader.judge(&answer, progress, false)?;
        progress.token = answer.response.json().and_then(|document| rule.at.text(&document));
        if progress.token.is_none() {
            let why = format!("no token at {:?} in the answer that changes begin with", rule.at.to_string());
            let error = reader.error(|connection, stream| SyncError::NotAList { connection, stream, why });
            return Err(error.into_trouble());
        }
        Ok(())
    }

    /// Takes one page in, and asks for the next meanwhile.
    async fn take(
        &self,
        progress: &Progress,
        token: &mut Token,
        resumed: bool,
        answer: Option<Result<Answer, Trouble>>,
        path: &mut Path,
        sender: &Sender,
    ) -> Result<Taken, Trouble> {
        let (reader, list) = (self.reader, self.list);
        reader
            .page(list, progress, token, resumed, answer, async |sheet, token| {
                let (count, turns) = (sheet.count(), reader.turns(list, progress, &sheet));
                let next = if turns.is_none() { reader.foreseen(list, progress, &sheet) } else { None };
                let details = token.clone();
                let asks = async {
                    let Some(turn) = next else { return Ok(None) };
                    let place = turned(progress, turn, count);
                    let answered = reader.ask(list, &place, token).await;
                    Ok(Some((place, answered)))
                };
                let keeps = async {
                    // The request for the next page goes out before this one takes the thread.
                    tokio::task::yield_now().await;
                    let fetched = reader.understand(list, progress, sheet, &details).await?;
                    self.keep(progress, fetched, path, sender).await
                };
                let (ahead, kept) = tokio::try_join!(asks, keeps)?;
                Ok(Taken { kept, count, turns, ahead })
            })
            .await
    }

    /// Reads pages that are all known, several at a time; how the list goes on behind them.
    async fn side_by_side(
        &self,
        mut progress: Progress,
        places: Vec<Progress>,
        token: &Token,
        path: &mut Path,
        sender: &Sender,
    ) -> Result<Kept, Trouble> {
        let (reader, list) = (self.reader, self.list);
        let mut pages = stream::iter(places)
            .map(|place| {
                let mut token = token.clone();
                async move {
                    let fetched = reader.page(list, &place, &mut token, false, None, async |sheet, token| {
                        reader.understand(list, &place, sheet, token).await
                    });
                    let fetched = fetched.await;
                    (place, fetched)
                }
            })
            .buffered(SIDE_BY_SIDE);
        while let Some((place, fetched)) = pages.next().await {
            // A list that changes meanwhile turns otherwise than was foreseen: it is read on page by page.
            if place.turn != progress.turn {
                break;
            }
            path.asked.insert(request_of(&place));
            match self.keep(&progress, fetched?, path, sender).await? {
                Kept::More(next) => progress = follow(&progress, *next, path),
                ended => return Ok(ended),
            }
        }
        Ok(Kept::More(Box::new(progress)))
    }

    /// Hands a page over to be written; what follows it.
    async fn keep(
        &self,
        progress: &Progress,
        fetched: Fetched,
        path: &mut Path,
        sender: &Sender,
    ) -> Result<Kept, Trouble> {
        let Fetched { records, known, gone, mut page, traffic } = fetched;
        page.is_repeated = path.trail.add(&page.records) == Met::Repeated;
        if path.trail.is_endless() && page.next.is_some() {
            self.reader.count_beside(traffic);
            return Err(self.repeated());
        }
        let step = advance(self.reader.stream, progress.clone(), self.part.cursor.as_deref(), page);
        let (place, kept) = self.place(step);
        let page = NewPage {
            job: self.reader.job,
            stream: self.reader.id,
            part: self.part.id,
            records: records.into_iter().map(|pulled| pulled.record).collect(),
            known,
            gone,
            sweeping: self.is_sweeping(progress),
            again: progress.again,
            place,
            traffic,
            now: self.list.now,
        };
        let (done, waits) = oneshot::channel();
        let kib = u32::try_from(page.traffic.bytes / 1024).unwrap_or(ROOM_KIB).clamp(1, ROOM_KIB);
        let room = Arc::clone(&sender.room).acquire_many_owned(kib).await.map_err(|_| Trouble::Stopped)?;
        sender.pages.send((page, done, room)).await.map_err(|_| Trouble::Stopped)?;
        // The next request tells the vendor to forget what is not kept yet.
        if self.list.pages().is_some_and(|pages| pages.acknowledges) {
            waits.await.map_err(|_| Trouble::Stopped)?;
        }
        Ok(kept)
    }

    fn is_sweeping(&self, progress: &Progress) -> bool {
        is_sweeping(self.reader.stream, progress, self.reader.goal)
    }

    /// Where the list stands behind a page. The cursor of a list that is to be swept moves with the sweep.
    fn place(&self, step: Step) -> (PagePlace, Kept) {
        let is_backfill = self.reader.goal.mode == Mode::Backfill;
        let under = |progress: &Progress| {
            let json = serde_json::to_string(progress).unwrap_or_default();
            if is_backfill { PagePlace::Backfill(Some(json)) } else { PagePlace::Under(json) }
        };
        let parent_version = self.parent_version;
        let (cursor, read) = match step {
            Step::More(next) => return (under(&next), Kept::More(next)),
            Step::End { cursor, read } => (cursor, read),
        };
        let is_sweeping = self.is_sweeping(&read);
        if read.doubtful {
            let second = Box::new(if is_sweeping {
                second_look(self.reader.stream, read.begun, self.list.now)
            } else {
                let cursor = self.part.cursor.as_deref();
                Progress { again: true, ..begin(self.reader.stream, self.reader.goal, cursor, self.list.now) }
            });
            return (under(&second), Kept::Ended(Ended::Doubtful(second)));
        }
        if is_sweeping {
            let (begun, reached) = (read.begun, cursor.clone());
            let listed = FullList { part: self.part.id, begun, cursor, parent_version };
            if self.looks_again && read.turn.is_some() {
                let second = Box::new(second_look(self.reader.stream, begun, self.list.now));
                return (under(&second), Kept::Ended(Ended::Listed(listed, Some(second))));
            }
            let waits =
                Progress { full: true, swept_next: true, begun, reached, parent_version, ..Progress::default() };
            return (under(&waits), Kept::Ended(Ended::Listed(listed, None)));
        }
        let place = if is_backfill { PagePlace::Backfill(None) } else { PagePlace::End { cursor, parent_version } };
        (place, Kept::Ended(Ended::Read))
    }
}

/// The place to go on from. A list that is asked for again from another time meets records again.
fn follow(before: &Progress, next: Progress, path: &mut Path) -> Progress {
    if (&before.since, &before.until, &before.tie) != (&next.since, &next.until, &next.tie) {
        path.trail = Trail::default();
    }
    next
}

/// Whether an error says nothing of the place that was asked for.
fn is_passing(error: &Error) -> bool {
    let is_cancelled = matches!(error.downcast_ref(), Some(SyncError::Cancelled { .. }));
    is_cancelled || matches!(error.kind(), Kind::Temporary | Kind::AuthNeeded | Kind::Vault)
}

/// The same list, so many records later.
fn turned(progress: &Progress, turn: Turn, records: usize) -> Progress {
    Progress { turn: Some(turn), seen: progress.seen + records, ..progress.clone() }
}

/// What tells one request of a list from another.
fn request_of(progress: &Progress) -> u64 {
    let turn = serde_json::to_string(&progress.turn).unwrap_or_default();
    hash_of((&progress.since, &progress.until, &progress.tie, turn))
}
