//! Checks the consistency of a method's keys, assertions and certificate.

use super::Diagnostics;
use crate::connector::{AuthMethod, ClientAuth, CredentialField, FieldKind, GrantType, JwtAlgorithm, OAuth2};
use crate::near::did_you_mean_or_list;

/// The longest assertion that a file may ask for, in seconds: what is signed is good for as long.
const MAX_ASSERTION_SECS: u32 = 3600;

pub(super) fn check(key: &str, auth: &AuthMethod, found: &mut Diagnostics) {
    for (name, field) in &auth.fields {
        check_field(&format!("{key}.fields.{name}"), field, found);
    }
    if let Some(tls) = &auth.tls {
        check_named(auth, &format!("{key}.tls.certificate"), &tls.certificate, FieldKind::Certificate, found);
        check_named(auth, &format!("{key}.tls.key"), &tls.key, FieldKind::PrivateKey, found);
    }
    match &auth.oauth2 {
        Some(oauth2) => check_oauth2(key, auth, oauth2, found),
        None => {
            // A key of one line is what requests carry.
            let token = auth.token_field().and_then(|name| Some((name, auth.fields.get(name)?)));
            if let Some((name, field)) = token.filter(|(_, field)| field.kind.is_file())
                && auth.send.is_none()
            {
                let message = format!("a {} cannot be sent: say in send what is", kind_name(field.kind));
                found.push((format!("{key}.fields.{name}.kind"), message));
            }
        }
    }
}

fn check_field(key: &str, field: &CredentialField, found: &mut Diagnostics) {
    if field.kind != FieldKind::Json {
        let only_json = [("values", field.values.is_empty()), ("expect", field.expect.is_empty())];
        for (name, _) in only_json.into_iter().filter(|(_, is_empty)| !is_empty) {
            found.push((format!("{key}.{name}"), "is for a field of the kind json".to_owned()));
        }
    }
    if field.kind.is_file() && (!field.prefixes.is_empty() || field.contains.is_some()) {
        found.push((key.to_owned(), "prefixes and contains are for a field of the kind text".to_owned()));
    }
    if field.kind == FieldKind::PrivateKey && !field.secret {
        found.push((format!("{key}.secret"), "a private key is secret".to_owned()));
    }
}

/// A field that something else names, and its kind.
fn check_named(auth: &AuthMethod, key: &str, name: &str, kind: FieldKind, found: &mut Diagnostics) {
    match auth.fields.get(name) {
        Some(field) if field.kind == kind => {}
        Some(_) => found.push((key.to_owned(), format!("{name:?} must be a field of the kind {}", kind_name(kind)))),
        None => {
            let known = did_you_mean_or_list(name, auth.fields.keys().map(String::as_str));
            found.push((key.to_owned(), format!("{name:?} is not one of the fields{known}")));
        }
    }
}

fn kind_name(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Text => "text",
        FieldKind::PrivateKey => "private_key",
        FieldKind::Certificate => "certificate",
        FieldKind::Json => "json",
    }
}

fn check_oauth2(key: &str, auth: &AuthMethod, oauth2: &OAuth2, found: &mut Diagnostics) {
    let mut say = |name: &str, message: &str| found.push((format!("{key}.oauth2.{name}"), message.to_owned()));
    let grant = oauth2.key_grant();
    if grant.is_some() && oauth2.grants.len() > 1 {
        say("grants", "a method that presents a key has no other grant: make another method for that");
    }
    if grant == Some(GrantType::JwtBearer) && oauth2.assertion.is_none() {
        say("assertion", "is missing: the grant jwt_bearer presents it");
    }
    if grant.is_none() && oauth2.assertion.is_some() {
        say("assertion", "is for the grants jwt_bearer and exchange");
    }
    if grant == Some(GrantType::Exchange) && oauth2.token_params.is_empty() && oauth2.token_headers.is_empty() {
        say("token_params", "are missing: they say, with token_headers, what is exchanged");
    }
    if grant.is_some() && oauth2.token_url.is_none() && oauth2.issuer.is_none() {
        say("token_url", "is missing: the key is presented there");
    }
    match oauth2.client_auth {
        ClientAuth::PrivateKeyJwt if oauth2.client_assertion.is_none() => {
            say("client_assertion", "is missing: the client signs it");
        }
        ClientAuth::TlsClientAuth if auth.tls.is_none() => {
            found.push((format!("{key}.tls"), "is missing: the client shows its certificate".to_owned()));
        }
        ClientAuth::PrivateKeyJwt | ClientAuth::TlsClientAuth => {}
        ClientAuth::Basic | ClientAuth::Post | ClientAuth::None if oauth2.client_assertion.is_some() => {
            say("client_assertion", "is for client_auth = \"private_key_jwt\"");
        }
        ClientAuth::Basic | ClientAuth::Post | ClientAuth::None => {}
    }
    for (name, rule) in [("assertion", &oauth2.assertion), ("client_assertion", &oauth2.client_assertion)] {
        let Some(rule) = rule else { continue };
        let mut say = |part: &str, message: String| found.push((format!("{key}.oauth2.{name}.{part}"), message));
        if rule.lifetime_secs == 0 || rule.lifetime_secs > MAX_ASSERTION_SECS {
            say("lifetime_secs", format!("must be between 1 and {MAX_ASSERTION_SECS}"));
        }
        if rule.backdate_secs > MAX_ASSERTION_SECS {
            say("backdate_secs", format!("must be at most {MAX_ASSERTION_SECS}"));
        }
        for claim in rule.claims.keys().filter(|claim| matches!(claim.as_str(), "iat" | "exp")) {
            say(&format!("claims.{claim}"), "integ sets it: see lifetime_secs and backdate_secs".to_owned());
        }
        let is_of_file = auth.fields.values().any(|field| field.values.contains_key(&rule.key));
        let wanted = match rule.algorithm {
            Some(JwtAlgorithm::Hs256) => FieldKind::Text,
            _ => FieldKind::PrivateKey,
        };
        if !is_of_file {
            check_named(auth, &format!("{key}.oauth2.{name}.key"), &rule.key, wanted, found);
        }
    }
}
