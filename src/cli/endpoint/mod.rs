//! `integ endpoint`: outbound webhooks.

mod event;
mod render;

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use url::Url;

use super::complete::endpoints;
use super::input_file::read_input_file;
use super::ui::Ui;
use super::value_parser::duration;
use crate::clock::Timestamp;
use crate::endpoint::{EndpointChange, EndpointError, RetryFilter};
use crate::error::{Kind, Result};
use crate::model::delivery::{DeliveryFilter, DeliveryId, DeliveryStatus};
use crate::model::endpoint::BackoffPolicy;
use crate::model::{Budget, EndpointId, EventPattern, EventType};
use crate::ops::endpoints::{
    self as ops, AddEndpointRequest, RetryDeliveriesRequest, RotateSecretRequest, SendMessageRequest,
    UpdateEndpointRequest,
};
use crate::runtime::Workspace;
use crate::runtime::worker::RunUntil;
use crate::view::endpoint::{AttemptedView, EndpointDetailView, SentMessageView};

/// Send your own webhooks: signed, retried, logged
///
/// Messages are signed as in Standard Webhooks (webhook-id, webhook-timestamp, webhook-signature). `integ endpoint
/// deliver` sends what is due; each message reaches every endpoint subscribed to its type at least once.
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
    /// Add a URL to send your messages to, and print its signing secret; it is shown only once
    Add {
        /// URL to send messages to
        #[arg(value_name = "URL")]
        url: Url,
        #[command(flatten)]
        policy: DeliveryPolicyArgs,
    },
    /// List the endpoints with their status
    List,
    /// Show an endpoint with its delivery policy
    Show {
        /// Id of the endpoint
        #[arg(value_name = "ENDPOINT", add = endpoints())]
        id: String,
    },
    /// Change an endpoint
    Update {
        /// Id of the endpoint
        #[arg(value_name = "ENDPOINT", add = endpoints())]
        id: String,
        /// New URL to send messages to
        #[arg(long, value_name = "URL")]
        url: Option<Url>,
        #[command(flatten)]
        policy: DeliveryPolicyArgs,
    },
    /// Remove an endpoint with its deliveries
    Remove {
        /// Id of the endpoint
        #[arg(value_name = "ENDPOINT", add = endpoints())]
        id: String,
        /// Do not ask for confirmation
        #[arg(short, long)]
        yes: bool,
    },
    /// Give an endpoint a new signing secret and print it; it is shown only once
    Rotate {
        /// Id of the endpoint
        #[arg(value_name = "ENDPOINT", add = endpoints())]
        id: String,
        /// How long the previous secret is also used for signing
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
        overlap: Duration,
    },
    /// Enable an endpoint that was disabled
    Enable {
        /// Id of the endpoint
        #[arg(value_name = "ENDPOINT", add = endpoints())]
        id: String,
    },
    /// Disable an endpoint: nothing is sent to it until it is enabled
    Disable {
        /// Id of the endpoint
        #[arg(value_name = "ENDPOINT", add = endpoints())]
        id: String,
    },
    /// Send a message to every endpoint subscribed to its type
    Send {
        /// Type of the message, such as invoice.paid
        #[arg(value_name = "TYPE")]
        kind: EventType,
        /// File with the message's data as JSON (default: an empty object); - for stdin
        #[arg(long, value_name = "FILE")]
        data: Option<String>,
        /// Message id (default: random); a message with the same id is sent only once
        #[arg(long, value_name = "MSG")]
        id: Option<String>,
        /// Send only to this endpoint, whatever types it is subscribed to
        #[arg(long, value_name = "ENDPOINT", add = endpoints())]
        endpoint: Option<String>,
        /// Wait until each delivery has been attempted once
        #[arg(long)]
        wait: bool,
    },
    /// Manage the types of your messages and the data that each must have
    Event {
        #[command(subcommand)]
        command: event::EventCommand,
    },
    /// Remove messages whose deliveries are delivered or dead
    Prune {
        /// Remove messages older than this (default: the setting endpoints.keep)
        #[arg(long, value_name = "TIME", value_parser = duration)]
        keep: Option<Duration>,
    },
    /// Send due messages until Ctrl-C
    Deliver {
        /// Exit when nothing is due, for cron
        #[arg(long)]
        once: bool,
    },
    /// List deliveries, or the attempts of a delivery
    Deliveries {
        /// Endpoint or message whose deliveries to list, or delivery whose attempts to show (default: all deliveries)
        #[arg(value_name = "ENDPOINT|MSG|DELIVERY", add = endpoints())]
        of: Option<String>,
        /// Only deliveries with this status
        #[arg(long, value_name = "STATUS")]
        status: Option<DeliveryStatusArg>,
        /// Only deliveries created since then: 90s, 2h, 7d ago
        #[arg(long, value_name = "TIME", value_parser = duration)]
        since: Option<Duration>,
        /// Maximum number of deliveries
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
    },
    /// Send deliveries again: the same messages with the same IDs
    Retry {
        /// Deliveries to send again, whatever their status
        #[arg(value_name = "DELIVERY", required_unless_present = "failed")]
        deliveries: Vec<String>,
        /// Retry all failed and dead deliveries, of one endpoint or of all
        #[arg(long, value_name = "ENDPOINT", num_args = 0..=1, default_missing_value = "", conflicts_with = "deliveries", requires = "since", add = endpoints())]
        failed: Option<String>,
        /// Only deliveries created since then: 90s, 2h, 7d ago
        #[arg(long, value_name = "TIME", value_parser = duration)]
        since: Option<Duration>,
    },
}

