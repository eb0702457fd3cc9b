//! Authenticates the client at the token endpoint, as the connector declares.

use url::form_urlencoded;

use super::message::{RequestParams, SandboxRequest};
use super::response::OAuthErrorResponse;
use super::state::SandboxState;
use super::vendor_emulator::{RequestContext, VendorEmulator};
use crate::connector::{BodyFormat, ClientAuth, OAuth2, Template};

/// A longer id is not a client's; it would make every token longer than a header may be.
const MAX_CLIENT_ID_LENGTH: usize = 512;

/// Stands for what a client without a secret shows.
const CLIENT_KEY: &str = "key";

/// A client that has shown who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AuthenticatedClient {
    pub(super) id: String,
    /// Whether it showed no secret.
    pub(super) public: bool,
}

impl AuthenticatedClient {
    /// # Errors
    /// `invalid_client` for a client that showed no secret.
    pub(super) fn require_confidential(self) -> Result<Self, OAuthErrorResponse> {
        if self.public { Err(OAuthErrorResponse::invalid_client("this client shows no secret")) } else { Ok(self) }
    }
}

impl VendorEmulator {
    /// The parameters of a request to the token endpoint and its like.
    pub(super) fn body(
        &self,
        visit: &RequestContext<'_>,
        format: BodyFormat,
    ) -> Result<RequestParams, OAuthErrorResponse> {
        let content_type = visit.request.header("content-type").unwrap_or_default().to_ascii_lowercase();
        let params = match format {
            BodyFormat::Form if content_type.starts_with("application/x-www-form-urlencoded") => visit.request.form(),
            BodyFormat::Form if visit.request.body.is_empty() => RequestParams::default(),
            BodyFormat::Form => {
                return Err(OAuthErrorResponse::invalid_request("the body is a form, and its Content-Type says so"));
            }
            BodyFormat::Json if content_type.starts_with("application/json") => {
                visit.request.json().ok_or_else(|| OAuthErrorResponse::invalid_request("the body is a JSON object"))?
            }
            BodyFormat::Json => {
                return Err(OAuthErrorResponse::invalid_request("the body is JSON, and its Content-Type says so"));
            }
        };
        match params.duplicate() {
            Some(name) => Err(OAuthErrorResponse::invalid_request(&format!("{name} appears more than once"))),
            None => Ok(params),
        }
    }

    /// RFC 6749 section 2.3: one way of showing the secret, and the declared one.
    pub(super) fn authenticate_client(
        &self,
        visit: &RequestContext<'_>,
        params: &RequestParams,
        shown: ClientAuth,
        state: &mut SandboxState,
    ) -> Result<AuthenticatedClient, OAuthErrorResponse> {
        let request = visit.request;
        let basic = request.basic();
        if request.header("authorization").is_some() && basic.is_none() {
            return Err(OAuthErrorResponse::invalid_client("the Authorization header is not that of a client"));
        }
        let (id, secret) = match (shown, basic) {
            (ClientAuth::Basic, Some((id, secret))) => {
                if params.get("client_secret").is_some() {
                    return Err(OAuthErrorResponse::invalid_request("the client shows its secret twice"));
                }
                // RFC 6749 section 2.3.1: both are form-encoded before they become user name and password.
                let (id, secret) = (form_decoded(&id), form_decoded(&secret));
                if params.get("client_id").is_some_and(|other| other != id) {
                    return Err(OAuthErrorResponse::invalid_request("the header and the body name different clients"));
                }
                (id, secret)
            }
            (ClientAuth::Basic, None) if params.get("client_secret").is_some() => {
                return Err(OAuthErrorResponse::invalid_client("the secret belongs in the Authorization header"));
            }
            (ClientAuth::Post, Some(_)) => {
                return Err(OAuthErrorResponse::invalid_client("the secret belongs in the body"));
            }
            (ClientAuth::PrivateKeyJwt, _) => {
                (self.verify_client_assertion(visit, params, state)?, CLIENT_KEY.to_owned())
            }
            // What certificate the connection showed cannot be seen on plain HTTP: the client is believed.
            (ClientAuth::TlsClientAuth, _) => {
                (params.get("client_id").unwrap_or_default().to_owned(), CLIENT_KEY.to_owned())
            }
            (ClientAuth::None, _) => (params.get("client_id").unwrap_or_default().to_owned(), String::new()),
            (ClientAuth::Basic | ClientAuth::Post, None) => {
                let value = |name: &str| params.get(name).unwrap_or_default().to_owned();
                (value("client_id"), value("client_secret"))
            }
        };
        if id.is_empty() || id.len() > MAX_CLIENT_ID_LENGTH {
            return Err(OAuthErrorResponse::invalid_client("unknown client"));
        }
        Ok(AuthenticatedClient { id, public: secret.is_empty() })
    }

    /// The headers that the file says every token request carries.
    pub(super) fn check_token_headers(
        &self,
        oauth2: &OAuth2,
        request: &SandboxRequest,
    ) -> Result<(), OAuthErrorResponse> {
        let accept = |name: &str| name.eq_ignore_ascii_case("accept");
        match oauth2.token_headers.keys().find(|name| !accept(name) && request.header(name).is_none()) {
            Some(name) => Err(OAuthErrorResponse::invalid_request(&format!("the header {name} is missing"))),
            None => Ok(()),
        }
    }
}

/// Parameters that the file declares with a fixed value and the request lacks.
pub(super) fn check_constants(
    declared: &indexmap::IndexMap<String, Template>,
    params: &RequestParams,
) -> Result<(), OAuthErrorResponse> {
    let fixed = declared.iter().filter(|(_, template)| template.placeholders().next().is_none());
    for (name, template) in fixed {
        let value = template.fill(&crate::connector::Values::default()).unwrap_or_default();
        if params.get(name).unwrap_or_default() != value {
            return Err(OAuthErrorResponse::invalid_request(&format!("{name} is not {value}")));
        }
    }
    Ok(())
}

fn form_decoded(text: &str) -> String {
    let pair = format!("v={}", text.replace('&', "%26"));
    form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}
