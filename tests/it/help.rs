//! `integ help` and the manual.

use std::process::{Command, Stdio};

use crate::harness::{Home, finish, has_program, needs};

#[test]
fn help_explains_commands_and_topics() {
    let home = Home::new();
    let help = home.ok("help");
    for topic in
        ["ci", "connectors", "environment", "exit-codes", "files", "notify", "sandbox", "scripting", "security", "sync"]
    {
        assert!(help.contains(&format!("\n  {topic} ")), "{topic}: {help}");
        assert!(home.ok(&format!("help {topic}")).lines().count() > 5, "{topic}");
    }
    assert!(home.ok("help environment").contains("INTEG_IDENTITY_FILE"));
    assert!(home.ok("help notify").contains("INTEG_NOTIFY_REASON"));
    assert_eq!(home.ok("help vault backup"), home.ok("vault backup --help"));
    assert_eq!(home.ok("help connect"), home.ok("connect --help"));
    // Both a topic and a command.
    let sandbox = home.ok("help sandbox");
    assert!(
        sandbox.contains("without an account or a network") && sandbox.contains("Usage: integ sandbox"),
        "{sandbox}"
    );
    let unknown = home.run("help environmnt");
    assert_eq!(unknown.code, 2, "{unknown:?}");
    assert!(unknown.stderr.contains("did you mean environment? `integ help environment`"), "{unknown:?}");
    assert_eq!(home.run("help vault nonsense").code, 2);
}

#[test]
fn long_help_is_short_and_names_the_topics() {
    let home = Home::new();
    let help = home.ok("--help");
    assert!(!help.contains("INTEG_IDENTITY") && help.contains("integ help TOPIC"), "{help}");
    assert!(help.lines().count() < 80, "{}", help.lines().count());
}

#[test]
fn help_needs_no_home_and_no_settings() {
    let home = Home::new();
    std::fs::write(home.path().join("config.toml"), "nonsense").unwrap();
    for line in ["help files", "man", "doctor"] {
        let mut command = home.command(line.split(' '));
        command.env_remove("HOME").env_remove("INTEG_HOME");
        assert!([0, 6].contains(&finish(command).code), "{line}");
        assert!([0, 6].contains(&home.run(line).code), "{line}");
    }
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let home = Home::new();
    let folder = home.path().join("man/man1");
    home.ok(&format!("man --output {}", folder.display()));
    let page = |name: &str| std::fs::read_to_string(folder.join(format!("{name}.1"))).unwrap();
    for name in ["integ", "integ-connect", "integ-vault", "integ-vault-recipients-add", "integ-doctor", "integ-help"] {
        assert!(page(name).contains(".SH NAME"), "{name}");
    }
    let main = home.ok("man");
    assert_eq!(main, page("integ").trim_end());
    for section in [".SH \"EXIT STATUS\"", ".SH ENVIRONMENT", ".SH FILES"] {
        assert!(main.contains(section), "{section}");
    }
    assert!(main.contains("INTEG_IDENTITY"));
    let backup = page("integ-vault-backup");
    assert!(backup.contains(".SH EXAMPLES") && backup.contains(r"integ\-vault\-restore(1)"), "{backup}");
    assert!(!backup.contains("EXTRA"), "{backup}");
    assert_eq!(home.run("man --output /dev/null/x").code, 1);
    if !needs("man", has_program("man")) {
        return;
    }
    // groff says on stderr what it does not understand.
    for name in ["integ", "integ-connect", "integ-vault-backup"] {
        let path = folder.join(format!("{name}.1"));
        if !path.exists() {
            continue;
        }
        let mut man = Command::new("man");
        man.args(["--warnings=mac", "-l"]).arg(&path).env("MANWIDTH", "100").stdin(Stdio::null());
        let ran = finish(man);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{name}");
        assert!(ran.stdout.contains("NAME") && ran.stdout.contains("integ"), "{ran:?}");
    }
}
