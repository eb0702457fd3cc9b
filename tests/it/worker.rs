//! Workers: those of two workspaces in one process, beside another process that runs the same.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use integ::clock::{Clock, Stopwatch, Timestamp};
use integ::config::{Config, Folders};
use integ::error::Kind;
use integ::model::{DeliveryFilter, DeliveryStatus, JobStatus, WorkspaceName};
use integ::notify::Notifier;
use integ::runtime::worker::{RunUntil, WorkerEnd, WorkerSet};
use integ::runtime::{Engine, Workspace, new_runtime};
use integ::secret::Secret;
use integ::store::LockKey;
use integ::vault::{PassphrasePrompt, PassphraseSource};
use integ::worker::deliver::{DeliveryScope, DeliveryWorker};
use integ::worker::refresh::RefreshWorker;
use integ::worker::retention::{RetentionScope, RetentionWorker};
use integ::worker::schedule::ScheduleWorker;
use integ::worker::subscriptions::SubscriptionWorker;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::sync::{oneshot, watch};

use crate::harness::{Home, finish, skipped_on_postgres};
use crate::receiver::{Answer, Receiver};

const WORKSPACES: [&str; 2] = ["default", "second"];
const CONNECTIONS: [&str; 2] = ["hubspot", "quickbooks"];
const MESSAGES: usize = 10;

/// How long the workers may take on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(120);

struct Nobody;

impl PassphraseSource for Nobody {
    fn ask(&self, _: PassphrasePrompt) -> std::io::Result<Option<Secret>> {
        Ok(None)
    }
}

/// Both workspaces as a process of its own has them, two hours later: every access token has expired by then.
fn workspaces(home: &Path) -> Vec<Workspace> {
    let mut config = Config::default();
    config.http.allow = vec!["127.0.0.1".parse().unwrap()];
    let notifier = Box::new(Notifier::new(&config));
    let mut engine = Engine::new(Folders::under(home), config, Box::new(Nobody), notifier);
    engine.clock = Clock::fixed(Timestamp::now().checked_add(Duration::from_secs(2 * 3600)).unwrap());
    let engine = Arc::new(engine);
    WORKSPACES.map(|name| Workspace::new(Arc::clone(&engine), name.parse::<WorkspaceName>().unwrap())).into()
}

fn all_workers(workspaces: &[Workspace]) -> WorkerSet<'_> {
    let mut workers = WorkerSet::new();
    for workspace in workspaces {
        workers.add(workspace, DeliveryWorker::new(workspace, DeliveryScope::All, Box::new(|_| {})));
        workers.add(workspace, RefreshWorker::logging(workspace));
        workers.add(workspace, ScheduleWorker::logging(workspace));
        workers.add(workspace, SubscriptionWorker::logging(workspace, None));
        workers.add(workspace, RetentionWorker::new(workspace, RetentionScope::All));
    }
    workers
}

/// The generation of each connection's grant.
async fn generations(workspace: &Workspace) -> BTreeMap<String, u64> {
    let grants = workspace.store().await.unwrap().grants().list().await.unwrap();
    grants.into_iter().map(|(connection, grant)| (connection.name.to_string(), grant.generation)).collect()
}

/// What of a workspace is not done yet of what was due: messages to deliver, syncs, grants to refresh.
async fn missing(workspace: &Workspace, before: &BTreeMap<String, u64>) -> Vec<String> {
    let store = workspace.store().await.unwrap();
    let filter = DeliveryFilter { limit: u32::MAX, ..DeliveryFilter::default() };
    let deliveries = store.outbox().list(&filter).await.unwrap();
    let waiting = deliveries.iter().filter(|delivery| delivery.status != DeliveryStatus::Delivered);
    let mut missing: Vec<String> = waiting.map(|delivery| delivery.message.clone()).collect();
    if !store.jobs().list(None, None, u32::MAX).await.unwrap().iter().any(|job| job.status == JobStatus::Done) {
        missing.push("a sync".to_owned());
    }
    let after = generations(workspace).await;
    missing.extend(before.iter().filter(|(connection, old)| after[*connection] == **old).map(|(name, _)| name.clone()));
    missing
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    stop.wait_for(|stop| *stop).await.unwrap();
}

