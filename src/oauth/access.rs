//! A grant that is good for as long as is asked: the one way to a token, and the one place that refreshes.
//!
//! The protocol, for any number of processes (faults 18 to 21, 105 to 107):
//! 1. Under the connection's lock, which the operating system releases when its holder dies, the grant is read again: if
//!    another process has renewed it meanwhile, that one is used.
//! 2. A marker that the grant is being presented is committed. Then it is presented, once.
//! 3. An answer is committed before anything else is done with it, and takes the marker away. So does proof that the
//!    request never reached the vendor, or that the vendor answered without using the grant up.
//! 4. A marker that is found under the lock is of a process that died in between. A refresh token that may have been used
//!    up is never presented again: the connection needs a person, and says why.

mod failure;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::time::Duration;

pub use failure::AccessError;

use super::lifetime::lifetime;
use super::{OAuthError, Party, Tokens};
use crate::clock::{RunningLimit, Stopwatch, Timestamp};
use crate::connector::{Auth, Connector, Rotation, app_server};
use crate::error::{self, Error, Kind};
use crate::files;
pub use crate::model::reconnect_command;
use crate::model::{Client, Connection, ConnectionName, Expiry, Grant, Renewal, Standing};
use crate::runtime::App;
use crate::store::Written;
use crate::vault::{Loaded, Saved};

/// How long before its end a token counts as due, unless the caller says otherwise.
pub const DEFAULT_MIN_TTL: Duration = Duration::from_secs(120);

/// What a caller wants of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Good for two minutes, or a quarter of its life where that is shorter.
    Usable,
    /// Good for at least so long.
    MinTtl(Duration),
    /// As `Usable`, and a refresh that is due must succeed: a token that is still good does not stand in for it.
    Renewed,
    /// Another than the one of this generation: that one was refused, or the user asked for a refresh.
    Newer { than: u64 },
}

/// Whether a grant is due for renewal. Pure.
pub fn is_due(expiry: &Expiry, want: Want, generation: u64, now: Timestamp) -> bool {
    let min_ttl = match want {
        Want::Newer { than } => return generation <= than,
        Want::MinTtl(min_ttl) => min_ttl,
        Want::Usable | Want::Renewed => {
            let quarter = expiry.lifetime().map(|seconds| Duration::from_secs(u64::from(seconds) / 4));
            quarter.map_or(DEFAULT_MIN_TTL, |quarter| quarter.min(DEFAULT_MIN_TTL))
        }
    };
    // A token whose last second has come is over, whatever is asked of it.
    expiry.left(now).is_some_and(|left| left < i64::try_from(min_ttl.as_secs()).unwrap_or(i64::MAX).max(1))
}

/// Whether a grant is good for what is wanted. Nothing is asked of anybody: no connector is parsed, no network used.
///
/// # Errors
/// If a refresh cannot give a better one.
pub fn is_ready(app: &App, loaded: &Loaded, want: Want) -> Result<bool, AccessError> {
    let connection = &loaded.connection;
    let name = || connection.name.clone();
    match connection.standing {
        Standing::NeedsReauth if outlives_lost_refresh(app, loaded, want) => {
            let reason = connection.reason.as_deref().unwrap_or("a refresh failed");
            warn_of_use(app, connection, reason);
            return Ok(true);
        }
        Standing::NeedsReauth => return Err(needs_reauth(connection, None)),
        Standing::Disconnected => {
            return Err(AccessError::Disconnected { connection: name(), reconnect: reconnect_command(connection) });
        }
        Standing::Active => {}
    }
    let now = app.clock.now();
    let expiry = &connection.expiry;
    if !is_due(expiry, want, loaded.stored.generation, now) {
        warn_of_interruption(app, loaded);
        return Ok(true);
    }
    if expiry.refreshable {
        // A token that is due by itself is refreshed all the same: the new one may last longer than the last one did.
        return match want {
            Want::MinTtl(wanted) if !is_due(expiry, Want::Usable, loaded.stored.generation, now) => {
                ensure_long_enough(connection, wanted).map(|()| false)
            }
            _ => Ok(false),
        };
    }
    let reconnect = || reconnect_command(connection);
    if expiry.left(now).is_some_and(|left| left <= 0) {
        return Err(AccessError::Expired { connection: name(), reconnect: reconnect() });
    }
    if matches!(want, Want::Newer { .. }) {
        let is_key = !loaded.grant.fields.is_empty() && loaded.grant.client.is_none();
        return Err(AccessError::NotRefreshable { connection: name(), is_key, reconnect: reconnect() });
    }
    if let (Want::MinTtl(wanted), Some(left)) = (want, expiry.left(now)) {
        let lasts = Duration::from_secs(left.unsigned_abs());
        let reconnect = reconnect();
        return Err(AccessError::ShortLived { connection: name(), lasts, wanted, refreshable: false, reconnect });
    }
    Ok(true)
}

