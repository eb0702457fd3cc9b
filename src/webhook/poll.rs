//! Polls the vendor's delivery log, for live events without a public URL.
//!
//! What is found goes the same way as what the vendor sends, and is the same event: whichever comes first is stored.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::backfill::{BackfillRequest, SeenItems, backfill};
use super::feed::{ActivityFeed, ListenEvent};
use super::handle::in_flight::InFlight;
use super::handle::workers::{ConnectionWork, StartedWork};
use super::inbound::outcome::{EventSource, ReceiveOutcome, ReceivedEvent};
use super::inbound::target::ReceiveTarget;
use crate::api::Input;
use crate::backoff::Backoff;
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::error::Result;
use crate::model::EventInsertResult;
use crate::runtime::Workspace;
use crate::runtime::worker::{LONGEST_SLEEP, NextWake, Worker};

/// How often a vendor is asked, by default.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);

/// How far back it is asked each time beyond what is known: events may be logged late, and clocks differ.
const OVERLAP: Duration = Duration::from_secs(60);

/// How long a vendor is left alone that could not be asked.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Creates the pollers of connections to vendors that keep a log of deliveries.
pub(in crate::webhook) struct Polling<'a> {
    pub(in crate::webhook) workspace: &'a Workspace,
    pub(in crate::webhook) feed: Arc<ActivityFeed>,
    pub(in crate::webhook) interval: Duration,
    /// Whether what is shown is chosen by what events say.
    pub(in crate::webhook) is_filtered: bool,
}

#[async_trait]
impl<'a> ConnectionWork<'a> for Polling<'a> {
    const NAME: &'static str = "event polling";

    async fn start(&self, target: &Arc<ReceiveTarget>) -> Result<StartedWork<'a>> {
        let Some(rules) = &target.rules.backfill else { return Ok(StartedWork::NotNeeded) };
        let clock = self.workspace.clock.clone();
        let started_at = clock.now();
        Ok(StartedWork::Worker(Box::new(Poller {
            poll: Arc::new(Poll {
                workspace: self.workspace,
                target: Arc::clone(target),
                feed: Arc::clone(&self.feed),
                is_filtered: self.is_filtered,
                seen: SeenItems::default(),
            }),
            reach: rules.reach_secs.map(|secs| Duration::from_secs(u64::from(secs))),
            interval: self.interval,
            clock,
            started_at,
            asked_to: started_at,
            asked: None,
            failures: 0,
            in_flight: InFlight::Nothing,
        })))
    }
}

/// Asks the vendor of one connection again and again.
struct Poller<'a> {
    poll: Arc<Poll<'a>>,
    /// How far back the vendor knows events.
    reach: Option<Duration>,
    interval: Duration,
    clock: Clock,
    /// Earlier events are not requested: `webhook backfill` is for those.
    started_at: Timestamp,
    /// The end of the last range that was requested without an error.
    asked_to: Timestamp,
    /// When it was last asked.
    asked: Option<Stopwatch>,
    failures: u32,
    in_flight: InFlight<'a, (Timestamp, Result<()>)>,
}

