//! Checks that an API request carries a valid credential, as the connector declares.

use super::account::{SandboxAccount, account_fields, key_owner};
use super::fault::FaultKind;
use super::pattern::{PathParams, TemplatePattern};
use super::state::{SandboxState, TokenStatus};
use super::token::{TokenClaims, TokenKind};
use super::vendor_emulator::{RequestContext, VendorEmulator};
use crate::connector::{BasicCredentials, CredentialPlacement, ErrorClass, Template, Values};

/// Why a credential is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CredentialError {
    Missing,
    Invalid,
    Expired,
    Revoked,
}

impl CredentialError {
    /// The word by which vendors' error codes name it.
    fn error_hint(self) -> &'static str {
        match self {
            Self::Missing => "not_authed",
            Self::Invalid => "invalid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// A credential that is accepted.
pub(super) enum AcceptedCredential {
    Token(TokenClaims),
    ApiKey(SandboxAccount),
}

impl AcceptedCredential {
    /// The account that it belongs to.
    pub(super) fn account(&self) -> &SandboxAccount {
        match self {
            Self::Token(claims) => &claims.account,
            Self::ApiKey(account) => account,
        }
    }
}

impl VendorEmulator {
    pub(super) fn credential(
        &self,
        visit: &RequestContext<'_>,
        state: &mut SandboxState,
    ) -> Result<AcceptedCredential, CredentialError> {
        let presented = self.presented_values(visit)?;
        let values: Vec<(&str, &str)> =
            presented.iter().flatten().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let found = if self.is_key() { self.verify_key(&values)? } else { self.verify_tokens(&values)? };
        match (found.ok_or(CredentialError::Missing)?, visit.fault) {
            (AcceptedCredential::ApiKey(_), Some(FaultKind::ExpiredGrant)) => Err(CredentialError::Expired),
            (AcceptedCredential::ApiKey(_), Some(FaultKind::RevokedGrant)) => Err(CredentialError::Revoked),
            (key @ AcceptedCredential::ApiKey(_), _) => Ok(key),
            (AcceptedCredential::Token(claims), trouble) => {
                match trouble {
                    Some(FaultKind::RevokedGrant) => state.revoke(&claims.grant),
                    Some(FaultKind::ExpiredGrant) => state.grant_mut(&claims.grant).expired_serial = state.serial,
                    _ => {}
                }
                match state.token_status(&claims, visit.now) {
                    TokenStatus::Valid => Ok(AcceptedCredential::Token(claims)),
                    TokenStatus::Expired => Err(CredentialError::Expired),
                    TokenStatus::Revoked => Err(CredentialError::Revoked),
                }
            }
        }
    }

    /// A header's or parameter's name, which may be a template over what the user was asked for.
    fn fill_name(&self, name: &str) -> String {
        let mut values = Values::default();
        values.extend(&self.params);
        Template::parse(name).and_then(|name| name.fill(&values)).unwrap_or_else(|_| name.to_owned())
    }

    /// What the request gives to each place that the connector declares.
    fn presented_values(&self, visit: &RequestContext<'_>) -> Result<Vec<PathParams>, CredentialError> {
        let mut shown = vec![visit.path_params.clone()];
        let Some(send) = &self.auth.send else {
            // Where the token is part of the path, no header repeats it.
            let in_path = visit.path_params.keys().any(|name| self.is_credential(name));
            if !in_path {
                shown.push(bearer(visit)?);
            }
            return Ok(shown);
        };
        self.read_placement(send, visit, &mut shown)?;
        Ok(shown)
    }

    fn read_placement(
        &self,
        send: &CredentialPlacement,
        visit: &RequestContext<'_>,
        shown: &mut Vec<PathParams>,
    ) -> Result<(), CredentialError> {
        let read = |template: &Template, text: &str| {
            TemplatePattern::of(template).match_text(text).ok_or(CredentialError::Invalid)
        };
        for (name, template) in &send.headers {
            let name = &self.fill_name(name);
            shown.push(read(template, visit.request.header(name).ok_or(CredentialError::Missing)?)?);
        }
        let query = visit.request.query_params();
        for (name, template) in &send.query {
            let name = &self.fill_name(name);
            shown.push(read(template, query.get(name).ok_or(CredentialError::Missing)?)?);
        }
        if let Some(BasicCredentials { username, password }) = &send.basic {
            let (user, secret) = visit.request.basic().ok_or(CredentialError::Missing)?;
            shown.push(read(username, &user)?);
            shown.push(read(password, &secret)?);
        }
        Ok(())
    }

    fn is_key(&self) -> bool {
        self.auth.is_key()
    }

    fn is_credential(&self, name: &str) -> bool {
        name == "access_token" || (self.is_key() && self.auth.fields.contains_key(name)) || self.is_user_token(name)
    }

    fn is_user_token(&self, name: &str) -> bool {
        self.auth.oauth2.as_ref().is_some_and(|oauth2| oauth2.answer.secrets.contains_key(name))
    }

    /// Judges the parts of a key, all of which must be those of one account; absent where there are none.
    fn verify_key(&self, values: &[(&str, &str)]) -> Result<Option<AcceptedCredential>, CredentialError> {
        let field = |name| if name == "access_token" { self.auth.token_field().unwrap_or(name) } else { name };
        let shown: Vec<(&str, &str)> = values
            .iter()
            .map(|(name, value)| (field(name), *value))
            .filter(|(name, _)| self.fields.contains_key(*name))
            .collect();
        if shown.is_empty() {
            return Ok(None);
        }
        let account = shown.iter().find_map(|(_, value)| key_owner(value)).unwrap_or_else(|| self.account.clone());
        let others = (account != self.account)
            .then(|| account_fields(&self.connector, &self.auth, &account, self.seed.expose()));
        let right = others.as_ref().unwrap_or(&self.fields);
        let is_right = shown.iter().all(|(name, value)| right.get(*name).is_some_and(|right| right.expose() == value));
        if is_right { Ok(Some(AcceptedCredential::ApiKey(account))) } else { Err(CredentialError::Invalid) }
    }

    /// Judges the tokens that a request shows, the last of which counts; absent where there are none.
    fn verify_tokens(&self, values: &[(&str, &str)]) -> Result<Option<AcceptedCredential>, CredentialError> {
        let mut found = None;
        for (name, value) in values {
            let kind = match *name {
                "access_token" => TokenKind::Access,
                name if self.is_user_token(name) => TokenKind::User,
                _ => continue,
            };
            let claims = self.signer.verify(kind, value).ok_or(CredentialError::Invalid)?;
            found = Some(AcceptedCredential::Token(claims));
        }
        Ok(found)
    }

    /// The vendor's answer to a credential that it does not accept.
    pub(super) fn reject_credential(&self, why: CredentialError) -> super::SandboxResponse {
        let success = self.success();
        let reply = self.error_response(ErrorClass::Auth, 401, why.error_hint(), &success);
        // RFC 6750 section 3.
        if reply.status == 401 {
            reply.with_header("www-authenticate", "Bearer error=\"invalid_token\"")
        } else {
            reply
        }
    }
}

/// The token of RFC 6750 section 2.1.
fn bearer(visit: &RequestContext<'_>) -> Result<PathParams, CredentialError> {
    let header = visit.request.header("authorization").ok_or(CredentialError::Missing)?;
    let (scheme, token) = header.split_once(' ').ok_or(CredentialError::Invalid)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(CredentialError::Invalid);
    }
    Ok(PathParams::from([("access_token".to_owned(), token.to_owned())]))
}
