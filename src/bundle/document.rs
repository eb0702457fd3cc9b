//! The JSON inside a bundle.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Bundle, BundleError, VERSION};
use crate::clock::Timestamp;
use crate::http::Route;
use crate::model::{
    Account, ClientCredentials, ConnectionMode, ConnectionName, Grant, NewConnection, RefreshMethod, UnknownWord,
};
use crate::secret::Secret;

/// What is read before anything else: a later version may have any other shape.
#[derive(Deserialize)]
struct VersionDocument {
    integ_bundle: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BundleDocument<'a> {
    integ_bundle: u32,
    created_at: Timestamp,
    connections: Vec<ConnectionDocument<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sandbox_seed: Option<Cow<'a, str>>,
}

/// The texts of a document that is written are borrowed, so that no secret is copied but into the text itself.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectionDocument<'a> {
    connection: Cow<'a, str>,
    mode: Cow<'a, str>,
    auth: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<Cow<'a, str>>,
    #[serde(default)]
    params: Cow<'a, BTreeMap<String, String>>,
    #[serde(default)]
    metadata: Cow<'a, BTreeMap<String, String>>,
    #[serde(default)]
    account: Option<AccountDocument<'a>>,
    #[serde(default)]
    scopes_requested: Cow<'a, [String]>,
    #[serde(default)]
    scopes_granted: Option<Cow<'a, [String]>>,
    access_token: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<Cow<'a, str>>,
    #[serde(default)]
    fields: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_id: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_secret: Option<Cow<'a, str>>,
    issued_at: Timestamp,
    #[serde(default)]
    expires_at: Option<Timestamp>,
    #[serde(default)]
    refresh_expires_at: Option<Timestamp>,
    refresh_method: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountDocument<'a> {
    id: Cow<'a, str>,
    #[serde(default)]
    name: Option<Cow<'a, str>>,
}

/// Writes the document. It holds secrets in the clear, and is wiped when it is dropped.
pub(super) fn write(bundle: &Bundle) -> Result<Zeroizing<String>, BundleError> {
    let document = BundleDocument {
        integ_bundle: VERSION,
        created_at: bundle.created_at,
        connections: bundle.connections.iter().map(|(connection, grant)| to_document(connection, grant)).collect(),
        sandbox_seed: bundle.sandbox_seed.as_ref().map(text),
    };
    let written = serde_json::to_string(&document).map_err(|error| BundleError::InvalidContent(error.to_string()))?;
    Ok(Zeroizing::new(written))
}

fn text(secret: &Secret) -> Cow<'_, str> {
    Cow::Borrowed(secret.expose().as_str())
}

fn to_document<'a>(connection: &'a NewConnection, grant: &'a Grant) -> ConnectionDocument<'a> {
    let client = grant.client.as_ref();
    ConnectionDocument {
        connection: Cow::Owned(connection.name.to_string()),
        mode: Cow::Borrowed(connection.mode.as_str()),
        auth: Cow::Borrowed(&connection.auth),
        origin: connection.origin.as_ref().map(|origin| Cow::Borrowed(origin.as_str())),
        params: Cow::Borrowed(&connection.params),
        metadata: Cow::Borrowed(&connection.metadata),
        account: connection.account.as_ref().map(|account| AccountDocument {
            id: Cow::Borrowed(&account.id),
            name: account.name.as_deref().map(Cow::Borrowed),
        }),
        scopes_requested: Cow::Borrowed(&connection.scopes_requested),
        scopes_granted: connection.scopes_granted.as_deref().map(Cow::Borrowed),
        access_token: text(&grant.access_token),
        refresh_token: grant.refresh_token.as_ref().map(text),
        fields: grant.fields.iter().map(|(name, value)| (Cow::Borrowed(name.as_str()), text(value))).collect(),
        client_id: client.map(|client| Cow::Borrowed(client.id.as_str())),
        client_secret: client.and_then(|client| client.secret.as_ref()).map(text),
        issued_at: grant.issued_at,
        expires_at: grant.expires_at,
        refresh_expires_at: grant.refresh_expires_at,
        refresh_method: Cow::Borrowed(grant.refresh_method.as_str()),
    }
}

/// Reads a document, which anybody may have written.
pub(super) fn read(plaintext: &[u8]) -> Result<Bundle, BundleError> {
    // The texts of a parser's errors may quote what it read, which is secret: its position says enough.
    let malformed = |error: serde_json::Error| {
        BundleError::InvalidContent(format!("it is not a bundle's JSON at column {}", error.column()))
    };
    let VersionDocument { integ_bundle } = serde_json::from_slice(plaintext).map_err(malformed)?;
    if integ_bundle != u64::from(VERSION) {
        return Err(BundleError::UnsupportedVersion(integ_bundle));
    }
    let document: BundleDocument<'_> = serde_json::from_slice(plaintext).map_err(malformed)?;
    let mut names = BTreeSet::new();
    let mut connections = Vec::with_capacity(document.connections.len());
    for connection in document.connections {
        let (connection, grant) = from_document(connection, document.created_at)?;
        if !names.insert(connection.name.clone()) {
            return Err(BundleError::InvalidContent(format!("it holds {} twice", connection.name)));
        }
        connections.push((connection, grant));
    }
    let sandbox_seed = document.sandbox_seed.map(|seed| Secret::new(seed.into_owned()));
    Ok(Bundle { created_at: document.created_at, connections, sandbox_seed })
}

