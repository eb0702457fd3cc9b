//! Determines the stream and records of an action from the connector's file: by its path, by the names in its `result`,
//! or by `stream`.

use std::collections::BTreeMap;

use super::pattern::mark_placeholders;
use super::stream::records::partition_names;
use crate::connector::{Action, Connector, HttpMethod, Pointer, Stream, Template};

/// What an action does to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordVerb {
    Read,
    Create,
    Update,
    Delete,
}

/// What an action, or a path, does to the records of a stream.
#[derive(Clone, Debug)]
pub(super) struct RecordRelation {
    pub(super) stream: String,
    pub(super) verb: RecordVerb,
    /// The parameters that say which record, each with its place in the record.
    pub(super) identity: Vec<(String, Pointer)>,
    /// The values that select one of the stream's lists, each with its parameter.
    pub(super) partition: BTreeMap<String, String>,
    /// Where the answer holds the record.
    pub(super) at: Pointer,
}

/// A path by its segments: literal texts, and names between braces.
fn segments(template: &Template) -> Vec<String> {
    let marked = mark_placeholders(template);
    let path =
        marked.split_once("://").map_or(marked.as_str(), |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
    let path = path.split('?').next().unwrap_or_default().trim_matches('/');
    path.split('/').map(str::to_owned).collect()
}

/// The one name that a segment is, whatever ending is written after it.
fn segment_name(segment: &str) -> Option<&str> {
    let (name, ending) = super::pattern::leading_placeholder(segment)?;
    (ending.is_empty() || ending.starts_with('.')).then_some(name)
}

/// The names of one path by those of another that begins as it does.
fn aligned<'s>(one: &'s [String], other: &'s [String]) -> Vec<(&'s str, &'s str)> {
    let pairs = one.iter().zip(other).map(|(one, other)| match (segment_name(one), segment_name(other)) {
        (Some(one), Some(other)) => Some(Some((one, other))),
        (None, None) if one == other => Some(None),
        _ => None,
    });
    pairs.map_while(|pair| pair).flatten().collect()
}

fn same_shape(one: &[String], other: &[String]) -> bool {
    let same = |(one, other): (&String, &String)| match (segment_name(one), segment_name(other)) {
        (Some(_), Some(_)) => true,
        (None, None) => one == other,
        _ => false,
    };
    one.len() == other.len() && one.iter().zip(other).all(same)
}

/// The segments of a list without an ending such as `.json`.
fn without_ending(list: &[String]) -> Vec<String> {
    let mut list = list.to_vec();
    if let Some(last) = list.last_mut()
        && let Some((name, _)) = last.rsplit_once('.')
        && last.ends_with(".json")
    {
        *last = name.to_owned();
    }
    list
}

/// What the file says of an action; absent where it does not say enough.
pub(super) fn relate(connector: &Connector, name: &str, action: &Action) -> Option<RecordRelation> {
    let path = segments(&action.path);
    match &action.stream {
        Some(known) => relate_to(connector, name, action, &path, connector.streams.get_key_value(known)?),
        None => {
            let fits = |(_, stream): &(&String, &Stream)| fits_path(action, &path, stream);
            let stream = connector.streams.iter().find(fits)?;
            relate_to(connector, name, action, &path, stream)
        }
    }
}

/// Whether an action's path is that of a stream's list, or of one of its records.
fn fits_path(action: &Action, path: &[String], stream: &Stream) -> bool {
    let list = segments(&stream.path);
    let creates = action.method == HttpMethod::Post && stream.method == HttpMethod::Get && same_shape(path, &list);
    let item = stream.detail.as_ref().map(|detail| segments(&detail.path));
    let is_detail = item.is_some_and(|item| same_shape(path, &item));
    let is_item = path
        .split_last()
        .is_some_and(|(last, before)| segment_name(last).is_some() && same_shape(before, &without_ending(&list)));
    creates || is_detail || (is_item && stream.method == HttpMethod::Get)
}

