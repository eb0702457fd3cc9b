//! What a form does: a route of the API.

use crate::http::serve::Method;

/// A method and the path of a route, with names in braces: `/v1/connections/{connection}/test`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FormAction {
    pub(super) method: Method,
    pub(super) path: &'static str,
}

impl FormAction {
    pub(super) const fn get(path: &'static str) -> Self {
        Self { method: Method::GET, path }
    }

    pub(super) const fn post(path: &'static str) -> Self {
        Self { method: Method::POST, path }
    }

    pub(super) const fn put(path: &'static str) -> Self {
        Self { method: Method::PUT, path }
    }

    pub(super) const fn patch(path: &'static str) -> Self {
        Self { method: Method::PATCH, path }
    }

    pub(super) const fn delete(path: &'static str) -> Self {
        Self { method: Method::DELETE, path }
    }
}
