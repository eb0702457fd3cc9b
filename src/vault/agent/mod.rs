//! The agent that holds an unlocked identity for a while, so that commands do not ask for its passphrase.
//!
//! `integ vault unlock` starts it: this program again, with [`AGENT_ARGUMENT`], without a terminal, with the identity in locked
//! memory. Other commands reach it at a socket in the data folder. Like ssh-agent it never gives out the key: it opens sealed
//! keys with it ([`Unseal`]). Exporting or moving the identity therefore still asks for the passphrase.
//!
//! Both ends check that the other is a process of their own user (SO_PEERCRED, unix(7)). The agent ends at its deadline, which
//! the time counts toward that the machine sleeps; at `integ vault lock`; and when its socket was replaced or deleted. A
//! request names the identity file by its digest, so that an agent never answers for a file that was replaced since.

mod client;
mod protocol;
mod server;

pub use self::client::UnlockedIdentity;
pub(super) use self::client::{find, start, stop};
pub(crate) use self::server::serve;
use super::identity::{self, DecryptFailure, Identity};
use zeroize::Zeroizing;

/// The first argument of the agent's process; no command has this name.
pub(crate) const AGENT_ARGUMENT: &str = "__vault-agent";

/// Something that opens sealed keys: the identity, or the agent that holds it.
pub(super) trait Unseal: std::fmt::Debug + Send + Sync {
    /// Returns the public key: `age1…`.
    fn recipient(&self) -> String;

    /// Opens an age file that is encrypted to the identity.
    fn unseal(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, DecryptFailure>;
}

impl Unseal for Identity {
    fn recipient(&self) -> String {
        self.recipient()
    }

    fn unseal(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
        identity::decrypt(sealed, self)
    }
}
