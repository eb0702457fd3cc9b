//! The secrets that prove messages: the one in force, and those that it replaced and that are good for a while yet.

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::row::{from_json, to_json};
use crate::clock::{Timestamp, is_from_fast_clock};
use crate::secret::Secret;

/// The one in force comes first.
#[derive(Clone, Debug, Default)]
pub(super) struct Secrets(Vec<Kept>);

#[derive(Clone, Debug)]
struct Kept {
    value: Secret,
    /// Unix seconds until which it is good; absent for the one in force.
    until: Option<i64>,
    /// Unix seconds when it was replaced.
    replaced: Option<i64>,
}

impl Kept {
    /// An old secret that was replaced in the future is good no more: the clock was fast then, and its end is not known.
    fn is_good(&self, now: Timestamp) -> bool {
        let replaced = self.replaced.and_then(|at| Timestamp::from_second(at).ok());
        self.until.is_none_or(|until| until > now.as_second())
            && replaced.is_none_or(|replaced| !is_from_fast_clock(replaced, now))
    }
}

/// As the store has it, which is encrypted.
#[derive(Serialize, Deserialize)]
struct Text {
    value: String,
    until: Option<i64>,
    #[serde(default)]
    replaced: Option<i64>,
}

impl Secrets {
    pub(super) fn one(secret: Secret) -> Self {
        Self(vec![Kept { value: secret, until: None, replaced: None }])
    }

    /// Those that are good now, the one in force first.
    pub(super) fn current(&self, now: Timestamp) -> Vec<Secret> {
        self.0.iter().filter(|kept| kept.is_good(now)).map(|kept| kept.value.clone()).collect()
    }

    /// Until when one that was replaced is still good.
    pub(super) fn overlap_until(&self, now: Timestamp) -> Option<Timestamp> {
        let until = self.0.iter().filter(|kept| kept.is_good(now)).filter_map(|kept| kept.until).max()?;
        Timestamp::from_second(until).ok().filter(|until| *until > now)
    }

    /// Puts a secret in force; the one before it is good until `overlap_until`, and older ones no longer than they were.
    pub(super) fn rotate(&mut self, secret: Secret, overlap_until: Timestamp, now: Timestamp) {
        for old in &mut self.0 {
            old.until = Some(old.until.unwrap_or(i64::MAX).min(overlap_until.as_second()));
            old.replaced = old.replaced.or(Some(now.as_second()));
        }
        self.0.retain(|old| old.value.expose() != secret.expose() && old.is_good(now));
        self.0.insert(0, Kept { value: secret, until: None, replaced: None });
    }

    pub(super) fn from_column(json: &str) -> Result<Self, StoreError> {
        let texts: Vec<Text> = from_json(json)?;
        let kept = |Text { value, until, replaced }| Kept { value: Secret::new(value), until, replaced };
        Ok(Self(texts.into_iter().map(kept).collect()))
    }

    pub(super) fn to_column(&self) -> Result<String, StoreError> {
        let text =
            |kept: &Kept| Text { value: kept.value.expose().clone(), until: kept.until, replaced: kept.replaced };
        to_json(&self.0.iter().map(text).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_m9_an_old_secret_does_not_outlive_a_clock_that_was_fast() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let year = 365 * 86_400;
        let mut secrets = Secrets::one(Secret::from("leaked"));
        secrets.rotate(Secret::from("new"), at(year + 3600), at(year));
        let read =
            |secrets: &Secrets, now| Secrets::from_column(&secrets.to_column().unwrap()).unwrap().current(at(now));
        let good = |secrets: &Secrets, now| read(secrets, now).len();
        assert_eq!(good(&secrets, year + 3599), 2);
        assert_eq!(good(&secrets, year + 3600), 1);
        assert_eq!(good(&secrets, 100), 1, "nobody wants it for a year");
        assert_eq!(secrets.overlap_until(at(100)), None);
        secrets.rotate(Secret::from("newer"), at(100 + 3600), at(100));
        assert_eq!(good(&secrets, 200), 2, "the one before, and not the leaked one");
    }
}
