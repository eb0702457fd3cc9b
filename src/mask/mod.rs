//! Masks secrets in a stream of bytes, also if one is encoded or split over several writes.
//!
//! [`SecretPatterns`] knows every form of the secrets that is looked for (`encodings`), and a [`Masker`] replaces them in
//! one stream by `***`. A stream goes on as it comes: only an end that may be the beginning of a secret is held back, until
//! more arrives or the stream ends. Of an end that is held back, so little is shown after a pause ([`Masker::pause`]) that
//! it gives nothing away: vendors' own prefixes, such as `xoxb-`, stand in help texts and prompts. What is there as a whole is
//! masked by [`SecretPatterns::mask_text`] and [`SecretPatterns::mask_json`], which also undo escapes.

mod encodings;
mod text;

use std::ops::Range;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, BuildError, MatchKind};

use self::encodings::encodings;
use crate::secret::Secret;

/// What is shown in place of a secret.
pub const MASK: &[u8] = b"***";

/// Characters of the shortest secret that is hidden: a shorter one would be found everywhere.
pub const MIN_SECRET_LENGTH: usize = 4;

/// Bytes of a secret's beginning that may be shown at a pause, of whatever secret.
const SHOWN_PREFIX: usize = 4;

/// Of a longer secret, one part in so many may be shown, and no more than the longest prefix that vendors use.
const SHOWN_FRACTION: usize = 4;
const LONGEST_PREFIX: usize = 12;

/// All forms of the secrets of a process.
pub struct SecretPatterns {
    automaton: AhoCorasick,
    /// Sorted, so that those with a common beginning are neighbours.
    sorted: Vec<Vec<u8>>,
    longest: usize,
    /// The bytes that a form begins with.
    first_bytes: [bool; 256],
}

impl SecretPatterns {
    /// Takes the secrets to hide. Those shorter than [`MIN_SECRET_LENGTH`] are left out.
    ///
    /// # Errors
    /// The library's, if the secrets have more bytes than it can look for.
    pub fn new(secrets: &[Secret]) -> Result<Self, BuildError> {
        let secrets = secrets.iter().map(|secret| secret.expose().as_str());
        let mut sorted: Vec<Vec<u8>> =
            secrets.filter(|secret| secret.len() >= MIN_SECRET_LENGTH).flat_map(encodings).collect();
        sorted.sort();
        sorted.dedup();
        let automaton = AhoCorasick::builder().match_kind(MatchKind::Standard).build(&sorted)?;
        let longest = sorted.iter().map(Vec::len).max().unwrap_or_default();
        let mut first_bytes = [false; 256];
        for pattern in &sorted {
            first_bytes[usize::from(pattern[0])] = true;
        }
        Ok(Self { automaton, sorted, longest, first_bytes })
    }

    /// The parts of `bytes` that are secrets, in order; those that overlap or touch are one.
    fn ranges(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> =
            self.automaton.find_overlapping_iter(bytes).map(|found| found.range()).collect();
        found.sort_by_key(|range| range.start);
        let mut merged: Vec<Range<usize>> = Vec::new();
        for range in found {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        merged
    }

    /// Where the longest end of `bytes` begins that may be the beginning of a secret; their length if none may.
    fn open_end(&self, bytes: &[u8]) -> usize {
        let earliest = bytes.len().saturating_sub(self.longest.saturating_sub(1));
        (earliest..bytes.len())
            .find(|at| self.first_bytes[usize::from(bytes[*at])] && self.shortest_completion(&bytes[*at..]).is_some())
            .unwrap_or(bytes.len())
    }

    /// The length of the shortest form that begins with `prefix` and is longer.
    fn shortest_completion(&self, prefix: &[u8]) -> Option<usize> {
        let first = self.sorted.partition_point(|pattern| pattern.as_slice() < prefix);
        let completions = self.sorted[first..].iter().take_while(|pattern| pattern.starts_with(prefix));
        completions.map(Vec::len).filter(|length| *length > prefix.len()).min()
    }

    /// Whether the beginning of a secret is so short that it may be shown.
    fn is_harmless(&self, prefix: &[u8]) -> bool {
        let shown = |length: usize| SHOWN_PREFIX.max((length / SHOWN_FRACTION).min(LONGEST_PREFIX));
        self.shortest_completion(prefix).is_none_or(|length| prefix.len() <= shown(length).min(length - 1))
    }
}

/// Hides the secrets of one stream.
pub struct Masker {
    patterns: Arc<SecretPatterns>,
    /// What may yet become a secret, or a longer one.
    pending: Vec<u8>,
    /// Bytes of `pending` that were shown already.
    shown: usize,
}

impl Masker {
    /// Begins a stream.
    pub fn new(patterns: Arc<SecretPatterns>) -> Self {
        Self { patterns, pending: Vec::new(), shown: 0 }
    }

    /// Takes what arrived, and returns what can be shown of the stream.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.pending.extend_from_slice(bytes);
        let ranges = self.patterns.ranges(&self.pending);
        let open = self.patterns.open_end(&self.pending);
        // A secret is shown as a whole: where its end may be the beginning of another, it waits as well.
        let across = ranges.iter().find(|range| range.start < open && open < range.end);
        let cut = across.map_or(open, |range| range.start);
        let shown = self.render(cut, &ranges);
        self.pending.drain(..cut);
        self.shown = self.shown.saturating_sub(cut);
        shown
    }

