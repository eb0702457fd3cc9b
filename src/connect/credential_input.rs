//! Collects the user's input for an authentication method (texts, keys, key files, certificates) from arguments, files,
//! the environment or a prompt, and checks it before anything is sent.

use std::collections::BTreeMap;

use serde_json::Value;

use super::flow::{ConnectFlow, parse_given_param};
use super::guide::prompt_valid;
use super::{ConnectError, ConnectRequest, PromptError, PromptQuestion};
use crate::clock::Timestamp;
use crate::connector::{AuthMethod, CredentialField, FieldKind};
use crate::env;
use crate::error::Result;
use crate::runtime::Session;
use crate::sandbox::{SandboxAccount, account_fields};
use crate::secret::Secret;
use crate::signing::private_key::{PrivateKey, normalize_pem};
use crate::signing::{assertion, certificate};

/// Returns the fields of the session's method: given, those of the sandbox, those of the connection that is reconnected,
/// else asked for.
///
/// # Errors
/// [`ConnectError::InvalidKey`] for what cannot be such a value, [`PromptError`] without a terminal.
pub(super) async fn collect(flow: &ConnectFlow<'_>, session: &Session) -> Result<BTreeMap<String, Secret>> {
    let ConnectFlow { workspace, request, .. } = flow;
    let auth = &session.auth;
    if auth.fields.is_empty() {
        return Ok(BTreeMap::new());
    }
    let now = workspace.clock.now();
    let mut fields = if request.is_sandbox && request.token.is_none() {
        let account = SandboxAccount::named(session.connection.name.account());
        account_fields(&session.connector, auth, &account, &workspace.sandbox_seed().await?)
    } else {
        BTreeMap::new()
    };
    let stored = flow.stored_keys(session);
    let mut missing = Vec::new();
    for (name, field) in &auth.fields {
        let given = given(flow, auth, name).or_else(|| fields.get(name).cloned());
        let value = match given.or_else(|| stored.get(name).cloned()) {
            Some(value) => check(flow, session, name, field, value, now)?,
            None if flow.prompter.is_interactive() => prompt(flow, session, name, field, now)?,
            None => {
                missing.push((name, field));
                continue;
            }
        };
        fields.insert(name.clone(), value);
    }
    if missing.is_empty() {
        check_together(request, auth, &fields, now)?;
        return Ok(fields);
    }
    if !flow.reads_environment()
        && let Some((name, field)) = missing.first()
    {
        return Err(flow.missing_param(name, &field.prompt).into());
    }
    let prompts: Vec<&str> = missing.iter().map(|(_, field)| field.prompt.as_str()).collect();
    let ways: Vec<String> = missing.iter().map(|(name, field)| how_to_give(auth, name, field)).collect();
    let error = PromptError::NoTerminal { prompt: prompts.join(", "), missing: ways.join(" and ") };
    Err(ConnectError::Prompt(error).into())
}

/// What the request or the environment gives for a field.
fn given(flow: &ConnectFlow<'_>, auth: &AuthMethod, name: &str) -> Option<Secret> {
    let request = flow.request;
    let main = request.token.as_ref().filter(|_| auth.main_field() == Some(name));
    let param = || request.params.get(name).map(|value| Secret::from(value.trim()));
    main.or_else(|| request.files.get(name))
        .cloned()
        .or_else(param)
        .or_else(|| flow.reads_environment().then(|| env::param(name)).flatten())
}

/// How to give a field without a terminal, in words.
fn how_to_give(auth: &AuthMethod, name: &str, field: &CredentialField) -> String {
    if field.kind.is_file() || auth.oauth2.is_some() && field.secret {
        format!("--param {name}=@FILE")
    } else if auth.main_field() == Some(name) {
        "--with-token and the key on stdin, or INTEG_TOKEN".to_owned()
    } else {
        format!("--param {name}=VALUE")
    }
}

fn prompt(
    flow: &ConnectFlow<'_>,
    session: &Session,
    name: &str,
    field: &CredentialField,
    now: Timestamp,
) -> Result<Secret> {
    flow.show_setup(&session.connector, &session.connection.auth)?;
    let flag_hint = how_to_give(&session.auth, name, field);
    let question = match field.kind {
        FieldKind::Text => PromptQuestion::Text {
            prompt: &field.prompt,
            example: None,
            is_secret: field.secret,
            flag_hint: &flag_hint,
        },
        FieldKind::PrivateKey | FieldKind::Certificate | FieldKind::Json => {
            PromptQuestion::File { prompt: &field.prompt, flag_hint: &flag_hint }
        }
    };
    Ok(prompt_valid(flow.prompter, &question, |value| check(flow, session, name, field, value, now))?)
}

/// Checks one value, and returns it as it is stored.
fn check(
    flow: &ConnectFlow<'_>,
    session: &Session,
    name: &str,
    field: &CredentialField,
    value: Secret,
    now: Timestamp,
) -> Result<Secret, ConnectError> {
    let request = flow.request;
    let invalid = |why: String| invalid_key(request, name, field, why);
    match field.kind {
        FieldKind::Text => {
            let value = if field.secret {
                value
            } else {
                let (connector, auth) = (&session.connector, &session.connection.auth);
                Secret::new(parse_given_param(connector, auth, &session.auth, request, name, value.expose())?)
            };
            check_text(request, name, field, &value)?;
            Ok(value)
        }
        FieldKind::PrivateKey => {
            let pem = Secret::new(normalize_pem(value.expose()));
            PrivateKey::from_pem(pem.expose()).map_err(|error| invalid(error.to_string()))?;
            Ok(pem)
        }
        FieldKind::Certificate => {
            let pem = Secret::new(normalize_pem(value.expose()));
            let chain = certificate::from_pem(pem.expose()).map_err(|error| invalid(error.to_string()))?;
            certificate::check_validity(&chain, now).map_err(|error| invalid(error.to_string()))?;
            Ok(pem)
        }
        FieldKind::Json => check_json(field, value.expose()).map(|()| value).map_err(invalid),
    }
}

