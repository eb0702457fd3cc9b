//! Errors in the arguments of `integ calendar`.

use thiserror::Error;

use crate::error::{Diagnostic, Hint, Kind, Remedy};

/// An argument that cannot be read, or does not fit the others.
#[derive(Debug, Error)]
pub(super) enum CalendarArgumentError {
    #[error("{text:?} is not a date")]
    Date { text: String },
    #[error("a start needs an end or a duration")]
    NoEnd,
    #[error("nothing to change")]
    NothingToChange,
}

impl Remedy for CalendarArgumentError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Date { .. } => Diagnostic::new(Kind::Usage, "invalid_date").hint(Hint::text("write 2026-12-01")),
            Self::NoEnd => Diagnostic::new(Kind::Usage, "no_end").hint(Hint::text("add --end TIME or --duration 45m")),
            Self::NothingToChange => Diagnostic::new(Kind::Usage, "nothing_to_change")
                .hint(Hint::new("see what can be changed:", "integ help calendar update")),
        }
    }
}
