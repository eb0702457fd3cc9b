//! Determines the lifetime of a token. Pure.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::Tokens;
use crate::clock::Timestamp;

/// Ten years: what a token that claims to live longer is taken to live.
const MAX_LIFETIME_SECS: f64 = 315_360_000.0;

/// Returns the seconds that a token given now lives: by the answer, by the token itself if it is a JWT, else as long as
/// the former token of the grant. Absent if nothing says.
pub fn token_lifetime(tokens: &Tokens, former: Option<u32>, now: Timestamp) -> Option<u32> {
    tokens.expires_in.or_else(|| jwt_lifetime(tokens.access_token.expose(), now)).or(former)
}

/// Reads a lifetime however it is written: a number, a string of one, a fraction. Zero and less mean that nothing is said;
/// what is absurdly long is taken for ten years.
pub(super) fn parse_seconds(value: Option<&Value>) -> Option<u32> {
    let number = match value? {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    clamp_seconds(number)
}

fn clamp_seconds(number: f64) -> Option<u32> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the clamp")]
    (number >= 1.0).then(|| number.min(MAX_LIFETIME_SECS) as u32)
}

/// The times of a JWT (RFC 7519 section 4.1): seconds since 1970, whole or not.
#[derive(Deserialize)]
struct Claims {
    exp: f64,
    #[serde(default)]
    iat: Option<f64>,
}

/// Returns the seconds that a JWT has left. Its signature is for the service to check: a wrong time here only moves a
/// refresh. If this machine's clock says that the token is over already, the clock is wrong, and the token lives as long
/// as it was issued for.
fn jwt_lifetime(token: &str, now: Timestamp) -> Option<u32> {
    let mut parts = token.split('.');
    let (_, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || signature.is_empty() {
        return None;
    }
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Claims = serde_json::from_slice(&payload).ok()?;
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double")]
    let left = claims.exp - now.as_second() as f64;
    let issued_for = claims.iat.map(|iat| claims.exp - iat);
    match issued_for {
        Some(issued_for) if left < 1.0 || left > issued_for => clamp_seconds(issued_for),
        _ => clamp_seconds(left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn field_19_a_jwt_says_how_long_it_lives() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (claims, expected) in [
            (r#"{"exp":1000600}"#, Some(600)),
            (r#"{"exp":1000600.9,"iat":999999}"#, Some(600)),
            (r#"{"exp":1000600,"iat":1000000}"#, Some(600)),
            // The clock here is behind, then ahead.
            (r#"{"exp":1007200,"iat":1003600}"#, Some(3600)),
            (r#"{"exp":903600,"iat":900000}"#, Some(3600)),
            (r#"{"exp":900000}"#, None),
            (r#"{"exp":900000,"iat":950000}"#, None),
            (r#"{"exp":1e99}"#, Some(315_360_000)),
            (r#"{"exp":"soon"}"#, None),
            (r#"{"iat":1}"#, None),
            ("not json", None),
        ] {
            assert_eq!(jwt_lifetime(&jwt(claims), now), expected, "{claims}");
        }
        for opaque in ["", "a.b", "a.b.c", "e30.e30.", "e30.eyJleHAiOjEwMDA2MDB9.c.d.e", "ya29.a0AfH6SMBx.y"] {
            assert_eq!(jwt_lifetime(opaque, now), None, "{opaque}");
        }
    }
}
