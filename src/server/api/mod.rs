//! The routes of the API, a module for each resource. A handler parses nothing and decides nothing: it makes the request of
//! an operation from the call, and returns the operation's view.

mod api_tokens;
mod approvals;
mod audit;
mod bindings;
mod calendar;
mod calls;
mod connections;
mod connectors;
mod consents;
mod endpoints;
mod events;
mod links;
mod monitoring;
mod sign_ins;
mod sync;
mod webhooks;

use super::call::Unused;
use super::route::ApiRoute;
use crate::http::serve::Method;

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;

/// Returns every route.
pub(super) fn routes() -> Vec<ApiRoute> {
    [
        connectors::routes(),
        connections::routes(),
        calls::routes(),
        sync::routes(),
        webhooks::routes(),
        events::routes(),
        endpoints::routes(),
        bindings::routes(),
        links::routes(),
        calendar::routes(),
        api_tokens::routes(),
        approvals::routes(),
        sign_ins::routes(),
        consents::routes(),
        audit::routes(),
        monitoring::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
