//! A chart of the deliveries of the last day: by the hour, and by their status.

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};
use serde_json::Value;

use super::super::components::{BarStack, StateTone, badge, stacks};
use super::super::context::DashboardContext;
use super::super::values::Fields;
use crate::server::problem::Problem;

const HOURS: usize = 24;

const HOUR_SECS: i64 = 3600;

/// The statuses of deliveries, from the bottom of a bar to its top. What has failed is tried again; what is dead is
/// not.
const STATUSES: [(&str, StateTone); 4] = [
    ("delivered", StateTone::Good),
    ("pending", StateTone::Busy),
    ("failed", StateTone::Warn),
    ("dead", StateTone::Bad),
];

/// Deliveries of an hour, or of a day, by status.
type Counts = [u32; STATUSES.len()];

/// Reads the deliveries of the last day: those to an endpoint, or all if none is named.
pub(super) async fn of_last_day(context: &DashboardContext, endpoint: &str) -> Result<Value, Problem> {
    let since = context.now.checked_sub(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MIN).to_string();
    let query = [("endpoint", endpoint), ("since", since.as_str()), ("limit", "1000")];
    context.get("/v1/deliveries", &[], &query).await
}

/// Shows them.
pub(super) fn chart(context: &DashboardContext, list: &Value) -> Markup {
    let hours = by_hour(list.items("data"), context.now.as_second());
    let total = hours.iter().fold(Counts::default(), |sum, hour| std::array::from_fn(|index| sum[index] + hour[index]));
    let most = hours.iter().map(|hour| hour.iter().sum()).max().unwrap_or(1).max(1);
    let shown: Vec<BarStack> = hours.iter().enumerate().map(|(index, hour)| bar(index, hour, most)).collect();
    let label = format!("Deliveries of the last day, a bar for each hour: {}", in_words(&total));
    html! {
        @if list.items("data").is_empty() { p .hint { "No deliveries in the last day." } }
        @else {
            (stacks(&label, &shown))
            p {
                @for ((status, tone), count) in STATUSES.iter().zip(total) {
                    @if count > 0 { (badge(*tone, &format!("{count} {status}"))) " " }
                }
                span .hint {
                    @if list.maybe("next_cursor").is_some() { "of the newest 1000, by the hour" }
                    @else { "in the last day, by the hour" }
                }
            }
        }
    }
}

/// Counts deliveries by the hour in which they were created, the oldest hour first.
fn by_hour(deliveries: &[Value], now: i64) -> [Counts; HOURS] {
    let mut hours = [Counts::default(); HOURS];
    for one in deliveries {
        let Ok(created_at) = one.text("created_at").parse::<Timestamp>() else { continue };
        let ago = usize::try_from((now - created_at.as_second()) / HOUR_SECS).unwrap_or_default();
        let status = STATUSES.iter().position(|(status, _)| *status == one.text("status"));
        if let (Some(status), Some(hour)) = (status, (HOURS - 1).checked_sub(ago)) {
            hours[hour][status] += 1;
        }
    }
    hours
}

fn bar(index: usize, hour: &Counts, most: u32) -> BarStack {
    let share = |count: u32| f64::from(count) / f64::from(most);
    let parts: Vec<_> = STATUSES.iter().zip(hour).filter(|(_, count)| **count > 0).collect();
    let mut parts: Vec<_> = parts.into_iter().map(|((_, tone), count)| (*tone, share(*count))).collect();
    if parts.is_empty() {
        parts.push((StateTone::Dim, 0.0));
    }
    BarStack { parts, about: format!("{} h ago: {}", HOURS - 1 - index, in_words(hour)) }
}

fn in_words(counts: &Counts) -> String {
    let words = STATUSES.iter().zip(counts).filter(|(_, count)| **count > 0);
    let words: Vec<String> = words.map(|((status, _), count)| format!("{count} {status}")).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn deliveries_are_counted_by_hour_and_status() {
        let now: Timestamp = "2031-03-05T12:00:00Z".parse().unwrap();
        let one = |created_at: &str, status: &str| json!({ "created_at": created_at, "status": status });
        let deliveries = [
            one("2031-03-05T11:59:59Z", "delivered"),
            one("2031-03-05T11:00:01Z", "dead"),
            one("2031-03-05T10:30:00Z", "failed"),
            one("2031-03-04T12:00:01Z", "pending"),
            // Before the last day, and after the time of this process.
            one("2031-03-04T11:59:00Z", "delivered"),
            one("2031-03-05T12:00:05Z", "delivered"),
        ];
        let hours = by_hour(&deliveries, now.as_second());
        assert_eq!((hours[23], hours[22], hours[0]), ([2, 0, 0, 1], [0, 0, 1, 0], [0, 1, 0, 0]));
        assert_eq!(hours.iter().flatten().sum::<u32>(), 5);
        assert_eq!((in_words(&hours[23]), in_words(&hours[1])), ("2 delivered, 1 dead".to_owned(), "none".to_owned()));
    }
}
