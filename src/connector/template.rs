//! The template language of connector files: `{name}` is replaced by a value, `{{` and `}}` are braces.
//!
//! Values come from the user, from the vendor and from the vault. In a URL each is percent-encoded for the place it
//! stands in, so that no value can change the host or add a parameter; one that opens a URL template is itself a URL.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;
use url::Url;

use crate::secret::Secret;

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", extend("format" = Template::FORMAT))]
pub struct Template {
    text: String,
    parts: Vec<TemplatePart>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TemplatePart {
    Literal(String),
    Name(String),
}

/// Why a template cannot be parsed or filled; positions count bytes from 1.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TemplateError {
    #[error("'{{' at character {0} is never closed; write '{{{{' for a brace")]
    Unclosed(usize),
    #[error("'}}' at character {0} closes nothing; write '}}}}' for a brace")]
    UnmatchedClose(usize),
    #[error("{{{}}} is not a name: use lower-case letters, digits and '_'{}", .0, brace_note(.0))]
    InvalidName(String),
    #[error("{{{0}}} has no value")]
    MissingValue(String),
    #[error("{0:?} is not an http or https URL")]
    InvalidUrl(String),
    #[error("the value of {{{0}}} contains a line break")]
    LineBreak(String),
    #[error("the value of {{{0}}} is empty or dots, which would name another path")]
    InvalidPathSegment(String),
}

/// Says how to write a brace, if what is in braces does not look like a name but like JSON or a query.
fn brace_note(name: &str) -> &'static str {
    if name.contains([' ', '\n', '"', '(', ':']) { "; for a brace, write '{{' and '}}'" } else { "" }
}

/// The values that templates may name. Those of a kind that is secret stay wrapped until a request is built.
#[derive(Clone, Debug, Default)]
pub struct Values(BTreeMap<String, Secret>);

impl Values {
    /// Sets a value, in place of one of the same name.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.0.insert(name.to_owned(), Secret::from(value));
        self
    }

    /// Sets several values, as [`set`](Self::set) does.
    pub fn extend<'a>(&mut self, values: impl IntoIterator<Item = (&'a String, &'a String)>) -> &mut Self {
        for (name, value) in values {
            self.set(name, value);
        }
        self
    }

    /// Returns the value of a name, which may be secret.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.expose().as_str())
    }
}

impl Template {
    /// How the schema marks the strings that are templates.
    pub(super) const FORMAT: &str = "template";

