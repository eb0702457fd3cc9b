//! The arguments of every command. Each flag has an environment variable derived from its name: `INTEG_JSON` for global
//! flags, `INTEG_CONNECT_TIMEOUT` for those of one command.

use std::ffi::OsString;

use clap::builder::FalseyValueParser;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::ArgValueCandidates;

use super::examples::with_examples;
use super::global::GlobalArgs;
use super::{
    api, api_token, app, approval, audit, binding, calendar, call, completions, config, connect, connect_link,
    connector, consent, dashboard, disconnect, doctor, endpoint, exec, export, git_credential, help, link, logs, man,
    mcp, metrics, operator, proxy, reconnect, refresh, rename, reveal, sandbox, serve, status, sync, test, token, user,
    vault, webhook, workspace,
};
use crate::ops::Operation;
use crate::ops::audit::find_operation;

/// Connects your programs to the services they use: OAuth, encrypted tokens, health checks.
#[derive(Debug, Parser)]
#[command(name = "integ", version, propagate_version = true, disable_help_subcommand = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(subcommand)]
    pub command: Option<CliCommand>,
}

#[derive(Debug, Subcommand)]
pub(super) enum CliCommand {
    #[command(alias = "login")]
    Connect(Box<connect::ConnectArgs>),
    ConnectLink(connect_link::ConnectLinkArgs),
    Reconnect(Box<reconnect::ReconnectArgs>),
    Rename(rename::RenameArgs),
    Reveal(reveal::RevealArgs),
    #[command(alias = "logout")]
    Disconnect(disconnect::DisconnectArgs),
    #[command(aliases = ["ls", "list"])]
    Status(status::StatusArgs),
    Refresh(refresh::RefreshArgs),
    Test(test::TestArgs),
    Token(token::TokenArgs),
    Exec(exec::ExecArgs),
    Export(export::ExportArgs),
    GitCredential(git_credential::GitCredentialArgs),
    Mcp(mcp::McpArgs),
    Proxy(proxy::CredentialProxyArgs),
    Api(api::ApiArgs),
    Call(call::CallArgs),
    Calendar(Box<calendar::CalendarArgs>),
    Sync(Box<sync::SyncArgs>),
    Records(sync::records::RecordsArgs),
    Cursor(sync::cursor::CursorArgs),
    Job(sync::job::JobArgs),
    Schedule(sync::schedule::ScheduleArgs),
    Binding(binding::BindingArgs),
    Link(link::LinkArgs),
    User(user::UserArgs),
    Consent(consent::ConsentArgs),
    Audit(audit::AuditArgs),
    Logs(logs::LogsArgs),
    Metrics(metrics::MetricsArgs),
    Endpoint(Box<endpoint::EndpointArgs>),
    ApiToken(api_token::ApiTokenArgs),
    Approval(approval::ApprovalArgs),
    App(app::AppArgs),
    Connector(connector::ConnectorArgs),
    Webhook(webhook::WebhookArgs),
    Serve(Box<serve::ServeArgs>),
    Dashboard(Box<dashboard::DashboardArgs>),
    Operator(operator::OperatorArgs),
    Sandbox(sandbox::SandboxArgs),
    Workspace(workspace::WorkspaceArgs),
    Vault(vault::VaultArgs),
    Config(config::ConfigArgs),
    Doctor(doctor::DoctorArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
    Help(help::HelpArgs),
}

/// The whole command, with a variable for every flag.
pub fn command() -> clap::Command {
    let whole = Cli::command().after_help(format!("{}\n{}", help::AFTER_HELP, help::topics()));
    // `help` completes the names of all commands, its own among them.
    let names = || ArgValueCandidates::new(|| help::candidates(&command()));
    let whole = whole.mut_subcommand("help", |help| help.mut_arg("words", |words| words.add(names())));
    with_examples(with_env_variables(whole, "INTEG_"), "")
}

/// The part of the whole that `integ token` needs. Scripts call it in loops, and making every other command's arguments
/// would take longer than reading the store; a test holds the two to the same answers.
#[derive(Debug, Parser)]
#[command(name = "integ", version, propagate_version = true)]
struct TokenCli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    Token(token::TokenArgs),
}

/// Parses the process's arguments, and finds the operation that they stand for.
///
/// # Errors
/// Clap's: usage mistakes, and the requests for help and version.
pub(super) fn parse() -> Result<(Cli, Option<&'static Operation>), clap::Error> {
    parse_from(std::env::args_os().collect())
}

fn parse_from(arguments: Vec<OsString>) -> Result<(Cli, Option<&'static Operation>), clap::Error> {
    if arguments.get(1).is_some_and(|word| word == "token") {
        let part = with_env_variables(TokenCli::command(), "INTEG_").try_get_matches_from(&arguments);
        // What the part does not take, the whole explains.
        if let Ok(TokenCli { global, command: TokenCommand::Token(args) }) =
            part.and_then(|matches| TokenCli::from_arg_matches(&matches))
        {
            return Ok((Cli { global, command: Some(CliCommand::Token(args)) }, find_operation("token", |_| false)));
        }
    }
    let mut whole = command();
    let matches = whole.try_get_matches_from_mut(arguments)?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut whole))?;
    Ok((cli, operation(&matches)))
}

