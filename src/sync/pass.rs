//! One pass over the pages of a list: the next page is requested while one is read and stored.

use std::ops::ControlFlow;

use futures_util::stream::{self, StreamExt};

use super::SyncError;
use super::checkpoint::{AfterFullList, Checkpoint, ListPlan, NextRead};
use super::detail::fetch_details;
use super::fetch::{Fetcher, PositionSource, traffic_of};
use super::ingest::{PageQueue, PageReceipt, WriteEnd, page_queue};
use super::outcome::{Flow, LostPosition, PassEnd, or_fail};
use super::page::{ListPage, PageAnswer, PageContent, PageReader, ParsedPage};
use crate::api::{ApiResponse, GrantToken, PageNovelty, PageToken, Pager, PagesAhead};
use crate::error::{Error, Kind};
use crate::model::{NewPage, Traffic};
use crate::runtime::BoxFuture;

/// Pages of one list that are requested concurrently, if their number is known.
const CONCURRENT_PAGES: usize = 8;

/// One pass over the list of a partition.
pub(super) struct ListPass<'a> {
    pub(super) fetcher: Fetcher<'a>,
    pub(super) reader: &'a PageReader<'a>,
    pub(super) plan: &'a ListPlan<'a>,
    pub(super) after_full_list: AfterFullList,
}

/// What followed from a page.
struct PageRead {
    next: Box<Checkpoint>,
    further: FurtherPages,
}

/// The pages that are known before they are read.
enum FurtherPages {
    Unknown,
    /// The next page was requested meanwhile.
    Asked(Box<Checkpoint>, Box<Flow<ApiResponse>>),
    /// All of them, each behind a page of so many records.
    All {
        page_tokens: Vec<PageToken>,
        page_size: usize,
    },
}

