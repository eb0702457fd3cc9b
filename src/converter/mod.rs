//! Converters: what bindings need that jq does not have. Times and time zones, money, lookup tables, regular expressions,
//! hashes. Pure, and each takes time in proportion to its input.
//!
//! [`crate::jq`] adds them to jq as functions, so that `--jq` has them as well. Bindings run them without jq where they
//! follow a plain path.

mod money;
mod text;
mod time;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::hash;
use crate::json::{Json, JsonType};

pub(crate) use text::quoted;

/// Names and numbers of arguments of the converters, with what each does.
pub const CONVERTERS: &[(&str, usize, &str)] = &[
    ("date_in", 1, "the date of a time in a time zone"),
    ("extract", 1, "the part of a text that a regular expression matches, or its first group"),
    ("format_time", 2, "a time as text, in a strftime format and a time zone"),
    ("hmac_sha256", 1, "the HMAC-SHA256 of a text under a key, in hexadecimal"),
    ("in_zone", 1, "a time with the offset of a time zone"),
    ("lookup", 1, "the value for a text in a table of the binding"),
    ("lower", 0, "a text in lower case"),
    ("major_units", 1, "minor units of a currency as a decimal text: 1999 as \"19.99\""),
    ("matches", 1, "whether a regular expression matches a text"),
    ("minor_units", 1, "an amount in minor units of a currency: \"19.99\" as 1999"),
    ("replace", 2, "a text with every match of a regular expression replaced: $1 is the first group"),
    ("sha256", 0, "the SHA-256 of a text, in hexadecimal"),
    ("time", 0, "a time as RFC 3339 in UTC; from RFC 3339 or RFC 2822"),
    ("time", 1, "the same for a local time in a time zone"),
    ("time", 2, "the same for a text in a strptime format, in a time zone"),
    ("to_unix", 0, "a time as seconds of Unix time"),
    ("to_unix_ms", 0, "a time as milliseconds of Unix time"),
    ("unix_ms_time", 0, "a time from milliseconds of Unix time"),
    ("unix_time", 0, "a time from seconds of Unix time"),
    ("upper", 0, "a text in upper case"),
];

/// A table of a binding: texts and the JSON values that they become.
#[derive(Clone, Debug, Default)]
pub(crate) struct LookupTable {
    pub(crate) name: String,
    pub(crate) values: HashMap<String, String>,
    /// What every other text becomes.
    pub(crate) other: Option<String>,
}

/// A converter with its arguments.
#[derive(Clone, Debug)]
pub(crate) enum Converter {
    Time(time::TimeSource),
    UnixTime { per_second: i64 },
    InZone(TimeZone),
    DateIn(TimeZone),
    FormatTime { format: String, zone: TimeZone },
    ToUnix { per_second: i64 },
    MinorUnits(money::Currency),
    MajorUnits(money::Currency),
    Lookup(Arc<LookupTable>),
    Extract(regex_bites::Regex),
    Matches(regex_bites::Regex),
    Replace(regex_bites::Regex, String),
    Sha256,
    HmacSha256(String),
    Lower,
    Upper,
}

impl Converter {
    /// Whether a converter of this name takes so many arguments.
    pub(crate) fn exists(name: &str, arguments: usize) -> bool {
        CONVERTERS.iter().any(|(known, count, _)| *known == name && *count == arguments)
    }

