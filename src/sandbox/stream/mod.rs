//! The streams of the connector's file: lists are generated from the file's samples, with pages and changes; time
//! advances by ticks of the [`SandboxState`].

mod page;
mod record;
pub(super) mod records;
mod request;
mod sample;
mod selection;
pub(super) mod time;

use serde_json::{Value, json};

pub(super) use self::page::with_query;
use self::page::{DEFAULT_CURSOR_PARAM, EmulatedCursor, Page, PageLinks, SortOrder};
use self::records::{GeneratedRecord, RecordSet, World};
use self::request::DELTA_TOKEN_PARAM;
pub(super) use self::request::StreamRequest;
use self::selection::{RowFilter, RowSelection};
use super::account::{SandboxAccount, emulated_urls};
use super::credential::AcceptedCredential;
use super::fault::FaultKind;
use super::message::{SandboxRequest, SandboxResponse};
use super::pattern::PathParams;
use super::routes::ORIGIN;
use super::state::SandboxState;
use super::vendor_emulator::{RequestContext, VendorEmulator, success_document};
use crate::connector::{
    ErrorClass, PageParam, Pagination, PaginationKind, ParamKind, ParamLocation, Pointer, Stream, SyncToken, Template,
    Values,
};

/// What a path of a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamRequestKind {
    List,
    /// Where a sync token lists changes at a path of its own.
    Changes,
    /// The first token.
    InitialToken,
    /// One record.
    Record,
}

/// A refusal of what a request says, in words.
type ResultWithMessage<T> = Result<T, String>;

