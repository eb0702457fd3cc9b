//! The accounts behind the sandbox's credentials, and values that a user would look up at the vendor.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::pattern::{leading_placeholder, mark_placeholders};
use super::routes::{ORIGIN, declared_routes};
use super::token::field_value;
use crate::connector::{
    AuthMethod, Connector, CredentialField, FieldKind, Health, Param, Pointer, Stream, Values, fill_document,
};
use crate::secret::Secret;
use crate::signing::rsa::RsaKey;
use crate::{hash, hex};

/// The account of connections without an account name.
const DEFAULT_ACCOUNT: &str = "acme-sandbox";

/// The account that a consent to a second one covers, beside the default one.
const SECOND_ACCOUNT: &str = "sandbox-two";

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

/// The key of the default account, as [`account_fields`] makes it.
pub fn sandbox_fields(connector: &Connector, auth: &AuthMethod, seed: &[u8]) -> BTreeMap<String, Secret> {
    account_fields(connector, auth, &SandboxAccount::default(), seed)
}

/// The key that the emulated vendor accepts for an account, field by field, in the shape that the fields ask for. A secret part
/// names its account, so that a process with the seed can tell whose it is.
pub fn account_fields(
    connector: &Connector,
    auth: &AuthMethod,
    account: &SandboxAccount,
    seed: &[u8],
) -> BTreeMap<String, Secret> {
    let texts = text_fields(connector, auth, account, seed);
    let key = client_key(connector, auth, seed);
    let value = |name: &String, field: &CredentialField| match field.kind {
        FieldKind::Text => texts.get(name).cloned(),
        FieldKind::PrivateKey => key.private_key().map(Secret::new),
        FieldKind::Certificate => key.certificate().map(Secret::new),
        FieldKind::Json => Some(key_file(auth, field, &texts, &key)),
    };
    auth.fields.iter().filter_map(|(name, field)| Some((name.clone(), value(name, field)?))).collect()
}

/// The key that a client of a method signs with. Finding its primes takes some tenths of a second, once it is used.
pub(super) fn client_key(connector: &Connector, auth: &AuthMethod, seed: &[u8]) -> RsaKey {
    RsaKey::new(field_value(seed, &connector.id, &auth.label, "client key"))
}

/// A JSON file as the user downloads it.
fn key_file(auth: &AuthMethod, field: &CredentialField, texts: &BTreeMap<String, Secret>, key: &RsaKey) -> Secret {
    let mut document = json!({});
    for (at, value) in &field.expect {
        at.set(&mut document, value.clone());
    }
    for (name, at) in &field.values {
        let text = texts.get(name).map(|text| text.expose().clone());
        let text = if is_key_name(auth, name) { key.private_key() } else { text };
        at.set(&mut document, json!(text));
    }
    Secret::new(document.to_string())
}

/// Whether a value is what a method signs with.
fn is_key_name(auth: &AuthMethod, name: &str) -> bool {
    let assertions = auth.oauth2.iter().flat_map(|rules| rules.assertion.iter().chain(&rules.client_assertion));
    assertions.map(|rule| &rule.key).chain(auth.tls.iter().map(|tls| &tls.key)).any(|key| key == name)
}

/// The fields that are texts, and the values of JSON files: what the vendor compares.
pub(super) fn text_fields(
    connector: &Connector,
    auth: &AuthMethod,
    account: &SandboxAccount,
    seed: &[u8],
) -> BTreeMap<String, Secret> {
    let label = if account.is_default() { auth.label.clone() } else { format!("{}\n{}", auth.label, account.slug) };
    let digits = |name: &str| hex::encode(&field_value(seed, &connector.id, &label, name)[..16]);
    let owner = if account.is_default() { String::new() } else { format!("{}-", account.slug) };
    let urls = emulated_urls(connector, auth);
    let value = |name: &String, field: &CredentialField| match urls.get(name) {
        Some(url) => format!("{url}/{owner}{}", digits(name)),
        None => field_text(field, account, &owner, &digits(name)),
    };
    let texts = auth.fields.iter().filter(|(_, field)| field.kind == FieldKind::Text);
    let texts = texts.map(|(name, field)| (name.clone(), Secret::from(&*value(name, field))));
    let in_files = auth.fields.values().flat_map(|field| field.values.keys()).map(|name| {
        let text = if name.contains("mail") { account.email() } else { format!("sandbox-{owner}{}", digits(name)) };
        (name.clone(), Secret::new(text))
    });
    texts.chain(in_files).collect()
}

