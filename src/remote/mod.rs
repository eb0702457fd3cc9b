//! An `integ serve` elsewhere, in place of the store of this machine: the operations of some commands over its HTTP API.
//!
//! A method takes the request of an operation in [`crate::ops`] and returns its view, so that a command does the same with
//! both. What the server refuses keeps its code, kind and hint ([`RemoteError::Refused`]).

mod calls;
mod connections;
mod error;
mod tokens;

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

pub use error::RemoteError;

use crate::clock::Clock;
use crate::config::Config;
use crate::http::{Client, Request, Route};
use crate::json;
use crate::secret::Secret;
use crate::view::problem::ProblemView;

/// For one request: the server asks a service meanwhile, and repeats what may be repeated.
const TIMEOUT: Duration = Duration::from_secs(180);

/// Bytes of an answer that holds no response of a service.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// A server, and the API token that is presented to it.
#[derive(Debug)]
pub struct RemoteServer {
    /// Ends with `/`.
    url: Url,
    token: Secret,
    http: Client,
    clock: Clock,
    /// Bytes of a service's response.
    max_response_bytes: usize,
}

impl RemoteServer {
    /// Creates the client of a server. Nothing is sent yet.
    ///
    /// # Errors
    /// [`RemoteError::InvalidToken`] for a text that no header can hold.
    pub fn new(url: Url, token: Secret, config: &Config, clock: Clock) -> Result<Self, RemoteError> {
        if token.expose().is_empty() || !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(RemoteError::InvalidToken);
        }
        let max_response_bytes = config.http.max_response_bytes;
        // A body is in base64 within JSON.
        let http = Client::new(TIMEOUT).with_max_read(MAX_ANSWER_BYTES.max(max_response_bytes / 2 * 3));
        Ok(Self { url, token, http, clock, max_response_bytes })
    }

    /// Returns the URL of the server as it is shown.
    pub fn name(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    fn endpoint(&self, path: &[&str]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        url
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> Result<T, RemoteError> {
        let mut url = self.endpoint(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.read(&self.send(Request::new("GET", url)).await?)
    }

    /// Sends a request without a body.
    async fn run<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, RemoteError> {
        self.read(&self.send(Request::new("POST", self.endpoint(path))).await?)
    }

    async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &Value) -> Result<T, RemoteError> {
        self.read(&self.post_document(path, body, MAX_ANSWER_BYTES).await?)
    }

    async fn post_document(&self, path: &[&str], body: &Value, most: usize) -> Result<Value, RemoteError> {
        let request = Request::new("POST", self.endpoint(path)).body("application/json", body.to_string().into_bytes());
        self.send(Request { max_response_bytes: most, ..request }).await
    }

    /// Sends a request with the token, and returns the JSON of a success. No redirect is followed, so that the token goes
    /// nowhere else.
    async fn send(&self, request: Request) -> Result<Value, RemoteError> {
        let authorization = Secret::new(format!("Bearer {}", self.token.expose()));
        let mut request = request.header("Authorization", authorization);
        request.secrets.push(self.token.clone());
        let unreachable = |error| RemoteError::unreachable(self.name(), &error);
        let response = self.http.send(request, &Route::Live).await.map_err(unreachable)?;
        let unexpected = || RemoteError::Unexpected { server: self.name().to_owned(), status: response.status };
        let document = response.text().ok().and_then(|text| json::parse(&text).ok()).ok_or_else(unexpected)?;
        if response.is_success() {
            return Ok(document);
        }
        let problem = serde_json::from_value::<ProblemView>(document).map_err(|_| unexpected())?;
        Err(RemoteError::refused(problem))
    }

    fn read<T: DeserializeOwned>(&self, document: &Value) -> Result<T, RemoteError> {
        T::deserialize(document).map_err(|source| RemoteError::Unreadable { server: self.name().to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> RemoteServer {
        let url = crate::config::parse_public_url(url).unwrap();
        RemoteServer::new(url, "integ_x".into(), &Config::default(), Clock::system()).unwrap()
    }

    #[test]
    fn paths_are_below_the_url_of_the_server() {
        let names = ["connections", "slack@work", "actions", "a/b?c"];
        let url = |text: &str| server(text).endpoint(&names).to_string();
        assert_eq!(url("https://x.example"), "https://x.example/v1/connections/slack@work/actions/a%2Fb%3Fc");
        assert_eq!(url("https://x.example/p"), "https://x.example/p/v1/connections/slack@work/actions/a%2Fb%3Fc");
        assert_eq!(server("https://x.example/p/").name(), "https://x.example/p");
    }

    #[test]
    fn a_token_fits_a_header() {
        let url = || Url::parse("https://x.example/").unwrap();
        for text in ["", "a b", "a\nb", "ä"] {
            let made = RemoteServer::new(url(), text.into(), &Config::default(), Clock::system());
            assert!(matches!(made, Err(RemoteError::InvalidToken)), "{text:?}");
        }
    }
}
