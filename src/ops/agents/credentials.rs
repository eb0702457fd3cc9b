//! Every credential of a workspace, so that no answer to an agent contains one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aho_corasick::BuildError;
use serde_json::Value;
use thiserror::Error;

use crate::error::{Diagnostic, Kind, Remedy, Result};
use crate::hash::sha256;
use crate::json;
use crate::mask::{MIN_SECRET_LENGTH, SecretPatterns};
use crate::model::{Connection, Grant, Webhook};
use crate::runtime::Workspace;
use crate::secret::Secret;

/// Credentials that are remembered after they were replaced. A service may still show them.
const MAX_REMEMBERED: usize = 4096;

/// Characters of the shortest part of a credential that is masked by itself: a line of a key, a member of a key file.
const SHORTEST_PART: usize = 16;

/// The credentials of a workspace, also those of connections that an agent may not use, and those that were replaced since.
pub struct CredentialRegistry {
    /// Not limited to any connections.
    workspace: Arc<Workspace>,
    known: Mutex<KnownCredentials>,
}

#[derive(Default)]
struct KnownCredentials {
    /// By their digests.
    secrets: BTreeMap<[u8; 32], Secret>,
    /// The grants that were read, as the OS keyring may be slow.
    generations: BTreeMap<i64, u64>,
    patterns: Option<Arc<SecretPatterns>>,
}

impl CredentialRegistry {
    /// Creates the registry of a workspace, which must not be limited to some of its connections.
    pub fn new(workspace: Arc<Workspace>) -> Self {
        Self { workspace, known: Mutex::default() }
    }

    /// Reads the credentials that the workspace has now, and returns what masks them and those that it had before.
    ///
    /// # Errors
    /// Those of the store and the OS keyring: what cannot be masked is not shown.
    pub async fn patterns(&self) -> Result<Arc<SecretPatterns>> {
        if self.known().secrets.len() > MAX_REMEMBERED {
            *self.known() = KnownCredentials::default();
        }
        if self.workspace.has_vault() {
            self.read_store().await?;
        }
        let mut known = self.known();
        if let Some(patterns) = &known.patterns {
            return Ok(Arc::clone(patterns));
        }
        let secrets: Vec<Secret> = known.secrets.values().cloned().collect();
        let patterns = Arc::new(SecretPatterns::new(&secrets).map_err(TooManyCredentialsError)?);
        known.patterns = Some(Arc::clone(&patterns));
        Ok(patterns)
    }

    /// Adds secrets that the store does not have, such as the API token of a request.
    pub fn remember(&self, secrets: impl IntoIterator<Item = Secret>) {
        let mut known = self.known();
        let before = known.secrets.len();
        for secret in secrets {
            let long = parts(secret.expose()).filter(|part| part.expose().len() >= MIN_SECRET_LENGTH);
            known.secrets.extend(long.map(|part| (sha256(part.expose().as_bytes()), part)));
        }
        if known.secrets.len() > before {
            known.patterns = None;
        }
    }

    /// Reads every credential that is stored: those of connections, apps, webhooks and endpoints.
    async fn read_store(&self) -> Result<()> {
        let (workspace, now) = (&self.workspace, self.workspace.clock.now());
        let (store, mut secrets) = (workspace.store().await?, Vec::new());
        let mut webhooks: BTreeMap<_, _> =
            store.webhooks().list().await?.into_iter().map(|webhook| (webhook.connection.0, webhook)).collect();
        for connection in workspace.connections().await? {
            secrets.extend(self.new_grant(&connection).await?);
            if let Some(webhook) = webhooks.remove(&connection.id.0) {
                secrets.extend(webhook.secrets(now));
                secrets.extend(self.secret_params(&connection, &webhook));
                secrets.push(Secret::new(webhook.path));
            }
        }
        secrets.extend(store.apps().list().await?.into_iter().filter_map(|app| app.client.secret));
        let endpoints = store.endpoints().list().await?;
        secrets.extend(endpoints.iter().flat_map(|endpoint| endpoint.secrets.current(now)));
        self.remember(secrets);
        Ok(())
    }

