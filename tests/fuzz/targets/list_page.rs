//! A page of a list, read as each stream of the built-in connectors. The first byte says which stream.
#![no_main]

use std::sync::LazyLock;

use integ::connector::{BUILT_IN, Stream, parse};
use integ::json::{Json, JsonType};
use integ::sync::read_page;
use libfuzzer_sys::fuzz_target;

static STREAMS: LazyLock<Vec<Stream>> = LazyLock::new(|| {
    let connectors = BUILT_IN.iter().filter_map(|(_, text)| parse(text).ok());
    connectors.flat_map(|connector| connector.streams.into_values()).collect()
});

fuzz_target!(|data: &[u8]| {
    let [which, body @ ..] = data else { return };
    let stream = &STREAMS[usize::from(*which) % STREAMS.len()];
    for record in read_page(stream, body).unwrap_or_default() {
        let json = Json::validate(&record.json).expect("a record is JSON");
        assert!(json.kind() == JsonType::Object || stream.scalar.is_none(), "a record that is not an object");
    }
});
