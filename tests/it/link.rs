//! Links: from either side, through renames and merges, and under many writers at once.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::harness::{Home, Ran};
use crate::race::{Random, rounds};

fn connected() -> Home {
    let home = Home::new();
    home.ok("connect hubspot --sandbox");
    home
}

#[test]
fn links_are_found_from_either_side_and_stay_with_their_connection() {
    let home = connected();
    assert_eq!(home.ok("link add customer/42 hubspot/contacts 15"), "Linked customer/42 to hubspot/contacts 15");
    let again = home.json("link add customer/42 hubspot/contacts 15");
    assert_eq!((again["outcome"].as_str(), again["link"]["object"].as_str()), (Some("unchanged"), Some("15")));
    home.ok("link add customer/42 hubspot/companies 15");

    let taken = home.run("link add customer/42 hubspot/contacts 16 --json");
    assert_eq!((taken.code, taken.error_code().as_str()), (1, "entity_linked"), "{taken:?}");
    let taken = home.run("link add customer/43 hubspot/contacts 15 --json");
    assert_eq!((taken.code, taken.error_code().as_str()), (1, "object_linked"), "{taken:?}");
    assert!(taken.stderr.contains("integ link remove customer/42 hubspot/contacts"), "{taken:?}");

    home.ok("reconnect hubspot --no-browser");
    home.ok("rename hubspot hubspot@work");
    let of_entity = home.json("link find customer/42");
    let objects: Vec<&str> =
        of_entity["links"].as_array().unwrap().iter().map(|link| link["resource"].as_str().unwrap()).collect();
    assert_eq!(objects, ["contacts", "companies"]);
    let of_object = home.json("link find hubspot@work/contacts 15");
    assert_eq!(of_object["links"][0]["entity_id"], "42");

    home.ok("link remove customer/42 hubspot@work/contacts");
    let missing = home.run("link remove customer/42 hubspot@work/contacts --json");
    assert_eq!((missing.code, missing.error_code().as_str()), (3, "link_not_found"));
    home.ok("disconnect hubspot@work --yes");
    assert_eq!(home.ok("link list --json"), "");
}

#[test]
fn users_have_connections_and_links_of_their_own() {
    let home = Home::new();
    home.ok("connect hubspot@a --sandbox --user u_1");
    home.ok("connect hubspot@b --sandbox --user u_2");
    home.ok("connect hubspot --sandbox");
    // Connecting again keeps the user, and no other one gets the connection.
    home.ok("connect hubspot@a --sandbox");
    let other = home.run("connect hubspot@a --sandbox --user u_2 --json");
    assert_eq!((other.code, other.error_code().as_str()), (2, "other_user"), "{other:?}");
    let status = home.json("status --user u_1");
    let listed = status["connections"].as_array().unwrap();
    assert_eq!((listed.len(), &listed[0]["connection"], &listed[0]["user"]), (1, &"hubspot@a".into(), &"u_1".into()));

    for name in ["hubspot@a", "hubspot@b", "hubspot"] {
        home.ok(&format!("link add customer/1 {name}/contacts 7"));
    }
    home.ok("link add customer/1 hubspot/contacts 8 --user u_9");
    let users = |line: &str| home.ok(&format!("link list {line} --jq .user")).replace('\n', " ");
    assert_eq!(users(""), "u_1 u_2 null u_9");
    assert_eq!(users("--user u_2"), "u_2");
    assert_eq!(users("hubspot/contacts"), "null u_9");
    let several = home.run("link remove customer/1 hubspot/contacts --json");
    assert_eq!((several.code, several.error_code().as_str()), (2, "several_users"), "{several:?}");
    home.ok("link remove customer/1 hubspot/contacts --user u_9");
}

