//! How failures are reported: a [`Kind`], a stable code, a message, a cause and the command that fixes it.
//!
//! Each module has its own `thiserror` enum and one table, its [`Remedy::diagnostic`], of what each variant means for a
//! user. [`Error`] carries any of them upward unchanged; the command line and the HTTP server are the only places that
//! take one apart.

use std::error::Error as StdError;
use std::fmt;

/// What sort of failure it is. Maps once to an exit code and once to an HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It failed and none of the other kinds says why.
    Failed,
    /// The present state does not allow it.
    Conflict,
    /// The service rejected the request, or its response cannot be used.
    Rejected,
    /// The command or request was not well formed.
    Usage,
    /// No such connector, connection, workspace…
    NotFound,
    /// A person must connect or reconnect.
    AuthNeeded,
    /// Network, rate limit or a vendor's 5xx: the same thing may work later.
    Temporary,
    /// A check found something unhealthy.
    Unhealthy,
    /// The vault is locked, damaged or from a newer version.
    Vault,
    /// Some of several items failed.
    Partial,
    /// Stopped by the user.
    Interrupted,
}

impl Kind {
    /// Every kind, in the order of the exit codes.
    pub const ALL: [Self; 11] = [
        Self::Failed,
        Self::Conflict,
        Self::Rejected,
        Self::Usage,
        Self::NotFound,
        Self::AuthNeeded,
        Self::Temporary,
        Self::Unhealthy,
        Self::Vault,
        Self::Partial,
        Self::Interrupted,
    ];

    /// Returns its word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Conflict => "conflict",
            Self::Rejected => "rejected",
            Self::Usage => "usage",
            Self::NotFound => "not_found",
            Self::AuthNeeded => "auth_needed",
            Self::Temporary => "temporary",
            Self::Unhealthy => "unhealthy",
            Self::Vault => "vault",
            Self::Partial => "partial",
            Self::Interrupted => "interrupted",
        }
    }

    /// For a list of exit codes.
    pub fn meaning(self) -> &'static str {
        match self {
            Kind::Failed | Kind::Conflict | Kind::Rejected => "failed",
            Kind::Usage => "usage: the command or its arguments are wrong",
            Kind::NotFound => "no such connector, connection or workspace",
            Kind::AuthNeeded => "authentication needed: connect or reconnect",
            Kind::Temporary => "temporary: network, rate limit, the service's trouble; try again",
            Kind::Unhealthy => "a check found something unhealthy",
            Kind::Vault => "the vault is locked, damaged or from a newer version",
            Kind::Partial => "some of several failed",
            Kind::Interrupted => "interrupted",
        }
    }

    /// Returns the exit code of a command that fails with this kind; 130 is what shells report for SIGINT.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Failed | Kind::Conflict | Kind::Rejected => 1,
            Kind::Usage => 2,
            Kind::NotFound => 3,
            Kind::AuthNeeded => 4,
            Kind::Temporary => 5,
            Kind::Unhealthy => 6,
            Kind::Vault => 7,
            Kind::Partial => 8,
            Kind::Interrupted => 130,
        }
    }

    /// The status of an HTTP API's answer.
    ///
    /// 401 and 403 are left to the API's own tokens: a connection that needs to be reconnected is 409, as the caller is known
    /// and the request is right, but the state of the connection does not allow it. What the service rejected is 424: the
    /// fault is neither this server's nor, for certain, the caller's. A locked vault, a failed check, a network that does
    /// not respond and a process that is ending are 503.
    pub fn http_status(self) -> u16 {
        match self {
            Kind::Partial => 207,
            Kind::Usage => 400,
            Kind::NotFound => 404,
            Kind::AuthNeeded | Kind::Conflict => 409,
            Kind::Rejected => 424,
            Kind::Failed => 500,
            Kind::Temporary | Kind::Unhealthy | Kind::Vault | Kind::Interrupted => 503,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| format!("unknown kind {word:?}"))
    }
}

/// What a user can do about a failure: a sentence, a command that runs as it is, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// Empty if the command says it all; if a command follows, it leads up to it.
    pub text: String,
    /// The whole command line, for a shell. Capital words in it, such as `NAME=VALUE`, are for the user to replace.
    pub command: Option<String>,
}

impl Hint {
    /// A text that ends with a command.
    pub fn new(text: impl Into<String>, command: impl Into<String>) -> Self {
        Self { text: text.into(), command: Some(command.into()) }
    }

    /// A command alone.
    pub fn run(command: impl Into<String>) -> Self {
        Self::new("", command)
    }

