//! The device grant (RFC 8628): a code for the device, a short one for the user, and polling.
//!
//! Nobody need open the page: the second poll finds the device allowed, so that the grant works without a browser and yet
//! passes through waiting. On the page a person can allow it at once or deny it.

use serde_json::json;

use super::client_auth::AuthenticatedClient;
use super::html;
use super::message::{RequestParams, SandboxResponse};
use super::response::OAuthErrorResponse;
use super::routes::VERIFICATION_PATH;
use super::state::{ConsentDecision, DeviceAuthorization, SandboxState};
use super::token::{TokenClaims, TokenKind};
use super::token_endpoint::{TokenIssuance, split_scopes};
use super::vendor_emulator::{RequestContext, VendorEmulator};
use crate::connector::{ClientSecretPolicy, GrantType, OAuth2};

/// Seconds between polls. The standard's default is five; waiting would only slow the sandbox down.
const INTERVAL_SECS: i64 = 1;

/// Added to the interval after every poll that is too early (RFC 8628 section 3.5).
const SLOW_DOWN_SECS: i64 = 5;

/// Seconds until the codes end.
const LIFETIME_SECS: i64 = 900;

/// Letters that no one mistakes for another and that spell no word (RFC 8628 section 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

impl VendorEmulator {
    pub(super) fn device(
        &self,
        visit: &RequestContext<'_>,
        state: &mut SandboxState,
    ) -> Result<SandboxResponse, OAuthErrorResponse> {
        let Some(oauth2) = &self.auth.oauth2 else {
            return Err(OAuthErrorResponse::invalid_request("unknown device grant"));
        };
        state.prune_expired(visit.now);
        let params = self.body(visit, oauth2.token_body)?;
        let client = self.authenticate_client(visit, &params, oauth2.client_auth, state)?;
        let grant = self.new_grant(state);
        let serial = state.next_serial();
        let expires = visit.now.saturating_add(LIFETIME_SECS);
        let letters: String = self.signer.derive("user code", serial)[..8]
            .iter()
            .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
            .collect();
        let user_code = format!("{}-{}", &letters[..4], &letters[4..]);
        let scopes = params.get(&oauth2.scope.param).map(|text| split_scopes(oauth2, text)).unwrap_or_default();
        if let Some(scope) = self.unknown_scope(&scopes) {
            return Err(OAuthErrorResponse::new("invalid_scope", &format!("unknown scope {scope:?}")));
        }
        let device_code = self.signer.sign(&TokenClaims {
            kind: TokenKind::Device,
            grant: grant.clone(),
            serial,
            client: client.id.clone(),
            account: self.account.clone(),
            public: client.public,
            scopes: Vec::new(),
            also: false,
            several: false,
            issued: visit.now,
            expires: Some(expires),
            generation: 0,
            redirect: None,
            challenge: None,
        });
        state.devices.insert(
            grant,
            DeviceAuthorization {
                user_code: user_code.clone(),
                client: client.id,
                scopes,
                polls: 0,
                polled_at: None,
                interval_secs: INTERVAL_SECS,
                decision: ConsentDecision::Waiting,
                expires,
            },
        );
        // The page is where the request came to: its Host is the emulator's own authority, which the emulator checked.
        let host = visit.request.header("host").unwrap_or("127.0.0.1");
        let verification = format!("http://{host}{VERIFICATION_PATH}");
        Ok(SandboxResponse::json(
            200,
            &json!({
                "device_code": device_code,
                "user_code": user_code,
                "verification_uri": verification,
                "verification_uri_complete": format!("{verification}?user_code={user_code}"),
                "expires_in": LIFETIME_SECS,
                "interval": INTERVAL_SECS,
            }),
        ))
    }

