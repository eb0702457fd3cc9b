//! Checks the consistency of a connector's webhooks.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Diagnostics;
use super::names::defined_names;
use crate::connector::{
    Action, Connector, Handshake, ParamKind, SampleRequest, SignatureAlgorithm, SignatureLocation, SignatureScheme,
    SignedPart, Template, ValueSelector, WebhookDefinition,
};
use crate::jq::Expression;

/// What every base may name.
const SIGNED_NAMES: &[&str] = &["body", "url", "method", "form", "crc32", "timestamp", "secret"];

/// What samples may name.
pub(crate) const SAMPLE_NAMES: &[&str] = &["id", "uuid", "now", "now_ms", "now_date", "n"];

/// What samples of records may name as well.
pub(crate) const RECORD_SAMPLE_NAMES: &[&str] = &[
    "number",
    "code",
    "created",
    "created_ms",
    "created_date",
    "title",
    "text",
    "person",
    "given",
    "family",
    "person_login",
    "person_email",
    "company",
    "domain",
    "amount",
    "price",
];

/// What samples of records and of health checks may name of the account.
pub(crate) const ACCOUNT_SAMPLE_NAMES: &[&str] = &["account", "login", "email", "account_code"];

pub(super) fn check(connector: &Connector, found: &mut Diagnostics) {
    let Some(webhook) = &connector.webhook else {
        if let Some(name) = connector.events.iter().find(|(_, event)| event.sample.is_some()).map(|(name, _)| name) {
            found.push((format!("events.{name}.sample"), "[webhook] is missing".to_owned()));
        }
        return;
    };
    if !(1..=1024).contains(&webhook.max_body_mib) {
        found.push(("webhook.max_body_mib".to_owned(), "is between 1 and 1024".to_owned()));
    }
    let given = given(connector, webhook);
    for (index, proof) in webhook.proofs.iter().enumerate() {
        check_signature(&format!("webhook.proofs.{index}"), proof, webhook, &given, found);
    }
    for index in webhook.weaker_signatures() {
        let message =
            "is weaker than another proof of the same bytes, which requests carry as well: remove it".to_owned();
        found.push((format!("webhook.proofs.{index}.scheme"), message));
    }
    for (index, handshake) in webhook.handshakes.iter().enumerate() {
        check_handshake(&format!("webhook.handshakes.{index}"), handshake, &given, found);
    }
    for (index, merge) in webhook.merges.iter().enumerate() {
        if !connector.events.contains_key(&merge.event) {
            found.push((format!("webhook.merges.{index}.event"), format!("there is no event {:?}", merge.event)));
        }
    }
    for (name, param) in &webhook.params {
        if let Some(from) = &param.from {
            names(&format!("webhook.params.{name}.from"), from, &given, found);
        }
    }
    let shape = &webhook.event;
    let lists = [
        ("id", &shape.id),
        ("type", &shape.kind),
        ("account", &shape.account),
        ("time", &shape.time),
        ("resource", &shape.resource),
        ("actor", &shape.actor),
    ];
    for (name, find) in lists.into_iter().flat_map(|(name, list)| list.iter().map(move |find| (name, find))) {
        check_selector(&format!("webhook.event.{name}"), find, found);
        if find.received && name != "id" {
            found.push((format!("webhook.event.{name}"), "received is a part of an id alone".to_owned()));
        }
    }
    check_reply(webhook, found);
    check_confirm(connector, webhook, &given, found);
    check_subscribe(connector, webhook, found);
    check_backfill(connector, webhook, found);
    let mut sampled: BTreeSet<&str> = given.clone();
    sampled.extend(SAMPLE_NAMES);
    check_sample("webhook.sample", &webhook.sample, &sampled, found);
    for (name, event) in &connector.events {
        if let Some(sample) = &event.sample {
            check_sample(&format!("events.{name}.sample"), sample, &sampled, found);
        }
    }
}

/// A request that waits for a handler takes a place at the receiver meanwhile.
fn check_reply(webhook: &WebhookDefinition, found: &mut Diagnostics) {
    let reply = &webhook.reply;
    match reply.within {
        Some(within) if !(1..=60).contains(&within.as_secs()) => {
            found.push(("webhook.reply.within".to_owned(), "is between 1s and 60s".to_owned()));
        }
        Some(_) => {}
        None if reply.events.is_empty() => {}
        None => {
            found.push(("webhook.reply.events".to_owned(), "needs within: otherwise no answer is awaited".to_owned()));
        }
    }
}

