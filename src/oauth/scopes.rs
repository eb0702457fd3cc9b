//! Which scopes to ask for, and which of them were not granted.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use crate::connector::{Connector, ScopeRule};

/// The scopes to ask for, by the parameter that carries them.
pub type Asked = IndexMap<String, Vec<String>>;

/// What to ask for: what the user named, else the connector's defaults, and what it always needs. `PARAM=SCOPE` names one
/// of a further list of the connector.
pub fn to_ask(rule: &ScopeRule, named: &[String]) -> Asked {
    let mut asked = Asked::new();
    if !rule.param.is_empty() {
        let main: Vec<String> = named.iter().filter(|scope| split(rule, scope).is_none()).cloned().collect();
        let named_any = !main.is_empty();
        let chosen = if named_any || !named.is_empty() { main } else { rule.default.clone() };
        asked.insert(rule.param.clone(), unique(chosen.into_iter().chain(rule.always.iter().cloned())));
    }
    for (param, defaults) in &rule.also {
        let further: Vec<String> = named
            .iter()
            .filter_map(|scope| split(rule, scope))
            .filter(|(name, _)| name == param)
            .map(|(_, scope)| scope)
            .collect();
        let chosen = if further.is_empty() && named.is_empty() { defaults.clone() } else { further };
        if !chosen.is_empty() {
            asked.insert(param.clone(), unique(chosen.into_iter()));
        }
    }
    asked
}

/// The scopes of OpenID Connect Core 1.0 (sections 5.4 and 11), which a server lists if it knows them.
const OPENID: [&str; 6] = ["openid", "profile", "email", "address", "phone", OFFLINE_ACCESS];

/// Asks for a refresh token.
const OFFLINE_ACCESS: &str = "offline_access";

/// Leaves out OpenID's scopes that the metadata does not list: some servers refuse what they do not know. Of a server that
/// lists nothing only `offline_access` is not expected. Other scopes stay: a server need not list them.
pub fn leave_out_unlisted(asked: &mut Asked, rule: &ScopeRule, listed: &[String]) {
    let is_known = |scope: &str| match listed {
        [] => scope != OFFLINE_ACCESS,
        _ => listed.iter().any(|known| known == scope),
    };
    if let Some(scopes) = asked.get_mut(&rule.param) {
        scopes.retain(|scope| rule.always.contains(scope) || !OPENID.contains(&scope.as_str()) || is_known(scope));
    }
}

/// `user_scope=chat:write`, where `user_scope` is a further list.
fn split(rule: &ScopeRule, scope: &str) -> Option<(String, String)> {
    let (param, scope) = scope.split_once('=')?;
    rule.also.contains_key(param).then(|| (param.to_owned(), scope.to_owned()))
}

fn unique(scopes: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    scopes.filter(|scope| seen.insert(scope.clone())).collect()
}

/// The scopes that were asked for and are not granted. Those that another one covers, that the vendor names otherwise or
/// never lists do not count.
pub fn missing(connector: &Connector, asked: &[String], granted: Option<&[String]>) -> Vec<String> {
    let Some(granted) = granted else { return Vec::new() };
    let mut covered: BTreeSet<&str> = granted.iter().map(String::as_str).collect();
    // A covered scope may cover others in turn; each round adds at least one or ends it.
    loop {
        let before = covered.len();
        for (name, scope) in &connector.scopes {
            if let Some(detail) = scope.detail()
                && covered.contains(name.as_str())
            {
                covered.extend(detail.includes.iter().map(String::as_str));
            }
        }
        if covered.len() == before {
            break;
        }
    }
    let is_granted = |scope: &String| {
        let detail = connector.scopes.get(scope).and_then(|scope| scope.detail());
        covered.contains(scope.as_str())
            || detail.is_some_and(|detail| {
                detail.unreported || detail.reported_as.as_deref().is_some_and(|name| covered.contains(name))
            })
    };
    asked.iter().filter(|scope| !is_granted(scope)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    fn connector(scopes: &str) -> Connector {
        let text = format!(
            "id='x'\nname='X'\ncategory='generic'\ndescription=''\ndocs=''\n[auth.k]\nlabel='k'\n[scopes]\n{scopes}"
        );
        Connector::deserialize(text.parse::<toml::Table>().unwrap()).unwrap()
    }

    fn list(scopes: &[&str]) -> Vec<String> {
        scopes.iter().map(|scope| (*scope).to_owned()).collect()
    }

    #[test]
    fn fault_015_a_narrowed_grant_is_seen_and_a_widened_one_is_not_missing() {
        let connector = connector("");
        assert_eq!(missing(&connector, &list(&["a", "b"]), Some(&list(&["a"]))), ["b"]);
        assert!(missing(&connector, &list(&["a"]), Some(&list(&["a", "b"]))).is_empty());
        assert!(missing(&connector, &list(&["a"]), None).is_empty());
    }

    #[test]
    fn covered_renamed_and_unlisted_scopes_are_not_missing() {
        let connector = connector(
            "repo = { purpose = '', includes = ['status'] }\nstatus = { purpose = '', includes = ['deep'] }\n\
             email = { purpose = '', reported_as = 'https://e' }\noffline = { purpose = '', unreported = true }",
        );
        let asked = list(&["repo", "deep", "email", "offline"]);
        assert!(missing(&connector, &asked, Some(&list(&["repo", "https://e"]))).is_empty());
    }

    #[test]
    fn field_25_of_openid_only_listed_scopes_are_asked_for() {
        let rule = ScopeRule {
            default: list(&["openid", "email", "offline_access", "orders"]),
            always: list(&["phone"]),
            ..ScopeRule::default()
        };
        let asked = |listed: &[&str]| {
            let mut asked = to_ask(&rule, &[]);
            leave_out_unlisted(&mut asked, &rule, &list(listed));
            asked["scope"].join(" ")
        };
        assert_eq!(asked(&["openid", "email", "offline_access"]), "openid email offline_access orders phone");
        assert_eq!(asked(&["openid"]), "openid orders phone");
        assert_eq!(asked(&[]), "openid email orders phone");
    }

    #[test]
    fn named_scopes_replace_the_defaults_but_not_what_is_always_needed() {
        let rule = ScopeRule {
            default: list(&["a"]),
            always: list(&["offline"]),
            also: IndexMap::from([("user_scope".to_owned(), list(&["u"]))]),
            ..ScopeRule::default()
        };
        let asked = to_ask(&rule, &[]);
        assert_eq!((&asked["scope"], &asked["user_scope"]), (&list(&["a", "offline"]), &list(&["u"])));
        let asked = to_ask(&rule, &list(&["b", "user_scope=v", "b"]));
        assert_eq!((&asked["scope"], &asked["user_scope"]), (&list(&["b", "offline"]), &list(&["v"])));
    }
}
