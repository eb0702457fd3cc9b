//! A webhook request with its exact bytes.

use url::form_urlencoded;

use crate::connector::WebhookDefinition;
use crate::model::event::RawRequest;

/// One webhook request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookRequest {
    pub method: String,
    /// The URL that the vendor calls, with its query, as it is registered there: some sign it.
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderLookup<'r> {
    Absent,
    One(&'r str),
    /// The same header twice: it is not known which of them was signed.
    Several,
}

/// Headers that are stored with an event: so many, and so many bytes of them.
const MOST_HEADERS: usize = 64;
const MOST_HEADER_BYTES: usize = 8 * 1024;

/// The headers that are stored: those that the connector's file names first, then the others as far as they fit.
pub(crate) fn capped(rules: &WebhookDefinition, headers: Vec<(String, String)>) -> Vec<(String, String)> {
    let named = rules.header_names();
    let is_named = |name: &str| {
        name.eq_ignore_ascii_case("content-type") || named.iter().any(|known| known.eq_ignore_ascii_case(name))
    };
    let size = |(name, value): &(String, String)| name.len() + value.len();
    let first: usize = headers.iter().filter(|(name, _)| is_named(name)).map(size).sum();
    let (mut left, mut number) = (MOST_HEADER_BYTES.saturating_sub(first), 0);
    let mut fits = |header: &(String, String)| {
        let fits = number < MOST_HEADERS && size(header) <= left;
        if fits {
            number += 1;
            left -= size(header);
        }
        fits
    };
    headers.into_iter().filter(|header| is_named(&header.0) || fits(header)).collect()
}

/// The query string without what proves the request by itself: a token in it is of no use later, as in a header.
pub(crate) fn public_query(rules: &WebhookDefinition, query: &str) -> String {
    let tokens: Vec<&str> = rules
        .proofs
        .iter()
        .filter(|proof| !proof.scheme.signs_request())
        .filter_map(|proof| proof.signature.query.as_deref())
        .collect();
    let is_token = |pair: &&str| form_urlencoded::parse(pair.as_bytes()).any(|(name, _)| tokens.contains(&&*name));
    query.split('&').filter(|pair| !is_token(pair)).collect::<Vec<_>>().join("&")
}

impl WebhookRequest {
    /// A stored request. Of its URL the query alone is known.
    pub fn from_raw(raw: &RawRequest) -> Self {
        let url = if raw.query.is_empty() { String::new() } else { format!("?{}", raw.query) };
        Self { method: "POST".to_owned(), url, headers: raw.headers.clone(), body: raw.body.clone() }
    }

    /// Whether its body is in a content encoding.
    pub fn is_encoded(&self) -> bool {
        self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-encoding"))
    }

    /// Looks up a header by its name in any case.
    pub fn header(&self, name: &str) -> HeaderLookup<'_> {
        let mut values = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (None, _) => HeaderLookup::Absent,
            (Some((_, value)), None) => HeaderLookup::One(value),
            (Some(_), Some(_)) => HeaderLookup::Several,
        }
    }

    /// The header's value, where it came once.
    pub fn single_header(&self, name: &str) -> Option<&str> {
        match self.header(name) {
            HeaderLookup::One(value) => Some(value),
            HeaderLookup::Absent | HeaderLookup::Several => None,
        }
    }

    /// Returns the first value of a parameter of the query, percent-decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.url.split_once('?')?;
        let query = query.split('#').next().unwrap_or_default();
        form_urlencoded::parse(query.as_bytes()).find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }

    /// Sets a header in place of all of the same name in any case.
    pub fn set_header(&mut self, name: &str, value: &str) {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    /// Sets a parameter of the query in place of one of the same name.
    pub fn set_query(&mut self, name: &str, value: &str) {
        if let Some((path, query)) = self.url.split_once('?') {
            let is_same = |pair: &&str| form_urlencoded::parse(pair.as_bytes()).any(|(known, _)| known == name);
            let others: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty() && !is_same(pair)).collect();
            let mark = if others.is_empty() { "" } else { "?" };
            self.url = format!("{path}{mark}{}", others.join("&"));
        }
        let mark = if self.url.contains('?') { '&' } else { '?' };
        let pair: String = form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
        self.url.push(mark);
        self.url.push_str(&pair);
    }

    /// Whether the body is an HTML form (`application/x-www-form-urlencoded`), by a `content-type` that came once.
    pub fn is_form(&self) -> bool {
        self.single_header("content-type")
            .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded"))
    }
}
