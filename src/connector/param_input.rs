//! Parses values that users type for parameters, including pasted URLs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use url::Url;

use super::capability::url_templates;
use super::{AuthMethod, Connector, HostTemplate, Template, Values};

/// The server that a user chose for an OAuth app: its issuer, else its token URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationServer {
    pub url: String,
    /// The parameter that names it, and its value.
    pub param: String,
    pub value: String,
    /// The connector has a server of its own, which is used where the user names none. An app that was registered without
    /// a server belongs to that one.
    pub has_default: bool,
}

/// Returns the server that the client secret is sent to, where a parameter decides its whole host; absent for the
/// connector's own server.
///
/// Names below a vendor's own domain (`https://{shop}.myshopify.com`) are the vendor's server as well: one app is
/// registered for all of them.
pub fn authorization_server(
    connector: &Connector,
    auth: &AuthMethod,
    params: &BTreeMap<String, String>,
) -> Option<AuthorizationServer> {
    let template = match (&auth.oauth2, &auth.fragment) {
        (Some(rules), _) => rules.issuer.as_ref().or(rules.token_url.as_ref())?,
        (None, Some(fragment)) => &fragment.authorize_url,
        (None, None) => return None,
    };
    let host = HostTemplate::of(template);
    let (name, param) = connector.params(auth).find(|(name, _)| Some(name.as_str()) == host.sole_placeholder())?;
    let value = params.get(name)?;
    if param.default.as_ref() == Some(value) || param.choices.contains(value) {
        return None;
    }
    let mut values = Values::default();
    for (name, param) in connector.params(auth) {
        if let Some(value) = params.get(name).or(param.default.as_ref()) {
            values.set(name, value);
        }
    }
    let url = template.fill_path(&values).ok()?.trim_end_matches('/').to_owned();
    Some(AuthorizationServer { url, param: name.clone(), value: value.clone(), has_default: param.default.is_some() })
}

/// The purposes of URLs that may be paths below the API's base, such as the `check` of `api-key`.
const MAY_BE_PATHS: [&str; 4] = ["health check", "actions", "actions, without credentials", "streams"];

/// The part of a URL that a parameter fills.
#[derive(Debug, PartialEq, Eq)]
enum UrlPart {
    Url,
    Host,
    /// A part of the host, with the literal texts around it.
    Label(String, String),
}

fn url_part(template: &Template, name: &str) -> Option<UrlPart> {
    let host = HostTemplate::of(template);
    let braced = format!("{{{name}}}");
    let Some(bare) = host.text().strip_prefix("https://") else {
        return (host.text() == braced).then_some(UrlPart::Url);
    };
    let (before, after) = bare.split_once(&braced)?;
    let literal = !before.contains('{') && !after.contains('{');
    match (before.is_empty(), after.is_empty()) {
        (true, true) => Some(UrlPart::Host),
        _ => literal.then(|| UrlPart::Label(before.to_owned(), after.to_owned())),
    }
}

/// Reads a value as it was typed or pasted for a parameter: without surrounding white space, and where the connector wants
/// a host or a part of one, also from a whole URL. An issuer may be pasted as the URL of its metadata.
///
/// # Errors
/// What the value should be, in words.
pub fn parse_param(
    connector: &Connector,
    auth_name: &str,
    auth: &AuthMethod,
    name: &str,
    text: &str,
) -> Result<String, &'static str> {
    let text = text.trim();
    let mut whole =
        url_templates(connector, auth_name, auth).into_iter().filter(|(_, purpose)| !MAY_BE_PATHS.contains(purpose));
    let place = whole.find_map(|(template, _)| url_part(template, name));
    match place {
        None => Ok(text.to_owned()),
        Some(UrlPart::Url) => {
            let text = &*with_scheme(text);
            let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            url.ok_or("a URL that begins with https://")?;
            let issuer = auth.oauth2.as_ref().and_then(|rules| rules.issuer.as_ref());
            let is_issuer = issuer.is_some_and(|issuer| HostTemplate::of(issuer).sole_placeholder() == Some(name));
            Ok(if is_issuer { issuer_from_url(text) } else { text.to_owned() })
        }
        Some(UrlPart::Host) => read_host(text).ok_or("a host without a path"),
        Some(UrlPart::Label(before, after)) => {
            read_label(text, &before, &after).ok_or("a name that is one part of the host")
        }
    }
}

/// Returns the issuer with its metadata at a URL (RFC 8414 section 3.1, OpenID Connect Discovery 1.0 section 4); any
/// other URL is an issuer already.
pub fn issuer_from_url(text: &str) -> String {
    for document in ["oauth-authorization-server", "openid-configuration"] {
        if let Some((before, after)) = text.split_once(&format!("/.well-known/{document}"))
            && (after.is_empty() || after.starts_with('/'))
        {
            return format!("{before}{}", after.trim_end_matches('/'));
        }
    }
    text.to_owned()
}

