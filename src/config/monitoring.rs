//! `[health]` and `[alerts]`: how often connections are checked, and when somebody is notified.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::duration;
use crate::model::ConnectionName;

/// `[health]`: health checks that `integ serve` makes by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthConfig {
    /// How often a connection is checked; zero for never.
    pub interval: Duration,
    /// Other intervals, of connections and of the connections of connectors.
    pub intervals: Vec<CheckInterval>,
    /// For how long the results of checks are stored.
    pub retention: Duration,
}

/// The interval of a connection, or of the connections of a connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckInterval {
    name: ConnectionName,
    interval: Duration,
}

/// `[alerts]`: from when on something is reported to the hooks of `[notify]`. Zero for never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertsConfig {
    /// How long an event or a message may be overdue.
    pub queue_age: Duration,
    /// Percent of checks, syncs and events of a connection, or of deliveries, that may fail within an hour.
    pub error_rate: u32,
    /// How long before its end something that expires is reported.
    pub expiry: Duration,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(15 * 60),
            intervals: Vec::new(),
            retention: Duration::from_secs(90 * 86_400),
        }
    }
}

impl Default for AlertsConfig {
    fn default() -> Self {
        Self { queue_age: Duration::from_secs(15 * 60), error_rate: 20, expiry: Duration::from_secs(14 * 86_400) }
    }
}

impl HealthConfig {
    /// Returns how often a connection is checked; `None` for never. Its own interval counts before that of its connector.
    pub fn interval_of(&self, name: &ConnectionName) -> Option<Duration> {
        let own = self.intervals.iter().find(|entry| entry.name == *name);
        let connector = || {
            let of =
                |entry: &&CheckInterval| entry.name.account().is_none() && entry.name.connector() == name.connector();
            self.intervals.iter().find(of)
        };
        let interval = own.or_else(connector).map_or(self.interval, |entry| entry.interval);
        (!interval.is_zero()).then_some(interval)
    }
}

impl FromStr for CheckInterval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').and_then(|(name, interval)| {
            Some(Self { name: name.parse().ok()?, interval: duration_or_off(interval, MIN_INTERVAL)? })
        });
        parts.ok_or_else(|| format!("{text:?} is not an interval such as slack=5m"))
    }
}

impl fmt::Display for CheckInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, format_or_off(self.interval))
    }
}

/// The shortest time between two checks: services limit how often they may be asked.
pub(super) const MIN_INTERVAL: Duration = Duration::from_secs(60);

/// Reads a duration of at least so long, or `off` and zero.
pub(super) fn duration_or_off(text: &str, least: Duration) -> Option<Duration> {
    if text.trim() == "off" {
        return Some(Duration::ZERO);
    }
    duration::parse(text).filter(|duration| duration.is_zero() || *duration >= least)
}

/// Writes a duration, or `off` for zero.
pub(super) fn format_or_off(duration: Duration) -> String {
    if duration.is_zero() { "off".to_owned() } else { duration::format(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_connection_counts_before_that_of_its_connector() {
        let intervals = ["slack@work=5m", "slack=1h", "github=off"].map(|text| text.parse().unwrap()).to_vec();
        let config = HealthConfig { intervals, ..HealthConfig::default() };
        let of = |name: &str| config.interval_of(&name.parse().unwrap()).map(|interval| interval.as_secs() / 60);
        assert_eq!(
            [of("slack@work"), of("slack@home"), of("slack"), of("github"), of("jira")],
            [Some(5), Some(60), Some(60), None, Some(15)]
        );
        let off = HealthConfig { interval: Duration::ZERO, ..config };
        assert_eq!(off.interval_of(&"jira".parse().unwrap()), None);
    }

    #[test]
    fn an_interval_is_a_name_and_a_time() {
        for text in ["slack@work=5m", "github=off"] {
            assert_eq!(text.parse::<CheckInterval>().unwrap().to_string(), text);
        }
        for text in ["slack", "slack=", "slack=soon", "slack=5s", "=5m", "a b=5m"] {
            assert!(text.parse::<CheckInterval>().is_err(), "{text}");
        }
    }
}
