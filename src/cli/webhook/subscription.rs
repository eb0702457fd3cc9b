//! Describes subscriptions.

use serde_json::Value;

use super::super::table::relative;
use crate::view::webhook::SubscriptionView;

/// Returns what there is to know of a subscription in a few words: what is wrong, or when it is renewed.
pub(in crate::cli) fn subscription_note(subscription: &SubscriptionView) -> Option<String> {
    match (&subscription.error, subscription.renews_in) {
        (Some(error), _) => Some(error.clone()),
        (None, Some(seconds)) if seconds > 0 => Some(format!("renews {}", relative(seconds))),
        (None, Some(_)) => Some("is to be renewed".to_owned()),
        (None, None) => None,
    }
}

/// Returns a subscription as one line of a list.
pub(super) fn subscription_line(subscription: &SubscriptionView) -> String {
    let param = |(name, value): (&String, &Value)| {
        format!("  {name}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let params: String = subscription.params.iter().map(param).collect();
    let events = match subscription.events.join(",") {
        events if events.is_empty() => events,
        events => format!("  {events}"),
    };
    let note = subscription_note(subscription).map(|note| format!("  ({note})")).unwrap_or_default();
    format!("{}  {}{params}{events}{note}", subscription.id, subscription.status)
}
