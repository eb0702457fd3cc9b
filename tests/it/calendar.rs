//! One calendar over several services: against a second calculation, under faults and kills, and in the sandbox.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

use crate::harness::{Home, Running, needs, peers};
use crate::race::Random;

const FREEBUSY_SCOPE: &str = "https://www.googleapis.com/auth/calendar.freebusy";
const EVENTS_SCOPE: &str = "https://www.googleapis.com/auth/calendar.events.owned";

/// How often something random is tried; a campaign sets more.
fn rounds(usual: u64) -> u64 {
    std::env::var("INTEG_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(usual)
}

/// A home with both services in the sandbox, which may write.
fn sandbox() -> Home {
    let home = Home::new().with("TZ", "Europe/Berlin").with("INTEG_SANDBOX_SEED", "calendar");
    home.ok(&format!("connect google-calendar --sandbox --add-scope {FREEBUSY_SCOPE} --add-scope {EVENTS_SCOPE}"));
    home.ok("connect outlook-calendar --sandbox --add-scope Calendars.ReadWrite");
    home
}

/// Calendars of Python, and a home that is connected with them as both services.
struct Calendars {
    _server: Running,
    url: Url,
    home: Home,
}

fn python() -> PathBuf {
    peers().join("venv/bin/python")
}

impl Calendars {
    fn start() -> Option<Self> {
        let library =
            Command::new(python()).args(["-c", "import recurring_ical_events"]).stderr(Stdio::null()).status();
        if !needs("recurring_ical_events in tests/peers/venv", library.is_ok_and(|status| status.success())) {
            return None;
        }
        let mut command = Command::new(python());
        command.arg(peers().join("calendar-server.py"));
        let mut server = Running::start(command);
        let url: Url = server.event()["url"].as_str().unwrap().parse().unwrap();
        let home = Home::new().with("TZ", "Europe/Berlin");
        let origin = url.as_str().trim_end_matches('/');
        for connector in ["google-calendar", "outlook-calendar"] {
            let ran = home.run_with_input(&format!("connect {connector} --with-token --origin {origin}"), "let-me-in");
            assert_eq!(ran.code, 0, "{ran:?}");
        }
        Some(Self { _server: server, url, home })
    }

    fn get(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.url.port().unwrap())).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    fn fault(&self, calendar: &str, kind: &str) {
        self.get(&format!("/fault?calendar={calendar}&kind={kind}"));
    }
}

/// A time in UTC, as the second calculation writes it.
fn utc(time: &Value) -> String {
    let time: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
    time.to_string()
}

fn span(view: &Value) -> Value {
    json!([utc(&view["start"]), utc(&view["end"])])
}

fn spans(views: &Value) -> Value {
    views.as_array().unwrap().iter().map(span).collect()
}