    /// # Errors
    /// [`TemplateError`] for a brace without its partner or a name that is none.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '{' | '}' if chars.next_if(|(_, next)| *next == c).is_some() => literal.push(c),
                '}' => return Err(TemplateError::UnmatchedClose(at + 1)),
                '{' => {
                    let mut name = String::new();
                    loop {
                        match chars.next() {
                            Some((_, '}')) => break,
                            Some((_, c)) => name.push(c),
                            None => return Err(TemplateError::Unclosed(at + 1)),
                        }
                    }
                    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
                    if name.is_empty() || !name.chars().all(valid) {
                        return Err(TemplateError::InvalidName(name));
                    }
                    if !literal.is_empty() {
                        parts.push(TemplatePart::Literal(std::mem::take(&mut literal)));
                    }
                    parts.push(TemplatePart::Name(name));
                }
                c => literal.push(c),
            }
        }
        if !literal.is_empty() {
            parts.push(TemplatePart::Literal(literal));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The names it uses, in order.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            TemplatePart::Name(name) => Some(name.as_str()),
            TemplatePart::Literal(_) => None,
        })
    }

    /// The first two names with nothing between them: their values could not be separated again.
    pub fn adjacent_placeholders(&self) -> Option<(&str, &str)> {
        self.parts.windows(2).find_map(|pair| match pair {
            [TemplatePart::Name(first), TemplatePart::Name(second)] => Some((first.as_str(), second.as_str())),
            _ => None,
        })
    }

    /// Whether every name has a value.
    pub fn is_complete(&self, values: &Values) -> bool {
        self.placeholders().all(|name| values.get(name).is_some())
    }

    /// The text with its values, for bodies and headers.
    ///
    /// # Errors
    /// [`TemplateError::MissingValue`]; [`TemplateError::LineBreak`] for a value that would end a header.
    pub fn fill(&self, values: &Values) -> Result<String, TemplateError> {
        self.fill_with(values, |_, value| Cow::Borrowed(value))
    }

    /// The bytes with its values, for what is signed: a body is any bytes.
    ///
    /// # Errors
    /// [`TemplateError::MissingValue`].
    pub fn fill_bytes<'v>(&self, value: impl Fn(&str) -> Option<Cow<'v, [u8]>>) -> Result<Vec<u8>, TemplateError> {
        let mut out = Vec::new();
        for part in &self.parts {
            match part {
                TemplatePart::Literal(text) => out.extend_from_slice(text.as_bytes()),
                TemplatePart::Name(name) => {
                    out.extend_from_slice(&value(name).ok_or_else(|| TemplateError::MissingValue(name.clone()))?);
                }
            }
        }
        Ok(out)
    }

    /// What a text holds in the place of the template's one name; absent where the text is of another form.
    pub fn extract<'t>(&self, text: &'t str) -> Option<&'t str> {
        use TemplatePart::{Literal, Name};
        match self.parts.as_slice() {
            [Name(_)] => Some(text),
            [Literal(before), Name(_)] => text.strip_prefix(before.as_str()),
            [Name(_), Literal(after)] => text.strip_suffix(after.as_str()),
            [Literal(before), Name(_), Literal(after)] => {
                text.strip_prefix(before.as_str())?.strip_suffix(after.as_str())
            }
            _ => None,
        }
    }

    /// The URL with its values, each encoded for its place.
    ///
    /// # Errors
    /// [`TemplateError::InvalidUrl`] where no http or https URL comes out of it, [`TemplateError::MissingValue`].
    pub fn fill_url(&self, values: &Values) -> Result<Url, TemplateError> {
        let text = self.fill_path(values)?;
        match Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
            _ => Err(TemplateError::InvalidUrl(self.text.clone())),
        }
    }

    /// The part of a URL with its values, each encoded for its place.
    ///
    /// # Errors
    /// [`TemplateError::MissingValue`]; [`TemplateError::InvalidPathSegment`] for a value that would name another path.
    pub fn fill_path(&self, values: &Values) -> Result<String, TemplateError> {
        // A URL's parser goes up at `..` even where it is percent-encoded, and a path without a part is another path.
        let elsewhere = |value: &str| value.is_empty() || value.bytes().all(|byte| byte == b'.');
        let name = self.placeholders().find(|name| values.get(name).is_some_and(elsewhere));
        if let Some(name) = name {
            return Err(TemplateError::InvalidPathSegment(name.to_owned()));
        }
        // Where no path follows, a URL is sent and signed as it was typed: `/token` and `/token/` are two paths.
        let path_follows = matches!(self.parts.get(1), Some(TemplatePart::Literal(text)) if text.starts_with('/'));
        self.fill_with(values, |before, value| match before {
            "" if path_follows => Cow::Borrowed(value.trim_end_matches('/')),
            "" => Cow::Borrowed(value),
            _ => Cow::Owned(encode(value)),
        })
    }

    /// The scheme, host and port that it leads to, whatever its path is; absent where it is a path alone, or names
    /// a value before its path that is not there.
    pub fn origin(&self, values: &Values) -> Option<Url> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                TemplatePart::Literal(literal) => text.push_str(literal),
                TemplatePart::Name(name) => match values.get(name) {
                    Some(value) if text.is_empty() => text.push_str(value),
                    Some(value) => text.push_str(&encode(value)),
                    None => break,
                },
            }
            // The path begins at the third slash.
            if text.matches('/').count() > 2 {
                break;
            }
        }
        let slashes = text.match_indices('/').nth(2).map(|(at, _)| at);
        let whole = slashes.is_some()
            || self.parts.iter().all(|part| match part {
                TemplatePart::Literal(_) => true,
                TemplatePart::Name(name) => values.get(name).is_some(),
            });
        let url = Url::parse(&text[..slashes.unwrap_or(text.len())]).ok()?;
        (whole && matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
    }

    fn fill_with(
        &self,
        values: &Values,
        encode: impl for<'v> Fn(&str, &'v str) -> Cow<'v, str>,
    ) -> Result<String, TemplateError> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                TemplatePart::Literal(text) => out.push_str(text),
                TemplatePart::Name(name) => {
                    let value = values.get(name).ok_or_else(|| TemplateError::MissingValue(name.clone()))?;
                    if value.contains(['\r', '\n', '\0']) {
                        return Err(TemplateError::LineBreak(name.clone()));
                    }
                    let encoded = encode(&out, value);
                    out.push_str(&encoded);
                }
            }
        }
        Ok(out)
    }
}

/// Strings that stand for a number, not for a text of digits.
const NUMBERS: &[&str] = &["{now}", "{now_ms}", "{n}", "{number}", "{created}", "{created_ms}", "{amount}"];

/// A document whose texts are templates, with their values. A text that is nothing but the placeholder of a number, such as
/// `{now}`, becomes a number.
///
/// # Errors
/// [`TemplateError`].
pub fn fill_document(document: &Value, values: &Values) -> Result<Value, TemplateError> {
    Ok(match document {
        Value::String(text) if NUMBERS.contains(&text.as_str()) => {
            let name = text.trim_matches(['{', '}']);
            let number = values.get(name).and_then(|text| text.parse::<i64>().ok());
            number.map_or(Value::Null, Value::from)
        }
        Value::String(text) => Value::String(Template::parse(text)?.fill(values)?),
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| fill_document(item, values)).collect::<Result<_, _>>()?)
        }
        Value::Object(members) => {
            let filled = members.iter().map(|(name, inner)| Ok((name.clone(), fill_document(inner, values)?)));
            Value::Object(filled.collect::<Result<_, TemplateError>>()?)
        }
        other => other.clone(),
    })
}

