//! Finds the list of records in a response, which must plainly be one. Pure.

use indexmap::IndexMap;
use serde_json::Value;
use std::borrow::Cow;

use super::SyncError;
use super::checkpoint::{Checkpoint, PageSummary};
use super::document::{Document, NotAList};
use super::record::{self, ParsedRecord};
use crate::api::{
    ApiResponse, PageContext, PagePosition, PagesAhead, PagingError, hash_of, is_incomplete, max_id, next_page,
    pages_ahead,
};
use crate::clock::Timestamp;
use crate::connector::{Connector, DeletionMarker, Incremental, Pagination, PaginationKind, Pointer, SkipRule, Stream};
use crate::http::Response;
use crate::json::{self, Json, JsonError};
use crate::model::{ConnectionName, NewRecord, Traffic};
use crate::store::RecordHasher;

/// The answer to the request for a page: JSON, or nothing but white space.
pub(super) struct PageAnswer {
    pub(super) answer: ApiResponse,
    /// When the vendor read it, at the earliest.
    pub(super) read_at: Timestamp,
    pub(super) traffic: Traffic,
}

impl PageAnswer {
    pub(super) fn text(&self) -> Cow<'_, str> {
        // Its constructor has checked the text.
        self.answer.response.text().unwrap_or_default()
    }
}

/// Reads the pages of one list.
pub(super) struct PageReader<'a> {
    pub(super) connection: &'a ConnectionName,
    pub(super) connector: &'a Connector,
    pub(super) name: &'a str,
    pub(super) stream: &'a Stream,
    /// How the list is paginated.
    pub(super) pages: Option<&'a Pagination>,
    /// The members that each record is given.
    pub(super) added: IndexMap<String, String>,
    /// The values that mark records to be left out, by their places.
    pub(super) omitted: IndexMap<Pointer, Vec<Value>>,
    pub(super) hasher: RecordHasher,
}

/// What an answer holds.
pub(super) enum PageContent<'d> {
    List(ListPage<'d>),
    /// By the stream's rules, that there is nothing to list.
    Skipped,
    /// Something else, as the user sees it.
    NotAList(String),
}

/// A page with its list, read at its outermost level.
pub(super) struct ListPage<'d> {
    answer: &'d PageAnswer,
    document: Document<'d>,
    /// The items of its list that are not null.
    items: Vec<Json<'d>>,
    nulls: usize,
}

/// What a page says.
pub(super) struct ParsedPage {
    pub(super) records: Vec<ParsedRecord>,
    /// The keys of records that were met and are known to be as they were.
    pub(super) unchanged_keys: Vec<String>,
    pub(super) deleted_keys: Vec<String>,
    pub(super) summary: PageSummary,
}

impl ListPage<'_> {
    /// The items of its list, those that are null among them.
    pub(super) fn count(&self) -> usize {
        self.items.len() + self.nulls
    }

    /// What the rules of paging make of it; `id` is the record's that they go on from.
    fn apply<T>(&self, position: &PagePosition, id: Option<String>, rule: impl FnOnce(&PageContext<'_>) -> T) -> T {
        rule(&PageContext {
            url: &self.answer.answer.url,
            position,
            link_header: self.answer.answer.response.header("link"),
            find: &|at| self.document.find(at),
            count: self.count(),
            id,
        })
    }
}

