//! Guesses the operation to use as a health check, and where its response identifies the account.

use serde_json::Value;

use super::OpenApiDescription;
use super::schema::Members;
use crate::connector::Pointer;
use crate::connector::draft::DraftHealth;

/// Last parts of paths that identify the caller, best first.
const ACCOUNT_PATHS: &[&str] = &[
    "me",
    "whoami",
    "myself",
    "self",
    "userinfo",
    "current_user",
    "currentuser",
    "current",
    "viewer",
    "profile",
    "user",
    "account",
    "ping",
];

/// Members that are an account's id, the best first.
const ACCOUNT_ID_MEMBERS: &[&str] =
    &["id", "uuid", "user_id", "userId", "account_id", "accountId", "sub", "gid", "login", "email"];

/// Members that are an account's name, the best first.
const ACCOUNT_NAME_MEMBERS: &[&str] = &[
    "name",
    "display_name",
    "displayName",
    "full_name",
    "fullName",
    "login",
    "username",
    "userName",
    "email",
    "title",
];

/// Members that an answer is wrapped in.
const WRAPPERS: &[&str] = &["data", "user", "account", "result", "me"];

impl OpenApiDescription {
    /// A GET that needs no parameter and that not everybody may make.
    pub(super) fn health(&self) -> Option<DraftHealth> {
        let fits = |path: &str, operation: &Value| {
            let open = operation["security"].as_array().is_some_and(Vec::is_empty);
            let needs = self.parameters(path, operation).iter().any(|parameter| parameter["required"] == true);
            !open && !needs && !path.contains(['{', '}', '#', '?']) && path.starts_with('/')
        };
        let operations: Vec<_> = self
            .operations()
            .filter(|operation| operation.method == "GET" && fits(operation.path, operation.value))
            .collect();
        let rank = |path: &str| {
            let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_lowercase();
            ACCOUNT_PATHS.iter().position(|own| *own == last)
        };
        let own = operations.iter().filter(|operation| rank(operation.path).is_some());
        let best = own.min_by_key(|operation| (rank(operation.path), operation.path.len()));
        let found = best.or_else(|| operations.iter().min_by_key(|operation| operation.path.len()))?;
        let (_, schema) = self.success(found.value);
        let (account_id, account_name) = if best.is_some() { self.account(schema) } else { (None, None) };
        Some(DraftHealth { path: found.path.to_owned(), account_id, account_name })
    }

    fn account(&self, schema: &Value) -> (Option<String>, Option<String>) {
        let top = self.members(schema);
        let wrapped = WRAPPERS.iter().filter_map(|wrapper| Some((*wrapper, top.properties.get(wrapper)?)));
        let nested = wrapped.map(|(wrapper, schema)| (format!("/{wrapper}"), self.members(schema)));
        let mut places = vec![(String::new(), self.members(schema))];
        places.extend(nested);
        let pick = |names: &[&str], at: &str, members: &Members<'_>| {
            let scalar = |schema| !["object", "array"].contains(&self.kind(schema));
            let find = |name: &&str| {
                let mut known = members.properties.iter();
                known.find(|(known, schema)| known.eq_ignore_ascii_case(name) && scalar(schema))
            };
            names.iter().find_map(find).map(|(name, _)| format!("{at}{}", Pointer::from_member(name)))
        };
        places
            .iter()
            .map(|(at, known)| (pick(ACCOUNT_ID_MEMBERS, at, known), pick(ACCOUNT_NAME_MEMBERS, at, known)))
            .find(|(id, name)| id.is_some() || name.is_some())
            .unwrap_or_default()
    }
}
