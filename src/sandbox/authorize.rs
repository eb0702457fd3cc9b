//! The authorization page: checks the request as the connector's file describes it, asks for consent, redirects.
//!
//! What is wrong with the redirect URI or the client is said on a page; everything else goes back to the client with the
//! `state` that it sent (RFC 6749 section 4.1.2.1).

use url::{Host, Url};

use super::account::Account;
use super::exchange::{split, split_by};
use super::message::{Params, Reply};
use super::page::{self, DECISION, SECOND_ACCOUNT};
use super::signed::{Claims, TokenKind, digest};
use super::state::State;
use super::vendor::{Vendor, Visit};
use crate::connector::{Fragment, LoopbackHost, OAuth2, Pkce, Redirect, ScopeRule};

/// Seconds in which a code must be exchanged (RFC 6749 section 4.1.2 recommends ten minutes at most).
const CODE_LIFETIME_SECS: i64 = 600;

/// The URL that the Allow button of the authorization page leads to.
pub fn approve_url(authorize_url: &Url) -> Url {
    let pairs: Vec<(String, String)> = authorize_url.query_pairs().into_owned().collect();
    let mut url = authorize_url.clone();
    let kept = pairs.iter().filter(|(name, _)| name != DECISION);
    url.query_pairs_mut().clear().extend_pairs(kept).append_pair(DECISION, "allow");
    url
}

/// Why the request is not fulfilled.
enum Wrong {
    /// There is nowhere to send it.
    Here(String),
    /// To be said to the client: a code and a description.
    Back(&'static str, String),
}

struct Asked {
    client: String,
    scopes: Vec<String>,
    /// Scopes of further lists.
    also: Vec<String>,
    challenge: Option<String>,
}

impl Vendor {
    pub(super) fn authorize(&self, visit: &Visit<'_>, state: &mut State) -> Reply {
        let params = visit.request.query_params();
        let (redirect_param, rule) = match (&self.auth.oauth2, &self.auth.fragment) {
            (Some(oauth2), _) => ("redirect_uri", &oauth2.redirect),
            (None, Some(fragment)) => (fragment.redirect_param.as_str(), &fragment.redirect),
            (None, None) => return page::message(&self.connector.name, 404, "Not here", "There is no such page."),
        };
        let redirect = match trusted_redirect(&params, redirect_param, rule) {
            Ok(redirect) => redirect,
            Err(why) => return page::message(&self.connector.name, 400, "This request is refused", &why),
        };
        let asked = match (&self.auth.oauth2, &self.auth.fragment) {
            (Some(oauth2), _) => asked(oauth2, &params),
            (_, Some(fragment)) => asked_by_fragment(fragment, &params),
            (None, None) => Err(Wrong::Here("There is no such page.".to_owned())),
        };
        match asked {
            Err(Wrong::Here(why)) => page::message(&self.connector.name, 400, "This request is refused", &why),
            Err(Wrong::Back(code, why)) => self.back(&redirect, &params, &refusal(code, &why)),
            Ok(asked) => match params.get(DECISION) {
                Some("allow") => self.allowed(visit, &params, redirect_param, &redirect, &asked, state),
                Some(_) => self.back(&redirect, &params, &refusal("access_denied", "the person denied it")),
                None => self.ask(&params, &redirect, &asked),
            },
        }
    }

    fn ask(&self, params: &Params, redirect: &Url, asked: &Asked) -> Reply {
        let has_follow_up = self.auth.oauth2.as_ref().is_some_and(|oauth2| oauth2.follow_up.is_some());
        page::consent(&page::Consent {
            service: &self.connector.name,
            client: &asked.client,
            scopes: self.purposes(&asked.scopes),
            also: self.purposes(&asked.also),
            offers_second: has_follow_up,
            hidden: params.iter().filter(|(name, _)| ![DECISION, SECOND_ACCOUNT].contains(name)).collect(),
            returns_to: Some(redirect),
        })
    }

    /// Each scope with what the file says it is for.
    pub(super) fn purposes<'s>(&'s self, scopes: &'s [String]) -> Vec<(&'s str, &'s str)> {
        let purpose = |scope: &String| self.connector.scopes.get(scope).map_or("", |scope| scope.purpose());
        scopes.iter().map(|scope| (scope.as_str(), purpose(scope))).collect()
    }

