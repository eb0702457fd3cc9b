//! Parses the request to the redirect URI. Pure; used by the listener and `--paste`.
//!
//! Order matters: `state` is compared before anything else of the query is believed, so that a page which sends the
//! browser to the listener can neither end a sign-in nor inject a code (RFC 9700 sections 4.5 and 4.7).

use std::collections::BTreeMap;

use url::form_urlencoded;

use super::{ErrorDescription, OAuthError};
use crate::secret::Secret;

/// What the flow waits for.
#[derive(Clone, Debug)]
pub struct ExpectedCallback {
    pub state: Secret,
    /// The issuer the request went to, where known.
    pub issuer: Option<String>,
    /// The server promised to send `iss` (RFC 9207 section 2.3).
    pub is_iss_required: bool,
}

/// A callback that belongs to the flow.
#[derive(Debug)]
pub struct Callback {
    /// The authorization code, or the fragment's token.
    pub code: Secret,
    /// The whole query, for connectors that keep values of it.
    pub query: BTreeMap<String, String>,
}

/// What a request to the redirect URI means for the flow that waits for it.
#[derive(Debug)]
pub enum CallbackOutcome {
    /// The flow ends: with a code, or with an error.
    Complete(Result<Callback, OAuthError>),
    /// Not of this flow: answered with a reason that names no expected value, and forgotten.
    Ignored(&'static str),
}

/// Judges a callback's query. `token` is the parameter that holds the code: `code`, or what a fragment names its token.
pub fn check_callback(query: &str, expected: &ExpectedCallback, token: &str) -> CallbackOutcome {
    let mut parameters: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if parameters.insert(name.clone().into_owned(), value.into_owned()).is_some()
            && [token, "state", "error", "iss"].contains(&name.as_ref())
        {
            return CallbackOutcome::Ignored("a parameter is repeated");
        }
    }
    match parameters.get("state") {
        Some(state) if constant_time_eq(state, expected.state.expose()) => {}
        Some(_) => return CallbackOutcome::Ignored("its state does not match"),
        None => return CallbackOutcome::Ignored("it has no state"),
    }
    if let Some(issuer) = &expected.issuer {
        let got = parameters.get("iss");
        let wrong = got.map_or(expected.is_iss_required, |got| got != issuer);
        if wrong {
            let got = got.cloned().unwrap_or_default();
            return CallbackOutcome::Complete(Err(OAuthError::IssuerMismatch {
                expected: issuer.clone(),
                received: got,
            }));
        }
    }
    if let Some(code) = parameters.get("error") {
        let description = parameters.get("error_description").and_then(|text| ErrorDescription::new(text));
        return CallbackOutcome::Complete(Err(OAuthError::Denied {
            code: code.chars().take(100).collect(),
            description,
        }));
    }
    match parameters.remove(token).filter(|code| !code.is_empty()) {
        Some(code) => CallbackOutcome::Complete(Ok(Callback { code: Secret::new(code), query: parameters })),
        None => CallbackOutcome::Ignored("it has no code and no error"),
    }
}

