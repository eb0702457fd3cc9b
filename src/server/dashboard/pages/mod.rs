//! The pages, a module for each, and their paths.

mod alerts;
mod api_tokens;
mod appointment;
mod approvals;
mod audit;
mod bindings;
mod calendar;
mod connect;
mod connect_links;
mod connection;
mod connection_activity;
mod connection_data;
mod connection_webhooks;
mod connections;
mod connectors;
mod consents;
mod delivery_chart;
mod disconnections;
mod endpoints;
mod events;
mod installed_connectors;
mod links;
mod metrics;
mod operators;
pub(super) mod results;
mod settings;
mod sync;
mod users;

use std::collections::BTreeMap;
use std::pin::Pin;

use super::DashboardPage;
use super::context::DashboardContext;
use crate::http::serve::FullResponse;
use crate::server::problem::Problem;

/// The page that `/dashboard` shows.
pub(super) const HOME: &str = "/dashboard/connections";

/// What a handler returns.
pub(super) enum Shown {
    Page(DashboardPage),
    /// A file, events, or a redirect.
    Other(FullResponse),
}

impl From<DashboardPage> for Shown {
    fn from(page: DashboardPage) -> Self {
        Self::Page(page)
    }
}

type Rendering<'c> = Pin<Box<dyn Future<Output = Result<Shown, Problem>> + Send + 'c>>;

/// Makes a page.
pub(super) type PageHandler = for<'c> fn(&'c DashboardContext) -> Rendering<'c>;

/// Makes the entry of a page: its path, and the function that shows it.
macro_rules! page {
    ($path:literal, $function:path) => {
        ($path, (|context| Box::pin(async move { Ok($function(context).await?.into()) })) as super::PageHandler)
    };
}

use page;

/// Returns every page.
fn all() -> impl Iterator<Item = &'static (&'static str, PageHandler)> {
    let pages = [
        alerts::PAGES,
        api_tokens::PAGES,
        appointment::PAGES,
        approvals::PAGES,
        audit::PAGES,
        bindings::PAGES,
        calendar::PAGES,
        connect::PAGES,
        connect_links::PAGES,
        connection::PAGES,
        connection_activity::PAGES,
        connection_data::PAGES,
        connection_webhooks::PAGES,
        connections::PAGES,
        connectors::PAGES,
        disconnections::PAGES,
        consents::PAGES,
        endpoints::PAGES,
        events::PAGES,
        links::PAGES,
        metrics::PAGES,
        operators::PAGES,
        settings::PAGES,
        sync::PAGES,
        users::PAGES,
    ];
    pages.into_iter().flatten()
}

/// Returns the pages by their paths.
///
/// # Panics
/// If two pages have the same path: a mistake in the list.
pub(super) fn router() -> matchit::Router<PageHandler> {
    let mut router = matchit::Router::new();
    for (path, handler) in all() {
        let inserted = router.insert(*path, *handler);
        assert!(inserted.is_ok(), "{path}: {inserted:?}");
    }
    router
}

/// Returns the values in a path. A text that is not UTF-8 names nothing.
pub(super) fn decoded(params: &matchit::Params<'_, '_>) -> BTreeMap<String, String> {
    let decode = |(name, value): (&str, &str)| {
        let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
        (name.to_owned(), value)
    };
    params.iter().map(decode).collect()
}
