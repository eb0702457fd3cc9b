//! `integ webhook`.

mod backfill;
mod error;
mod events;
mod handled_lines;
pub(super) mod handlers;
mod input;
mod keyboard;
mod listen;
mod listen_display;
mod listen_rows;
mod local_url;
mod printer;
mod prune;
mod public_url;
mod replay;
mod resolve;
mod secret;
mod show;
mod simulate;
mod subscribe;
mod subscription;
mod unsubscribe;
mod verify;

use clap::{Args, Subcommand};

pub(super) use subscription::subscription_note;

use super::ui::Ui;
use crate::error::Result;
use crate::runtime::Workspace;

/// Receive, inspect and simulate webhooks
#[derive(Debug, Args)]
pub(super) struct WebhookArgs {
    #[command(subcommand)]
    command: WebhookCommand,
}

#[derive(Debug, Subcommand)]
enum WebhookCommand {
    Url(public_url::UrlArgs),
    Secret(secret::SecretArgs),
    Listen(Box<listen::ListenArgs>),
    Simulate(Box<simulate::SimulateArgs>),
    Verify(verify::VerifyArgs),
    Subscribe(subscribe::SubscribeArgs),
    Unsubscribe(unsubscribe::UnsubscribeArgs),
    Events(events::EventsArgs),
    Show(show::EventShowArgs),
    Resolve(resolve::ResolveArgs),
    Retry(replay::RetryArgs),
    Replay(replay::ReplayArgs),
    Backfill(backfill::BackfillArgs),
    Prune(prune::PruneArgs),
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: WebhookArgs) -> Result<u8> {
    match args.command {
        WebhookCommand::Url(args) => public_url::run(workspace, ui, &args),
        WebhookCommand::Secret(args) => secret::run(workspace, ui, &args),
        WebhookCommand::Listen(args) => listen::run(workspace, ui, *args),
        WebhookCommand::Simulate(args) => simulate::run(workspace, ui, &args),
        WebhookCommand::Verify(args) => verify::run(workspace, ui, &args),
        WebhookCommand::Subscribe(args) => subscribe::run(workspace, ui, &args),
        WebhookCommand::Unsubscribe(args) => unsubscribe::run(workspace, ui, &args),
        WebhookCommand::Events(args) => events::run(workspace, ui, &args),
        WebhookCommand::Show(args) => show::run(workspace, ui, &args),
        WebhookCommand::Resolve(args) => resolve::run(workspace, ui, &args),
        WebhookCommand::Retry(args) => replay::retry(workspace, ui, &args),
        WebhookCommand::Replay(args) => replay::run(workspace, ui, &args),
        WebhookCommand::Backfill(args) => backfill::run(workspace, ui, &args),
        WebhookCommand::Prune(args) => prune::run(workspace, ui, &args),
    }
}
