//! The revocation endpoint, by RFC 7009 or the connector's file.

use serde_json::json;

use super::message::{RequestParams, SandboxResponse};
use super::pattern::{PathParams, TemplatePattern};
use super::response::OAuthErrorResponse;
use super::state::{SandboxState, TokenStatus};
use super::token::{TokenClaims, TokenKind};
use super::vendor_emulator::{RequestContext, VendorEmulator, success_document};
use crate::connector::{ClientAuth, Revocation, RevocationAuth, Template};

impl VendorEmulator {
    pub(super) fn revoke(
        &self,
        visit: &RequestContext<'_>,
        state: &mut SandboxState,
    ) -> Result<SandboxResponse, OAuthErrorResponse> {
        let Some(oauth2) = &self.auth.oauth2 else {
            return Err(OAuthErrorResponse::invalid_request("there is nothing to revoke"));
        };
        // Discovery names an endpoint that the file does not declare: it is the standard's.
        let standard =
            Revocation::rfc7009(Template::parse("").map_err(|_| OAuthErrorResponse::invalid_request("no endpoint"))?);
        let rule = oauth2.revoke.as_ref().unwrap_or(&standard);
        let params = self.revoke_params(visit, rule)?;
        let shown = match rule.auth {
            RevocationAuth::Client => Some(self.authenticate_client(visit, &params, oauth2.client_auth, state)?.id),
            RevocationAuth::Basic => {
                Some(self.authenticate_client(visit, &params, ClientAuth::Basic, state)?.require_confidential()?.id)
            }
            RevocationAuth::Bearer | RevocationAuth::Secret | RevocationAuth::None => None,
        };
        let claims = match rule.auth {
            RevocationAuth::Bearer => self.bearer(visit),
            RevocationAuth::Client | RevocationAuth::Basic | RevocationAuth::Secret | RevocationAuth::None => {
                self.named_token(visit, rule, &params)
            }
        };
        let claims = claims.filter(|claims| shown.as_ref().is_none_or(|client| *client == claims.client));
        let live = claims.filter(|claims| state.token_status(claims, visit.now) != TokenStatus::Revoked);
        match (live, rule.gone.first()) {
            (Some(claims), _) => state.revoke(&claims.grant),
            (None, Some(gone)) => return Ok(self.already_revoked(rule, gone)),
            (None, None) if rule.auth == RevocationAuth::Bearer => {
                return Err(OAuthErrorResponse {
                    status: 401,
                    ..OAuthErrorResponse::new("invalid_token", "the token is not accepted")
                });
            }
            // RFC 7009 section 2.2: a token that is not there is as good as revoked.
            (None, None) => {}
        }
        Ok(SandboxResponse::json(200, &success_document(&rule.success, true)))
    }

    fn revoke_params(
        &self,
        visit: &RequestContext<'_>,
        rule: &Revocation,
    ) -> Result<RequestParams, OAuthErrorResponse> {
        if visit.request.body.is_empty() { Ok(visit.request.query_params()) } else { self.body(visit, rule.body) }
    }

    fn bearer(&self, visit: &RequestContext<'_>) -> Option<TokenClaims> {
        let (scheme, token) = visit.request.header("authorization")?.split_once(' ')?;
        self.signer.verify(TokenKind::Access, token).filter(|_| scheme.eq_ignore_ascii_case("bearer"))
    }

    /// The token that the declared parameters, the path or the query name; `token` where none are declared.
    fn named_token(
        &self,
        visit: &RequestContext<'_>,
        rule: &Revocation,
        params: &RequestParams,
    ) -> Option<TokenClaims> {
        let mut captures: Vec<PathParams> = vec![visit.path_params.clone()];
        captures.extend(
            rule.params
                .iter()
                .flatten()
                .filter_map(|(name, template)| TemplatePattern::of(template).match_text(params.get(name)?)),
        );
        let tokens = captures.iter().flat_map(|captures| captures.values()).map(String::as_str);
        let usual = params.get("token").filter(|_| rule.params.is_none());
        tokens.chain(usual).find_map(|token| {
            let kinds = [TokenKind::Refresh, TokenKind::Access, TokenKind::User];
            kinds.into_iter().find_map(|kind| self.signer.verify(kind, token))
        })
    }

    fn already_revoked(&self, rule: &Revocation, code: &str) -> SandboxResponse {
        let shape = self.token_response_shape();
        let mut document = success_document(&rule.success, false);
        shape.error.set(&mut document, json!(code));
        SandboxResponse::json(if rule.success.is_empty() { 400 } else { 200 }, &document)
    }
}
