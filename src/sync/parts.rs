//! The lists of one stream: all of it, or one for each record of its parents.

use std::sync::atomic::Ordering;

use futures_util::stream::{self, StreamExt};
use indexmap::IndexMap;

use super::list::{Brought, PartEnd, Reader};
use super::order::given_by_user;
use super::run::Run;
use super::{SyncError, record};
use crate::connector::{Parent, Pointer};
use crate::error::{Error, Kind, Result};
use crate::json::Json;
use crate::store::{FullList, Given, Mode, Part, RecordId, StoredRecord};

/// Lists of one stream that are read side by side.
const PARTS_AT_ONCE: usize = 4;

/// Records of a parent that are taken from the store at once.
const PARENTS_A_PAGE: u32 = 200;

/// The lists of one stream.
pub(super) struct Parts<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) reader: &'a Reader<'a>,
    /// The stream's own parameters.
    pub(super) given: Given,
}

/// What became of all lists of a stream.
#[derive(Default)]
pub(super) struct Ends {
    pub(super) brought: Brought,
    listed: Vec<FullList>,
    pub(super) skipped: usize,
    /// Lists that the vendor gave.
    given: usize,
    /// The first failure, which is no reason not to go on with the other lists.
    failed: Option<Error>,
}

impl Ends {
    /// Whether the vendor gave none of the lists that it was asked for.
    pub(super) fn is_skipped(&self) -> bool {
        self.skipped > 0 && self.given == 0
    }
}

impl Parts<'_> {
    pub(super) async fn read_all(&self, ends: &mut Ends) -> Result<()> {
        let stream = self.reader.stream;
        if stream.parents.is_empty() {
            self.read_some(vec![(self.given.clone(), None)], ends).await?;
        } else if let Some(values) = given_by_user(stream, self.run.order) {
            let given = self.given.clone().into_iter().chain(values).collect();
            self.read_some(vec![(given, None)], ends).await?;
        } else {
            // What is listed for records of the stream itself comes last: they are there by then.
            let own = |parent: &&Parent| parent.stream == self.reader.name;
            for parent in stream.parents.iter().filter(|parent| !own(parent)).chain(stream.parents.iter().filter(own)) {
                self.read_below(parent, ends).await?;
            }
        }
        let mut listed = std::mem::take(&mut ends.listed);
        // Records of different pages may have given the same list.
        listed.sort_by_key(|read| read.part);
        listed.dedup_by_key(|read| read.part);
        self.reader.sweep(listed, &mut ends.brought).await?;
        ends.failed.take().map_or(Ok(()), Err)
    }

    /// The lists of all records of a parent.
    async fn read_below(&self, parent: &Parent, ends: &mut Ends) -> Result<()> {
        let store = &self.run.opened.store;
        let Some(above) = store.streams().find(self.run.session.connection.id, &parent.stream)? else { return Ok(()) };
        let mut after = RecordId(0);
        loop {
            let records = store.records().list(above.id, after, PARENTS_A_PAGE)?;
            let Some(last) = records.last() else { return Ok(()) };
            after = last.id;
            // Records that give the same values have one list, and the newest of them says whether it changed.
            let mut lists: IndexMap<Given, Above> = IndexMap::new();
            for record in &records {
                let Some(given) = self.values(parent, record) else { continue };
                let above = (record.id, record.version, parent.changed);
                let known = lists.entry(given).or_insert(above);
                if record.version > known.1 {
                    *known = above;
                }
            }
            let lists = lists.into_iter().map(|(given, above)| (given, Some(above)));
            self.read_some(lists.collect(), ends).await?;
        }
    }

    /// What a parent's record gives; absent where nothing is listed for it.
    fn values(&self, parent: &Parent, record: &StoredRecord) -> Option<Given> {
        let document = Json::checked(&record.json);
        if !parent.when.iter().all(|(at, values)| record::holds(document, at, values)) {
            return None;
        }
        let value = |(name, at): (&String, &Pointer)| Some((name.clone(), at.text_in(document)?));
        let values: Option<Given> = parent.values.iter().map(value).collect();
        Some(self.given.clone().into_iter().chain(values?).collect())
    }

    async fn read_some(&self, lists: Vec<Below>, ends: &mut Ends) -> Result<()> {
        let reads = stream::iter(lists).map(|(given, parent)| async move {
            let mut brought = Brought::default();
            let end = self.read_one(given, parent, &mut brought).await;
            (brought, end)
        });
        let mut reads = reads.buffer_unordered(PARTS_AT_ONCE);
        let mut last = None;
        while let Some((brought, end)) = reads.next().await {
            ends.brought.counts += brought.counts;
            ends.brought.traffic.add(brought.traffic);
            match end {
                Ok(None) => ends.given += 1,
                Ok(Some(PartEnd::Read)) => ends.given += 1,
                Ok(Some(PartEnd::Listed(read))) => {
                    ends.given += 1;
                    ends.listed.push(read);
                }
                Ok(Some(PartEnd::Skipped)) => ends.skipped += 1,
                // Every other list would fail as this one did.
                Err(error) if matches!(error.kind(), Kind::Temporary | Kind::AuthNeeded | Kind::Vault) => {
                    self.run.stop.store(true, Ordering::Relaxed);
                    last.get_or_insert(error);
                }
                Err(error) if error.downcast_ref::<SyncError>().is_some_and(is_cancelled) => {
                    last.get_or_insert(error);
                    break;
                }
                Err(error) => _ = ends.failed.get_or_insert(error),
            }
        }
        last.map_or(Ok(()), Err)
    }

    /// Reads one list; absent where nothing was to be read.
    async fn read_one(&self, given: Given, parent: Option<Above>, brought: &mut Brought) -> Result<Option<PartEnd>> {
        if self.run.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let (id, record) = (self.reader.id, parent.map(|(record, ..)| record));
        let part: Part =
            self.reader.in_store(move |opened| Ok(opened.store.streams().part(id, &given, record)?)).await?;
        let version = parent.map(|(_, version, _)| version);
        let unchanged = version.is_some() && part.parent_version >= version && part.progress.is_none();
        if parent.is_some_and(|(.., changed)| changed) && unchanged && self.reader.goal.mode == Mode::Incremental {
            self.reader.looked_back.store(true, Ordering::Relaxed);
            return Ok(None);
        }
        self.reader.read(&part, version, &self.run.token, brought).await.map(Some)
    }
}

/// A parent's record, its version, and whether only changed ones are listed for.
type Above = (RecordId, u64, bool);

/// The values of a list, and what gives them.
type Below = (Given, Option<Above>);

fn is_cancelled(error: &SyncError) -> bool {
    matches!(error, SyncError::Cancelled { .. })
}
