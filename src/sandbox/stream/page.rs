//! Splits a list into pages, and writes a response with one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::records::{GeneratedRecord, RecordSet};
use super::request::StreamRequest;
use super::selection::RowSelection;
use crate::connector::{Pagination, PaginationKind, Pointer};
use crate::sandbox::token::TokenSigner;

/// What the parameter of a link's cursor is called where the file does not say.
pub(super) const DEFAULT_CURSOR_PARAM: &str = "cursor";

const CURSOR_PREFIX: &str = "sandbox-page-";
const SYNC_TOKEN_PREFIX: &str = "sandbox-sync-";

/// The order in which a list comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SortOrder {
    /// As the records were created.
    Created,
    OldestFirst,
    NewestFirst,
    /// As they changed, whatever changed.
    Changed,
}

impl SortOrder {
    pub(super) fn key(self, row: &GeneratedRecord) -> (i64, i64) {
        let index = row.index.cast_signed();
        match self {
            Self::Created => (0, index),
            Self::OldestFirst => (row.cursor_value, index),
            Self::NewestFirst => (-row.cursor_value, -index),
            Self::Changed => (row.last_tick().into(), index),
        }
    }
}

/// A position in a list, as cursors hold it: what is before it may come and go without moving the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EmulatedCursor {
    #[serde(rename = "s")]
    pub(super) stream: String,
    /// The tick when the list began.
    #[serde(rename = "t")]
    pub(super) tick: u32,
    /// Only changes after this tick are listed.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub(super) changes: Option<u32>,
    /// The last record before it.
    #[serde(rename = "a")]
    pub(super) after: (i64, i64),
}

impl EmulatedCursor {
    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text.strip_prefix(CURSOR_PREFIX)?).ok()?).ok()
    }

    fn text(&self) -> String {
        format!("{CURSOR_PREFIX}{}", URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default()))
    }
}

/// The token for what changes after a tick. It holds the tick alone, and is not signed: making one up gains nothing.
pub(super) fn sync_token(signer: &TokenSigner, stream: &str, tick: u32) -> String {
    format!(
        "{SYNC_TOKEN_PREFIX}{tick}-{}",
        URL_SAFE_NO_PAD.encode(&signer.derive(&format!("sync {stream}"), tick.into())[..9])
    )
}

/// The tick of a token of this stream.
pub(super) fn token_tick(signer: &TokenSigner, stream: &str, text: &str) -> Option<u32> {
    let tick = text.strip_prefix(SYNC_TOKEN_PREFIX)?.split('-').next()?.parse().ok()?;
    (sync_token(signer, stream, tick) == text).then_some(tick)
}

pub(super) fn is_sync_token(text: &str) -> bool {
    text.starts_with(SYNC_TOKEN_PREFIX)
}

/// Maximum number of records per page, whatever is requested.
const MAX_PAGE_SIZE: u64 = 100;

/// One page of a list.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) rows: Vec<GeneratedRecord>,
    /// How many there are in all.
    pub(super) total: u64,
    pub(super) size: u64,
    /// The cursor of what follows; absent after the last page.
    pub(super) next: Option<String>,
}

/// Where a list is asked on from.
pub(super) struct PageLinks {
    pub(super) cursor: Option<EmulatedCursor>,
    /// What its cursors say beside the place.
    pub(super) tick: u32,
    pub(super) changes_since: Option<u32>,
    /// This page is to be told to follow itself.
    pub(super) is_repeated: bool,
}

/// Cuts the page out of the list that a request asks for.
///
/// # Errors
/// What its cursor, number or id leads to is not there.
pub(super) fn paginate(
    set: &RecordSet<'_>,
    ask: &StreamRequest<'_>,
    selection: &RowSelection<'_, '_>,
    turned: &PageLinks,
) -> Result<Page, String> {
    let total = selection.len();
    let Some(pages) = ask.pages.filter(|pages| pages.kind != PaginationKind::None) else {
        return Ok(Page { rows: selection.rows(0..total).collect(), total, size: total.max(1), next: None });
    };
    let size = ask.size.min(MAX_PAGE_SIZE);
    let start = start(set, ask, pages, selection, turned, size)?;
    // A little behind the end is an empty page: records may have been deleted meanwhile.
    if start > total.saturating_add(size) {
        return Err(format!("the list has only {total} records"));
    }
    let start = if turned.is_repeated { start.saturating_sub(size) } else { start };
    let end = start.saturating_add(size).min(total);
    let mark =
        |after| EmulatedCursor { stream: ask.name.to_owned(), tick: turned.tick, changes: turned.changes_since, after };
    let next = if turned.is_repeated {
        Some(turned.cursor.clone().unwrap_or_else(|| mark((i64::MIN, i64::MIN))))
    } else {
        (end < total).then(|| mark(selection.order.key(&selection.row(end - 1))))
    };
    let rows = selection.rows(start.min(end)..end).collect();
    Ok(Page { rows, total, size, next: next.map(|mark| mark.text()) })
}

