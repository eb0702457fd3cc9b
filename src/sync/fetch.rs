//! Fetching a page of a list, and what it says: its records, and how the list goes on.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::SyncError;
use super::checkpoint::{self, Checkpoint};
use super::document::Document;
use super::pager::CONCURRENT_PAGES;
use super::record::{self, ParsedRecord};
use super::request::ListRequestBuilder;
use super::stream_reader::StreamReader;
use crate::api::{
    self, ApiResponse, GrantToken, PageContext, PageToken, RetryLimits, SendError, hash_of, is_incomplete, max_id,
    next_page, remaining_pages,
};
use crate::clock::{self, Timestamp};
use crate::connector::{DeletionMarker, ErrorClass, Incremental, PaginationKind, Pointer, SkipRule};
use crate::error::{Error, Result};
use crate::http::{Request, Response, RetryAttempt, pause};
use crate::json::{Json, JsonError};
use crate::model::{ConnectionName, Traffic};
use crate::runtime::BoxFuture;

/// Tries of a request.
const MAX_ATTEMPTS: u32 = 6;

/// A longer wait ends the run in order.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// A page that was fetched.
pub(super) struct FetchedPage {
    pub(super) records: Vec<ParsedRecord>,
    pub(super) unchanged_keys: Vec<String>,
    pub(super) deleted_keys: Vec<String>,
    pub(super) page: checkpoint::PageSummary,
    pub(super) traffic: Traffic,
}

/// A page as it came, read at its outermost level.
pub(super) struct PageResponse<'d> {
    answer: &'d ApiResponse,
    document: Document<'d>,
    raw: Vec<Json<'d>>,
    nulls: usize,
    traffic: Traffic,
}

/// Why an answer is not a page of a list.
enum PageParseError {
    /// If it was cut off on its way, it may come whole the next time.
    NotJson(JsonError),
    /// The service is still working on it (202).
    NotReady,
    NotAList(String),
    Skipped,
}

impl PageResponse<'_> {
    /// What the rules of paging make of it; `id` is the record's that they go on from.
    fn listed<T>(&self, progress: &Checkpoint, id: Option<String>, rule: impl FnOnce(&PageContext<'_>) -> T) -> T {
        rule(&PageContext {
            url: &self.answer.url,
            page_token: progress.page_token.as_ref(),
            link_header: self.answer.response.header("link"),
            find: &|at| self.document.find(at),
            count: self.count(),
            total_seen: progress.record_count + self.count(),
            id,
        })
    }

    /// The items of its list, those that are null among them.
    pub(super) fn count(&self) -> usize {
        self.raw.len() + self.nulls
    }
}

/// Why a page did not come.
pub(super) enum PageFetchError {
    /// The vendor no longer accepts a position: the page token, or the cursor that the list began with.
    Expired {
        page: bool,
    },
    Skipped,
    /// The writer ended, and says why.
    WriterStopped,
    Failed(Error),
}

impl<E: Into<Error>> From<E> for PageFetchError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Error {
    pub(super) fn into_fetch_error(self) -> PageFetchError {
        PageFetchError::Failed(self)
    }
}

/// What is done with a page whose list was found.
pub(super) trait PageRead: Send {
    type Output: Send;

    fn read(
        self,
        response: PageResponse<'_>,
        token: &mut GrantToken,
    ) -> impl Future<Output = Result<Self::Output, PageFetchError>> + Send;
}

