//! Finds the next page of a list in the response with the current one. Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use url::Url;

use super::pager::PagePosition;
use super::repeat_detector::hash_of;
use crate::connector::{PageParam, Pagination, PaginationKind, Pointer, first_page};
use crate::http::Response;
use crate::json::{Json, JsonType};

/// How to ask for the next page. It holds no credentials but what the vendor's own link holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageToken {
    /// By this URL.
    Url(Url),
    /// By this parameter of the query.
    Query(String, String),
    /// By the value at this place of the JSON body.
    Body(Pointer, Value),
    /// By this page or offset, which templates name.
    Count(u64),
}

/// Pages that are worked out ahead.
const MAX_PREFETCHED_PAGES: usize = 1000;

/// A page as the rules of paging see it.
pub struct PageContext<'a> {
    /// What was asked.
    pub url: &'a Url,
    pub position: &'a PagePosition,
    pub link_header: Option<&'a str>,
    /// What the answer holds at a place.
    pub find: &'a dyn Fn(&Pointer) -> Option<Value>,
    /// The items of this page's list.
    pub count: usize,
    /// The `id` that the rules go on from: the last record's or the greatest.
    pub id: Option<String>,
}

impl PageContext<'_> {
    /// The items of the list so far, this page's among them.
    fn seen(&self) -> u64 {
        (self.position.record_count + self.count) as u64
    }

    fn text(&self, at: Option<&Pointer>) -> Option<String> {
        match (self.find)(at?)? {
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    fn number(&self, at: Option<&Pointer>) -> Option<u64> {
        self.text(at)?.parse().ok()
    }

    fn flag(&self, at: Option<&Pointer>) -> Option<bool> {
        (self.find)(at?)?.as_bool()
    }

    /// The cursor or URL at a place; absent where the service has none to give.
    fn cursor(&self, at: Option<&Pointer>) -> Result<Option<String>, PagingError> {
        let Some(at) = at else { return Ok(None) };
        match (self.find)(at) {
            None | Some(Value::Null | Value::Bool(false)) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(PagingError::Shape { at: at.clone(), expected: "a cursor or a URL" }),
        }
    }

    /// The target of the link whose `rel` is `next`, in a list of links.
    fn relation(&self, at: Option<&Pointer>) -> Result<Option<String>, PagingError> {
        let Some(at) = at else { return Ok(None) };
        let links = match (self.find)(at) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Array(links)) => links,
            Some(_) => return Err(PagingError::Shape { at: at.clone(), expected: "a list of links" }),
        };
        let Some(next) = links.iter().find(|link| link["rel"] == "next") else { return Ok(None) };
        let target = next["href"].as_str().map(str::to_owned);
        target.map(Some).ok_or(PagingError::Shape { at: at.clone(), expected: "a list of links" })
    }

    /// The page that a link leads to. A service behind a proxy that ends TLS often writes `http://` for its own host: that
    /// is asked by https as the page before was.
    fn link_to(&self, target: &str) -> Result<PageToken, PagingError> {
        let mut url = self.url.join(target).map_err(|_| PagingError::Link { target: target.to_owned() })?;
        let is_same_host = url.host_str() == self.url.host_str() && url.port().is_none();
        if url.scheme() == "http" && self.url.scheme() == "https" && is_same_host {
            let _ = url.set_scheme("https");
            let _ = url.set_port(self.url.port());
        }
        Ok(PageToken::Url(url))
    }

    /// The number of this page, or its offset.
    fn counted(&self, pages: &Pagination) -> u64 {
        if let Some(PageToken::Count(count)) = self.position.page_token {
            return count;
        }
        let name = pages.param.as_ref().and_then(PageParam::query_name);
        let said = name.and_then(|name| query(self.url, name)).and_then(|text| text.parse().ok());
        said.unwrap_or_else(|| first_page(pages))
    }
}

/// Why an answer does not say how its list goes on. It is never taken for the end of the list.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PagingError {
    #[error("the value at {at} is not {expected}")]
    Shape { at: Pointer, expected: &'static str },
    #[error("the next page is at {target:?}, which is not a URL")]
    Link { target: String },
    #[error("the service says that there are more pages but does not say where")]
    MissingNext,
    #[error("the last record has no value at {at}, after which the next page begins")]
    MissingRecordId { at: Pointer },
}