#[test]
fn random_weeks_are_as_a_second_calculation_has_them() {
    let Some(calendars) = Calendars::start() else { return };
    let mut random = Random(2024);
    let (weeks, mut conflicts, mut slots, mut busy_spans) = (rounds(12), 0, 0, 0);
    for week in 0..weeks {
        // A clock change of one of the three zones in every third week, and the change of Almaty's rules.
        let changes = [69, 90, 300, 307, 60];
        let day = if week % 3 == 0 { changes[random.below(5) as usize] } else { random.below(366) };
        let first: jiff::civil::Date = jiff::civil::date(2024, 1, 1).saturating_add(jiff::Span::new().days(day as i64));
        let hour = random.below(24);
        let from = format!("{first}T{hour:02}:00:00Z");
        let to = format!("{}T{hour:02}:00:00Z", first.saturating_add(jiff::Span::new().days(7)));
        let names: Vec<&str> = match random.below(4) {
            0 => vec!["work", "remote"],
            1 => vec!["team"],
            _ => vec!["work", "team", "remote"],
        };
        let minutes = [15, 45, 60, 240][random.below(4) as usize];
        let hours = random.below(2) == 0;
        let mut query = format!("calendars={}&from={from}&to={to}&minutes={minutes}", names.join(","));
        if hours {
            query.push_str("&hours=09:00-17:00&zone=Europe/Berlin");
        }
        let expected = calendars.get(&format!("/expected?{query}"));
        for connection in ["google-calendar", "outlook-calendar"] {
            // The first one is the default calendar, which has no name.
            let targets = names
                .iter()
                .map(|name| if *name == "work" { connection.to_owned() } else { format!("{connection}/{name}") });
            let targets = targets.collect::<Vec<_>>().join(" ");
            let asked = format!("{targets} --from {from} --to {to}");
            let context = || format!("week {week}: {connection} {asked}");
            let busy = calendars.home.json(&format!("calendar freebusy {asked}"));
            for (name, view) in names.iter().zip(busy["calendars"].as_array().unwrap()) {
                assert_eq!(spans(&view["busy"]), expected["busy"][name], "{}, {name}", context());
                busy_spans += view["busy"].as_array().unwrap().len();
            }
            let found = calendars.home.json(&format!("calendar conflicts {asked}"));
            let pair = |conflict: &Value| {
                let mut ids: Vec<String> = conflict["events"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|event| event["id"].as_str().unwrap().to_owned())
                    .collect();
                ids.sort();
                json!([utc(&conflict["start"]), utc(&conflict["end"]), ids])
            };
            let mut pairs: Vec<Value> = found["conflicts"].as_array().unwrap().iter().map(pair).collect();
            pairs.sort_by_key(Value::to_string);
            let mut wanted = expected["conflicts"].as_array().unwrap().clone();
            wanted.sort_by_key(Value::to_string);
            assert_eq!(pairs, wanted, "{}", context());
            conflicts += pairs.len();
            let hours = if hours { " --hours 09:00-17:00" } else { "" };
            let free = calendars.home.json(&format!("calendar slots {asked} --duration {minutes}m{hours}"));
            assert_eq!(spans(&free["slots"]), expected["slots"], "{}", context());
            slots += free["slots"].as_array().unwrap().len();
        }
    }
    println!("figures: {}", json!({"weeks": weeks, "busy": busy_spans, "conflicts": conflicts, "slots": slots}));
    assert!(conflicts > 0 && slots > 0 && busy_spans > 0, "the weeks are empty");
}

#[test]
fn other_peoples_calendars_are_asked_about_by_address() {
    let Some(calendars) = Calendars::start() else { return };
    let asked = "--from 2024-03-25T00:00:00Z --to 2024-04-01T00:00:00Z";
    let busy = calendars.home.json(&format!("calendar freebusy outlook-calendar/team@acme.example {asked}"));
    let expected =
        calendars.get("/expected?calendars=team&from=2024-03-25T00:00:00Z&to=2024-04-01T00:00:00Z&minutes=60");
    assert_eq!(spans(&busy["calendars"][0]["busy"]), expected["busy"]["team"]);
    let unknown = calendars.home.run(&format!("calendar freebusy outlook-calendar/nobody@acme.example {asked}"));
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert!(
        unknown.stderr.contains("outlook-calendar/nobody@acme.example cannot be read: the service says: no mailbox"),
        "{unknown:?}"
    );
}

