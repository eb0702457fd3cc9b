//! Metrics, alerts and logs.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::call::Call;
use super::super::page::{Cursor, CursorPage, Limit};
use super::super::reply::{JsonReply, PrometheusText};
use super::{ApiRoute, GET, Unused};
use crate::error::Result;
use crate::model::ConnectionName;
use crate::ops::alerts::{ListAlertsRequest, list_alerts};
use crate::ops::logs::{self, ListLogsRequest};
use crate::ops::metrics::{connection_metrics, workspace_metrics};
use crate::view::alert::AlertListView;
use crate::view::log::LogEntryView;
use crate::view::metrics::{ConnectionMetricsView, WorkspaceMetricsView};
use crate::view::prometheus::exposition;
use crate::view::schema::Time;

pub(super) fn routes() -> Vec<ApiRoute> {
    vec![
        ApiRoute::new((GET, "/metrics"), "metrics", "Return the metrics of the workspace for Prometheus", prometheus),
        ApiRoute::new((GET, "/v1/metrics"), "metrics", "Return the metrics of the workspace", metrics),
        ApiRoute::new(
            (GET, "/v1/connections/{connection}/metrics"),
            "metrics",
            "Return the metrics of a connection",
            metrics_of_connection,
        ),
        ApiRoute::new((GET, "/v1/alerts"), "alert list", "List what fails, waits too long or expires soon", alerts),
        ApiRoute::new((GET, "/v1/logs"), "logs", "List the log of the workspace, the newest entry first", list),
        ApiRoute::new(
            (GET, "/v1/connections/{connection}/logs"),
            "logs",
            "List the log of a connection, the newest entry first",
            list_of_connection,
        ),
    ]
}

async fn prometheus(call: Call<Unused, Unused>) -> Result<PrometheusText> {
    Ok(PrometheusText(exposition(&workspace_metrics(&call.workspace, None).await?)))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MetricsQuery {
    /// Start of the time to count; a day ago if absent.
    #[schemars(with = "Option<Time>")]
    since: Option<Timestamp>,
}

async fn metrics(call: Call<MetricsQuery, Unused>) -> Result<JsonReply<WorkspaceMetricsView>> {
    Ok(JsonReply(workspace_metrics(&call.workspace, call.query.since).await?))
}

async fn metrics_of_connection(call: Call<MetricsQuery, Unused>) -> Result<JsonReply<ConnectionMetricsView>> {
    Ok(JsonReply(connection_metrics(&call.workspace, &call.connection()?, call.query.since).await?))
}

async fn alerts(call: Call<Unused, Unused>) -> Result<JsonReply<AlertListView>> {
    let request = ListAlertsRequest { has_api_tokens: call.caller.token().is_none() };
    Ok(JsonReply(list_alerts(&call.workspace, request).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LogsQuery {
    #[schemars(with = "Option<Time>")]
    since: Option<Timestamp>,
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor>,
}

async fn list(call: Call<LogsQuery, Unused>) -> Result<JsonReply<CursorPage<LogEntryView>>> {
    page(&call, None).await
}

async fn list_of_connection(call: Call<LogsQuery, Unused>) -> Result<JsonReply<CursorPage<LogEntryView>>> {
    let connection = call.connection()?;
    page(&call, Some(connection)).await
}

async fn page(
    call: &Call<LogsQuery, Unused>,
    connection: Option<ConnectionName>,
) -> Result<JsonReply<CursorPage<LogEntryView>>> {
    let LogsQuery { since, limit, cursor } = &call.query;
    let after = cursor.as_ref().map(Cursor::key).transpose()?.unwrap_or_default();
    let request = ListLogsRequest { connection, since: *since, after, limit: limit.with_next() };
    let entries = logs::list_logs(&call.workspace, &request).await?.entries;
    Ok(JsonReply(CursorPage::new(entries, *limit, |entry| entry.position.to_string())))
}
