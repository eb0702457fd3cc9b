//! Tab, in real shells: what a person at a terminal gets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Home, INTEG, finish, has_program, needs};

const FILES: &[(&str, &str)] = &[
    ("bash", "integ.bash"),
    ("zsh", "_integ"),
    ("fish", "integ.fish"),
    ("elvish", "integ.elv"),
    ("powershell", "_integ.ps1"),
];

#[test]
fn the_completion_files_are_what_the_command_prints() {
    let home = Home::new();
    for (shell, name) in FILES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions").join(name);
        let file = fs::read_to_string(&path).unwrap_or_default();
        let printed = home.run(&format!("completions {shell}"));
        assert_eq!(printed.code, 0, "{shell}");
        assert!(
            printed.stdout == file,
            "completions/{name} has drifted: integ completions {shell} > completions/{name}"
        );
    }
}

/// A home with connections, and a shell's start-up file that loads the completion script as an installation would.
struct Shell {
    home: Home,
    started: PathBuf,
}

impl Shell {
    fn new(start: &str) -> Self {
        let home = Home::new();
        home.ok("connect slack --sandbox");
        home.ok("connect slack --sandbox --as work");
        home.ok("connect github --sandbox");
        let started = home.path().join("start");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions");
        fs::write(&started, start.replace("COMPLETIONS", &folder.display().to_string())).unwrap();
        Self { home, started }
    }

    /// Types into the shell on a terminal and presses Tab; returns what the screen showed until `expected` came, or all of
    /// it. `expect` waits for what it is told to, so that nothing here depends on time.
    fn type_and_tab(&self, shell: &[&str], line: &str, expected: &str) -> Result<String, String> {
        let script = self.home.path().join("script.exp");
        let start = self.started.display();
        let words = shell.join(" ");
        // The prompt is one that no program prints by itself. Control-U clears the line before the shell is left.
        let text = format!(
            "set timeout 20\nset stty_init \"columns 200 rows 40\"\nspawn -noecho {words}\nexpect -re {{.*}}\n\
             send \"source {start}\\r\"\nexpect \"READY>\"\n\
             send \"{line}\\t\"\n\
             expect {{\n  -ex \"{expected}\" {{ puts \"\\nFOUND\" }}\n  timeout {{ puts \"\\nTIMEOUT\" }}\n}}\n\
             send \"\\025exit\\r\"\nexpect eof\n"
        );
        fs::write(&script, text).unwrap();
        let mut path = std::ffi::OsString::from(Path::new(INTEG).parent().unwrap());
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new("expect");
        command.arg("-f").arg(&script).env_clear();
        command.env("PATH", path).env("HOME", self.home.path()).env("INTEG_HOME", self.home.path());
        command.env("TERM", "xterm").env("LANG", "C.UTF-8").current_dir(self.home.path());
        let ran = finish(command);
        if ran.stdout.contains("\nFOUND") { Ok(ran.stdout) } else { Err(format!("{line}: {ran:?}")) }
    }
}

fn present(shell: &str) -> bool {
    needs(shell, has_program(shell)) && needs("expect", has_program("expect"))
}

#[test]
fn bash_completes_connectors_and_the_connections_of_the_live_store() {
    if !present("bash") {
        return;
    }
    let shell = Shell::new("source COMPLETIONS/integ.bash\nPS1='READ''Y>'\nbind 'set bell-style none'\n");
    let bash = ["bash", "--norc", "--noprofile", "-i"];
    shell.type_and_tab(&bash, "integ connect sl", "integ connect slack").unwrap();
    shell.type_and_tab(&bash, "integ status gi", "integ status github").unwrap();
    // Several fit: a second Tab lists them.
    let listed = shell.type_and_tab(&bash, "integ status \\t", "slack@work").unwrap();
    assert!(listed.contains("github") && listed.contains("slack"), "{listed}");
    // A connection that is made now is offered now.
    shell.home.ok("connect jira --sandbox");
    shell.type_and_tab(&bash, "integ token ji", "integ token jira").unwrap();
    shell.type_and_tab(&bash, "integ vault rec", "integ vault recipients").unwrap();
}

#[test]
fn bash_completes_a_named_account_after_the_at_sign() {
    if !present("bash") {
        return;
    }
    let shell = Shell::new("source COMPLETIONS/integ.bash\nPS1='READ''Y>'\nbind 'set bell-style none'\n");
    shell
        .type_and_tab(&["bash", "--norc", "--noprofile", "-i"], "integ token slack@", "integ token slack@work")
        .unwrap();
}

#[test]
fn zsh_completes_connectors_and_the_connections_of_the_live_store() {
    if !present("zsh") {
        return;
    }
    let start = "fpath=(COMPLETIONS $fpath)\nautoload -Uz compinit\ncompinit -u -D\nunsetopt beep\n\
                 PS1='READ''Y>'\n";
    let shell = Shell::new(start);
    let zsh = ["zsh", "-f", "-i"];
    shell.type_and_tab(&zsh, "integ connect sl", "integ connect slack").unwrap();
    shell.type_and_tab(&zsh, "integ status gi", "integ status github").unwrap();
    let listed = shell.type_and_tab(&zsh, "integ status ", "slack@work").unwrap();
    assert!(listed.contains("github"), "{listed}");
    shell.type_and_tab(&zsh, "integ token slack@", "integ token slack@work").unwrap();
}

