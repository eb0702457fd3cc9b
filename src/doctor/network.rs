//! Checks that services can be reached: name resolution, TLS, a response. No credential is sent.

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use super::{DoctorContext, Finding};
use crate::clock::{Stopwatch, Timestamp};
use crate::connector::Catalogue;
use crate::http::{Client, Request, Route};
use crate::model::{Connection, ConnectionMode};
use crate::runtime::Session;

/// For one host, from the look-up to the answer.
const TIMEOUT: Duration = Duration::from_secs(8);

/// More hosts than this are a sign that it is not the network that is to be looked at.
const MAX_HOSTS: usize = 32;

/// How far the clock may be from a service's own: tokens and signatures allow about so much.
const CLOCK_SLACK_SECS: i64 = 60;

pub(super) async fn check_network(connections: &[Connection], around: &DoctorContext) -> Vec<Finding> {
    let catalogue = around.catalogue();
    let mut hosts = BTreeMap::new();
    for url in connections.iter().filter_map(|connection| api_url(connection, &catalogue)) {
        hosts.entry(url.origin().ascii_serialization()).or_insert(url);
    }
    if hosts.is_empty() {
        return vec![Finding::ok("network", "no connection uses the network")];
    }
    let client = Client::new(TIMEOUT);
    let visits = hosts.into_values().take(MAX_HOSTS).map(|url| check_host(&client, url));
    let visited = futures_util::future::join_all(visits).await;
    let mut findings = Vec::new();
    let mut dates = Vec::new();
    for (finding, date) in visited {
        findings.push(finding);
        dates.extend(date);
    }
    findings.extend(clock(&dates, around.clock.now()));
    findings
}

/// Where the connection's API is, without the path; none where it is inside this process.
fn api_url(connection: &Connection, catalogue: &Catalogue) -> Option<Url> {
    let route = match (&connection.origin, connection.mode) {
        (_, ConnectionMode::Sandbox) => return None,
        (Some(origin), ConnectionMode::Live) => Route::Origin(origin.clone()),
        (None, ConnectionMode::Live) => Route::Live,
    };
    let connector = catalogue.get(connection.name.connector()).ok()?;
    let auth = connector.auth_method(Some(&connection.auth)).ok()?.1.clone();
    let session = Session { connection: connection.clone(), connector, auth, route };
    let base = session.auth.base.as_ref().or(session.connector.api.base.as_ref())?;
    let values = session.values(None);
    // What names a secret is left open: the host comes before it.
    let text = if base.is_complete(&values) { base.fill_path(&values).ok()? } else { base.to_string() };
    let mut url = Url::parse(text.split('{').next()?).ok()?;
    url.set_path("/");
    url.set_query(None);
    session.route.resolve(&url).ok()
}

/// One host: how long its name and its answer took, and the time it says it is.
async fn check_host(client: &Client, url: Url) -> (Finding, Option<Timestamp>) {
    let host = url.host_str().unwrap_or_default().to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let watch = Stopwatch::start();
    let looked_up = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((host.trim_matches(['[', ']']), port))).await;
    let resolved = match looked_up {
        Ok(Ok(mut addresses)) => addresses.next().is_some(),
        Ok(Err(_)) | Err(_) => false,
    };
    let name_ms = watch.elapsed().as_millis();
    let watch = Stopwatch::start();
    match client.send(Request::new("HEAD", url), &Route::Live).await {
        Ok(response) => {
            // Behind a proxy names may resolve for the proxy alone.
            let name = if resolved { format!("name {name_ms} ms") } else { "name unknown here".to_owned() };
            let took = watch.elapsed().as_millis();
            (
                Finding::ok("network", format!("{host} answers: {name}, connection and answer {took} ms")),
                response.date(),
            )
        }
        Err(_) if !resolved => {
            let fix = Some(format!("getent hosts {host}"));
            (Finding::error("network", format!("the name {host} does not resolve"), fix), None)
        }
        Err(error) => (Finding::failure("network", error), None),
    }
}

/// The median of the services' clocks against this one: one of them alone may be wrong.
fn clock(dates: &[Timestamp], now: Timestamp) -> Option<Finding> {
    let mut apart: Vec<i64> = dates.iter().map(|date| date.as_second() - now.as_second()).collect();
    apart.sort_unstable();
    let median = *apart.get(apart.len() / 2)?;
    Some(if median.abs() > CLOCK_SLACK_SECS {
        let way = if median > 0 { "behind" } else { "ahead of" };
        let fix = Some("timedatectl set-ntp true, or set the clock by hand".to_owned());
        Finding::error("clock", format!("it is {} s {way} the services' own", median.abs()), fix)
    } else {
        Finding::ok("clock", format!("within {} s of the services' own", median.abs().max(1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn one_wrong_clock_of_several_is_outvoted() {
        let at = |seconds| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        let level = |dates: &[i64]| {
            clock(&dates.iter().map(|date| at(*date)).collect::<Vec<_>>(), at(0)).map(|found| found.severity)
        };
        assert_eq!(level(&[]), None);
        assert_eq!(level(&[1, 0, 90_000]), Some(Severity::Ok));
        assert_eq!(level(&[300, 301, 0]), Some(Severity::Error));
        assert_eq!(level(&[-300]), Some(Severity::Error));
    }
}
