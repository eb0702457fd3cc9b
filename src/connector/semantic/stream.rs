//! Checks the consistency of a stream.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde_json::Value;

use super::names::{NameScope, defined_names};
use super::webhook::{ACCOUNT_SAMPLE_NAMES, RECORD_SAMPLE_NAMES, SAMPLE_NAMES, check_sample_text, for_each_string};
use super::{Diagnostics, check_param, check_scopes_listed, has_base};
use crate::connector::{
    AuthMethod, Connector, CursorFormat, HttpMethod, Incremental, PaginationKind, Stream, SyncToken, Template,
};
use crate::near::did_you_mean_or_list;

/// What a paged list's templates may name.
const PAGE_NAMES: &[&str] = &["page", "offset", "size"];

pub(super) fn check_all(connector: &Connector, found: &mut Diagnostics) {
    for (name, stream) in &connector.streams {
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty() || !name.chars().all(valid) {
            let message = format!("{name:?} is not a name: use lower-case letters, digits and '_'");
            found.push((format!("streams.{name}"), message));
        }
        StreamChecker { connector, key: format!("streams.{name}"), name, stream, found }.all();
    }
    for (name, event) in &connector.events {
        let Some(sync) = &event.sync else { continue };
        if !connector.streams.contains_key(&sync.stream) {
            let known = did_you_mean_or_list(&sync.stream, connector.streams.keys().map(String::as_str));
            let message = format!("{:?} is not among the connector's streams{known}", sync.stream);
            found.push((format!("events.{name}.sync.stream"), message));
        }
        let parent = connector.streams.get(&sync.stream).and_then(|stream| stream.parents.first());
        let given: BTreeSet<&String> = parent.into_iter().flat_map(|parent| parent.values.keys()).collect();
        if !sync.values.is_empty() && sync.values.keys().collect::<BTreeSet<_>>() != given {
            let message = format!("are not those that the parent of {:?} gives", sync.stream);
            found.push((format!("events.{name}.sync.values"), message));
        }
        if (sync.deleted || !sync.deleted_when.is_empty()) && sync.record.is_none() {
            let message = "which record was deleted? add record".to_owned();
            found.push((format!("events.{name}.sync.deleted"), message));
        }
    }
}

struct StreamChecker<'c, 'f> {
    connector: &'c Connector,
    key: String,
    name: &'c str,
    stream: &'c Stream,
    found: &'f mut Diagnostics,
}

