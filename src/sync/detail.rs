//! Fetches each record of a list that only contains references.

use std::collections::HashSet;
use std::ops::ControlFlow;

use futures_util::stream::{self, StreamExt};

use super::SyncError;
use super::checkpoint::Checkpoint;
use super::fetch::{Fetcher, PositionSource, traffic_of};
use super::outcome::{Flow, or_fail};
use super::page::{PageReader, ParsedPage};
use super::record::ParsedRecord;
use crate::api::GrantToken;
use crate::json::Json;
use crate::model::Traffic;
use crate::runtime::BoxFuture;

/// Records of a page that are requested concurrently.
const CONCURRENT_RECORDS: usize = 8;

/// Puts the records themselves in the place of those that the list names, if the stream asks for each.
pub(super) async fn fetch_details(
    fetcher: Fetcher<'_>,
    reader: &PageReader<'_>,
    checkpoint: &Checkpoint,
    token: &GrantToken,
    mut page: ParsedPage,
    traffic: &mut Traffic,
) -> Flow<ParsedPage> {
    let run = fetcher.run;
    let Some(detail) = &run.stream.detail else { return ControlFlow::Continue(page) };
    let mut listed = std::mem::take(&mut page.records);
    if detail.once && (run.stream.token.is_none() || checkpoint.since.is_none()) {
        let keys: Vec<String> = listed.iter().map(|record| record.record.key.clone()).collect();
        let known = or_fail(run.store.records().exist(run.id, &keys).await)?;
        let mut known = known.into_iter();
        listed.retain(|record| {
            let is_known = known.next() == Some(true);
            if is_known {
                page.unchanged_keys.push(record.record.key.clone());
            }
            !is_known
        });
    }
    let mut seen = HashSet::new();
    listed.retain(|record| seen.insert(record.record.key.clone()));
    let ask = |record: ParsedRecord| -> BoxFuture<'_, _> {
        let mut token = token.clone();
        Box::pin(async move {
            let document = record.document();
            let answer = fetcher.send(&mut token, |grant| fetcher.list.detail(detail, &document, grant)).await;
            (record.record.key, answer)
        })
    };
    let mut details = stream::iter(listed).map(ask).buffered(CONCURRENT_RECORDS);
    while let Some((key, answer)) = details.next().await {
        let answer = answer?;
        *traffic += traffic_of(&answer);
        if matches!(answer.response.status, 404 | 410) {
            page.deleted_keys.push(key);
            continue;
        }
        fetcher.check(&answer, &Checkpoint::default(), PositionSource::ThisRun)?;
        let text = answer.response.text();
        let json = text.as_deref().map_err(Clone::clone).and_then(Json::validate);
        let not_json = |source| run.error(|connection, stream| SyncError::NotJson { connection, stream, source });
        let json = or_fail(json.map_err(not_json))?;
        page.records.push(or_fail(reader.parse_record(json))?);
    }
    ControlFlow::Continue(page)
}
