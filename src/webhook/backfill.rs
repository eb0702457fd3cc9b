//! Fetches missed events from the vendor, and adds each one to the inbox once.
//!
//! What is fetched has no signature; it is the connection's own credentials and TLS that say whose it is. An event has the
//! id that its delivery had, so that one which came is a duplicate, whichever of the two was first.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::fmt::rfc2822;
use serde_json::Value;
use thiserror::Error;

use super::inbound::delivery::{fetched_delivery, new_event};
use super::inbound::event;
use super::settings::WebhookSettings;
use super::subscription::fill_params;
use crate::api::{self, ActionCall, Input, PageSink};
use crate::clock::Timestamp;
use crate::connector::{Backfill, Pointer, TimeUnit, Values};
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::hash;
use crate::http::Response;
use crate::jq::Expression;
use crate::model::{ConnectionName, EventInsertResult, NewEvent, SubscriptionStatus};
use crate::runtime::Workspace;
use crate::signing::request::WebhookRequest;
use crate::signing::verify::ParsedRequest;

/// What to request.
#[derive(Debug)]
pub struct BackfillRequest<'a> {
    pub since: Timestamp,
    pub until: Timestamp,
    /// Maximum number of new events.
    pub limit: Option<u64>,
    /// Parameters that no subscription gives.
    pub input: &'a Input,
    /// Nothing is stored.
    pub dry_run: bool,
    /// Whether anybody is to handle what is stored.
    pub needs_handling: bool,
    /// What is in it is passed over, and what is listed is added; absent if everything is wanted.
    pub seen: Option<&'a SeenItems>,
}

/// The items that the vendor listed lately, so that polling does not fetch each of them again.
#[derive(Debug, Default)]
pub struct SeenItems(Mutex<SeenGenerations>);

/// Digests of items: those of this time, and of the time before.
#[derive(Debug, Default)]
struct SeenGenerations {
    current: HashSet<[u8; 32]>,
    previous: HashSet<[u8; 32]>,
}

impl SeenItems {
    /// Begins a new list: what the last two did not contain is forgotten.
    fn begin_list(&self) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.previous = std::mem::take(&mut seen.current);
    }

    fn contains(&self, item: &Value) -> bool {
        let digest = hash::sha256(item.to_string().as_bytes());
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = seen.current.contains(&digest) || seen.previous.contains(&digest);
        if is_known {
            seen.current.insert(digest);
        }
        is_known
    }

    fn add(&self, item: &Value) {
        let digest = hash::sha256(item.to_string().as_bytes());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).current.insert(digest);
    }
}

/// An event that the vendor listed.
#[derive(Debug)]
pub struct BackfilledEvent {
    pub event: event::ParsedEvent,
    /// Absent if nothing was to be stored.
    pub inserted: Option<EventInsertResult>,
    pub is_duplicate: bool,
    /// The request that it was stored with.
    pub request: Option<WebhookRequest>,
    /// The event within a batch, as JSON.
    batch_item: Option<String>,
}

impl BackfilledEvent {
    /// Returns the event as it was stored.
    pub fn new_event(&self) -> NewEvent {
        new_event(self.event.clone(), self.batch_item.clone(), &[])
    }
}

/// Why missed events cannot be fetched from the vendor.
#[derive(Debug, Error)]
pub enum BackfillError {
    #[error("{connector} does not list the deliveries that {connection} missed")]
    Unsupported { connection: ConnectionName, connector: String },
    #[error("invalid request to {connection}: {problem}")]
    InvalidParameters { connection: ConnectionName, problem: String },
    #[error("the service lists only the last {reach} of deliveries")]
    TooFarBack { connection: ConnectionName, reach: String },
    #[error("the response of {connection} has no list at the place that its connector names")]
    MalformedResponse { connection: ConnectionName },
}

