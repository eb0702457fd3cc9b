//! The table of routes, and the search for the route of a request.

use std::collections::BTreeMap;

use super::api;
use super::route::ApiRoute;
use crate::http::serve::Method;

/// The routes of the API, indexed by path.
pub(super) struct ApiRouteTable {
    routes: Vec<ApiRoute>,
    /// Positions in `routes`, by path: one for each method.
    paths: matchit::Router<Vec<usize>>,
}

/// The route of a request, and the values in its path.
pub(super) struct ApiRouteMatch {
    /// The position of the route in the table.
    pub(super) index: usize,
    pub(super) path: BTreeMap<&'static str, String>,
}

/// Why a request has no route.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoRoute {
    Path,
    /// The path has these methods only.
    Method(Vec<Method>),
}

impl ApiRouteTable {
    /// Creates the table of every route.
    ///
    /// # Panics
    /// If two routes have the same path and method, or paths that match the same requests: mistakes in the table.
    pub(super) fn new() -> Self {
        let routes = api::routes();
        let mut by_path: BTreeMap<&'static str, Vec<usize>> = BTreeMap::new();
        for (index, route) in routes.iter().enumerate() {
            let methods = by_path.entry(route.path).or_default();
            let is_new = methods.iter().all(|other| routes[*other].method != route.method);
            assert!(is_new, "{} {} is there twice", route.method, route.path);
            methods.push(index);
        }
        let mut paths = matchit::Router::new();
        for (path, methods) in by_path {
            let inserted = paths.insert(path, methods);
            assert!(inserted.is_ok(), "{path}: {inserted:?}");
        }
        Self { routes, paths }
    }

    /// Returns every route, in the order of the table.
    pub(super) fn routes(&self) -> &[ApiRoute] {
        &self.routes
    }

    /// Finds the route of a request. `HEAD` is answered as `GET` is.
    pub(super) fn find(&self, method: &Method, path: &str) -> Result<ApiRouteMatch, NoRoute> {
        let found = self.paths.at(path).map_err(|_| NoRoute::Path)?;
        let wanted = if method == Method::HEAD { &Method::GET } else { method };
        let routes = || found.value.iter().map(|index| (*index, &self.routes[*index]));
        let Some((index, route)) = routes().find(|(_, route)| route.method == *wanted) else {
            return Err(NoRoute::Method(routes().map(|(_, route)| route.method.clone()).collect()));
        };
        let mut values = BTreeMap::new();
        for name in route.path_names() {
            let raw = found.params.get(name).unwrap_or_default();
            // A text that is not UTF-8 names nothing.
            let value = percent_encoding::percent_decode_str(raw).decode_utf8().map_err(|_| NoRoute::Path)?;
            values.insert(name, value.into_owned());
        }
        Ok(ApiRouteMatch { index, path: values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::public::PUBLIC_PATHS;

    /// Operations that others may request, and that no route of the table runs.
    const WITHOUT_ROUTE: &[(&str, &str)] = &[
        ("connect finish", "the page of the OAuth callback runs it"),
        ("connect-link open", "the page of a connect link runs it"),
        ("sync --due", "the workers of the server run what is due"),
    ];

    #[test]
    fn each_operation_that_others_may_request_has_a_route_or_a_reason() {
        use crate::ops::{Reach, operations};
        let table = ApiRouteTable::new();
        let has_route = |name: &str| table.routes().iter().any(|route| route.operation.name == name);
        let reachable = operations().filter(|operation| operation.reach >= Reach::Api).map(|operation| operation.name);
        let mut missing: Vec<&str> = reachable.filter(|name| !has_route(name)).collect();
        missing.sort_unstable();
        // One that has a route is removed from the list of those that need none.
        assert_eq!(missing, WITHOUT_ROUTE.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }

    #[test]
    fn a_request_finds_its_route_and_the_values_of_its_path() {
        let table = ApiRouteTable::new();
        let found = table.find(&Method::GET, "/v1/connections/slack%40work").unwrap_or_else(|_| panic!("a route"));
        assert_eq!(found.path["connection"], "slack@work");
        assert_eq!(table.routes()[found.index].operation.name, "status");
        assert!(matches!(table.find(&Method::GET, "/v1/nothing"), Err(NoRoute::Path)));
        assert!(matches!(table.find(&Method::GET, "/v1/connections/%ff"), Err(NoRoute::Path)));
        let Err(NoRoute::Method(methods)) = table.find(&Method::PUT, "/v1/connections") else { panic!("a method") };
        assert!(methods.contains(&Method::GET), "{methods:?}");
    }

    /// Every route that was asked for has one here: the right-hand columns of the README name routes of the table.
    #[test]
    fn the_readme_names_routes_that_exist() {
        let table = ApiRouteTable::new();
        let others = ["POST /webhooks/{connector}/{secret}", "GET /oauth/callback"];
        let mut rows = 0;
        for row in include_str!("README.md").lines().filter(|line| line.starts_with("| `") && line.contains(" /")) {
            let here = row.split('|').nth(2).and_then(|cell| cell.split('`').nth(1)).unwrap();
            let (method, path) = here.split_once(' ').unwrap();
            let is_public = PUBLIC_PATHS.iter().any(|(known, _)| *known == path);
            let exists = table.routes().iter().any(|route| route.method.as_str() == method && route.path == path);
            assert!(exists || is_public || others.contains(&here), "{row}");
            rows += 1;
        }
        assert_eq!(rows, 59);
    }
}
