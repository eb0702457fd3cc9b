//! A client of streams that knows the file and the rules of paging, and nothing of the emulation.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use url::Url;

use super::{SEED, TestEmulator, body};
use crate::api::{PageContext, PagePosition, PageToken, max_id, next_page};
use crate::connector::{
    Connector, Pagination, PaginationKind, Pointer, Stream, Template, Values, fill_document, first_page,
};
use crate::sandbox::token::{TokenClaims, TokenKind};
use crate::sandbox::{SandboxResponse, SandboxState, sandbox_fields};

/// More pages than any list of these tests has.
const MOST_PAGES: usize = 400;

/// What is asked for beside the list itself.
#[derive(Clone, Default)]
pub(super) struct ListQuery {
    pub(super) since: Option<String>,
    pub(super) until: Option<String>,
    pub(super) token: Option<String>,
}

impl ListQuery {
    pub(super) fn since(text: &str) -> Self {
        Self { since: Some(text.to_owned()), ..Self::default() }
    }

    pub(super) fn token(text: &str) -> Self {
        Self { token: Some(text.to_owned()), ..Self::default() }
    }
}

/// A whole list.
#[derive(Debug, Default)]
pub(super) struct PagerRun {
    pub(super) records: Vec<Value>,
    /// The keys of those that a change feed tells to be gone.
    pub(super) gone: Vec<String>,
    pub(super) pages: Vec<usize>,
    pub(super) token: Option<String>,
}

/// One stream, by one authentication method.
pub(super) struct TestPager {
    pub(super) bench: TestEmulator,
    pub(super) name: String,
    pub(super) stream: Stream,
    pub(super) part: BTreeMap<String, String>,
    values: Values,
    headers: Vec<(String, String)>,
    sent: Vec<(String, String)>,
}

impl TestPager {
    pub(super) fn new(bench: TestEmulator, name: &str, part: &[(&str, &str)]) -> Self {
        let connector = bench.vendor.connector.clone();
        let auth = bench.vendor.auth.clone();
        let mut values = Values::default();
        for name in connector
            .streams
            .values()
            .flat_map(Stream::paths)
            .chain(connector.api.base.iter())
            .chain(auth.base.iter())
            .flat_map(Template::placeholders)
        {
            values.set(name, &bench.vendor.account.metadata_value(&connector, &auth, name));
        }
        values.extend(&bench.vendor.params);
        for (name, value) in sandbox_fields(&connector, &auth, SEED) {
            values.set(&name, value.expose());
        }
        let claims = TokenClaims {
            kind: TokenKind::Access,
            grant: "g".to_owned(),
            serial: 1,
            client: "c".to_owned(),
            account: bench.vendor.account.clone(),
            public: false,
            scopes: connector.scopes.keys().cloned().collect(),
            also: true,
            several: false,
            issued: bench.now,
            expires: None,
            generation: 0,
            redirect: None,
            challenge: None,
        };
        let own = auth.token_field().and_then(|field| values.get(field).map(str::to_owned));
        let token = own.unwrap_or_else(|| bench.vendor.signer.sign(&claims));
        values.set("access_token", &token).set("client_id", "c");
        let stream = connector.streams[name].clone();
        for (name, param) in &stream.params {
            values.set(name, param.default.as_deref().or(param.example.as_deref()).unwrap_or("sandbox"));
        }
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let mut sent = Vec::new();
        match &auth.send {
            None => headers.push(("authorization".to_owned(), format!("Bearer {token}"))),
            Some(send) => {
                headers.extend(send.headers.iter().map(|(name, value)| (name.clone(), value.fill(&values).unwrap())));
                sent.extend(send.query.iter().map(|(name, value)| (name.clone(), value.fill(&values).unwrap())));
                if let Some(basic) = &send.basic {
                    let pair =
                        format!("{}:{}", basic.username.fill(&values).unwrap(), basic.password.fill(&values).unwrap());
                    use base64::Engine;
                    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
                    headers.push(("authorization".to_owned(), format!("Basic {encoded}")));
                }
            }
        }
        let part: BTreeMap<String, String> =
            part.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        values.extend(&part);
        Self { bench, name: name.to_owned(), stream, part, values, headers, sent }
    }

    fn connector(&self) -> &Connector {
        &self.bench.vendor.connector
    }

    fn pages(&self) -> Option<Pagination> {
        self.stream.pages.clone().or(self.connector().api.pages.clone())
    }

    pub(super) fn send(&mut self, method: &str, url: &Url, body: Option<&Value>) -> SandboxResponse {
        let headers: Vec<(&str, &str)> = self.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let text = body.map(Value::to_string).unwrap_or_default();
        self.bench.send(method, &url[url::Position::BeforePath..], &headers, &text)
    }