/// What the webhook's parameters and the connection give, whichever way it is connected by.
fn given<'c>(connector: &'c Connector, webhook: &'c WebhookDefinition) -> BTreeSet<&'c str> {
    let ways = connector.auth.values().flat_map(|auth| defined_names(connector, auth));
    ways.chain(webhook.params.keys().map(String::as_str)).collect()
}

fn names(key: &str, template: &Template, known: &BTreeSet<&str>, found: &mut Diagnostics) {
    for name in template.placeholders().filter(|name| !known.contains(name)) {
        let there: Vec<&str> = known.iter().copied().collect();
        found.push((key.to_owned(), format!("{{{name}}} is not defined; use one of {}", there.join(", "))));
    }
}

fn check_signature(
    key: &str,
    proof: &SignatureScheme,
    webhook: &WebhookDefinition,
    given: &BTreeSet<&str>,
    found: &mut Diagnostics,
) {
    check_location(&format!("{key}.signature"), &proof.signature, "signature", found);
    if let Some(rule) = &proof.timestamp {
        check_location(&format!("{key}.timestamp.place"), &rule.place, "timestamp", found);
    }
    for (name, find) in &proof.values {
        check_selector(&format!("{key}.values.{name}"), find, found);
    }
    let mut known: BTreeSet<&str> = given.clone();
    known.extend(SIGNED_NAMES);
    known.extend(proof.values.keys().map(String::as_str));
    if let Some(base) = &proof.base {
        names(&format!("{key}.base"), base, &known, found);
        if proof.timestamp.is_none() && base.placeholders().any(|name| name == "timestamp") {
            found.push((format!("{key}.timestamp"), "is missing: base names it".to_owned()));
        }
    }
    let own = proof.key.as_ref().is_some_and(|template| !template.placeholders().any(|name| name == "secret"));
    let keyless = matches!(proof.scheme, SignatureAlgorithm::RsaSha256 | SignatureAlgorithm::JwtRs256);
    if !own && !keyless && !webhook.params.contains_key("secret") {
        let message = "is signed with {secret}, and webhook.params has no secret to ask for".to_owned();
        found.push((format!("{key}.key"), message));
    }
    let wants = |there: bool, name: &str, found: &mut Diagnostics| {
        if !there {
            found.push((format!("{key}.{name}"), "is missing: the scheme needs it".to_owned()));
        }
    };
    match proof.scheme {
        SignatureAlgorithm::RsaSha256 => wants(proof.certificate.is_some(), "certificate", found),
        SignatureAlgorithm::JwtRs256 => {
            wants(proof.jwt.as_ref().is_some_and(|rule| rule.keys_url.is_some()), "jwt.keys_url", found);
        }
        SignatureAlgorithm::Sha256 => {
            let secret = proof.base.as_ref().is_some_and(|base| base.placeholders().any(|name| name == "secret"));
            if !secret {
                found.push((format!("{key}.base"), "a plain hash proves nothing without {secret} in it".to_owned()));
            }
        }
        _ => {}
    }
}

fn check_location(key: &str, carrier: &SignatureLocation, name: &str, found: &mut Diagnostics) {
    let places = [carrier.header.is_some(), carrier.query.is_some(), carrier.at.is_some()];
    if places.iter().filter(|there| **there).count() != 1 {
        found.push((key.to_owned(), "takes exactly one of header, query and at".to_owned()));
    }
    if let Some(format) = &carrier.format {
        let named: Vec<&str> = format.placeholders().collect();
        if named != [name] {
            found.push((format!("{key}.format"), format!("names {{{name}}} once and nothing else")));
        }
    }
}

fn check_selector(key: &str, find: &ValueSelector, found: &mut Diagnostics) {
    let places = [
        find.header.is_some(),
        find.query.is_some(),
        find.at.is_some(),
        find.body.is_some(),
        find.beside.is_some(),
        find.text.is_some(),
        find.received,
    ];
    if places.iter().filter(|there| **there).count() != 1 {
        found.push((
            key.to_owned(),
            "takes exactly one of header, query, at, body, beside, text and received".to_owned(),
        ));
    }
}

fn check_handshake(key: &str, handshake: &Handshake, given: &BTreeSet<&str>, found: &mut Diagnostics) {
    let when = &handshake.when;
    if when.method.is_none() && when.headers.is_empty() && when.query.is_empty() && when.body.is_empty() {
        found.push((format!("{key}.when"), "fits every request: no event would ever come".to_owned()));
    }
    for (name, template) in &handshake.check {
        names(&format!("{key}.check.{name}"), template, given, found);
    }
    if let Some(find) = &handshake.echo {
        check_selector(&format!("{key}.echo"), find, found);
        if handshake.answer.is_some() {
            found.push((format!("{key}.answer"), "an answer is an echo or a document, not both".to_owned()));
        }
    }
}

