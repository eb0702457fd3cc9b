//! Leases: how long a subscription lasts, and its renewal by any running process.

use std::collections::BTreeMap;
use std::time::Duration;

use super::create as creation;
use super::create::{PreparedSubscription, SubscribeFailure};
use super::{SubscribeError, begin, create, is_usable, lock};
use crate::backoff::Backoff;
use crate::clock::{Timestamp, is_from_fast_clock};
use crate::connector::{ErrorClass, SubscriptionCalls};
use crate::error::Result;
use crate::model::words::words;
use crate::model::{
    ConnectionId, ConnectionName, Subscription, SubscriptionId, SubscriptionResult, SubscriptionStatus,
};
use crate::runtime::Workspace;
use crate::store::Fence;
use crate::webhook::settings::WebhookSettings;

/// A lease is renewed when so much of it is left: a third, and two days at most.
const LARGEST_MARGIN_SECS: i64 = 2 * 86_400;

/// No vendor is believed that a lease lasts longer: where that was a slip, it would run out unnoticed.
const LONGEST_LEASE_SECS: i64 = 366 * 86_400;

/// How long a renewal that failed rests before it is tried again.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(3600));

/// How far the lease of a subscription has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseStatus {
    Active,
    /// It could not be renewed, and has not ended yet.
    Failing,
    Expired,
    /// The vendor was asked, and no answer is stored.
    Creating,
    /// It is not wanted any more, and the vendor may have it still.
    Deleting,
}

words!(LeaseStatus {
    Active => "active",
    Failing => "failing",
    Expired => "expired",
    Creating => "creating",
    Deleting => "deleting",
});

/// The lease of a subscription at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionLease {
    pub status: LeaseStatus,
    pub renews_at: Option<Timestamp>,
    pub is_problem: bool,
    /// What is wrong, and the command that repairs it.
    pub note: Option<(String, String)>,
}

/// The outcome of a subscription that was due.
#[derive(Debug)]
pub struct RenewalResult {
    pub connection: ConnectionName,
    pub id: SubscriptionId,
    /// Until when it lasts now.
    pub result: Result<Option<Timestamp>>,
}

/// Returns the lease of a subscription. Pure.
pub fn lease(row: &Subscription, now: Timestamp) -> SubscriptionLease {
    let (name, id) = (&row.name, row.id);
    let plain = |status| SubscriptionLease { status, renews_at: renews_at(row, now), is_problem: false, note: None };
    match row.status {
        SubscriptionStatus::Creating => SubscriptionLease {
            note: Some((
                format!("subscription {id} was interrupted while the service was asked, and may exist"),
                format!("integ webhook unsubscribe {name} {id}"),
            )),
            ..plain(LeaseStatus::Creating)
        },
        SubscriptionStatus::Deleting => SubscriptionLease {
            note: row.last_error.as_ref().map(|why| {
                (
                    format!("subscription {id} could not be ended: {why}"),
                    format!("integ webhook unsubscribe {name} {id}"),
                )
            }),
            renews_at: None,
            ..plain(LeaseStatus::Deleting)
        },
        SubscriptionStatus::Active => {
            let expired = row.expires_at.is_some_and(|at| at <= now);
            let fix = || format!("integ refresh {name}");
            let why = || row.last_error.clone().unwrap_or_else(|| "it was not renewed in time".to_owned());
            if expired {
                let text = format!("subscription {id} has expired: {}", why());
                SubscriptionLease { is_problem: true, note: Some((text, fix())), ..plain(LeaseStatus::Expired) }
            } else if row.failures > 0 {
                let text = format!("subscription {id} cannot be renewed: {}", why());
                SubscriptionLease { is_problem: true, note: Some((text, fix())), ..plain(LeaseStatus::Failing) }
            } else {
                plain(LeaseStatus::Active)
            }
        }
    }
}

/// When a subscription is due to be renewed. One that was renewed in the future is due now: the clock was fast then, and
/// its real end may be near. Pure.
fn renews_at(row: &Subscription, now: Timestamp) -> Option<Timestamp> {
    let (renewed_at, mut expires_at) = (row.renewed_at.as_second(), row.expires_at?.as_second());
    if is_from_fast_clock(row.renewed_at, now) {
        return Some(now);
    }
    expires_at = expires_at.min(renewed_at.saturating_add(LONGEST_LEASE_SECS));
    let life = expires_at.saturating_sub(renewed_at).max(0);
    Timestamp::from_second(expires_at.saturating_sub((life / 3).min(LARGEST_MARGIN_SECS))).ok()
}

