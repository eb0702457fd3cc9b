//! The keys of a workspace that is stored on a server, by their numbers.

use std::collections::BTreeMap;

use super::StoreKey;

/// The number of a workspace's first key.
pub const FIRST_KEY: u16 = 1;

/// Reads the keys again where they are stored, when a value names one that is not known; `None` if they cannot be read.
pub type KeySource = Box<dyn Fn() -> Option<WorkspaceKeys> + Send + Sync>;

/// The keys with which the values of a workspace are opened. A value names its key by number; another key has a greater one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceKeys(BTreeMap<u16, StoreKey>);

impl WorkspaceKeys {
    /// One key with its number.
    pub fn of(number: u16, key: StoreKey) -> Self {
        Self(BTreeMap::from([(number, key)]))
    }

    /// Adds a key.
    #[must_use]
    pub fn with(mut self, number: u16, key: StoreKey) -> Self {
        self.0.insert(number, key);
        self
    }

    /// Returns the keys, sorted by number.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &StoreKey)> {
        self.0.iter().map(|(number, key)| (*number, key))
    }

    /// Returns the greatest number.
    pub fn latest(&self) -> u16 {
        self.0.keys().next_back().copied().unwrap_or(FIRST_KEY)
    }
}

/// A workspace that has had one key.
impl From<&StoreKey> for WorkspaceKeys {
    fn from(key: &StoreKey) -> Self {
        Self::of(FIRST_KEY, key.clone())
    }
}

impl From<&Self> for WorkspaceKeys {
    fn from(keys: &Self) -> Self {
        keys.clone()
    }
}
