//! The actions of the connector's file: validates parameters as the vendor would, and stores created objects.

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::account::SandboxAccount;
use super::action_call::EmulatedActionCall;
use super::credential::AcceptedCredential;
use super::message::SandboxResponse;
use super::routes::ORIGIN;
use super::state::{SandboxState, merge_json};
use super::vendor_emulator::{RequestContext, VendorEmulator, success_document};
use crate::clock::Timestamp;
use crate::connector::{Action, ErrorClass, EventConfirmation, HttpMethod, Idempotency, ParamKind, Pointer};

impl VendorEmulator {
    /// One of the actions that the path fits: the one whose constants the body holds, the more particular first.
    pub(super) fn run_action(&self, visit: &RequestContext<'_>, state: &mut SandboxState) -> SandboxResponse {
        let mut complaint = None;
        for (name, captures) in &visit.actions {
            let Some(action) = self.connector.actions.get(name) else { continue };
            let given = match EmulatedActionCall::read(&self.connector, action, visit.request, captures) {
                Ok(given) => given,
                Err(problem) => {
                    complaint.get_or_insert(problem);
                    continue;
                }
            };
            if !given.has_constants() {
                complaint.get_or_insert_with(|| "a constant of the action is missing in the body".to_owned());
                continue;
            }
            match given.validation_error() {
                Some(problem) => _ = complaint.get_or_insert(problem),
                None => return self.perform(visit, name, &given, state),
            }
        }
        // Who may not call it gets that answer first.
        match self.credential(visit, state) {
            Err(why) if !self.is_anonymous(visit) => self.reject_credential(why),
            _ => self.bad_request(&complaint.unwrap_or_default()),
        }
    }

    fn is_anonymous(&self, visit: &RequestContext<'_>) -> bool {
        let actions = visit.actions.iter().filter_map(|(name, _)| self.connector.actions.get(name));
        actions.into_iter().all(|action| action.anonymous)
    }

    fn perform(
        &self,
        visit: &RequestContext<'_>,
        name: &str,
        given: &EmulatedActionCall<'_>,
        state: &mut SandboxState,
    ) -> SandboxResponse {
        let action = given.action;
        let mut account = self.account.clone();
        if !action.anonymous {
            match self.credential(visit, state) {
                Err(why) => return self.reject_credential(why),
                Ok(AcceptedCredential::Token(claims)) if !self.has_scopes(&claims.scopes, &action.scopes) => {
                    return self.error_response(ErrorClass::Permission, 403, "scope", &self.success());
                }
                Ok(credential) => account = credential.account().clone(),
            }
        }
        let path = format!("{}{}", account.login(), visit.request.path.trim_end_matches('/'));
        if state.objects.is_deleted(&path) {
            return self.error_response(ErrorClass::NotFound, 404, "not_found", &self.success());
        }
        let confirm = self.connector.webhook.iter().find_map(|rules| rules.confirm.as_ref());
        if let Some(confirm) = confirm.filter(|confirm| confirm.action == name) {
            return self.confirm(confirm, given, state);
        }
        let key = self.idempotency_key(action, given).map(|key| format!("{}\n{key}", account.login()));
        if let Some(reply) = key.as_ref().and_then(|key| state.objects.idempotent_response(name, key)) {
            return reply;
        }
        let reply = match (self.calendar_call(visit, name, given, &account, state), self.routes.relation(name)) {
            (Some(reply), _) => reply,
            (None, Some(relation)) => self.act_on_record(visit, relation, given, &account, state),
            (None, None) => {
                if action.method == HttpMethod::Delete {
                    state.objects.delete(&path);
                }
                self.build_response(given, &path, &account, visit.now, state)
            }
        };
        let reply = with_success(reply, &action.success);
        if let Some(key) = key.filter(|_| (200..300).contains(&reply.status)) {
            state.objects.store_response(name, &key, &reply);
        }
        reply
    }

    /// Whether it sent the event that is asked about, as the connector's file says that it answers.
    fn confirm(
        &self,
        confirm: &EventConfirmation,
        given: &EmulatedActionCall<'_>,
        state: &SandboxState,
    ) -> SandboxResponse {
        let same = |name: &String, sent: &Value| {
            let asked = given.action.params.get(name).and_then(|param| given.value(name, param));
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            asked.is_some_and(|asked| text(&asked) == text(sent))
        };
        let sent = state.sent.iter().rev().find(|sent| sent.params.iter().all(|(name, value)| same(name, value)));
        if sent.is_none() && confirm.event.is_some() {
            return self.error_response(ErrorClass::NotFound, 404, "not_found", &self.success());
        }
        let mut document = success_document(&self.success(), true);
        if let (Some(at), Some(sent)) = (&confirm.event, sent) {
            at.set(&mut document, sent.event.clone());
        }
        for (at, wanted) in &confirm.holds {
            let yes = wanted.first().filter(|_| sent.is_some()).cloned();
            at.set(&mut document, yes.unwrap_or_else(|| json!("FAILURE")));
        }
        SandboxResponse::json(given.action.status, &document)
    }

    /// Whether scopes of a token cover those that are needed.
    pub(super) fn has_scopes(&self, scopes: &[String], needed: &[String]) -> bool {
        crate::connector::scopes::missing(&self.connector, needed, Some(scopes)).is_empty()
    }

