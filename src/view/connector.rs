//! Views of connectors: what they are, can do and ask for, and changes to their files.

use schemars::JsonSchema;
use serde::Serialize;

use super::word;
use crate::connector::{
    ActionDescriptor, AuthMethod, BindingTemplate, Capabilities, Connector, ConnectorSource, ExistingConnector,
    FileDiagnostic, InstallCandidate, SearchHit, SearchMatch, SetupGuide, SetupKind, SetupPrompt, SignatureScheme,
    SignedPart, Stream,
};
use crate::model::words;

/// A connector in a list.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ConnectorSummaryView {
    pub id: String,
    pub name: String,
    /// `invalid` for a file that cannot be read; the description is the error then.
    pub category: String,
    pub auth: Vec<String>,
    pub description: String,
    pub source: &'static str,
    pub replaces_built_in: bool,
}

/// Connectors, by id.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ConnectorListView {
    pub connectors: Vec<ConnectorSummaryView>,
}

/// An authentication method of a connector.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct AuthMethodView {
    pub auth: String,
    pub label: String,
    pub kind: &'static str,
    pub grants: Vec<String>,
    pub setup_url: Option<String>,
    /// Instructions for redirect URIs.
    pub redirect: Option<String>,
    pub default_scopes: Vec<String>,
    pub params: Vec<AuthParamView>,
}

impl AuthMethodView {
    fn new(connector: &Connector, name: &str, auth: &AuthMethod) -> Self {
        let params = connector.params(auth).map(|(name, param)| AuthParamView::new(name, param));
        let fields = auth.fields.iter().map(|(name, field)| AuthParamView {
            name: name.clone(),
            prompt: field.prompt.clone(),
            secret: field.secret,
            default: None,
            choices: Vec::new(),
            optional: false,
        });
        let oauth2 = auth.oauth2.as_ref();
        Self {
            auth: name.to_owned(),
            label: auth.label.clone(),
            kind: auth.kind(),
            grants: oauth2.map(|rules| rules.grants.iter().map(format_word).collect()).unwrap_or_default(),
            setup_url: auth.setup_url.clone(),
            redirect: oauth2.and_then(|rules| rules.redirect.note.clone()),
            default_scopes: oauth2.map(|rules| rules.scope.default.clone()).unwrap_or_default(),
            params: params.chain(fields).collect(),
        }
    }
}

/// A value needed to connect.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct AuthParamView {
    pub name: String,
    pub prompt: String,
    pub secret: bool,
    pub default: Option<String>,
    pub choices: Vec<String>,
    pub optional: bool,
}

/// A scope that a connector's file describes.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct DeclaredScopeView {
    pub scope: String,
    pub purpose: String,
}

/// An action in a list.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ActionItemView {
    pub action: String,
    pub description: String,
}

/// A stream in a list.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct StreamItemView {
    pub stream: String,
    pub description: String,
}

/// A text with which a binding can begin.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct TemplateItemView {
    pub template: String,
    /// The stream, or the type of the events after a `#`, that it maps.
    pub maps: String,
    pub description: String,
}

/// A signature scheme of a service's webhooks.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct WebhookSignatureView {
    pub scheme: String,
    pub covers: Vec<SignedPart>,
    /// The service is asked about each event, because the signature does not cover its body.
    pub is_confirmed: bool,
    /// What the signature covers, in words.
    #[serde(skip)]
    pub coverage: String,
}

/// The file of a connector.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ConnectorFileView {
    pub connector: String,
    /// `built-in`, `own` or `installed`.
    pub source: &'static str,
    /// The text of the file, in TOML.
    pub text: String,
}

/// A connector.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ConnectorDetailView {
    pub id: String,
    pub name: String,
    pub category: String,
    pub description: String,
    /// The URL of the service's documentation.
    pub docs: String,
    pub source: &'static str,
    pub replaces_built_in: bool,
    pub file: Option<String>,
    pub auth_methods: Vec<AuthMethodView>,
    pub scopes: Vec<DeclaredScopeView>,
    pub actions: Vec<ActionItemView>,
    pub streams: Vec<StreamItemView>,
    pub templates: Vec<TemplateItemView>,
    pub webhook_signatures: Vec<WebhookSignatureView>,
    /// The request that checks a connection: `GET https://…`.
    pub health: Option<String>,
    pub limits: Vec<String>,
    /// Facts of the file that could not be confirmed from documentation.
    pub unverified: Vec<String>,
}

