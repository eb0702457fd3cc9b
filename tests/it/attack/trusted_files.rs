//! Files that others can write.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::users::{MALLORY, User, VICTIM};
use crate::harness::{Home, Ran, finish, skipped_on_postgres};

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Runs a shell script as a user.
fn shell(user: &User, script: &str) -> Ran {
    let mut command = user.program("sh");
    command.args(["-c", script]).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command)
}

fn users() -> Option<(User, User)> {
    Some((User::new(VICTIM)?, User::new(MALLORY)?))
}

fn victim_ok(victim: &User, line: &str) -> String {
    let ran = finish(victim.integ(line.split_whitespace()));
    assert_eq!(ran.code, 0, "{line}: {ran:?}");
    ran.stdout
}

fn refused(ran: &Ran, exit: i32, path: &Path) {
    assert_eq!(ran.code, exit, "{ran:?}");
    let path = path.display().to_string();
    assert!(ran.stderr.contains(&path) && ran.stderr.contains("hint: "), "it names {path}: {ran:?}");
}

#[test]
fn attack_m8_settings_that_another_user_wrote_run_nothing() {
    let Some((victim, mallory)) = users() else { return };
    victim_ok(&victim, "connect slack --sandbox");
    let home = victim.integ_home();
    mode(&home, 0o777);
    let config = home.join("config.toml");
    let script = format!(
        "printf '[notify]\\ncommand = \"touch {}/PWNED\"\\non = \"needs_reauth, failure\"\\n' > {}; chmod 666 {1}",
        victim.home().display(),
        config.display()
    );
    assert_eq!(shell(&mallory, &script).code, 0);
    for line in ["status", "sandbox fault slack server_error", "test slack"] {
        let ran = finish(victim.integ(line.split_whitespace()));
        refused(&ran, 1, &home);
        assert!(ran.stderr.contains(&format!("chmod go-w {}", home.display())), "{ran:?}");
    }
    // With the folder as it should be, the file is still hers.
    mode(&home, 0o700);
    refused(&finish(victim.integ(["status"])), 1, &config);
    chown(&config, Some(victim.uid()), Some(victim.uid())).unwrap();
    refused(&finish(victim.integ(["status"])), 1, &config);
    mode(&config, 0o644);
    assert_eq!(finish(victim.integ(["status"])).code, 0);
    assert!(!victim.home().join("PWNED").exists());
}

#[test]
fn attack_m8_a_connector_that_another_user_wrote_takes_no_place() {
    let Some((victim, mallory)) = users() else { return };
    victim_ok(&victim, "connect slack --sandbox");
    let folder = victim.integ_home().join("connectors");
    mode(&victim.integ_home(), 0o755);
    assert_eq!(shell(&victim, &format!("mkdir -m 777 {0} && chmod 777 {0}", folder.display())).code, 0);
    let toml = "id = \"slack\"\nname = \"Slack\"\ncategory = \"communication\"\ndescription = \"x\"\ndocs = \"https://x.example\"\n\
                [api]\nbase = \"https://slack.evil.example\"\n[auth.bot]\nlabel = \"x\"\n[auth.bot.fields.token]\nprompt = \"x\"\n";
    let path = folder.join("slack.toml");
    let write = format!("cat > {0} <<'EOF'\n{toml}EOF\n", path.display());
    assert_eq!(shell(&mallory, &write).code, 0);
    let digest = shell(&mallory, &format!("sha256sum {}", path.display())).stdout;
    let pin = serde_json::json!({
        "id": "slack", "source": "https://slack.com", "sha256": digest.split(' ').next(), "replaces_built_in": true,
        "installed_at": "2026-01-01T00:00:00Z",
    });
    let write = format!("printf '%s' '{pin}' > {}", folder.join("slack.pin.json").display());
    assert_eq!(shell(&mallory, &write).code, 0);
    let line = ["connect", "slack", "--as", "real", "--with-token"];
    let mut command = victim.integ(line);
    command.env("INTEG_TOKEN", "xoxb-1");
    let ran = finish(command);
    refused(&ran, 1, &folder);
    assert!(!ran.stderr.contains("evil.example"), "the evil host is not even asked: {ran:?}");
    mode(&folder, 0o755);
    let ran = finish(victim.integ(["connector", "show", "slack"]));
    refused(&ran, 1, &folder.join("slack.pin.json"));
}

#[test]
fn attack_m8_workspaces_are_not_swapped_where_others_can_write() {
    let Some((victim, mallory)) = users() else { return };
    victim_ok(&victim, "-w dev connect slack --sandbox");
    victim_ok(&victim, "-w prod connect github --sandbox");
    let folder = victim.integ_home().join("workspaces");
    mode(&victim.integ_home(), 0o755);
    mode(&folder, 0o777);
    let swap = format!("cd {} && mv dev x && mv prod dev && mv x prod", folder.display());
    assert_eq!(shell(&mallory, &swap).code, 0);
    for line in ["-w dev status", "-w prod token slack"] {
        let ran = finish(victim.integ(line.split_whitespace()));
        refused(&ran, 7, &folder);
        assert!(!ran.stdout.contains("github"), "{ran:?}");
    }
}