/// Returns how to ask for the page after an answer; `None` after the last page. A `Link` header gives it for every API.
///
/// The end of a list is what the service says it is, or else an empty page: a short page may hide records that the user
/// may not see, and services cap the size of pages.
///
/// # Errors
/// [`PagingError`] if the answer contradicts itself, or what should lead to the next page is of another type.
pub fn next_page(pages: Option<&Pagination>, listed: &PageContext<'_>) -> Result<Option<PageToken>, PagingError> {
    let Some(pages) = pages else { return next_link(listed) };
    let (more, last) = (listed.flag(pages.more.as_ref()), listed.flag(pages.last.as_ref()));
    if more == Some(false) || last == Some(true) {
        return Ok(None);
    }
    let says_more = more == Some(true) || last == Some(false);
    let next = match pages.kind {
        PaginationKind::None => return Ok(None),
        PaginationKind::LinkHeader => next_link(listed)?,
        PaginationKind::NextUrl => {
            listed.cursor(pages.next.as_ref())?.map(|target| listed.link_to(&target)).transpose()?
        }
        PaginationKind::Links => {
            listed.relation(pages.next.as_ref())?.map(|target| listed.link_to(&target)).transpose()?
        }
        PaginationKind::Cursor => listed.cursor(pages.next.as_ref())?.and_then(|cursor| cursor_page(pages, cursor)),
        PaginationKind::Page => return Ok(next_number(pages, listed, says_more)),
        PaginationKind::Offset => return Ok(next_offset(pages, listed, says_more)),
        PaginationKind::LastRecord | PaginationKind::MaxRecord if listed.count == 0 => None,
        PaginationKind::LastRecord | PaginationKind::MaxRecord => {
            let no_id = || PagingError::MissingRecordId { at: pages.id.clone().unwrap_or_default() };
            let id = listed.id.clone().ok_or_else(no_id)?;
            let plus = |id: &str| Some(id.parse::<u64>().ok()?.saturating_add(pages.plus.into()).to_string());
            cursor_page(pages, if pages.plus == 0 { id } else { plus(&id).ok_or_else(no_id)? })
        }
    };
    match next {
        None if says_more => Err(PagingError::MissingNext),
        next => Ok(next),
    }
}

/// Whether the last page ends a list of which the service says that it holds more: what is missing from it may be there.
pub fn is_incomplete(pages: &Pagination, listed: &PageContext<'_>) -> bool {
    let seen = listed.seen();
    let is_short = listed.number(pages.total.as_ref()).is_some_and(|total| seen < total);
    // Some say that an empty list has one page.
    is_short || (seen == 0 && listed.number(pages.total_pages.as_ref()).is_some_and(|total| total > 1))
}

/// The page behind this one, by its number.
fn next_number(pages: &Pagination, listed: &PageContext<'_>, says_more: bool) -> Option<PageToken> {
    let next = listed.counted(pages).saturating_add(1);
    let end = listed.number(pages.total_pages.as_ref()).map(|total| total.saturating_add(first_page(pages)));
    let goes_on = match end {
        // One that holds records and by its number should not exist: the total is wrong.
        Some(end) if next > end => listed.count > 0,
        Some(end) => next < end,
        None => listed.count > 0 || says_more,
    };
    if goes_on { numbered_page(pages, next) } else { None }
}

/// The page behind this one, by the number of records before it.
fn next_offset(pages: &Pagination, listed: &PageContext<'_>, says_more: bool) -> Option<PageToken> {
    let seen = listed.seen();
    let total = listed.number(pages.total.as_ref());
    if listed.count > 0 {
        let is_end = total == Some(seen) && !says_more;
        return if is_end { None } else { numbered_page(pages, first_page(pages).saturating_add(seen)) };
    }
    // A page may be empty although more follow, where the user may not see what is on it.
    let step = u64::from(pages.size.filter(|_| says_more)?);
    numbered_page(pages, listed.counted(pages).saturating_add(step))
}

/// The pages that may be requested before a page's records are read and stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PagesAhead {
    /// The next page follows from the records, or asking for it acknowledges this one.
    Unknown,
    /// The next page.
    Next(PageToken),
    /// All further pages, two or more: the first page says how many there are, and they may be requested concurrently.
    All(Vec<PageToken>),
}

