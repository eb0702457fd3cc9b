//! Computes the scopes to request, and those that were not granted.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use crate::connector::{Connector, ScopeRule};

/// The scopes to ask for, by the parameter that carries them.
pub type RequestedScopes = IndexMap<String, Vec<String>>;

/// What to ask for: what the user named, else the connector's defaults, and what it always needs. `PARAM=SCOPE` names one
/// of a further list of the connector. One word may name several scopes (`repo,gist`, `"openid email"`).
pub fn requested(rule: &ScopeRule, named: &[String]) -> RequestedScopes {
    let named: &[String] = &named.iter().flat_map(|word| each(rule, word)).collect::<Vec<_>>();
    let mut asked = RequestedScopes::new();
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

/// Returns a `connect` command that asks for these scopes beside those that the connection has.
pub fn add_scope_command<S: AsRef<str>>(connect: &str, scopes: &[S]) -> String {
    let mut command = connect.to_owned();
    for scope in scopes {
        command.push_str(&format!(" --add-scope {}", shlex::try_quote(scope.as_ref()).unwrap_or_default()));
    }
    command
}

/// The scopes of one word; those of `PARAM=A,B` are all of that list.
fn each(rule: &ScopeRule, word: &str) -> Vec<String> {
    let (list, scopes) = match split(rule, word) {
        Some((param, scopes)) => (format!("{param}="), scopes),
        None => (String::new(), word.to_owned()),
    };
    let scopes = scopes.split(|c: char| c == ',' || c.is_whitespace()).filter(|scope| !scope.is_empty());
    scopes.map(|scope| format!("{list}{scope}")).collect()
}

/// The scopes that the user adds to those requested before, or to the defaults.
pub fn extended(rule: &ScopeRule, before: &[String], added: &[String]) -> Vec<String> {
    let further = rule.also.iter().flat_map(|(param, list)| list.iter().map(move |scope| format!("{param}={scope}")));
    let base = if before.is_empty() { rule.default.iter().cloned().chain(further).collect() } else { before.to_vec() };
    base.into_iter().chain(added.iter().cloned()).collect()
}

/// What a connection keeps of the further lists of a request, which its list of scopes does not tell apart: the lists'
/// names in the connection's metadata, and their scopes.
pub fn further_lists(rule: &ScopeRule, asked: &RequestedScopes) -> Vec<(String, String)> {
    let lists = rule.also.keys().filter_map(|param| Some((param, asked.get(param)?)));
    lists.map(|(param, scopes)| (format!("{FURTHER_LIST}{param}"), scopes.join(" "))).collect()
}

/// Returns the requested scopes of a connection as a user names them: `PARAM=SCOPE` for those of a further list.
pub fn named_before(rule: &ScopeRule, requested: &[String], metadata: &BTreeMap<String, String>) -> Vec<String> {
    let list = |param: &String| {
        let scopes = metadata.get(&format!("{FURTHER_LIST}{param}"));
        scopes.map_or_else(Vec::new, |scopes| scopes.split(' ').map(|scope| format!("{param}={scope}")).collect())
    };
    let further: Vec<String> = rule.also.keys().flat_map(list).collect();
    // A request's own list is stored before the further ones.
    let own = requested.len().saturating_sub(further.len());
    requested[..own].iter().cloned().chain(further).collect()
}

/// How the names of further lists begin in a connection's metadata.
const FURTHER_LIST: &str = "requested_";

/// The scopes of OpenID Connect Core 1.0 (sections 5.4 and 11), which a server lists if it knows them.
const OPENID: [&str; 6] = ["openid", "profile", "email", "address", "phone", OFFLINE_ACCESS];

/// Asks for a refresh token.
const OFFLINE_ACCESS: &str = "offline_access";

/// Leaves out OpenID's scopes that the metadata does not list: some servers refuse what they do not know. Of a server that
/// lists nothing only `offline_access` is not expected. Other scopes stay: a server need not list them.
pub fn retain_listed(asked: &mut RequestedScopes, rule: &ScopeRule, listed: &[String]) {
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

/// Returns the scopes that an answer lists, or absent for an empty list: it means that the server does not say (the tokens
/// of GitHub Apps and fine-grained ones have permissions in place of scopes), not that nothing is granted.
pub fn granted(listed: Vec<String>) -> Option<Vec<String>> {
    (!listed.is_empty()).then_some(listed)
}

/// The scopes that were requested and not granted. Those that another one covers, that the vendor names otherwise or
/// never lists do not count.
pub fn missing(connector: &Connector, asked: &[String], granted: Option<&[String]>) -> Vec<String> {
    let Some(granted) = granted else { return Vec::new() };
    // Nearly always each was granted by its own name.
    if asked.iter().all(|scope| granted.contains(scope)) {
        return Vec::new();
    }
    let mut covered: BTreeSet<&str> = granted.iter().map(String::as_str).collect();
    // A covered scope may cover others in turn; each round adds at least one or ends it.
    loop {
        let before = covered.len();
        for (name, scope) in &connector.scopes {
            let Some(detail) = scope.detail() else { continue };
            let is_reported = detail.reported_as.as_deref().is_some_and(|reported| covered.contains(reported));
            if is_reported || covered.contains(name.as_str()) {
                covered.insert(name);
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
    fn a_scope_that_is_reported_by_another_name_covers_what_it_includes() {
        let connector =
            connector("read = { purpose = '', reported_as = 'https://x/read', includes = ['basic'] }\nbasic = ''");
        assert!(missing(&connector, &list(&["basic", "read"]), Some(&list(&["https://x/read"]))).is_empty());
        assert_eq!(missing(&connector, &list(&["read"]), Some(&list(&["basic"]))), ["read"]);
    }

    #[test]
    fn field_25_of_openid_only_listed_scopes_are_asked_for() {
        let rule = ScopeRule {
            default: list(&["openid", "email", "offline_access", "orders"]),
            always: list(&["phone"]),
            ..ScopeRule::default()
        };
        let asked = |listed: &[&str]| {
            let mut asked = requested(&rule, &[]);
            retain_listed(&mut asked, &rule, &list(listed));
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
        let asked = requested(&rule, &[]);
        assert_eq!((&asked["scope"], &asked["user_scope"]), (&list(&["a", "offline"]), &list(&["u"])));
        let asked = requested(&rule, &list(&["b", "user_scope=v", "b"]));
        assert_eq!((&asked["scope"], &asked["user_scope"]), (&list(&["b", "offline"]), &list(&["v"])));
    }

    #[test]
    fn field_30_several_scopes_in_one_word_are_several() {
        let rule = ScopeRule {
            default: list(&["a"]),
            also: IndexMap::from([("user_scope".to_owned(), list(&["u"]))]),
            ..ScopeRule::default()
        };
        for named in [&["b,c"][..], &["b c"], &[" b , c,"], &["b", "c"], &["b,b\tc\n"]] {
            assert_eq!(requested(&rule, &list(named))["scope"], ["b", "c"], "{named:?}");
        }
        let asked = requested(&rule, &list(&["user_scope=v,w", "b"]));
        assert_eq!((&asked["scope"], &asked["user_scope"]), (&list(&["b"]), &list(&["v", "w"])));
        assert_eq!(requested(&rule, &list(&[" ", ","])), requested(&rule, &[]), "nothing is named");
        let colons = "https://www.googleapis.com/auth/drive";
        assert_eq!(requested(&rule, &list(&[colons]))["scope"], [colons]);
    }

    #[test]
    fn field_30_a_scope_that_is_added_keeps_the_others() {
        let rule = ScopeRule { default: list(&["a"]), always: list(&["offline"]), ..ScopeRule::default() };
        let added =
            |before: &[&str]| requested(&rule, &extended(&rule, &list(before), &list(&["x,y"])))["scope"].clone();
        assert_eq!(added(&["b", "offline"]), ["b", "offline", "x", "y"]);
        assert_eq!(added(&[]), ["a", "x", "y", "offline"]);
        let two = ScopeRule { also: IndexMap::from([("user_scope".to_owned(), list(&["u"]))]), ..rule };
        let asked = requested(&two, &extended(&two, &list(&["b", "user_scope=u"]), &list(&["user_scope=v"])));
        assert_eq!((&asked["scope"], &asked["user_scope"]), (&list(&["b", "offline"]), &list(&["u", "v"])));
        let stored = further_lists(&two, &asked).into_iter().collect();
        let flat: Vec<String> = asked.values().flatten().cloned().collect();
        let named = named_before(&two, &flat, &stored);
        assert_eq!(named, ["b", "offline", "user_scope=u", "user_scope=v"]);
        assert_eq!(requested(&two, &named), asked, "asking again asks for the same");
    }
}
