//! Hooks: notify the user's programs that a connection broke or recovered, or that an endpoint was disabled.
//!
//! What to report is decided by the store ([`crate::model::ConnectionTransition`]): one process of many sees a change, once. Telling is
//! tried once and at most once; that it fails is a warning, and changes nothing else. Each hook runs beside the command's
//! own work, with no lock of ours held because of it, and the command waits for the last of them when its work is done.
//!
//! Invariants:
//! - No token, key or secret of integ is in what a hook is given, nor in its environment.
//! - Nothing waits for longer than `notify.timeout` for a hook. One that did not answer in time is left alone for a minute,
//!   so that a thousand changes wait no longer than a few.
//! - The changes of one connection are sent in the order in which they happened.

mod post;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{Mutex as Turn, Semaphore};
use tokio::task::JoinSet;

pub use post::signing_secret;

use crate::clock::Stopwatch;
use crate::config::{Config, NotifyConfig};
use crate::error::{Diagnostic, Error, Hint, Kind, Remedy};
use crate::files::TrustError;
use crate::http::egress::EgressGuard;
use crate::http::{Client, HttpError};
use crate::model::Notification;
use crate::program::{self, ProgramError};
use crate::runtime::{BoxFuture, Notify};
use crate::signing::standard::SigningSecretError;

/// Hooks that run at the same time.
const MAX_CONCURRENT: usize = 4;

/// How long a hook that did not answer is left alone.
const MUTE_DURATION: Duration = Duration::from_secs(60);

/// Why a notification was not delivered.
#[derive(Debug, Error)]
pub enum NotifyError {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("{what} did not answer within {after_secs} s")]
    TimedOut { what: String, after_secs: u64 },
    #[error("notify.url has no secret to sign with")]
    NoSecret,
    #[error("invalid secret in {origin}")]
    InvalidSecret { origin: String, source: SigningSecretError },
    #[error(transparent)]
    SecretFile(#[from] TrustError),
    #[error("{} with the secret for notify.url is missing", path.display())]
    SecretFileNotFound { path: std::path::PathBuf },
    #[error("{host} answered with status {status}")]
    Status { host: String, status: u16 },
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl NotifyError {
    /// Whether the next attempt is as likely to fail.
    fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::TimedOut { .. }
                | Self::Program(ProgramError::TimedOut { .. })
                | Self::Http(HttpError::Timeout { .. } | HttpError::Connect { .. })
        )
    }
}

impl Remedy for NotifyError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Program(ProgramError::InvalidQuoting) => {
                Diagnostic::new(Kind::Usage, "invalid_config").run("integ config set notify.command COMMAND")
            }
            Self::Program(ProgramError::Spawn { .. }) => {
                Diagnostic::new(Kind::Failed, "notify_command_failed").run("integ config set notify.command COMMAND")
            }
            Self::Program(ProgramError::Failed { .. }) => Diagnostic::new(Kind::Failed, "notify_command_failed"),
            Self::TimedOut { .. } | Self::Program(ProgramError::TimedOut { .. }) => {
                Diagnostic::new(Kind::Temporary, "notify_timeout").run("integ config set notify.timeout 30s")
            }
            Self::NoSecret => Diagnostic::new(Kind::Usage, "no_notify_secret").run(NEW_SECRET),
            Self::InvalidSecret { .. } => {
                Diagnostic::new(Kind::Usage, "invalid_notify_secret").hint(Hint::new("make another:", NEW_SECRET))
            }
            Self::SecretFileNotFound { .. } => {
                Diagnostic::new(Kind::Failed, "secret_file_not_found").run("integ config set notify.secret_file PATH")
            }
            Self::SecretFile(error) => error.diagnostic(),
            Self::Status { .. } => Diagnostic::new(Kind::Failed, "notify_rejected"),
            Self::Http(error) => error.diagnostic(),
        }
    }
}

/// The commands that make a secret and name it.
const NEW_SECRET: &str = "(umask 077; echo \"whsec_$(head -c 32 /dev/urandom | base64)\" > ~/.integ-notify-secret) && \
    integ config set notify.secret_file ~/.integ-notify-secret";