impl<'c> StreamChecker<'c, '_> {
    fn say(&mut self, at: &str, message: impl Into<String>) {
        self.found.push((format!("{}.{at}", self.key), message.into()));
    }

    fn all(mut self) {
        let stream = self.stream;
        check_scopes_listed(self.connector, &format!("{}.scopes", self.key), &stream.scopes, self.found);
        for name in stream.auth.iter().filter(|name| !self.connector.auth.contains_key(*name)) {
            let known = did_you_mean_or_list(name, self.connector.auth.keys().map(String::as_str));
            self.say("auth", format!("{name:?} is not an authentication method{known}"));
        }
        for (name, param) in &stream.params {
            check_param(&format!("{}.params.{name}", self.key), param, self.found);
        }
        if stream.body.is_some() && stream.method == HttpMethod::Get {
            self.say("body", "a GET has none");
        }
        if stream.key.is_empty() && !stream.table {
            self.say("key", "is missing: it identifies a record");
        }
        if stream.table && stream.scalar.is_some() {
            self.say("scalar", "rows of a table cannot be scalars");
        }
        if let Some(pages) = &stream.pages {
            super::action::check_pages(&format!("{}.pages", self.key), pages, self.found);
        }
        self.parents();
        self.incremental_rules();
        self.templates();
        if let Some(sample) = &stream.sample {
            self.sample(sample);
        }
        if !stream.deleted_unless.is_empty() && stream.deleted.is_empty() {
            self.say("deleted_unless", "is an exception to deleted, which is missing");
        }
        if let Some(overlooks) = &stream.overlooks
            && (overlooks.trim().is_empty() || overlooks.trim_end().ends_with('.'))
        {
            self.say("overlooks", "is a sentence without the period at its end");
        }
        for (index, skip) in stream.skip.iter().enumerate() {
            if skip.status.is_empty() && skip.body.is_empty() {
                self.say(&format!("skip.{index}"), "fits every refusal: say a status or a place in the body");
            }
        }
    }

    fn parents(&mut self) {
        for (index, parent) in self.stream.parents.iter().enumerate() {
            let at = format!("parents.{index}");
            if !self.connector.streams.contains_key(&parent.stream) {
                let known = did_you_mean_or_list(&parent.stream, self.connector.streams.keys().map(String::as_str));
                self.say(&format!("{at}.stream"), format!("{:?} is not among the streams{known}", parent.stream));
            } else if parent.stream != self.name && self.depends_on(&parent.stream, &mut BTreeSet::new()) {
                let message =
                    format!("{:?} is listed for {:?} in its turn, and neither can begin", parent.stream, self.name);
                self.say(&format!("{at}.stream"), message);
            }
            let first = &self.stream.parents[0];
            if parent.values.keys().collect::<BTreeSet<_>>() != first.values.keys().collect() {
                self.say(&format!("{at}.values"), "gives other names than the first parent");
            }
        }
        if self.stream.parents.iter().all(|parent| parent.stream == self.name) && !self.stream.parents.is_empty() {
            self.say("parents", "has no parent but itself, and cannot begin");
        }
    }

    /// Whether a stream is listed, in the end, for this one.
    fn depends_on<'s>(&'s self, from: &'s str, seen: &mut BTreeSet<&'s str>) -> bool {
        let parents = self.connector.streams.get(from).map(|stream| &stream.parents);
        parents.into_iter().flatten().any(|parent| {
            parent.stream == self.name
                || (parent.stream != from && seen.insert(&parent.stream) && self.depends_on(&parent.stream, seen))
        })
    }

    fn incremental_rules(&mut self) {
        if self.stream.incremental.is_some() && self.stream.token.is_some() {
            self.say("token", "use either incremental or token, not both");
        }
        if let Some(incremental) = &self.stream.incremental {
            self.incremental(incremental);
        }
        let Some(token) = &self.stream.token else { return };
        if token.url && (!token.query.is_empty() || token.path.is_some()) {
            self.say("token.url", "a URL is complete: leave out query and path");
        }
        if !token.url && token.query.is_empty() && token.path.is_none() {
            self.say("token.query", "is missing: where does a request carry {token}?");
        }
        for name in token.without.iter().filter(|name| !self.stream.query.contains_key(*name)) {
            self.say("token.without", format!("{name:?} is not in the stream's query"));
        }
    }

    fn incremental(&mut self, incremental: &Incremental) {
        if let Some(ties) = &incremental.ties {
            if incremental.restart_after.is_none() {
                self.say("incremental.ties", "is for a list that ends after restart_after records, which is missing");
            }
            let is_same = |query: &IndexMap<String, Template>, body: &Option<Value>| query.is_empty() && body.is_none();
            if is_same(&ties.query, &ties.body) || is_same(&ties.past.query, &ties.past.body) {
                self.say("incremental.ties", "needs a query or a body, and so does past");
            }
        }
        if matches!(incremental.format, CursorFormat::Strftime(_)) {
            self.say("incremental.format", "strftime is how requests write times: say write");
        }
        let timed = !matches!(incremental.format, CursorFormat::Integer | CursorFormat::Text);
        if incremental.window_secs.is_some() && (!timed || incremental.earliest_secs.is_none()) {
            self.say("incremental.window_secs", "needs times, and earliest_secs to begin with");
        }
        if incremental.window_secs == Some(0) {
            self.say("incremental.window_secs", "is at least 1");
        }
        if incremental.format == CursorFormat::Text && incremental.lookback > 0 {
            self.say("incremental.lookback", "nothing is before a text");
        }
        let filters = !incremental.query.is_empty() || incremental.body.is_some();
        if incremental.newest_first && (filters || incremental.restart_after.is_some()) {
            self.say("incremental.newest_first", "is for a list that nothing filters");
        }
        if incremental.restart_after == Some(0) {
            self.say("incremental.restart_after", "is at least 1");
        }
        if incremental.restart_after.is_some() && !filters {
            self.say("incremental.restart_after", "needs a filter to restart with: query or body");
        }
        if incremental.body.is_some() && self.stream.method == HttpMethod::Get {
            self.say("incremental.body", "a GET has none");
        }
    }

    fn templates(&mut self) {
        let stream = self.stream;
        let all = stream.auth.is_empty();
        let ways: Vec<(&str, &AuthMethod)> = self
            .connector
            .auth
            .iter()
            .map(|(name, auth)| (name.as_str(), auth))
            .filter(|(name, _)| all || stream.auth.iter().any(|known| known == name))
            .collect();
        let own: Vec<&str> = stream
            .params
            .keys()
            .chain(stream.parents.first().into_iter().flat_map(|parent| parent.values.keys()))
            .map(String::as_str)
            .collect();
        let taken: BTreeSet<&str> = ways.iter().flat_map(|(_, auth)| defined_names(self.connector, auth)).collect();
        for name in own.iter().filter(|name| taken.contains(**name)) {
            self.say("params", format!("{name:?} is a value of the connection already: call it otherwise"));
        }
        let based = ways.iter().all(|(_, auth)| has_base(self.connector, auth));
        let key = self.key.clone();
        let mut given = NameScope::new(self.connector, ways, self.found);
        given.add(&own);
        given.templates(&format!("{key}.add"), &stream.add);
        let omitted: Value = stream.omit.values().flatten().cloned().collect();
        body(&mut given, &format!("{key}.omit"), Some(&omitted));
        let paged = stream.pages.as_ref().or(self.connector.api.pages.as_ref());
        if paged.is_some_and(|pages| matches!(pages.kind, PaginationKind::Page | PaginationKind::Offset)) {
            given.add(PAGE_NAMES);
        }
        if stream.incremental.as_ref().is_some_and(|incremental| incremental.window_secs.is_some()) {
            given.add(&["since", "until"]);
        }
        given.path(&format!("{key}.path"), &stream.path, based);
        given.templates(&format!("{key}.query"), &stream.query);
        given.templates(&format!("{key}.headers"), &stream.headers);
        body(&mut given, &format!("{key}.body"), stream.body.as_ref());
        if let Some(detail) = &stream.detail {
            let names: Vec<&str> = detail.values.keys().map(String::as_str).collect();
            given.add(&names);
            given.path(&format!("{key}.detail.path"), &detail.path, based);
            given.templates(&format!("{key}.detail.query"), &detail.query);
        }
        if let Some(token) = &stream.token {
            check_token(&mut given, &format!("{key}.token"), token, based);
        }
        if let Some(incremental) = &stream.incremental {
            given.add(&["since", "until"]);
            given.templates(&format!("{key}.incremental.query"), &incremental.query);
            given.templates(&format!("{key}.incremental.until"), &incremental.until);
            body(&mut given, &format!("{key}.incremental.body"), incremental.body.as_ref());
            if let Some(ties) = &incremental.ties {
                given.templates(&format!("{key}.incremental.ties.past.query"), &ties.past.query);
                body(&mut given, &format!("{key}.incremental.ties.past.body"), ties.past.body.as_ref());
                given.add(&["after"]);
                given.templates(&format!("{key}.incremental.ties.query"), &ties.query);
                body(&mut given, &format!("{key}.incremental.ties.body"), ties.body.as_ref());
            }
        }
    }

    fn sample(&mut self, sample: &str) {
        let parents = self.stream.parents.iter().flat_map(|parent| parent.values.keys());
        let references: Vec<String> = self.connector.streams.keys().map(|name| format!("{name}_id")).collect();
        let known: BTreeSet<&str> = SAMPLE_NAMES
            .iter()
            .chain(RECORD_SAMPLE_NAMES)
            .chain(ACCOUNT_SAMPLE_NAMES)
            .copied()
            .chain(parents.chain(self.stream.params.keys()).chain(&references).map(String::as_str))
            .collect();
        check_sample_text(&format!("{}.sample", self.key), sample, &known, self.found);
    }
}

fn check_token(given: &mut NameScope<'_, '_>, key: &str, token: &SyncToken, based: bool) {
    if let Some(first) = &token.first {
        given.path(&format!("{key}.first.path"), &first.path, based);
        given.templates(&format!("{key}.first.query"), &first.query);
    }
    given.add(&["token"]);
    given.templates(&format!("{key}.query"), &token.query);
    if let Some(path) = &token.path {
        given.path(&format!("{key}.path"), path, based);
    }
}

/// The strings of a body, which are templates.
fn body(given: &mut NameScope<'_, '_>, key: &str, body: Option<&Value>) {
    let mut templates = IndexMap::new();
    let Some(body) = body else { return };
    for_each_string(body, &mut |text| _ = templates.insert(text.to_owned(), Template::parse(text)));
    for (_, template) in templates {
        match template {
            Ok(template) => given.template(key, &template),
            Err(error) => given.found.push((key.to_owned(), error.to_string())),
        }
    }
}
