//! Signing secrets: the current one, and replaced ones that are still valid.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::{Timestamp, is_from_fast_clock};
use crate::secret::Secret;

/// The one in force comes first. Written as JSON with the values in clear: the store encrypts it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RotatingSecrets(Vec<RotatedSecret>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RotatedSecret {
    #[serde(serialize_with = "expose", deserialize_with = "conceal")]
    value: Secret,
    /// Unix seconds until which it is good; absent for the one in force.
    until: Option<i64>,
    /// Unix seconds when it was replaced.
    #[serde(default)]
    replaced: Option<i64>,
}

impl RotatedSecret {
    /// An old secret that was replaced in the future is good no more: the clock was fast then, and its end is not known.
    fn is_good(&self, now: Timestamp) -> bool {
        let replaced = self.replaced.and_then(|at| Timestamp::from_second(at).ok());
        self.until.is_none_or(|until| until > now.as_second())
            && replaced.is_none_or(|replaced| !is_from_fast_clock(replaced, now))
    }
}

fn expose<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

fn conceal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

impl RotatingSecrets {
    pub(crate) fn one(secret: Secret) -> Self {
        Self(vec![RotatedSecret { value: secret, until: None, replaced: None }])
    }

    /// Those that are good now, the one in force first.
    pub(crate) fn current(&self, now: Timestamp) -> Vec<Secret> {
        self.0.iter().filter(|kept| kept.is_good(now)).map(|kept| kept.value.clone()).collect()
    }

    /// Until when one that was replaced is still good.
    pub(crate) fn overlap_until(&self, now: Timestamp) -> Option<Timestamp> {
        let until = self.0.iter().filter(|kept| kept.is_good(now)).filter_map(|kept| kept.until).max()?;
        Timestamp::from_second(until).ok().filter(|until| *until > now)
    }

    /// Puts a secret in force; the one before it is good until `overlap_until`, and older ones no longer than they were.
    pub(crate) fn rotate(&mut self, secret: Secret, overlap_until: Timestamp, now: Timestamp) {
        for old in &mut self.0 {
            old.until = Some(old.until.unwrap_or(i64::MAX).min(overlap_until.as_second()));
            old.replaced = old.replaced.or(Some(now.as_second()));
        }
        self.0.retain(|old| old.value.expose() != secret.expose() && old.is_good(now));
        self.0.insert(0, RotatedSecret { value: secret, until: None, replaced: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_m9_an_old_secret_does_not_outlive_a_clock_that_was_fast() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let year = 365 * 86_400;
        let mut secrets = RotatingSecrets::one(Secret::from("leaked"));
        secrets.rotate(Secret::from("new"), at(year + 3600), at(year));
        let read = |secrets: &RotatingSecrets, now| {
            serde_json::from_value::<RotatingSecrets>(serde_json::to_value(secrets).unwrap()).unwrap().current(at(now))
        };
        let good = |secrets: &RotatingSecrets, now| read(secrets, now).len();
        assert_eq!(good(&secrets, year + 3599), 2);
        assert_eq!(good(&secrets, year + 3600), 1);
        assert_eq!(good(&secrets, 100), 1, "nobody wants it for a year");
        assert_eq!(secrets.overlap_until(at(100)), None);
        secrets.rotate(Secret::from("newer"), at(100 + 3600), at(100));
        assert_eq!(good(&secrets, 200), 2, "the one before, and not the leaked one");
    }
}
