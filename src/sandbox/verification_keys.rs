//! The keys that an emulated vendor publishes for its webhooks: a key set or a certificate.

use super::account::sandbox_webhook_seed;
use super::message::{SandboxRequest, SandboxResponse};
use super::vendor_emulator::VendorEmulator;
use crate::connector::{Connector, SignatureAlgorithm, WebhookDefinition};
use crate::http::serve::Method;
use crate::signing::rsa::RsaKey;

/// The RSA key that a connector's emulated vendor signs webhooks with; none if its webhooks are not verified by one.
pub fn rsa_key(connector: &Connector, seed: &[u8]) -> Option<RsaKey> {
    let proofs = connector.webhook.iter().flat_map(|rules| &rules.proofs);
    let mut schemes = proofs.map(|proof| proof.scheme);
    let wanted = schemes.any(|scheme| matches!(scheme, SignatureAlgorithm::RsaSha256 | SignatureAlgorithm::JwtRs256));
    wanted.then(|| RsaKey::new(sandbox_webhook_seed(connector, seed, "rsa")))
}

impl VendorEmulator {
    /// What a vendor publishes for those who verify its webhooks: a key set, or a certificate. No state is needed for it.
    pub(super) fn verification_key(&self, request: &SandboxRequest) -> Option<SandboxResponse> {
        let (key, rules) = (self.webhook_rsa_key.as_ref()?, self.connector.webhook.as_ref()?);
        if request.method != Method::GET {
            return None;
        }
        let is_here = |url: &str| url::Url::parse(url).is_ok_and(|url| url.path() == request.path);
        if key_sets(rules).any(is_here) {
            return Some(SandboxResponse::json(200, &key.key_set()?));
        }
        if certificates(rules).any(|url| is_here(&url)) {
            return Some(SandboxResponse::text(200, key.certificate()?));
        }
        None
    }
}

fn key_sets(rules: &WebhookDefinition) -> impl Iterator<Item = &str> {
    rules.proofs.iter().filter_map(|proof| proof.jwt.as_ref()?.keys_url.as_deref())
}

/// Where the samples say that the certificate is.
fn certificates(rules: &WebhookDefinition) -> impl Iterator<Item = String> {
    let headers = rules.proofs.iter().filter_map(|proof| proof.certificate.as_ref()?.url.header.as_ref());
    headers.filter_map(|name| Some(rules.sample.headers.get(name)?.to_string()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::connector::Catalogue;

    fn key(connector: &str, seed: &[u8]) -> Option<RsaKey> {
        rsa_key(&Catalogue::new(Path::new("/nonexistent")).get(connector).unwrap(), seed)
    }

    #[test]
    fn each_store_and_each_connector_has_a_key_of_its_own() {
        let modulus = |key: Option<RsaKey>| key.unwrap().key_set().unwrap()["keys"][0]["n"].clone();
        let one = modulus(key("paypal", b"a seed"));
        assert_eq!(one, modulus(key("paypal", b"a seed")), "every process of a workspace has the same");
        assert_ne!(one, modulus(key("paypal", b"another seed")));
        assert_ne!(one, modulus(key("gmail", b"a seed")));
        assert!(key("stripe", b"a seed").is_none(), "no key is made for what needs none");
    }
}
