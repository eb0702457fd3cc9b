//! The catalogue of the user's event types, against which messages are validated.

use serde_json::Value;

use super::EndpointError;
use crate::model::{EventPattern, EventType, EventTypeDefinition};
use crate::store::Store;

/// Holds data against the sample of their type: each member of the sample is there, of the same JSON type; of a list each
/// item is as its first. Types that are not in the catalogue, and those without a sample, take anything.
///
/// # Errors
/// [`EndpointError::SchemaMismatch`] with every place that differs.
pub async fn check(store: &dyn Store, kind: &EventType, data: &[u8]) -> Result<(), EndpointError> {
    let known = store.event_types().list().await?.into_iter().find(|known| known.kind == kind.as_str());
    let Some(sample) = known.and_then(|known| known.sample) else { return Ok(()) };
    let data: Value = serde_json::from_slice(data).map_err(|source| EndpointError::InvalidJson { source })?;
    let mut problems = Vec::new();
    compare("", &sample, &data, &mut problems);
    if problems.is_empty() { Ok(()) } else { Err(EndpointError::SchemaMismatch { kind: kind.to_string(), problems }) }
}

/// Returns the patterns that match no type of the catalogue; none if it is empty.
pub fn unmatched<'p>(types: &[EventTypeDefinition], patterns: &'p [EventPattern]) -> Vec<&'p EventPattern> {
    let kinds: Vec<EventType> = types.iter().filter_map(|known| known.kind.parse().ok()).collect();
    if kinds.is_empty() {
        return Vec::new();
    }
    patterns.iter().filter(|pattern| !kinds.iter().any(|kind| pattern.matches(kind))).collect()
}

fn compare(at: &str, sample: &Value, data: &Value, problems: &mut Vec<String>) {
    let place = if at.is_empty() { "the data" } else { at };
    match (sample, data) {
        // Nothing is said of what may be absent.
        (Value::Null, _) => {}
        (Value::Object(members), Value::Object(there)) => {
            for (name, sample) in members {
                let at = format!("{at}/{name}");
                match there.get(name) {
                    Some(data) => compare(&at, sample, data, problems),
                    None if sample.is_null() => {}
                    None => problems.push(format!("{at} is missing")),
                }
            }
        }
        (Value::Array(samples), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                if let Some(sample) = samples.first() {
                    compare(&format!("{at}/{index}"), sample, item, problems);
                }
            }
        }
        (sample, data) if word(sample) == word(data) => {}
        (sample, data) => problems.push(format!("{place} is {}, not {}", word(data), word(sample))),
    }
}

fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn data_are_held_against_a_sample() {
        let sample = json!({ "id": "in_1", "amount": 5, "note": null, "lines": [{ "sku": "a" }] });
        let problems = |data: Value| {
            let mut problems = Vec::new();
            compare("", &sample, &data, &mut problems);
            problems
        };
        assert_eq!(problems(json!({ "id": "x", "amount": 0.5, "lines": [], "more": true })), [""; 0]);
        assert_eq!(
            problems(json!({ "id": 7, "lines": [{ "sku": "b" }, {}], "note": 1 })),
            ["/id is a number, not a text", "/amount is missing", "/lines/1/sku is missing"]
        );
        assert_eq!(problems(json!([])), ["the data is a list, not an object"]);
    }
}