#[test]
fn what_depends_on_every_calendar_fails_if_one_cannot_be_read() {
    let Some(calendars) = Calendars::start() else { return };
    let window = "--from 2024-03-25T00:00:00Z --to 2024-05-25T00:00:00Z --timeout 30s";
    let cases: &[(&str, &str, i32)] = &[
        ("late", "no answer within 2 s", 5),
        ("broken", "501", 5),
        ("forbidden", "no access to this calendar", 1),
        ("cut", "", 0),
        ("error", "", 1),
        ("missing", "", 1),
        ("changing", "", 0),
    ];
    for (kind, says, code) in cases {
        // Only the calendar that is late has to be given up on.
        let window = if *kind == "late" { window.replace("30s", "2s") } else { window.to_owned() };
        calendars.fault("team", kind);
        for connection in ["google-calendar", "outlook-calendar"] {
            for command in ["freebusy", "conflicts", "slots --duration 1h"] {
                // Only a list of events can lack it, or have further pages.
                let lists = connection == "outlook-calendar" || command == "conflicts";
                if (*kind == "missing" && connection == "google-calendar" && lists) || (*kind == "changing" && !lists) {
                    continue;
                }
                let ran = calendars.home.run(&format!("calendar {command} {connection} {connection}/team {window}"));
                let context = format!("{kind}, {command}: {ran:?}");
                assert!(ran.code != 0 && ran.stdout.is_empty(), "{context}");
                assert!(*code == 0 || ran.code == *code, "{context}");
                assert!(
                    ran.stderr.contains(&format!("{connection}/team"))
                        || ran.stderr.contains(&format!("{connection}, {connection}/team")),
                    "{context}"
                );
                assert!(ran.stderr.contains(says), "{context}");
            }
        }
        // What there is, is shown, and the rest is named.
        let ran = calendars.home.run(&format!("calendar events google-calendar google-calendar/team {window} --json"));
        if *kind != "missing" {
            assert_eq!(ran.code, 8, "{kind}: {ran:?}");
            let view: Value = serde_json::from_str(&ran.stdout).unwrap();
            assert_eq!(view["unread"][0]["calendar"], "team", "{kind}");
            assert!(!view["events"].as_array().unwrap().is_empty());
        }
    }
    calendars.fault("team", "none");
    calendars.home.ok(&format!("calendar freebusy google-calendar google-calendar/team {window}"));
}

#[test]
fn an_event_is_added_once_wherever_the_command_is_killed() {
    let Some(calendars) = Calendars::start() else { return };
    let mut random = Random(std::env::var("INTEG_TEST_SEED").map_or(7, |seed| seed.parse().unwrap()));
    calendars.get("/latency?ms=60");
    let (rounds, mut cut_off, mut found) = (rounds(8), 0, 0);
    for round in 0..rounds {
        let connection = ["google-calendar", "outlook-calendar"][(round % 2) as usize];
        let line = format!(
            "calendar create {connection} --title round-{round} --start 2024-06-{:02}T09:00[Europe/Berlin] --duration 45m \
             --entity appointment/{round} --json",
            1 + round % 28
        );
        let mut command = calendars.home.command(line.split(' '));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
        // The moment is what is random here; nothing is waited for.
        std::thread::sleep(Duration::from_millis(random.below(200)));
        child.kill().unwrap();
        cut_off += u64::from(!child.wait().unwrap().success());
        let created = calendars.home.json(&line["calendar".len() - "calendar".len()..].replace(" --json", ""));
        found += u64::from(created["outcome"] == "existing");
        let id = created["event"]["id"].as_str().unwrap().to_owned();
        let linked = calendars.home.json(&format!("link find appointment/{round}"));
        assert_eq!(linked["links"][0]["object"], id.as_str(), "round {round}");
    }
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for event in calendars.get("/created").as_array().unwrap() {
        let title = event["summary"].as_str().or(event["subject"].as_str()).unwrap();
        *counts.entry(title.to_owned()).or_default() += 1;
    }
    println!("figures: {}", json!({"rounds": rounds, "cut_off": cut_off, "found_again": found}));
    assert_eq!(counts.len() as u64, rounds);
    assert!(counts.values().all(|count| *count == 1), "added twice: {counts:?}");
    assert!(cut_off > 0);
    // A deleted event does not come back: the next one has another key.
    for (connection, entity) in [("google-calendar", "appointment/0"), ("outlook-calendar", "appointment/1")] {
        calendars.home.ok(&format!("calendar delete {connection} --entity {entity}"));
        let line = format!(
            "calendar create {connection} --title again --start 2024-06-01T09:00 --duration 45m --entity {entity}"
        );
        assert_eq!(calendars.home.json(&line)["outcome"], "created");
    }
}

