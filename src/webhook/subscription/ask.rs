//! What the vendor is asked, by the connector's action: some of it is the file's, some integ's, the rest the user's.

use std::collections::BTreeMap;
use std::future::Future;

use indexmap::IndexMap;
use serde_json::Value;

use super::{Given, Request, SubscribeError};
use crate::api::{self, Input, Order, Parameters, SendError};
use crate::clock::{self, Timestamp};
use crate::connector::{Action, Call, ErrorClass, Subscribe, Template, Values};
use crate::error::{Error, Result};
use crate::hex;
use crate::http;
use crate::model::{ConnectionName, Mode};
use crate::runtime::{App, Session};
use crate::secret::Secret;
use crate::store::Subscription;
use crate::webhook::setup::{DEFAULT_PORT, Setup, fresh_secret};

const SECRET: &str = "secret";

/// A subscription that is ready to be asked for.
#[derive(Debug)]
pub struct Plan {
    pub url: String,
    pub events: Vec<String>,
    pub given: Given,
    pub nonce: String,
    rules: Subscribe,
    input: Input,
    repeatable: bool,
    /// Secrets that are made for it, by the names of the webhook's parameters.
    fresh: BTreeMap<String, Secret>,
    /// Everything that must not be shown.
    secrets: Vec<Secret>,
}

/// Why there is no answer that says yes.
pub(super) enum Failure {
    /// The vendor did nothing.
    Refused { error: Error, class: Option<ErrorClass> },
    /// It may have done it.
    Unknown(Error),
}

/// A new id, by which the vendor knows a repetition.
pub(super) fn fresh() -> String {
    hex::encode(&clock::random::<16>())
}

impl Plan {
    pub(super) fn new(app: &App, setup: &Setup, request: &Request<'_>, nonce: &str) -> Result<Self> {
        let connection = || setup.name().clone();
        let webhook = setup.rules()?;
        let by_hand = || SubscribeError::ByHand { connection: connection(), setup: webhook.setup.clone() };
        let rules = webhook.subscribe.clone().ok_or_else(by_hand)?;
        let (_, action) = api::find_action(&setup.connector, &rules.action)?;
        let named: Vec<String> = names_in(&rules.params);
        let names = |name: &str| named.iter().any(|known| known == name);
        if setup.connection.mode == Mode::Live && setup.kept.public_url.is_none() && names("url") {
            return Err(SubscribeError::NoPublicUrl { connection: connection() }.into());
        }
        let url = setup.url(setup.kept.port.unwrap_or(DEFAULT_PORT))?.to_string();
        let (mut values, mut fresh) = (setup.keys.values.clone(), BTreeMap::new());
        values.set("url", &url);
        offer(&mut values, &rules, nonce, app.clock.now());
        match setup.keys.secrets.first() {
            Some(secret) => _ = values.set(SECRET, secret.expose()),
            None if names(SECRET) => {
                let secret =
                    fresh_secret(webhook).ok_or_else(|| SubscribeError::NoSecret { connection: connection() })?;
                values.set(SECRET, secret.expose());
                fresh.insert(SECRET.to_owned(), secret);
            }
            None => {}
        }
        // A secret that the vendor is told and shows again is ours to make.
        let made = webhook.params.iter().filter(|(name, param)| *name != SECRET && param.secret && names(name));
        for (name, _) in made.filter(|(name, _)| setup.keys.values.get(name).is_none()) {
            let secret = Secret::new(hex::encode(&clock::random::<20>()));
            values.set(name, secret.expose());
            fresh.insert(name.clone(), secret);
        }
        let shown = webhook.params.iter().filter(|(_, param)| param.secret).filter_map(|(name, _)| values.get(name));
        let secrets = shown.chain(values.get(SECRET)).map(Secret::from).collect();
        let usage = usage(setup, &rules, action);
        let wrong = |problems| SubscribeError::Input { connection: connection(), problems, usage: usage.clone() };
        let mut input: Input = filled(&rules.params, &values).map_err(|problem| wrong(vec![problem]))?;
        let events = chosen(setup, &rules, action, request, &usage)?;
        let theirs = request.input.names().filter(|name| input.has(name));
        let problems: Vec<String> = theirs.map(|name| format!("{name} is integ's to give")).collect();
        if !problems.is_empty() {
            return Err(wrong(problems).into());
        }
        input.values.extend(request.input.values.clone());
        input.files.extend(request.input.files.clone());
        if let Some(param) = rules.events.as_ref().filter(|_| !events.is_empty()) {
            let kinds = events.iter().cloned().map(Value::String);
            match input.values.get_mut(param) {
                Some(Value::Array(given)) => given.extend(kinds),
                _ => _ = input.values.insert(param.clone(), kinds.collect()),
            }
        }
        let parameters = Parameters { action, names: setup.connector.api.names };
        let input = parameters.check(&input).map_err(wrong)?;
        let given = input.values.iter().filter(|(name, _)| {
            !rules.params.contains_key(*name) && rules.events.as_deref().is_none_or(|events| events != *name)
        });
        let keyed = action.idempotency.is_some() || setup.connector.api.idempotency.is_some();
        Ok(Self {
            url,
            given: given.map(|(name, value)| (name.clone(), value.clone())).collect(),
            events,
            nonce: nonce.to_owned(),
            repeatable: keyed || !action.method.creates(),
            input,
            fresh,
            secrets,
            rules,
        })
    }

