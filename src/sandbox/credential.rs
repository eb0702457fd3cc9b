//! Whether a call of the API shows a credential as the connector says it is sent, and a good one.

use super::fault::FaultKind;
use super::pattern::{Captures, Pattern};
use super::signed::{Claims, TokenKind};
use super::state::{Standing, State};
use super::vendor::{Vendor, Visit};
use crate::connector::{Basic, ErrorClass, Send, Template, Values};

/// Why a credential is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unaccepted {
    Missing,
    Unknown,
    Expired,
    Revoked,
}

impl Unaccepted {
    /// The word by which vendors' error codes name it.
    fn word(self) -> &'static str {
        match self {
            Self::Missing => "not_authed",
            Self::Unknown => "invalid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// A credential that is accepted.
pub(super) enum Credential {
    Token(Claims),
    Key,
}

impl Vendor {
    pub(super) fn credential(&self, visit: &Visit<'_>, state: &mut State) -> Result<Credential, Unaccepted> {
        let mut found = None;
        for captures in self.shown(visit)? {
            for (name, value) in &captures {
                if let Some(credential) = self.judge(name, value)? {
                    found = Some(credential);
                }
            }
        }
        match (found.ok_or(Unaccepted::Missing)?, visit.trouble) {
            (Credential::Key, Some(FaultKind::ExpiredGrant)) => Err(Unaccepted::Expired),
            (Credential::Key, Some(FaultKind::RevokedGrant)) => Err(Unaccepted::Revoked),
            (Credential::Key, _) => Ok(Credential::Key),
            (Credential::Token(claims), trouble) => {
                match trouble {
                    Some(FaultKind::RevokedGrant) => state.revoke(&claims.grant),
                    Some(FaultKind::ExpiredGrant) => state.record(&claims.grant).expired_serial = state.serial,
                    _ => {}
                }
                match state.standing(&claims, visit.now) {
                    Standing::Good => Ok(Credential::Token(claims)),
                    Standing::Expired => Err(Unaccepted::Expired),
                    Standing::Revoked => Err(Unaccepted::Revoked),
                }
            }
        }
    }

    /// A header's or parameter's name, which may be a template over what the user was asked for.
    fn named(&self, name: &str) -> String {
        let mut values = Values::default();
        values.extend(&self.params);
        Template::parse(name).and_then(|name| name.fill(&values)).unwrap_or_else(|_| name.to_owned())
    }

    /// What the request gives to each place that the connector declares.
    fn shown(&self, visit: &Visit<'_>) -> Result<Vec<Captures>, Unaccepted> {
        let mut shown = vec![visit.captures.clone()];
        let Some(send) = &self.auth.send else {
            // Where the token is part of the path, no header repeats it.
            let in_path = visit.captures.keys().any(|name| self.is_credential(name));
            if !in_path {
                shown.push(bearer(visit)?);
            }
            return Ok(shown);
        };
        self.sent(send, visit, &mut shown)?;
        Ok(shown)
    }

    fn sent(&self, send: &Send, visit: &Visit<'_>, shown: &mut Vec<Captures>) -> Result<(), Unaccepted> {
        let read = |template: &Template, text: &str| Pattern::of(template).read(text).ok_or(Unaccepted::Unknown);
        for (name, template) in &send.headers {
            let name = &self.named(name);
            shown.push(read(template, visit.request.header(name).ok_or(Unaccepted::Missing)?)?);
        }
        let query = visit.request.query_params();
        for (name, template) in &send.query {
            let name = &self.named(name);
            shown.push(read(template, query.get(name).ok_or(Unaccepted::Missing)?)?);
        }
        if let Some(Basic { username, password }) = &send.basic {
            let (user, secret) = visit.request.basic().ok_or(Unaccepted::Missing)?;
            shown.push(read(username, &user)?);
            shown.push(read(password, &secret)?);
        }
        Ok(())
    }

    fn is_key(&self) -> bool {
        !self.auth.fields.is_empty()
    }

    fn is_credential(&self, name: &str) -> bool {
        name == "access_token" || self.auth.fields.contains_key(name) || self.is_user_token(name)
    }

    fn is_user_token(&self, name: &str) -> bool {
        self.auth.oauth2.as_ref().is_some_and(|oauth2| oauth2.answer.secrets.contains_key(name))
    }

    /// Judges one value that a request shows; absent where it is no credential.
    fn judge(&self, name: &str, value: &str) -> Result<Option<Credential>, Unaccepted> {
        if self.is_key() {
            let field = if name == "access_token" { self.auth.token_field().unwrap_or(name) } else { name };
            return match self.fields.get(field) {
                Some(right) if right.expose() == value => Ok(Some(Credential::Key)),
                Some(_) => Err(Unaccepted::Unknown),
                None => Ok(None),
            };
        }
        let kind = match name {
            "access_token" => TokenKind::Access,
            name if self.is_user_token(name) => TokenKind::User,
            _ => return Ok(None),
        };
        self.signer.open(kind, value).map(|claims| Some(Credential::Token(claims))).ok_or(Unaccepted::Unknown)
    }

    /// The vendor's answer to a credential that it does not accept.
    pub(super) fn unaccepted(&self, why: Unaccepted) -> super::Reply {
        let success = self.success();
        let reply = self.by_rule(ErrorClass::Auth, 401, why.word(), &success);
        // RFC 6750 section 3.
        if reply.status == 401 {
            reply.with_header("www-authenticate", "Bearer error=\"invalid_token\"")
        } else {
            reply
        }
    }
}

/// The token of RFC 6750 section 2.1.
fn bearer(visit: &Visit<'_>) -> Result<Captures, Unaccepted> {
    let header = visit.request.header("authorization").ok_or(Unaccepted::Missing)?;
    let (scheme, token) = header.split_once(' ').ok_or(Unaccepted::Unknown)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Unaccepted::Unknown);
    }
    Ok(Captures::from([("access_token".to_owned(), token.to_owned())]))
}