#[test]
fn events_are_added_moved_and_deleted_by_entity() {
    let home = sandbox();
    for connection in ["google-calendar", "outlook-calendar"] {
        let create = format!(
            "calendar create {connection} --title Check-up --start 2030-12-02T09:00 --duration 45m --entity appointment/1 \
             --attendee ada@example.com --location Hall --meet"
        );
        let created = home.json(&create);
        let event = &created["event"];
        assert_eq!(created["outcome"], "created", "{connection}");
        assert_eq!(
            (event["start"].as_str(), event["end"].as_str()),
            (Some("2030-12-02T09:00:00+01:00"), Some("2030-12-02T09:45:00+01:00"))
        );
        assert_eq!((event["title"].as_str(), event["location"].as_str()), (Some("Check-up"), Some("Hall")));
        assert_eq!(event["participants"][0]["email"], "ada@example.com");
        assert!(event["meeting_url"].is_string(), "{created}");
        assert_eq!(home.json(&create)["outcome"], "existing");

        let busy = home.json(&format!("calendar freebusy {connection} --from 2030-12-02T09:00 --to 2030-12-02T09:45"));
        assert_eq!(spans(&busy["busy"]), json!([["2030-12-02T08:00:00Z", "2030-12-02T08:45:00Z"]]), "{connection}");
        let moved = home.json(&format!("calendar update {connection} --entity appointment/1 --start 2030-12-03T14:00"));
        assert_eq!(
            (moved["event"]["start"].as_str(), moved["event"]["end"].as_str()),
            (Some("2030-12-03T14:00:00+01:00"), Some("2030-12-03T14:45:00+01:00"))
        );
        assert_eq!(moved["event"]["title"], "Check-up");
        let days = home
            .json(&format!("calendar update {connection} --entity appointment/1 --start 2030-12-10 --end 2030-12-12"));
        assert_eq!(
            (days["event"]["start"].as_str(), days["event"]["end"].as_str()),
            (Some("2030-12-10"), Some("2030-12-12"))
        );
        assert_eq!(days["event"]["show_without_time"], true, "{connection}");
        let back = home.json(&format!(
            "calendar update {connection} --entity appointment/1 --start 2030-12-10T08:00 --duration 1h --title Later"
        ));
        assert_eq!(
            (back["event"]["start"].as_str(), back["event"]["title"].as_str()),
            (Some("2030-12-10T08:00:00+01:00"), Some("Later"))
        );
        let kind = home.run(&format!("calendar update {connection} --entity appointment/1 --start 2030-12-10 --json"));
        assert_eq!((kind.code, kind.error_code().as_str()), (2, "length_needed"));

        let old = created["event"]["etag"].as_str().unwrap();
        let mut stale = home.command([
            "calendar",
            "update",
            connection,
            "--entity",
            "appointment/1",
            "--title",
            "Stale",
            "--json",
            "--if-match",
            old,
        ]);
        let stale = crate::harness::Ran::of(stale.output().unwrap());
        assert_eq!((stale.code, stale.error_code().as_str()), (1, "event_changed"), "{stale:?}");

        home.ok(&format!("calendar delete {connection} --entity appointment/1"));
        let missing = home.run(&format!("calendar delete {connection} --entity appointment/1 --json"));
        assert_eq!((missing.code, missing.error_code().as_str()), (3, "event_not_linked"));
        let found = home.json(&format!("calendar events {connection} --from 2030-12-01 --to 2030-12-20"));
        assert!(found["events"].as_array().unwrap().iter().all(|event| event["title"] != "Later"), "{connection}");
    }
}

