//! The next page of a list, from the answer that holds this one. Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use crate::connector::{PageKind, Pages, Pointer};
use crate::http::Response;
use crate::json::{Json, Type};

/// How to ask for the next page. It holds no credentials but what the vendor's own link holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// By this URL.
    Url(Url),
    /// By this parameter of the query.
    Query(String, String),
    /// By this member of the JSON body.
    Body(String, Value),
    /// By this page or offset, which templates name.
    Count(u64),
}

/// A page as the rules of paging see it.
pub struct Listed<'a> {
    /// What was asked.
    pub url: &'a Url,
    pub turn: Option<&'a Turn>,
    pub link: Option<&'a str>,
    /// What the answer holds at a place.
    pub find: &'a dyn Fn(&Pointer) -> Option<Value>,
    /// The records of this page, and of all so far, this one's among them.
    pub count: usize,
    pub seen: usize,
    /// The `id` that the rules go on from: the last record's or the greatest.
    pub id: Option<String>,
}

impl Listed<'_> {
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

    /// The number of this page, or its offset.
    fn counted(&self, pages: &Pages) -> u64 {
        if let Some(Turn::Count(count)) = self.turn {
            return *count;
        }
        let said = pages.param.as_deref().and_then(|param| query(self.url, param)).and_then(|text| text.parse().ok());
        said.unwrap_or_else(|| first(pages))
    }
}

/// The first page's number, or its offset.
pub fn first(pages: &Pages) -> u64 {
    pages.first.map_or_else(|| u64::from(pages.kind == PageKind::Page), u64::from)
}

/// How to ask for what follows an answer; absent after the last page. A `Link` header says it for every API.
pub fn next_page(pages: Option<&Pages>, listed: &Listed<'_>) -> Option<Turn> {
    let Some(pages) = pages else { return linked(listed) };
    if listed.flag(pages.more.as_ref()) == Some(false) || listed.flag(pages.last.as_ref()) == Some(true) {
        return None;
    }
    let url = |target: &str| listed.url.join(target).ok().map(Turn::Url);
    match pages.kind {
        PageKind::None => None,
        PageKind::LinkHeader => linked(listed),
        PageKind::NextUrl => url(&listed.text(pages.next.as_ref())?),
        PageKind::Links => {
            let links = (listed.find)(pages.next.as_ref()?)?;
            let next = links.as_array()?.iter().find(|link| link["rel"] == "next")?;
            url(next["href"].as_str()?)
        }
        PageKind::Cursor => turn(pages, listed.text(pages.next.as_ref())?),
        PageKind::Page | PageKind::Offset | PageKind::LastRecord | PageKind::MaxRecord
            if listed.count == 0 || is_short(pages, listed) =>
        {
            None
        }
        PageKind::Page => {
            let next = listed.counted(pages).saturating_add(1);
            let last = listed.number(pages.total_pages.as_ref());
            let ended = last.is_some_and(|pages_in_all| next >= pages_in_all.saturating_add(first(pages)));
            if ended { None } else { counted_turn(pages, next) }
        }
        PageKind::Offset => {
            let seen = listed.seen as u64;
            let ended = listed.number(pages.total.as_ref()).is_some_and(|total| seen >= total);
            if ended { None } else { counted_turn(pages, first(pages).saturating_add(seen)) }
        }
        PageKind::LastRecord => turn(pages, listed.id.clone()?),
        PageKind::MaxRecord => {
            let id = listed.id.clone()?;
            let plus = |id: String| Some(id.parse::<u64>().ok()?.saturating_add(pages.plus.into()).to_string());
            turn(pages, if pages.plus == 0 { id } else { plus(id)? })
        }
    }
}

/// All turns that follow a page that says how many there are; they may be taken side by side.
pub fn all_turns(pages: &Pages, listed: &Listed<'_>) -> Option<Vec<Turn>> {
    let counts: Vec<u64> = match pages.kind {
        PageKind::Page => {
            let end = listed.number(pages.total_pages.as_ref())?.saturating_add(first(pages));
            (listed.counted(pages).saturating_add(1)..end).collect()
        }
        PageKind::Offset if listed.count > 0 => {
            let end = listed.number(pages.total.as_ref())?.saturating_add(first(pages));
            let step = listed.count;
            (listed.counted(pages).saturating_add(step as u64)..end).step_by(step).collect()
        }
        _ => return None,
    };
    counts.into_iter().map(|count| counted_turn(pages, count)).collect()
}

