//! The keys that issuers of identity tokens publish, found by OpenID Connect Discovery 1.0 and cached for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;
use tokio::sync::Mutex as Turn;
use url::Url;

use crate::clock::Stopwatch;
use crate::config::Config;
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::http::egress::EgressGuard;
use crate::http::{Client, Request, Route};
use crate::signing::identity_token::PublishedKeys;

/// How long keys are used before they are fetched again: a key that its issuer withdraws is accepted for so long.
const LIFETIME: Duration = Duration::from_secs(600);

/// How long nothing is fetched after a failure, or for a token that names an unknown key: callers who prove nothing must not
/// make integ ask an issuer in a loop.
const RETRY_DELAY: Duration = Duration::from_secs(60);

/// How long a request may take: a caller waits for it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a document of an issuer.
const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// The keys of an issuer cannot be fetched.
#[derive(Clone, Debug, Error)]
#[error("cannot fetch the keys of {issuer}: {reason}")]
pub struct IssuerKeysError {
    pub issuer: String,
    pub reason: String,
}

impl Remedy for IssuerKeysError {
    fn diagnostic(&self) -> Diagnostic {
        let address = format!("curl {}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        Diagnostic::new(Kind::Temporary, "issuer_unavailable").hint(Hint::new("see what it answers:", address))
    }
}

/// The keys of issuers. One request at a time asks an issuer, and the others use its answer.
#[derive(Debug)]
pub struct IssuerKeys {
    http: Client,
    issuers: Mutex<HashMap<String, Arc<Turn<Option<FetchedKeys>>>>>,
}

#[derive(Clone, Debug)]
struct FetchedKeys {
    since: Stopwatch,
    result: Result<PublishedKeys, IssuerKeysError>,
}

impl FetchedKeys {
    /// Whether it is used for a token that is signed with this key, and nothing is fetched.
    fn is_current(&self, key_id: &str) -> bool {
        let age = self.since.elapsed();
        let is_known = self.result.as_ref().is_ok_and(|keys| keys.contains(key_id));
        age < if is_known { LIFETIME } else { RETRY_DELAY }
    }
}

impl IssuerKeys {
    /// Creates the cache. Issuers may be at public addresses and at `http.allow`.
    pub fn new(config: &Config) -> Self {
        let http = Client::guarded(TIMEOUT.min(config.http.timeout), EgressGuard::new(&config.http.allow));
        Self { http, issuers: Mutex::default() }
    }

    /// Returns the keys of an issuer that the owner trusts, for a token that is signed with one of them.
    ///
    /// # Errors
    /// [`IssuerKeysError`].
    pub async fn find(&self, issuer: &str, key_id: &str) -> Result<PublishedKeys, IssuerKeysError> {
        let entry = {
            let mut issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(issuers.entry(issuer.to_owned()).or_default())
        };
        let mut fetched = entry.lock().await;
        if let Some(current) = fetched.as_ref().filter(|fetched| fetched.is_current(key_id)) {
            return current.result.clone();
        }
        let result = self.fetch(issuer).await.map_err(|reason| IssuerKeysError { issuer: issuer.to_owned(), reason });
        *fetched = Some(FetchedKeys { since: Stopwatch::start(), result: result.clone() });
        result
    }

    async fn fetch(&self, issuer: &str) -> Result<PublishedKeys, String> {
        let place = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let metadata = self.document(&place).await?;
        // Compared as text (OpenID Connect Discovery 1.0 section 4.3).
        if metadata["issuer"] != issuer {
            return Err("its metadata names another issuer".to_owned());
        }
        let place = metadata["jwks_uri"].as_str().ok_or("its metadata names no keys")?;
        Ok(PublishedKeys::parse(&self.document(place).await?))
    }

    async fn document(&self, place: &str) -> Result<Value, String> {
        let url = Url::parse(place).map_err(|error| format!("{place:?}: {error}"))?;
        let request = Request { max_response_bytes: MAX_DOCUMENT_BYTES, ..Request::new("GET", url) };
        let response = self.http.send(request, &Route::Live).await.map_err(|error| error.to_string())?;
        match response.json() {
            Some(document) if response.is_success() => Ok(document),
            _ => Err(format!("{place} answered {}", response.status)),
        }
    }
}
