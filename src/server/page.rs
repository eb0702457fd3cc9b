//! Lists in pages: `?limit=` items, and a cursor that leads to the next page.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounded::Bounded;
use super::problem::RequestError;

const DEFAULT_LIMIT: u32 = 100;

/// Items of a page at most.
pub(super) const MAX_LIMIT: u32 = 1000;

/// One page of a list.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(rename = "{T}Page")]
pub(super) struct CursorPage<T> {
    pub(super) data: Vec<T>,
    /// The cursor of the next page; null on the last one.
    pub(super) next_cursor: Option<String>,
}

/// The query of a list that has no filters.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    #[serde(default)]
    pub(super) limit: Limit,
    pub(super) cursor: Option<Cursor>,
}

/// How many items a page has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Bounded<1, MAX_LIMIT>")]
pub(super) struct Limit(u32);

impl Default for Limit {
    fn default() -> Self {
        Self(DEFAULT_LIMIT)
    }
}

impl From<Bounded<1, MAX_LIMIT>> for Limit {
    fn from(limit: Bounded<1, MAX_LIMIT>) -> Self {
        Self(limit.get())
    }
}

impl JsonSchema for Limit {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Limit".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT,
            "description": "The number of items of the page"
        })
    }
}

impl Limit {
    /// Returns the number of items.
    pub(super) fn get(self) -> u32 {
        self.0
    }

    /// Returns the number of items to ask for, one more than the page has: it says whether there is another page.
    pub(super) fn with_next(self) -> u32 {
        self.0 + 1
    }

    fn len(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// A place in a list: the key of the last item of the page before.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Cursor(String);

impl JsonSchema for Cursor {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Cursor".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "The `next_cursor` of the page before" })
    }
}

impl Cursor {
    fn encode(key: &str) -> String {
        URL_SAFE_NO_PAD.encode(key)
    }

    /// Returns the key of the last item of the page before.
    ///
    /// # Errors
    /// [`RequestError::InvalidCursor`].
    pub(super) fn key<K: std::str::FromStr>(&self) -> Result<K, RequestError> {
        let bytes = URL_SAFE_NO_PAD.decode(&self.0).map_err(|_| RequestError::InvalidCursor)?;
        let text = String::from_utf8(bytes).map_err(|_| RequestError::InvalidCursor)?;
        text.parse().map_err(|_| RequestError::InvalidCursor)
    }
}

impl<T> CursorPage<T> {
    /// Makes a page of items that were read from the cursor on, [`Limit::with_next`] of them if there are so many. `key`
    /// returns what the list is sorted by.
    pub(super) fn new(mut items: Vec<T>, limit: Limit, key: impl Fn(&T) -> String) -> Self {
        let has_more = items.len() > limit.len();
        items.truncate(limit.len());
        let next_cursor = items.last().filter(|_| has_more).map(|last| Cursor::encode(&key(last)));
        Self { data: items, next_cursor }
    }

    /// Sorts a whole list by a text that no two items share, and makes a page of it.
    pub(super) fn of_list(
        mut items: Vec<T>,
        cursor: Option<&Cursor>,
        limit: Limit,
        key: impl Fn(&T) -> String,
    ) -> Result<Self, RequestError> {
        let after: Option<String> = cursor.map(Cursor::key).transpose()?;
        items.sort_by_cached_key(&key);
        let rest = items.into_iter().filter(|item| after.as_ref().is_none_or(|after| key(item) > *after));
        Ok(Self::new(rest.take(limit.len() + 1).collect(), limit, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_without_gaps() {
        let names: Vec<String> = (0..25).map(|number| format!("c{number:02}")).collect();
        let limit = Limit::from(Bounded::clamped(10));
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = CursorPage::of_list(names.iter().rev().cloned().collect(), cursor.as_ref(), limit, Clone::clone)
                .unwrap();
            seen.extend(page.data);
            match page.next_cursor {
                Some(next) => cursor = Some(Cursor(next)),
                None => break,
            }
        }
        assert_eq!(seen, names);
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        assert!(Cursor("%%".to_owned()).key::<String>().is_err());
        assert!(Cursor(URL_SAFE_NO_PAD.encode("x")).key::<i64>().is_err());
        let read = |text: &str| serde_json::from_str::<Limit>(text).ok().map(Limit::get);
        assert_eq!(["0", "1001", "10", "10.0"].map(read), [None, None, Some(10), Some(10)]);
    }
}