fn start(
    set: &RecordSet<'_>,
    ask: &StreamRequest<'_>,
    pages: &Pagination,
    selection: &RowSelection<'_, '_>,
    turned: &PageLinks,
    size: u64,
) -> Result<u64, String> {
    let Some(turn) = ask.page_token.as_deref() else { return Ok(0) };
    let number = || turn.parse::<u64>().map_err(|_| format!("{turn:?} is not a number"));
    let first = crate::connector::first_page(pages);
    let counted = |number: u64| number.saturating_sub(first);
    Ok(match pages.kind {
        PaginationKind::Page => counted(number()?).saturating_mul(size),
        PaginationKind::Offset => counted(number()?),
        PaginationKind::LastRecord => {
            let id = pages.id.as_ref().ok_or("the file does not say id")?;
            let last = set.find(&[(id, turn)]).ok_or_else(|| format!("unknown record {turn:?}"))?;
            selection.through(selection.order.key(&last))
        }
        PaginationKind::MaxRecord => {
            let id = pages.id.as_ref().ok_or("the file does not say id")?;
            selection.first_without(|row| {
                let own = id.text(&set.record(row)).unwrap_or_default();
                let (own, asked) = ((own.len(), own.as_str()), (turn.len(), turn));
                if pages.plus == 0 { own <= asked } else { own < asked }
            })
        }
        _ => match &turned.cursor {
            Some(mark) => selection.through(mark.after),
            None => return Err(format!("{turn:?} is not a cursor of the stream {}", ask.name)),
        },
    })
}

/// Puts items where the pointers say, each pointer with a part of them; `*` makes a group of every item.
pub(super) fn insert_items(document: &mut Value, at: &Pointer, items: Vec<Value>) {
    let tokens: Vec<String> = at.tokens().collect();
    place_at(document, &tokens, items);
}

fn place_at(document: &mut Value, tokens: &[String], items: Vec<Value>) {
    let star = tokens.iter().position(|token| token == "*");
    let list = list_at(document, &tokens[..star.unwrap_or(tokens.len())]);
    match star {
        None => list.extend(items),
        Some(star) => list.extend(items.into_iter().map(|item| {
            let rest = &tokens[star + 1..];
            let mut group = Value::Null;
            if rest.iter().any(|token| token == "*") {
                place_at(&mut group, rest, vec![item]);
            } else {
                *member(&mut group, rest) = item;
            }
            group
        })),
    }
}

fn list_at<'d>(document: &'d mut Value, tokens: &[String]) -> &'d mut Vec<Value> {
    let at = member(document, tokens);
    if !at.is_array() {
        *at = Value::Array(Vec::new());
    }
    match at {
        Value::Array(items) => items,
        _ => unreachable!("it was made an array"),
    }
}

fn member<'d>(document: &'d mut Value, tokens: &[String]) -> &'d mut Value {
    let Some((name, rest)) = tokens.split_first() else { return document };
    if let Ok(index) = name.parse::<usize>()
        && index < 64
    {
        let items = list_at(document, &[]);
        items.resize(items.len().max(index + 1), Value::Null);
        return member(&mut items[index], rest);
    }
    if !document.is_object() {
        *document = Value::Object(Map::new());
    }
    let Value::Object(members) = document else { unreachable!("it was made an object") };
    member(members.entry(name.clone()).or_insert(Value::Null), rest)
}

/// What the answer says of the pages: whether there are more, how many there are, where the next is.
pub(super) fn write_page_info(document: &mut Value, pages: &Pagination, page: &Page, link: &dyn Fn(&str) -> String) {
    let mut put = |at: &Option<Pointer>, value: Value| {
        if let Some(at) = at {
            at.set(document, value);
        }
    };
    put(&pages.more, json!(page.next.is_some()));
    put(&pages.last, json!(page.next.is_none()));
    put(&pages.total, json!(page.total));
    put(&pages.total_pages, json!(page.total.div_ceil(page.size)));
    let Some(next) = &page.next else { return };
    match pages.kind {
        PaginationKind::NextUrl => put(&pages.next, json!(link(next))),
        PaginationKind::Links => put(&pages.next, json!([{ "rel": "self" }, { "rel": "next", "href": link(next) }])),
        PaginationKind::Cursor => put(&pages.next, json!(next)),
        _ => {}
    }
}

/// A query with another value for a name.
pub(in crate::sandbox) fn with_query(query: &str, dropped: &[&str], name: &str, value: &str) -> String {
    let kept =
        form_urlencoded::parse(query.as_bytes()).filter(|(known, _)| known != name && !dropped.contains(&&**known));
    form_urlencoded::Serializer::new(String::new()).extend_pairs(kept).append_pair(name, value).finish()
}
