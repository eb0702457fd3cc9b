//! The signed POST (Standard Webhooks), sent through the egress guard.

use url::Url;

use super::NotifyError;
use crate::clock::RunningLimit;
use crate::config::NotifyConfig;
use crate::http::{Client, Request, Route};
use crate::model::Notification;
use crate::secret::Secret;
use crate::signing::standard::{self, ID_HEADER, MessageId, SIGNATURE_HEADER, SigningSecret, TIMESTAMP_HEADER};
use crate::{env, files};

/// Bytes of the file with a signing secret.
const LARGEST_SECRET: u64 = 64 * 1024;

/// The secret that signs, from `INTEG_NOTIFY_SECRET`, else from `notify.secret_file`, which nobody else may read.
///
/// # Errors
/// [`NotifyError::NoSecret`] where there is none: nothing is ever sent unsigned.
pub fn signing_secret(config: &NotifyConfig) -> Result<SigningSecret, NotifyError> {
    let (origin, text) = if let Some(secret) = env::secret(&env::NOTIFY_SECRET) {
        (env::NOTIFY_SECRET.name.to_owned(), secret)
    } else {
        let path = config.secret_file.as_ref().ok_or(NotifyError::NoSecret)?;
        let missing = || NotifyError::SecretFileNotFound { path: path.clone() };
        let bytes = files::read_secret(path, LARGEST_SECRET)?.ok_or_else(missing)?;
        (path.display().to_string(), Secret::trimmed(String::from_utf8_lossy(&bytes).into_owned()))
    };
    SigningSecret::parse(&text).map_err(|source| NotifyError::InvalidSecret { origin, source })
}

/// Sends the notice, once. Only a 2xx is an acknowledgement; a redirect is a failure (fault 78).
///
/// # Errors
/// [`NotifyError`].
pub(super) async fn send(
    config: &NotifyConfig,
    http: &Client,
    url: &Url,
    notice: &Notification,
) -> Result<(), NotifyError> {
    let secret = signing_secret(config)?;
    let id = MessageId::random();
    let body = notice.json().to_string().into_bytes();
    let signature = standard::sign(&[secret], &id, notice.at, &body);
    let request = Request::new("POST", url.clone())
        .header(ID_HEADER, Secret::from(id.as_str()))
        .header(TIMESTAMP_HEADER, Secret::new(notice.at.as_second().to_string()))
        .header(SIGNATURE_HEADER, Secret::new(signature))
        .body("application/json", body);
    let host = url.host_str().unwrap_or_default().to_owned();
    let mut limit = RunningLimit::new(config.timeout);
    let too_long = || NotifyError::TimedOut { what: host.clone(), after_secs: config.timeout.as_secs() };
    let response = limit.wait(http.send(request, &Route::Live)).await.ok_or_else(too_long)??;
    if response.is_success() { Ok(()) } else { Err(NotifyError::Status { host, status: response.status }) }
}