impl VendorEmulator {
    /// The stream that a request asks, or why it fits none at this path. Absent if no stream has this path.
    pub(super) fn match_stream<'a>(
        &'a self,
        request: &'a SandboxRequest,
    ) -> Option<ResultWithMessage<StreamRequest<'a>>> {
        let mut best: Option<ResultWithMessage<StreamRequest<'a>>> = None;
        let found = self.routes.streams(request);
        for (name, role, captures) in &found {
            let Some((name, stream)) = self.connector.streams.get_key_value(*name) else { continue };
            let same =
                |other: &&(&str, StreamRequestKind, PathParams)| other.1 == *role && other.2.len() == captures.len();
            let is_shared = found.iter().filter(same).count() > 1;
            let ask = StreamRequest::read(&self.connector, name, stream, *role, captures.clone(), request, is_shared);
            let better = match (&best, &ask) {
                (None | Some(Err(_)), _) => best.is_none() || ask.is_ok(),
                (Some(Ok(best)), Ok(ask)) => {
                    (best.path_param_count, usize::MAX - best.matched_params)
                        > (ask.path_param_count, usize::MAX - ask.matched_params)
                }
                (Some(Ok(_)), Err(_)) => false,
            };
            if better {
                best = Some(ask);
            }
        }
        best
    }

    /// The answer to a request of a stream.
    ///
    /// # Errors
    /// What the request says and the stream does not understand.
    pub(super) fn stream(
        &self,
        visit: &RequestContext<'_>,
        ask: &StreamRequest<'_>,
        state: &mut SandboxState,
    ) -> ResultWithMessage<SandboxResponse> {
        let account = match self.credential(visit, state) {
            Err(why) => return Ok(self.reject_credential(why)),
            Ok(AcceptedCredential::Token(claims)) if !self.has_scopes(&claims.scopes, &ask.stream.scopes) => {
                return Ok(self.error_response(ErrorClass::Permission, 403, "scope", &self.success()));
            }
            Ok(credential) => credential.account().clone(),
        };
        if visit.fault == Some(FaultKind::ExpiredCursor) {
            return Ok(self.cursor_expired(ask.stream));
        }
        state.streams.start(visit.now);
        match ask.role {
            StreamRequestKind::List | StreamRequestKind::Changes => self.list(visit, ask, &account, state),
            StreamRequestKind::Record => self.detail(visit, ask, &account, state),
            StreamRequestKind::InitialToken => Ok(self.initial_token(ask, state)),
        }
    }

    /// The answer of a stream whose path may be that of actions as well: it then holds what both say, but of pages only
    /// what the stream says, and what the stream does not understand is the action's.
    pub(super) fn stream_or_action(
        &self,
        visit: &RequestContext<'_>,
        ask: &StreamRequest<'_>,
        state: &mut SandboxState,
    ) -> SandboxResponse {
        let is_good = |reply: &SandboxResponse| (200..300).contains(&reply.status);
        if self.is_action_body(visit, ask) {
            return self.run_action(visit, state);
        }
        match self.stream(visit, ask, state) {
            Err(problem) if visit.actions.is_empty() => self.bad_request(&problem),
            Err(_) => self.run_action(visit, state),
            Ok(reply) if visit.actions.is_empty() || !is_good(&reply) => reply,
            Ok(reply) => {
                let action = self.run_action(visit, state);
                let places = ask.pages.iter().filter_map(|pages| pages.next.as_ref());
                let places = places.chain(ask.stream.token.as_ref().map(|token| &token.at));
                if is_good(&action) { reply.merged_onto(&action, places) } else { reply }
            }
        }
    }

    /// Whether the body has a constant of an action that the stream's own requests have another value for, as GraphQL queries
    /// do: all have one path.
    fn is_action_body(&self, visit: &RequestContext<'_>, ask: &StreamRequest<'_>) -> bool {
        let Some(own) = &ask.stream.body else { return false };
        let document: Value = serde_json::from_slice(&visit.request.body).unwrap_or_default();
        let differs = |(name, wanted): (&String, &Value)| {
            document.get(name) == Some(wanted) && own.get(name).is_some_and(|own| !request::fits(wanted, own))
        };
        let mut actions = visit.actions.iter().filter_map(|(name, _)| self.connector.actions.get(name));
        actions.any(|action| action.fixed.iter().any(differs))
    }

    fn record_set<'a>(
        &'a self,
        ask: &StreamRequest<'a>,
        account: &'a SandboxAccount,
        state: &'a SandboxState,
    ) -> ResultWithMessage<RecordSet<'a>> {
        let world = World { connector: &self.connector, account, state: &state.streams };
        RecordSet::new(world, ask.name, ask.partition()).ok_or_else(|| format!("unknown stream {}", ask.name))
    }

    /// The place of an incremental sync is no longer known.
    fn cursor_expired(&self, stream: &Stream) -> SandboxResponse {
        match stream.token.as_ref().and_then(|token| token.expired.first()) {
            Some(status) => {
                SandboxResponse::json(*status, &json!({"error": "expired", "sandbox": "this token is too old"}))
            }
            None => self.error_response(ErrorClass::CursorExpired, 410, "expired", &self.success()),
        }
    }

    fn initial_token(&self, ask: &StreamRequest<'_>, state: &SandboxState) -> SandboxResponse {
        let mut document = success_document(&self.success(), true);
        if let Some(first) = ask.stream.token.as_ref().and_then(|token| token.first.as_ref()) {
            first.at.set(&mut document, json!(page::sync_token(&self.signer, ask.name, state.streams.tick())));
        }
        SandboxResponse::json(200, &document)
    }

    /// The whole record; one below a parent that the path does not name is made up.
    fn detail(
        &self,
        visit: &RequestContext<'_>,
        ask: &StreamRequest<'_>,
        account: &SandboxAccount,
        state: &SandboxState,
    ) -> ResultWithMessage<SandboxResponse> {
        let not_found = || Ok(self.record_not_found(ask.name));
        let (Some(detail), Ok(set)) = (&ask.stream.detail, self.record_set(ask, account, state)) else {
            return not_found();
        };
        let wanted: Vec<(&Pointer, &str)> =
            detail.values.iter().filter_map(|(name, at)| Some((at, ask.values.get(name)?.as_str()))).collect();
        let names = ask.stream.parents.first().into_iter().flat_map(|parent| parent.values.keys());
        let knows_parent = names.into_iter().all(|name| ask.values.contains_key(name));
        let mut record = match set.find(&wanted) {
            Some(row) if row.is_deleted() => return not_found(),
            Some(row) => set.record(&row),
            // An action may know it by another name.
            None if knows_parent && !visit.actions.is_empty() => return Err("the record does not exist".to_owned()),
            None if knows_parent || set.len() == 0 => return not_found(),
            None => {
                let mut record = set.record(&set.row(0));
                for (at, text) in wanted {
                    let number = at.find(&record).is_some_and(Value::is_number);
                    let value = text.parse::<i64>().ok().filter(|_| number).map_or_else(|| json!(text), Value::from);
                    at.set(&mut record, value);
                }
                record
            }
        };
        for (at, value) in self.success() {
            at.set(&mut record, value);
        }
        Ok(SandboxResponse::json(200, &record))
    }

    fn list(
        &self,
        visit: &RequestContext<'_>,
        ask: &StreamRequest<'_>,
        account: &SandboxAccount,
        state: &mut SandboxState,
    ) -> ResultWithMessage<SandboxResponse> {
        self.acknowledge(ask, state);
        let now = state.streams.tick();
        let mark = ask.page_token.as_deref().and_then(EmulatedCursor::parse).filter(|mark| mark.stream == ask.name);
        let since = match (&mark, &ask.sync_token) {
            (Some(mark), _) => mark.changes,
            (None, Some(token)) => match page::token_tick(&self.signer, ask.name, token) {
                // The state was forgotten since: nobody knows any more what had changed by then.
                Some(tick) if tick <= now => Some(tick),
                _ => return Ok(self.cursor_expired(ask.stream)),
            },
            (None, None) if ask.role == StreamRequestKind::Changes => return Err("a token is missing".to_owned()),
            (None, None) => None,
        };
        let tick = mark.as_ref().map_or(now, |mark| mark.tick);
        let repeats = visit.fault == Some(FaultKind::RepeatedCursor);
        let set = self.record_set(ask, account, state)?;
        let selection = match since {
            Some(since) => {
                let changed = |row: &&GeneratedRecord| {
                    row.last_tick() > since
                        && row.last_tick() <= tick
                        && (!row.is_deleted() || row.created_tick <= since)
                };
                let rows = set.changed.values().filter(changed).copied().collect();
                RowSelection::of_rows(&set, SortOrder::Changed, rows)
            }
            None => self.select(&set, ask, state, visit)?,
        };
        let turned = PageLinks { cursor: mark, tick, changes_since: since, is_repeated: repeats };
        let page = page::paginate(&set, ask, &selection, &turned)?;
        let mut document = success_document(&self.success(), true);
        let gone = ask.stream.token.as_ref().and_then(|token| token.gone.as_ref()).filter(|_| since.is_some());
        let (dead, alive): (Vec<GeneratedRecord>, Vec<GeneratedRecord>) =
            page.rows.iter().partition(|row| row.is_deleted() && since.is_some());
        let markers = !ask.stream.deleted.is_empty() && gone.is_none();
        let mut items: Vec<Value> = alive.iter().map(|row| listed(&set, ask, row)).collect();
        if markers {
            items.extend(dead.iter().map(|row| set.tombstone(row)));
        }
        if ask.stream.table {
            items.insert(0, set.header());
        }
        let places = self.record_places(ask, since.is_some());
        for (at, items) in places.iter().zip(distribute(items, places.len())) {
            page::insert_items(&mut document, at, items);
        }
        if let Some(gone) = gone {
            let item = |row: &GeneratedRecord| {
                let record = set.record(row);
                let mut item = json!({});
                for (at, values) in &gone.when {
                    at.set(&mut item, values.first().filter(|value| *value != "*").cloned().unwrap_or(json!(true)));
                }
                for (own, told) in ask.stream.key.iter().zip(&gone.key) {
                    told.set(&mut item, own.find(&record).cloned().unwrap_or_default());
                }
                item
            };
            for (at, items) in gone.at.iter().zip(distribute(dead.iter().map(item).collect(), gone.at.len())) {
                page::insert_items(&mut document, at, items);
            }
        }
        Ok(self.with_page_info(visit, ask, document, &page, &turned))
    }

    /// The records of a full list, or of one that asks by time or by the values of records.
    fn select<'s, 'a>(
        &self,
        set: &'s RecordSet<'a>,
        ask: &StreamRequest<'_>,
        state: &SandboxState,
        visit: &RequestContext<'_>,
    ) -> ResultWithMessage<RowSelection<'s, 'a>> {
        let (since, until) = ask.time_range()?;
        let with_deleted = since.is_some() && !ask.stream.deleted.is_empty();
        let mut filter = RowFilter { since, until, with_deleted, first: 0 };
        if let Some(below) = state.streams.acknowledged(ask.name) {
            // Ids ascend, so that few records need to be made to find the first one that is still there.
            let id = ask.pages.and_then(|pages| pages.id.as_ref());
            let number = |row: &GeneratedRecord| id?.text(&set.record(row))?.parse::<u64>().ok();
            let all = RowSelection::filtered(set, SortOrder::Created, &RowFilter { with_deleted: true, ..filter });
            let first = all.first_without(|row| number(row).is_some_and(|number| number < below));
            filter.first = if first < all.len() { all.row(first).index } else { u64::MAX };
        }
        let selection = RowSelection::filtered(set, sort_order(ask, visit.request), &filter);
        let wanted = self.value_filters(set, ask, visit);
        if wanted.is_empty() {
            return Ok(selection);
        }
        let fits = |row: &GeneratedRecord| {
            let record = set.record(row);
            wanted.iter().all(|(at, value)| at.text(&record).as_deref() == Some(value))
        };
        let rows = selection.rows(0..selection.len()).filter(fits).collect();
        Ok(RowSelection::of_rows(set, selection.order, rows))
    }

    /// What a request wants records to hold: the parameters of an action of this path that are named like members of records.
    fn value_filters(
        &self,
        set: &RecordSet<'_>,
        ask: &StreamRequest<'_>,
        visit: &RequestContext<'_>,
    ) -> Vec<(Pointer, String)> {
        let incremental = ask.stream.incremental.iter().flat_map(|rule| rule.query.keys().chain(rule.until.keys()));
        let paging = ask.pages.into_iter().flat_map(|pages| pages.param.iter().chain(&pages.size_param));
        let paging = paging.filter_map(PageParam::query_name);
        let other: Vec<&str> = incremental.map(String::as_str).chain(paging).collect();
        let query = visit.request.query_params();
        let actions = visit.actions.iter().filter_map(|(name, _)| self.connector.actions.get(name));
        let params = actions.flat_map(|action| action.params.iter().map(move |param| (action, param)));
        let filters = params.filter_map(|(action, (name, param))| {
            let is_in_query = self.connector.param_location(action, name, param) == Some(ParamLocation::Query);
            let at = self.connector.wire_name(name, param);
            let label = at.tokens().next()?;
            let value = query.get(&label).filter(|_| is_in_query && param.kind != ParamKind::Array)?;
            // The file's own list says this to get all there are.
            let is_usual = ask.stream.query.get(&label).is_some_and(|usual| usual.to_string() == value);
            let is_scalar = at.find(&set.sample).is_some_and(|value| !value.is_array() && !value.is_object());
            (is_scalar && !is_usual && !other.contains(&label.as_str())).then(|| (at, value.to_owned()))
        });
        filters.collect()
    }

    /// For some vendors, requesting from a position confirms everything before it.
    fn acknowledge(&self, ask: &StreamRequest<'_>, state: &mut SandboxState) {
        let Some(pages) = ask.pages.filter(|pages| pages.acknowledges) else { return };
        if let Some(turn) = ask.page_token.as_deref().and_then(|turn| turn.parse::<u64>().ok()) {
            state.streams.acknowledge(ask.name, turn + u64::from(pages.plus == 0));
        }
    }

    /// Where the records are; where the file leaves it open, at the top, or in the one list there.
    fn record_places(&self, ask: &StreamRequest<'_>, changes: bool) -> Vec<Pointer> {
        let of_changes = ask.stream.token.iter().filter(|_| changes).flat_map(|token| &token.records);
        let mut places: Vec<Pointer> = of_changes.cloned().collect();
        if places.is_empty() {
            places.clone_from(&ask.stream.records);
        }
        if places.is_empty() {
            places.extend(ask.pages.and_then(|pages| pages.records.clone()));
        }
        if places.is_empty() {
            let told = ask.pages.is_some_and(|pages| {
                let said = [&pages.next, &pages.more, &pages.last, &pages.total, &pages.total_pages];
                said.into_iter().any(Option::is_some)
            });
            let whole = !told && self.success().is_empty() && ask.stream.token.is_none();
            places.extend(if whole { Pointer::parse("").ok() } else { Some(Pointer::from_member("items")) });
        }
        places
    }

    /// The answer with what it says of its pages, and with the next token in the last one.
    fn with_page_info(
        &self,
        visit: &RequestContext<'_>,
        ask: &StreamRequest<'_>,
        mut document: Value,
        page: &Page,
        turned: &PageLinks,
    ) -> SandboxResponse {
        let query = &visit.request.query;
        let mut reply_link = None;
        if let Some(pages) = ask.pages {
            let name = page_query_param(pages);
            let link = |next: &str| {
                let origin = if pages.kind == PaginationKind::NextUrl && self.links_are_relative(ask.stream) {
                    String::new()
                } else {
                    self.link_origin(visit.request, &ask.stream.path)
                };
                format!("{origin}{}?{}", visit.request.path, page::with_query(query, &[], name, next))
            };
            page::write_page_info(&mut document, pages, page, &link);
            reply_link = page.next.as_ref().filter(|_| pages.kind == PaginationKind::LinkHeader).map(|next| link(next));
        }
        if let Some(token) = ask.stream.token.as_ref().filter(|_| page.next.is_none())
            && (token.first.is_none() || turned.changes_since.is_some())
        {
            token.at.set(&mut document, json!(self.next_token(visit.request, ask, token, turned.tick)));
        }
        let reply = SandboxResponse::json(200, &document);
        match reply_link {
            Some(link) => reply.with_header("link", &format!("<{link}>; rel=\"next\"")),
            None => reply,
        }
    }

    fn next_token(&self, request: &SandboxRequest, ask: &StreamRequest<'_>, token: &SyncToken, tick: u32) -> String {
        let text = page::sync_token(&self.signer, ask.name, tick);
        if !token.url {
            return text;
        }
        let turning = ask.pages.map_or(DEFAULT_CURSOR_PARAM, page_query_param);
        let home = self.link_origin(request, &ask.stream.path);
        format!("{home}{}?{}", request.path, page::with_query(&request.query, &[turning], DELTA_TOKEN_PARAM, &text))
    }

    /// Vendors with an address per customer give links without it.
    fn links_are_relative(&self, stream: &Stream) -> bool {
        let base = self.auth.base.as_ref().or(self.connector.api.base.as_ref());
        let own = Some(&stream.path).filter(|path| !path.to_string().starts_with('/'));
        own.or(base).is_some_and(|template| template.to_string().starts_with('{'))
    }

    /// The scheme and host of links: the vendor's own, which the route leads here, or the emulator's for other programs.
    pub(super) fn link_origin(&self, request: &SandboxRequest, path: &Template) -> String {
        if self.serves_external_clients
            && let Some(host) = request.header("host")
        {
            return format!("http://{host}");
        }
        let base = self.auth.base.as_ref().or(self.connector.api.base.as_ref());
        let template = if path.to_string().starts_with('/') { base } else { Some(path) };
        let mut values = Values::default();
        for name in template.into_iter().flat_map(Template::placeholders) {
            values.set(name, &self.account.metadata_value(&self.connector, &self.auth, name));
        }
        values.extend(&self.params).extend(&emulated_urls(&self.connector, &self.auth));
        self.connector.add_derived_values(&self.auth, &mut values);
        for (name, value) in &self.fields {
            values.set(name, value.expose());
        }
        let host = template.and_then(|template| template.origin(&values));
        host.map_or_else(|| ORIGIN.to_owned(), |url| url.origin().ascii_serialization())
    }
}

