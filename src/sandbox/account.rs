//! Who is behind the sandbox's credentials, and the values that a user would otherwise look up at the vendor.

use std::collections::BTreeMap;

use super::pattern::{leading_placeholder, mark_placeholders};
use super::routes::{ORIGIN, declared_routes};
use super::token::field_value;
use crate::connector::{AuthMethod, Connector, CredentialField, Param, Pointer, Stream};
use crate::hex;
use crate::secret::Secret;

pub(super) const NAME: &str = "Acme Sandbox";
pub(super) const SECOND_NAME: &str = "Sandbox two";
pub(super) const EMAIL: &str = "sandbox@example.com";

/// The parameters of a connection to the sandbox: those that a user must give, and every URL of an endpoint.
pub fn sandbox_params(connector: &Connector, auth: &AuthMethod) -> BTreeMap<String, String> {
    let urls = emulated_urls(connector, auth);
    let value = |name: &str, param: &Param| match urls.get(name) {
        Some(url) => Some(url.clone()),
        None if param.optional => None,
        None => {
            let known = param.default.as_ref().or(param.choices.first()).or(param.example.as_ref());
            Some(known.map_or("sandbox", String::as_str).to_owned())
        }
    };
    connector.params(auth).filter_map(|(name, param)| Some((name.clone(), value(name, param)?))).collect()
}

/// The key that the emulated vendor accepts, field by field, in the shape that the fields ask for.
pub fn sandbox_fields(connector: &Connector, auth: &AuthMethod, seed: &[u8]) -> BTreeMap<String, Secret> {
    let digits = |name: &str| hex::encode(&field_value(seed, &connector.id, &auth.label, name)[..16]);
    let urls = emulated_urls(connector, auth);
    let value = |name: &String, field| match urls.get(name) {
        Some(url) => format!("{url}/{}", digits(name)),
        None => field_text(field, &digits(name)),
    };
    auth.fields.iter().map(|(name, field)| (name.clone(), Secret::from(&*value(name, field)))).collect()
}

/// The OAuth client of the sandbox. The emulated vendor takes any other as well: it knows none.
pub fn sandbox_client(connector: &Connector, seed: &[u8]) -> (String, Secret) {
    let secret = hex::encode(&field_value(seed, &connector.id, "client", "secret")[..16]);
    ("sandbox-client".to_owned(), Secret::from(&*format!("sandbox-{secret}")))
}

/// What the sandbox's side of a connector's webhooks is made from, for a purpose.
pub fn sandbox_webhook_seed(connector: &Connector, seed: &[u8], purpose: &str) -> [u8; 32] {
    field_value(seed, &connector.id, "webhook", purpose)
}

fn field_text(field: &CredentialField, digits: &str) -> String {
    let prefix = field.prefixes.first().map_or("", String::as_str);
    let needed = field.contains.as_deref().filter(|needed| !prefix.contains(needed));
    match needed {
        Some("@") => format!("{prefix}{EMAIL}"),
        // What stands before the character is a number for bot tokens, and no vendor minds one.
        Some(needed) => format!("{prefix}1000001{needed}sandbox-{digits}"),
        // A public part of a key is an id as its prefix continues it: `AC` and hexadecimal digits.
        None if !field.secret && !prefix.is_empty() => format!("{prefix}{digits}"),
        None => format!("{prefix}sandbox-{digits}"),
    }
}

/// The values that open a URL, wherever they come from: the parameters and the kept values that are URLs.
pub(super) fn emulated_urls(connector: &Connector, auth: &AuthMethod) -> BTreeMap<String, String> {
    let mut urls = BTreeMap::new();
    for declared_routes in declared_routes(connector, auth) {
        if let Some((name, rest)) = leading_placeholder(&declared_routes.url) {
            let path = if rest.is_empty() { declared_routes.default_path() } else { "" };
            urls.entry(name.to_owned()).or_insert_with(|| format!("{ORIGIN}{path}"));
        }
    }
    let issuer = auth.oauth2.as_ref().and_then(|oauth2| oauth2.issuer.as_ref());
    let actions = connector.actions.values().map(|action| &action.path);
    let streams = connector.streams.values().flat_map(Stream::paths);
    for template in
        [issuer, auth.base.as_ref(), connector.api.base.as_ref()].into_iter().flatten().chain(actions).chain(streams)
    {
        if let Some((name, _)) = leading_placeholder(&mark_placeholders(template)) {
            urls.entry(name.to_owned()).or_insert_with(|| ORIGIN.to_owned());
        }
    }
    urls
}

/// The account that a credential belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SandboxAccount {
    Primary,
    Secondary,
}

impl SandboxAccount {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Primary => NAME,
            Self::Secondary => SECOND_NAME,
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Primary => 1,
            Self::Secondary => 2,
        }
    }

    /// An id in the style of the vendors: `T0SANDBOX1` for a `team_id`.
    pub(super) fn id(self, name: &str) -> String {
        let initial = name.chars().find(char::is_ascii_alphabetic).map_or('T', |c| c.to_ascii_uppercase());
        format!("{initial}0SANDBOX{}", self.number())
    }

    /// What a value is that a connector keeps under `name`.
    pub(super) fn metadata_value(self, connector: &Connector, auth: &AuthMethod, name: &str) -> String {
        if let Some(url) = emulated_urls(connector, auth).get(name) {
            return url.clone();
        }
        let word = |pointer: &Option<Pointer>| pointer.as_ref().map(|pointer| normalize_name(&pointer.to_string()));
        let identity = connector.health(auth).map(|health| &health.account);
        if identity.and_then(|identity| word(&identity.id)) == Some(normalize_name(name)) {
            return self.id("T");
        }
        if identity.and_then(|identity| word(&identity.name)) == Some(normalize_name(name)) {
            return self.name().to_owned();
        }
        match name.rsplit('_').next().unwrap_or(name) {
            "name" | "label" | "title" | "login" | "username" => self.name().to_owned(),
            "email" | "mail" => EMAIL.to_owned(),
            "url" | "uri" => format!("{ORIGIN}/{}", self.number()),
            _ => self.id(name),
        }
    }
}

/// A name or pointer with everything between its words alike: `/team/id` and `team_id` say the same.
fn normalize_name(text: &str) -> String {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_")
}
