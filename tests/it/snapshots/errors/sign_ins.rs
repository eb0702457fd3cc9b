//! Errors of sign-ins that another process finishes, of connect links and of approvals.

use integ::connect::pending::SignInError;
use integ::model::ApprovalStatus;
use integ::oauth::issuer_keys::IssuerKeysError;
use integ::ops::api_tokens::{ApiTokenLoginError, ApiTokenTrustError, TokenExchangeError};
use integ::ops::approvals::ApprovalError;
use integ::ops::connect_links::ConnectLinkError;
use integ::ops::operators::OperatorError;
use integ::ops::serving::ServeError;
use integ::ops::sign_ins::SignInRequestError;
use integ::signing::identity_token::IdentityTokenError;

use super::errors;
use crate::snapshots::assert_snap;

#[test]
fn sign_ins() {
    let malformed = serde_json::from_str::<u8>("{").unwrap_err();
    let text = errors!(SignInError {
        UnknownState => [E::UnknownState],
        Used => [E::Used],
        Expired => [E::Expired],
        InvalidCallback => [E::InvalidCallback { reason: "a parameter is repeated" }],
        NotFound => [E::NotFound { id: "sgn_00112233445566778899aabbccddeeff".parse().unwrap() }],
        LinkUsed => [E::LinkUsed],
        NotSandbox => [E::NotSandbox { url: "https://slack.com/oauth".into() }],
        Malformed => [E::Malformed { source: malformed }],
    });
    let serving = errors!(ServeError {
        Bind => [E::Bind {
            address: "127.0.0.1:7420".parse().unwrap(),
            source: std::io::ErrorKind::AddrInUse.into(),
        }],
        InheritedSocket => [E::InheritedSocket { source: std::io::ErrorKind::InvalidInput.into() }],
    });
    let requests = errors!(SignInRequestError {
        NoTarget => [E::NoTarget],
        InvalidReturnAddress => [E::InvalidReturnAddress { reason: "relative URL without a base".into() }],
        ReturnNotAllowed => [E::ReturnNotAllowed {
            url: "https://app.example/done".into(),
            origin: "https://app.example".into(),
        }],
        NoPublicUrl => [E::NoPublicUrl],
    });
    let links = errors!(ConnectLinkError {
        InvalidLifetime => [E::InvalidLifetime],
        NotFound => [E::NotFound { id: "cnl_0011223344556677".parse().unwrap() }],
        Unknown => [E::Unknown],
        Expired => [E::Expired],
        NoPublicUrl => [E::NoPublicUrl],
    });
    let approval = || "apr_00112233445566778899aabb".parse().unwrap();
    let approvals = errors!(ApprovalError {
        Required => [E::Required { approval: approval() }],
        Denied => [E::Denied { approval: approval() }],
        TooMany => [E::TooMany],
        NotFound => [E::NotFound(approval())],
        Closed => [E::Closed { id: approval(), status: ApprovalStatus::Used }],
        InvalidWindow => [E::InvalidWindow],
    });
    let trusts = errors!(ApiTokenTrustError {
        NotFound => [E::NotFound("deploy".parse().unwrap())],
        NameTaken => [E::NameTaken("deploy".parse().unwrap())],
        NameTooLong => [E::NameTooLong],
        InvalidIssuer => [E::InvalidIssuer("ci".into())],
        NoClaims => [E::NoClaims],
        NoConnections => [E::NoConnections],
        InvalidLifetime => [E::InvalidLifetime],
    });
    let keys = IssuerKeysError { issuer: "https://ci.example".into(), reason: "it does not answer".into() };
    let exchanges = errors!(TokenExchangeError {
        Invalid => [E::Invalid { source: IdentityTokenError::Expired }],
        Untrusted => [E::Untrusted],
        Repeated => [E::Repeated],
        Keys => [E::Keys(keys)],
    });
    let server = || "https://integ.example".to_owned();
    let logins = errors!(ApiTokenLoginError {
        NoIdentity => [E::NoIdentity { status: 403 }],
        Refused => [E::Refused { server: server(), code: "untrusted_identity_token".into(), reason: "no trust fits".into() }],
        Answer => [E::Answer { server: server(), status: 404 }],
        Http => [],
    });
    assert_snap("errors_ci_tokens", &(trusts + &exchanges + &logins));
    assert_snap("errors_approvals", &approvals);
    assert_snap("errors_sign_ins", &(text + &serving + &requests + &links));
}

#[test]
fn operators() {
    let text = errors!(OperatorError {
        NotFound => [E::NotFound("kim".parse().unwrap())],
        InvalidLink => [E::InvalidLink],
        NoPublicUrl => [E::NoPublicUrl],
    });
    assert_snap("errors_operators", &text);
}
