//! Explains check by check why a captured request is accepted or rejected.

use serde_json::Value;
use url::Url;

use super::event::{self, ParsedEvent};
use super::fetch_keys;
use crate::clock::Timestamp;
use crate::connector::{SignatureCoverage, SignatureLocation, SignatureScheme, SignedPart, WebhookDefinition};
use crate::error::Result;
use crate::model::words::words;
use crate::runtime::Workspace;
use crate::signing::request::WebhookRequest;
use crate::signing::verify::{
    ParsedRequest, SigningContext, VerificationKeys, VerifyError, claimed_timestamp, count_signatures, find_scheme,
    verify,
};
use crate::webhook::settings::WebhookSettings;

/// What became of a request, and of each of its parts.
#[derive(Clone, Debug)]
pub struct VerificationReport {
    pub error: Option<VerifyError>,
    pub checks: Vec<VerificationCheck>,
    /// When it was signed, by its own word.
    pub signed_at: Option<Timestamp>,
    /// What the signature covers of it, in words.
    pub coverage: Option<SignatureCoverage>,
    /// Whether the service is asked before the event counts as verified.
    pub is_confirmed_later: bool,
    /// Its events, if it is accepted.
    pub events: Vec<ParsedEvent>,
}

/// One part of what proves a request.
#[derive(Clone, Debug)]
pub struct VerificationCheck {
    pub name: &'static str,
    pub status: CheckStatus,
    pub detail: String,
}

/// The result of one check of a captured request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckStatus {
    Valid,
    Invalid,
    /// Not judged, or not to be judged without another part.
    NotChecked,
}

words!(CheckStatus { Valid => "valid", Invalid => "invalid", NotChecked => "not checked" });

impl VerificationReport {
    /// Whether it is refused for its age.
    pub fn is_stale(&self) -> bool {
        matches!(self.error, Some(VerifyError::TimestampOutOfTolerance(_)))
    }
}

/// Judges a captured request as a receiver would. Must be called inside the runtime.
///
/// # Errors
/// Unreadable bodies are no error; the vault's are.
pub async fn explain(
    workspace: &Workspace,
    setup: &WebhookSettings,
    request: &WebhookRequest,
    now: Timestamp,
) -> Result<VerificationReport> {
    let rules = setup.rules()?;
    let Ok(document) = event::document(&rules.event, request) else {
        let says = "it is too large once it is decompressed".to_owned();
        let parts = vec![VerificationCheck { name: "body", status: CheckStatus::Invalid, detail: says }];
        return Ok(VerificationReport {
            error: Some(VerifyError::MalformedSignature),
            checks: parts,
            signed_at: None,
            coverage: None,
            is_confirmed_later: false,
            events: Vec::new(),
        });
    };
    let items = event::items(&rules.event, &document);
    let whole = std::slice::from_ref(&document);
    let judged = ParsedRequest { request, document: &document, items: items.as_deref().unwrap_or(whole) };
    let mut trust = VerificationKeys::default();
    let mut refused = None;
    if let Some(proof) = find_scheme(&rules.proofs, &judged).filter(|proof| proof.needs_fetched_key()) {
        let route = setup.route(workspace).await?;
        let fetched = match fetch_keys::address(proof, &judged) {
            Ok(url) => fetch_keys::fetch(proof.scheme, &url, &workspace.engine.http, &route, now).await,
            Err(error) => Err(error),
        };
        match fetched {
            Ok(fetched) => trust = fetched,
            Err(error) => refused = Some(error),
        }
    }
    let case = VerificationContext { rules, keys: &setup.keys, trust: &trust, now };
    let refused = refused.or_else(|| case.verify(request).err());
    let proof = find_scheme(&rules.proofs, &judged);
    let ids = rules.id_selectors(proof);
    let read = |(index, item)| {
        event::parse_event_with(
            &rules.event,
            &event::DeliveryIdSource { sources: &ids, timestamp: "" },
            &judged,
            index,
            item,
            now,
        )
    };
    let events = match &refused {
        None => judged.items.iter().enumerate().map(read).collect(),
        Some(_) => Vec::new(),
    };
    let item = judged.items.first().unwrap_or(judged.document);
    let signed_at = proof.and_then(|proof| claimed_timestamp(proof, &judged, item)?.ok());
    let signed_at = signed_at.and_then(|seconds| Timestamp::from_second(seconds).ok());
    let covers = proof.map(|proof| rules.coverage(proof));
    let is_confirmed_later =
        rules.confirm.is_some() && covers.as_ref().is_some_and(|covers| !covers.covers(SignedPart::Body));
    Ok(VerificationReport {
        signed_at,
        checks: case.parts(&judged, refused.as_ref()),
        error: refused,
        coverage: covers,
        is_confirmed_later,
        events,
    })
}

