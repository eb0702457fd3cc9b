//! The worker: sends what is due, each endpoint for itself.
//!
//! One loop decides and writes; the attempts run beside it. What ended together is recorded in one commit. An endpoint has
//! few attempts at a time, so that one that hangs fills no more than its own places, and those that are slow or fail share
//! places of their own: however many they are, they take none from those that answer.
//!
//! Of a workspace one process delivers at a time, which a file's lock holds it to; the system lets go of it when the
//! process ends, however it ends. Nothing is noted before an attempt, so that what a killed worker had sent is sent again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};

use super::EndpointError;
use super::attempt::Sender;
use super::schedule::{self, Course, LONGEST_WAIT, Outcome};
use crate::clock::{self, Clock, Stopwatch, Timestamp};
use crate::error::{Kind, Remedy};
use crate::files;
use crate::http::Pace;
use crate::notify::Notice;
use crate::runtime::App;
use crate::store::outbox::{Attempt, Delivery, DeliveryFilter, DeliveryId, DeliveryStatus, Message, Recorded};
use crate::store::{DisabledReason, Endpoint, EndpointId, Store, StoreError};

/// Attempts at a time of an endpoint that answers at once, and of one that does not.
const PLACES: usize = 8;
const PLACES_OF_SLOW: usize = 4;

/// Attempts at a time of all endpoints that answer at once, and of all others. Together they stay below the number of
/// files that a process may have open, and of threads that resolve names.
const ALL_PLACES: usize = 250;

/// An endpoint whose last answer took longer, or that has not answered for so long, is slow.
const SLOW: Duration = Duration::from_secs(1);

/// How soon is seen what another process has sent.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What else is looked after, and how often.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// A delivery that was put off by a clock that was set back comes within this.
const SPREAD: Duration = Duration::from_secs(300);

/// Messages that are removed at a time.
const PRUNED_TOGETHER: usize = 1000;

/// How long attempts may go on when the worker is told to end.
const LAST_ATTEMPTS: Duration = Duration::from_secs(5);

/// How long a store that cannot be written is left alone, and how often it may refuse a worker that is to end by itself.
const STORE_RESTS: Duration = Duration::from_secs(1);
const MOST_REFUSALS: u32 = 5;

/// What is to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    All,
    /// The deliveries of one message.
    Message(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Nothing is due at this moment.
    Idle,
    /// Told to end.
    Told,
}

/// One attempt and what it led to.
#[derive(Debug)]
pub struct Attempted {
    pub recorded: Recorded,
    pub attempt: Attempt,
}

/// What became of the deliveries that were tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub delivered: u64,
    pub failed: u64,
    pub dead: u64,
}

struct Worker<'a> {
    app: &'a App,
    store: &'a Store,
    clock: &'a Clock,
    sender: Arc<Sender>,
    work: &'a Work,
    lanes: Vec<Lane>,
    /// Which lane is asked first, so that none always is.
    first: usize,
    running: JoinSet<(Attempt, Outcome)>,
    places: HashMap<Id, (EndpointId, DeliveryId)>,
    unrecorded: Vec<(DeliveryId, Attempt, Outcome)>,
    refusals: u32,
    tidied: Option<Stopwatch>,
    summary: Summary,
}

/// What concerns one endpoint.
struct Lane {
    endpoint: Endpoint,
    pace: Pace,
    running: HashMap<DeliveryId, Stopwatch>,
    slow: bool,
    /// Whether more may be due.
    look: bool,
    /// How long its rate makes it wait.
    paced: Option<Duration>,
}

/// Delivers what is due until it is told to end, or nothing is due. `told` hears of each attempt once it is recorded.
///
/// # Errors
/// [`EndpointError::Busy`] where another process delivers; [`EndpointError::Store`].
pub async fn deliver(
    app: &App,
    work: &Work,
    until: Until,
    stop: impl Future<Output = ()>,
    mut told: impl FnMut(&Attempted),
) -> crate::error::Result<Summary> {
    let _lock = lock(app)?;
    let mut worker = Worker {
        app,
        store: app.store()?,
        clock: &app.clock,
        sender: Arc::new(Sender::new(&app.config, app.clock.clone())),
        work,
        lanes: Vec::new(),
        first: 0,
        running: JoinSet::new(),
        places: HashMap::new(),
        unrecorded: Vec::new(),
        refusals: 0,
        tidied: None,
        summary: Summary::default(),
    };
    worker.run(until, stop, &mut told).await?;
    Ok(worker.summary)
}

