//! Sealing of values: the database stores what only the workspace's key opens, each value bound to its place.
//!
//! A sealed value is AES-256-GCM under a key of its own (ring). Its layout:
//!
//! ```text
//! 1 byte    format, 1
//! 2 bytes   number of the workspace's key, big-endian: a value is opened with the key that sealed it, while others are
//!           sealed with the next one
//! 24 bytes  random: the first 12 derive the value's key, the other 12 are the nonce
//! n bytes   ciphertext
//! 16 bytes  tag
//! ```
//!
//! The value's key is HKDF-SHA256 (RFC 5869) of the workspace's key, with the place and the first 12 random bytes as info.
//! A random nonce under one key is safe for 2^32 values only (NIST SP 800-38D section 8.3), which a busy inbox has in
//! months; with 24 random bytes of which half derive the key, as in XAES-256-GCM, it is 2^80.
//!
//! The place (table, column, workspace, row) is the associated data as well. A value that is copied to another row,
//! column or workspace therefore does not open. An older value of the same place does: that the database's owner puts a
//! row back is not noticed here.
//!
//! Keyed hashes stand for values that are looked up. Their key is random, sealed in the workspace's row, and outlives
//! changes of the workspace's key.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;
use zeroize::Zeroizing;

use crate::clock;
use crate::hash;
use crate::secret::Secret;
use crate::store::{KeySource, StoreError, WorkspaceKeys};

pub(super) const FORMAT: u8 = 1;

/// Of the format and the key's number.
const HEADER_LENGTH: usize = 3;

/// Of the random bytes.
const RANDOM_LENGTH: usize = 24;

/// A column whose values are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) table: &'static str,
    pub(super) name: &'static str,
}

/// Names a sealed column.
pub(super) const fn column(table: &'static str, name: &'static str) -> Column {
    Column { table, name }
}

/// What identifies a row within its table and workspace.
#[derive(Clone, Copy, Debug)]
pub(super) enum RowKey<'a> {
    Id(i64),
    Ids(i64, i64),
    Text(&'a str),
    Texts(&'a str, &'a str),
}

impl From<i64> for RowKey<'_> {
    fn from(id: i64) -> Self {
        Self::Id(id)
    }
}

impl From<(i64, i64)> for RowKey<'_> {
    fn from((first, second): (i64, i64)) -> Self {
        Self::Ids(first, second)
    }
}

impl<'a> From<&'a str> for RowKey<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<(&'a str, &'a str)> for RowKey<'a> {
    fn from((first, second): (&'a str, &'a str)) -> Self {
        Self::Texts(first, second)
    }
}

/// Seals and opens the values of one workspace.
pub(super) struct Sealer {
    workspace: i64,
    keys: Arc<KnownKeys>,
    /// The number of the key that seals. Absent for who only opens: a transaction that writes learns it from the database.
    current: Option<u16>,
    index_key: Secret<[u8; 32]>,
}

/// The keys of a workspace by their numbers.
#[derive(Default)]
struct KnownKeys {
    keys: RwLock<BTreeMap<u16, hkdf::Prk>>,
    source: OnceLock<KeySource>,
}

impl KnownKeys {
    fn get(&self, number: u16) -> Option<hkdf::Prk> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    fn learn(&self, keys: &WorkspaceKeys) {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"integ: values in PostgreSQL");
        let mut known = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        known.extend(keys.iter().map(|(number, key)| (number, salt.extract(key.hex().as_bytes()))));
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("workspace", &self.workspace).finish_non_exhaustive()
    }
}

impl Sealer {
    /// Creates a sealer that opens values with the workspace's keys.
    pub(super) fn new(workspace: i64, keys: &WorkspaceKeys) -> Self {
        let sealer = Self { workspace, keys: Arc::default(), current: None, index_key: Secret::new([0; 32]) };
        sealer.learn(keys);
        sealer
    }

    /// Adds keys, for all sealers that were made of this one as well.
    pub(super) fn learn(&self, keys: &WorkspaceKeys) {
        self.keys.learn(keys);
    }

    /// Sets where keys are looked for that are not known, unless that was set before.
    pub(super) fn set_source(&self, source: KeySource) {
        let _ = self.keys.source.set(source);
    }