/// An address as people write it: `git.example.com/gitlab` is https. What has no dot in its host is left alone.
fn with_scheme(text: &str) -> Cow<'_, str> {
    let host = text.split('/').next().unwrap_or_default();
    let is_bare = host.contains('.') && !host.contains(':') && read_host(host).is_some();
    if is_bare { Cow::Owned(format!("https://{text}")) } else { Cow::Borrowed(text) }
}

fn read_host(text: &str) -> Option<String> {
    let bare = match text.split_once("://") {
        Some(("https", rest)) => rest,
        Some(_) => return None,
        None => text,
    };
    let bare = bare.trim_end_matches('/');
    let url = Url::parse(&format!("https://{bare}")).ok()?;
    let plain = !bare.contains(['/', '?', '#', '@', '\\', '%']) && !bare.contains(char::is_whitespace);
    (plain && url.has_host()).then(|| bare.to_owned())
}

fn read_label(text: &str, before: &str, after: &str) -> Option<String> {
    let address = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = address.split(['/', '?', '#']).next().unwrap_or_default();
    let label = match host.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)) {
        Some(label) => label,
        // Another host, or a path, names no part of this one.
        None => Some(text).filter(|text| *text == host)?,
    };
    let plain = !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    plain.then(|| label.to_owned())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    fn connector(url: &str) -> Connector {
        let text = format!(
            "id='x'\nname='X'\ncategory='generic'\ndescription=''\ndocs=''\n[params.it]\nprompt='It'\n\
             [auth.o]\nlabel='o'\n[auth.o.oauth2]\nauthorize_url='{url}/authorize'\ntoken_url='{url}/token'"
        );
        Connector::deserialize(text.parse::<toml::Table>().unwrap()).unwrap()
    }

    fn read(url: &str, text: &str) -> Option<String> {
        let connector = connector(url);
        parse_param(&connector, "o", &connector.auth["o"], "it", text).ok()
    }

    #[test]
    fn a_host_is_read_from_a_pasted_url() {
        let host = |text| read("https://{it}", text);
        for text in ["git.corp.example", " git.corp.example\n", "https://git.corp.example", "https://git.corp.example/"]
        {
            assert_eq!(host(text).as_deref(), Some("git.corp.example"), "{text:?}");
        }
        assert_eq!(host("git.corp.example:8443/").as_deref(), Some("git.corp.example:8443"));
        for text in ["http://git.corp.example", "https://corp.example/gitlab", "a@b.example", "a b", "", "x?y", "/"] {
            assert_eq!(host(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_part_of_a_host_is_read_from_a_pasted_url() {
        let label = |text| read("https://{it}.acme.example", text);
        for text in
            ["shop", "shop\n", "shop.acme.example", "https://shop.acme.example/admin", "https://shop.acme.example"]
        {
            assert_eq!(label(text).as_deref(), Some("shop"), "{text:?}");
        }
        for text in ["https://shop.other.example", "shop/admin", "", "https://", "sh op", "https://acme.example"] {
            assert_eq!(label(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_url_keeps_its_last_slash() {
        assert_eq!(read("{it}", " https://as.example/o/ ").as_deref(), Some("https://as.example/o/"));
        assert_eq!(read("{it}", "as.example/o").as_deref(), Some("https://as.example/o"));
        for text in ["as", "ftp://as.example", "user@as.example", "as.example:80", "a b.example", "/", ""] {
            assert_eq!(read("{it}", text), None, "{text:?}");
        }
    }

    #[test]
    fn an_issuer_is_read_from_the_url_of_its_metadata() {
        for (url, issuer) in [
            ("https://as.example/.well-known/openid-configuration", "https://as.example"),
            ("https://as.example/t/.well-known/openid-configuration", "https://as.example/t"),
            ("https://as.example/.well-known/oauth-authorization-server/t/one", "https://as.example/t/one"),
            ("https://as.example/t/", "https://as.example/t/"),
        ] {
            assert_eq!(issuer_from_url(url), issuer);
        }
    }

    #[test]
    fn an_app_belongs_to_the_server_that_the_user_names() {
        let server = |url: &str, it: &str| {
            let connector = connector(url);
            let params = BTreeMap::from([("it".to_owned(), it.to_owned())]);
            authorization_server(&connector, &connector.auth["o"], &params).map(|server| server.url)
        };
        assert_eq!(server("https://{it}", "git.example").as_deref(), Some("https://git.example/token"));
        assert_eq!(server("{it}", "https://as.example/").as_deref(), Some("https://as.example/token"));
        assert_eq!(server("https://{it}.acme.example", "shop"), None);
        assert_eq!(server("https://acme.example", "x"), None);
    }
}
