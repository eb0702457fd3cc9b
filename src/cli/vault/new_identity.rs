//! The note about a new identity, shown once.

use crate::runtime::Workspace;
use crate::vault::IdentityLocation;

/// Returns where the new identity is, and how to save a copy.
pub(in crate::cli) fn new_identity_note(workspace: &Workspace, location: IdentityLocation) -> String {
    match location {
        IdentityLocation::Keyring => "The key to your vaults is in the OS keyring. Save a copy elsewhere: \
             `integ vault identity export identity.age --passphrase`."
            .to_owned(),
        IdentityLocation::EncryptedFile => format!(
            "The key to your vaults is in {}, under your passphrase. Save a copy elsewhere: \
             `integ vault identity export identity.age --passphrase`.",
            workspace.engine.folders.identity().display()
        ),
        IdentityLocation::File => format!(
            "The key to your vaults is in {}, readable only by you. Save a copy elsewhere: \
             `integ vault identity export identity.age --passphrase`.",
            workspace.engine.folders.identity().display()
        ),
        IdentityLocation::Environment => "The key to your vaults is the one from the environment.".to_owned(),
    }
}