/// Returns the operation of a command: by its words, and by the flags that were given.
fn operation(matches: &ArgMatches) -> Option<&'static Operation> {
    let (mut words, mut matches) = (Vec::new(), matches);
    while let Some((word, inner)) = matches.subcommand() {
        words.push(word);
        matches = inner;
    }
    let is_given =
        |id: &str| matches!(matches.value_source(id), Some(ValueSource::CommandLine | ValueSource::EnvVariable));
    let has_flag = |flag: &str| matches.ids().any(|id| id.as_str().replace('_', "-") == flag && is_given(id.as_str()));
    let operation = find_operation(&words.join(" "), has_flag);
    // A dry run does not do what the command is declared for.
    operation.filter(|operation| operation.name.ends_with(" --dry-run") || !has_flag("dry-run"))
}

fn with_env_variables(command: clap::Command, prefix: &str) -> clap::Command {
    let name_of = |word: &str| word.to_uppercase().replace('-', "_");
    let prefix_of = |command: &clap::Command| format!("{prefix}{}_", name_of(command.get_name()));
    command
        .mut_args(|arg| {
            let Some(long) = arg.get_long().map(str::to_owned) else { return arg };
            if matches!(long.as_str(), "help" | "version" | "yes") {
                return arg;
            }
            let switch = matches!(arg.get_action(), ArgAction::SetTrue);
            let arg = arg.env(format!("{prefix}{}", name_of(&long))).hide_env(true);
            if switch { arg.value_parser(FalseyValueParser::new()) } else { arg }
        })
        .mut_subcommands(|command| {
            let prefix = prefix_of(&command);
            with_env_variables(command, &prefix)
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::env;

    #[test]
    fn the_arguments_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn the_part_for_token_answers_as_the_whole_does() {
        for line in
            ["slack", "slack --min-ttl 5m --format env", "-w team slack --json", "slack -vv --no-input -q --jq .token"]
        {
            let words =
                || ["integ", "token"].into_iter().chain(line.split(' ')).map(OsString::from).collect::<Vec<_>>();
            let whole = Cli::from_arg_matches(&command().get_matches_from(words())).unwrap();
            assert_eq!(format!("{:?}", parse_from(words()).unwrap().0), format!("{whole:?}"), "{line}");
        }
        for line in ["", "slack --min-ttl soon", "slack --formt env", "--help", "a b"] {
            let words = || {
                ["integ", "token"].into_iter().chain(line.split_whitespace()).map(OsString::from).collect::<Vec<_>>()
            };
            let whole = command().try_get_matches_from(words()).unwrap_err();
            assert_eq!(parse_from(words()).unwrap_err().to_string(), whole.to_string(), "{line}");
        }
    }

    #[test]
    fn the_variable_of_a_flag_is_no_token_of_a_connection() {
        let part = TokenCli::command();
        let flags = part.find_subcommand("token").unwrap().get_arguments().filter_map(clap::Arg::get_long);
        let variables: BTreeSet<_> =
            flags.map(|flag| format!("{}{}", env::TOKEN_PREFIX, flag.to_uppercase().replace('-', "_"))).collect();
        assert_eq!(variables, env::TOKEN_FLAGS.iter().map(ToString::to_string).collect());
    }

    #[test]
    fn each_change_is_the_operation_of_a_command() {
        fn leaves(command: &clap::Command, words: &str, found: &mut Vec<(String, Vec<String>)>) {
            for sub in command.get_subcommands() {
                let words = format!("{words} {}", sub.get_name()).trim().to_owned();
                let flags = sub.get_arguments().filter_map(clap::Arg::get_long).map(str::to_owned).collect();
                found.push((words.clone(), flags));
                leaves(sub, &words, found);
            }
        }
        let mut commands = Vec::new();
        leaves(&command(), "", &mut commands);
        // The parts of `connect` and `connector install` for callers of the API, and what browsers do.
        const OF_THE_API: [&str; 9] = [
            "connect start",
            "connect finish",
            "connect show",
            "connect-link open",
            "connector install-url",
            "connector configure",
            "connector uninstall",
            "dashboard sign-in",
            "dashboard sign-out",
        ];
        let changes = crate::ops::operations().filter(|operation| operation.effect != crate::model::Effect::Read);
        for operation in changes.filter(|operation| !OF_THE_API.contains(&operation.name)) {
            let (words, flag) = operation.name.split_once(" --").unwrap_or((operation.name, ""));
            let (_, flags) = commands.iter().find(|(command, _)| command == words).expect(operation.name);
            assert!(flag.is_empty() || flags.iter().any(|known| known == flag), "{}", operation.name);
            let found = find_operation(words, |given| given == flag);
            assert_eq!(found.map(|found| found.name), Some(operation.name));
        }
    }

    #[test]
    fn every_flag_has_a_variable() {
        fn check(command: &clap::Command) {
            for arg in command.get_arguments().filter(|arg| arg.get_long().is_some()) {
                let long = arg.get_long().unwrap();
                assert!(
                    arg.get_env().is_some() || ["help", "version", "yes"].contains(&long),
                    "{} --{long}",
                    command.get_name()
                );
            }
            command.get_subcommands().for_each(check);
        }
        check(&command());
    }
}
