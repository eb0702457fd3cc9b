//! Returns grants that are valid for long enough. Every token comes from here, and only here are tokens refreshed.
//!
//! The protocol, for any number of processes (faults 18 to 21, 105 to 107):
//! 1. Under the connection's lock, which the operating system releases when its holder dies, the grant is read again: if
//!    another process has renewed it meanwhile, that one is used.
//! 2. A marker that the grant is being presented is committed. Then it is presented, once.
//! 3. An answer is committed before anything else is done with it, and takes the marker away. So does proof that the
//!    request never reached the vendor, or that the service answered without using the grant up.
//! 4. A marker that is found under the lock is of a process that died in between. A refresh token that may have been used
//!    up is never presented again: the connection needs a person, and says why.

mod client;
mod due;
mod persist;
mod token_error;

use std::collections::BTreeMap;
use std::time::Duration;

pub use client::current_client;
pub use due::{is_refresh_due, refresh_due_at};
pub use token_error::AccessTokenError;

use super::lifetime::token_lifetime;
use super::{OAuthClient, OAuthError, Tokens, registration};
use crate::clock::Timestamp;
use crate::connector::RefreshTokenRotation;
use crate::error::{self, Error, Kind};
pub use crate::model::reconnect_command;
use crate::model::{
    ClientCredentials, Connection, ConnectionName, Grant, GrantStatus, GrantWriteResult, RefreshMethod, StoredGrant,
};
use crate::runtime::{Activity, LockGuard, Workspace};
use crate::store::{Fence, LockKey, Store};
use crate::vault::{ConnectionWithGrant, GrantSaveResult};

/// What a caller wants of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Good for two minutes, or a quarter of its life where that is shorter.
    Usable,
    /// Good for at least so long.
    MinTtl(Duration),
    /// As `Usable`, and a refresh that is due must succeed: a token that is still good does not stand in for it.
    RefreshIfDue,
    /// Another than the one of this generation: that one was refused, or the user asked for a refresh.
    NewerThan { than: u64 },
}

/// Whether a grant is good for what is wanted. Nothing is asked of anybody: no connector is parsed, no network used.
///
/// # Errors
/// If a refresh cannot give a better one.
pub fn is_fresh(
    workspace: &Workspace,
    loaded: &ConnectionWithGrant,
    want: Freshness,
) -> Result<bool, AccessTokenError> {
    let connection = &loaded.connection;
    let name = || connection.name.clone();
    match connection.grant_status {
        GrantStatus::NeedsReauth if is_usable_after_lost_refresh(workspace, loaded, want) => {
            let reason = connection.status_reason.as_deref().unwrap_or("a refresh failed");
            warn_of_stale_token(workspace, connection, reason);
            return Ok(true);
        }
        GrantStatus::NeedsReauth => return Err(needs_reauth_error(connection, None)),
        GrantStatus::Disconnected => {
            return Err(AccessTokenError::Disconnected {
                connection: name(),
                reconnect: reconnect_command(&connection.name),
            });
        }
        GrantStatus::Active => {}
    }
    let now = workspace.clock.now();
    let expiry = &connection.expiry;
    if !is_refresh_due(expiry, want, loaded.stored_grant.generation, now) {
        return Ok(true);
    }
    if expiry.is_refreshable {
        // A token that is due by itself is refreshed all the same: the new one may last longer than the last one did.
        return match want {
            Freshness::MinTtl(wanted)
                if !is_refresh_due(expiry, Freshness::Usable, loaded.stored_grant.generation, now) =>
            {
                ensure_long_enough(connection, wanted).map(|()| false)
            }
            _ => Ok(false),
        };
    }
    let reconnect = || reconnect_command(&connection.name);
    if expiry.remaining_secs(now).is_some_and(|left| left <= 0) {
        return Err(AccessTokenError::Expired { connection: name(), reconnect: reconnect() });
    }
    if matches!(want, Freshness::NewerThan { .. }) {
        let is_key = !loaded.grant.fields.is_empty() && loaded.grant.client.is_none();
        return Err(AccessTokenError::NotRefreshable { connection: name(), is_key, reconnect: reconnect() });
    }
    if let (Freshness::MinTtl(wanted), Some(left)) = (want, expiry.remaining_secs(now)) {
        let lasts = Duration::from_secs(left.unsigned_abs());
        let reconnect = reconnect();
        return Err(AccessTokenError::LifetimeTooShort {
            connection: name(),
            lifetime: lasts,
            min_ttl: wanted,
            refreshable: false,
            reconnect,
        });
    }
    Ok(true)
}