impl Remedy for BackfillError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Unsupported { connection, .. } => Diagnostic::new(Kind::NotFound, "backfill_unsupported")
                .hint(Hint::new("list the actions that you can call instead:", format!("integ call {connection}")))
                .connection(connection),
            Self::InvalidParameters { connection, .. } => Diagnostic::new(Kind::Usage, "invalid_parameters")
                .run(format!("integ webhook backfill {connection} --since 1d -p NAME=VALUE"))
                .connection(connection),
            Self::TooFarBack { connection, reach } => Diagnostic::new(Kind::Usage, "too_far_back")
                .run(format!("integ webhook backfill {connection} --since {reach}"))
                .connection(connection),
            Self::MalformedResponse { connection } => {
                Diagnostic::new(Kind::Rejected, "malformed_response").connection(connection)
            }
        }
    }
}

/// Asks the vendor for what happened, and takes it into the inbox page by page. `sink` gets each event. What was stored
/// before an error stays, and is known the next time.
///
/// # Errors
/// [`BackfillError`], and those of [`crate::api::call`].
pub async fn backfill(
    workspace: &Workspace,
    name: &ConnectionName,
    options: &BackfillRequest<'_>,
    mut sink: impl FnMut(&BackfilledEvent) -> Result<()> + Send,
) -> Result<()> {
    let setup = WebhookSettings::load(workspace, name).await?;
    let none = || BackfillError::Unsupported { connection: name.clone(), connector: setup.connector.id.clone() };
    let rules = setup.rules()?.backfill.clone().ok_or_else(none)?;
    if let Some(reach) = rules.reach_secs
        && workspace.clock.now().as_second().saturating_sub(options.since.as_second()) > i64::from(reach)
    {
        let reach = crate::duration::format(std::time::Duration::from_secs(u64::from(reach)));
        return Err(BackfillError::TooFarBack { connection: name.clone(), reach }.into());
    }
    let expression = Expression::parse(rules.event.as_deref().unwrap_or("."))?;
    let mut left = options.limit.unwrap_or(u64::MAX);
    if let Some(seen) = options.seen {
        seen.begin_list();
    }
    for input in build_inputs(workspace, &setup, &rules, options).await? {
        let (_, action) = api::find_action(&setup.connector, &rules.action)?;
        let at = rules.pages.as_ref().and_then(|pages| pages.records.clone()).or_else(|| action.list.clone());
        let order = ActionCall { connection: name, action: &rules.action, input: &input, idempotency_key: None };
        let mut pages = BackfillPages {
            workspace,
            setup: &setup,
            rules: &rules,
            options,
            expression: &expression,
            input: &input,
            at,
            left,
            sink: &mut sink,
        };
        api::list(workspace, &order, rules.pages.as_ref(), &mut pages).await?;
        left = pages.left;
    }
    Ok(())
}

/// Takes the pages of the vendor's list of events.
struct BackfillPages<'a, S> {
    workspace: &'a Workspace,
    setup: &'a WebhookSettings,
    rules: &'a Backfill,
    options: &'a BackfillRequest<'a>,
    expression: &'a Expression,
    input: &'a Input,
    /// Where the events are in a page.
    at: Option<Pointer>,
    /// How many new events are still wanted.
    left: u64,
    sink: &'a mut S,
}

