//! The loop under clocks of the test's: sleeping moves them, a suspend or the user moves the wall clock alone.

use std::collections::VecDeque;
use std::future::{pending, ready};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::*;
use crate::error::{Diagnostic, Remedy};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// When the tests begin.
const START: i64 = 1_000_000;

#[derive(Debug, thiserror::Error)]
#[error("it failed")]
struct Failure(Kind);

impl Remedy for Failure {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(self.0, "failed")
    }
}

/// A wall clock, and the monotonic time, which stands still while the machine is suspended.
struct Machine {
    clock: Clock,
    awake: Mutex<Duration>,
    /// Moments of monotonic time at which the wall clock jumps by so many seconds.
    jumps: Mutex<VecDeque<(Duration, i64)>>,
}

impl Machine {
    fn new(jumps: &[(u64, i64)]) -> Self {
        let jumps = jumps.iter().map(|(when, seconds)| (secs(*when), *seconds)).collect();
        Self { clock: Clock::fixed(at(START)), awake: Mutex::default(), jumps: Mutex::new(jumps) }
    }

    /// Sleeps through `duration` of monotonic time, and the jumps in it, at once when it is polled.
    async fn pass(&self, duration: Duration) {
        let mut awake = self.awake.lock().unwrap();
        let before = awake.as_secs();
        *awake += duration;
        let mut wall = self.clock.now().as_second() + i64::try_from(awake.as_secs() - before).unwrap();
        let mut jumps = self.jumps.lock().unwrap();
        while jumps.front().is_some_and(|(when, _)| *when <= *awake) {
            wall += jumps.pop_front().unwrap().1;
        }
        self.clock.set(at(wall));
    }

    fn awake(&self) -> Duration {
        *self.awake.lock().unwrap()
    }
}

/// Does its work once it is due, by a stored time as real workers do, and again every `every` seconds.
struct Scripted {
    machine: Arc<Machine>,
    due_at: i64,
    every: i64,
    /// The monotonic times at which the work was done.
    done: Vec<Duration>,
    /// What the first ticks fail with.
    failures: VecDeque<Kind>,
    ticks: Vec<Duration>,
    /// Returned by a tick that has nothing due.
    otherwise: Option<NextWake>,
    /// How often it is woken, each time at once.
    wakeups: u32,
    is_finished: bool,
}

impl Scripted {
    fn new(machine: &Arc<Machine>, due_at: i64, every: i64) -> Self {
        Self {
            machine: Arc::clone(machine),
            due_at,
            every,
            done: Vec::new(),
            failures: VecDeque::new(),
            ticks: Vec::new(),
            otherwise: None,
            wakeups: 0,
            is_finished: false,
        }
    }
}

#[async_trait]
impl Worker for Scripted {
    fn name(&self) -> &'static str {
        "test"
    }

    async fn tick(&mut self, now: Timestamp) -> Result<NextWake> {
        self.ticks.push(self.machine.awake());
        if let Some(kind) = self.failures.pop_front() {
            return Err(Failure(kind).into());
        }
        let longest = secs(self.every.unsigned_abs());
        if crate::clock::due_at(at(self.due_at), longest, now) <= now {
            self.done.push(self.machine.awake());
            self.due_at = now.as_second() + self.every;
        }
        Ok(self.otherwise.unwrap_or(NextWake::At(at(self.due_at))))
    }

    async fn woken(&mut self) {
        match self.wakeups.checked_sub(1) {
            Some(left) => self.wakeups = left,
            None => pending().await,
        }
    }

    async fn finish(&mut self) -> Result<()> {
        self.is_finished = true;
        Ok(())
    }
}

/// Runs the worker until so much monotonic time has passed, or it ends by itself.
fn run_for(worker: &mut Scripted, until: RunUntil, limit: Duration) -> Result<()> {
    let machine = Arc::clone(&worker.machine);
    let sleep = |duration| machine.pass(duration);
    let stop = std::future::poll_fn(|_| match machine.awake() >= limit {
        true => std::task::Poll::Ready(()),
        false => std::task::Poll::Pending,
    });
    let shutdown = Shutdown::default();
    let worker_loop = WorkerLoop { label: "test".to_owned(), clock: &machine.clock, shutdown: &shutdown, until, sleep };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let result = runtime.block_on(worker_loop.run(worker, stop));
    assert!(worker.is_finished);
    result
}

