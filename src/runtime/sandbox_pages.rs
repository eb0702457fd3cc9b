//! The pages of emulated services that a server shows to browsers elsewhere: the emulators listen on loopback.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use url::Url;

use super::Workspace;
use crate::{clock, hex};

/// The pages that a server of this process shows.
#[derive(Debug, Default)]
pub(super) struct SandboxPageTable {
    is_served: AtomicBool,
    /// The emulators by their id in URLs.
    published: Mutex<HashMap<String, PublishedEmulator>>,
}

/// The pages of one emulator. Nothing else of it is shown.
#[derive(Debug)]
struct PublishedEmulator {
    origin: Url,
    paths: BTreeSet<String>,
}

impl SandboxPageTable {
    fn published(&self) -> MutexGuard<'_, HashMap<String, PublishedEmulator>> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Workspace {
    /// Declares that a server of this process shows pages of the sandbox.
    pub fn serve_sandbox_pages(&self) {
        self.sandbox_pages().is_served.store(true, Ordering::Relaxed);
    }

    /// Returns where a browser elsewhere opens a page of an emulator of this process. Other URLs, and all without a server,
    /// are returned as they are.
    pub fn publish_sandbox_page(&self, page: &Url) -> Url {
        let pages = self.sandbox_pages();
        if !pages.is_served.load(Ordering::Relaxed) || !self.has_emulator_at(page) {
            return page.clone();
        }
        let mut published = pages.published();
        let known = published.iter().find(|(_, emulator)| emulator.origin.origin() == page.origin());
        let id = known.map_or_else(|| hex::encode(&clock::random::<16>()), |(id, _)| id.clone());
        let Some(mut url) = self.engine.config.serve.sandbox_url(&format!("{id}{}", page.path())) else {
            return page.clone();
        };
        url.set_query(page.query());
        let new = || PublishedEmulator { origin: page.clone(), paths: BTreeSet::new() };
        published.entry(id).or_insert_with(new).paths.insert(page.path().to_owned());
        url
    }

    /// Returns the URL at the emulator of a page that was published; None for everything else.
    pub fn published_sandbox_page(&self, id: &str, path: &str, query: Option<&str>) -> Option<Url> {
        let published = self.sandbox_pages().published();
        let emulator = published.get(id).filter(|emulator| emulator.paths.contains(path))?;
        let mut url = emulator.origin.clone();
        url.set_path(path);
        url.set_query(query);
        Some(url)
    }
}