impl PageReader<'_> {
    /// Finds the list in an answer that is a success. Only what is plainly a list is read as one: what a list does not hold
    /// counts as deleted.
    pub(super) fn find<'d>(&self, checkpoint: &Checkpoint, answer: &'d PageAnswer, text: &'d str) -> PageContent<'d> {
        let response = &answer.answer.response;
        let refuse = |why: String| match is_skipped(self.stream, response) {
            true => PageContent::Skipped,
            false => PageContent::NotAList(why),
        };
        if response.body.iter().all(u8::is_ascii_whitespace) {
            return refuse(format!("an empty answer of status {}", response.status));
        }
        let document = Document::of(Json::from_validated(text));
        let pointers = self.record_pointers(checkpoint);
        let api = &self.connector.api;
        let message = || {
            let message = response.error_message(&api.message);
            message.map(|message| format!(": {message}")).unwrap_or_default()
        };
        // A connector that says what a success looks like has had that looked at already.
        let is_record = pointers.iter().any(|at| at.segments().next().is_none());
        if api.success.is_empty()
            && !is_record
            && let Some(member) = document.error_member()
        {
            return refuse(format!("an error in the member `{member}`{}", message()));
        }
        let is_empty = || self.stream.empty.iter().any(|(at, values)| document.holds(at, values));
        let (mut items, mut nulls) = (Vec::new(), 0);
        // Each place by itself: one of several may be left out where it is empty.
        for pointers in if pointers.is_empty() { vec![&pointers[..]] } else { pointers.chunks(1).collect() } {
            match document.records(pointers) {
                Ok(found) => {
                    items.extend(found.records);
                    nulls += found.nulls;
                }
                Err(absent) if absent.is_absent() && is_empty() => {}
                Err(wrong) => return refuse(format!("{wrong}{}", message())),
            }
        }
        PageContent::List(ListPage { answer, document, items, nulls })
    }

    /// Where an answer holds records.
    fn record_pointers(&self, checkpoint: &Checkpoint) -> Vec<Pointer> {
        let changes = self.stream.token.as_ref().filter(|_| checkpoint.since.is_some());
        match (changes, self.pages.and_then(|pages| pages.records.clone())) {
            (Some(token), _) if !token.records.is_empty() => token.records.clone(),
            (_, Some(at)) if self.stream.records.is_empty() => vec![at],
            _ => self.stream.records.clone(),
        }
    }

    /// The pages that may be requested before this one is read and stored.
    pub(super) fn pages_ahead(&self, checkpoint: &Checkpoint, page: &ListPage<'_>) -> PagesAhead {
        let rule = self.stream.incremental.as_ref();
        // A list that is restarted after so many records, or that ends where nothing is new, is paged by its records.
        let ends_by_records = |rule: &Incremental| rule.newest_first && checkpoint.since.is_some();
        let turns_by_records = rule.is_some_and(|rule| rule.restart_after.is_some() || ends_by_records(rule));
        if self.stream.detail.is_some() || turns_by_records {
            return PagesAhead::Unknown;
        }
        page.apply(&checkpoint.position, None, |page| pages_ahead(self.pages, page))
    }

    /// Reads a page: its records, and how the list goes on.
    ///
    /// # Errors
    /// [`SyncError::MissingKey`], [`SyncError::Paging`].
    pub(super) fn parse(&self, checkpoint: &Checkpoint, page: &ListPage<'_>) -> Result<ParsedPage, SyncError> {
        let ListPage { answer, document, items, nulls } = page;
        let (stream, pages) = (self.stream, self.pages);
        let is_change_feed = stream.token.is_some() && checkpoint.since.is_some();
        let mut records = record::records(stream, items, &self.added, self.hasher).map_err(|e| self.missing_key(e))?;
        let marker = stream.token.as_ref().filter(|_| is_change_feed).and_then(|token| token.gone.as_ref());
        let marked = |marker: &DeletionMarker| marker.at.iter().flat_map(|at| document.all(at)).collect::<Vec<_>>();
        let deleted_keys = marker.map(|marker| record::deleted_keys(marker, &marked(marker))).unwrap_or_default();
        let record_hashes = if !is_change_feed {
            // All nulls are alike.
            let nulls = (*nulls > 0).then(|| hash_of("null"));
            records.iter().map(|record| hash_of(&record.record.key)).chain(nulls).collect()
        } else if page.count() == 0 && deleted_keys.is_empty() {
            Vec::new()
        } else {
            // One record may change many times in it: the whole page identifies it.
            let texts: Vec<&str> = items.iter().map(|record| record.as_str()).collect();
            vec![hash_of((texts, &deleted_keys))]
        };
        let ids = |at| records.iter().rev().filter_map(move |record: &ParsedRecord| record.text(at));
        let id = pages.and_then(|pages| {
            let at = pages.id.as_ref()?;
            if pages.kind == PaginationKind::MaxRecord { max_id(ids(at)) } else { ids(at).next() }
        });
        let cursors = records.iter().filter_map(|record| record.cursor.clone());
        let max_cursor = cursors.reduce(|one, other| if other.0 > one.0 { other } else { one });
        let ties = stream.incremental.as_ref().and_then(|rule| rule.ties.as_ref());
        let second_key = ties.and_then(|ties| max_id(ids(&ties.at)));
        let next = page.apply(&checkpoint.position, id, |page| next_page(pages, page));
        let next_page = next.map_err(|source| self.paging_error(source))?;
        let falls_short = next_page.is_none()
            && pages.is_some_and(|pages| page.apply(&checkpoint.position, None, |page| is_incomplete(pages, page)));
        if !self.omitted.is_empty() {
            records.retain(|record| !record.holds_any(&self.omitted));
        }
        let summary = PageSummary {
            count: page.count(),
            is_partial: *nulls > 0 || falls_short,
            record_hashes,
            is_repeated: false,
            second_key,
            max_cursor,
            next_page,
            sync_token: self.sync_token(checkpoint, document),
            read_at: Some(answer.read_at),
        };
        Ok(ParsedPage { records, unchanged_keys: Vec::new(), deleted_keys, summary })
    }

    /// Reads one record that was requested by itself.
    ///
    /// # Errors
    /// [`SyncError::MissingKey`].
    pub(super) fn parse_record(&self, json: Json<'_>) -> Result<ParsedRecord, SyncError> {
        record::record(self.stream, json, &self.added, self.hasher).map_err(|error| self.missing_key(error))
    }

    /// The token that the next sync begins with, as far as this page says it.
    fn sync_token(&self, checkpoint: &Checkpoint, document: &Document<'_>) -> Option<String> {
        // A list that began with a token of its own takes none from its pages.
        let token = self.stream.token.as_ref().filter(|token| token.first.is_none() || checkpoint.since.is_some())?;
        match document.find(&token.at)? {
            Value::String(text) if !text.is_empty() => Some(text),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    fn missing_key(&self, record::MissingKey(at): record::MissingKey) -> SyncError {
        SyncError::MissingKey { connection: self.connection.clone(), stream: self.name.to_owned(), at }
    }

    fn paging_error(&self, source: PagingError) -> SyncError {
        SyncError::Paging { connection: self.connection.clone(), stream: self.name.to_owned(), source }
    }
}

/// Whether a stream's rules say of an answer that there is nothing to list.
pub(super) fn is_skipped(stream: &Stream, response: &Response) -> bool {
    let matches = |skip: &SkipRule| {
        if !skip.status.is_empty() && !skip.status.contains(&response.status) {
            return false;
        }
        let text = response.text().unwrap_or_default();
        let document = Json::validate(&text).unwrap_or(Json::NULL);
        skip.body.iter().all(|(at, values)| record::holds(document, at, values))
    };
    stream.skip.iter().any(matches)
}

/// Why a page cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    #[error("cannot read the page")]
    NotJson(#[from] JsonError),
    #[error("the page contains {0}")]
    NotAList(#[from] NotAList),
    #[error("a record has no key at {0}")]
    MissingKey(Pointer),
}

/// Returns the records of one page of a stream's list, as a sync stores them, without a connection: this is what fuzzers
/// drive.
///
/// # Errors
/// [`PageError`].
pub fn read_page(stream: &Stream, body: &[u8]) -> Result<Vec<NewRecord>, PageError> {
    let text = json::decode(body, None)?;
    let document = Document::parse(&text)?;
    let raw = document.records(&stream.records)?.records;
    let records = record::records(stream, &raw, &IndexMap::new(), RecordHasher::new(""));
    let records = records.map_err(|record::MissingKey(at)| PageError::MissingKey(at))?;
    Ok(records.into_iter().map(|parsed| parsed.record).collect())
}
