//! Actions on the records of streams: changes are visible in the streams from then on.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::account::SandboxAccount;
use super::action_call::EmulatedActionCall;
use super::credential::AcceptedCredential;
use super::message::SandboxResponse;
use super::pattern::PathParams;
use super::relation::{RecordRelation, RecordVerb};
use super::state::{ListKey, RecordEditKind, SandboxState, merge_json};
use super::stream::records::{GeneratedRecord, RecordSet, World};
use super::vendor_emulator::{RequestContext, VendorEmulator};
use crate::connector::{ActionBody, ErrorClass, ParamKind, ParamLocation, Pointer, Stream};

impl VendorEmulator {
    /// Reads or changes the record that an action is about, and answers with it.
    pub(super) fn act_on_record(
        &self,
        visit: &RequestContext<'_>,
        relation: &RecordRelation,
        given: &EmulatedActionCall<'_>,
        account: &SandboxAccount,
        state: &mut SandboxState,
    ) -> SandboxResponse {
        state.streams.start(visit.now);
        let text = |param: &String| {
            let rule = given.action.params.get(param)?;
            Pointer::default().text(&given.value(param, rule)?)
        };
        let mut partition = BTreeMap::new();
        for (name, param) in &relation.partition {
            // Which list it is in was not said.
            let Some(value) = text(param) else { return self.record_not_found(&relation.stream) };
            partition.insert(name.clone(), value);
        }
        let world = World { connector: &self.connector, account, state: &state.streams };
        let Some(set) = RecordSet::new(world, &relation.stream, partition.clone()) else {
            return self.record_not_found(&relation.stream);
        };
        let identity: Option<Vec<(&Pointer, String)>> =
            relation.identity.iter().map(|(param, at)| Some((at, text(param)?))).collect();
        let wanted = self.looked_up(relation, given).or(identity).unwrap_or_default();
        let found = find(&set, &wanted);
        if relation.verb != RecordVerb::Create && found.is_none() {
            return self.record_not_found(&relation.stream);
        }
        let change = match relation.verb {
            RecordVerb::Read => None,
            RecordVerb::Create => Some(RecordEditKind::Create(self.new_record(&set, given))),
            RecordVerb::Update => Some(RecordEditKind::Update(self.typed_body(&set, given))),
            RecordVerb::Delete => Some(RecordEditKind::Delete),
        };
        let mut record = found.as_ref().map(|row| set.record(row));
        if let Some(change) = change {
            let is_deletion = matches!(change, RecordEditKind::Delete);
            let above = changed_parent(&set);
            let list = ListKey { account, stream: &relation.stream, partition: &partition };
            let index = state.streams.edit(&list, found.map(|row| row.index), change, visit.now);
            if let Some((stream, parent)) = above {
                let list = ListKey { account, stream: &stream, partition: &BTreeMap::new() };
                state.streams.edit(&list, Some(parent), RecordEditKind::Update(json!({})), visit.now);
            }
            let world = World { connector: &self.connector, account, state: &state.streams };
            let changed = RecordSet::new(world, &relation.stream, partition).map(|set| set.record(&set.row(index)));
            record = changed.filter(|_| !is_deletion).or(record);
        }
        let mut answer = json!({});
        relation.at.set(&mut answer, record.unwrap_or_default());
        if relation.verb == RecordVerb::Delete && !given.action.result.is_empty() {
            answer["deleted"] = json!(true);
        }
        let serial = state.serial;
        self.complete_answer(&mut answer, given, account, serial, visit.now);
        if given.action.status == 204 {
            return SandboxResponse::empty(204);
        }
        SandboxResponse::json(given.action.status, &answer)
    }

    /// What a record is looked up by in place of its key, if the request is the lookup that the file describes.
    fn looked_up(&self, relation: &RecordRelation, given: &EmulatedActionCall<'_>) -> Option<Vec<(&Pointer, String)>> {
        let find = self.connector.streams.get(&relation.stream)?.write.as_ref()?.find.as_ref()?;
        let action = self.connector.actions.get(&find.action).filter(|action| std::ptr::eq(*action, given.action))?;
        let value = |name: &String| given.value(name, action.params.get(name)?);
        let is_lookup = find.params.iter().all(|(name, wanted)| value(name).as_ref() == Some(wanted));
        let text = Pointer::default().text(&value(&find.param)?).filter(|_| is_lookup)?;
        Some(vec![(&find.at, text)])
    }

