//! Corrupts requests, to test that a receiver rejects them. Pure.

use serde_json::Value;
use thiserror::Error;

use crate::clock::Timestamp;
use crate::connector::{SignatureAlgorithm, SignatureLocation, SignatureScheme};
use crate::error::{Diagnostic, Kind, Remedy};
use crate::model::words::words;
use crate::signing::request::WebhookRequest;

/// What is wrong with a simulated event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corruption {
    /// Its signature is another.
    Signature,
    /// It was signed long ago.
    PastTimestamp,
    /// It will be signed later.
    FutureTimestamp,
    /// Its body was changed after it was signed.
    Body,
    /// It comes twice, which is not a fault of the request: a receiver takes both, and handles one.
    Duplicate,
}

words!(Corruption {
    Signature => "signature",
    PastTimestamp => "timestamp",
    FutureTimestamp => "future",
    Body => "body",
    Duplicate => "duplicate",
});

impl Corruption {
    /// Whether a receiver that checks refuses it.
    pub fn should_be_rejected(self) -> bool {
        self != Self::Duplicate
    }
}

/// Why a request cannot be made invalid in the requested way.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CorruptionError {
    #[error("events of {0} are not signed, so none can be invalid")]
    NotSigned(String),
    #[error("the signature of {0} has no timestamp to check")]
    TimestampNotChecked(String),
    #[error("the signature of {0} does not cover the body")]
    BodyNotSigned(String),
}

impl Remedy for CorruptionError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Usage, "not_verifiable").run(match self {
            Self::NotSigned(connector) => format!("integ webhook simulate {connector}"),
            Self::TimestampNotChecked(connector) | Self::BodyNotSigned(connector) => {
                format!("integ webhook simulate {connector} EVENT --invalid signature")
            }
        })
    }
}

/// How far the wrong times are from now.
const FAR_SECS: i64 = 86_400;

/// The time that a request is signed at to be wrong so; absent where that is not what is wrong.
///
/// # Errors
/// [`CorruptionError::TimestampNotChecked`] if no receiver could detect it.
pub fn signed_at(
    fault: Corruption,
    proof: Option<&SignatureScheme>,
    connector: &str,
    now: Timestamp,
) -> Result<Option<Timestamp>, CorruptionError> {
    let Some(proof) = proof else { return Err(CorruptionError::NotSigned(connector.to_owned())) };
    let tolerance = proof.timestamp.as_ref().and_then(|rule| rule.tolerance_secs).map_or(0, i64::from);
    let far = FAR_SECS.saturating_add(tolerance);
    let away = match fault {
        Corruption::PastTimestamp => -far,
        Corruption::FutureTimestamp => far,
        Corruption::Body if !covers_body(proof) => return Err(CorruptionError::BodyNotSigned(connector.to_owned())),
        Corruption::Signature | Corruption::Body | Corruption::Duplicate => return Ok(None),
    };
    let token = matches!(proof.scheme, SignatureAlgorithm::JwtRs256 | SignatureAlgorithm::JwtHs256);
    let judged = proof.timestamp.as_ref().is_some_and(|rule| rule.tolerance_secs.is_some());
    if !token && !judged {
        return Err(CorruptionError::TimestampNotChecked(connector.to_owned()));
    }
    Ok(Timestamp::from_second(now.as_second().saturating_add(away)).ok())
}

/// Makes a signed request wrong.
pub fn corrupt(fault: Corruption, proof: &SignatureScheme, request: &mut WebhookRequest, first: &Value) {
    match fault {
        Corruption::Signature => change_signature(&proof.signature, request, first),
        Corruption::Body => request.body.push(b' '),
        Corruption::PastTimestamp | Corruption::FutureTimestamp | Corruption::Duplicate => {}
    }
}

fn covers_body(proof: &SignatureScheme) -> bool {
    if proof.body_hash.is_some() {
        return true;
    }
    match proof.scheme {
        SignatureAlgorithm::Token | SignatureAlgorithm::JwtRs256 | SignatureAlgorithm::JwtHs256 => false,
        _ => proof
            .base
            .as_ref()
            .is_none_or(|base| base.placeholders().any(|name| matches!(name, "body" | "form" | "crc32"))),
    }
}

fn change_signature(carrier: &SignatureLocation, request: &mut WebhookRequest, first: &Value) {
    if let Some(name) = &carrier.header {
        let Some(text) = request.single_header(name).map(|text| changed(carrier, text)) else { return };
        request.set_header(name, &text);
    } else if let Some(name) = &carrier.query {
        let Some(text) = request.query(name) else { return };
        let (path, query) = request.url.split_once('?').unwrap_or((&request.url, ""));
        let others = url::form_urlencoded::parse(query.as_bytes()).filter(|(known, _)| known != name);
        let mut written = url::form_urlencoded::Serializer::new(String::new());
        written.extend_pairs(others).append_pair(name, &changed(carrier, &text));
        request.url = format!("{path}?{}", written.finish());
    } else if let Some(text) = carrier.at.as_ref().and_then(|at| at.text(first)) {
        let body = String::from_utf8_lossy(&request.body).replace(&text, &changed(carrier, &text));
        request.body = body.into_bytes();
    }
}

/// Every signature of a header with one of its characters changed; the rest stays.
fn changed(carrier: &SignatureLocation, text: &str) -> String {
    let one = |part: &str| match carrier.format.as_ref().and_then(|format| format.extract(part)) {
        Some(signature) => part.replace(signature, &other(signature)),
        None if carrier.format.is_some() => part.to_owned(),
        None => other(part),
    };
    match &carrier.separator {
        Some(separator) => text.split(separator.as_str()).map(one).collect::<Vec<_>>().join(separator),
        None => one(text),
    }
}

/// A text of the same form that differs in its middle.
fn other(text: &str) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let middle = chars.len() / 2;
    if let Some(c) = chars[middle..].iter_mut().find(|c| c.is_ascii_alphanumeric()) {
        *c = match *c {
            '0' => '1',
            '1'..='9' => '0',
            'a' => 'b',
            'A' => 'B',
            lower if lower.is_ascii_lowercase() => 'a',
            _ => 'A',
        };
    } else {
        chars.push('0');
    }
    chars.into_iter().collect()
}