/// Returns the pages that may be requested ahead of a page.
pub fn pages_ahead(pages: Option<&Pagination>, listed: &PageContext<'_>) -> PagesAhead {
    let is_known = |pages: &Pagination| {
        !pages.acknowledges && !matches!(pages.kind, PaginationKind::LastRecord | PaginationKind::MaxRecord)
    };
    if !pages.is_none_or(is_known) {
        return PagesAhead::Unknown;
    }
    let first = pages.filter(|_| listed.position.page_token.is_none());
    match first.and_then(|pages| remaining_pages(pages, listed)) {
        Some(all) if all.len() > 1 => PagesAhead::All(all),
        // What is wrong with it is said when the page is read.
        _ => next_page(pages, listed).ok().flatten().map_or(PagesAhead::Unknown, PagesAhead::Next),
    }
}

/// All pages that follow a page that says how many there are.
fn remaining_pages(pages: &Pagination, listed: &PageContext<'_>) -> Option<Vec<PageToken>> {
    let counts: Vec<u64> = match pages.kind {
        PaginationKind::Page => {
            let end = listed.number(pages.total_pages.as_ref())?.saturating_add(first_page(pages));
            (listed.counted(pages).saturating_add(1)..end).take(MAX_PREFETCHED_PAGES).collect()
        }
        PaginationKind::Offset if listed.count > 0 => {
            let end = listed.number(pages.total.as_ref())?.saturating_add(first_page(pages));
            let step = listed.count;
            (listed.counted(pages).saturating_add(step as u64)..end).step_by(step).take(MAX_PREFETCHED_PAGES).collect()
        }
        _ => return None,
    };
    counts.into_iter().map(|count| numbered_page(pages, count)).collect()
}

fn cursor_page(pages: &Pagination, value: String) -> Option<PageToken> {
    Some(match pages.param.clone()? {
        PageParam::Query(name) => PageToken::Query(name, value),
        PageParam::Body(at) => PageToken::Body(at, Value::String(value)),
    })
}

fn numbered_page(pages: &Pagination, count: u64) -> Option<PageToken> {
    Some(match &pages.param {
        None => PageToken::Count(count),
        Some(PageParam::Body(at)) => PageToken::Body(at.clone(), count.into()),
        Some(PageParam::Query(name)) => PageToken::Query(name.clone(), count.to_string()),
    })
}

/// A page that was read whole: its number of records, their hashes, and how to ask for the next page.
pub(super) struct WholePage {
    pub(super) count: usize,
    pub(super) record_hashes: Vec<u64>,
    pub(super) next: Option<PageToken>,
}

impl WholePage {
    /// Reads the answer for the page at a position of a list; an answer that is not JSON has no records.
    ///
    /// # Errors
    /// As [`next_page`].
    pub(super) fn read(
        pages: Option<&Pagination>,
        url: &Url,
        position: &PagePosition,
        response: &Response,
    ) -> Result<Self, PagingError> {
        let text = response.text().unwrap_or_default();
        let document = Json::validate(&text).unwrap_or(Json::NULL);
        let list = list_in(pages.and_then(|pages| pages.records.as_ref()), document);
        let records: Vec<Json<'_>> = list.into_iter().flat_map(Json::items).collect();
        let ids = |pages: &Pagination| {
            let at = pages.id.as_ref()?;
            let mut ids = records.iter().filter_map(|record| at.text_in(*record));
            if pages.kind == PaginationKind::MaxRecord { max_id(ids) } else { ids.next_back() }
        };
        let listed = PageContext {
            url,
            position,
            link_header: response.header("link"),
            find: &|at| at.find_in(document).map(Json::value),
            count: records.len(),
            id: pages.and_then(ids),
        };
        let next = next_page(pages, &listed)?;
        let record_hashes = records.iter().map(|record| hash_of(record.as_str())).collect();
        Ok(Self { count: records.len(), record_hashes, next })
    }
}

/// The greatest of several numbers, however long they are.
pub fn max_id(ids: impl Iterator<Item = String>) -> Option<String> {
    ids.max_by(|a, b| (a.len(), a).cmp(&(b.len(), b)))
}

/// [`records`], without a tree.
fn list_in<'t>(at: Option<&Pointer>, document: Json<'t>) -> Option<Json<'t>> {
    let is_list = |json: &Json<'t>| json.kind() == JsonType::Array;
    if let Some(at) = at {
        return at.find_in(document).filter(is_list);
    }
    if is_list(&document) {
        return Some(document);
    }
    let mut lists = document.members().map(|(_, value)| value).filter(is_list);
    let first = lists.next()?;
    lists.next().is_none().then_some(first)
}

