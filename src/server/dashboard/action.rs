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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::ops::Reach;
    use crate::server::table::ApiRouteTable;

    /// The calls of a function in a source, by its first argument.
    fn calls<'s>(source: &'s str, function: &str) -> Vec<&'s str> {
        let begin = format!("{function}(");
        let arguments = source.split(begin.as_str()).skip(1).map(str::trim_start);
        arguments.filter_map(|rest| rest.strip_prefix('"')?.split('"').next()).collect()
    }

    /// What pages do and read is in the table of the API: of each form, and of each request of a page.
    #[test]
    fn every_form_and_every_request_of_a_page_has_a_route() {
        let table = ApiRouteTable::new();
        let (mut forms, mut reads) = (0, 0);
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/server/dashboard/pages")).unwrap() {
            let source = fs::read_to_string(entry.unwrap().path()).unwrap();
            let check = |method: &Method, path: &str| {
                let route = table.routes().iter().find(|route| route.method == *method && route.path == path);
                let route = route.unwrap_or_else(|| panic!("the API has no {method} {path}"));
                assert!(route.operation.reach >= Reach::Operator, "{method} {path}");
            };
            let methods = [
                ("FormAction::post", Method::POST),
                ("FormAction::put", Method::PUT),
                ("FormAction::patch", Method::PATCH),
                ("FormAction::delete", Method::DELETE),
            ];
            for (function, method) in methods {
                for path in calls(&source, function) {
                    check(&method, path);
                    forms += 1;
                }
            }
            for (function, method) in
                [("context.get", Method::GET), ("context.bytes", Method::GET), ("context.post", Method::POST)]
            {
                for path in calls(&source, function) {
                    check(&method, path);
                    reads += 1;
                }
            }
        }
        assert!(forms > 40 && reads > 50, "{forms} forms and {reads} requests");
    }
}
