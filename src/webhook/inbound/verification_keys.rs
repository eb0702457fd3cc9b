//! The cache of certificates and keys, including failed fetches.
//!
//! Anyone who knows a webhook's URL can name any number of certificates on the vendor's host, so nothing here may wait for
//! another's: each URL is fetched once at a time, a few different ones together, a failure is remembered for a while, and
//! what was good before is fetched past those that nobody has seen yet. The locks are never held across an await.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore};
use url::Url;

use super::fetch_keys::fetch;
use crate::clock::{Stopwatch, Timestamp};
use crate::connector::SignatureAlgorithm;
use crate::http::{Client, Route};
use crate::signing::verify::{VerificationKeys, VerifyError};

/// Fetches of URLs that were never good before; others wait for one of them.
const MOST_UNKNOWN: usize = 16;

/// Fetches of URLs that were good before: a vendor has a few.
const MOST_KNOWN: usize = 4;

/// How long a failure is believed.
const FAILED_FOR: Duration = Duration::from_secs(30);

/// How long what was good serves while it cannot be fetched again.
const STALE_HOURS: u64 = 24;

/// URLs that are remembered: a vendor has a few good ones, and what is made up must not grow for ever.
const MOST_GOOD: usize = 64;
const MOST_ASKED: usize = 1024;

/// The answer to one fetch, for all that wait for it.
#[derive(Debug)]
struct PendingFetch {
    answer: OnceCell<Result<Arc<VerificationKeys>, VerifyError>>,
    since: Stopwatch,
}

#[derive(Debug, Default)]
struct KeyCache {
    /// What was good, with the hour that it was fetched in.
    good: HashMap<String, (i64, Arc<VerificationKeys>)>,
    /// What is being fetched, and what failed.
    asked: HashMap<String, Arc<PendingFetch>>,
}

/// What requests are judged by.
#[derive(Debug)]
pub(super) struct VerificationKeyStore {
    http: Client,
    known: Mutex<KeyCache>,
    unknown_urls: Semaphore,
    known_urls: Semaphore,
}

enum CacheLookup {
    Fresh(Arc<VerificationKeys>),
    Fetch { asked: Arc<PendingFetch>, was_good: bool },
}

impl VerificationKeyStore {
    pub(super) fn new(http: Client) -> Self {
        Self {
            http,
            known: Mutex::default(),
            unknown_urls: Semaphore::new(MOST_UNKNOWN),
            known_urls: Semaphore::new(MOST_KNOWN),
        }
    }

    /// What is at a URL, from memory for an hour.
    ///
    /// # Errors
    /// [`VerifyError::MissingInput`] if it cannot be fetched, or is not the vendor's.
    pub(super) async fn get(
        &self,
        scheme: SignatureAlgorithm,
        url: &Url,
        route: &Route,
        now: Timestamp,
    ) -> Result<Arc<VerificationKeys>, VerifyError> {
        // Where it is really fetched is part of the name: no other connection believes what the sandbox publishes.
        let resolved = route.resolve(url).map_err(|_| VerifyError::MissingInput(format!("{url} cannot be reached")))?;
        let (name, hour) = (format!("{url} {resolved}"), now.as_second().div_euclid(3600));
        let (asked, was_good) = match self.find(&name, hour) {
            CacheLookup::Fresh(trust) => return Ok(trust),
            CacheLookup::Fetch { asked, was_good } => (asked, was_good),
        };
        // Where the one that fetches is cut off, the next of those that wait fetches.
        let answer = asked.answer.get_or_init(|| async {
            let turn = if was_good { &self.known_urls } else { &self.unknown_urls };
            let _turn = turn.acquire().await;
            let fetched = fetch(scheme, url, &self.http, route, now).await.map(Arc::new);
            self.note(&name, hour, &fetched);
            fetched
        });
        match answer.await {
            Ok(trust) => Ok(Arc::clone(trust)),
            // A vendor that cannot be reached for a moment must not have its events refused.
            Err(why) => self.stale(&name, hour).ok_or_else(|| why.clone()),
        }
    }

    /// What was good within the last day.
    fn stale(&self, name: &str, hour: i64) -> Option<Arc<VerificationKeys>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (fetched, trust) = known.good.get(name)?;
        (hour.abs_diff(*fetched) <= STALE_HOURS).then(|| Arc::clone(trust))
    }

    fn find(&self, name: &str, hour: i64) -> CacheLookup {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let good = known.good.get(name);
        if let Some((_, trust)) = good.filter(|(fetched, _)| *fetched == hour) {
            return CacheLookup::Fresh(Arc::clone(trust));
        }
        let was_good = good.is_some();
        let failed = |asked: &PendingFetch| asked.answer.initialized() && asked.since.elapsed() >= FAILED_FOR;
        if known.asked.get(name).is_some_and(|asked| failed(asked)) {
            known.asked.remove(name);
        }
        if known.asked.len() >= MOST_ASKED && !known.asked.contains_key(name) {
            let oldest = known.asked.iter().max_by_key(|(_, asked)| asked.since.elapsed());
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                known.asked.remove(&oldest);
            }
        }
        let new = || Arc::new(PendingFetch { answer: OnceCell::new(), since: Stopwatch::start() });
        let asked = Arc::clone(known.asked.entry(name.to_owned()).or_insert_with(new));
        CacheLookup::Fetch { asked, was_good }
    }

    fn note(&self, name: &str, hour: i64, fetched: &Result<Arc<VerificationKeys>, VerifyError>) {
        let Ok(trust) = fetched else { return };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.asked.remove(name);
        if known.good.len() >= MOST_GOOD && !known.good.contains_key(name) {
            let oldest = known.good.iter().min_by_key(|(_, (fetched, _))| *fetched).map(|(name, _)| name.clone());
            if let Some(oldest) = oldest {
                known.good.remove(&oldest);
            }
        }
        known.good.insert(name.to_owned(), (hour, Arc::clone(trust)));
    }
}
