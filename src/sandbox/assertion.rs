//! Verifies that a client has a key: signed assertions (RFC 7523), and vendors' own exchanges of a key.
//!
//! The sandbox knows one key of a method, which follows from the seed. It verifies signatures, audience, times and, where
//! assertions have an id, that none comes twice. What it does not see is the certificate of a TLS connection.

use std::collections::BTreeSet;

use ring::hmac;
use serde_json::Value;
use url::Url;

use super::EmulatedEndpoint;
use super::client_auth::{AuthenticatedClient, check_constants};
use super::fault::FaultKind;
use super::message::{RequestParams, SandboxResponse};
use super::pattern::{PathParams, TemplatePattern};
use super::response::OAuthErrorResponse;
use super::state::SandboxState;
use super::token::digest;
use super::token_endpoint::{RefreshTokenIssuance, TokenIssuance, split_scopes};
use super::vendor_emulator::{RequestContext, VendorEmulator};
use crate::connector::{Assertion, BodyFormat, JwtAlgorithm, OAuth2, Template, Values};
use crate::signing::assertion::ParsedAssertion;

/// How far a client's clock may be ahead, in seconds.
const LEEWAY_SECS: i64 = 60;

/// What a good assertion says beside that it is good.
#[derive(Default)]
struct Asserted {
    scopes: Option<Vec<String>>,
    /// Of a client that names itself.
    client: Option<String>,
}

impl VendorEmulator {
    /// The values that assertions and exchanges may name, as this vendor expects them.
    fn expected_values(&self, oauth2: &OAuth2) -> Values {
        let mut values = self.values();
        for (name, value) in &self.fields {
            values.set(name, value.expose());
        }
        let issuer = self.issuer();
        let token_url = oauth2.token_url.as_ref().and_then(|url| url.fill_url(&values).ok());
        let below_issuer = || {
            let issuer = Url::parse(issuer.as_deref()?).ok()?;
            issuer.join(EmulatedEndpoint::Token.default_path()).ok()
        };
        if let Some(url) = token_url.or_else(below_issuer) {
            values.set("token_url", url.as_str());
        }
        if let Some(issuer) = &issuer {
            values.set("issuer", issuer);
        }
        values
    }

    /// Judges an assertion by its rule. `audiences` are those of which it must name one if the rule names none; of a vendor's
    /// own request there are none.
    fn verify_assertion(
        &self,
        rule: &Assertion,
        token: &str,
        audiences: &[&str],
        visit: &RequestContext<'_>,
        state: &mut SandboxState,
    ) -> Result<Asserted, String> {
        let oauth2 = self.auth.oauth2.as_ref().ok_or("there is no token endpoint")?;
        let parsed = ParsedAssertion::parse(token).ok_or("the assertion is not a JSON Web Token")?;
        self.check_signature(rule, &parsed)?;
        let time = |name: &str| parsed.claims.get(name).and_then(Value::as_i64);
        let end = time("exp").ok_or("the assertion has no exp")?;
        if end <= visit.now {
            return Err("the assertion has expired: check the clock".to_owned());
        }
        if end > visit.now + i64::from(rule.lifetime_secs) + LEEWAY_SECS {
            return Err("exp is too far in the future: check the clock".to_owned());
        }
        if time("iat").is_some_and(|issued| issued > visit.now + LEEWAY_SECS) {
            return Err("the assertion was issued in the future: check the clock".to_owned());
        }
        let values = self.expected_values(oauth2);
        let mut asserted = Asserted::default();
        for (name, template) in &rule.claims {
            self.check_claim(oauth2, name, template, parsed.claims.get(name), &values, &mut asserted)?;
        }
        if !rule.claims.contains_key("aud") && !audiences.is_empty() {
            let named = parsed.claims.get("aud").and_then(Value::as_str).unwrap_or_default();
            if !audiences.iter().any(|audience| self.is_same_url(audience, named)) {
                return Err("aud is not this server".to_owned());
            }
        }
        if let Some(id) = parsed.claims.get("jti").and_then(Value::as_str) {
            let id = format!("jti {}", digest(id));
            if state.spent.insert(id, end).is_some() {
                return Err("the assertion was used before".to_owned());
            }
        }
        Ok(asserted)
    }

    /// URLs of this vendor: a program that was given the emulator's address names that.
    fn is_same_url(&self, own: &str, named: &str) -> bool {
        let path = |text: &str| Url::parse(text).ok().map(|url| url.path().to_owned());
        own == named || (self.serves_external_clients && path(own).is_some() && path(own) == path(named))
    }