impl ConnectorDetailView {
    /// Creates the view of a connector. `source` is where its file was found.
    pub fn new(connector: &Connector, source: &ConnectorSource) -> Self {
        let scopes = connector.scopes.iter();
        let actions = connector.actions.iter();
        let streams = connector.streams.iter();
        Self {
            source: source.as_str(),
            replaces_built_in: source.replaces_built_in(),
            file: source.path().map(|path| path.display().to_string()),
            id: connector.id.clone(),
            name: connector.name.clone(),
            category: format_word(connector.category),
            description: connector.description.clone(),
            docs: connector.docs.clone(),
            auth_methods: connector
                .auth
                .iter()
                .map(|(name, auth)| AuthMethodView::new(connector, name, auth))
                .collect(),
            scopes: scopes
                .map(|(scope, detail)| DeclaredScopeView { scope: scope.clone(), purpose: detail.purpose().to_owned() })
                .collect(),
            actions: actions
                .map(|(name, action)| ActionItemView { action: name.clone(), description: action.about.clone() })
                .collect(),
            streams: streams
                .map(|(name, stream)| StreamItemView { stream: name.clone(), description: stream.about.clone() })
                .collect(),
            templates: connector.templates.iter().map(template).collect(),
            webhook_signatures: webhook_signatures(connector),
            health: connector
                .health
                .as_ref()
                .map(|health| format!("{} {}", health.request_method().as_str(), health.path)),
            limits: connector.rate.limits.clone(),
            unverified: connector.unsure.clone(),
        }
    }
}

fn template((name, template): (&String, &BindingTemplate)) -> TemplateItemView {
    let event = template.event.as_ref().map(|event| format!("#{event}"));
    TemplateItemView {
        template: name.clone(),
        maps: template.stream.clone().or(event).unwrap_or_default(),
        description: template.about.clone(),
    }
}

fn webhook_signatures(connector: &Connector) -> Vec<WebhookSignatureView> {
    let Some(webhook) = &connector.webhook else { return Vec::new() };
    let view = |signature: &SignatureScheme| {
        let coverage = webhook.coverage(signature);
        WebhookSignatureView {
            scheme: format_word(signature.scheme),
            coverage: coverage.describe(),
            is_confirmed: webhook.confirm.is_some() && !coverage.covers(SignedPart::Body),
            covers: coverage.parts,
        }
    };
    webhook.proofs.iter().map(view).collect()
}

/// The word of the file format for a value: the name of its variant in snake case.
pub(crate) fn format_word(value: impl std::fmt::Debug) -> String {
    let mut word = String::new();
    for c in format!("{value:?}").chars() {
        if c.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(c.to_ascii_lowercase());
    }
    word
}

/// An action of a connector, with its parameters as JSON Schema.
#[derive(Debug, JsonSchema, Serialize)]
pub struct ActionDetailView {
    pub connector: String,
    #[serde(flatten)]
    pub action: ActionDescriptor,
}

/// A value for a stream.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct StreamParamView {
    pub name: String,
    pub description: String,
    pub required: bool,
}

/// A stream of a connector.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct StreamDetailView {
    pub connector: String,
    pub stream: String,
    pub description: String,
    pub method: &'static str,
    pub path: String,
    pub scopes: Vec<String>,
    pub auth: Vec<String>,
    /// JSON Pointers to the parts of a record's key.
    pub key: Vec<String>,
    /// How new records are requested: by `time`, by `token`, or not at all.
    pub incremental: Option<&'static str>,
    pub backfill: bool,
    pub parents: Vec<String>,
    /// The declared parameters, then the values of the parent.
    pub params: Vec<StreamParamView>,
    /// Types of the webhook events that report changes of it.
    pub events: Vec<String>,
}

impl StreamDetailView {
    /// Creates the view of a stream. The values of a parent are those of its first one.
    pub fn new(connector: &Connector, name: &str, stream: &Stream) -> Self {
        let params = stream.params.iter().map(|(name, param)| StreamParamView {
            name: name.clone(),
            description: param.prompt.clone(),
            required: !param.optional && param.default.is_none(),
        });
        let values = stream.parents.first().into_iter().flat_map(|parent| {
            parent.values.keys().map(|name| StreamParamView {
                name: name.clone(),
                description: format!("instead of all {}", parent.stream),
                required: false,
            })
        });
        let events = connector.events.iter();
        let events = events.filter(|(_, event)| event.sync.as_ref().is_some_and(|sync| sync.stream == name));
        let by_time = stream.incremental.as_ref().map(|_| "time");
        Self {
            connector: connector.id.clone(),
            stream: name.to_owned(),
            description: stream.about.clone(),
            method: stream.method.as_str(),
            path: stream.path.to_string(),
            scopes: stream.scopes.clone(),
            auth: stream.auth.clone(),
            key: stream.key.iter().map(ToString::to_string).collect(),
            incremental: by_time.or(stream.token.as_ref().map(|_| "token")),
            backfill: by_time.is_some(),
            parents: stream.parents.iter().map(|parent| parent.stream.clone()).collect(),
            params: params.chain(values).collect(),
            events: events.map(|(name, _)| name.clone()).collect(),
        }
    }
}