    /// The one record that a path names, where no action of the file answers it; absent where no path of a record fits.
    pub(super) fn read_item(&self, visit: &RequestContext<'_>, state: &mut SandboxState) -> Option<SandboxResponse> {
        let items = self.routes.items(visit.request);
        let (first, _) = items.first()?;
        let stream = self.connector.streams.get(&first.stream)?;
        let account = match self.credential(visit, state) {
            Err(why) => return Some(self.reject_credential(why)),
            Ok(AcceptedCredential::Token(claims)) if !self.has_scopes(&claims.scopes, &stream.scopes) => {
                return Some(self.error_response(ErrorClass::Permission, 403, "scope", &self.success()));
            }
            Ok(credential) => credential.account().clone(),
        };
        state.streams.start(visit.now);
        let world = World { connector: &self.connector, account: &account, state: &state.streams };
        let read = |(relation, values): &(&RecordRelation, PathParams)| {
            let value = |name: &String| values.get(name).cloned();
            let partition: Option<BTreeMap<String, String>> =
                relation.partition.keys().map(|name| Some((name.clone(), value(name)?))).collect();
            let set = RecordSet::new(world, &relation.stream, partition?)?;
            let wanted: Option<Vec<(&Pointer, String)>> =
                relation.identity.iter().map(|(name, at)| Some((at, value(name)?))).collect();
            find(&set, &wanted?).map(|row| set.record(&row))
        };
        let Some(mut record) = items.iter().find_map(read) else { return Some(self.record_not_found(&first.stream)) };
        for (at, value) in self.success() {
            at.set(&mut record, value);
        }
        Some(SandboxResponse::json(200, &record))
    }

    /// The vendor's answer for a record that does not exist.
    pub(super) fn record_not_found(&self, stream: &str) -> SandboxResponse {
        let success = self.success();
        let mut rules = self.connector.errors.iter().filter(|rule| rule.class == ErrorClass::NotFound);
        if rules.any(|rule| !rule.body.is_empty() && (rule.status.is_empty() || rule.status.contains(&404))) {
            return self.error_response(ErrorClass::NotFound, 404, stream.trim_end_matches('s'), &success);
        }
        let mut document: Value = super::vendor_emulator::success_document(&success, false);
        let place = self.connector.api.message.first().cloned().unwrap_or_else(|| Pointer::from_member("message"));
        place.set(&mut document, json!("Not Found"));
        SandboxResponse::json(404, &document)
    }

    /// What a new record differs by from a generated one: what was sent, and nothing where something could have been sent.
    pub(super) fn new_record(&self, set: &RecordSet<'_>, given: &EmulatedActionCall<'_>) -> Value {
        let sample = set.sample_row();
        let mut patch = json!({});
        for (name, param) in &given.action.params {
            let is_in_body = self.connector.param_location(given.action, name, param) == Some(ParamLocation::Body);
            let at = self.connector.wire_name(name, param);
            let Some(known) = at.find(&sample).filter(|_| is_in_body && !is_part_of_key(set.stream, &at)) else {
                continue;
            };
            let empty = match known {
                Value::Array(_) => json!([]),
                Value::Object(_) => json!({}),
                _ => Value::Null,
            };
            at.set(&mut patch, param.default.clone().unwrap_or(empty));
        }
        // Nothing is below it yet.
        let connector = &self.connector;
        let below =
            connector.streams.values().flat_map(|stream| &stream.parents).filter(|parent| parent.stream == set.name);
        for (at, _) in
            below.flat_map(|parent| &parent.when).filter(|(_, values)| values.iter().any(|value| value == "*"))
        {
            at.set(&mut patch, Value::Null);
        }
        merge_json(&mut patch, &self.typed_body(set, given));
        patch
    }