/// Whether something is to be done for it now. Pure.
fn is_due(row: &Subscription, now: Timestamp) -> bool {
    let rests = row.last_failed_at.is_some_and(|at| {
        // Before the failure is a clock that was set back, which keeps nothing waiting.
        let since = u64::try_from(now.as_second().saturating_sub(at.as_second()));
        since.is_ok_and(|since| since < BACKOFF.delay(row.failures).as_secs())
    });
    let due = match row.status {
        SubscriptionStatus::Active => renews_at(row, now).is_some_and(|at| at <= now),
        SubscriptionStatus::Deleting => true,
        SubscriptionStatus::Creating => false,
    };
    due && !rests
}

/// When it ends: by the vendor's word, else by the connector's.
pub(super) fn expiry(
    rules: &SubscriptionCalls,
    result: &BTreeMap<String, String>,
    now: Timestamp,
) -> Option<Timestamp> {
    let said = rules.expires.as_ref().and_then(|name| read_time(result.get(name)?)).filter(|at| *at > now);
    said.or_else(|| crate::oauth::refresh::add_seconds(now, rules.lease_secs?))
}

/// RFC 3339, or Unix time in seconds or milliseconds. Pure.
fn read_time(text: &str) -> Option<Timestamp> {
    // No lease is so long that its seconds could be taken for milliseconds: that would be the year 5138.
    const LEAST_MILLIS: i64 = 100_000_000_000;
    if let Ok(number) = text.parse::<i64>() {
        let at =
            if number >= LEAST_MILLIS { Timestamp::from_millisecond(number) } else { Timestamp::from_second(number) };
        return at.ok();
    }
    text.parse().ok()
}

/// Renews what is due of these connections, of all where none are named; one after the other.
///
/// # Errors
/// The store's; a renewal that fails is in what comes back.
pub async fn renew_due(workspace: &Workspace, connections: Option<&[ConnectionId]>) -> Result<Vec<RenewalResult>> {
    renew(workspace, connections, is_due).await
}

/// The same, without the pause after a failure.
///
/// # Errors
/// The store's.
pub async fn renew_all(workspace: &Workspace, connections: Option<&[ConnectionId]>) -> Result<Vec<RenewalResult>> {
    renew(workspace, connections, |row, now| is_due(&Subscription { failures: 0, ..row.clone() }, now)).await
}

async fn renew(
    workspace: &Workspace,
    connections: Option<&[ConnectionId]>,
    due: impl Fn(&Subscription, Timestamp) -> bool,
) -> Result<Vec<RenewalResult>> {
    let wanted = |row: &Subscription| connections.is_none_or(|ids| ids.contains(&row.request.connection));
    let rows = workspace.store().await?.subscriptions().list(None).await?;
    let mut renewed = Vec::new();
    for row in rows.into_iter().filter(|row| wanted(row) && due(row, workspace.clock.now())) {
        let result = match renew_one(workspace, &row, &due).await {
            Ok(None) => continue,
            Ok(Some(until)) => Ok(until),
            Err(error) => Err(error),
        };
        renewed.push(RenewalResult { connection: row.name, id: row.id, result });
    }
    Ok(renewed)
}

/// Renews one, or ends it. Absent if another process has done it, or if it cannot be done now.
async fn renew_one(
    workspace: &Workspace,
    seen: &Subscription,
    due: &impl Fn(&Subscription, Timestamp) -> bool,
) -> Result<Option<Option<Timestamp>>> {
    let setup = WebhookSettings::load(workspace, &seen.name).await?;
    if !is_usable(&setup) {
        return Ok(None);
    }
    let lock = lock(workspace, &setup).await?;
    let subscriptions = workspace.store().await?.subscriptions();
    let Some(row) = subscriptions.get(seen.id).await?.filter(|row| due(row, workspace.clock.now())) else {
        return Ok(None);
    };
    if row.status == SubscriptionStatus::Deleting {
        let over = row.expires_at.is_some_and(|at| at <= workspace.clock.now());
        let ended = if over { Ok(()) } else { delete(workspace, &setup, &row).await };
        ended?;
        workspace.notify_transition(subscriptions.delete(&row).await?);
        return Ok(None);
    }
    let result = renew_lease(workspace, &setup, &row, lock.fence()).await;
    if let Err(error) = &result {
        let now = workspace.clock.now();
        workspace.notify_transition(subscriptions.record_failure(&row, &error.on_one_line(), now).await?);
    }
    result.map(Some)
}

