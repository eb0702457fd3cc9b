//! Errors of sign-ins that another process finishes, and of connect links.

use integ::connect::pending::SignInError;
use integ::ops::connect_links::ConnectLinkError;
use integ::ops::serving::ServeError;
use integ::ops::sign_ins::SignInRequestError;

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
    });
    let requests = errors!(SignInRequestError {
        NoTarget => [E::NoTarget],
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
    assert_snap("errors_sign_ins", &(text + &serving + &requests + &links));
}