#[test]
fn fish_completes_connectors_and_the_connections_of_the_live_store() {
    if !present("fish") {
        return;
    }
    let shell = Shell::new("");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions");
    let complete = |line: &str| {
        let mut command = Command::new("fish");
        let mut path = std::ffi::OsString::from(Path::new(INTEG).parent().unwrap());
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        command
            .args(["--no-config", "-c"])
            .arg(format!("source {}/integ.fish; complete -C '{line}'", folder.display()));
        command.env_clear().env("PATH", path).env("HOME", shell.home.path()).env("INTEG_HOME", shell.home.path());
        let ran = finish(command);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.stdout
    };
    assert!(complete("integ connect sl").lines().any(|line| line.split('\t').next() == Some("slack")));
    let status = complete("integ status ");
    let offered: Vec<&str> = status.lines().filter_map(|line| line.split('\t').next()).collect();
    assert!(["github", "slack", "slack@work"].iter().all(|name| offered.contains(name)), "{status}");
}

#[test]
fn fish_completes_as_a_person_presses_tab() {
    if !present("fish") || !needs("tmux", has_program("tmux")) {
        return;
    }
    let shell = Shell::new("");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions");
    let socket = shell.home.path().join("tmux");
    let tmux = |arguments: &[&str]| {
        let mut path = std::ffi::OsString::from(Path::new(INTEG).parent().unwrap());
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&socket).args(["-f", "/dev/null"]).args(arguments).env_clear();
        command.env("PATH", path).env("HOME", shell.home.path()).env("INTEG_HOME", shell.home.path());
        command.env("TERM", "xterm").env("LANG", "C.UTF-8").current_dir(shell.home.path());
        finish(command)
    };
    // The screen is looked at until it shows what it must: there is nothing else to wait for.
    let shows = |text: &str| {
        let started = std::time::Instant::now();
        loop {
            let screen = tmux(&["capture-pane", "-p"]).stdout;
            if screen.contains(text) {
                return;
            }
            assert!(started.elapsed().as_secs() < 30, "{text:?} is not on the screen:\n{screen}");
            std::thread::yield_now();
        }
    };
    let begin = format!("source {}/integ.fish; function fish_prompt; echo 'READY> '; end", folder.display());
    tmux(&["new-session", "-d", "-x", "150", "-y", "40", "fish", "--no-config", "-i", "-C", &begin]);
    shows("READY>");
    tmux(&["send-keys", "-l", "integ connect sl"]);
    tmux(&["send-keys", "Tab"]);
    shows("integ connect slack");
    tmux(&["send-keys", "C-u"]);
    tmux(&["send-keys", "-l", "integ status "]);
    tmux(&["send-keys", "Tab"]);
    shows("slack@work");
    tmux(&["kill-server"]);
}

/// What a shell's completion function gets for a line whose last word is being typed: values, and their descriptions.
fn offered(home: &Home, shell: &str, line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split(' ').collect();
    let mut command = home.command(["--"].into_iter().chain(words.iter().copied()));
    command.env("COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string());
    command.env("_CLAP_IFS", "\n").env("_CLAP_COMPLETE_COMP_TYPE", "9").env("_CLAP_COMPLETE_SPACE", "false");
    let ran = finish(command);
    assert_eq!(ran.code, 0, "{line}: {ran:?}");
    ran.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn everything_that_exists_is_offered_and_flags_only_after_a_hyphen() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    home.ok("connect stripe --sandbox");
    home.ok("sync slack/users");
    let recipient = "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg";
    home.ok(&format!("vault recipients add {recipient} --label laptop"));
    for (line, value) in [
        ("integ config set ", "http.timeout"),
        ("integ config get notify", "notify.url"),
        ("integ sandbox fault slack ", "rate_limit"),
        ("integ sandbox fault slack slow --endpoint ", "refresh"),
        ("integ job show ", "1"),
        ("integ job retry ", "1"),
        ("integ vault recipients remove ", recipient),
        ("integ webhook events --type ", "invoice.paid"),
        ("integ webhook listen stripe --events invoice.", "invoice.paid"),
        ("integ exec slack -- expec", "expect"),
        ("integ token ", "slack"),
        ("integ status st", "stripe"),
        ("integ token slack --fo", "--format"),
    ] {
        // What `webhook events` offers is of the connection that is named.
        let line = line.replace("events --type", "events stripe --type");
        for shell in ["bash", "zsh", "fish"] {
            let found = offered(&home, shell, &line);
            let is_value =
                |candidate: &String| candidate.split(['\t', ':']).next() == Some(value) || candidate == value;
            if value != "expect" || has_program("expect") {
                assert!(found.iter().any(is_value), "{shell}: {line}: {found:?}");
            }
            let typed = line.rsplit(' ').next().unwrap();
            let flags = found.iter().filter(|candidate| candidate.starts_with('-')).count();
            assert!(typed.starts_with('-') || flags == 0, "{shell}: {line}: {found:?}");
        }
    }
    // zsh and fish show descriptions beside the values.
    for (line, text) in [
        ("integ status ", "Acme Sandbox, active, sandbox"),
        ("integ job show ", "slack/users, "),
        ("integ vault recipients remove ", "laptop"),
        ("integ config get ", "How long"),
    ] {
        for shell in ["zsh", "fish"] {
            let found = offered(&home, shell, line);
            assert!(found.iter().any(|candidate| candidate.contains(text)), "{shell}: {line}: {found:?}");
        }
    }
    // Where only flags are left, they are offered.
    assert!(offered(&home, "bash", "integ doctor ").iter().any(|candidate| candidate == "--online"));
}
