//! One process with two workspaces and hundreds of operations at once, as a server will have them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::pin::Pin;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use integ::clock::{Clock, Timestamp};
use integ::config::{Config, Folders};
use integ::error::Error;
use integ::model::{ConnectionName, StreamParams, SyncMode, WorkspaceName};
use integ::notify::Notifier;
use integ::ops::connections::{self, StatusRequest};
use integ::ops::tokens::{self, TokenRequest};
use integ::runtime::{Engine, Workspace};
use integ::secret::Secret;
use integ::sync::{self, SyncObserver, SyncOutcome, SyncRequest};
use integ::vault::{PassphrasePrompt, PassphraseSource};
use rustix::thread::gettid;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Home, has_program, needs, skipped_on_postgres};

/// Set in the process that runs the operations: its home, and how many hours later it is there.
const CHILD: &str = "INTEG_TEST_ENGINE";
const LATER: &str = "INTEG_TEST_ENGINE_LATER";

const WORKSPACES: [&str; 2] = ["default", "second"];
const CONNECTIONS: [&str; 3] = ["hubspot", "gmail", "quickbooks"];
const OPERATIONS: usize = 500;

struct Nobody;

impl PassphraseSource for Nobody {
    fn ask(&self, _: PassphrasePrompt) -> std::io::Result<Option<Secret>> {
        Ok(None)
    }
}

impl SyncObserver for Nobody {}

/// How long each poll of the operations took, and on which threads they were polled.
#[derive(Default)]
struct Polls {
    /// Polls by the power of two of their microseconds.
    histogram: BTreeMap<u32, u64>,
    longest: Duration,
    threads: BTreeSet<i32>,
}

/// A future whose polls are measured.
struct Measured<T> {
    future: Pin<Box<dyn Future<Output = T> + Send>>,
    polls: Arc<Mutex<Polls>>,
}

impl<T> Future for Measured<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let started = Instant::now();
        let polled = self.future.as_mut().poll(context);
        let took = started.elapsed();
        let mut polls = self.polls.lock().unwrap();
        let micros = u64::try_from(took.as_micros()).unwrap();
        *polls.histogram.entry(u64::BITS - micros.leading_zeros()).or_default() += 1;
        polls.longest = polls.longest.max(took);
        polls.threads.insert(gettid().as_raw_nonzero().get());
        polled
    }
}

/// The generation of each connection's grant.
async fn generations(workspace: &Workspace) -> BTreeMap<String, u64> {
    let grants = workspace.store().await.unwrap().grants().list().await.unwrap();
    grants.into_iter().map(|(connection, grant)| (connection.name.to_string(), grant.generation)).collect()
}

async fn operate(workspace: Arc<Workspace>, number: usize) -> Result<&'static str, Error> {
    let connection: ConnectionName = CONNECTIONS[number / 2 % CONNECTIONS.len()].parse().unwrap();
    match number / 6 % 3 {
        0 => {
            let request = TokenRequest { connection, min_ttl: None };
            tokens::access_token(&workspace, request).await.map(|_| "token")
        }
        1 => {
            let status = connections::status(&workspace, StatusRequest::default()).await?;
            assert_eq!(status.connections.len(), CONNECTIONS.len());
            Ok("status")
        }
        _ => {
            let request = SyncRequest {
                connection,
                streams: Vec::new(),
                mode: SyncMode::Incremental,
                since: None,
                until: None,
                params: StreamParams::new(),
                allow_deletes: false,
            };
            for report in sync::run(&workspace, &request, &Nobody).await? {
                // A stream that another of these operations syncs is locked.
                if let SyncOutcome::Failed(error) = report.outcome {
                    return Err(error);
                }
            }
            Ok("sync")
        }
    }
}

