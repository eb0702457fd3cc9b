//! Two-way bindings: pushes, syncs, conflicts, deletions, merges. `two_way_kills` has the writes that are cut off.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::harness::Home;

pub const CONTACT: &str = "id = .id\nemail = .properties.email\nlast_name? = .properties.lastname\nphone? = .properties.phone\n\
    created: time = .createdAt\n[sync]\nmatch = email\n";

pub const ISSUE: &str = "project = .project_id\nemail = .title\nphone? = .description\n[sync]\nmatch = email\n";

/// A small generator of random numbers (xorshift64).
pub struct Random(u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

pub fn rounds(usual: u64) -> u64 {
    std::env::var("INTEG_TEST_ROUNDS").map_or(usual, |rounds| rounds.parse().unwrap())
}

pub fn random() -> Random {
    Random(std::env::var("INTEG_TEST_SEED").map_or(7, |seed| seed.parse().unwrap()))
}

pub fn hubspot(policy: &str) -> Home {
    let home = Home::new();
    home.ok("connect hubspot --sandbox --add-scope crm.objects.contacts.write");
    home.ok("sandbox data hubspot/contacts --records 3");
    set(&home, "person", "hubspot/contacts", &CONTACT.replace("[sync]", &format!("[sync]\nconflict = {policy}")));
    home
}

pub fn set(home: &Home, name: &str, from: &str, text: &str) {
    let ran = home.run_with_input(&format!("binding set {name} --from {from} -"), text);
    assert_eq!(ran.code, 0, "{ran:?}");
}

pub fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Pushes entities, and returns what became of each.
pub fn push(home: &Home, name: &str, entities: &[Value]) -> Vec<Value> {
    let text: String = entities.iter().map(|entity| format!("{entity}\n")).collect();
    let ran = home.run_with_input(&format!("binding push {name} - --json"), &text);
    assert!(matches!(ran.code, 0 | 8), "{ran:?}");
    lines(&ran.stdout)
}

pub fn entity(id: &str, document: &Value) -> Value {
    json!({"entity": format!("customer/{id}"), "document": document})
}

/// Changes an object at the service.
pub fn change(home: &Home, object: &str, properties: &Value) {
    let (object, properties) = (format!("contact_id={object}"), format!("properties={properties}"));
    let call = ["call", "hubspot", "contacts.update", object.as_str(), properties.as_str()];
    let ran = crate::harness::finish(home.command(call));
    assert_eq!(ran.code, 0, "{ran:?}");
}

fn properties(home: &Home, object: &str) -> Value {
    home.json(&format!("call hubspot contacts.get contact_id={object} --jq .response.properties"))
}

#[test]
fn entities_and_objects_are_kept_in_step() {
    let home = hubspot("ask");
    let ada = entity("1", &json!({"email": "ada@example.com", "last_name": "Lovelace", "other": [1]}));
    let dry = home.run_with_input("binding push person - --json --dry-run", &ada.to_string());
    assert_eq!(lines(&dry.stdout)[0]["outcome"], "created", "{dry:?}");
    assert_eq!(home.ok("link list --json"), "");

    let created = push(&home, "person", std::slice::from_ref(&ada));
    let object = created[0]["object"].as_str().unwrap().to_owned();
    assert_eq!(created[0]["outcome"], "created");
    assert_eq!(home.json("link find customer/1")["links"][0]["object"], object.as_str());
    assert_eq!(properties(&home, &object)["lastname"], "Lovelace");
    assert_eq!(push(&home, "person", &[ada])[0]["outcome"], "unchanged");

    let updated = push(&home, "person", &[entity("1", &json!({"phone": "+44 1"}))]);
    assert_eq!((&updated[0]["outcome"], &updated[0]["sent"]), (&json!("updated"), &json!(["phone"])));
    assert_eq!(properties(&home, &object)["phone"], "+44 1");
    // Null empties it.
    push(&home, "person", &[entity("1", &json!({"phone": null}))]);
    assert_eq!(properties(&home, &object)["phone"], "");

    // The service's changes come with a sync, once, with what only the service decides.
    change(&home, &object, &json!({"lastname": "King"}));
    let synced = lines(&home.ok("binding sync person --json"));
    assert_eq!(synced[0]["document"]["last_name"], "King", "{synced:?}");
    assert_eq!((&synced[0]["document"]["id"], &synced[0]["outcome"]), (&json!(object), &json!("changed")));
    assert_eq!(home.ok("binding sync person --json"), "");

    // Each side's own changes go to the other one.
    change(&home, &object, &json!({"lastname": "Byron"}));
    let merged = push(&home, "person", &[entity("1", &json!({"last_name": "King", "phone": "7"}))]);
    assert_eq!((&merged[0]["sent"], &merged[0]["received"]), (&json!(["phone"]), &json!(["last_name"])), "{merged:?}");
    assert_eq!(merged[0]["document"]["last_name"], "Byron");
}

#[test]
fn a_conflict_stays_open_until_it_is_decided() {
    let home = hubspot("ask");
    push(&home, "person", &[entity("1", &json!({"email": "ada@example.com", "last_name": "a", "phone": "1"}))]);
    let object = home.ok("link find customer/1 --jq .links[0].object");
    let both = |phone: &str| {
        change(&home, &object, &json!({"phone": format!("9{phone}"), "lastname": format!("T{phone}")}));
        push(&home, "person", &[entity("1", &json!({"phone": phone, "last_name": format!("U{phone}")}))])
    };
    let pushed = both("2");
    assert_eq!(pushed[0]["outcome"], "conflict", "{pushed:?}");
    let open = home.json("binding conflicts person")["conflicts"].clone();
    assert_eq!(open.as_array().unwrap().len(), 2, "{open}");
    assert_eq!((&open[1]["field"], &open[1]["ours"], &open[1]["theirs"]), (&json!("phone"), &json!("2"), &json!("92")));
    assert!(home.ok("binding conflicts").contains("customer/1"));
    let unknown = home.run("binding resolve person customer/1 --take ours --field email --json");
    assert_eq!((unknown.code, unknown.error_code().as_str()), (3, "no_conflict"), "{unknown:?}");
    home.ok("binding resolve person customer/1 --take ours --field phone");
    assert_eq!(properties(&home, &object)["phone"], "2");
    let taken = home.ok("binding resolve person customer/1 --take theirs --json");
    assert_eq!(lines(&taken)[0]["document"]["last_name"], "T2");
    assert_eq!(home.ok("binding conflicts"), "No open conflicts.");
    both("3");
    let value = home.ok("binding resolve person customer/1 --set phone=5 --json");
    assert_eq!(properties(&home, &object)["phone"], 5, "{value}");
    assert_eq!(home.json("binding conflicts")["conflicts"].as_array().unwrap().len(), 1);

    let home = hubspot("newest");
    push(&home, "person", &[entity("1", &json!({"email": "ada@example.com", "phone": "1"}))]);
    let object = home.ok("link find customer/1 --jq .links[0].object");
    for (changed_at, outcome) in [("2020-01-01T00:00:00Z", "changed"), ("2999-01-01T00:00:00Z", "updated")] {
        change(&home, &object, &json!({"phone": format!("at {changed_at}")}));
        let document = json!({"phone": format!("mine {changed_at}")});
        let line = json!({"entity": "customer/1", "document": document, "changed_at": changed_at});
        assert_eq!(push(&home, "person", &[line])[0]["outcome"], outcome);
    }
}

#[test]
fn deletions_on_either_side_have_an_outcome() {
    let home = hubspot("ask");
    let person = |id: &str| entity(id, &json!({"email": format!("{id}@example.com"), "phone": "1"}));
    push(&home, "person", &["1", "2", "3", "4"].map(person));
    let object = |id: &str| home.ok(&format!("link find customer/{id} --jq .links[0].object"));
    let objects = ["1", "2", "3", "4"].map(object);
    // The user's entity: the object stays unless the binding says otherwise.
    let deletion = |id: &str| json!({"entity": format!("customer/{id}"), "deleted": true});
    assert_eq!(push(&home, "person", &[deletion("1")])[0]["outcome"], "unlinked");
    assert_eq!(properties(&home, &objects[0])["phone"], "1");
    // It is found again by its address.
    assert_eq!(push(&home, "person", &[person("1")])[0]["outcome"], "linked");
    set(&home, "person", "hubspot/contacts", &CONTACT.replace("[sync]", "[sync]\ndelete = delete"));
    assert_eq!(push(&home, "person", &[deletion("1")])[0]["outcome"], "deleted");
    assert_ne!(home.run(&format!("call hubspot contacts.get contact_id={}", objects[0])).code, 0);
    change(&home, &objects[1], &json!({"phone": "2"}));
    assert_eq!(push(&home, "person", &[deletion("2")])[0]["outcome"], "conflict");
    assert_eq!(home.json("binding conflicts")["conflicts"][0]["field"], "(deleted)");
    assert_eq!(lines(&home.ok("binding sync person --json"))[0]["outcome"], "conflict", "a sync decides nothing");
    let back = home.ok("binding resolve person customer/2 --take theirs --json");
    assert_eq!(lines(&back)[0]["document"]["phone"], "2");

    // The service's object.
    home.ok(&format!("call hubspot contacts.archive contact_id={}", objects[2]));
    home.ok(&format!("call hubspot contacts.archive contact_id={}", objects[3]));
    let synced = lines(&home.ok("binding sync person --full --json"));
    let outcomes: Vec<_> = synced.iter().map(|line| (line["entity"].as_str().unwrap(), &line["outcome"])).collect();
    assert_eq!(outcomes, [("customer/3", &json!("deleted")), ("customer/4", &json!("deleted"))]);
    assert_eq!(home.ok("binding sync person --full --json"), "", "once");
    let changed = push(&home, "person", &[entity("3", &json!({"phone": "9"}))]);
    assert_eq!(changed[0]["outcome"], "conflict", "{changed:?}");
    let again = lines(&home.ok("binding resolve person customer/3 --take ours --json"));
    assert_eq!(again[0]["outcome"], "created");
    assert_ne!(again[0]["object"], objects[2].as_str());
    assert_eq!(push(&home, "person", &[deletion("4")])[0]["outcome"], "unlinked");
    assert_eq!(push(&home, "person", &[deletion("4")])[0]["outcome"], "unchanged");
}

#[test]
fn entities_whose_objects_become_one_are_told_apart() {
    let home = hubspot("ours");
    push(&home, "person", &["1", "2"].map(|id| entity(id, &json!({"email": format!("{id}@example.com")}))));
    home.ok("binding sync person");
    let [first, second] = ["1", "2"].map(|id| home.ok(&format!("link find customer/{id} --jq .links[0].object")));
    change(&home, &first, &json!({"hs_merged_object_ids": second}));
    let synced = lines(&home.ok("binding sync person --json"));
    let merged = synced.iter().find(|line| line["entity"] == "customer/2").unwrap();
    assert_eq!(merged["outcome"], "merged", "{synced:?}");
    // Nothing is written to the object, which is the other entity's.
    assert_eq!(push(&home, "person", &[entity("2", &json!({"phone": "2"}))])[0]["outcome"], "merged");
    assert_eq!(push(&home, "person", &[json!({"entity": "customer/2", "deleted": true})])[0]["outcome"], "unlinked");
}

#[test]
fn what_cannot_be_pushed_is_refused() {
    let home = hubspot("ask");
    let refused = home.run_with_input("binding push person - --json", "{\"entity\": \"customer/1\"}");
    assert_eq!((refused.code, refused.error_code().as_str()), (2, "invalid_entity"), "{refused:?}");
    set(&home, "one", "hubspot/contacts", "id = .id");
    let refused = home.run_with_input("binding push one - --json", "");
    assert_eq!((refused.code, refused.error_code().as_str()), (2, "one_way_binding"), "{refused:?}");
    for (text, code) in
        [("id = .id\n[sync]\nmatch = nope", "invalid_binding"), ("id = .id\n[out]\nx = .id |", "invalid_binding")]
    {
        let refused = home.run_with_input("binding set x --from hubspot/contacts - --json", text);
        assert_eq!(refused.error_code(), code, "{refused:?}");
    }
    let refused = home.run_with_input("binding set x --from slack/users - --json", "id = .id\n[sync]\n");
    assert_eq!(refused.error_code(), "not_writable");
    let failed = push(&home, "person", &[entity("1", &json!({"unknown": 1})), entity("2", &json!({"email": "b@c.d"}))]);
    assert_eq!((&failed[0]["outcome"], &failed[1]["outcome"]), (&json!("failed"), &json!("created")), "{failed:?}");
}

/// A user's program and a service that are changed at random, and kept in step by a binding.
pub struct Pair {
    pub home: Home,
    pub connector: &'static str,
    /// What the user's program has.
    pub ours: BTreeMap<String, BTreeMap<String, Value>>,
    /// Of an issue.
    pub project: Value,
}

impl Pair {
    pub fn start(connector: &'static str, policy: &str) -> Self {
        let home = match connector {
            "hubspot" => hubspot(policy),
            _ => {
                let home = Home::new();
                home.ok("connect gitlab --sandbox --add-scope api");
                home.ok("sandbox data gitlab/projects --records 1");
                home.ok("sandbox data gitlab/issues --records 2");
                set(
                    &home,
                    "person",
                    "gitlab/issues",
                    &ISSUE.replace("[sync]", &format!("[sync]\nconflict = {policy}")),
                );
                home.ok("sync gitlab/projects --quiet");
                home.ok("sync gitlab/issues --quiet");
                home
            }
        };
        let project = match connector {
            "gitlab" => lines(&home.ok("records gitlab/projects"))[0]["id"].clone(),
            _ => Value::Null,
        };
        Self { home, connector, ours: BTreeMap::new(), project }
    }

    fn push(&mut self, entities: &BTreeSet<String>) {
        let line = |name: &String| {
            let mut document = json!(self.ours[name]);
            if !self.project.is_null() {
                document["project"] = self.project.clone();
            }
            json!({"entity": name, "document": document})
        };
        let outcomes = push(&self.home, "person", &entities.iter().map(line).collect::<Vec<_>>());
        assert_eq!(outcomes.len(), entities.len());
        self.apply(&outcomes);
    }

    fn sync(&mut self) {
        let ran = self.home.run("binding sync person --json");
        assert_eq!(ran.code, 0, "{ran:?}");
        self.apply(&lines(&ran.stdout));
    }

    /// Takes over what the user's side is given.
    fn apply(&mut self, outcomes: &[Value]) {
        for outcome in outcomes {
            let name = outcome["entity"].as_str().unwrap();
            assert!(!matches!(outcome["outcome"].as_str(), Some("failed" | "unconfirmed" | "deleted")), "{outcome}");
            for field in outcome["received"].as_array().unwrap().iter().filter_map(Value::as_str) {
                let document = self.ours.get_mut(name).unwrap();
                if ["email", "phone"].contains(&field) {
                    document.insert(field.to_owned(), outcome["document"][field].clone());
                }
            }
        }
    }

    pub fn change_theirs(&self, name: &str, value: &str) {
        let object = self.home.ok(&format!("link find {name} --jq .links[0].object"));
        if self.connector == "hubspot" {
            change(&self.home, &object, &json!({"phone": value}));
            return;
        }
        let record =
            lines(&self.home.ok("records gitlab/issues")).into_iter().find(|record| record["_key"] == object.as_str());
        // One that was just created is not synced yet.
        let Some(record) = record else { return };
        let words =
            format!("call gitlab issues.update project_id={} issue_iid={}", record["project_id"], record["iid"]);
        self.home.ok(&format!("{words} description={value}"));
    }

    /// Changes some of the entities on one side or both, and returns those that changed on the user's side.
    fn change_at_random(&mut self, random: &mut Random, names: &BTreeSet<String>, step: u32) -> BTreeSet<String> {
        let mut changed = BTreeSet::new();
        for name in names {
            let edit = random.below(5);
            if matches!(edit, 1 | 3) {
                self.change_theirs(name, &format!("t{step}"));
            }
            if matches!(edit, 2 | 3) {
                let value = json!(format!("o{}", random.below(3)));
                self.ours.get_mut(name).unwrap().insert("phone".to_owned(), value);
                changed.insert(name.clone());
            }
        }
        changed
    }

    /// What differs between the two sides, but for the conflicts that are listed.
    fn differences(&self) -> Vec<String> {
        let open = self.home.json("binding conflicts person")["conflicts"].clone();
        let open: BTreeSet<(String, String)> = open
            .as_array()
            .unwrap()
            .iter()
            .map(|open| (open["entity"].as_str().unwrap().to_owned(), open["field"].as_str().unwrap().to_owned()))
            .collect();
        let theirs: BTreeMap<String, Value> = lines(&self.home.ok("records --binding person"))
            .into_iter()
            .map(|record| (record["_key"].as_str().unwrap().to_owned(), record))
            .collect();
        let mut found = Vec::new();
        for (name, ours) in &self.ours {
            let object = self.home.ok(&format!("link find {name} --jq .links[0].object"));
            for (field, value) in ours {
                let their = &theirs[&object][field];
                if their != value && !open.contains(&(name.clone(), field.clone())) {
                    found.push(format!("{name} {field}: {value} here, {their} there"));
                }
            }
        }
        found
    }
}

/// Random changes on both sides, with pushes and syncs between them, end equal or in a listed conflict.
#[test]
fn random_changes_on_both_sides_end_equal_or_in_a_listed_conflict() {
    let mut random = random();
    let (rounds, mut sequences, mut conflicts) = (rounds(1), 0, 0);
    for round in 0..rounds {
        for connector in ["hubspot", "gitlab"] {
            for policy in ["newest", "ours", "theirs", "ask"] {
                let mut pair = Pair::start(connector, policy);
                let names: BTreeSet<String> = (0..4).map(|number| format!("customer/{round}-{number}")).collect();
                for name in &names {
                    let email = json!(format!("{}@example.com", name.replace('/', "-")));
                    let fields = [("email".to_owned(), email), ("phone".to_owned(), json!("0"))];
                    pair.ours.insert(name.clone(), BTreeMap::from(fields));
                }
                pair.push(&names);
                pair.sync();
                for step in 0..3 {
                    let changed = pair.change_at_random(&mut random, &names, step);
                    if random.below(4) > 0 || !changed.is_empty() {
                        pair.push(&changed);
                    }
                    if random.below(3) > 0 {
                        pair.sync();
                    }
                }
                pair.push(&names);
                pair.sync();
                let differences = pair.differences();
                assert!(differences.is_empty(), "{connector} {policy} round {round}: {differences:?}");
                let open = pair.home.json("binding conflicts")["conflicts"].as_array().unwrap().len();
                assert!(policy == "ask" || open == 0, "{connector} {policy}: {open} conflicts");
                (sequences, conflicts) = (sequences + names.len(), conflicts + open);
            }
        }
    }
    println!("figures: {}", json!({"sequences": sequences, "conflicts": conflicts}));
}
