//! Event types such as `invoice.paid`, and patterns such as `invoice.*`.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// A longer one is a mistake.
const LONGEST: usize = 128;

/// Words separated by dots, from the general to the special (Standard Webhooks, section "Event types").
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventType(String);

/// A choice among the user's own event types: `invoice.paid`, `invoice.*` or `*`, matched by [`matches_type`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPattern(String);

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
    /// Returns the pattern that covers every type.
    pub fn all() -> Self {
        Self("*".to_owned())
    }

    /// Whether the pattern covers a type.
    pub fn matches(&self, kind: &EventType) -> bool {
        matches_type(&self.0, &kind.0)
    }
}

impl FromStr for EventPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A type with the stars taken for letters.
        let is_pattern = !text.contains("**") && EventType::from_str(&text.replace('*', "x")).is_ok();
        if is_pattern {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is not an event pattern: use invoice.paid, invoice.* or *"))
        }
    }
}

impl fmt::Display for EventPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a pattern covers an event type: wherever types are chosen, `*` matches any text, dots and nothing included.
///
/// `invoice.*` covers `invoice.paid` and `invoice.paid.late` but not `invoice`, and `*.failed` all that ends so. Vendors name
/// types as they like (`Push Hook`), so no pattern is refused. Pure.
pub fn matches_type(pattern: &str, kind: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(last) = parts.next_back() else { return pattern == kind };
    let Some(mut rest) = kind.strip_prefix(first) else { return false };
    // Each at the first place where it is found leaves the most to those after it.
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Whether any of these patterns covers a type; no pattern at all covers every type.
pub fn matches_any_type(patterns: &[String], kind: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| matches_type(pattern, kind))
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
    fn a_pattern_is_one_type_or_has_stars_for_any_text() {
        assert!(matches("*", "invoice.paid") && matches("invoice.paid", "invoice.paid"));
        assert!(matches("invoice.*", "invoice.paid") && matches("invoice.*", "invoice.paid.late"));
        assert!(
            matches("*.paid", "invoice.paid") && matches("in*.*d", "invoice.paid") && matches("invoice*", "invoice")
        );
        assert!(!matches("invoice.*", "invoice") && !matches("invoice.*", "invoices.paid"));
        assert!(!matches("invoice.paid", "invoice.paid.late") && !matches("invoice", "invoice.paid"));
        assert!(!matches("*.paid", "invoice.paid.late") && !matches("a*a", "a"), "a letter is used once");
        for text in ["*", "a.*", "a.b_c.*", "a-b", "a*", "*.a", "a.*.b"] {
            assert_eq!(EventPattern::from_str(text).unwrap().to_string(), text);
        }
        for bad in ["", ".", "a.", ".a", "a..b", "**", "é", "a b", "a\n", ".*"] {
            assert!(EventPattern::from_str(bad).is_err(), "{bad:?}");
            assert!(EventType::from_str(bad).is_err(), "{bad:?}");
        }
        assert!(EventType::from_str(&"a".repeat(129)).is_err());
    }

    #[test]
    fn vendors_types_are_matched_as_they_are_written() {
        assert!(matches_type("Push *", "Push Hook") && matches_type("*", "") && matches_type("Ä*", "Äé"));
        assert!(!matches_type("push *", "Push Hook") && !matches_type("", "a"));
        assert!(matches_any_type(&[], "a") && !matches_any_type(&["b".to_owned()], "a"));
    }
}
