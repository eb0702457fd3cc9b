//! Drafts of connector files, written in the style of a person.
//!
//! What a draft holds are texts of people and of other documents; whether they make a valid connector, [`validate()`] says
//! of the written file before it is kept. `fill` completes it, `toml` writes it.

mod fill;
mod toml;

pub(super) use fill::health_doubt;

use std::fs;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::catalogue::{built_in, is_valid_id};
use super::{Catalogue, FileDiagnostic, InstallError, validate};
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::files;

/// What a new connector file shall say.
#[derive(Clone, Debug, Default)]
pub struct ConnectorDraft {
    pub id: String,
    pub name: String,
    pub category: String,
    /// One line.
    pub description: String,
    pub docs: String,
    pub params: Vec<DraftParam>,
    pub base: Option<String>,
    /// How the API writes names, where not in snake_case.
    pub param_case: Option<&'static str>,
    /// The authentication methods, the usual one first.
    pub auth: Vec<DraftAuth>,
    /// Scopes and what they are for.
    pub scopes: Vec<(String, String)>,
    pub health: Option<DraftHealth>,
    pub actions: Vec<DraftAction>,
    /// What is not confirmed.
    pub unverified: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub struct DraftParam {
    pub name: String,
    pub prompt: String,
    pub default: Option<String>,
    pub choices: Vec<String>,
}

/// An authentication method of a drafted connector.
#[derive(Clone, Debug)]
pub struct DraftAuth {
    pub name: String,
    pub label: String,
    pub setup_url: Option<String>,
    pub kind: DraftAuthKind,
}

/// How a drafted authentication method works.
#[derive(Clone, Debug)]
pub enum DraftAuthKind {
    /// Fields that the user pastes, and how requests carry them; a bearer token where nothing says.
    ApiKey {
        fields: Vec<DraftField>,
        headers: Vec<(String, String)>,
        query: Vec<(String, String)>,
        basic: bool,
    },
    OAuth2(Box<DraftOAuth2>),
}

#[derive(Clone, Debug)]
pub struct DraftField {
    pub name: String,
    pub prompt: String,
    pub secret: bool,
    pub prefixes: Vec<String>,
}

/// The OAuth 2.0 settings of a drafted authentication method; what is None is left out of the file.
#[derive(Clone, Debug, Default)]
pub struct DraftOAuth2 {
    pub grants: Vec<&'static str>,
    pub issuer: Option<String>,
    pub authorize_url: Option<String>,
    pub token_url: Option<String>,
    pub refresh_url: Option<String>,
    pub device_url: Option<String>,
    pub revoke_url: Option<String>,
    /// The client shows its secret in the body, not in a header.
    pub client_auth_post: bool,
    pub default_scopes: Vec<String>,
    /// What discovery found, for a comment: the file names the issuer alone, so that the endpoints may move.
    pub discovered: Vec<String>,
}

/// A drafted health check: a path after the API's base, and JSON Pointers to the account in its answer.
#[derive(Clone, Debug)]
pub struct DraftHealth {
    pub path: String,
    pub account_id: Option<String>,
    pub account_name: Option<String>,
}

/// What an OAuth or OpenID server publishes of itself.
#[derive(Clone, Debug, Default)]
pub struct DiscoveredOAuth2 {
    pub oauth2: DraftOAuth2,
    /// Scopes and what they are for.
    pub scopes: Vec<(String, String)>,
    pub health: Option<DraftHealth>,
}

#[derive(Clone, Debug)]
pub struct DraftAction {
    pub name: String,
    pub description: String,
    pub method: &'static str,
    pub path: String,
    pub scopes: Vec<String>,
    pub body: Option<&'static str>,
    pub status: u16,
    pub result: Vec<(String, String)>,
    pub params: Vec<DraftActionParam>,
}

#[derive(Clone, Debug)]
pub struct DraftActionParam {
    pub name: String,
    pub description: String,
    pub kind: &'static str,
    pub required: bool,
    pub location: Option<&'static str>,
    pub to: Option<String>,
    pub choices: Vec<String>,
}

/// Why a connector file could not be drafted.
#[derive(Debug, Error)]
pub enum DraftError {
    #[error("{id:?} cannot be the id of a connector: use lower-case letters, digits and '-', a letter or digit first")]
    InvalidId { id: String },
    #[error("invalid connector:{}", diagnostics.iter().map(|mistake| format!("\n  {mistake}")).collect::<String>())]
    Invalid { diagnostics: Vec<FileDiagnostic> },
    #[error("{} already exists", path.display())]
    Exists { path: PathBuf },
    #[error("connector {id} is built in; a file of your own would be ignored")]
    BuiltIn { id: String },
    #[error("connector {id} is installed")]
    Installed { id: String },
    #[error(transparent)]
    Lock(#[from] InstallError),
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

impl Remedy for DraftError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::InvalidId { .. } => Diagnostic::new(Kind::Usage, "invalid_connector").run("integ connector new acme"),
            Self::Invalid { diagnostics: mistakes } => {
                let hint = if mistakes.iter().any(|mistake| mistake.key.ends_with(".issuer")) {
                    let connect = "integ connect oidc --issuer URL";
                    Some(Hint::new("for a server on this machine no file is needed:", connect))
                } else {
                    let flag = mistakes.iter().find_map(|mistake| flag_of(&mistake.key));
                    flag.map(|flag| Hint::text(format!("give it otherwise with {flag}")))
                };
                Diagnostic::new(Kind::Usage, "invalid_connector").maybe_hint(hint)
            }
            Self::Exists { .. } => Diagnostic::new(Kind::Usage, "connector_exists")
                .hint(Hint::text("overwrite it with --replace, or write elsewhere with --output FILE")),
            Self::BuiltIn { .. } => Diagnostic::new(Kind::Usage, "built_in_connector")
                .hint(Hint::new("choose another id; or --output FILE, then", "integ connector install FILE --replace")),
            Self::Installed { id } => {
                Diagnostic::new(Kind::Usage, "connector_exists").run(format!("integ connector remove {id}"))
            }
            Self::Lock(error) => error.diagnostic(),
            Self::Write { .. } => {
                Diagnostic::new(Kind::Failed, "io").hint(Hint::text("write elsewhere with --output FILE"))
            }
        }
    }
}

