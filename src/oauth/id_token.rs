//! Reads the account from an ID token (OpenID Connect Core 1.0 section 2).
//!
//! The token comes over TLS from the server itself, which stands in for its signature (section 3.1.3.7, 6), and it decides
//! nothing here: it names an account, and gives no access to one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::model::Account;

/// Returns the claims of a signed JWT, without a check of its signature; absent for an encrypted one and for other texts.
pub fn decode_claims(jwt: &str) -> Option<Value> {
    let mut parts = jwt.trim().split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok().filter(Value::is_object)
}

/// Returns the account that a token answer's ID token names.
pub fn parse_account(answer: &Value) -> Option<Account> {
    let claims = decode_claims(answer.get("id_token")?.as_str()?)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let name = text("email").or_else(|| text("preferred_username")).or_else(|| text("name"));
    Some(Account { id: text("sub")?, name })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_account_is_read_from_an_id_token() {
        let token = |claims: &Value| format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let answer = json!({ "id_token": token(&json!({ "sub": "u1", "preferred_username": "ann" })) });
        let named = Account { id: "u1".to_owned(), name: Some("ann".to_owned()) };
        assert_eq!(parse_account(&answer), Some(named));
        for id_token in ["", "a.b", "a.b.c", "a.b.c.d.e", "e30.W10.x", token(&json!({ "email": "a@b.c" })).as_str()] {
            assert_eq!(parse_account(&json!({ "id_token": id_token })), None, "{id_token:?}");
        }
    }
}