/// A stream or an action of a connector.
#[derive(Debug, JsonSchema, Serialize)]
#[serde(untagged)]
pub enum ConnectorPartView {
    Stream(StreamDetailView),
    Action(ActionDetailView),
}

/// Where a search found a word.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SearchMatchView {
    #[serde(rename = "in")]
    pub field: &'static str,
    pub name: String,
    pub description: Option<String>,
}

/// A connector that a search found.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SearchHitView {
    pub id: String,
    pub name: String,
    pub category: String,
    pub description: String,
    pub matches: Vec<SearchMatchView>,
}

impl SearchHitView {
    /// Creates the view of a search hit, with each field that matched.
    pub fn new(hit: &SearchHit<'_>) -> Self {
        let connector = hit.connector;
        let view = |found: &SearchMatch| SearchMatchView {
            field: found.field.as_str(),
            name: found.name.clone(),
            description: found.description.clone(),
        };
        Self {
            id: connector.id.clone(),
            name: connector.name.clone(),
            category: format_word(connector.category),
            description: connector.description.clone(),
            matches: hit.matches.iter().map(view).collect(),
        }
    }
}

/// The connectors that a search found, the best first.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SearchResultsView {
    pub connectors: Vec<SearchHitView>,
    /// Connectors that could not be searched, with the reason.
    #[serde(skip)]
    pub skipped: Vec<(String, String)>,
}

/// Something wrong in a connector's file.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct DiagnosticView {
    /// From 1.
    pub line: usize,
    /// The path of the key: `auth.oauth.oauth2`; empty for the whole file.
    pub key: String,
    pub message: String,
}

/// Everything that is wrong in a connector's file.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ValidationView {
    /// As it was named.
    pub file: String,
    pub valid: bool,
    pub diagnostics: Vec<DiagnosticView>,
}

impl ValidationView {
    /// Creates the view of a file's problems; without any, the file is valid.
    pub fn new(file: String, diagnostics: Vec<FileDiagnostic>) -> Self {
        let view = |FileDiagnostic { line, key, message, .. }: FileDiagnostic| DiagnosticView { line, key, message };
        Self { file, valid: diagnostics.is_empty(), diagnostics: diagnostics.into_iter().map(view).collect() }
    }
}

/// The files that were validated.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ValidationListView {
    pub files: Vec<ValidationView>,
}

/// A redirect URI to register.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RedirectView {
    pub uri: String,
    pub when: String,
}

/// A scope to allow.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SetupScopeView {
    pub scope: String,
    pub purpose: Option<String>,
}

/// A value that you need.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SetupPromptView {
    pub name: String,
    pub prompt: String,
    pub secret: bool,
    pub optional: bool,
    /// What the value looks like.
    pub form: Option<String>,
}

/// A command to run.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SetupCommandView {
    pub command: String,
    pub reason: String,
}

/// Another authentication method.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct AuthChoiceView {
    pub auth: String,
    pub label: String,
}

/// What to create at the service before an account can be connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupTask {
    App,
    Key,
}

words!(SetupTask { App => "app", Key => "key" });

/// What to do at the service before an account can be connected.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SetupGuideView {
    pub connector: String,
    pub name: String,
    /// The URL of the service's documentation.
    pub docs: String,
    pub auth: String,
    pub label: String,
    #[serde(serialize_with = "word")]
    pub kind: SetupTask,
    pub setup_url: Option<String>,
    pub note: Option<String>,
    pub redirect_uris: Vec<RedirectView>,
    /// What to turn on.
    pub settings: Vec<&'static str>,
    pub scopes: Vec<SetupScopeView>,
    pub prompts: Vec<SetupPromptView>,
    pub commands: Vec<SetupCommandView>,
    pub other_auth_methods: Vec<AuthChoiceView>,
}

