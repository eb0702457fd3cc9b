//! Parses a request to a stream, by matching the file's templates.

use std::collections::BTreeMap;

use serde_json::Value;

use super::StreamRequestKind;
use super::page::{DEFAULT_CURSOR_PARAM, EmulatedCursor, is_sync_token};
use super::records::{pagination, partition_names};
use crate::connector::{
    Connector, CursorFormat, PageParam, Pagination, PaginationKind, Pointer, Stream, SyncToken, Template,
};
use crate::sandbox::message::{RequestParams, SandboxRequest};
use crate::sandbox::pattern::{PathParams, TemplatePattern};
use crate::sandbox::state::merge_json;

/// The parameter of delta links.
pub(super) const DELTA_TOKEN_PARAM: &str = "deltatoken";

/// What parameters for the size of pages are called, where the file does not say.
const SIZE_PARAMS: [&str; 7] = ["limit", "per_page", "page_size", "pageSize", "maxResults", "$top", "count"];

/// Records of a page, where neither the request nor the file says how many.
const DEFAULT_PAGE_SIZE: u64 = 100;

/// A request that fits a stream.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct StreamRequest<'a> {
    pub(in crate::sandbox) name: &'a str,
    pub(in crate::sandbox) stream: &'a Stream,
    pub(super) pages: Option<&'a Pagination>,
    pub(super) role: StreamRequestKind,
    /// What the request gives to the names of the templates; the path's count of them says how particular it is.
    pub(in crate::sandbox) values: PathParams,
    pub(in crate::sandbox) path_param_count: usize,
    /// How many templates of query and body fit.
    pub(in crate::sandbox) matched_params: usize,
    /// Whether everything in the file must match, to distinguish streams with the same path.
    is_strict: bool,
    pub(super) size: u64,
    /// What selects the page: a cursor, a number, an ID.
    pub(super) page_token: Option<String>,
    /// A sync token.
    pub(super) sync_token: Option<String>,
}

impl<'a> StreamRequest<'a> {
    /// # Errors
    /// What the request lacks.
    pub(super) fn read(
        connector: &'a Connector,
        name: &'a str,
        stream: &'a Stream,
        role: StreamRequestKind,
        values: PathParams,
        request: &SandboxRequest,
        is_shared: bool,
    ) -> Result<Self, String> {
        let in_path = values.len();
        let pages = pagination(connector, stream);
        let (turn, token) = (None, None);
        let mut ask = Self {
            name,
            stream,
            pages,
            role,
            values,
            path_param_count: in_path,
            matched_params: 0,
            is_strict: is_shared,
            size: DEFAULT_PAGE_SIZE,
            page_token: turn,
            sync_token: token,
        };
        let params = request.call_params(connector.api.get_or_post);
        match role {
            StreamRequestKind::InitialToken => {
                for (name, template) in
                    stream.token.iter().flat_map(|token| &token.first).flat_map(|first| &first.query)
                {
                    ask.match_param(name, params.get(name), &[template])?;
                }
            }
            StreamRequestKind::Record => {
                for (name, template) in stream.detail.iter().flat_map(|detail| &detail.query) {
                    ask.match_param(name, params.get(name), &[template])?;
                }
            }
            StreamRequestKind::List | StreamRequestKind::Changes => ask.list(&params, &request.body)?,
        }
        Ok(ask)
    }

    /// What the parent, or the user, gives to the list.
    pub(super) fn partition(&self) -> BTreeMap<String, String> {
        partition_names(self.stream).filter_map(|name| Some((name.clone(), self.values.get(name)?.clone()))).collect()
    }

    /// Whether it goes on from what an answer gave.
    pub(in crate::sandbox) fn is_continuation(&self) -> bool {
        self.page_token.is_some() || self.sync_token.is_some()
    }

    /// Reads a parameter. What a request says otherwise than the file is no matter, as to the vendor, unless it says which
    /// list is meant.
    fn match_param(&mut self, name: &str, value: Option<&str>, templates: &[&Template]) -> Result<(), String> {
        let placeholders = || templates.iter().flat_map(|template| template.placeholders());
        let optional = placeholders().any(|name| self.stream.params.get(name).is_some_and(|param| param.optional));
        let decides =
            self.is_strict || partition_names(self.stream).any(|known| placeholders().any(|name| name == known));
        let Some(value) = value else {
            return if optional || !decides { Ok(()) } else { Err(format!("{name} is missing")) };
        };
        match templates.iter().find_map(|template| TemplatePattern::of(template).match_text(value)) {
            Some(found) => {
                self.values.extend(found);
                self.matched_params += 1;
                Ok(())
            }
            None if decides => Err(format!("{name} is not as the stream {} asks", self.name)),
            None => Ok(()),
        }
    }

