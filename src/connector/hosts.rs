//! The part of a URL template that determines the host.

use super::Template;

/// Everything before the path: `https://{team}.acme.example`, or `{instance_url}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTemplate {
    text: String,
}

impl HostTemplate {
    /// Takes a URL template up to the end of its host and port; `https://` is the only scheme it knows.
    pub fn of(template: &Template) -> Self {
        let text = template.to_string();
        let scheme = if text.starts_with("https://") { "https://".len() } else { 0 };
        let end = text[scheme..].find(['/', '?', '#', '\\']).map_or(text.len(), |at| scheme + at);
        Self { text: text[..end].to_owned() }
    }

    /// Returns the template's text, as in `https://{subdomain}.example.com`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The names it holds, in order.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.text.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
    }

    /// The name that is the whole host, as in `{base}` and `https://{host}`.
    pub fn sole_placeholder(&self) -> Option<&str> {
        let bare = self.text.strip_prefix("https://").unwrap_or(&self.text);
        bare.strip_prefix('{')?.strip_suffix('}').filter(|name| !name.contains(['{', '}']))
    }

    /// The literal end that no value can change, if it is a domain below which one party alone gives out names:
    /// `.atlassian.net`.
    pub fn suffix(&self) -> Option<&str> {
        let (_, suffix) = self.text.rsplit_once('}')?;
        (suffix.starts_with('.') && suffix[1..].contains('.') && !suffix.contains(':')).then_some(suffix)
    }
}

/// Whether a pattern of `hosts` is one: a host, `*.` and at least two labels, or `*`.
pub(super) fn is_host_pattern(pattern: &str) -> bool {
    let bare = pattern.strip_prefix("*.").unwrap_or(pattern);
    pattern == "*"
        || (bare.contains('.')
            && bare.split('.').all(|label| !label.is_empty())
            && bare.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c))
            && bare.parse::<std::net::IpAddr>().is_err())
}