struct VerificationContext<'a> {
    rules: &'a WebhookDefinition,
    keys: &'a SigningContext,
    trust: &'a VerificationKeys,
    now: Timestamp,
}

impl VerificationContext<'_> {
    fn verify(&self, request: &WebhookRequest) -> Result<(), VerifyError> {
        self.verify_with(request, self.keys)
    }

    fn verify_with(&self, request: &WebhookRequest, keys: &SigningContext) -> Result<(), VerifyError> {
        if self.rules.proofs.is_empty() {
            return Ok(());
        }
        let document = event::document(&self.rules.event, request).unwrap_or(Value::Null);
        let items = event::items(&self.rules.event, &document).unwrap_or_else(|_| vec![document.clone()].into());
        let judged = ParsedRequest { request, document: &document, items: &items };
        verify(&self.rules.proofs, &judged, keys, self.trust, self.now)
    }

    fn parts(&self, judged: &ParsedRequest<'_>, refused: Option<&VerifyError>) -> Vec<VerificationCheck> {
        if self.rules.proofs.is_empty() {
            let says = "this service signs nothing; only who knows the URL can send".to_owned();
            return vec![VerificationCheck { name: "signature", status: CheckStatus::NotChecked, detail: says }];
        }
        let Some(proof) = find_scheme(&self.rules.proofs, judged) else { return vec![self.unproven(judged)] };
        let item = judged.items.first().unwrap_or(judged.document);
        let mut parts = vec![self.signature(proof, judged, item, refused)];
        parts.extend(self.timestamp(proof, judged, item, refused));
        if proof.body_hash.is_some() {
            let (state, says) = match refused {
                Some(VerifyError::BodyHashMismatch) => {
                    (CheckStatus::Invalid, "the URL holds the hash of another body, or none")
                }
                _ => (CheckStatus::Valid, "the URL holds its hash"),
            };
            parts.push(VerificationCheck { name: "body hash", status: state, detail: says.to_owned() });
        }
        match refused {
            Some(VerifyError::ClaimsMismatch(_)) => {
                let says = refused.map(ToString::to_string).unwrap_or_default();
                parts.push(VerificationCheck { name: "token", status: CheckStatus::Invalid, detail: says });
            }
            Some(VerifyError::MissingInput(what)) => {
                parts.push(VerificationCheck {
                    name: "keys",
                    status: CheckStatus::Invalid,
                    detail: format!("missing: {what}"),
                });
            }
            _ => {}
        }
        parts
    }

    fn unproven(&self, judged: &ParsedRequest<'_>) -> VerificationCheck {
        let places = self.rules.proofs.iter().map(|proof| location_text(&proof.signature));
        let wanted: Vec<String> = places.collect();
        let there: Vec<&str> = judged.request.headers.iter().map(|(name, _)| name.as_str()).collect();
        let says = format!("it should be in {}; the request has the headers {}", wanted.join(" or "), there.join(", "));
        VerificationCheck { name: "signature", status: CheckStatus::Invalid, detail: says }
    }

    fn timestamp(
        &self,
        proof: &SignatureScheme,
        judged: &ParsedRequest<'_>,
        item: &Value,
        refused: Option<&VerifyError>,
    ) -> Option<VerificationCheck> {
        let found = claimed_timestamp(proof, judged, item)?;
        let tolerance = proof.timestamp.as_ref().and_then(|rule| rule.tolerance_secs);
        let (state, says) = match (found, tolerance) {
            (Err(error), _) => (CheckStatus::Invalid, error.to_string()),
            (Ok(at), None) => {
                (CheckStatus::NotChecked, format!("{}; this service's rule sets no limit", self.format_offset(at)))
            }
            (Ok(at), Some(tolerance)) => {
                let stale = at.abs_diff(self.now.as_second()) > u64::from(tolerance);
                let state = if stale { CheckStatus::Invalid } else { CheckStatus::Valid };
                let unsure = if matches!(refused, Some(VerifyError::SignatureMismatch)) {
                    "; it may have been changed"
                } else {
                    ""
                };
                (state, format!("{}; up to {tolerance} s are allowed{unsure}", self.format_offset(at)))
            }
        };
        Some(VerificationCheck { name: "timestamp", status: state, detail: says })
    }

    fn format_offset(&self, at: i64) -> String {
        let away = self.now.as_second().saturating_sub(at);
        if away >= 0 { format!("{away} s ago") } else { format!("{} s ahead", away.unsigned_abs()) }
    }

    fn signature(
        &self,
        proof: &SignatureScheme,
        judged: &ParsedRequest<'_>,
        item: &Value,
        refused: Option<&VerifyError>,
    ) -> VerificationCheck {
        let part = |state, says: String| VerificationCheck { name: "signature", status: state, detail: says };
        let count = match count_signatures(proof, judged, item) {
            Ok(count) => count,
            Err(error) => return part(CheckStatus::Invalid, error.to_string()),
        };
        match refused {
            None | Some(VerifyError::TimestampOutOfTolerance(_) | VerifyError::ClaimsMismatch(_)) => {
                part(CheckStatus::Valid, self.matching_secret(judged.request, count))
            }
            Some(VerifyError::SignatureMismatch) => match self.suggest_fix(judged.request) {
                Some(how) => part(CheckStatus::Invalid, format!("it would be valid {how}")),
                None => part(
                    CheckStatus::Invalid,
                    format!(
                        "none of {count} matches: the secret is wrong, or the body, the URL or the time was changed"
                    ),
                ),
            },
            Some(VerifyError::NoSecret) => {
                part(CheckStatus::NotChecked, "the connection has no signing secret".to_owned())
            }
            Some(VerifyError::MalformedSignature) => {
                let says = format!("{} is malformed", location_text(&proof.signature));
                part(CheckStatus::Invalid, says)
            }
            Some(_) => part(CheckStatus::NotChecked, format!("{count} found; not verified because of another problem")),
        }
    }

    /// By which of several secrets it is right.
    fn matching_secret(&self, request: &WebhookRequest, count: usize) -> String {
        let right = |index: usize| {
            let secrets = self.keys.secrets.get(index).cloned().into_iter().collect();
            let keys = SigningContext { secrets, values: self.keys.values.clone() };
            matches!(self.verify_with(request, &keys), Ok(()) | Err(VerifyError::TimestampOutOfTolerance(_)))
        };
        let of = if count > 1 { format!("one of {count} matches") } else { "it matches".to_owned() };
        match self.keys.secrets.len() {
            0 | 1 => of,
            many => match (0..many).find(|index| right(*index)) {
                Some(0) => format!("{of}, by the newest secret"),
                Some(index) => format!("{of}, by secret {} of {many}, an old one", index + 1),
                None => of,
            },
        }
    }

    /// What commonly happens to a request on its way into a file.
    fn suggest_fix(&self, request: &WebhookRequest) -> Option<&'static str> {
        let body = |body: Vec<u8>| WebhookRequest { body, ..request.clone() };
        let text = &request.body;
        let unix = || String::from_utf8_lossy(text).replace("\r\n", "\n");
        let mut tries: Vec<(WebhookRequest, &'static str)> = vec![
            (body(text.trim_ascii_end().to_vec()), "without the white space at the end of the body"),
            (body([text.as_slice(), b"\n"].concat()), "with a line break at the end of the body"),
            (body(unix().into_bytes()), "with Unix line breaks in the body"),
            (body(unix().replace('\n', "\r\n").into_bytes()), "with CRLF line breaks in the body"),
        ];
        let url = |url: String| WebhookRequest { url, ..request.clone() };
        if let Ok(parsed) = Url::parse(&request.url) {
            let other = if parsed.scheme() == "https" { ("https:", "http:") } else { ("http:", "https:") };
            tries.push((url(request.url.replacen(other.0, other.1, 1)), "for the other of http and https in the URL"));
            let mut plain = parsed.clone();
            if plain.set_port(None).is_ok() {
                tries.push((url(plain.to_string()), "without the port in the URL"));
            }
            let path = parsed.path();
            let slash = if path.ends_with('/') { path.trim_end_matches('/').to_owned() } else { format!("{path}/") };
            let mut slashed = parsed.clone();
            slashed.set_path(&slash);
            tries.push((url(slashed.to_string()), "with or without the slash at the end of the URL's path"));
        }
        let right = |request: &WebhookRequest| {
            matches!(self.verify(request), Ok(()) | Err(VerifyError::TimestampOutOfTolerance(_)))
        };
        tries.into_iter().find(|(request, _)| right(request)).map(|(_, how)| how)
    }
}

fn location_text(carrier: &SignatureLocation) -> String {
    match (&carrier.header, &carrier.query, &carrier.at) {
        (Some(name), ..) => format!("the header {name}"),
        (_, Some(name), _) => format!("the query's {name}"),
        (.., Some(at)) => format!("the body at {at}"),
        _ => "the request".to_owned(),
    }
}
