//! Arguments that limit API tokens.

use clap::ValueEnum;

use crate::cli::ui::Ui;
use crate::error::Result;
use crate::model::{ApprovalPolicy, ConnectionName};

/// Which requests need a person's approval.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ApprovalPolicyArg {
    None,
    Destroy,
    Write,
}

impl ApprovalPolicyArg {
    pub(super) fn policy(self) -> ApprovalPolicy {
        match self {
            Self::None => ApprovalPolicy::None,
            Self::Destroy => ApprovalPolicy::Destroy,
            Self::Write => ApprovalPolicy::Write,
        }
    }
}

/// Returns the connections that the arguments name.
pub(super) fn resolved(ui: &Ui, names: &[String]) -> Result<Vec<ConnectionName>> {
    names.iter().map(|name| Ok(ui.project.resolve(name)?)).collect()
}
