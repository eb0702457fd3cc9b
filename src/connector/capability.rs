//! The capabilities of a connector file: the hosts that it contacts, the variables that it sets, and what it asks for.
//!
//! The list is computed from the model alone. It is shown before a file is installed, stored in its pin, and the hosts of a
//! live connection are resolved from the same templates ([`url_templates`]), so that what is shown and what is enforced
//! agree.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::hosts::HostTemplate;
use super::{AuthMethod, Connector, OAuth2, Template, credential_parts, env_variable_name};

/// The most hosts that one template may expand to. `validate` refuses a file with more: hosts are easily hidden in a long list.
pub(super) const MAX_HOSTS: usize = 64;

/// All that a connector file can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Capabilities {
    pub hosts: Vec<HostUse>,
    /// The environment variables that `exec` sets besides the token, for a connection named like the connector.
    pub variables: Vec<String>,
    /// Every scope that the file lists or asks for.
    pub scopes: Vec<String>,
    /// The secrets that a user is asked for or that are granted, by authentication method.
    pub secrets: Vec<String>,
}

/// A host and what goes there.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct HostUse {
    /// With its port if it names one. `{name}` is a value that the file leaves open, `*` any text.
    pub host: String,
    /// `API`, `token`…, with the authentication methods unless all of them do it.
    pub uses: Vec<String>,
    /// Who decides an open part; absent if the file names the whole host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
}

impl Capabilities {
    /// Computes the capabilities of a connector. Pure.
    pub fn of(connector: &Connector) -> Self {
        let id = &connector.id;
        Self {
            hosts: hosts(connector),
            variables: credential_parts(connector)
                .iter()
                .map(|part| env_variable_name(id, part))
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            scopes: scopes(connector),
            secrets: secrets(connector),
        }
    }

    /// What these have that `former` has not, one line each.
    pub fn added_since(&self, former: &Self) -> Vec<String> {
        let mut added = Vec::new();
        let mut add = |what: &str, now: Vec<&String>, before: Vec<&String>| {
            added.extend(now.into_iter().filter(|item| !before.contains(item)).map(|item| format!("{what} {item}")));
        };
        let names = |hosts: &'_ [HostUse]| hosts.iter().map(|one| one.host.clone()).collect::<Vec<_>>();
        let (now, before) = (names(&self.hosts), names(&former.hosts));
        add("host", now.iter().collect(), before.iter().collect());
        add("variable", self.variables.iter().collect(), former.variables.iter().collect());
        add("scope", self.scopes.iter().collect(), former.scopes.iter().collect());
        add("secret", self.secrets.iter().collect(), former.secrets.iter().collect());
        added
    }
}

fn scopes(connector: &Connector) -> Vec<String> {
    let mut scopes: BTreeSet<&String> = connector.scopes.keys().collect();
    for auth in connector.auth.values() {
        let rule = auth.oauth2.as_ref().map(|oauth2| &oauth2.scope);
        for rule in rule.into_iter().chain(auth.fragment.as_ref().map(|fragment| &fragment.scope)) {
            scopes.extend(rule.default.iter().chain(&rule.always).chain(rule.also.values().flatten()));
        }
    }
    scopes.into_iter().cloned().collect()
}

fn secrets(connector: &Connector) -> Vec<String> {
    let mut secrets = Vec::new();
    for (name, auth) in &connector.auth {
        if auth.oauth2.is_some() {
            let sends_secret = auth.oauth2.as_ref().is_some_and(OAuth2::sends_client_secret);
            secrets.push(match sends_secret {
                true => format!("{name}: the client secret of your app, and the tokens that are granted"),
                false => format!("{name}: the tokens that are granted"),
            });
        }
        if auth.fragment.is_some() {
            secrets.push(format!("{name}: the token that is granted"));
        }
        secrets
            .extend(auth.fields.values().filter(|field| field.secret).map(|field| format!("{name}: {}", field.prompt)));
    }
    secrets
}

