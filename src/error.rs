//! How failures reach a user: a [`Kind`], a stable code, a message, a cause and the command that mends it.
//!
//! Each module has its own `thiserror` enum and says of each variant, through [`Remedy`], what kind of failure it is and
//! how a user mends it. [`Error`] carries any of them upward unchanged; the command line and the HTTP server are the only
//! places that take one apart.

use std::error::Error as StdError;
use std::fmt;

/// What sort of failure it is. Maps once to an exit code and once to an HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It failed and none of the other kinds says why.
    Failed,
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
    pub const ALL: [Self; 9] = [
        Self::Failed,
        Self::Usage,
        Self::NotFound,
        Self::AuthNeeded,
        Self::Temporary,
        Self::Unhealthy,
        Self::Vault,
        Self::Partial,
        Self::Interrupted,
    ];

    /// For a list of exit codes.
    pub fn meaning(self) -> &'static str {
        match self {
            Kind::Failed => "failed",
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

    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Failed => 1,
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
}

/// What a module's error says for a user, beside its message.
pub trait Remedy: StdError + Send + Sync + 'static {
    fn kind(&self) -> Kind;

    /// The stable, machine-readable name of the failure: `needs_reauth`, `vault_locked`.
    fn code(&self) -> &'static str;

    /// A command that mends it, or the one thing to do.
    fn hint(&self) -> Option<String> {
        None
    }

    /// The connection that it is about.
    fn connection(&self) -> Option<String> {
        None
    }
}

/// Any module's error on its way to the user.
pub struct Error(Box<dyn Remedy>);

impl Error {
    pub fn kind(&self) -> Kind {
        self.0.kind()
    }

    pub fn code(&self) -> &'static str {
        self.0.code()
    }

    pub fn hint(&self) -> Option<String> {
        self.0.hint()
    }

    pub fn connection(&self) -> Option<String> {
        self.0.connection()
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
        let mut causes: Vec<String> = Vec::new();
        let mut source = self.0.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if causes.last() != Some(&text) {
                causes.push(text);
            }
            source = cause.source();
        }
        causes
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

pub type Result<T, E = Error> = std::result::Result<T, E>;
