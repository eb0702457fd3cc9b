//! What is stored, listed, and written into files.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::harness::{Home, Ran, needs};
use crate::sync::THINGS;
use crate::vault_faults::{can_mount, on_small_disk};

/// A home whose connection `things` has two small streams that are synced.
fn things() -> Home {
    let home = Home::new();
    home.install("things", THINGS);
    home.ok("connect things --sandbox");
    for stream in ["plain", "marks"] {
        home.ok(&format!("sandbox data things/{stream} --records 30"));
        home.ok(&format!("sync things/{stream}"));
    }
    home
}

fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            found.extend(files(&entry.path()).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            found.insert(name);
        }
    }
    found
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn records_alone_lists_what_is_stored() {
    let home = Home::new();
    let ran = home.run("records");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
    assert!(ran.stderr.contains("Nothing has been synced yet. Try `integ sync`"), "{ran:?}");
    assert_eq!(home.json("records")["streams"], json!([]));

    let home = things();
    home.ok("connect slack --sandbox");
    let ran = home.run("records slack");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
    assert!(ran.stderr.contains("Nothing of slack has been synced yet. Try `integ sync slack`"), "{ran:?}");
    home.ok("sandbox advance things --ticks 3");
    home.ok("sync things/marks --mode full");
    home.ok("sandbox data slack/users --records 3");
    home.ok("sync slack/users");

    let listed = home.json("records");
    let streams = listed["streams"].as_array().unwrap();
    let of = |at: usize, name: &str| streams[at][name].clone();
    let found: Vec<(Value, Value)> = (0..streams.len()).map(|at| (of(at, "connection"), of(at, "stream"))).collect();
    assert_eq!(
        found,
        [("slack", "users"), ("things", "marks"), ("things", "plain")].map(|(c, s)| (json!(c), json!(s)))
    );
    // One of three that came may be the one that went.
    let marks = of(1, "records").as_u64().unwrap();
    assert!((32..=33).contains(&marks) && of(1, "deleted").as_u64().unwrap() <= 1, "{listed}");
    assert_eq!(marks, home.ok("records things/marks").lines().count() as u64);
    assert_eq!((of(2, "records"), of(2, "deleted"), of(2, "mode")), (json!(30), json!(0), json!("sandbox")));
    assert!(of(2, "last_sync_at").is_string(), "{listed}");
    assert_eq!(listed["records"], json!(3 + marks + 30));
    assert_eq!(home.json("records things")["streams"].as_array().unwrap().as_slice(), &streams[1..]);
    assert_eq!(home.json("records things slack")["streams"], listed["streams"]);
    let table = home.ok("records slack");
    assert!(table.starts_with("CONNECTION  STREAM  RECORDS  DELETED  LAST SYNCED  NOTES\n"), "{table}");
}