/// Waits until every delivery of a message was tried, by whichever process delivers: this one, if no other does.
///
/// # Errors
/// [`EndpointError::Store`].
pub async fn wait(app: &App, message: &str, most: Duration) -> crate::error::Result<Vec<Delivery>> {
    let waiting = Stopwatch::start();
    let filter = DeliveryFilter { message: Some(message.to_owned()), limit: u32::MAX, ..DeliveryFilter::default() };
    loop {
        let tried = |delivery: &Delivery| delivery.status != DeliveryStatus::Pending;
        let deliveries = app.store()?.outbox().list(&filter)?;
        if deliveries.iter().all(tried) || waiting.elapsed() > most {
            return Ok(deliveries);
        }
        let work = Work::Message(message.to_owned());
        match deliver(app, &work, Until::Idle, std::future::pending(), |_| {}).await {
            Ok(_) => {}
            Err(error) if error.code() == EndpointError::Busy.code() => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn lock(app: &App) -> Result<File, EndpointError> {
    let path = app.folders.workspace(&app.workspace).join("locks").join("deliver.lock");
    let failed = |source| EndpointError::Lock { path: path.clone(), source };
    if let Some(folder) = path.parent() {
        files::create_private_folder(folder).map_err(failed)?;
    }
    let file = files::open_or_create_private(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(EndpointError::Busy),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

impl Worker<'_> {
    async fn run(
        &mut self,
        until: Until,
        stop: impl Future<Output = ()>,
        told: &mut impl FnMut(&Attempted),
    ) -> Result<(), EndpointError> {
        tokio::pin!(stop);
        let mut looked: Option<Stopwatch> = None;
        loop {
            let pause = match self.look(&mut looked).and_then(|()| self.begin()) {
                Ok(pause) => pause,
                // A disk that is full now may have room later; a vault that is damaged stays so.
                Err(EndpointError::Store(error)) if until == Until::Told && error.kind() != Kind::Vault => {
                    self.refused(error, until).await?;
                    Some(LOOK_AGAIN)
                }
                Err(error) => return Err(error),
            };
            let idle = self.running.is_empty() && self.unrecorded.is_empty() && pause.is_none();
            if until == Until::Idle && idle {
                return Ok(());
            }
            let pause = pause.map_or(LOOK_AGAIN, |pause| pause.min(LOOK_AGAIN));
            tokio::select! {
                Some(ended) = self.running.join_next_with_id() => self.end(ended),
                () = tokio::time::sleep(pause) => {}
                () = &mut stop => break,
            }
            self.record(until, told).await?;
        }
        let ending = async {
            while let Some(ended) = self.running.join_next_with_id().await {
                self.end(ended);
            }
        };
        // What does not end in time is sent again by the next worker.
        let _ = tokio::time::timeout(LAST_ATTEMPTS, ending).await;
        self.record(Until::Idle, told).await
    }

    /// Reads the endpoints anew from time to time, where anything is due.
    fn look(&mut self, looked: &mut Option<Stopwatch>) -> Result<(), EndpointError> {
        if looked.is_some_and(|looked| looked.elapsed() < LOOK_AGAIN) {
            return Ok(());
        }
        *looked = Some(Stopwatch::start());
        let now = self.clock.precise();
        if self.tidied.is_none_or(|tidied| tidied.elapsed() >= TIDY_EVERY) {
            self.tidied = Some(Stopwatch::start());
            self.store.outbox().rein_in(now, LONGEST_WAIT, SPREAD)?;
            let before = now.checked_sub(self.app.config.endpoints.keep).unwrap_or(Timestamp::MIN);
            if self.store.outbox().prune(before, PRUNED_TOGETHER)? == PRUNED_TOGETHER {
                // There are more: they are not left for a minute.
                self.tidied = None;
            }
        }
        if self.store.outbox().next_due()?.is_none_or(|due| due > now) {
            return Ok(());
        }
        let mut known: HashMap<EndpointId, Lane> =
            self.lanes.drain(..).map(|lane| (lane.endpoint.id.clone(), lane)).collect();
        for endpoint in self.store.endpoints().list()? {
            let lane = match known.remove(&endpoint.id) {
                Some(lane) if lane.endpoint.rules.rate == endpoint.rules.rate => Lane { endpoint, look: true, ..lane },
                Some(lane) => Lane { running: lane.running, slow: lane.slow, ..Lane::new(endpoint) },
                None => Lane::new(endpoint),
            };
            self.lanes.push(lane);
        }
        Ok(())
    }

    /// Begins what is due and has a place. Absent: there is nothing to begin; else how long to wait for it at most.
    fn begin(&mut self) -> Result<Option<Duration>, EndpointError> {
        let now = self.clock.precise();
        let mut taken = [0, 0];
        for lane in &self.lanes {
            taken[usize::from(lane.is_slow())] += lane.running.len();
        }
        let mut pause = None;
        let count = self.lanes.len();
        self.first = (self.first + 1) % count.max(1);
        let mut order: Vec<usize> = (self.first..count).chain(0..self.first).collect();
        // Those that answer at once are not kept waiting while others are read.
        order.sort_by_key(|index| self.lanes[*index].is_slow());
        let mut messages = HashMap::new();
        for index in order {
            let lane = &self.lanes[index];
            if !lane.look || lane.rests(now) {
                continue;
            }
            let slow = lane.is_slow();
            let own = if slow { PLACES_OF_SLOW } else { PLACES };
            let free = own.saturating_sub(lane.running.len()).min(ALL_PLACES.saturating_sub(taken[usize::from(slow)]));
            if free > 0 {
                taken[usize::from(slow)] += self.fill(index, free, now, &mut messages)?;
            }
            let lane = &self.lanes[index];
            if lane.look {
                let wait = lane.paced.unwrap_or(LOOK_AGAIN);
                pause = Some(pause.map_or(wait, |pause: Duration| pause.min(wait)));
            }
        }
        Ok(pause)
    }

    /// Begins up to `free` attempts of a lane; the number of them. A message is read once for all lanes.
    fn fill(
        &mut self,
        index: usize,
        free: usize,
        now: Timestamp,
        messages: &mut HashMap<String, Arc<Message>>,
    ) -> Result<usize, EndpointError> {
        let lane = &mut self.lanes[index];
        let outbox = self.store.outbox();
        let due = match self.work {
            // Those that run are due as well, and found first.
            Work::All => outbox.due(&lane.endpoint.id, now, lane.running.len() + free)?,
            Work::Message(message) => {
                let filter = DeliveryFilter {
                    endpoint: Some(lane.endpoint.id.clone()),
                    message: Some(message.clone()),
                    limit: 1,
                    ..DeliveryFilter::default()
                };
                let mut found = outbox.list(&filter)?;
                found.retain(|delivery| delivery.due_at.is_some_and(|due_at| due_at <= now));
                found
            }
        };
        let mut due: Vec<Delivery> = due.into_iter().filter(|one| !lane.running.contains_key(&one.id)).collect();
        lane.look = due.len() >= free;
        lane.paced = None;
        due.truncate(free);
        let (late, due): (Vec<_>, Vec<_>) = due.into_iter().partition(|delivery| delivery.expires_at <= now);
        if !late.is_empty() {
            let late: Vec<DeliveryId> = late.iter().map(|delivery| delivery.id).collect();
            outbox.give_up(&late, "its time to live was over")?;
            self.summary.dead += late.len() as u64;
            lane.look = true;
        }
        let mut begun = 0;
        for delivery in due {
            if let Some(wait) = lane.pace.take(1, now) {
                (lane.look, lane.paced) = (true, Some(wait));
                break;
            }
            let message = match messages.entry(delivery.message) {
                Entry::Occupied(known) => Arc::clone(known.get()),
                Entry::Vacant(place) => {
                    let Some(message) = outbox.message(place.key())? else { continue };
                    Arc::clone(place.insert(Arc::new(message)))
                }
            };
            lane.running.insert(delivery.id, Stopwatch::start());
            let (sender, endpoint) = (Arc::clone(&self.sender), lane.endpoint.clone());
            let task = self.running.spawn(async move { sender.attempt(&endpoint, &message).await });
            self.places.insert(task.id(), (delivery.endpoint, delivery.id));
            begun += 1;
        }
        Ok(begun)
    }

    /// Takes what has ended, and all that has ended beside it.
    fn end(&mut self, ended: Result<(Id, (Attempt, Outcome)), JoinError>) {
        let mut next = Some(ended);
        while let Some(ended) = next {
            let (id, result) = match ended {
                Ok((id, result)) => (id, Some(result)),
                Err(error) => (error.id(), None),
            };
            if let Some((endpoint, delivery)) = self.places.remove(&id) {
                let (attempt, outcome) = result.unwrap_or_else(|| {
                    let error = Some("the attempt could not be made".to_owned());
                    (Attempt { started_at: self.clock.precise(), error, ..Attempt::default() }, Outcome::Failed)
                });
                if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.endpoint.id == endpoint) {
                    lane.slow = outcome != Outcome::Accepted || attempt.duration > SLOW;
                }
                self.unrecorded.push((delivery, attempt, outcome));
            }
            next = self.running.try_join_next_with_id();
        }
    }

    /// Records what has ended. Until that is done a delivery keeps its place: a store that cannot be written stops the
    /// sending, and makes nothing go out twice.
    async fn record(&mut self, until: Until, told: &mut impl FnMut(&Attempted)) -> Result<(), EndpointError> {
        if self.unrecorded.is_empty() {
            return Ok(());
        }
        let now = self.clock.precise();
        let recorded = self.store.outbox().record(&self.unrecorded, |endpoint, delivery, outcome| {
            let course = Course { attempts: delivery.attempts, expires_at: delivery.expires_at };
            let random = u64::from_be_bytes(clock::random::<8>());
            schedule::judge(&endpoint.rules, endpoint.standing, course, *outcome, now, random)
        });
        let recorded = match recorded {
            Ok(recorded) => recorded,
            Err(error) => return self.refused(error, until).await,
        };
        self.refusals = 0;
        let mut attempts: HashMap<DeliveryId, Attempt> = HashMap::new();
        for (id, attempt, _) in self.unrecorded.drain(..) {
            for lane in &mut self.lanes {
                lane.look |= lane.running.remove(&id).is_some();
            }
            attempts.insert(id, attempt);
        }
        for recorded in recorded {
            match recorded.delivery.status {
                DeliveryStatus::Delivered => self.summary.delivered += 1,
                DeliveryStatus::Dead => self.summary.dead += 1,
                DeliveryStatus::Failed | DeliveryStatus::Pending => self.summary.failed += 1,
            }
            if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.endpoint.id == recorded.delivery.endpoint) {
                // A pause that it asked for holds from here on.
                lane.endpoint.standing = recorded.standing;
            }
            if let Some(reason) = recorded.disabled {
                tell_of_disabled(self.app, &recorded.delivery.endpoint, reason);
            }
            if let Some(attempt) = attempts.remove(&recorded.delivery.id) {
                told(&Attempted { recorded, attempt });
            }
        }
        Ok(())
    }

    /// The store could not be written: it is tried again.
    async fn refused(&mut self, error: StoreError, until: Until) -> Result<(), EndpointError> {
        self.refusals += 1;
        if until == Until::Idle && self.refusals >= MOST_REFUSALS {
            return Err(error.into());
        }
        if self.refusals == 1 {
            let hint = error.hint().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
            tracing::warn!("nothing is sent until the store can be written: {error}{hint}");
        }
        tokio::time::sleep(STORE_RESTS).await;
        Ok(())
    }
}

/// The notice of it, by the one process that recorded it; the reason is kept, and `endpoint list` shows it.
fn tell_of_disabled(app: &App, id: &EndpointId, reason: DisabledReason) {
    let why = match reason {
        DisabledReason::Gone => "it answered 410",
        DisabledReason::Failing => "it has done nothing but fail for five days",
        DisabledReason::User => "you said so",
    };
    app.tell(Notice::disabled(&id.to_string(), why, &app.workspace, app.clock.now()));
    tracing::warn!("the endpoint {id} is disabled: {why}; hint: integ endpoint enable {id}");
}

impl Lane {
    fn new(endpoint: Endpoint) -> Self {
        let pace = Pace::new(endpoint.rules.rate);
        let slow = endpoint.standing.failing_since.is_some();
        Self { endpoint, pace, running: HashMap::new(), slow, look: true, paced: None }
    }

    fn is_slow(&self) -> bool {
        self.slow || self.running.values().any(|since| since.elapsed() > SLOW)
    }

    fn rests(&self, now: Timestamp) -> bool {
        let standing = &self.endpoint.standing;
        standing.disabled.is_some() || standing.paused_until.is_some_and(|until| until > now)
    }
}
