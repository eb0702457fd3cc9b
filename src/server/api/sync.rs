//! Streams, records, syncs, jobs, cursors and schedules.

use std::ops::ControlFlow;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::bounded::Bounded;
use super::super::call::Call;
use super::super::page::{Cursor, CursorPage, Limit};
use super::super::reply::{Accepted, JsonReply, NoContent, Octets};
use super::{ApiRoute, DELETE, GET, POST, PUT, Unused};
use crate::error::Result;
use crate::export::{ExportedRecord, RecordFormat};
use crate::model::{BindingName, ConnectionName, JobId, StreamParams, UserId};
use crate::ops::sync::{
    self, ClearCursorsRequest, CursorListRequest, ImportCursorsRequest, JobListRequest, NewCursor, RecordSelection,
    RecordsRequest, RecordsSince, SetCursorRequest, SetScheduleRequest, StreamName, SyncRange, SyncStreamsRequest,
    SyncTarget,
};
use crate::sync::SyncObserver;
use crate::view::records::StoredStreamListView;
use crate::view::schema::Time;
use crate::view::sync::{
    CursorChangeView, CursorExport, CursorImportView, CursorListView, JobView, ScheduleView, SyncListView, SyncPlanView,
};

pub(super) fn routes() -> Vec<ApiRoute> {
    vec![
        ApiRoute::new((GET, "/v1/streams"), "records", "List the streams that have been synced", streams),
        ApiRoute::new(
            (GET, "/v1/connections/{connection}/streams"),
            "records",
            "List the streams of a connection that have been synced",
            connection_streams,
        ),
        ApiRoute::new(
            (GET, "/v1/connections/{connection}/streams/{stream}/records"),
            "records",
            "Read the records of a stream, or what has changed since a version or a time",
            records,
        ),
        ApiRoute::new(
            (GET, "/v1/connections/{connection}/streams/{stream}/file"),
            "records",
            "Return the records of a stream as a file",
            file,
        ),
        ApiRoute::new((POST, "/v1/connections/{connection}/sync"), "sync", "Sync streams of a connection", start),
        ApiRoute::new(
            (POST, "/v1/connections/{connection}/sync-plan"),
            "sync --dry-run",
            "Return what a sync would do",
            plan,
        ),
        ApiRoute::new((GET, "/v1/jobs"), "job list", "List sync jobs, the newest first", jobs),
        ApiRoute::new((GET, "/v1/jobs/{job}"), "job show", "Show a sync job", job),
        ApiRoute::new((POST, "/v1/jobs/{job}/retry"), "job retry", "Run the sync of a job again", retry),
        ApiRoute::new((POST, "/v1/jobs/{job}/cancel"), "job cancel", "Cancel a running sync job", cancel),
        ApiRoute::new(
            (GET, "/v1/connections/{connection}/streams/{stream}/cursors"),
            "cursor get",
            "List the cursors of a stream",
            cursors,
        ),
        ApiRoute::new(
            (PUT, "/v1/connections/{connection}/streams/{stream}/cursors"),
            "cursor set",
            "Set the cursor of a stream",
            set_cursor,
        ),
        ApiRoute::new(
            (DELETE, "/v1/connections/{connection}/streams/{stream}/cursors"),
            "cursor clear",
            "Clear the cursors of a stream: its next sync reads everything",
            clear_cursors,
        ),
        ApiRoute::new(
            (GET, "/v1/connections/{connection}/cursors"),
            "cursor export",
            "Export the cursors of a connection",
            export_cursors,
        ),
        ApiRoute::new(
            (PUT, "/v1/connections/{connection}/cursors"),
            "cursor import",
            "Import cursors that were exported",
            import_cursors,
        ),
        ApiRoute::new((GET, "/v1/schedules"), "schedule list", "List the schedules of syncs", schedules),
        ApiRoute::new(
            (PUT, "/v1/connections/{connection}/schedule"),
            "schedule set",
            "Set the schedule of a connection or of one of its streams",
            set_schedule,
        ),
        ApiRoute::new(
            (DELETE, "/v1/connections/{connection}/schedule"),
            "schedule remove",
            "Remove a schedule",
            remove_schedule,
        ),
    ]
}

