//! The token endpoint: exchanges codes, refresh tokens, device codes and client credentials for tokens.
//!
//! A code works once; shown again it ends the grant that it gave (RFC 9700 section 2.1.1, RFC 6749 section 4.1.2). Where
//! refresh tokens rotate, one that was replaced ends the grant as well (RFC 9700 section 4.14.2).

use super::account::SandboxAccount;
use super::client_auth::{AuthenticatedClient, check_constants};
use super::fault::FaultKind;
use super::message::{RequestParams, SandboxResponse};
use super::response::{IssuedTokens, OAuthErrorResponse, REFRESH_LIFETIME_SECS};
use super::state::{SandboxState, TokenStatus};
use super::token::{TokenClaims, TokenKind, digest};
use super::vendor_emulator::{RequestContext, VendorEmulator};
use crate::connector::{ClientAuth, ClientSecretPolicy, GrantType, OAuth2, Pkce, RefreshTokenRotation};
use crate::hex;

/// The scope that asks for a refresh token, where a vendor knows it (OpenID Connect Core section 11).
const OFFLINE_ACCESS_SCOPE: &str = "offline_access";

/// What tokens are issued for.
pub(super) struct TokenIssuance<'a> {
    pub(super) grant: String,
    pub(super) client: &'a AuthenticatedClient,
    pub(super) scopes: Vec<String>,
    pub(super) account: SandboxAccount,
    pub(super) has_additional_scopes: bool,
    pub(super) has_second_account: bool,
    pub(super) generation: u32,
    pub(super) refresh_token: RefreshTokenIssuance,
}

/// What happens to the refresh token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum RefreshTokenIssuance {
    /// The first one of a grant.
    Initial,
    /// A new one, in answer to a refresh.
    Rotated,
    /// The one there is stays.
    Unchanged,
    /// The grant has none.
    None,
}

impl VendorEmulator {
    pub(super) fn token(
        &self,
        visit: &RequestContext<'_>,
        state: &mut SandboxState,
    ) -> Result<SandboxResponse, OAuthErrorResponse> {
        let Some(oauth2) = &self.auth.oauth2 else {
            return Err(OAuthErrorResponse::invalid_request("no token endpoint"));
        };
        state.prune_expired(visit.now);
        if oauth2.key_grant() == Some(GrantType::Exchange) {
            return self.exchange_key(oauth2, visit, state);
        }
        let params = self.body(visit, oauth2.token_body)?;
        self.check_token_headers(oauth2, visit.request)?;
        let client = match (oauth2.key_grant(), oauth2.client_auth) {
            // An assertion says whose it is.
            (Some(_), ClientAuth::None) => AuthenticatedClient { id: String::new(), public: true },
            _ => self.authenticate_client(visit, &params, oauth2.client_auth, state)?,
        };
        self.check_resource(&params)?;
        let unsupported = |what: &str| OAuthErrorResponse::new("unsupported_grant_type", what);
        let refreshes_here = visit.endpoint == super::EmulatedEndpoint::Refresh || oauth2.refresh_url.is_none();
        match params.get("grant_type") {
            Some("authorization_code") if oauth2.grants.contains(&GrantType::AuthorizationCode) => {
                self.exchange_code(oauth2, visit, &params, client, state)
            }
            Some("refresh_token") if refreshes_here || oauth2.token_url.is_none() => {
                self.exchange_refresh(oauth2, visit, &params, &client, state)
            }
            Some("refresh_token") => Err(unsupported("refresh at the refresh URL")),
            Some("urn:ietf:params:oauth:grant-type:device_code") => {
                self.exchange_device(oauth2, visit, &params, client, state)
            }
            Some("urn:ietf:params:oauth:grant-type:jwt-bearer") if oauth2.grants.contains(&GrantType::JwtBearer) => {
                self.exchange_assertion(oauth2, visit, &params, client, state)
            }
            Some("client_credentials") if oauth2.grants.contains(&GrantType::ClientCredentials) => {
                let client = client.require_confidential()?;
                // A client that asks for nothing gets what it was registered for (RFC 6749 section 3.3).
                let asked = params.get(&oauth2.scope.param).map(|text| split_scopes(oauth2, text));
                let scopes = asked.unwrap_or_else(|| self.connector.scopes.keys().cloned().collect());
                if let Some(scope) = self.unknown_scope(&scopes) {
                    return Err(OAuthErrorResponse::new("invalid_scope", &format!("unknown scope {scope:?}")));
                }
                let grant = self.new_grant(state);
                let issue = TokenIssuance {
                    grant,
                    client: &client,
                    scopes,
                    account: self.account.clone(),
                    has_additional_scopes: false,
                    has_second_account: false,
                    generation: 0,
                    refresh_token: RefreshTokenIssuance::None,
                };
                Ok(self.issue(oauth2, visit, &issue, state))
            }
            Some(_) => Err(unsupported("the service has no such grant")),
            None => Err(OAuthErrorResponse::invalid_request("grant_type is missing")),
        }
    }

