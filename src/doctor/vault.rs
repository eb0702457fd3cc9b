//! Checks the vault: that it exists, opens and is intact, and who can open it.

use std::{fs, io};

use super::{DoctorContext, Finding, NetworkAccess, api_tokens, connections, files, network, postgres};
use crate::clock::Timestamp;
use crate::config::VaultConfig;
use crate::runtime::{RuntimeError, new_runtime};
use crate::secret::Secret;
use crate::store::{SqliteStore, Store, StoreError};
use crate::vault::{
    IdentityEnvironment, IdentityLocation, IfAbsent, Keyring, OpenVault, PassphrasePrompt, PassphraseSource,
    UnlockedPostgresVault, UnlockedVault, VaultError, VaultOpener,
};

/// A clock may be this far behind what another machine or a moment ago has noted.
const CLOCK_SLACK_SECS: i64 = 120;

/// No store is older than the program; a clock that says so was never set.
const EARLIEST: i64 = 1_735_689_600;

/// The doctor never prompts.
struct NoPassphraseSource;

impl PassphraseSource for NoPassphraseSource {
    fn ask(&self, _: PassphrasePrompt) -> io::Result<Option<Secret>> {
        Ok(None)
    }
}

pub(super) fn check_vault(around: &DoctorContext) -> Vec<Finding> {
    let mut findings = Vec::new();
    let folder = around.folders.workspace(&around.workspace);
    // A command that prints the passphrase may ask for it, as a pinentry does.
    let config = VaultConfig { passphrase_command: None, ..around.config.vault.clone() };
    let given = IdentityEnvironment { passphrase_command: None, ..IdentityEnvironment::from_env() };
    let access =
        VaultOpener::new(&around.folders, &config, &NoPassphraseSource).with_environment(given, Keyring::default());
    let exists = ["vault.age", "vault.db", "store.toml"].iter().any(|file| folder.join(file).exists());
    match access.own_recipient() {
        Ok(Some((recipient, custody))) => {
            let place = match custody {
                IdentityLocation::Environment => "from the environment",
                IdentityLocation::Keyring => "in the OS keyring",
                IdentityLocation::File => "in a file that only you can read",
                IdentityLocation::EncryptedFile => "in a file under a passphrase",
            };
            findings.push(Finding::ok("identity", format!("{place}: {recipient}")));
        }
        Ok(None) if exists => {
            findings.push(Finding::failure("identity", VaultError::MissingIdentity(around.folders.identity())));
            return findings;
        }
        Ok(None) => findings.push(Finding::ok("identity", "none yet; the first `integ connect` makes one")),
        Err(VaultError::MissingPassphrase) => {
            let message = "it is under a passphrase, which is not asked for here: the vault was not opened";
            findings.push(Finding::warning("identity", message, "integ vault status, which asks"));
            return findings;
        }
        Err(error) => {
            findings.push(Finding::failure("identity", error));
            return findings;
        }
    }
    if !exists {
        findings.push(Finding::ok("vault", format!("none yet in the workspace {}", around.workspace)));
        findings.push(clock(None, around.clock.now()));
        return findings;
    }
    let opens = || Finding::ok("vault", format!("the vault of workspace {} opens", around.workspace));
    match access.unlock_vault(&folder, IfAbsent::Fail) {
        Ok(UnlockedVault::File(opened)) => {
            findings.push(opens());
            findings.extend(check_file(&opened, around));
        }
        Ok(UnlockedVault::Postgres(unlocked)) => {
            findings.extend(check_postgres(unlocked, opens(), around));
        }
        // It is never asked to make one.
        Ok(UnlockedVault::NewPostgres(_)) => {}
        Err(error) => {
            findings.push(Finding::failure("vault", error));
            findings.push(clock(None, around.clock.now()));
        }
    }
    findings
}