    /// Creates a converter from its name and its arguments, which are JSON values.
    ///
    /// # Errors
    /// Why the arguments cannot be used, as a sentence without a full stop.
    pub(crate) fn new(name: &str, arguments: &[Json<'_>], tables: &[Arc<LookupTable>]) -> Result<Self, String> {
        let text = |index: usize| {
            let argument = arguments.get(index).copied().unwrap_or(Json::NULL);
            let text = argument.string().map(std::borrow::Cow::into_owned);
            text.ok_or_else(|| format!("{name} takes a text, not {}", shown(argument)))
        };
        let regex = |index: usize| -> Result<regex_bites::Regex, String> {
            let pattern = text(index)?;
            regex_bites::Regex::new(&pattern)
                .map_err(|error| format!("invalid regular expression {pattern:?}: {error}"))
        };
        let zone = |index: usize| time::zone(&text(index)?);
        Ok(match (name, arguments.len()) {
            ("time", 0) => Self::Time(time::TimeSource::Absolute),
            ("time", 1) => Self::Time(time::TimeSource::Local(zone(0)?)),
            ("time", 2) => Self::Time(time::TimeSource::Formatted { format: text(0)?, zone: zone(1)? }),
            ("unix_time", 0) => Self::UnixTime { per_second: 1 },
            ("unix_ms_time", 0) => Self::UnixTime { per_second: 1_000 },
            ("in_zone", 1) => Self::InZone(zone(0)?),
            ("date_in", 1) => Self::DateIn(zone(0)?),
            ("format_time", 2) => Self::FormatTime { format: time::checked_format(text(0)?)?, zone: zone(1)? },
            ("to_unix", 0) => Self::ToUnix { per_second: 1 },
            ("to_unix_ms", 0) => Self::ToUnix { per_second: 1_000 },
            ("minor_units", 1) => Self::MinorUnits(money::Currency::named(&text(0)?)?),
            ("major_units", 1) => Self::MajorUnits(money::Currency::named(&text(0)?)?),
            ("lookup", 1) => Self::Lookup(find_table(&text(0)?, tables)?),
            ("extract", 1) => Self::Extract(regex(0)?),
            ("matches", 1) => Self::Matches(regex(0)?),
            ("replace", 2) => Self::Replace(regex(0)?, text(1)?),
            ("sha256", 0) => Self::Sha256,
            ("hmac_sha256", 1) => Self::HmacSha256(text(0)?),
            ("lower", 0) => Self::Lower,
            ("upper", 0) => Self::Upper,
            _ => return Err(format!("unknown converter {name}/{}", arguments.len())),
        })
    }

    /// Converts a JSON value to another one.
    ///
    /// # Errors
    /// Why it cannot be converted, as a sentence without a full stop.
    pub(crate) fn apply(&self, input: Json<'_>) -> Result<String, String> {
        let text = || input.string().ok_or_else(|| format!("{} is not a text", shown(input)));
        let time = || time::parse(input, &time::TimeSource::Absolute);
        match self {
            Self::Time(source) => Ok(quoted(&time::parse(input, source)?.to_string())),
            Self::UnixTime { per_second } => Ok(quoted(&time::from_unix(input, *per_second)?.to_string())),
            Self::InZone(zone) => Ok(quoted(&time::with_offset(time()?, zone))),
            Self::DateIn(zone) => Ok(quoted(&time()?.to_zoned(zone.clone()).date().to_string())),
            Self::FormatTime { format, zone } => Ok(quoted(&time::format(time()?, format, zone)?)),
            Self::ToUnix { per_second } => Ok(time::to_unix(time()?, *per_second).to_string()),
            Self::MinorUnits(currency) => currency.minor_units(input),
            Self::MajorUnits(currency) => currency.major_units(input),
            Self::Lookup(table) => look_up(table, input),
            Self::Extract(regex) => text::extract(regex, &text()?),
            Self::Matches(regex) => Ok(regex.is_match(&text()?).to_string()),
            Self::Replace(regex, with) => text::replace(regex, with, &text()?),
            Self::Sha256 => Ok(quoted(&crate::hex::encode(&hash::sha256(text()?.as_bytes())))),
            Self::HmacSha256(key) => {
                let tag = hash::hmac_sha256(key.as_bytes(), &[text()?.as_bytes()]);
                Ok(quoted(&crate::hex::encode(&tag)))
            }
            Self::Lower => Ok(quoted(&text()?.to_lowercase())),
            Self::Upper => Ok(quoted(&text()?.to_uppercase())),
        }
    }
}

fn find_table(name: &str, tables: &[Arc<LookupTable>]) -> Result<Arc<LookupTable>, String> {
    let known = tables.iter().find(|table| table.name == name);
    known.map(Arc::clone).ok_or_else(|| format!("unknown table [lookup.{name}]"))
}

fn look_up(table: &LookupTable, input: Json<'_>) -> Result<String, String> {
    let key = match input.kind() {
        JsonType::String => input.string().unwrap_or_default(),
        JsonType::Number | JsonType::Bool => input.as_str().into(),
        _ => return Err(format!("{} cannot be a key of a table", shown(input))),
    };
    let found = table.values.get(key.as_ref()).or(table.other.as_ref());
    found.cloned().ok_or_else(|| format!("[lookup.{}] has no value for {}", table.name, shown(input)))
}

/// A value in an error, cut off where it is long.
pub(crate) fn shown(value: Json<'_>) -> String {
    const MAX_CHARS: usize = 60;
    let text = value.as_str();
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(call: &str, arguments: &[&str], input: &str) -> Result<String, String> {
        let table = LookupTable {
            name: "stage".to_owned(),
            values: [("lead".to_owned(), "\"prospect\"".to_owned()), ("7".to_owned(), "[7]".to_owned())].into(),
            other: None,
        };
        let arguments: Vec<Json<'_>> = arguments.iter().map(|text| Json::from_validated(text)).collect();
        Converter::new(call, &arguments, &[Arc::new(table)])?.apply(Json::from_validated(input))
    }

    #[test]
    fn times() {
        let berlin = "\"Europe/Berlin\"";
        for (call, arguments, input, output) in [
            ("time", &[][..], "\"2026-11-29T10:00:00+01:00\"", "\"2026-11-29T09:00:00Z\""),
            ("time", &[], "\"Sun, 29 Nov 2026 10:00:00 +0100\"", "\"2026-11-29T09:00:00Z\""),
            ("time", &[berlin], "\"2026-07-01 12:00\"", "\"2026-07-01T10:00:00Z\""),
            ("time", &[berlin], "\"2026-07-01T12:00:00.5Z\"", "\"2026-07-01T12:00:00.5Z\""),
            ("time", &["\"%d.%m.%Y %H:%M\"", berlin], "\"29.11.2026 10:00\"", "\"2026-11-29T09:00:00Z\""),
            ("unix_time", &[], "1795946400", "\"2026-11-29T10:00:00Z\""),
            ("unix_time", &[], "\"1795946400.25\"", "\"2026-11-29T10:00:00.25Z\""),
            ("unix_ms_time", &[], "1795946400250", "\"2026-11-29T10:00:00.25Z\""),
            ("in_zone", &[berlin], "\"2026-11-29T09:00:00Z\"", "\"2026-11-29T10:00:00+01:00\""),
            ("date_in", &["\"Asia/Tokyo\""], "\"2026-11-29T20:00:00Z\"", "\"2026-11-30\""),
            ("format_time", &["\"%d.%m.%Y\"", berlin], "\"2026-11-29T23:30:00Z\"", "\"30.11.2026\""),
            ("to_unix", &[], "\"2026-11-29T10:00:00.9Z\"", "1795946400"),
            ("to_unix_ms", &[], "\"2026-11-29T10:00:00.9Z\"", "1795946400900"),
        ] {
            assert_eq!(convert(call, arguments, input).as_deref(), Ok(output), "{call} {input}");
        }
        for (call, arguments, input) in [
            ("time", &[][..], "\"2026-11-29 10:00\""),
            ("time", &[], "7"),
            ("time", &["\"Europe/Berln\""], "\"2026-07-01 12:00\""),
            ("time", &["\"%H:%M\"", berlin], "\"10:00\""),
            // A time that the clocks skip.
            ("time", &[berlin], "\"2026-03-29 02:30\""),
            ("unix_time", &[], "\"soon\""),
            ("unix_time", &[], "1e99"),
        ] {
            assert!(convert(call, arguments, input).is_err(), "{call} {arguments:?} {input}");
        }
    }

    #[test]
    fn money_is_exact() {
        for (call, currency, input, output) in [
            ("minor_units", "\"EUR\"", "\"19.99\"", "1999"),
            ("minor_units", "\"eur\"", "19.9", "1990"),
            ("minor_units", "\"EUR\"", "-0.5", "-50"),
            ("minor_units", "\"EUR\"", "\"1500.000\"", "150000"),
            ("minor_units", "\"JPY\"", "1500", "1500"),
            ("minor_units", "\"KWD\"", "\"1.234\"", "1234"),
            ("minor_units", "\"EUR\"", "92233720368547758.07", "9223372036854775807"),
            ("minor_units", "\"EUR\"", "1.5e3", "150000"),
            ("major_units", "\"EUR\"", "1999", "\"19.99\""),
            ("major_units", "\"EUR\"", "-5", "\"-0.05\""),
            ("major_units", "\"JPY\"", "\"12\"", "\"12\""),
            ("major_units", "\"BHD\"", "1", "\"0.001\""),
        ] {
            assert_eq!(convert(call, &[currency], input).as_deref(), Ok(output), "{call} {input}");
        }
        for (call, currency, input) in [
            ("minor_units", "\"EUR\"", "\"19.999\""),
            ("minor_units", "\"JPY\"", "1.5"),
            ("minor_units", "\"EUR\"", "\"1,50\""),
            ("minor_units", "\"EUR\"", "92233720368547758.08"),
            ("minor_units", "\"EUR\"", "1e400"),
            ("minor_units", "\"EURO\"", "1"),
            ("major_units", "\"EUR\"", "19.99"),
        ] {
            assert!(convert(call, &[currency], input).is_err(), "{call} {input}");
        }
    }

    #[test]
    fn texts_tables_and_hashes() {
        for (call, arguments, input, output) in [
            ("lookup", &["\"stage\""][..], "\"lead\"", "\"prospect\""),
            ("lookup", &["\"stage\""], "7", "[7]"),
            ("extract", &["\"[0-9]+\""], "\"order 42 of 50\"", "\"42\""),
            ("extract", &["\"of ([0-9]+)\""], "\"order 42 of 50\"", "\"50\""),
            ("matches", &["\"^a\""], "\"abc\"", "true"),
            ("replace", &["\"[^0-9]\"", "\"\""], "\"+49 (0)30 1\"", "\"490301\""),
            ("replace", &["\"(a)(b)\"", "\"$2$1\""], "\"abab\"", "\"baba\""),
            ("lower", &[], "\"ÄB\"", "\"äb\""),
            ("upper", &[], "\"äb\\n\"", "\"ÄB\\n\""),
            ("sha256", &[], "\"abc\"", "\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\""),
            (
                "hmac_sha256",
                &["\"Jefe\""],
                "\"what do ya want for nothing?\"",
                "\"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843\"",
            ),
        ] {
            assert_eq!(convert(call, arguments, input).as_deref(), Ok(output), "{call} {input}");
        }
        for (call, arguments, input) in [
            ("lookup", &["\"stage\""][..], "\"customer\""),
            ("lookup", &["\"nope\""], "\"lead\""),
            ("lookup", &["\"stage\""], "null"),
            ("extract", &["\"[0-9]+\""], "\"none\""),
            ("extract", &["\"(\""], "\"none\""),
            ("lower", &[], "7"),
            ("sha256", &[], "null"),
            ("sha256", &["1"], "\"abc\""),
        ] {
            assert!(convert(call, arguments, input).is_err(), "{call} {arguments:?} {input}");
        }
        let grown = format!("\"{}\"", "x".repeat(2_000_000));
        let doubled = format!("\"{}\"", "y".repeat(1_000));
        assert!(convert("replace", &["\"x\"", &doubled], &grown).unwrap_err().contains("larger than"));
    }
}