#[test]
fn all_streams_are_written_into_a_folder_in_one_shape() {
    let home = things();
    let out = home.path().join("out");
    for format in ["jsonl", "json", "csv"] {
        let written = home.json(&format!("records --output out --format {format}"));
        assert_eq!(written["folder"], "out");
        for (stream, name) in written["streams"].as_array().unwrap().iter().zip(["marks", "plain"]) {
            let file = format!("out/things/{name}.{format}");
            let size = fs::metadata(home.path().join(&file)).unwrap().len();
            assert_eq!(
                (&stream["stream"], &stream["file"], &stream["records"], &stream["bytes"], &stream["error"]),
                (&json!(name), &json!(file), &json!(30), &json!(size), &Value::Null)
            );
        }
    }
    let all = ["marks.csv", "marks.json", "marks.jsonl", "plain.csv", "plain.json", "plain.jsonl"];
    let all = all.map(|name| format!("things/{name}"));
    assert_eq!(files(&out), all.into_iter().chain([".integ-records".to_owned()]).collect());
    assert_eq!(fs::metadata(out.join("things/plain.csv")).unwrap().permissions().mode() & 0o777, 0o600);

    // A table has the columns that lines have as members, and what is printed is what is written.
    let text = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    let line: Value = serde_json::from_str(text("things/plain.jsonl").lines().next().unwrap()).unwrap();
    let members: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(text("things/plain.csv").lines().next().unwrap(), members.join(","));
    let list: Vec<Value> = serde_json::from_str(&text("things/plain.json")).unwrap();
    assert_eq!((list.len(), &list[0]), (30, &line));
    for format in ["jsonl", "json", "csv"] {
        let printed = home.ok(&format!("records things/plain --format {format}"));
        assert!(printed == text(&format!("things/plain.{format}")).trim_end(), "{format}: {printed}");
    }

    // What changed since, of every stream; one stream alone; once more.
    home.ok("records things/plain --output changes --since 0 --limit 7");
    let changes = fs::read_to_string(home.path().join("changes/things/plain.jsonl")).unwrap();
    assert_eq!(changes.lines().filter(|line| line.contains(r#""_change":"added","_key""#)).count(), 7);
    assert_eq!(files(&home.path().join("changes")), names(&[".integ-records", "things/plain.jsonl"]));
    home.ok("records things/plain --output changes --limit 1");
    let again = fs::read_to_string(home.path().join("changes/things/plain.jsonl")).unwrap();
    assert_eq!(again.lines().count(), 1);
}

#[test]
fn a_stream_that_cannot_be_written_leaves_the_others() {
    let home = things();
    let out = home.path().join("out");
    home.ok("records --output out");
    let before = fs::read(out.join("things/plain.jsonl")).unwrap();
    fs::remove_file(out.join("things/marks.jsonl")).unwrap();
    fs::create_dir(out.join("things/marks.jsonl")).unwrap();
    let ran = home.run("records --output out");
    assert_eq!(ran.code, 8, "{ran:?}");
    assert!(ran.stdout.contains("not written"), "{ran:?}");
    assert!(ran.stderr.contains("warning: things/marks: cannot write the records"), "{ran:?}");
    let listed: Value = serde_json::from_str(&home.run("records --output out --json").stdout).unwrap();
    assert_eq!((&listed["streams"][0]["error_code"], &listed["streams"][0]["records"]), (&json!("io"), &json!(0)));
    assert_eq!(listed["streams"][1]["records"], 30);
    assert_eq!(fs::read(out.join("things/plain.jsonl")).unwrap(), before);
    assert_eq!(files(&out), names(&[".integ-records", "things/plain.jsonl"]), "no temporary file is left");
    assert_eq!(home.run("records things/marks --output out").code, 1, "all of it failed alike");
}

#[test]
fn a_folder_of_others_is_left_alone() {
    let home = things();
    let out = home.path().join("my data");
    fs::create_dir_all(out.join("things")).unwrap();
    fs::write(out.join("things/plain.csv"), "mine").unwrap();
    let mut command = home.command(["records", "things", "--format", "csv", "--output", "my data"]);
    let ran = Ran::of(command.output().unwrap());
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("my data contains files that integ did not create"), "{ran:?}");
    assert!(ran.stderr.contains("`integ records things --output 'my data' --force`"), "{ran:?}");
    assert_eq!(files(&out), names(&["things/plain.csv"]));
    let mut command = home.command(["records", "things", "--format", "csv", "--output", "my data", "--force"]);
    assert_eq!(Ran::of(command.output().unwrap()).code, 0);
    assert!(fs::read_to_string(out.join("things/plain.csv")).unwrap().starts_with("id,"));
    // It is integ's from now on.
    let mut command = home.command(["records", "--output", "my data"]);
    assert_eq!(Ran::of(command.output().unwrap()).code, 0);
}

#[test]
fn of_many_at_once_each_writes_whole_files() {
    let home = things();
    let start = |_| -> Child {
        let mut command = home.command(["records", "--output", "out", "--format", "csv"]);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    for child in (0..16).map(start).collect::<Vec<_>>() {
        let ran = Ran::of(child.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    let out = home.path().join("out");
    assert_eq!(files(&out), names(&[".integ-records", "things/marks.csv", "things/plain.csv"]));
    let printed = home.ok("records things/plain --format csv");
    assert_eq!(fs::read_to_string(out.join("things/plain.csv")).unwrap().trim_end(), printed);
}

#[test]
fn a_full_disk_leaves_the_files_that_were_there() {
    if !needs("unshare -m and mount", can_mount()) {
        return;
    }
    let home = things();
    home.ok("sandbox data things/things --records 2000");
    home.ok("sync things/things");
    let script = r#"
        mount -o remount,size=16m "$DISK"
        "$INTEG" records things --output "$DISK/out" --limit 5 >/dev/null; echo "first $?"
        dd if=/dev/zero of="$DISK/fill" bs=1k 2>/dev/null
        truncate -s -40k "$DISK/fill"
        "$INTEG" records things --output "$DISK/out" --json 2>&1; echo "full $?"
        wc -l <"$DISK/out/things/things.jsonl"
        ls -A "$DISK/out/things"
    "#;
    let ran = on_small_disk(&home, script).unwrap();
    for line in ["first 0", "full 8", "5"] {
        assert!(ran.stdout.lines().any(|printed| printed == line), "{line}: {ran:?}");
    }
    assert!(ran.stdout.contains(r#""error_code":"disk_full""#), "{ran:?}");
    assert!(!ran.stdout.lines().any(|line| line.starts_with('.')), "a temporary file is left: {ran:?}");
}

#[test]
fn names_of_connections_and_folders_may_be_anything() {
    let home = things();
    home.ok("rename things things@shop.example");
    home.ok("records --output nested/deeper/out --format csv");
    let folder: PathBuf = home.path().join("nested/deeper/out");
    let expected = [".integ-records", "things@shop.example/marks.csv", "things@shop.example/plain.csv"];
    assert_eq!(files(&folder), names(&expected));
}
