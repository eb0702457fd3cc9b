//! The device grant (RFC 8628): a code for the device, a short one for the person, and polling in between.
//!
//! Nobody need open the page: the second poll finds the device allowed, so that the grant works without a browser and yet
//! passes through waiting. On the page a person can allow it at once or deny it.

use serde_json::json;

use super::address::VERIFICATION_PATH;
use super::answer::Refusal;
use super::client::Client;
use super::exchange::{Issue, split};
use super::message::{Params, Reply};
use super::page;
use super::signed::{Claims, TokenKind};
use super::state::{Decision, Device, State};
use super::vendor::{Vendor, Visit};
use crate::connector::{ClientSecretRule, GrantKind, OAuth2};

/// Seconds between polls. The standard's default is five; here nobody need wait.
const INTERVAL_SECS: i64 = 1;

/// What every poll that comes too early adds for good (RFC 8628 section 3.5).
const SLOW_DOWN_SECS: i64 = 5;

/// Seconds until the codes end.
const LIFETIME_SECS: i64 = 900;

/// Letters that no one mistakes for another and that spell no word (RFC 8628 section 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

impl Vendor {
    pub(super) fn device(&self, visit: &Visit<'_>, state: &mut State) -> Result<Reply, Refusal> {
        let Some(oauth2) = &self.auth.oauth2 else {
            return Err(Refusal::request("there is no device grant"));
        };
        state.forget_old(visit.now);
        let params = self.body(visit, oauth2.token_body)?;
        let client = self.client(visit.request, &params, oauth2.client_auth)?;
        let grant = self.new_grant(state);
        let serial = state.next_serial();
        let expires = visit.now.saturating_add(LIFETIME_SECS);
        let letters: String = self.signer.derive("user code", serial)[..8]
            .iter()
            .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
            .collect();
        let user_code = format!("{}-{}", &letters[..4], &letters[4..]);
        let scopes = params.get(&oauth2.scope.param).map(|text| split(oauth2, text)).unwrap_or_default();
        let device_code = self.signer.seal(&Claims {
            kind: TokenKind::Device,
            grant: grant.clone(),
            serial,
            client: client.id.clone(),
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
            Device {
                user_code: user_code.clone(),
                client: client.id,
                scopes,
                polls: 0,
                polled_at: None,
                interval_secs: INTERVAL_SECS,
                decision: Decision::Waiting,
                expires,
            },
        );
        // The page is where the request came to: its Host is the emulator's own authority, which the emulator checked.
        let host = visit.request.header("host").unwrap_or("127.0.0.1");
        let verification = format!("http://{host}{VERIFICATION_PATH}");
        Ok(Reply::json(
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
        visit: &Visit<'_>,
        params: &Params,
        client: Client,
        state: &mut State,
    ) -> Result<Reply, Refusal> {
        if !oauth2.grants.contains(&GrantKind::DeviceCode) && oauth2.issuer.is_none() {
            return Err(Refusal::new("unsupported_grant_type", "the vendor has no device grant"));
        }
        let client = match oauth2.client_secret {
            ClientSecretRule::Required => client.confidential()?,
            ClientSecretRule::Optional | ClientSecretRule::OptionalForDevice => client,
        };
        let code = params.get("device_code").ok_or_else(|| Refusal::request("device_code is missing"))?;
        let claims = self.signer.open(TokenKind::Device, code);
        let unknown = || Refusal::grant("there is no such device code");
        let claims = claims.filter(|claims| claims.client == client.id).ok_or_else(unknown)?;
        if claims.is_expired(visit.now) {
            return Err(Refusal::new("expired_token", "the device code has expired"));
        }
        let device = state.devices.get_mut(&claims.grant).ok_or_else(unknown)?;
        poll(device, visit.now)?;
        device.decision = Decision::Used;
        let scopes = device.scopes.clone();
        let issue = Issue {
            grant: claims.grant,
            client: &client,
            refresh: self.first_refresh(oauth2, &scopes),
            scopes,
            also: false,
            several: false,
            generation: 0,
        };
        Ok(self.issue(oauth2, visit, &issue, state))
    }

    /// The page on which a person allows or denies a device.
    pub(super) fn verification(&self, visit: &Visit<'_>, state: &mut State) -> Reply {
        let params = visit.request.query_params();
        let Some(user_code) = params.get("user_code") else {
            return page::user_code(&self.connector.name, None);
        };
        let typed = user_code.trim().to_ascii_uppercase();
        let waits = |device: &&mut Device| device.user_code == typed && device.expires > visit.now;
        let Some(device) = state.devices.values_mut().find(waits) else {
            return page::user_code(&self.connector.name, Some("No device waits with this code."));
        };
        match (device.decision, params.get(page::DECISION)) {
            (Decision::Waiting, Some("allow")) => {
                device.decision = Decision::Allowed;
                page::message(&self.connector.name, 200, "Allowed", "The device is connected in a moment.")
            }
            (Decision::Waiting, Some(_)) => {
                device.decision = Decision::Denied;
                page::message(&self.connector.name, 200, "Denied", "The device gets no access.")
            }
            (Decision::Waiting, None) => page::consent(&page::Consent {
                service: &self.connector.name,
                client: &device.client,
                scopes: self.purposes(&device.scopes),
                also: Vec::new(),
                offers_second: false,
                hidden: vec![("user_code", &device.user_code)],
                returns_to: None,
            }),
            _ => page::message(&self.connector.name, 200, "Done", "This device was decided on already."),
        }
    }
}

/// Counts a poll; good once the device is allowed.
fn poll(device: &mut Device, now: i64) -> Result<(), Refusal> {
    let too_early = device.polled_at.is_some_and(|last| now.saturating_sub(last) < device.interval_secs);
    device.polled_at = Some(now);
    if too_early {
        device.interval_secs = device.interval_secs.saturating_add(SLOW_DOWN_SECS);
        return Err(Refusal::new("slow_down", "polled before the interval was over"));
    }
    device.polls = device.polls.saturating_add(1);
    match device.decision {
        Decision::Denied => Err(Refusal::new("access_denied", "the person denied it")),
        Decision::Used => Err(Refusal::grant("the device code was used before")),
        Decision::Waiting if device.polls < 2 => {
            Err(Refusal::new("authorization_pending", "nobody has allowed it yet"))
        }
        Decision::Waiting | Decision::Allowed => Ok(()),
    }
}
