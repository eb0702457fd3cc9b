//! Rejects content that an untrusted file must not have: names that a shell or another program would interpret,
//! addresses in the user's network, lists too long to be reviewed.

use url::{Host, Url};

use super::Diagnostics;
use crate::connector::capability::{MAX_HOSTS, expand_origins, host_count, url_templates};
use crate::connector::charset::{is_header_name, is_name, is_safe_word};
use crate::connector::hosts::is_host_pattern;
use crate::connector::{Connector, Param, Template, credential_parts, env_variable_name, is_dangerous_variable};

/// More of anything than a service needs, and than a person reads.
const MAX_ITEMS: usize = 1000;

pub(super) fn check(connector: &Connector, found: &mut Diagnostics) {
    check_variables(connector, found);
    check_names(connector, found);
    check_words(connector, found);
    check_headers(connector, found);
    check_hosts(connector, found);
    let counts = [
        ("actions", connector.actions.len()),
        ("streams", connector.streams.len()),
        ("events", connector.events.len()),
        ("scopes", connector.scopes.len()),
        ("auth", connector.auth.len()),
    ];
    for (key, count) in counts.into_iter().filter(|(_, count)| *count > MAX_ITEMS) {
        found.push((key.to_owned(), format!("has {count} entries; at most {MAX_ITEMS} are allowed")));
    }
}

fn check_variables(connector: &Connector, found: &mut Diagnostics) {
    for part in credential_parts(connector) {
        let name = env_variable_name(&connector.id, &part);
        if is_dangerous_variable(&name) {
            let message = format!("`integ exec` would set {name} for {part}, and other programs act on that variable");
            found.push(("id".to_owned(), message));
        }
    }
}

fn check_names(connector: &Connector, found: &mut Diagnostics) {
    let mut check = |key: String, name: &str| {
        if !is_name(name) {
            found.push((key, format!("{name:?} is not a name: use letters, digits, '.', '_' and '-'")));
        }
    };
    connector.params.keys().for_each(|name| check(format!("params.{name}"), name));
    for (name, auth) in &connector.auth {
        check(format!("auth.{name}"), name);
        for (kind, names) in
            [("params", auth.params.keys().collect()), ("fields", auth.fields.keys().collect::<Vec<_>>())]
        {
            names.into_iter().for_each(|field| check(format!("auth.{name}.{kind}.{field}"), field));
        }
        if let Some(rules) = &auth.oauth2 {
            let kept = rules.answer.keep.keys().chain(rules.answer.secrets.keys()).chain(rules.callback_keep.keys());
            let later = rules.follow_up.iter().flat_map(|call| call.keep.keys());
            kept.chain(later).for_each(|kept| check(format!("auth.{name}.oauth2"), kept));
        }
    }
    for (action, declared) in &connector.actions {
        declared.params.keys().for_each(|name| check(format!("actions.{action}.params.{name}"), name));
    }
    connector.streams.keys().for_each(|name| check(format!("streams.{name}"), name));
}

fn check_words(connector: &Connector, found: &mut Diagnostics) {
    let mut check = |key: String, word: &str| {
        if !is_safe_word(word) {
            let message = format!(
                "{word:?} has characters that a shell interprets: use letters, digits and . _ - / @ : = + ~ , %"
            );
            found.push((key, message));
        }
    };
    connector.scopes.keys().for_each(|scope| check(format!("scopes.{scope}"), scope));
    // GitLab's types are words with spaces: "Merge Request Hook".
    connector.events.keys().for_each(|kind| check(format!("events.{kind}"), &kind.replace(' ', "_")));
    let own = connector.params.iter().map(|(name, param)| (format!("params.{name}"), param));
    let of_auth = connector.auth.iter().flat_map(|(auth, declared)| {
        declared.params.iter().map(move |(name, param)| (format!("auth.{auth}.params.{name}"), param))
    });
    let params: Vec<(String, &Param)> = own.chain(of_auth).collect();
    for (key, param) in params {
        param.choices.iter().for_each(|choice| check(format!("{key}.choices"), choice));
    }
    for (action, declared) in &connector.actions {
        for (name, param) in &declared.params {
            param.choices.iter().for_each(|choice| check(format!("actions.{action}.params.{name}.choices"), choice));
        }
    }
}

/// A name or a value of a header that holds a line break would be a second header.
fn check_headers(connector: &Connector, found: &mut Diagnostics) {
    let header =
        |key: &str, name: &String, value: &Template| (format!("{key}.{name}"), name.clone(), value.to_string());
    let mut all: Vec<_> =
        connector.api.headers.iter().map(|(name, value)| header("api.headers", name, value)).collect();
    for (auth, declared) in &connector.auth {
        let key = format!("auth.{auth}.send.headers");
        all.extend(declared.send.iter().flat_map(|send| &send.headers).map(|(name, value)| header(&key, name, value)));
        let key = format!("auth.{auth}.oauth2.token_headers");
        let token = declared.oauth2.iter().flat_map(|rules| &rules.token_headers);
        all.extend(token.map(|(name, value)| header(&key, name, value)));
    }
    for (key, name, value) in all {
        // A part of the name may be a value: `{header}`.
        let rests = name.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest));
        let literal: String = rests.collect();
        let named = is_header_name(&literal) || (literal.is_empty() && name.contains('{'));
        if !named {
            found.push((key.clone(), format!("{name:?} is not the name of a header")));
        }
        if value.chars().any(char::is_control) {
            found.push((key, "holds a line break or another control character".to_owned()));
        }
    }
}

fn check_hosts(connector: &Connector, found: &mut Diagnostics) {
    for (name, patterns) in &connector.hosts {
        for pattern in patterns.iter().filter(|pattern| !is_host_pattern(pattern)) {
            let message = format!("{pattern:?} is neither a host, nor `*.` and a domain, nor `*`");
            found.push((format!("hosts.{name}"), message));
        }
    }
    for (name, auth) in &connector.auth {
        for (template, purpose) in url_templates(connector, name, auth) {
            let key = format!("auth.{name}");
            if host_count(connector, auth, template) > MAX_HOSTS {
                let message = format!(
                    "the URL for {purpose}, {template}, can reach more than {MAX_HOSTS} hosts, too many to check"
                );
                found.push((key, message));
                continue;
            }
            // One that is not https is reported where it is.
            let text = template.to_string();
            if !text.starts_with("https://") && !text.starts_with('{') {
                continue;
            }
            for text in expand_origins(connector, auth, template).iter().filter(|text| !text.contains(['{', '*'])) {
                if let Some(why) = refused(text) {
                    found.push((key.clone(), format!("the URL for {purpose} points to {text:?}, {why}")));
                }
            }
        }
    }
}

/// Why a file must not name a URL.
fn refused(text: &str) -> Option<&'static str> {
    let Ok(url) = Url::parse(text) else { return Some("which is not a URL") };
    if url.scheme() != "https" {
        return Some("which is not https");
    }
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            let local = ["localhost", "local", "internal", "home.arpa"];
            let is_local = |domain: &&str| name == *domain || name.ends_with(&format!(".{domain}"));
            local.iter().any(is_local).then_some("which is on the user's own machine or network")
        }
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => Some("an IP address, which only a user may enter"),
        None => Some("which names no host"),
    }
}
