//! Types of events, `invoice.paid`, and the patterns that choose among them, `invoice.*`.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// Nobody writes a longer one by intention.
const LONGEST: usize = 128;

/// Words separated by dots, from the general to the special (Standard Webhooks, section "Event types").
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventType(String);

/// Which types are wanted: one, those below a prefix, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventPattern {
    All,
    /// With the dot at its end.
    Prefix(String),
    Exact(EventType),
}

impl EventType {
    /// Returns the whole type, such as `invoice.paid`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EventType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word =
            |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if text.len() <= LONGEST && text.split('.').all(word) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is not an event type such as invoice.paid"))
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl EventPattern {
    /// Whether the pattern covers a type; `invoice.*` covers `invoice.paid` and `invoice.paid.late`, but not `invoice`.
    pub fn matches(&self, kind: &EventType) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(prefix) => kind.0.starts_with(prefix.as_str()),
            Self::Exact(one) => one == kind,
        }
    }
}

impl FromStr for EventPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |_| format!("{text:?} is not an event pattern: use invoice.paid, invoice.* or *");
        match text.strip_suffix(".*") {
            _ if text == "*" => Ok(Self::All),
            Some(prefix) => EventType::from_str(prefix).map(|prefix| Self::Prefix(format!("{prefix}."))).map_err(wrong),
            None => EventType::from_str(text).map(Self::Exact).map_err(wrong),
        }
    }
}

impl fmt::Display for EventPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Exact(one) => one.fmt(f),
        }
    }
}

/// Whether a vendor's type is the one that is wanted; `charge.*` stands for all that begin so. Vendors write types as they
/// like (`Push Hook`), so that no pattern is refused.
pub fn matches_type(wanted: &str, kind: &str) -> bool {
    wanted.strip_suffix('*').map_or(wanted == kind, |start| kind.starts_with(start))
}

/// An event type of the workspace's catalogue; if there is a `sample`, the data of messages must resemble it.
#[derive(Clone, Debug, PartialEq)]
pub struct EventTypeDefinition {
    pub kind: String,
    pub description: String,
    pub sample: Option<Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, kind: &str) -> bool {
        EventPattern::from_str(pattern).unwrap().matches(&kind.parse().unwrap())
    }

    #[test]
    fn a_pattern_is_one_type_those_below_a_prefix_or_all() {
        assert!(matches("*", "invoice.paid") && matches("invoice.paid", "invoice.paid"));
        assert!(matches("invoice.*", "invoice.paid") && matches("invoice.*", "invoice.paid.late"));
        assert!(!matches("invoice.*", "invoice") && !matches("invoice.*", "invoices.paid"));
        assert!(!matches("invoice.paid", "invoice.paid.late") && !matches("invoice", "invoice.paid"));
        for text in ["*", "a.*", "a.b_c.*", "a-b"] {
            assert_eq!(EventPattern::from_str(text).unwrap().to_string(), text);
        }
        for bad in ["", ".", "a.", ".a", "a..b", "**", "a*", "*.a", "a.*.b", "é", "a b", "a\n", ".*"] {
            assert!(EventPattern::from_str(bad).is_err(), "{bad:?}");
            assert!(EventType::from_str(bad).is_err(), "{bad:?}");
        }
        assert!(EventType::from_str(&"a".repeat(129)).is_err());
    }
}