/// Progress is in the jobs.
struct Unobserved;

impl SyncObserver for Unobserved {}

async fn streams(call: Call<Unused, Unused>) -> Result<JsonReply<StoredStreamListView>> {
    Ok(JsonReply(sync::list_stored_streams(&call.workspace, &[], None).await?))
}

async fn connection_streams(call: Call<Unused, Unused>) -> Result<JsonReply<StoredStreamListView>> {
    let target = SyncTarget { connection: call.connection()?, stream: None };
    Ok(JsonReply(sync::list_stored_streams(&call.workspace, &[target], None).await?))
}

fn stream_name<Q, B>(call: &Call<Q, B>) -> Result<StreamName> {
    Ok(StreamName { connection: call.connection()?, stream: call.path("stream")? })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RecordsQuery {
    /// Only records that changed after this version: the `_version` of the last record that you read.
    since_version: Option<u64>,
    /// Only records that changed at this time or later.
    #[schemars(with = "Option<Time>")]
    since: Option<Timestamp>,
    /// The binding that maps each record.
    binding: Option<BindingName>,
    #[serde(default)]
    limit: Limit,
}

/// Records of a stream.
#[derive(JsonSchema, Serialize)]
struct RecordListView {
    /// The service's objects, digit for digit, with integ's own members such as `_key` and `_version`.
    #[schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>")]
    data: Vec<Box<RawValue>>,
    /// Records that the binding could not map.
    failed: u64,
}

async fn records(call: Call<RecordsQuery, Unused>) -> Result<JsonReply<RecordListView>> {
    let stream = stream_name(&call)?;
    let RecordsQuery { since_version, since, binding, limit } = call.query;
    let since = since_version.map(RecordsSince::Version).or(since.map(RecordsSince::Time));
    let limit = usize::try_from(limit.get()).unwrap_or(usize::MAX);
    let selection = RecordSelection { since, limit: Some(limit) };
    let request = RecordsRequest { stream, selection, binding };
    let mut data = Vec::new();
    let report = sync::read_records(&call.workspace, request, |record: ExportedRecord| {
        // What is stored is JSON.
        data.extend(RawValue::from_string(record.json()));
        Ok(ControlFlow::Continue(()))
    })
    .await?;
    Ok(JsonReply(RecordListView { data, failed: report.failed }))
}

/// The format of a file of records.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum FileFormat {
    Csv,
    Parquet,
    Jsonl,
}