    /// The same with commands that work in this workspace, unless they name one or are about workspaces.
    #[must_use]
    pub fn in_workspace(self, workspace: &str) -> Self {
        // Commands within the text are in backticks.
        let text = self.text.split('`').enumerate();
        let text = text.map(|(index, part)| if index % 2 == 1 { command_in(workspace, part) } else { part.to_owned() });
        let text = text.collect::<Vec<_>>().join("`");
        Self { text, command: self.command.map(|command| command_in(workspace, &command)) }
    }

    /// Advice that no single command can follow.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), command: None }
    }
}

/// A command line for a shell, with the workspace in each of its `integ` commands that names none.
pub fn command_in(workspace: &str, command: &str) -> String {
    const PROGRAM: &str = "integ ";
    let mut out = String::new();
    let mut rest = command;
    while let Some(at) = rest.find(PROGRAM) {
        let (before, after) = (&rest[..at], &rest[at + PROGRAM.len()..]);
        let is_program = before.chars().next_back().is_none_or(|last| " (;'".contains(last));
        let is_named = after.starts_with("-w ") || after.starts_with("workspace ");
        out.push_str(before);
        out.push_str(PROGRAM);
        if is_program && !is_named {
            out.push_str(&format!("-w {workspace} "));
        }
        rest = after;
    }
    out + rest
}

/// As it is printed behind `hint:`. A command alone is printed bare, so that the rest of the line can be copied.
impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.command {
            Some(command) if self.text.is_empty() => f.write_str(command),
            Some(command) => write!(f, "{} `{command}`", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// What a program and a user need to know of a failure beside its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub kind: Kind,
    /// The stable, machine-readable name of the failure: `needs_reauth`, `vault_locked`.
    pub code: &'static str,
    pub hint: Option<Hint>,
    /// The name of the connection that it is about.
    pub connection: Option<String>,
}

impl Diagnostic {
    /// Creates a diagnostic without a hint or a connection; `code` is the stable name that programs match on.
    pub fn new(kind: Kind, code: &'static str) -> Self {
        Self { kind, code, hint: None, connection: None }
    }

    /// Sets the hint.
    #[must_use]
    pub fn hint(self, hint: Hint) -> Self {
        self.maybe_hint(Some(hint))
    }

    /// Sets the hint; None removes it.
    #[must_use]
    pub fn maybe_hint(self, hint: Option<Hint>) -> Self {
        Self { hint, ..self }
    }

    /// Hints at a command alone.
    #[must_use]
    pub fn run(self, command: impl Into<String>) -> Self {
        self.hint(Hint::run(command))
    }

    /// Sets the name of the connection that the failure is about.
    #[must_use]
    pub fn connection(self, name: impl fmt::Display) -> Self {
        self.maybe_connection(Some(name))
    }

    /// Sets the name of the connection that the failure is about; None removes it.
    #[must_use]
    pub fn maybe_connection(self, name: Option<impl fmt::Display>) -> Self {
        Self { connection: name.map(|name| name.to_string()), ..self }
    }
}

/// The error of a module: one table says of each variant what it means for a user.
pub trait Remedy: StdError + Send + Sync + 'static {
    /// Returns what the error means for a user; the message is the error's own text.
    fn diagnostic(&self) -> Diagnostic;

    /// Returns the kind, which decides the exit code and the HTTP status.
    fn kind(&self) -> Kind {
        self.diagnostic().kind
    }

    /// Returns the stable name that programs match on, such as `vault_locked`.
    fn code(&self) -> &'static str {
        self.diagnostic().code
    }

    /// Returns what the user can do about it; None if nothing is known to help.
    fn hint(&self) -> Option<Hint> {
        self.diagnostic().hint
    }
}