async fn renew_lease(
    workspace: &Workspace,
    setup: &WebhookSettings,
    row: &Subscription,
    fence: Fence,
) -> Result<Option<Timestamp>> {
    // What the service answers must be stored.
    let _hold = workspace.engine.shutdown.hold();
    let subscriptions = workspace.store().await?.subscriptions();
    let plan = PreparedSubscription::for_renewal(workspace, setup, row, &creation::new_idempotency_key())?;
    let rules = plan.rules();
    if let Some(call) = &rules.renew {
        let input = creation::input_of(workspace, setup, call, row)?;
        match creation::send(workspace, setup.name(), &call.action, &input, &plan.idempotency_key).await {
            Ok(result) => {
                return store_renewal(workspace, row, expiry(rules, &result, workspace.clock.now()), fence).await;
            }
            // The vendor has let it go: another one is made.
            Err(SubscribeFailure::Rejected { class: Some(ErrorClass::NotFound), .. }) => {}
            Err(SubscribeFailure::Rejected { error, .. } | SubscribeFailure::Unknown(error)) => return Err(error),
        }
    } else if rules.unsubscribe.as_ref().is_none_or(|call| !creation::names_kept(call, rules)) {
        // There is one alone, and asking again prolongs it.
        return match plan.send(workspace, setup.name()).await {
            Ok(result) => store_renewal(workspace, row, expiry(rules, &result, workspace.clock.now()), fence).await,
            Err(SubscribeFailure::Rejected { error, .. } | SubscribeFailure::Unknown(error)) => Err(error),
        };
    }
    // What an earlier attempt may have left ends by itself.
    for left in subscriptions.list(Some(row.request.connection)).await? {
        let same = left.request.url == row.request.url && left.request.params == row.request.params;
        if left.status == SubscriptionStatus::Creating && same {
            workspace.notify_transition(subscriptions.delete(&left).await?);
        }
    }
    let fresh = begin(workspace, setup, &plan, fence).await?;
    let made = create(workspace, setup, &plan, &fresh, Some(row.id), fence).await?;
    // The old one is ended now, or at the next look, or by its own time.
    if let Some(old) = subscriptions.get(row.id).await?
        && delete(workspace, setup, &old).await.is_ok()
    {
        workspace.notify_transition(subscriptions.delete(&old).await?);
    }
    Ok(made.expires_at)
}

/// Stores until when a subscription was renewed.
async fn store_renewal(
    workspace: &Workspace,
    row: &Subscription,
    expires_at: Option<Timestamp>,
    fence: Fence,
) -> Result<Option<Timestamp>> {
    let renewed = SubscriptionResult { metadata: row.metadata.clone(), secret: None, expires_at };
    let subscriptions = workspace.store().await?.subscriptions();
    let now = workspace.clock.now();
    let activated = subscriptions.activate(row, &renewed, &BTreeMap::new(), None, now, fence).await?;
    workspace.notify_transition(activated);
    Ok(expires_at)
}