/// Checks that the connection's tokens are issued for as long as is wanted, by the last one.
fn ensure_long_enough(connection: &Connection, wanted: Duration) -> Result<(), AccessError> {
    match connection.expiry.lifetime().map(|seconds| Duration::from_secs(seconds.into())) {
        Some(lasts) if lasts < wanted => Err(AccessError::ShortLived {
            connection: connection.name.clone(),
            lasts,
            wanted,
            refreshable: true,
            reconnect: reconnect_command(connection),
        }),
        _ => Ok(()),
    }
}

/// Whether the access token is good although the answer to a refresh was lost. The refresh token may be used up, so that
/// only a person can give a new grant; a grant that the vendor refused has no marker, and its token is not relied on.
fn outlives_lost_refresh(app: &App, loaded: &Loaded, want: Want) -> bool {
    let left = loaded.connection.expiry.left(app.clock.now());
    let is_lost = loaded.stored.presented.is_some();
    is_lost
        && match want {
            Want::Usable => left.is_none_or(|left| left > 0),
            Want::MinTtl(min_ttl) => left.is_none_or(|left| left > 0 && left.unsigned_abs() >= min_ttl.as_secs()),
            Want::Renewed | Want::Newer { .. } => false,
        }
}

/// Says that a token is used until it ends, because no new one could be had.
fn warn_of_use(app: &App, connection: &Connection, why: &str) {
    let name = &connection.name;
    let left = connection.expiry.left(app.clock.now());
    let until = left.map_or_else(String::new, |left| format!(" for another {left} s"));
    tracing::warn!("{name} was not refreshed, and its token is good{until}: {why}");
}

/// Says that an earlier refresh was cut off, although the token at hand is still good: the next one may need a person.
fn warn_of_interruption(app: &App, loaded: &Loaded) {
    let Some(presented) = loaded.stored.presented.filter(|_| loaded.grant.renewal == Renewal::RefreshToken) else {
        return;
    };
    // While somebody holds the lock, the answer may be on its way.
    let path = lock_path(app, &loaded.connection);
    let is_running = || matches!(File::open(path).map(|file| file.try_lock()), Ok(Err(TryLockError::WouldBlock)));
    if !is_running() {
        let name = &loaded.connection.name;
        let at = presented.at;
        tracing::warn!(
            "a refresh of {name} at {at} was cut off; if the grant was used up, {name} needs to be reconnected"
        );
    }
}

/// The error of a connection that only a person can make work, with the stored reason unless another one is given.
pub fn needs_reauth(connection: &Connection, reason: Option<String>) -> AccessError {
    let reason = reason.or_else(|| connection.reason.clone());
    AccessError::NeedsReauth {
        connection: connection.name.clone(),
        reason: reason.unwrap_or_else(|| "the vendor refused the grant".to_owned()),
        reconnect: reconnect_command(connection),
    }
}

/// The connection with a grant that is as good as wanted, refreshed where it must be.
///
/// # Errors
/// [`AccessError`], or the vault's.
pub async fn grant(app: &App, name: &ConnectionName, want: Want) -> error::Result<Loaded> {
    let loaded = load(app, name)?;
    if is_ready(app, &loaded, want)? {
        return Ok(loaded);
    }
    match refresh(app, name, &loaded.connection, want).await {
        Ok(loaded) => {
            if let Want::MinTtl(wanted) = want {
                ensure_long_enough(&loaded.connection, wanted)?;
            }
            Ok(loaded)
        }
        Err(error) => still_good(app, name, want, &error).ok_or(error),
    }
}

/// The grant as it is after a refresh that failed, if its token is good until it ends. The refresh is tried again at the
/// next use.
fn still_good(app: &App, name: &ConnectionName, want: Want, error: &Error) -> Option<Loaded> {
    if want != Want::Usable || error.kind() == Kind::Interrupted {
        return None;
    }
    let loaded = load(app, name).ok()?;
    let is_good = loaded.connection.expiry.left(app.clock.now()).is_some_and(|left| left > 0)
        && (loaded.connection.standing == Standing::Active || outlives_lost_refresh(app, &loaded, want));
    if is_good {
        let causes = error.causes();
        let why = causes.into_iter().next().unwrap_or_else(|| error.message());
        warn_of_use(app, &loaded.connection, &why);
    }
    is_good.then_some(loaded)
}