#[derive(Debug, Args)]
struct DeliveryPolicyArgs {
    /// Only events of these types: invoice.paid, invoice.*; repeatable
    #[arg(long, value_name = "PATTERN")]
    events: Vec<EventPattern>,
    /// Rate limit: 10/s, 100/m, 500/h
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<Budget>,
    /// Delays between attempts: exponential (the default) is 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 10 h; linear adds 10 min each time; none is one attempt
    #[arg(long, value_name = "POLICY")]
    policy: Option<BackoffArg>,
    /// Attempts before a delivery is dead (default: 8)
    #[arg(long, value_name = "N")]
    attempts: Option<u32>,
    /// Give up after this time (default: 3d)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ttl: Option<Duration>,
    /// Time limit of one attempt (default: 15s)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// Description for yourself; an empty text removes it
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
    let wrong = || format!("{text:?} is not a rate such as 10/s or 100/m");
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

/// Every delivery was tried by then: the longest time of an attempt, and some for those before it.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: EndpointArgs) -> Result<u8> {
    match args.command {
        EndpointCommand::Add { url, policy } => {
            let added = workspace
                .run(ops::add_endpoint(workspace, AddEndpointRequest { url, settings: policy.change(None) }))?;
            show_with_warnings(ui, &added)?;
            ui.note("The secret is shown only once. Receivers verify messages with it, using any Standard Webhooks library.");
        }
        EndpointCommand::List => ui.show(&workspace.run(ops::list_endpoints(workspace))?)?,
        EndpointCommand::Show { id } => ui.show(&workspace.run(ops::show_endpoint(workspace, endpoint_id(&id)?))?)?,
        EndpointCommand::Update { id, url, policy } => {
            let request = UpdateEndpointRequest { id: endpoint_id(&id)?, change: policy.change(url) };
            show_with_warnings(ui, &workspace.run(ops::update_endpoint(workspace, request))?)?;
        }
        EndpointCommand::Remove { id, yes } => return remove(workspace, ui, &endpoint_id(&id)?, yes),
        EndpointCommand::Rotate { id, overlap } => {
            let request = RotateSecretRequest { id: endpoint_id(&id)?, overlap };
            ui.show(&workspace.run(ops::rotate_endpoint_secret(workspace, request))?)?;
        }
        EndpointCommand::Enable { id } => {
            ui.show(&workspace.run(ops::enable_endpoint(workspace, endpoint_id(&id)?))?)?;
        }
        EndpointCommand::Disable { id } => {
            ui.show(&workspace.run(ops::disable_endpoint(workspace, endpoint_id(&id)?))?)?;
        }
        EndpointCommand::Send { kind, data, id, endpoint, wait } => {
            let data = data.as_deref().map(read_input_file).transpose();
            let data = data.map_err(|source| EndpointError::Read { source })?;
            let endpoint = endpoint.as_deref().map(endpoint_id).transpose()?;
            let wait = wait.then_some(LONGEST_WAIT);
            let request = SendMessageRequest { kind, data, id, endpoint, wait };
            return show_sent(ui, &workspace.run(ops::send_message(workspace, request))?, wait.is_some());
        }
        EndpointCommand::Event { command } => event::run(workspace, ui, command)?,
        EndpointCommand::Prune { keep } => ui.show(&workspace.run(ops::prune_messages(workspace, keep))?)?,
        EndpointCommand::Deliver { once } => return deliver(workspace, ui, once),
        EndpointCommand::Deliveries { of, status, since, limit } => {
            let status = status.map(DeliveryStatusArg::status);
            let since = since.map(|since| ago(workspace, since));
            deliveries(
                workspace,
                ui,
                of.as_deref(),
                DeliveryFilter { status, since, limit, ..DeliveryFilter::default() },
            )?;
        }
        EndpointCommand::Retry { deliveries, failed, since } => {
            let request = match failed {
                None => {
                    let ids = deliveries.iter().map(|id| delivery_id(id)).collect::<Result<_, _>>()?;
                    RetryDeliveriesRequest::Deliveries(ids)
                }
                Some(endpoint) => {
                    let endpoint = Some(endpoint.as_str()).filter(|id| !id.is_empty());
                    let endpoint = endpoint.map(endpoint_id).transpose()?;
                    let since = since.map_or(Timestamp::MIN, |since| ago(workspace, since));
                    RetryDeliveriesRequest::Failed(RetryFilter { endpoint, since })
                }
            };
            ui.show(&workspace.run(ops::retry_deliveries(workspace, request))?)?;
        }
    }
    Ok(0)
}

