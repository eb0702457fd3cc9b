//! Follows a list from page to page, and ensures that it ends. Pure: the caller sends the requests.
//!
//! `integ api --paginate` and a sync read lists in the same steps, for each page: [`Pager::ask`] before its request is
//! sent, [`next_page`](super::next_page) on its answer, [`Pager::add`] with its records, and [`PagePosition::after`] for
//! the position of the next one. The position belongs to the reader: a sync saves it in its checkpoint with the records of
//! each page, and resumes there with another pager.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::paging::{PageToken, with_param};
use super::repeat_detector::{PageNovelty, RepeatDetector};
use crate::http::{Body, Request};
use crate::secret::Secret;

/// A position in a list: the page to ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PagePosition {
    /// How to ask for the page; absent for the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_token: Option<PageToken>,
    /// Records of the pages before it.
    pub record_count: usize,
}

impl PagePosition {
    /// Returns the position of a page that follows `count` more records.
    #[must_use]
    pub fn after(&self, count: usize, page_token: PageToken) -> Self {
        Self { page_token: Some(page_token), record_count: self.record_count + count }
    }
}

/// What was asked and met of a list so far.
#[derive(Debug, Default)]
pub struct Pager {
    /// Hashes of requests.
    asked: HashSet<u64>,
    repeats: RepeatDetector,
}

impl Pager {
    /// Creates a pager that goes on behind a page with this fingerprint.
    pub fn resume(last_page: Option<u64>) -> Self {
        Self { asked: HashSet::new(), repeats: RepeatDetector::resume_after(last_page) }
    }

    /// Notes a request by its hash. The same request a second time would lead round in a circle:
    /// [`PageNovelty::Endless`].
    pub fn ask(&mut self, request: u64) -> PageNovelty {
        if self.asked.insert(request) { PageNovelty::New } else { PageNovelty::Endless }
    }

    /// Adds a page by the hashes that identify its records. `next` is how to ask for the page after it: a list that
    /// ends is never endless.
    pub fn add(&mut self, records: &[u64], next: Option<&PageToken>) -> PageNovelty {
        match self.repeats.add(records) {
            PageNovelty::Endless if next.is_some() => PageNovelty::Endless,
            PageNovelty::Endless if records.is_empty() => PageNovelty::Empty,
            PageNovelty::Endless => PageNovelty::Repeated,
            novelty => novelty,
        }
    }

    /// Begins a list at another position; it may contain records that were seen before.
    pub fn restart(&mut self) {
        self.repeats = RepeatDetector::default();
    }
}

/// Changes the request for the first page into the request for another. What the URL says of credentials is the
/// connection's own, not the answer's.
pub fn apply_page_token(request: &mut Request, page_token: &PageToken) {
    match page_token {
        PageToken::Url(url) => request.url = url.clone(),
        PageToken::Query(name, value) => request.url = with_param(&request.url, name, value),
        // The templates of the request have filled it in.
        PageToken::Count(_) => {}
        PageToken::Body(at, value) => {
            let bytes = request.body.as_ref().map(|body| body.bytes.expose().clone()).unwrap_or_default();
            let mut document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            at.set(&mut document, value.clone());
            let bytes = Secret::new(document.to_string().into_bytes());
            request.body = Some(Body { content_type: "application/json".to_owned(), bytes });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::Pointer;

    #[test]
    fn a_page_token_goes_to_its_place_in_the_body() {
        let mut request = Request::new("POST", url::Url::parse("https://api.example.com/graphql").unwrap());
        let bytes = Secret::new(br#"{"query":"q","variables":{"first":50}}"#.to_vec());
        request.body = Some(Body { content_type: "application/json".to_owned(), bytes });
        apply_page_token(&mut request, &PageToken::Body(Pointer::parse("/variables/after").unwrap(), "c1".into()));
        apply_page_token(&mut request, &PageToken::Body(Pointer::from_member("page"), 2.into()));
        let sent: Value = serde_json::from_slice(request.body.unwrap().bytes.expose()).unwrap();
        let expected = serde_json::json!({ "query": "q", "variables": { "first": 50, "after": "c1" }, "page": 2 });
        assert_eq!(sent, expected);
    }

    #[test]
    fn a_request_is_sent_once() {
        let mut pager = Pager::default();
        assert_eq!(
            [pager.ask(1), pager.ask(2), pager.ask(1)],
            [PageNovelty::New, PageNovelty::New, PageNovelty::Endless]
        );
        // Also after a restart: it was asked for then, and would lead here again.
        pager.restart();
        assert_eq!(pager.ask(2), PageNovelty::Endless);
    }

    #[test]
    fn a_position_counts_the_records_before_its_page() {
        let second = PagePosition::default().after(50, PageToken::Count(2));
        let third = second.after(7, PageToken::Count(3));
        assert_eq!(third, PagePosition { page_token: Some(PageToken::Count(3)), record_count: 57 });
    }

    #[test]
    fn pages_without_anything_new_end_the_list_only_if_it_goes_on() {
        let records: Vec<u64> = (0..10).collect();
        let next = Some(PageToken::Count(9));
        let mut pager = Pager::default();
        let novelties: Vec<PageNovelty> = (0..12).map(|_| pager.add(&records, next.as_ref())).collect();
        assert_eq!(novelties[0], PageNovelty::New);
        assert!(novelties[1..10].iter().all(|novelty| *novelty == PageNovelty::Repeated), "{novelties:?}");
        assert_eq!(novelties[10..], [PageNovelty::Endless, PageNovelty::Endless]);
        assert_eq!(pager.add(&records, None), PageNovelty::Repeated, "the last page");
        assert_eq!(pager.add(&[], None), PageNovelty::Empty, "the last page");
        pager.restart();
        assert_eq!(pager.add(&records, next.as_ref()), PageNovelty::New, "another list");
    }

    #[test]
    fn a_pager_that_resumes_knows_the_page_before() {
        let records: Vec<u64> = (0..10).collect();
        let mut pager = Pager::resume(Some(super::super::fingerprint(&records)));
        assert_eq!(pager.add(&records, None), PageNovelty::Repeated);
    }
}
