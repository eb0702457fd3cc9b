//! A route of the HTTP API: method, path, operation, the shapes of request and response, and the handler.

use std::future::Future;
use std::pin::Pin;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

use super::call::{Call, RawCall, Unused};
use super::reply::{IntoReply, Reply, ReplyShape};
use crate::error::Result;
use crate::http::serve::{Method, StatusCode};
use crate::ops::{Effect, Operation, Reach, operations};

/// Generates the JSON Schema of a request's query or body.
pub(super) type SchemaFunction = fn(&mut SchemaGenerator) -> Schema;

type Handler = Box<dyn Fn(RawCall) -> Pin<Box<dyn Future<Output = Result<Reply>> + Send>> + Send + Sync + 'static>;

/// Returns an error unless a request has the declared shape.
type Check = Box<dyn Fn(RawCall) -> Result<()> + Send + Sync + 'static>;

type EffectFunction =
    Box<dyn Fn(RawCall) -> Pin<Box<dyn Future<Output = Result<Effect>> + Send>> + Send + Sync + 'static>;

/// One method of one path.
pub(super) struct ApiRoute {
    pub(super) method: Method,
    /// With names in braces: `/v1/connections/{connection}`.
    pub(super) path: &'static str,
    /// The operation that it runs; its scope, effect and reach decide who may call it.
    pub(super) operation: &'static Operation,
    /// What it does, for the description of the API.
    pub(super) summary: &'static str,
    pub(super) query: Option<SchemaFunction>,
    pub(super) body: Option<SchemaFunction>,
    /// Whether an absent body, which is read as an empty object, is refused.
    pub(super) needs_body: bool,
    pub(super) response: ReplyShape,
    /// Whether a repeated request with the same `Idempotency-Key` gets the first one's response.
    pub(super) is_repeatable: bool,
    /// Whether the response holds a secret that is returned once: it is not stored for a repetition.
    pub(super) has_secret_reply: bool,
    handler: Handler,
    check: Check,
    /// The effect of one request, if it can be less than the operation's.
    effect: Option<EffectFunction>,
}

impl ApiRoute {
    /// Creates a route of an operation, named as on the command line.
    ///
    /// # Panics
    /// If the operation is unknown, or if it may only be requested at the machine: both are mistakes in the table.
    pub(super) fn new<Q, B, R, F, Fut>(
        (method, path): (Method, &'static str),
        operation: &str,
        summary: &'static str,
        handler: F,
    ) -> Self
    where
        Q: DeserializeOwned + JsonSchema + Send + 'static,
        B: DeserializeOwned + JsonSchema + Send + 'static,
        R: IntoReply,
        F: Fn(Call<Q, B>) -> Fut + Send + Sync + Clone + 'static,
        Fut: Future<Output = Result<R>> + Send + 'static,
    {
        let found = operations().find(|known| known.name == operation);
        let operation = found.unwrap_or_else(|| panic!("no operation is named {operation:?}"));
        assert!(operation.reach >= Reach::Operator, "{} may only be requested at the machine", operation.name);
        let handler = move |raw: RawCall| {
            let handler = handler.clone();
            Box::pin(async move {
                let call = Call::<Q, B>::parse(raw)?;
                Ok(handler(call).await?.into_reply())
            }) as Pin<Box<dyn Future<Output = Result<Reply>> + Send>>
        };
        let response = R::shape();
        Self {
            is_repeatable: method == Method::POST && response.status != StatusCode::OK,
            has_secret_reply: false,
            method,
            path,
            operation,
            summary,
            query: (Q::schema_name() != Unused::schema_name()).then_some(Q::json_schema as SchemaFunction),
            body: (B::schema_name() != Unused::schema_name()).then_some(B::json_schema as SchemaFunction),
            needs_body: serde_json::from_str::<B>("{}").is_err(),
            response,
            handler: Box::new(handler),
            check: Box::new(|raw| Call::<Q, B>::parse(raw).map(drop)),
            effect: None,
        }
    }

    /// Declares that the response holds a secret, which is returned once.
    #[must_use]
    pub(super) fn returning_secret(self) -> Self {
        Self { has_secret_reply: true, ..self }
    }

    /// Sets the function that returns the effect of one request, for an operation whose requests differ.
    #[must_use]
    pub(super) fn with_effect<Q, B, F, Fut>(self, effect: F) -> Self
    where
        Q: DeserializeOwned + Send + 'static,
        B: DeserializeOwned + Send + 'static,
        F: Fn(Call<Q, B>) -> Fut + Send + Sync + Clone + 'static,
        Fut: Future<Output = Result<Effect>> + Send + 'static,
    {
        let effect = move |raw: RawCall| {
            let effect = effect.clone();
            Box::pin(async move { effect(Call::<Q, B>::parse(raw)?).await })
                as Pin<Box<dyn Future<Output = Result<Effect>> + Send>>
        };
        Self { effect: Some(Box::new(effect)), ..self }
    }

    /// Returns the effect of one request.
    ///
    /// # Errors
    /// A request that does not have the declared shape, or that names what does not exist.
    pub(super) async fn effect(&self, raw: RawCall) -> Result<Effect> {
        match &self.effect {
            _ if self.method == Method::GET => Ok(Effect::Read),
            Some(effect) => effect(raw).await,
            None => Ok(self.operation.effect),
        }
    }

    /// Checks that a request has the declared shape.
    ///
    /// # Errors
    /// What is wrong with its path, query or body.
    pub(super) fn check(&self, raw: RawCall) -> Result<()> {
        (self.check)(raw)
    }

    /// Runs the operation.
    ///
    /// # Errors
    /// A request that does not have the declared shape, and the operation's errors.
    pub(super) async fn handle(&self, raw: RawCall) -> Result<Reply> {
        (self.handler)(raw).await
    }

    /// Returns the names in the path, in order.
    pub(super) fn path_names(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name)
    }
}