    fn exchange_code(
        &self,
        oauth2: &OAuth2,
        visit: &RequestContext<'_>,
        params: &RequestParams,
        client: AuthenticatedClient,
        state: &mut SandboxState,
    ) -> Result<SandboxResponse, OAuthErrorResponse> {
        let client = match oauth2.client_secret {
            ClientSecretPolicy::Required | ClientSecretPolicy::OptionalForDevice => client.require_confidential()?,
            ClientSecretPolicy::Optional => client,
        };
        check_constants(&oauth2.token_params, params)?;
        let code = params.get("code").ok_or_else(|| OAuthErrorResponse::invalid_request("code is missing"))?;
        let claims = self
            .signer
            .verify(TokenKind::Code, code)
            .ok_or_else(|| OAuthErrorResponse::invalid_grant("unknown code"))?;
        if state.spent.contains_key(&claims.grant) {
            state.revoke(&claims.grant);
            return Err(OAuthErrorResponse::invalid_grant("the code was used before, and its grant is revoked now"));
        }
        if claims.is_expired(visit.now) {
            return Err(OAuthErrorResponse::invalid_grant("the code has expired"));
        }
        if claims.client != client.id {
            return Err(OAuthErrorResponse::invalid_grant("the code was given to another client"));
        }
        if claims.redirect != params.get("redirect_uri").map(digest) {
            return Err(OAuthErrorResponse::invalid_grant("redirect_uri is not that of the authorization request"));
        }
        check_code_verifier(oauth2.pkce, &claims, &client, params)?;
        state.spent.insert(claims.grant.clone(), claims.expires.unwrap_or(visit.now));
        let issue = TokenIssuance {
            grant: claims.grant,
            client: &client,
            refresh_token: self.initial_refresh_token(oauth2, &claims.scopes),
            scopes: claims.scopes,
            account: claims.account,
            has_additional_scopes: claims.also,
            has_second_account: claims.several,
            generation: 0,
        };
        Ok(self.issue(oauth2, visit, &issue, state))
    }

    fn exchange_refresh(
        &self,
        oauth2: &OAuth2,
        visit: &RequestContext<'_>,
        params: &RequestParams,
        client: &AuthenticatedClient,
        state: &mut SandboxState,
    ) -> Result<SandboxResponse, OAuthErrorResponse> {
        check_constants(&oauth2.refresh_params, params)?;
        let refused = |why: &str| {
            let code = oauth2.answer.refused.first().map_or("invalid_grant", String::as_str);
            OAuthErrorResponse::new(code, why)
        };
        let token = params
            .get("refresh_token")
            .ok_or_else(|| OAuthErrorResponse::invalid_request("refresh_token is missing"))?;
        let claims = self.signer.verify(TokenKind::Refresh, token).ok_or_else(|| refused("no such refresh token"))?;
        if claims.client != client.id {
            return Err(refused("the refresh token was given to another client"));
        }
        if client.public && !claims.public {
            return Err(OAuthErrorResponse::invalid_client("this client shows no secret"));
        }
        match visit.fault {
            Some(FaultKind::RevokedGrant) => state.revoke(&claims.grant),
            Some(FaultKind::ExpiredGrant) => return Err(refused("the refresh token has expired")),
            _ => {}
        }
        // The serial that `standing` judges is that of access tokens: a refresh token is older than those it gave.
        match state.token_status(&TokenClaims { serial: u64::MAX, ..claims.clone() }, visit.now) {
            TokenStatus::Revoked => return Err(refused("the grant is revoked")),
            TokenStatus::Expired => return Err(refused("the refresh token has expired")),
            TokenStatus::Valid => {}
        }
        let current = state.grants.get(&claims.grant).map_or(0, |record| record.generation);
        if claims.generation < current {
            state.revoke(&claims.grant);
            return Err(refused("the refresh token was replaced before: the whole grant is revoked"));
        }
        let scopes = match params.get(&oauth2.scope.param).map(|text| split_scopes(oauth2, text)) {
            Some(asked) if asked.iter().all(|scope| claims.scopes.contains(scope)) => asked,
            Some(_) => return Err(OAuthErrorResponse::new("invalid_scope", "a refresh widens no scope")),
            None => claims.scopes.clone(),
        };
        let (generation, refresh) = match oauth2.rotation {
            RefreshTokenRotation::Never => (claims.generation, RefreshTokenIssuance::Unchanged),
            RefreshTokenRotation::Always | RefreshTokenRotation::Sometimes => {
                (claims.generation.saturating_add(1), RefreshTokenIssuance::Rotated)
            }
        };
        if generation != current {
            state.grant_mut(&claims.grant).generation = generation;
        }
        let issue = TokenIssuance {
            grant: claims.grant,
            client,
            scopes,
            account: claims.account,
            has_additional_scopes: claims.also,
            has_second_account: claims.several,
            generation,
            refresh_token: refresh,
        };
        Ok(self.issue(oauth2, visit, &issue, state))
    }

