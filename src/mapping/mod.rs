//! Bindings: what makes a record or an event a document in the user's own shape.
//!
//! A binding is a text (`source`), one line for a field:
//!
//! ```text
//! id            = .id
//! email: text   = .properties.email
//! phone?: text  = .properties.phone
//! stage         = .properties.lifecyclestage | lookup("stage")
//! amount        = .properties.amount | minor_units("EUR")
//!
//! [lookup.stage]
//! lead     = "prospect"
//! customer = "won"
//! ```
//!
//! Behind `=` is jq, in which a path that leads nowhere, or to null, is an error: unless the field is optional (`?`), the path
//! ends with `?`, or a default follows by `//`. `compile` makes an `expression` of each; those that are paths, texts with
//! paths in them, converters and defaults run on the JSON text itself: an `extract` finds all their paths in one walk. The
//! rest is jq's (`crate::jq::Program`). A [`Mapper`] is made once and maps any number of documents; pure.

mod coerce;
mod compile;
mod expression;
mod extract;
mod merge;
mod outbound;
mod source;

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

pub use crate::converter::CONVERTERS;
pub use coerce::FieldType;
pub use compile::{FieldInput, MappedDocument, MappedField, Mapper};
pub use merge::{MergeInput, MergeOutcome, merge, same};
pub use outbound::{Outbound, WritableParam, WriteTarget, document_of, fields_of};
pub use source::{BindingSource, Example, Expected, MAX_SOURCE_BYTES, SyncRules};

use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::jq::JqError;
use crate::model::Binding;

/// A binding of the user's with its mapper.
#[derive(Clone, Debug)]
pub struct BoundMapper {
    pub binding: Binding,
    pub mapper: Arc<Mapper>,
}

impl BoundMapper {
    /// Compiles a binding.
    ///
    /// # Errors
    /// [`BindingError`]: a binding that another version of integ stored may mean nothing to this one.
    pub fn new(binding: Binding) -> Result<Self, BindingError> {
        let mapper = Arc::new(Mapper::new(&binding.text)?);
        Ok(Self { binding, mapper })
    }
}

/// What is wrong with the text of a binding.
#[derive(Debug, Error)]
pub enum BindingError {
    #[error("line {line}: {problem}")]
    Syntax { line: usize, problem: String },
    #[error("line {line}: invalid expression for {field}")]
    Expression { line: usize, field: String, source: JqError },
    #[error("line {line}: {field}: {problem}")]
    Converter { line: usize, field: String, problem: String },
    #[error("the binding has no fields")]
    Empty,
    #[error("the binding is longer than {} KiB", MAX_SOURCE_BYTES >> 10)]
    TooLong,
}

impl Remedy for BindingError {
    fn diagnostic(&self) -> Diagnostic {
        let code = match self {
            Self::TooLong => "binding_too_long",
            _ => "invalid_binding",
        };
        Diagnostic::new(Kind::Usage, code)
            .hint(Hint::new("write lines such as `email = .properties.email`; see", "integ help mapping"))
    }
}

/// Why a field of a document could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFailure {
    pub field: String,
    pub reason: String,
}

impl fmt::Display for FieldFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

/// Failures of a document in one sentence.
pub fn failure_text(failures: &[FieldFailure]) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