/// A record as the list holds it: no more than what leads to its details, where there are such.
fn listed(set: &RecordSet<'_>, ask: &StreamRequest<'_>, row: &GeneratedRecord) -> Value {
    let record = set.record(row);
    let Some(detail) = &ask.stream.detail else { return record };
    let at = ask.stream.incremental.as_ref().map(|incremental| &incremental.at);
    let mut short = json!({});
    for at in ask.stream.key.iter().chain(detail.values.values()).chain(at) {
        if let Some(value) = at.find(&record) {
            at.set(&mut short, value.clone());
        }
    }
    short
}

/// Items in so many turns.
fn distribute(items: Vec<Value>, places: usize) -> Vec<Vec<Value>> {
    let mut parts = vec![Vec::new(); places];
    for (index, item) in items.into_iter().enumerate() {
        parts[index % places.max(1)].push(item);
    }
    parts
}

/// The order that the request asks for in words, else the file's.
fn sort_order(ask: &StreamRequest<'_>, request: &SandboxRequest) -> SortOrder {
    let Some(incremental) = &ask.stream.incremental else { return SortOrder::Created };
    let by_id = ask.pages.is_some_and(|pages| pages.kind == PaginationKind::MaxRecord);
    if by_id {
        return SortOrder::Created;
    }
    let query: String = request.query_params().iter().map(|(_, value)| format!("{value} ")).collect();
    let said = (query + &String::from_utf8_lossy(&request.body)).to_lowercase();
    let says = |words: [&str; 2]| said.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| words.contains(&word));
    if says(["desc", "descending"]) {
        SortOrder::NewestFirst
    } else if says(["asc", "ascending"]) || incremental.restart_after.is_some() {
        SortOrder::OldestFirst
    } else if incremental.newest_first {
        SortOrder::NewestFirst
    } else {
        SortOrder::Created
    }
}

/// The query parameter in which links of a list carry the cursor.
fn page_query_param(pages: &Pagination) -> &str {
    pages.param.as_ref().and_then(PageParam::query_name).unwrap_or(DEFAULT_CURSOR_PARAM)
}
