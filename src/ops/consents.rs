//! Operations on consents: records that a user allowed a purpose.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{Effect, Operation, OperationScope, Reach};
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::model::{
    Connection, Consent, ConsentFilter, ConsentId, ConsentPurpose, ConsentResource, ConsentType, NewConsent, UserId,
    consent_state,
};
use crate::runtime::Workspace;
use crate::view::consent::{
    ConsentListView, ConsentStatusRow, ConsentStatusView, ConsentView, GrantedConsentView, RevokedConsentsView,
};

/// The operations of this module.
pub const OPERATIONS: &[Operation] = &[
    Operation::local("consent grant", OperationScope::Consents, Effect::Write).reachable_by(Reach::Api),
    Operation::local("consent revoke", OperationScope::Consents, Effect::Write).reachable_by(Reach::Api),
    Operation::local("consent list", OperationScope::Consents, Effect::Read).reachable_by(Reach::Api),
    Operation::local("consent status", OperationScope::Consents, Effect::Read).reachable_by(Reach::Api),
];

/// Why a consent cannot be revoked.
#[derive(Debug, Error)]
pub enum ConsentOperationError {
    #[error("consent {id} not found")]
    NotFound { id: ConsentId },
    #[error("no granted consent of user {user} matches")]
    NothingGranted { user: UserId },
}

impl Remedy for ConsentOperationError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::NotFound, "consent_not_found").hint(Hint::run("integ consent list"))
    }
}

/// A consent to record.
#[derive(Clone, Debug)]
pub struct GrantConsentRequest {
    pub user: UserId,
    pub purpose: ConsentPurpose,
    pub kind: ConsentType,
    /// Everything of the user's if absent.
    pub resource: Option<ConsentResource>,
    /// The current version of the settings if absent.
    pub policy_version: Option<u32>,
    pub description: Option<String>,
}

/// Records that a user allowed a purpose.
///
/// # Errors
/// An invalid description.
pub async fn grant_consent(workspace: &Workspace, request: GrantConsentRequest) -> Result<GrantedConsentView> {
    let engine = &workspace.engine;
    let GrantConsentRequest { user, purpose, kind, resource, policy_version, description } = request;
    let policy_version = policy_version.unwrap_or(engine.config.consents.policy_version);
    let new = NewConsent { user, kind, resource, purpose, policy_version, description };
    let consent = new.granted(workspace.clock.now())?;
    note(workspace, &consent);
    workspace.store_or_new().await?.consents().grant(&consent).await?;
    Ok(GrantedConsentView { granted: view(workspace, consent) })
}

/// Names a consent and its user in the audit entry.
fn note(workspace: &Workspace, consent: &Consent) {
    if let Some(audit) = workspace.audit_entry() {
        audit.set_user(&consent.user);
        audit.set_consent(&consent.id);
    }
}

fn view(workspace: &Workspace, consent: Consent) -> ConsentView {
    ConsentView::new(consent, workspace.engine.config.consents.policy_version)
}

/// The consents to revoke.
#[derive(Clone, Debug)]
pub enum RevokeConsentRequest {
    One(ConsentId),
    /// Those of a user that match.
    OfUser {
        user: UserId,
        purpose: Option<ConsentPurpose>,
        resource: Option<ConsentResource>,
    },
}

/// Revokes consents. Syncs end at their next page, and events are handled no more.
///
/// # Errors
/// [`ConsentOperationError`].
pub async fn revoke_consents(workspace: &Workspace, request: RevokeConsentRequest) -> Result<RevokedConsentsView> {
    let (consents, now) = (workspace.store().await?.consents(), workspace.clock.now());
    let revoked = match request {
        RevokeConsentRequest::One(id) => {
            let found = consents.find(&id).await?;
            let consent = found.ok_or_else(|| ConsentOperationError::NotFound { id: id.clone() })?;
            note(workspace, &consent);
            consents.revoke_one(&id, now).await?;
            consents.find(&id).await?.into_iter().collect()
        }
        RevokeConsentRequest::OfUser { user, purpose, resource } => {
            if let Some(audit) = workspace.audit_entry() {
                audit.set_user(&user);
            }
            let filter = ConsentFilter { user: Some(user.clone()), purpose, resource, ..Default::default() };
            let has_granted =
                consents.list(&filter, u32::MAX).await?.iter().any(|consent| consent.revoked_at.is_none());
            if !has_granted {
                return Err(ConsentOperationError::NothingGranted { user }.into());
            }
            consents.revoke(&filter, now).await?
        }
    };
    Ok(RevokedConsentsView { revoked: revoked.into_iter().map(|consent| view(workspace, consent)).collect() })
}

