//! `integ endpoint`: outbound webhooks.

mod event;
mod view;

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use url::Url;

use self::view::{
    DeliveryDetailView, DeliveryListView, DeliveryRetryView, DeliveryView, EndpointChangeView, EndpointListView,
    EndpointView, MessagePruneView, SentMessageView, attempted,
};
use super::complete::endpoints;
use super::ui::Ui;
use super::value_parser::duration;
use crate::clock::Timestamp;
use crate::endpoint::{self, DeliveryScope, EndpointChange, EndpointError, RetryFilter, StopCondition};
use crate::error::{Kind, Result};
use crate::model::{Budget, EventPattern, EventType};
use crate::runtime::App;
use crate::store::BackoffPolicy;
use crate::store::outbox::{DeliveryFilter, DeliveryId, DeliveryStatus};

/// Send webhooks of your own: signed, retried, logged
///
/// Messages are signed by Standard Webhooks (webhook-id, webhook-timestamp, webhook-signature). `integ endpoint deliver`
/// sends what is due; a message reaches each endpoint that wants its type at least once.
#[derive(Debug, Args)]
pub(super) struct EndpointArgs {
    #[command(subcommand)]
    command: EndpointCommand,
}

impl EndpointArgs {
    /// Whether it may make the workspace that it works in.
    pub(super) fn makes_workspace(&self) -> bool {
        matches!(self.command, EndpointCommand::Add { .. } | EndpointCommand::Event { .. })
    }
}