    pub(super) fn new_grant(&self, state: &mut SandboxState) -> String {
        hex::encode(&self.signer.derive("grant", state.next_serial())[..8])
    }

    /// Where a vendor knows the scope for offline access, only a grant that has it gets a refresh token.
    pub(super) fn initial_refresh_token(&self, oauth2: &OAuth2, scopes: &[String]) -> RefreshTokenIssuance {
        let lists = [&oauth2.scope.default, &oauth2.scope.always];
        let known = self.connector.scopes.contains_key(OFFLINE_ACCESS_SCOPE)
            || lists.iter().any(|list| list.iter().any(|scope| scope == OFFLINE_ACCESS_SCOPE));
        if known && !scopes.iter().any(|scope| scope == OFFLINE_ACCESS_SCOPE) {
            RefreshTokenIssuance::None
        } else {
            RefreshTokenIssuance::Initial
        }
    }

    /// Issues the tokens of a grant and answers with them.
    pub(super) fn issue(
        &self,
        oauth2: &OAuth2,
        visit: &RequestContext<'_>,
        issue: &TokenIssuance<'_>,
        state: &mut SandboxState,
    ) -> SandboxResponse {
        // What is listed was there before anybody asked.
        state.streams.start(visit.now);
        let mut seal = |kind, lifetime_secs: u32| {
            self.signer.sign(&TokenClaims {
                kind,
                grant: issue.grant.clone(),
                serial: state.next_serial(),
                client: issue.client.id.clone(),
                account: issue.account.clone(),
                public: issue.client.public,
                scopes: issue.scopes.clone(),
                also: issue.has_additional_scopes,
                several: issue.has_second_account,
                issued: visit.now,
                expires: Some(visit.now.saturating_add(lifetime_secs.into())),
                generation: issue.generation,
                redirect: None,
                challenge: None,
            })
        };
        let refreshed = matches!(issue.refresh_token, RefreshTokenIssuance::Rotated | RefreshTokenIssuance::Unchanged);
        let new_refresh = matches!(issue.refresh_token, RefreshTokenIssuance::Initial | RefreshTokenIssuance::Rotated);
        // A further token comes where its scopes were asked for, or where none can be asked for.
        let user = !refreshed
            && !oauth2.answer.secrets.is_empty()
            && (issue.has_additional_scopes || oauth2.scope.also.is_empty());
        let tokens = IssuedTokens {
            account: issue.account.clone(),
            access: seal(TokenKind::Access, self.lifetime_secs()),
            refresh: new_refresh.then(|| seal(TokenKind::Refresh, REFRESH_LIFETIME_SECS)),
            user: user.then(|| seal(TokenKind::User, REFRESH_LIFETIME_SECS)),
            is_refresh: refreshed,
            scopes: issue.scopes.clone(),
            issued_at: visit.now,
        };
        self.token_response(oauth2, visit.request, &tokens)
    }
}

/// RFC 7636 section 4.6, and the vendor's rule about who must use it.
fn check_code_verifier(
    rule: Pkce,
    claims: &TokenClaims,
    client: &AuthenticatedClient,
    params: &RequestParams,
) -> Result<(), OAuthErrorResponse> {
    let verifier = params.get("code_verifier");
    match (rule, &claims.challenge) {
        (Pkce::Never, _) => Ok(()),
        (Pkce::PublicOnly, Some(_)) if !client.public => {
            Err(OAuthErrorResponse::invalid_client("an app with PKCE is public and shows no secret"))
        }
        (Pkce::PublicOnly, None) if client.public => {
            Err(OAuthErrorResponse::invalid_client("an app without a secret needs PKCE"))
        }
        (_, Some(challenge)) => {
            let verifier = verifier.ok_or_else(|| OAuthErrorResponse::invalid_grant("code_verifier is missing"))?;
            let length_fits = (43..=128).contains(&verifier.len());
            if length_fits && digest(verifier) == *challenge {
                Ok(())
            } else {
                Err(OAuthErrorResponse::invalid_grant("code_verifier is not that of the authorization request"))
            }
        }
        (_, None) if verifier.is_some() => {
            Err(OAuthErrorResponse::invalid_grant("the authorization request had no code_challenge"))
        }
        (_, None) => Ok(()),
    }
}

/// The scopes of a parameter.
pub(super) fn split_scopes(oauth2: &OAuth2, text: &str) -> Vec<String> {
    split_by(&oauth2.scope.separator, text)
}

pub(super) fn split_by(separator: &str, text: &str) -> Vec<String> {
    // An empty separator would part every letter from the next.
    let separator = if separator.is_empty() { " " } else { separator };
    text.split(separator).map(str::trim).filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
}
