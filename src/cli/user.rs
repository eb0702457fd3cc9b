//! `integ user`.

use clap::{Args, Subcommand};

use super::table::{TableCell, count, table_of_numbers};
use super::ui::{Render, Ui};
use crate::error::Result;
use crate::model::UserId;
use crate::ops::users::{self, DeleteUserRequest};
use crate::runtime::Workspace;
use crate::view::user::{DeletedUserView, UserDetailView, UserListView, UserView};
use crate::view::workspace::StoreView;

/// List, show and delete your own users
///
/// A user is an ID of your own on connections, links and consents. integ knows nothing else about your users.
#[derive(Debug, Args)]
pub(super) struct UserArgs {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// List users with the number of their connections
    List,
    /// Show what belongs to a user
    Show {
        /// ID of the user
        #[arg(value_name = "USER")]
        user: UserId,
    },
    /// Delete a user: revoke their grants, and erase everything that names them
    ///
    /// Erases the user's connections with their tokens, records, events and schedules, and links and consents. The file
    /// of the store is then rewritten without them. Only audit entries stay. Earlier backups still contain the user,
    /// and so do files that you exported and messages that you sent.
    Delete {
        /// ID of the user
        #[arg(value_name = "USER")]
        user: UserId,
        /// Also erase connections whose grants cannot be revoked
        #[arg(long)]
        force: bool,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: UserArgs) -> Result<u8> {
    match args.command {
        UserCommand::List => ui.show(&workspace.run(users::list_users(workspace))?)?,
        UserCommand::Show { user } => ui.show(&workspace.run(users::show_user(workspace, user))?)?,
        UserCommand::Delete { user, force, yes } => {
            let found = workspace.run(users::show_user(workspace, user.clone()))?;
            if !yes && !ui.terminal().confirm(&consequences(&found))? {
                ui.note("Nothing was changed.");
                return Ok(1);
            }
            let deleted = workspace.run(users::delete_user(workspace, DeleteUserRequest { user, force }))?;
            ui.show(&deleted)?;
            if !deleted.purged {
                let store = StoreView::from(workspace.run(workspace.store_details())?);
                ui.warning(left_behind(&store));
            }
        }
    }
    Ok(0)
}

/// Where deleted data may still be after a deletion that could not purge it.
fn left_behind(store: &StoreView) -> &'static str {
    match store.is_shared() {
        true => "the server's files may hold deleted data until it vacuums them, and so may its log and backups",
        // A new key means a new file, without what was deleted.
        false => {
            "another process reads the store, whose file may still hold deleted data; end it and run `integ vault rekey`"
        }
    }
}

/// What the user is asked to agree to.
fn consequences(view: &UserDetailView) -> String {
    let names = view.connections.iter().map(ToString::to_string).collect::<Vec<_>>();
    let connections = if names.is_empty() { "no connections".to_owned() } else { names.join(", ") };
    format!(
        "This erases all data of user {}: {connections}, {}, {}, {}. It cannot be undone.",
        view.user,
        count(view.records, "record"),
        count(view.links, "link"),
        count(view.consents.len(), "consent")
    )
}

impl Render for UserListView {
    fn text(&self, ui: &Ui) -> String {
        if self.users.is_empty() {
            return "No users.".to_owned();
        }
        let row = |user: &UserView| -> Vec<TableCell> {
            let counts = [user.connections, user.links, user.consents];
            let counts = counts.into_iter().map(|count| count.to_string().into());
            std::iter::once(user.user.to_string().into()).chain(counts).collect()
        };
        let headings = ["user", "connections", "links", "consents"];
        let rows = table_of_numbers(ui, &headings, self.users.iter().map(row).collect(), 1..4);
        let summary = &self.summary;
        format!(
            "{rows}\n{}, {}, {} per user on average",
            count(summary.users, "user"),
            count(summary.connections, "connection"),
            summary.connections_per_user
        )
    }
}

impl Render for UserDetailView {
    fn text(&self, _ui: &Ui) -> String {
        let names: Vec<String> = self.connections.iter().map(ToString::to_string).collect();
        let connections = if names.is_empty() { "-".to_owned() } else { names.join(", ") };
        let mut lines = vec![
            format!("user:         {}", self.user),
            format!("connections:  {connections}"),
            format!("records:      {}", self.records),
            format!("links:        {}", self.links),
            format!("consents:     {}", self.consents.len()),
        ];
        for consent in &self.consents {
            lines.push(format!("  {} {} ({})", consent.id, consent.purpose, consent.state));
        }
        lines.join("\n")
    }
}

impl Render for DeletedUserView {
    fn text(&self, _ui: &Ui) -> String {
        let mut lines = Vec::new();
        for connection in &self.connections {
            let failure = connection.error.as_ref().map(|error| format!("; not revoked: {error}")).unwrap_or_default();
            lines.push(format!("Erased {} ({}){failure}", connection.connection, connection.result));
        }
        lines.push(format!(
            "Deleted user {}: {} with records and events, {}, {}. Audit entries stay.",
            self.user,
            count(self.connections.len(), "connection"),
            count(self.links, "link"),
            count(self.consents, "consent")
        ));
        lines.join("\n")
    }
}