fn check_file(opened: &OpenVault, around: &DoctorContext) -> Vec<Finding> {
    let mut findings = vec![check_integrity(&opened.sqlite, around)];
    if opened.sqlite.is_read_only() {
        findings.push(Finding::failure("store", StoreError::ReadOnlyNewer));
    }
    findings.push(clock(opened.sqlite.last_activity().ok().flatten(), around.clock.now()));
    findings.extend(in_runtime("connections", || check_contents(opened.store(), around)));
    findings
}

/// `opens` says that the vault's key could be read.
fn check_postgres(unlocked: Box<UnlockedPostgresVault>, opens: Finding, around: &DoctorContext) -> Vec<Finding> {
    let mut findings = vec![clock(None, around.clock.now())];
    findings.extend(in_runtime("store", || async {
        match unlocked.open().await {
            Ok(opened) => {
                let mut findings = vec![opens];
                findings.extend(postgres::check_server(&opened.store, around).await);
                findings.extend(check_contents(&opened.store, around).await);
                findings
            }
            Err(error @ VaultError::Store(_)) => vec![opens, Finding::failure("store", error)],
            Err(error) => vec![Finding::failure("vault", error)],
        }
    }));
    findings
}

/// Runs checks that need a runtime.
fn in_runtime<F: Future<Output = Vec<Finding>>>(check: &'static str, checks: impl FnOnce() -> F) -> Vec<Finding> {
    match new_runtime() {
        Ok(runtime) => {
            let findings = runtime.block_on(checks());
            // A name that is still being looked up must not keep the doctor.
            runtime.shutdown_background();
            findings
        }
        Err(source) => vec![Finding::failure(check, RuntimeError::Runtime { source })],
    }
}

async fn check_contents(store: &dyn Store, around: &DoctorContext) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Ok(restored) = store.grants().restored().await
        && !restored.is_empty()
    {
        let message = format!("{} grants come from a backup and may no longer work", restored.len());
        findings.push(Finding::warning("store", message, "integ test"));
    }
    match store.connections().list().await {
        Ok(list) => {
            findings.extend(connections::check_connections(&list, around));
            if around.network == NetworkAccess::Online {
                findings.extend(network::check_network(&list, around).await);
            }
        }
        Err(error) => findings.push(Finding::failure("connections", error)),
    }
    match store.api_tokens().list().await {
        Ok(tokens) => findings.extend(api_tokens::check_api_tokens(&tokens, around.clock.now())),
        Err(error) => findings.push(Finding::failure("api tokens", error)),
    }
    findings
}

fn check_integrity(store: &SqliteStore, around: &DoctorContext) -> Finding {
    let folder = around.folders.workspace(&around.workspace);
    let bytes = |name: &str| fs::metadata(folder.join(name)).map_or(0, |metadata| metadata.len());
    let size = files::format_size(bytes("vault.db") + bytes("vault.db-wal"));
    match store.quick_check().and_then(|()| store.schema_version()) {
        Ok(version) => Finding::ok("store", format!("intact, schema {version}, {size}")),
        Err(error) => Finding::failure("store", error),
    }
}

/// Tokens, signatures and certificates live by the clock. One that is behind what the store has noted was set back.
fn clock(newest: Option<Timestamp>, now: Timestamp) -> Finding {
    let fix = || Some("timedatectl set-ntp true, or set the clock by hand".to_owned());
    let behind = newest.map_or(0, |newest| newest.as_second() - now.as_second());
    if now.as_second() < EARLIEST {
        Finding::error("clock", format!("it says {now}, which is before this program was made"), fix())
    } else if behind > CLOCK_SLACK_SECS {
        Finding::error("clock", format!("it is {behind} s behind what the store has noted"), fix())
    } else {
        Finding::ok("clock", now.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn a_clock_that_was_set_back_is_found() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let now = 1_800_000_000;
        assert_eq!(clock(None, at(now)).severity, Severity::Ok);
        assert_eq!(clock(Some(at(now + 120)), at(now)).severity, Severity::Ok);
        assert_eq!(clock(Some(at(now + 121)), at(now)).severity, Severity::Error);
        assert_eq!(clock(None, at(0)).severity, Severity::Error);
    }
}
