//! Every stream of every connector's file, whatever there is.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::walk::{Walker, Wish};
use super::{Bench, SEED};
use crate::clock::Timestamp;
use crate::connector::{Connector, CursorFormat, parse};
use crate::sandbox::{Life, State, Vendor};

/// The files that are compiled in, by their ids.
fn connectors() -> Vec<Connector> {
    let built_in = crate::connector::BUILT_IN.iter();
    built_in.map(|(id, text)| parse(text).unwrap_or_else(|error| panic!("{id}: {error:?}"))).collect()
}

fn bench(connector: &Connector, auth: &str) -> Bench {
    let vendor = Vendor::new(connector, Some(auth), &BTreeMap::new(), SEED).unwrap();
    Bench { vendor, state: State::default(), life: Life::default(), now: 1_800_000_000 }
}

/// A walker of a stream, below the first record of each stream that it is listed for.
fn walker(connector: &Connector, auth: &str, name: &str) -> Option<Walker> {
    let stream = &connector.streams[name];
    let parent = stream.parents.iter().find(|parent| parent.stream != name);
    let Some(parent) = parent else { return Some(Walker::new(bench(connector, auth), name, &[])) };
    let mut above = walker(connector, auth, &parent.stream)?;
    let wish = first_wish(&above);
    let records = above.walk(&wish).records;
    let fits = |record: &&Value| {
        parent.when.iter().all(|(at, values)| {
            values.iter().any(|value| at.find(record).is_some_and(|there| value == "*" || value == there))
        })
    };
    let mut record = records.iter().find(fits).unwrap_or_else(|| panic!("{name} has no parent in {}", parent.stream)).clone();
    for (member, template) in &connector.streams[&parent.stream].add {
        let mut values = crate::connector::Values::default();
        if record.get(member).is_none()
            && let Ok(text) = template.fill(values.extend(&above.part))
        {
            record[member] = json!(text);
        }
    }
    if connector.streams[&parent.stream].scalar.is_some() || above.stream.detail.is_some() {
        let member = above.stream.scalar.clone();
        if let Some(member) = member {
            record = json!({ member: record });
        }
    }
    let values: Vec<(&str, String)> = parent
        .values
        .iter()
        .map(|(value, at)| (&**value, at.text(&record).unwrap_or_else(|| panic!("{name}: no {at} in {record}"))))
        .collect();
    let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, &**value)).collect();
    Some(Walker::new(bench(connector, auth), name, &values))
}

/// What is asked first: of lists that always say both ends, all that there is.
fn first_wish(walker: &Walker) -> Wish {
    let incremental = walker.stream.incremental.as_ref();
    let Some(window) = incremental.and_then(|incremental| incremental.window_secs) else { return Wish::default() };
    // The middle of what was there at first, as long as one list may be.
    let now = walker.bench.now;
    Wish { since: Some(written(walker, now - i64::from(window))), until: Some(written(walker, now + 1)), token: None }
}

fn written(walker: &Walker, moment: i64) -> String {
    let incremental = walker.stream.incremental.as_ref().unwrap();
    let format = incremental.write.as_ref().unwrap_or(&incremental.format);
    let time = Timestamp::from_second(moment).unwrap();
    match format {
        CursorFormat::Rfc3339 => time.to_string(),
        CursorFormat::Unix | CursorFormat::Integer => moment.to_string(),
        CursorFormat::UnixMs => (moment * 1000).to_string(),
        CursorFormat::Date => time.strftime("%Y-%m-%d").to_string(),
        CursorFormat::Rfc2822 => time.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string(),
        CursorFormat::Text => format!("{moment:016}"),
        CursorFormat::Strftime(format) => time.strftime(format).to_string(),
    }
}

#[test]
fn every_stream_lists_each_record_once() {
    let mut seen = 0;
    for connector in connectors() {
        for auth in connector.auth.keys() {
            for (name, stream) in &connector.streams {
                if !stream.auth.is_empty() && !stream.auth.contains(auth) {
                    continue;
                }
                let Some(mut walker) = walker(&connector, auth, name) else { continue };
                let wish = first_wish(&walker);
                let walked = walker.walk(&wish);
                let keys = walker.keys(&walked.records);
                assert!(!keys.is_empty() || !stream.parents.is_empty(), "{}/{name} has no records", connector.id);
                if std::env::var("SHOW").is_ok() {
                    println!("{}/{name} {auth}: {} in {:?} {:?}", connector.id, keys.len(), walked.pages, walked.records.last());
                }
                for record in &walked.records {
                    for (at, values) in &stream.deleted {
                        let there = at.find(record);
                        let fits = values.iter().any(|value| there.is_some_and(|there| value == "*" || value == there));
                        assert!(!fits, "{}/{name}: {record} is marked as gone", connector.id);
                    }
                }
                seen += 1;
            }
        }
    }
    println!("{seen} streams");
}
