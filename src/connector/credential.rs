//! The parts of a credential, and the values derived from them. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{AuthMethod, CredentialField, FieldKind};
use crate::secret::Secret;

impl AuthMethod {
    /// Whether the user gives a key that requests carry: fields without a vendor who gives a token for them.
    pub fn is_key(&self) -> bool {
        self.oauth2.is_none() && !self.fields.is_empty()
    }

    /// Whether the fields are used to request a token.
    pub fn presents_fields(&self) -> bool {
        self.oauth2.as_ref().is_some_and(|rules| {
            rules.client_auth.uses_key()
                || self.tls.is_some()
                || rules.assertion.is_some()
                || rules.client_assertion.is_some()
                || rules.key_grant().is_some()
        })
    }

    /// The field that `integ token` prints; absent where a vendor gives the token.
    pub fn token_field(&self) -> Option<&str> {
        self.main_field().filter(|_| self.oauth2.is_none())
    }

    /// The field that `--with-token` gives.
    pub fn main_field(&self) -> Option<&str> {
        let first_secret = || self.fields.iter().find(|(_, field)| field.secret).map(|(name, _)| name.as_str());
        self.token.as_deref().or_else(first_secret)
    }

    /// The fields that programs get beside the token: not those used to request a token.
    pub fn exposed_fields(&self) -> impl Iterator<Item = &String> {
        let is_exposed = |field: &CredentialField| !field.kind.is_file() && (self.oauth2.is_none() || !field.secret);
        self.fields.iter().filter(move |(_, field)| is_exposed(field)).map(|(name, _)| name)
    }

    /// What the user gave, with the values that JSON files hold.
    pub fn credential_values(&self, fields: &BTreeMap<String, Secret>) -> BTreeMap<String, Secret> {
        let mut values = fields.clone();
        for (name, field) in self.fields.iter().filter(|(_, field)| field.kind == FieldKind::Json) {
            let Some(document) = fields.get(name).and_then(|text| serde_json::from_str::<Value>(text.expose()).ok())
            else {
                continue;
            };
            let found = field.values.iter().filter_map(|(name, at)| Some((name.clone(), at.text(&document)?)));
            values.extend(found.map(|(name, text)| (name, Secret::new(text))));
        }
        values
    }

    /// The names of all values that the user's fields give.
    pub fn credential_names(&self) -> impl Iterator<Item = &String> {
        self.fields.keys().chain(self.fields.values().flat_map(|field| field.values.keys()))
    }
}