    fn list(&mut self, params: &RequestParams, body: &[u8]) -> Result<(), String> {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let page_param = self.pages.and_then(|pages| pages.param.as_ref());
        let size_param = self.pages.and_then(|pages| pages.size_param.as_ref());
        let turning = page_param.and_then(PageParam::query_name);
        let sizing = size_param.and_then(PageParam::query_name);
        let stream = self.stream;
        let token =
            stream.token.as_ref().filter(|token| self.role == StreamRequestKind::Changes || token.path.is_none());
        if let Some(token) = token {
            self.token(token, params)?;
            // What the first list was asked for must be asked for again.
            self.is_strict |= self.sync_token.is_some();
        }
        for (name, template) in &stream.query {
            if turning == Some(name) || sizing == Some(name) {
                continue;
            }
            if let Some(token) = token.filter(|_| self.sync_token.is_some()) {
                if token.without.contains(name) && params.get(name).is_some() {
                    return Err(format!("{name} cannot be said together with a token"));
                }
                if token.without.contains(name) || token.query.contains_key(name) {
                    continue;
                }
            }
            let incremental = stream.incremental.as_ref();
            let over = |templates: &'a indexmap::IndexMap<String, Template>| templates.get(name);
            let until = incremental.and_then(|incremental| over(&incremental.until));
            let since = incremental.and_then(|incremental| over(&incremental.query));
            let known: Vec<&Template> = [until, since, Some(template)].into_iter().flatten().collect();
            self.match_param(name, params.get(name), &known)?;
        }
        if let Some(incremental) = &stream.incremental {
            let filters = incremental.until.iter().chain(&incremental.query);
            let further = filters.filter(|(name, _)| !stream.query.contains_key(*name) && turning != Some(name));
            for (name, template) in further {
                if let Some(value) = params.get(name) {
                    self.match_param(name, Some(value), &[template])?;
                }
            }
        }
        self.body(&document)?;
        self.read_page_token(params, &document, page_param);
        let said =
            |name: &str| params.get(name).map(str::to_owned).or_else(|| Pointer::from_member(name).text(&document));
        let unnamed = || SIZE_PARAMS.into_iter().filter(|_| size_param.is_none()).find_map(said);
        let named = size_param.and_then(|param| page_value(param, params, &document));
        let size = named.or_else(unnamed).or_else(|| self.values.get("size").cloned());
        let usual = self.pages.and_then(|pages| pages.size).map(u64::from);
        let size = size.and_then(|size| size.parse().ok()).or(usual).or_else(|| self.literal_size());
        self.size = size.unwrap_or(DEFAULT_PAGE_SIZE).max(1);
        Ok(())
    }

    /// The size that is written as it is in the stream's query.
    fn literal_size(&self) -> Option<u64> {
        let named = self.stream.query.iter().find(|(name, _)| SIZE_PARAMS.contains(&name.as_str()));
        named?.1.to_string().parse().ok()
    }

    fn token(&mut self, token: &SyncToken, params: &RequestParams) -> Result<(), String> {
        if token.url {
            self.sync_token = params.get(DELTA_TOKEN_PARAM).map(str::to_owned);
            return Ok(());
        }
        let read = |(name, template): (&String, &Template)| TemplatePattern::of(template).match_text(params.get(name)?);
        let found: Vec<PathParams> = token.query.iter().filter_map(read).collect();
        let is_whole = found.len() == token.query.len();
        let in_path = self.values.get("token").cloned();
        self.sync_token =
            found.into_iter().find_map(|values| values.get("token").cloned()).filter(|_| is_whole).or(in_path);
        // Where the token and the cursor of a page have one parameter, each says what it is.
        self.sync_token.take_if(|token| EmulatedCursor::parse(token).is_some());
        Ok(())
    }

