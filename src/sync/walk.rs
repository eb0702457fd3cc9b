//! One way through a list: while a page is understood and written, the next is asked for.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::SyncError;
use super::ask::List;
use super::fetch::{Fetched, Trouble, weigh};
use super::list::{Brought, Reader};
use super::plan::{Progress, Step, advance};
use crate::api::{Answer, Token, Turn};
use crate::error::Result;
use crate::store::{Mode, NewPage, PagePlace, Part, Traffic};

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
    /// Whether what is not met is gone in the end.
    pub(super) sweeping: bool,
}

/// A page on its way to the store, and who waits for it.
type Parcel = (NewPage, oneshot::Sender<()>, OwnedSemaphorePermit);

/// The way of pages to the store, which takes all that wait at once: an fsync, and the pages of the indexes, for several.
struct Sender {
    pages: mpsc::Sender<Parcel>,
    /// KiB of answers that may wait.
    room: Arc<Semaphore>,
}

/// What followed from a page.
struct Taken {
    step: Step,
    /// Its records.
    count: usize,
    /// All pages that come after it, where they are known.
    turns: Option<Vec<Turn>>,
    /// The page that was asked for meanwhile.
    ahead: Option<(Progress, Result<Answer, Trouble>)>,
}

impl Walk<'_> {
    /// Reads the list to its end.
    pub(super) async fn run(&self, progress: Progress, token: Token, brought: &mut Brought) -> Result<(), Trouble> {
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

    async fn fetch(&self, mut progress: Progress, mut token: Token, sender: Sender) -> Result<(), Trouble> {
        self.begin_with_token(&mut progress, &mut token).await?;
        let mut seen = HashSet::new();
        let mut resumed = progress.turn.is_some();
        let mut answer = None;
        loop {
            if !seen.insert(fingerprint(&progress)) {
                let repeated = |connection, stream| SyncError::Repeated { connection, stream };
                return Err(self.reader.error(repeated).into_trouble());
            }
            let taken = self.take(&progress, &mut token, resumed, answer.take(), &sender).await?;
            resumed = false;
            match taken.step {
                Step::End { .. } => return Ok(()),
                Step::More(next) => progress = *next,
            }
            match taken.ahead {
                Some((place, answered)) if fingerprint(&place) == fingerprint(&progress) => answer = Some(answered),
                Some((_, Ok(unused))) => self.reader.count_beside(weigh(&unused)),
                _ => {}
            }
            if let Some(turns) = taken.turns {
                let places = turns.into_iter().enumerate();
                let places = places.map(|(index, turn)| turned(&progress, turn, index * taken.count)).collect();
                match self.side_by_side(progress, places, &token, &mut seen, &sender).await? {
                    Step::End { .. } => return Ok(()),
                    Step::More(next) => progress = *next,
                }
            }
        }
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
        Ok(())
    }

    /// Takes one page in, and asks for the next meanwhile.
    async fn take(
        &self,
        progress: &Progress,
        token: &mut Token,
        resumed: bool,
        answer: Option<Result<Answer, Trouble>>,
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
                    self.keep(progress, fetched, sender).await
                };
                let (ahead, step) = tokio::try_join!(asks, keeps)?;
                Ok(Taken { step, count, turns, ahead })
            })
            .await
    }

    /// Reads pages that are all known, several at a time; how the list goes on behind them.
    async fn side_by_side(
        &self,
        mut progress: Progress,
        places: Vec<Progress>,
        token: &Token,
        seen: &mut HashSet<u64>,
        sender: &Sender,
    ) -> Result<Step, Trouble> {
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
            seen.insert(fingerprint(&place));
            match self.keep(&progress, fetched?, sender).await? {
                Step::More(next) => progress = *next,
                end => return Ok(end),
            }
        }
        Ok(Step::More(Box::new(progress)))
    }

    /// Hands a page over to be written; what follows it.
    async fn keep(&self, progress: &Progress, fetched: Fetched, sender: &Sender) -> Result<Step, Trouble> {
        let Fetched { records, known, gone, page, traffic } = fetched;
        let step = advance(self.reader.stream, progress.clone(), self.part.cursor.as_deref(), page);
        let page = NewPage {
            job: self.reader.job,
            stream: self.reader.id,
            part: self.part.id,
            records: records.into_iter().map(|pulled| pulled.record).collect(),
            known,
            gone,
            sweeping: self.sweeping,
            again: progress.again,
            place: self.place(&step, progress.begun),
            traffic,
            now: self.list.now,
        };
        let (kept, waits) = oneshot::channel();
        let kib = u32::try_from(page.traffic.bytes / 1024).unwrap_or(ROOM_KIB).clamp(1, ROOM_KIB);
        let room = Arc::clone(&sender.room).acquire_many_owned(kib).await.map_err(|_| Trouble::Stopped)?;
        sender.pages.send((page, kept, room)).await.map_err(|_| Trouble::Stopped)?;
        // The next request tells the vendor to forget what is not kept yet.
        if self.list.pages().is_some_and(|pages| pages.acknowledges) {
            waits.await.map_err(|_| Trouble::Stopped)?;
        }
        Ok(step)
    }

    fn place(&self, step: &Step, begun: u64) -> PagePlace {
        let json = |progress: &Progress| serde_json::to_string(progress).unwrap_or_default();
        match (self.reader.goal.mode, step) {
            (Mode::Backfill, Step::More(progress)) => PagePlace::Backfill(Some(json(progress))),
            (Mode::Backfill, Step::End { .. }) => PagePlace::Backfill(None),
            (_, Step::More(progress)) => PagePlace::Under(json(progress)),
            (_, Step::End { cursor }) => {
                let waits = Progress { full: true, swept_next: true, begun, ..Progress::default() };
                let progress = self.sweeping.then(|| json(&waits));
                PagePlace::End { cursor: cursor.clone(), parent_version: self.parent_version, progress }
            }
        }
    }
}

/// The same list, so many records later.
fn turned(progress: &Progress, turn: Turn, records: usize) -> Progress {
    Progress { turn: Some(turn), seen: progress.seen + records, ..progress.clone() }
}

/// What tells one request of a list from another.
fn fingerprint(progress: &Progress) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&progress.since, &progress.until).hash(&mut hasher);
    serde_json::to_string(&progress.turn).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}
