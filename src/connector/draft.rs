//! A connector file to begin with: what is known of a service, written as a person would write it.
//!
//! What a draft holds are texts of people and of other documents; whether they make a valid connector, [`validate()`] says
//! of the written file before it is kept.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::catalogue::{built_in, is_valid_id};
use super::charset::strip_hidden;
use super::{Catalogue, FileDiagnostic, InstallError, Template, validate};
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
    /// What nobody has confirmed.
    pub unverified: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub struct DraftParam {
    pub name: String,
    pub prompt: String,
    pub default: Option<String>,
    pub choices: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct DraftAuth {
    pub name: String,
    pub label: String,
    pub setup_url: Option<String>,
    pub kind: DraftAuthKind,
}

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

impl DraftAuthKind {
    /// A name and a password (RFC 7617).
    pub fn basic() -> Self {
        let field = |name: &str, prompt: &str, secret| DraftField {
            name: name.to_owned(),
            prompt: prompt.to_owned(),
            secret,
            prefixes: Vec::new(),
        };
        let fields = vec![field("username", "Name", false), field("password", "Password", true)];
        Self::ApiKey { fields, headers: Vec::new(), query: Vec::new(), basic: true }
    }
}

#[derive(Clone, Debug)]
pub struct DraftField {
    pub name: String,
    pub prompt: String,
    pub secret: bool,
    pub prefixes: Vec<String>,
}

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

#[derive(Clone, Debug)]
pub struct DraftHealth {
    pub path: String,
    pub account_id: Option<String>,
    pub account_name: Option<String>,
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

#[derive(Debug, Error)]
pub enum DraftError {
    #[error("{id:?} cannot be the id of a connector: use lower-case letters, digits and '-', a letter or digit first")]
    InvalidId { id: String },
    #[error("what was given makes no valid connector:{}", diagnostics.iter().map(|mistake| format!("\n  {mistake}")).collect::<String>())]
    Invalid { diagnostics: Vec<FileDiagnostic> },
    #[error("there is a file already: {}", path.display())]
    Exists { path: PathBuf },
    #[error("the connector {id} is built in, so that a file of your own would not count")]
    BuiltIn { id: String },
    #[error("the connector {id} is installed")]
    Installed { id: String },
    #[error(transparent)]
    Lock(#[from] InstallError),
    #[error("{} cannot be written", path.display())]
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
                .hint(Hint::text("write over it with --replace, or elsewhere with --output FILE")),
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

/// The flag of `integ connector new` that says what stands at a key.
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

    /// Asks for what stands in braces in the API's base and the endpoints, where nothing does so yet.
    pub fn add_missing_params(&mut self) {
        let oauth2 = self.auth.iter().filter_map(|way| match &way.kind {
            DraftAuthKind::OAuth2(oauth2) => Some(oauth2),
            DraftAuthKind::ApiKey { .. } => None,
        });
        let urls = oauth2.flat_map(|oauth2| {
            [&oauth2.issuer, &oauth2.authorize_url, &oauth2.token_url, &oauth2.device_url, &oauth2.revoke_url]
        });
        let templates = urls.chain([&self.base]).flatten().filter_map(|url| Template::parse(url).ok());
        let names: Vec<String> =
            templates.flat_map(|url| url.placeholders().map(str::to_owned).collect::<Vec<_>>()).collect();
        for name in names {
            if !self.params.iter().any(|param| param.name == name) {
                let prompt = sentence(&name);
                self.params.push(DraftParam { name, prompt, ..DraftParam::default() });
            }
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for (key, value) in [
            ("id", &self.id),
            ("name", &self.name),
            ("category", &self.category),
            ("description", &self.description),
            ("docs", &self.docs),
        ] {
            write_pair(&mut out, key, value);
        }
        if !self.unverified.is_empty() {
            write_line(&mut out, &format!("unsure = {}", list(&self.unverified)));
        }
        for param in &self.params {
            write_line(&mut out, &format!("\n[params.{}]", key(&param.name)));
            write_pair(&mut out, "prompt", &param.prompt);
            if let Some(default) = &param.default {
                write_pair(&mut out, "default", default);
            }
            if !param.choices.is_empty() {
                write_line(&mut out, &format!("choices = {}", list(&param.choices)));
            }
        }
        if let Some(base) = &self.base {
            write_line(&mut out, "\n[api]");
            write_pair(&mut out, "base", base);
            if let Some(names) = self.param_case {
                write_pair(&mut out, "names", names);
            }
        }
        self.auth.iter().for_each(|way| write_auth_method(&mut out, way));
        if !self.scopes.is_empty() {
            write_line(&mut out, "\n[scopes]");
            for (scope, purpose) in &self.scopes {
                write_pair(&mut out, &key(scope), purpose);
            }
        }
        if let Some(health) = &self.health {
            write_line(&mut out, "\n[health]");
            write_pair(&mut out, "path", &health.path);
            let account = [("id", &health.account_id), ("name", &health.account_name)];
            let account: Vec<(String, String)> =
                account.into_iter().filter_map(|(name, pointer)| Some((name.to_owned(), pointer.clone()?))).collect();
            if !account.is_empty() {
                write_line(&mut out, &format!("account = {}", table(&account)));
            }
        }
        self.actions.iter().for_each(|action| write_action(&mut out, action));
        out
    }
}

fn write_auth_method(out: &mut String, way: &DraftAuth) {
    let at = format!("auth.{}", key(&way.name));
    write_line(out, &format!("\n[{at}]"));
    write_pair(out, "label", &way.label);
    if let Some(url) = &way.setup_url {
        write_pair(out, "setup_url", url);
    }
    match &way.kind {
        DraftAuthKind::ApiKey { fields, headers, query, basic } => {
            let mut send = Vec::new();
            if !headers.is_empty() {
                send.push(format!("headers = {}", table(headers)));
            }
            if !query.is_empty() {
                send.push(format!("query = {}", table(query)));
            }
            if *basic {
                send.push("basic = { username = \"{username}\", password = \"{password}\" }".to_owned());
            }
            if !send.is_empty() {
                write_line(out, &format!("send = {{ {} }}", send.join(", ")));
            }
            for field in fields {
                write_line(out, &format!("\n[{at}.fields.{}]", key(&field.name)));
                write_pair(out, "prompt", &field.prompt);
                if !field.secret {
                    write_line(out, "secret = false");
                }
                if !field.prefixes.is_empty() {
                    write_line(out, &format!("prefixes = {}", list(&field.prefixes)));
                }
            }
        }
        DraftAuthKind::OAuth2(oauth2) => write_oauth2(out, &at, oauth2),
    }
}

fn write_oauth2(out: &mut String, at: &str, oauth2: &DraftOAuth2) {
    out.push('\n');
    if !oauth2.discovered.is_empty() {
        write_line(out, "# What the issuer publishes, which integ asks for by itself:");
        oauth2.discovered.iter().for_each(|found| write_line(out, &format!("#   {found}")));
    }
    write_line(out, &format!("[{at}.oauth2]"));
    if oauth2.grants != ["authorization_code"] {
        write_line(out, &format!("grants = {}", list(&oauth2.grants)));
    }
    for (name, url) in [
        ("issuer", &oauth2.issuer),
        ("authorize_url", &oauth2.authorize_url),
        ("token_url", &oauth2.token_url),
        ("refresh_url", &oauth2.refresh_url),
        ("device_url", &oauth2.device_url),
    ] {
        if let Some(url) = url {
            write_pair(out, name, url);
        }
    }
    if oauth2.client_auth_post {
        write_pair(out, "client_auth", "post");
    }
    if let Some(url) = &oauth2.revoke_url {
        write_line(out, &format!("revoke = {{ url = {} }}", quoted(url)));
    }
    if !oauth2.default_scopes.is_empty() {
        write_line(out, &format!("scope = {{ default = {} }}", list(&oauth2.default_scopes)));
    }
}

fn write_action(out: &mut String, action: &DraftAction) {
    let at = format!("actions.{}", key(&action.name));
    write_line(out, &format!("\n[{at}]"));
    write_pair(out, "about", &action.description);
    if action.method != "POST" {
        write_pair(out, "method", action.method);
    }
    write_pair(out, "path", &action.path);
    if !action.scopes.is_empty() {
        write_line(out, &format!("scopes = {}", list(&action.scopes)));
    }
    if let Some(body) = action.body {
        write_pair(out, "body", body);
    }
    if action.status != 200 {
        write_line(out, &format!("status = {}", action.status));
    }
    if !action.result.is_empty() {
        write_line(out, &format!("result = {}", table(&action.result)));
    }
    if action.params.is_empty() {
        return;
    }
    write_line(out, &format!("\n[{at}.params]"));
    for param in &action.params {
        let mut parts = vec![format!("about = {}", quoted(&param.description))];
        if param.kind != "string" {
            parts.push(format!("type = {}", quoted(param.kind)));
        }
        if param.required {
            parts.push("required = true".to_owned());
        }
        if let Some(place) = param.location {
            parts.push(format!("in = {}", quoted(place)));
        }
        if let Some(to) = &param.to {
            parts.push(format!("to = {}", quoted(to)));
        }
        if !param.choices.is_empty() {
            parts.push(format!("choices = {}", list(&param.choices)));
        }
        write_line(out, &format!("{} = {{ {} }}", key(&param.name), parts.join(", ")));
    }
}

fn write_line(out: &mut String, text: &str) {
    // Writing into a String does not fail.
    let _ = writeln!(out, "{text}");
}

fn write_pair(out: &mut String, key: &str, value: &str) {
    write_line(out, &format!("{key} = {}", quoted(value)));
}

/// A TOML string on one line, without characters that no file may hold.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in strip_hidden(text).chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { quoted(name) }
}

fn list(items: &[impl AsRef<str>]) -> String {
    /// Columns of a line, as in the files that people write.
    const WIDTH: usize = 110;
    let items: Vec<String> = items.iter().map(|item| quoted(item.as_ref())).collect();
    let short = format!("[{}]", items.join(", "));
    if short.chars().count() <= WIDTH { short } else { format!("[\n  {},\n]", items.join(",\n  ")) }
}

fn table(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{} = {}", key(name), quoted(value))).collect();
    format!("{{ {} }}", pairs.join(", "))
}

/// `Account id` of `account_id`: what a thing is called where nobody says.
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
