//! The operating system's keyring: Secret Service on Linux, the Keychain on macOS, the Credential Manager on Windows.
//!
//! Everything of integ is under the service `integ`. Nothing is asked of the keyring before the first call, and no call
//! lasts longer than 2 s: a desktop's dialog can be open for ever. At a terminal, where somebody can answer the dialog,
//! a warning names it, and the call may last longer. A keyring that did not answer is not asked again by this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;
use std::{fmt, thread};

use keyring_core::Entry;
use keyring_core::api::CredentialStore;
use thiserror::Error;
use zeroize::Zeroize;

use crate::clock::Stopwatch;
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::secret::Secret;

const SERVICE: &str = "integ";

/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long one call may take if somebody can answer the keyring's dialog.
const DIALOG_TIMEOUT: Duration = Duration::from_secs(120);

/// An error of the OS keyring.
#[derive(Debug, Error)]
pub enum KeyringError {
    #[error("no OS keyring is available")]
    Unavailable(#[source] keyring_core::Error),
    #[error("the OS keyring is locked or not set up")]
    Locked(#[source] keyring_core::Error),
    #[error("the OS keyring did not answer within {} s; it may be waiting for a dialog to be answered", timeout.as_secs())]
    TimedOut { timeout: Duration },
    #[error("the OS keyring has no entry {0:?}")]
    EntryNotFound(String),
    #[error("the OS keyring refused the request")]
    Rejected(#[source] keyring_core::Error),
}

impl Remedy for KeyringError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Unavailable(_) => Diagnostic::new(Kind::Vault, "keyring_unavailable").hint(Hint::new(
                "log in to a desktop session, or start one:",
                "dbus-run-session -- sh -c 'gnome-keyring-daemon --unlock --components=secrets; integ status'",
            )),
            Self::Locked(_) => Diagnostic::new(Kind::Vault, "keyring_locked")
                .hint(Hint::new("unlock it in the desktop's password manager, then", "integ vault status")),
            Self::TimedOut { .. } => Diagnostic::new(Kind::Vault, "keyring_timeout").hint(Hint::new(
                "answer its dialog (KeePassXC asks each time unless \"Confirm when passwords are \
                 retrieved by clients\" is off in its Secret Service settings), then",
                "integ vault status",
            )),
            Self::EntryNotFound(_) => Diagnostic::new(Kind::Vault, "keyring_entry_not_found")
                .hint(Hint::new("give a copy of the identity:", "INTEG_IDENTITY_FILE=FILE integ vault status")),
            Self::Rejected(_) => {
                Diagnostic::new(Kind::Vault, "keyring_rejected").run("secret-tool search --all service integ")
            }
        }
    }
}

type KeyringConnector = Arc<dyn Fn() -> keyring_core::Result<Arc<CredentialStore>> + Send + Sync>;

/// The keyring of the user who runs this. Copies share one connection.
#[derive(Clone)]
pub struct Keyring {
    shared: Arc<KeyringState>,
    /// Somebody at a terminal can answer the keyring's dialogs.
    is_attended: bool,
}

struct KeyringState {
    connect: KeyringConnector,
    labels: LabelSupport,
    store: Mutex<Option<Arc<CredentialStore>>>,
    /// How long it was waited for without an answer.
    timed_out_after: Mutex<Option<Duration>>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring")
    }
}

impl Default for Keyring {
    fn default() -> Self {
        // Only Secret Service has labels; elsewhere the entry is shown by its service and user.
        Self::with_connector(
            Arc::new(platform),
            if cfg!(target_os = "linux") { LabelSupport::Supported } else { LabelSupport::Unsupported },
        )
    }
}

/// Whether the keyring takes a label for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LabelSupport {
    Supported,
    Unsupported,
}

/// What went wrong, and when.
enum KeyringFailure {
    Connect(keyring_core::Error),
    Call(keyring_core::Error),
}

impl KeyringFailure {
    fn is_of_platform(&self) -> bool {
        matches!(self, Self::Connect(error) | Self::Call(error) if matches!(error, keyring_core::Error::PlatformFailure(_)))
    }
}

impl Keyring {
    fn with_connector(connect: KeyringConnector, labels: LabelSupport) -> Self {
        let shared = KeyringState { connect, labels, store: Mutex::new(None), timed_out_after: Mutex::new(None) };
        Self { shared: Arc::new(shared), is_attended: false }
    }

    /// Whether a person can answer the keyring's dialogs.
    #[must_use]
    pub fn with_attended(self, is_attended: bool) -> Self {
        Self { is_attended, ..self }
    }

