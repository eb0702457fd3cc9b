//! `integ connect-link`.

use std::time::Duration;

use clap::{Args, Subcommand};
use url::Url;

use super::complete::connectors;
use super::table::{TableCell, relative, table};
use super::ui::{Render, Tone, Ui, escape};
use super::value_parser::{duration, name_value};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::{ConnectLinkId, ConnectLinkMode, ConnectLinkStatus, ConnectionMode, ConnectionName, UserId};
use crate::ops::connect_links::{self, CreateConnectLinkRequest};
use crate::runtime::Workspace;
use crate::view::connect_link::{ConnectLinkListView, ConnectLinkView, NewConnectLinkView, RevokedConnectLinkView};

/// Let someone else connect an account, with a link
///
/// Anyone who opens the link signs in at the service or enters a key, once; the connection is stored here. The server must run
/// at the public URL: `integ config set serve.public_url https://HOST`.
#[derive(Debug, Args)]
pub(super) struct ConnectLinkArgs {
    #[command(subcommand)]
    command: ConnectLinkCommand,
}

impl ConnectLinkArgs {
    /// Whether it may make the workspace that it works in.
    pub(super) fn makes_workspace(&self) -> bool {
        matches!(self.command, ConnectLinkCommand::Create(_))
    }
}

#[derive(Debug, Subcommand)]
enum ConnectLinkCommand {
    Create(Box<CreateArgs>),
    /// List the links with their status
    List,
    /// Revoke a link; a connection that was made with it stays
    Revoke {
        /// ID of the link
        #[arg(value_name = "ID")]
        id: ConnectLinkId,
    },
}

/// Create a link and print its URL; it is shown only once
#[derive(Debug, Args)]
struct CreateArgs {
    /// The service, and a name for the account if you choose one
    #[arg(value_name = "CONNECTOR[@ACCOUNT]", add = connectors())]
    connection: ConnectionName,
    /// Your own ID of the user who will own the account; also names the connection, unless you name the account
    #[arg(long, value_name = "ID")]
    user: Option<UserId>,
    /// How long the link is valid, at most 7d
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "24h")]
    expires: Duration,
    /// The authentication method, as `integ connector show` names it (default: the connector's first)
    #[arg(long, value_name = "NAME")]
    auth: Option<String>,
    /// Scope to request, instead of the connector's defaults; repeatable
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
    scopes: Vec<String>,
    /// Value of a connector's parameter, such as a subdomain; the link's page asks for missing ones; repeatable
    #[arg(long = "param", short = 'p', value_name = "NAME=VALUE", value_parser = name_value)]
    params: Vec<(String, String)>,
    /// Where the browser goes afterwards; its origin must be in serve.return_origins
    #[arg(long, value_name = "URL")]
    return_to: Option<Url>,
    /// For a pop-up window of your own page: it reports the result to the page and closes
    #[arg(long)]
    popup: bool,
    /// Use the built-in emulation of the service: no account, no network
    #[arg(long)]
    sandbox: bool,
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: ConnectLinkArgs) -> Result<u8> {
    match args.command {
        ConnectLinkCommand::Create(args) => {
            let created = workspace.run(connect_links::create(workspace, request(*args)))?;
            ui.show(&created)?;
            let expires_in = created.link.expires_at.as_second() - created.link.as_of.as_second();
            ui.note(&format!("It connects one account, and expires {}.", relative(expires_in)));
        }
        ConnectLinkCommand::List => ui.show(&workspace.run(connect_links::list(workspace))?)?,
        ConnectLinkCommand::Revoke { id } => ui.show(&workspace.run(connect_links::revoke(workspace, &id))?)?,
    }
    Ok(0)
}

fn request(args: CreateArgs) -> CreateConnectLinkRequest {
    CreateConnectLinkRequest {
        connector: args.connection.connector().to_owned(),
        account: args.connection.account().map(str::to_owned),
        auth: args.auth,
        scopes: args.scopes,
        params: args.params.into_iter().collect(),
        user: args.user,
        is_sandbox: args.sandbox,
        display: if args.popup { ConnectLinkMode::Popup } else { ConnectLinkMode::Redirect },
        return_to: args.return_to,
        lifetime: Some(args.expires),
        is_guarded: false,
    }
}

/// The connection that a link is for.
fn target(link: &ConnectLinkView) -> String {
    let account = link.account.as_ref().map(|account| format!("@{account}")).unwrap_or_default();
    let sandbox = if link.mode == ConnectionMode::Sandbox { " (sandbox)" } else { "" };
    format!("{}{account}{sandbox}", link.connector)
}

impl Render for NewConnectLinkView {
    fn text(&self, _ui: &Ui) -> String {
        self.url.clone()
    }
}

impl Render for ConnectLinkListView {
    fn text(&self, ui: &Ui) -> String {
        if self.connect_links.is_empty() {
            return "No connect links. `integ connect-link create CONNECTOR` creates one.".to_owned();
        }
        let since = |link: &ConnectLinkView, at: Timestamp| relative(at.as_second() - link.as_of.as_second());
        let row = |link: &ConnectLinkView| -> Vec<TableCell> {
            let tone = if link.status == ConnectLinkStatus::Active { Tone::Good } else { Tone::Dim };
            vec![
                link.connect_link.to_string().into(),
                target(link).into(),
                link.user.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string).into(),
                TableCell(link.status.to_string(), Some(tone)),
                since(link, link.created_at).into(),
                since(link, link.expires_at).into(),
            ]
        };
        let headings = ["link", "connection", "user", "status", "created", "expires"];
        table(ui, &headings, self.connect_links.iter().map(row).collect())
    }
}

impl Render for RevokedConnectLinkView {
    fn text(&self, _ui: &Ui) -> String {
        let link = escape(&format!("{} for {}", self.revoked.connect_link, target(&self.revoked)));
        match self.was_active {
            true => format!("Revoked the connect link {link}"),
            false => format!("The connect link {link} was not active any more: it is {}", self.revoked.status),
        }
    }
}
