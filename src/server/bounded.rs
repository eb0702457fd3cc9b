//! Values of requests that have bounds: a type of numbers gives both the check and the description of the API.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// A number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounded<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Bounded<MIN, MAX> {
    /// Creates a number that is known to be within the bounds: another one becomes the nearest.
    pub(super) fn clamped(number: u32) -> Self {
        Self(number.clamp(MIN, MAX))
    }

    pub(super) fn get(self) -> u32 {
        self.0
    }

    /// Returns so many seconds.
    pub(super) fn seconds(self) -> Duration {
        Duration::from_secs(self.0.into())
    }

    /// Returns so many days.
    pub(super) fn days(self) -> Duration {
        Duration::from_secs(u64::from(self.0) * 86_400)
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Bounded<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(BoundedVisitor)
    }
}

struct BoundedVisitor<const MIN: u32, const MAX: u32>;

impl<const MIN: u32, const MAX: u32> Visitor<'_> for BoundedVisitor<MIN, MAX> {
    type Value = Bounded<MIN, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {MIN} to {MAX}")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        let within = u32::try_from(number).ok().filter(|number| (MIN..=MAX).contains(number));
        within.map(Bounded).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    /// `5.0` is an integer in JSON Schema (validation, section 6.1.1).
    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        if number.fract() == 0.0 && (f64::from(MIN)..=f64::from(MAX)).contains(&number) {
            return Ok(Bounded(number as u32));
        }
        Err(E::invalid_value(Unexpected::Float(number), &self))
    }
}

impl<const MIN: u32, const MAX: u32> JsonSchema for Bounded<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Number{MIN}To{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// How often a value of a query may be repeated.
const MAX_REPEATED: usize = 50;

/// Reads a value of a query that may be repeated, [`MAX_REPEATED`] times at most.
pub(super) fn few<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let values = Vec::deserialize(deserializer)?;
    match values.len() {
        0..=MAX_REPEATED => Ok(values),
        count => Err(D::Error::custom(format!("{count} values, of at most {MAX_REPEATED}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_outside_its_bounds_is_refused() {
        let read = |text: &str| serde_json::from_str::<Bounded<2, 5>>(text).ok().map(Bounded::get);
        let texts = ["1", "2", "5", "3.0", "6", "4294967298", "-3", "2.5", "1e300"];
        let expected = [None, Some(2), Some(5), Some(3), None, None, None, None, None];
        assert_eq!(texts.map(read), expected);
        assert_eq!(Bounded::<2, 5>::clamped(9).get(), 5);
    }

    #[test]
    fn a_value_that_is_repeated_too_often_is_refused() {
        let read = |count: usize| few::<u32, _>(&serde_json::json!(vec![1; count])).ok().map(|values| values.len());
        assert_eq!([0, 50, 51].map(read), [Some(0), Some(50), None]);
    }
}