    fn body(&mut self, document: &Value) -> Result<(), String> {
        let own = self.stream.body.as_ref();
        let over = self.stream.incremental.as_ref().and_then(|incremental| incremental.body.as_ref());
        let both = over.map(|over| {
            let mut both = own.cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
            merge_json(&mut both, over);
            both
        });
        for (wanted, is_strict) in both.iter().chain(own).flat_map(|wanted| [(wanted, true), (wanted, self.is_strict)])
        {
            let mut values = PathParams::new();
            if let Some(fits) = match_body(document, wanted, &mut values, is_strict) {
                self.values.extend(values);
                self.matched_params += fits;
                return Ok(());
            }
        }
        if own.is_some() { Err(format!("the body is not as the stream {} asks", self.name)) } else { Ok(()) }
    }

    fn read_page_token(&mut self, params: &RequestParams, document: &Value, param: Option<&PageParam>) {
        let Some(pages) = self.pages else { return };
        let is_link =
            matches!(pages.kind, PaginationKind::LinkHeader | PaginationKind::NextUrl | PaginationKind::Links);
        self.page_token = match param {
            Some(param) if pages.kind != PaginationKind::None => page_value(param, params, document),
            None if is_link => params.get(DEFAULT_CURSOR_PARAM).map(str::to_owned),
            _ => self.values.get("page").or_else(|| self.values.get("offset")).cloned(),
        };
        self.page_token.take_if(|turn| is_sync_token(turn));
    }

    /// The first and the last moment that the request asks for.
    ///
    /// # Errors
    /// What cannot be read.
    pub(super) fn time_range(&self) -> Result<(Option<i64>, Option<i64>), String> {
        let Some(incremental) = &self.stream.incremental else { return Ok((None, None)) };
        let format: &CursorFormat = incremental.write.as_ref().unwrap_or(&incremental.format);
        let read = |name: &str| match self.values.get(name) {
            None => Ok(None),
            Some(text) => match super::time::parse_time_range(format, text) {
                Some(span) => Ok(Some(span)),
                None => Err(format!("{text:?} is not written as the file says")),
            },
        };
        let (since, until) = (read("since")?.map(|span| span.0), read("until")?.map(|span| span.1));
        let longest = incremental.window_secs.map(i64::from);
        if let (Some(since), Some(until), Some(longest)) = (since, until, longest)
            // A coarse end covers more than was meant.
            && until - since > longest + 86_400
        {
            return Err(format!("more than {longest} seconds are asked for"));
        }
        Ok((since, until))
    }
}

/// Whether a value is what a stream's template says.
pub(super) fn fits(value: &Value, template: &Value) -> bool {
    match_body(value, template, &mut PathParams::new(), true).is_some()
}

/// How many of a body's templates a document fits, which may hold more beside or less; what they read goes into `values`. What
/// fits none counts for nothing unless it `is_strict`.
fn match_body(document: &Value, wanted: &Value, values: &mut PathParams, is_strict: bool) -> Option<usize> {
    let fits = match (wanted, document) {
        (Value::Object(wanted), document) => {
            let fits = wanted.iter().map(|(name, wanted)| match document.get(name) {
                Some(document) => match_body(document, wanted, values, is_strict),
                None => Some(0),
            });
            fits.sum()
        }
        (Value::Array(wanted), Value::Array(items)) if !is_strict || wanted.len() == items.len() => {
            wanted.iter().zip(items).map(|(wanted, item)| match_body(item, wanted, values, is_strict)).sum()
        }
        (Value::String(wanted), document) => {
            let text = Pointer::parse("").ok()?.text(document).unwrap_or_default();
            let read = if wanted.is_empty() { text.is_empty().then(PathParams::new) } else { read(wanted, &text) };
            read.map(|read| {
                values.extend(read);
                1
            })
        }
        // Sizes of pages say nothing of which list is meant.
        (Value::Number(_), document) => Some(usize::from(wanted == document)),
        (wanted, document) => (wanted == document).then_some(1),
    };
    if is_strict { fits } else { fits.or(Some(0)) }
}

fn read(template: &str, text: &str) -> Option<PathParams> {
    TemplatePattern::of(&Template::parse(template).ok()?).match_text(text)
}

/// What a request says in the place of a cursor or a page size.
fn page_value(param: &PageParam, params: &RequestParams, document: &Value) -> Option<String> {
    match param {
        PageParam::Query(name) => params.get(name).map(str::to_owned),
        PageParam::Body(at) => at.text(document),
    }
}