/// Checks that the connection's tokens are issued for as long as is wanted, by the last one.
fn ensure_long_enough(connection: &Connection, wanted: Duration) -> Result<(), AccessTokenError> {
    match connection.expiry.lifetime_secs().map(|seconds| Duration::from_secs(seconds.into())) {
        Some(lasts) if lasts < wanted => Err(AccessTokenError::LifetimeTooShort {
            connection: connection.name.clone(),
            lifetime: lasts,
            min_ttl: wanted,
            refreshable: true,
            reconnect: reconnect_command(&connection.name),
        }),
        _ => Ok(()),
    }
}

/// Whether the access token is good although the answer to a refresh was lost. The refresh token may be used up, so that
/// only a person can give a new grant; a grant that the vendor refused has no marker, and its token is not relied on.
fn is_usable_after_lost_refresh(workspace: &Workspace, loaded: &ConnectionWithGrant, want: Freshness) -> bool {
    let left = loaded.connection.expiry.remaining_secs(workspace.clock.now());
    let is_lost = loaded.stored_grant.refresh_attempt.is_some();
    is_lost
        && match want {
            Freshness::Usable => left.is_none_or(|left| left > 0),
            Freshness::MinTtl(min_ttl) => left.is_none_or(|left| left > 0 && left.unsigned_abs() >= min_ttl.as_secs()),
            Freshness::RefreshIfDue | Freshness::NewerThan { .. } => false,
        }
}

/// Says that a token is used until it ends, because no new one could be had.
fn warn_of_stale_token(workspace: &Workspace, connection: &Connection, why: &str) {
    let name = &connection.name;
    let left = connection.expiry.remaining_secs(workspace.clock.now());
    let until = left.map_or_else(String::new, |left| format!(" for another {left} s"));
    tracing::warn!("{name} was not refreshed, and its token is good{until}: {why}");
}

/// Warns that an earlier refresh was interrupted, although the current token is still valid: the next one may need a
/// person.
async fn warn_of_interrupted_refresh(workspace: &Workspace, loaded: &ConnectionWithGrant) -> error::Result<()> {
    let attempt = loaded.stored_grant.refresh_attempt;
    let Some(attempt) = attempt.filter(|_| loaded.grant.refresh_method == RefreshMethod::RefreshToken) else {
        return Ok(());
    };
    // While somebody holds the lock, the answer may be on its way.
    if !workspace.is_locked(LockKey::Grant(loaded.connection.id)).await? {
        let name = &loaded.connection.name;
        let at = attempt.at;
        tracing::warn!(
            "a refresh of {name} at {at} was cut off; if the grant was used up, {name} needs to be reconnected"
        );
    }
    Ok(())
}

/// The error of a connection that only a person can make work, with the stored reason unless another one is given.
pub fn needs_reauth_error(connection: &Connection, reason: Option<String>) -> AccessTokenError {
    let reason = reason.or_else(|| connection.status_reason.clone());
    AccessTokenError::NeedsReauth {
        connection: connection.name.clone(),
        reason: reason.unwrap_or_else(|| "the service refused the grant".to_owned()),
        reconnect: reconnect_command(&connection.name),
    }
}

/// The connection with a grant that is as good as wanted, refreshed where it must be.
///
/// # Errors
/// [`AccessTokenError`], or the vault's.
pub async fn fresh_grant(
    workspace: &Workspace,
    name: &ConnectionName,
    want: Freshness,
) -> error::Result<ConnectionWithGrant> {
    let loaded = load_grant(workspace, name).await?;
    if is_fresh(workspace, &loaded, want)? {
        warn_of_interrupted_refresh(workspace, &loaded).await?;
        return Ok(loaded);
    }
    // Boxed: it is rare and large, and whatever asks for a token would be as large.
    match Box::pin(refresh_under_lock(workspace, name, &loaded.connection, want)).await {
        Ok(loaded) => {
            if let Freshness::MinTtl(wanted) = want {
                ensure_long_enough(&loaded.connection, wanted)?;
            }
            Ok(loaded)
        }
        Err(error) => fallback_grant(workspace, name, want, &error).await.ok_or(error),
    }
}

