//! Detects lists that never end, in bounded memory. Pure.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Pages in a row that hold only records met before. A list that changes while it is read may repeat some pages: each
/// record that comes in at its front moves the others by one.
const MAX_REPEATED_PAGES: u32 = 10;

/// Pages in a row without any record. Services that filter what they have read give such pages.
const MAX_EMPTY_PAGES: u32 = 1000;

/// Half the number of remembered record keys, of 16 bytes each.
const REMEMBERED: usize = 1 << 17;

/// How a page relates to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageNovelty {
    New,
    Empty,
    /// Every record of it was met before.
    Repeated,
    /// So many pages brought nothing new that the service must be repeating itself.
    Endless,
}

/// What was met of one list on the way from its beginning.
#[derive(Debug, Default)]
pub(super) struct RepeatDetector {
    /// Fingerprints of whole pages.
    pages: HashSet<u64>,
    recent: HashSet<u64>,
    older: HashSet<u64>,
    repeated: u32,
    empty: u32,
}

impl RepeatDetector {
    /// Creates a detector for the pages behind a page with this fingerprint.
    pub(super) fn resume_after(page: Option<u64>) -> Self {
        Self { pages: page.into_iter().collect(), ..Self::default() }
    }

    /// Adds a page, given by the hashes that identify its records.
    pub(super) fn add(&mut self, records: &[u64]) -> PageNovelty {
        if records.is_empty() {
            self.empty += 1;
            return if self.is_endless() { PageNovelty::Endless } else { PageNovelty::Empty };
        }
        self.empty = 0;
        let is_known_page = !self.pages.insert(fingerprint(records));
        let is_known = |record: &u64| self.recent.contains(record) || self.older.contains(record);
        let is_repeated = is_known_page || records.iter().all(is_known);
        self.recent.extend(records);
        if self.recent.len() > REMEMBERED {
            self.older = std::mem::take(&mut self.recent);
        }
        self.repeated = if is_repeated { self.repeated + 1 } else { 0 };
        match is_repeated {
            true if self.is_endless() => PageNovelty::Endless,
            true => PageNovelty::Repeated,
            false => PageNovelty::New,
        }
    }

    fn is_endless(&self) -> bool {
        self.repeated >= MAX_REPEATED_PAGES || self.empty >= MAX_EMPTY_PAGES
    }
}

/// The fingerprint of a page, in whatever order its records are.
pub fn fingerprint(records: &[u64]) -> u64 {
    records.iter().fold(records.len() as u64, |sum, record| sum.wrapping_add(*record))
}

/// The hash that identifies a record or a request.
pub fn hash_of(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(keys: std::ops::Range<u32>) -> Vec<u64> {
        keys.map(hash_of).collect()
    }

    #[test]
    fn a_page_that_overlaps_is_new_and_one_that_brings_nothing_is_not() {
        let mut detector = RepeatDetector::default();
        assert_eq!(detector.add(&page(0..10)), PageNovelty::New);
        assert_eq!(detector.add(&page(5..15)), PageNovelty::New);
        assert_eq!(detector.add(&page(3..9)), PageNovelty::Repeated);
        assert_eq!(detector.add(&[]), PageNovelty::Empty);
        assert!(!detector.is_endless());
        assert_eq!(
            RepeatDetector::resume_after(Some(fingerprint(&page(0..3)))).add(&page(0..3)),
            PageNovelty::Repeated
        );
    }

    #[test]
    fn a_list_that_repeats_itself_is_endless_after_a_few_pages() {
        let mut detector = RepeatDetector::default();
        let pages = (0..).take_while(|_| detector.add(&page(0..50)) != PageNovelty::Endless);
        assert_eq!(pages.count(), 10);
        let mut detector = RepeatDetector::default();
        for round in 0..3 {
            detector.add(&page(0..50));
            detector.add(&page(0..50));
            detector.add(&page(round * 10..round * 10 + 60));
        }
        assert!(!detector.is_endless(), "a list that moves goes on");
    }

    #[test]
    fn a_circle_of_any_size_is_noticed_and_memory_is_bounded() {
        let mut detector = RepeatDetector::default();
        for number in 0..4000 {
            assert_eq!(detector.add(&page(number * 100..number * 100 + 100)), PageNovelty::New);
        }
        assert!(detector.recent.len() + detector.older.len() <= 2 * REMEMBERED + 100);
        for number in 0..10 {
            let expected = if number < 9 { PageNovelty::Repeated } else { PageNovelty::Endless };
            assert_eq!(detector.add(&page(number * 100..number * 100 + 100)), expected);
        }
    }
}