impl ListPass<'_> {
    /// Reads the list from a checkpoint to its end.
    pub(super) async fn run(&self, checkpoint: Checkpoint, token: GrantToken) -> PassEnd {
        let (queue, writer) = page_queue(self.fetcher.run);
        let read = async {
            match self.read_pages(checkpoint, token, queue).await {
                ControlFlow::Break(end) => end,
                ControlFlow::Continue(never) => match never {},
            }
        };
        // Each owns its end of the queue, so that the one ends with the other.
        let (end, written) = tokio::join!(read, writer.write());
        match written {
            Ok(WriteEnd::Drained) => end,
            Ok(WriteEnd::Cancelled) => PassEnd::Cancelled,
            Err(error) => PassEnd::Failed(error),
        }
    }

    /// Reads page after page. It goes on until something breaks it off.
    async fn read_pages(
        &self,
        mut checkpoint: Checkpoint,
        mut token: GrantToken,
        queue: PageQueue,
    ) -> Flow<std::convert::Infallible> {
        self.begin_with_token(&mut checkpoint, &mut token).await?;
        let mut source = match checkpoint.position.page_token {
            Some(_) => PositionSource::EarlierRun,
            None => PositionSource::ThisRun,
        };
        let mut pager = Pager::resume(checkpoint.last_page_hash);
        let mut asked = None;
        loop {
            if pager.ask(checkpoint.request_hash()) == PageNovelty::Endless {
                return ControlFlow::Break(PassEnd::Repeated);
            }
            let read = self.read_page(&checkpoint, source, &mut token, asked.take(), &mut pager, &queue).await;
            let PageRead { next, further } = match (read, source) {
                (ControlFlow::Continue(read), _) => read,
                // The position was saved by another run, and may itself be what is wrong.
                (ControlFlow::Break(PassEnd::Failed(error)), PositionSource::EarlierRun) if !is_temporary(&error) => {
                    return ControlFlow::Break(PassEnd::Expired(LostPosition::Page));
                }
                (ControlFlow::Break(end), _) => return ControlFlow::Break(end),
            };
            source = PositionSource::ThisRun;
            checkpoint = *next;
            match further {
                FurtherPages::Unknown => {}
                FurtherPages::Asked(foreseen, answer) if foreseen.request_hash() == checkpoint.request_hash() => {
                    asked = Some(*answer);
                }
                FurtherPages::Asked(_, unused) => {
                    if let ControlFlow::Continue(unused) = *unused {
                        self.fetcher.run.add_unpaged_traffic(traffic_of(&unused));
                    }
                }
                FurtherPages::All { page_tokens, page_size } => {
                    checkpoint =
                        self.read_side_by_side(checkpoint, page_tokens, page_size, &token, &mut pager, &queue).await?;
                }
            }
        }
    }

    /// Asks for the token that changes begin with, where a list is to begin with one.
    async fn begin_with_token(&self, checkpoint: &mut Checkpoint, token: &mut GrantToken) -> Flow<()> {
        let rule = self.plan.stream.token.as_ref().and_then(|rule| rule.first.as_ref());
        if let Some(rule) = rule
            && checkpoint.since.is_none()
            && checkpoint.sync_token.is_none()
        {
            checkpoint.sync_token = Some(self.fetcher.first_token(rule, checkpoint, token).await?);
        }
        ControlFlow::Continue(())
    }

    /// Fetches a page, and hands it over to be stored while the next is requested.
    async fn read_page(
        &self,
        checkpoint: &Checkpoint,
        source: PositionSource,
        token: &mut GrantToken,
        asked: Option<Flow<ApiResponse>>,
        pager: &mut Pager,
        queue: &PageQueue,
    ) -> Flow<PageRead> {
        let answer = self.fetcher.page(checkpoint, source, token, asked).await?;
        let text = answer.text();
        let page = self.find_list(checkpoint, &answer, &text)?;
        let page_size = page.count();
        let ahead = self.reader.pages_ahead(checkpoint, &page);
        let detail_token = token.clone();
        let ask = async {
            Ok(match ahead {
                PagesAhead::Unknown => FurtherPages::Unknown,
                PagesAhead::All(page_tokens) => FurtherPages::All { page_tokens, page_size },
                PagesAhead::Next(page_token) => {
                    let foreseen = checkpoint.at(checkpoint.position.after(page_size, page_token));
                    let answer = self.fetcher.ask(&foreseen, token).await;
                    FurtherPages::Asked(Box::new(foreseen), Box::new(answer))
                }
            })
        };
        let hand_over = async {
            // The request for the next page goes out before this one takes the thread.
            tokio::task::yield_now().await;
            let parsed = self.parse(checkpoint, page, &answer, &detail_token).await;
            let next = match parsed {
                ControlFlow::Continue((parsed, traffic)) => {
                    self.hand_over(checkpoint, parsed, traffic, pager, queue).await
                }
                ControlFlow::Break(end) => ControlFlow::Break(end),
            };
            match next {
                ControlFlow::Continue(next) => Ok(next),
                ControlFlow::Break(end) => Err(end),
            }
        };
        // If this page ends the pass, the next one is not waited for.
        match tokio::try_join!(ask, hand_over) {
            Ok((further, next)) => ControlFlow::Continue(PageRead { next, further }),
            Err(end) => ControlFlow::Break(end),
        }
    }

    /// Reads pages that are all known, several at a time. Returns how the list goes on behind them.
    async fn read_side_by_side(
        &self,
        mut checkpoint: Checkpoint,
        page_tokens: Vec<PageToken>,
        page_size: usize,
        token: &GrantToken,
        pager: &mut Pager,
        queue: &PageQueue,
    ) -> Flow<Checkpoint> {
        let first = checkpoint.clone();
        let ask = |(index, page_token): (usize, PageToken)| -> BoxFuture<'_, _> {
            let mut token = token.clone();
            let foreseen = first.at(first.position.after(index * page_size, page_token));
            Box::pin(async move {
                let parsed = self.fetch_page(&foreseen, &mut token).await;
                (foreseen, parsed)
            })
        };
        let mut pages = stream::iter(page_tokens.into_iter().enumerate()).map(ask).buffered(CONCURRENT_PAGES);
        while let Some((foreseen, parsed)) = pages.next().await {
            // A list that changes meanwhile turns otherwise than was foreseen: it is read on page by page.
            if foreseen.position.page_token != checkpoint.position.page_token {
                break;
            }
            // That it was asked for is only noted: the next page must not lead back to it.
            pager.ask(foreseen.request_hash());
            let (parsed, traffic) = parsed?;
            checkpoint = *self.hand_over(&checkpoint, parsed, traffic, pager, queue).await?;
        }
        ControlFlow::Continue(checkpoint)
    }

    /// Fetches and reads a page.
    async fn fetch_page(&self, checkpoint: &Checkpoint, token: &mut GrantToken) -> Flow<(ParsedPage, Traffic)> {
        let answer = self.fetcher.page(checkpoint, PositionSource::ThisRun, token, None).await?;
        let text = answer.text();
        let page = self.find_list(checkpoint, &answer, &text)?;
        self.parse(checkpoint, page, &answer, token).await
    }

    fn find_list<'d>(&self, checkpoint: &Checkpoint, answer: &'d PageAnswer, text: &'d str) -> Flow<ListPage<'d>> {
        let run = self.fetcher.run;
        let end = match self.reader.find(checkpoint, answer, text) {
            PageContent::List(page) => return ControlFlow::Continue(page),
            PageContent::Skipped => PassEnd::Skipped,
            PageContent::NotAList(why) => {
                let error = run.error(|connection, stream| SyncError::NotAList { connection, stream, why });
                PassEnd::Failed(error.into())
            }
        };
        run.add_unpaged_traffic(answer.traffic);
        ControlFlow::Break(end)
    }

    /// Reads a page with its list, and what is needed to identify its records.
    async fn parse(
        &self,
        checkpoint: &Checkpoint,
        page: ListPage<'_>,
        answer: &PageAnswer,
        token: &GrantToken,
    ) -> Flow<(ParsedPage, Traffic)> {
        let mut traffic = answer.traffic;
        let parsed = match or_fail(self.reader.parse(checkpoint, &page)) {
            ControlFlow::Continue(parsed) => {
                fetch_details(self.fetcher, self.reader, checkpoint, token, parsed, &mut traffic).await
            }
            ControlFlow::Break(end) => ControlFlow::Break(end),
        };
        match parsed {
            ControlFlow::Continue(parsed) => ControlFlow::Continue((parsed, traffic)),
            ControlFlow::Break(end) => {
                self.fetcher.run.add_unpaged_traffic(traffic);
                ControlFlow::Break(end)
            }
        }
    }

    /// Hands a page over to be stored with the checkpoint behind it. Returns that checkpoint.
    async fn hand_over(
        &self,
        checkpoint: &Checkpoint,
        page: ParsedPage,
        traffic: Traffic,
        pager: &mut Pager,
        queue: &PageQueue,
    ) -> Flow<Box<Checkpoint>> {
        let run = self.fetcher.run;
        let ParsedPage { records, unchanged_keys, deleted_keys, mut summary } = page;
        match pager.add(&summary.record_hashes, summary.next_page.as_ref()) {
            PageNovelty::New | PageNovelty::Empty => {}
            PageNovelty::Repeated => summary.is_repeated = true,
            PageNovelty::Endless => {
                run.add_unpaged_traffic(traffic);
                return ControlFlow::Break(PassEnd::Repeated);
            }
        }
        let (saved, next) = self.plan.after_page(checkpoint.clone(), summary, self.after_full_list);
        let page = NewPage {
            job: run.job,
            stream: run.id,
            partition: self.plan.partition,
            records: records.into_iter().map(|parsed| parsed.record).collect(),
            unchanged_keys,
            deleted_keys,
            is_full_list: self.plan.is_sweeping(checkpoint),
            is_verification_pass: checkpoint.is_verification_pass,
            checkpoint: saved,
            traffic,
            now: self.plan.now,
        };
        match queue.push(page).await {
            // The next request makes the vendor forget what is not stored yet.
            PageReceipt::Queued(stored) if self.fetcher.list.pages().is_some_and(|pages| pages.acknowledges) => {
                if stored.await.is_err() {
                    return ControlFlow::Break(PassEnd::Cancelled);
                }
            }
            PageReceipt::Queued(_) => {}
            // If the writer failed, its error takes the place of this.
            PageReceipt::Refused => return ControlFlow::Break(PassEnd::Cancelled),
        }
        match next {
            NextRead::Page(next) => {
                if !next.is_same_list(checkpoint) {
                    pager.restart();
                }
                ControlFlow::Continue(next)
            }
            NextRead::Nothing(completion) => ControlFlow::Break(PassEnd::Complete(completion)),
        }
    }
}

/// Whether an error says nothing about the requested position.
fn is_temporary(error: &Error) -> bool {
    matches!(error.kind(), Kind::Temporary | Kind::AuthNeeded | Kind::Vault)
}
