//! Fetches verification keys: a certificate, or an issuer's key set.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::{CertificateDer, UnixTime};
use serde_json::Value;
use url::Url;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use crate::clock::Timestamp;
use crate::connector::{SignatureAlgorithm, SignatureScheme};
use crate::http::{self, Client, Route};
use crate::signing::verify::{ParsedRequest, VerificationKeys, VerifyError};

/// Nothing that proves a request is larger.
const MAX_BYTES: usize = 256 * 1024;

/// Fetches the certificate or the keys at a URL.
///
/// # Errors
/// [`VerifyError::MissingInput`] if it cannot be fetched, or is not the vendor's.
pub(in crate::webhook) async fn fetch(
    scheme: SignatureAlgorithm,
    url: &Url,
    http: &Client,
    route: &Route,
    now: Timestamp,
) -> Result<VerificationKeys, VerifyError> {
    let missing = |why: &str| VerifyError::MissingInput(format!("{url} {why}"));
    let request = http::Request { max_response_bytes: MAX_BYTES, ..http::Request::new("GET", url.clone()) };
    let answer = http.send(request, route).await.map_err(|_| missing("cannot be reached"))?;
    if !answer.is_success() {
        return Err(missing("gives no answer"));
    }
    if scheme != SignatureAlgorithm::RsaSha256 {
        return Ok(VerificationKeys {
            json_keys: json_keys(&answer.json().unwrap_or_default()),
            ..VerificationKeys::default()
        });
    }
    let anchors = if route.is_vendor() { TrustAnchors::Roots(TLS_SERVER_ROOT_CERTS) } else { TrustAnchors::SelfSigned };
    let key = certificate_key(&answer.body, now, anchors)
        .ok_or_else(|| missing("holds no certificate of a chain that is trusted"))?;
    Ok(VerificationKeys { certificate_key: Some(key), ..VerificationKeys::default() })
}

/// Where it is: a header may name it, on the vendor's hosts only.
pub(in crate::webhook) fn address(proof: &SignatureScheme, judged: &ParsedRequest<'_>) -> Result<Url, VerifyError> {
    let missing = |what: &str| VerifyError::MissingInput(what.to_owned());
    if let Some(rule) = &proof.certificate {
        let text = rule.url.text(judged, judged.document).ok_or_else(|| missing("the certificate's URL"))?;
        let url = Url::parse(&text).map_err(|_| missing("the certificate's URL"))?;
        let host = url.host_str().unwrap_or_default();
        let own = |known: &String| match known.strip_prefix("*.") {
            Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1),
            None => host == known,
        };
        let plain = url.port().is_none() && url.username().is_empty() && url.password().is_none();
        if url.scheme() == "https" && plain && rule.hosts.iter().any(own) {
            return Ok(url);
        }
        return Err(missing("a certificate on a host of the vendor's"));
    }
    let keys =
        proof.jwt.as_ref().and_then(|rule| rule.keys_url.as_ref()).ok_or_else(|| missing("the issuer's keys"))?;
    Url::parse(keys).map_err(|_| missing("the issuer's keys"))
}

/// What vouches for a certificate. The host that it came from identifies its owner.
#[derive(Clone, Copy, Debug)]
pub(in crate::webhook) enum TrustAnchors<'a> {
    /// A chain that leads to one of these: those that browsers trust.
    Roots(&'a [CertificateDer<'static>]),
    /// Nothing but where it came from: the sandbox, or the user's own `--origin`.
    SelfSigned,
}

/// The key bits of the first certificate of a PEM chain.
pub(in crate::webhook) fn certificate_key(pem: &[u8], now: Timestamp, anchors: TrustAnchors<'_>) -> Option<Vec<u8>> {
    let chain = certificates(pem);
    let leaf = EndEntityCert::try_from(chain.first()?).ok()?;
    if let TrustAnchors::Roots(roots) = anchors {
        let anchors: Vec<_> = roots.iter().filter_map(|root| anchor_from_trusted_cert(root).ok()).collect();
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(now.as_second()).ok()?));
        leaf.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            chain.get(1..).unwrap_or_default(),
            time,
            KeyUsage::server_auth(),
            None,
            None,
        )
        .ok()?;
    }
    key_bits(leaf.subject_public_key_info().as_ref())
}

pub(in crate::webhook) fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    let text = String::from_utf8_lossy(pem);
    let blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1);
    let decoded = blocks.filter_map(|block| {
        let inner: String = block.split("-----END CERTIFICATE-----").next()?.split_whitespace().collect();
        STANDARD.decode(inner).ok()
    });
    decoded.map(CertificateDer::from).collect()
}

/// The BIT STRING of a `SubjectPublicKeyInfo` (RFC 5280 section 4.1), which is what RSA keys are read from.
fn key_bits(info: &[u8]) -> Option<Vec<u8>> {
    let (tag, sequence, _) = element(info)?;
    let (_, _, rest) = element(sequence).filter(|_| tag == 0x30)?;
    let (tag, bits, _) = element(rest)?;
    (tag == 0x03 && bits.first() == Some(&0)).then(|| bits[1..].to_vec())
}

/// The first element of DER: tag, content and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f)).filter(|(bytes, _)| bytes.len() <= 4)?;
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The RSA keys of a JSON Web Key Set (RFC 7517).
pub(in crate::webhook) fn json_keys(document: &Value) -> BTreeMap<String, (Vec<u8>, Vec<u8>)> {
    let keys = document["keys"].as_array().into_iter().flatten();
    let key = |key: &Value| {
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str()?).ok();
        Some((key["kid"].as_str()?.to_owned(), (bytes("n")?, bytes("e")?)))
    };
    keys.filter(|key| key["kty"] == "RSA").filter_map(key).collect()
}
