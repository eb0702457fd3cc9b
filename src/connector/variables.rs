//! The parts of a credential beside the token that `exec` and `token --format json|env` offer, by name.

use std::collections::BTreeSet;

use super::{Auth, Connector};

/// Returns the names of all parts that connections of this connector can have, in the connector's own spelling:
/// `account_sid`, `cloud_id`, `site`.
pub fn parts(connector: &Connector) -> BTreeSet<String> {
    connector.auth.values().flat_map(|auth| parts_of(connector, auth)).collect()
}

/// Returns the names of the parts that one authentication method can give.
pub fn parts_of<'c>(connector: &'c Connector, auth: &'c Auth) -> impl Iterator<Item = String> + 'c {
    let params = connector.params(auth).map(|(name, _)| name);
    let oauth2 = auth.oauth2.iter().flat_map(|rules| {
        let answer = rules.answer.keep.keys().chain(rules.answer.secrets.keys());
        let follow_up = rules.follow_up.iter().flat_map(|follow_up| follow_up.keep.keys());
        answer.chain(rules.callback_keep.keys()).chain(follow_up)
    });
    params.chain(auth.fields.keys()).chain(oauth2).cloned()
}

/// Returns the environment variable's name for a part: upper case, everything but letters and digits replaced by `_`.
pub fn variable(prefix: &str, part: &str) -> String {
    format!("{}_{}", word(prefix), word(part))
}

fn word(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}