#[test]
fn what_is_listed_can_be_imported() {
    let home = connected();
    for id in 1..=3 {
        home.ok(&format!("link add customer/{id} hubspot/contacts 10{id}"));
    }
    let listed = home.ok("link list --json");
    let other = connected();
    let first = other.run_with_input("link import - --json", &listed);
    assert_eq!(first.code, 0, "{first:?}");
    let again = other.run_with_input("link import -", &listed);
    assert_eq!(again.stdout, "0 added, 3 unchanged, 0 rejected\n");
    let csv = "entity_type,entity_id,connection,resource,object\ncustomer,1,hubspot,contacts,999\n\
               customer,4,hubspot,contacts,104\ncustomer,5,nowhere,contacts,105\n";
    let partly = other.run_with_input("link import - --json", csv);
    let view: serde_json::Value = serde_json::from_str(&partly.stdout).unwrap();
    let lines: Vec<u64> =
        view["rejected"].as_array().unwrap().iter().map(|line| line["line"].as_u64().unwrap()).collect();
    assert_eq!((partly.code, &view["added"], lines), (8, &1.into(), vec![2, 4]), "{partly:?}");
    let wrong = other.run_with_input("link import - --json", "a,b\n1,2\n");
    assert_eq!((wrong.code, wrong.error_code().as_str()), (2, "invalid_import"));
}

#[test]
fn links_follow_contacts_that_hubspot_merges() {
    let home = connected();
    home.ok("link add customer/1 hubspot/contacts 21002");
    home.ok("link add customer/2 hubspot/contacts 21003");
    home.ok("link add customer/3 hubspot/contacts 21005");
    let mut listening = crate::webhook::Listening::start(&home, "", None);
    // What is not proved moves no link.
    home.run("webhook simulate hubspot contact.merge --invalid signature");
    home.ok("webhook simulate hubspot contact.merge");
    listening.until("received");
    listening.signal(rustix::process::Signal::INT);
    listening.running.code();
    let objects = home.ok("link list --jq [.entity_id,.object,.merged_into]");
    assert_eq!(objects, "[\"1\",\"21004\",null]\n[\"2\",\"21003\",\"21004\"]\n[\"3\",\"21005\",null]");
}

#[test]
fn sixty_four_writers_link_each_side_once_also_when_they_are_killed() {
    let home = connected();
    let mut random = Random(20_261_129);
    let spawn = |line: String| -> Child {
        let mut command = home.command(line.split_whitespace());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    // Of the writers of one entity, each with an object of its own, one wins; so it is from the other side.
    for (round, line) in ["customer/1 hubspot/contacts {n}", "customer/{n} hubspot/companies 1"].iter().enumerate() {
        let writers: Vec<Child> =
            (0..64).map(|number| spawn(format!("link add {}", line.replace("{n}", &number.to_string())))).collect();
        let ended: Vec<Ran> = writers.into_iter().map(|writer| Ran::of(writer.wait_with_output().unwrap())).collect();
        assert_eq!(ended.iter().filter(|ran| ran.code == 0).count(), 1, "{round}: {ended:?}");
        assert!(ended.iter().all(|ran| matches!(ran.code, 0 | 1)), "{round}");
    }
    assert_eq!(home.ok("link list --json").lines().count(), 2);

    let lines: String = (0..2_000).map(|id| format!("order,{id},hubspot,deals,{id}\n")).collect();
    let file = home.path().join("links.csv");
    std::fs::write(&file, format!("entity_type,entity_id,connection,resource,object\n{lines}")).unwrap();
    let import = format!("link import {}", file.display());
    let mut cut_off = 0;
    for _ in 0..rounds(1) {
        // Writers of the whole file, and of one of its links each.
        let mut writers: Vec<Child> = (0..64)
            .map(|number| match number % 2 {
                0 => spawn(import.clone()),
                _ => spawn(format!("link add order/{number} hubspot/deals {number}")),
            })
            .collect();
        for writer in &mut writers {
            // At any point of their work.
            std::thread::sleep(Duration::from_millis(random.below(20)));
            writer.kill().unwrap();
            cut_off += u64::from(writer.wait().unwrap().code().is_none());
        }
    }
    println!("figures: {{\"rounds\": {}, \"killed\": {cut_off}}}", rounds(1));
    assert!(cut_off > 0);
    home.ok(&import);
    let (mut entities, mut objects) = (BTreeSet::new(), BTreeSet::new());
    for line in home.ok("link list hubspot/deals --json").lines() {
        let link: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(entities.insert(link["entity_id"].to_string()) && objects.insert(link["object"].to_string()), "{line}");
    }
    assert_eq!((entities.len(), objects.len()), (2_000, 2_000));
    home.ok("vault check");
}
