//! Why a captured request is taken or refused: part by part, as far as that can be told.

use serde_json::Value;
use url::Url;

use super::event::{self, Event};
use super::fetch;
use super::listen::route;
use super::setup::Setup;
use crate::clock::Timestamp;
use crate::connector::{Carrier, Coverage, Covered, Proof, Webhook};
use crate::error::Result;
use crate::runtime::App;
use crate::signing::request::Request;
use crate::signing::verify::{Judged, Keys, Refused, Trust, proof_of, said_time, signatures, verify};

/// What became of a request, and of each of its parts.
#[derive(Clone, Debug)]
pub struct Explained {
    pub refused: Option<Refused>,
    pub parts: Vec<Part>,
    /// When it was signed, by its own word.
    pub signed_at: Option<Timestamp>,
    /// What the signature covers of it, in words.
    pub covers: Option<Coverage>,
    /// Whether the service is asked before the event counts as verified.
    pub is_confirmed_later: bool,
    /// What it tells, where it is taken.
    pub events: Vec<Event>,
}

/// One part of what proves a request.
#[derive(Clone, Debug)]
pub struct Part {
    pub name: &'static str,
    pub state: State,
    pub says: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Right,
    Wrong,
    /// Not judged, or not to be judged without another part.
    Open,
}

impl State {
    pub fn word(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Wrong => "wrong",
            Self::Open => "not judged",
        }
    }
}

/// Judges a captured request as a receiver would. Must be called inside the runtime.
///
/// # Errors
/// Unreadable bodies are no error; the vault's are.
pub async fn explain(app: &App, setup: &Setup, request: &Request, now: Timestamp) -> Result<Explained> {
    let rules = setup.rules()?;
    let Ok(document) = event::document(&rules.event, request) else {
        let says = "it is too large once it is decompressed".to_owned();
        let parts = vec![Part { name: "body", state: State::Wrong, says }];
        return Ok(Explained {
            refused: Some(Refused::Form),
            parts,
            signed_at: None,
            covers: None,
            is_confirmed_later: false,
            events: Vec::new(),
        });
    };
    let items = event::items(&rules.event, &document);
    let whole = std::slice::from_ref(&document);
    let judged = Judged { request, document: &document, items: items.as_deref().unwrap_or(whole) };
    let mut trust = Trust::default();
    let mut refused = None;
    if let Some(proof) = proof_of(&rules.proofs, &judged).filter(|proof| proof.needs_fetched_key()) {
        let route = route(app, setup)?;
        let fetched = match fetch::address(proof, &judged) {
            Ok(url) => fetch::fetch(proof.scheme, &url, &app.http, &route, now).await,
            Err(error) => Err(error),
        };
        match fetched {
            Ok(fetched) => trust = fetched,
            Err(error) => refused = Some(error),
        }
    }
    let case = Case { rules, keys: &setup.keys, trust: &trust, now };
    let refused = refused.or_else(|| case.judge(request).err());
    let proof = proof_of(&rules.proofs, &judged);
    let ids = rules.id_places(proof);
    let read = |(place, item)| {
        event::read_by(&rules.event, &event::Ids { places: &ids, moment: "" }, &judged, place, item, now)
    };
    let events = match &refused {
        None => judged.items.iter().enumerate().map(read).collect(),
        Some(_) => Vec::new(),
    };
    let item = judged.items.first().unwrap_or(judged.document);
    let signed_at = proof.and_then(|proof| said_time(proof, &judged, item)?.ok());
    let signed_at = signed_at.and_then(|seconds| Timestamp::from_second(seconds).ok());
    let covers = proof.map(|proof| rules.coverage(proof));
    let is_confirmed_later =
        rules.confirm.is_some() && covers.as_ref().is_some_and(|covers| !covers.covers(Covered::Body));
    Ok(Explained {
        signed_at,
        parts: case.parts(&judged, refused.as_ref()),
        refused,
        covers,
        is_confirmed_later,
        events,
    })
}

struct Case<'a> {
    rules: &'a Webhook,
    keys: &'a Keys,
    trust: &'a Trust,
    now: Timestamp,
}

