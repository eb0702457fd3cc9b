//! The part of a URL template that decides the host.

use thiserror::Error;
use url::Url;

use super::{Auth, Connector, Template, urls};

/// A value that cannot be the host, or the part of one, that a parameter is for.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum HostError {
    #[error("it begins with http://, and the service is only reached by https")]
    NotHttps,
    #[error("it holds a path, and only the host is wanted")]
    Path,
    #[error("it is not a host name")]
    NotAHost,
}

/// Everything before the path: `https://{team}.acme.example`, or `{instance_url}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPart {
    text: String,
}

impl HostPart {
    pub fn of(template: &Template) -> Self {
        let text = template.to_string();
        let scheme = if text.starts_with("https://") { "https://".len() } else { 0 };
        let end = text[scheme..].find(['/', '?', '#', '\\']).map_or(text.len(), |at| scheme + at);
        Self { text: text[..end].to_owned() }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The names it holds, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.text.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
    }

    /// The name that is the whole host, as in `{base}` and `https://{host}`.
    pub fn whole_name(&self) -> Option<&str> {
        let bare = self.text.strip_prefix("https://").unwrap_or(&self.text);
        bare.strip_prefix('{')?.strip_suffix('}').filter(|name| !name.contains(['{', '}']))
    }

    /// Reads what a person gave for `name`, the one name of this host: the value itself, or the address of a page of it,
    /// with the scheme and with what the template adds. For `https://{site}.atlassian.net`, `acme` is read from `acme`,
    /// `acme.atlassian.net` and `https://acme.atlassian.net/`. Absent if the name is not the only one of an https host.
    fn read(&self, name: &str, given: &str) -> Option<Result<String, HostError>> {
        let bare = self.text.strip_prefix("https://")?;
        let (before, after) = bare
            .split_once(&format!("{{{name}}}"))
            .filter(|(before, after)| !before.contains('{') && !after.contains('{'))?;
        Some(read_host(given).and_then(|host| {
            let value = host.strip_suffix(after).filter(|rest| !rest.is_empty()).unwrap_or(host);
            let value = value.strip_prefix(before).filter(|rest| !rest.is_empty()).unwrap_or(value);
            match Url::parse(&format!("https://{before}{value}{after}")) {
                Ok(url) if url.username().is_empty() && url.password().is_none() => Ok(value.to_owned()),
                _ => Err(HostError::NotAHost),
            }
        }))
    }

    /// The literal end that no value can change, if it is a domain below which one party alone gives out names:
    /// `.atlassian.net`.
    pub fn suffix(&self) -> Option<&str> {
        let (_, suffix) = self.text.rsplit_once('}')?;
        (suffix.starts_with('.') && suffix[1..].contains('.') && !suffix.contains(':')).then_some(suffix)
    }
}

/// The host, and a port if there is one, of what may be the URL of a page without a path.
fn read_host(given: &str) -> Result<&str, HostError> {
    let given = given.trim();
    let scheme = given.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    let rest = match scheme.as_deref() {
        None => given,
        Some("https") => &given["https://".len()..],
        Some("http") => return Err(HostError::NotHttps),
        Some(_) => return Err(HostError::NotAHost),
    };
    let host = rest.trim_end_matches('/');
    match host {
        _ if host.contains('/') => Err(HostError::Path),
        "" => Err(HostError::NotAHost),
        _ if host.contains(|c: char| c.is_whitespace() || "?#\\@{}%".contains(c)) => Err(HostError::NotAHost),
        _ => Ok(host),
    }
}

impl Connector {
    /// Reads what a person gave for a parameter. White space around it is dropped. A parameter that is a host, or the part of
    /// one, may be given as the URL of the site; a parameter that is a whole URL is kept as it is.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn read_param(&self, auth_name: &str, auth: &Auth, name: &str, given: &str) -> Result<String, HostError> {
        let hosts = urls(self, auth_name, auth).into_iter().map(|(url, _)| HostPart::of(url));
        let read = hosts.filter_map(|host| host.read(name, given)).next();
        read.unwrap_or_else(|| Ok(given.trim().to_owned()))
    }
}

/// Whether a pattern of `hosts` is one: a host, `*.` and at least two labels, or `*`.
pub(super) fn is_pattern(pattern: &str) -> bool {
    let bare = pattern.strip_prefix("*.").unwrap_or(pattern);
    pattern == "*"
        || (bare.contains('.')
            && bare.split('.').all(|label| !label.is_empty())
            && bare.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c))
            && bare.parse::<std::net::IpAddr>().is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(template: &str, given: &str) -> Option<Result<String, HostError>> {
        HostPart::of(&Template::parse(template).unwrap()).read("site", given)
    }

    #[test]
    fn a_host_is_read_from_the_address_of_its_site() {
        for given in
            ["acme", " acme\n", "acme.atlassian.net", "https://acme.atlassian.net/", "HTTPS://acme.atlassian.net"]
        {
            assert_eq!(read("https://{site}.atlassian.net/rest", given), Some(Ok("acme".to_owned())), "{given}");
        }
        for (given, host) in
            [("git.acme.example", "git.acme.example"), ("https://git.acme.example:8443/", "git.acme.example:8443")]
        {
            assert_eq!(read("https://{site}/api", given), Some(Ok(host.to_owned())), "{given}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused_and_what_is_a_whole_url_is_not_read() {
        for (given, error) in [
            ("http://acme.example", HostError::NotHttps),
            ("https://acme.example/gitlab", HostError::Path),
            ("ftp://acme.example", HostError::NotAHost),
            ("acme.example?x", HostError::NotAHost),
            ("user@acme.example", HostError::NotAHost),
            ("https://", HostError::NotAHost),
            ("", HostError::NotAHost),
        ] {
            assert_eq!(read("https://{site}/api", given), Some(Err(error)), "{given}");
        }
        assert_eq!(read("{site}/token", "https://acme.example/"), None);
        assert_eq!(read("https://{site}.{domain}/api", "acme"), None);
    }
}