fn from_document(
    document: ConnectionDocument<'_>,
    created_at: Timestamp,
) -> Result<(NewConnection, Grant), BundleError> {
    let invalid = |what: String| BundleError::InvalidContent(what);
    let name: ConnectionName = document.connection.parse().map_err(|_| invalid("a connection's name".to_owned()))?;
    let member = |what: &str| invalid(format!("{what} of {name} is not valid"));
    let unknown = |what: &'static str| move |_: UnknownWord| invalid(format!("{what} is unknown"));
    // The same check as of `--origin`: credentials leave this machine over https alone.
    let origin =
        document.origin.map(|origin| Route::parse_origin(&origin)).transpose().map_err(|_| member("origin"))?;
    let mode: ConnectionMode = document.mode.parse().map_err(unknown("a mode"))?;
    let refresh_method: RefreshMethod = document.refresh_method.parse().map_err(unknown("a refresh method"))?;
    let secret = |value: Cow<'_, str>| Secret::new(value.into_owned());
    let refresh_token = document.refresh_token.map(secret);
    if refresh_method.has_refresh_token() != refresh_token.is_some() {
        return Err(member("refresh_token"));
    }
    let client_secret = document.client_secret.map(secret);
    let client = document.client_id.map(|id| ClientCredentials { id: id.into_owned(), secret: client_secret });
    if document.access_token.is_empty() {
        return Err(member("access_token"));
    }
    let connection = NewConnection {
        mode,
        auth: document.auth.into_owned(),
        origin,
        params: document.params.into_owned(),
        metadata: document.metadata.into_owned(),
        account: document
            .account
            .map(|account| Account { id: account.id.into_owned(), name: account.name.map(Cow::into_owned) }),
        user: None,
        scopes_requested: document.scopes_requested.into_owned(),
        scopes_granted: document.scopes_granted.map(Cow::into_owned),
        connected_at: created_at,
        name,
    };
    let grant = Grant {
        access_token: secret(document.access_token),
        refresh_token,
        fields: document.fields.into_iter().map(|(name, value)| (name.into_owned(), secret(value))).collect(),
        client,
        issued_at: document.issued_at,
        expires_at: document.expires_at,
        refresh_expires_at: document.refresh_expires_at,
        refresh_method,
    };
    Ok((connection, grant))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn bundle() -> Bundle {
        let at = |second| Timestamp::from_second(second).unwrap();
        let connection = NewConnection {
            name: "jira@work".parse().unwrap(),
            mode: ConnectionMode::Live,
            auth: "oauth".to_owned(),
            origin: Some("https://proxy.example".parse().unwrap()),
            params: [("site".to_owned(), "acme".to_owned())].into(),
            metadata: BTreeMap::new(),
            account: Some(Account { id: "1".to_owned(), name: None }),
            user: None,
            scopes_requested: vec!["read".to_owned()],
            scopes_granted: None,
            connected_at: at(5),
        };
        let grant = Grant {
            access_token: "access \"quoted\"".into(),
            refresh_token: Some("refresh".into()),
            fields: [("user_token".to_owned(), "user".into())].into(),
            client: Some(ClientCredentials { id: "id".to_owned(), secret: Some("secret".into()) }),
            issued_at: at(1),
            expires_at: Some(at(3)),
            refresh_expires_at: None,
            refresh_method: RefreshMethod::ReusableRefreshToken,
        };
        Bundle { created_at: at(5), connections: vec![(connection, grant)], sandbox_seed: Some("seed".into()) }
    }

    fn edited(edit: impl Fn(&mut Value)) -> Result<Bundle, BundleError> {
        let mut document: Value = serde_json::from_str(&write(&bundle()).unwrap()).unwrap();
        edit(&mut document);
        read(document.to_string().as_bytes())
    }

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let text = write(&bundle()).unwrap();
        let again = write(&read(text.as_bytes()).unwrap()).unwrap();
        assert_eq!(*again, *text);
        assert!(text.contains(r#""integ_bundle":1"#) && text.contains(r#""refresh_token":"refresh""#), "{}", *text);
    }

    #[test]
    fn another_version_is_named_whatever_its_shape() {
        let later = read(br#"{"integ_bundle": 7, "shape": []}"#);
        assert!(matches!(later, Err(BundleError::UnsupportedVersion(7))), "{later:?}");
    }

    #[test]
    fn content_that_no_export_writes_is_refused_without_quoting_it() {
        let connection = |edit: fn(&mut Value)| edited(|document| edit(&mut document["connections"][0]));
        for (what, result) in [
            ("an unknown member", edited(|document| document["S3CRET"] = Value::Null)),
            ("a version that is a text", edited(|document| document["integ_bundle"] = "1".into())),
            ("a name", connection(|connection| connection["connection"] = "../S3CRET".into())),
            ("plain http", connection(|connection| connection["origin"] = "http://S3CRET.example".into())),
            ("a mode", connection(|connection| connection["mode"] = "S3CRET".into())),
            ("a method", connection(|connection| connection["refresh_method"] = "S3CRET".into())),
            ("a method without its token", connection(|connection| connection["refresh_token"] = Value::Null)),
            ("a token without its method", connection(|connection| connection["refresh_method"] = "none".into())),
            ("no token", connection(|connection| connection["access_token"] = "".into())),
            ("a number for a token", connection(|connection| connection["access_token"] = 5.into())),
            ("a time", connection(|connection| connection["issued_at"] = "S3CRET".into())),
            (
                "a twin",
                edited(|document| {
                    let twin = document["connections"][0].clone();
                    document["connections"].as_array_mut().unwrap().push(twin);
                }),
            ),
            ("no JSON", read(b"S3CRET")),
            ("nothing", read(b"")),
            ("depth", read("[".repeat(100_000).as_bytes())),
        ] {
            let error = result.expect_err(what);
            assert!(matches!(error, BundleError::InvalidContent(_)), "{what}: {error:?}");
            assert!(!error.to_string().contains("S3CRET"), "{what}: {error}");
        }
    }
}
