//! Builds the vendor request for a subscription, from the file, integ and the user.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::Value;

use super::{SubscribeError, SubscribeOptions, SubscriptionParams};
use crate::api::{self, ActionCall, Input, Parameters, SendError};
use crate::clock::{self, Timestamp};
use crate::connector::{Action, Connector, ErrorClass, SubscriptionCall, SubscriptionCalls, Template, Values};
use crate::error::{Error, Result};
use crate::model::{ConnectionMode, ConnectionName, Subscription, matches_type};
use crate::runtime::{Session, Workspace};
use crate::secret::Secret;
use crate::webhook::settings::{DEFAULT_PORT, WebhookSettings, generate_secret};
use crate::{hex, http};

const SECRET: &str = "secret";

/// A subscription that is ready to be requested.
#[derive(Debug)]
pub struct PreparedSubscription {
    pub url: String,
    pub events: Vec<String>,
    pub params: SubscriptionParams,
    pub idempotency_key: String,
    rules: SubscriptionCalls,
    input: Input,
    is_idempotent: bool,
    /// Secrets that are made for it, by the names of the webhook's parameters.
    generated: BTreeMap<String, Secret>,
    /// Everything that must not be shown.
    secrets: Vec<Secret>,
}

/// Why there is no answer that says yes.
pub(super) enum SubscribeFailure {
    /// The vendor did nothing.
    Rejected { error: Error, class: Option<ErrorClass> },
    /// It may have done it.
    Unknown(Error),
}

/// A new id, by which the vendor knows a repetition.
pub(super) fn new_idempotency_key() -> String {
    hex::encode(&clock::random::<16>())
}

impl PreparedSubscription {
    pub(super) fn new(
        workspace: &Workspace,
        setup: &WebhookSettings,
        request: &SubscribeOptions<'_>,
        nonce: &str,
    ) -> Result<Self> {
        let connection = || setup.name().clone();
        let webhook = setup.rules()?;
        let by_hand = || SubscribeError::ManualSetup { connection: connection(), setup: webhook.setup.clone() };
        let rules = webhook.subscribe.clone().ok_or_else(by_hand)?;
        let (_, action) = api::find_action(&setup.connector, &rules.action)?;
        let named: Vec<String> = template_names(&rules.params);
        let names = |name: &str| named.iter().any(|known| known == name);
        if setup.connection.mode == ConnectionMode::Live && setup.stored.public_url.is_none() && names("url") {
            return Err(SubscribeError::NoPublicUrl { connection: connection() }.into());
        }
        let url = setup.url(setup.stored.port.unwrap_or(DEFAULT_PORT))?.to_string();
        let (mut values, mut fresh) = (setup.keys.values.clone(), BTreeMap::new());
        values.set("url", &url);
        offer(&mut values, &rules, nonce, workspace.clock.now());
        match setup.keys.secrets.first() {
            Some(secret) => _ = values.set(SECRET, secret.expose()),
            None if names(SECRET) => {
                let secret =
                    generate_secret(webhook).ok_or_else(|| SubscribeError::NoSecret { connection: connection() })?;
                values.set(SECRET, secret.expose());
                fresh.insert(SECRET.to_owned(), secret);
            }
            None => {}
        }
        // A secret that is sent to the vendor, which shows it again, is ours to make.
        let made = webhook.params.iter().filter(|(name, param)| *name != SECRET && param.secret && names(name));
        for (name, _) in made.filter(|(name, _)| setup.keys.values.get(name).is_none()) {
            let secret = Secret::new(hex::encode(&clock::random::<20>()));
            values.set(name, secret.expose());
            fresh.insert(name.clone(), secret);
        }
        let shown = webhook.params.iter().filter(|(_, param)| param.secret).filter_map(|(name, _)| values.get(name));
        let secrets = shown.chain(values.get(SECRET)).map(Secret::from).collect();
        let usage = usage(setup, &rules, action);
        let wrong =
            |problems| SubscribeError::InvalidParameters { connection: connection(), problems, usage: usage.clone() };
        let mut input: Input = fill_params(&rules.params, &values).map_err(|problem| wrong(vec![problem]))?;
        let events = select_events(setup, &rules, action, request, &usage)?;
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
            params: given.map(|(name, value)| (name.clone(), value.clone())).collect(),
            events,
            idempotency_key: nonce.to_owned(),
            is_idempotent: keyed || !action.method.is_non_idempotent(),
            input,
            generated: fresh,
            secrets,
            rules,
        })
    }

    /// The plan of an existing subscription, to be requested again.
    pub(super) fn for_renewal(
        workspace: &Workspace,
        setup: &WebhookSettings,
        row: &Subscription,
        nonce: &str,
    ) -> Result<Self> {
        let given = row.request.params.iter().map(|(name, value)| (name.clone(), value.clone()));
        Self::new(
            workspace,
            setup,
            &SubscribeOptions { url: None, events: &row.request.events, input: &given.collect() },
            nonce,
        )
    }

    pub(super) fn rules(&self) -> &SubscriptionCalls {
        &self.rules
    }

    pub(super) fn is_repeatable(&self) -> bool {
        self.is_idempotent
    }

    /// Puts what was made for it into the store; whether there was anything.
    pub(super) async fn store_secrets(&self, workspace: &Workspace, setup: &WebhookSettings) -> Result<bool> {
        let webhooks = workspace.store().await?.webhooks();
        let id = setup.connection.id;
        if let Some(secret) = self.generated.get(SECRET) {
            let now = workspace.clock.now();
            webhooks.rotate_secret(id, secret, now, now).await?;
        }
        let others = self.generated.iter().filter(|(name, _)| *name != SECRET);
        let params: BTreeMap<String, String> =
            others.map(|(name, value)| (name.clone(), value.expose().clone())).collect();
        if !params.is_empty() {
            webhooks.add_params(id, &params).await?;
        }
        Ok(!self.generated.is_empty())
    }

    pub(super) async fn send(
        &self,
        workspace: &Workspace,
        name: &ConnectionName,
    ) -> Result<BTreeMap<String, String>, SubscribeFailure> {
        send(workspace, name, &self.rules.action, &self.input, &self.idempotency_key).await
    }
}

