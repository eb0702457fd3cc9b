//! A connector file that somebody else wrote. The first two bytes say which built-in file it is spliced into, and where.
#![no_main]

use integ::connector::{BUILT_IN, descriptor, parse, validate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [which, at_high, at_low, rest @ ..] = data else { return };
    let Ok(inserted) = std::str::from_utf8(rest) else { return };
    let at = usize::from(u16::from_be_bytes([*at_high, *at_low]));
    let files = BUILT_IN.len() + 1;
    let text = match BUILT_IN.get(usize::from(*which) % files) {
        Some((_, whole)) => {
            let at = (0..=at.min(whole.len())).rev().find(|at| whole.is_char_boundary(*at)).unwrap_or(0);
            format!("{}{inserted}{}", &whole[..at], &whole[at..])
        }
        None => inserted.to_owned(),
    };
    let mistakes = validate(&text);
    if let Ok(connector) = parse(&text)
        && mistakes.is_empty()
    {
        let _ = descriptor(&connector);
    }
});
