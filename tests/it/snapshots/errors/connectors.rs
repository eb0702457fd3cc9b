//! Connector files, drafts, installations, exports.

use integ::connector::{ConnectorError, DraftError, FileDiagnostic, InstallError, OpenApiDescription, OpenApiError};
use integ::files::TrustError;
use integ::http::DownloadError;
use integ::ops::connectors::InstalledConnectorError;

use super::{errors, io};
use crate::snapshots::assert_snap;

fn mistakes() -> Vec<FileDiagnostic> {
    let mistake = |line, key: &str, message: &str| FileDiagnostic { line, key: key.into(), message: message.into() };
    vec![mistake(3, "auth.key.label", "is missing"), mistake(7, "", "the text does not end")]
}

#[test]
fn connectors() {
    let path = || "/data/connectors/acme.toml".into();
    let acme = || "acme".to_owned();
    let from = || "https://acme.example/acme.toml".to_owned();
    let text = errors!(ConnectorError {
        Unknown => [
            E::Unknown { id: "slac".into(), suggestion: Some("slack".into()) },
            E::Unknown { id: "nothing".into(), suggestion: None },
        ],
        Invalid => [
            E::Invalid { id: acme(), first: "line 3: is missing".into(), path: Some(path()) },
            E::Invalid { id: acme(), first: "line 3: is missing".into(), path: None },
        ],
        Untrusted => [E::Untrusted(TrustError::Writable { path: path(), owner: 1001 })],
        ChecksumMismatch => [E::ChecksumMismatch { id: acme(), path: path() }],
        InvalidPin => [E::InvalidPin { id: acme(), path: path(), source: io() }],
        UnknownAuthMethod => [E::UnknownAuthMethod { connector: acme(), auth: "saml".into(), known: vec!["oauth".into(), "key".into()] }],
    });
    let installed = errors!(InstalledConnectorError {
        NotInstalled => [E::NotInstalled { connector: acme() }],
        InUse => [
            E::InUse { connector: acme(), connections: vec!["acme".into(), "acme@work".into()], others: 0 },
            E::InUse { connector: acme(), connections: vec!["acme".into()], others: 2 },
            E::InUse { connector: acme(), connections: Vec::new(), others: 1 },
        ],
        NotDownloaded => [E::NotDownloaded(DownloadError::Status { host: "example.com".into(), status: 503 })],
        HasApp => [E::HasApp { connector: acme() }],
        TooMany => [E::TooMany { limit: 100 }],
        UnknownParameter => [E::UnknownParameter { connector: acme(), name: "colour".into() }],
    });
    let install = errors!(InstallError {
        TooLarge => [E::TooLarge { source_name: from() }],
        Invalid => [
            E::Invalid { source_name: from(), path: None, diagnostics: mistakes() },
            E::Invalid { source_name: "acme.toml".into(), path: Some("acme.toml".into()), diagnostics: mistakes() },
        ],
        InvalidId => [E::InvalidId { id: "A b".into() }],
        ChecksumMismatch => [E::ChecksumMismatch { source_name: from(), expected: "aa".into(), found: "bb".into() }],
        ReplacesBuiltIn => [E::ReplacesBuiltIn { id: "slack".into(), source_name: from() }],
        AlreadyInstalled => [E::AlreadyInstalled { id: acme(), installed_from: from(), source_name: from() }],
        UserFileExists => [E::UserFileExists { id: acme(), path: path(), source_name: from() }],
        CannotRemoveBuiltIn => [E::CannotRemoveBuiltIn { id: "slack".into() }],
        NotInstalled => [E::NotInstalled { id: acme(), path: path() }],
        Unknown => [E::Unknown { id: acme() }],
        Untrusted => [E::Untrusted(TrustError::NotAFile(path()))],
        Write => [E::Write { path: path(), source: io() }],
    });
    let draft = errors!(DraftError {
        InvalidId => [E::InvalidId { id: "A b".into() }],
        Invalid => [E::Invalid { diagnostics: mistakes() }],
        Exists => [E::Exists { path: path() }],
        BuiltIn => [E::BuiltIn { id: "slack".into() }],
        Installed => [E::Installed { id: acme() }],
        Lock => [E::Lock(InstallError::Unknown { id: acme() })],
        Write => [E::Write { path: path(), source: io() }],
    });
    let openapi = errors!(OpenApiError {
        Syntax => [OpenApiDescription::parse(b"\t- {", None).err().unwrap()],
        MissingVersion => [E::MissingVersion],
        UnknownOperation => [
            E::UnknownOperation { id: "lst".into(), suggestion: Some("list".into()) },
            E::UnknownOperation { id: "x".into(), suggestion: None },
        ],
        UnsupportedOperation => [E::UnsupportedOperation { id: "list".into(), reason: "it takes XML" }],
    });
    assert_snap("errors_connectors", &(text + &install + &installed + &draft + &openapi));
}

#[test]
fn export() {
    use integ::export::ExportError;

    let text = errors!(ExportError {
        Write => [E::Write { source: io() }],
        RecordChanged => [E::RecordChanged { name: "created".into() }],
        ParquetNotBuilt => [E::ParquetNotBuilt],
    });
    assert_snap("errors_export", &text);
}