/// What every call of a subscription may name beside its URL and secrets.
fn offer(values: &mut Values, rules: &SubscriptionCalls, nonce: &str, now: Timestamp) {
    values.set("id", nonce);
    let until = rules.lease_secs.and_then(|seconds| crate::oauth::refresh::add_seconds(now, seconds));
    if let Some(until) = until {
        values.set("expires_at", &until.to_string());
        values.set("expires_at_ms", &until.as_millisecond().to_string());
    }
}

/// The parameters of one of the other calls of a subscription.
pub(super) fn input_of(
    workspace: &Workspace,
    setup: &WebhookSettings,
    call: &SubscriptionCall,
    row: &Subscription,
) -> Result<Input> {
    let webhook = setup.rules()?;
    let mut values = setup.keys.values.clone();
    values.set("url", &row.request.url).extend(&row.metadata);
    if let Some(secret) = setup.keys.secrets.first() {
        values.set(SECRET, secret.expose());
    }
    if let Some(rules) = &webhook.subscribe {
        offer(&mut values, rules, &row.request.idempotency_key, workspace.clock.now());
    }
    let (_, action) = api::find_action(&setup.connector, &call.action)?;
    let mut input: Input = fill_params(&call.params, &values).map_err(|problem| SubscribeError::UnsubscribeFailed {
        connection: setup.name().clone(),
        id: row.id,
        reason: problem,
    })?;
    let given = row.request.params.iter();
    let more = given.filter(|(name, _)| action.params.contains_key(*name) && !call.params.contains_key(*name));
    input.values.extend(more.map(|(name, value)| (name.clone(), value.clone())));
    Ok(input)
}

/// Asks the vendor, and finishes that whatever Ctrl-C says: an answer that is on its way must be stored.
pub(super) async fn send(
    workspace: &Workspace,
    name: &ConnectionName,
    action: &str,
    input: &Input,
    key: &str,
) -> Result<BTreeMap<String, String>, SubscribeFailure> {
    let order = ActionCall { connection: name, action, input, idempotency_key: Some(key) };
    let done = match api::try_call(workspace, &order).await {
        Ok(done) => done,
        Err(SendError::Http { error, .. }) if error.may_have_been_used() || error.is_answer() => {
            return Err(SubscribeFailure::Unknown(error.into()));
        }
        Err(error) => return Err(SubscribeFailure::Rejected { error: error.into(), class: None }),
    };
    if let Some(class) = done.response.error_class {
        let error: Error = api::refusal_error(&done.session, action, class, &done.response.response).into();
        // A vendor that is out of order may have done it all the same.
        return Err(match class {
            ErrorClass::Retry => SubscribeFailure::Unknown(error),
            class => SubscribeFailure::Rejected { error, class: Some(class) },
        });
    }
    let answer = done.response.response.json().unwrap_or_default();
    let found = done.action.result.iter().filter_map(|(name, at)| Some((name.clone(), text(at.find(&answer)?)?)));
    Ok(found.collect())
}

