//! The cookies of the dashboard: the session, and a notice that is shown once.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::config::ServeConfig;
use crate::http::serve::{FullResponse, header};
use crate::model::SESSION_LIFETIME;
use crate::secret::Secret;

const NOTICE: &str = "integ_notice";

/// Characters of a notice at most: cookies have little room.
const MAX_NOTICE_CHARS: usize = 300;

/// What the cookies are called, and who gets them.
pub(super) struct Cookies {
    session: String,
    attributes: String,
}

/// What a form has led to, for the page that is shown next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice(pub(super) String);

impl Notice {
    /// Reads the notice of a request.
    pub(super) fn of(cookies: &str) -> Option<Self> {
        let text = percent_decode_str(find(cookies, NOTICE)?).decode_utf8().ok()?;
        Some(Self(text.chars().filter(|c| !c.is_control()).take(MAX_NOTICE_CHARS).collect()))
    }
}

impl Cookies {
    /// Under https, the prefix keeps other hosts of the domain from setting the session, or at least pages without https (RFC
    /// 6265bis, section 4.1.3), if a proxy has other programs beside the path. Under http the name has the port, which cookies do
    /// not distinguish.
    pub(super) fn new(settings: &ServeConfig) -> Self {
        let is_https = settings.public_url.as_ref().is_some_and(|url| url.scheme() == "https");
        let session = match (is_https, settings.base_path()) {
            (true, "") => "__Host-integ_session".to_owned(),
            (true, _) => "__Secure-integ_session".to_owned(),
            (false, _) => format!("integ_session_{}", settings.bind.port()),
        };
        let path = if settings.base_path().is_empty() { "/" } else { settings.base_path() };
        let secure = if is_https { "; Secure" } else { "" };
        Self { session, attributes: format!("; Path={path}{secure}; HttpOnly; SameSite=Lax") }
    }

    /// Returns the secret of the session of a request.
    pub(super) fn session(&self, cookies: &str) -> Option<Secret> {
        find(cookies, &self.session).map(|value| Secret::new(value.to_owned()))
    }

    /// Starts a session in the browser.
    pub(super) fn with_session(&self, response: FullResponse, secret: &Secret) -> FullResponse {
        let age = SESSION_LIFETIME.as_secs();
        self.set(response, &format!("{}={}; Max-Age={age}", self.session, secret.expose()))
    }

    /// Ends the session in the browser.
    pub(super) fn without_session(&self, response: FullResponse) -> FullResponse {
        self.set(response, &format!("{}=; Max-Age=0", self.session))
    }

    /// Adds a notice for the next page.
    pub(super) fn with_notice(&self, response: FullResponse, text: &str) -> FullResponse {
        let text: String = text.chars().take(MAX_NOTICE_CHARS).collect();
        let text = utf8_percent_encode(&text, NON_ALPHANUMERIC);
        self.set(response, &format!("{NOTICE}={text}; Max-Age=60"))
    }

    /// Removes the notice that was shown.
    pub(super) fn without_notice(&self, response: FullResponse) -> FullResponse {
        self.set(response, &format!("{NOTICE}=; Max-Age=0"))
    }

    fn set(&self, mut response: FullResponse, cookie: &str) -> FullResponse {
        if let Ok(value) = header::HeaderValue::try_from(format!("{cookie}{}", self.attributes)) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
        response
    }
}

/// Returns the value of a cookie.
fn find<'c>(cookies: &'c str, name: &str) -> Option<&'c str> {
    let pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(known, _)| *known == name).map(|(_, value)| value);
    values.next().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::serve::plain;
    use hyper::StatusCode;

    fn cookies(public_url: Option<&str>) -> Cookies {
        let public_url = public_url.map(|url| url.parse().unwrap());
        Cookies::new(&ServeConfig { public_url, ..ServeConfig::default() })
    }

    fn set_cookies(response: &FullResponse) -> Vec<&str> {
        response.headers().get_all(header::SET_COOKIE).iter().map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn a_session_of_https_cannot_be_set_by_another_host() {
        let https = cookies(Some("https://integ.example/"));
        let response = https.with_session(plain(StatusCode::OK, ""), &Secret::new("s".to_owned()));
        let expected = "__Host-integ_session=s; Max-Age=43200; Path=/; Secure; HttpOnly; SameSite=Lax";
        assert_eq!(set_cookies(&response), [expected]);
        let below = cookies(Some("https://integ.example/integ/"));
        let response = below.with_session(plain(StatusCode::OK, ""), &Secret::new("s".to_owned()));
        let expected = "__Secure-integ_session=s; Max-Age=43200; Path=/integ; Secure; HttpOnly; SameSite=Lax";
        assert_eq!(set_cookies(&response), [expected]);
        let http = cookies(None);
        let response = http.with_session(plain(StatusCode::OK, ""), &Secret::new("s".to_owned()));
        assert_eq!(set_cookies(&response), ["integ_session_7420=s; Max-Age=43200; Path=/; HttpOnly; SameSite=Lax"]);
        assert_eq!(http.session("a=b; integ_session_7420=s; c").unwrap().expose(), "s");
        assert!(http.session("__Host-integ_session=s; integ_session_7420=").is_none());
    }

    #[test]
    fn a_notice_is_text_of_a_cookie() {
        let response = cookies(None).with_notice(plain(StatusCode::OK, ""), "a; <b>\u{e9}");
        let cookie = set_cookies(&response)[0].split(';').next().unwrap().to_owned();
        assert_eq!(Notice::of(&cookie), Some(Notice("a; <b>\u{e9}".to_owned())));
        assert_eq!(Notice::of("integ_notice=%ff"), None);
        assert_eq!(Notice::of("integ_notice=a%0ab"), Some(Notice("ab".to_owned())));
    }
}
