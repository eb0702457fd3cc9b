//! Registers a client with a server: OAuth 2.0 Dynamic Client Registration (RFC 7591).

use std::collections::BTreeMap;

use serde_json::{Value, json};
use url::Url;

use super::discovery::MAX_METADATA_BYTES;
use super::duplicate_members::has_unique_members;
use super::{ErrorDescription, OAuthError, ServerMetadata};
use crate::clock::Timestamp;
use crate::connector::ClientAuth;
use crate::http::{Client, Request, Response, Route};
use crate::model::{ClientCredentials, words};
use crate::secret::Secret;

/// The longest client id that is taken, in bytes.
const MAX_CLIENT_ID_BYTES: usize = 2048;

/// How integ came to the client of a connection, where the user has none of their own at the server. The connection's
/// metadata says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientRegistration {
    /// By dynamic registration (RFC 7591), again at each sign-in.
    Dynamic,
    /// The client id is the URL of a document that the user has published.
    MetadataDocument,
}

words!(ClientRegistration { Dynamic => "dynamic", MetadataDocument => "metadata_document" });

/// The names of what a connection's metadata says of its client.
const REGISTRATION: &str = "client_registration";
const SECRET_EXPIRES_AT: &str = "client_secret_expires_at";
const CLIENT_AUTH: &str = "client_auth";

impl ClientRegistration {
    /// Reads it from a connection's metadata; absent for a client of the user's own.
    pub fn of(metadata: &BTreeMap<String, String>) -> Option<Self> {
        metadata.get(REGISTRATION)?.parse().ok()
    }

    /// What the metadata of a connection with such a client says.
    pub fn entry(self) -> (String, String) {
        (REGISTRATION.to_owned(), self.as_str().to_owned())
    }
}

/// Whether the registration that a connection depends on has ended, by what the server said when it was made.
pub fn has_expired(metadata: &BTreeMap<String, String>, now: Timestamp) -> bool {
    let end = metadata.get(SECRET_EXPIRES_AT).and_then(|end| end.parse().ok());
    end.is_some_and(|end: i64| end <= now.as_second())
}

/// Whether a server that answers like this has forgotten the client that it registered.
pub fn is_forgotten(metadata: &BTreeMap<String, String>, error: &OAuthError) -> bool {
    ClientRegistration::of(metadata) == Some(ClientRegistration::Dynamic)
        && matches!(error, OAuthError::ErrorResponse { code, .. } if code == "invalid_client")
}

/// A client that a server has registered.
#[derive(Clone, Debug)]
pub struct RegisteredClient {
    pub client: ClientCredentials,
    /// How it shows its secret, if it has one.
    pub client_auth: ClientAuth,
    /// When its secret ends; absent where it has none or it does not end.
    pub secret_expires_at: Option<Timestamp>,
}

impl RegisteredClient {
    /// What the metadata of its connection says of it.
    pub fn entries(&self) -> impl Iterator<Item = (String, String)> {
        let method = match self.client_auth {
            ClientAuth::Basic => "basic",
            ClientAuth::Post => "post",
            // A client of a key of its own is never registered by integ.
            ClientAuth::None | ClientAuth::PrivateKeyJwt | ClientAuth::TlsClientAuth => "none",
        };
        let end = self.secret_expires_at.map(|end| (SECRET_EXPIRES_AT.to_owned(), end.as_second().to_string()));
        [ClientRegistration::Dynamic.entry(), (CLIENT_AUTH.to_owned(), method.to_owned())].into_iter().chain(end)
    }
}