pub(super) async fn dry_run(
    workspace: &Workspace,
    setup: &WebhookSettings,
    plan: &PreparedSubscription,
) -> Result<(Session, http::Request)> {
    let order = ActionCall {
        connection: setup.name(),
        action: &plan.rules.action,
        input: &plan.input,
        idempotency_key: Some(&plan.idempotency_key),
    };
    let (session, mut request, _) = api::dry_run(workspace, &order).await?;
    request.secrets.extend(plan.secrets.iter().cloned());
    Ok((session, request))
}

/// Where a person looks for what may be left at the vendor.
pub(super) fn check_command(setup: &WebhookSettings, row: &Subscription) -> String {
    let list = setup.rules().ok().and_then(|rules| rules.subscribe.as_ref()?.list.clone());
    let Some(list) = list else { return "look for it at the service".to_owned() };
    let declared = setup.connector.actions.get(&list.action).map(|action| &action.params);
    let given = row.request.params.iter().filter(|(name, _)| declared.is_some_and(|params| params.contains_key(*name)));
    let words = given.map(|(name, value)| {
        let word = word(name, value);
        let (name, value) = word.split_once('=').unwrap_or_default();
        format!(" {name}={}", shlex::try_quote(value).unwrap_or_default())
    });
    format!("integ call {} {}{}", setup.name(), list.action, words.collect::<String>())
}

/// The requested types: those of the user; where the vendor needs a list and the user says nothing, all that
/// the connector knows.
fn select_events(
    setup: &WebhookSettings,
    rules: &SubscriptionCalls,
    action: &Action,
    request: &SubscribeOptions<'_>,
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
    Ok(expand_patterns(&setup.connector, request.events))
}

/// Replaces each pattern by the types of the connector that it covers, for vendors know no patterns but `*` alone.
fn expand_patterns(connector: &Connector, wanted: &[String]) -> Vec<String> {
    let mut events: Vec<String> = Vec::new();
    for pattern in wanted {
        let is_pattern = pattern.contains('*') && pattern != "*";
        let known = connector.events.keys().filter(|kind| is_pattern && matches_type(pattern, kind));
        let mut kinds: Vec<String> = known.cloned().collect();
        if kinds.is_empty() {
            kinds.push(pattern.clone());
        }
        kinds.retain(|kind| !events.contains(kind));
        events.extend(kinds);
    }
    events
}

/// Returns the `integ webhook subscribe` command with everything that the connector's action needs.
fn usage(setup: &WebhookSettings, rules: &SubscriptionCalls, action: &Action) -> String {
    let taken = |name: &&String| rules.params.contains_key(*name) || rules.events.as_ref() == Some(*name);
    let required = action.params.iter().filter(|(_, param)| param.required).map(|(name, _)| name);
    let words = required.filter(|name| !taken(name)).map(|name| format!(" -p {name}={}", name.to_uppercase()));
    format!("integ webhook subscribe {}{}", setup.name(), words.collect::<String>())
}

fn template_names(params: &IndexMap<String, Value>) -> Vec<String> {
    fn visit(value: &Value, names: &mut Vec<String>) {
        match value {
            Value::String(text) => {
                if let Ok(template) = Template::parse(text) {
                    names.extend(template.placeholders().map(str::to_owned));
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
pub(super) fn names_kept(call: &SubscriptionCall, rules: &SubscriptionCalls) -> bool {
    template_names(&call.params).iter().any(|name| rules.keep.contains(name) || name == "id")
}

/// The parameters that a connector's file gives a call, their templates filled.
pub(crate) fn fill_params(params: &IndexMap<String, Value>, values: &Values) -> Result<Input, String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::Catalogue;

    #[test]
    fn a_pattern_is_asked_for_as_the_types_that_it_covers() {
        let stripe = Catalogue::new(std::path::Path::new("/nonexistent")).get("stripe").unwrap();
        let expand =
            |wanted: &[&str]| expand_patterns(&stripe, &wanted.iter().map(ToString::to_string).collect::<Vec<_>>());
        let invoices = expand(&["invoice.*"]);
        assert!(invoices.len() > 1 && invoices.iter().all(|kind| kind.starts_with("invoice.")), "{invoices:?}");
        assert_eq!(expand(&["invoice.paid", "invoice.*"]).len(), invoices.len());
        assert_eq!(expand(&["*", "nothing.*", "own.type"]), ["*", "nothing.*", "own.type"], "the vendor judges those");
    }
}
