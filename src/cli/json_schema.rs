//! JSON Schemas of the output of each command with `--json`: `integ help json COMMAND`. They are generated from the
//! views; a test validates real output against them.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::ui::FORMAT_VERSION;
use crate::connector::Descriptor;
use crate::view::api_token::{
    ApiScopeListView, ApiTokenListView, ApiTokenLoginView, ApiTokenTrustListView, ApiTokenTrustView, ApiTokenUsageView,
    ApiTokenView, NewApiTokenView, RemovedApiTokenTrustView, RevokedApiTokensView,
};
use crate::view::approval::{ApprovalDetailView, ApprovalListView};
use crate::view::audit::{AuditCheckpointView, AuditEntryView, AuditVerificationView};
use crate::view::binding::{
    BindingExportView, BindingListView, BindingPreviewView, BindingTestView, BindingView, EntityOutcomeView,
    ImportedBindingsView, OpenConflictListView, RemovedBindingView, SetBindingView,
};
use crate::view::bundle::BundleView;
use crate::view::calendar::{
    CalendarEventListView, CalendarListView, ChangedEventView, ConflictListView, DeletedEventView, FreeBusyView,
    SlotListView,
};
use crate::view::call::{ActionListView, CallResultView, RequestPreviewView};
use crate::view::connect_link::{ConnectLinkListView, NewConnectLinkView, RevokedConnectLinkView};
use crate::view::connection::{
    ConnectEventView, DisconnectView, RefreshListView, RenameView, RevealView, StatusView, TestListView,
};
use crate::view::connector::{
    ActionDetailView, ConnectorDetailView, ConnectorFileView, ConnectorListView, ConnectorRemovalView, InstallView,
    SearchResultsView, SetupGuideView, StreamDetailView, ValidationListView,
};
use crate::view::consent::{ConsentListView, ConsentStatusView, GrantedConsentView, RevokedConsentsView};
use crate::view::doctor::DoctorReportView;
use crate::view::draft::DraftView;
use crate::view::endpoint::{
    AttemptedView, DeliveryDetailView, DeliveryListView, DeliveryRetryView, EndpointDetailView, EndpointListView,
    EventTypeListView, MessagePruneView, SentMessageView,
};
use crate::view::error::ErrorView;
use crate::view::link::{AddedLinkView, ImportedLinksView, LinkListView, LinkView, RemovedLinkView};
use crate::view::listen::ListenEventView;
use crate::view::log::LogEntryView;
use crate::view::mcp::ServerEntryView;
use crate::view::metrics::{ConnectionMetricsView, WorkspaceMetricsView};
use crate::view::operator::{NewDashboardLinkView, OperatorListView, RemovedOperatorView, SetOperatorView};
use crate::view::proxy::CredentialProxyView;
use crate::view::records::{StoredStreamListView, WrittenStreamListView};
use crate::view::sandbox::{EmulatorView, FaultListView, SandboxAdvanceView, SandboxRecordsView};
use crate::view::serving::ServingView;
use crate::view::sync::{
    CursorExport, CursorListView, JobListView, JobView, ScheduleListView, SyncListView, SyncPlanView,
};
use crate::view::token::TokenView;
use crate::view::user::{DeletedUserView, UserDetailView, UserListView};
use crate::view::vault::{RecipientListView, VaultLockView, VaultMoveView, VaultStatusView, VaultUnlockView};
use crate::view::webhook::{
    BackfilledEventView, ConflictResolutionView, EventDetailView, EventRetryView, PruneListView, ReplayedEventView,
    SampleEventListView, SentEventView, SimulatedRequestView, StoredEventView, SubscribedView, UnsubscribedView,
    VerificationView, WebhookSecretView, WebhookUrlView,
};
use crate::view::workspace::{
    AllWorkspacesStatusView, AppListView, ConfigPathsView, RedactedSettingsView, SettingView, SettingsView,
    WorkspaceListView, WorkspaceView,
};

/// One shape that a command prints.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    schema: fn(&mut SchemaGenerator) -> Schema,
    /// Whether `format_version` is added to it.
    is_versioned: bool,
}