#[test]
fn a_pause_is_what_the_worker_asks_for_within_its_limits() {
    let now = at(START);
    let cases = [
        (NextWake::Now, secs(60), Duration::ZERO),
        (NextWake::Busy(Duration::from_millis(20)), secs(60), Duration::from_millis(20)),
        (NextWake::Busy(secs(600)), secs(60), LONGEST_SLEEP),
        (NextWake::At(at(START + 7)), secs(60), secs(7)),
        (NextWake::At(at(START + 7)), secs(1), secs(1)),
        (NextWake::At(at(START + 86_400)), secs(600), LONGEST_SLEEP),
        (NextWake::At(at(START - 86_400)), secs(60), Duration::ZERO),
        (NextWake::At(Timestamp::MAX), secs(60), LONGEST_SLEEP),
        (NextWake::Idle, secs(2), secs(2)),
        (NextWake::Idle, Duration::MAX, LONGEST_SLEEP),
    ];
    for (wake, poll_interval, expected) in cases {
        assert_eq!(pause(wake, now, poll_interval), expected, "{wake:?}, {poll_interval:?}");
    }
}

#[test]
fn a_worker_is_idle_if_nothing_has_begun_and_nothing_is_due() {
    assert!(is_idle(NextWake::Idle, at(START)) && is_idle(NextWake::At(at(START + 1)), at(START)));
    for wake in [NextWake::Now, NextWake::Busy(secs(600)), NextWake::At(at(START)), NextWake::At(at(START - 1))] {
        assert!(!is_idle(wake, at(START)), "{wake:?}");
    }
}

#[test]
fn work_is_done_on_time_and_the_waits_before_it_are_short() {
    let machine = Arc::new(Machine::new(&[]));
    let mut worker = Scripted::new(&machine, START + 100, 3600);
    run_for(&mut worker, RunUntil::Stopped, secs(7200)).unwrap();
    assert_eq!(worker.done, [secs(100), secs(3700)]);
    assert!(worker.ticks.windows(2).all(|ticks| ticks[1] - ticks[0] <= LONGEST_SLEEP));
}

#[test]
fn a_suspend_delays_work_by_half_a_minute_at_most() {
    // The machine sleeps for eight hours from the 50th second on. What is due an hour later became due meanwhile.
    let machine = Arc::new(Machine::new(&[(50, 8 * 3600)]));
    let mut worker = Scripted::new(&machine, START + 3600, 86_400);
    run_for(&mut worker, RunUntil::Stopped, secs(200)).unwrap();
    assert_eq!(worker.done.len(), 1, "{:?}", worker.done);
    assert!((secs(50)..=secs(80)).contains(&worker.done[0]), "{:?}", worker.done);
}

#[test]
fn a_clock_set_back_neither_skips_nor_delays_work() {
    // Three hours back, 10 s before the work is due: the stored time is then further off than the work ever is.
    let machine = Arc::new(Machine::new(&[(90, -3 * 3600)]));
    let mut worker = Scripted::new(&machine, START + 100, 3600);
    run_for(&mut worker, RunUntil::Stopped, secs(4000)).unwrap();
    assert!((secs(90)..=secs(120)).contains(&worker.done[0]), "{:?}", worker.done);
    assert_eq!(worker.done.len(), 2, "then in its rhythm: {:?}", worker.done);
    assert_eq!(worker.done[1] - worker.done[0], secs(3600));
}

#[test]
fn a_clock_set_forward_and_back_does_work_once_each_time_it_is_due() {
    let machine = Arc::new(Machine::new(&[(60, 86_400), (600, -86_400)]));
    let mut worker = Scripted::new(&machine, START + 3600, 7200);
    run_for(&mut worker, RunUntil::Stopped, secs(900)).unwrap();
    let done: Vec<u64> = worker.done.iter().map(Duration::as_secs).collect();
    assert!(matches!(done[..], [60..=90, 600..=630]), "{done:?}");
}

#[test]
fn failures_in_a_row_are_retried_after_growing_delays_until_the_work_succeeds() {
    let machine = Arc::new(Machine::new(&[]));
    let mut worker = Scripted::new(&machine, START, 3600);
    worker.failures = [Kind::Failed; 8].into();
    run_for(&mut worker, RunUntil::Stopped, secs(300)).unwrap();
    let ticks: Vec<u64> = worker.ticks.iter().take(9).map(Duration::as_secs).collect();
    assert_eq!(ticks, [0, 1, 3, 7, 15, 31, 61, 91, 121]);
    assert_eq!(worker.done, [secs(121)]);
}

