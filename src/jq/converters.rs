//! The converters as functions of jq.

use jaq_core::native::{self, Filter, Fun, bome, v};
use jaq_core::{Error, RunPtr, data};
use jaq_json::{Val, read};

use crate::converter::{CONVERTERS, Converter};
use crate::json::Json;

type Data = data::JustLut<Val>;

/// The name of the function with which a path of a binding says that its value is missing.
pub(super) const PRESENT: &str = "__present";

/// What begins the error of a value that is missing.
pub(super) const MISSING: &str = "missing: ";

/// Functions that jq programs of integ have besides jq's own.
pub(super) fn funs() -> impl Iterator<Item = Fun<Data>> {
    let converters = CONVERTERS.iter().map(|(name, arguments, _)| (*name, v(*arguments), pointer(name, *arguments)));
    let present: Filter<RunPtr<Data>> = (PRESENT, v(1), |mut cv| {
        let path = cv.0.pop_var();
        bome(match cv.1 {
            Val::Null => Err(Error::str(format!("{MISSING}{}", text(&path)))),
            value => Ok(value),
        })
    });
    converters.chain([present]).map(|filter| native::run::<Data>(filter))
}

/// The function of a converter. Its name and the number of its arguments must be known to a plain function pointer: there
/// is one for each.
fn pointer(name: &str, arguments: usize) -> RunPtr<Data> {
    macro_rules! pointers {
        ($($name:literal / $arguments:literal),*) => {
            match (name, arguments) {
                $(($name, $arguments) => |mut cv| {
                    let mut values: Vec<String> = (0..$arguments).map(|_| cv.0.pop_var().to_string()).collect();
                    values.reverse();
                    bome(convert($name, &values, &cv.1))
                },)*
                _ => |_| bome(Err(Error::str("unknown converter"))),
            }
        };
    }
    pointers!(
        "date_in" / 1,
        "extract" / 1,
        "format_time" / 2,
        "hmac_sha256" / 1,
        "in_zone" / 1,
        "lookup" / 1,
        "lower" / 0,
        "major_units" / 1,
        "matches" / 1,
        "minor_units" / 1,
        "replace" / 2,
        "sha256" / 0,
        "time" / 0,
        "time" / 1,
        "time" / 2,
        "to_unix" / 0,
        "to_unix_ms" / 0,
        "unix_ms_time" / 0,
        "unix_time" / 0,
        "upper" / 0
    )
}

fn convert(name: &str, arguments: &[String], input: &Val) -> Result<Val, Error<Val>> {
    let arguments: Vec<Json<'_>> = arguments.iter().map(|text| Json::from_validated(text)).collect();
    let input = input.to_string();
    let converted = Converter::new(name, &arguments, &[]).and_then(|one| one.apply(Json::from_validated(&input)));
    let text = converted.map_err(Error::str)?;
    read::parse_single(text.as_bytes()).map_err(|error| Error::str(error.to_string()))
}

/// What a string says.
fn text(value: &Val) -> String {
    let json = value.to_string();
    Json::from_validated(&json).string().map_or(json.clone(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::run;
    use super::*;

    #[test]
    fn jq_has_every_converter() {
        let value = json!({ "at": "2026-11-29T10:00:00Z", "price": "19.99", "n": 1_795_946_400 });
        for (filter, result) in [
            (".at | in_zone(\"Europe/Berlin\")", "2026-11-29T11:00:00+01:00"),
            (".at | format_time(\"%Y/%m\"; \"UTC\")", "2026/11"),
            (".price | minor_units(\"EUR\")", "1999"),
            (".n | unix_time", "2026-11-29T10:00:00Z"),
            ("[.price | sha256 | length]", "[64]"),
        ] {
            assert_eq!(run(filter, &value).unwrap().trim_end(), result, "{filter}");
        }
        let failed = run(".price | time", &value).unwrap_err().to_string();
        assert!(failed.contains("\"19.99\" is not a time"), "{failed}");
        for (name, arguments, _) in CONVERTERS {
            let arguments = vec!["\"x\""; *arguments].join("; ");
            let call = if arguments.is_empty() { (*name).to_owned() } else { format!("{name}({arguments})") };
            let error = run(&format!("null | {call}"), &value).unwrap_err().to_string();
            assert!(!error.contains("unknown converter") && !error.contains("undefined"), "{call}: {error}");
        }
    }
}