/// What a command prints on stdout with `--json`.
#[derive(Clone, Copy)]
pub(super) enum Output {
    /// One object, or one on each line.
    Objects(&'static [Shape]),
    /// No JSON that integ defines, and what it is.
    Other(&'static str),
}

use Output::{Objects, Other};

/// An object with `format_version`, which a command prints alone.
const fn document<T: JsonSchema>() -> Shape {
    Shape { schema: T::json_schema, is_versioned: true }
}

/// An object on a line of its own, or one with a version of its own.
const fn line<T: JsonSchema>() -> Shape {
    Shape { schema: T::json_schema, is_versioned: false }
}

const NOTHING: Output = Other("nothing: the exit code says whether it succeeded, and stderr what happened");

/// The commands in the order of their names, and `error` for what any of them prints on stderr if it fails.
const OUTPUTS: &[(&str, Output)] = &[
    ("api", Other("the answer of the service")),
    ("api-token create", Objects(&[document::<NewApiTokenView>()])),
    ("api-token list", Objects(&[document::<ApiTokenListView>()])),
    ("api-token login", Objects(&[document::<ApiTokenLoginView>()])),
    ("api-token revoke", Objects(&[document::<RevokedApiTokensView>()])),
    ("api-token rotate", Objects(&[document::<NewApiTokenView>()])),
    ("api-token scopes", Objects(&[document::<ApiScopeListView>()])),
    ("api-token show", Objects(&[document::<ApiTokenView>()])),
    ("api-token trust add", Objects(&[document::<ApiTokenTrustView>()])),
    ("api-token trust list", Objects(&[document::<ApiTokenTrustListView>()])),
    ("api-token trust remove", Objects(&[document::<RemovedApiTokenTrustView>()])),
    ("api-token update", Objects(&[document::<ApiTokenView>()])),
    ("api-token usage", Objects(&[document::<ApiTokenUsageView>()])),
    ("app list", Objects(&[document::<AppListView>()])),
    ("app remove", NOTHING),
    ("app set", NOTHING),
    ("approval deny", Objects(&[document::<ApprovalDetailView>()])),
    ("approval grant", Objects(&[document::<ApprovalDetailView>()])),
    ("approval list", Objects(&[document::<ApprovalListView>()])),
    ("approval show", Objects(&[document::<ApprovalDetailView>()])),
    ("audit export", Objects(&[line::<AuditEntryView>(), line::<AuditCheckpointView>()])),
    ("audit list", Objects(&[line::<AuditEntryView>()])),
    ("audit verify", Objects(&[document::<AuditVerificationView>()])),
    ("binding conflicts", Objects(&[document::<OpenConflictListView>()])),
    ("binding export", Objects(&[line::<BindingExportView>()])),
    ("binding import", Objects(&[document::<ImportedBindingsView>()])),
    ("binding list", Objects(&[document::<BindingListView>()])),
    ("binding preview", Objects(&[document::<BindingPreviewView>()])),
    ("binding push", Objects(&[line::<EntityOutcomeView>()])),
    ("binding remove", Objects(&[document::<RemovedBindingView>()])),
    ("binding resolve", Objects(&[line::<EntityOutcomeView>()])),
    ("binding retry", Other("the mapped records, one per line")),
    ("binding set", Objects(&[document::<SetBindingView>()])),
    ("binding show", Objects(&[document::<BindingView>()])),
    ("binding sync", Objects(&[line::<EntityOutcomeView>()])),
    ("binding test", Objects(&[document::<BindingTestView>()])),
    ("calendar conflicts", Objects(&[document::<ConflictListView>()])),
    ("calendar create", Objects(&[document::<ChangedEventView>()])),
    ("calendar delete", Objects(&[document::<DeletedEventView>()])),
    ("calendar events", Objects(&[document::<CalendarEventListView>()])),
    ("calendar freebusy", Objects(&[document::<FreeBusyView>()])),
    ("calendar list", Objects(&[document::<CalendarListView>()])),
    ("calendar slots", Objects(&[document::<SlotListView>()])),
    ("calendar update", Objects(&[document::<ChangedEventView>()])),
    ("call", Objects(&[document::<ActionListView>(), document::<CallResultView>(), document::<RequestPreviewView>()])),
    ("completions", Other("a script for the shell")),
    ("config get", Objects(&[document::<SettingView>()])),
    ("config path", Objects(&[document::<ConfigPathsView>()])),
    ("config redacted", Objects(&[document::<RedactedSettingsView>()])),
    ("config set", NOTHING),
    ("config show", Objects(&[document::<SettingsView>()])),
    ("config unset", NOTHING),
    ("connect", Objects(&[line::<ConnectEventView>()])),
    ("connect-link create", Objects(&[document::<NewConnectLinkView>()])),
    ("connect-link list", Objects(&[document::<ConnectLinkListView>()])),
    ("connect-link revoke", Objects(&[document::<RevokedConnectLinkView>()])),
    ("connector descriptor", Objects(&[line::<Descriptor>()])),
    ("connector install", Objects(&[document::<InstallView>()])),
    ("connector list", Objects(&[document::<ConnectorListView>()])),
    ("connector new", Objects(&[document::<DraftView>()])),
    ("connector remove", Objects(&[document::<ConnectorRemovalView>()])),
    ("connector schema", Other("the JSON Schema of connector files")),
    ("connector search", Objects(&[document::<SearchResultsView>()])),
    ("connector setup", Objects(&[document::<SetupGuideView>()])),
    (
        "connector show",
        Objects(&[
            document::<ConnectorDetailView>(),
            document::<ActionDetailView>(),
            document::<StreamDetailView>(),
            document::<ConnectorFileView>(),
        ]),
    ),
    ("connector validate", Objects(&[document::<ValidationListView>()])),
    ("consent grant", Objects(&[document::<GrantedConsentView>()])),
    ("consent list", Objects(&[document::<ConsentListView>()])),
    ("consent revoke", Objects(&[document::<RevokedConsentsView>()])),
    ("consent status", Objects(&[document::<ConsentStatusView>()])),
    ("cursor clear", NOTHING),
    ("cursor export", Objects(&[line::<CursorExport>()])),
    ("cursor get", Objects(&[document::<CursorListView>()])),
    ("cursor import", NOTHING),
    ("cursor set", NOTHING),
    ("dashboard", Other("`event` (dashboard) and `url`, once, unless a browser opens it")),
    ("dashboard link", Objects(&[document::<NewDashboardLinkView>()])),
    ("disconnect", Objects(&[document::<DisconnectView>()])),
    ("doctor", Objects(&[document::<DoctorReportView>()])),
    ("endpoint add", Objects(&[document::<EndpointDetailView>()])),
    ("endpoint deliver", Objects(&[line::<AttemptedView>()])),
    ("endpoint deliveries", Objects(&[document::<DeliveryListView>(), document::<DeliveryDetailView>()])),
    ("endpoint disable", Objects(&[document::<EndpointDetailView>()])),
    ("endpoint enable", Objects(&[document::<EndpointDetailView>()])),
    ("endpoint event add", NOTHING),
    ("endpoint event list", Objects(&[document::<EventTypeListView>()])),
    ("endpoint event remove", NOTHING),
    ("endpoint list", Objects(&[document::<EndpointListView>()])),
    ("endpoint prune", Objects(&[document::<MessagePruneView>()])),
    ("endpoint remove", NOTHING),
    ("endpoint retry", Objects(&[document::<DeliveryRetryView>()])),
    ("endpoint rotate", Objects(&[document::<EndpointDetailView>()])),
    ("endpoint send", Objects(&[document::<SentMessageView>()])),
    ("endpoint show", Objects(&[document::<EndpointDetailView>()])),
    ("endpoint update", Objects(&[document::<EndpointDetailView>()])),
    ("error", Objects(&[document::<ErrorView>()])),
    ("exec", Other("what the command prints")),
    ("export", Objects(&[document::<BundleView>()])),
    ("git-credential", Other("an answer for git")),
    ("help", Other("text")),
    ("job cancel", NOTHING),
    ("job list", Objects(&[document::<JobListView>()])),
    ("job retry", Objects(&[document::<SyncListView>()])),
    ("job show", Objects(&[document::<JobView>()])),
    ("link add", Objects(&[document::<AddedLinkView>()])),
    ("link find", Objects(&[document::<LinkListView>()])),
    ("link import", Objects(&[document::<ImportedLinksView>()])),
    ("link list", Objects(&[line::<LinkView>()])),
    ("link remove", Objects(&[document::<RemovedLinkView>()])),
    ("logs", Objects(&[line::<LogEntryView>()])),
    ("man", Other("a manual page")),
    ("mcp install", Objects(&[document::<ServerEntryView>()])),
    ("mcp proxy", Other("messages of the Model Context Protocol")),
    ("mcp serve", Other("messages of the Model Context Protocol")),
    ("mcp uninstall", Objects(&[document::<ServerEntryView>()])),
    ("metrics", Objects(&[document::<WorkspaceMetricsView>(), document::<ConnectionMetricsView>()])),
    ("operator list", Objects(&[document::<OperatorListView>()])),
    ("operator remove", Objects(&[document::<RemovedOperatorView>()])),
    ("operator set", Objects(&[document::<SetOperatorView>()])),
    ("proxy", Objects(&[line::<CredentialProxyView>()])),
    ("reconnect", Objects(&[line::<ConnectEventView>()])),
    ("records", Objects(&[document::<StoredStreamListView>(), document::<WrittenStreamListView>()])),
    ("refresh", Objects(&[document::<RefreshListView>()])),
    ("rename", Objects(&[document::<RenameView>()])),
    ("reveal", Objects(&[document::<RevealView>()])),
    ("sandbox advance", Objects(&[document::<SandboxAdvanceView>()])),
    ("sandbox data", Objects(&[document::<SandboxRecordsView>()])),
    ("sandbox fault", Objects(&[document::<FaultListView>()])),
    ("sandbox reset", NOTHING),
    ("sandbox run", Objects(&[line::<EmulatorView>()])),
    ("schedule list", Objects(&[document::<ScheduleListView>()])),
    ("schedule remove", NOTHING),
    ("schedule set", NOTHING),
    ("serve", Objects(&[line::<ServingView>(), line::<ListenEventView>()])),
    ("status", Objects(&[document::<StatusView>(), document::<AllWorkspacesStatusView>()])),
    ("sync", Objects(&[document::<SyncListView>(), document::<SyncPlanView>()])),
    ("test", Objects(&[document::<TestListView>()])),
    ("token", Objects(&[document::<TokenView>()])),
    ("user delete", Objects(&[document::<DeletedUserView>()])),
    ("user list", Objects(&[document::<UserListView>()])),
    ("user show", Objects(&[document::<UserDetailView>()])),
    ("vault backup", NOTHING),
    ("vault check", NOTHING),
    ("vault identity export", NOTHING),
    ("vault identity import", NOTHING),
    ("vault lock", Objects(&[document::<VaultLockView>()])),
    ("vault move", Objects(&[document::<VaultMoveView>()])),
    ("vault move-identity", NOTHING),
    ("vault move-tokens", NOTHING),
    ("vault recipients add", NOTHING),
    ("vault recipients list", Objects(&[document::<RecipientListView>()])),
    ("vault recipients remove", NOTHING),
    ("vault rekey", NOTHING),
    ("vault restore", NOTHING),
    ("vault status", Objects(&[document::<VaultStatusView>()])),
    ("vault unlock", Objects(&[document::<VaultUnlockView>()])),
    ("webhook backfill", Objects(&[line::<BackfilledEventView>()])),
    ("webhook events", Objects(&[line::<StoredEventView>()])),
    ("webhook listen", Objects(&[line::<ListenEventView>()])),
    ("webhook prune", Objects(&[document::<PruneListView>()])),
    ("webhook replay", Objects(&[line::<ReplayedEventView>()])),
    ("webhook resolve", Objects(&[document::<ConflictResolutionView>()])),
    ("webhook retry", Objects(&[document::<EventRetryView>()])),
    ("webhook secret", Objects(&[document::<WebhookSecretView>()])),
    ("webhook show", Objects(&[document::<EventDetailView>()])),
    (
        "webhook simulate",
        Objects(&[document::<SampleEventListView>(), document::<SimulatedRequestView>(), line::<SentEventView>()]),
    ),
    ("webhook subscribe", Objects(&[document::<SubscribedView>(), document::<RequestPreviewView>()])),
    ("webhook unsubscribe", Objects(&[document::<UnsubscribedView>()])),
    ("webhook url", Objects(&[document::<WebhookUrlView>()])),
    ("webhook verify", Objects(&[document::<VerificationView>()])),
    ("workspace create", NOTHING),
    ("workspace delete", NOTHING),
    ("workspace list", Objects(&[document::<WorkspaceListView>()])),
    ("workspace show", Objects(&[document::<WorkspaceView>()])),
];

/// Returns what a command prints, by its words: `webhook events`.
pub(super) fn output(command: &str) -> Option<Output> {
    OUTPUTS.iter().find(|(name, _)| *name == command).map(|(_, output)| *output)
}

/// Returns the JSON Schema (draft 2020-12) of the objects that a command prints.
pub(super) fn schema(command: &str, shapes: &[Shape]) -> Value {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut objects: Vec<Value> = shapes.iter().map(|shape| shape.object(&mut generator)).collect();
    let mut definitions = Value::Object(generator.take_definitions(true));
    let known = definitions.clone();
    close(&mut definitions, &known);
    objects.iter_mut().for_each(|object| close(object, &known));
    let mut whole = Map::new();
    whole.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    whole.insert("title".to_owned(), json!(format!("integ {command} --json")));
    match <[Value; 1]>::try_from(objects) {
        Ok([Value::Object(object)]) => whole.extend(object),
        Ok([other]) => drop(whole.insert("allOf".to_owned(), json!([other]))),
        Err(objects) => drop(whole.insert("anyOf".to_owned(), json!(objects))),
    }
    if definitions.as_object().is_some_and(|definitions| !definitions.is_empty()) {
        whole.insert("$defs".to_owned(), definitions);
    }
    Value::Object(whole)
}

impl Shape {
    fn object(&self, generator: &mut SchemaGenerator) -> Value {
        let mut schema = (self.schema)(generator).to_value();
        if self.is_versioned
            && let Some(object) = schema.as_object_mut()
        {
            let mut properties = Map::new();
            properties.insert("format_version".to_owned(), json!({ "const": FORMAT_VERSION }));
            if let Some(Value::Object(own)) = object.remove("properties") {
                properties.extend(own);
            }
            object.insert("properties".to_owned(), properties.into());
            let required = object.entry("required").or_insert_with(|| json!([]));
            required.as_array_mut().into_iter().for_each(|names| names.insert(0, json!("format_version")));
        }
        schema
    }
}

/// Closes every object with declared members to all others. The members of a definition that a tagged variant refers to are
/// put beside its tag, since the one would refuse those of the other.
fn close(schema: &mut Value, definitions: &Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| close(item, definitions)),
        Value::Object(object) => {
            if object.contains_key("properties")
                && let Some(reference) = object.remove("$ref")
            {
                let name = reference.as_str().and_then(|text| text.rsplit('/').next()).unwrap_or_default();
                merge(object, &definitions[name]);
            }
            let is_open = !object.get("properties").is_some_and(Value::is_object) || !object.contains_key("type");
            // Flattened alternatives add members to those of the object, which only the whole can refuse.
            let has_alternatives = !is_open && ["anyOf", "oneOf", "allOf"].iter().any(|key| object.contains_key(*key));
            if has_alternatives {
                object.insert("unevaluatedProperties".to_owned(), Value::Bool(false));
                let properties = object.get_mut("properties");
                properties.into_iter().for_each(|properties| close(properties, definitions));
                return;
            }
            object.values_mut().for_each(|value| close(value, definitions));
            if !is_open {
                object.entry("additionalProperties").or_insert(Value::Bool(false));
            }
        }
        _ => {}
    }
}