impl Case<'_> {
    fn judge(&self, request: &Request) -> Result<(), Refused> {
        self.judge_with(request, self.keys)
    }

    fn judge_with(&self, request: &Request, keys: &Keys) -> Result<(), Refused> {
        if self.rules.proofs.is_empty() {
            return Ok(());
        }
        let document = event::document(&self.rules.event, request).unwrap_or(Value::Null);
        let items = event::items(&self.rules.event, &document).unwrap_or_else(|_| vec![document.clone()].into());
        let judged = Judged { request, document: &document, items: &items };
        verify(&self.rules.proofs, &judged, keys, self.trust, self.now)
    }

    fn parts(&self, judged: &Judged<'_>, refused: Option<&Refused>) -> Vec<Part> {
        if self.rules.proofs.is_empty() {
            let says = "this service signs nothing; only who knows the URL can send".to_owned();
            return vec![Part { name: "signature", state: State::Open, says }];
        }
        let Some(proof) = proof_of(&self.rules.proofs, judged) else { return vec![self.unproven(judged)] };
        let item = judged.items.first().unwrap_or(judged.document);
        let mut parts = vec![self.signature(proof, judged, item, refused)];
        parts.extend(self.timestamp(proof, judged, item, refused));
        if proof.body_hash.is_some() {
            let (state, says) = match refused {
                Some(Refused::BodyHash) => (State::Wrong, "the URL holds the hash of another body, or none"),
                _ => (State::Right, "the URL holds its hash"),
            };
            parts.push(Part { name: "body hash", state, says: says.to_owned() });
        }
        match refused {
            Some(Refused::Claims(_)) => {
                let says = refused.map(ToString::to_string).unwrap_or_default();
                parts.push(Part { name: "token", state: State::Wrong, says });
            }
            Some(Refused::Missing(what)) => {
                parts.push(Part { name: "keys", state: State::Wrong, says: format!("missing: {what}") });
            }
            _ => {}
        }
        parts
    }

    fn unproven(&self, judged: &Judged<'_>) -> Part {
        let places = self.rules.proofs.iter().map(|proof| place(&proof.signature));
        let wanted: Vec<String> = places.collect();
        let there: Vec<&str> = judged.request.headers.iter().map(|(name, _)| name.as_str()).collect();
        let says = format!("it should stand in {}; there are the headers {}", wanted.join(" or "), there.join(", "));
        Part { name: "signature", state: State::Wrong, says }
    }

    fn timestamp(&self, proof: &Proof, judged: &Judged<'_>, item: &Value, refused: Option<&Refused>) -> Option<Part> {
        let found = said_time(proof, judged, item)?;
        let tolerance = proof.timestamp.as_ref().and_then(|rule| rule.tolerance_secs);
        let (state, says) = match (found, tolerance) {
            (Err(error), _) => (State::Wrong, error.to_string()),
            (Ok(at), None) => (State::Open, format!("{}; this service's rule sets no limit", self.away(at))),
            (Ok(at), Some(tolerance)) => {
                let stale = at.abs_diff(self.now.as_second()) > u64::from(tolerance);
                let state = if stale { State::Wrong } else { State::Right };
                let unsure =
                    if matches!(refused, Some(Refused::Signature)) { "; it may have been changed" } else { "" };
                (state, format!("{}; up to {tolerance} s are allowed{unsure}", self.away(at)))
            }
        };
        Some(Part { name: "timestamp", state, says })
    }

    fn away(&self, at: i64) -> String {
        let away = self.now.as_second().saturating_sub(at);
        if away >= 0 { format!("{away} s ago") } else { format!("{} s ahead", away.unsigned_abs()) }
    }

    fn signature(&self, proof: &Proof, judged: &Judged<'_>, item: &Value, refused: Option<&Refused>) -> Part {
        let part = |state, says: String| Part { name: "signature", state, says };
        let count = match signatures(proof, judged, item) {
            Ok(count) => count,
            Err(error) => return part(State::Wrong, error.to_string()),
        };
        match refused {
            None | Some(Refused::Stale(_) | Refused::Claims(_)) => {
                part(State::Right, self.by_which(judged.request, count))
            }
            Some(Refused::Signature) => match self.would_be_right(judged.request) {
                Some(how) => part(State::Wrong, format!("it would be right {how}")),
                None => part(
                    State::Wrong,
                    format!(
                        "none of {count} fits this body under any secret in force: the secret is another one, or the \
                         body, the URL or the time was changed; which of them cannot be told"
                    ),
                ),
            },
            Some(Refused::NoSecret) => part(State::Open, "no secret is known to check it with".to_owned()),
            Some(Refused::Form) => {
                let says =
                    format!("what stands in {} is not written as the service writes it", place(&proof.signature));
                part(State::Wrong, says)
            }
            Some(_) => part(State::Open, format!("{count} there; not judged for what is wrong elsewhere")),
        }
    }

    /// By which of several secrets it is right.
    fn by_which(&self, request: &Request, count: usize) -> String {
        let right = |index: usize| {
            let secrets = self.keys.secrets.get(index).cloned().into_iter().collect();
            let keys = Keys { secrets, values: self.keys.values.clone() };
            matches!(self.judge_with(request, &keys), Ok(()) | Err(Refused::Stale(_)))
        };
        let of = if count > 1 { format!("one of {count} is right") } else { "it is right".to_owned() };
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
    fn would_be_right(&self, request: &Request) -> Option<&'static str> {
        let body = |body: Vec<u8>| Request { body, ..request.clone() };
        let text = &request.body;
        let unix = || String::from_utf8_lossy(text).replace("\r\n", "\n");
        let mut tries: Vec<(Request, &'static str)> = vec![
            (body(text.trim_ascii_end().to_vec()), "without the white space at the end of the body"),
            (body([text.as_slice(), b"\n"].concat()), "with a line break at the end of the body"),
            (body(unix().into_bytes()), "with Unix line breaks in the body"),
            (body(unix().replace('\n', "\r\n").into_bytes()), "with CRLF line breaks in the body"),
        ];
        let url = |url: String| Request { url, ..request.clone() };
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
        let right = |request: &Request| matches!(self.judge(request), Ok(()) | Err(Refused::Stale(_)));
        tries.into_iter().find(|(request, _)| right(request)).map(|(_, how)| how)
    }
}

fn place(carrier: &Carrier) -> String {
    match (&carrier.header, &carrier.query, &carrier.at) {
        (Some(name), ..) => format!("the header {name}"),
        (_, Some(name), _) => format!("the query's {name}"),
        (.., Some(at)) => format!("the body at {at}"),
        _ => "the request".to_owned(),
    }
}