/// The error of a value, with the flag that gives another one.
fn invalid_key(request: &ConnectRequest, name: &str, field: &CredentialField, why: String) -> ConnectError {
    let flag = match field.kind {
        FieldKind::Text => "--with-token".to_owned(),
        FieldKind::PrivateKey | FieldKind::Certificate | FieldKind::Json => format!("--param {name}=@FILE"),
    };
    ConnectError::InvalidKey { command: request.command(), prompt: field.prompt.clone(), why, flag: flag.into() }
}

/// Checks that a text is the JSON file that a field describes.
fn check_json(field: &CredentialField, text: &str) -> Result<(), String> {
    let document: Value = serde_json::from_str(text).map_err(|error| {
        // A parser's text may quote what it read.
        format!("it is not JSON (line {}, column {})", error.line(), error.column())
    })?;
    for (at, want) in &field.expect {
        let found = at.text(&document);
        if at.find(&document) != Some(want) {
            let found = found.map_or_else(|| "nothing".to_owned(), |found| format!("{found:?}"));
            return Err(format!("it has {found} at {at}, not {want}"));
        }
    }
    match field.values.values().find(|at| at.text(&document).is_none()) {
        Some(at) => Err(format!("it has nothing at {at}")),
        None => Ok(()),
    }
}

/// Checks what the parts of a credential say together: a key signs by its algorithm, a certificate belongs to its key.
fn check_together(
    request: &ConnectRequest,
    auth: &AuthMethod,
    fields: &BTreeMap<String, Secret>,
    now: Timestamp,
) -> Result<(), ConnectError> {
    let values = auth.credential_values(fields);
    // The field that the user gave it with.
    let named = |name: &String| {
        auth.fields.iter().find(|(field, declared)| *field == name || declared.values.contains_key(name))
    };
    let rules = auth.oauth2.iter();
    let assertions = rules.flat_map(|rules| rules.assertion.iter().chain(&rules.client_assertion));
    for rule in assertions {
        if let (Some((name, field)), Some(key)) = (named(&rule.key), values.get(&rule.key)) {
            assertion::check_key(rule, key).map_err(|error| invalid_key(request, name, field, error.to_string()))?;
        }
    }
    let Some(tls) = &auth.tls else { return Ok(()) };
    if let (Some((name, field)), Some(pem), Some(key)) =
        (named(&tls.certificate), values.get(&tls.certificate), values.get(&tls.key))
    {
        let invalid = |why: String| invalid_key(request, name, field, why);
        let chain = certificate::from_pem(pem.expose()).map_err(|error| invalid(error.to_string()))?;
        certificate::check_validity(&chain, now).map_err(|error| invalid(error.to_string()))?;
        let key = PrivateKey::from_pem(key.expose()).map_err(|error| invalid(error.to_string()))?;
        certificate::check_key(&chain, &key).map_err(|error| invalid(error.to_string()))?;
    }
    Ok(())
}

/// Catches the wrong text before it is sent anywhere.
pub(super) fn check_text(
    request: &ConnectRequest,
    name: &str,
    field: &CredentialField,
    value: &Secret,
) -> Result<(), ConnectError> {
    let text = value.expose();
    let why = if text.is_empty() {
        "it is empty".to_owned()
    } else if text.chars().any(char::is_control) {
        "it holds control characters or line breaks".to_owned()
    } else if !field.prefixes.is_empty() && !field.prefixes.iter().any(|prefix| text.starts_with(prefix.as_str())) {
        format!("it does not begin with {}", field.prefixes.join(" or "))
    } else if let Some(part) = field.contains.as_ref().filter(|part| !text.contains(part.as_str())) {
        format!("it does not contain {part:?}")
    } else {
        return Ok(());
    };
    Err(invalid_key(request, name, field, why))
}

impl ConnectFlow<'_> {
    /// The keys of a connection that is reconnected: they are presented again unless others are given.
    fn stored_keys(&self, session: &Session) -> BTreeMap<String, Secret> {
        let loaded = self.previous.as_ref().and_then(|before| before.loaded.as_ref());
        let same = loaded.filter(|loaded| loaded.connection.auth == session.connection.auth);
        let is_reused = session.auth.oauth2.is_some() && self.request.purpose == super::ConnectPurpose::Reconnect;
        same.filter(|_| is_reused).map(|loaded| loaded.grant.fields.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[test]
    fn a_key_file_of_another_kind_is_named() {
        let field = "prompt = 'Key file'\nkind = 'json'\nexpect = { '/type' = 'service_account' }\n\
                     values = { client_email = '/client_email' }";
        let field = CredentialField::deserialize(field.parse::<toml::Table>().unwrap()).unwrap();
        let check = |text| check_json(&field, text);
        assert_eq!(check(r#"{"type":"service_account","client_email":"a@b"}"#), Ok(()));
        assert_eq!(check("{\"S3CRET").unwrap_err(), "it is not JSON (line 1, column 8)");
        let user = check(r#"{"type":"authorized_user"}"#).unwrap_err();
        assert_eq!(user, r#"it has "authorized_user" at /type, not "service_account""#);
        assert_eq!(check("[]").unwrap_err(), r#"it has nothing at /type, not "service_account""#);
        assert_eq!(check(r#"{"type":"service_account"}"#).unwrap_err(), "it has nothing at /client_email");
    }
}