/// The list in an answer: where it is said to be, else the answer itself or the one list at its top.
pub(crate) fn records<'d>(at: Option<&Pointer>, document: &'d Value) -> Option<&'d Vec<Value>> {
    if let Some(at) = at {
        return at.find(document)?.as_array();
    }
    match document {
        Value::Array(items) => Some(items),
        Value::Object(members) => {
            let mut lists = members.values().filter_map(Value::as_array);
            let first = lists.next()?;
            lists.next().is_none().then_some(first)
        }
        _ => None,
    }
}

/// The target of `rel="next"` in a `Link` header (RFC 8288 section 3).
fn next_link(listed: &PageContext<'_>) -> Result<Option<PageToken>, PagingError> {
    let mut rest = listed.link_header.unwrap_or_default();
    while let Some((_, link)) = rest.split_once('<') {
        let Some((target, after)) = link.split_once('>') else { break };
        // The next link begins at the next `<`; a comma may be part of a target.
        let params = after.split('<').next().unwrap_or(after);
        let is_next = params.split(';').any(|param| {
            let (name, value) = param.trim().trim_end_matches(',').split_once('=').unwrap_or_default();
            name.trim().eq_ignore_ascii_case("rel")
                && value.trim().trim_matches('"').split(' ').any(|word| word == "next")
        });
        if is_next {
            return listed.link_to(target).map(Some);
        }
        rest = after;
    }
    Ok(None)
}

/// A URL that asks for pages of the usual size, where it does not say one itself.
pub(super) fn with_page_size(pages: &Pagination, url: &Url) -> Url {
    match (&pages.size_param, pages.size) {
        (Some(PageParam::Query(name)), Some(size)) if query(url, name).is_none() => {
            with_param(url, name, &size.to_string())
        }
        _ => url.clone(),
    }
}