/// Refreshes under the connection's lock, unless another process has done so meanwhile.
async fn refresh(app: &App, name: &ConnectionName, connection: &Connection, want: Want) -> error::Result<Loaded> {
    let lock = lock(app, connection).await?;
    let loaded = load(app, name)?;
    if is_ready(app, &loaded, want)? {
        return Ok(loaded);
    }
    // From here on Ctrl-C waits: an answer that is on its way must be stored.
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    let mut interrupted = false;
    let mut renewal = std::pin::pin!(renew(app, loaded));
    let renewed = loop {
        tokio::select! {
            renewed = &mut renewal => break renewed,
            _ = &mut interrupt, if !interrupted => interrupted = true,
        }
    };
    // A hook may well ask for this very token.
    drop(lock);
    app.announce();
    if interrupted {
        renewed?;
        return Err(AccessError::Interrupted { connection: name.clone() }.into());
    }
    renewed
}

/// The connection with its grant, as it stands.
///
/// # Errors
/// Unknown connections, and the vault's errors.
pub fn load(app: &App, name: &ConnectionName) -> error::Result<Loaded> {
    if app.has_vault()
        && let Some(loaded) = app.custodian().load(app.store()?, name)?
    {
        return Ok(loaded);
    }
    let connection = app.connection(name)?;
    Err(AccessError::Disconnected { reconnect: reconnect_command(&connection), connection: connection.name }.into())
}

async fn renew(app: &App, loaded: Loaded) -> error::Result<Loaded> {
    let Loaded { connection, grant: old, stored } = loaded;
    let name = connection.name.clone();
    let id = connection.id;
    let session = app.session(connection)?;
    let store = app.store()?;
    let reconnect = reconnect_command(&session.connection);
    let refresh_failed = |source: OAuthError| AccessError::Refresh {
        connection: name.clone(),
        reconnect: reconnect.clone(),
        source: Box::new(source),
    };
    let rotation = session.auth.oauth2.as_ref().map(|rules| rules.rotation(&session.connection.params));
    let repeatable = is_repeatable(old.renewal, rotation.unwrap_or_default());
    if let Some(presented) = stored.presented.filter(|_| !repeatable) {
        let reason = format!(
            "a refresh at {} was cut off after the grant had been sent, and it may be used up; it is not sent twice",
            presented.at
        );
        store.connections().set_standing(id, Standing::NeedsReauth, Some(&reason))?;
        return Err(needs_reauth(&session.connection, Some(reason)).into());
    }
    let client = current_client(app, &session.connector, &session.auth, &session.connection, &old)?;
    let party = Party::of(&session, app, client.clone(), None).await.map_err(refresh_failed)?;
    if stored.restored && old.refresh_token.is_some() {
        tracing::warn!(
            "the refresh token of {name} comes from a backup and is unverified: if it was used since, {name} must be reconnected"
        );
    }
    if store.grants().present(id, stored.generation, app.clock.now())? == Written::Superseded {
        return superseded(app, &name);
    }
    let result = match (old.renewal, &old.refresh_token) {
        (Renewal::ClientCredentials, _) => party.client_credentials(&session.connection.scopes_asked).await,
        (_, Some(refresh_token)) => party.refresh(refresh_token).await,
        (_, None) => Err(OAuthError::NoEndpoint("token")),
    };
    match result {
        Ok(tokens) => {
            let scopes =
                tokens.scopes.clone().filter(|scopes| Some(scopes) != session.connection.scopes_granted.as_ref());
            let kept: BTreeMap<_, _> = session.connection.kept.clone().into_iter().chain(tokens.kept.clone()).collect();
            let kept = (kept != session.connection.kept).then_some(kept);
            let grant = renewed(&old, tokens, client, app.clock.now());
            match app.custodian().save(store, &session.connection, stored.generation, &grant)? {
                Saved::Superseded => return superseded(app, &name),
                Saved::Renewed { warning, .. } => {
                    if let Some(warning) = warning {
                        tracing::warn!(%warning, "tokens kept in the store");
                    }
                }
            }
            if scopes.is_some() || kept.is_some() {
                store.connections().record_facts(id, None, scopes.as_deref(), kept.as_ref())?;
            }
            load(app, &name)
        }
        Err(error) => {
            // The store alone is asked: a keyring that fails now must not hide what became of the refresh.
            let current = store.grants().get(id)?.map(|current| current.generation);
            if current != Some(stored.generation) {
                // Connected anew meanwhile: what became of the old grant says nothing of that one (fault 18).
                return superseded(app, &name);
            }
            let used = matches!(&error, OAuthError::Http(http) if http.may_have_been_used());
            if used && !repeatable {
                let reason = format!("{error}, after the grant had been sent; it may be used up and is not sent twice");
                store.connections().set_standing(id, Standing::NeedsReauth, Some(&reason))?;
                return Err(needs_reauth(&session.connection, Some(reason)).into());
            }
            let _ = store.grants().withdraw(id, stored.generation)?;
            if let OAuthError::Refused { .. } = &error {
                let reason = error.reason();
                store.connections().set_standing(id, Standing::NeedsReauth, Some(&reason))?;
                return Err(needs_reauth(&session.connection, Some(reason)).into());
            }
            store.connections().record_failure(id, &format!("the last refresh failed: {}", error.reason()))?;
            Err(refresh_failed(error).into())
        }
    }
}