impl SetupGuideView {
    /// Creates the view of a setup guide: what to register at the vendor and what to run then.
    pub fn new(connector: &Connector, guide: SetupGuide) -> Self {
        let prompt = |prompt: SetupPrompt| SetupPromptView {
            name: prompt.name,
            prompt: prompt.prompt,
            secret: prompt.secret,
            optional: prompt.optional,
            form: prompt.format_hint,
        };
        let redirect_uris = guide.redirect_uris.into_iter();
        let commands = guide.commands.into_iter();
        let other_methods = guide.other_methods.into_iter();
        Self {
            connector: connector.id.clone(),
            name: connector.name.clone(),
            docs: connector.docs.clone(),
            auth: guide.auth,
            label: guide.label,
            kind: match guide.kind {
                SetupKind::App => SetupTask::App,
                SetupKind::Key => SetupTask::Key,
            },
            setup_url: guide.url,
            note: guide.note,
            redirect_uris: redirect_uris.map(|uri| RedirectView { uri: uri.uri, when: uri.when }).collect(),
            settings: guide.settings,
            scopes: guide.scopes.into_iter().map(|(scope, purpose)| SetupScopeView { scope, purpose }).collect(),
            prompts: guide.prompts.into_iter().map(prompt).collect(),
            commands: commands.map(|step| SetupCommandView { command: step.command, reason: step.reason }).collect(),
            other_auth_methods: other_methods.map(|(auth, label)| AuthChoiceView { auth, label }).collect(),
        }
    }
}

/// A scope that a connector asks for by default.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct DefaultScopeView {
    /// The authentication method.
    pub auth: String,
    pub scope: String,
    pub purpose: Option<String>,
}

/// What to know before trusting a connector.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct InstallReviewView {
    pub id: String,
    pub name: String,
    pub description: String,
    pub source: String,
    pub sha256: String,
    #[serde(flatten)]
    pub capabilities: Capabilities,
    pub default_scopes: Vec<DefaultScopeView>,
    /// Capabilities that the replaced file does not have.
    pub added: Vec<String>,
    /// What it replaces, in words.
    pub replaces: Option<String>,
    /// The connections of the workspace that will use it; absent if the vault does not open.
    pub connections: Option<Vec<String>>,
}

impl InstallReviewView {
    /// Creates the view of a file before it is installed, with the capabilities that the installed one lacks.
    pub fn new(candidate: &InstallCandidate, existing: &ExistingConnector, connections: Option<Vec<String>>) -> Self {
        let connector = &candidate.connector;
        let capabilities = Capabilities::of(connector);
        let added = match existing {
            ExistingConnector::Installed { capabilities: former, .. } => capabilities.added_since(former),
            ExistingConnector::None | ExistingConnector::BuiltIn | ExistingConnector::UserFile(_) => Vec::new(),
        };
        Self {
            id: connector.id.clone(),
            name: connector.name.clone(),
            description: connector.description.clone(),
            source: candidate.source.clone(),
            sha256: candidate.sha256.clone(),
            capabilities,
            default_scopes: default_scopes(connector),
            added,
            replaces: match existing {
                ExistingConnector::None => None,
                ExistingConnector::BuiltIn => Some("the built-in connector".to_owned()),
                ExistingConnector::UserFile(path) => Some(format!("your own {}, which is then lost", path.display())),
                ExistingConnector::Installed { source, sha256, .. } => {
                    Some(format!("the one from {source}, SHA-256 {sha256}"))
                }
            },
            connections,
        }
    }
}

fn default_scopes(connector: &Connector) -> Vec<DefaultScopeView> {
    let mut views = Vec::new();
    for (name, auth) in &connector.auth {
        let rules = auth.oauth2.as_ref().map(|oauth2| &oauth2.scope);
        let rules = rules.or(auth.fragment.as_ref().map(|fragment| &fragment.scope));
        let Some(rules) = rules else { continue };
        for scope in rules.default.iter().chain(&rules.always).chain(rules.also.values().flatten()) {
            let purpose = connector.scopes.get(scope).map(|scope| scope.purpose().to_owned());
            views.push(DefaultScopeView { auth: name.clone(), scope: scope.clone(), purpose });
        }
    }
    views
}

/// A connector that was installed.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct InstallView {
    pub connector: String,
    pub file: String,
    #[serde(flatten)]
    pub review: InstallReviewView,
}

/// The effects of removing a connector, before or after it.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ConnectorRemovalView {
    pub connector: String,
    /// The built-in connector of this id is in effect again.
    pub restores_built_in: bool,
    /// The connections of the workspace that use it; absent if the vault does not open.
    pub connections: Option<Vec<String>>,
}
