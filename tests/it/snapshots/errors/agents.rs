//! Errors of agents, of the settings of their clients, and of the proxy.

use integ::http::loopback::BindError;
use integ::ops::agents::{AgentCallError, AgentError};
use integ::ops::mcp::ClientInstallError;
use integ::ops::proxy::CredentialProxyError;

use super::{errors, slack};
use crate::snapshots::assert_snap;

#[test]
fn agents() {
    let agents = errors!(AgentError { NotAllowed => [E::NotAllowed("records")] });
    let calls = errors!(AgentCallError {
        TooLargeToApprove => [E::TooLargeToApprove],
        Arguments => [E::Arguments { reason: "the member \"a\" appears twice".into() }],
    });
    let installs = errors!(ClientInstallError {
        AllowOfServer => [E::AllowOfServer("mcp@linear".parse().unwrap())],
        ToolsOfActions => [E::ToolsOfActions(slack())],
    });
    let address = "127.0.0.1:7480".parse().unwrap();
    let taken = BindError { address, holder: None, source: std::io::ErrorKind::AddrInUse.into() };
    let proxies = errors!(CredentialProxyError {
        Bind => [E::Bind { connection: slack(), source: taken }],
        NoBase => [E::NoBase(slack())],
        ShortToken => [E::ShortToken],
        Foreign => [E::Foreign],
        Unauthorized => [E::Unauthorized],
        Method => [E::Method("DELETE".into())],
        Path => [E::Path("/v1/charges".into())],
        MethodOverride => [E::MethodOverride("_method".into())],
        TooLargeToApprove => [E::TooLargeToApprove],
        Body => [E::Body],
        Encoded => [E::Encoded],
    });
    assert_snap("errors_agents", &(agents + &calls + &installs + &proxies));
}
