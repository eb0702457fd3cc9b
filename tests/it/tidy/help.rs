//! Each argument of each command has a help text.

use super::{Found, debts, settle};

fn without_help(command: &clap::Command, name: &str, found: &mut Found) {
    for argument in command.get_arguments() {
        let is_blank =
            |text: Option<&clap::builder::StyledStr>| text.is_none_or(|text| text.to_string().trim().is_empty());
        if is_blank(argument.get_help()) && is_blank(argument.get_long_help()) {
            let shown = match argument.get_long() {
                Some(long) => format!("--{long}"),
                None => argument.get_id().as_str().to_uppercase(),
            };
            found.insert(format!("{name} {shown}"), Vec::new());
        }
    }
    for command in command.get_subcommands() {
        without_help(command, &format!("{name} {}", command.get_name()), found);
    }
}

#[test]
fn each_argument_has_help() {
    let mut found = Found::new();
    without_help(&integ::cli::command(), "integ", &mut found);
    settle(
        "ARGUMENTS_WITHOUT_HELP",
        debts::ARGUMENTS_WITHOUT_HELP,
        &found,
        "Say in one line what the argument is, in a doc comment of its field:",
    );
}

#[test]
fn an_argument_without_help_is_found_at_any_depth() {
    let inner =
        clap::Command::new("inner").arg(clap::Arg::new("url")).arg(clap::Arg::new("all").long("all").help("All"));
    let command = clap::Command::new("outer").arg(clap::Arg::new("quiet").long("quiet")).subcommand(inner);
    let mut found = Found::new();
    without_help(&command, "outer", &mut found);
    assert_eq!(found.into_keys().collect::<Vec<_>>(), ["outer --quiet", "outer inner URL"]);
}
