//! Server-sent events (HTML, section 9.2): rows of a list as they change.
//!
//! A response ends after some seconds, or as soon as it has rows; the browser asks again by itself, and names the last row it
//! got. So a response is never longer than what is at hand, and a server that stops waits for none.

use std::time::Duration;

use maud::Markup;
use serde_json::Value;

use super::context::DashboardContext;
use super::pages::Shown;
use super::values::Fields;
use crate::http::serve::{FullResponse, Response, header};
use crate::ops::serving::store_activity;
use crate::server::problem::Problem;

/// How long a browser waits for rows before it asks again.
const WAIT: Duration = Duration::from_secs(20);

/// How often the store is asked whether anything has changed.
const INTERVAL: Duration = Duration::from_millis(400);

/// Milliseconds after which the browser asks again.
const RETRY_MS: u32 = 500;

/// A list of the API, the newest first.
pub(super) struct LiveRows<'q> {
    pub(super) path: &'static str,
    pub(super) query: &'q [(&'q str, &'q str)],
    /// The number that distinguishes rows, and grows.
    pub(super) key: &'static str,
}

/// Waits for rows that are newer than the browser's last one, or that have changed since, and sends them.
pub(super) async fn respond(
    context: &DashboardContext,
    rows: LiveRows<'_>,
    row: impl Fn(&Value) -> Markup,
) -> Result<Shown, Problem> {
    let workspace = context.workspace();
    let mut shutdown = std::pin::pin!(workspace.engine.shutdown.requested());
    let mut waited = Duration::ZERO;
    let Some((mut activity, known)) = context.last_event.as_deref().and_then(read_position) else {
        let newest = newest(context, &rows).await?;
        return Ok(Shown::Other(stream(&position(store_activity(workspace).await?, newest))));
    };
    loop {
        let present = store_activity(workspace).await?;
        if present != activity {
            let list = context.get(rows.path, &[], rows.query).await?;
            let fresh: Vec<&Value> = list.items("data").iter().filter(|one| one.number(rows.key) > known).collect();
            if let Some(newest) = fresh.iter().map(|one| one.number(rows.key)).max() {
                let texts = fresh.iter().rev().map(|one| format!("event: row\ndata: {}\n\n", one_line(&row(one).0)));
                return Ok(Shown::Other(stream(&format!(
                    "{}{}",
                    position(present, newest),
                    texts.collect::<String>()
                ))));
            }
            // The request for the list is itself recorded, in one commit. With more, there may be rows that it did not see.
            let after = store_activity(workspace).await?;
            activity = if after.saturating_sub(present) <= 1 { after } else { present };
        }
        if waited >= WAIT {
            return Ok(Shown::Other(stream(&position(activity, known))));
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => waited += INTERVAL,
            () = &mut shutdown => return Ok(Shown::Other(stream(&position(activity, known)))),
        }
    }
}

async fn newest(context: &DashboardContext, rows: &LiveRows<'_>) -> Result<i64, Problem> {
    let list = context.get(rows.path, &[], rows.query).await?;
    Ok(list.items("data").iter().map(|one| one.number(rows.key)).max().unwrap_or_default())
}

/// What the browser sends back: what it has seen of the store, and the newest row.
fn position(activity: u64, known: i64) -> String {
    format!("retry: {RETRY_MS}\nid: {activity}.{known}\nevent: position\ndata:\n\n")
}

fn read_position(text: &str) -> Option<(u64, i64)> {
    let (activity, known) = text.split_once('.')?;
    Some((activity.parse().ok()?, known.parse().ok()?))
}

/// A line break would end the data of an event.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

fn stream(text: &str) -> FullResponse {
    let mut response = Response::new(text.to_owned().into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/event-stream"));
    crate::server::reply::protect(headers);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_goes_on_where_it_was() {
        let text = position(12, 7);
        let id = text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
        assert_eq!(read_position(id), Some((12, 7)));
        assert_eq!(read_position("x"), None);
        assert_eq!(one_line("<td>a\nb</td>"), "<td>a b</td>");
    }
}
