//! Output and questions of a flow; implemented by the command line and the server.

use std::process::Child;
use std::time::Duration;

use thiserror::Error;
use url::Url;

use crate::clock::Stopwatch;
use crate::connector::SetupGuide;
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::model::ConnectionName;
use crate::secret::Secret;

/// Something a person must see while a flow waits.
#[derive(Debug)]
pub enum ConnectEvent<'a> {
    /// One of several connections is reconnected now; `position` counts from 1.
    Reconnecting { connection: &'a ConnectionName, reason: Option<&'a str>, position: usize, total: usize },
    /// What to do at the service before it can be connected. `command` connects it, and takes `--auth` for another method.
    Setup { service: &'a str, docs: &'a str, guide: &'a SetupGuide, command: &'a str },
    /// No browser can be started; what was to be opened has been shown.
    BrowserNotFound,
    /// The answer to a question is not valid, for a reason such as `it is a URL`. It is asked again.
    InvalidAnswer { reason: &'a str },
    /// An app was stored in the workspace.
    AppStored { connector: &'a str },
    /// The scopes that will be requested, each with its purpose, which may be empty. `app` is the client id.
    Scopes { service: &'a str, app: Option<&'a str>, scopes: &'a [(&'a str, &'a str)] },
    /// The flow waits for a person, and for how long yet.
    Waiting { waits_for: WaitsFor, remaining: Duration },
    /// It no longer waits.
    WaitEnded,
    /// Open this. Always said before a browser is opened.
    Authorize { url: &'a Url, redirect_uri: &'a str, opens_browser: bool },
    /// Enter this code there.
    DeviceCode {
        verification_uri: &'a str,
        verification_uri_complete: Option<&'a str>,
        user_code: &'a str,
        expires_in: u64,
    },
    /// The sandbox's own consent page was answered in the person's place.
    SandboxConsented,
}

/// What a flow waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// The consent in the browser.
    Browser,
    /// The code to be entered on another screen.
    DeviceCode,
}

/// Something that only a person knows.
#[derive(Debug)]
pub enum PromptQuestion<'a> {
    /// A line of text; `secret` is not echoed.
    Text { prompt: &'a str, example: Option<&'a str>, is_secret: bool, flag_hint: &'a str },
    /// A file, by its path: the answer is what it holds.
    File { prompt: &'a str, flag_hint: &'a str },
    /// The callback URL.
    CallbackUrl,
}

/// What an empty answer to a question means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAnswer {
    Yes,
    No,
}

/// The user interface of a flow: it shows events and asks questions.
pub trait Prompter: Sync {
    /// Shows an event, without waiting for the person to react.
    fn notify(&self, event: &ConnectEvent<'_>);

    /// Opens a browser at a page of integ's own and returns its process; absent if none can be started. Many commands hand the
    /// URL to a browser that runs already, and end. Other users can read the URL.
    fn open_browser(&self, url: &Url) -> Option<Child>;

    /// # Errors
    /// [`PromptError`] without a terminal.
    fn prompt(&self, question: &PromptQuestion<'_>) -> Result<Secret, PromptError>;

    /// Which of several, by index.
    ///
    /// # Errors
    /// [`PromptError`] without a terminal.
    fn select(&self, prompt: &str, labels: &[String]) -> Result<usize, PromptError>;

    /// Whether the person agrees to a statement; Enter gives the default.
    ///
    /// # Errors
    /// [`PromptError`] without a terminal.
    fn confirm(&self, statement: &str, default: DefaultAnswer) -> Result<bool, PromptError>;

    /// Whether a person can be asked at all.
    fn is_interactive(&self) -> bool;
}

/// Runs `work` and shows a person, each second, for how long it is still waited for.
pub(super) async fn with_countdown<T>(
    prompter: &dyn Prompter,
    waits_for: WaitsFor,
    limit: Duration,
    work: impl Future<Output = T>,
) -> T {
    /// Ends the countdown also where the flow is interrupted.
    struct Countdown<'a>(&'a dyn Prompter);

    impl Drop for Countdown<'_> {
        fn drop(&mut self) {
            self.0.notify(&ConnectEvent::WaitEnded);
        }
    }

    if !prompter.is_interactive() {
        prompter.notify(&ConnectEvent::Waiting { waits_for, remaining: limit });
        return work.await;
    }
    let _countdown = Countdown(prompter);
    let started = Stopwatch::start();
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    tokio::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => return result,
            _ = seconds.tick() => {
                let remaining = limit.saturating_sub(started.elapsed());
                prompter.notify(&ConnectEvent::Waiting { waits_for, remaining });
            }
        }
    }
}

/// Why a question got no answer.
#[derive(Debug, Error)]
pub enum PromptError {
    #[error("{prompt} is needed, but integ is not running in a terminal")]
    NoTerminal { prompt: String, missing: String },
    #[error("no value was entered")]
    Empty,
    #[error("the input is longer than {limit} bytes")]
    TooLong { limit: u64 },
    /// Ctrl-C at the prompt.
    #[error("interrupted")]
    Interrupted,
    #[error("cannot read {path:?}")]
    File { path: String, source: std::io::Error },
    #[error("cannot read from the terminal")]
    Read { source: std::io::Error },
}

impl Remedy for PromptError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NoTerminal { missing, .. } => {
                Diagnostic::new(Kind::Usage, "no_terminal").hint(Hint::text(format!("give it with {missing}")))
            }
            Self::Empty => Diagnostic::new(Kind::Usage, "empty_input"),
            Self::File { .. } => Diagnostic::new(Kind::Usage, "input"),
            Self::TooLong { .. } => Diagnostic::new(Kind::Usage, "input_too_long"),
            Self::Interrupted => Diagnostic::new(Kind::Interrupted, "interrupted"),
            Self::Read { .. } => Diagnostic::new(Kind::Failed, "io"),
        }
    }
}

/// The user ended the flow.
#[derive(Debug, Error)]
#[error("interrupted; nothing was connected")]
pub(super) struct ConnectInterrupted;

impl Remedy for ConnectInterrupted {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Interrupted, "interrupted")
    }
}
