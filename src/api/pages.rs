//! The next page of a list, from the answer that holds this one. Pure.

use serde_json::Value;
use url::Url;

use crate::connector::{PageKind, Pages, Pointer};
use crate::http::Response;

/// How to ask for the next page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// By this URL.
    Url(Url),
    /// By this member of the JSON body.
    Body(String, Value),
}

/// How to ask for what follows an answer; absent after the last page. `seen` is the number of records so far, this page's
/// among them. A `Link` header says it for every API.
pub fn next_page(pages: Option<&Pages>, url: &Url, response: &Response, seen: usize) -> Option<Turn> {
    let Some(pages) = pages else { return linked(url, response) };
    let document = response.json()?;
    let more = pages.more.as_ref().and_then(|at| at.find(&document)).and_then(Value::as_bool);
    if more == Some(false) {
        return None;
    }
    let records = records(pages.records.as_ref(), &document);
    let count = records.map_or(0, Vec::len);
    // A page that is not as full as was asked for is the last one, where nothing else says so.
    let asked = pages.size_param.as_deref().and_then(|name| query(url, name)).and_then(|size| size.parse().ok());
    let short = asked.is_some_and(|size: usize| count < size) && more.is_none();
    let param = pages.param.as_deref().unwrap_or_default();
    let turned = |value: &str| Some(Turn::Url(with_param(url, param, value)));
    match pages.kind {
        PageKind::LinkHeader => linked(url, response),
        PageKind::NextUrl => url.join(&pages.next.as_ref()?.text(&document)?).ok().map(Turn::Url),
        PageKind::Links => {
            let links = pages.next.as_ref()?.find(&document)?.as_array()?;
            let next = links.iter().find(|link| link["rel"] == "next")?;
            url.join(next["href"].as_str()?).ok().map(Turn::Url)
        }
        PageKind::Cursor => {
            let cursor = pages.next.as_ref()?.text(&document)?;
            if pages.in_body { Some(Turn::Body(param.to_owned(), Value::String(cursor))) } else { turned(&cursor) }
        }
        PageKind::Page | PageKind::Offset | PageKind::LastRecord if count == 0 || short => None,
        PageKind::Page => {
            let page: u32 = query(url, param).and_then(|page| page.parse().ok()).unwrap_or(pages.first);
            turned(&page.saturating_add(1).to_string())
        }
        PageKind::Offset => turned(&seen.to_string()),
        PageKind::LastRecord => turned(&pages.id.as_ref()?.text(records?.last()?)?),
    }
}

/// How many records an answer holds.
pub(super) fn count(pages: Option<&Pages>, response: &Response) -> usize {
    let document = response.json().unwrap_or_default();
    records(pages.and_then(|pages| pages.records.as_ref()), &document).map_or(0, Vec::len)
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
fn linked(url: &Url, response: &Response) -> Option<Turn> {
    let header = response.header("link")?;
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<') {
        let (target, after) = after.split_once('>')?;
        // The next link begins at the next `<`; a comma may stand inside of a target.
        let params = after.split('<').next().unwrap_or(after);
        let is_next = params.split(';').any(|param| {
            let (name, value) = param.trim().trim_end_matches(',').split_once('=').unwrap_or_default();
            name.trim().eq_ignore_ascii_case("rel")
                && value.trim().trim_matches('"').split(' ').any(|word| word == "next")
        });
        if is_next {
            return url.join(target).ok().map(Turn::Url);
        }
        rest = after;
    }
    None
}

/// A URL that asks for pages of the usual size, where it does not say one itself.
pub(super) fn sized(pages: &Pages, url: &Url) -> Url {
    match (&pages.size_param, pages.size) {
        (Some(name), Some(size)) if query(url, name).is_none() => with_param(url, name, &size.to_string()),
        _ => url.clone(),
    }
}

fn query(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

fn with_param(url: &Url, name: &str, value: &str) -> Url {
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

    fn pages(text: &str) -> Pages {
        Pages::deserialize(toml::Deserializer::parse(text).unwrap()).unwrap()
    }

    fn next(rules: &str, body: &str, seen: usize) -> Option<String> {
        let url = Url::parse("https://api.example.com/v1/things?limit=2&page=4").unwrap();
        let response = Response::new(200, &[], body.as_bytes());
        next_page(Some(&pages(rules)), &url, &response, seen).map(|turn| match turn {
            Turn::Url(url) => url[url::Position::BeforePath..].to_owned(),
            Turn::Body(name, value) => format!("{name}={value}"),
        })
    }

    #[test]
    fn links_are_followed_wherever_they_stand() {
        let url = Url::parse("https://api.example.com/things").unwrap();
        let next = |header: &str| next_page(None, &url, &Response::new(200, &[("link", header)], b""), 0);
        let header = "<https://api.example.com/things?page=1>; rel=\"prev\", </things?a=1,2&page=3>; rel=\"next\"; x=y";
        let expected = Turn::Url(Url::parse("https://api.example.com/things?a=1,2&page=3").unwrap());
        assert_eq!(next(header), Some(expected));
        assert_eq!(next("</x>; rel=\"prev\""), None);
        assert_eq!(next("<"), None);
    }

    #[test]
    fn every_kind_finds_its_next_page_and_its_end() {
        let cursor = "kind='cursor'\nparam='cursor'\nnext='/meta/next'";
        assert_eq!(next(cursor, r#"{"meta":{"next":"a b"}}"#, 2).unwrap(), "/v1/things?limit=2&page=4&cursor=a+b");
        assert_eq!(next(cursor, r#"{"meta":{"next":""}}"#, 2), None);
        let in_body = "kind='cursor'\nparam='start_cursor'\nnext='/next'\nin_body=true\nmore='/more'";
        assert_eq!(next(in_body, r#"{"next":"c","more":true}"#, 2).unwrap(), "start_cursor=\"c\"");
        assert_eq!(next(in_body, r#"{"next":"c","more":false}"#, 2), None);
        let url = "kind='next_url'\nnext='/next'";
        assert_eq!(next(url, r#"{"next":"/v1/more?x=1"}"#, 2).unwrap(), "/v1/more?x=1");
        assert_eq!(next(url, r#"{"next":null}"#, 2), None);
        let links = "kind='links'\nnext='/links'";
        let both = r#"{"links":[{"rel":"self","href":"/v1/a"},{"rel":"next","href":"/v1/b?x=1"}]}"#;
        assert_eq!(next(links, both, 2).unwrap(), "/v1/b?x=1");
        assert_eq!(next(links, r#"{"links":[{"rel":"self","href":"/v1/a"}]}"#, 2), None);
        let page = "kind='page'\nparam='page'\nsize_param='limit'\nsize=2";
        assert_eq!(next(page, "[1,2]", 2).unwrap(), "/v1/things?limit=2&page=5");
        assert_eq!(next(page, "[1]", 2), None);
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

    proptest! {
        #[test]
        fn no_header_panics(header in ".{0,80}") {
            let url = Url::parse("https://api.example.com/things").unwrap();
            let _ = next_page(None, &url, &Response::new(200, &[("link", &header)], b""), 0);
        }
    }
}