/// Compares in constant time.
fn constant_time_eq(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

/// The query of a callback URL that a person pasted, with what its fragment holds: some vendors put the token there and
/// leave `state` in the query. A bare query is taken too.
pub fn parse_pasted_query(text: &str) -> Option<String> {
    let text = text.trim();
    match url::Url::parse(text) {
        Ok(url) => {
            let parts: Vec<&str> = [url.query(), url.fragment()].into_iter().flatten().collect();
            Some(parts.join("&")).filter(|query| !query.is_empty())
        }
        Err(_) => Some(text.trim_start_matches('?').to_owned()).filter(|query| query.contains('=')),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expected(issuer: Option<&str>, issuer_required: bool) -> ExpectedCallback {
        ExpectedCallback {
            state: Secret::from("s3cret-state"),
            issuer: issuer.map(str::to_owned),
            is_iss_required: issuer_required,
        }
    }

    fn ignored(query: &str) -> bool {
        matches!(check_callback(query, &expected(None, false), "code"), CallbackOutcome::Ignored(_))
    }

    #[test]
    fn fault_001_a_wrong_absent_or_empty_state_leaves_the_flow_pending() {
        assert!(ignored("code=a"));
        assert!(ignored("code=a&state="));
        assert!(ignored("code=a&state=other"));
        assert!(ignored("code=a&state=s3cret-statf"));
        assert!(ignored(""));
    }

    #[test]
    fn fault_036_an_error_without_the_state_is_ignored() {
        assert!(ignored("error=access_denied"));
        let verdict = check_callback("error=access_denied&state=s3cret-state", &expected(None, false), "code");
        assert!(
            matches!(verdict, CallbackOutcome::Complete(Err(OAuthError::Denied { code, .. })) if code == "access_denied")
        );
    }

    #[test]
    fn fault_043_a_doubled_parameter_is_refused() {
        assert!(ignored("code=a&code=b&state=s3cret-state"));
        assert!(ignored("code=a&state=s3cret-state&state=s3cret-state"));
    }

    #[test]
    fn faults_002_to_005_the_issuer_must_be_exactly_the_one_asked() {
        let issuer = "https://as.example/t1";
        let judged = |query: &str, required| check_callback(query, &expected(Some(issuer), required), "code");
        let aborts = |verdict| matches!(verdict, CallbackOutcome::Complete(Err(OAuthError::IssuerMismatch { .. })));
        let base = "code=a&state=s3cret-state";
        assert!(aborts(judged(&format!("{base}&iss=https://evil.example"), true)), "2: another issuer");
        assert!(aborts(judged(base, true)), "3: promised and absent");
        assert!(aborts(judged(&format!("{base}&iss=https://evil.example"), false)), "4: not promised, and another");
        assert!(aborts(judged(&format!("{base}&iss=https://as.example/t1/"), false)), "5: a slash more");
        assert!(aborts(judged(&format!("{base}&iss=https://AS.example/t1"), false)), "5: another case");
        assert!(matches!(judged(base, false), CallbackOutcome::Complete(Ok(_))));
        assert!(matches!(judged(&format!("{base}&iss=https://as.example/t1"), true), CallbackOutcome::Complete(Ok(_))));
    }

    #[test]
    fn fault_007_answers_of_two_servers_swapped_both_abort() {
        let one = expected(Some("https://one.example"), true);
        let two = ExpectedCallback { issuer: Some("https://two.example".to_owned()), ..one.clone() };
        let aborts = |query, expected| {
            matches!(
                check_callback(query, expected, "code"),
                CallbackOutcome::Complete(Err(OAuthError::IssuerMismatch { .. }))
            )
        };
        assert!(aborts("code=2&state=s3cret-state&iss=https://two.example", &one));
        assert!(aborts("code=1&state=s3cret-state&iss=https://one.example", &two));
    }

    #[test]
    fn a_pasted_url_or_query_is_read() {
        assert_eq!(parse_pasted_query(" http://localhost:8910/callback?code=a&state=b \n").unwrap(), "code=a&state=b");
        assert_eq!(parse_pasted_query("code=a&state=b").unwrap(), "code=a&state=b");
        assert_eq!(parse_pasted_query("http://localhost/#token=a&state=b").unwrap(), "token=a&state=b");
        let split = "http://localhost:8910/callback?state=b#token=a";
        assert_eq!(parse_pasted_query(split).unwrap(), "state=b&token=a", "field 45: Trello's");
        assert_eq!(parse_pasted_query("http://localhost/callback?code=a&state=b#_=_").unwrap(), "code=a&state=b&_=_");
        assert_eq!(parse_pasted_query("abc"), None);
    }

    proptest! {
        #[test]
        fn no_query_panics_or_passes_without_the_state(query in ".{0,80}") {
            let passed = matches!(check_callback(&query, &expected(None, false), "code"), CallbackOutcome::Complete(_));
            prop_assert!(!passed || query.contains("s3cret-state"));
        }
    }
}
