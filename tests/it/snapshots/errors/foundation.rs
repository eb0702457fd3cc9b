//! Names, settings, programs, expressions, HTTP.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use integ::config::{ConfigError, ProjectError};
use integ::env_variables::VariableError;
use integ::files::TrustError;
use integ::http::egress::{AddressClass, EgressRefusal, classify};
use integ::http::{CertificateProblem, DownloadError, HttpError};
use integ::jq::JqError;
use integ::model::NameError;
use integ::notify::NotifyError;
use integ::program::ProgramError;
use integ::signing::standard::SigningSecretError;

use super::{MINUTE, errors, io, slack};
use crate::snapshots::assert_snap;

fn refusal(host: &str) -> EgressRefusal {
    let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    let AddressClass::Special(purpose) = classify(address) else { panic!("a private address") };
    EgressRefusal { host: host.to_owned(), address, purpose }
}

fn unreachable() -> HttpError {
    HttpError::ConnectionLost { host: "api.example".into(), reason: "it was reset".into() }
}

#[test]
fn names_and_settings() {
    let names = errors!(NameError {
        Connection => [E::Connection("a b".into())],
        Workspace => [E::Workspace("A B".into())],
    });
    let config = errors!(ConfigError {
        NoHome => [E::NoHome],
        Untrusted => [E::Untrusted(TrustError::NotText("/data/config.toml".into()))],
        Write => [E::Write { path: "/data/config.toml".into(), source: io() }],
        Syntax => [E::Syntax { path: "/data/config.toml".into(), line: 3, message: "unknown key".into() }],
        UnexpandedTilde => [E::UnexpandedTilde("~/integ".into())],
        UnknownKey => [
            E::UnknownKey { key: "http.timeuot".into(), likely: Some("http.timeout") },
            E::UnknownKey { key: "nothing".into(), likely: None },
        ],
        InvalidValue => [E::InvalidValue { key: "connect.port", value: "many".into(), expected: "a port" }],
    });
    let project = errors!(ProjectError {
        Name => [E::Name(NameError::Workspace("A B".into()))],
        AliasConflict => [E::AliasConflict { path: "integ.toml".into(), alias: "github".into(), target: "gitlab".into() }],
        WorkspaceNotFound => [E::WorkspaceNotFound { path: "integ.toml".into(), workspace: "team".parse().unwrap() }],
    });
    assert_snap("errors_settings", &(names + &config + &project));
}

#[test]
fn http() {
    let (host, origin) = ("api.example".to_owned(), "https://api.example".to_owned());
    let text = errors!(HttpError {
        Connect => [E::Connect { host: host.clone(), origin: origin.clone(), reason: "it refused the connection".into() }],
        Certificate => [
            E::Certificate { host: host.clone(), origin: origin.clone(), distrust: CertificateProblem::UnknownAuthority },
            E::Certificate { host: host.clone(), origin: origin.clone(), distrust: CertificateProblem::ValidityPeriod { text: "it has expired" } },
            E::Certificate { host: host.clone(), origin: origin.clone(), distrust: CertificateProblem::NameMismatch },
            E::Certificate { host: host.clone(), origin: origin.clone(), distrust: CertificateProblem::Other("it is broken".into()) },
        ],
        Tls => [E::Tls { host: host.clone(), origin, reason: "no common version".into() }],
        Timeout => [E::Timeout { host: host.clone(), after: MINUTE }],
        ConnectionLost => [unreachable()],
        TooLarge => [
            E::TooLarge { host: host.clone(), limit: 1 << 20, is_configurable: false },
            E::TooLarge { host: host.clone(), limit: 1 << 20, is_configurable: true },
        ],
        Insecure => [E::Insecure { url: "http://api.example/".into(), host: host.clone() }],
        EgressRefused => [E::EgressRefused(refusal("10.0.0.1")), E::EgressRefused(refusal("intranet.example"))],
        Undeclared => [E::Undeclared { host: host.clone() }],
        SpecialAddress => [E::SpecialAddress(refusal("intranet.example"))],
        InvalidRequest => [E::InvalidRequest { host: host.clone(), source: Box::new(io()) }],
        Client => [],
    });
    let download = errors!(DownloadError {
        Http => [E::Http(unreachable())],
        Status => [E::Status { host: host.clone(), status: 404 }],
        Redirected => [E::Redirected { host, target: "https://other.example/x.toml".into() }],
        CredentialsInUrl => [E::CredentialsInUrl],
    });
    assert_snap("errors_http", &(text + &download));
}

#[test]
fn jq() {
    let text = errors!(JqError {
        InvalidExpression => [E::InvalidExpression { expression: ".[".into(), what: "unclosed [".into(), at: 2 }],
        TooLong => [E::TooLong { most: 1000 }],
        Failed => [E::Failed("cannot index a number".into())],
        Timeout => [E::Timeout { seconds: 10 }],
        OutOfMemory => [E::OutOfMemory { mebibytes: 512 }],
        OutputTooLarge => [E::OutputTooLarge { mebibytes: 64 }],
        WorkerStart => [E::WorkerStart { source: io() }],
    });
    assert_snap("errors_jq", &text);
}

#[test]
fn notify() {
    let text = errors!(NotifyError {
        Program => [
            E::Program(ProgramError::InvalidQuoting),
            E::Program(ProgramError::Spawn { program: "hook".into(), source: io() }),
            E::Program(ProgramError::Failed { program: "hook".into(), status: ExitStatus::from_raw(256), stderr: "no".into() }),
            E::Program(ProgramError::TimedOut { program: "hook".into(), after_secs: 10 }),
        ],
        TimedOut => [E::TimedOut { what: "hooks.example".into(), after_secs: 10 }],
        NoSecret => [E::NoSecret],
        InvalidSecret => [
            E::InvalidSecret { origin: "INTEG_NOTIFY_SECRET".into(), source: SigningSecretError::Malformed },
            E::InvalidSecret { origin: "INTEG_NOTIFY_SECRET".into(), source: SigningSecretError::TooShort },
        ],
        SecretFile => [E::SecretFile(TrustError::Readable { path: "/data/secret".into() })],
        SecretFileNotFound => [E::SecretFileNotFound { path: "/data/secret".into() }],
        Status => [E::Status { host: "hooks.example".into(), status: 500 }],
        Http => [E::Http(unreachable())],
    });
    assert_snap("errors_notify", &text);
}

#[test]
fn variables() {
    let variable = || "PATH".to_owned();
    let part = || "token".to_owned();
    let text = errors!(VariableError {
        ReservedVariable => [E::ReservedVariable { connection: slack(), part: part(), variable: variable() }],
        SteeringVariable => [E::SteeringVariable { variable: variable() }],
        AlreadySet => [E::AlreadySet { connection: slack(), part: part(), variable: variable() }],
        NotApproved => [E::NotApproved { connection: slack(), part: part(), variable: variable() }],
        Conflict => [E::Conflict { variable: variable(), first: "slack@a".into(), second: "slack-a".into() }],
        Unprintable => [E::Unprintable { connection: slack(), part: part() }],
        PartNotFound => [
            E::PartNotFound { connection: slack(), part: "tokn".into(), suggestion: Some(part()), parts: vec![part(), "team_id".into()] },
            E::PartNotFound { connection: slack(), part: "x".into(), suggestion: None, parts: Vec::new() },
        ],
    });
    assert_snap("errors_variables", &text);
}
