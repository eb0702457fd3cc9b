//! The workers that check connections and report conditions, with a clock of their own; `integ logs --follow`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use integ::clock::{Clock, Timestamp};
use integ::config::{Config, Folders};
use integ::model::{HealthOutcome, Notification, Transition, WorkspaceName};
use integ::ops::alerts::{ListAlertsRequest, list_alerts};
use integ::runtime::worker::{NextWake, Worker};
use integ::runtime::{BoxFuture, Engine, Notify, Workspace, new_runtime};
use integ::secret::Secret;
use integ::vault::{PassphrasePrompt, PassphraseSource};
use integ::worker::alerts::AlertWorker;
use integ::worker::health::HealthWorker;

use crate::harness::{Home, Running};

struct Nobody;

impl PassphraseSource for Nobody {
    fn ask(&self, _: PassphrasePrompt) -> std::io::Result<Option<Secret>> {
        Ok(None)
    }
}

/// Keeps the notifications.
#[derive(Clone, Default)]
struct Notifications(Arc<Mutex<Vec<Notification>>>);

impl Notify for Notifications {
    fn notify(&self, notification: Notification) {
        self.0.lock().unwrap().push(notification);
    }

    fn finish<'a>(&'a self, _: BoxFuture<'a, ()>) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

impl Notifications {
    fn take(&self) -> Vec<(Transition, String)> {
        let taken = std::mem::take(&mut *self.0.lock().unwrap());
        taken.into_iter().map(|notification| (notification.transition, notification.subject().to_owned())).collect()
    }
}

/// The default workspace of a home, so much later.
fn workspace(home: &Home, later: Duration, notifications: &Notifications) -> Workspace {
    let mut config = Config::default();
    config.notify.command = Some("true".to_owned());
    let mut engine =
        Engine::new(Folders::under(home.path()), config, Box::new(Nobody), Box::new(notifications.clone()));
    engine.clock = Clock::fixed(Timestamp::now().checked_add(later).unwrap());
    Workspace::new(Arc::new(engine), WorkspaceName::default())
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_connection_whose_last_check_is_old_is_checked_once() {
    let home = Home::new();
    home.ok("connect github --sandbox");
    let workspace = workspace(&home, HOUR, &Notifications::default());
    new_runtime().unwrap().block_on(async {
        let mut worker = HealthWorker::logging(&workspace);
        let now = workspace.engine.clock.now();
        assert!(matches!(worker.tick(now).await.unwrap(), NextWake::Busy(_)));
        worker.woken().await;
        let store = workspace.store().await.unwrap();
        let checks = store.health_checks().list(None, None, 10).await.unwrap();
        assert_eq!(checks.len(), 2, "that of `connect`, and this one");
        assert_eq!(checks[0].check.outcome, HealthOutcome::Healthy, "{checks:?}");
        assert!(checks[0].check.duration.is_some() && checks[0].check.http_status == Some(200));
        let NextWake::At(next) = worker.tick(now).await.unwrap() else { panic!("it is not planned") };
        let wait = next.as_second() - now.as_second();
        assert!((800..=1000).contains(&wait), "{wait}");
        // Another process sees that it was checked.
        let mut other = HealthWorker::logging(&workspace);
        assert!(matches!(other.tick(now).await.unwrap(), NextWake::At(_)));
    });
    workspace.run_to_end(async { Ok(()) }).unwrap();
}

#[test]
fn what_expires_is_reported_once_and_again_after_it_was_renewed() {
    let home = Home::new();
    home.ok("api-token create ci --scope read:*");
    home.ok("api-token create brief --scope read:* --expires 20d");
    let notifications = Notifications::default();
    let days = |days: u32| workspace(&home, 24 * HOUR * days, &notifications);
    let tick = |workspace: &Workspace| {
        new_runtime().unwrap().block_on(async {
            AlertWorker::new(workspace).tick(workspace.engine.clock.now()).await.unwrap();
        });
        notifications.take()
    };
    assert_eq!(tick(&days(10)), [], "the short one was made for that");
    let expected = [(Transition::ApiTokenExpiring, "ci".to_owned())];
    assert_eq!(tick(&days(360)), expected);
    assert_eq!(tick(&days(361)), [], "it is known");
    assert_eq!(tick(&days(10)), [], "it is over");
    assert_eq!(tick(&days(360)), expected);
    // A list says the same, but not to a token.
    let listed = |days_later: u32, has_api_tokens: bool| {
        let workspace = days(days_later);
        let listing = list_alerts(&workspace, ListAlertsRequest { has_api_tokens });
        let report = new_runtime().unwrap().block_on(listing).unwrap();
        assert!(report.has_hook);
        report.alerts.into_iter().map(|alert| (alert.kind, alert.subject)).collect::<Vec<_>>()
    };
    assert_eq!([listed(360, true), listed(360, false), listed(10, true)], [expected.to_vec(), vec![], vec![]]);
}

#[test]
fn a_follower_prints_what_happens_meanwhile() {
    let home = Home::new();
    home.ok("connect github --sandbox");
    let mut following = Running::start(home.command(["logs", "--follow", "--json", "--since", "1h"]));
    let mut sources = Vec::new();
    while !sources.contains(&"audit".to_owned()) || !sources.contains(&"check".to_owned()) {
        sources.push(following.event()["source"].as_str().unwrap().to_owned());
    }
    home.ok("sync github/repositories");
    loop {
        let entry = following.event();
        if entry["source"] == "sync" && entry["outcome"] == "done" {
            assert_eq!(
                (entry["subject"].as_str(), entry["connection"].as_str()),
                (Some("repositories"), Some("github"))
            );
            break;
        }
    }
}