/// Reports changes; one for each `Workspace`.
pub struct Notifier {
    shared: Arc<Shared>,
    running: Mutex<JoinSet<()>>,
    /// Whose turn it is, of the changes of one connection.
    locks: Mutex<HashMap<String, Arc<Turn<()>>>>,
}

struct Shared {
    config: NotifyConfig,
    http: Client,
    slots: Semaphore,
    command: HookState,
    url: HookState,
}

/// The outcome of one of the two deliveries so far.
#[derive(Default)]
struct HookState {
    /// When it last did not answer.
    muted_since: Mutex<Option<Stopwatch>>,
    skipped: AtomicU32,
}

impl std::fmt::Debug for Notifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notifier").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl Notifier {
    /// Creates a notifier for the hooks of `config.notify`. A URL may lead to public addresses and to `http.allow`.
    pub fn new(config: &Config) -> Self {
        let shared = Shared {
            http: Client::guarded(config.notify.timeout, EgressGuard::new(&config.http.allow)),
            config: config.notify.clone(),
            slots: Semaphore::new(MAX_CONCURRENT),
            command: HookState::default(),
            url: HookState::default(),
        };
        Self { shared: Arc::new(shared), running: Mutex::default(), locks: Mutex::default() }
    }

    /// Whether anybody wants to know of this.
    pub fn is_enabled_for(&self, notice: &Notification) -> bool {
        let config = &self.shared.config;
        config.on.contains(&notice.transition) && (config.command.is_some() || config.url.is_some())
    }
}

impl Notify for Notifier {
    fn notify(&self, notice: Notification) {
        if !self.is_enabled_for(&notice) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            tracing::warn!(subject = notice.subject(), "a hook was not run: no runtime");
            return;
        };
        let turn = Arc::clone(held(&self.locks).entry(notice.subject().to_owned()).or_default());
        let shared = Arc::clone(&self.shared);
        let task = async move {
            let _turn = turn.lock().await;
            let _slot = shared.slots.acquire().await;
            shared.deliver(&notice).await;
        };
        let mut running = held(&self.running);
        // Those that have ended: a process that lives long keeps none of them.
        while running.try_join_next().is_some() {}
        running.spawn_on(task, &runtime);
    }

    fn finish<'a>(&'a self, stop: BoxFuture<'a, ()>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let mut running = std::mem::take(&mut *held(&self.running));
            if running.is_empty() {
                return;
            }
            tokio::select! {
                () = async { while running.join_next().await.is_some() {} } => {}
                () = stop => running.shutdown().await,
            }
            for (name, hook) in [("notify.command", &self.shared.command), ("notify.url", &self.shared.url)] {
                let untold = hook.skipped.swap(0, Ordering::Relaxed);
                if untold > 0 {
                    tracing::warn!("{name} was not tried for {untold} further changes, because it had not answered");
                }
            }
        })
    }
}

impl Shared {
    async fn deliver(&self, notice: &Notification) {
        let command = async {
            if let Some(command) = &self.config.command {
                self.command.attempt(notice, Box::pin(self.run(command, notice))).await;
            }
        };
        let url = async {
            if let Some(url) = &self.config.url {
                self.url.attempt(notice, post::send(&self.config, &self.http, url, notice)).await;
            }
        };
        tokio::join!(command, url);
    }
}

impl Shared {
    async fn run(&self, command: &str, notice: &Notification) -> Result<(), NotifyError> {
        let variables = notice.variables().into_iter().map(|(name, value)| (name.to_owned(), value));
        let input = format!("{}\n", notice.json());
        Ok(program::run(command, self.config.timeout, variables, input.as_bytes()).await?)
    }
}

impl HookState {
    async fn attempt(&self, notice: &Notification, telling: impl Future<Output = Result<(), NotifyError>>) {
        if held(&self.muted_since).is_some_and(|since| since.elapsed() < MUTE_DURATION) {
            self.skipped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Err(error) = telling.await else { return };
        if error.is_unreachable() {
            *held(&self.muted_since) = Some(Stopwatch::start());
        }
        let error = Error::from(error);
        let why = error.on_one_line();
        let hint = error.hint().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
        let (subject, event) = (notice.subject(), notice.transition.as_str());
        tracing::warn!("the {event} of {subject} was not reported: {why}{hint}");
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