    /// Takes the members of a record out of the variables of a GraphQL mutation, and leaves the rest of the request out.
    fn unwrap_variables(&self, given: &EmulatedActionCall<'_>, sample: &Value, sent: &mut Value) {
        let params = given.action.params.iter().map(|(name, param)| self.connector.wire_name(name, param));
        let mut wrappers: Vec<String> = given.action.fixed.keys().cloned().collect();
        let mut members = serde_json::Map::new();
        for at in params {
            let names: Vec<String> = at.tokens().collect();
            let (Some(first), Some(last)) = (names.first(), names.last()) else { continue };
            if names.len() > 1 && sample.get(first).is_none() && sample.get(last).is_some() {
                members.extend(at.find(sent).map(|value| (last.clone(), value.clone())));
                wrappers.push(first.clone());
            }
        }
        if let Some(sent) = sent.as_object_mut() {
            sent.retain(|name, _| !wrappers.contains(name) || sample.get(name).is_some());
            sent.extend(members);
        }
    }

    /// What was sent, as the stream's sample has it: forms and queries write numbers as text. Keys stay as they are.
    pub(super) fn typed_body(&self, set: &RecordSet<'_>, given: &EmulatedActionCall<'_>) -> Value {
        let sample = set.sample_row();
        let mut sent = if given.document.is_object() { given.document.clone() } else { json!({}) };
        if let Some(message) = &given.action.message {
            message.set(&mut sent, Value::Null);
        }
        self.unwrap_variables(given, &sample, &mut sent);
        for (name, param) in &given.action.params {
            let at = self.connector.wire_name(name, param);
            let is_query = self.connector.body_format(given.action) == ActionBody::Query
                && self.connector.param_location(given.action, name, param) == Some(ParamLocation::Query);
            let Some(value) = given.value(name, param).filter(|_| is_query || at.find(&sent).is_some()) else {
                continue;
            };
            let text = value.as_str().unwrap_or_default();
            let typed = match (param.kind, at.find(&sample)) {
                (ParamKind::Integer, _) | (_, Some(Value::Number(_))) => {
                    serde_json::from_str::<serde_json::Number>(text).ok().map(Value::Number)
                }
                (ParamKind::Boolean, _) | (_, Some(Value::Bool(_))) => text.parse::<bool>().ok().map(Value::Bool),
                // The vendor makes objects of names.
                (ParamKind::Array, Some(Value::Array(items)))
                    if items.first().is_some_and(|item| item.get("name").is_some()) =>
                {
                    let names = value.as_array().into_iter().flatten();
                    Some(
                        names
                            .map(|item| if item.is_string() { json!({ "name": item }) } else { item.clone() })
                            .collect(),
                    )
                }
                _ => None,
            };
            at.set(&mut sent, typed.unwrap_or(value));
        }
        let keys = set.stream.key.iter().chain(set.stream.incremental.iter().map(|incremental| &incremental.at));
        for at in keys {
            remove(&mut sent, at);
        }
        for name in set.stream.add.keys() {
            remove(&mut sent, &Pointer::from_member(name));
        }
        sent
    }
}

fn find(set: &RecordSet<'_>, wanted: &[(&Pointer, String)]) -> Option<GeneratedRecord> {
    if wanted.is_empty() {
        return None;
    }
    let wanted: Vec<(&Pointer, &str)> = wanted.iter().map(|(at, text)| (*at, text.as_str())).collect();
    set.find(&wanted).filter(|row| !row.is_deleted())
}

/// The record above a list that says of itself that it has changed when something in the list has.
fn changed_parent(set: &RecordSet<'_>) -> Option<(String, u64)> {
    let parent = set.stream.parents.iter().find(|parent| parent.changed)?;
    let above = set.world.connector.streams.get(&parent.stream)?;
    if !above.parents.is_empty() {
        return None;
    }
    let list = RecordSet::new(set.world, &parent.stream, BTreeMap::new())?;
    let wanted: Option<Vec<(&Pointer, &str)>> =
        parent.values.iter().map(|(name, at)| Some((at, set.partition.get(name)?.as_str()))).collect();
    Some((parent.stream.clone(), list.find(&wanted?)?.index))
}

fn is_part_of_key(stream: &Stream, at: &Pointer) -> bool {
    stream.key.contains(at)
}

/// Takes a member away from where a pointer leads.
fn remove(document: &mut Value, at: &Pointer) {
    let tokens: Vec<String> = at.tokens().collect();
    let Some((last, before)) = tokens.split_last() else { return };
    let above = before.iter().try_fold(document, |value, token| value.get_mut(token));
    if let Some(Value::Object(members)) = above {
        members.remove(last);
    }
}
