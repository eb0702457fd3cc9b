//! The authorization page: checks the request as the connector's file describes it, asks for consent, redirects.
//!
//! What is wrong with the redirect URI or the client is said on a page; everything else goes back to the client with the
//! `state` that it sent (RFC 6749 section 4.1.2.1).

use url::{Host, Url};

use super::html::{self, DECISION_PARAM, SECOND_ACCOUNT_PARAM};
use super::message::{RequestParams, SandboxResponse};
use super::state::SandboxState;
use super::token::{TokenClaims, TokenKind, digest};
use super::token_endpoint::{split_by, split_scopes};
use super::vendor_emulator::{RequestContext, VendorEmulator};
use crate::connector::{ImplicitFlow, LoopbackHost, OAuth2, Pkce, Redirect, ScopeRule};

/// Seconds in which a code must be exchanged (RFC 6749 section 4.1.2 recommends ten minutes at most).
const CODE_LIFETIME_SECS: i64 = 600;

/// The URL that the Allow button of the authorization page leads to.
pub fn approve_url(authorize_url: &Url) -> Url {
    let pairs: Vec<(String, String)> = authorize_url.query_pairs().into_owned().collect();
    let mut url = authorize_url.clone();
    let kept = pairs.iter().filter(|(name, _)| name != DECISION_PARAM);
    url.query_pairs_mut().clear().extend_pairs(kept).append_pair(DECISION_PARAM, "allow");
    url
}

/// Why the request is not fulfilled.
enum AuthorizationError {
    /// There is nowhere to send it.
    ErrorPage(String),
    /// To be said to the client: a code and a description.
    Redirect(&'static str, String),
}

struct AuthorizationRequest {
    client: String,
    scopes: Vec<String>,
    /// Scopes of further lists.
    additional_scopes: Vec<String>,
    code_challenge: Option<String>,
}

impl VendorEmulator {
    pub(super) fn authorize(&self, visit: &RequestContext<'_>, state: &mut SandboxState) -> SandboxResponse {
        let params = visit.request.query_params();
        let (redirect_param, rule) = match (&self.auth.oauth2, &self.auth.fragment) {
            (Some(oauth2), _) => ("redirect_uri", &oauth2.redirect),
            (None, Some(fragment)) => (fragment.redirect_param.as_str(), &fragment.redirect),
            (None, None) => return html::message(&self.connector.name, 404, "Not here", "Page not found."),
        };
        let redirect = match check_redirect_uri(&params, redirect_param, rule) {
            Ok(redirect) => redirect,
            Err(why) => return html::message(&self.connector.name, 400, "This request is refused", &why),
        };
        let asked = match (&self.auth.oauth2, &self.auth.fragment) {
            (Some(oauth2), _) => parse_request(oauth2, &params),
            (_, Some(fragment)) => parse_implicit_request(fragment, &params),
            (None, None) => Err(AuthorizationError::ErrorPage("Page not found.".to_owned())),
        };
        let asked =
            asked.and_then(|asked| match self.unknown_scope(asked.scopes.iter().chain(&asked.additional_scopes)) {
                Some(scope) => Err(AuthorizationError::Redirect("invalid_scope", format!("unknown scope {scope:?}"))),
                None => Ok(asked),
            });
        if !self.is_registered(&params) {
            let why = "redirect_uri is not registered for this client.";
            return html::message(&self.connector.name, 400, "This request is refused", why);
        }
        let asked = asked.and_then(|asked| match self.check_resource(&params) {
            Ok(()) => Ok(asked),
            Err(_) => Err(AuthorizationError::Redirect("invalid_target", "unknown resource".to_owned())),
        });
        match asked {
            Err(AuthorizationError::ErrorPage(why)) => {
                html::message(&self.connector.name, 400, "This request is refused", &why)
            }
            Err(AuthorizationError::Redirect(code, why)) => {
                self.redirect_back(&redirect, &params, &error_params(code, &why))
            }
            Ok(asked) => match params.get(DECISION_PARAM) {
                Some("allow") => self.grant_access(visit, &params, redirect_param, &redirect, &asked, state),
                Some(_) => self.redirect_back(
                    &redirect,
                    &params,
                    &error_params("access_denied", "access was denied on the consent page"),
                ),
                None => self.consent_page(&params, &redirect, &asked),
            },
        }
    }

