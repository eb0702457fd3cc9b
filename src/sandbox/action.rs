//! The actions of the connector's file: each checks its parameters as the vendor would, and keeps what it creates.

use serde_json::{Value, json};

use super::account::{Account, EMAIL, NAME};
use super::address::ORIGIN;
use super::credential::Credential;
use super::given::Given;
use super::life::Life;
use super::message::Reply;
use super::state::State;
use super::vendor::{Vendor, Visit, with_success};
use crate::clock::Timestamp;
use crate::connector::{Action, Confirm, ErrorClass, Idempotency, Method, ParamKind, Pointer};

impl Vendor {
    /// One of the actions that the path fits: the one whose constants the body holds, the more particular first.
    pub(super) fn act(&self, visit: &Visit<'_>, state: &mut State, life: &mut Life) -> Reply {
        let mut complaint = None;
        for (name, captures) in &visit.actions {
            let Some(action) = self.connector.actions.get(name) else { continue };
            let given = match Given::read(&self.connector, action, visit.request, captures) {
                Ok(given) => given,
                Err(problem) => {
                    complaint.get_or_insert(problem);
                    continue;
                }
            };
            if !given.has_fixed() {
                complaint.get_or_insert_with(|| "a constant of the action is missing in the body".to_owned());
                continue;
            }
            match given.problem() {
                Some(problem) => _ = complaint.get_or_insert(problem),
                None => return self.perform(visit, name, &given, state, life),
            }
        }
        // Who may not call it is told that first.
        match self.credential(visit, state) {
            Err(why) if !self.is_anonymous(visit) => self.unaccepted(why),
            _ => self.complain(&complaint.unwrap_or_default()),
        }
    }

    fn is_anonymous(&self, visit: &Visit<'_>) -> bool {
        let actions = visit.actions.iter().filter_map(|(name, _)| self.connector.actions.get(name));
        actions.into_iter().all(|action| action.anonymous)
    }

    fn perform(&self, visit: &Visit<'_>, name: &str, given: &Given<'_>, state: &mut State, life: &mut Life) -> Reply {
        let action = given.action;
        if !action.anonymous {
            match self.credential(visit, state) {
                Err(why) => return self.unaccepted(why),
                Ok(Credential::Token(claims)) if !self.covers(&claims.scopes, &action.scopes) => {
                    return self.by_rule(ErrorClass::Permission, 403, "scope", &self.success());
                }
                Ok(_) => {}
            }
        }
        let path = visit.request.path.trim_end_matches('/');
        if life.is_deleted(path) {
            return self.by_rule(ErrorClass::NotFound, 404, "not_found", &self.success());
        }
        let confirm = self.connector.webhook.iter().find_map(|rules| rules.confirm.as_ref());
        if let Some(confirm) = confirm.filter(|confirm| confirm.action == name) {
            return self.confirm(confirm, given, state);
        }
        let key = self.key_of(action, given);
        if let Some(reply) = key.as_ref().and_then(|key| life.answered(name, key)) {
            return reply.clone();
        }
        if action.method == Method::Delete {
            life.delete(path);
        }
        let reply = self.fulfil(given, path, visit.now, state, life);
        if let Some(key) = key {
            life.answer(name, &key, &reply);
        }
        reply
    }

    /// Whether it sent the event that is asked about, as the connector's file says that it answers.
    fn confirm(&self, confirm: &Confirm, given: &Given<'_>, state: &State) -> Reply {
        let same = |name: &String, sent: &Value| {
            let asked = given.action.params.get(name).and_then(|param| given.value(name, param));
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            asked.is_some_and(|asked| text(&asked) == text(sent))
        };
        let sent = state.sent.iter().rev().find(|sent| sent.params.iter().all(|(name, value)| same(name, value)));
        if sent.is_none() && confirm.event.is_some() {
            return self.by_rule(ErrorClass::NotFound, 404, "not_found", &self.success());
        }
        let mut document = with_success(&self.success(), true);
        if let (Some(at), Some(sent)) = (&confirm.event, sent) {
            at.put(&mut document, sent.event.clone());
        }
        for (at, wanted) in &confirm.holds {
            let yes = wanted.first().filter(|_| sent.is_some()).cloned();
            at.put(&mut document, yes.unwrap_or_else(|| json!("FAILURE")));
        }
        Reply::json(given.action.status, &document)
    }

    /// Whether scopes of a token cover those that are needed.
    pub(super) fn covers(&self, scopes: &[String], needed: &[String]) -> bool {
        crate::connector::scopes::missing(&self.connector, needed, Some(scopes)).is_empty()
    }

