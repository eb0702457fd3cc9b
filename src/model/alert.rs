//! Alerts: conditions that somebody should know of, each reported once while it lasts.

use super::connection::Transition;
use super::name::ConnectionName;

/// Identifies an alert: what holds, and of what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AlertKey {
    pub kind: Transition,
    /// A connection, `inbox`, `outbox`, or the name of an API token.
    pub subject: String,
}

/// A condition that holds, or nearly does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    pub key: AlertKey,
    /// The connection that it is about.
    pub connection: Option<ConnectionName>,
    pub reason: String,
    /// Whether it is bad enough to be reported. One that was reported lasts until it is only half as bad, so that a value
    /// around the threshold is not reported again and again.
    pub is_over_threshold: bool,
}

impl Alert {
    /// Compares a value with a threshold. Returns `None` below half of it, and for a threshold of zero, which is off.
    pub fn of_value(key: AlertKey, value: u64, threshold: u64, reason: String) -> Option<Self> {
        let is_near = threshold > 0 && value.saturating_mul(2) >= threshold;
        is_near.then_some(Self { key, connection: None, reason, is_over_threshold: value >= threshold })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_near_the_threshold_begins_no_alert_and_ends_none() {
        let key = AlertKey { kind: Transition::QueueAge, subject: "inbox".to_owned() };
        let over = |value, threshold| {
            Alert::of_value(key.clone(), value, threshold, String::new()).map(|alert| alert.is_over_threshold)
        };
        assert_eq!(
            [over(49, 100), over(50, 100), over(99, 100), over(100, 100)],
            [None, Some(false), Some(false), Some(true)]
        );
        assert_eq!(over(100, 0), None, "off");
    }
}