    /// The plan of a subscription that there is, to be asked for anew.
    pub(super) fn again(app: &App, setup: &Setup, row: &Subscription, nonce: &str) -> Result<Self> {
        let given = row.wanted.given.iter().map(|(name, value)| (name.clone(), value.clone()));
        Self::new(app, setup, &Request { url: None, events: &row.wanted.events, input: &given.collect() }, nonce)
    }

    pub(super) fn rules(&self) -> &Subscribe {
        &self.rules
    }

    pub(super) fn is_repeatable(&self) -> bool {
        self.repeatable
    }

    /// Puts what was made for it into the store; whether there was anything.
    pub(super) fn keep(&self, app: &App, setup: &Setup) -> Result<bool> {
        let webhooks = app.store()?.webhooks();
        let id = setup.connection.id;
        if let Some(secret) = self.fresh.get(SECRET) {
            let now = app.clock.now();
            webhooks.rotate_secret(id, secret, now, now)?;
        }
        let others = self.fresh.iter().filter(|(name, _)| *name != SECRET);
        let params: BTreeMap<String, String> =
            others.map(|(name, value)| (name.clone(), value.expose().clone())).collect();
        if !params.is_empty() {
            webhooks.add_params(id, &params)?;
        }
        Ok(!self.fresh.is_empty())
    }

    pub(super) async fn ask(&self, app: &App, name: &ConnectionName) -> Result<BTreeMap<String, String>, Failure> {
        ask(app, name, &self.rules.action, &self.input, &self.nonce).await
    }
}

/// What every call of a subscription may name beside its URL and secrets.
fn offer(values: &mut Values, rules: &Subscribe, nonce: &str, now: Timestamp) {
    values.set("id", nonce);
    let until = rules.lease_secs.and_then(|seconds| crate::oauth::access::after(now, seconds));
    if let Some(until) = until {
        values.set("expires_at", &until.to_string());
        values.set("expires_at_ms", &until.as_millisecond().to_string());
    }
}

/// The parameters of one of the other calls of a subscription.
pub(super) fn input_of(app: &App, setup: &Setup, call: &Call, row: &Subscription) -> Result<Input> {
    let webhook = setup.rules()?;
    let mut values = setup.keys.values.clone();
    values.set("url", &row.wanted.url).extend(&row.kept);
    if let Some(secret) = setup.keys.secrets.first() {
        values.set(SECRET, secret.expose());
    }
    if let Some(rules) = &webhook.subscribe {
        offer(&mut values, rules, &row.wanted.nonce, app.clock.now());
    }
    let (_, action) = api::find_action(&setup.connector, &call.action)?;
    let mut input: Input = filled(&call.params, &values).map_err(|problem| SubscribeError::NotEnded {
        connection: setup.name().clone(),
        id: row.id,
        why: problem,
    })?;
    let given = row.wanted.given.iter();
    let more = given.filter(|(name, _)| action.params.contains_key(*name) && !call.params.contains_key(*name));
    input.values.extend(more.map(|(name, value)| (name.clone(), value.clone())));
    Ok(input)
}

/// Asks the vendor, and finishes that whatever Ctrl-C says: an answer that is on its way must be stored.
pub(super) async fn ask(
    app: &App,
    name: &ConnectionName,
    action: &str,
    input: &Input,
    key: &str,
) -> Result<BTreeMap<String, String>, Failure> {
    let order = Order { connection: name, action, input, key: Some(key) };
    let done = match finished(api::attempt(app, &order)).await {
        Ok(done) => done,
        Err(SendError::Http { error, .. }) if error.may_have_been_used() || error.is_answer() => {
            return Err(Failure::Unknown(error.into()));
        }
        Err(error) => return Err(Failure::Refused { error: error.into(), class: None }),
    };
    if let Some(class) = done.answer.class {
        let error: Error = api::refused(&done.session, action, class, &done.answer.response).into();
        // A vendor that is out of order may have done it all the same.
        return Err(match class {
            ErrorClass::Retry => Failure::Unknown(error),
            class => Failure::Refused { error, class: Some(class) },
        });
    }
    let answer = done.answer.response.json().unwrap_or_default();
    let found = done.action.result.iter().filter_map(|(name, at)| Some((name.clone(), text(at.find(&answer)?)?)));
    Ok(found.collect())
}