#[async_trait]
impl Worker for Poller<'_> {
    fn name(&self) -> &'static str {
        Polling::NAME
    }

    async fn tick(&mut self, _: Timestamp) -> Result<NextWake> {
        if self.in_flight.is_running() {
            return Ok(NextWake::Busy(LONGEST_SLEEP));
        }
        if let InFlight::Done((until, asked)) = std::mem::replace(&mut self.in_flight, InFlight::Nothing) {
            self.asked = Some(Stopwatch::start());
            self.note(until, asked);
        }
        let wait = wait_after(self.interval, self.failures);
        let left = self.asked.as_ref().map(|asked| wait.saturating_sub(asked.elapsed())).unwrap_or_default();
        if !left.is_zero() {
            return Ok(NextWake::Busy(left));
        }
        let until = self.clock.now();
        let since = begin_at(self.started_at, self.asked_to, until, self.reach);
        let poll = Arc::clone(&self.poll);
        self.in_flight = InFlight::Running(Box::pin(async move { (until, poll.ask(since, until).await) }));
        Ok(NextWake::Busy(LONGEST_SLEEP))
    }

    async fn woken(&mut self) {
        if self.in_flight.is_running() {
            self.in_flight.drive().await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// What is on its way is left: what was stored is stored, and the next listener asks for the rest.
    async fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Poller<'_> {
    fn note(&mut self, until: Timestamp, asked: Result<()>) {
        let connection = || self.poll.target.name.clone();
        match asked {
            Ok(()) => {
                self.asked_to = until;
                if std::mem::take(&mut self.failures) > 0 {
                    self.poll.feed.send(ListenEvent::PollResumed { connection: connection() });
                }
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures == 1 {
                    let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
                    let error = format!("{}{hint}", error.on_one_line());
                    self.poll.feed.send(ListenEvent::PollFailed { connection: connection(), error });
                }
            }
        }
    }
}

/// What asking needs.
struct Poll<'a> {
    workspace: &'a Workspace,
    target: Arc<ReceiveTarget>,
    feed: Arc<ActivityFeed>,
    is_filtered: bool,
    /// What the vendor listed before and need not be asked about again.
    seen: SeenItems,
}

impl Poll<'_> {
    /// Stores the events of a time that are not known.
    async fn ask(&self, since: Timestamp, until: Timestamp) -> Result<()> {
        let request = BackfillRequest {
            since,
            until,
            limit: None,
            input: &Input::default(),
            dry_run: false,
            needs_handling: self.target.has_handlers,
            seen: Some(&self.seen),
        };
        let asked = backfill(self.workspace, &self.target.name, &request, |found| {
            let Some(inserted @ EventInsertResult::New(_)) = found.inserted else { return Ok(()) };
            self.target.signals.event_stored();
            let source = found.request.as_ref().filter(|_| self.is_filtered);
            let event = ReceivedEvent {
                event: found.new_event(),
                source: source.map(|request| Arc::new(EventSource::new(request.clone(), Arc::clone(&self.target)))),
                received_at: self.workspace.clock.now_millis(),
                inserted,
                verified: true,
            };
            let connection = self.target.name.clone();
            self.feed.send(ListenEvent::Request(ReceiveOutcome::Received { connection, events: vec![event] }));
            Ok(())
        });
        Box::pin(asked).await
    }
}

/// The start of the next range to request. Pure.
fn begin_at(started_at: Timestamp, asked_to: Timestamp, now: Timestamp, reach: Option<Duration>) -> Timestamp {
    let before = |at: Timestamp, length: Duration| at.checked_sub(length).unwrap_or(Timestamp::MIN);
    // A clock that was set back must not ask for what is to come.
    let since = before(asked_to, OVERLAP).max(started_at).min(now);
    reach.map_or(since, |reach| since.max(before(now, reach)))
}

/// Delay after this many failures in a row. Pure.
fn wait_after(interval: Duration, failures: u32) -> Duration {
    if failures == 0 { interval } else { Backoff::new(interval, LONGEST_WAIT.max(interval)).delay(failures) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_is_asked_for_overlaps_covers_an_outage_and_stays_within_reach() {
        let (start, minute) = (at(10_000), Duration::from_secs(60));
        assert_eq!(begin_at(start, start, at(10_005), None), start, "nothing from before the start");
        assert_eq!(begin_at(start, at(10_500), at(10_505), None), at(10_440));
        assert_eq!(
            begin_at(start, at(10_500), at(20_000), None),
            at(10_440),
            "an hour without an answer is made up for"
        );
        assert_eq!(begin_at(start, at(10_500), at(20_000), Some(minute)), at(19_940));
        assert_eq!(begin_at(start, at(10_500), at(5_000), None), at(5_000));
        let waits = [0, 1, 2, 3, 30].map(|failures| wait_after(Duration::from_secs(5), failures).as_secs());
        assert_eq!(waits, [5, 5, 10, 20, 300]);
    }
}