fn relate_to(
    connector: &Connector,
    name: &str,
    action: &Action,
    path: &[String],
    (stream_name, stream): (&String, &Stream),
) -> Option<RecordRelation> {
    let list = segments(&stream.path);
    let by_position: BTreeMap<&str, &str> = aligned(&list, path).into_iter().collect();
    let mut partition = BTreeMap::new();
    for wanted in partition_names(stream) {
        let param = by_position.get(wanted.as_str()).map(|name| (*name).to_owned());
        let param = param.or_else(|| action.params.contains_key(wanted).then(|| wanted.clone()))?;
        partition.insert(wanted.clone(), param);
    }
    let last = path.last().and_then(|last| segment_name(last));
    let is_key = |at: &Pointer| stream.key.iter().find(|key| at.to_string().ends_with(&key.to_string()));
    let mut identity = Vec::new();
    for (param, rule) in &action.params {
        let in_path = last == Some(param.as_str());
        if partition.values().any(|taken| taken == param) || !(rule.required || in_path) {
            continue;
        }
        // A parameter of another name's record is in bodies: there only the action's own answer says that it is this one's.
        let at = if in_path { named_place(connector, action, param) } else { action.result.get(param).cloned() };
        let key = at.as_ref().and_then(&is_key);
        match (key, at) {
            (Some(key), _) => identity.push((param.clone(), key.clone())),
            (None, Some(at)) if in_path => identity.push((param.clone(), at)),
            (None, None) if in_path => identity.push((param.clone(), stream.key.last()?.clone())),
            _ => {}
        }
    }
    let deletes = name.rsplit('.').next().is_some_and(|verb| verb.to_lowercase().starts_with("delete"));
    let verb = match (action.method, identity.is_empty()) {
        (HttpMethod::Get | HttpMethod::Head, true) => return None,
        (HttpMethod::Get | HttpMethod::Head, false) => RecordVerb::Read,
        (HttpMethod::Post, true) => RecordVerb::Create,
        (_, true) => return None,
        (HttpMethod::Delete, false) => RecordVerb::Delete,
        (_, false) if deletes => RecordVerb::Delete,
        (_, false) => RecordVerb::Update,
    };
    let at = action.result.values().find_map(|at| {
        let (at, key) = (at.to_string(), is_key(at)?.to_string());
        Pointer::parse(&at[..at.len() - key.len()]).ok()
    });
    let at = at.unwrap_or_default();
    Some(RecordRelation { stream: stream_name.clone(), verb, identity, partition, at })
}

/// The place that actions give to a name in their answers: this action itself, else another of the connector's.
fn named_place(connector: &Connector, action: &Action, name: &str) -> Option<Pointer> {
    let others = connector.actions.values().filter(|other| other.list.is_none());
    std::iter::once(action).chain(others).find_map(|action| action.result.get(name)).cloned()
}

/// The paths of single records that no action needs to declare: below a stream's list, and above the lists that are listed for
/// each record of another stream.
pub(super) fn item_paths(connector: &Connector) -> Vec<(String, RecordRelation)> {
    let mut found = Vec::new();
    for (name, stream) in connector.streams.iter().filter(|(_, stream)| stream.method == HttpMethod::Get) {
        let marked = mark_placeholders(&stream.path);
        let Some(key) = stream.key.last() else { continue };
        let names: Vec<&String> = partition_names(stream).collect();
        let partition: BTreeMap<String, String> = names.iter().map(|name| ((*name).clone(), (*name).clone())).collect();
        let relation = |identity| RecordRelation {
            stream: name.clone(),
            verb: RecordVerb::Read,
            identity,
            partition: partition.clone(),
            at: Pointer::default(),
        };
        let is_in_path = names.iter().all(|name| stream.path.placeholders().any(|known| known == name.as_str()));
        if is_in_path && !marked.contains('?') && stream.scalar.is_none() && !stream.table {
            // What actions call a record by counts as well as its key.
            let by_action = connector.actions.iter().filter_map(|(action_name, action)| {
                let related = relate(connector, action_name, action).filter(|related| related.stream == *name)?;
                related.identity.into_iter().next().map(|(_, at)| at)
            });
            let mut places: Vec<Pointer> = vec![key.clone()];
            places.extend(by_action.filter(|at| at != key));
            let path = super::pattern::followed_by(&marked, ITEM_NAME);
            found.extend(places.into_iter().map(|at| (path.clone(), relation(vec![(ITEM_NAME.to_owned(), at)]))));
        }
        for parent in stream.parents.iter().filter(|parent| parent.stream != *name) {
            let Some(above) = connector.streams.get(&parent.stream) else { continue };
            if partition_names(above).next().is_some() {
                continue;
            }
            let Some(path) = super::pattern::through_last(&marked, &parent.values.keys().collect::<Vec<_>>()) else {
                continue;
            };
            let identity = parent.values.iter().map(|(name, at)| (name.clone(), at.clone())).collect();
            let relation = RecordRelation {
                stream: parent.stream.clone(),
                verb: RecordVerb::Read,
                identity,
                partition: BTreeMap::new(),
                at: Pointer::default(),
            };
            if !found.iter().any(|(known, _)| *known == path) {
                found.push((path, relation));
            }
        }
    }
    found
}

/// What the last part of a record's path is called, where no action gives it a name.
const ITEM_NAME: &str = "sandbox_item";