/// The flag of `integ connector new` that says the value of a key.
fn flag_of(key: &str) -> Option<&'static str> {
    let flags = [
        ("authorize_url", "--authorize-url"),
        ("token_url", "--token-url"),
        ("device_url", "--device-url"),
        ("revoke.url", "--revoke-url"),
        ("issuer", "--issuer"),
        ("api.base", "--base"),
        ("base", "--base"),
        ("docs", "--docs"),
        ("health.path", "--health"),
        ("category", "--category"),
        ("account.id", "--account-id"),
        ("account.name", "--account-name"),
        ("setup_url", "--setup-url"),
    ];
    flags.into_iter().find(|(end, _)| key.ends_with(end)).map(|(_, flag)| flag)
}

impl ConnectorDraft {
    /// The file, valid.
    ///
    /// # Errors
    /// [`DraftError::InvalidId`], [`DraftError::Invalid`].
    pub fn to_toml(&self) -> Result<String, DraftError> {
        if !is_valid_id(&self.id) {
            return Err(DraftError::InvalidId { id: self.id.clone() });
        }
        let text = self.text();
        let mistakes = validate(&text);
        if mistakes.is_empty() { Ok(text) } else { Err(DraftError::Invalid { diagnostics: mistakes }) }
    }
}

/// `Account id` of `account_id`: the label if none is given.
pub fn sentence(name: &str) -> String {
    let words = name.replace(['_', '-', '.'], " ");
    let mut chars = words.trim().chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

impl Catalogue {
    /// Keeps a file of the user's own among the connectors, or at `output`.
    ///
    /// # Errors
    /// [`DraftError`]; nothing is then written.
    pub fn keep(&self, id: &str, text: &str, output: Option<&Path>, replace: bool) -> Result<PathBuf, DraftError> {
        let exists = |path: &Path| fs::symlink_metadata(path).is_ok();
        let write = |path: PathBuf| match files::write_atomic(&path, text.as_bytes()) {
            Ok(()) => Ok(path),
            Err(source) => Err(DraftError::Write { path, source }),
        };
        if let Some(path) = output {
            if exists(path) && !replace {
                return Err(DraftError::Exists { path: path.to_owned() });
            }
            return write(path.to_owned());
        }
        self.vacant(id, replace)?;
        let _turn = self.lock()?;
        // Again, now that nobody else can come between.
        self.vacant(id, replace)?;
        write(self.path_of(id))
    }

    /// Whether a file of the user's own may be stored under an id.
    ///
    /// # Errors
    /// [`DraftError`] for an id that is none, and for whatever has it.
    pub fn vacant(&self, id: &str, replace: bool) -> Result<(), DraftError> {
        let exists = |path: &Path| fs::symlink_metadata(path).is_ok();
        if !is_valid_id(id) {
            return Err(DraftError::InvalidId { id: id.to_owned() });
        }
        if built_in(id).is_some() {
            return Err(DraftError::BuiltIn { id: id.to_owned() });
        }
        // A pin holds the file to what was installed: a text of one's own under it would be refused.
        if exists(&self.pin_path_of(id)) {
            return Err(DraftError::Installed { id: id.to_owned() });
        }
        let path = self.path_of(id);
        if exists(&path) && !replace { Err(DraftError::Exists { path }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> ConnectorDraft {
        ConnectorDraft {
            id: "acme".to_owned(),
            name: "Acme \"Boards\"\\".to_owned(),
            category: "projects".to_owned(),
            description: "Boards\nand \u{1b}[31mcards.".to_owned(),
            docs: "https://acme.example/docs".to_owned(),
            base: Some("https://{team}.acme.example/api".to_owned()),
            auth: vec![DraftAuth {
                name: "key".to_owned(),
                label: "API key".to_owned(),
                setup_url: None,
                kind: DraftAuthKind::ApiKey {
                    fields: vec![DraftField {
                        name: "key".to_owned(),
                        prompt: "Key".to_owned(),
                        secret: true,
                        prefixes: vec!["ak_".to_owned()],
                    }],
                    headers: vec![("X-Api-Key".to_owned(), "{key}".to_owned())],
                    query: Vec::new(),
                    basic: false,
                },
            }],
            health: Some(DraftHealth {
                path: "/me".to_owned(),
                account_id: Some("/id".to_owned()),
                account_name: None,
            }),
            ..ConnectorDraft::default()
        }
    }

    #[test]
    fn any_text_is_quoted_and_open_names_are_asked_for() {
        let mut draft = draft();
        draft.add_missing_params();
        let text = draft.to_toml().unwrap();
        insta::assert_snapshot!(text, @r#"
        id = "acme"
        name = "Acme \"Boards\"\\"
        category = "projects"
        description = "Boards\nand [31mcards."
        docs = "https://acme.example/docs"

        [params.team]
        prompt = "Team"

        [api]
        base = "https://{team}.acme.example/api"

        [auth.key]
        label = "API key"
        send = { headers = { X-Api-Key = "{key}" } }

        [auth.key.fields.key]
        prompt = "Key"
        prefixes = ["ak_"]

        [health]
        path = "/me"
        account = { id = "/id" }
        "#);
    }

    #[test]
    fn what_is_not_valid_names_its_flag() {
        let mut draft = draft();
        draft.base = Some("http://acme.example".to_owned());
        let error = draft.to_toml().unwrap_err();
        assert!(
            matches!(error, DraftError::Invalid { .. }) && error.hint().unwrap().text.contains("--base"),
            "{error}"
        );
        draft.id = "../evil".to_owned();
        assert!(matches!(draft.to_toml(), Err(DraftError::InvalidId { .. })));
    }
}