/// The grant as it is after a refresh that failed, if its token is good until it ends. The refresh is tried again at the
/// next use.
async fn fallback_grant(
    workspace: &Workspace,
    name: &ConnectionName,
    want: Freshness,
    error: &Error,
) -> Option<ConnectionWithGrant> {
    if want != Freshness::Usable || error.kind() == Kind::Interrupted {
        return None;
    }
    let loaded = load_grant(workspace, name).await.ok()?;
    let is_good = loaded.connection.expiry.remaining_secs(workspace.clock.now()).is_some_and(|left| left > 0)
        && (loaded.connection.grant_status == GrantStatus::Active
            || is_usable_after_lost_refresh(workspace, &loaded, want));
    if is_good {
        let causes = error.causes();
        let why = causes.into_iter().next().unwrap_or_else(|| error.message());
        warn_of_stale_token(workspace, &loaded.connection, &why);
    }
    is_good.then_some(loaded)
}

/// Refreshes under the connection's lock, unless another process has done so meanwhile.
async fn refresh_under_lock(
    workspace: &Workspace,
    name: &ConnectionName,
    connection: &Connection,
    want: Freshness,
) -> error::Result<ConnectionWithGrant> {
    let lock = lock_grant(workspace, connection).await?;
    let refreshed = refresh_if_due(workspace, name, want, lock.fence()).await;
    // Others wait for it.
    lock.release().await;
    refreshed
}

/// Refreshes the grant unless the stored one is good. The caller holds the connection's lock.
async fn refresh_if_due(
    workspace: &Workspace,
    name: &ConnectionName,
    want: Freshness,
    fence: Fence,
) -> error::Result<ConnectionWithGrant> {
    let loaded = load_grant(workspace, name).await?;
    if is_fresh(workspace, &loaded, want)? {
        return Ok(loaded);
    }
    // An answer that is on its way must be stored.
    let hold = workspace.engine.shutdown.hold();
    let renewed = refresh_and_save(workspace, loaded, fence).await;
    drop(hold);
    if workspace.engine.shutdown.is_requested() {
        renewed?;
        return Err(AccessTokenError::Interrupted { connection: name.clone() }.into());
    }
    renewed
}

/// Returns the connection with its stored grant; an unknown connection is an error.
pub async fn load_grant(workspace: &Workspace, name: &ConnectionName) -> error::Result<ConnectionWithGrant> {
    if workspace.has_vault()
        && let Some(loaded) = workspace.engine.token_vault.load(workspace.store().await?, name).await?
        && workspace.access().allows(loaded.connection.id)
    {
        workspace.note_connection(&loaded.connection);
        return Ok(loaded);
    }
    let connection = workspace.connection(name).await?;
    Err(AccessTokenError::Disconnected { reconnect: reconnect_command(&connection.name), connection: connection.name }
        .into())
}

/// Presents the grant to the vendor, once, and counts that.
async fn request_tokens(
    workspace: &Workspace,
    oauth_client: &OAuthClient<'_>,
    grant: &Grant,
    connection: &Connection,
) -> Result<Tokens, OAuthError> {
    let requested = match (grant.refresh_method, &grant.refresh_token) {
        (RefreshMethod::ClientCredentials, _) => {
            oauth_client.request_client_credentials_token(&connection.scopes_requested).await
        }
        (RefreshMethod::Key, _) => oauth_client.present_key(&connection.scopes_requested).await,
        (_, Some(refresh_token)) => oauth_client.refresh(refresh_token).await,
        (_, None) => Err(OAuthError::MissingEndpoint("token")),
    };
    let activity = if requested.is_ok() { Activity::RefreshDone } else { Activity::RefreshFailed };
    workspace.metrics().count(Some(connection.id), activity);
    requested
}