#[test]
fn attack_m8_the_identity_file_is_judged_with_all_folders_above_it() {
    let Some((victim, _mallory)) = users() else { return };
    victim_ok(&victim, "connect slack --sandbox");
    let folder = victim.home().join("keys/deep");
    let key = folder.join("ci.key");
    let home = victim.integ_home();
    let prepare = format!("mkdir -p {0} && mv {1}/identity {2}", folder.display(), home.display(), key.display());
    assert_eq!(shell(&victim, &prepare).code, 0);
    let token = |path: &Path| {
        let mut command = victim.integ(["token", "slack"]);
        command.env("INTEG_IDENTITY_FILE", path);
        finish(command)
    };
    assert_eq!(token(&key).code, 0, "{:?}", token(&key));
    for (path, wide, right) in
        [(key.as_path(), 0o620, 0o600), (&folder, 0o777, 0o755), (folder.parent().unwrap(), 0o757, 0o755)]
    {
        mode(path, wide);
        // A group of the victim's own may write; nobody else is in it.
        if wide & 0o002 != 0 || wide == 0o620 {
            refused(&token(&key), 7, path);
        }
        mode(path, right);
    }
    mode(&key, 0o644);
    let ran = token(&key);
    refused(&ran, 7, &key);
    assert!(ran.stderr.contains("chmod 600"), "{ran:?}");
    mode(&key, 0o600);
    // A link is as good as its target and its own folder.
    let link = victim.home().join("link");
    assert_eq!(shell(&victim, &format!("ln -s {} {}", key.display(), link.display())).code, 0);
    assert_eq!(token(&link).code, 0);
    chown(&folder, Some(MALLORY), None).unwrap();
    refused(&token(&link), 7, &folder);
    // A descriptor is given by the program that starts integ, and may be a pipe.
    chown(&folder, Some(VICTIM), None).unwrap();
    let piped =
        format!("exec 5<<EOF\n$(cat {})\nEOF\nINTEG_IDENTITY_FILE=/dev/fd/5 ./integ token slack", key.display());
    let ran = shell(&victim, &piped);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn attack_m8_a_secret_that_is_mounted_read_only_is_taken() {
    let Some((victim, _mallory)) = users() else { return };
    victim_ok(&victim, "connect slack --sandbox");
    let mount = victim.home().join("secrets");
    let identity = victim.integ_home().join("identity");
    // As Kubernetes does it: links into a folder of root's, the files readable by everybody.
    let script = format!(
        "set -e; mkdir {0}; mount -t tmpfs -o mode=1777 tmpfs {0}; mkdir {0}/..2026; cp {1} {0}/..2026/key; rm {1}; \
         ln -s ..2026 {0}/..data; ln -s ..data/key {0}/key; chmod 644 {0}/..2026/key; mount -o remount,ro {0}; \
         exec setpriv --reuid {2} --regid {2} --clear-groups ./integ token slack",
        mount.display(),
        identity.display(),
        victim.uid()
    );
    let run = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script]).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("INTEG_HOME", victim.integ_home()).env("INTEG_IDENTITY_FILE", mount.join("key"));
        command.current_dir(victim.home());
        finish(command)
    };
    let can_mount = Command::new("unshare")
        .args(["-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !crate::harness::needs("a mount namespace", can_mount) {
        return;
    }
    let ran = run(&script);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn attack_m7_a_project_file_of_another_user_is_refused() {
    let Some((victim, mallory)) = users() else { return };
    victim_ok(&victim, "connect slack --sandbox");
    victim_ok(&victim, "connect stripe --sandbox");
    let project = victim.home().join("shared");
    assert_eq!(shell(&victim, &format!("mkdir -p {0}/deep && chmod 777 {0}", project.display())).code, 0);
    let file = project.join(".integ.toml");
    let write = format!("printf '[connections]\\nchat = \"stripe\"\\n' > {}", file.display());
    assert_eq!(shell(&mallory, &write).code, 0);
    let inside = |words: &[&str]| {
        let mut command = victim.integ(words);
        command.current_dir(project.join("deep"));
        finish(command)
    };
    for words in [["token", "chat"].as_slice(), &["status"], &["exec", "chat", "--", "env"]] {
        let ran = inside(words);
        refused(&ran, 1, &file);
        assert_eq!(ran.stdout, "");
    }
    chown(&file, Some(victim.uid()), None).unwrap();
    mode(&file, 0o666);
    refused(&inside(&["token", "chat"]), 1, &file);
    mode(&file, 0o644);
    let ran = inside(&["token", "chat"]);
    assert_eq!((ran.code, ran.stdout.clone()), (0, victim_ok(&victim, "token stripe")), "{ran:?}");
}

#[test]
fn attack_m7_a_project_file_takes_no_name_that_is_taken_and_says_what_it_changes() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    home.ok("connect stripe --sandbox");
    home.ok("-w team connect jira --sandbox");
    let project = home.path().join("project/deep");
    fs::create_dir_all(&project).unwrap();
    let file = home.path().join("project/.integ.toml");
    let inside = |line: &str| {
        let mut command = home.command(line.split_whitespace());
        command.current_dir(&project);
        finish(command)
    };
    fs::write(&file, "[connections]\nslack = \"stripe\"\npay = \"stripe\"\n").unwrap();
    for line in ["token slack", "token slack --format header", "exec slack -- env", "exec --env X=slack -- env"] {
        let ran = inside(line);
        assert!(ran.code == 2 && ran.stdout.is_empty(), "{line}: {ran:?}");
        assert!(ran.stderr.contains("slack") && ran.stderr.contains(&file.display().to_string()), "{line}: {ran:?}");
    }
    let ran = inside("token pay");
    assert_eq!((ran.code, ran.stdout.trim()), (0, home.ok("token stripe").as_str()), "{ran:?}");
    let said: Vec<&str> = ran.stderr.lines().collect();
    assert!(said.len() == 1 && said[0].contains("stripe for pay") && said[0].contains(".integ.toml"), "{ran:?}");
    assert_eq!(inside("token stripe").stderr, "", "nothing is changed, and nothing said");
    fs::write(&file, "[connections]\n\"slack@work\" = \"stripe\"\n").unwrap();
    assert_eq!(inside("token stripe").code, 2);

    fs::write(&file, "workspace = \"team\"\n").unwrap();
    let ran = inside("status --json --jq .summary.total");
    assert_eq!((ran.code, ran.stdout.trim()), (0, "1"), "{ran:?}");
    assert!(ran.stderr.contains("team") && ran.stderr.contains(".integ.toml"), "{ran:?}");
    assert_eq!(inside("-w default token slack").stderr, "", "the flag wins");

    fs::write(&file, "workspace = \"tema\"\n").unwrap();
    for line in ["status", "connect github --sandbox", "token slack"] {
        let ran = inside(line);
        assert_eq!(ran.code, 3, "{line}: {ran:?}");
        assert!(ran.stderr.contains("tema") && ran.stderr.contains(&file.display().to_string()), "{ran:?}");
    }
    assert!(!home.path().join("workspaces/tema").exists());
    // The hint is a command that works there.
    assert_eq!(inside("workspace create tema").code, 0);
    assert_eq!(inside("status").code, 0);
}