impl StreamReader<'_> {
    /// Asks for a page.
    pub(super) async fn ask(
        &self,
        list: &ListRequestBuilder<'_>,
        progress: &Checkpoint,
        token: &mut GrantToken,
    ) -> Result<ApiResponse, PageFetchError> {
        self.send(token, |grant| list.page(progress, grant)).await
    }

    /// Gets a page and passes it to `read`; `ahead` is the first answer where it was asked for already.
    pub(super) async fn page<R: PageRead>(
        &self,
        list: &ListRequestBuilder<'_>,
        progress: &Checkpoint,
        token: &mut GrantToken,
        resumed: bool,
        mut ahead: Option<Result<ApiResponse, PageFetchError>>,
        read: R,
    ) -> Result<R::Output, PageFetchError> {
        let mut traffic = Traffic::default();
        let mut attempt = 0;
        loop {
            let answered = match ahead.take() {
                Some(answered) => answered,
                None => self.ask(list, progress, token).await,
            };
            let judged = answered.and_then(|answer| {
                traffic.add(traffic_of(&answer));
                self.check_response(&answer, progress, resumed)?;
                Ok(answer)
            });
            let answer = judged.inspect_err(|_| self.add_unpaged_traffic(traffic))?;
            let text = answer.response.text();
            let text = text.as_deref().map_err(|error| PageParseError::NotJson(error.clone()));
            let unread = match text.and_then(|text| self.parse_response(list, progress, &answer, text, traffic)) {
                Ok(response) => return read.read(response, token).await,
                Err(unread) => unread,
            };
            let hinted = answer.response.retry_after(&self.session.connector.rate, self.workspace.engine.clock.now());
            let is_last = attempt + 1 == MAX_ATTEMPTS || hinted.is_some_and(|wait| wait > MAX_WAIT);
            let may_help = match &unread {
                PageParseError::NotJson(error) => error.is_temporary(),
                PageParseError::NotReady => true,
                PageParseError::NotAList(_) | PageParseError::Skipped => false,
            };
            if may_help && !is_last {
                traffic.retries += 1;
                let wait = pause(RetryAttempt(attempt), hinted, u64::from_ne_bytes(clock::random()));
                self.workspace.engine.clock.sleep(wait).await;
                attempt += 1;
                continue;
            }
            self.add_unpaged_traffic(traffic);
            let error = |make: fn(ConnectionName, String) -> SyncError| self.error(make).into_fetch_error();
            return Err(match unread {
                PageParseError::NotJson(source) => self
                    .error(|connection, stream| SyncError::NotJson { connection, stream, source })
                    .into_fetch_error(),
                PageParseError::NotReady => error(|connection, stream| SyncError::NotReady { connection, stream }),
                PageParseError::NotAList(why) => {
                    self.error(|connection, stream| SyncError::NotAList { connection, stream, why }).into_fetch_error()
                }
                PageParseError::Skipped => PageFetchError::Skipped,
            });
        }
    }

    /// Finds the list in an answer that no rule calls a failure. Only what is plainly a list is read as one: what a list
    /// does not hold counts as deleted.
    fn parse_response<'d>(
        &self,
        list: &ListRequestBuilder<'_>,
        progress: &Checkpoint,
        answer: &'d ApiResponse,
        text: &'d str,
        traffic: Traffic,
    ) -> Result<PageResponse<'d>, PageParseError> {
        let response = &answer.response;
        if response.status == 202 {
            return Err(PageParseError::NotReady);
        }
        let refuse = |why: String| {
            let is_skipped = self.stream.skip.iter().any(|skip| matches_skip(skip, response));
            if is_skipped { PageParseError::Skipped } else { PageParseError::NotAList(why) }
        };
        if response.body.iter().all(u8::is_ascii_whitespace) {
            return Err(refuse(format!("an empty answer of status {}", response.status)));
        }
        let document = Document::parse(text).map_err(PageParseError::NotJson)?;
        let pointers = self.record_pointers(list, progress);
        let api = &self.session.connector.api;
        // A connector that says what a success looks like has had that looked at already.
        let is_record = pointers.iter().any(|at| at.segments().next().is_none());
        if api.success.is_empty()
            && !is_record
            && let Some(member) = document.error_member()
        {
            let message =
                response.error_message(&api.message).map(|message| format!(": {message}")).unwrap_or_default();
            return Err(refuse(format!("an error in the member `{member}`{message}")));
        }
        let is_empty = || self.stream.empty.iter().any(|(at, values)| document.holds(at, values));
        let (mut raw, mut nulls) = (Vec::new(), 0);
        // Each place by itself: one of several may be left out where it is empty.
        for pointers in if pointers.is_empty() { vec![&pointers[..]] } else { pointers.chunks(1).collect() } {
            match document.records(pointers) {
                Ok(found) => {
                    raw.extend(found.records);
                    nulls += found.nulls;
                }
                Err(absent) if absent.is_absent() && is_empty() => {}
                Err(wrong) => {
                    let message =
                        response.error_message(&api.message).map(|message| format!(": {message}")).unwrap_or_default();
                    return Err(refuse(format!("{wrong}{message}")));
                }
            }
        }
        Ok(PageResponse { answer, document, raw, nulls, traffic })
    }

    /// When the vendor read what it answers, at the earliest: by the clock in its `Date` header, if there is one (RFC 9110 section 6.6.1).
    fn read_at(&self, answer: &ApiResponse) -> Timestamp {
        let date = answer.response.header("date").and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
        let answered = date.map_or_else(|| self.workspace.engine.clock.now(), |date| date.timestamp());
        // In whole seconds, as the date is.
        let took = Duration::from_secs(answer.duration.as_secs() + 1);
        answered.checked_sub(took).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Where an answer holds records.
    fn record_pointers(&self, list: &ListRequestBuilder<'_>, progress: &Checkpoint) -> Vec<Pointer> {
        let changes = self.stream.token.as_ref().filter(|_| progress.since.is_some());
        match (changes, list.pages().and_then(|pages| pages.records.clone())) {
            (Some(token), _) if !token.records.is_empty() => token.records.clone(),
            (_, Some(at)) if self.stream.records.is_empty() => vec![at],
            _ => self.stream.records.clone(),
        }
    }

    /// The tokens of all further pages, where the vendor says how many there are and a page does not depend on the one
    /// before it.
    pub(super) fn remaining_pages(
        &self,
        list: &ListRequestBuilder<'_>,
        progress: &Checkpoint,
        response: &PageResponse<'_>,
    ) -> Option<Vec<PageToken>> {
        let pages = list.pages().filter(|_| progress.page_token.is_none() && self.can_prefetch(list, progress))?;
        response
            .listed(progress, None, |listed| remaining_pages(pages, listed))
            .filter(|page_tokens| page_tokens.len() > 1)
    }

    /// How to ask for the next page, where that follows from what is known before this one's records are looked at.
    pub(super) fn prefetchable_page(
        &self,
        list: &ListRequestBuilder<'_>,
        progress: &Checkpoint,
        response: &PageResponse<'_>,
    ) -> Option<PageToken> {
        let pages = list.pages();
        let by_record =
            pages.is_some_and(|pages| matches!(pages.kind, PaginationKind::LastRecord | PaginationKind::MaxRecord));
        if by_record || !self.can_prefetch(list, progress) {
            return None;
        }
        // What is wrong with it is said when the page is understood.
        response.listed(progress, None, |listed| next_page(pages, listed)).ok().flatten()
    }

    /// Whether a page may be asked for before the one before it was read and stored.
    fn can_prefetch(&self, list: &ListRequestBuilder<'_>, progress: &Checkpoint) -> bool {
        let rule = self.stream.incremental.as_ref();
        // A list that is restarted after so many records, or that ends where nothing is new, is paged by its records.
        let ends_by_records = |rule: &Incremental| rule.newest_first && progress.since.is_some();
        let turns_by_records = rule.is_some_and(|rule| rule.restart_after.is_some() || ends_by_records(rule));
        let acknowledges = list.pages().is_some_and(|pages| pages.acknowledges);
        self.stream.detail.is_none() && !turns_by_records && !acknowledges
    }

    /// What a page says: its records, and how the list goes on.
    pub(super) async fn parse_page(
        &self,
        list: &ListRequestBuilder<'_>,
        progress: &Checkpoint,
        response: PageResponse<'_>,
        token: &GrantToken,
    ) -> Result<FetchedPage, PageFetchError> {
        let mut traffic = response.traffic;
        let fetched = match self.fetched(list, progress, &response) {
            Ok(fetched) => self.fetch_details(list, progress, token, fetched, &mut traffic).await,
            Err(error) => Err(error),
        };
        match fetched {
            Ok(fetched) => Ok(FetchedPage { traffic, ..fetched }),
            Err(error) => {
                self.add_unpaged_traffic(traffic);
                Err(error)
            }
        }
    }

    fn fetched(
        &self,
        list: &ListRequestBuilder<'_>,
        progress: &Checkpoint,
        response: &PageResponse<'_>,
    ) -> Result<FetchedPage, PageFetchError> {
        let PageResponse { answer, document, raw, nulls, .. } = response;
        let stream = self.stream;
        let pages = list.pages();
        let count = response.count();
        let token = stream.token.as_ref();
        let missing_key = |record::MissingKey(at)| {
            self.error(|connection, stream| SyncError::MissingKey { connection, stream, at }).into_fetch_error()
        };
        let mut records = record::records(stream, raw, &list.added()?, self.hasher).map_err(missing_key)?;
        let is_change_feed = token.is_some() && progress.since.is_some();
        let marker = token.filter(|_| is_change_feed).and_then(|token| token.gone.as_ref());
        let marked_deleted =
            |marker: &DeletionMarker| marker.at.iter().flat_map(|at| document.all(at)).collect::<Vec<_>>();
        let deleted = marker.map(|marker| record::deleted_keys(marker, &marked_deleted(marker))).unwrap_or_default();
        let met = if is_change_feed {
            // One record may change many times in it: the whole page tells it from others.
            let texts: Vec<&str> = raw.iter().map(|record| record.as_str()).collect();
            if count == 0 && deleted.is_empty() { Vec::new() } else { vec![hash_of((texts, &deleted))] }
        } else {
            // All nulls are alike.
            let nulls = (*nulls > 0).then(|| hash_of("null"));
            records.iter().map(|pulled| hash_of(&pulled.record.key)).chain(nulls).collect()
        };
        let ids = |at| records.iter().rev().filter_map(move |pulled: &ParsedRecord| pulled.text(at));
        let id = pages.and_then(|pages| {
            let at = pages.id.as_ref()?;
            if pages.kind == PaginationKind::MaxRecord { max_id(ids(at)) } else { ids(at).next() }
        });
        let high = records
            .iter()
            .filter_map(|pulled| pulled.cursor.clone())
            .reduce(|one, other| if other.0 > one.0 { other } else { one });
        // A list that began with a token of its own takes none from its pages.
        let token = token.filter(|token| token.first.is_none() || progress.since.is_some());
        let next_token = token.and_then(|token| document.find(&token.at)).and_then(|value| match value {
            serde_json::Value::String(text) if !text.is_empty() => Some(text),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        let ties = stream.incremental.as_ref().and_then(|rule| rule.ties.as_ref());
        let second_key = ties.and_then(|ties| max_id(ids(&ties.at)));
        let next = response.listed(progress, id, |listed| next_page(pages, listed)).map_err(|source| {
            self.error(|connection, stream| SyncError::Paging { connection, stream, source }).into_fetch_error()
        })?;
        let falls_short =
            pages.is_some_and(|pages| response.listed(progress, None, |listed| is_incomplete(pages, listed)));
        let omitted = list.omitted()?;
        if !omitted.is_empty() {
            records.retain(|pulled| !pulled.holds_any(&omitted));
        }
        let read_at = Some(self.read_at(answer));
        Ok(FetchedPage {
            page: checkpoint::PageSummary {
                count,
                is_partial: *nulls > 0 || (next.is_none() && falls_short),
                record_hashes: met,
                is_repeated: false,
                second_key,
                max_cursor: high,
                next_page: next,
                sync_token: next_token,
                read_at,
            },
            records,
            unchanged_keys: Vec::new(),
            deleted_keys: deleted,
            traffic: Traffic::default(),
        })
    }

    /// Fetches each record of which the list has only the name.
    async fn fetch_details(
        &self,
        list: &ListRequestBuilder<'_>,
        progress: &Checkpoint,
        token: &GrantToken,
        mut fetched: FetchedPage,
        traffic: &mut Traffic,
    ) -> Result<FetchedPage, PageFetchError> {
        let Some(detail) = &self.stream.detail else { return Ok(fetched) };
        let mut listed = std::mem::take(&mut fetched.records);
        if detail.once && (self.stream.token.is_none() || progress.since.is_none()) {
            let keys: Vec<String> = listed.iter().map(|pulled| pulled.record.key.clone()).collect();
            let known = self.store.records().exist(self.id, &keys).await?;
            let mut known = known.into_iter();
            listed.retain(|pulled| {
                let is_known = known.next() == Some(true);
                if is_known {
                    fetched.unchanged_keys.push(pulled.record.key.clone());
                }
                !is_known
            });
        }
        let mut seen = HashSet::new();
        listed.retain(|pulled| seen.insert(pulled.record.key.clone()));
        let added = list.added()?;
        let ask = |pulled: ParsedRecord| -> BoxFuture<'_, _> {
            let mut token = token.clone();
            Box::pin(async move {
                let answer = self.send(&mut token, |grant| list.detail(detail, &pulled.document(), grant)).await;
                (pulled.record.key, answer)
            })
        };
        let mut details = stream::iter(listed).map(ask).buffered(CONCURRENT_PAGES);
        while let Some((key, answer)) = details.next().await {
            let answer = answer?;
            traffic.add(traffic_of(&answer));
            if matches!(answer.response.status, 404 | 410) {
                fetched.deleted_keys.push(key);
                continue;
            }
            self.check_response(&answer, &Checkpoint::default(), false)?;
            let text = answer.response.text();
            let json = text.as_deref().map_err(Clone::clone).and_then(Json::validate).map_err(|source| {
                self.error(|connection, stream| SyncError::NotJson { connection, stream, source }).into_fetch_error()
            })?;
            let pulled = record::record(self.stream, json, &added, self.hasher).map_err(|record::MissingKey(at)| {
                self.error(|connection, stream| SyncError::MissingKey { connection, stream, at }).into_fetch_error()
            })?;
            fetched.records.push(pulled);
        }
        Ok(fetched)
    }

    pub(super) async fn send(
        &self,
        token: &mut GrantToken,
        build: impl Fn(&crate::model::Grant) -> Result<Request>,
    ) -> Result<ApiResponse, PageFetchError> {
        let cost = self.session.connector.rate.cost_of(self.stream.cost);
        let limits = RetryLimits { max_attempts: MAX_ATTEMPTS, max_wait: MAX_WAIT, is_idempotent: true, cost };
        match api::send(self.workspace, self.session, token, limits, build).await {
            Ok(answer) => Ok(answer),
            Err(SendError::Http { error, tries }) => {
                self.add_unpaged_traffic(Traffic { requests: tries.into(), retries: u64::from(tries - 1), bytes: 0 });
                Err(error.into())
            }
            Err(SendError::RateLimited(paced)) => Err(self.rate_limit_error(paced.resumes_at).into_fetch_error()),
            Err(error) => Err(PageFetchError::Failed(error.into())),
        }
    }

    /// What an answer that is no success means.
    pub(super) fn check_response(
        &self,
        answer: &ApiResponse,
        progress: &Checkpoint,
        resumed: bool,
    ) -> Result<(), PageFetchError> {
        let Some(class) = answer.error_class else { return Ok(()) };
        let response = &answer.response;
        let in_token = self.stream.token.as_ref().is_some_and(|_| progress.since.is_some());
        let expired = self.stream.token.as_ref().is_some_and(|token| token.expired.contains(&response.status));
        let has_place = progress.page_token.is_some() || progress.since.is_some();
        if (class == ErrorClass::CursorExpired && has_place) || (in_token && expired) {
            return Err(PageFetchError::Expired { page: progress.page_token.is_some() });
        }
        // A page that was good for another process may have ended since.
        if resumed && matches!(class, ErrorClass::Fail | ErrorClass::NotFound) {
            return Err(PageFetchError::Expired { page: progress.page_token.is_some() });
        }
        if class == ErrorClass::RateLimit {
            let now = self.workspace.engine.clock.now();
            let wait = response.retry_after(&self.session.connector.rate, now).unwrap_or(MAX_WAIT);
            return Err(self.rate_limit_error(now.checked_add(wait).unwrap_or(Timestamp::MAX)).into_fetch_error());
        }
        if self.stream.skip.iter().any(|skip| matches_skip(skip, response)) {
            return Err(PageFetchError::Skipped);
        }
        let what = format!("the list of {}", self.name);
        Err(api::refusal_error(self.session, &what, class, response).into())
    }

    fn rate_limit_error(&self, resumes_at: Timestamp) -> Error {
        SyncError::RateLimited { connection: self.connection().clone(), resumes_at }.into()
    }
}

pub(super) fn traffic_of(answer: &ApiResponse) -> Traffic {
    let bytes = answer.response.body.len() as u64;
    Traffic { requests: answer.attempts.into(), retries: u64::from(answer.attempts.saturating_sub(1)), bytes }
}

fn matches_skip(skip: &SkipRule, response: &Response) -> bool {
    if !skip.status.is_empty() && !skip.status.contains(&response.status) {
        return false;
    }
    let text = response.text().unwrap_or_default();
    let document = Json::validate(&text).unwrap_or(Json::NULL);
    skip.body.iter().all(|(at, values)| record::holds(document, at, values))
}
