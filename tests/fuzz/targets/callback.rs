//! The query that a browser brings to the redirect URI, and the address that a person pastes.
#![no_main]

use integ::oauth::callback::{Expected, Verdict, judge, pasted_query};
use libfuzzer_sys::fuzz_target;

const STATE: &str = "s3cret-state";

fuzz_target!(|text: &str| {
    let expected = Expected { state: STATE.into(), issuer: Some("https://as.example".to_owned()), issuer_required: false };
    let pasted = pasted_query(text);
    for query in pasted.as_deref().into_iter().chain([text]) {
        let verdict = judge(query, &expected, "code");
        assert!(
            matches!(verdict, Verdict::Ignored(_)) || query.contains("state="),
            "a callback without the flow's state ended the flow"
        );
    }
});
