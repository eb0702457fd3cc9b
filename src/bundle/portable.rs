//! Selects the part of a grant that may be copied to another machine.
//!
//! Two machines that hold the same refresh token end each other's access where the vendor rotates refresh tokens: the one
//! that refreshes second presents a used one, and many vendors then revoke the whole grant. So a refresh token leaves the
//! store only if the connector says that it never rotates.

use crate::clock::Timestamp;
use crate::connector::RefreshTokenRotation;
use crate::model::{ClientCredentials, Grant, RefreshMethod};

/// How long a copied grant works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortableLifetime {
    /// Until the access token ends; nothing can renew it.
    Until(Timestamp),
    /// No end is known: a key, or a token without a lifetime. It works until it is revoked.
    UntilRevoked,
    /// The machine that has it gets new access tokens by itself, until this moment if it is known.
    Renewable { until: Option<Timestamp> },
}

/// Returns the part of a grant that may be copied, and how long it works. `rotation` is what the connector says of refresh
/// tokens, `client` the OAuth client with the secret that it has today.
///
/// A client's secret and the fields that tokens are asked for with (`is_key`) go along only if the copy can use them: with
/// client credentials, with a refresh token, or where the key itself is presented again.
pub fn portable_grant(
    grant: &Grant,
    rotation: RefreshTokenRotation,
    client: Option<ClientCredentials>,
    is_key: impl Fn(&str) -> bool,
) -> (Grant, PortableLifetime) {
    let keeps_refresh_token = grant.refresh_method.has_refresh_token()
        && grant.refresh_token.is_some()
        && rotation == RefreshTokenRotation::Never;
    let presents_key = matches!(grant.refresh_method, RefreshMethod::ClientCredentials | RefreshMethod::Key);
    if keeps_refresh_token || presents_key {
        let until = grant.refresh_expires_at.filter(|_| keeps_refresh_token);
        let copy = Grant {
            client: client.or_else(|| grant.client.clone()),
            refresh_token: grant.refresh_token.clone().filter(|_| keeps_refresh_token),
            ..grant.clone()
        };
        return (copy, PortableLifetime::Renewable { until });
    }
    let copy = Grant {
        refresh_token: None,
        refresh_expires_at: None,
        refresh_method: RefreshMethod::None,
        // Requests of some services carry the id.
        client: grant.client.as_ref().map(|client| ClientCredentials { id: client.id.clone(), secret: None }),
        fields: grant.fields.clone().into_iter().filter(|(name, _)| !is_key(name)).collect(),
        ..grant.clone()
    };
    let lifetime = grant.expires_at.map_or(PortableLifetime::UntilRevoked, PortableLifetime::Until);
    (copy, lifetime)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn grant(method: RefreshMethod, refresh_token: Option<&str>) -> Grant {
        Grant {
            access_token: "access".into(),
            refresh_token: refresh_token.map(Into::into),
            fields: [("user_token".to_owned(), "user".into())].into(),
            client: Some(ClientCredentials { id: "id".to_owned(), secret: Some("secret".into()) }),
            issued_at: at(0),
            expires_at: Some(at(3600)),
            refresh_expires_at: Some(at(86_400)),
            refresh_method: method,
        }
    }

    #[test]
    fn a_refresh_token_leaves_only_if_it_never_rotates() {
        use RefreshTokenRotation::{Always, Never, Sometimes};
        for method in [RefreshMethod::RefreshToken, RefreshMethod::ReusableRefreshToken] {
            for rotation in [Always, Sometimes] {
                let (copy, lifetime) = portable_grant(&grant(method, Some("refresh")), rotation, None, |_| true);
                assert!(copy.refresh_token.is_none() && !copy.is_refreshable(), "{method:?} {rotation:?}");
                assert!(copy.client.unwrap().secret.is_none(), "a secret that nothing can use");
                assert_eq!(
                    (copy.fields.len(), lifetime),
                    (0, PortableLifetime::Until(at(3600))),
                    "a key that nothing can use"
                );
            }
            let (copy, lifetime) = portable_grant(&grant(method, Some("refresh")), Never, None, |_| true);
            assert_eq!(copy.refresh_token.unwrap().expose(), "refresh");
            assert!(copy.client.unwrap().secret.is_some());
            assert_eq!(lifetime, PortableLifetime::Renewable { until: Some(at(86_400)) });
        }
    }

    #[test]
    fn client_credentials_leave_with_the_secret_of_today_and_without_a_refresh_token() {
        let today = ClientCredentials { id: "id".to_owned(), secret: Some("today".into()) };
        let stored = grant(RefreshMethod::ClientCredentials, Some("stray"));
        let (copy, lifetime) = portable_grant(&stored, RefreshTokenRotation::Always, Some(today), |_| true);
        assert!(copy.refresh_token.is_none());
        assert_eq!(copy.client.unwrap().secret.unwrap().expose(), "today");
        assert_eq!(lifetime, PortableLifetime::Renewable { until: None });
    }

    #[test]
    fn a_key_that_is_presented_again_leaves_and_renews() {
        let (copy, lifetime) =
            portable_grant(&grant(RefreshMethod::Key, None), RefreshTokenRotation::Sometimes, None, |_| true);
        assert_eq!((copy.fields.len(), copy.refresh_method), (1, RefreshMethod::Key));
        assert_eq!(lifetime, PortableLifetime::Renewable { until: None });
    }

    #[test]
    fn a_key_works_until_it_is_revoked() {
        let key = Grant { expires_at: None, client: None, ..grant(RefreshMethod::None, None) };
        let (copy, lifetime) = portable_grant(&key, RefreshTokenRotation::Never, None, |_| true);
        assert_eq!(lifetime, PortableLifetime::UntilRevoked);
        assert_eq!(copy.access_token.expose(), "access");
    }
}
