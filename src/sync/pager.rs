//! Reads a list page by page: while a page is parsed and written, the next is requested.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::SyncError;
use super::checkpoint::{Checkpoint, Step, first_checkpoint, is_sweeping, next_step, verification_pass};
use super::fetch::{FetchedPage, PageFetchError, PageRead, PageResponse, traffic_of};
use super::request::ListRequestBuilder;
use super::stream_reader::{StoredPage, StreamReader, Totals};
use crate::api::{ApiResponse, GrantToken, PageNovelty, PageToken, RepeatDetector, hash_of};
use crate::error::{Error, Kind, Result};
use crate::model::{CompletedList, NewPage, PageCheckpoint, Partition, SyncMode, Traffic};
use crate::runtime::BoxFuture;

/// Pages of one list that are asked for side by side, where their number is known, and records of which each is.
pub(super) const CONCURRENT_PAGES: usize = 8;

/// Pages that wait to be written, and KiB of them: more are not fetched ahead.
const MAX_QUEUED_PAGES: usize = 16;
const MAX_QUEUED_KIB: u32 = 2048;

/// One reading of the list of a partition.
pub(super) struct Pager<'w> {
    pub(super) reader: &'w StreamReader<'w>,
    pub(super) list: &'w ListRequestBuilder<'w>,
    pub(super) partition: &'w Partition,
    /// The version of the parent's record.
    pub(super) parent_version: Option<u64>,
    /// Whether a list of several pages is looked at a second time before what is missing from it is swept away.
    pub(super) needs_second_pass: bool,
}

/// How a list was read to its end.
pub(super) enum PagerEnd {
    Read,
    /// It holds everything: what was not met in it may be swept away, if need be after a second look.
    Listed(CompletedList, Option<Box<Checkpoint>>),
    /// A page of it held nothing new: how to look at it a second time.
    NeedsVerification(Box<Checkpoint>),
}

/// What was asked and met of a list so far.
struct ReadHistory {
    /// Fingerprints of requests.
    asked: HashSet<u64>,
    repeats: RepeatDetector,
}

/// A page on its way to the store, and who waits for it.
type PendingPage = (NewPage, oneshot::Sender<()>, OwnedSemaphorePermit);

/// The channel of pages to the store, which takes all that wait at once: an fsync, and the pages of the indexes, for several.
struct PageSender {
    pages: mpsc::Sender<PendingPage>,
    /// KiB of answers that may wait.
    room: Arc<Semaphore>,
}

/// What follows a page that was handed over to be written.
enum NextRead {
    More(Box<Checkpoint>),
    Ended(PagerEnd),
}

/// What followed from a page.
struct PageResult {
    next: NextRead,
    /// Its records.
    count: usize,
    /// All pages that come after it, where they are known.
    page_tokens: Option<Vec<PageToken>>,
    /// The page that was asked for meanwhile.
    ahead: Option<(Checkpoint, Result<ApiResponse, PageFetchError>)>,
}