    /// Removes a key.
    pub(super) fn forget(&self, number: u16) {
        self.keys.keys.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    /// Returns a sealer with the same keys, one of which seals.
    ///
    /// # Errors
    /// [`StoreError::UnknownKey`].
    pub(super) fn sealing_with(&self, number: u16) -> Result<Self, StoreError> {
        self.key(number)?;
        let (keys, index_key) = (Arc::clone(&self.keys), self.index_key.clone());
        Ok(Self { workspace: self.workspace, keys, current: Some(number), index_key })
    }

    /// Returns the number of the key that seals; 0 for who only opens.
    pub(super) fn current(&self) -> u16 {
        self.current.unwrap_or_default()
    }

    /// A key that is not known is read from the source, which takes a moment, once after each rekeying.
    fn key(&self, number: u16) -> Result<hkdf::Prk, StoreError> {
        if let Some(key) = self.keys.get(number) {
            return Ok(key);
        }
        if let Some(keys) = self.keys.source.get().and_then(|source| source()) {
            self.keys.learn(&keys);
        }
        self.keys.get(number).ok_or(StoreError::UnknownKey(number))
    }

    /// Sets the key of keyed hashes.
    pub(super) fn with_index_key(&self, index_key: Secret<[u8; 32]>) -> Self {
        Self { workspace: self.workspace, keys: Arc::clone(&self.keys), current: self.current, index_key }
    }

    /// Seals a value for its place.
    pub(super) fn seal<'a>(
        &self,
        column: Column,
        row: impl Into<RowKey<'a>>,
        plain: impl AsRef<[u8]>,
    ) -> Result<Vec<u8>, StoreError> {
        let plain = plain.as_ref();
        let random = clock::random::<RANDOM_LENGTH>();
        let place = self.place(column, row.into());
        let mut sealed = Vec::with_capacity(HEADER_LENGTH + RANDOM_LENGTH + plain.len() + AES_256_GCM.tag_len());
        sealed.push(FORMAT);
        let current = self.current.ok_or_else(|| damaged(column))?;
        sealed.extend(current.to_be_bytes());
        sealed.extend(random);
        sealed.extend(plain);
        let key = self.key(current)?;
        let (key, nonce) = message_key(&key, &place, &random).ok_or_else(|| damaged(column))?;
        let tag = key
            .seal_in_place_separate_tag(nonce, Aad::from(&place), &mut sealed[HEADER_LENGTH + RANDOM_LENGTH..])
            .map_err(|_| damaged(column))?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// [`Self::seal`], for a column that may be NULL.
    pub(super) fn seal_optional<'a>(
        &self,
        column: Column,
        row: impl Into<RowKey<'a>>,
        plain: Option<impl AsRef<[u8]>>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        plain.map(|plain| self.seal(column, row, plain)).transpose()
    }

    /// Opens a value of a place.
    ///
    /// # Errors
    /// [`StoreError::UnknownKey`] if it names a key that is not here; [`StoreError::Unsealable`] if it was not sealed for this
    /// place with a key of this workspace.
    pub(super) fn open<'a>(
        &self,
        column: Column,
        row: impl Into<RowKey<'a>>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let Some((&[FORMAT, high, low], rest)) = sealed.split_first_chunk::<HEADER_LENGTH>() else {
            return Err(damaged(column));
        };
        let key = self.key(u16::from_be_bytes([high, low]))?;
        opened(&key, &self.place(column, row.into()), rest).ok_or_else(|| damaged(column))
    }

    /// Writes a place without ambiguity: each text after its length.
    fn place(&self, column: Column, row: RowKey<'_>) -> Vec<u8> {
        let mut place: Vec<u8> = Vec::with_capacity(96);
        let mut text = |bytes: &[u8]| {
            place.extend((bytes.len() as u64).to_be_bytes());
            place.extend(bytes);
        };
        text(column.table.as_bytes());
        text(column.name.as_bytes());
        text(&self.workspace.to_be_bytes());
        match row {
            RowKey::Id(id) => text(&id.to_be_bytes()),
            RowKey::Ids(first, second) => [first, second].iter().for_each(|id| text(&id.to_be_bytes())),
            RowKey::Text(key) => text(key.as_bytes()),
            RowKey::Texts(first, second) => [first, second].iter().for_each(|key| text(key.as_bytes())),
        }
        place
    }

    /// Returns the keyed hash of parts: the same for the same parts, and unknown to who does not have the key.
    pub(super) fn hash(&self, purpose: &str, parts: &[&[u8]]) -> Vec<u8> {
        let lengths: Vec<[u8; 8]> = parts.iter().map(|part| (part.len() as u64).to_be_bytes()).collect();
        let mut all: Vec<&[u8]> = vec![purpose.as_bytes(), &[0_u8][..]];
        for (length, part) in lengths.iter().zip(parts) {
            all.extend([length.as_slice(), *part]);
        }
        hash::hmac_sha256(self.index_key.expose(), &all).to_vec()
    }

    /// The first half of [`Self::hash`], for keys of indexes.
    pub(super) fn short_hash(&self, purpose: &str, parts: &[&[u8]]) -> Vec<u8> {
        let mut hash = self.hash(purpose, parts);
        hash.truncate(16);
        hash
    }

    /// Returns the key that changed records are detected with.
    pub(super) fn record_key(&self) -> [u8; 32] {
        hash::hmac_sha256(self.index_key.expose(), &[b"records"])
    }
}

fn opened(key: &hkdf::Prk, place: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (random, ciphertext) = sealed.split_first_chunk::<RANDOM_LENGTH>()?;
    let (key, nonce) = message_key(key, place, random)?;
    let mut plain = Zeroizing::new(ciphertext.to_vec());
    let length = key.open_in_place(nonce, Aad::from(place), &mut plain).ok()?.len();
    plain.truncate(length);
    Some(plain)
}