    fn consent_page(&self, params: &RequestParams, redirect: &Url, asked: &AuthorizationRequest) -> SandboxResponse {
        let has_follow_up = self.auth.oauth2.as_ref().is_some_and(|oauth2| oauth2.follow_up.is_some());
        let second = self.account.second().name();
        html::consent(&html::ConsentPage {
            service: &self.connector.name,
            client: &asked.client,
            account: &self.account.label(&self.connector, &self.auth),
            second_account: has_follow_up.then_some(&second),
            scopes: self.purposes(&asked.scopes),
            additional_scopes: self.purposes(&asked.additional_scopes),
            hidden_fields: params
                .iter()
                .filter(|(name, _)| ![DECISION_PARAM, SECOND_ACCOUNT_PARAM].contains(name))
                .collect(),
            redirect_uri: Some(redirect),
        })
    }

    /// The first scope that the vendor does not have. A file that lists none, or that fits any server, does not say.
    pub(super) fn unknown_scope<'s>(&self, asked: impl IntoIterator<Item = &'s String>) -> Option<&'s String> {
        let known = &self.connector.scopes;
        let is_open = known.is_empty() || self.auth.oauth2.as_ref().is_some_and(|oauth2| oauth2.issuer.is_some());
        let rules = self
            .auth
            .oauth2
            .iter()
            .map(|oauth2| &oauth2.scope)
            .chain(self.auth.fragment.iter().map(|flow| &flow.scope));
        let rules: Vec<&ScopeRule> = rules.collect();
        let is_listed = |scope: &String| {
            known.contains_key(scope)
                || rules.iter().any(|rule| {
                    let further = rule.also.values().flatten();
                    rule.default.iter().chain(&rule.always).chain(further).any(|listed| listed == scope)
                })
        };
        asked.into_iter().find(|scope| !is_open && !is_listed(scope))
    }

    /// Each scope with what the file says it is for.
    pub(super) fn purposes<'s>(&'s self, scopes: &'s [String]) -> Vec<(&'s str, &'s str)> {
        let purpose = |scope: &String| self.connector.scopes.get(scope).map_or("", |scope| scope.purpose());
        scopes.iter().map(|scope| (scope.as_str(), purpose(scope))).collect()
    }

    fn grant_access(
        &self,
        visit: &RequestContext<'_>,
        params: &RequestParams,
        redirect_param: &str,
        redirect: &Url,
        asked: &AuthorizationRequest,
        state: &mut SandboxState,
    ) -> SandboxResponse {
        let grant = self.new_grant(state);
        let mut claims = TokenClaims {
            kind: TokenKind::Code,
            grant,
            serial: state.next_serial(),
            client: asked.client.clone(),
            account: self.account.clone(),
            public: false,
            scopes: asked.scopes.clone(),
            also: !asked.additional_scopes.is_empty(),
            several: params.get(SECOND_ACCOUNT_PARAM).is_some(),
            issued: visit.now,
            expires: Some(visit.now.saturating_add(CODE_LIFETIME_SECS)),
            generation: 0,
            redirect: params.get(redirect_param).map(digest),
            challenge: asked.code_challenge.clone(),
        };
        if let Some(fragment) = &self.auth.fragment {
            claims = TokenClaims { kind: TokenKind::Access, expires: None, redirect: None, ..claims };
            return self.redirect_back(redirect, params, &[(&fragment.token, self.signer.sign(&claims))]);
        }
        let mut values = vec![("code", self.signer.sign(&claims))];
        for (name, parameter) in self.auth.oauth2.iter().flat_map(|oauth2| &oauth2.callback_keep) {
            values.push((parameter, self.account.metadata_value(&self.connector, &self.auth, name)));
        }
        self.redirect_back(redirect, params, &values)
    }

    /// Redirects with the values, the request's `state`, and who it is that answers (RFC 9207).
    fn redirect_back(&self, redirect: &Url, params: &RequestParams, values: &[(&str, String)]) -> SandboxResponse {
        let issuer = self.issuer();
        let mut pairs: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
        pairs.extend(params.get("state").map(|state| ("state", state)));
        pairs.extend(issuer.as_deref().map(|issuer| ("iss", issuer)));
        let mut to = redirect.clone();
        if self.auth.fragment.is_some() {
            let fragment = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
            to.set_fragment(Some(&fragment));
        } else {
            to.query_pairs_mut().extend_pairs(pairs);
        }
        SandboxResponse::redirect(&to)
    }
}

fn error_params(code: &'static str, description: &str) -> [(&'static str, String); 2] {
    [("error", code.to_owned()), ("error_description", format!("sandbox: {description}"))]
}