impl Pager<'_> {
    /// Reads the list to its end.
    pub(super) async fn run(
        &self,
        progress: Checkpoint,
        token: GrantToken,
        totals: &mut Totals,
    ) -> Result<PagerEnd, PageFetchError> {
        let (pages, receiver) = mpsc::channel::<PendingPage>(MAX_QUEUED_PAGES);
        let sender = PageSender { pages, room: Arc::new(Semaphore::new(MAX_QUEUED_KIB as usize)) };
        // Each owns its end of the channel, so that the one ends with the other.
        let (fetched, written) = tokio::join!(self.fetch(progress, token, sender), self.write(receiver, totals));
        written.map_err(PageFetchError::Failed)?;
        fetched
    }

    async fn write(&self, mut receiver: mpsc::Receiver<PendingPage>, totals: &mut Totals) -> Result<()> {
        let reader = self.reader;
        let mut queued = Vec::new();
        while receiver.recv_many(&mut queued, MAX_QUEUED_PAGES).await > 0 {
            let mut traffic = Traffic::default();
            let (mut pages, mut waiting) = (Vec::new(), Vec::new());
            for (page, done, room) in queued.drain(..) {
                traffic.add(page.traffic);
                pages.push(page);
                waiting.push((done, room));
            }
            let (counts, cancelled) = reader.store.records().commit_pages(pages, reader.fence).await?;
            totals.counts += counts;
            totals.traffic.add(traffic);
            let requests_left = reader.workspace.rate_limiter(reader.session).remaining();
            let page = StoredPage { counts, traffic, requests_left };
            reader.observer.page_stored(reader.connection(), reader.name, page);
            for (done, _room) in waiting {
                let _ = done.send(());
            }
            if cancelled {
                return Err(reader.error(|connection, stream| SyncError::Cancelled { connection, stream }));
            }
        }
        Ok(())
    }

    async fn fetch(
        &self,
        mut progress: Checkpoint,
        mut token: GrantToken,
        sender: PageSender,
    ) -> Result<PagerEnd, PageFetchError> {
        self.begin_with_token(&mut progress, &mut token).await?;
        let mut history =
            ReadHistory { asked: HashSet::new(), repeats: RepeatDetector::resume_after(progress.last_page_hash) };
        let mut resumed = progress.page_token.is_some();
        let mut answer = None;
        loop {
            if !history.asked.insert(request_hash(&progress)) {
                return Err(self.repeated());
            }
            let page = match self.read_page(&progress, &mut token, resumed, answer.take(), &mut history, &sender).await
            {
                // The position was stored by another run, and may itself be what is wrong.
                Err(PageFetchError::Failed(error)) if resumed && !is_temporary(&error) => {
                    return Err(PageFetchError::Expired { page: true });
                }
                page => page?,
            };
            resumed = false;
            match page.next {
                NextRead::Ended(ended) => return Ok(ended),
                NextRead::More(next) => progress = follow(&progress, *next, &mut history),
            }
            match page.ahead {
                Some((checkpoint, answered)) if request_hash(&checkpoint) == request_hash(&progress) => {
                    answer = Some(answered);
                }
                Some((_, Ok(unused))) => self.reader.add_unpaged_traffic(traffic_of(&unused)),
                _ => {}
            }
            if let Some(page_tokens) = page.page_tokens {
                let checkpoints = page_tokens.into_iter().enumerate();
                let checkpoints =
                    checkpoints.map(|(index, page_token)| at_page(&progress, page_token, index * page.count)).collect();
                match self.side_by_side(progress, checkpoints, &token, &mut history, &sender).await? {
                    NextRead::Ended(ended) => return Ok(ended),
                    NextRead::More(next) => progress = *next,
                }
            }
        }
    }

    fn repeated(&self) -> PageFetchError {
        self.reader.error(|connection, stream| SyncError::RepeatedPage { connection, stream }).into_fetch_error()
    }

    /// Asks for the token that changes begin with, where a list is to begin with one.
    async fn begin_with_token(&self, progress: &mut Checkpoint, token: &mut GrantToken) -> Result<(), PageFetchError> {
        let reader = self.reader;
        let Some(rule) = reader.stream.token.as_ref().and_then(|rule| rule.first.as_ref()) else { return Ok(()) };
        if progress.since.is_some() || progress.sync_token.is_some() {
            return Ok(());
        }
        let answer = reader.send(token, |grant| self.list.first_token(rule, grant)).await?;
        reader.add_unpaged_traffic(traffic_of(&answer));
        reader.check_response(&answer, progress, false)?;
        progress.sync_token = answer.response.json().and_then(|document| rule.at.text(&document));
        if progress.sync_token.is_none() {
            let why = format!("no token at {:?} in the answer that changes begin with", rule.at.to_string());
            let error = reader.error(|connection, stream| SyncError::NotAList { connection, stream, why });
            return Err(error.into_fetch_error());
        }
        Ok(())
    }

    /// Takes one page in, and asks for the next meanwhile.
    async fn read_page(
        &self,
        progress: &Checkpoint,
        token: &mut GrantToken,
        resumed: bool,
        answer: Option<Result<ApiResponse, PageFetchError>>,
        history: &mut ReadHistory,
        sender: &PageSender,
    ) -> Result<PageResult, PageFetchError> {
        let read = ReadAhead { pager: self, progress, history, sender };
        self.reader.page(self.list, progress, token, resumed, answer, read).await
    }

    /// Reads pages that are all known, several at a time; how the list goes on behind them.
    async fn side_by_side(
        &self,
        mut progress: Checkpoint,
        checkpoints: Vec<Checkpoint>,
        token: &GrantToken,
        history: &mut ReadHistory,
        sender: &PageSender,
    ) -> Result<NextRead, PageFetchError> {
        let (reader, list) = (self.reader, self.list);
        let ask = |checkpoint: Checkpoint| -> BoxFuture<'_, _> {
            let mut token = token.clone();
            Box::pin(async move {
                let read = ReadOnly { pager: self, progress: &checkpoint };
                let fetched = reader.page(list, &checkpoint, &mut token, false, None, read).await;
                (checkpoint, fetched)
            })
        };
        let mut pages = stream::iter(checkpoints).map(ask).buffered(CONCURRENT_PAGES);
        while let Some((checkpoint, fetched)) = pages.next().await {
            // A list that changes meanwhile turns otherwise than was foreseen: it is read on page by page.
            if checkpoint.page_token != progress.page_token {
                break;
            }
            history.asked.insert(request_hash(&checkpoint));
            match self.queue_page(&progress, fetched?, history, sender).await? {
                NextRead::More(next) => progress = follow(&progress, *next, history),
                ended => return Ok(ended),
            }
        }
        Ok(NextRead::More(Box::new(progress)))
    }

    /// Hands a page over to be written; what follows it.
    async fn queue_page(
        &self,
        progress: &Checkpoint,
        fetched: FetchedPage,
        history: &mut ReadHistory,
        sender: &PageSender,
    ) -> Result<NextRead, PageFetchError> {
        let FetchedPage { records, unchanged_keys: known, deleted_keys: deleted, mut page, traffic } = fetched;
        page.is_repeated = history.repeats.add(&page.record_hashes) == PageNovelty::Repeated;
        if history.repeats.is_endless() && page.next_page.is_some() {
            self.reader.add_unpaged_traffic(traffic);
            return Err(self.repeated());
        }
        let step = next_step(self.reader.stream, progress.clone(), self.partition.cursor.as_deref(), page);
        let (checkpoint, next) = self.checkpoint_after(step);
        let page = NewPage {
            job: self.reader.job,
            stream: self.reader.id,
            partition: self.partition.id,
            records: records.into_iter().map(|pulled| pulled.record).collect(),
            unchanged_keys: known,
            deleted_keys: deleted,
            is_full_list: self.is_sweeping(progress),
            is_verification_pass: progress.is_verification_pass,
            checkpoint,
            traffic,
            now: self.list.now,
        };
        let (done, waits) = oneshot::channel();
        let kib = u32::try_from(page.traffic.bytes / 1024).unwrap_or(MAX_QUEUED_KIB).clamp(1, MAX_QUEUED_KIB);
        let room = Arc::clone(&sender.room).acquire_many_owned(kib).await.map_err(|_| PageFetchError::WriterStopped)?;
        sender.pages.send((page, done, room)).await.map_err(|_| PageFetchError::WriterStopped)?;
        // The next request tells the vendor to forget what is not stored yet.
        if self.list.pages().is_some_and(|pages| pages.acknowledges) {
            waits.await.map_err(|_| PageFetchError::WriterStopped)?;
        }
        Ok(next)
    }

    fn is_sweeping(&self, progress: &Checkpoint) -> bool {
        is_sweeping(self.reader.stream, progress, self.reader.read_goal)
    }

    /// The checkpoint after a page. The cursor of a list that is followed by a sweep moves with the sweep.
    fn checkpoint_after(&self, step: Step) -> (PageCheckpoint, NextRead) {
        let is_backfill = self.reader.read_goal.mode == SyncMode::Backfill;
        let under = |progress: &Checkpoint| {
            let json = serde_json::to_string(progress).unwrap_or_default();
            if is_backfill { PageCheckpoint::Backfill(Some(json)) } else { PageCheckpoint::InProgress(json) }
        };
        let parent_version = self.parent_version;
        let (cursor, read) = match step {
            Step::Continue(next) => return (under(&next), NextRead::More(next)),
            Step::Complete { cursor, read } => (cursor, read),
        };
        let is_sweeping = self.is_sweeping(&read);
        if read.needs_verification {
            let second = Box::new(if is_sweeping {
                verification_pass(self.reader.stream, read.start_version, self.list.now)
            } else {
                let cursor = self.partition.cursor.as_deref();
                Checkpoint {
                    is_verification_pass: true,
                    ..first_checkpoint(self.reader.stream, self.reader.read_goal, cursor, self.list.now)
                }
            });
            return (under(&second), NextRead::Ended(PagerEnd::NeedsVerification(second)));
        }
        if is_sweeping {
            let (start_version, next_cursor) = (read.start_version, cursor.clone());
            let listed = CompletedList { partition: self.partition.id, start_version, cursor, parent_version };
            if self.needs_second_pass && read.page_token.is_some() {
                let second = Box::new(verification_pass(self.reader.stream, start_version, self.list.now));
                return (under(&second), NextRead::Ended(PagerEnd::Listed(listed, Some(second))));
            }
            let waits = Checkpoint {
                is_full: true,
                pending_sweep: true,
                start_version,
                next_cursor,
                parent_version,
                ..Checkpoint::default()
            };
            return (under(&waits), NextRead::Ended(PagerEnd::Listed(listed, None)));
        }
        let checkpoint = if is_backfill {
            PageCheckpoint::Backfill(None)
        } else {
            PageCheckpoint::Complete { cursor, parent_version }
        };
        (checkpoint, NextRead::Ended(PagerEnd::Read))
    }
}

