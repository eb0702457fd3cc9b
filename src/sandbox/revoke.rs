//! The revocation endpoint, as RFC 7009 or the connector's file has it.

use serde_json::json;

use super::answer::Refusal;
use super::message::{Params, Reply};
use super::pattern::{Captures, Pattern};
use super::signed::{Claims, TokenKind};
use super::state::{Standing, State};
use super::vendor::{Vendor, Visit, with_success};
use crate::connector::{ClientAuth, Revoke, RevokeAuth, Template};

impl Vendor {
    pub(super) fn revoke(&self, visit: &Visit<'_>, state: &mut State) -> Result<Reply, Refusal> {
        let Some(oauth2) = &self.auth.oauth2 else {
            return Err(Refusal::request("there is nothing to revoke"));
        };
        // Discovery names an endpoint that the file does not declare: it is the standard's.
        let standard = Revoke::standard(Template::parse("").map_err(|_| Refusal::request("no endpoint"))?);
        let rule = oauth2.revoke.as_ref().unwrap_or(&standard);
        let params = self.revoke_params(visit, rule)?;
        let shown = match rule.auth {
            RevokeAuth::Client => Some(self.client(visit.request, &params, oauth2.client_auth)?.id),
            RevokeAuth::Basic => Some(self.client(visit.request, &params, ClientAuth::Basic)?.confidential()?.id),
            RevokeAuth::Bearer | RevokeAuth::Secret | RevokeAuth::None => None,
        };
        let claims = match rule.auth {
            RevokeAuth::Bearer => self.bearer(visit),
            RevokeAuth::Client | RevokeAuth::Basic | RevokeAuth::Secret | RevokeAuth::None => {
                self.named_token(visit, rule, &params)
            }
        };
        let claims = claims.filter(|claims| shown.as_ref().is_none_or(|client| *client == claims.client));
        let live = claims.filter(|claims| state.standing(claims, visit.now) != Standing::Revoked);
        match (live, rule.gone.first()) {
            (Some(claims), _) => state.revoke(&claims.grant),
            (None, Some(gone)) => return Ok(self.gone(rule, gone)),
            (None, None) if rule.auth == RevokeAuth::Bearer => {
                return Err(Refusal { status: 401, ..Refusal::new("invalid_token", "the token is not accepted") });
            }
            // RFC 7009 section 2.2: a token that is not there is as good as revoked.
            (None, None) => {}
        }
        Ok(Reply::json(200, &with_success(&rule.success, true)))
    }

    fn revoke_params(&self, visit: &Visit<'_>, rule: &Revoke) -> Result<Params, Refusal> {
        if visit.request.body.is_empty() { Ok(visit.request.query_params()) } else { self.body(visit, rule.body) }
    }

    fn bearer(&self, visit: &Visit<'_>) -> Option<Claims> {
        let (scheme, token) = visit.request.header("authorization")?.split_once(' ')?;
        self.signer.open(TokenKind::Access, token).filter(|_| scheme.eq_ignore_ascii_case("bearer"))
    }

    /// The token that the declared parameters, the path or the query name; `token` where none are declared.
    fn named_token(&self, visit: &Visit<'_>, rule: &Revoke, params: &Params) -> Option<Claims> {
        let mut captures: Vec<Captures> = vec![visit.captures.clone()];
        captures
            .extend(rule.params.iter().filter_map(|(name, template)| Pattern::of(template).read(params.get(name)?)));
        let tokens = captures.iter().flat_map(|captures| captures.values()).map(String::as_str);
        let usual = params.get("token").filter(|_| rule.params.is_empty());
        tokens.chain(usual).find_map(|token| {
            let kinds = [TokenKind::Refresh, TokenKind::Access, TokenKind::User];
            kinds.into_iter().find_map(|kind| self.signer.open(kind, token))
        })
    }

    fn gone(&self, rule: &Revoke, code: &str) -> Reply {
        let shape = self.shape();
        let mut document = with_success(&rule.success, false);
        shape.error.put(&mut document, json!(code));
        Reply::json(if rule.success.is_empty() { 400 } else { 200 }, &document)
    }
}
