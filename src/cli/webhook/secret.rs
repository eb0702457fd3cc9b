//! `integ webhook secret`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;

use super::super::ui::{Render, Ui};
use super::error::WebhookArgumentError;
use super::input::{connector, read, read_secret};
use crate::error::Result;
use crate::model::ConnectionName;
use crate::ops::webhooks::{self, NewWebhookSecret, SetWebhookSecretRequest};
use crate::runtime::Workspace;
use crate::view::webhook::WebhookSecretView;
use crate::webhook::settings::{SecretSource, rules};

/// Store the signing secret and other values needed to receive webhooks
///
/// Without --set or --rotate, shows what is stored. Without a stored secret, INTEG_WEBHOOK_SECRET is used.
#[derive(Debug, Args)]
pub(super) struct SecretArgs {
    /// Connection that receives the webhooks
    #[arg(add = crate::cli::complete::webhook_connections())]
    connection: String,
    /// Store the secret from a file, - for stdin
    #[arg(long, value_name = "FILE|-", conflicts_with = "rotate")]
    set: Option<String>,
    /// Generate a new secret, if the service lets you choose it
    #[arg(long)]
    rotate: bool,
    /// How long the old secret stays valid (default with --rotate: 1d)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    overlap: Option<Duration>,
    /// Additional value; NAME=@FILE reads it from a file, NAME=- from stdin
    #[arg(long, value_name = "NAME=VALUE", add = crate::cli::complete::webhook_params())]
    param: Vec<String>,
    /// Print the secret itself
    #[arg(long)]
    print_secret: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::duration::parse(text).ok_or_else(|| format!("{text:?} is not a duration like 90s, 5m or 24h"))
}

impl Render for WebhookSecretView {
    fn text(&self, _ui: &Ui) -> String {
        if let Some(secret) = &self.secret {
            return secret.clone();
        }
        let name = &self.connection;
        let mut text = match self.source {
            None if !self.supports_secret => format!("Webhooks of {name} are verified without a secret."),
            None => format!("No secret is stored for {name}. Store it with `integ webhook secret {name} --set -`."),
            Some(SecretSource::Stored) => format!("{name} has a signing secret."),
            Some(SecretSource::Environment) => format!("{name} uses the secret in INTEG_WEBHOOK_SECRET."),
            Some(SecretSource::Connection) => format!("{name} uses a value of its credential as the secret."),
            Some(SecretSource::Sandbox) => format!("{name} uses the sandbox's secret."),
        };
        if self.active_secrets > 1 {
            text.push_str(&format!(" {} secrets are valid until the old ones expire.", self.active_secrets));
        }
        if !self.params.is_empty() {
            text.push_str(&format!("\nStored values: {}", self.params.join(", ")));
        }
        text
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &SecretArgs) -> Result<u8> {
    let connection = ui.project.resolve(&args.connection)?;
    let params = params(workspace, &connection, &args.param)?;
    let secret = match &args.set {
        _ if args.rotate => Some(NewWebhookSecret::Generated),
        Some(path) => Some(NewWebhookSecret::Given(read_secret(path)?)),
        None => None,
    };
    let name = connection.clone();
    let mut view = if secret.is_some() || !params.is_empty() {
        let request = SetWebhookSecretRequest { connection, params, secret, overlap: args.overlap };
        workspace.run(webhooks::set_webhook_secret(workspace, request))?
    } else {
        workspace.run(webhooks::show_webhook_secret(workspace, &connection))?
    };
    if args.print_secret {
        view = workspace.run(webhooks::reveal_webhook_secret(workspace, &name))?;
    }
    ui.show(&view)?;
    if args.rotate && !args.print_secret {
        ui.note(&format!("Enter it at the service; this prints it: `integ webhook secret {name} --print-secret`"));
    }
    Ok(0)
}

/// The values of `--param`. A secret one comes by a file or stdin.
fn params(workspace: &Workspace, name: &ConnectionName, pairs: &[String]) -> Result<BTreeMap<String, String>> {
    let connector = connector(workspace, name)?;
    let rules = rules(&connector)?;
    let mut params = BTreeMap::new();
    for pair in pairs {
        let (param, text) = pair.split_once('=').ok_or_else(|| WebhookArgumentError::Pair { text: pair.to_owned() })?;
        let declared = rules.params.get(param);
        let file = text.strip_prefix('@').or((text == "-").then_some("-")).filter(|_| declared.is_some());
        let value = match file {
            Some(path) => String::from_utf8_lossy(&read(path)?).trim().to_owned(),
            // The signing secret itself is not a parameter, which is an error of its own.
            None if param != "secret" && declared.is_some_and(|declared| declared.secret) => {
                let (connection, name) = (name.to_string(), param.to_owned());
                return Err(WebhookArgumentError::SecretFlag { connection, name }.into());
            }
            None => text.to_owned(),
        };
        params.insert(param.to_owned(), value);
    }
    Ok(params)
}