/// Whether a refresh may be repeated whose answer was lost: nothing is used up by one. What was seen counts if the
/// connector does not know.
fn is_repeatable(renewal: Renewal, rotation: Rotation) -> bool {
    match (renewal, rotation) {
        (Renewal::ClientCredentials, _) | (_, Rotation::Never) => true,
        (_, Rotation::Always) => false,
        (renewal, Rotation::Sometimes) => renewal == Renewal::ReusableRefreshToken,
    }
}

/// Somebody connected the account anew meanwhile: theirs is the grant.
fn superseded(app: &App, name: &ConnectionName) -> error::Result<Loaded> {
    load(app, name)
}

/// The old grant with what a refresh gave. An omitted refresh token keeps the old one (fault 16), and so do the values
/// that only the first answer holds. An omitted or impossible lifetime is that of the token itself, else the last one: a
/// single slip of the vendor's must not make a token that never falls due.
fn renewed(old: &Grant, tokens: Tokens, client: Client, now: Timestamp) -> Grant {
    let lifetime = lifetime(&tokens, old.lifetime(), now);
    let is_same = tokens.refresh_token.is_none() || tokens.refresh_token == old.refresh_token;
    let mut fields = old.fields.clone();
    fields.extend(tokens.secrets);
    Grant {
        access_token: tokens.access_token,
        refresh_expires_at: match tokens.refresh_lifetime {
            Some(seconds) => after(now, seconds),
            None => old.refresh_expires_at.filter(|_| is_same),
        },
        refresh_token: tokens.refresh_token.or_else(|| old.refresh_token.clone()),
        fields,
        client: Some(client),
        issued_at: now,
        expires_at: lifetime.and_then(|seconds| after(now, seconds)),
        renewal: match old.renewal {
            Renewal::RefreshToken | Renewal::ReusableRefreshToken if is_same => Renewal::ReusableRefreshToken,
            Renewal::RefreshToken | Renewal::ReusableRefreshToken => Renewal::RefreshToken,
            other => other,
        },
    }
}

/// The moment so many seconds after another.
pub fn after(now: Timestamp, seconds: u32) -> Option<Timestamp> {
    Timestamp::from_second(now.as_second().checked_add(i64::from(seconds))?).ok()
}

/// The client that the grant was issued to, with the secret that it has today at the connection's server.
///
/// # Errors
/// The vault's errors.
pub fn current_client(
    app: &App,
    connector: &Connector,
    auth: &Auth,
    connection: &Connection,
    grant: &Grant,
) -> error::Result<Client> {
    let issued_to = grant.client.clone().unwrap_or(Client { id: String::new(), secret: None });
    let server = app_server(connector, auth, &connection.params).map(|server| server.url);
    let mut stores = vec![app.store()?];
    stores.extend(app.global_store()?);
    for store in stores {
        let apps = store.apps().of(&connector.id)?;
        let current = |found: &crate::store::App| {
            found.server == server && found.client.id == issued_to.id && found.client.secret.is_some()
        };
        if let Some(found) = apps.into_iter().find(current) {
            return Ok(found.client);
        }
    }
    Ok(issued_to)
}

fn lock_path(app: &App, connection: &Connection) -> PathBuf {
    app.folders.workspace(&app.workspace).join("locks").join(format!("{}.lock", connection.id.0))
}

