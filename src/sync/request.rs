//! Builds the requests of a sync from a checkpoint. Pure.

use indexmap::IndexMap;
use serde_json::Value;

use super::checkpoint::{Checkpoint, TieBreak, since_text, until_text};
use crate::api::{ApiError, PageToken, apply_page_token, check_own_host};
use crate::clock::Timestamp;
use crate::connector::{
    DetailRequest, HttpMethod, InitialToken, PageParam, Pagination, Pointer, Stream, Template, TemplateError, Values,
    first_page,
};
use crate::error::Result;
use crate::http::Request;
use crate::model::{Grant, StreamParams};
use crate::runtime::Session;

/// One list of a stream.
pub(super) struct ListRequestBuilder<'a> {
    pub(super) session: &'a Session,
    pub(super) name: &'a str,
    pub(super) stream: &'a Stream,
    /// The user's values and the parent's.
    pub(super) params: &'a StreamParams,
    pub(super) now: Timestamp,
}

impl ListRequestBuilder<'_> {
    pub(super) fn pages(&self) -> Option<&Pagination> {
        self.stream.pages.as_ref().or(self.session.connector.api.pages.as_ref())
    }

    /// The values that mark records to be left out, by their places.
    ///
    /// # Errors
    /// [`ApiError::Template`].
    pub(super) fn omitted(&self) -> Result<IndexMap<Pointer, Vec<Value>>> {
        let mut values = self.session.values(None);
        values.extend(self.params);
        let mut omitted = self.stream.omit.clone();
        for value in omitted.values_mut().flatten() {
            fill(value, &values).map_err(|source| self.wrong(source))?;
        }
        Ok(omitted)
    }

    /// The members that each record is given.
    ///
    /// # Errors
    /// [`ApiError::Template`].
    pub(super) fn added(&self) -> Result<IndexMap<String, String>> {
        let mut values = self.session.values(None);
        values.extend(self.params);
        let fill = |(name, value): (&String, &Template)| Ok((name.clone(), value.fill(&values)?));
        let added: std::result::Result<_, TemplateError> = self.stream.add.iter().map(fill).collect();
        Ok(added.map_err(|source| self.wrong(source))?)
    }

    /// The request for a page.
    ///
    /// # Errors
    /// [`ApiError::Template`], [`ApiError::ForeignHost`] for a link that leads elsewhere.
    pub(super) fn page(&self, checkpoint: &Checkpoint, grant: &Grant) -> Result<Request> {
        let values = self.values(checkpoint, grant);
        let stream = self.stream;
        let token = stream.token.as_ref().filter(|_| checkpoint.since.is_some());
        let rule = stream.incremental.as_ref();
        let mut query: IndexMap<&str, &Template> =
            stream.query.iter().map(|(name, value)| (name.as_str(), value)).collect();
        let mut path = &stream.path;
        if let Some(token) = token {
            query.retain(|name, _| !token.without.iter().any(|without| without == name));
            query.extend(token.query.iter().map(|(name, value)| (name.as_str(), value)));
            path = token.path.as_ref().unwrap_or(path);
        }
        let (tie_query, tie_body) = match (rule.and_then(|rule| rule.ties.as_ref()), &checkpoint.tie) {
            (Some(ties), Some(TieBreak::InProgress { .. })) => (Some(&ties.query), ties.body.as_ref()),
            (Some(ties), Some(TieBreak::Passed)) => (Some(&ties.past.query), ties.past.body.as_ref()),
            _ => (None, None),
        };
        if let Some(rule) = rule {
            if checkpoint.since.is_some() {
                query.extend(rule.query.iter().map(|(name, value)| (name.as_str(), value)));
            }
            query.extend(tie_query.into_iter().flatten().map(|(name, value)| (name.as_str(), value)));
            if checkpoint.until.is_some() {
                query.extend(rule.until.iter().map(|(name, value)| (name.as_str(), value)));
            }
        }
        let method = if token.is_some_and(|token| token.path.is_some()) { HttpMethod::Get } else { stream.method };
        let mut request = match (token, &checkpoint.since) {
            (Some(token), Some(url)) if token.url => {
                query.clear();
                self.session.request_to(HttpMethod::Get.as_str(), url, grant)?
            }
            _ => self.request(method, path, &values, grant)?,
        };
        for (name, value) in query {
            let name =
                Template::parse(name).and_then(|name| name.fill(&values)).map_err(|source| self.wrong(source))?;
            let value = value.fill(&values).map_err(|source| self.wrong(source))?;
            request.url.query_pairs_mut().append_pair(&name, &value);
        }
        for (name, value) in &stream.headers {
            let value = value.fill(&values).map_err(|source| self.wrong(source))?;
            request.set_header(name, crate::secret::Secret::new(value));
        }
        if method != HttpMethod::Get {
            let filter = rule.filter(|_| checkpoint.since.is_some()).and_then(|rule| rule.body.as_ref());
            let changes = tie_body.or(filter);
            self.write_body(&mut request, &values, changes)?;
        }
        let by_url =
            token.is_some_and(|token| token.url) || matches!(checkpoint.position.page_token, Some(PageToken::Url(_)));
        if let Some(turn) = &checkpoint.position.page_token {
            apply_page_token(&mut request, turn);
        }
        if let (Some(pages), false) = (self.pages(), by_url) {
            size(pages, method, &mut request);
        }
        check_own_host(self.session, &request)?;
        Ok(request)
    }

    /// The request for one record of the list.
    ///
    /// # Errors
    /// [`ApiError::Template`].
    pub(super) fn detail(&self, detail: &DetailRequest, record: &Value, grant: &Grant) -> Result<Request> {
        let mut values = self.values(&Checkpoint::default(), grant);
        for (name, at) in &detail.values {
            if let Some(text) = at.text(record) {
                values.set(name, &text);
            }
        }
        self.simple(&detail.path, &detail.query, &values, grant)
    }

    /// The request for the token that changes begin with.
    ///
    /// # Errors
    /// [`ApiError::Template`].
    pub(super) fn first_token(&self, first: &InitialToken, grant: &Grant) -> Result<Request> {
        self.simple(&first.path, &first.query, &self.values(&Checkpoint::default(), grant), grant)
    }

    fn simple(
        &self,
        path: &Template,
        query: &IndexMap<String, Template>,
        values: &Values,
        grant: &Grant,
    ) -> Result<Request> {
        let mut request = self.request(HttpMethod::Get, path, values, grant)?;
        for (name, value) in query {
            let value = value.fill(values).map_err(|source| self.wrong(source))?;
            request.url.query_pairs_mut().append_pair(name, &value);
        }
        check_own_host(self.session, &request)?;
        Ok(request)
    }

    fn request(&self, method: HttpMethod, path: &Template, values: &Values, grant: &Grant) -> Result<Request> {
        let path = path.fill_path(values).map_err(|source| self.wrong(source))?;
        Ok(self.session.request_to(method.as_str(), &path, grant)?)
    }

    fn write_body(&self, request: &mut Request, values: &Values, changes: Option<&Value>) -> Result<()> {
        let empty = || Value::Object(serde_json::Map::new());
        let mut body = self.stream.body.clone().unwrap_or_else(empty);
        if let (Value::Object(body), Some(Value::Object(changes))) = (&mut body, changes) {
            body.extend(changes.clone());
        }
        fill(&mut body, values).map_err(|source| self.wrong(source))?;
        *request = request.clone().body("application/json", body.to_string().into_bytes());
        Ok(())
    }

    fn values(&self, checkpoint: &Checkpoint, grant: &Grant) -> Values {
        let mut values = self.session.values(Some(grant));
        values.extend(self.params);
        if let Some(rule) = &self.stream.incremental {
            if let Some(since) = since_text(rule, checkpoint) {
                values.set("since", &since);
            }
            if let Some(TieBreak::InProgress { after, .. }) = &checkpoint.tie {
                values.set("after", after);
            }
            if let Some(until) = until_text(rule, checkpoint.until.as_deref(), self.now) {
                values.set("until", &until);
            }
        }
        if let (Some(_), Some(token)) = (&self.stream.token, &checkpoint.since) {
            values.set("token", token);
        }
        if let Some(pages) = self.pages() {
            let count = match checkpoint.position.page_token {
                Some(PageToken::Count(count)) => count,
                _ => first_page(pages),
            };
            values.set("page", &count.to_string()).set("offset", &count.to_string());
            values.set("size", &pages.size.unwrap_or_default().to_string());
        }
        values
    }

    fn wrong(&self, source: TemplateError) -> ApiError {
        ApiError::from((self.session, self.name, source))
    }
}