/// The account that a part of a key names.
pub(super) fn key_owner(value: &str) -> Option<SandboxAccount> {
    let (text, digits) = value.split_at_checked(value.len().checked_sub(32)?)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(())?;
    // An account's name may hold the word, too.
    let start = if text.contains("://") { text.rfind('/')? + 1 } else { text.find("sandbox-")? + "sandbox-".len() };
    Some(text[start..].strip_suffix('-').map_or_else(SandboxAccount::default, |slug| SandboxAccount::named(Some(slug))))
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

fn field_text(field: &CredentialField, account: &SandboxAccount, owner: &str, digits: &str) -> String {
    let prefix = field.prefixes.first().map_or("", String::as_str);
    let needed = field.contains.as_deref().filter(|needed| !prefix.contains(needed));
    match needed {
        Some("@") => format!("{prefix}{}", account.email()),
        // Before the character a bot token has the bot's id, and no vendor minds one.
        Some(needed) => format!("{prefix}{}{needed}sandbox-{owner}{digits}", account.number()),
        // A public part of a key is an id as its prefix continues it: `AC` and hexadecimal digits.
        None if !field.secret && !prefix.is_empty() => format!("{prefix}{digits}"),
        None => format!("{prefix}sandbox-{owner}{digits}"),
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

/// An account of the emulated vendor: a team, a company, a person. It is named after the connection that it was made for, and
/// everything about it follows from that name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SandboxAccount {
    slug: String,
}

impl Default for SandboxAccount {
    fn default() -> Self {
        Self { slug: DEFAULT_ACCOUNT.to_owned() }
    }
}

impl SandboxAccount {
    /// Returns the account of connections of this name; the default one if they have none.
    pub fn named(account: Option<&str>) -> Self {
        let slug = account.map_or_else(|| DEFAULT_ACCOUNT.to_owned(), str::to_lowercase);
        // An e-mail address names the account by what is before its @.
        Self { slug: slug.split('@').next().unwrap_or(DEFAULT_ACCOUNT).to_owned() }
    }

    pub(super) fn is_default(&self) -> bool {
        self.slug == DEFAULT_ACCOUNT
    }

    /// The account that a consent may cover as well.
    pub(super) fn second(&self) -> Self {
        let slug = if self.is_default() { SECOND_ACCOUNT.to_owned() } else { format!("{}-two", self.slug) };
        Self { slug }
    }

    /// Its display name: `My Team` for `my-team`.
    pub(super) fn name(&self) -> String {
        let words = self.slug.split(['-', '_', '.', '+']).filter(|word| !word.is_empty());
        let capitalized = words.map(|word| {
            let mut letters = word.chars();
            letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect::<String>())
        });
        capitalized.collect::<Vec<_>>().join(" ")
    }

    /// The name it signs in with.
    pub(super) fn login(&self) -> &str {
        &self.slug
    }

    pub(super) fn email(&self) -> String {
        if self.is_default() { "sandbox@example.com".to_owned() } else { format!("{}@example.com", self.slug) }
    }

    /// Bytes that follow from the account and a purpose.
    fn digest(&self, purpose: &str) -> [u8; 32] {
        hash::sha256_of_parts(&[self.slug.as_bytes(), &[0], purpose.as_bytes()])
    }

    /// Its number, where ids are numbers.
    pub(super) fn number(&self) -> u64 {
        match &*self.slug {
            DEFAULT_ACCOUNT => 9_100_001,
            SECOND_ACCOUNT => 9_100_002,
            _ => 10_000_000 + first_number(&self.digest("number")) % 80_000_000,
        }
    }

    /// What is particular about its ids where they are letters and digits.
    pub(super) fn code(&self) -> String {
        match &*self.slug {
            DEFAULT_ACCOUNT => "SANDBOX1".to_owned(),
            SECOND_ACCOUNT => "SANDBOX2".to_owned(),
            _ => code(first_number(&self.digest("code"))),
        }
    }

    /// An id in the style of the vendors: `T0SANDBOX1` for a `team_id`.
    pub(super) fn id(&self, name: &str) -> String {
        let initial = name.chars().find(char::is_ascii_alphabetic).map_or('T', |c| c.to_ascii_uppercase());
        format!("{initial}0{}", self.code())
    }

    /// What samples may name of it.
    pub(super) fn sample_values(&self) -> Values {
        let id = hex::encode(&self.digest("id")[..16]);
        let mut values = Values::default();
        values
            .set("id", &id)
            .set("uuid", &format!("{}-{}-4{}-8{}-{}", &id[..8], &id[8..12], &id[12..15], &id[15..18], &id[18..30]))
            .set("n", &self.number().to_string())
            .set("code", &self.code())
            .set("account_code", &self.code())
            .set("account", &self.name())
            .set("login", self.login())
            .set("email", &self.email());
        values
    }

    /// What the health check of a method says of it.
    pub(super) fn health_document(&self, health: &Health) -> Value {
        let sample = health.sample.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let filled = sample.and_then(|sample: Value| fill_document(&sample, &self.sample_values()).ok());
        let mut document = filled.unwrap_or_else(|| json!({}));
        for (pointer, is_name) in [(&health.account.name, true), (&health.account.id, false)] {
            let Some(pointer) = pointer.as_ref().filter(|pointer| pointer.find(&document).is_none()) else { continue };
            let word = pointer.tokens().last().unwrap_or_default().to_lowercase();
            let value = match &*word {
                word if word.contains("mail") => json!(self.email()),
                "login" | "username" => json!(self.login()),
                _ if is_name => json!(self.name()),
                "sub" => json!(format!("10{:019}", first_number(&self.digest("subject")) % 10_u64.pow(19))),
                _ => json!(self.id("T")),
            };
            pointer.set(&mut document, value);
        }
        document
    }

    /// What people see of it, as `integ status` shows it too.
    pub(super) fn label(&self, connector: &Connector, auth: &AuthMethod) -> String {
        let shown = connector.health(auth).and_then(|health| {
            let document = self.health_document(health);
            health.account.name.as_ref().or(health.account.id.as_ref())?.text(&document)
        });
        shown.unwrap_or_else(|| self.name())
    }

    /// What a value is that a connector keeps under `name`.
    pub(super) fn metadata_value(&self, connector: &Connector, auth: &AuthMethod, name: &str) -> String {
        if let Some(url) = emulated_urls(connector, auth).get(name) {
            return url.clone();
        }
        let word = |pointer: &Pointer| normalize_name(&pointer.to_string());
        if let Some(health) = connector.health(auth) {
            let known = [&health.account.id, &health.account.name].into_iter().flatten();
            let document = self.health_document(health);
            if let Some(at) = known.into_iter().find(|at| word(at) == normalize_name(name))
                && let Some(text) = at.text(&document)
            {
                return text;
            }
        }
        match name.rsplit('_').next().unwrap_or(name) {
            "name" | "label" | "title" => self.name(),
            "login" | "username" => self.login().to_owned(),
            "email" | "mail" => self.email(),
            "url" | "uri" => {
                let domain = customer_domain(connector).unwrap_or_else(|| "example.com".to_owned());
                format!("https://{}.{domain}", self.slug)
            }
            "id" if name.strip_prefix(connector.id.as_str()).is_some_and(|rest| rest.starts_with('_')) => {
                let health = connector
                    .health(auth)
                    .and_then(|health| health.account.id.as_ref()?.text(&self.health_document(health)));
                health.unwrap_or_else(|| self.id(name))
            }
            _ => self.id(name),
        }
    }
}

/// The domain below which each customer of the vendor has a host, as one of its bases says.
fn customer_domain(connector: &Connector) -> Option<String> {
    let mut bases = connector.auth.values().filter_map(|auth| auth.base.as_ref()).chain(&connector.api.base);
    bases.find_map(|base| {
        let text = base.to_string();
        let (_, rest) = text.strip_prefix("https://{")?.split_once("}.")?;
        rest.split('/').next().map(str::to_owned)
    })
}

fn first_number(bytes: &[u8; 32]) -> u64 {
    bytes.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// Numbers below which [`code`] is unique.
const CODES: u64 = 36_u64.pow(9);

/// Prime to 36, so that multiplying by it only shuffles.
const CODE_FACTOR: u64 = 63_018_038_201_513;

/// Nine capital letters and digits for a number, without any likeness between those of neighbours.
pub(super) fn code(number: u64) -> String {
    let shuffled = u128::from(number % CODES) * u128::from(CODE_FACTOR) % u128::from(CODES);
    let mut rest = u64::try_from(shuffled).unwrap_or_default();
    let mut letters = [0_u8; 9];
    for letter in letters.iter_mut().rev() {
        *letter = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[usize::try_from(rest % 36).unwrap_or_default()];
        rest /= 36;
    }
    letters.iter().map(|letter| char::from(*letter)).collect()
}

/// The number of the code at the end of a text.
pub(super) fn code_number(text: &str) -> Option<u64> {
    let code = text.get(text.len().checked_sub(9)?..)?;
    let is_code = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
    let number = code.bytes().all(is_code).then(|| u64::from_str_radix(code, 36).ok())??;
    let modulus = i128::from(CODES);
    // The inverse of the factor, by Euclid's algorithm.
    let (mut old, mut new, mut old_part, mut part) = (i128::from(CODE_FACTOR) % modulus, modulus, 1_i128, 0_i128);
    while new != 0 {
        let quotient = old / new;
        (old, new) = (new, old - quotient * new);
        (old_part, part) = (part, old_part - quotient * part);
    }
    u64::try_from((i128::from(number) * old_part.rem_euclid(modulus)) % modulus).ok()
}

/// A name or pointer with everything between its words alike: `/team/id` and `team_id` say the same.
fn normalize_name(text: &str) -> String {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_again_and_differ() {
        let mut seen = std::collections::BTreeSet::new();
        for number in (1_000_000_000..1_000_002_000).chain([0, 1, CODES - 1]) {
            assert_eq!(code_number(&format!("C0{}", code(number))), Some(number));
            assert!(seen.insert(code(number)));
        }
        assert_eq!(code_number("too-short"), None);
    }

    #[test]
    fn a_key_says_whose_it_is() {
        assert_eq!(key_owner("xoxb-sandbox-0123456789abcdef0123456789abcdef"), Some(SandboxAccount::default()));
        let beta = key_owner("xoxb-sandbox-beta-0123456789abcdef0123456789abcdef").unwrap();
        assert_eq!(
            (beta.login(), beta.name(), beta.email()),
            ("beta", "Beta".to_owned(), "beta@example.com".to_owned())
        );
        let two = key_owner("sk_sandbox-sandbox-two-0123456789abcdef0123456789abcdef").unwrap();
        assert_eq!(two, SandboxAccount::default().second());
        let webhook = key_owner("https://sandbox.invalid/hook/sandbox-two-0123456789abcdef0123456789abcdef");
        assert_eq!(webhook, Some(two));
        assert_eq!(key_owner("xoxb-live"), None);
    }
}