/// Waits until nothing is missing in any of the workspaces.
async fn until_done(workspaces: &[Workspace], before: &[BTreeMap<String, u64>]) {
    let waiting = Stopwatch::start();
    for (workspace, before) in workspaces.iter().zip(before) {
        loop {
            let missing = missing(workspace, before).await;
            if missing.is_empty() {
                break;
            }
            assert!(waiting.elapsed() < LIMIT, "in {}: {missing:?}", workspace.name);
            // The workers need the thread meanwhile.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn assert_all_ended_well(ends: &[WorkerEnd]) {
    assert!(ends.iter().all(|end| end.result.is_ok()), "{ends:?}");
    assert_eq!(ends.len(), WORKSPACES.len() * 5);
    assert!(ends[..5].iter().all(|end| end.workspace.to_string() == WORKSPACES[0]), "{ends:?}");
}

#[test]
fn the_workers_of_two_workspaces_in_one_process_do_what_is_due_and_nothing_twice_beside_another_process() {
    let (home, receiver) = (Home::new(), Receiver::start());
    home.ok("config set http.allow 127.0.0.1");
    home.ok("workspace create second");
    for workspace in WORKSPACES {
        let run = |line: &str| home.ok(&format!("-w {workspace} {line}"));
        for connection in CONNECTIONS {
            run(&format!("connect {connection} --sandbox"));
        }
        let set = home.command(["-w", workspace, "schedule", "set", "hubspot/contacts", "every 15m"]);
        assert_eq!(finish(set).code, 0);
        run(&format!("endpoint add {}", receiver.url(&format!("/{workspace}"))));
        for _ in 0..MESSAGES {
            run("endpoint send a.b");
        }
    }
    let runtime = new_runtime().unwrap();
    let (ours, theirs) = (workspaces(home.path()), workspaces(home.path()));
    runtime.block_on(async {
        let mut before = Vec::new();
        for workspace in &ours {
            before.push(generations(workspace).await);
        }
        let stop = watch::Sender::new(false);
        let (ours_end, theirs_end, ()) = tokio::join!(
            all_workers(&ours).run(RunUntil::Stopped, stopped(stop.subscribe())),
            all_workers(&theirs).run(RunUntil::Stopped, stopped(stop.subscribe())),
            async {
                until_done(&ours, &before).await;
                stop.send_replace(true);
            },
        );
        assert_all_ended_well(&ours_end);
        assert_all_ended_well(&theirs_end);
        for (workspace, before) in ours.iter().zip(&before) {
            let after: BTreeMap<String, u64> = before.iter().map(|(name, old)| (name.clone(), old + 1)).collect();
            assert_eq!(generations(workspace).await, after, "each grant was presented once");
            let store = workspace.store().await.unwrap();
            let jobs = store.jobs().list(None, None, u32::MAX).await.unwrap();
            assert_eq!(jobs.len(), 1, "each schedule was run once: {jobs:?}");
            assert!(
                store.locks().is_held(LockKey::Deliveries, workspace.engine.clock.now()).await.is_ok_and(|held| !held)
            );
        }
    });
    for workspace in WORKSPACES {
        let received = receiver.received(&format!("/{workspace}"));
        let ids: BTreeSet<&str> = received.iter().map(|message| message.header("webhook-id").unwrap()).collect();
        assert_eq!((received.len(), ids.len()), (MESSAGES, MESSAGES), "each message was delivered once");
    }
}

#[test]
fn a_damaged_vault_ends_the_workers_of_its_workspace_and_no_others() {
    let (home, receiver) = (Home::new(), Receiver::start());
    home.ok("config set http.allow 127.0.0.1");
    home.ok("workspace create second");
    home.ok(&format!("endpoint add {}", receiver.url("/x")));
    home.ok("endpoint send a.b");
    std::fs::write(home.path().join("workspaces/second/vault.age"), "damaged").unwrap();
    let workspaces = workspaces(home.path());
    let (stop, stopped) = oneshot::channel();
    let ends = new_runtime().unwrap().block_on(async {
        let workers = all_workers(&workspaces);
        let stop_when_delivered = async {
            until_received(&receiver, "/x").await;
            stop.send(()).unwrap();
        };
        let stopped = async {
            let _ = stopped.await;
        };
        tokio::join!(workers.run(RunUntil::Stopped, stopped), stop_when_delivered).0
    });
    let (well, damaged) = ends.split_at(5);
    assert!(well.iter().all(|end| end.result.is_ok()), "{well:?}");
    let failed = |end: &WorkerEnd| end.result.as_ref().is_err_and(|error| error.kind() == Kind::Vault);
    assert!(damaged.iter().any(failed) && damaged.iter().all(|end| end.result.is_ok() || failed(end)), "{damaged:?}");
}

async fn until_received(receiver: &Receiver, path: &str) {
    let waiting = Stopwatch::start();
    while receiver.received(path).is_empty() {
        assert!(waiting.elapsed() < LIMIT);
        // The worker needs the thread meanwhile.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn a_worker_whose_lock_was_taken_over_forgets_its_attempts_and_delivers_again_once_the_lock_is_free() {
    if skipped_on_postgres("it removes a lock file; `lock_contract` takes leases over") {
        return;
    }
    let (home, receiver) = (Home::new(), Receiver::start());
    home.ok("config set http.allow 127.0.0.1");
    let endpoint = home.json(&format!("endpoint add {}", receiver.url("/x")));
    home.ok("endpoint send a.b");
    receiver.answers("/x", [Answer::After(Duration::from_secs(2))]);
    let mut paused =
        home.command(["endpoint", "deliver"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut messages = BufReader::new(paused.stderr.take().unwrap()).lines().map(Result::unwrap);
    receiver.wait("/x", 1);
    // A lease that expires while its holder is paused has the same effect: the next process takes the lock.
    std::fs::remove_file(home.workspace().join("locks/deliveries.lock")).unwrap();
    home.ok("endpoint deliver --once");
    assert_eq!(receiver.received("/x").len(), 2, "nobody knew of the attempt that was under way");
    assert!(messages.any(|line| line.contains("another process has taken over the lock")));
    home.json("endpoint send a.b");
    let received = receiver.wait("/x", 3);
    let ids: BTreeSet<&str> = received.iter().map(|(message, _)| message.header("webhook-id").unwrap()).collect();
    assert_eq!((received.len(), ids.len()), (3, 2));
    kill_process(Pid::from_child(&paused), Signal::INT).unwrap();
    assert_eq!(paused.wait().unwrap().code(), Some(0));
    let deliveries = home.json(&format!("endpoint deliveries {}", endpoint["endpoint"].as_str().unwrap()));
    for delivery in deliveries["deliveries"].as_array().unwrap() {
        assert_eq!((&delivery["status"], &delivery["attempts"]), (&json!("delivered"), &json!(1)), "{delivery}");
    }
}
