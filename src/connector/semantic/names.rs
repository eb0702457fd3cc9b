//! Checks that names in templates are defined, and that URLs are https.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::{Diagnostics, not_https};
use crate::connector::{AuthMethod, Connector, Template};
use crate::near::closest;

/// What templates may name whatever the connector: parts of the grant and of the request being made.
const COMMON_NAMES: &[&str] = &["access_token", "client_id", "client_secret", "refresh_token", "redirect_uri"];

/// What discovery gives beside the endpoints that the model names.
const DISCOVERY_NAMES: &[&str] = &["issuer", "userinfo_endpoint"];

/// What the metadata of a protected resource gives.
const RESOURCE_NAMES: &[&str] = &["resource", "authorize_url", "token_url"];

/// The names that have values in each of the authentication methods which a template is used with.
pub(super) struct NameScope<'a, 'f> {
    ways: Vec<(&'a str, BTreeSet<&'a str>)>,
    pub(super) found: &'f mut Diagnostics,
}

impl<'a, 'f> NameScope<'a, 'f> {
    pub(super) fn new(
        connector: &'a Connector,
        ways: impl IntoIterator<Item = (&'a str, &'a AuthMethod)>,
        found: &'f mut Diagnostics,
    ) -> Self {
        Self { ways: ways.into_iter().map(|(name, auth)| (name, defined_names(connector, auth))).collect(), found }
    }

    /// Names that have a value in every way.
    pub(super) fn add(&mut self, names: &[&'a str]) {
        for (_, given) in &mut self.ways {
            given.extend(names);
        }
    }

    pub(super) fn template(&mut self, key: &str, template: &Template) {
        // Each name once, however often it occurs.
        let used: BTreeSet<&str> = template.placeholders().collect();
        for name in used.iter().copied() {
            let lacking: Vec<_> = self.ways.iter().filter(|(_, names)| !names.contains(name)).collect();
            let Some((_, first)) = lacking.first() else { continue };
            let there: Vec<&str> =
                first.iter().copied().filter(|name| lacking.iter().all(|(_, names)| names.contains(name))).collect();
            let which = if lacking.len() == self.ways.len() {
                String::new()
            } else {
                let ways: Vec<&str> = lacking.iter().map(|(way, _)| *way).collect();
                format!(" with the authentication method {}", ways.join(", "))
            };
            // A name that the template holds already is hardly meant a second time.
            let free = there.iter().copied().filter(|there| !used.contains(there));
            let meant = match closest(name, free) {
                Some(closest) => format!(", did you mean {closest}?"),
                None => format!("; use one of {}", there.join(", ")),
            };
            self.found.push((key.to_owned(), format!("{{{name}}} is not defined{which}{meant}")));
        }
    }

    /// Names of headers or parameters, which are templates too, and their values.
    pub(super) fn templates(&mut self, key: &str, templates: &IndexMap<String, Template>) {
        for (name, template) in templates {
            let key = format!("{key}.{name}");
            match Template::parse(name) {
                Ok(name) => self.template(&key, &name),
                Err(error) => self.found.push((key.clone(), error.to_string())),
            }
            self.template(&key, template);
        }
    }

    pub(super) fn url(&mut self, key: &str, template: &Template) {
        self.template(key, template);
        let text = template.to_string();
        if !is_url(&text) {
            self.found.push((key.to_owned(), not_https(&text)));
        }
    }

    /// What paths follow.
    pub(super) fn base(&mut self, key: &str, template: &Template) {
        self.url(key, template);
        if template.to_string().ends_with('/') {
            self.found.push((key.to_owned(), "ends in '/', and paths begin with one: leave it out".to_owned()));
        }
    }

    /// What follows the base, or is a whole URL.
    pub(super) fn path(&mut self, key: &str, template: &Template, based: bool) {
        self.template(key, template);
        let text = template.to_string();
        if text.starts_with('/') {
            if !based {
                self.found.push((key.to_owned(), "is relative, but api.base is missing".to_owned()));
            }
        } else if !is_url(&text) {
            self.found.push((key.to_owned(), format!("{text:?} is neither a path nor an https URL")));
        }
    }
}

pub(super) fn is_https(url: &str) -> bool {
    url.starts_with("https://")
}

/// A value that opens a URL is itself one, and is judged when it is there.
fn is_url(template: &str) -> bool {
    is_https(template) || template.starts_with('{')
}

/// Every name that has a value once a connection of this way exists.
pub(super) fn defined_names<'a>(connector: &'a Connector, auth: &'a AuthMethod) -> BTreeSet<&'a str> {
    let mut names: BTreeSet<&str> = COMMON_NAMES.iter().copied().collect();
    names.extend(connector.params(auth).map(|(name, _)| name.as_str()));
    names.extend(
        connector.params(auth).flat_map(|(_, param)| param.gives.values()).flat_map(IndexMap::keys).map(String::as_str),
    );
    names.extend(auth.credential_names().map(String::as_str));
    if let Some(oauth2) = &auth.oauth2 {
        names.extend(oauth2.callback_keep.keys().map(String::as_str));
        names.extend(oauth2.answer.keep.keys().map(String::as_str));
        names.extend(oauth2.answer.secrets.keys().map(String::as_str));
        names.extend(oauth2.follow_up.iter().flat_map(|follow_up| follow_up.keep.keys()).map(String::as_str));
        if oauth2.issuer.is_some() {
            names.extend(DISCOVERY_NAMES);
        }
        if oauth2.protected_resource.is_some() {
            names.extend(RESOURCE_NAMES);
        }
    }
    names
}