/// Percent-encodes all but the unreserved characters and `:`, which bot tokens and ports hold and no URL part ends at.
fn encode(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

impl TryFrom<String> for Template {
    type Error = TemplateError;

    fn try_from(text: String) -> Result<Self, TemplateError> {
        Self::parse(&text)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(pairs: &[(&str, &str)]) -> Values {
        let mut values = Values::default();
        for (name, value) in pairs {
            values.set(name, value);
        }
        values
    }

    #[test]
    fn fills_names_and_keeps_braces() {
        let template = Template::parse("{{{a}}} {b}").unwrap();
        assert_eq!(template.fill(&values(&[("a", "1"), ("b", "{c}")])).unwrap(), "{1} {c}");
    }

    #[test]
    fn says_where_it_is_wrong() {
        assert_eq!(Template::parse("ab{c").unwrap_err(), TemplateError::Unclosed(3));
        assert_eq!(Template::parse("a}").unwrap_err(), TemplateError::UnmatchedClose(2));
        assert_eq!(Template::parse("{A b}").unwrap_err(), TemplateError::InvalidName("A b".to_owned()));
        let query = Template::parse("{ viewer { id } }").unwrap_err().to_string();
        assert!(query.ends_with("for a brace, write '{{' and '}}'"), "{query}");
        assert!(Template::parse("{Abc}").unwrap_err().to_string().ends_with("digits and '_'"));
    }

    #[test]
    fn a_value_cannot_leave_its_place_in_a_url() {
        let template = Template::parse("https://{site}.example.net/bot{token}/x?q={token}").unwrap();
        let url = template.fill_url(&values(&[("site", "acme"), ("token", "1:a/../b?c=d#e&f")])).unwrap();
        assert_eq!(
            url.as_str(),
            "https://acme.example.net/bot1:a%2F..%2Fb%3Fc%3Dd%23e%26f/x?q=1:a%2F..%2Fb%3Fc%3Dd%23e%26f"
        );
        for hostile in ["evil.com/", "evil.com#", "evil.com\\", "u@evil.com", "evil.com?"] {
            assert!(template.fill_url(&values(&[("site", hostile), ("token", "t")])).is_err(), "{hostile}");
        }
    }

    #[test]
    fn a_value_cannot_leave_its_folder() {
        let template = Template::parse("https://api.example.com/repos/{repo}/issues").unwrap();
        for hostile in ["..", ".", ""] {
            let filled = template.fill_url(&values(&[("repo", hostile)]));
            assert_eq!(filled.unwrap_err(), TemplateError::InvalidPathSegment("repo".to_owned()), "{hostile:?}");
        }
        let url = template.fill_url(&values(&[("repo", "%2e%2e/..")])).unwrap();
        assert_eq!(url.path(), "/repos/%252e%252e%2F../issues");
    }

    #[test]
    fn the_host_is_known_without_the_path() {
        let host = |template: &str, pairs: &[(&str, &str)]| {
            Template::parse(template).unwrap().origin(&values(pairs)).map(|url| url.as_str().to_owned())
        };
        assert_eq!(host("https://{site}.example.net/x/{id}", &[("site", "a")]).unwrap(), "https://a.example.net/");
        assert_eq!(host("{base}/x", &[("base", "https://b.example:8443/v1")]).unwrap(), "https://b.example:8443/");
        assert_eq!(host("https://api.example.com", &[]).unwrap(), "https://api.example.com/");
        assert_eq!(host("https://{site}.example.net/x", &[]), None);
        assert_eq!(host("https://api.example.com{rest}", &[]), None);
        assert_eq!(host("/x/{id}", &[]), None);
    }

    #[test]
    fn a_value_that_opens_a_url_is_a_url() {
        let template = Template::parse("{instance_url}/services").unwrap();
        let filled = template.fill_url(&values(&[("instance_url", "https://na1.example.com/")])).unwrap();
        assert_eq!(filled.as_str(), "https://na1.example.com/services");
        let whole = Template::parse("{token_url}").unwrap();
        for url in ["https://as.example/o/token/", "https://as.example/o/token", "https://as.example/"] {
            assert_eq!(whole.fill_url(&values(&[("token_url", url)])).unwrap().as_str(), url);
        }
        assert!(template.fill_url(&values(&[("instance_url", "javascript:alert(1)")])).is_err());
        assert!(template.fill_url(&values(&[("instance_url", "file:///etc/passwd")])).is_err());
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,64}") {
            let _ = Template::parse(&text);
        }

        #[test]
        fn no_value_changes_the_host(value in ".{0,32}") {
            let template = Template::parse("https://api.example.com/x/{v}").unwrap();
            if let Ok(url) = template.fill_url(&values(&[("v", &value)])) {
                prop_assert_eq!(url.host_str(), Some("api.example.com"));
            }
        }
    }
}
