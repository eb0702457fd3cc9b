//! The open connections of a server: their number and activity, and which one to close at the limit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::clock::Stopwatch;

/// Which connection makes room if as many are open as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overflow {
    /// The oldest, whatever it is doing: right where one request matters and it is the newest.
    DropOldest,
    /// One without a request, or with a request that has not arrived after a while. Where there is none a new connection waits,
    /// and those behind it wait in the kernel's backlog.
    Wait,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its first request has not come, or not its whole head.
    New,
    /// Its last request was answered, and it may bring another.
    Idle,
    /// Its request is refused, and its body is being thrown away.
    Discarding,
    /// The body of its request is arriving.
    Reading,
    /// Its request is there and will be answered.
    Answering,
    /// It was chosen to make room, and its request is answered without the rest of it.
    CutShort,
    /// It was chosen to make room.
    Closing(Closing),
}

/// How a connection that was chosen to make room is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// At once: nothing was asked.
    AtOnce,
    /// Once its last answer is written, which it nearly always is.
    AfterAnswer,
}

/// How long a head, and a body, may be on its way before its connection can be chosen to make room: several round trips.
const ARRIVAL_GRACE: Duration = Duration::from_secs(1);

/// The same of a connection that was just answered: its next request may be on its way.
const IDLE_GRACE: Duration = Duration::from_millis(100);

/// How often a full server looks again whether one can be chosen.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// One open connection.
#[derive(Debug)]
pub(super) struct Slot {
    state: Mutex<SlotState>,
    /// Its connection is to be closed.
    closing: Notify,
    /// Its request is not to be waited for any longer.
    cut_short: Notify,
}

#[derive(Debug)]
struct SlotState {
    phase: Phase,
    since: Stopwatch,
}

impl Slot {
    fn new() -> Self {
        let state = Mutex::new(SlotState { phase: Phase::New, since: Stopwatch::start() });
        Self { state, closing: Notify::new(), cut_short: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what the connection is doing now.
    pub(super) fn enter(&self, phase: Phase) {
        *self.state() = SlotState { phase, since: Stopwatch::start() };
    }

    /// Resolves if the connection is to be closed. A request that arrived in the same moment keeps it open.
    pub(super) async fn chosen(&self) -> Closing {
        loop {
            self.closing.notified().await;
            if let Phase::Closing(closing) = self.state().phase {
                return closing;
            }
        }
    }

    /// Resolves if the rest of the request is not to be waited for. What was meant for an earlier request is passed over.
    pub(super) async fn cut_short(&self) {
        loop {
            self.cut_short.notified().await;
            if self.state().phase == Phase::CutShort {
                return;
            }
        }
    }

    /// Its place among those that can make room, the first of them the smallest; absent if it cannot. What has no request
    /// comes before what has one, and of two that are alike the one that has been so for longer.
    fn rank(&self) -> Option<(u8, std::cmp::Reverse<Duration>)> {
        let state = self.state();
        let elapsed = state.since.elapsed();
        let (rank, grace) = match state.phase {
            Phase::Idle => (0, IDLE_GRACE),
            Phase::New => (1, ARRIVAL_GRACE),
            Phase::Discarding => (2, ARRIVAL_GRACE),
            Phase::Reading => (3, ARRIVAL_GRACE),
            Phase::Answering | Phase::CutShort | Phase::Closing(_) => return None,
        };
        (elapsed >= grace).then_some((rank, std::cmp::Reverse(elapsed)))
    }

    /// Begins to make room: a connection without a request is closed, one with a request is answered at once and then
    /// closed.
    fn make_room(&self) {
        let mut state = self.state();
        match state.phase {
            Phase::New => {
                state.phase = Phase::Closing(Closing::AtOnce);
                self.closing.notify_one();
            }
            Phase::Idle => {
                state.phase = Phase::Closing(Closing::AfterAnswer);
                self.closing.notify_one();
            }
            Phase::Discarding | Phase::Reading => {
                state.phase = Phase::CutShort;
                self.cut_short.notify_one();
            }
            Phase::Answering | Phase::CutShort | Phase::Closing(_) => {}
        }
    }
}

/// All open connections of a server, in the order in which they came.
#[derive(Debug)]
pub(super) struct ConnectionTable {
    table: Mutex<OpenConnections>,
    limit: usize,
    overflow: Overflow,
    /// A connection has ended.
    freed: Notify,
}

#[derive(Debug, Default)]
struct OpenConnections {
    next: u64,
    open: BTreeMap<u64, (Arc<Slot>, Option<AbortHandle>)>,
}

/// An entry of the table, which is removed when this is dropped.
pub(super) struct OpenConnection {
    number: u64,
    pub(super) slot: Arc<Slot>,
    connections: Arc<ConnectionTable>,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.connections.table().open.remove(&self.number);
        self.connections.freed.notify_one();
    }
}

impl OpenConnection {
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl ConnectionTable {
    pub(super) fn new(limit: usize, overflow: Overflow) -> Arc<Self> {
        Arc::new(Self { table: Mutex::default(), limit: limit.max(1), overflow, freed: Notify::new() })
    }

    fn table(&self) -> MutexGuard<'_, OpenConnections> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for one more connection, and takes it.
    pub(super) async fn open(self: &Arc<Self>) -> OpenConnection {
        while self.table().open.len() >= self.limit {
            self.make_room();
            if self.overflow == Overflow::DropOldest {
                // Its task ends at the next turn.
                break;
            }
            tokio::select! {
                () = self.freed.notified() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
        let slot = Arc::new(Slot::new());
        let mut table = self.table();
        let number = table.next;
        table.next += 1;
        table.open.insert(number, (Arc::clone(&slot), None));
        OpenConnection { number, slot, connections: Arc::clone(self) }
    }

    /// Lets the task that serves a connection be aborted with the server.
    pub(super) fn set_task(&self, number: u64, task: AbortHandle) {
        if let Some((_, entry)) = self.table().open.get_mut(&number) {
            *entry = Some(task);
        }
    }

    /// Chooses a connection that makes room, if one can.
    pub(super) fn make_room(&self) {
        match self.overflow {
            Overflow::DropOldest => {
                let oldest = self.table().open.pop_first();
                if let Some((_, (_, Some(task)))) = oldest {
                    task.abort();
                }
            }
            Overflow::Wait => {
                let table = self.table();
                let ranked = table.open.values().filter_map(|(slot, _)| Some((slot.rank()?, slot)));
                if let Some((_, slot)) = ranked.min_by_key(|(rank, _)| *rank) {
                    slot.make_room();
                }
            }
        }
    }

    /// Ends every connection, whatever it is doing.
    pub(super) fn abort_all(&self) {
        let open = std::mem::take(&mut self.table().open);
        for (_, task) in open.into_values() {
            task.iter().for_each(AbortHandle::abort);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_request_is_not_cut_short_for_one_before_it() {
        let slot = Slot::new();
        slot.enter(Phase::Discarding);
        slot.make_room();
        // Its body was at its end in the same moment.
        slot.enter(Phase::Idle);
        slot.enter(Phase::Reading);
        assert!(slot.cut_short().now_or_never().is_none());
        slot.make_room();
        assert!(slot.cut_short().now_or_never().is_some());
        slot.enter(Phase::Answering);
        slot.make_room();
        assert!(slot.cut_short().now_or_never().is_none() && slot.chosen().now_or_never().is_none());
    }
}