fn message_key(key: &hkdf::Prk, place: &[u8], random: &[u8; RANDOM_LENGTH]) -> Option<(LessSafeKey, Nonce)> {
    let (derivation, nonce) = random.split_first_chunk::<12>()?;
    let info: [&[u8]; 2] = [derivation, place];
    let mut bytes = Zeroizing::new([0; 32]);
    key.expand(&info, hkdf::HKDF_SHA256).ok()?.fill(&mut bytes[..]).ok()?;
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &bytes[..]).ok()?);
    Some((key, Nonce::try_assume_unique_for_key(nonce).ok()?))
}

fn damaged(column: Column) -> StoreError {
    StoreError::Unsealable { table: column.table, column: column.name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreKey;

    const SECRETS: Column = column("grants", "secrets");

    fn sealer(workspace: i64, key: &StoreKey) -> Sealer {
        Sealer::new(workspace, &WorkspaceKeys::from(key)).sealing_with(1).unwrap()
    }

    #[test]
    fn a_value_opens_at_its_place_and_nowhere_else() {
        let key = StoreKey::random();
        let sealer = sealer(7, &key);
        let sealed = sealer.seal(SECRETS, 3_i64, "a token").unwrap();
        assert_eq!(sealer.open(SECRETS, 3_i64, &sealed).unwrap().as_slice(), b"a token");
        let wrong = |opened: Result<Zeroizing<Vec<u8>>, StoreError>, what: &str| {
            assert!(matches!(opened, Err(StoreError::Unsealable { .. })), "{what}");
        };
        wrong(sealer.open(SECRETS, 4_i64, &sealed), "another row");
        wrong(sealer.open(SECRETS, (3_i64, 0_i64), &sealed), "another kind of row");
        wrong(sealer.open(SECRETS, "3", &sealed), "a row with the same text");
        wrong(sealer.open(column("grants", "client_id"), 3_i64, &sealed), "another column");
        wrong(sealer.open(column("apps", "secrets"), 3_i64, &sealed), "another table");
        wrong(sealer.open(column("grant", "ssecrets"), 3_i64, &sealed), "the same letters");
        wrong(self::sealer(8, &key).open(SECRETS, 3_i64, &sealed), "another workspace");
        wrong(self::sealer(7, &StoreKey::random()).open(SECRETS, 3_i64, &sealed), "another key");
    }

    #[test]
    fn each_change_of_a_value_is_noticed_and_nothing_of_it_shows() {
        let sealer = sealer(7, &StoreKey::random());
        let sealed = sealer.seal(SECRETS, ("a", "b"), "planted secret").unwrap();
        assert!(!sealed.windows(7).any(|part| part == b"planted"));
        assert_ne!(sealed, sealer.seal(SECRETS, ("a", "b"), "planted secret").unwrap());
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(sealer.open(SECRETS, ("a", "b"), &changed).is_err(), "{index}");
            assert!(sealer.open(SECRETS, ("a", "b"), &sealed[..index]).is_err(), "{index}");
        }
        assert_eq!(sealer.open(SECRETS, "", &sealer.seal(SECRETS, "", "").unwrap()).unwrap().as_slice(), b"");
    }

    #[test]
    fn values_of_an_earlier_key_open_while_the_next_one_seals() {
        let (old, new) = (StoreKey::random(), StoreKey::random());
        let before = sealer(7, &old);
        let after = Sealer::new(7, &WorkspaceKeys::of(2, new.clone())).sealing_with(2).unwrap();
        assert!(matches!(before.sealing_with(2), Err(StoreError::UnknownKey(2))));
        let sealed = before.seal(SECRETS, 1_i64, "x").unwrap();
        assert!(matches!(after.open(SECRETS, 1_i64, &sealed), Err(StoreError::UnknownKey(1))));
        let learned = before.sealing_with(1).unwrap();
        learned.learn(&WorkspaceKeys::of(2, new));
        let both = before.sealing_with(2).unwrap();
        assert!(both.open(SECRETS, 1_i64, &sealed).is_ok());
        let sealed = both.seal(SECRETS, 1_i64, "x").unwrap();
        assert!(after.open(SECRETS, 1_i64, &sealed).is_ok() && before.open(SECRETS, 1_i64, &sealed).is_ok());
        before.forget(2);
        assert!(matches!(learned.open(SECRETS, 1_i64, &sealed), Err(StoreError::UnknownKey(2))));
    }

    #[test]
    fn hashes_are_keyed_and_their_parts_do_not_run_together() {
        let with = |byte: u8| sealer(7, &StoreKey::random()).with_index_key(Secret::new([byte; 32]));
        let (one, other) = (with(1), with(2));
        assert_eq!(one.hash("a", &[b"x", b"y"]), with(1).hash("a", &[b"x", b"y"]), "whatever the workspace's key is");
        assert_ne!(one.hash("a", &[b"x", b"y"]), other.hash("a", &[b"x", b"y"]));
        assert_ne!(one.hash("a", &[b"x", b"y"]), one.hash("b", &[b"x", b"y"]));
        assert_ne!(one.hash("a", &[b"x", b"y"]), one.hash("a", &[b"xy"]));
        assert_eq!(one.short_hash("a", &[b"x"]), one.hash("a", &[b"x"])[..16]);
    }
}