    /// The URL of a path of the file, with the credentials that go there.
    pub(super) fn url(&self, path: &Template, values: &Values) -> Url {
        let vendor = &self.bench.vendor;
        let base = vendor.auth.base.as_ref().or(vendor.connector.api.base.as_ref());
        let mut text = path.fill_path(values).unwrap();
        if !text.contains("://") {
            text = base.unwrap().fill_path(values).unwrap() + &text;
        }
        let mut url = Url::parse(&text).unwrap();
        for (name, value) in &self.sent {
            url.query_pairs_mut().append_pair(name, value);
        }
        url
    }

    /// One request of the list.
    pub(super) fn request(&self, wish: &ListQuery, turn: Option<&PageToken>) -> (Url, Option<Value>) {
        if let Some(PageToken::Url(url)) = turn {
            return (url.clone(), None);
        }
        let stream = &self.stream;
        let pages = self.pages();
        let size = pages.as_ref().and_then(|pages| pages.size).unwrap_or(100);
        let mut values = self.values.clone();
        let count = match turn {
            Some(PageToken::Count(count)) => *count,
            _ => pages.as_ref().map_or(1, first_page),
        };
        values.set("page", &count.to_string()).set("offset", &count.to_string()).set("size", &size.to_string());
        for (name, value) in [("since", &wish.since), ("until", &wish.until), ("token", &wish.token)] {
            if let Some(value) = value {
                values.set(name, value);
            }
        }
        let token = stream.token.as_ref().filter(|_| wish.token.is_some());
        if let Some(token) = token.filter(|token| token.url) {
            assert!(token.query.is_empty());
            return (Url::parse(wish.token.as_ref().unwrap()).unwrap(), None);
        }
        let mut query: Vec<(String, String)> = Vec::new();
        let mut lay = |name: &String, template: &Template| {
            query.retain(|(known, _)| known != name);
            query.push((name.clone(), template.fill(&values).unwrap()));
        };
        for (name, template) in &stream.query {
            // What windows do not say is not asked for.
            if token.is_none_or(|token| !token.without.contains(name)) && template.is_complete(&values) {
                lay(name, template);
            }
        }
        if let Some(incremental) = stream.incremental.as_ref() {
            for (name, template) in incremental.query.iter().filter(|_| wish.since.is_some()) {
                lay(name, template);
            }
            for (name, template) in incremental.until.iter().filter(|_| wish.until.is_some()) {
                lay(name, template);
            }
        }
        for (name, template) in token.iter().flat_map(|token| &token.query) {
            lay(name, template);
        }
        if let Some((name, size)) = pages.as_ref().and_then(|pages| Some((pages.size_param.clone()?, pages.size?)))
            && !pages.as_ref().is_some_and(|pages| pages.is_in_body(&name))
            && !query.iter().any(|(known, _)| *known == name)
        {
            query.push((name, size.to_string()));
        }
        let mut document = stream.body.clone();
        if let Some(over) = stream.incremental.as_ref().and_then(|incremental| incremental.body.as_ref())
            && wish.since.is_some()
        {
            merge(document.get_or_insert(json!({})), over);
        }
        let mut document = document.map(|document| fill_document(&document, &values).unwrap());
        match turn {
            Some(PageToken::Query(name, value)) => {
                query.retain(|(known, _)| known != name);
                query.push((name.clone(), value.clone()));
            }
            Some(PageToken::Body(name, value)) => {
                Pointer::from_param(name).set(document.get_or_insert(json!({})), value.clone());
            }
            _ => {}
        }
        let path = token.and_then(|token| token.path.as_ref()).unwrap_or(&stream.path);
        let mut url = self.url(path, &values);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        (url, document)
    }

    /// What a reply holds of records.
    pub(super) fn records(&self, document: &Value, changes: bool) -> Vec<Value> {
        let token = self.stream.token.as_ref().filter(|token| changes && !token.records.is_empty());
        let places = token.map_or(&self.stream.records, |token| &token.records);
        let found = at_places(places, document);
        if !places.is_empty() {
            return found;
        }
        match self.pages().and_then(|pages| pages.records) {
            Some(at) => at_places(&[at], document),
            None if document.is_array() => document.as_array().unwrap().clone(),
            None => document.as_object().unwrap().values().find_map(Value::as_array).unwrap().clone(),
        }
    }

    /// The key of a record, with what the parent gives to it.
    pub(super) fn key(&self, record: &Value) -> String {
        if self.stream.table || !record.is_object() {
            return record.to_string();
        }
        let mut record = record.clone();
        for (name, template) in &self.stream.add {
            if record.get(name).is_none() {
                record[name] = json!(template.fill(&self.values).unwrap());
            }
        }
        let parts = self.stream.key.iter().map(|at| at.text(&record).unwrap_or_else(|| panic!("no {at} in {record}")));
        parts.collect::<Vec<_>>().join("/")
    }

    pub(super) fn page(&mut self, wish: &ListQuery, turn: Option<&PageToken>) -> (SandboxResponse, Url) {
        let (url, document) = self.request(wish, turn);
        let method = if matches!(turn, Some(PageToken::Url(_))) { "GET" } else { self.stream.method.as_str() };
        (self.send(method, &url, document.as_ref()), url)
    }