/// The checkpoint to go on from. A list that is asked for again from another time meets records again.
fn follow(before: &Checkpoint, next: Checkpoint, history: &mut ReadHistory) -> Checkpoint {
    if (&before.since, &before.until, &before.tie) != (&next.since, &next.until, &next.tie) {
        history.repeats = RepeatDetector::default();
    }
    next
}

/// Whether an error says nothing about the position that was asked for.
fn is_temporary(error: &Error) -> bool {
    let is_cancelled = matches!(error.downcast_ref(), Some(SyncError::Cancelled { .. }));
    is_cancelled || matches!(error.kind(), Kind::Temporary | Kind::AuthNeeded | Kind::Vault)
}

/// The same list, so many records later.
fn at_page(progress: &Checkpoint, page_token: PageToken, records: usize) -> Checkpoint {
    Checkpoint { page_token: Some(page_token), record_count: progress.record_count + records, ..progress.clone() }
}

/// What tells one request of a list from another.
fn request_hash(progress: &Checkpoint) -> u64 {
    let page_token = serde_json::to_string(&progress.page_token).unwrap_or_default();
    hash_of((&progress.since, &progress.until, &progress.tie, page_token))
}

/// Takes one page in, and asks for the next meanwhile.
struct ReadAhead<'a, 'p> {
    pager: &'a Pager<'p>,
    progress: &'a Checkpoint,
    history: &'a mut ReadHistory,
    sender: &'a PageSender,
}

