//! Checks the consistency of a connector file: undefined names, URLs that are not https, authentication methods without
//! an endpoint.

mod action;
mod binding;
mod calendar;
mod credential;
mod names;
mod stream;
mod untrusted;
mod webhook;
mod write;

use std::collections::BTreeSet;

use indexmap::IndexMap;

use self::names::{NameScope, is_https};
use super::{
    AuthMethod, ClientAuth, Connector, CredentialPlacement, ErrorRule, GrantType, Health, OAuth2, PaginationKind,
    Param, Pkce, RefreshTokenRotation, ScopeRule, Template,
};
use crate::near::did_you_mean_or_list;

/// Keys and messages.
type Diagnostics = Vec<(String, String)>;

/// What the values of a connector say together that cannot be.
pub(super) fn check(connector: &Connector) -> Diagnostics {
    let mut found = Diagnostics::new();
    check_identity(connector, &mut found);
    for (name, param) in &connector.params {
        check_param(&format!("params.{name}"), param, &mut found);
    }
    for (name, auth) in &connector.auth {
        check_auth(connector, name, auth, &mut found);
    }
    check_api(connector, &mut found);
    check_scopes(connector, &mut found);
    if let Some(health) = &connector.health {
        let ways = auth_methods(connector, |auth| auth.health.is_none());
        check_health(connector, "health.path", health, ways, &mut found);
    }
    for (index, rule) in connector.errors.iter().enumerate() {
        check_error_rule(&format!("errors.{index}"), rule, &mut found);
    }
    action::check_all(connector, &mut found);
    stream::check_all(connector, &mut found);
    write::check_all(connector, &mut found);
    webhook::check(connector, &mut found);
    binding::check_all(connector, &mut found);
    calendar::check(connector, &mut found);
    untrusted::check(connector, &mut found);
    if connector.rate.budget.is_some_and(|budget| budget.units == 0 || budget.secs == 0 || budget.burst == Some(0)) {
        found.push(("rate.budget".to_owned(), "requests and secs are at least 1".to_owned()));
    }
    for (index, hint) in connector.rate.retry_hints.iter().enumerate() {
        if hint.header.is_some() == hint.body.is_some() {
            found.push((format!("rate.retry_hints.{index}"), "takes exactly one of header and body".to_owned()));
        }
    }
    // Shared parts are checked once for each authentication method.
    let mut seen = BTreeSet::new();
    found.retain(|mistake| seen.insert(mistake.clone()));
    found
}

fn check_identity(connector: &Connector, found: &mut Diagnostics) {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if connector.id.is_empty() || !connector.id.chars().all(valid) {
        let message = format!("{:?} is not kebab-case: use lower-case letters, digits and '-'", connector.id);
        found.push(("id".to_owned(), message));
    }
    if !is_https(&connector.docs) {
        found.push(("docs".to_owned(), not_https(&connector.docs)));
    }
    if connector.auth.is_empty() {
        found.push(("auth".to_owned(), "a connector needs a way of authenticating".to_owned()));
    }
}

/// The authentication methods that something holds for.
fn auth_methods(
    connector: &Connector,
    holds: impl Fn(&AuthMethod) -> bool,
) -> impl Iterator<Item = (&str, &AuthMethod)> {
    connector.auth.iter().filter(move |(_, auth)| holds(auth)).map(|(name, auth)| (name.as_str(), auth))
}

fn has_base(connector: &Connector, auth: &AuthMethod) -> bool {
    auth.base.is_some() || connector.api.base.is_some()
}

fn not_https(url: &str) -> String {
    format!("{url:?} is not an https URL")
}

fn not_a_choice(value: &str, choices: &[String]) -> String {
    format!("{value:?} is none of the choices{}", did_you_mean_or_list(value, choices.iter().map(String::as_str)))
}