    fn idempotency_key(&self, action: &Action, given: &EmulatedActionCall<'_>) -> Option<String> {
        let Idempotency { header, query, body } =
            action.idempotency.as_ref().or(self.connector.api.idempotency.as_ref())?;
        let in_header = || given.request.header(header.as_deref()?).map(str::to_owned);
        let in_query = || given.request.query_all(query.as_deref()?).pop();
        let in_body = || body.as_ref()?.text(&given.document);
        in_header().or_else(in_query).or_else(in_body)
    }

    /// The answer of a success: what was sent, what is known of the object, and the values that the file names.
    fn build_response(
        &self,
        given: &EmulatedActionCall<'_>,
        path: &str,
        account: &SandboxAccount,
        now: i64,
        state: &mut SandboxState,
    ) -> SandboxResponse {
        let action = given.action;
        let mut document = state.objects.object(path).cloned().unwrap_or_else(|| json!({}));
        if given.document.is_object() {
            merge_json(&mut document, &given.document);
        }
        if let Some(at) = &action.list {
            at.set(&mut document, Value::Array(state.objects.children(path)));
        }
        // Reading changes nothing.
        let serial = if action.method.is_bodiless() { state.serial } else { state.next_serial() };
        let new_id = self.complete_answer(&mut document, given, account, serial, now);
        if action.method == HttpMethod::Post
            && let Some(id) = &new_id
        {
            let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
            state.objects.insert(&format!("{path}/{id}"), document.clone());
        } else if action.method != HttpMethod::Delete && !action.method.is_bodiless() {
            state.objects.insert(path, document.clone());
        }
        if action.status == 204 {
            return SandboxResponse::empty(204);
        }
        SandboxResponse::json(action.status, &document)
    }

    /// Adds to an answer what a success says and the values that the file names and that it lacks, and returns the first of
    /// those.
    pub(super) fn complete_answer(
        &self,
        document: &mut Value,
        given: &EmulatedActionCall<'_>,
        account: &SandboxAccount,
        serial: u64,
        now: i64,
    ) -> Option<Value> {
        let action = given.action;
        if let Some(at) = &action.message {
            at.set(document, Value::Null);
        }
        for (at, value) in &self.success() {
            at.set(document, value.clone());
        }
        let mut new_id = None;
        let next = self.connector.api.pages.as_ref().and_then(|pages| pages.next.as_ref());
        // A cursor would lead to a page that there is not.
        let is_cursor = |name: &String, at: &Pointer| {
            let pages = ["cursor", "page", "after"].iter().any(|word| name.contains(word));
            action.list.is_some() && (next == Some(at) || (pages && action.params.contains_key(name)))
        };
        for (name, at) in &action.result {
            if at.find(document).is_some() || is_cursor(name, at) {
                continue;
            }
            let param = action.params.get(name).and_then(|param| given.value(name, param));
            let of_path = given.path_params.get(name).map(|text| self.typed(name, text));
            let value = of_path.or(param).unwrap_or_else(|| self.generated_value(name, account, serial, now));
            new_id.get_or_insert_with(|| value.clone());
            at.set(document, value);
        }
        new_id
    }

    /// A value that the vendor makes, by what its name says and by the type that other actions give a parameter of it.
    fn generated_value(&self, name: &str, account: &SandboxAccount, serial: u64, now: i64) -> Value {
        let last = name.rsplit('_').next().unwrap_or(name);
        match last {
            "url" | "link" | "uri" => json!(format!("{ORIGIN}/objects/{serial}")),
            "at" | "time" | "date" => json!(Timestamp::from_second(now).unwrap_or_default().to_string()),
            "ts" => json!(format!("{now}.{:06}", serial % 1_000_000)),
            "email" => json!(account.email()),
            "name" | "title" => json!(account.name()),
            "login" => json!(account.login()),
            "number" | "iid" | "count" | "total" => json!(serial),
            "status" | "state" => json!("ok"),
            _ if self.is_integer(name) => json!(serial),
            _ => json!(format!("{}{serial}", account.id(name))),
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
    pub(super) fn bad_request(&self, problem: &str) -> SandboxResponse {
        let success = self.success();
        let in_body = |rule: &&crate::connector::ErrorRule| rule.status.is_empty() && !rule.body.is_empty();
        let rule = self.connector.errors.iter().find(in_body).filter(|_| !success.is_empty());
        let place = self.connector.api.message.first().or_else(|| rule?.body.keys().next());
        let mut document = success_document(&success, false);
        place.unwrap_or(&Pointer::from_member("message")).set(&mut document, json!(format!("sandbox: {problem}")));
        SandboxResponse::json(if rule.is_some() { 200 } else { 400 }, &document)
    }
}

/// An answer that holds what a success of its action does.
fn with_success(mut reply: SandboxResponse, success: &IndexMap<Pointer, Value>) -> SandboxResponse {
    if !success.is_empty() && (200..300).contains(&reply.status) {
        let mut document: Value = serde_json::from_str(&reply.body).unwrap_or_default();
        for (at, value) in success {
            at.set(&mut document, value.clone());
        }
        reply.body = document.to_string();
    }
    reply
}