/// A page that is not as full as was asked for is the last one, where nothing else says so.
fn is_short(pages: &Pages, listed: &Listed<'_>) -> bool {
    let mut said = [&pages.more, &pages.last, &pages.total, &pages.total_pages].into_iter().flatten();
    if said.any(|at| (listed.find)(at).is_some()) {
        return false;
    }
    let asked = match &pages.size_param {
        Some(name) => query(listed.url, name).and_then(|size| size.parse().ok()).or(pages.size),
        None => pages.size,
    };
    asked.is_some_and(|size: u32| listed.count < size as usize)
}

fn turn(pages: &Pages, value: String) -> Option<Turn> {
    let param = pages.param.clone()?;
    Some(if pages.in_body { Turn::Body(param, Value::String(value)) } else { Turn::Query(param, value) })
}

fn counted_turn(pages: &Pages, count: u64) -> Option<Turn> {
    Some(match &pages.param {
        None => Turn::Count(count),
        Some(param) if pages.in_body => Turn::Body(param.clone(), count.into()),
        Some(param) => Turn::Query(param.clone(), count.to_string()),
    })
}

/// The next page of an answer that was read whole, and the number of records so far.
pub(super) fn after(
    pages: Option<&Pages>,
    url: &Url,
    turn: Option<&Turn>,
    response: &Response,
    seen_before: usize,
) -> (Option<Turn>, usize) {
    let text = response.text().unwrap_or_default();
    let document = Json::check(&text).unwrap_or(Json::NULL);
    let records = list_in(pages.and_then(|pages| pages.records.as_ref()), document);
    let count = records.map_or(0, |records| records.items().count());
    let ids = |pages: &Pages| {
        let id = pages.id.as_ref()?;
        let ids = records?.items().filter_map(|record| id.text_in(record));
        if pages.kind == PageKind::MaxRecord { greatest(ids) } else { ids.last() }
    };
    let seen = seen_before + count;
    let id = pages.and_then(ids);
    let find = |at: &Pointer| at.find_in(document).map(Json::value);
    let listed = Listed { url, turn, link: response.header("link"), find: &find, count, seen, id };
    (next_page(pages, &listed), seen)
}

/// The greatest of several numbers, however long they are.
pub fn greatest(ids: impl Iterator<Item = String>) -> Option<String> {
    ids.max_by(|a, b| (a.len(), a).cmp(&(b.len(), b)))
}

/// [`records`], without a tree.
fn list_in<'t>(at: Option<&Pointer>, document: Json<'t>) -> Option<Json<'t>> {
    let is_list = |json: &Json<'t>| json.kind() == Type::Array;
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
fn linked(listed: &Listed<'_>) -> Option<Turn> {
    let mut rest = listed.link?;
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
            return listed.url.join(target).ok().map(Turn::Url);
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

    fn pages(text: &str) -> Pages {
        Pages::deserialize(toml::Deserializer::parse(text).unwrap()).unwrap()
    }

    fn next(rules: &str, body: &str, seen: usize) -> Option<String> {
        let url = Url::parse("https://api.example.com/v1/things?limit=2&page=4").unwrap();
        let response = Response::new(200, &[], body.as_bytes());
        let rules = pages(rules);
        let count = records(rules.records.as_ref(), &response.json().unwrap()).map_or(0, Vec::len);
        after(Some(&rules), &url, None, &response, seen - count).0.map(|turn| match turn {
            Turn::Url(url) => url[url::Position::BeforePath..].to_owned(),
            Turn::Query(name, value) => with_param(&url, &name, &value)[url::Position::BeforePath..].to_owned(),
            Turn::Body(name, value) => format!("{name}={value}"),
            Turn::Count(count) => count.to_string(),
        })
    }

    #[test]
    fn links_are_followed_wherever_they_stand() {
        let url = Url::parse("https://api.example.com/things").unwrap();
        let next = |header: &str| after(None, &url, None, &Response::new(200, &[("link", header)], b""), 0).0;
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
            let _ = after(None, &url, None, &Response::new(200, &[("link", &header)], b""), 0);
        }
    }
}