#[test]
fn a_calendar_and_a_key_may_be_named_instead_of_an_entity() {
    let home = sandbox();
    for connection in ["google-calendar", "outlook-calendar"] {
        let listed = home.json(&format!("calendar list {connection}"));
        let id = listed["calendars"][1]["calendar"].as_str().unwrap().to_owned();
        let line = format!(
            "calendar create {connection} --calendar {id} --title Keyed --start 2031-01-06T22:30 --duration 3h --idempotency-key k1"
        );
        let first = home.json(&line);
        let second = home.json(&line);
        assert_eq!((&first["outcome"], &second["outcome"]), (&json!("created"), &json!("existing")), "{connection}");
        assert_eq!(first["event"]["id"], second["event"]["id"]);
        let event = first["event"]["id"].as_str().unwrap();
        let there = home.json(&format!("calendar events {connection}/{id} --day=2031-01-07"));
        let titles: Vec<&Value> = there["events"].as_array().unwrap().iter().map(|event| &event["title"]).collect();
        assert!(titles.contains(&&json!("Keyed")), "{connection}: {titles:?}");
        home.ok(&format!("calendar delete {connection}/{id} {event}"));
    }
}

#[test]
fn a_command_says_which_scope_it_needs() {
    let home = Home::new();
    home.ok("connect google-calendar --sandbox");
    home.ok("calendar events google-calendar --week");
    let ran = home.run("calendar freebusy google-calendar --day");
    assert_eq!(ran.code, 4, "{ran:?}");
    let hint = format!("hint: integ reconnect google-calendar --add-scope {FREEBUSY_SCOPE}");
    assert!(ran.stderr.contains("needs") && ran.stderr.contains(&hint), "{ran:?}");
    home.ok(&format!("reconnect google-calendar --no-browser --add-scope {FREEBUSY_SCOPE}"));
    home.ok("calendar freebusy google-calendar --day");
    let ran = home.run("calendar create google-calendar --title x --start +1h --duration 1h");
    assert!(ran.code == 4 && ran.stderr.contains(EVENTS_SCOPE), "{ran:?}");
}

#[test]
fn local_times_that_do_not_exist_or_happen_twice_are_refused() {
    let home = Home::new().with("TZ", "Europe/Berlin");
    home.ok("connect google-calendar --sandbox");
    for (start, code, meant) in [
        ("2027-03-28T02:30", "nonexistent_time", ["2027-03-28T01:30:00+01:00", "2027-03-28T03:30:00+02:00"]),
        (
            "2027-11-07T01:30[America/New_York]",
            "ambiguous_time",
            ["2027-11-07T01:30:00-04:00", "2027-11-07T01:30:00-05:00"],
        ),
    ] {
        let ran = home.run(&format!("calendar create google-calendar --title x --start {start} --duration 1h --json"));
        assert_eq!((ran.code, ran.error_code().as_str()), (2, code), "{ran:?}");
        assert!(meant.iter().all(|time| ran.stderr.contains(time)), "{ran:?}");
    }
    let ran = home.run("calendar events google-calendar --day --zone Europe/Berln");
    assert!(ran.code == 2 && ran.stderr.contains("did you mean Europe/Berlin?"), "{ran:?}");
}

#[test]
fn events_are_written_as_icalendar_that_others_read() {
    let Some(calendars) = Calendars::start() else { return };
    let file = calendars.home.ok("calendar events google-calendar --from 2024-03-25 --to 2024-04-02 --format ics");
    let script = "import icalendar, json, sys\nevents = icalendar.Calendar.from_ical(sys.stdin.read()).walk('VEVENT')\n\
                  print(json.dumps([[str(e['SUMMARY']), e['DTSTART'].dt.isoformat(), e['DTEND'].dt.isoformat()] for e in events]))";
    let mut reader = Command::new(python());
    reader.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut reader = reader.spawn().unwrap();
    reader.stdin.take().unwrap().write_all(file.as_bytes()).unwrap();
    let read: Value = serde_json::from_slice(&reader.wait_with_output().unwrap().stdout).unwrap();
    let view = calendars.home.json("calendar events google-calendar --from 2024-03-25 --to 2024-04-02");
    let expected: Vec<Value> = view["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            let time = |name: &str| match event["show_without_time"].as_bool() {
                Some(true) => event[name].as_str().unwrap().to_owned(),
                _ => utc(&event[name]).replace('Z', "+00:00"),
            };
            json!([event["title"], time("start"), time("end")])
        })
        .collect();
    assert_eq!(read, json!(expected));
    assert!(expected.len() > 2);
}