#[test]
fn attack_minor_pipes_devices_and_endless_files_are_refused_at_once() {
    if skipped_on_postgres("it replaces vault.db by pipes and devices") {
        return;
    }
    let home = Home::new();
    home.ok("connect slack --sandbox");
    let pipe = |path: &Path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    let quick = |line: &str, variables: &[(&str, &str)]| {
        let mut command = home.command(line.split_whitespace());
        command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().unwrap();
        while child.try_wait().unwrap().is_none() {
            if started.elapsed() > Duration::from_secs(15) {
                child.kill().unwrap();
                panic!("{line} hangs");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ran::of(child.wait_with_output().unwrap())
    };
    for (origin, file) in [("/dev/zero", false), ("/dev/null", false), ("pipe", true)] {
        let path = if file { home.path().join(origin) } else { origin.into() };
        if file {
            pipe(&path);
        }
        let ran = quick("token slack", &[("INTEG_IDENTITY_FILE", &path.display().to_string())]);
        refused(&ran, 7, &path);
    }
    let connector = home.path().join("connectors/x.toml");
    fs::create_dir_all(connector.parent().unwrap()).unwrap();
    pipe(&connector);
    for line in ["connector list", "connector search slack", "status", "doctor"] {
        quick(line, &[]);
    }
    assert_eq!(quick("connector show x", &[]).code, 1);
    fs::remove_file(&connector).unwrap();
    symlink("/dev/zero", &connector).unwrap();
    refused(&quick("connector show x", &[]), 1, Path::new("/dev/zero"));
    fs::remove_file(&connector).unwrap();
    let config = home.path().join("config.toml");
    pipe(&config);
    refused(&quick("status", &[]), 1, &config);
    fs::remove_file(&config).unwrap();
    let project = home.path().join(".integ.toml");
    pipe(&project);
    refused(&quick("status", &[]), 1, &project);
    fs::remove_file(&project).unwrap();
    fs::File::create(&project).unwrap().set_len(300 << 20).unwrap();
    refused(&quick("status", &[]), 1, &project);
    fs::remove_file(&project).unwrap();
    for name in ["vault.db", "vault.age", "lock"] {
        let path = home.workspace().join(name);
        let aside = home.path().join("aside");
        fs::rename(&path, &aside).unwrap();
        pipe(&path);
        assert_ne!(quick("token slack", &[]).code, 0, "{name}");
        fs::remove_file(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
    }
    // What the user names on the command line may be a pipe, and is read no further than it may be.
    let ran = quick("connect github --client-id x --client-secret-file /dev/zero --no-browser --timeout 1s", &[]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert_eq!(quick("token slack", &[]).code, 0);
}