fn query(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

pub(super) fn with_param(url: &Url, name: &str, value: &str) -> Url {
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(known, _)| known != name)
        .map(|(known, value)| (known.into_owned(), value.into_owned()))
        .collect();
    let mut next = url.clone();
    next.query_pairs_mut().clear().extend_pairs(kept).append_pair(name, value);
    next
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    fn pages(text: &str) -> Pagination {
        Pagination::deserialize(toml::Deserializer::parse(text).unwrap()).unwrap()
    }

    fn next(rules: &str, body: &str, seen: usize) -> Option<String> {
        let url = Url::parse("https://api.example.com/v1/things?limit=2&page=4").unwrap();
        let response = Response::new(200, &[], body.as_bytes());
        let rules = pages(rules);
        let count = records(rules.records.as_ref(), &response.json().unwrap()).map_or(0, Vec::len);
        let position = PagePosition { page_token: None, record_count: seen - count };
        WholePage::read(Some(&rules), &url, &position, &response).unwrap().next.map(|turn| match turn {
            PageToken::Url(url) => url[url::Position::BeforePath..].to_owned(),
            PageToken::Query(name, value) => with_param(&url, &name, &value)[url::Position::BeforePath..].to_owned(),
            PageToken::Body(name, value) => format!("{name}={value}"),
            PageToken::Count(count) => count.to_string(),
        })
    }

    #[test]
    fn links_are_followed_wherever_they_stand() {
        let url = Url::parse("https://api.example.com/things").unwrap();
        let next = |header: &str| {
            let response = Response::new(200, &[("link", header)], b"");
            WholePage::read(None, &url, &PagePosition::default(), &response).unwrap().next
        };
        let header = "<https://api.example.com/things?page=1>; rel=\"prev\", </things?a=1,2&page=3>; rel=\"next\"; x=y";
        let expected = PageToken::Url(Url::parse("https://api.example.com/things?a=1,2&page=3").unwrap());
        assert_eq!(next(header), Some(expected));
        assert_eq!(next("</x>; rel=\"prev\""), None);
        assert_eq!(next("<"), None);
    }

    #[test]
    fn every_kind_finds_its_next_page_and_its_end() {
        let cursor = "kind='cursor'\nparam='cursor'\nnext='/meta/next'";
        assert_eq!(next(cursor, r#"{"meta":{"next":"a b"}}"#, 2).unwrap(), "/v1/things?limit=2&page=4&cursor=a+b");
        assert_eq!(next(cursor, r#"{"meta":{"next":""}}"#, 2), None);
        let in_body = "kind='cursor'\nparam='/start_cursor'\nnext='/next'\nmore='/more'";
        assert_eq!(next(in_body, r#"{"next":"c","more":true}"#, 2).unwrap(), "/start_cursor=\"c\"");
        assert_eq!(next(in_body, r#"{"next":"c","more":false}"#, 2), None);
        let nested = "kind='cursor'\nparam='/variables/after'\nnext='/next'";
        assert_eq!(next(nested, r#"{"next":"c"}"#, 2).unwrap(), "/variables/after=\"c\"");
        let url = "kind='next_url'\nnext='/next'";
        assert_eq!(next(url, r#"{"next":"/v1/more?x=1"}"#, 2).unwrap(), "/v1/more?x=1");
        assert_eq!(next(url, r#"{"next":null}"#, 2), None);
        let links = "kind='links'\nnext='/links'";
        let both = r#"{"links":[{"rel":"self","href":"/v1/a"},{"rel":"next","href":"/v1/b?x=1"}]}"#;
        assert_eq!(next(links, both, 2).unwrap(), "/v1/b?x=1");
        assert_eq!(next(links, r#"{"links":[{"rel":"self","href":"/v1/a"}]}"#, 2), None);
        let page = "kind='page'\nparam='page'\nsize_param='limit'\nsize=2";
        assert_eq!(next(page, "[1,2]", 2).unwrap(), "/v1/things?limit=2&page=5");
        assert_eq!(next(page, "[1]", 1).unwrap(), "/v1/things?limit=2&page=5", "a short page is not the end");
        assert_eq!(next(page, "[]", 2), None);
        let offset = "kind='offset'\nparam='startAt'\nrecords='/values'";
        assert_eq!(next(offset, r#"{"values":[1,2],"other":[]}"#, 6).unwrap(), "/v1/things?limit=2&page=4&startAt=6");
        assert_eq!(next(offset, r#"{"values":[]}"#, 6), None);
        let last = "kind='last_record'\nparam='after'\nid='/id'\nmore='/has_more'";
        assert_eq!(
            next(last, r#"{"data":[{"id":1},{"id":2}],"has_more":true}"#, 2).unwrap(),
            "/v1/things?limit=2&page=4&after=2"
        );
        assert_eq!(next(last, r#"{"data":[{"id":1}],"has_more":false}"#, 2), None);
    }

    #[test]
    fn totals_end_a_list_only_where_they_agree_with_it() {
        let offset = "kind='offset'\nparam='startAt'\nrecords='/values'\ntotal='/total'";
        let page = |total: u64| format!(r#"{{"values":[1,2],"total":{total}}}"#);
        assert_eq!(next(offset, &page(6), 6), None);
        assert_eq!(next(offset, &page(7), 6).unwrap(), "/v1/things?limit=2&page=4&startAt=6");
        assert_eq!(next(offset, &page(0), 6).unwrap(), "/v1/things?limit=2&page=4&startAt=6", "the total is wrong");
        let pages = "kind='page'\nparam='page'\nrecords='/values'\ntotal_pages='/total'";
        assert_eq!(next(pages, &page(4), 2), None);
        assert_eq!(next(pages, &page(5), 2).unwrap(), "/v1/things?limit=2&page=5");
        assert_eq!(next(pages, &page(1), 2).unwrap(), "/v1/things?limit=2&page=5", "the total is wrong");
        let hidden = r#"{"values":[],"total":5}"#;
        assert_eq!(next(pages, hidden, 0).unwrap(), "/v1/things?limit=2&page=5", "nothing on it may be seen");
        let more = "kind='offset'\nparam='startAt'\nrecords='/values'\nmore='/more'\nsize=50\nsize_param='limit'";
        assert_eq!(next(more, r#"{"values":[],"more":true}"#, 0).unwrap(), "/v1/things?limit=2&page=4&startAt=50");
    }

    #[test]
    fn a_list_with_fewer_records_than_the_service_counts_falls_short() {
        let falls = |rules: &str, body: Value, seen| {
            let url = Url::parse("https://api.example.com/v1/things").unwrap();
            let find = |at: &Pointer| at.find(&body).cloned();
            is_incomplete(
                &pages(rules),
                &PageContext {
                    url: &url,
                    position: &PagePosition { page_token: None, record_count: seen },
                    link_header: None,
                    find: &find,
                    count: 0,
                    id: None,
                },
            )
        };
        let total = "kind='offset'\nparam='at'\ntotal='/total'";
        assert!(
            falls(total, serde_json::json!({ "total": 3 }), 2) && !falls(total, serde_json::json!({ "total": 3 }), 3)
        );
        let numbered = "kind='page'\nparam='page'\ntotal_pages='/pages'";
        assert!(falls(numbered, serde_json::json!({ "pages": 2 }), 0));
        assert!(!falls(numbered, serde_json::json!({ "pages": 1 }), 0) && !falls(numbered, serde_json::json!({}), 0));
    }

    #[test]
    fn what_leads_nowhere_is_an_error_and_not_the_end() {
        let url = Url::parse("https://api.example.com/v1/things").unwrap();
        for (rules, body, expected) in [
            ("kind='cursor'\nparam='c'\nnext='/next'", r#"{"next":{"after":"x"}}"#, "/next is not a cursor or a URL"),
            ("kind='cursor'\nparam='c'\nnext='/next'\nmore='/more'", r#"{"more":true}"#, "does not say where"),
            ("kind='next_url'\nnext='/next'", r#"{"next":"https://[x"}"#, "is not a URL"),
            ("kind='links'\nnext='/links'", r#"{"links":{"next":"/b"}}"#, "/links is not a list of links"),
            ("kind='links'\nnext='/links'", r#"{"links":[{"rel":"next"}]}"#, "/links is not a list of links"),
            ("kind='last_record'\nparam='after'\nid='/id'", r#"[{"name":"x"}]"#, "no value at /id"),
            ("kind='max_record'\nparam='after'\nid='/id'\nplus=1", r#"[{"id":"x"}]"#, "no value at /id"),
        ] {
            let response = Response::new(200, &[], body.as_bytes());
            let error = WholePage::read(Some(&pages(rules)), &url, &PagePosition::default(), &response).err().unwrap();
            assert!(error.to_string().contains(expected), "{body}: {error:?}");
        }
    }

    #[test]
    fn a_link_to_the_same_host_is_asked_by_https() {
        let url = Url::parse("https://api.example.com/v1/things").unwrap();
        let rules = pages("kind='next_url'\nnext='/next'");
        for (target, expected) in [
            ("http://api.example.com/v1/things?page=2", "https://api.example.com/v1/things?page=2"),
            ("http://api.example.com:80/v1/things?page=2", "https://api.example.com/v1/things?page=2"),
            ("http://api.example.com:8080/v1/things", "http://api.example.com:8080/v1/things"),
            ("http://other.example.com/v1/things", "http://other.example.com/v1/things"),
        ] {
            let body = format!(r#"{{"next":"{target}"}}"#);
            let response = Response::new(200, &[], body.as_bytes());
            let page = WholePage::read(Some(&rules), &url, &PagePosition::default(), &response).unwrap();
            assert_eq!(page.next, Some(PageToken::Url(Url::parse(expected).unwrap())));
        }
    }

    #[test]
    fn pages_are_asked_for_ahead_where_they_do_not_depend_on_the_records() {
        let ahead = |rules: &str, page_token: Option<PageToken>| {
            let url = Url::parse("https://api.example.com/v1/things").unwrap();
            let body = serde_json::json!({ "next": "c", "total": 3 });
            let find = |at: &Pointer| at.find(&body).cloned();
            let position = PagePosition { page_token, record_count: 0 };
            let listed =
                PageContext { url: &url, position: &position, link_header: None, find: &find, count: 2, id: None };
            pages_ahead(Some(&pages(rules)), &listed)
        };
        let query = |name: &str, value: &str| PageToken::Query(name.to_owned(), value.to_owned());
        let cursor = "kind='cursor'\nparam='c'\nnext='/next'";
        assert_eq!(ahead(cursor, None), PagesAhead::Next(query("c", "c")));
        assert_eq!(ahead(&format!("{cursor}\nacknowledges=true"), None), PagesAhead::Unknown);
        assert_eq!(ahead("kind='last_record'\nparam='after'\nid='/id'", None), PagesAhead::Unknown);
        let page = "kind='page'\nparam='page'\ntotal_pages='/total'";
        assert_eq!(ahead(page, None), PagesAhead::All(vec![query("page", "2"), query("page", "3")]));
        assert_eq!(ahead(page, Some(PageToken::Count(2))), PagesAhead::Next(query("page", "3")), "not the first");
        assert_eq!(ahead("kind='links'\nnext='/next'", None), PagesAhead::Unknown, "it is wrong, which the page says");
    }

    proptest! {
        #[test]
        fn no_header_panics(header in ".{0,80}") {
            let url = Url::parse("https://api.example.com/things").unwrap();
            let response = Response::new(200, &[("link", &header)], b"");
            let _ = WholePage::read(None, &url, &PagePosition::default(), &response);
        }
    }
}