    pub(super) fn is_attended(&self) -> bool {
        self.is_attended
    }

    /// The same keyring as the next command finds it: on a connection of its own, with nobody to answer dialogs. Some
    /// keyrings (KeePassXC) give an entry without a question to the connection that wrote it, and to no other.
    #[must_use]
    pub(super) fn reconnected(&self) -> Self {
        Self::with_connector(Arc::clone(&self.shared.connect), self.shared.labels)
    }

    /// A keyring for tests, which answers as `store` does.
    #[cfg(test)]
    pub(super) fn with_store(store: Arc<CredentialStore>) -> Self {
        Self::with_test_connector(move || Ok(Arc::clone(&store)))
    }

    /// A keyring for tests, of which each connection answers as `connect` says.
    #[cfg(test)]
    pub(super) fn with_test_connector(
        connect: impl Fn() -> keyring_core::Result<Arc<CredentialStore>> + Send + Sync + 'static,
    ) -> Self {
        Self::with_connector(Arc::new(connect), LabelSupport::Unsupported)
    }

    /// A keyring for tests that nothing answers for.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self::with_test_connector(|| Err(keyring_core::Error::NoDefaultStore))
    }

    /// Whether a keyring answers.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub fn check(&self) -> Result<(), KeyringError> {
        self.call("", |_| Ok(()))
    }

    /// Returns the secret of the entry for `user`.
    ///
    /// # Errors
    /// [`KeyringError::EntryNotFound`] where there is no such entry, and others.
    pub fn get(&self, user: &str) -> Result<Secret, KeyringError> {
        self.call(user, {
            let user = user.to_owned();
            move |store| {
                let mut bytes = entry(store, &user, None)?.get_secret()?;
                let text = std::str::from_utf8(&bytes).map(Secret::from);
                bytes.zeroize();
                text.map_err(|_| keyring_core::Error::BadEncoding(Vec::new()))
            }
        })
    }

    /// Writes an entry, or writes over it. `label` is what the desktop's password manager shows.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub fn set(&self, user: &str, secret: &Secret, label: &str) -> Result<(), KeyringError> {
        let label = (self.shared.labels == LabelSupport::Supported).then(|| label.to_owned());
        let (owner, secret) = (user.to_owned(), secret.clone());
        self.call(user, move |store| entry(store, &owner, label.as_deref())?.set_secret(secret.expose().as_bytes()))
    }

    /// Deletes an entry; one that is not there is deleted already.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub fn delete(&self, user: &str) -> Result<(), KeyringError> {
        let owner = user.to_owned();
        match self.call(user, move |store| entry(store, &owner, None)?.delete_credential()) {
            Err(KeyringError::EntryNotFound(_)) => Ok(()),
            result => result,
        }
    }

    /// Asks in a thread of its own, which is left behind if it never comes back.
    fn call<T: Send + 'static>(
        &self,
        user: &str,
        ask: impl FnOnce(&CredentialStore) -> keyring_core::Result<T> + Send + 'static,
    ) -> Result<T, KeyringError> {
        let hung = || self.shared.timed_out_after.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(after) = *hung() {
            return Err(KeyringError::TimedOut { timeout: after });
        }
        let (answer, answered) = mpsc::sync_channel(1);
        let called = Stopwatch::start();
        let shared = Arc::clone(&self.shared);
        let spawned = thread::Builder::new().name("keyring".to_owned()).spawn(move || {
            let result = shared.connected().and_then(|store| ask(&*store).map_err(KeyringFailure::Call));
            let _ = answer.send(result);
        });
        if let Err(error) = spawned {
            return Err(KeyringError::Rejected(keyring_core::Error::PlatformFailure(Box::new(error))));
        }
        let mut after = TIMEOUT;
        let mut result = answered.recv_timeout(TIMEOUT);
        if self.is_attended && matches!(result, Err(mpsc::RecvTimeoutError::Timeout)) {
            tracing::warn!("the OS keyring is waiting: answer its dialog, or press Ctrl-C");
            after = DIALOG_TIMEOUT;
            result = answered.recv_timeout(DIALOG_TIMEOUT);
        }
        let timeout = match result {
            Ok(Ok(value)) => return Ok(value),
            // The client of Secret Service waits 2 s for a reply itself, and then reports a failure of the platform.
            Ok(Err(failure)) if failure.is_of_platform() && called.elapsed() >= TIMEOUT => TIMEOUT,
            Ok(Err(failure)) => return Err(classify(failure, user)),
            Err(_) => after,
        };
        *hung() = Some(timeout);
        Err(KeyringError::TimedOut { timeout })
    }
}

