//! JSON from outside: what is read is read by every reader alike, and what is printed of it is JSON that says the same.
#![no_main]

use integ::json::{self, Json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = json::decode(data, None) else { return };
    let value = json::parse(&text);
    let Ok(checked) = Json::validate(&text) else {
        assert!(value.is_err(), "a tree was made of what is not JSON");
        return;
    };
    let value = value.expect("what was checked has a tree");
    assert!(checked.equals(&value), "the text and its tree differ");
    for printed in [json::minified(checked.as_str()).into_owned(), json::pretty(checked.as_str())] {
        let printed = Json::validate(&printed).expect("what is printed is JSON");
        assert!(printed.equals(&value), "what is printed differs");
    }
});