    fn check_signature(&self, rule: &Assertion, parsed: &ParsedAssertion<'_>) -> Result<(), String> {
        let algorithm = parsed.header.get("alg").and_then(Value::as_str).unwrap_or_default();
        let wanted = rule.algorithm.unwrap_or(JwtAlgorithm::Rs256);
        if algorithm != wanted.as_str() {
            return Err(format!("alg is {algorithm:?}, not {}", wanted.as_str()));
        }
        let is_right = match wanted {
            JwtAlgorithm::Hs256 => self.fields.get(&rule.key).is_some_and(|secret| {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
                hmac::verify(&key, parsed.signed, &parsed.signature).is_ok()
            }),
            _ => self.client_key.verify(wanted, parsed.signed, &parsed.signature),
        };
        if is_right { Ok(()) } else { Err("the signature is not that of the key that this account has".to_owned()) }
    }

    /// Compares a claim with its template: with what the vendor knows, and reads from it what it does not.
    fn check_claim(
        &self,
        oauth2: &OAuth2,
        name: &str,
        template: &Template,
        claim: Option<&Value>,
        values: &Values,
        asserted: &mut Asserted,
    ) -> Result<(), String> {
        const OPEN: [&str; 3] = ["scope", "client_id", "random"];
        let Some(claim) = claim.and_then(Value::as_str) else {
            let is_known = |name: &str| values.get(name).is_some() || (OPEN.contains(&name) && name != "scope");
            return if template.placeholders().all(is_known) { Err(format!("{name} is missing")) } else { Ok(()) };
        };
        let wrong = || format!("{name} is not what this account has");
        let found = TemplatePattern::of(template).match_text(claim).ok_or_else(wrong)?;
        for (placeholder, value) in found {
            match placeholder.as_str() {
                "scope" => asserted.scopes = Some(split_scopes(oauth2, &value)),
                "client_id" => asserted.client = Some(value),
                "random" => {}
                "token_url" | "issuer" => {
                    if !values.get(&placeholder).is_some_and(|own| self.is_same_url(own, &value)) {
                        return Err(wrong());
                    }
                }
                other if values.get(other) == Some(value.as_str()) => {}
                _ => return Err(wrong()),
            }
        }
        Ok(())
    }