/// Where a signature does not cover the body, the vendor must be asked whether it sent it.
fn check_confirm(connector: &Connector, webhook: &WebhookDefinition, given: &BTreeSet<&str>, found: &mut Diagnostics) {
    let Some(confirm) = &webhook.confirm else {
        let uncovered = webhook
            .proofs
            .iter()
            .enumerate()
            .find(|(_, proof)| proof.scheme.signs_request() && !webhook.coverage(proof).covers(SignedPart::Body));
        if let Some((index, _)) = uncovered {
            let message =
                "does not sign the body: add [webhook.confirm], by which the service is asked whether it sent it";
            found.push((format!("webhook.proofs.{index}.base"), message.to_owned()));
        }
        return;
    };
    if confirm.event.is_none() && confirm.holds.is_empty() {
        found
            .push(("webhook.confirm".to_owned(), "says neither event nor holds: any answer would be a yes".to_owned()));
    }
    let Some(declared) = connector.actions.get(&confirm.action) else {
        let message = format!("{:?} is not among the connector's actions", confirm.action);
        found.push(("webhook.confirm.action".to_owned(), message));
        return;
    };
    for name in confirm.params.keys().chain(confirm.values.keys()) {
        let key = format!("webhook.confirm.params.{name}");
        match declared.params.get(name).map(|param| param.kind) {
            None => found.push((key, format!("{} has no such parameter", confirm.action))),
            Some(ParamKind::File | ParamKind::Files) => {
                found.push((key, no_file(&confirm.action, name)));
            }
            Some(_) => {}
        }
    }
    let gives = |name: &String| confirm.params.contains_key(name) || confirm.values.contains_key(name);
    for (name, _) in declared.params.iter().filter(|(name, param)| param.required && !gives(name)) {
        found.push((format!("webhook.confirm.params.{name}"), format!("is missing: {} needs it", confirm.action)));
    }
    for (name, find) in &confirm.params {
        check_selector(&format!("webhook.confirm.params.{name}"), find, found);
    }
    for (name, template) in &confirm.values {
        names(&format!("webhook.confirm.values.{name}"), template, given, found);
    }
}

fn check_subscribe(connector: &Connector, webhook: &WebhookDefinition, found: &mut Diagnostics) {
    let Some(subscribe) = &webhook.subscribe else { return };
    let further = [("unsubscribe", &subscribe.unsubscribe), ("renew", &subscribe.renew), ("list", &subscribe.list)];
    let further = further.into_iter().filter_map(|(name, call)| {
        let call = call.as_ref()?;
        Some((format!("webhook.subscribe.{name}"), &call.action, &call.params))
    });
    let first = ("webhook.subscribe".to_owned(), &subscribe.action, &subscribe.params);
    for (key, action, params) in std::iter::once(first).chain(further) {
        let Some(declared) = connector.actions.get(action) else {
            found.push((format!("{key}.action"), format!("{action:?} is not among the connector's actions")));
            continue;
        };
        for name in params.keys().filter(|name| !declared.params.contains_key(*name)) {
            found.push((format!("{key}.params.{name}"), format!("{action} has no such parameter")));
        }
        refuse_files(&key, action, declared, params.keys(), found);
    }
    if let Some(declared) = connector.actions.get(&subscribe.action) {
        for name in subscribe
            .keep
            .iter()
            .chain(&subscribe.secret)
            .chain(&subscribe.expires)
            .filter(|name| !declared.result.contains_key(*name))
        {
            let message = format!("{name:?} is not among the results of {}", subscribe.action);
            found.push(("webhook.subscribe.keep".to_owned(), message));
        }
        for name in subscribe.events.iter().filter(|name| takes_file(declared, name)) {
            found.push(("webhook.subscribe.events".to_owned(), no_file(&subscribe.action, name)));
        }
        if let Some((name, param)) = subscribe.events.as_ref().and_then(|name| declared.params.get_key_value(name))
            && !matches!(param.kind, ParamKind::Array | ParamKind::File | ParamKind::Files)
        {
            let (kind, action) = (param.kind.as_str(), &subscribe.action);
            let message =
                format!("takes a list of event types, and {name:?} of {action} is not an array but of type {kind}");
            found.push(("webhook.subscribe.events".to_owned(), message));
        }
        for name in subscribe.events.iter().filter(|name| !declared.params.contains_key(*name)) {
            found.push((
                "webhook.subscribe.events".to_owned(),
                format!("{} has no parameter {name:?}", subscribe.action),
            ));
        }
    }
}

