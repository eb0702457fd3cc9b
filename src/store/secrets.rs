//! The secrets that prove messages: the one in force, and those that it replaced and that are good for a while yet.

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::row::{from_json, to_json};
use crate::clock::Timestamp;
use crate::secret::Secret;

/// The one in force comes first.
#[derive(Clone, Debug, Default)]
pub(super) struct Secrets(Vec<Kept>);

#[derive(Clone, Debug)]
struct Kept {
    value: Secret,
    /// Unix seconds until which it is good; absent for the one in force.
    until: Option<i64>,
}

/// As the store has it, which is encrypted.
#[derive(Serialize, Deserialize)]
struct Text {
    value: String,
    until: Option<i64>,
}

impl Secrets {
    pub(super) fn one(secret: Secret) -> Self {
        Self(vec![Kept { value: secret, until: None }])
    }

    /// Those that are good now, the one in force first.
    pub(super) fn current(&self, now: Timestamp) -> Vec<Secret> {
        let good = |kept: &&Kept| kept.until.is_none_or(|until| until > now.as_second());
        self.0.iter().filter(good).map(|kept| kept.value.clone()).collect()
    }

    /// Until when one that was replaced is still good.
    pub(super) fn overlap_until(&self, now: Timestamp) -> Option<Timestamp> {
        let until = self.0.iter().filter_map(|kept| kept.until).max()?;
        Timestamp::from_second(until).ok().filter(|until| *until > now)
    }

    /// Puts a secret in force; the one before it is good until `overlap_until`, and older ones no longer than they were.
    pub(super) fn rotate(&mut self, secret: Secret, overlap_until: Timestamp, now: Timestamp) {
        for old in &mut self.0 {
            old.until = Some(old.until.unwrap_or(i64::MAX).min(overlap_until.as_second()));
        }
        let is_good = |old: &Kept| old.until.is_some_and(|until| until > now.as_second());
        self.0.retain(|old| old.value.expose() != secret.expose() && is_good(old));
        self.0.insert(0, Kept { value: secret, until: None });
    }

    pub(super) fn from_column(json: &str) -> Result<Self, StoreError> {
        let texts: Vec<Text> = from_json(json)?;
        Ok(Self(texts.into_iter().map(|Text { value, until }| Kept { value: Secret::new(value), until }).collect()))
    }

    pub(super) fn to_column(&self) -> Result<String, StoreError> {
        let text = |kept: &Kept| Text { value: kept.value.expose().clone(), until: kept.until };
        to_json(&self.0.iter().map(text).collect::<Vec<_>>())
    }
}
