//! Signs and verifies checkpoints of the audit log with Ed25519 (RFC 8032).

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::clock::Timestamp;
use crate::model::{AuditCheckpoint, ChainLink};
use crate::secret::Secret;

/// Signs a place of the log. `None` if the seed does not have 32 bytes.
pub fn sign_checkpoint(seed: &Secret<Vec<u8>>, link: ChainLink, at: Timestamp) -> Option<AuditCheckpoint> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).ok()?;
    let signature = pair.sign(&AuditCheckpoint::signed_bytes(link, at));
    Some(AuditCheckpoint {
        sequence: link.sequence,
        hash: link.hash,
        at,
        public_key: pair.public_key().as_ref().try_into().ok()?,
        signature: signature.as_ref().try_into().ok()?,
    })
}

/// Returns whether a checkpoint is signed with the key whose public part is `public_key`.
pub fn is_checkpoint_of(checkpoint: &AuditCheckpoint, public_key: &[u8; 32]) -> bool {
    let bytes = AuditCheckpoint::signed_bytes(checkpoint.link(), checkpoint.at);
    let key = UnparsedPublicKey::new(&ED25519, public_key);
    checkpoint.public_key == *public_key && key.verify(&bytes, &checkpoint.signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AuditHash, AuditSequence};

    #[test]
    fn a_checkpoint_is_of_one_key_and_cannot_be_changed() {
        let link = ChainLink { sequence: AuditSequence(7), hash: AuditHash([1; 32]) };
        let sign = |seed: u8| sign_checkpoint(&Secret::new(vec![seed; 32]), link, Timestamp::UNIX_EPOCH).unwrap();
        let (own, other) = (sign(1), sign(2));
        assert!(is_checkpoint_of(&own, &own.public_key));
        assert!(!is_checkpoint_of(&own, &other.public_key) && !is_checkpoint_of(&other, &own.public_key));
        let forged = AuditCheckpoint { public_key: own.public_key, ..other };
        assert!(!is_checkpoint_of(&forged, &own.public_key));
        let moved = AuditCheckpoint { sequence: AuditSequence(6), ..own.clone() };
        assert!(!is_checkpoint_of(&moved, &own.public_key));
        assert!(sign_checkpoint(&Secret::new(vec![1; 31]), link, Timestamp::UNIX_EPOCH).is_none());
    }
}
