//! `integ webhook secret`.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::super::ui::{Ui, View};
use super::{WebhookArgumentError, read, read_secret};
use crate::error::Result;
use crate::runtime::App;
use crate::webhook::settings::{WebhookSettings, WebhookSettingsError, generate_secret, has_secret};

/// Keep the secret that a service signs with, and what else receiving needs
///
/// Without --set or --rotate it says what there is. INTEG_WEBHOOK_SECRET serves where nothing is kept.
#[derive(Debug, Args)]
pub(super) struct SecretArgs {
    #[arg(add = crate::cli::complete::webhook_connections())]
    connection: String,
    /// Keep the secret from a file, or from stdin with -
    #[arg(long, value_name = "FILE|-", conflicts_with = "rotate")]
    set: Option<String>,
    /// Make a new one, where the service takes one of yours
    #[arg(long)]
    rotate: bool,
    /// How long the old one stays good beside the new one; with --rotate a day where not said
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    overlap: Option<Duration>,
    /// A further value; NAME=@FILE reads it from a file, NAME=- from stdin
    #[arg(long, value_name = "NAME=VALUE", add = crate::cli::complete::webhook_params())]
    param: Vec<String>,
    /// Print the secret itself
    #[arg(long)]
    print_secret: bool,
}

/// How long an old secret stays good beside one that was made.
const OVERLAP: Duration = Duration::from_secs(86_400);

fn duration(text: &str) -> Result<Duration, String> {
    crate::duration::parse(text).ok_or_else(|| format!("{text:?} is not a duration like 90s, 5m or 24h"))
}

#[derive(Serialize)]
struct SecretView {
    connection: String,
    /// `kept`, `environment`, `connection`, `sandbox`; absent where there is none.
    source: Option<&'static str>,
    /// Whether a secret proves anything that comes.
    takes_secret: bool,
    /// How many are good now.
    in_force: usize,
    params: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl View for SecretView {
    fn text(&self, _ui: &Ui) -> String {
        if let Some(secret) = &self.secret {
            return secret.clone();
        }
        let name = &self.connection;
        let mut text = match self.source {
            None if !self.takes_secret => format!("What comes for {name} is proven without a secret of its own."),
            None => format!("No secret is known for {name}: integ webhook secret {name} --set -"),
            Some("kept") => format!("A secret is kept for {name}."),
            Some("environment") => format!("INTEG_WEBHOOK_SECRET serves for {name}."),
            Some("connection") => format!("What the connection has anyway serves for {name}."),
            Some(_) => format!("The sandbox's secret serves for {name}."),
        };
        if self.in_force > 1 {
            text.push_str(&format!(" {} are good until the old ones end.", self.in_force));
        }
        if !self.params.is_empty() {
            text.push_str(&format!("\nValues kept: {}", self.params.join(", ")));
        }
        text
    }
}

pub(super) fn run(app: &App, ui: &Ui, args: &SecretArgs) -> Result<u8> {
    let name = ui.project.resolve(&args.connection)?;
    let setup = WebhookSettings::load(app, &name)?;
    let webhooks = app.store()?.webhooks();
    if !args.param.is_empty() {
        let mut params = setup.stored.params.clone();
        for pair in &args.param {
            let (param, value) = param(&setup, pair)?;
            params.insert(param, value);
        }
        webhooks.set_params(setup.connection.id, &params)?;
    }
    if (args.rotate || args.set.is_some()) && !has_secret(setup.rules()?) {
        return Err(WebhookArgumentError::SecretUnsupported { connection: name.to_string() }.into());
    }
    let fresh = if args.rotate {
        let made = generate_secret(setup.rules()?);
        Some(made.ok_or_else(|| WebhookArgumentError::VendorManagedSecret { connection: name.to_string() })?)
    } else {
        args.set.as_deref().map(read_secret).transpose()?
    };
    if let Some(secret) = &fresh {
        let mut judged = setup.clone();
        judged.keys.secrets = vec![secret.clone()];
        // What else is missing may still be told.
        if let Err(error @ WebhookSettingsError::WeakSecret { .. }) = judged.check() {
            return Err(error.into());
        }
        let overlap = args.overlap.or(args.rotate.then_some(OVERLAP));
        let now = app.clock.now();
        let until = overlap.and_then(|overlap| now.checked_add(overlap).ok()).unwrap_or(now);
        // One that served until now without being kept stays good as well.
        let kept = !setup.stored.secrets(now).is_empty();
        if let Some(old) = setup.keys.secrets.first().filter(|_| !kept && until > now) {
            webhooks.rotate_secret(setup.connection.id, old, until, now)?;
        }
        webhooks.rotate_secret(setup.connection.id, secret, until, now)?;
    }
    let now = WebhookSettings::load(app, &name)?;
    ui.show(&view(&now, args.print_secret)?)?;
    if args.rotate && !args.print_secret {
        ui.note(&format!("Enter it at the service: integ webhook secret {name} --print-secret"));
    }
    Ok(0)
}

fn view(setup: &WebhookSettings, print: bool) -> Result<SecretView> {
    let secret = setup.keys.secrets.first().filter(|_| print).map(|secret| secret.expose().clone());
    Ok(SecretView {
        connection: setup.name().to_string(),
        source: setup.source.map(crate::webhook::settings::SecretSource::as_str),
        in_force: setup.keys.secrets.len(),
        takes_secret: has_secret(setup.rules()?),
        params: setup.stored.params.keys().cloned().collect(),
        secret,
    })
}

/// A value of the webhook's; a secret one comes by a file or stdin.
fn param(setup: &WebhookSettings, pair: &str) -> Result<(String, String)> {
    let (name, text) = pair.split_once('=').ok_or_else(|| WebhookArgumentError::Pair { text: pair.to_owned() })?;
    let rules = setup.rules()?;
    let known = || rules.params.keys().filter(|name| *name != "secret").cloned().collect();
    let declared =
        rules.params.get(name).filter(|_| name != "secret").ok_or_else(|| WebhookSettingsError::UnknownParam {
            connector: setup.connector.id.clone(),
            name: name.to_owned(),
            known: known(),
        })?;
    let file = text.strip_prefix('@').or((text == "-").then_some("-"));
    let value = match file {
        Some(path) => String::from_utf8_lossy(&read(path)?).trim().to_owned(),
        None if declared.secret => {
            let connection = setup.name().to_string();
            return Err(WebhookArgumentError::SecretFlag { connection, name: name.to_owned() }.into());
        }
        None => text.to_owned(),
    };
    Ok((name.to_owned(), value))
}