/// Registers a native client with one redirect URI, without a secret where the server takes such clients.
///
/// # Errors
/// [`OAuthError::RegistrationRefused`] where the server does not want it, [`OAuthError::MalformedResponse`] for an answer that
/// is no registration.
pub async fn register(
    http: &Client,
    route: &Route,
    endpoint: &Url,
    server: &ServerMetadata,
    redirect_uri: &str,
    scopes: &[String],
    now: Timestamp,
) -> Result<RegisteredClient, OAuthError> {
    let wanted = auth_method(server);
    let mut document = json!({
        "client_name": "integ",
        "application_type": "native",
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": wanted.registered_name(),
    });
    if !scopes.is_empty() {
        document["scope"] = Value::from(scopes.join(" "));
    }
    let mut request = Request::new("POST", endpoint.clone()).header("accept", Secret::from("application/json"));
    request.max_response_bytes = MAX_METADATA_BYTES;
    let response = http.send(request.body("application/json", document.to_string().into_bytes()), route).await?;
    parse(&response, wanted, redirect_uri, now)
}

/// No secret where the server allows that (RFC 8252 section 8.4), else the first method that it lists.
fn auth_method(server: &ServerMetadata) -> ClientAuth {
    let listed = server.auth_methods.as_deref().unwrap_or_default();
    let is_listed = |method: ClientAuth| listed.iter().any(|listed| listed == method.registered_name());
    if is_listed(ClientAuth::None) {
        return ClientAuth::None;
    }
    listed.iter().find_map(|name| method_of(name)).unwrap_or(ClientAuth::None)
}

fn method_of(name: &str) -> Option<ClientAuth> {
    [ClientAuth::Basic, ClientAuth::Post, ClientAuth::None].into_iter().find(|method| method.registered_name() == name)
}

