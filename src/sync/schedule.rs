//! Computes the next run of a schedule: `every 15m`, or a cron expression. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use cronexpr::{Crontab, FallbackTimezoneOption, ParseOptions, parse_crontab_with};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::duration;

/// A schedule's rule.
#[derive(Clone, Debug)]
pub enum ScheduleRule {
    Every(Duration),
    /// Five fields, in a time zone: the machine's unless the expression ends with another.
    Cron(String, Box<Crontab>),
}

/// Why a text is not a schedule's rule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScheduleRuleError {
    #[error("`every` takes a duration of at least one minute, such as `every 15m`")]
    Every,
    #[error("{0}")]
    Cron(String),
}

impl ScheduleRule {
    /// The first time after `now`, within `jitter_secs` after the rule's own; `random` says where.
    pub fn next(&self, now: Timestamp, jitter_secs: u32, random: u64) -> Timestamp {
        let next = match self {
            Self::Every(every) => now.checked_add(*every).unwrap_or(Timestamp::MAX),
            Self::Cron(_, cron) => cron.find_next(now).map_or(Timestamp::MAX, |next| next.timestamp()),
        };
        let jitter = if jitter_secs == 0 { 0 } else { random % (u64::from(jitter_secs) + 1) };
        next.checked_add(Duration::from_secs(jitter)).unwrap_or(Timestamp::MAX)
    }

    /// A stored next time, unless it is later than the rule allows: then it was written while the clock was fast, and the
    /// rule's own next time takes its place.
    pub fn clamp_next(&self, stored: Timestamp, jitter_secs: u32, now: Timestamp) -> Timestamp {
        let latest = self.next(now, 0, 0).checked_add(Duration::from_secs(jitter_secs.into()));
        stored.min(latest.unwrap_or(Timestamp::MAX))
    }
}

impl FromStr for ScheduleRule {
    type Err = ScheduleRuleError;

    fn from_str(text: &str) -> Result<Self, ScheduleRuleError> {
        let text = text.trim();
        if let Some(every) = text.strip_prefix("every ") {
            let every = duration::parse(every).filter(|every| every.as_secs() >= 60).ok_or(ScheduleRuleError::Every)?;
            return Ok(Self::Every(every));
        }
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::System;
        let cron =
            parse_crontab_with(text, options).map_err(|error| ScheduleRuleError::Cron(one_line(&error.to_string())))?;
        Ok(Self::Cron(text.to_owned(), Box::new(cron)))
    }
}

/// The message of the parser without the drawing that points at the place of the mistake.
fn one_line(message: &str) -> String {
    let last = message.lines().last().unwrap_or_default();
    last.trim_start_matches([' ', '^', '|']).trim_end().to_owned()
}

impl fmt::Display for ScheduleRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(every) => write!(f, "every {}", duration::format(*every)),
            Self::Cron(text, _) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(rule: &str, now: &str) -> String {
        rule.parse::<ScheduleRule>().unwrap().next(now.parse().unwrap(), 0, 0).to_string()
    }

    #[test]
    fn the_next_time_follows_from_the_rule() {
        assert_eq!(next("every 15m", "2026-11-20T10:00:07Z"), "2026-11-20T10:15:07Z");
        assert_eq!(next("0 6 * * 1-5 UTC", "2026-11-20T10:00:00Z"), "2026-11-23T06:00:00Z");
        assert_eq!(next("30 2 * * * Europe/Berlin", "2026-11-20T10:00:00Z"), "2026-11-21T01:30:00Z");
        for wrong in ["", "every", "every 5s", "every day", "61 * * * *", "* * *", "0 6 * * * Nowhere/None"] {
            assert!(wrong.parse::<ScheduleRule>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn attack_m9_a_stored_time_beyond_the_rules_own_gives_way_to_that() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-11-20T10:00:07Z");
        for (rule, latest) in [("every 15m", "2026-11-20T10:16:07Z"), ("0 6 * * * UTC", "2026-11-21T06:01:00Z")] {
            let rule: ScheduleRule = rule.parse().unwrap();
            assert_eq!(rule.clamp_next(at("2027-11-20T10:00:00Z"), 60, now), at(latest));
            assert_eq!(rule.clamp_next(at(latest), 60, now), at(latest));
            assert_eq!(rule.clamp_next(at("2026-11-20T10:05:00Z"), 60, now), at("2026-11-20T10:05:00Z"));
        }
    }

    #[test]
    fn jitter_is_added_and_never_more_than_was_said() {
        let rule: ScheduleRule = "every 1h".parse().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        for random in [0, 1, 59, 60, 61, u64::MAX] {
            let late = rule.next(now, 60, random).as_second() - 3600;
            assert!((0..=60).contains(&late), "{late}");
        }
    }
}