/// Adds the members of a definition to a variant that has a tag already.
fn merge(variant: &mut Map<String, Value>, definition: &Value) {
    let members = definition["properties"].as_object().cloned().unwrap_or_default();
    if let Some(own) = variant.get_mut("properties").and_then(Value::as_object_mut) {
        own.extend(members);
    }
    let names = definition["required"].as_array().cloned().unwrap_or_default();
    if let Some(own) = variant.entry("required").or_insert_with(|| json!([])).as_array_mut() {
        own.extend(names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_listed_once_in_order() {
        fn leaves(command: &clap::Command, words: &str, found: &mut Vec<String>) {
            for sub in command.get_subcommands() {
                let words = format!("{words} {}", sub.get_name()).trim().to_owned();
                // Some with further commands do something themselves.
                if sub.get_subcommands().next().is_none() || sub.is_args_conflicts_with_subcommands_set() {
                    found.push(words.clone());
                }
                leaves(sub, &words, found);
            }
        }
        let mut commands = Vec::new();
        leaves(&crate::cli::command(), "", &mut commands);
        commands.retain(|command| command == "help" || !command.ends_with(" help"));
        commands.push("error".to_owned());
        commands.sort();
        let listed: Vec<&str> = OUTPUTS.iter().map(|(name, _)| *name).collect();
        assert_eq!(listed, commands, "src/cli/json_schema.rs says of each command what it prints with --json");
    }

    #[test]
    fn objects_are_closed_and_have_their_version() {
        for (command, output) in OUTPUTS {
            let Objects(shapes) = output else { continue };
            let schema = schema(command, shapes);
            let text = schema.to_string();
            let is_closed =
                ["additional", "unevaluated"].iter().any(|kind| text.contains(&format!("\"{kind}Properties\":false")));
            assert!(is_closed, "{command}: {text}");
            let is_versioned = shapes.iter().any(|shape| shape.is_versioned);
            assert_eq!(text.contains("\"format_version\":{\"const\":1}"), is_versioned, "{command}: {text}");
        }
    }
}