/// Runs the operations, and returns what was measured.
fn run_operations(home: &Path, hours: u64) -> Value {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let config = Config::default();
    let notifier = Box::new(Notifier::new(&config));
    let mut engine = Engine::new(Folders::under(home), config, Box::new(Nobody), notifier);
    // Every access token has expired by then, and no refresh token has.
    engine.clock = Clock::fixed(Timestamp::now().checked_add(Duration::from_secs(hours * 3600)).unwrap());
    let engine = Arc::new(engine);
    let workspaces =
        WORKSPACES.map(|name| Arc::new(Workspace::new(Arc::clone(&engine), name.parse::<WorkspaceName>().unwrap())));
    let polls = Arc::new(Mutex::new(Polls::default()));
    let started = Instant::now();
    let (before, done, after) = runtime.block_on(async {
        let mut before = Vec::new();
        for workspace in &workspaces {
            before.push(generations(workspace).await);
        }
        let mut tasks = JoinSet::new();
        for number in 0..OPERATIONS {
            let future = Box::pin(operate(Arc::clone(&workspaces[number % 2]), number));
            tasks.spawn(Measured { future, polls: Arc::clone(&polls) });
        }
        let mut done: BTreeMap<&str, usize> = BTreeMap::new();
        while let Some(ended) = tasks.join_next().await {
            *done.entry(ended.unwrap().unwrap_or_else(|error| panic!("{error:?}"))).or_default() += 1;
        }
        let mut after = Vec::new();
        for workspace in &workspaces {
            after.push(generations(workspace).await);
        }
        (before, done, after)
    });
    let polls = polls.lock().unwrap();
    let histogram: BTreeMap<String, u64> =
        polls.histogram.iter().map(|(power, count)| (format!("{:>7}", 1_u64 << power), *count)).collect();
    json!({
        "before": before,
        "after": after,
        "done": done,
        "polls_under_us": histogram,
        "longest_poll_us": u64::try_from(polls.longest.as_micros()).unwrap(),
        "threads": polls.threads,
        "seconds": started.elapsed().as_secs_f64(),
    })
}

/// Runs the operations in a process of their own, and checks what they came to.
fn measure(mut command: Command, home: &Home, hours: u64) -> Value {
    let name = "engine::two_workspaces_and_500_operations_share_a_runtime_and_no_thread_of_it_blocks";
    command.args(["--exact", name, "--nocapture"]).env(CHILD, home.path()).env(LATER, hours.to_string());
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    let measured = printed.lines().find_map(|line| line.split_once("measured: ")).unwrap().1;
    let measured: Value = serde_json::from_str(measured).unwrap();
    let done = measured["done"].as_object().unwrap().values();
    assert_eq!(done.map(|count| count.as_u64().unwrap()).sum::<u64>(), OPERATIONS as u64);
    // Each grant was refreshed once, however many operations wanted it.
    for (before, after) in measured["before"].as_array().unwrap().iter().zip(measured["after"].as_array().unwrap()) {
        for connection in CONNECTIONS {
            let (before, after) = (before[connection].as_u64().unwrap(), after[connection].as_u64().unwrap());
            assert_eq!(after, before + 1, "{connection}: {measured}");
        }
    }
    measured
}

#[test]
fn two_workspaces_and_500_operations_share_a_runtime_and_no_thread_of_it_blocks() {
    if skipped_on_postgres("it traces the calls on a store's file") {
        return;
    }
    if let Some(home) = std::env::var_os(CHILD) {
        let hours = std::env::var(LATER).unwrap().parse().unwrap();
        println!("measured: {}", run_operations(Path::new(&home), hours));
        return;
    }
    if !needs("strace", has_program("strace")) {
        return;
    }
    let home = Home::new();
    home.ok("workspace create second");
    for workspace in WORKSPACES {
        for connection in CONNECTIONS {
            home.ok(&format!("-w {workspace} connect {connection} --sandbox"));
        }
    }
    // Undisturbed, for the times.
    let figures = measure(Command::new(std::env::current_exe().unwrap()), &home, 2);
    println!("figures: {figures}");
    let calls = home.path().join("calls");
    let mut traced = Command::new("strace");
    traced
        .args(["-f", "-y", "-qq", "-e", "trace=read,pread64,write,pwrite64,fsync,fdatasync,flock,openat", "-o"])
        .arg(&calls)
        .arg(std::env::current_exe().unwrap());
    let measured = measure(traced, &home, 48);
    let threads: BTreeSet<String> = measured["threads"].as_array().unwrap().iter().map(ToString::to_string).collect();
    let store = home.path().join("workspaces").display().to_string();
    let text = std::fs::read_to_string(&calls).unwrap();
    let (mut elsewhere, mut blocking) = (0, Vec::new());
    // Releasing a lock never waits, so a lease may be dropped anywhere.
    for line in text.lines().filter(|line| line.contains(&store) && !line.contains("LOCK_UN")) {
        let thread = line.split_whitespace().next().unwrap();
        if threads.contains(thread) {
            blocking.push(line);
        } else {
            elsewhere += 1;
        }
    }
    assert!(elsewhere > 500, "the calls of the store are seen: {elsewhere}");
    assert!(blocking.is_empty(), "on a thread of the runtime:\n{}", blocking.join("\n"));
}