    /// The client that an assertion names as itself (RFC 7523 section 2.2).
    pub(super) fn verify_client_assertion(
        &self,
        visit: &RequestContext<'_>,
        params: &RequestParams,
        state: &mut SandboxState,
    ) -> Result<String, OAuthErrorResponse> {
        let refused = |why: &str| OAuthErrorResponse::invalid_client(why);
        let oauth2 = self.auth.oauth2.as_ref().ok_or_else(|| refused("there is no token endpoint"))?;
        let rule = oauth2.client_assertion.as_ref().ok_or_else(|| refused("no client signs assertions here"))?;
        let token = params.get("client_assertion").ok_or_else(|| refused("client_assertion is missing"))?;
        if params.get("client_assertion_type") != Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer") {
            return Err(refused("client_assertion_type is not that of a JSON Web Token"));
        }
        let parsed = ParsedAssertion::parse(token).ok_or_else(|| refused("client_assertion is no JSON Web Token"))?;
        let claim = |name: &str| parsed.claims.get(name).and_then(Value::as_str);
        let id = claim("sub").filter(|id| !id.is_empty()).ok_or_else(|| refused("sub is missing"))?.to_owned();
        if claim("iss") != Some(&id) || params.get("client_id").is_some_and(|other| other != id) {
            return Err(refused("iss, sub and client_id name different clients"));
        }
        if claim("jti").is_none() {
            return Err(refused("jti is missing"));
        }
        let values = self.expected_values(oauth2);
        let audiences: Vec<&str> = ["issuer", "token_url"].iter().filter_map(|name| values.get(name)).collect();
        self.verify_assertion(rule, token, &audiences, visit, state).map_err(|why| refused(&why))?;
        Ok(id)
    }

    /// A token for an assertion (RFC 7523 section 2.1).
    pub(super) fn exchange_assertion(
        &self,
        oauth2: &OAuth2,
        visit: &RequestContext<'_>,
        params: &RequestParams,
        client: AuthenticatedClient,
        state: &mut SandboxState,
    ) -> Result<SandboxResponse, OAuthErrorResponse> {
        check_constants(&oauth2.token_params, params)?;
        let refused = |why: &str| OAuthErrorResponse::invalid_grant(why);
        let rule = oauth2.assertion.as_ref().ok_or_else(|| refused("no assertions are taken here"))?;
        let token =
            params.get("assertion").ok_or_else(|| OAuthErrorResponse::invalid_request("assertion is missing"))?;
        self.check_fault(visit)?;
        let values = self.expected_values(oauth2);
        let audiences: Vec<&str> = ["issuer", "token_url"].iter().filter_map(|name| values.get(name)).collect();
        let asserted = self.verify_assertion(rule, token, &audiences, visit, state).map_err(|why| refused(&why))?;
        let asked = params.get(&oauth2.scope.param).map(|text| split_scopes(oauth2, text));
        let client = AuthenticatedClient { id: asserted.client.unwrap_or(client.id), ..client };
        self.issue_for_key(oauth2, visit, &client, asserted.scopes.or(asked), state)
    }

    /// A token for a key, by the request that the file describes.
    pub(super) fn exchange_key(
        &self,
        oauth2: &OAuth2,
        visit: &RequestContext<'_>,
        state: &mut SandboxState,
    ) -> Result<SandboxResponse, OAuthErrorResponse> {
        let refused = |why: &str| OAuthErrorResponse { status: 401, ..OAuthErrorResponse::invalid_grant(why) };
        let params = match (oauth2.token_method.is_bodiless(), oauth2.token_body) {
            (true, _) => visit.request.query_params(),
            (false, _) if visit.request.body.is_empty() => RequestParams::default(),
            (false, BodyFormat::Form) => visit.request.form(),
            (false, BodyFormat::Json) => self.body(visit, BodyFormat::Json)?,
        };
        let mut shown: PathParams = visit.path_params.clone();
        let headers = oauth2.token_headers.iter().map(|(name, template)| (name, template, visit.request.header(name)));
        let sent = oauth2.token_params.iter().map(|(name, template)| (name, template, params.get(name)));
        for (name, template, text) in headers.chain(sent) {
            let Some(text) = text else { return Err(refused(&format!("{name} is missing"))) };
            let found = TemplatePattern::of(template).match_text(text);
            shown.extend(found.ok_or_else(|| refused(&format!("{name} is not written as it should be")))?);
        }
        self.check_fault(visit)?;
        let values = self.expected_values(oauth2);
        let mut asserted = Asserted::default();
        for (name, value) in &shown {
            match (name.as_str(), &oauth2.assertion) {
                ("assertion", Some(rule)) => {
                    asserted = self.verify_assertion(rule, value, &[], visit, state).map_err(|why| refused(&why))?;
                }
                ("scope", _) => asserted.scopes = Some(split_scopes(oauth2, value)),
                ("client_id" | "client_secret" | "random", _) => {}
                (name, _) if values.get(name) == Some(value.as_str()) => {}
                (name, _) => return Err(refused(&format!("there is no such {name}"))),
            }
        }
        let client = AuthenticatedClient { id: asserted.client.unwrap_or_default(), public: true };
        self.issue_for_key(oauth2, visit, &client, asserted.scopes, state)
    }

    /// Trouble that is scripted for the grant: the key is refused.
    fn check_fault(&self, visit: &RequestContext<'_>) -> Result<(), OAuthErrorResponse> {
        match visit.fault {
            Some(FaultKind::RevokedGrant | FaultKind::ExpiredGrant) => {
                Err(OAuthErrorResponse { status: 401, ..OAuthErrorResponse::invalid_grant("the key was revoked") })
            }
            _ => Ok(()),
        }
    }

    fn issue_for_key(
        &self,
        oauth2: &OAuth2,
        visit: &RequestContext<'_>,
        client: &AuthenticatedClient,
        asked: Option<Vec<String>>,
        state: &mut SandboxState,
    ) -> Result<SandboxResponse, OAuthErrorResponse> {
        // One that asks for nothing gets what the key is allowed.
        let scopes = asked.unwrap_or_else(|| self.connector.scopes.keys().cloned().collect());
        if let Some(scope) = self.unknown_scope(&scopes) {
            return Err(OAuthErrorResponse::new("invalid_scope", &format!("unknown scope {scope:?}")));
        }
        let distinct: BTreeSet<String> = scopes.into_iter().collect();
        let issue = TokenIssuance {
            grant: self.new_grant(state),
            client,
            scopes: distinct.into_iter().collect(),
            account: self.account.clone(),
            has_additional_scopes: false,
            has_second_account: false,
            generation: 0,
            refresh_token: RefreshTokenIssuance::None,
        };
        Ok(self.issue(oauth2, visit, &issue, state))
    }
}
