//! The plan of a sync, for a dry run.

use super::checkpoint::Checkpoint;
use super::request::ListRequestBuilder;
use super::selection::{SelectedStream, Selection, SyncRequest, own_params, read_goal, select_streams};
use crate::api::GrantToken;
use crate::error::{Error, Result};
use crate::http::redact_url;
use crate::model::SyncMode;
use crate::oauth::refresh;
use crate::runtime::{Session, Workspace};

/// What a run of a stream would ask first.
#[derive(Clone, Debug)]
pub struct PlannedStream {
    pub stream: String,
    pub mode: SyncMode,
    /// Lists there are of it so far.
    pub partition_count: usize,
    /// The cursor of the first of them.
    pub cursor: Option<String>,
    /// Method and URL, without secrets; absent where the parents are not known yet.
    pub request: Option<String>,
    /// Why it would be left out.
    pub skip_reason: Option<String>,
}

/// Returns what a run would ask first of each stream, without asking.
///
/// # Errors
/// As [`run`](super::run()).
pub async fn dry_run(workspace: &Workspace, request: &SyncRequest) -> Result<Vec<PlannedStream>> {
    let loaded = refresh::load_grant(workspace, &request.connection).await?;
    let token = GrantToken::from(&loaded);
    let session = workspace.session(loaded.connection).await?;
    let (selected, left_out) = match select_streams(workspace, &session, request).await? {
        Selection::Streams { selected, left_out } => (selected, left_out),
        Selection::Refused(obstacle) => return Err(obstacle.into()),
    };
    let mut planned = Vec::new();
    for selected in &selected {
        planned.push(plan_stream(workspace, &session, request, &token, selected).await?);
    }
    planned.extend(left_out.into_iter().map(|left_out| PlannedStream {
        stream: left_out.name.to_owned(),
        mode: request.mode,
        partition_count: 0,
        cursor: None,
        request: None,
        skip_reason: Some(Error::from(left_out.obstacle).message()),
    }));
    Ok(planned)
}

async fn plan_stream(
    workspace: &Workspace,
    session: &Session,
    request: &SyncRequest,
    token: &GrantToken,
    selected: &SelectedStream<'_>,
) -> Result<PlannedStream> {
    let SelectedStream { name, stream, mode } = *selected;
    let streams = workspace.store().await?.streams();
    let now = workspace.clock.now();
    let stored = streams.find(session.connection.id, name).await?;
    let params = own_params(stream, stored.as_ref(), request);
    let partitions = match &stored {
        Some(stored) => streams.partitions(stored.id).await?,
        None => Vec::new(),
    };
    let first = partitions.first();
    let params =
        first.map(|partition| partition.params.clone()).or_else(|| stream.parents.is_empty().then_some(params));
    let cursor = first.and_then(|partition| partition.cursor.clone());
    let checkpoint = Checkpoint::first(stream, &read_goal(request, mode), cursor.as_deref(), now);
    let first_request = params.map(|params| {
        let list = ListRequestBuilder { session, name, stream, params: &params, now };
        let first = list.page(&checkpoint, &token.grant)?;
        let url = session.route.display_url(&first.url);
        Ok::<_, Error>(format!("{} {}", first.method, redact_url(&url, &first.secrets)))
    });
    Ok(PlannedStream {
        stream: name.to_owned(),
        mode,
        partition_count: partitions.len(),
        cursor,
        request: first_request.transpose()?,
        skip_reason: None,
    })
}