    fn allowed(
        &self,
        visit: &Visit<'_>,
        params: &Params,
        redirect_param: &str,
        redirect: &Url,
        asked: &Asked,
        state: &mut State,
    ) -> Reply {
        let grant = self.new_grant(state);
        let mut claims = Claims {
            kind: TokenKind::Code,
            grant,
            serial: state.next_serial(),
            client: asked.client.clone(),
            public: false,
            scopes: asked.scopes.clone(),
            also: !asked.also.is_empty(),
            several: params.get(SECOND_ACCOUNT).is_some(),
            issued: visit.now,
            expires: Some(visit.now.saturating_add(CODE_LIFETIME_SECS)),
            generation: 0,
            redirect: params.get(redirect_param).map(digest),
            challenge: asked.challenge.clone(),
        };
        if let Some(fragment) = &self.auth.fragment {
            claims = Claims { kind: TokenKind::Access, expires: None, redirect: None, ..claims };
            return self.back(redirect, params, &[(&fragment.token, self.signer.seal(&claims))]);
        }
        let mut values = vec![("code", self.signer.seal(&claims))];
        for (name, parameter) in self.auth.oauth2.iter().flat_map(|oauth2| &oauth2.callback_keep) {
            values.push((parameter, Account::First.kept(&self.connector, &self.auth, name)));
        }
        self.back(redirect, params, &values)
    }

    /// Redirects with the values, the request's `state`, and who it is that answers (RFC 9207).
    fn back(&self, redirect: &Url, params: &Params, values: &[(&str, String)]) -> Reply {
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
        Reply::redirect(&to)
    }
}

fn refusal(code: &'static str, description: &str) -> [(&'static str, String); 2] {
    [("error", code.to_owned()), ("error_description", format!("sandbox: {description}"))]
}

/// The redirect URI, where it is one that a vendor registers for a program of this machine (RFC 8252 section 7): https, or
/// http to loopback by the name that the vendor takes; without user information or a fragment.
fn trusted_redirect(params: &Params, name: &str, rule: &Redirect) -> Result<Url, String> {
    if params.iter().filter(|(key, _)| *key == name).count() > 1 {
        return Err(format!("{name} comes more than once."));
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

fn asked(oauth2: &OAuth2, params: &Params) -> Result<Asked, Wrong> {
    let client = params.get("client_id").ok_or_else(|| Wrong::Here("client_id is missing.".to_owned()))?;
    if let Some(name) = params.duplicate() {
        return Err(Wrong::Back("invalid_request", format!("{name} comes more than once")));
    }
    match params.get("response_type") {
        Some("code") => {}
        Some(_) => return Err(Wrong::Back("unsupported_response_type", "response_type is not code".to_owned())),
        None => return Err(Wrong::Back("invalid_request", "response_type is missing".to_owned())),
    }
    let challenge = match oauth2.pkce {
        Pkce::Never => None,
        Pkce::Always | Pkce::PublicOnly => challenge(params)?,
    };
    if oauth2.pkce == Pkce::Always && challenge.is_none() {
        return Err(Wrong::Back("invalid_request", "code_challenge is missing (RFC 7636)".to_owned()));
    }
    Ok(Asked {
        client: client.to_owned(),
        scopes: scopes(&oauth2.scope, params),
        also: oauth2
            .scope
            .also
            .keys()
            .flat_map(|list| params.get(list).map(|text| split(oauth2, text)))
            .flatten()
            .collect(),
        challenge,
    })
}

/// RFC 7636 section 4.3, with S256 only.
fn challenge(params: &Params) -> Result<Option<String>, Wrong> {
    let Some(challenge) = params.get("code_challenge") else { return Ok(None) };
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if params.get("code_challenge_method") != Some("S256") {
        return Err(Wrong::Back("invalid_request", "code_challenge_method is not S256".to_owned()));
    }
    if challenge.len() != 43 || !challenge.chars().all(valid) {
        return Err(Wrong::Back("invalid_request", "code_challenge is no SHA-256 in base64url".to_owned()));
    }
    Ok(Some(challenge.to_owned()))
}

fn asked_by_fragment(fragment: &Fragment, params: &Params) -> Result<Asked, Wrong> {
    if let Some(name) = fragment.authorize_params.keys().find(|name| params.get(name).is_none()) {
        return Err(Wrong::Here(format!("{name} is missing.")));
    }
    if let Some(name) = params.duplicate() {
        return Err(Wrong::Here(format!("{name} comes more than once.")));
    }
    let names_client = |template: &crate::connector::Template| template.names().any(|name| name == "client_id");
    let client = fragment.authorize_params.iter().find(|(_, template)| names_client(template));
    Ok(Asked {
        client: client.and_then(|(name, _)| params.get(name)).unwrap_or("sandbox").to_owned(),
        scopes: scopes(&fragment.scope, params),
        also: Vec::new(),
        challenge: None,
    })
}

fn scopes(rule: &ScopeRule, params: &Params) -> Vec<String> {
    params.get(&rule.param).map(|text| split_by(&rule.separator, text)).unwrap_or_default()
}