/// Asks for pages of the usual size, where the request does not say one itself.
fn size(pages: &Pagination, method: HttpMethod, request: &mut Request) {
    let (Some(param), Some(size)) = (&pages.size_param, pages.size) else { return };
    match param {
        PageParam::Body(at) if method != HttpMethod::Get => {
            let bytes = request.body.as_ref().map(|body| body.bytes.expose().clone()).unwrap_or_default();
            let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            if at.find(&document).is_none() {
                apply_page_token(request, &PageToken::Body(at.clone(), size.into()));
            }
        }
        PageParam::Query(name) if !request.url.query_pairs().any(|(known, _)| known == name.as_str()) => {
            request.url.query_pairs_mut().append_pair(name, &size.to_string());
        }
        _ => {}
    }
}

/// Fills the strings of a body. One that is nothing but a count becomes a number.
fn fill(body: &mut Value, values: &Values) -> std::result::Result<(), TemplateError> {
    match body {
        Value::String(text) => {
            let filled = Template::parse(text)?.fill(values)?;
            let count = matches!(text.as_str(), "{page}" | "{offset}" | "{size}");
            *body = match filled.parse::<u64>() {
                Ok(number) if count => number.into(),
                _ => Value::String(filled),
            };
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| fill(item, values))?,
        Value::Object(members) => members.values_mut().try_for_each(|value| fill(value, values))?,
        _ => {}
    }
    Ok(())
}
