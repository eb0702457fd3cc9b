//! Who asks at the token endpoint: the client, shown in the one way that the connector declares.

use url::form_urlencoded;

use super::answer::Refusal;
use super::message::{Params, Request};
use super::vendor::{Vendor, Visit};
use crate::connector::{BodyFormat, ClientAuth, OAuth2, Template};

/// A longer id is no client's; it would make every token longer than a header may be.
const LONGEST_CLIENT_ID: usize = 512;

/// A client that has shown who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) id: String,
    /// Whether it showed no secret.
    pub(super) public: bool,
}

impl Client {
    /// # Errors
    /// `invalid_client` for a client that showed no secret.
    pub(super) fn confidential(self) -> Result<Self, Refusal> {
        if self.public { Err(Refusal::client("this client shows no secret")) } else { Ok(self) }
    }
}

impl Vendor {
    /// The parameters of a request to the token endpoint and its like.
    pub(super) fn body(&self, visit: &Visit<'_>, format: BodyFormat) -> Result<Params, Refusal> {
        let content_type = visit.request.header("content-type").unwrap_or_default().to_ascii_lowercase();
        let params = match format {
            BodyFormat::Form if content_type.starts_with("application/x-www-form-urlencoded") => visit.request.form(),
            BodyFormat::Form if visit.request.body.is_empty() => Params::default(),
            BodyFormat::Form => return Err(Refusal::request("the body is a form, and its Content-Type says so")),
            BodyFormat::Json if content_type.starts_with("application/json") => {
                visit.request.json().ok_or_else(|| Refusal::request("the body is a JSON object"))?
            }
            BodyFormat::Json => return Err(Refusal::request("the body is JSON, and its Content-Type says so")),
        };
        match params.duplicate() {
            Some(name) => Err(Refusal::request(&format!("{name} comes more than once"))),
            None => Ok(params),
        }
    }

    /// RFC 6749 section 2.3: one way of showing the secret, and the declared one.
    pub(super) fn client(&self, request: &Request, params: &Params, shown: ClientAuth) -> Result<Client, Refusal> {
        let basic = request.basic();
        if request.header("authorization").is_some() && basic.is_none() {
            return Err(Refusal::client("the Authorization header is not that of a client"));
        }
        let (id, secret) = match (shown, basic) {
            (ClientAuth::Basic, Some((id, secret))) => {
                if params.get("client_secret").is_some() {
                    return Err(Refusal::request("the client shows its secret twice"));
                }
                // RFC 6749 section 2.3.1: both are form-encoded before they become user name and password.
                let (id, secret) = (form_decoded(&id), form_decoded(&secret));
                if params.get("client_id").is_some_and(|other| other != id) {
                    return Err(Refusal::request("the header and the body name different clients"));
                }
                (id, secret)
            }
            (ClientAuth::Basic, None) if params.get("client_secret").is_some() => {
                return Err(Refusal::client("the secret belongs in the Authorization header"));
            }
            (ClientAuth::Post, Some(_)) => return Err(Refusal::client("the secret belongs in the body")),
            (ClientAuth::None, _) => (params.get("client_id").unwrap_or_default().to_owned(), String::new()),
            (ClientAuth::Basic | ClientAuth::Post, None) => {
                let value = |name: &str| params.get(name).unwrap_or_default().to_owned();
                (value("client_id"), value("client_secret"))
            }
        };
        if id.is_empty() || id.len() > LONGEST_CLIENT_ID {
            return Err(Refusal::client("there is no client of this id"));
        }
        Ok(Client { id, public: secret.is_empty() })
    }

    /// The headers that the file says every token request carries.
    pub(super) fn check_token_headers(&self, oauth2: &OAuth2, request: &Request) -> Result<(), Refusal> {
        let accept = |name: &str| name.eq_ignore_ascii_case("accept");
        match oauth2.token_headers.keys().find(|name| !accept(name) && request.header(name).is_none()) {
            Some(name) => Err(Refusal::request(&format!("the header {name} is missing"))),
            None => Ok(()),
        }
    }
}

/// Parameters that the file declares with a fixed value and the request lacks.
pub(super) fn check_fixed(declared: &indexmap::IndexMap<String, Template>, params: &Params) -> Result<(), Refusal> {
    let fixed = declared.iter().filter(|(_, template)| template.names().next().is_none());
    for (name, template) in fixed {
        let value = template.fill(&crate::connector::Values::default()).unwrap_or_default();
        if params.get(name).unwrap_or_default() != value {
            return Err(Refusal::request(&format!("{name} is not {value}")));
        }
    }
    Ok(())
}

fn form_decoded(text: &str) -> String {
    let pair = format!("v={}", text.replace('&', "%26"));
    form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}
