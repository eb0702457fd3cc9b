//! The query that a browser brings to the redirect URI, and the address that a person pastes.
#![no_main]

use integ::oauth::callback::{ExpectedCallback, CallbackOutcome, check_callback, parse_pasted_query};
use libfuzzer_sys::fuzz_target;

const STATE: &str = "s3cret-state";

fuzz_target!(|text: &str| {
    let expected = ExpectedCallback { state: STATE.into(), issuer: Some("https://as.example".to_owned()), issuer_required: false };
    let pasted = parse_pasted_query(text);
    for query in pasted.as_deref().into_iter().chain([text]) {
        let verdict = check_callback(query, &expected, "code");
        assert!(
            matches!(verdict, CallbackOutcome::Ignored(_)) || query.contains("state="),
            "a callback without the flow's state ended the flow"
        );
    }
});
