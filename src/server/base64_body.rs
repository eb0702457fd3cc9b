//! Bytes in requests, as base64: one type gives both the check and the description of the API.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

/// Four characters for three bytes; the bits that fill up the last character are zero (RFC 4648, sections 3.5 and 4).
const PATTERN: &str = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";

/// Bytes that a request has as base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base64Bytes(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for Base64Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Base64Bytes {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Base64".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "contentEncoding": "base64", "pattern": PATTERN })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_is_what_is_decoded() {
        let pattern = regex_bites::Regex::new(PATTERN).unwrap();
        for text in ["", "QQ==", "QUI=", "QUJD", "QR==", "QUK=", "QQ", "QQ=", "QUJDQQ==", "c\u{e9}", "====", "QUJD\n"] {
            let json = serde_json::to_string(text).unwrap();
            let decoded = serde_json::from_str::<Base64Bytes>(&json);
            assert_eq!(decoded.is_ok(), pattern.is_match(text), "{text:?}");
        }
        assert_eq!(serde_json::from_str::<Base64Bytes>("\"QUJD\"").unwrap(), Base64Bytes(b"ABC".to_vec()));
    }
}