/// An error and its causes on one line, `message: cause: cause`; a cause that repeats the text above it is left out.
pub fn on_one_line(error: &(dyn StdError + 'static)) -> String {
    chain(error).join(": ")
}

/// The texts of an error and its causes, outermost first, without repetitions.
fn chain(error: &(dyn StdError + 'static)) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        texts.push(cause.to_string());
        source = cause.source();
    }
    texts.dedup();
    texts
}

/// Any module's error on its way to the user.
pub struct Error(Box<dyn Remedy>);

impl Error {
    /// Returns the kind, which decides the exit code and the HTTP status.
    pub fn kind(&self) -> Kind {
        self.0.kind()
    }

    /// Returns the stable name that programs match on, such as `vault_locked`.
    pub fn code(&self) -> &'static str {
        self.0.code()
    }

    /// Returns what the user can do about it; None if nothing is known to help.
    pub fn hint(&self) -> Option<Hint> {
        self.0.hint()
    }

    /// Returns the name of the connection that the error is about; None if it is about none in particular.
    pub fn connection(&self) -> Option<String> {
        self.0.diagnostic().connection
    }

    /// The error of a module, where it is that one.
    pub fn downcast_ref<E: Remedy>(&self) -> Option<&E> {
        let error: &(dyn StdError + 'static) = &*self.0;
        error.downcast_ref()
    }

    /// What failed, in one sentence without a full stop.
    pub fn message(&self) -> String {
        self.0.to_string()
    }

    /// Why: the chain of causes below the message, outermost first.
    pub fn causes(&self) -> Vec<String> {
        chain(&*self.0).into_iter().skip(1).collect()
    }

    /// The message and its causes on one line, as [`on_one_line`].
    pub fn on_one_line(&self) -> String {
        on_one_line(&*self.0)
    }
}

impl<E: Remedy> From<E> for Error {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A result with [`Error`], unless another error type is given.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Cause(&'static str, #[source] Option<Box<Cause>>);

    impl Remedy for Cause {
        fn diagnostic(&self) -> Diagnostic {
            Diagnostic::new(Kind::NotFound, "lost").hint(Hint::new("look:", "integ status")).connection("slack")
        }
    }

    fn caused(texts: &[&'static str]) -> Option<Box<Cause>> {
        let (first, rest) = texts.split_first()?;
        Some(Box::new(Cause(first, caused(rest))))
    }

    #[test]
    fn a_hint_prints_a_command_bare_and_quotes_it_after_a_text() {
        assert_eq!(Hint::run("integ status").to_string(), "integ status");
        assert_eq!(Hint::new("list them:", "integ status").to_string(), "list them: `integ status`");
        assert_eq!(Hint::text("try again").to_string(), "try again");
        assert_eq!(Hint::text("try again").command, None);
    }

    #[test]
    fn a_command_is_moved_to_a_workspace_unless_it_names_one() {
        let moved = |command: &str| Hint::run(command).in_workspace("work").to_string();
        assert_eq!(moved("integ connect slack --sandbox"), "integ -w work connect slack --sandbox");
        assert_eq!(moved("integ -w NEW vault restore FILE"), "integ -w NEW vault restore FILE");
        assert_eq!(moved("integ workspace list"), "integ workspace list");
        assert_eq!(moved("chmod 600 /integ x"), "chmod 600 /integ x");
        assert_eq!(moved("INTEG_IDENTITY_FILE=F integ status"), "INTEG_IDENTITY_FILE=F integ -w work status");
        assert_eq!(moved("integ connect x && integ test x"), "integ -w work connect x && integ -w work test x");
        assert_eq!(moved("cargo install integ"), "cargo install integ");
        assert_eq!(Hint::text("integ x").in_workspace("work"), Hint::text("integ x"));
        let text = Hint::new("look with `ls` and `integ status`, then", "integ test").in_workspace("work");
        assert_eq!(text.to_string(), "look with `ls` and `integ -w work status`, then `integ -w work test`");
    }

    #[test]
    fn an_error_answers_from_its_table() {
        let error = Error::from(Cause("no", None));
        assert_eq!((error.kind(), error.code()), (Kind::NotFound, "lost"));
        assert_eq!(error.hint(), Some(Hint::new("look:", "integ status")));
        assert_eq!(error.connection().as_deref(), Some("slack"));
    }

    #[test]
    fn a_chain_on_one_line_keeps_each_cause_and_no_repetition() {
        let error = Error::from(*caused(&["a", "a", "b", "b", "a"]).unwrap());
        assert_eq!(error.on_one_line(), "a: b: a");
        assert_eq!(error.causes(), ["b", "a"]);
        let alone = Cause("a", None);
        assert_eq!(on_one_line(&alone), "a");
        assert!(Error::from(alone).causes().is_empty());
    }

    #[test]
    fn only_a_request_that_can_be_put_right_is_answered_with_4xx() {
        for kind in Kind::ALL {
            let status = kind.http_status();
            let is_the_requests =
                matches!(kind, Kind::Usage | Kind::NotFound | Kind::AuthNeeded | Kind::Conflict | Kind::Rejected);
            assert_eq!((400..500).contains(&status), is_the_requests, "{kind:?}: {status}");
            assert!(status != 401 && status != 403, "{kind:?} would say that the caller's own token is wrong");
            let may_be_retried = matches!(kind, Kind::Temporary | Kind::Interrupted);
            assert!(!may_be_retried || status == 503, "{kind:?}: {status}");
        }
    }
}
