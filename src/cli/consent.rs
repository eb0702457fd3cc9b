//! `integ consent`.

use clap::{Args, Subcommand, ValueEnum};

use super::table::{TableCell, table};
use super::ui::{Render, Tone, Ui};
use crate::error::Result;
use crate::model::{ConsentFilter, ConsentId, ConsentPurpose, ConsentResource, ConsentState, ConsentType, UserId};
use crate::ops::consents::{self, GrantConsentRequest, ListConsentsRequest, RevokeConsentRequest};
use crate::runtime::Workspace;
use crate::view::consent::{
    ConsentListView, ConsentStatusRow, ConsentStatusView, ConsentView, GrantedConsentView, RevokedConsentsView,
};

/// Record what your users allow
///
/// A consent allows a purpose (sync, webhooks, deliver, call, or a word of your own) on one connection, on all
/// connections of a connector, or on all data of a user. `integ config set consents.required sync` makes integ refuse
/// the purpose on connections with a user who has not consented. Revoking a consent stops what it allowed at once, even
/// if the purpose is not required.
#[derive(Debug, Args)]
pub(super) struct ConsentArgs {
    #[command(subcommand)]
    command: ConsentCommand,
}

#[derive(Debug, Subcommand)]
enum ConsentCommand {
    /// Record that a user consents
    Grant {
        /// Your user
        #[arg(value_name = "USER")]
        user: UserId,
        /// What the user allows: sync, webhooks, deliver, call, or a word of your own
        purpose: ConsentPurpose,
        /// What it covers: a connection, connector:ID, or TYPE:ID (default: all data of the user)
        #[arg(long, value_name = "RESOURCE", add = super::complete::connections())]
        resource: Option<ConsentResource>,
        /// Type of consent
        #[arg(long = "type", value_name = "TYPE", default_value = "third_party")]
        kind: ConsentTypeArg,
        /// Version of your policy that the user agreed to (default: consents.policy_version)
        #[arg(long, value_name = "N")]
        policy_version: Option<u32>,
        /// What the user was shown
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
    },
    /// Revoke a consent, or several of a user
    Revoke {
        /// Consent to revoke, as `integ consent list` prints it
        #[arg(required_unless_present = "user", conflicts_with_all = ["user", "purpose", "resource"])]
        consent: Option<ConsentId>,
        /// Revoke the consents of this user
        #[arg(long, value_name = "ID")]
        user: Option<UserId>,
        /// Only those for this purpose (default: all)
        #[arg(long, value_name = "PURPOSE", requires = "user")]
        purpose: Option<ConsentPurpose>,
        /// Only those about this resource (default: all)
        #[arg(long, value_name = "RESOURCE", requires = "user", add = super::complete::connections())]
        resource: Option<ConsentResource>,
    },
    /// List consents, newest first
    List {
        /// Only those of this user (default: all)
        #[arg(long, value_name = "ID")]
        user: Option<UserId>,
        /// Only those for this purpose (default: all)
        #[arg(long, value_name = "PURPOSE")]
        purpose: Option<ConsentPurpose>,
        /// Only those about this resource (default: all)
        #[arg(long, value_name = "RESOURCE", add = super::complete::connections())]
        resource: Option<ConsentResource>,
        /// Only those of this type (default: all)
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<ConsentTypeArg>,
        /// Only those for this version of your policy (default: all)
        #[arg(long, value_name = "N")]
        policy_version: Option<u32>,
        /// Maximum number of consents
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u32,
    },
    /// Show what users allow on their connections
    Status {
        /// Only this user (default: all)
        #[arg(value_name = "USER")]
        user: Option<UserId>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum ConsentTypeArg {
    ThirdParty,
    DataSharing,
    DataProcessing,
    Marketing,
}

impl From<ConsentTypeArg> for ConsentType {
    fn from(kind: ConsentTypeArg) -> Self {
        match kind {
            ConsentTypeArg::ThirdParty => Self::ThirdParty,
            ConsentTypeArg::DataSharing => Self::DataSharing,
            ConsentTypeArg::DataProcessing => Self::DataProcessing,
            ConsentTypeArg::Marketing => Self::Marketing,
        }
    }
}

impl ConsentArgs {
    /// Whether the command creates a workspace that is missing.
    pub(super) fn makes_workspace(&self) -> bool {
        matches!(self.command, ConsentCommand::Grant { .. })
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: ConsentArgs) -> Result<u8> {
    match args.command {
        ConsentCommand::Grant { user, purpose, resource, kind, policy_version, description } => {
            let kind = kind.into();
            let request = GrantConsentRequest { user, purpose, kind, resource, policy_version, description };
            ui.show(&workspace.run(consents::grant_consent(workspace, request))?)?;
        }
        ConsentCommand::Revoke { consent, user, purpose, resource } => {
            let request = match (consent, user) {
                (Some(consent), _) => RevokeConsentRequest::One(consent),
                (None, Some(user)) => RevokeConsentRequest::OfUser { user, purpose, resource },
                // clap requires one of them.
                (None, None) => return Ok(0),
            };
            ui.show(&workspace.run(consents::revoke_consents(workspace, request))?)?;
        }
        ConsentCommand::List { user, purpose, resource, kind, policy_version, limit } => {
            let filter = ConsentFilter { user, kind: kind.map(Into::into), resource, purpose, policy_version };
            ui.show(&workspace.run(consents::list_consents(workspace, ListConsentsRequest { filter, limit }))?)?;
        }
        ConsentCommand::Status { user } => ui.show(&workspace.run(consents::consent_status(workspace, user))?)?,
    }
    Ok(0)
}

fn resource(consent: &ConsentView) -> String {
    match (consent.resource_type.as_deref(), &consent.resource_id) {
        (Some("connection"), Some(id)) => id.clone(),
        (Some(kind), Some(id)) => format!("{kind}:{id}"),
        _ => "*".to_owned(),
    }
}

fn sentence(consent: &ConsentView) -> String {
    let about = match resource(consent).as_str() {
        "*" => String::new(),
        resource => format!(" on {resource}"),
    };
    format!("{}: {} by {}{about}", consent.id, consent.purpose, consent.user)
}

fn state(state: ConsentState) -> TableCell {
    let tone = match state {
        ConsentState::Granted => Tone::Good,
        ConsentState::Outdated => Tone::Warn,
        ConsentState::Revoked | ConsentState::Missing => Tone::Bad,
    };
    TableCell(state.to_string(), Some(tone))
}

impl Render for GrantedConsentView {
    fn text(&self, _ui: &Ui) -> String {
        format!("Recorded consent {}", sentence(&self.granted))
    }
}

impl Render for RevokedConsentsView {
    fn text(&self, _ui: &Ui) -> String {
        let lines = self.revoked.iter().map(|consent| format!("Revoked consent {}", sentence(consent)));
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl Render for ConsentListView {
    fn text(&self, ui: &Ui) -> String {
        if self.consents.is_empty() {
            return "No consents.".to_owned();
        }
        let row = |consent: &ConsentView| -> Vec<TableCell> {
            vec![
                consent.id.to_string().into(),
                consent.user.to_string().into(),
                consent.purpose.to_string().into(),
                resource(consent).into(),
                consent.consent_type.to_string().into(),
                consent.policy_version.to_string().into(),
                state(consent.state),
            ]
        };
        let headings = ["id", "user", "purpose", "resource", "type", "policy", "state"];
        table(ui, &headings, self.consents.iter().map(row).collect())
    }
}

impl Render for ConsentStatusView {
    fn text(&self, ui: &Ui) -> String {
        if self.consents.is_empty() {
            return "No consents, and none is required.".to_owned();
        }
        let row = |row: &ConsentStatusRow| -> Vec<TableCell> {
            vec![
                row.user.to_string().into(),
                row.resource.clone().into(),
                row.purpose.to_string().into(),
                if row.required { "yes" } else { "no" }.into(),
                state(row.state),
                row.consent.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string).into(),
            ]
        };
        let headings = ["user", "resource", "purpose", "required", "state", "consent"];
        table(ui, &headings, self.consents.iter().map(row).collect())
    }
}