    fn key_of(&self, action: &Action, given: &Given<'_>) -> Option<String> {
        let Idempotency { header, query, body } =
            action.idempotency.as_ref().or(self.connector.api.idempotency.as_ref())?;
        let in_header = || given.request.header(header.as_deref()?).map(str::to_owned);
        let in_query = || given.request.query_all(query.as_deref()?).pop();
        let in_body = || body.as_ref()?.text(&given.document);
        in_header().or_else(in_query).or_else(in_body)
    }

    /// The answer of a success: what was sent, what is known of the object, and the values that the file names.
    fn fulfil(&self, given: &Given<'_>, path: &str, now: i64, state: &mut State, life: &mut Life) -> Reply {
        let action = given.action;
        let mut document = life.object(path).cloned().unwrap_or_else(|| json!({}));
        if given.document.is_object() {
            lay_over(&mut document, &given.document);
        }
        if let Some(at) = &action.message {
            at.put(&mut document, Value::Null);
        }
        lay_over(&mut document, &with_success(&self.success(), true));
        let serial = state.next_serial();
        let mut new_id = None;
        if let Some(at) = &action.list {
            let list = Value::Array(life.below(path));
            at.put(&mut document, list);
        }
        let next = self.connector.api.pages.as_ref().and_then(|pages| pages.next.as_ref());
        // A cursor would lead to a page that there is not.
        let is_cursor = |name: &String, at: &Pointer| {
            let pages = ["cursor", "page", "after"].iter().any(|word| name.contains(word));
            action.list.is_some() && (next == Some(at) || (pages && action.params.contains_key(name)))
        };
        for (name, at) in &action.result {
            if at.find(&document).is_some() || is_cursor(name, at) {
                continue;
            }
            let param = action.params.get(name).and_then(|param| given.value(name, param));
            let of_path = given.captures.get(name).map(|text| self.typed(name, text));
            let value = of_path.or(param).unwrap_or_else(|| self.made(name, serial, now));
            new_id.get_or_insert_with(|| value.clone());
            at.put(&mut document, value);
        }
        if action.method == Method::Post
            && let Some(id) = &new_id
        {
            let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
            life.keep(&format!("{path}/{id}"), document.clone());
        } else if action.method != Method::Delete && action.method != Method::Get {
            life.keep(path, document.clone());
        }
        if action.status == 204 {
            return Reply::empty(204);
        }
        Reply::json(action.status, &document)
    }

    /// A value that the vendor makes, by what its name says and by the type that other actions give a parameter of it.
    fn made(&self, name: &str, serial: u64, now: i64) -> Value {
        let last = name.rsplit('_').next().unwrap_or(name);
        match last {
            "url" | "link" | "uri" => json!(format!("{ORIGIN}/objects/{serial}")),
            "at" | "time" | "date" => json!(Timestamp::from_second(now).unwrap_or_default().to_string()),
            "ts" => json!(format!("{now}.{:06}", serial % 1_000_000)),
            "email" => json!(EMAIL),
            "name" | "title" | "login" => json!(NAME),
            "number" | "iid" | "count" | "total" => json!(serial),
            "status" | "state" => json!("ok"),
            _ if self.is_integer(name) => json!(serial),
            _ => json!(format!("{}{serial}", Account::First.id(name))),
        }
    }

    fn typed(&self, name: &str, text: &str) -> Value {
        match text.parse::<i64>() {
            Ok(number) if self.is_integer(name) => json!(number),
            _ => json!(text),
        }
    }

    fn is_integer(&self, name: &str) -> bool {
        let params = self.connector.actions.values().filter_map(|action| action.params.get(name));
        params.into_iter().any(|param| param.kind == ParamKind::Integer)
    }

    /// A refusal of what the request says, where the vendor's own refusals stand.
    pub(super) fn complain(&self, problem: &str) -> Reply {
        let success = self.success();
        let in_body = |rule: &&crate::connector::ErrorRule| rule.status.is_empty() && !rule.body.is_empty();
        let rule = self.connector.errors.iter().find(in_body).filter(|_| !success.is_empty());
        let place = self.connector.api.message.first().or_else(|| rule?.body.keys().next());
        let mut document = with_success(&success, false);
        place.unwrap_or(&Pointer::member("message")).put(&mut document, json!(format!("sandbox: {problem}")));
        Reply::json(if rule.is_some() { 200 } else { 400 }, &document)
    }
}

fn lay_over(below: &mut Value, above: &Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (name, value) in above {
                lay_over(below.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above.clone(),
    }
}