async fn refresh_and_save(
    workspace: &Workspace,
    loaded: ConnectionWithGrant,
    fence: Fence,
) -> error::Result<ConnectionWithGrant> {
    let ConnectionWithGrant { connection, grant: old, stored_grant: stored } = loaded;
    let name = connection.name.clone();
    let id = connection.id;
    let session = workspace.session(connection).await?;
    let store = workspace.store().await?;
    let reconnect = reconnect_command(&session.connection.name);
    let refresh_failed = |source: OAuthError| AccessTokenError::RefreshFailed {
        connection: name.clone(),
        reconnect: reconnect.clone(),
        source: Box::new(source),
    };
    let rotation = session.auth.oauth2.as_ref().map(|rules| rules.rotation(&session.connection.params));
    let repeatable = is_repeatable(old.refresh_method, rotation.unwrap_or_default());
    let now = workspace.clock.now();
    if let Some(reason) = unpresentable_reason(&session.connection, &stored, repeatable, now) {
        return Err(require_reauth(workspace, store, &session.connection, reason).await?.into());
    }
    let client = current_client(workspace, &session.connector, &session.auth, &session.connection, &old).await?;
    let oauth_client = OAuthClient::for_session(&session, workspace, client.clone(), None, &old.fields)
        .await
        .map_err(refresh_failed)?;
    if stored.is_from_backup && old.refresh_token.is_some() {
        tracing::warn!(
            "the refresh token of {name} comes from a backup and is unverified; if it has been used since, reconnect {name}"
        );
    }
    let begun = persist::begin_refresh(store, id, stored.generation, workspace.clock.now(), fence).await?;
    if begun == GrantWriteResult::Superseded {
        return reload_superseded(workspace, &name).await;
    }
    match request_tokens(workspace, &oauth_client, &old, &session.connection).await {
        Ok(tokens) => {
            let (scopes, metadata) = learned(&session.connection, &tokens);
            let grant = merge_tokens(&old, tokens, client, workspace.clock.now());
            let token_vault = &workspace.engine.token_vault;
            match persist::save_grant(token_vault, store, &session.connection, stored.generation, &grant, fence).await?
            {
                GrantSaveResult::Superseded => return reload_superseded(workspace, &name).await,
                GrantSaveResult::Saved { warning, transition, .. } => {
                    workspace.notify_transition(transition.map(|transition| *transition));
                    if let Some(warning) = warning {
                        tracing::warn!(%warning, "tokens stay in the store");
                    }
                }
            }
            if scopes.is_some() || metadata.is_some() {
                let connections = store.connections();
                let updated = connections.update_metadata(id, None, scopes.as_deref(), metadata.as_ref()).await?;
                workspace.notify_transition(updated);
            }
            load_grant(workspace, &name).await
        }
        Err(error) => {
            // The store alone is asked: a keyring that fails now must not hide what became of the refresh.
            let current = store.grants().get(id).await?.map(|current| current.generation);
            if current != Some(stored.generation) {
                // Connected again meanwhile: what became of the old grant says nothing of that one (fault 18).
                return reload_superseded(workspace, &name).await;
            }
            let used = matches!(&error, OAuthError::Http(http) if http.may_have_been_used());
            if used && !repeatable {
                let reason = format!("{error}, after the grant had been sent; it may be used up and is not sent twice");
                return Err(require_reauth(workspace, store, &session.connection, reason).await?.into());
            }
            let _ = store.grants().cancel_refresh(id, stored.generation, fence).await?;
            if let Some(reason) = refusal_reason(&session.connection, &error) {
                return Err(require_reauth(workspace, store, &session.connection, reason).await?.into());
            }
            let failure = format!("the last refresh failed: {}", error.reason());
            workspace.notify_transition(store.connections().record_failure(id, &failure).await?);
            Err(refresh_failed(error).into())
        }
    }
}

