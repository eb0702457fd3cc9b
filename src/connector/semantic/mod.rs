//! What the values of a connector file say together: names that nothing gives, URLs that are not https, ways of
//! authenticating that lack an endpoint.

mod action;
mod webhook;

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::{Auth, Connector, GrantKind, OAuth2, Param, Template};

/// What templates may name whatever the connector: parts of the grant and of the request being made.
const ALWAYS: &[&str] = &["access_token", "client_id", "client_secret", "refresh_token", "redirect_uri"];

/// What discovery gives beside the endpoints that the model names.
const DISCOVERED: &[&str] = &["issuer", "userinfo_endpoint"];

type Found = Vec<(String, String)>;

/// Keys and messages.
pub(super) fn check(connector: &Connector) -> Found {
    let mut found = Found::new();
    let valid_id =
        |id: &str| !id.is_empty() && id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !valid_id(&connector.id) {
        found.push(("id".to_owned(), format!("{:?} is not kebab-case", connector.id)));
    }
    if connector.auth.is_empty() {
        found.push(("auth".to_owned(), "a connector needs a way of authenticating".to_owned()));
    }
    for (name, param) in &connector.params {
        check_param(&format!("params.{name}"), param, &mut found);
    }
    for (name, auth) in &connector.auth {
        check_auth(connector, name, auth, &mut found);
    }
    if let Some(idempotency) = &connector.api.idempotency
        && !action::is_one(idempotency)
    {
        found.push(("api.idempotency".to_owned(), "takes exactly one of header, query and body".to_owned()));
    }
    if let Some(pages) = &connector.api.pages {
        action::check_pages("api.pages", pages, &mut found);
    }
    action::check_all(connector, &mut found);
    webhook::check(connector, &mut found);
    for (name, event) in &connector.events {
        for scope in event.scopes.iter().filter(|scope| !connector.scopes.contains_key(*scope)) {
            let message = format!("{scope:?} is not among the connector's scopes: add it to [scopes] with its purpose");
            found.push((format!("events.{name}.scopes"), message));
        }
    }
    if connector.rate.budget.is_some_and(|budget| budget.requests == 0 || budget.secs == 0) {
        found.push(("rate.budget".to_owned(), "requests and secs are at least 1".to_owned()));
    }
    for (index, hint) in connector.rate.retry_hints.iter().enumerate() {
        if hint.header.is_some() == hint.body.is_some() {
            found.push((format!("rate.retry_hints.{index}"), "takes a header or a place in the body".to_owned()));
        }
    }
    found
}

