//! The hosts of a connector file, resolved for one connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use url::{Host, Url};

use crate::config::AllowedAddress;
use crate::connector::{AuthMethod, Connector, HostTemplate, Values, url_templates};
use crate::http::{AllowedHosts, HostTrust, Route, is_loopback};

/// Who chose the parameters of a connection, some of which are hosts.
#[derive(Clone, Copy, Debug)]
pub enum ParamSource<'a> {
    /// The owner, who may name any address.
    Owner,
    /// A caller of the API or the user of a connect link, who may name public addresses and those that the owner allows
    /// (`http.allow`).
    Caller(&'a [AllowedAddress]),
}

impl ParamSource<'_> {
    fn allows(self, url: &Url) -> bool {
        let Self::Caller(allowed) = self else { return true };
        let (host, address) = match url.host() {
            Some(Host::Ipv4(address)) => (address.to_string(), Some(address.into())),
            Some(Host::Ipv6(address)) => (address.to_string(), Some(address.into())),
            Some(Host::Domain(name)) => (name.to_owned(), None),
            None => return false,
        };
        allowed.iter().any(|one| one.matches_host(&host) || address.is_some_and(|address| one.contains(address)))
    }
}

/// Returns the route of a live connection: only to the hosts of its connector file, with the user's parameters.
///
/// Values from responses are not known yet. They must match what the file declares under `hosts`, so the route is the
/// same before and after the grant.
pub fn live_route(
    connector: &Connector,
    auth_name: &str,
    auth: &AuthMethod,
    params: &BTreeMap<String, String>,
    source: ParamSource<'_>,
) -> Route {
    let mut values = Values::default();
    let mut typed = Vec::new();
    for (name, param) in connector.params(auth) {
        if let Some(value) = params.get(name).or(param.default.as_ref()) {
            values.set(name, value);
            // A default or a choice is the file's word, also where the user confirmed it.
            if param.default.as_ref() != Some(value) && !param.choices.contains(value) {
                typed.push(name.as_str());
            }
        }
    }
    connector.add_derived_values(auth, &mut values);
    let mut reach = AllowedHosts::default();
    for (template, _) in url_templates(connector, auth_name, auth) {
        let host = HostTemplate::of(template);
        match template.origin(&values) {
            Some(url) => {
                reach.declare(&url);
                if host.sole_placeholder().is_some_and(|name| typed.contains(&name)) && source.allows(&url) {
                    reach.allow_user_provided(&url);
                }
            }
            None => add_pattern_host(connector, &host, &mut reach),
        }
    }
    for url in connector.webhook_urls() {
        reach.declare(&url);
    }
    if auth.oauth2.as_ref().is_some_and(|rules| rules.issuer.is_some()) {
        patterns(connector, "issuer", &mut reach);
    }
    let resource = auth.oauth2.as_ref().and_then(|rules| rules.protected_resource.as_ref());
    if resource
        .and_then(|resource| resource.origin(&values))
        .is_some_and(|resource| is_loopback(&resource) && matches!(reach.check(&resource), Ok(HostTrust::UserProvided)))
    {
        // A resource server under development: its authorization server has a port of its own.
        reach.allow_loopback();
    }
    Route::Vendor(Arc::new(reach))
}

/// Returns the pattern of a host that depends on a response: the file's declaration, or the literal suffix of every
/// value.
fn add_pattern_host(connector: &Connector, host: &HostTemplate, reach: &mut AllowedHosts) {
    for name in host.placeholders() {
        patterns(connector, if name == "userinfo_endpoint" { "issuer" } else { name }, reach);
    }
    if let Some(suffix) = host.suffix() {
        reach.pattern(&format!("*{suffix}"));
    }
}

fn patterns(connector: &Connector, name: &str, reach: &mut AllowedHosts) {
    for pattern in connector.hosts.get(name).into_iter().flatten() {
        reach.pattern(pattern);
    }
}

/// A route that also reaches a URL which the user typed, as in `--issuer`.
pub fn route_to(url: &Url) -> Route {
    let mut reach = AllowedHosts::default();
    reach.allow_user_provided(url);
    reach.pattern("*");
    Route::Vendor(Arc::new(reach))
}
