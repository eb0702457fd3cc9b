//! Calls to the services of a server's connections. Parameters and files are read here; their values are sent.

use std::ops::ControlFlow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{MAX_ANSWER_BYTES, RemoteError, RemoteServer};
use crate::api::{ApiError, Attachment, PageNovelty, Pager, hash_of};
use crate::connector::HttpMethod;
use crate::error::Result;
use crate::http::Response;
use crate::model::ConnectionName;
use crate::ops::calls::{CallActionRequest, CallPathRequest, ConnectionAction};
use crate::view::call::{ActionListView, CallResultView, CallableActionView, RequestPreviewView, ServiceResponseView};
use crate::view::problem::ProblemView;

#[derive(Deserialize)]
struct Refusal {
    refusal: Option<ProblemView>,
}

#[derive(Deserialize)]
struct Warning {
    warning: Option<ProblemView>,
}

impl RemoteServer {
    /// Lists the actions of a connection.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn actions(&self, connection: &ConnectionName) -> Result<ActionListView, RemoteError> {
        self.get(&["connections", &connection.to_string(), "actions"], &[]).await
    }

    /// Finds an action with its parameters.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn action(&self, connection: &ConnectionName, name: &str) -> Result<ConnectionAction, RemoteError> {
        let path = ["connections", &connection.to_string(), "actions", name];
        let view: CallableActionView = self.get(&path, &[]).await?;
        ConnectionAction::from_view(view)
            .map_err(|source| RemoteError::Unreadable { server: self.name().to_owned(), source })
    }

    /// Calls an action. What the service's rejection means comes beside the result.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn call_action(
        &self,
        request: &CallActionRequest,
    ) -> Result<(CallResultView, Option<RemoteError>), RemoteError> {
        let path = ["connections", &request.connection.to_string(), "actions", &request.action];
        let answer = self.post_document(&path, &action_body(request), self.max_document_bytes()).await?;
        let Refusal { refusal } = self.read(&answer)?;
        Ok((self.read(&answer)?, refusal.map(RemoteError::refused)))
    }

    /// Returns the request that [`Self::call_action`] would have sent, and why the service would probably reject it.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn preview_action(
        &self,
        request: &CallActionRequest,
    ) -> Result<(RequestPreviewView, Option<RemoteError>), RemoteError> {
        let path = ["connections", &request.connection.to_string(), "action-previews", &request.action];
        let answer = self.post_document(&path, &action_body(request), MAX_ANSWER_BYTES).await?;
        let Warning { warning } = self.read(&answer)?;
        Ok((self.read(&answer)?, warning.map(RemoteError::refused)))
    }

    /// Calls a path, and passes each page to `on_page`, until that breaks. An error response is also passed on, and is then
    /// returned as an error.
    ///
    /// # Errors
    /// [`RemoteError`], a list without an end, and those of `on_page`.
    pub async fn call_path(
        &self,
        request: &CallPathRequest,
        mut on_page: impl FnMut(&Response) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let path = ["connections", &request.connection.to_string(), "request"];
        let mut body = path_body(request);
        let mut pager = Pager::default();
        loop {
            let answer = self.post_document(&path, &body, self.max_document_bytes()).await?;
            let view: ServiceResponseView = self.read(&answer)?;
            let response = self.response_of(&view)?;
            let flow = on_page(&response)?;
            if let Some(problem) = view.refusal {
                return Err(RemoteError::refused(problem).into());
            }
            let Some(next) = view.next_page.filter(|_| flow.is_continue()) else { return Ok(()) };
            // The server forgets between pages: the same page again and again is noticed here.
            if pager.add(&[hash_of(&response.body)], next.page_token.as_ref()) == PageNovelty::Endless {
                let (connection, at) = (request.connection.clone(), request.path.clone());
                return Err(ApiError::RepeatedPage { connection, at }.into());
            }
            body["page"] = json!(next);
        }
    }

    /// Bytes of an answer that holds a service's response, which may be in base64.
    fn max_document_bytes(&self) -> usize {
        MAX_ANSWER_BYTES.max(self.max_response_bytes / 2 * 3)
    }

    fn response_of(&self, view: &ServiceResponseView) -> Result<Response, RemoteError> {
        let headers: Vec<(&str, &str)> =
            view.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let body = STANDARD
            .decode(view.body_base64.as_deref().unwrap_or_default())
            .map_err(|source| RemoteError::Body { server: self.name().to_owned(), source })?;
        Ok(Response::new(view.status, &headers, &body))
    }
}

fn action_body(request: &CallActionRequest) -> Value {
    let values: Map<String, Value> = request.input.values.clone().into_iter().collect();
    let file = |file: &Attachment| json!({ "name": file.name, "content_type": file.content_type, "content_base64": STANDARD.encode(&file.bytes) });
    let files = request.input.files.iter();
    let files: Map<String, Value> =
        files.map(|(name, files)| (name.clone(), files.iter().map(file).collect::<Vec<_>>().into())).collect();
    json!({ "input": values, "files": files, "idempotency_key": request.idempotency_key })
}

fn path_body(request: &CallPathRequest) -> Value {
    let headers = request.headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
    json!({
        "method": request.method.map(HttpMethod::as_str),
        "path": request.path,
        "fields": request.fields,
        "body_base64": request.body.as_ref().map(|body| STANDARD.encode(body)),
        "headers": headers.collect::<Map<_, _>>(),
        "idempotency_key": request.idempotency_key,
        "exact": true,
        "paginate": request.paginate,
    })
}