/// The consents to list.
#[derive(Clone, Debug, Default)]
pub struct ListConsentsRequest {
    pub filter: ConsentFilter,
    /// Maximum number of consents.
    pub limit: u32,
}

/// Returns consents, revoked ones included, the newest first.
pub async fn list_consents(workspace: &Workspace, request: ListConsentsRequest) -> Result<ConsentListView> {
    let found = match workspace.has_vault() {
        true => workspace.store().await?.consents().list(&request.filter, request.limit).await?,
        false => Vec::new(),
    };
    Ok(ConsentListView { consents: found.into_iter().map(|consent| view(workspace, consent)).collect() })
}

/// Returns what users allow on each of their connections: the purposes that the settings require, and those of their
/// consents.
pub async fn consent_status(workspace: &Workspace, user: Option<UserId>) -> Result<ConsentStatusView> {
    let settings = workspace.engine.config.consents.clone();
    let mut rows = Vec::new();
    if workspace.has_vault() {
        let store = workspace.store().await?;
        let filter = ConsentFilter { user: user.clone(), ..Default::default() };
        let mut of_user: BTreeMap<UserId, (Vec<Consent>, Vec<Connection>)> = BTreeMap::new();
        for consent in store.consents().list(&filter, u32::MAX).await? {
            of_user.entry(consent.user.clone()).or_default().0.push(consent);
        }
        for connection in store.connections().list().await? {
            let Some(owner) = connection.user.clone() else { continue };
            if user.as_ref().is_none_or(|user| *user == owner) {
                of_user.entry(owner).or_default().1.push(connection);
            }
        }
        for (user, (consents, connections)) in of_user {
            add_rows(&mut rows, &settings, &user, &consents, &connections);
        }
    }
    Ok(ConsentStatusView { policy_version: settings.policy_version, required: settings.required, consents: rows })
}

/// Adds the rows of one user: of each connection, and of the consents that are about none of them.
fn add_rows(
    rows: &mut Vec<ConsentStatusRow>,
    settings: &crate::config::ConsentsConfig,
    user: &UserId,
    consents: &[Consent],
    connections: &[Connection],
) {
    let row = |resource: String, purpose: &ConsentPurpose, state, consent: Option<&Consent>| ConsentStatusRow {
        user: user.clone(),
        resource,
        purpose: purpose.clone(),
        required: settings.required.contains(purpose),
        state,
        consent: consent.map(|consent| consent.id.clone()),
        policy_version: consent.map(|consent| consent.policy_version),
    };
    for connection in connections {
        let mut purposes = settings.required.clone();
        for consent in consents.iter().filter(|consent| consent.covers(&connection.name, &consent.purpose)) {
            if !purposes.contains(&consent.purpose) {
                purposes.push(consent.purpose.clone());
            }
        }
        for purpose in &purposes {
            let (state, consent) = consent_state(consents, &connection.name, purpose, settings.policy_version);
            rows.push(row(connection.name.to_string(), purpose, state, consent));
        }
    }
    let is_elsewhere =
        |consent: &&Consent| !connections.iter().any(|connection| consent.covers(&connection.name, &consent.purpose));
    for consent in consents.iter().filter(is_elsewhere) {
        let resource = consent.resource.as_ref().map_or_else(|| "*".to_owned(), ToString::to_string);
        rows.push(row(resource, &consent.purpose, consent.state(settings.policy_version), Some(consent)));
    }
}