/// Every URL template that requests of one authentication method are made from, with what it is for; paths that follow the
/// API's base are left out.
pub fn url_templates<'c>(
    connector: &'c Connector,
    name: &str,
    auth: &'c AuthMethod,
) -> Vec<(&'c Template, &'static str)> {
    let mut urls: Vec<(&Template, &str)> = Vec::new();
    let mut add = |url: Option<&'c Template>, purpose| urls.extend(url.map(|url| (url, purpose)));
    add(auth.base.as_ref().or(connector.api.base.as_ref()), "API");
    if let Some(oauth2) = &auth.oauth2 {
        add(oauth2.protected_resource.as_ref(), "resource metadata");
        add(oauth2.issuer.as_ref(), "discovery");
        add(oauth2.authorize_url.as_ref(), "authorize");
        add(oauth2.token_url.as_ref(), "token");
        add(oauth2.refresh_url.as_ref(), "refresh");
        add(oauth2.device_url.as_ref(), "device code");
        add(oauth2.revoke.as_ref().map(|revoke| &revoke.url), "revoke");
        add(oauth2.follow_up.as_ref().map(|follow_up| &follow_up.url), "follow-up");
    }
    add(auth.fragment.as_ref().map(|fragment| &fragment.authorize_url), "authorize");
    add(connector.health(auth).map(|health| &health.path), "health check");
    for action in connector.actions.values() {
        if action.auth.is_empty() || action.auth.iter().any(|way| way == name) {
            add(Some(&action.path), if action.anonymous { "actions, without credentials" } else { "actions" });
        }
    }
    for stream in connector.streams.values() {
        if stream.auth.is_empty() || stream.auth.iter().any(|way| way == name) {
            stream.paths().for_each(|path| add(Some(path), "streams"));
        }
    }
    urls.retain(|(url, _)| !url.to_string().starts_with('/'));
    urls
}

impl Connector {
    /// The URLs that webhooks are verified with: signing keys, and the hosts of certificates.
    pub fn webhook_urls(&self) -> Vec<Url> {
        let proofs = || self.webhook.iter().flat_map(|webhook| &webhook.proofs);
        let keys = proofs().filter_map(|proof| proof.jwt.as_ref()?.keys_url.clone());
        let certificates = proofs().filter_map(|proof| proof.certificate.as_ref()).flat_map(|rule| &rule.hosts);
        keys.chain(certificates.map(|host| format!("https://{host}")))
            .filter_map(|text| Url::parse(&text).ok())
            .collect()
    }
}

/// All hosts, in the order in which the file names them.
fn hosts(connector: &Connector) -> Vec<HostUse> {
    type Uses<'c> = IndexMap<&'static str, Vec<&'c str>>;
    let mut hosts: IndexMap<(String, Option<String>), Uses<'_>> = IndexMap::new();
    for (name, auth) in &connector.auth {
        for (template, purpose) in url_templates(connector, name, auth) {
            for found in expand_hosts(connector, auth, template) {
                let methods = hosts.entry(found).or_default().entry(purpose).or_default();
                if !methods.contains(&name.as_str()) {
                    methods.push(name);
                }
            }
        }
        if auth.oauth2.as_ref().is_some_and(|rules| rules.issuer.is_some()) {
            for pattern in connector.hosts.get("issuer").into_iter().flatten() {
                let found = (pattern.clone(), Some("the issuer's metadata".to_owned()));
                hosts.entry(found).or_default().entry("what discovery names").or_default().push(name);
            }
        }
    }
    for url in connector.webhook_urls() {
        let found = (host_and_port(&url), None);
        hosts
            .entry(found)
            .or_default()
            .entry("webhook keys and certificates")
            .or_default()
            .extend(connector.auth.keys().map(String::as_str));
    }
    let everywhere = connector.auth.len();
    let describe = |(purpose, methods): (&str, Vec<&str>)| {
        if methods.len() >= everywhere { purpose.to_owned() } else { format!("{purpose} ({})", methods.join(", ")) }
    };
    hosts
        .into_iter()
        .map(|((host, decided_by), uses)| HostUse { host, uses: uses.into_iter().map(describe).collect(), decided_by })
        .collect()
}

/// The values that a file itself gives to each name: defaults, choices, and what follows from choices.
pub(super) fn known_values<'c>(connector: &'c Connector, auth: &'c AuthMethod) -> BTreeMap<&'c str, Vec<&'c str>> {
    let mut values: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, param) in connector.params(auth) {
        values.entry(name).or_default().extend(param.default.iter().chain(&param.choices).map(String::as_str));
        for (name, value) in param.gives.values().flatten() {
            values.entry(name).or_default().push(value);
        }
    }
    for known in values.values_mut() {
        let mut seen = BTreeSet::new();
        known.retain(|value| seen.insert(*value));
    }
    values
}

/// How many hosts a template expands to.
pub(super) fn host_count(connector: &Connector, auth: &AuthMethod, template: &Template) -> usize {
    let values = known_values(connector, auth);
    let count = |name: &str| values.get(name).map_or(1, |known| known.len() + 1);
    HostTemplate::of(template).placeholders().map(count).fold(1, usize::saturating_mul)
}