async fn finished<T>(work: impl Future<Output = T>) -> T {
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    let mut interrupted = false;
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = &mut interrupt, if !interrupted => interrupted = true,
        }
    }
}

pub(super) fn rehearse(app: &App, setup: &Setup, plan: &Plan) -> Result<(Session, http::Request)> {
    let order =
        Order { connection: setup.name(), action: &plan.rules.action, input: &plan.input, key: Some(&plan.nonce) };
    let (session, mut request, _) = api::rehearse(app, &order)?;
    request.secrets.extend(plan.secrets.iter().cloned());
    Ok((session, request))
}

/// Where a person looks for what may be left at the vendor.
pub(super) fn look(setup: &Setup, row: &Subscription) -> String {
    let list = setup.rules().ok().and_then(|rules| rules.subscribe.as_ref()?.list.clone());
    let Some(list) = list else { return "look for it at the vendor".to_owned() };
    let declared = setup.connector.actions.get(&list.action).map(|action| &action.params);
    let given = row.wanted.given.iter().filter(|(name, _)| declared.is_some_and(|params| params.contains_key(*name)));
    let words = given.map(|(name, value)| {
        let word = word(name, value);
        let (name, value) = word.split_once('=').unwrap_or_default();
        format!(" {name}={}", shlex::try_quote(value).unwrap_or_default())
    });
    format!("integ call {} {}{}", setup.name(), list.action, words.collect::<String>())
}

/// The types that are asked for: those of the user; where the vendor wants to be told and the user says nothing, all that
/// the connector knows.
fn chosen(
    setup: &Setup,
    rules: &Subscribe,
    action: &Action,
    request: &Request<'_>,
    usage: &str,
) -> Result<Vec<String>, SubscribeError> {
    let Some(param) = &rules.events else {
        if request.events.is_empty() {
            return Ok(Vec::new());
        }
        return Err(SubscribeError::NoEvents { connection: setup.name().clone(), usage: usage.to_owned() });
    };
    let themselves = request.input.has(param);
    let required = action.params.get(param).is_some_and(|param| param.required);
    if request.events.is_empty() && required && !themselves {
        return Ok(setup.connector.events.keys().cloned().collect());
    }
    Ok(request.events.to_vec())
}

/// Returns the `integ webhook subscribe` command with everything that the connector's action needs.
fn usage(setup: &Setup, rules: &Subscribe, action: &Action) -> String {
    let taken = |name: &&String| rules.params.contains_key(*name) || rules.events.as_ref() == Some(*name);
    let required = action.params.iter().filter(|(_, param)| param.required).map(|(name, _)| name);
    let words = required.filter(|name| !taken(name)).map(|name| format!(" -p {name}={}", name.to_uppercase()));
    format!("integ webhook subscribe {}{}", setup.name(), words.collect::<String>())
}

fn names_in(params: &IndexMap<String, Value>) -> Vec<String> {
    fn visit(value: &Value, names: &mut Vec<String>) {
        match value {
            Value::String(text) => {
                if let Ok(template) = Template::parse(text) {
                    names.extend(template.names().map(str::to_owned));
                }
            }
            Value::Array(items) => items.iter().for_each(|item| visit(item, names)),
            Value::Object(members) => members.values().for_each(|item| visit(item, names)),
            _ => {}
        }
    }
    let mut names = Vec::new();
    params.values().for_each(|value| visit(value, &mut names));
    names
}

/// Whether a call says which subscription it means.
pub(super) fn names_kept(call: &Call, rules: &Subscribe) -> bool {
    names_in(&call.params).iter().any(|name| rules.keep.contains(name) || name == "id")
}

/// The parameters that a connector's file gives a call, their templates filled.
pub(crate) fn filled(params: &IndexMap<String, Value>, values: &Values) -> Result<Input, String> {
    fn fill(value: &Value, values: &Values) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => {
                let template = Template::parse(text).map_err(|error| error.to_string())?;
                Value::String(template.fill(values).map_err(|error| error.to_string())?)
            }
            Value::Array(items) => {
                Value::Array(items.iter().map(|item| fill(item, values)).collect::<Result<Vec<_>, _>>()?)
            }
            Value::Object(members) => {
                let filled = members.iter().map(|(name, item)| Ok((name.clone(), fill(item, values)?)));
                Value::Object(filled.collect::<Result<_, String>>()?)
            }
            other => other.clone(),
        })
    }
    params.iter().map(|(name, value)| Ok((name.clone(), fill(value, values)?))).collect()
}

/// A value as a person types it for `integ call`.
fn word(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) if text.starts_with('@') => format!("{name}=@{text}"),
        Value::String(text) => format!("{name}={text}"),
        other => format!("{name}:={other}"),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