    /// Returns the values of a webhook that its connector does not declare as harmless.
    fn secret_params(&self, connection: &Connection, webhook: &Webhook) -> Vec<Secret> {
        let connector = self.workspace.catalogue().get(connection.name.connector()).ok();
        let declared = connector.as_ref().and_then(|connector| connector.webhook.as_ref());
        let is_secret =
            |name: &str| declared.and_then(|webhook| webhook.params.get(name)).is_none_or(|param| param.secret);
        let values = webhook.params.iter().filter(|(name, _)| is_secret(name));
        values.map(|(_, value)| Secret::from(value.as_str())).collect()
    }

    /// Returns the secrets of a connection's grant, if it is not the one that was read last.
    async fn new_grant(&self, connection: &Connection) -> Result<Vec<Secret>> {
        let (workspace, store) = (&self.workspace, self.workspace.store().await?);
        let stored = store.grants().get(connection.id).await?.map(|stored| stored.generation);
        let (Some(generation), id) = (stored, connection.id.0) else { return Ok(Vec::new()) };
        if self.known().generations.get(&id) == Some(&generation) {
            return Ok(Vec::new());
        }
        let Some(loaded) = workspace.engine.token_vault.load(store, &connection.name).await? else {
            return Ok(Vec::new());
        };
        self.known().generations.insert(id, loaded.stored_grant.generation);
        let connector = workspace.catalogue().get(connection.name.connector()).ok();
        let auth = connector.as_ref().and_then(|connector| connector.auth_method(Some(&connection.auth)).ok());
        let is_shown = |field: &str| {
            let declared = auth.and_then(|(_, auth)| auth.fields.get(field));
            declared.is_some_and(|field| !field.secret && !field.kind.is_file())
        };
        Ok(grant_secrets(&loaded.grant, is_shown))
    }

    fn known(&self) -> MutexGuard<'_, KnownCredentials> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The credentials have more bytes than can be looked for.
#[derive(Debug, Error)]
#[error("cannot look for the credentials of the workspace in an answer")]
struct TooManyCredentialsError(#[source] BuildError);

impl Remedy for TooManyCredentialsError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Failed, "too_many_credentials")
    }
}

/// A credential, and the parts of it that are secrets by themselves: the lines of a key, the members of a key file.
fn parts(secret: &str) -> impl Iterator<Item = Secret> {
    let mut parts = vec![secret.to_owned()];
    let is_long = |part: &&str| part.len() >= SHORTEST_PART && !part.starts_with("-----");
    if secret.contains('\n') {
        parts.extend(secret.lines().map(str::trim).filter(is_long).map(str::to_owned));
    }
    if secret.starts_with('{')
        && let Ok(Value::Object(members)) = json::parse(secret)
    {
        let is_secret = |name: &str| ["key", "secret", "token", "password"].iter().any(|end| name.ends_with(end));
        for value in members.iter().filter(|(name, _)| is_secret(name)).filter_map(|(_, value)| value.as_str()) {
            parts.push(value.to_owned());
            parts.extend(value.lines().map(str::trim).filter(is_long).map(str::to_owned));
        }
    }
    parts.into_iter().map(Secret::new)
}

fn grant_secrets(grant: &Grant, is_shown: impl Fn(&str) -> bool) -> Vec<Secret> {
    let client = grant.client.as_ref().and_then(|client| client.secret.clone());
    let fields = grant.fields.iter().filter(|(name, _)| !is_shown(name)).map(|(_, value)| value.clone());
    std::iter::once(grant.access_token.clone()).chain(grant.refresh_token.clone()).chain(client).chain(fields).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_and_members_of_a_key_are_secrets_too() {
        let of = |secret: &str| parts(secret).map(|part| part.expose().clone()).collect::<Vec<_>>();
        let pem = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\n-----END PRIVATE KEY-----\n";
        assert_eq!(of(pem), [pem, "MIIEvQIBADANBgkqhkiG9w0B"]);
        let file = serde_json::json!({ "type": "service_account", "private_key": pem, "client_id": "1" }).to_string();
        assert_eq!(of(&file), [&file, pem, "MIIEvQIBADANBgkqhkiG9w0B"]);
        assert_eq!(of("xoxb-1"), ["xoxb-1"]);
    }
}