/// Why a grant must not be presented, if it must not.
fn unpresentable_reason(
    connection: &Connection,
    stored: &StoredGrant,
    repeatable: bool,
    now: Timestamp,
) -> Option<String> {
    if let Some(presented) = stored.refresh_attempt.filter(|_| !repeatable) {
        return Some(format!(
            "a refresh at {} was cut off after the grant had been sent, and it may be used up; it is not sent twice",
            presented.at
        ));
    }
    let has_expired = registration::has_expired(&connection.metadata, now);
    has_expired.then(|| "the client that integ registered with the server has expired".to_owned())
}

/// Why only a person can help after an error of the server's; absent where it says nothing of the grant.
fn refusal_reason(connection: &Connection, error: &OAuthError) -> Option<String> {
    if registration::is_forgotten(&connection.metadata, error) {
        return Some(format!("the server has forgotten the client that integ registered ({})", error.reason()));
    }
    matches!(error, OAuthError::InvalidGrant { .. }).then(|| error.reason())
}

/// Returns the scopes and the metadata that new tokens change of a connection.
fn learned(connection: &Connection, tokens: &Tokens) -> (Option<Vec<String>>, Option<BTreeMap<String, String>>) {
    let scopes = tokens.scopes.clone().filter(|scopes| Some(scopes) != connection.scopes_granted.as_ref());
    let metadata: BTreeMap<_, _> = connection.metadata.clone().into_iter().chain(tokens.metadata.clone()).collect();
    (scopes, (metadata != connection.metadata).then_some(metadata))
}

/// Records that only a person can make the connection work again, notifies the hooks, and returns the error.
async fn require_reauth(
    workspace: &Workspace,
    store: &dyn Store,
    connection: &Connection,
    reason: String,
) -> error::Result<AccessTokenError> {
    let status = GrantStatus::NeedsReauth;
    let transition = store.connections().set_grant_status(connection.id, status, Some(&reason)).await?;
    workspace.notify_transition(transition);
    Ok(needs_reauth_error(connection, Some(reason)))
}

/// Whether a refresh may be repeated after its answer was lost: a refresh uses up nothing. What was seen counts if the
/// connector does not know.
fn is_repeatable(renewal: RefreshMethod, rotation: RefreshTokenRotation) -> bool {
    match (renewal, rotation) {
        (RefreshMethod::ClientCredentials | RefreshMethod::Key, _) | (_, RefreshTokenRotation::Never) => true,
        (_, RefreshTokenRotation::Always) => false,
        (renewal, RefreshTokenRotation::Sometimes) => renewal == RefreshMethod::ReusableRefreshToken,
    }
}

/// Somebody connected the account again meanwhile: theirs is the grant.
async fn reload_superseded(workspace: &Workspace, name: &ConnectionName) -> error::Result<ConnectionWithGrant> {
    load_grant(workspace, name).await
}

/// The old grant with what a refresh gave. An omitted refresh token keeps the old one (fault 16), and so do the values
/// that only the first answer holds. An omitted or impossible lifetime is that of the token itself, else the last one: a
/// single slip of the vendor's must not make a token that never falls due.
fn merge_tokens(old: &Grant, tokens: Tokens, client: ClientCredentials, now: Timestamp) -> Grant {
    let lifetime = token_lifetime(&tokens, old.lifetime(), now);
    let is_same = tokens.refresh_token.is_none() || tokens.refresh_token == old.refresh_token;
    let mut fields = old.fields.clone();
    fields.extend(tokens.secrets);
    Grant {
        access_token: tokens.access_token,
        refresh_expires_at: match tokens.refresh_expires_in {
            Some(seconds) => add_seconds(now, seconds),
            None => old.refresh_expires_at.filter(|_| is_same),
        },
        refresh_token: tokens.refresh_token.or_else(|| old.refresh_token.clone()),
        fields,
        // A key is of no client.
        client: Some(client).filter(|client| !client.id.is_empty()),
        issued_at: now,
        expires_at: lifetime.and_then(|seconds| add_seconds(now, seconds)),
        refresh_method: match old.refresh_method {
            RefreshMethod::RefreshToken | RefreshMethod::ReusableRefreshToken if is_same => {
                RefreshMethod::ReusableRefreshToken
            }
            RefreshMethod::RefreshToken | RefreshMethod::ReusableRefreshToken => RefreshMethod::RefreshToken,
            other => other,
        },
    }
}

