//! What tells whether a record is as it was.
//!
//! Records are written by whoever can write at the service, and are hashed by the million. HighwayHash is as fast as they
//! can be read, and strong as long as its key is not known; the key follows from the store's own id, which is random. A
//! restored store has another id: its records are then compared once as they are.

use highway::{HighwayHash, HighwayHasher, Key};
use ring::digest;

use crate::model::record::Hash;

/// Makes hashes that are good within one store.
#[derive(Clone, Copy, Debug)]
pub struct RecordHasher([u64; 4]);

impl RecordHasher {
    /// Derives the hash key from the id of the store.
    pub fn new(store_id: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, format!("records {store_id}").as_bytes());
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(digest.as_ref().chunks_exact(8)) {
            *word = bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
        Self(words)
    }

    /// Hashes a record's JSON byte for byte, so that another order of its members is another hash.
    pub fn hash(self, json: &str) -> Hash {
        let [low, high] = HighwayHasher::new(Key(self.0)).hash128(json.as_bytes());
        (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
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
        assert_eq!(one.hash("{}")[..4], [247, 155, 132, 51]);
    }
}
