//! Matches texts against templates, and extracts their values.

use std::collections::BTreeMap;

use crate::connector::{Template, Values};

/// Stand around a name in a filled template; private-use characters, which no connector file has reason to hold.
const OPEN: char = '\u{E000}';
const CLOSE: char = '\u{E001}';

/// The values that a text gives to the names of a pattern.
pub(super) type PathParams = BTreeMap<String, String>;

/// The text of a template with its names marked, its doubled braces undone.
pub(super) fn mark_placeholders(template: &Template) -> String {
    let mut values = Values::default();
    for name in template.placeholders() {
        values.set(name, &format!("{OPEN}{name}{CLOSE}"));
    }
    template.fill(&values).unwrap_or_default()
}

/// The name that a marked text opens with, and what follows it.
pub(super) fn leading_placeholder(marked: &str) -> Option<(&str, &str)> {
    marked.strip_prefix(OPEN)?.split_once(CLOSE)
}

/// A marked path with a name behind it, as a part of its own.
pub(super) fn followed_by(marked: &str, name: &str) -> String {
    format!("{}/{OPEN}{name}{CLOSE}", marked.trim_end_matches('/'))
}

/// The start of a marked path that holds all of these names and ends with one of them as a whole part; absent where it does not.
pub(super) fn through_last(marked: &str, names: &[&String]) -> Option<String> {
    let end_of = |name: &String| {
        let mark = format!("/{OPEN}{name}{CLOSE}");
        marked.find(&mark).map(|at| at + mark.len())
    };
    let ends: Option<Vec<usize>> = names.iter().map(|name| end_of(name)).collect();
    let end = ends?.into_iter().max()?;
    (marked[end..].is_empty() || marked[end..].starts_with('/')).then(|| marked[..end].to_owned())
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PatternPart {
    Literal(String),
    Name(String),
}

/// A path or a header's value with places for values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TemplatePattern(Vec<PatternPart>);

impl TemplatePattern {
    pub(super) fn of(template: &Template) -> Self {
        Self::parse(&mark_placeholders(template))
    }

    pub(super) fn parse(marked: &str) -> Self {
        let mut parts = Vec::new();
        let mut rest = marked;
        while let Some((literal, tail)) = rest.split_once(OPEN) {
            if !literal.is_empty() {
                parts.push(PatternPart::Literal(literal.to_owned()));
            }
            let (name, tail) = tail.split_once(CLOSE).unwrap_or((tail, ""));
            parts.push(PatternPart::Name(name.to_owned()));
            rest = tail;
        }
        if !rest.is_empty() {
            parts.push(PatternPart::Literal(rest.to_owned()));
        }
        Self(parts)
    }

    /// The values of a whole text; absent where it does not fit.
    pub(super) fn match_text(&self, text: &str) -> Option<PathParams> {
        self.scan(text, |value| Some(value.to_owned()))
    }

    /// The values of a path, each within one segment of it and percent-decoded.
    pub(super) fn match_path(&self, path: &str) -> Option<PathParams> {
        self.scan(path, |value| if value.contains('/') { None } else { decode(value) })
    }

    /// One pass without turning back: a value ends where the literal after it first occurs, or, before the last literal,
    /// where the text ends with it.
    fn scan(&self, text: &str, take: impl Fn(&str) -> Option<String>) -> Option<PathParams> {
        let mut captures = PathParams::new();
        let mut rest = text;
        for (at, part) in self.0.iter().enumerate() {
            let name = match part {
                PatternPart::Literal(literal) => {
                    rest = rest.strip_prefix(literal.as_str())?;
                    continue;
                }
                PatternPart::Name(name) => name,
            };
            let end = match &self.0[at + 1..] {
                [] => rest.len(),
                [PatternPart::Literal(last)] => rest.strip_suffix(last.as_str())?.len(),
                [PatternPart::Literal(next), ..] => rest.find(next.as_str())?,
                // Nothing parts two names that touch: the first takes one character.
                [PatternPart::Name(_), ..] => rest.chars().next().map_or(0, char::len_utf8),
            };
            if end == 0 {
                return None;
            }
            captures.insert(name.clone(), take(&rest[..end])?);
            rest = &rest[end..];
        }
        rest.is_empty().then_some(captures)
    }
}

/// Undoes percent-encoding; absent where what comes out is no UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push(hex(*high)? * 16 + hex(*low)?);
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(template: &str) -> TemplatePattern {
        TemplatePattern::of(&Template::parse(template).unwrap())
    }

    #[test]
    fn reads_what_a_template_wrote() {
        let captures = pattern("/bot{token}/getMe").match_path("/bot1:a%2Fb/getMe").unwrap();
        assert_eq!(captures["token"], "1:a/b");
        assert_eq!(pattern("/bot{token}/getMe").match_path("/bot1/x/getMe"), None);
        assert_eq!(pattern("/bot{token}/getMe").match_path("/bot/getMe"), None);
        let captures = pattern("/a/{site}/x/{id}.json").match_path("/a/s/x/b.json.json").unwrap();
        assert_eq!((captures["site"].as_str(), captures["id"].as_str()), ("s", "b.json"));
        assert_eq!(pattern("Bearer {access_token}").match_text("Bearer a b").unwrap()["access_token"], "a b");
        assert_eq!(pattern("{{x}}").match_text("{x}"), Some(PathParams::new()));
    }

    proptest! {
        #[test]
        fn reading_never_panics(path in ".{0,60}") {
            for template in ["/bot{a}/b", "{a}{b}", "{a}é{b}é", "/{a}.json"] {
                let _ = pattern(template).match_path(&path);
                let _ = pattern(template).match_text(&path);
            }
        }
    }
}