impl PageRead for ReadAhead<'_, '_> {
    type Output = PageResult;

    async fn read(self, response: PageResponse<'_>, token: &mut GrantToken) -> Result<PageResult, PageFetchError> {
        let Self { pager, progress, history, sender } = self;
        let (reader, list) = (pager.reader, pager.list);

        let (count, page_tokens) = (response.count(), reader.remaining_pages(list, progress, &response));
        let next = if page_tokens.is_none() { reader.prefetchable_page(list, progress, &response) } else { None };
        let details = token.clone();
        let asks = async {
            let Some(page_token) = next else { return Ok(None) };
            let checkpoint = at_page(progress, page_token, count);
            let answered = reader.ask(list, &checkpoint, token).await;
            Ok(Some((checkpoint, answered)))
        };
        let queues = async {
            // The request for the next page goes out before this one takes the thread.
            tokio::task::yield_now().await;
            let fetched = reader.parse_page(list, progress, response, &details).await?;
            pager.queue_page(progress, fetched, history, sender).await
        };
        let (ahead, next) = tokio::try_join!(asks, queues)?;
        Ok(PageResult { next, count, page_tokens, ahead })
    }
}

/// Takes one page in.
struct ReadOnly<'a, 'p> {
    pager: &'a Pager<'p>,
    progress: &'a Checkpoint,
}

impl PageRead for ReadOnly<'_, '_> {
    type Output = FetchedPage;

    async fn read(self, response: PageResponse<'_>, token: &mut GrantToken) -> Result<FetchedPage, PageFetchError> {
        let Self { pager, progress } = self;
        pager.reader.parse_page(pager.list, progress, response, token).await
    }
}