    pub(super) fn exchange_device(
        &self,
        oauth2: &OAuth2,
        visit: &RequestContext<'_>,
        params: &RequestParams,
        client: AuthenticatedClient,
        state: &mut SandboxState,
    ) -> Result<SandboxResponse, OAuthErrorResponse> {
        if !oauth2.grants.contains(&GrantType::DeviceCode) && oauth2.issuer.is_none() {
            return Err(OAuthErrorResponse::new("unsupported_grant_type", "the service has no device grant"));
        }
        let client = match oauth2.client_secret {
            ClientSecretPolicy::Required => client.require_confidential()?,
            ClientSecretPolicy::Optional | ClientSecretPolicy::OptionalForDevice => client,
        };
        let code =
            params.get("device_code").ok_or_else(|| OAuthErrorResponse::invalid_request("device_code is missing"))?;
        let claims = self.signer.verify(TokenKind::Device, code);
        let unknown = || OAuthErrorResponse::invalid_grant("unknown device code");
        let claims = claims.filter(|claims| claims.client == client.id).ok_or_else(unknown)?;
        if claims.is_expired(visit.now) {
            return Err(OAuthErrorResponse::new("expired_token", "the device code has expired"));
        }
        let device = state.devices.get_mut(&claims.grant).ok_or_else(unknown)?;
        poll(device, visit.now)?;
        device.decision = ConsentDecision::Used;
        let scopes = device.scopes.clone();
        let issue = TokenIssuance {
            grant: claims.grant,
            client: &client,
            refresh_token: self.initial_refresh_token(oauth2, &scopes),
            scopes,
            account: claims.account,
            has_additional_scopes: false,
            has_second_account: false,
            generation: 0,
        };
        Ok(self.issue(oauth2, visit, &issue, state))
    }

    /// The page on which a person allows or denies a device.
    pub(super) fn verification(&self, visit: &RequestContext<'_>, state: &mut SandboxState) -> SandboxResponse {
        let params = visit.request.query_params();
        let Some(user_code) = params.get("user_code") else {
            return html::user_code(&self.connector.name, None);
        };
        let typed = user_code.trim().to_ascii_uppercase();
        let waits = |device: &&mut DeviceAuthorization| device.user_code == typed && device.expires > visit.now;
        let Some(device) = state.devices.values_mut().find(waits) else {
            return html::user_code(
                &self.connector.name,
                Some("No device is waiting with this code. Check the code and enter it again."),
            );
        };
        match (device.decision, params.get(html::DECISION_PARAM)) {
            (ConsentDecision::Waiting, Some("allow")) => {
                device.decision = ConsentDecision::Allowed;
                html::message(&self.connector.name, 200, "Allowed", "The device is connected in a moment.")
            }
            (ConsentDecision::Waiting, Some(_)) => {
                device.decision = ConsentDecision::Denied;
                html::message(&self.connector.name, 200, "Denied", "The device gets no access.")
            }
            (ConsentDecision::Waiting, None) => html::consent(&html::ConsentPage {
                service: &self.connector.name,
                client: &device.client,
                account: &self.account.label(&self.connector, &self.auth),
                second_account: None,
                scopes: self.purposes(&device.scopes),
                additional_scopes: Vec::new(),
                hidden_fields: vec![("user_code", &device.user_code)],
                redirect_uri: None,
            }),
            _ => html::message(&self.connector.name, 200, "Done", "This device was decided on already."),
        }
    }
}

/// Counts a poll; good once the device is allowed.
fn poll(device: &mut DeviceAuthorization, now: i64) -> Result<(), OAuthErrorResponse> {
    let too_early = device.polled_at.is_some_and(|last| now.saturating_sub(last) < device.interval_secs);
    device.polled_at = Some(now);
    if too_early {
        device.interval_secs = device.interval_secs.saturating_add(SLOW_DOWN_SECS);
        return Err(OAuthErrorResponse::new("slow_down", "polled before the interval was over"));
    }
    device.polls = device.polls.saturating_add(1);
    match device.decision {
        ConsentDecision::Denied => {
            Err(OAuthErrorResponse::new("access_denied", "access was denied on the consent page"))
        }
        ConsentDecision::Used => Err(OAuthErrorResponse::invalid_grant("the device code was used before")),
        ConsentDecision::Waiting if device.polls < 2 => {
            Err(OAuthErrorResponse::new("authorization_pending", "it is not authorized yet"))
        }
        ConsentDecision::Waiting | ConsentDecision::Allowed => Ok(()),
    }
}
