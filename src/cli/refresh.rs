//! `integ refresh`.

use clap::Args;
use futures_util::{StreamExt, stream};
use serde::Serialize;

use super::table::relative;
use super::ui::{Ui, View};
use crate::error::{Error, Kind, Result};
use crate::model::ConnectionName;
use crate::oauth::refresh::{self, Freshness};
use crate::runtime::App;
use crate::webhook::subscription::{RenewalResult, renew_all, renew_due};

/// Refresh tokens now, and renew webhook subscriptions that are due
#[derive(Debug, Args)]
pub(super) struct RefreshArgs {
    #[arg(add = super::complete::connections(), required_unless_present_any = ["all", "due"], conflicts_with_all = ["all", "due"])]
    pub connections: Vec<String>,
    /// Every connection that can be refreshed
    #[arg(long)]
    pub all: bool,
    /// Only those that are about to expire
    #[arg(long)]
    pub due: bool,
}

/// Refreshes that run at the same time.
const MAX_CONCURRENT: usize = 16;

#[derive(Serialize)]
struct RefreshView {
    connection: String,
    /// `sandbox`, or the origin that its traffic goes to.
    place: Option<String>,
    outcome: &'static str,
    expires_at: Option<String>,
    expires_in: Option<i64>,
    error: Option<String>,
}

/// A subscription whose time had come.
#[derive(Serialize)]
struct SubscriptionRenewalView {
    connection: String,
    subscription: i64,
    outcome: &'static str,
    expires_at: Option<String>,
    error: Option<String>,
}

#[derive(Serialize)]
struct RefreshListView {
    refreshed: Vec<RefreshView>,
    renewed: Vec<SubscriptionRenewalView>,
}

impl View for RefreshListView {
    fn text(&self, _ui: &Ui) -> String {
        let line = |refreshed: &RefreshView| {
            let rest = match (&refreshed.error, refreshed.expires_in) {
                (Some(error), _) => format!("failed: {}", super::ui::escape(error)),
                (None, Some(seconds)) => format!("{}, expires {}", refreshed.outcome, relative(seconds)),
                (None, None) => refreshed.outcome.to_owned(),
            };
            let place = refreshed.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
            format!("{}{place}: {rest}", refreshed.connection)
        };
        let renewal = |renewed: &SubscriptionRenewalView| {
            let SubscriptionRenewalView { connection, subscription, outcome, expires_at, error } = renewed;
            let rest = match (error, expires_at) {
                (Some(error), _) => format!(": {}", super::ui::escape(error)),
                (None, Some(at)) => format!(" until {at}"),
                (None, None) => String::new(),
            };
            format!("{connection}: webhook subscription {subscription} {outcome}{rest}")
        };
        let lines: Vec<String> = self.refreshed.iter().map(line).chain(self.renewed.iter().map(renewal)).collect();
        if lines.is_empty() { "Nothing to refresh.".to_owned() } else { lines.join("\n") }
    }
}

pub(super) fn run(app: &App, ui: &Ui, args: &RefreshArgs) -> Result<u8> {
    let every = args.all || args.due;
    let (names, want_newer) = if args.all || args.due {
        let all = if app.has_vault() { app.store()?.connections().list()? } else { Vec::new() };
        let able = all.into_iter().filter(|connection| connection.expiry.is_refreshable);
        (able.map(|connection| connection.name).collect::<Vec<_>>(), !args.due)
    } else {
        (args.connections.iter().map(|name| ui.project.resolve(name)).collect::<Result<_, _>>()?, true)
    };
    let one = names.len() == 1 && !args.all && !args.due;
    let named = names.iter().map(|name| Ok(app.connection(name)?.id)).collect::<Result<Vec<_>>>()?;
    let (refreshed, mut errors, renewed) = app.run(async {
        let refreshes = names.iter().map(|name| refresh_one(app, name, want_newer));
        let (refreshed, errors): (Vec<_>, Vec<_>) = stream::iter(refreshes).buffered(MAX_CONCURRENT).unzip().await;
        let mut errors: Vec<Error> = errors.into_iter().flatten().collect();
        let chosen = (!every).then_some(named.as_slice());
        let renewals = match app.has_vault() {
            true if args.due => renew_due(app, chosen).await?,
            true => renew_all(app, chosen).await?,
            false => Vec::new(),
        };
        let mut renewed = Vec::new();
        for renewal in renewals {
            let (view, error) = renewed_view(renewal);
            renewed.push(view);
            errors.extend(error);
        }
        Ok((refreshed, errors, renewed))
    })?;
    if one
        && renewed.is_empty()
        && let Some(error) = errors.pop()
    {
        return Err(error);
    }
    let (failed, total) = (errors.len(), refreshed.len() + renewed.len());
    ui.show(&RefreshListView { refreshed, renewed })?;
    Ok(match errors.first() {
        None => 0,
        Some(first) if failed == total => first.kind().exit_code(),
        Some(_) => Kind::Partial.exit_code(),
    })
}

fn renewed_view(renewal: RenewalResult) -> (SubscriptionRenewalView, Option<Error>) {
    let (outcome, expires_at, error) = match renewal.result {
        Ok(until) => ("renewed", until, None),
        Err(error) => ("failed", None, Some(error)),
    };
    let why = error.as_ref().map(Error::on_one_line);
    let view = SubscriptionRenewalView {
        connection: renewal.connection.to_string(),
        subscription: renewal.id.0,
        outcome,
        expires_at: expires_at.map(|at| at.to_string()),
        error: why,
    };
    (view, error)
}

async fn refresh_one(app: &App, name: &ConnectionName, newer: bool) -> (RefreshView, Option<Error>) {
    let result = async {
        let before = refresh::load_grant(app, name)?.stored_grant.generation;
        let want = if newer { Freshness::NewerThan { than: before } } else { Freshness::RefreshIfDue };
        let loaded = refresh::fresh_grant(app, name, want).await?;
        Ok::<_, Error>((loaded.stored_grant.generation != before, loaded.grant.expires_at))
    };
    let now = app.clock.now().as_second();
    let place = app.connection(name).ok().and_then(|connection| connection.target());
    match result.await {
        Ok((renewed, expires_at)) => (
            RefreshView {
                connection: name.to_string(),
                place,
                outcome: if renewed { "refreshed" } else { "still good" },
                expires_at: expires_at.map(|at| at.to_string()),
                expires_in: expires_at.map(|at| at.as_second() - now),
                error: None,
            },
            None,
        ),
        Err(error) => {
            let view = RefreshView {
                connection: name.to_string(),
                place,
                outcome: "failed",
                expires_at: None,
                expires_in: None,
                error: Some(error.on_one_line()),
            };
            (view, Some(error))
        }
    }
}