    /// Returns what can be shown although nothing has followed for a while: secrets, and beginnings of secrets that give
    /// nothing away. What follows is still recognised.
    pub fn pause(&mut self) -> Vec<u8> {
        let ranges = self.patterns.ranges(&self.pending);
        let open = self.patterns.open_end(&self.pending);
        let complete = ranges.last().map_or(0, |range| range.end).max(open);
        let limit = if self.patterns.is_harmless(&self.pending[open..]) { self.pending.len() } else { complete };
        let shown = self.render(limit, &ranges);
        self.shown = self.shown.max(limit);
        shown
    }

    /// Returns what is left at the end of the stream. A beginning of a secret that gives something away is hidden.
    pub fn finish(mut self) -> Vec<u8> {
        let mut shown = self.pause();
        if self.shown < self.pending.len() {
            shown.extend_from_slice(MASK);
        }
        shown
    }

    /// Whether something is held back that a pause may show.
    pub fn is_holding(&self) -> bool {
        self.shown < self.pending.len()
    }

    /// What was not shown yet up to `end`, with the secrets hidden.
    fn render(&self, end: usize, ranges: &[Range<usize>]) -> Vec<u8> {
        let (mut at, mut rendered) = (self.shown, Vec::with_capacity(end.saturating_sub(self.shown)));
        for range in ranges.iter().filter(|range| range.end > self.shown && range.start < end) {
            rendered.extend_from_slice(self.pending.get(at..range.start).unwrap_or_default());
            rendered.extend_from_slice(MASK);
            at = range.end;
        }
        rendered.extend_from_slice(self.pending.get(at..end).unwrap_or_default());
        rendered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "xoxb-1234567890-abcdefgh";

    fn patterns(secrets: &[&str]) -> Arc<SecretPatterns> {
        let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret::from(*secret)).collect();
        Arc::new(SecretPatterns::new(&secrets).unwrap())
    }

    fn masked(secrets: &[&str], writes: &[&[u8]]) -> String {
        let mut masker = Masker::new(patterns(secrets));
        let mut shown: Vec<u8> = writes.iter().flat_map(|bytes| masker.push(bytes)).collect();
        shown.extend(masker.finish());
        String::from_utf8_lossy(&shown).into_owned()
    }

    #[test]
    fn a_secret_is_hidden_at_every_split() {
        let text = format!("a {TOKEN} b {TOKEN} c");
        for split in 0..=text.len() {
            let (left, right) = text.as_bytes().split_at(split);
            assert_eq!(masked(&[TOKEN], &[left, right]), "a *** b *** c", "{split}");
        }
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(masked(&[TOKEN], &bytes), "a *** b *** c");
    }

    #[test]
    fn what_is_no_secret_is_not_held_back() {
        let mut masker = Masker::new(patterns(&[TOKEN]));
        assert_eq!(masker.push(b"progress 10%\r"), b"progress 10%\r");
        assert_eq!(masker.push(b"\0\xff\xfe binary"), b"\0\xff\xfe binary");
        assert!(!masker.is_holding());
        // The beginning of a secret waits, and is shown with what proves that it is none.
        assert_eq!(masker.push(b"a xoxb-1234"), b"a ");
        assert_eq!(masker.push(b"!"), b"xoxb-1234!");
    }

    #[test]
    fn a_pause_shows_a_harmless_beginning_and_no_more() {
        let mut masker = Masker::new(patterns(&[TOKEN]));
        assert_eq!(masker.push(b"token (xoxb-"), b"token (");
        assert_eq!(masker.pause(), b"xoxb-");
        assert_eq!(masker.pause(), b"");
        // The rest of the secret is hidden all the same. Its last character may begin another form, and waits for a pause.
        let mut rest = masker.push(&TOKEN.as_bytes()[5..]);
        rest.extend(masker.pause());
        assert_eq!(rest, b"***");
        assert_eq!(masker.push(b" "), b" ");
        assert_eq!(masker.push(b"xoxb-1234567890"), b"");
        assert_eq!(masker.pause(), b"", "more than a quarter");
        assert_eq!(masker.finish(), MASK);
    }

    #[test]
    fn a_slow_writer_gives_no_more_away_than_the_beginning() {
        let mut masker = Masker::new(patterns(&[TOKEN]));
        let mut shown = Vec::new();
        for byte in TOKEN.bytes() {
            shown.extend(masker.push(&[byte]));
            shown.extend(masker.pause());
        }
        shown.extend(masker.finish());
        assert_eq!(String::from_utf8(shown).unwrap(), "xoxb-1***");
    }

    #[test]
    fn secrets_that_overlap_or_begin_alike_are_hidden_whole() {
        let secrets = ["abcdef", "abcdefghij", "efgh-klmn"];
        assert_eq!(masked(&secrets, &[b"abcdef", b"!"]), "***!");
        assert_eq!(masked(&secrets, &[b"abcdef", b"ghij!"]), "***!");
        assert_eq!(masked(&secrets, &[b"abcdef", b"gh-klmn!"]), "***!");
        assert_eq!(masked(&secrets, &[b"abcdef"]), "***");
        let mut masker = Masker::new(patterns(&secrets));
        assert_eq!(masker.push(b"abcdef"), b"");
        assert_eq!(masker.pause(), b"***", "a secret waits for no longer one");
        assert_eq!(masker.push(b"ghij"), b"***");
    }

    #[test]
    fn secrets_too_short_to_hide_are_left() {
        assert_eq!(masked(&["abc", ""], &[b"abc"]), "abc");
        assert_eq!(masked(&[], &[b"anything"]), "anything");
    }
}
