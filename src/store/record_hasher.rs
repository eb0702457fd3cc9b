//! Detects changes of records by their hash.
//!
//! Records are written by anyone who can write at the service. With half of SHA-256, finding two records of one hash takes
//! about 2^64 tries, and none can be prepared, for the store's id is hashed before each record. A restored store has another
//! id: its records are then compared once as they are.
//!
//! A keyed HighwayHash-128 was rejected: it spares about a microsecond for a record of 1 KB, and is one more algorithm to
//! trust.

use crate::hash;
use crate::model::record::Hash;

/// Makes hashes that are good within one store.
#[derive(Clone, Copy, Debug)]
pub struct RecordHasher([u8; 32]);

impl RecordHasher {
    /// Derives what is hashed before each record from the id of the store.
    pub fn new(store_id: &str) -> Self {
        Self(hash::sha256(format!("records {store_id}").as_bytes()))
    }

    /// Takes what is hashed before each record, for a store in which hashes may be read by others.
    pub fn from_key(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// Hashes a record's JSON byte for byte, so that another order of its members is another hash.
    pub fn hash(self, json: &str) -> Hash {
        let digest = hash::sha256_of_parts(&[&self.0, json.as_bytes()]);
        let mut hash = Hash::default();
        hash.copy_from_slice(&digest[..Hash::default().len()]);
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_have_hashes_of_their_own() {
        let (one, other) = (RecordHasher::new("one"), RecordHasher::new("other"));
        assert_eq!(one.hash(r#"{"id":1}"#), RecordHasher::new("one").hash(r#"{"id":1}"#));
        assert_ne!(one.hash(r#"{"id":1}"#), one.hash(r#"{"id":2}"#));
        assert_ne!(one.hash(r#"{"id":1}"#), other.hash(r#"{"id":1}"#));
        // It is kept: another result would make all records look changed.
        assert_eq!(one.hash("{}")[..4], [68, 231, 14, 229]);
    }
}
