//! The exchange of identity tokens of CI systems for API tokens. It needs no API token, so that its callers are limited by
//! their addresses.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use serde::Deserialize;

use super::problem::{Problem, RequestError};
use super::reply::{Created, IntoReply};
use crate::clock::Stopwatch;
use crate::http::serve::{FullResponse, header};
use crate::oauth::issuer_keys::IssuerKeys;
use crate::ops::api_tokens::{ExchangeTokenRequest, exchange_token};
use crate::runtime::Workspace;
use crate::secret::Secret;

/// Requests of one address in [`WINDOW`].
const LIMIT: u32 = 30;

const WINDOW: Duration = Duration::from_secs(60);

/// Addresses that are counted at once; more than these are refused.
const MAX_SOURCES: usize = 10_000;

/// Answers the requests for an exchange.
pub(super) struct TokenExchanges {
    workspaces: Vec<Arc<Workspace>>,
    keys: Option<IssuerKeys>,
    limits: SourceLimits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExchangeBody {
    token: String,
}

impl TokenExchanges {
    pub(super) fn new(workspaces: Vec<Arc<Workspace>>) -> Self {
        let keys = workspaces.first().map(|workspace| IssuerKeys::new(&workspace.engine.config));
        Self { workspaces, keys, limits: SourceLimits::default() }
    }

    pub(super) async fn respond(&self, source: Option<IpAddr>, body: &Bytes, request_id: &str) -> FullResponse {
        match self.exchange(source, body, request_id).await {
            Ok(response) => response,
            Err(problem) => problem.into_http(),
        }
    }

    async fn exchange(&self, source: Option<IpAddr>, body: &Bytes, request_id: &str) -> Result<FullResponse, Problem> {
        if source.is_some_and(|source| !self.limits.admit(source)) {
            let problem = Problem::from(RequestError::TooManyExchanges { limit: LIMIT });
            return Err(problem.with_header(header::RETRY_AFTER, &WINDOW.as_secs()));
        }
        let body: ExchangeBody = serde_json::from_slice(body)
            .map_err(|error| RequestError::Body { at: String::new(), reason: error.to_string() })?;
        let keys = self.keys.as_ref().ok_or(RequestError::UnknownPath)?;
        let request = ExchangeTokenRequest {
            identity_token: Secret::new(body.token),
            source: source.map(|source| source.to_string()),
            request_id: request_id.to_owned(),
        };
        let created = exchange_token(&self.workspaces, keys, request).await?;
        let location = format!("/v1/api-tokens/{}", created.token.id);
        Ok(Created(location, created).into_reply().into_http())
    }
}

/// The requests of each address in its present window.
#[derive(Default)]
struct SourceLimits {
    windows: Mutex<HashMap<IpAddr, (Stopwatch, u32)>>,
}

impl SourceLimits {
    /// Counts a request, and returns whether it is within the limit.
    fn admit(&self, source: IpAddr) -> bool {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= MAX_SOURCES {
            windows.retain(|_, (since, _)| since.elapsed() < WINDOW);
        }
        let is_full = windows.len() >= MAX_SOURCES;
        let key = network(source);
        if is_full && !windows.contains_key(&key) {
            return false;
        }
        let (since, count) = windows.entry(key).or_insert_with(|| (Stopwatch::start(), 0));
        if since.elapsed() >= WINDOW {
            (*since, *count) = (Stopwatch::start(), 0);
        }
        *count = count.saturating_add(1);
        *count <= LIMIT
    }
}

/// Returns what one caller has: an IPv4 address, or the network of 64 bits around an IPv6 address.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_a_limit_of_its_own() {
        let limits = SourceLimits::default();
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let admitted = (0..100).filter(|_| limits.admit(one)).count();
        assert_eq!(admitted, 30);
        assert!(!limits.admit("::ffff:192.0.2.1".parse().unwrap()), "it is the same address");
        assert!(limits.admit("192.0.2.2".parse().unwrap()));
        for host in 0..30_u16 {
            assert!(limits.admit(format!("2001:db8::{host:x}").parse().unwrap()));
        }
        assert!(!limits.admit("2001:db8::ffff".parse().unwrap()), "it is the same network");
        assert!(limits.admit("2001:db8:0:1::1".parse().unwrap()));
    }
}