fn parse(
    response: &Response,
    wanted: ClientAuth,
    redirect_uri: &str,
    now: Timestamp,
) -> Result<RegisteredClient, OAuthError> {
    let malformed = |reason: &str| OAuthError::MalformedResponse {
        endpoint: "the registration endpoint",
        reason: reason.to_owned(),
    };
    if response.status == 429 || response.status >= 500 {
        return Err(OAuthError::ServerUnavailable { status: response.status, retry_after: None });
    }
    let document = response.json().filter(Value::is_object);
    if !response.is_success() {
        let text = |name: &str| document.as_ref().and_then(|document| document.get(name)).and_then(Value::as_str);
        return Err(OAuthError::RegistrationRefused {
            code: text("error")
                .map_or_else(|| format!("status {}", response.status), |code| code.chars().take(100).collect()),
            description: text("error_description").and_then(ErrorDescription::new),
        });
    }
    let document = document.ok_or_else(|| malformed("it is not a JSON object"))?;
    if !response.text().is_ok_and(|text| has_unique_members(text.as_bytes())) {
        return Err(malformed("a member is repeated"));
    }
    let text = |name: &str| document.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let id = text("client_id").ok_or_else(|| malformed("it has no client_id"))?;
    if id.len() > MAX_CLIENT_ID_BYTES || id.chars().any(char::is_control) {
        return Err(malformed("its client_id is not one"));
    }
    let registered = document.get("redirect_uris").and_then(Value::as_array);
    if registered.is_some_and(|registered| !registered.iter().any(|uri| uri == redirect_uri)) {
        return Err(malformed("it registered other redirect URIs"));
    }
    let client_auth = match text("token_endpoint_auth_method") {
        Some(name) => method_of(name).ok_or_else(|| malformed("integ does not know its token_endpoint_auth_method"))?,
        // A server that gives a secret without a word on it wants it shown (RFC 7591 section 2).
        None if text("client_secret").is_some() && wanted == ClientAuth::None => ClientAuth::Basic,
        None => wanted,
    };
    let secret = text("client_secret").filter(|_| client_auth != ClientAuth::None).map(Secret::from);
    if secret.is_none() && client_auth != ClientAuth::None {
        return Err(malformed("it has no client_secret"));
    }
    let secret_expires_at = match document.get("client_secret_expires_at").filter(|_| secret.is_some()) {
        None | Some(Value::Null) => None,
        Some(end) => match end.as_i64().filter(|end| *end >= 0) {
            Some(0) => None,
            Some(end) => {
                Some(Timestamp::from_second(end).map_err(|_| malformed("its secret has no end that is a time"))?)
            }
            None => return Err(malformed("its client_secret_expires_at is not a time")),
        },
    };
    if secret_expires_at.is_some_and(|end| end <= now) {
        return Err(malformed("its secret has expired already"));
    }
    Ok(RegisteredClient { client: ClientCredentials { id: id.to_owned(), secret }, client_auth, secret_expires_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    const URI: &str = "http://127.0.0.1:4711/callback";

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    fn read(status: u16, body: &str) -> Result<RegisteredClient, OAuthError> {
        parse(
            &Response::new(status, &[("content-type", "application/json")], body.as_bytes()),
            ClientAuth::None,
            URI,
            now(),
        )
    }

    #[test]
    fn a_registration_is_read() {
        let public = read(201, r#"{"client_id":"c1","client_secret_expires_at":0}"#).unwrap();
        assert_eq!((public.client.id.as_str(), public.client_auth), ("c1", ClientAuth::None));
        assert!(public.client.secret.is_none() && public.secret_expires_at.is_none());
        let body = r#"{"client_id":"c2","client_secret":"s","client_secret_expires_at":1000060,
            "token_endpoint_auth_method":"client_secret_post","redirect_uris":["http://127.0.0.1:4711/callback"]}"#;
        let confidential = read(200, body).unwrap();
        assert_eq!(confidential.client_auth, ClientAuth::Post);
        assert_eq!(confidential.client.secret.unwrap().expose(), "s");
        assert_eq!(confidential.secret_expires_at, Timestamp::from_second(1_000_060).ok());
        let unsaid = read(201, r#"{"client_id":"c3","client_secret":"s"}"#).unwrap();
        assert_eq!(unsaid.client_auth, ClientAuth::Basic);
        let unused = read(201, r#"{"client_id":"c","client_secret":"s","token_endpoint_auth_method":"none"}"#).unwrap();
        assert!(unused.client.secret.is_none());
    }

    #[test]
    fn what_is_no_registration_is_refused() {
        for body in [
            "<!doctype html><title>Sign in</title>",
            "",
            "[]",
            "{}",
            r#"{"client_id":""}"#,
            r#"{"client_id":7}"#,
            r#"{"client_id":"a","client_id":"b"}"#,
            r#"{"client_id":"a\u0007"}"#,
            r#"{"client_id":"a","redirect_uris":["https://evil.example/callback"]}"#,
            r#"{"client_id":"a","token_endpoint_auth_method":"private_key_jwt"}"#,
            r#"{"client_id":"a","token_endpoint_auth_method":"client_secret_basic"}"#,
            r#"{"client_id":"a","client_secret":"s","client_secret_expires_at":999999}"#,
            r#"{"client_id":"a","client_secret":"s","client_secret_expires_at":"soon"}"#,
            r#"{"client_id":"a","client_secret":"s","client_secret_expires_at":-1}"#,
        ] {
            assert!(matches!(read(201, body), Err(OAuthError::MalformedResponse { .. })), "{body}");
        }
        let refused = read(400, r#"{"error":"invalid_redirect_uri","error_description":"no loopback"}"#);
        assert!(matches!(refused, Err(OAuthError::RegistrationRefused { code, .. }) if code == "invalid_redirect_uri"));
        assert!(
            matches!(read(403, "<html>"), Err(OAuthError::RegistrationRefused { code, .. }) if code == "status 403")
        );
        assert!(matches!(read(503, "{}"), Err(OAuthError::ServerUnavailable { status: 503, .. })));
    }

    #[test]
    fn a_client_without_a_secret_is_asked_for_where_the_server_allows_it() {
        let method = |listed: Option<&[&str]>| {
            let auth_methods = listed.map(|listed| listed.iter().map(|name| (*name).to_owned()).collect());
            auth_method(&ServerMetadata { auth_methods, ..ServerMetadata::default() })
        };
        assert_eq!(method(None), ClientAuth::None);
        assert_eq!(method(Some(&["client_secret_basic", "none"])), ClientAuth::None);
        assert_eq!(method(Some(&["private_key_jwt", "client_secret_post"])), ClientAuth::Post);
    }
}
