//! `integ dashboard`.

use std::cell::RefCell;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use clap::{Args, Subcommand};
use url::Url;

use super::audit;
use super::operator::confirm_role;
use super::ui::{Render, Ui, escape};
use super::value_parser::server_url;
use super::vault::new_identity::new_identity_note;
use crate::config::ServeConfig;
use crate::connect::Prompter;
use crate::error::{Kind, Result};
use crate::model::{DASHBOARD_LINK_LIFETIME, OperatorName, OperatorRole};
use crate::ops::operators::{self, CreateDashboardLinkRequest};
use crate::ops::serving::{self, ServeError, ServeObserver, ServeRequest, WorkspaceServer};
use crate::runtime::Workspace;
use crate::view::listen::ListenEventView;
use crate::view::operator::NewDashboardLinkView;
use crate::view::serving::ServingView;
use crate::webhook::handle::{EventSelection, Handlers};

/// Attempts to handle an event; nothing handles any here.
const ATTEMPTS: u32 = 1;

/// Open the dashboard in a browser, signed in
///
/// If `integ serve` does not run at its address (`serve.bind`, or 127.0.0.1:7420), it runs here until Ctrl-C. Without a browser,
/// the link is printed. It can be used once, within ten minutes.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct DashboardArgs {
    #[command(subcommand)]
    command: Option<DashboardCommand>,
    #[command(flatten)]
    person: PersonArgs,
    /// Print the link in place of opening it
    #[arg(long)]
    no_browser: bool,
}

/// Who signs in.
#[derive(Debug, Args)]
struct PersonArgs {
    /// Name of the operator; one that does not exist is added
    #[arg(long = "as", value_name = "NAME", default_value = "owner")]
    operator: OperatorName,
    /// What the operator may do from now on: viewer, editor or approver (default: as before; a new `owner` is an approver)
    #[arg(long, value_name = "ROLE")]
    role: Option<OperatorRole>,
}

#[derive(Debug, Subcommand)]
enum DashboardCommand {
    /// Print a link with which an operator signs in to the dashboard, once, within ten minutes
    ///
    /// For an approver, it asks at the terminal first: an agent that runs commands cannot grant its own approvals.
    Link(LinkArgs),
}

#[derive(Debug, Args)]
struct LinkArgs {
    /// Name of the operator; one that does not exist is added
    #[arg(long = "as", value_name = "NAME")]
    operator: OperatorName,
    /// What the operator may do from now on: viewer, editor or approver (default: as before, viewer if new)
    #[arg(long, value_name = "ROLE")]
    role: Option<OperatorRole>,
    /// URL at which browsers reach the server (default: `serve.public_url`, or `serve.bind`)
    #[arg(long, value_name = "URL", value_parser = server_url)]
    public_url: Option<Url>,
}

/// Opens the port of the server, unless one is there that answers already or the command needs none.
///
/// # Errors
/// A port that cannot be used.
pub(super) fn listen(args: &DashboardArgs, settings: &mut ServeConfig) -> Result<Option<Vec<TcpListener>>> {
    if args.command.is_some() {
        return Ok(None);
    }
    match serving::listen(settings.bind) {
        Ok((listeners, address)) => {
            settings.bind = address;
            Ok(Some(listeners))
        }
        Err(ServeError::Bind { source, .. }) if source.kind() == io::ErrorKind::AddrInUse => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn run(
    workspace: Workspace,
    ui: &Ui,
    args: DashboardArgs,
    listeners: Option<Vec<TcpListener>>,
    server: &dyn WorkspaceServer,
) -> Result<u8> {
    if let Some(DashboardCommand::Link(args)) = args.command {
        let LinkArgs { operator, role, public_url } = args;
        let request = CreateDashboardLinkRequest { operator, role, public_url };
        let Some(created) = create(&workspace, ui, request)? else { return Ok(1) };
        ui.show(&created)?;
        let minutes = DASHBOARD_LINK_LIFETIME.as_secs() / 60;
        ui.note(&format!("For {}, once, within {minutes} minutes", escape(created.operator.as_str())));
        return Ok(0);
    }
    let PersonArgs { operator, role } = args.person;
    let mut request = CreateDashboardLinkRequest { operator, role, public_url: None };
    let is_owner = request.operator.as_str() == "owner";
    let known = workspace.run(operators::list_operators(&workspace))?.operators;
    if is_owner && role.is_none() && known.iter().all(|one| one.operator != request.operator) {
        request.role = Some(OperatorRole::Approver);
    }
    let Some(created) = create(&workspace, ui, request)? else { return Ok(1) };
    if let Some(location) = workspace.new_identity_location() {
        ui.note(&new_identity_note(&workspace, location));
    }
    let opener = Opener { ui, link: RefCell::new(Some(created.url)), uses_browser: !args.no_browser };
    let Some(listeners) = listeners else {
        opener.open()?;
        return Ok(0);
    };
    let handlers = Handlers::new(&workspace.engine.config, EventSelection::default());
    let request = ServeRequest { listeners, max_attempts: ATTEMPTS, handlers: Arc::new(handlers) };
    let workspace = Arc::new(workspace);
    workspace.run_to_end(server.serve(&[Arc::clone(&workspace)], request, &opener))?;
    Ok(Kind::Interrupted.exit_code())
}

/// Makes a link, once a person has confirmed that of an approver.
fn create(workspace: &Workspace, ui: &Ui, request: CreateDashboardLinkRequest) -> Result<Option<NewDashboardLinkView>> {
    let role = workspace.run(operators::role_of(workspace, &request))?;
    if !confirm_role(workspace, ui, &request.operator, role)? {
        return Ok(None);
    }
    let created = workspace.run(operators::create_dashboard_link(workspace, request));
    audit::record_outcome(workspace, ui, created.as_ref().err(), 0);
    created.map(Some)
}

/// Opens the link as soon as the server answers.
struct Opener<'a> {
    ui: &'a Ui,
    link: RefCell<Option<String>>,
    uses_browser: bool,
}

impl Opener<'_> {
    fn open(&self) -> Result<()> {
        let Some(link) = self.link.take() else { return Ok(()) };
        let url = Url::parse(&link).ok().filter(|_| self.uses_browser && !self.ui.json);
        let is_opened = url.is_some_and(|url| self.ui.terminal().open_browser(&url).is_some());
        match is_opened {
            true => self.ui.note("The dashboard opens in your browser."),
            false if self.ui.json => self.ui.show_line(&serde_json::json!({ "event": "dashboard", "url": link }))?,
            false => self.ui.raw(&format!("{link}\n")),
        }
        Ok(())
    }
}

impl ServeObserver for Opener<'_> {
    fn started(&self, started: ServingView) -> Result<()> {
        self.ui.note(&format!("Serving {} until Ctrl-C", started.url));
        self.open()
    }

    fn happened(&self, _: ListenEventView) {}
}

impl Render for NewDashboardLinkView {
    fn text(&self, _ui: &Ui) -> String {
        self.url.clone()
    }
}
