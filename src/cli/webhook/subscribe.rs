//! `integ webhook subscribe` and `unsubscribe`.

use clap::Args;
use serde::Serialize;

use super::super::table::relative;
use super::super::ui::{Ui, View};
use super::input;
use crate::error::Result;
use crate::oauth::refresh;
use crate::runtime::App;
use crate::store::SubscriptionId;
use crate::view::webhook::SubscriptionView;
use crate::webhook::settings::WebhookSettings;
use crate::webhook::subscription::{self, SubscribeOptions};

/// Register the connection's URL at the service, by its API
///
/// The service is told the URL and a secret; what else it wants to know is given with -p, as `integ call` takes it. A
/// subscription that lasts for a time only is renewed by `webhook listen` and by `refresh`. Where the service proves the URL
/// while it is asked and nobody listens, this listens for it.
#[derive(Debug, Args)]
pub(super) struct SubscribeArgs {
    #[arg(add = crate::cli::complete::webhook_connections())]
    connection: String,
    /// What the service calls, such as a tunnel's address; kept for later
    #[arg(long, value_name = "PUBLIC_URL")]
    url: Option<String>,
    /// Only events of these types; where the service must be told, all that integ knows
    #[arg(long, value_name = "TYPE", value_delimiter = ',', add = crate::cli::complete::webhook_events())]
    events: Vec<String>,
    /// A further parameter of the service's, as in owner=acme
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    params: Vec<String>,
    /// Print the request, without its secrets, and send nothing
    #[arg(long)]
    dry_run: bool,
}

/// End subscriptions at the service
#[derive(Debug, Args)]
pub(super) struct UnsubscribeArgs {
    #[arg(add = crate::cli::complete::webhook_connections())]
    connection: String,
    /// Which one, where there are several; `integ webhook url` lists them
    id: Option<i64>,
    #[arg(long, conflicts_with = "id")]
    all: bool,
    /// Only forget it here; it stays at the service
    #[arg(long)]
    local: bool,
}

impl SubscriptionView {
    /// How it stands, in a few words; what is wrong with the command that mends it.
    pub(in crate::cli) fn note(&self) -> Option<String> {
        match (&self.error, &self.hint, self.renews_in) {
            (Some(error), Some(hint), _) => Some(format!("webhook: {error}; {hint}")),
            (_, _, Some(seconds)) if seconds > 0 => Some(format!("webhook: renews {}", relative(seconds))),
            (_, _, Some(_)) => Some("webhook: is to be renewed".to_owned()),
            _ => None,
        }
    }

    /// One line of a list.
    pub(super) fn line(&self) -> String {
        let params = self.params.as_object().into_iter().flatten();
        let params = params.map(|(name, value)| {
            format!(" {name}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        });
        let events = if self.events.is_empty() { String::new() } else { format!(" {}", self.events.join(",")) };
        let note = self.note().map(|note| format!("  ({note})")).unwrap_or_default();
        format!("{}  {}{}{events}{note}", self.id, self.status, params.collect::<String>())
    }
}

/// The subscriptions of a connection.
pub(super) fn listed(app: &App, setup: &WebhookSettings) -> Result<Vec<SubscriptionView>> {
    let now = app.clock.now();
    let rows = app.store()?.subscriptions().list(Some(setup.connection.id))?;
    Ok(rows.iter().map(|row| SubscriptionView::new(row, now)).collect())
}

#[derive(Serialize)]
struct SubscribedView {
    connection: String,
    url: String,
    /// `false` where it was there already.
    new: bool,
    subscription: SubscriptionView,
}

impl View for SubscribedView {
    fn text(&self, _ui: &Ui) -> String {
        let what = if self.new { "Subscribed" } else { "Already subscribed:" };
        format!("{what} {} to {}\n{}", self.connection, self.url, super::super::ui::escape(&self.subscription.line()))
    }
}

pub(super) fn run(app: &App, ui: &Ui, args: &SubscribeArgs) -> Result<u8> {
    let name = ui.project.resolve(&args.connection)?;
    app.run(async {
        let setup = WebhookSettings::load(app, &name)?;
        let action = setup.rules()?.subscribe.as_ref().map(|rules| rules.action.as_str());
        let input = input(&setup, action, &args.params, "subscribe")?;
        let request = SubscribeOptions { url: args.url.as_deref(), events: &args.events, input: &input };
        if args.dry_run {
            let (session, request) = subscription::dry_run(app, &name, &request)?;
            ui.show(&crate::view::call::RequestPreviewView::new(
                &session,
                &request,
                &refresh::load_grant(app, &name)?.grant,
            )?)?;
            return Ok(0);
        }
        warn_of_types(ui, &setup, &args.events);
        let done = subscription::subscribe(app, &name, &request).await?;
        ui.show(&SubscribedView {
            connection: name.to_string(),
            url: done.subscription.request.url.clone(),
            new: done.is_new,
            subscription: SubscriptionView::new(&done.subscription, app.clock.now()),
        })?;
        Ok(0)
    })
}

/// Types that the connector does not know are the vendor's to judge.
fn warn_of_types(ui: &Ui, setup: &WebhookSettings, events: &[String]) {
    let known = &setup.connector.events;
    for kind in events.iter().filter(|kind| !known.is_empty() && !kind.contains('*') && !known.contains_key(*kind)) {
        ui.warning(&format!("{kind} is none of the types that integ knows: `integ webhook url {}`", setup.name()));
    }
}

#[derive(Serialize)]
struct UnsubscribedView {
    connection: String,
    ended: Vec<i64>,
    /// Whether the service was told nothing.
    local: bool,
}

impl View for UnsubscribedView {
    fn text(&self, _ui: &Ui) -> String {
        if self.ended.is_empty() {
            return format!("{} has no subscription.", self.connection);
        }
        let ids = self.ended.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let what = if self.local { "Forgot" } else { "Ended" };
        format!("{what} {ids} of {}", self.connection)
    }
}

pub(super) fn end(app: &App, ui: &Ui, args: &UnsubscribeArgs) -> Result<u8> {
    let name = ui.project.resolve(&args.connection)?;
    let id = args.id.map(SubscriptionId);
    let ended = app.run(subscription::unsubscribe(app, &name, id, args.all, args.local))?;
    ui.show(&UnsubscribedView {
        connection: name.to_string(),
        ended: ended.iter().map(|row| row.id.0).collect(),
        local: args.local,
    })?;
    Ok(0)
}
