//! The records that a request lists, in order. Records are generated per page, so a page of a list of millions costs as
//! much as that of a short list.
//!
//! What was there at first has a place that can be computed, in every order. What happened since is kept apart: few records,
//! each of which is put where it belongs among the others.

use std::ops::Range;

use super::page::SortOrder;
use super::records::{GeneratedRecord, RecordSet};

/// Which records of a list are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RowFilter {
    /// The first and the last moment, both included.
    pub(super) since: Option<i64>,
    pub(super) until: Option<i64>,
    /// Deleted records as well.
    pub(super) with_deleted: bool,
    /// The place before which records are done with.
    pub(super) first: u64,
}

impl RowFilter {
    fn fits(&self, row: &GeneratedRecord) -> bool {
        (!row.is_deleted() || self.with_deleted)
            && row.index >= self.first
            && self.since.is_none_or(|since| row.cursor_value >= since)
            && self.until.is_none_or(|until| row.cursor_value <= until)
    }
}

/// The chosen records of a list in an order.
pub(super) struct RowSelection<'s, 'a> {
    set: &'s RecordSet<'a>,
    pub(super) order: SortOrder,
    /// Positions, in ascending order, of those that were there at first and to which nothing happened.
    base: Range<u64>,
    /// Positions in `base` of those to which something did.
    holes: Vec<u64>,
    /// The others, each with its place in the whole.
    extra: Vec<(u64, GeneratedRecord)>,
}

impl<'s, 'a> RowSelection<'s, 'a> {
    /// The records that a filter leaves.
    pub(super) fn filtered(set: &'s RecordSet<'a>, order: SortOrder, filter: &RowFilter) -> Self {
        // By time a filter leaves one stretch: a list that no order was asked for comes so as well.
        let is_filtered = filter.since.is_some() || filter.until.is_some();
        let order = if is_filtered && order == SortOrder::Created && filter.first == 0 {
            SortOrder::OldestFirst
        } else {
            order
        };
        let mut selection = Self { set, order, base: 0..set.count, holes: Vec::new(), extra: Vec::new() };
        let below = |limit: i64| partition_point(0..set.count, |at| selection.base_row(at).cursor_value < limit);
        let start = filter.since.map_or(0, below).max(filter.first.min(set.count));
        let end = filter.until.map_or(set.count, |until| below(until.saturating_add(1)));
        selection.base = start..end.max(start);
        let initial = set.changed.keys().filter(|index| **index < set.count);
        selection.holes =
            initial.map(|index| selection.position(*index)).filter(|at| selection.base.contains(at)).collect();
        selection.holes.sort_unstable();
        selection.with_extra(set.changed.values().filter(|row| filter.fits(row)).copied().collect())
    }

    /// These records and no others.
    pub(super) fn of_rows(set: &'s RecordSet<'a>, order: SortOrder, rows: Vec<GeneratedRecord>) -> Self {
        Self { set, order, base: 0..0, holes: Vec::new(), extra: Vec::new() }.with_extra(rows)
    }

    fn with_extra(mut self, mut rows: Vec<GeneratedRecord>) -> Self {
        rows.sort_by_key(|row| self.key(row));
        let places = (0..).zip(rows).map(|(number, row)| (self.base_before(self.key(&row)) + number, row));
        self.extra = places.collect();
        self
    }

    /// The key of the ascending order that this one is, or is the contrary of.
    fn key(&self, row: &GeneratedRecord) -> (i64, i64) {
        match self.order {
            SortOrder::NewestFirst => SortOrder::OldestFirst.key(row),
            order => order.key(row),
        }
    }

    /// The record at a position of those that were there at first, as it was.
    fn base_row(&self, position: u64) -> GeneratedRecord {
        let by_place = matches!(self.order, SortOrder::Created | SortOrder::Changed);
        self.set.initial_row(if by_place { position } else { self.set.index_by_time(position) })
    }

    fn position(&self, index: u64) -> u64 {
        let key = self.key(&self.set.initial_row(index));
        partition_point(0..self.set.count, |at| self.key(&self.base_row(at)) < key)
    }

    /// How many of those that nothing happened to are before a key.
    fn base_before(&self, key: (i64, i64)) -> u64 {
        let end = partition_point(self.base.clone(), |at| self.key(&self.base_row(at)) < key);
        end - self.base.start - self.holes.iter().filter(|hole| **hole < end).count() as u64
    }

    pub(super) fn len(&self) -> u64 {
        self.base.end - self.base.start - self.holes.len() as u64 + self.extra.len() as u64
    }

    /// The record at a place of the list.
    pub(super) fn row(&self, place: u64) -> GeneratedRecord {
        let place = if self.order == SortOrder::NewestFirst { self.len() - 1 - place } else { place };
        let before = self.extra.partition_point(|(at, _)| *at < place);
        if let Some((_, row)) = self.extra.get(before).filter(|(at, _)| *at == place) {
            return *row;
        }
        let mut position = self.base.start + place - before as u64;
        for hole in &self.holes {
            if *hole > position {
                break;
            }
            position += 1;
        }
        self.base_row(position)
    }

    pub(super) fn rows(&self, places: Range<u64>) -> impl Iterator<Item = GeneratedRecord> {
        places.map(|place| self.row(place))
    }

    /// How many records of the list are at a key of its order or before it.
    pub(super) fn through(&self, key: (i64, i64)) -> u64 {
        let before =
            |key: (i64, i64)| self.base_before(key) + self.extra.partition_point(|(_, row)| self.key(row) < key) as u64;
        if self.order == SortOrder::NewestFirst {
            self.len() - before((key.0.saturating_neg(), key.1.saturating_neg()))
        } else {
            before((key.0, key.1.saturating_add(1)))
        }
    }

    /// The first index with a record that does not match, in a list where matching ones come first.
    pub(super) fn first_without(&self, fits: impl Fn(&GeneratedRecord) -> bool) -> u64 {
        partition_point(0..self.len(), |place| fits(&self.row(place)))
    }
}

/// The first number of a range for which something does not hold, if it holds for those before and for none after.
fn partition_point(range: Range<u64>, holds: impl Fn(u64) -> bool) -> u64 {
    let Range { start: mut low, end: mut high } = range;
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) { low = middle + 1 } else { high = middle }
    }
    low
}