/// Waits for the connection's lock, which has no time limit of its own: a holder that lives is waited for as long as a
/// request of its may take, and one that dies is followed at once.
pub(crate) async fn lock(app: &App, connection: &Connection) -> error::Result<File> {
    const LOOK_AGAIN: Duration = Duration::from_millis(10);
    let limit = app.config.http.timeout + Duration::from_secs(15);
    let path = lock_path(app, connection);
    let failed = |source| AccessError::Lock { connection: connection.name.clone(), path: path.clone(), source };
    let file = files::open_lock(&path).map_err(failed)?;
    // Where the whole machine or container was paused, its holder needs time after the pause to come to its end.
    let mut patience = RunningLimit::new(limit);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if !patience.is_over() => {
                let slept = Stopwatch::start();
                tokio::time::sleep(LOOK_AGAIN).await;
                // Sleeping takes a little longer than asked, and that counts; a stop does not.
                patience.spend(LOOK_AGAIN * 2, slept.elapsed());
            }
            Err(TryLockError::WouldBlock) => {
                return Err(AccessError::Held { connection: connection.name.clone(), after: limit, path }.into());
            }
            Err(TryLockError::Error(source)) => return Err(failed(source).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_due_two_minutes_or_a_quarter_of_its_life_before_its_end() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let expiry = |issued_at, expires_at| Expiry {
            issued_at: Timestamp::from_second(issued_at).ok(),
            expires_at: Timestamp::from_second(expires_at).ok(),
            refreshable: true,
            ..Expiry::default()
        };
        let due = |left: i64, lifetime: u32, want| {
            let expires_at = 1_000_000 + left;
            is_due(&expiry(expires_at - i64::from(lifetime), expires_at), want, 1, now)
        };
        assert!(!due(120, 3600, Want::Usable));
        assert!(due(119, 3600, Want::Usable));
        assert!(!due(20, 60, Want::Usable), "a quarter of a minute");
        assert!(due(14, 60, Want::Usable));
        assert!(due(3000, 3600, Want::MinTtl(Duration::from_secs(3001))));
        assert!(due(0, 1, Want::Usable) && due(0, 3600, Want::MinTtl(Duration::ZERO)), "its last second has come");
        let endless = Expiry::default();
        assert!(!is_due(&endless, Want::Usable, 1, now), "no known end");
        assert!(is_due(&endless, Want::Newer { than: 1 }, 1, now));
        assert!(!is_due(&endless, Want::Newer { than: 1 }, 2, now));
        let fast = expiry(400_000_000, 400_003_600);
        assert!(is_due(&fast, Want::Usable, 1, now), "issued while the clock was fast");
        assert!(is_due(&fast, Want::MinTtl(Duration::ZERO), 1, now));
    }

    #[test]
    fn fault_016_an_omitted_refresh_token_keeps_the_old_one() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let old = Grant {
            access_token: "a".into(),
            refresh_token: Some("r1".into()),
            fields: [("user_token".to_owned(), "u".into())].into(),
            client: None,
            issued_at: now,
            expires_at: after(now, 60),
            refresh_expires_at: after(now, 900),
            renewal: Renewal::RefreshToken,
        };
        let tokens = |refresh: Option<&str>| Tokens {
            access_token: "b".into(),
            refresh_token: refresh.map(Into::into),
            lifetime: None,
            refresh_lifetime: None,
            scopes: None,
            kept: std::collections::BTreeMap::new(),
            secrets: std::collections::BTreeMap::new(),
            account: None,
        };
        let client = Client { id: "c".to_owned(), secret: None };
        let kept = renewed(&old, tokens(None), client.clone(), now);
        assert_eq!(kept.renewal, Renewal::ReusableRefreshToken);
        assert_eq!(kept.refresh_token.unwrap().expose(), "r1");
        assert_eq!((kept.fields.len(), kept.refresh_expires_at), (1, after(now, 900)));
        let later = Timestamp::from_second(2_000_000).unwrap();
        let rotated = renewed(&old, tokens(Some("r2")), client, later);
        assert_eq!(rotated.expires_at, after(later, 60), "without a lifetime, the last one holds");
        assert_eq!(rotated.refresh_token.unwrap().expose(), "r2");
        assert_eq!((rotated.refresh_expires_at, rotated.renewal), (None, Renewal::RefreshToken));
        let same = renewed(&old, tokens(Some("r1")), Client { id: "c".to_owned(), secret: None }, later);
        assert_eq!((same.refresh_expires_at, same.renewal), (old.refresh_expires_at, Renewal::ReusableRefreshToken));
    }

    #[test]
    fn field_18_a_refresh_is_repeated_if_nothing_is_used_up() {
        for (renewal, rotation, repeatable) in [
            (Renewal::ClientCredentials, Rotation::Always, true),
            (Renewal::RefreshToken, Rotation::Never, true),
            (Renewal::RefreshToken, Rotation::Sometimes, false),
            (Renewal::ReusableRefreshToken, Rotation::Sometimes, true),
            (Renewal::ReusableRefreshToken, Rotation::Always, false),
        ] {
            assert_eq!(is_repeatable(renewal, rotation), repeatable, "{renewal:?} {rotation:?}");
        }
    }
}