fn check_param(key: &str, param: &Param, found: &mut Diagnostics) {
    if let Some(default) = &param.default
        && !param.choices.is_empty()
        && !param.choices.contains(default)
    {
        found.push((format!("{key}.default"), not_a_choice(default, &param.choices)));
    }
    if param.gives.is_empty() {
        return;
    }
    for choice in param.gives.keys().filter(|choice| !param.choices.contains(choice)) {
        found.push((format!("{key}.gives.{choice}"), not_a_choice(choice, &param.choices)));
    }
    let names: BTreeSet<&String> = param.gives.values().flat_map(IndexMap::keys).collect();
    for choice in &param.choices {
        let given = param.gives.get(choice);
        for name in names.iter().filter(|name| !given.is_some_and(|given| given.contains_key(**name))) {
            found
                .push((format!("{key}.gives"), format!("{choice:?} does not give {name:?}, which other choices give")));
        }
    }
}

fn check_auth(connector: &Connector, name: &str, auth: &AuthMethod, found: &mut Diagnostics) {
    let key = format!("auth.{name}");
    // What a token is asked for with is not a method of its own.
    let is_key = !auth.fields.is_empty() && !auth.presents_fields();
    let ways = [auth.oauth2.is_some(), auth.fragment.is_some(), is_key];
    if ways.iter().filter(|way| **way).count() != 1 {
        found.push((key.clone(), "takes exactly one of oauth2, fragment and fields".to_owned()));
    } else if auth.is_key() && auth.send.is_none() && auth.token_field().is_none() {
        let message = "has no secret field to send: say how in send, or leave one secret".to_owned();
        found.push((key.clone(), message));
    }
    if let Some(token) = &auth.token
        && !auth.fields.contains_key(token)
    {
        let known = did_you_mean_or_list(token, auth.fields.keys().map(String::as_str));
        found.push((format!("{key}.token"), format!("{token:?} is not one of the fields{known}")));
    }
    if let Some(url) = auth.setup_url.as_ref().filter(|url| !is_https(url)) {
        found.push((format!("{key}.setup_url"), not_https(url)));
    }
    for (param, declared) in &auth.params {
        check_param(&format!("{key}.params.{param}"), declared, found);
    }
    if let Some(oauth2) = &auth.oauth2 {
        let key = format!("{key}.oauth2");
        let is_auth = |choice: &str| ClientAuth::from_name(choice).is_some();
        check_choice(connector, auth, &format!("{key}.client_auth_param"), &oauth2.client_auth_param, is_auth, found);
        let is_pkce = |choice: &str| Pkce::from_name(choice).is_some();
        check_choice(connector, auth, &format!("{key}.pkce_param"), &oauth2.pkce_param, is_pkce, found);
        let is_rotation = |choice: &str| RefreshTokenRotation::from_name(choice).is_some();
        check_choice(connector, auth, &format!("{key}.rotation_param"), &oauth2.rotation_param, is_rotation, found);
    }
    credential::check(&key, auth, found);
    let mut given = NameScope::new(connector, [(name, auth)], found);
    if let Some(oauth2) = &auth.oauth2 {
        check_oauth2(&mut given, &format!("{key}.oauth2"), oauth2);
    }
    if let Some(fragment) = &auth.fragment {
        given.url(&format!("{key}.fragment.authorize_url"), &fragment.authorize_url);
        given.templates(&format!("{key}.fragment.authorize_params"), &fragment.authorize_params);
    }
    if let Some(send) = &auth.send {
        check_send(&mut given, &format!("{key}.send"), send);
    }
    if let Some(base) = &auth.base {
        given.base(&format!("{key}.base"), base);
    }
    if let Some(health) = &auth.health {
        check_health(connector, &format!("{key}.health.path"), health, [(name, auth)], found);
    }
}

/// A parameter by which a user chooses a setting is declared, and offers its values alone.
fn check_choice(
    connector: &Connector,
    auth: &AuthMethod,
    key: &str,
    name: &Option<String>,
    is_value: impl Fn(&str) -> bool,
    found: &mut Diagnostics,
) {
    let Some(name) = name else { return };
    match connector.params(auth).find(|(known, _)| *known == name) {
        None => {
            let known: Vec<&str> = connector.params(auth).map(|(known, _)| known.as_str()).collect();
            let known = did_you_mean_or_list(name, known);
            found.push((key.to_owned(), format!("{name:?} is not a parameter{known}")));
        }
        Some((_, param)) if param.choices.is_empty() || !param.choices.iter().all(|choice| is_value(choice)) => {
            found.push((key.to_owned(), format!("the choices of {name:?} must be values of this setting")));
        }
        Some(_) => {}
    }
}