/// Every host that a template leads to, with who decides an open part.
///
/// A parameter with choices is closed. One with a default alone is both: the default is named, and the user may give
/// another.
fn expand_hosts(connector: &Connector, auth: &AuthMethod, template: &Template) -> Vec<(String, Option<String>)> {
    let (texts, deciders) = expansion(connector, auth, template);
    let decided_by = (!deciders.is_empty()).then(|| deciders.join(", "));
    let mut found = Vec::new();
    for text in texts {
        let decided_by = decided_by.clone().filter(|_| text.contains(['{', '*']));
        let one = (display_host(&text), decided_by);
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}

/// The scheme and host of every URL that a template can become, braces and patterns left for what is open.
pub(super) fn expand_origins(connector: &Connector, auth: &AuthMethod, template: &Template) -> Vec<String> {
    expansion(connector, auth, template).0
}

fn expansion(connector: &Connector, auth: &AuthMethod, template: &Template) -> (Vec<String>, Vec<String>) {
    let part = HostTemplate::of(template);
    let values = known_values(connector, auth);
    let mut texts = vec![part.text().to_owned()];
    let mut deciders = Vec::new();
    for name in part.placeholders() {
        let open = format!("{{{name}}}");
        let param = connector.params(auth).find(|(known, _)| *known == name).map(|(_, param)| param);
        let known = values.get(name).map(Vec::as_slice).unwrap_or_default();
        let declared = connector.hosts.get(if name == "userinfo_endpoint" { "issuer" } else { name });
        let closed = param.map_or(!known.is_empty(), |param| !param.choices.is_empty());
        let mut replacements: Vec<String> = known.iter().map(|value| (*value).to_owned()).collect();
        if !closed {
            let patterns = declared.filter(|_| param.is_none());
            replacements.extend(patterns.map_or_else(|| vec![open.clone()], Clone::clone));
            deciders.push(match param {
                Some(_) => format!("you choose {open}"),
                None => format!("the service's answer decides {name}"),
            });
        }
        let fill = |text: &String| replacements.iter().map(|value| text.replace(&open, value)).collect::<Vec<_>>();
        texts = texts.iter().flat_map(fill).take(MAX_HOSTS).collect();
    }
    (texts, deciders)
}

/// The host of a URL or of the beginning of one, as it is asked for; what is open keeps its braces.
fn display_host(text: &str) -> String {
    let bare = text.strip_prefix("https://").unwrap_or(text);
    match Url::parse(text) {
        Ok(url) if !bare.contains(['{', '*']) && url.has_host() => host_and_port(&url),
        _ => bare.to_owned(),
    }
}

fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::catalogue::parse;

    fn found(text: &str) -> Vec<String> {
        let line = |one: &HostUse| {
            let decided = one.decided_by.as_ref().map_or(String::new(), |by| format!("; {by}"));
            format!("{}: {}{decided}", one.host, one.uses.join(", "))
        };
        Capabilities::of(&parse(text).unwrap()).hosts.iter().map(line).collect()
    }

    #[test]
    fn every_host_is_listed_with_defaults_choices_and_declared_patterns() {
        let text = r#"
            id = "acme"
            name = "Acme"
            category = "projects"
            description = "x"
            docs = "https://docs.acme.example"
            hosts = { instance = ["*.instances.example"] }
            [params.team]
            prompt = "Team"
            [params.site]
            prompt = "Site"
            default = "https://site.example"
            [params.region]
            prompt = "Region"
            choices = ["eu", "us"]
            gives = { eu = { login = "eu.login.example" }, us = { login = "us.login.example" } }
            [api]
            base = "https://{team}.acme.example/api"
            [auth.oauth]
            label = "OAuth"
            [auth.oauth.oauth2]
            authorize_url = "https://{login}/authorize"
            token_url = "{site}/token"
            revoke = { url = "{instance}/revoke" }
            answer = { keep = { instance = "/instance" } }
            [auth.key]
            label = "Key"
            [auth.key.fields.key]
            prompt = "Key"
            [health]
            path = "https://health.example:8443/me"
        "#;
        assert_eq!(
            found(text),
            [
                "{team}.acme.example: API; you choose {team}",
                "eu.login.example: authorize (oauth)",
                "us.login.example: authorize (oauth)",
                "site.example: token (oauth)",
                "{site}: token (oauth); you choose {site}",
                "*.instances.example: revoke (oauth); the service's answer decides instance",
                "health.example:8443: health check",
            ]
        );
    }
}