impl From<FileFormat> for RecordFormat {
    fn from(format: FileFormat) -> Self {
        match format {
            FileFormat::Csv => Self::Csv,
            FileFormat::Parquet => Self::Parquet,
            FileFormat::Jsonl => Self::Jsonl,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileQuery {
    format: FileFormat,
    /// The binding that maps each record.
    binding: Option<BindingName>,
    /// All records if absent.
    limit: Option<Bounded<1, { u32::MAX }>>,
}

async fn file(call: Call<FileQuery, Unused>) -> Result<Octets> {
    let stream = stream_name(&call)?;
    let FileQuery { format, binding, limit } = call.query;
    let selection = RecordSelection { since: None, limit: limit.and_then(|limit| usize::try_from(limit.get()).ok()) };
    let request = RecordsRequest { stream, selection, binding };
    let (bytes, _) = sync::write_records(&call.workspace, request, format.into(), Vec::new()).await?;
    Ok(Octets(bytes))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SyncBody {
    /// All of the connection's streams if empty.
    #[serde(default)]
    streams: Vec<String>,
    #[serde(default)]
    mode: SyncBodyMode,
    /// Start of a backfill.
    #[schemars(with = "Option<Time>")]
    since: Option<Timestamp>,
    /// End of a backfill; now if absent.
    #[schemars(with = "Option<Time>")]
    until: Option<Timestamp>,
    /// Parameters of the streams.
    #[serde(default)]
    params: StreamParams,
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum SyncBodyMode {
    #[default]
    Incremental,
    Full,
    Backfill,
}

fn sync_request(call: &Call<Unused, SyncBody>) -> Result<SyncStreamsRequest> {
    let connection = call.connection()?;
    let SyncBody { streams, mode, since, until, params } = &call.body;
    let target = |stream: Option<&String>| SyncTarget { connection: connection.clone(), stream: stream.cloned() };
    let targets: Vec<SyncTarget> = match streams.is_empty() {
        true => vec![target(None)],
        false => streams.iter().map(|stream| target(Some(stream))).collect(),
    };
    let range = match (mode, since) {
        (SyncBodyMode::Incremental, None) => SyncRange::Incremental,
        (SyncBodyMode::Full, None) => SyncRange::Full,
        (_, since) => SyncRange::Backfill { since: since.unwrap_or(Timestamp::UNIX_EPOCH), until: *until },
    };
    Ok(SyncStreamsRequest { targets, range, params: params.clone() })
}

/// How long a request waits for a sync. A longer one goes on, and its jobs tell of it.
const SYNC_WAIT: Duration = Duration::from_secs(25);

/// A sync that has ended, or that goes on.
#[derive(JsonSchema, Serialize)]
struct StartedSyncView {
    /// Null while it is running: see the jobs of the connection for its progress.
    result: Option<SyncListView>,
    /// The jobs of the connection.
    jobs_url: String,
}

async fn start(call: Call<Unused, SyncBody>) -> Result<Accepted<StartedSyncView>> {
    let request = sync_request(&call)?;
    let connection = call.connection()?;
    // What cannot be started is refused at once.
    sync::plan_sync(&call.workspace, request.clone()).await?;
    let workspace = call.workspace;
    let running = tokio::spawn(async move {
        let _hold = workspace.engine.shutdown.hold();
        sync::sync_streams(&workspace, request, &Unobserved).await
    });
    let result = match tokio::time::timeout(SYNC_WAIT, running).await {
        Ok(Ok(result)) => Some(result?),
        Ok(Err(_)) | Err(_) => None,
    };
    Ok(Accepted(StartedSyncView { result, jobs_url: jobs_url(&connection) }))
}

fn jobs_url(connection: &ConnectionName) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("connection", &connection.to_string())
        .finish();
    format!("/v1/jobs?{query}")
}

async fn plan(call: Call<Unused, SyncBody>) -> Result<JsonReply<SyncPlanView>> {
    let request = sync_request(&call)?;
    Ok(JsonReply(sync::plan_sync(&call.workspace, request).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct JobsQuery {
    /// Only those of this connection.
    connection: Option<ConnectionName>,
    /// Only those of connections of this user.
    user: Option<UserId>,
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor>,
}

async fn jobs(call: Call<JobsQuery, Unused>) -> Result<JsonReply<CursorPage<JobView>>> {
    let JobsQuery { connection, user, limit, cursor } = call.query;
    let before = cursor.map(|cursor| cursor.key().map(JobId)).transpose()?;
    let request = JobListRequest { connection, user, before, limit: limit.with_next() };
    let jobs = sync::list_jobs(&call.workspace, request).await?.jobs;
    Ok(JsonReply(CursorPage::new(jobs, limit, |job| job.id.to_string())))
}

fn job_id(call: &Call<Unused, Unused>) -> Result<JobId> {
    Ok(JobId(call.path("job")?))
}

async fn job(call: Call<Unused, Unused>) -> Result<JsonReply<JobView>> {
    Ok(JsonReply(sync::show_job(&call.workspace, job_id(&call)?).await?))
}

async fn retry(call: Call<Unused, Unused>) -> Result<JsonReply<SyncListView>> {
    let id = job_id(&call)?;
    Ok(JsonReply(Box::pin(sync::retry_job(&call.workspace, id, &Unobserved)).await?))
}

async fn cancel(call: Call<Unused, Unused>) -> Result<JsonReply<JobView>> {
    let id = job_id(&call)?;
    Ok(JsonReply(sync::cancel_job(&call.workspace, id).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CursorsQuery {
    /// Include the cursors that were replaced.
    #[serde(default)]
    history: bool,
}

async fn cursors(call: Call<CursorsQuery, Unused>) -> Result<JsonReply<CursorListView>> {
    let request = CursorListRequest { stream: stream_name(&call)?, history: call.query.history };
    Ok(JsonReply(sync::list_cursors(&call.workspace, request).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CursorBody {
    cursor: String,
    /// The partition, if the stream has several.
    #[serde(default)]
    partition: StreamParams,
}

async fn set_cursor(call: Call<Unused, CursorBody>) -> Result<JsonReply<CursorChangeView>> {
    let stream = stream_name(&call)?;
    let CursorBody { cursor, partition } = call.body;
    let request = SetCursorRequest { stream, partition, cursor: NewCursor::Value(cursor) };
    Ok(JsonReply(sync::set_cursor(&call.workspace, request).await?))
}

async fn clear_cursors(call: Call<Unused, Unused>) -> Result<NoContent> {
    let request = ClearCursorsRequest { stream: stream_name(&call)?, partition: StreamParams::new() };
    sync::clear_cursors(&call.workspace, request).await?;
    Ok(NoContent)
}

async fn export_cursors(call: Call<Unused, Unused>) -> Result<JsonReply<CursorExport>> {
    let target = SyncTarget { connection: call.connection()?, stream: None };
    Ok(JsonReply(sync::export_cursors(&call.workspace, target).await?))
}

async fn import_cursors(call: Call<Unused, CursorExport>) -> Result<JsonReply<CursorImportView>> {
    let connection = call.connection()?;
    let request = ImportCursorsRequest { connection, export: call.body };
    Ok(JsonReply(sync::import_cursors(&call.workspace, request).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SchedulesQuery {
    /// Only those of this connection.
    connection: Option<ConnectionName>,
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor>,
}

async fn schedules(call: Call<SchedulesQuery, Unused>) -> Result<JsonReply<CursorPage<ScheduleView>>> {
    let SchedulesQuery { connection, limit, cursor } = call.query;
    let schedules = sync::list_schedules(&call.workspace, connection.as_ref()).await?.schedules;
    let key =
        |schedule: &ScheduleView| format!("{}/{}", schedule.connection, schedule.stream.as_deref().unwrap_or_default());
    Ok(JsonReply(CursorPage::of_list(schedules, cursor.as_ref(), limit, key)?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ScheduleBody {
    /// All streams if absent.
    stream: Option<String>,
    /// An interval such as `every 15m`, or a cron expression.
    rule: String,
    /// Random delay of each run, in seconds at most; none if absent.
    jitter_secs: Option<Bounded<0, 86_400>>,
}

async fn set_schedule(call: Call<Unused, ScheduleBody>) -> Result<JsonReply<ScheduleView>> {
    let connection = call.connection()?;
    let ScheduleBody { stream, rule, jitter_secs } = call.body;
    let request = SetScheduleRequest {
        target: SyncTarget { connection, stream },
        rule,
        jitter_secs: jitter_secs.map_or(0, Bounded::get),
    };
    Ok(JsonReply(sync::set_schedule(&call.workspace, request).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ScheduleQuery {
    /// The stream, if the schedule is for a stream.
    stream: Option<String>,
}

async fn remove_schedule(call: Call<ScheduleQuery, Unused>) -> Result<NoContent> {
    let target = SyncTarget { connection: call.connection()?, stream: call.query.stream.clone() };
    sync::remove_schedule(&call.workspace, target).await?;
    Ok(NoContent)
}