impl<S: FnMut(&BackfilledEvent) -> Result<()> + Send> PageSink for BackfillPages<'_, S> {
    async fn page(&mut self, response: &Response) -> Result<ControlFlow<()>> {
        let Self { workspace, setup, rules, options, .. } = *self;
        let document = response.json().unwrap_or_default();
        if !response.is_success() {
            return Ok(ControlFlow::Break(()));
        }
        let shape = || BackfillError::MalformedResponse { connection: setup.name().clone() };
        let items = api::records(self.at.as_ref(), &document).ok_or_else(shape)?;
        let mut older = 0;
        for item in items {
            if self.left == 0 {
                return Ok(ControlFlow::Break(()));
            }
            let when = rules.time.as_ref().and_then(|at| read_time(&at.text(item)?, rules.time_unit));
            if when.is_some_and(|when| when < options.since) {
                older += 1;
                continue;
            }
            if when.is_some_and(|when| when > options.until) {
                continue;
            }
            if options.seen.is_some_and(|seen| seen.contains(item)) {
                continue;
            }
            let whole = match &rules.each {
                Some(_) => fetch_full_event(workspace, setup, rules, self.input, item).await?,
                None => item.clone(),
            };
            for found in insert_event(workspace, setup, rules, self.expression, &whole, options).await? {
                self.left = self.left.saturating_sub(u64::from(!found.is_duplicate));
                (self.sink)(&found)?;
            }
            if let Some(seen) = options.seen {
                seen.add(item);
            }
        }
        let over = rules.newest_first && !items.is_empty() && older == items.len();
        Ok(if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

/// The parameters of each list to ask for: one for each subscription that makes a difference.
async fn build_inputs(
    workspace: &Workspace,
    setup: &WebhookSettings,
    rules: &Backfill,
    options: &BackfillRequest<'_>,
) -> Result<Vec<Input>> {
    let (_, action) = api::find_action(&setup.connector, &rules.action)?;
    let mut lists: Vec<Input> = Vec::new();
    let mut problem = None;
    let rows = workspace.store().await?.subscriptions().list(Some(setup.connection.id)).await?;
    let rows = rows.iter().filter(|row| row.status == SubscriptionStatus::Active).map(Some);
    for row in rows.chain([None]) {
        if row.is_none() && !lists.is_empty() {
            break;
        }
        let mut values = setup.keys.values.clone();
        add_values(&mut values, options);
        if let Some(row) = row {
            values.extend(&row.metadata);
        }
        let params = rules.params.iter().filter(|(name, _)| !options.input.has(name));
        let params = params.map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut input: Input = match fill_params(&params, &values) {
            Ok(input) => input,
            Err(why) => {
                problem = Some(why);
                continue;
            }
        };
        let more = row.iter().flat_map(|row| &row.request.params).filter(|(name, _)| {
            action.params.contains_key(*name) && !rules.params.contains_key(*name) && !options.input.has(name)
        });
        input.values.extend(more.map(|(name, value)| (name.clone(), value.clone())));
        input.values.extend(options.input.values.clone());
        input.files.extend(options.input.files.clone());
        let missing = action.params.iter().find(|(name, param)| param.required && !input.has(name));
        match missing {
            Some((name, param)) => problem = Some(format!("{name} is missing ({})", param.about)),
            None if lists.contains(&input) => {}
            None => lists.push(input),
        }
    }
    match problem.filter(|_| lists.is_empty()) {
        Some(problem) => Err(BackfillError::InvalidParameters { connection: setup.name().clone(), problem }.into()),
        None => Ok(lists),
    }
}

fn add_values(values: &mut Values, options: &BackfillRequest<'_>) {
    for (name, at) in [("since", options.since), ("until", options.until)] {
        values.set(name, &at.as_second().to_string());
        values.set(&format!("{name}_ms"), &at.as_millisecond().to_string());
        values.set(&format!("{name}_date"), &at.to_string());
        values.set(&format!("{name}_day"), at.to_string().get(..10).unwrap_or_default());
    }
}

/// An item with all that the vendor knows of it.
async fn fetch_full_event(
    workspace: &Workspace,
    setup: &WebhookSettings,
    rules: &Backfill,
    shared: &Input,
    item: &Value,
) -> Result<Value> {
    let Some(each) = &rules.each else { return Ok(item.clone()) };
    let (_, action) = api::find_action(&setup.connector, &each.action)?;
    let of_item = each.params.iter().filter_map(|(name, at)| Some((name.clone(), at.find(item)?.clone())));
    let shared =
        shared.values.iter().filter(|(name, _)| action.params.contains_key(*name) && !each.params.contains_key(*name));
    let input = of_item.chain(shared.map(|(name, value)| (name.clone(), value.clone()))).collect();
    let order = ActionCall { connection: setup.name(), action: &each.action, input: &input, idempotency_key: None };
    let done = api::call(workspace, &order).await?;
    if let Some(class) = done.response.error_class {
        return Err(api::refusal_error(&done.session, &each.action, class, &done.response.response).into());
    }
    Ok(done.response.response.json().unwrap_or_default())
}

/// Takes the events of an item.
async fn insert_event(
    workspace: &Workspace,
    setup: &WebhookSettings,
    rules: &Backfill,
    expression: &Expression,
    item: &Value,
    options: &BackfillRequest<'_>,
) -> Result<Vec<BackfilledEvent>> {
    let webhook = setup.rules()?;
    let events = workspace.store().await?.events();
    let mut found = Vec::new();
    for body in expression.results(item)? {
        if matches!(body.as_str(), "null" | "false" | "\"\"") {
            continue;
        }
        let mut request = WebhookRequest {
            method: "POST".to_owned(),
            url: setup.url(setup.stored.port.unwrap_or(super::settings::DEFAULT_PORT))?.to_string(),
            headers: Vec::new(),
            body: body.into_bytes(),
        };
        let object = rules.all_headers.as_ref().and_then(|at| at.find(item)?.as_object());
        for (name, value) in object.into_iter().flatten() {
            if let Some(text) = value.as_str() {
                request.set_header(name, text);
            }
        }
        for (name, at) in &rules.headers {
            if request.single_header(name).is_none()
                && let Some(text) = at.text(item)
            {
                request.set_header(name, &text);
            }
        }
        // However it was delivered, it is JSON here.
        request.set_header("content-type", "application/json");
        for (name, value) in &rules.query {
            request.set_query(name, value);
        }
        let Ok(document) = event::document(&webhook.event, &request) else { continue };
        let Ok(items) = event::items(&webhook.event, &document) else { continue };
        let judged = ParsedRequest { request: &request, document: &document, items: &items };
        if super::inbound::handshake::find(&webhook.handshakes, &judged).is_some() {
            continue;
        }
        let read =
            |(index, item)| event::parse_event(&webhook.event, &judged, index, item, workspace.clock.now_millis());
        let read: Vec<event::ParsedEvent> = items.iter().enumerate().map(read).collect();
        if options.dry_run {
            for event in read {
                let known = events.find(setup.connection.id, &event.delivery_id).await?.is_some();
                found.push(BackfilledEvent {
                    event,
                    inserted: None,
                    is_duplicate: known,
                    request: None,
                    batch_item: None,
                });
            }
            continue;
        }
        let batch = !webhook.event.items.is_empty();
        let texts = read.iter().cloned().zip(items.iter().map(|item| batch.then(|| item.to_string()))).collect();
        let texts: Vec<(event::ParsedEvent, Option<String>)> = texts;
        let batch_items: Vec<Option<String>> = texts.iter().map(|(_, text)| text.clone()).collect();
        let now = workspace.clock.now_millis();
        let delivery = fetched_delivery(setup.connection.id, options.needs_handling, request.clone(), texts, now);
        let taken = events.insert(Arc::new(delivery)).await?;
        found.extend(read.into_iter().zip(batch_items).zip(taken).map(|((event, batch_item), taken)| {
            let known = !matches!(taken, EventInsertResult::New(_));
            let request = Some(request.clone());
            BackfilledEvent { event, inserted: Some(taken), is_duplicate: known, request, batch_item }
        }));
    }
    Ok(found)
}

fn read_time(text: &str, unit: TimeUnit) -> Option<Timestamp> {
    match unit {
        TimeUnit::Seconds => Timestamp::from_second(text.split('.').next()?.parse().ok()?).ok(),
        TimeUnit::Milliseconds => Timestamp::from_millisecond(text.parse().ok()?).ok(),
        // Some write RFC 2822.
        TimeUnit::Date => text.parse().ok().or_else(|| Some(rfc2822::parse(text).ok()?.timestamp())),
    }
}
