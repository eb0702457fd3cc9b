//! Every stream of every connector's file, whatever there is.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::pager::{ListQuery, TestPager};
use super::{SEED, TestEmulator};
use crate::clock::Timestamp;
use crate::connector::{Connector, CursorFormat, parse};
use crate::sandbox::stream::time::parse_time_range;
use crate::sandbox::{SandboxAccount, SandboxState, VendorEmulator};

/// The files that are compiled in, by their ids.
fn connectors() -> Vec<Connector> {
    let built_in = crate::connector::BUILT_IN.iter();
    built_in.map(|(id, text)| parse(text).unwrap_or_else(|error| panic!("{id}: {error:?}"))).collect()
}

fn bench(connector: &Connector, auth: &str) -> TestEmulator {
    let vendor =
        VendorEmulator::new(connector, Some(auth), &SandboxAccount::default(), &BTreeMap::new(), SEED).unwrap();
    TestEmulator { vendor, state: SandboxState::default(), now: 1_800_000_000 }
}

/// A walker of a stream, below the first record of each stream that it is listed for; absent where the method may not list
/// those.
fn walker(connector: &Connector, auth: &str, name: &str) -> Option<TestPager> {
    let stream = &connector.streams[name];
    if !stream.auth.is_empty() && !stream.auth.iter().any(|known| known == auth) {
        return None;
    }
    let parent = stream.parents.iter().find(|parent| parent.stream != name);
    let Some(parent) = parent else { return Some(TestPager::new(bench(connector, auth), name, &[])) };
    let mut above = walker(connector, auth, &parent.stream)?;
    let wish = first_wish(&above);
    let records = above.read_all(&wish).records;
    let fits = |record: &&Value| {
        parent.when.iter().all(|(at, values)| {
            values.iter().any(|value| at.find(record).is_some_and(|there| value == "*" || value == there))
        })
    };
    let mut record =
        records.iter().find(fits).unwrap_or_else(|| panic!("{name} has no parent in {}", parent.stream)).clone();
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
    Some(TestPager::new(bench(connector, auth), name, &values))
}

/// What is asked first: of lists that always say both ends, all that there is.
fn first_wish(walker: &TestPager) -> ListQuery {
    let incremental = walker.stream.incremental.as_ref();
    let Some(window) = incremental.and_then(|incremental| incremental.window_secs) else { return ListQuery::default() };
    // The middle of what was there at first, as long as one list may be.
    let now = walker.bench.now;
    ListQuery {
        since: Some(written(walker, now - i64::from(window))),
        until: Some(written(walker, now + 1)),
        token: None,
    }
}

