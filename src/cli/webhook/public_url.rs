//! `integ webhook url`.

use clap::Args;
use serde::Serialize;

use super::super::ui::{Ui, View, escape, escape_lines};
use super::subscribe::listed;
use crate::error::Result;
use crate::runtime::App;
use crate::view::webhook::SubscriptionView;
use crate::webhook::settings::{DEFAULT_PORT, WebhookSettings};

/// The URL to register at the service, and how
#[derive(Debug, Args)]
pub(super) struct UrlArgs {
    #[arg(add = crate::cli::complete::webhook_connections())]
    connection: String,
    /// What the service calls, such as a tunnel's address; kept for later
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
}

#[derive(Serialize)]
struct RequiredParamView {
    name: String,
    prompt: String,
    secret: bool,
    optional: bool,
    /// Whether there is a value.
    known: bool,
}

#[derive(Serialize)]
struct EventTypeItem {
    event: String,
    about: String,
}

#[derive(Serialize)]
struct WebhookUrlView {
    connection: String,
    connector: String,
    url: String,
    local_url: String,
    public: bool,
    setup: String,
    needs: Vec<RequiredParamView>,
    events: Vec<EventTypeItem>,
    can_subscribe: bool,
    subscriptions: Vec<SubscriptionView>,
}

impl View for WebhookUrlView {
    fn text(&self, _ui: &Ui) -> String {
        let mut lines = vec![self.url.clone()];
        if self.public {
            lines.push(format!("It must lead to {}", self.local_url));
        } else {
            lines.push(
                "It is an address of this machine. A service needs one that it can reach: bring a tunnel, and".into(),
            );
            lines.push(format!("tell its address: integ webhook url {} --public-url https://HOST", self.connection));
        }
        lines.extend([String::new(), escape_lines(self.setup.trim())]);
        let missing = self.needs.iter().filter(|needed| !needed.known && !needed.optional);
        for needed in missing {
            let how =
                if needed.name == "secret" { "--set -".to_owned() } else { format!("--param {}=…", needed.name) };
            lines.push(format!("Needed: {}: integ webhook secret {} {how}", needed.prompt, self.connection));
        }
        if self.can_subscribe && self.subscriptions.is_empty() {
            lines.push(format!("integ does it for you: integ webhook subscribe {}", self.connection));
        }
        if !self.subscriptions.is_empty() {
            lines.push("\nSubscriptions:".to_owned());
            lines.extend(self.subscriptions.iter().map(|item| format!("  {}", escape(&item.line()))));
        }
        if !self.events.is_empty() {
            let width = self.events.iter().map(|item| item.event.len()).max().unwrap_or_default();
            lines.push(format!("\nEvents that integ knows ({}):", self.events.len()));
            lines.extend(self.events.iter().map(|item| format!("  {:width$}  {}", item.event, item.about)));
        }
        lines.join("\n")
    }
}

pub(super) fn run(app: &App, ui: &Ui, args: &UrlArgs) -> Result<u8> {
    let name = ui.project.resolve(&args.connection)?;
    let mut setup = WebhookSettings::load(app, &name)?;
    if let Some(base) = &args.public_url {
        let url = setup.public_url(base)?;
        app.store()?.webhooks().set_public_url(setup.connection.id, Some(url.as_str()))?;
        setup.stored.public_url = Some(url.to_string());
    }
    ui.show(&view(app, &setup)?)?;
    Ok(0)
}

fn view(app: &App, setup: &WebhookSettings) -> Result<WebhookUrlView> {
    let rules = setup.rules()?;
    let port = setup.stored.port.unwrap_or(DEFAULT_PORT);
    let known = |name: &str| match name {
        "secret" => !setup.keys.secrets.is_empty(),
        name => setup.keys.values.get(name).is_some(),
    };
    let needed = rules.params.iter().map(|(name, param)| RequiredParamView {
        name: name.clone(),
        prompt: param.prompt.clone(),
        secret: param.secret,
        optional: param.optional,
        known: known(name),
    });
    let events = setup.connector.events.iter();
    Ok(WebhookUrlView {
        connection: setup.name().to_string(),
        connector: setup.connector.id.clone(),
        url: setup.url(port)?.to_string(),
        local_url: setup.local_url(port)?.to_string(),
        public: setup.stored.public_url.is_some(),
        setup: rules.setup.clone(),
        needs: needed.collect(),
        events: events
            .map(|(event, known)| EventTypeItem { event: event.clone(), about: known.about.clone() })
            .collect(),
        can_subscribe: rules.subscribe.is_some(),
        subscriptions: listed(app, setup)?,
    })
}