fn check_send(given: &mut NameScope<'_, '_>, key: &str, send: &CredentialPlacement) {
    given.templates(&format!("{key}.headers"), &send.headers);
    given.templates(&format!("{key}.query"), &send.query);
    let headers = send.headers.iter().map(|(name, template)| (format!("{key}.headers.{name}"), template));
    let query = send.query.iter().map(|(name, template)| (format!("{key}.query.{name}"), template));
    let mut templates: Vec<(String, &Template)> = headers.chain(query).collect();
    if let Some(basic) = &send.basic {
        for (name, template) in [("username", &basic.username), ("password", &basic.password)] {
            let key = format!("{key}.basic.{name}");
            given.template(&key, template);
            templates.push((key, template));
        }
    }
    for (key, template) in templates {
        if let Some((first, second)) = template.adjacent_placeholders() {
            let message = format!("{{{first}}} and {{{second}}} need a separator between them");
            given.found.push((key, message));
        }
    }
}

fn check_api(connector: &Connector, found: &mut Diagnostics) {
    let api = &connector.api;
    if let Some(base) = &api.base {
        NameScope::new(connector, auth_methods(connector, |auth| auth.base.is_none()), found).base("api.base", base);
    }
    let mut given = NameScope::new(connector, auth_methods(connector, |_| true), found);
    given.templates("api.headers", &api.headers);
    given.templates("api.query", &api.query);
    if api.idempotency.as_ref().is_some_and(|idempotency| !action::is_one(idempotency)) {
        found.push(("api.idempotency".to_owned(), "takes exactly one of header, query and body".to_owned()));
    }
    if let Some(pages) = &api.pages {
        action::check_pages("api.pages", pages, found);
        if matches!(pages.kind, PaginationKind::Page | PaginationKind::Offset) && pages.param.is_none() {
            let message = "is missing: only a stream's templates count without it".to_owned();
            found.push(("api.pages.param".to_owned(), message));
        }
    }
}

/// Every scope that the file names is listed with its purpose, so that it can be shown before it is requested.
fn check_scopes(connector: &Connector, found: &mut Diagnostics) {
    for (name, event) in &connector.events {
        check_scopes_listed(connector, &format!("events.{name}.scopes"), &event.scopes, found);
    }
    // A connector for any server knows no scopes, and lists none.
    if connector.scopes.is_empty() {
        return;
    }
    for (name, scope) in &connector.scopes {
        let includes = scope.detail().map_or(&[][..], |detail| &detail.includes);
        check_scopes_listed(connector, &format!("scopes.{name}.includes"), includes, found);
    }
    for (name, auth) in &connector.auth {
        if let Some(oauth2) = &auth.oauth2 {
            check_scope_rule(connector, &format!("auth.{name}.oauth2.scope"), &oauth2.scope, found);
        }
        if let Some(fragment) = &auth.fragment {
            check_scope_rule(connector, &format!("auth.{name}.fragment.scope"), &fragment.scope, found);
        }
    }
}

fn check_scope_rule(connector: &Connector, key: &str, rule: &ScopeRule, found: &mut Diagnostics) {
    check_scopes_listed(connector, &format!("{key}.default"), &rule.default, found);
    check_scopes_listed(connector, &format!("{key}.always"), &rule.always, found);
    for (param, scopes) in &rule.also {
        check_scopes_listed(connector, &format!("{key}.also.{param}"), scopes, found);
    }
}

fn check_scopes_listed(connector: &Connector, key: &str, scopes: &[String], found: &mut Diagnostics) {
    for scope in scopes.iter().filter(|scope| !connector.scopes.contains_key(*scope)) {
        let message = format!("{scope:?} is not among the connector's scopes: add it to [scopes] with its purpose");
        found.push((key.to_owned(), message));
    }
}

