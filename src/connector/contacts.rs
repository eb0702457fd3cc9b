//! Whom a connector talks to: every host that its file names, and for what.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use url::Url;

use super::{Auth, Connector, Template};

/// A host, and what goes there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// With its port where it names one. `{name}` stands for what a parameter or an answer says.
    pub host: String,
    /// `API`, `authorize`, `token`…, with the ways of authenticating where not all of them do it.
    pub uses: Vec<String>,
}

impl Contact {
    /// Whether the file leaves a part of the host open.
    pub fn is_template(&self) -> bool {
        self.host.contains('{')
    }
}

/// All hosts, in the order in which the file comes to them.
pub fn contacts(connector: &Connector) -> Vec<Contact> {
    let mut hosts: IndexMap<String, IndexMap<&'static str, Vec<&str>>> = IndexMap::new();
    for (name, auth) in &connector.auth {
        let values = closed_values(connector, auth);
        for (template, purpose) in urls(connector, name, auth) {
            for host in hosts_of(template, &values) {
                let ways = hosts.entry(host).or_default().entry(purpose).or_default();
                if !ways.contains(&name.as_str()) {
                    ways.push(name);
                }
            }
        }
    }
    let everywhere = connector.auth.len();
    let describe = |(purpose, ways): (&str, Vec<&str>)| {
        if ways.len() == everywhere { purpose.to_owned() } else { format!("{purpose} ({})", ways.join(", ")) }
    };
    hosts.into_iter().map(|(host, uses)| Contact { host, uses: uses.into_iter().map(describe).collect() }).collect()
}

/// The URLs of one way of authenticating; relative paths go to the API's base.
fn urls<'c>(connector: &'c Connector, name: &String, auth: &'c Auth) -> Vec<(&'c Template, &'static str)> {
    let mut urls: Vec<(&Template, &str)> = Vec::new();
    let mut add = |url: Option<&'c Template>, purpose| urls.extend(url.map(|url| (url, purpose)));
    add(auth.base.as_ref().or(connector.api.base.as_ref()), "API");
    if let Some(oauth2) = &auth.oauth2 {
        add(oauth2.issuer.as_ref(), "discovery, and what it names");
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
        if action.auth.is_empty() || action.auth.contains(name) {
            add(Some(&action.path), if action.anonymous { "actions, without credentials" } else { "actions" });
        }
    }
    for stream in connector.streams.values() {
        if stream.auth.is_empty() || stream.auth.contains(name) {
            stream.paths().for_each(|path| add(Some(path), "streams"));
        }
    }
    urls.retain(|(url, _)| !url.to_string().starts_with('/'));
    urls
}

/// The names whose every value the file itself says.
fn closed_values<'c>(connector: &'c Connector, auth: &'c Auth) -> BTreeMap<&'c str, Vec<&'c str>> {
    let mut values: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, param) in connector.params(auth) {
        values.entry(name).or_default().extend(param.choices.iter().map(String::as_str));
        for (name, value) in param.gives.values().flatten() {
            values.entry(name).or_default().push(value);
        }
    }
    values.retain(|_, values| !values.is_empty());
    values
}

/// The host that a URL template leads to, or all of them where what is left open has a few known values.
fn hosts_of(template: &Template, values: &BTreeMap<&str, Vec<&str>>) -> Vec<String> {
    // More than this says no more than the template itself.
    const MOST: usize = 12;
    let mut texts = vec![template.to_string()];
    for name in template.names() {
        let Some(known) = values.get(name).filter(|known| known.len() * texts.len() <= MOST) else { continue };
        let open = format!("{{{name}}}");
        texts = texts.iter().flat_map(|text| known.iter().map(|value| text.replace(&open, value))).collect();
    }
    let mut hosts: Vec<String> = texts.iter().map(|text| host_of(text)).collect();
    hosts.dedup();
    hosts
}

/// As a browser finds the host, so that no user name, port or backslash can pass for one; what stands in braces is kept.
fn host_of(text: &str) -> String {
    if let Some((name, _)) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        return format!("{{{name}}}");
    }
    // Braces stand in no host: letters that nothing else holds take their places while the URL is read.
    let mut names = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, (name, after))) =
        rest.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    {
        plain.push_str(before);
        plain.push_str(&format!("zqx{}xqz", names.len()));
        names.push(name);
        rest = after;
    }
    plain.push_str(rest);
    let Ok(url) = Url::parse(&plain) else { return text.to_owned() };
    let mut host = url.host_str().unwrap_or_default().to_owned();
    if let Some(port) = url.port() {
        host.push_str(&format!(":{port}"));
    }
    for (index, name) in names.iter().enumerate() {
        host = host.replace(&format!("zqx{index}xqz"), &format!("{{{name}}}"));
    }
    host
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::catalogue::parse;

    fn found(text: &str) -> Vec<String> {
        let contacts = contacts(&parse(text).unwrap());
        contacts.iter().map(|contact| format!("{}: {}", contact.host, contact.uses.join(", "))).collect()
    }

    #[test]
    fn every_host_is_named_with_its_uses() {
        let text = r#"
            id = "acme"
            name = "Acme"
            category = "projects"
            description = "x"
            docs = "https://docs.acme.example"
            [params.team]
            prompt = "Team"
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
            token_url = "https://acme.example@evil.example:8443/token"
            revoke = { url = "https://xn--acm-dma.example\\acme.example/revoke" }
            answer = { keep = { instance = "/instance" } }
            [auth.key]
            label = "Key"
            base = "{instance}/v2"
            [auth.key.fields.instance]
            prompt = "Instance"
            secret = false
            [health]
            path = "https://health.example/me"
        "#;
        assert_eq!(
            found(text),
            [
                "{team}.acme.example: API (oauth)",
                "eu.login.example: authorize (oauth)",
                "us.login.example: authorize (oauth)",
                "evil.example:8443: token (oauth)",
                "xn--acm-dma.example: revoke (oauth)",
                "health.example: health check",
                "{instance}: API (key)",
            ]
        );
    }

    #[test]
    fn a_host_in_other_letters_is_shown_as_it_is_asked_for() {
        assert_eq!(host_of("https://аcme.example/"), "xn--cme-5cd.example");
        assert_eq!(host_of("https://{a}.{b}.example/x?y={c}"), "{a}.{b}.example");
    }
}
