//! The status of a server's connections, and their tests.

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::Deserialize;

use super::{RemoteError, RemoteServer};
use crate::health::StatusSummary;
use crate::model::{ConnectionMode, ConnectionName, WorkspaceName};
use crate::ops::connections::{StatusRequest, TestObserver, TestRequest};
use crate::view::connection::{ConnectionView, StatusView, TestListView};

/// Connections of a page.
const PAGE_SIZE: &str = "500";

/// Tests that run at once.
const MAX_CONCURRENT_TESTS: usize = 8;

#[derive(Deserialize)]
struct ConnectionPage {
    data: Vec<ConnectionView>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct WorkspaceOfToken {
    workspace: WorkspaceName,
}

impl RemoteServer {
    /// Returns the status of connections.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn status(&self, request: &StatusRequest) -> Result<StatusView, RemoteError> {
        let WorkspaceOfToken { workspace } = self.get(&["status"], &[]).await?;
        let mut connections = Vec::new();
        if request.connections.is_empty() {
            connections = self.all_connections(request.user.as_ref().map(ToString::to_string).as_deref()).await?;
        }
        for name in &request.connections {
            connections.push(self.get::<ConnectionView>(&["connections", &name.to_string()], &[]).await?);
        }
        connections.retain(|view| request.user.is_none() || view.user == request.user);
        let now = self.clock.now();
        let mut summary = StatusSummary::default();
        for view in &mut connections {
            complete(view, now);
            summary.add(view.status);
        }
        Ok(StatusView { workspace, connections, summary })
    }

    async fn all_connections(&self, user: Option<&str>) -> Result<Vec<ConnectionView>, RemoteError> {
        let (mut found, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let mut query = vec![("limit", PAGE_SIZE)];
            query.extend(user.map(|user| ("user", user)));
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let page: ConnectionPage = self.get(&["connections"], &query).await?;
            let is_empty = page.data.is_empty();
            found.extend(page.data);
            match page.next_cursor {
                Some(next) if !is_empty => cursor = Some(next),
                _ => return Ok(found),
            }
        }
    }

    /// Asks the services whether connections work, several at once, in the requested order.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn test(&self, request: TestRequest, observer: &dyn TestObserver) -> Result<TestListView, RemoteError> {
        let names = match request.connections {
            names if names.is_empty() => {
                self.all_connections(None).await?.into_iter().map(|view| view.connection).collect()
            }
            names => names,
        };
        observer.started(names.len());
        let tests = stream::iter(&names).map(|name| self.test_one(name, observer));
        let tests: Vec<TestListView> = tests.buffered(MAX_CONCURRENT_TESTS).try_collect().await?;
        let mut all = TestListView { tests: Vec::new(), healthy: 0, unhealthy: 0 };
        for list in tests {
            all.tests.extend(list.tests);
            all.healthy += list.healthy;
            all.unhealthy += list.unhealthy;
        }
        Ok(all)
    }

    async fn test_one(&self, name: &ConnectionName, observer: &dyn TestObserver) -> Result<TestListView, RemoteError> {
        let tested = self.run(&["connections", &name.to_string(), "test"]).await;
        observer.tested(name);
        tested
    }
}

/// Fills in what a view shows and its JSON does not have.
fn complete(view: &mut ConnectionView, now: Timestamp) {
    view.target = match (&view.origin, view.mode) {
        (Some(origin), _) => Some(format!("via {}", origin.trim_end_matches('/'))),
        (None, ConnectionMode::Sandbox) => Some("sandbox".to_owned()),
        (None, ConnectionMode::Live) => None,
    };
    let checked = view.last_checked_at.as_ref().and_then(|at| at.parse::<Timestamp>().ok());
    view.checked_ago = checked.map(|at| at.as_second() - now.as_second());
    for subscription in &mut view.subscriptions {
        subscription.renews_in = subscription.renews_at.map(|at| at.as_second() - now.as_second());
    }
}
