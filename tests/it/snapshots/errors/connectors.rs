//! Connector files, drafts, installations, exports.

use integ::connector::{ConnectorError, Diagnostic, DraftError, InstallError, OpenApiDescription, OpenApiError};
use integ::export::ParquetError;
use integ::files::TrustError;

use super::{errors, io};
use crate::snapshots::assert_snap;

fn mistakes() -> Vec<Diagnostic> {
    let mistake = |line, key: &str, message: &str| Diagnostic { line, key: key.into(), message: message.into() };
    vec![mistake(3, "auth.key.label", "is missing"), mistake(7, "", "the text does not end")]
}

#[test]
fn connectors() {
    let path = || "/data/connectors/acme.toml".into();
    let acme = || "acme".to_owned();
    let from = || "https://acme.example/acme.toml".to_owned();
    let text = errors!(ConnectorError {
        Unknown => [
            E::Unknown { id: "slac".into(), likely: Some("slack".into()) },
            E::Unknown { id: "nothing".into(), likely: None },
        ],
        Invalid => [
            E::Invalid { id: acme(), first: "line 3: is missing".into(), path: Some(path()) },
            E::Invalid { id: acme(), first: "line 3: is missing".into(), path: None },
        ],
        Untrusted => [E::Untrusted(TrustError::Writable { path: path(), owner: 1001 })],
        Changed => [E::Changed { id: acme(), path: path() }],
        Pin => [E::Pin { id: acme(), path: path(), source: io() }],
        UnknownAuth => [E::UnknownAuth { connector: acme(), auth: "saml".into(), known: vec!["oauth".into(), "key".into()] }],
    });
    let install = errors!(InstallError {
        TooLarge => [E::TooLarge { from: from() }],
        Invalid => [
            E::Invalid { from: from(), path: None, mistakes: mistakes() },
            E::Invalid { from: "acme.toml".into(), path: Some("acme.toml".into()), mistakes: mistakes() },
        ],
        Id => [E::Id { id: "A b".into() }],
        OtherText => [E::OtherText { from: from(), expected: "aa".into(), found: "bb".into() }],
        BuiltIn => [E::BuiltIn { id: "slack".into(), from: from() }],
        Installed => [E::Installed { id: acme(), source_of_it: from(), from: from() }],
        Own => [E::Own { id: acme(), path: path(), from: from() }],
        Permanent => [E::Permanent { id: "slack".into() }],
        NotInstalled => [E::NotInstalled { id: acme(), path: path() }],
        Unknown => [E::Unknown { id: acme() }],
        Untrusted => [E::Untrusted(TrustError::NotAFile(path()))],
        Write => [E::Write { path: path(), source: io() }],
    });
    let draft = errors!(DraftError {
        Id => [E::Id { id: "A b".into() }],
        Invalid => [E::Invalid { mistakes: mistakes() }],
        Exists => [E::Exists { path: path() }],
        BuiltIn => [E::BuiltIn { id: "slack".into() }],
        Installed => [E::Installed { id: acme() }],
        Turn => [E::Turn(InstallError::Unknown { id: acme() })],
        Write => [E::Write { path: path(), source: io() }],
    });
    let openapi = errors!(OpenApiError {
        Syntax => [OpenApiDescription::parse(b"\t- {", None).err().unwrap()],
        NotOpenApi => [E::NotOpenApi],
        NoOperation => [
            E::NoOperation { id: "lst".into(), likely: Some("list".into()) },
            E::NoOperation { id: "x".into(), likely: None },
        ],
        Unfit => [E::Unfit { id: "list".into(), why: "it takes XML" }],
    });
    let parquet = errors!(ParquetError {
        Write => [E::Write { source: parquet::errors::ParquetError::General("what the library says".into()) }],
        Changed => [E::Changed { name: "created".into() }],
    });
    assert_snap("errors_connectors", &(text + &install + &draft + &openapi + &parquet));
}