/// What is not an endpoint's id names no endpoint.
fn endpoint_id(text: &str) -> Result<EndpointId, EndpointError> {
    text.parse().map_err(|_| EndpointError::EndpointNotFound(text.to_owned()))
}

fn delivery_id(text: &str) -> Result<DeliveryId, EndpointError> {
    text.parse().map_err(|_| EndpointError::InvalidDeliveryId(text.to_owned()))
}

fn ago(workspace: &Workspace, since: Duration) -> Timestamp {
    workspace.clock.now().checked_sub(since).unwrap_or(Timestamp::MIN)
}

/// A pattern that no type of the catalogue matches is most likely misspelled.
fn show_with_warnings(ui: &Ui, endpoint: &EndpointDetailView) -> Result<()> {
    for pattern in &endpoint.unmatched_patterns {
        ui.warning(&format!("no event type matches {pattern}: `integ endpoint event list`"));
    }
    Ok(ui.show(endpoint)?)
}

fn remove(workspace: &Workspace, ui: &Ui, id: &EndpointId, yes: bool) -> Result<u8> {
    let url = workspace.run(ops::show_endpoint(workspace, id.clone()))?.endpoint.url;
    let lost = format!("Removing {id} ({url}) forgets its secret and its deliveries, also those that wait.");
    if !yes && !ui.terminal().confirm(&lost)? {
        ui.note("Nothing was changed.");
        return Ok(1);
    }
    workspace.run(ops::remove_endpoint(workspace, id.clone()))?;
    ui.note(&format!("Removed {id}."));
    Ok(0)
}

fn show_sent(ui: &Ui, sent: &SentMessageView, has_waited: bool) -> Result<u8> {
    ui.show(sent)?;
    let count = |status| sent.deliveries.iter().filter(|delivery| delivery.status == status).count();
    if !has_waited && !ui.json && count(DeliveryStatus::Pending) > 0 {
        ui.note("`integ endpoint deliver` sends it.");
    }
    if !sent.disabled_endpoints.is_empty() {
        let disabled = crate::cli::table::count(sent.disabled_endpoints.len(), "disabled endpoint");
        ui.warning(&format!("not sent to {disabled} with a subscription to this type"));
    }
    let delivered = count(DeliveryStatus::Delivered);
    Ok(match delivered {
        _ if !has_waited || delivered == sent.deliveries.len() => 0,
        0 => Kind::Temporary.exit_code(),
        _ => Kind::Partial.exit_code(),
    })
}

fn deliver(workspace: &Workspace, ui: &Ui, once: bool) -> Result<u8> {
    let until = if once { RunUntil::Idle } else { RunUntil::Stopped };
    let on_attempt = |attempted: &AttemptedView| {
        if !ui.json {
            ui.raw(&render::attempt_line(attempted));
        } else if let Ok(line) = serde_json::to_string(attempted) {
            // A jq expression that fails is not a reason to stop sending.
            let _ = ui.show_text(&line);
        }
    };
    // Attempts that were begun are recorded at the end.
    let summary = workspace.run_to_end(async {
        if !once {
            ui.note("Sending due messages. Press Ctrl-C to stop.");
        }
        ops::deliver_messages(workspace, until, workspace.engine.shutdown.requested(), on_attempt).await
    })?;
    let (delivered, failed, dead) = (summary.delivered, summary.failed, summary.dead);
    ui.note(&format!("{delivered} delivered, {failed} failed and to be retried, {dead} dead."));
    Ok(0)
}

fn deliveries(workspace: &Workspace, ui: &Ui, of: Option<&str>, mut filter: DeliveryFilter) -> Result<()> {
    match of {
        Some(of) if of.starts_with("dlv_") => {
            return Ok(ui.show(&workspace.run(ops::show_delivery(workspace, delivery_id(of)?))?)?);
        }
        Some(of) if of.starts_with("ep_") => filter.endpoint = Some(endpoint_id(of)?),
        Some(of) => filter.message = Some(of.to_owned()),
        None => {}
    }
    Ok(ui.show(&workspace.run(ops::list_deliveries(workspace, filter))?)?)
}