/// Ends a subscription at the vendor; one that was deleted there has ended.
pub(super) async fn delete(workspace: &Workspace, setup: &WebhookSettings, row: &Subscription) -> Result<()> {
    // What the service answers must be stored.
    let _hold = workspace.engine.shutdown.hold();
    let subscriptions = workspace.store().await?.subscriptions();
    let not_ended = |why: &str| SubscribeError::UnsubscribeFailed {
        connection: setup.name().clone(),
        id: row.id,
        reason: why.to_owned(),
    };
    if row.status == SubscriptionStatus::Creating {
        return Err(not_ended(&format!(
            "it is not known whether it is there; {}",
            creation::check_command(setup, row)
        ))
        .into());
    }
    let call = setup.rules()?.subscribe.as_ref().and_then(|rules| rules.unsubscribe.clone());
    let Some(call) = call else { return Err(not_ended("its connector names no action for that").into()) };
    if row.status == SubscriptionStatus::Active {
        workspace.notify_transition(subscriptions.mark_deleting(row).await?);
    }
    let input = creation::input_of(workspace, setup, &call, row)?;
    match creation::send(workspace, setup.name(), &call.action, &input, &creation::new_idempotency_key()).await {
        Ok(_) | Err(SubscribeFailure::Rejected { class: Some(ErrorClass::NotFound), .. }) => Ok(()),
        Err(SubscribeFailure::Rejected { error, .. } | SubscribeFailure::Unknown(error)) => {
            let now = workspace.clock.now();
            workspace.notify_transition(subscriptions.record_failure(row, &error.on_one_line(), now).await?);
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::SubscriptionRequest;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn row(expires_at: Option<i64>, failures: u32, tried_at: Option<i64>) -> Subscription {
        Subscription {
            id: SubscriptionId(3),
            name: "gmail".parse().unwrap(),
            request: SubscriptionRequest {
                connection: ConnectionId(1),
                url: String::new(),
                events: Vec::new(),
                params: BTreeMap::new(),
                idempotency_key: String::new(),
            },
            status: SubscriptionStatus::Active,
            metadata: BTreeMap::new(),
            created_at: at(0),
            renewed_at: at(0),
            expires_at: expires_at.map(at),
            last_failed_at: tried_at.map(at),
            failures,
            last_error: None,
        }
    }

    #[test]
    fn a_lease_is_renewed_while_a_third_of_it_is_left_and_two_days_at_most() {
        assert!(!is_due(&row(Some(900), 0, None), at(599)) && is_due(&row(Some(900), 0, None), at(600)));
        let month = 30 * 86_400;
        assert_eq!(renews_at(&row(Some(month), 0, None), at(0)), Some(at(month - 2 * 86_400)));
        assert!(!is_due(&row(None, 0, None), at(month)), "no end");
        assert_eq!(lease(&row(Some(900), 0, None), at(900)).status, LeaseStatus::Expired);
    }

    #[test]
    fn attack_m9_a_lease_that_was_renewed_under_a_fast_clock_is_due() {
        let year = 365 * 86_400;
        let fast = Subscription { renewed_at: at(year), ..row(Some(year + 900), 0, None) };
        assert!(is_due(&fast, at(100)) && lease(&fast, at(100)).renews_at == Some(at(100)));
        assert!(!is_due(&Subscription { renewed_at: at(60), ..row(Some(960), 0, None) }, at(0)), "a minute is nothing");
        let absurd = row(Some(100 * year), 0, None);
        assert!(!is_due(&absurd, at(300 * 86_400)) && is_due(&absurd, at(year)), "a slip of the vendor's");
    }

    #[test]
    fn a_renewal_that_failed_rests_ever_longer() {
        assert!(!is_due(&row(Some(900), 1, Some(700)), at(759)) && is_due(&row(Some(900), 1, Some(700)), at(760)));
        assert!(!is_due(&row(Some(900), 2, Some(700)), at(819)) && is_due(&row(Some(900), 2, Some(700)), at(820)));
        assert!(is_due(&row(Some(900), 60, Some(700)), at(700 + 3600)));
        // A clock that was set back keeps nothing waiting.
        assert!(is_due(&row(Some(900), 60, Some(9999)), at(700)));
        assert_eq!(lease(&row(Some(900), 1, Some(700)), at(701)).status, LeaseStatus::Failing);
    }

    #[test]
    fn an_end_is_read_as_vendors_write_it() {
        for text in ["2026-11-18T11:06:40Z", "2026-11-18T11:06:40.0000000Z", "1795000000", "1795000000000"] {
            assert_eq!(read_time(text), Some(at(1_795_000_000)), "{text}");
        }
        for text in ["", "soon", "-1e9", "99999999999999999999"] {
            assert_eq!(read_time(text), None, "{text}");
        }
    }
}