impl KeyringState {
    fn connected(&self) -> Result<Arc<CredentialStore>, KeyringFailure> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        match &*store {
            Some(store) => Ok(Arc::clone(store)),
            None => {
                let connected = (self.connect)().map_err(KeyringFailure::Connect)?;
                Ok(Arc::clone(store.insert(connected)))
            }
        }
    }
}

fn classify(failure: KeyringFailure, user: &str) -> KeyringError {
    match failure {
        KeyringFailure::Connect(error) => KeyringError::Unavailable(error),
        KeyringFailure::Call(keyring_core::Error::NoEntry) => KeyringError::EntryNotFound(user.to_owned()),
        KeyringFailure::Call(error @ keyring_core::Error::NoStorageAccess(_)) => KeyringError::Locked(error),
        KeyringFailure::Call(error) => KeyringError::Rejected(error),
    }
}

fn entry(store: &CredentialStore, user: &str, label: Option<&str>) -> keyring_core::Result<Entry> {
    let modifiers = label.map(|label| HashMap::from([("label", label)]));
    store.build(SERVICE, user, modifiers.as_ref())
}

#[cfg(target_os = "linux")]
fn platform() -> keyring_core::Result<Arc<CredentialStore>> {
    Ok(dbus_secret_service_keyring_store::Store::new()?)
}

#[cfg(target_os = "macos")]
fn platform() -> keyring_core::Result<Arc<CredentialStore>> {
    Ok(apple_native_keyring_store::keychain::Store::new()?)
}

#[cfg(windows)]
fn platform() -> keyring_core::Result<Arc<CredentialStore>> {
    Ok(windows_native_keyring_store::Store::new()?)
}

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
fn platform() -> keyring_core::Result<Arc<CredentialStore>> {
    Err(keyring_core::Error::NoDefaultStore)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_written_read_and_deleted() {
        let keyring = Keyring::with_store(keyring_core::mock::Store::new().unwrap());
        assert!(matches!(keyring.get("a"), Err(KeyringError::EntryNotFound(_))));
        keyring.set("a", &Secret::from("one"), "label").unwrap();
        keyring.set("a", &Secret::from("two"), "label").unwrap();
        assert_eq!(keyring.get("a").unwrap().expose(), "two");
        keyring.delete("a").unwrap();
        keyring.delete("a").unwrap();
    }

    #[test]
    fn field_46_a_dialog_is_waited_for_if_somebody_can_answer_it() {
        let slow = || {
            // As long as a person takes to answer.
            thread::sleep(TIMEOUT + Duration::from_millis(500));
            Ok(keyring_core::mock::Store::new().unwrap() as Arc<CredentialStore>)
        };
        let unattended = Keyring::with_test_connector(slow).check().unwrap_err();
        assert!(matches!(unattended, KeyringError::TimedOut { timeout: TIMEOUT }));
        assert!(unattended.hint().unwrap().text.contains("KeePassXC"));
        Keyring::with_test_connector(slow).with_attended(true).check().unwrap();
    }

    #[test]
    fn fault_051_a_failure_of_the_platform_after_2_s_is_a_timeout_too() {
        let failing = || Err(keyring_core::Error::PlatformFailure("no reply".into()));
        assert!(matches!(Keyring::with_test_connector(failing).check(), Err(KeyringError::Unavailable(_))));
        let late = move || {
            // As long as that client waits.
            thread::sleep(TIMEOUT);
            failing()
        };
        // At a terminal it waits on after 2 s, so that the answer is the platform's.
        let keyring = Keyring::with_test_connector(late).with_attended(true);
        assert!(matches!(keyring.check(), Err(KeyringError::TimedOut { timeout: TIMEOUT })));
    }

    #[test]
    fn fault_050_a_keyring_that_never_answers_is_given_up_after_2_s() {
        let never = || {
            // Longer than any call waits.
            thread::sleep(Duration::from_secs(60));
            Err(keyring_core::Error::NoDefaultStore)
        };
        let keyring = Keyring::with_test_connector(never);
        let waiting = Stopwatch::start();
        assert!(matches!(keyring.get("a"), Err(KeyringError::TimedOut { .. })));
        assert!(matches!(keyring.get("a"), Err(KeyringError::TimedOut { .. })));
        assert!(waiting.elapsed() < Duration::from_secs(4));
        assert!(matches!(Keyring::none().check(), Err(KeyringError::Unavailable(_))));
    }
}