/// The redirect URI, where it is one that a vendor registers for a program of this machine (RFC 8252 section 7): https, or
/// http to loopback by the name that the vendor takes; without user information or a fragment.
fn check_redirect_uri(params: &RequestParams, name: &str, rule: &Redirect) -> Result<Url, String> {
    if params.iter().filter(|(key, _)| *key == name).count() > 1 {
        return Err(format!("{name} appears more than once."));
    }
    let text = params.get(name).ok_or_else(|| format!("{name} is missing."))?;
    let url = Url::parse(text).map_err(|_| format!("{name} is not a URL."))?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(format!("{name} holds a user name or a fragment."));
    }
    let is_loopback = match (url.host(), rule.host) {
        (Some(Host::Domain(name)), _) => name == "localhost",
        (Some(Host::Ipv4(address)), LoopbackHost::Address) => address.is_loopback(),
        (Some(Host::Ipv6(address)), LoopbackHost::Address) => address.is_loopback(),
        _ => false,
    };
    match url.scheme() {
        "https" if url.has_host() => Ok(url),
        "http" if is_loopback => Ok(url),
        "http" if rule.host == LoopbackHost::Name => Err(format!("{name} is neither https nor http to localhost.")),
        _ => Err(format!("{name} is neither https nor http to this machine.")),
    }
}

fn parse_request(oauth2: &OAuth2, params: &RequestParams) -> Result<AuthorizationRequest, AuthorizationError> {
    let client =
        params.get("client_id").ok_or_else(|| AuthorizationError::ErrorPage("client_id is missing.".to_owned()))?;
    if let Some(name) = params.duplicate() {
        return Err(AuthorizationError::Redirect("invalid_request", format!("{name} appears more than once")));
    }
    match params.get("response_type") {
        Some("code") => {}
        Some(_) => {
            return Err(AuthorizationError::Redirect(
                "unsupported_response_type",
                "response_type is not code".to_owned(),
            ));
        }
        None => return Err(AuthorizationError::Redirect("invalid_request", "response_type is missing".to_owned())),
    }
    let challenge = match oauth2.pkce {
        Pkce::Never => None,
        Pkce::Always | Pkce::Advertised | Pkce::PublicOnly => code_challenge(params)?,
    };
    if matches!(oauth2.pkce, Pkce::Always | Pkce::Advertised) && challenge.is_none() {
        return Err(AuthorizationError::Redirect("invalid_request", "code_challenge is missing (RFC 7636)".to_owned()));
    }
    Ok(AuthorizationRequest {
        client: client.to_owned(),
        scopes: scopes(&oauth2.scope, params),
        additional_scopes: oauth2
            .scope
            .also
            .keys()
            .flat_map(|list| params.get(list).map(|text| split_scopes(oauth2, text)))
            .flatten()
            .collect(),
        code_challenge: challenge,
    })
}

/// RFC 7636 section 4.3, with S256 only.
fn code_challenge(params: &RequestParams) -> Result<Option<String>, AuthorizationError> {
    let Some(challenge) = params.get("code_challenge") else { return Ok(None) };
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if params.get("code_challenge_method") != Some("S256") {
        return Err(AuthorizationError::Redirect("invalid_request", "code_challenge_method is not S256".to_owned()));
    }
    if challenge.len() != 43 || !challenge.chars().all(valid) {
        return Err(AuthorizationError::Redirect(
            "invalid_request",
            "code_challenge is not a SHA-256 in base64url".to_owned(),
        ));
    }
    Ok(Some(challenge.to_owned()))
}

fn parse_implicit_request(
    fragment: &ImplicitFlow,
    params: &RequestParams,
) -> Result<AuthorizationRequest, AuthorizationError> {
    if let Some(name) = fragment.authorize_params.keys().find(|name| params.get(name).is_none()) {
        return Err(AuthorizationError::ErrorPage(format!("{name} is missing.")));
    }
    if let Some(name) = params.duplicate() {
        return Err(AuthorizationError::ErrorPage(format!("{name} appears more than once.")));
    }
    let names_client = |template: &crate::connector::Template| template.placeholders().any(|name| name == "client_id");
    let client = fragment.authorize_params.iter().find(|(_, template)| names_client(template));
    Ok(AuthorizationRequest {
        client: client.and_then(|(name, _)| params.get(name)).unwrap_or("sandbox").to_owned(),
        scopes: scopes(&fragment.scope, params),
        additional_scopes: Vec::new(),
        code_challenge: None,
    })
}

fn scopes(rule: &ScopeRule, params: &RequestParams) -> Vec<String> {
    params.get(&rule.param).map(|text| split_by(&rule.separator, text)).unwrap_or_default()
}