#[test]
fn a_worker_that_is_woken_is_called_at_once_unless_it_fails() {
    let machine = Arc::new(Machine::new(&[]));
    let mut worker = Scripted { wakeups: 2, ..Scripted::new(&machine, START + 3600, 3600) };
    run_for(&mut worker, RunUntil::Stopped, secs(30)).unwrap();
    assert_eq!(worker.ticks, [secs(0), secs(0), secs(0), secs(30)]);
    let machine = Arc::new(Machine::new(&[]));
    let mut failing = Scripted { wakeups: 2, ..Scripted::new(&machine, START + 3600, 3600) };
    failing.failures = [Kind::Failed].into();
    run_for(&mut failing, RunUntil::Stopped, secs(1)).unwrap();
    assert_eq!(failing.ticks, [secs(0), secs(1)]);
}

#[test]
fn a_damaged_vault_ends_a_worker_and_other_failures_end_only_one_shots() {
    let ends = |until, kind, count| {
        let machine = Arc::new(Machine::new(&[]));
        let mut worker = Scripted::new(&machine, START, 3600);
        worker.failures = std::iter::repeat_n(kind, count).collect();
        let result = run_for(&mut worker, until, secs(300));
        (result.err().map(|error| error.kind()), worker.done.len())
    };
    assert_eq!(ends(RunUntil::Stopped, Kind::Vault, 1), (Some(Kind::Vault), 0));
    assert_eq!(ends(RunUntil::Stopped, Kind::Failed, 1), (None, 1));
    assert_eq!(ends(RunUntil::Idle, Kind::Failed, 1), (Some(Kind::Failed), 0));
    assert_eq!(ends(RunUntil::Idle, Kind::Temporary, 2), (None, 1));
    assert_eq!(ends(RunUntil::Idle, Kind::Temporary, 3), (Some(Kind::Temporary), 0));
}

#[test]
fn a_one_shot_ends_when_nothing_is_due_and_nothing_runs() {
    let machine = Arc::new(Machine::new(&[]));
    let mut worker = Scripted::new(&machine, START, 3600);
    run_for(&mut worker, RunUntil::Idle, secs(300)).unwrap();
    assert_eq!((worker.ticks.len(), worker.done.len(), machine.awake()), (1, 1, Duration::ZERO));
    // While work that has begun runs, it is not idle.
    let mut busy = Scripted { otherwise: Some(NextWake::Busy(secs(10))), ..Scripted::new(&machine, START, 3600) };
    run_for(&mut busy, RunUntil::Idle, secs(90)).unwrap();
    assert_eq!(busy.ticks.len(), 10);
}

/// Ticks and finishes only once it is let go.
struct Stuck {
    is_stuck_in_tick: bool,
}

#[async_trait]
impl Worker for Stuck {
    fn name(&self) -> &'static str {
        "stuck"
    }

    async fn tick(&mut self, _: Timestamp) -> Result<NextWake> {
        if self.is_stuck_in_tick { pending().await } else { Ok(NextWake::Idle) }
    }

    async fn finish(&mut self) -> Result<()> {
        assert!(!self.is_stuck_in_tick, "a tick was cut off");
        pending().await
    }
}

#[test]
fn a_worker_that_hangs_is_cut_off_after_the_limit_unless_an_answer_is_on_its_way() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for is_stuck_in_tick in [true, false] {
        for (hold, expected) in [(false, SHUTDOWN_LIMIT), (true, SHUTDOWN_LIMIT + HOLD_LIMIT)] {
            let (machine, shutdown) = (Machine::new(&[]), Shutdown::default());
            let sleep = |duration| machine.pass(duration);
            let worker_loop = WorkerLoop {
                label: "stuck".to_owned(),
                clock: &machine.clock,
                shutdown: &shutdown,
                until: RunUntil::Stopped,
                sleep,
            };
            let _hold = hold.then(|| shutdown.hold());
            runtime.block_on(worker_loop.run(&mut Stuck { is_stuck_in_tick }, ready(()))).unwrap();
            assert_eq!(machine.awake(), expected, "in a tick: {is_stuck_in_tick}");
        }
    }
}