#[derive(Debug, Subcommand)]
enum EndpointCommand {
    /// Add a URL that events are sent to; prints its signing secret, once
    Add {
        #[arg(value_name = "URL")]
        url: Url,
        #[command(flatten)]
        rules: DeliveryPolicyArgs,
    },
    /// List the endpoints and how they stand
    List,
    /// One endpoint with its rules
    Show {
        #[arg(add = endpoints())]
        id: String,
    },
    /// Change an endpoint
    Update {
        #[arg(add = endpoints())]
        id: String,
        /// Another URL
        #[arg(long, value_name = "URL")]
        url: Option<Url>,
        #[command(flatten)]
        rules: DeliveryPolicyArgs,
    },
    /// Remove an endpoint with its deliveries
    Remove {
        #[arg(add = endpoints())]
        id: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Give an endpoint a new secret, and print it, once
    Rotate {
        #[arg(add = endpoints())]
        id: String,
        /// For how long the old secret signs as well
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
        overlap: Duration,
    },
    /// Send to an endpoint again that was disabled
    Enable {
        #[arg(add = endpoints())]
        id: String,
    },
    /// Send nothing to an endpoint until it is enabled
    Disable {
        #[arg(add = endpoints())]
        id: String,
    },
    /// Send a message to every endpoint that wants its type
    Send {
        /// Such as invoice.paid
        #[arg(value_name = "TYPE")]
        kind: EventType,
        /// A file with the message's data as JSON; - for stdin
        #[arg(long, value_name = "FILE")]
        data: Option<String>,
        /// The message's id; the same one is never sent twice
        #[arg(long, value_name = "MSG")]
        id: Option<String>,
        /// To this endpoint alone, whatever types it wants
        #[arg(long, value_name = "ENDPOINT", add = endpoints())]
        endpoint: Option<String>,
        /// Wait until each endpoint was tried once
        #[arg(long)]
        wait: bool,
    },
    /// The types of your events: what they tell, and what their data look like
    Event {
        #[command(subcommand)]
        command: event::EventCommand,
    },
    /// Remove messages that were delivered or given up
    Prune {
        /// Kept for no longer than this; the setting endpoints.keep where not said
        #[arg(long, value_name = "TIME", value_parser = duration)]
        keep: Option<Duration>,
    },
    /// Send what is due, until Ctrl-C
    Deliver {
        /// End when nothing is due, for cron
        #[arg(long)]
        once: bool,
    },
    /// List deliveries; of one delivery, its attempts
    Deliveries {
        /// Of an endpoint or a message; a delivery shows its attempts
        #[arg(value_name = "ENDPOINT|MSG|DELIVERY", add = endpoints())]
        of: Option<String>,
        #[arg(long, value_name = "STATUS")]
        status: Option<DeliveryStatusArg>,
        /// Begun no longer ago than this
        #[arg(long, value_name = "TIME", value_parser = duration)]
        since: Option<Duration>,
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
    },
    /// Send deliveries again: the same messages under the same ids
    Retry {
        #[arg(value_name = "DELIVERY", required_unless_present = "failed")]
        deliveries: Vec<String>,
        /// All that failed or were given up, of one endpoint or of all
        #[arg(long, value_name = "ENDPOINT", num_args = 0..=1, default_missing_value = "", conflicts_with = "deliveries", requires = "since", add = endpoints())]
        failed: Option<String>,
        /// Begun no longer ago than this
        #[arg(long, value_name = "TIME", value_parser = duration)]
        since: Option<Duration>,
    },
}

#[derive(Debug, Args)]
struct DeliveryPolicyArgs {
    /// Only these types: invoice.paid, invoice.*; repeatable
    #[arg(long, value_name = "PATTERN")]
    events: Vec<EventPattern>,
    /// No more than so many: 10/s, 100/m
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<Budget>,
    /// How the waits between attempts grow: exponential is 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 10 h; linear 10 min more each time
    #[arg(long, value_name = "POLICY")]
    policy: Option<BackoffArg>,
    /// Attempts before a delivery is given up; 8 where not said
    #[arg(long, value_name = "N")]
    attempts: Option<u32>,
    /// For how long a delivery is worth to be tried; 3d where not said
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ttl: Option<Duration>,
    /// For one attempt; 15s where not said
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BackoffArg {
    Exponential,
    Linear,
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DeliveryStatusArg {
    Pending,
    Failed,
    Delivered,
    Dead,
}

impl DeliveryStatusArg {
    fn status(self) -> DeliveryStatus {
        match self {
            Self::Pending => DeliveryStatus::Pending,
            Self::Failed => DeliveryStatus::Failed,
            Self::Delivered => DeliveryStatus::Delivered,
            Self::Dead => DeliveryStatus::Dead,
        }
    }
}

impl DeliveryPolicyArgs {
    fn change(self, url: Option<Url>) -> EndpointChange {
        EndpointChange {
            url,
            events: Some(self.events).filter(|events| !events.is_empty()),
            description: self.description,
            policy: self.policy.map(|policy| match policy {
                BackoffArg::Exponential => BackoffPolicy::Exponential,
                BackoffArg::Linear => BackoffPolicy::Linear,
                BackoffArg::None => BackoffPolicy::None,
            }),
            max_attempts: self.attempts,
            ttl: self.ttl,
            timeout: self.timeout,
            rate: self.rate,
        }
    }
}

fn rate(text: &str) -> Result<Budget, String> {
    let wrong = || format!("{text:?} is no rate such as 10/s or 100/m");
    let (requests, unit) = text.split_once('/').ok_or_else(wrong)?;
    let secs = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let requests = requests.parse().ok().filter(|requests| (1..=10_000).contains(requests)).ok_or_else(wrong)?;
    Ok(Budget { units: requests, secs, burst: None })
}

pub(super) fn run(app: &App, ui: &Ui, args: EndpointArgs) -> Result<u8> {
    match args.command {
        EndpointCommand::Add { url, rules } => {
            let (endpoint, secret) = endpoint::add(app, &url, &rules.change(None))?;
            warn_of_types(app, ui, &endpoint.events)?;
            ui.show(&EndpointChangeView::with_secret(&endpoint, &secret, app.clock.now()))?;
            ui.note("The secret is shown once. The receiver verifies with it, by any library of Standard Webhooks.");
        }
        EndpointCommand::List => {
            let endpoints = if app.has_vault() { app.store()?.endpoints().list()? } else { Vec::new() };
            let now = app.clock.now();
            ui.show(&EndpointListView {
                endpoints: endpoints.iter().map(|one| EndpointView::new(one, now)).collect(),
            })?;
        }
        EndpointCommand::Show { id } => {
            ui.show(&EndpointChangeView::new(&endpoint::find(app, &id)?, app.clock.now()))?;
        }
        EndpointCommand::Update { id, url, rules } => {
            let endpoint = endpoint::update(app, &id, &rules.change(url))?;
            warn_of_types(app, ui, &endpoint.events)?;
            ui.show(&EndpointChangeView::new(&endpoint, app.clock.now()))?;
        }
        EndpointCommand::Remove { id, yes } => return remove(app, ui, &id, yes),
        EndpointCommand::Rotate { id, overlap } => {
            let (endpoint, secret) = endpoint::rotate(app, &id, overlap)?;
            ui.show(&EndpointChangeView::with_secret(&endpoint, &secret, app.clock.now()))?;
        }
        EndpointCommand::Enable { id } => {
            ui.show(&EndpointChangeView::new(&endpoint::set_enabled(app, &id, true)?, app.clock.now()))?;
        }
        EndpointCommand::Disable { id } => {
            ui.show(&EndpointChangeView::new(&endpoint::set_enabled(app, &id, false)?, app.clock.now()))?;
        }
        EndpointCommand::Send { kind, data, id, endpoint, wait } => {
            return send(app, ui, kind, data.as_deref(), id.as_deref(), endpoint.as_deref(), wait);
        }
        EndpointCommand::Event { command } => event::run(app, ui, command)?,
        EndpointCommand::Prune { keep } => prune(app, ui, keep)?,
        EndpointCommand::Deliver { once } => return deliver(app, ui, once),
        EndpointCommand::Deliveries { of, status, since, limit } => {
            let status = status.map(DeliveryStatusArg::status);
            let since = since.map(|since| ago(app, since));
            deliveries(app, ui, of.as_deref(), DeliveryFilter { status, since, limit, ..DeliveryFilter::default() })?;
        }
        EndpointCommand::Retry { deliveries, failed, since } => {
            let since = since.map_or(Timestamp::MIN, |since| ago(app, since));
            retry(app, ui, &deliveries, failed.as_deref(), since)?;
        }
    }
    Ok(0)
}

/// A pattern that no type of the catalogue fits is most likely a slip.
fn warn_of_types(app: &App, ui: &Ui, events: &[EventPattern]) -> Result<()> {
    let types = app.store()?.event_types().list()?;
    for pattern in endpoint::catalogue::unknown(&types, events) {
        ui.warning(&format!("no type of yours fits {pattern}: `integ endpoint event list`"));
    }
    Ok(())
}

fn prune(app: &App, ui: &Ui, keep: Option<Duration>) -> Result<()> {
    const TOGETHER: usize = 1000;
    let before = ago(app, keep.unwrap_or(app.config.endpoints.retention));
    let mut removed = 0;
    if app.has_vault() {
        loop {
            let now = app.store()?.outbox().prune(before, TOGETHER)?;
            removed += now;
            if now < TOGETHER {
                break;
            }
        }
    }
    Ok(ui.show(&MessagePruneView { removed })?)
}

fn ago(app: &App, since: Duration) -> Timestamp {
    app.clock.now().checked_sub(since).unwrap_or(Timestamp::MIN)
}

fn remove(app: &App, ui: &Ui, id: &str, yes: bool) -> Result<u8> {
    let endpoint = endpoint::find(app, id)?;
    let lost = format!("Removing {id} ({}) forgets its secret and its deliveries, also those that wait.", endpoint.url);
    if !yes && !ui.terminal().confirm(&lost)? {
        ui.note("Nothing was changed.");
        return Ok(1);
    }
    endpoint::remove(app.store()?, &endpoint)?;
    ui.note(&format!("Removed {id}."));
    Ok(0)
}

fn send(
    app: &App,
    ui: &Ui,
    kind: EventType,
    data: Option<&str>,
    id: Option<&str>,
    only: Option<&str>,
    wait: bool,
) -> Result<u8> {
    /// Every endpoint has its answer by then: an attempt's longest time, and some for those before it.
    const LONGEST_WAIT: Duration = Duration::from_secs(120);
    let data = data.map(super::api::read_file).transpose().map_err(|source| EndpointError::Read { source })?;
    let only = only.map(|id| Ok::<_, crate::error::Error>(endpoint::find(app, id)?.id)).transpose()?;
    let store = app.store_or_new()?;
    endpoint::catalogue::check(store, &kind, data.as_deref().unwrap_or(b"{}"))?;
    let order = endpoint::draft(kind, data.as_deref().unwrap_or(b"{}"), id, only, app.clock.now_millis())?;
    let mut outgoing = endpoint::send(store, &order)?;
    if wait {
        outgoing.deliveries = app.run(endpoint::wait(app, &outgoing.message, LONGEST_WAIT))?;
    }
    ui.show(&SentMessageView::new(&outgoing, app.clock.now()))?;
    if !wait && !ui.json && outgoing.deliveries.iter().any(|delivery| delivery.status == DeliveryStatus::Pending) {
        ui.note("`integ endpoint deliver` sends it.");
    }
    if !outgoing.disabled.is_empty() {
        ui.warning(&format!("{} disabled endpoints would have wanted it", outgoing.disabled.len()));
    }
    let undone = outgoing.deliveries.iter().filter(|delivery| delivery.status != DeliveryStatus::Delivered).count();
    Ok(match undone {
        _ if !wait => 0,
        0 => 0,
        undone if undone == outgoing.deliveries.len() => Kind::Temporary.exit_code(),
        _ => Kind::Partial.exit_code(),
    })
}

fn deliver(app: &App, ui: &Ui, once: bool) -> Result<u8> {
    app.store_or_new()?;
    let until = if once { StopCondition::Idle } else { StopCondition::Stopped };
    let summary = app.run(async {
        // It ends in order: attempts that were begun are recorded.
        let _hold = app.shutdown.hold();
        if !once {
            ui.note("Sending what is due. Ctrl-C ends it.");
        }
        endpoint::deliver(app, &DeliveryScope::All, until, app.shutdown.requested(), |one| {
            // A jq expression that fails is no reason to stop sending.
            if ui.json {
                let _ = ui.show_line(&attempted(one));
            } else {
                ui.raw(&view::line(one));
            }
        })
        .await
    })?;
    let (delivered, failed, dead) = (summary.delivered, summary.failed, summary.dead);
    ui.note(&format!("{delivered} delivered, {failed} to be tried again, {dead} given up."));
    Ok(0)
}

fn deliveries(app: &App, ui: &Ui, of: Option<&str>, mut filter: DeliveryFilter) -> Result<()> {
    let now = app.clock.now();
    match of {
        Some(of) if of.starts_with("dlv_") => {
            let id = delivery_id(of)?;
            let delivery = app.store()?.outbox().get(id)?.ok_or(EndpointError::DeliveryNotFound(id))?;
            let attempts = app.store()?.outbox().attempts(id)?;
            return Ok(ui.show(&DeliveryDetailView::new(&delivery, &attempts, now))?);
        }
        Some(of) if of.starts_with("ep_") => filter.endpoint = Some(endpoint::find(app, of)?.id),
        Some(of) => filter.message = Some(of.to_owned()),
        None => {}
    }
    let found = if app.has_vault() { app.store()?.outbox().list(&filter)? } else { Vec::new() };
    Ok(ui.show(&DeliveryListView { deliveries: found.iter().map(|one| DeliveryView::new(one, now)).collect() })?)
}

fn retry(app: &App, ui: &Ui, deliveries: &[String], failed: Option<&str>, since: Timestamp) -> Result<()> {
    let now = app.clock.now_millis();
    let retried = match failed {
        None => {
            let ids = deliveries.iter().map(|id| delivery_id(id)).collect::<Result<Vec<_>, _>>()?;
            endpoint::retry(app.store()?, &ids, now)?.len()
        }
        Some(endpoint) => {
            let endpoint = Some(endpoint).filter(|id| !id.is_empty());
            let endpoint = endpoint.map(|id| endpoint::find(app, id)).transpose()?.map(|endpoint| endpoint.id);
            endpoint::retry_all(app.store()?, &RetryFilter { endpoint, since }, now)?
        }
    };
    Ok(ui.show(&DeliveryRetryView { retried })?)
}

fn delivery_id(text: &str) -> Result<DeliveryId, EndpointError> {
    text.parse().map_err(|_| EndpointError::InvalidDeliveryId(text.to_owned()))
}
