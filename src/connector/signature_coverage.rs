//! Computes what a webhook signature covers, from the rule that verifies it.
//!
//! A connector's file says what is signed (`base`, `values`, `body_hash`) and where an event says what (`[webhook.event]`).
//! The two together say which parts of an event are proved; a declaration beside them could only be wrong.

use schemars::JsonSchema;
use serde::Serialize;

use super::model::{Condition, SignatureAlgorithm, SignatureScheme, ValueSelector, WebhookDefinition};
use super::template::Template;

/// A part of an event that a signature can cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SignedPart {
    Body,
    Id,
    Type,
    Time,
    Url,
}

impl SignedPart {
    /// Returns the word for the part in messages and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Id => "id",
            Self::Type => "type",
            Self::Time => "time",
            Self::Url => "url",
        }
    }
}

/// What one proof covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureCoverage {
    pub parts: Vec<SignedPart>,
    /// Whether a repeated request is known by its signed bytes as well: where its id is not signed, or not for certain.
    pub dedupes_by_signed_bytes: bool,
}

impl SignatureCoverage {
    /// Whether the signature proves this part of an event.
    pub fn covers(&self, part: SignedPart) -> bool {
        self.parts.contains(&part)
    }

    /// `body, id, type`, or what it means that nothing is covered.
    pub fn describe(&self) -> String {
        if self.parts.is_empty() {
            return "nothing: it proves the sender, not the content".to_owned();
        }
        self.parts.iter().map(|part| part.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl SignatureAlgorithm {
    /// Whether it signs bytes of the request. A token is the sender's word, whatever it sends.
    pub fn signs_request(self) -> bool {
        !matches!(self, Self::Token | Self::JwtRs256 | Self::JwtHs256)
    }
}

impl Condition {
    fn needs_body(&self) -> bool {
        !self.body.is_empty()
    }
}

impl ValueSelector {
    pub(crate) fn needs_body(&self) -> bool {
        let condition = self.when.as_ref().is_some_and(Condition::needs_body);
        condition || self.at.is_some() || self.body.is_some() || self.beside.is_some()
    }

    /// Whether it says the same of every request.
    fn is_constant(&self) -> bool {
        self.when.is_none() && (self.text.is_some() || self.received)
    }
}

impl SignatureScheme {
    /// Whether the body must be parsed before this proof can be judged.
    pub fn needs_body(&self) -> bool {
        let certificate = self.certificate.as_ref().is_some_and(|rule| rule.url.needs_body());
        self.when.as_ref().is_some_and(Condition::needs_body)
            || self.signature.at.is_some()
            || self.timestamp.as_ref().is_some_and(|rule| rule.place.at.is_some())
            || self.values.values().any(ValueSelector::needs_body)
            || certificate
    }

    fn references(&self, name: &str) -> bool {
        self.base.as_ref().map_or(name == "body", |base| base.placeholders().any(|known| known == name))
    }

    fn covers_body(&self) -> bool {
        let whole = self.references("body") || self.references("form");
        self.scheme.signs_request() && (whole || (self.body_hash.is_some() && self.covers_url()))
    }

    fn covers_url(&self) -> bool {
        self.scheme.signs_request() && self.references("url")
    }

    fn covers_timestamp(&self) -> bool {
        self.scheme.signs_request() && self.timestamp.is_some() && self.references("timestamp")
    }

    fn covers_header(&self, header: &str) -> bool {
        let is = |known: &Option<String>| known.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(header));
        let value =
            self.values.iter().any(|(name, find)| is(&find.header) && find.when.is_none() && self.references(name));
        let time = self.timestamp.as_ref().is_some_and(|rule| is(&rule.place.header));
        self.scheme.signs_request() && (value || (time && self.covers_timestamp()))
    }

    fn covers_condition(&self, when: &Condition) -> bool {
        when.headers.keys().all(|name| self.covers_header(name))
            && (when.query.is_empty() || self.covers_url())
            && (when.body.is_empty() || self.covers_body())
    }

    /// Whether the value at a place is signed.
    fn covers_value(&self, find: &ValueSelector) -> bool {
        if find.when.as_ref().is_some_and(|when| !self.covers_condition(when)) {
            return false;
        }
        match (&find.header, &find.query) {
            (Some(header), _) => self.covers_header(header),
            (_, Some(_)) => self.covers_url(),
            _ if find.at.is_some() || find.body.is_some() || find.beside.is_some() => self.covers_body(),
            _ => self.scheme.signs_request(),
        }
    }
}

impl WebhookDefinition {
    /// Where the delivery id is read of a request that this proof judges. Beside a signed place an unsigned one does not
    /// count: anyone who repeats a request could write anything there, and have a new event.
    pub fn id_selectors(&self, proof: Option<&SignatureScheme>) -> Vec<&ValueSelector> {
        let all = || self.event.id.iter();
        let Some(proof) = proof else { return all().collect() };
        let signed = |find: &&ValueSelector| find.is_constant() || proof.covers_value(find);
        if all().any(|find| !find.is_constant() && proof.covers_value(find)) {
            all().filter(signed).collect()
        } else {
            all().collect()
        }
    }

    /// What a proof covers of the events of this service.
    pub fn coverage(&self, proof: &SignatureScheme) -> SignatureCoverage {
        let body = proof.covers_body();
        let kind = proof.scheme.signs_request() && self.event.kind.iter().all(|find| proof.covers_value(find));
        let places = self.id_selectors(Some(proof));
        // Without a name for it the delivery is known by a hash of its body and type.
        let id = match places.as_slice() {
            [] => body && kind,
            places => places.iter().all(|find| find.is_constant() || proof.covers_value(find)),
        };
        let id = id && proof.scheme.signs_request();
        // A signed header is always there; a place in the body may be empty, and then the type makes the id.
        let certain = id && (kind || places.iter().any(|find| find.header.is_some()));
        // The pairs of a form are signed without anything between them, so that two forms can be the same bytes.
        let by_signed_bytes = proof.scheme.signs_request() && (!certain || proof.references("form"));
        let parts = [
            (SignedPart::Body, body),
            (SignedPart::Id, id),
            (SignedPart::Type, kind),
            (SignedPart::Time, proof.covers_timestamp()),
            (SignedPart::Url, proof.covers_url()),
        ];
        let parts = parts.into_iter().filter(|(_, is)| *is).map(|(part, _)| part).collect();
        SignatureCoverage { parts, dedupes_by_signed_bytes: by_signed_bytes }
    }

    /// The headers that proofs, handshakes and events are read from.
    pub fn header_names(&self) -> Vec<&str> {
        let shape = &self.event;
        let finds = [&shape.id, &shape.kind, &shape.account, &shape.time, &shape.resource, &shape.actor];
        let finds = finds.into_iter().flatten().chain(self.proofs.iter().flat_map(|proof| proof.values.values()));
        let finds = finds.chain(self.confirm.iter().flat_map(|confirm| confirm.params.values()));
        let certificates = self.proofs.iter().filter_map(|proof| Some(&proof.certificate.as_ref()?.url));
        let conditions = self.proofs.iter().filter_map(|proof| proof.when.as_ref());
        let found = finds.chain(certificates).filter_map(|find| find.header.as_deref());
        let conditional = conditions.flat_map(|when| when.headers.keys().map(String::as_str));
        let carriers = self.proofs.iter().flat_map(|proof| {
            [proof.signature.header.as_deref(), proof.timestamp.as_ref().and_then(|rule| rule.place.header.as_deref())]
        });
        found.chain(conditional).chain(carriers.flatten()).collect()
    }

    /// Whether any proof can be judged only once the body was parsed.
    pub fn signatures_need_body(&self) -> bool {
        self.proofs.iter().any(SignatureScheme::needs_body)
    }

    /// Proofs that are weaker than another which requests carry as well: an attacker would choose them.
    pub(super) fn weaker_signatures(&self) -> impl Iterator<Item = usize> {
        let strong = |other: &SignatureScheme| {
            matches!(other.scheme, SignatureAlgorithm::HmacSha256 | SignatureAlgorithm::HmacSha512)
        };
        let text = |template: &Option<Template>| template.as_ref().map(ToString::to_string);
        self.proofs.iter().enumerate().filter_map(move |(index, proof)| {
            let beside = |other: &SignatureScheme| {
                strong(other) && text(&other.base) == text(&proof.base) && text(&other.key) == text(&proof.key)
            };
            (proof.scheme == SignatureAlgorithm::HmacSha1 && self.proofs.iter().any(beside)).then_some(index)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::connector::Catalogue;

    /// Every proof of every built-in: what it covers, and whether a repetition is known by the signed bytes.
    #[test]
    fn what_the_signatures_of_all_built_ins_cover() {
        let catalogue = Catalogue::new(Path::new("/nonexistent"));
        let mut lines = Vec::new();
        for (id, _) in catalogue.ids() {
            let connector = catalogue.get(&id).unwrap();
            for proof in connector.webhook.iter().flat_map(|rules| &rules.proofs) {
                let coverage = connector.webhook.as_ref().unwrap().coverage(proof);
                let parts: Vec<&str> = coverage.parts.iter().map(|part| part.as_str()).collect();
                let more = if coverage.dedupes_by_signed_bytes { " + signed bytes" } else { "" };
                lines.push(format!("{id} {:?} [{}]{more}", proof.scheme, parts.join(" ")));
            }
        }
        let expected = [
            "discord Ed25519 [body id type time]",
            "github HmacSha256 [body] + signed bytes",
            "gitlab HmacSha256 [body id time]",
            "gitlab Token []",
            "gmail JwtRs256 []",
            "google-calendar Token []",
            "google-drive Token []",
            "google-sheets Token []",
            "hubspot HmacSha256 [body id type time url]",
            "hubspot Sha256 [body id type url]",
            "hubspot Sha256 [body id type]",
            "jira HmacSha256 [body type] + signed bytes",
            "jira JwtHs256 []",
            "notion HmacSha256 [body id type]",
            "outlook-calendar Token []",
            "paypal RsaSha256 [time] + signed bytes",
            "quickbooks HmacSha256 [body id type]",
            "salesforce Token []",
            "slack HmacSha256 [body id type time]",
            "stripe HmacSha256 [body id type time]",
            "telegram Token []",
            "trello HmacSha1 [body id type url]",
            "twilio HmacSha1 [body id type url]",
            "twilio HmacSha1 [body id type url] + signed bytes",
            "typeform HmacSha256 [body id type]",
            "webhook HmacSha256 [body id type time]",
            "webhook HmacSha256 [body id type time]",
            "webhook HmacSha256 [body type] + signed bytes",
            "webhook Token []",
            "whatsapp HmacSha256 [body id type]",
        ];
        assert_eq!(lines, expected);
    }
}