/// Refuses a request of the connector's own that names a file, or cannot be made without one: only people name files.
fn refuse_files<'a>(
    key: &str,
    action: &str,
    declared: &Action,
    names: impl IntoIterator<Item = &'a String>,
    found: &mut Diagnostics,
) {
    let names: BTreeSet<&String> = names.into_iter().collect();
    for name in names.iter().filter(|name| takes_file(declared, name)) {
        found.push((format!("{key}.params.{name}"), no_file(action, name)));
    }
    let required = declared.params.iter().filter(|(name, param)| param.required && !names.contains(*name));
    for (name, _) in required.filter(|(name, _)| takes_file(declared, name)) {
        found.push((format!("{key}.action"), no_file(action, name)));
    }
}

fn takes_file(action: &Action, name: &str) -> bool {
    let param = action.params.get(name);
    param.is_some_and(|param| matches!(param.kind, ParamKind::File | ParamKind::Files))
}

fn no_file(action: &str, name: &str) -> String {
    format!("{name:?} of {action} takes a file, and only a person can name one, with `integ call`")
}

fn check_backfill(connector: &Connector, webhook: &WebhookDefinition, found: &mut Diagnostics) {
    let Some(backfill) = &webhook.backfill else { return };
    let mut check = |key: &str, action: &str, names: Vec<&String>| {
        let Some(declared) = connector.actions.get(action) else {
            let message = format!("{action:?} is not among the connector's actions");
            found.push((format!("webhook.backfill.{key}action"), message));
            return;
        };
        for name in names.iter().filter(|name| !declared.params.contains_key(**name)) {
            found.push((format!("webhook.backfill.{key}params.{name}"), format!("{action} has no such parameter")));
        }
        refuse_files(format!("webhook.backfill.{key}").trim_end_matches('.'), action, declared, names, found);
    };
    check("", &backfill.action, backfill.params.keys().collect());
    if let Some(each) = &backfill.each {
        check("each.", &each.action, each.params.keys().collect());
    }
    if let Some(text) = &backfill.event
        && let Err(error) = Expression::parse(text)
    {
        found.push(("webhook.backfill.event".to_owned(), error.to_string()));
    }
}

/// Checks a sample that is written as JSON: its strings are templates of known names.
pub(super) fn check_sample_text(key: &str, sample: &str, known: &BTreeSet<&str>, found: &mut Diagnostics) {
    let document: Value = match serde_json::from_str(sample) {
        Ok(document) => document,
        Err(error) => return found.push((key.to_owned(), format!("is not JSON: {error}"))),
    };
    let mut wrong = Vec::new();
    for_each_string(&document, &mut |text| match Template::parse(text) {
        Err(error) => wrong.push(error.to_string()),
        Ok(template) => {
            let unknown = template.placeholders().filter(|name| !known.contains(name));
            wrong.extend(unknown.map(|name| format!("{{{name}}} is not defined")));
        }
    });
    found.extend(wrong.into_iter().map(|message| (key.to_owned(), message)));
}

fn check_sample(key: &str, sample: &SampleRequest, known: &BTreeSet<&str>, found: &mut Diagnostics) {
    for (name, template) in sample.headers.iter().chain(&sample.query).chain(&sample.form) {
        names(&format!("{key}.{name}"), template, known, found);
    }
    let bodies = [sample.json.is_some(), !sample.form.is_empty(), sample.text.is_some()];
    if bodies.iter().filter(|there| **there).count() > 1 {
        found.push((key.to_owned(), "a body is json, form or text, not several".to_owned()));
    }
    if let Some(text) = &sample.json {
        match serde_json::from_str::<Value>(text) {
            Err(error) => found.push((format!("{key}.json"), format!("is not JSON: {error}"))),
            Ok(document) => for_each_string(&document, &mut |text| match Template::parse(text) {
                Ok(template) => names(&format!("{key}.json"), &template, known, found),
                Err(error) => found.push((format!("{key}.json"), error.to_string())),
            }),
        }
    }
}

/// Every text of a document.
pub(super) fn for_each_string(document: &Value, each: &mut impl FnMut(&str)) {
    match document {
        Value::String(text) => each(text),
        Value::Array(items) => items.iter().for_each(|item| for_each_string(item, each)),
        Value::Object(members) => members.values().for_each(|item| for_each_string(item, each)),
        _ => {}
    }
}
