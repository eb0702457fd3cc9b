//! Certificates that are fetched to judge by: a chain to a root, valid today. `tests/vectors/certificates` was made by
//! `openssl`, whose keys were thrown away.

use super::at;
use crate::webhook::inbound::fetch_keys::{TrustAnchors, certificate_key, certificates};

const ROOT: &str = include_str!("../../../tests/vectors/certificates/root.pem");
const INTERMEDIATE: &str = include_str!("../../../tests/vectors/certificates/intermediate.pem");
const LEAF: &str = include_str!("../../../tests/vectors/certificates/leaf.pem");

/// Within their validity, from 2026-11-21 to 2051-07-13.
const VALID: i64 = 1_800_000_000;

fn is_trusted(pem: &str, root: &str, now: i64) -> bool {
    certificate_key(pem.as_bytes(), at(now), TrustAnchors::Roots(&certificates(root.as_bytes()))).is_some()
}

#[test]
fn a_chain_leads_to_a_root_and_is_valid_now() {
    let chain = [LEAF, INTERMEDIATE].concat();
    assert!(is_trusted(&chain, ROOT, VALID));
    let key = certificate_key(chain.as_bytes(), at(VALID), TrustAnchors::Roots(&certificates(ROOT.as_bytes())));
    assert_eq!(key, certificate_key(LEAF.as_bytes(), at(VALID), TrustAnchors::SelfSigned), "the first one's key");
    assert!(!is_trusted(LEAF, ROOT, VALID), "a link is missing");
    assert!(!is_trusted(&[INTERMEDIATE, LEAF].concat(), ROOT, VALID), "an authority signs no event");
    assert!(!is_trusted(&chain, LEAF, VALID), "the root is another");
    assert!(!is_trusted(&chain, "", VALID), "there is no root");
    assert!(!is_trusted(&chain, ROOT, 1_700_000_000), "not yet");
    assert!(!is_trusted(&chain, ROOT, 2_600_000_000), "over");
}

#[test]
fn what_was_changed_or_cut_off_is_no_certificate() {
    let key =
        |pem: &str| certificate_key(pem.as_bytes(), at(VALID), TrustAnchors::Roots(&certificates(ROOT.as_bytes())));
    let right = key(&[LEAF, INTERMEDIATE].concat());
    let text: Vec<char> = LEAF.chars().collect();
    let body = "-----BEGIN CERTIFICATE-----\n".len()..text.len() - "\n-----END CERTIFICATE-----\n".len();
    for at in body {
        let mut other = text.clone();
        other[at] = if other[at] == 'A' { 'B' } else { 'A' };
        let leaf: String = other.iter().collect();
        assert!(key(&format!("{leaf}{INTERMEDIATE}")).is_none() && right.is_some(), "{at}");
        let cut: String = text[..at].iter().collect();
        assert!(key(&format!("{cut}\n-----END CERTIFICATE-----\n{INTERMEDIATE}")).is_none(), "{at}");
    }
}
