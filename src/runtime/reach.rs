//! The hosts of a connector file, resolved for one connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use url::Url;

use crate::connector::{Auth, Connector, HostPart, Values, urls};
use crate::http::{Reach, Route};

/// The route of a live connection: to the hosts of its connector file, with the parameters that the user gave, and nowhere
/// else.
///
/// What an answer gives is not known yet. Values that are stored from answers must match what the file declares for them
/// under `hosts`, so that the same route holds before and after the grant.
pub fn live_route(connector: &Connector, auth_name: &str, auth: &Auth, params: &BTreeMap<String, String>) -> Route {
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
    connector.add_given(auth, &mut values);
    let mut reach = Reach::default();
    for (template, _) in urls(connector, auth_name, auth) {
        let host = HostPart::of(template);
        match template.host(&values) {
            Some(url) => {
                reach.declare(&url);
                if host.whole_name().is_some_and(|name| typed.contains(&name)) {
                    reach.typed(&url);
                }
            }
            None => open_host(connector, &host, &mut reach),
        }
    }
    for url in connector.webhook_urls() {
        reach.declare(&url);
    }
    if auth.oauth2.as_ref().is_some_and(|rules| rules.issuer.is_some()) {
        patterns(connector, "issuer", &mut reach);
    }
    Route::Vendor(Arc::new(reach))
}

/// A host that an answer decides: what the file declares for it, or the literal suffix that every value keeps.
fn open_host(connector: &Connector, host: &HostPart, reach: &mut Reach) {
    for name in host.names() {
        patterns(connector, if name == "userinfo_endpoint" { "issuer" } else { name }, reach);
    }
    if let Some(suffix) = host.suffix() {
        reach.pattern(&format!("*{suffix}"));
    }
}

fn patterns(connector: &Connector, name: &str, reach: &mut Reach) {
    for pattern in connector.hosts.get(name).into_iter().flatten() {
        reach.pattern(pattern);
    }
}

/// A route that also reaches a URL which the user typed, as in `--issuer`.
pub fn typed_route(url: &Url) -> Route {
    let mut reach = Reach::default();
    reach.typed(url);
    reach.pattern("*");
    Route::Vendor(Arc::new(reach))
}