/// The moment so many seconds after another.
pub fn add_seconds(now: Timestamp, seconds: u32) -> Option<Timestamp> {
    Timestamp::from_second(now.as_second().checked_add(i64::from(seconds))?).ok()
}

/// Waits for the connection's lock: as long as the request of a holder that lives may take, and until the lease of one that
/// was killed expires.
pub(crate) async fn lock_grant(workspace: &Workspace, connection: &Connection) -> error::Result<LockGuard> {
    let store = workspace.shared_store().await?;
    let orphaned = store.locks().orphan_lifetime() + Duration::from_secs(5);
    let limit = (workspace.engine.config.http.timeout + Duration::from_secs(15)).max(orphaned);
    let key = LockKey::Grant(connection.id);
    let guard = LockGuard::acquire(store, &workspace.engine, key, limit).await;
    let guard = guard.map_err(|source| AccessTokenError::Lock { connection: connection.name.clone(), source })?;
    let path = workspace.folder().join("locks").join(format!("{key}.lock"));
    let timed_out = || AccessTokenError::LockTimeout {
        connection: connection.name.clone(),
        timeout: limit,
        path: path.exists().then_some(path),
    };
    Ok(guard.ok_or_else(timed_out)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_016_an_omitted_refresh_token_keeps_the_old_one() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let old = Grant {
            access_token: "a".into(),
            refresh_token: Some("r1".into()),
            fields: [("user_token".to_owned(), "u".into())].into(),
            client: None,
            issued_at: now,
            expires_at: add_seconds(now, 60),
            refresh_expires_at: add_seconds(now, 900),
            refresh_method: RefreshMethod::RefreshToken,
        };
        let tokens = |refresh: Option<&str>| Tokens {
            access_token: "b".into(),
            refresh_token: refresh.map(Into::into),
            expires_in: None,
            refresh_expires_in: None,
            scopes: None,
            metadata: std::collections::BTreeMap::new(),
            secrets: std::collections::BTreeMap::new(),
            account: None,
        };
        let client = ClientCredentials { id: "c".to_owned(), secret: None };
        let kept = merge_tokens(&old, tokens(None), client.clone(), now);
        assert_eq!(kept.refresh_method, RefreshMethod::ReusableRefreshToken);
        assert_eq!(kept.refresh_token.unwrap().expose(), "r1");
        assert_eq!((kept.fields.len(), kept.refresh_expires_at), (1, add_seconds(now, 900)));
        let later = Timestamp::from_second(2_000_000).unwrap();
        let rotated = merge_tokens(&old, tokens(Some("r2")), client, later);
        assert_eq!(rotated.expires_at, add_seconds(later, 60), "without a lifetime, the last one holds");
        assert_eq!(rotated.refresh_token.unwrap().expose(), "r2");
        assert_eq!((rotated.refresh_expires_at, rotated.refresh_method), (None, RefreshMethod::RefreshToken));
        let same =
            merge_tokens(&old, tokens(Some("r1")), ClientCredentials { id: "c".to_owned(), secret: None }, later);
        assert_eq!(
            (same.refresh_expires_at, same.refresh_method),
            (old.refresh_expires_at, RefreshMethod::ReusableRefreshToken)
        );
    }

    #[test]
    fn field_18_a_refresh_is_repeated_if_nothing_is_used_up() {
        for (renewal, rotation, repeatable) in [
            (RefreshMethod::ClientCredentials, RefreshTokenRotation::Always, true),
            (RefreshMethod::Key, RefreshTokenRotation::Always, true),
            (RefreshMethod::RefreshToken, RefreshTokenRotation::Never, true),
            (RefreshMethod::RefreshToken, RefreshTokenRotation::Sometimes, false),
            (RefreshMethod::ReusableRefreshToken, RefreshTokenRotation::Sometimes, true),
            (RefreshMethod::ReusableRefreshToken, RefreshTokenRotation::Always, false),
        ] {
            assert_eq!(is_repeatable(renewal, rotation), repeatable, "{renewal:?} {rotation:?}");
        }
    }
}