#[test]
fn bodies_are_as_the_vendors_publish_them_and_a_lost_update_says_what_changed() {
    let Some(calendars) = Calendars::start() else { return };
    let described = peers().join("descriptions/packages").is_dir();
    for connection in ["google-calendar", "outlook-calendar"] {
        let entity = format!("{connection} --entity appointment/1");
        let details =
            "--attendee ada@example.com --location Hall --description Text --show-as free --privacy private --meet";
        calendars
            .home
            .ok(&format!("calendar create {entity} --title A --start 2024-06-01T09:00 --duration 45m {details}"));
        calendars.home.ok(&format!("calendar create {connection} --title Days --start 2024-06-01 --end 2024-06-03"));
        calendars.home.ok(&format!("calendar update {entity} --start 2024-06-02 --end 2024-06-03"));
        calendars.home.ok(&format!("calendar update {entity} --start 2024-06-02T10:00 --duration 1h --show-as busy"));
        calendars.get("/touch?title=B");
        let lost = calendars.home.run(&format!("calendar update {entity} --title C --json"));
        assert_eq!((lost.code, lost.error_code().as_str()), (1, "event_changed"), "{lost:?}");
        assert!(lost.stderr.contains(r#"title from \"A\" to \"B\""#), "{lost:?}");
        calendars.get("/touch?title=D");
        let lost = calendars.home.run(&format!("calendar delete {entity} --json"));
        assert_eq!((lost.code, lost.error_code().as_str()), (1, "event_changed"), "{lost:?}");
        calendars.home.ok(&format!("calendar delete {entity}"));
        calendars.home.ok(&format!("calendar freebusy {connection} --from 2024-06-01 --to 2024-06-02"));
    }
    if !needs("Google's descriptions (tests/run brings them)", described) {
        return;
    }
    let mut check = Command::new("python3");
    check.arg(peers().join("calendar-bodies.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut check = check.spawn().unwrap();
    check.stdin.take().unwrap().write_all(calendars.get("/bodies").to_string().as_bytes()).unwrap();
    let checked = check.wait_with_output().unwrap();
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success(), "{said}");
    assert!(serde_json::from_str::<Value>(&said).unwrap()["checked"].as_u64() >= Some(9), "{said}");
}

/// The commands of a text: lines that begin with `integ` at this depth, and those that they go on with.
fn commands(text: &str, indent: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().filter_map(|line| line.strip_prefix(indent)).filter(|line| line.starts_with("integ "));
    lines.map(|line| line.split(" # ").next().unwrap().trim().to_owned()).collect()
}

#[test]
fn the_topic_and_the_readme_run_in_the_sandbox() {
    let root = env!("CARGO_MANIFEST_DIR");
    let topic = std::fs::read_to_string(format!("{root}/src/cli/topics/calendar.txt")).unwrap();
    let readme = std::fs::read_to_string(format!("{root}/README.md")).unwrap();
    let section = readme.split("\n## ").find(|section| section.starts_with("One calendar")).unwrap();
    let home = Home::new().with("TZ", "Europe/Berlin");
    let lines: Vec<String> = commands(&topic, "    ").into_iter().chain(commands(section, "")).collect();
    assert!(lines.len() > 15, "{lines:?}");
    for line in &lines {
        let mut shell = Command::new("sh");
        let script = line.replacen("integ ", "\"$INTEG\" ", 1);
        shell.args(["-c", &script]).env("INTEG", crate::harness::INTEG).current_dir(home.path());
        for (name, value) in home.command([""]).get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        let ran = crate::harness::finish(shell);
        // A check finds conflicts or does not.
        assert!(ran.code == 0 || (line.contains("--check") && ran.code == 6), "{line}: {ran:?}");
    }
}