fn check_param(key: &str, param: &Param, found: &mut Found) {
    if let Some(default) = &param.default
        && !param.choices.is_empty()
        && !param.choices.contains(default)
    {
        found.push((format!("{key}.default"), format!("{default:?} is none of the choices")));
    }
    if param.gives.is_empty() {
        return;
    }
    for choice in param.gives.keys().filter(|choice| !param.choices.contains(choice)) {
        found.push((format!("{key}.gives.{choice}"), format!("{choice:?} is none of the choices")));
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

fn check_auth(connector: &Connector, name: &str, auth: &Auth, found: &mut Found) {
    let key = format!("auth.{name}");
    let ways = [auth.oauth2.is_some(), auth.fragment.is_some(), !auth.fields.is_empty()];
    if ways.iter().filter(|way| **way).count() != 1 {
        found.push((key.clone(), "takes exactly one of oauth2, fragment and fields".to_owned()));
    }
    if let Some(token) = &auth.token
        && !auth.fields.contains_key(token)
    {
        found.push((format!("{key}.token"), format!("{token:?} is not one of the fields")));
    }
    for (param, declared) in &auth.params {
        check_param(&format!("{key}.params.{param}"), declared, found);
    }
    let mut check = Templates { names: names_given(connector, auth), found };
    if let Some(oauth2) = &auth.oauth2 {
        check.oauth2(&format!("{key}.oauth2"), oauth2);
    }
    if let Some(fragment) = &auth.fragment {
        check.url(&format!("{key}.fragment.authorize_url"), &fragment.authorize_url);
        check.all(&format!("{key}.fragment.authorize_params"), &fragment.authorize_params);
    }
    if let Some(send) = &auth.send {
        check.all(&format!("{key}.send.headers"), &send.headers);
        check.all(&format!("{key}.send.query"), &send.query);
        if let Some(basic) = &send.basic {
            check.template(&format!("{key}.send.basic.username"), &basic.username);
            check.template(&format!("{key}.send.basic.password"), &basic.password);
        }
    }
    let (base_key, base) = match &auth.base {
        Some(base) => (format!("{key}.base"), Some(base)),
        None => ("api.base".to_owned(), connector.api.base.as_ref()),
    };
    if let Some(base) = base {
        check.url(&base_key, base);
    }
    check.all("api.headers", &connector.api.headers);
    check.all("api.query", &connector.api.query);
    if let Some(health) = connector.health(auth) {
        let health_key = if auth.health.is_some() { format!("{key}.health.path") } else { "health.path".to_owned() };
        let path = health.path.to_string();
        if path.starts_with('/') {
            check.template(&health_key, &health.path);
            if base.is_none() {
                check.found.push((health_key, "is relative, and there is no api.base".to_owned()));
            }
        } else {
            check.url(&health_key, &health.path);
        }
    }
}

/// Every name that has a value once a connection of this way exists.
fn names_given<'a>(connector: &'a Connector, auth: &'a Auth) -> BTreeSet<&'a str> {
    let mut names: BTreeSet<&str> = ALWAYS.iter().copied().collect();
    names.extend(connector.params(auth).map(|(name, _)| name.as_str()));
    names.extend(
        connector.params(auth).flat_map(|(_, param)| param.gives.values()).flat_map(IndexMap::keys).map(String::as_str),
    );
    names.extend(auth.fields.keys().map(String::as_str));
    if let Some(oauth2) = &auth.oauth2 {
        names.extend(oauth2.callback_keep.keys().map(String::as_str));
        names.extend(oauth2.answer.keep.keys().map(String::as_str));
        names.extend(oauth2.answer.secrets.keys().map(String::as_str));
        names.extend(oauth2.follow_up.iter().flat_map(|follow_up| follow_up.keep.keys()).map(String::as_str));
        if oauth2.issuer.is_some() {
            names.extend(DISCOVERED);
        }
    }
    names
}

struct Templates<'a, 'f> {
    names: BTreeSet<&'a str>,
    found: &'f mut Found,
}

impl Templates<'_, '_> {
    fn template(&mut self, key: &str, template: &Template) {
        for name in template.names().filter(|name| !self.names.contains(name)) {
            let message = format!("nothing gives {{{name}}} a value; there are: {}", self.given());
            self.found.push((key.to_owned(), message));
        }
    }

    fn given(&self) -> String {
        self.names.iter().copied().collect::<Vec<_>>().join(", ")
    }

    fn all(&mut self, key: &str, templates: &IndexMap<String, Template>) {
        for (name, template) in templates {
            match Template::parse(name) {
                Ok(name_template) => self.template(&format!("{key}.{name}"), &name_template),
                Err(error) => self.found.push((format!("{key}.{name}"), error.to_string())),
            }
            self.template(&format!("{key}.{name}"), template);
        }
    }

    fn url(&mut self, key: &str, template: &Template) {
        self.template(key, template);
        let text = template.to_string();
        if !(text.starts_with("https://") || text.starts_with('{')) {
            self.found.push((key.to_owned(), format!("{text:?} is not an https URL")));
        }
    }

    fn oauth2(&mut self, key: &str, oauth2: &OAuth2) {
        let urls = [
            ("issuer", &oauth2.issuer),
            ("authorize_url", &oauth2.authorize_url),
            ("token_url", &oauth2.token_url),
            ("refresh_url", &oauth2.refresh_url),
            ("device_url", &oauth2.device_url),
        ];
        for (name, url) in urls {
            if let Some(url) = url {
                self.url(&format!("{key}.{name}"), url);
            }
        }
        if oauth2.issuer.is_none() {
            let mut need = |name: &str, url: &Option<Template>, why: &str| {
                if url.is_none() {
                    self.found.push((format!("{key}.{name}"), format!("is missing: {why}")));
                }
            };
            need("token_url", &oauth2.token_url, "every grant needs it");
            if oauth2.grants.contains(&GrantKind::AuthorizationCode) {
                need("authorize_url", &oauth2.authorize_url, "the authorization code grant needs it");
            }
            if oauth2.grants.contains(&GrantKind::DeviceCode) {
                need("device_url", &oauth2.device_url, "the device code grant needs it");
            }
        }
        if oauth2.grants.is_empty() {
            self.found.push((format!("{key}.grants"), "needs at least one".to_owned()));
        }
        self.all(&format!("{key}.authorize_params"), &oauth2.authorize_params);
        self.all(&format!("{key}.token_params"), &oauth2.token_params);
        self.all(&format!("{key}.refresh_params"), &oauth2.refresh_params);
        self.all(&format!("{key}.token_headers"), &oauth2.token_headers);
        if let Some(follow_up) = &oauth2.follow_up {
            self.url(&format!("{key}.follow_up.url"), &follow_up.url);
        }
        if let Some(revoke) = &oauth2.revoke {
            self.url(&format!("{key}.revoke.url"), &revoke.url);
            self.all(&format!("{key}.revoke.params"), &revoke.params);
            self.all(&format!("{key}.revoke.headers"), &revoke.headers);
        }
    }
}