fn written(walker: &TestPager, moment: i64) -> String {
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
                let walked = walker.read_all(&wish);
                let keys = walker.keys(&walked.records);
                assert!(!keys.is_empty() || !stream.parents.is_empty(), "{}/{name} has no records", connector.id);
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

/// The greatest moment of some records, as requests write it.
fn newest(walker: &TestPager, records: &[Value]) -> Option<String> {
    let incremental = walker.stream.incremental.as_ref()?;
    let text = |record: &Value| incremental.at.text(record);
    let moment = |text: &String| parse_time_range(&incremental.format, text).map(|(moment, _)| moment);
    let newest = records.iter().filter_map(text).max_by_key(moment)?;
    let is_number = matches!(incremental.format, CursorFormat::Integer | CursorFormat::Text);
    Some(if is_number { newest } else { written(walker, moment(&newest)?) })
}

#[test]
fn what_is_new_is_told_and_little_else() {
    let mut told = 0;
    for connector in connectors() {
        let auth = connector.auth.keys().next().unwrap();
        for (name, stream) in &connector.streams {
            let may = stream.auth.is_empty() || stream.auth.contains(auth);
            let filters = stream.incremental.as_ref().is_some_and(|new| !new.query.is_empty() || new.body.is_some());
            let by_id = stream
                .pages
                .as_ref()
                .or(connector.api.pages.as_ref())
                .and_then(|pages| pages.param.as_ref()?.query_name());
            let mut filtered = stream.incremental.iter().flat_map(|new| new.query.keys());
            let is_cursor = filtered.any(|name| Some(name.as_str()) == by_id);
            if !may || !(filters || stream.token.is_some()) || is_cursor {
                continue;
            }
            let Some(mut walker) = walker(&connector, auth, name) else { continue };
            let label = format!("{}/{name}", connector.id);
            let first = match &stream.token {
                Some(token) if token.first.is_some() => Some(walker.first_token()),
                _ => None,
            };
            let wish = first_wish(&walker);
            let mut walked = walker.read_all(&wish);
            let mut store: BTreeMap<String, Value> = BTreeMap::new();
            store.extend(walked.records.iter().map(|record| (walker.key(record), record.clone())));
            let before = store.clone();
            walker.bench.now += 86_400;
            let now = walker.bench.now;
            walker.state().advance(7, Timestamp::from_second(now).unwrap());
            let mut wish = match first.or(walked.token.take()) {
                Some(token) => ListQuery::token(&token),
                None => ListQuery::since(&newest(&walker, &walked.records).unwrap()),
            };
            if stream.incremental.as_ref().is_some_and(|incremental| incremental.window_secs.is_some()) {
                wish.until = Some(written(&walker, now));
            }
            let news = walker.read_all(&wish);
            let half = before.len().max(30) / 2 + 10;
            assert!(news.records.len() <= half, "{label}: {} of {} are new", news.records.len(), before.len());
            for record in &news.records {
                let gone = stream.deleted.iter().any(|(at, values)| {
                    values.iter().any(|value| at.find(record).is_some_and(|there| value == "*" || value == there))
                });
                let key = walker.key(record);
                if gone {
                    store.remove(&key)
                } else {
                    store.insert(key, record.clone())
                };
            }
            store.retain(|key, _| !news.gone.contains(key));
            let all = walker.read_all(&first_wish(&walker));
            let whole: BTreeMap<String, Value> =
                all.records.iter().map(|record| (walker.key(record), record.clone())).collect();
            // The window of the first request has moved on by a day: what fell out of it is no matter.
            for (key, record) in &whole {
                let known = store.get(key).unwrap_or_else(|| panic!("{label}: {key} was missed"));
                assert!(
                    stream.detail.is_some()
                        || stream.token.as_ref().is_some_and(|token| token.path.is_some())
                        || known == record,
                    "{label}: {known} is {record}"
                );
            }
            let windowed = stream.incremental.as_ref().is_some_and(|incremental| incremental.window_secs.is_some());
            let tells = !stream.deleted.is_empty() || stream.token.as_ref().is_some_and(|token| token.gone.is_some());
            if tells && !windowed {
                assert_eq!(store.len(), whole.len(), "{label} tells what is gone");
            }
            told += usize::from(store != before);
        }
    }
    println!("{told} streams had something new");
}

#[test]
fn details_are_whole() {
    for connector in connectors() {
        let auth = connector.auth.keys().next().unwrap();
        for (name, stream) in connector.streams.iter().filter(|(_, stream)| stream.detail.is_some()) {
            if !stream.auth.is_empty() && !stream.auth.contains(auth) {
                continue;
            }
            let Some(mut walker) = walker(&connector, auth, name) else { continue };
            let wish = first_wish(&walker);
            let records = walker.read_all(&wish).records;
            for record in [records.first().unwrap(), records.last().unwrap()] {
                let whole = walker.detail(record);
                assert_eq!(walker.key(&whole), walker.key(record), "{}/{name}", connector.id);
                let size = |value: &Value| value.as_object().unwrap().len();
                assert!(size(&whole) > size(record) || stream.sample.is_none(), "{}/{name}: {whole}", connector.id);
            }
        }
    }
}