fn check_health<'c>(
    connector: &'c Connector,
    key: &str,
    health: &'c Health,
    ways: impl IntoIterator<Item = (&'c str, &'c AuthMethod)>,
    found: &mut Diagnostics,
) {
    let ways: Vec<_> = ways.into_iter().collect();
    let based = ways.iter().all(|(_, auth)| has_base(connector, auth));
    NameScope::new(connector, ways, found).path(key, &health.path, based);
    if let Some(sample) = &health.sample {
        let known = ["id", "uuid", "n", "code"].iter().chain(webhook::ACCOUNT_SAMPLE_NAMES).copied().collect();
        webhook::check_sample_text(&key.replace(".path", ".sample"), sample, &known, found);
    }
}

fn check_error_rule(key: &str, rule: &ErrorRule, found: &mut Diagnostics) {
    if rule.status.is_empty() && rule.headers.is_empty() && rule.body.is_empty() {
        let message = "fits every answer: say a status, a header or a place in the body".to_owned();
        found.push((key.to_owned(), message));
    }
}

fn check_oauth2(given: &mut NameScope<'_, '_>, key: &str, oauth2: &OAuth2) {
    let urls = [
        ("protected_resource", &oauth2.protected_resource),
        ("issuer", &oauth2.issuer),
        ("authorize_url", &oauth2.authorize_url),
        ("token_url", &oauth2.token_url),
        ("refresh_url", &oauth2.refresh_url),
        ("device_url", &oauth2.device_url),
    ];
    for (name, url) in urls {
        if let Some(url) = url {
            given.url(&format!("{key}.{name}"), url);
        }
    }
    if oauth2.protected_resource.is_some() && oauth2.issuer.is_none() {
        let message = "is missing: protected_resource finds it, so write issuer = \"{issuer}\"".to_owned();
        given.found.push((format!("{key}.issuer"), message));
    }
    if oauth2.issuer.is_none() {
        let mut need = |name: &str, url: &Option<Template>, why: &str| {
            if url.is_none() {
                given.found.push((format!("{key}.{name}"), format!("is missing: {why}")));
            }
        };
        need("token_url", &oauth2.token_url, "every grant needs it");
        if oauth2.grants.contains(&GrantType::AuthorizationCode) {
            need("authorize_url", &oauth2.authorize_url, "the authorization code grant needs it");
        }
        if oauth2.grants.contains(&GrantType::DeviceCode) {
            need("device_url", &oauth2.device_url, "the device code grant needs it");
        }
    }
    if oauth2.grants.is_empty() {
        given.found.push((format!("{key}.grants"), "needs at least one".to_owned()));
    }
    given.templates(&format!("{key}.authorize_params"), &oauth2.authorize_params);
    given.templates(&format!("{key}.refresh_params"), &oauth2.refresh_params);
    // What a key is presented with alone may name: the assertion, and what it is made of.
    given.add(&["issuer", "random", "scope", "token_url"]);
    for (name, rule) in [("assertion", &oauth2.assertion), ("client_assertion", &oauth2.client_assertion)] {
        let Some(rule) = rule else { continue };
        given.templates(&format!("{key}.{name}.claims"), &rule.claims);
        if let Some(key_id) = &rule.key_id {
            given.template(&format!("{key}.{name}.key_id"), key_id);
        }
    }
    if oauth2.assertion.is_some() {
        given.add(&["assertion"]);
    }
    given.templates(&format!("{key}.token_params"), &oauth2.token_params);
    given.templates(&format!("{key}.token_headers"), &oauth2.token_headers);
    if let Some(follow_up) = &oauth2.follow_up {
        given.url(&format!("{key}.follow_up.url"), &follow_up.url);
    }
    if let Some(revoke) = &oauth2.revoke {
        given.url(&format!("{key}.revoke.url"), &revoke.url);
        if let Some(params) = &revoke.params {
            given.templates(&format!("{key}.revoke.params"), params);
        }
        given.templates(&format!("{key}.revoke.headers"), &revoke.headers);
    }
}
