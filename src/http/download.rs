//! Downloads public documents by URL: a connector file, an API description.

use thiserror::Error;
use url::Url;

use super::{Client, HttpError, Request, Route, redact_url};
use crate::error::{Diagnostic, Hint, Kind, Remedy};

/// Why a document could not be downloaded.
#[derive(Debug, Error)]
pub enum DownloadError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("{host} answered {status}")]
    Status { host: String, status: u16 },
    #[error("{host} redirects to {target}")]
    Redirected { host: String, target: String },
    #[error("the URL contains a user name or a password")]
    CredentialsInUrl,
}

impl Remedy for DownloadError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Http(error) => error.diagnostic(),
            Self::Status { status, .. } if *status == 429 || *status >= 500 => {
                Diagnostic::new(Kind::Temporary, "download_failed")
            }
            Self::Status { status: 404 | 410, .. } => Diagnostic::new(Kind::NotFound, "download_failed"),
            Self::Status { .. } => Diagnostic::new(Kind::Rejected, "download_failed"),
            Self::Redirected { target, .. } => Diagnostic::new(Kind::Rejected, "redirected")
                .hint(Hint::text(format!("if you trust it, use that URL: {target}"))),
            Self::CredentialsInUrl => Diagnostic::new(Kind::Usage, "credentials_in_url")
                .hint(Hint::text("download the file with another program, then give its path")),
        }
    }
}

/// Gets a document of at most `largest` bytes. It is asked for without credentials, by https or from this machine, and a
/// redirect is followed only where it stays: the user who gave the URL trusts that host and no other.
///
/// # Errors
/// [`DownloadError`].
pub async fn download(http: &Client, url: &Url, largest: usize) -> Result<Vec<u8>, DownloadError> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(DownloadError::CredentialsInUrl);
    }
    let mut request = Request::new("GET", url.clone());
    request.follows_redirects = true;
    request.max_response_bytes = largest;
    let host = url.host_str().unwrap_or_default().to_owned();
    let response = http.send(request, &Route::Live).await?;
    let target = response.header("location").filter(|_| (300..400).contains(&response.status));
    match target.and_then(|target| url.join(target).ok()) {
        Some(target) => Err(DownloadError::Redirected { host, target: redact_url(&target, &[]) }),
        None if response.is_success() => Ok(response.body),
        None => Err(DownloadError::Status { host, status: response.status }),
    }
}
