//! Requests made wrong on purpose, to see that a receiver refuses them. Pure.

use serde_json::Value;
use thiserror::Error;

use crate::clock::Timestamp;
use crate::connector::{Carrier, Proof, Scheme};
use crate::error::{Diagnostic, Kind, Remedy};
use crate::signing::request::Request;

/// What is wrong with a simulated event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its signature is another.
    Signature,
    /// It was signed long ago.
    Timestamp,
    /// It will be signed later.
    Future,
    /// Its body was changed after it was signed.
    Body,
    /// It comes twice, which is no fault of the request: a receiver takes both, and handles one.
    Duplicate,
}

impl Fault {
    pub fn word(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Timestamp => "timestamp",
            Self::Future => "future",
            Self::Body => "body",
            Self::Duplicate => "duplicate",
        }
    }

    /// Whether a receiver that checks refuses it.
    pub fn is_refused(self) -> bool {
        self != Self::Duplicate
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TamperError {
    #[error("nothing proves an event of {0}, so that none can be wrong")]
    NoProof(String),
    #[error("what proves an event of {0} says no time that is judged")]
    NoTime(String),
    #[error("what proves an event of {0} does not cover its body")]
    NoBody(String),
}

impl Remedy for TamperError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Usage, "not_checked").run(match self {
            Self::NoProof(connector) => format!("integ webhook simulate {connector}"),
            Self::NoTime(connector) | Self::NoBody(connector) => {
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
/// [`TamperError::NoTime`] where no receiver could tell.
pub fn signed_at(
    fault: Fault,
    proof: Option<&Proof>,
    connector: &str,
    now: Timestamp,
) -> Result<Option<Timestamp>, TamperError> {
    let Some(proof) = proof else { return Err(TamperError::NoProof(connector.to_owned())) };
    let tolerance = proof.timestamp.as_ref().and_then(|rule| rule.tolerance_secs).map_or(0, i64::from);
    let far = FAR_SECS.saturating_add(tolerance);
    let away = match fault {
        Fault::Timestamp => -far,
        Fault::Future => far,
        Fault::Body if !covers_body(proof) => return Err(TamperError::NoBody(connector.to_owned())),
        Fault::Signature | Fault::Body | Fault::Duplicate => return Ok(None),
    };
    let token = matches!(proof.scheme, Scheme::JwtRs256 | Scheme::JwtHs256);
    let judged = proof.timestamp.as_ref().is_some_and(|rule| rule.tolerance_secs.is_some());
    if !token && !judged {
        return Err(TamperError::NoTime(connector.to_owned()));
    }
    Ok(Timestamp::from_second(now.as_second().saturating_add(away)).ok())
}

/// Makes a signed request wrong.
pub fn tamper(fault: Fault, proof: &Proof, request: &mut Request, first: &Value) {
    match fault {
        Fault::Signature => change_signature(&proof.signature, request, first),
        Fault::Body => request.body.push(b' '),
        Fault::Timestamp | Fault::Future | Fault::Duplicate => {}
    }
}

fn covers_body(proof: &Proof) -> bool {
    if proof.body_hash.is_some() {
        return true;
    }
    match proof.scheme {
        Scheme::Token | Scheme::JwtRs256 | Scheme::JwtHs256 => false,
        _ => proof.base.as_ref().is_none_or(|base| base.names().any(|name| matches!(name, "body" | "form" | "crc32"))),
    }
}

fn change_signature(carrier: &Carrier, request: &mut Request, first: &Value) {
    if let Some(name) = &carrier.header {
        let Some(text) = request.one(name).map(|text| changed(carrier, text)) else { return };
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

/// Every signature of a header with one of its characters changed; what else stands there stays.
fn changed(carrier: &Carrier, text: &str) -> String {
    let one = |part: &str| match carrier.format.as_ref().and_then(|format| format.read(part)) {
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