    /// Follows the pages to the last.
    pub(super) fn read_all(&mut self, wish: &ListQuery) -> PagerRun {
        let mut walked = PagerRun::default();
        let mut turn = None;
        let pages = self.pages();
        let token = self.stream.token.clone();
        for _ in 0..MOST_PAGES {
            let (reply, url) = self.page(wish, turn.as_ref());
            assert_eq!(reply.status, 200, "{} {url}: {}", self.name, reply.body);
            let document = body(&reply);
            let mut records = self.records(&document, wish.token.is_some());
            let count = records.len();
            let id = pages.as_ref().and_then(|pages| {
                let at = pages.id.as_ref()?;
                let mut ids = records.iter().rev().filter_map(|record| at.text(record));
                if pages.kind == PaginationKind::MaxRecord { max_id(ids) } else { ids.next() }
            });
            if self.stream.table {
                records.remove(0);
            }
            walked.pages.push(count);
            walked.records.append(&mut records);
            if let Some(token) = &token {
                walked.token = token.at.text(&document).or(walked.token);
                for gone in token.gone.iter().filter(|_| wish.token.is_some()) {
                    let items = at_places(&gone.at, &document);
                    let fits = |item: &&Value| {
                        gone.when.iter().all(|(at, values)| at.find(item).is_some_and(|value| values.contains(value)))
                    };
                    let key =
                        |item: &Value| gone.key.iter().map(|at| at.text(item).unwrap()).collect::<Vec<_>>().join("/");
                    walked.gone.extend(items.iter().filter(fits).map(key));
                }
            }
            let link = reply.headers.iter().find(|(name, _)| name == "link").map(|(_, value)| value.as_str());
            let find = |at: &Pointer| at.find(&document).cloned();
            let seen: usize = walked.pages.iter().sum();
            let position = PagePosition { page_token: turn.clone(), record_count: seen - count };
            let listed = PageContext { url: &url, position: &position, link_header: link, find: &find, count, id };
            match next_page(pages.as_ref(), &listed).unwrap() {
                Some(next) => {
                    assert_ne!(Some(&next), turn.as_ref(), "{} goes round at {url}", self.name);
                    turn = Some(next);
                }
                None => return walked,
            }
        }
        panic!("{} does not end: {:?}", self.name, walked.pages);
    }

    /// The token that is asked for before a full list.
    pub(super) fn first_token(&mut self) -> String {
        let token = self.stream.token.clone().unwrap().first.unwrap();
        let mut url = self.url(&token.path, &self.values);
        for (name, template) in &token.query {
            url.query_pairs_mut().append_pair(name, &template.fill(&self.values).unwrap());
        }
        let reply = self.send("GET", &url, None);
        assert_eq!(reply.status, 200, "{url}: {}", reply.body);
        token.at.text(&body(&reply)).unwrap()
    }

    /// One record by itself.
    pub(super) fn detail(&mut self, record: &Value) -> Value {
        let detail = self.stream.detail.clone().unwrap();
        let mut values = self.values.clone();
        for (name, at) in &detail.values {
            values.set(name, &at.text(record).unwrap());
        }
        let mut url = self.url(&detail.path, &values);
        for (name, template) in &detail.query {
            url.query_pairs_mut().append_pair(name, &template.fill(&values).unwrap());
        }
        let reply = self.send("GET", &url, None);
        assert_eq!(reply.status, 200, "{url}: {}", reply.body);
        body(&reply)
    }

    /// All keys, each once.
    pub(super) fn keys(&self, records: &[Value]) -> std::collections::BTreeSet<String> {
        let keys: std::collections::BTreeSet<String> = records.iter().map(|record| self.key(record)).collect();
        assert_eq!(keys.len(), records.len(), "{}: keys come twice", self.name);
        keys
    }

    pub(super) fn state(&mut self) -> &mut SandboxState {
        &mut self.bench.state
    }
}

fn merge(below: &mut Value, above: &Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (name, value) in above {
                merge(below.entry(name.clone()).or_insert(Value::Object(Map::new())), value);
            }
        }
        (below, above) => *below = above.clone(),
    }
}

/// The items of lists, or single values, at places in which `*` stands for every item.
pub(super) fn at_places(places: &[Pointer], document: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    for place in places {
        let mut here = vec![document];
        let tokens: Vec<String> = place.tokens().collect();
        for token in &tokens {
            here = here
                .into_iter()
                .flat_map(|value| match (token.as_str(), value) {
                    ("*", Value::Array(items)) => items.iter().collect(),
                    (token, Value::Array(items)) => {
                        token.parse::<usize>().ok().and_then(|at| items.get(at)).into_iter().collect()
                    }
                    (token, value) => value.get(token).into_iter().collect::<Vec<_>>(),
                })
                .collect();
        }
        let is_item = tokens.last().is_some_and(|token| token == "*");
        for value in here {
            match value {
                Value::Array(items) if !is_item => found.extend(items.iter().cloned()),
                Value::Null => {}
                value => found.push(value.clone()),
            }
        }
    }
    found
}
