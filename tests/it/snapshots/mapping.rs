//! What the commands of bindings and links print.

use super::session::session;

#[test]
fn bindings() {
    session(
        "bindings",
        |world| {
            world.write(
                "customer",
                "id = .id\nemail: text = .properties.email | lower\nphone?: text = .properties.phone\n\
                stage = .properties.lifecyclestage | lookup(\"stage\")\n\n[lookup.stage]\nlead = \"prospect\"\n\n\
                [example no address]\ninput = {\"id\": \"1\"}\nerror = \"email\"\n",
            );
            world.write("wrong", "id = .id\nemail = .properties.email | lowr\n");
            let export = serde_json::json!({
                "bindings": [{ "name": "lead", "from": "hubspot/contacts", "text": "id = .id\n" }]
            });
            world.write("export", &export.to_string());
            world.write("typo", "id = .id\nemail = .properties.emial\n");
        },
        ". connect hubspot --sandbox
        . sandbox data hubspot/contacts --records 2
        . sync hubspot/contacts
        binding list
        binding set customer --from hubspot/contacts customer
        binding set customer customer
        binding set customer wrong
        binding set person --from hubspot/contacts --template contact
        binding set person --from hubspot/contacts --template ticket
        binding set x --from hubspot/contact customer
        binding set x customer
        binding show customer
        binding preview customer --limit 1
        binding preview --from hubspot/contacts --file typo --limit 1
        ~ records --binding customer --limit 1
        binding test
        binding set customer typo
        ~ records --binding customer
        ~ binding show customer
        ~ binding list
        binding retry customer
        binding export person
        binding import wrong
        binding import export
        binding remove customer
        binding remove customer",
    );
}

#[test]
fn two_way_bindings() {
    session(
        "two_way",
        |world| {
            let line = |document: serde_json::Value| {
                serde_json::json!({ "entity": "customer/7", "document": document }).to_string()
            };
            let new = serde_json::json!({ "email": "ada@example.com", "phone": "1" });
            world.write("new", &line(new));
            world.write("changed", &line(serde_json::json!({ "last_name": "Byron", "phone": "3" })));
            world.write("wrong", "{\"entity\": \"customer\"}\n");
            // Without times, which change from second to second.
            world.write(
                "person",
                "id = .id\nemail? = .properties.email | lower\nlast_name?: text = .properties.lastname\n\
                phone?: text = .properties.phone\ncompany?: text = .properties.company\n\n\
                [sync]\nmatch = email\n\n[out]\nproperties.email? = .email\n",
            );
        },
        ". connect hubspot --sandbox --add-scope crm.objects.contacts.write
        . sandbox data hubspot/contacts --records 2
        . binding set person --from hubspot/contacts person
        binding conflicts
        binding push person new --dry-run
        binding push person new
        let OBJECT = link find customer/7 --jq .links[0].object
        binding push person new
        . call hubspot contacts.update contact_id={OBJECT} 'properties={\"phone\": \"2\", \"lastname\": \"King\"}'
        binding push person changed
        binding conflicts
        binding conflicts person
        binding resolve person customer/7 --take theirs --field email
        binding resolve person customer/7 --take theirs --field phone
        binding resolve person customer/7 --set last_name=Lovelace
        binding resolve person customer/7 --take ours
        . call hubspot contacts.update contact_id={OBJECT} 'properties={\"company\": \"Acme\"}'
        binding sync person
        binding sync person --full --dry-run
        binding push person wrong
        binding sync people",
    );
}

#[test]
fn interrupted_creations() {
    session(
        "two_way_interrupted",
        |world| {
            let line = |id: &str| {
                serde_json::json!({ "entity": format!("customer/{id}"), "document": { "phone": id } }).to_string()
            };
            world.write("nine", &line("9"));
            world.write("ten", &line("10"));
            world.write(
                "person",
                "id = .id\nemail? = .properties.email\nphone?: text = .properties.phone\n\n[sync]\nmatch = email\n",
            );
        },
        ". connect hubspot --sandbox --add-scope crm.objects.contacts.write
        . binding set person --from hubspot/contacts person
        . sandbox fault hubspot server_error --endpoint action --times 1
        binding push person nine
        binding push person nine
        binding conflicts
        binding resolve person customer/9 --again
        . sandbox fault hubspot truncated --endpoint action --times 1
        binding push person ten
        binding sync person
        binding conflicts person
        let OBJECT = records hubspot/contacts --jq 'select(.properties.phone == \"10\") | .id'
        binding resolve person customer/10 --object {OBJECT}
        binding conflicts
        binding resolve person customer/10 --again",
    );
}

#[test]
fn links() {
    session(
        "links",
        |world| {
            world.write(
                "links.csv",
                "entity_type,entity_id,connection,resource,object\ncustomer,7,hubspot,contacts,107\n",
            );
            world.write(
                "wrong.csv",
                "entity_type,entity_id,connection,resource,object\ncustomer,8,hubspot,contacts,107\n",
            );
        },
        ". connect hubspot --sandbox --user u_1
        link list
        link add customer/42 hubspot/contacts 1500017
        link add customer/42 hubspot/contacts 1500017
        link add customer/42 hubspot/contacts 1500018
        link add customer/43 hubspot/contacts 1500017
        link add customer hubspot/contacts 1
        link add customer/42 hubspot 1
        link find customer/42
        link find hubspot/contacts 1500017
        link find hubspot/contacts 1
        link import links.csv
        link import wrong.csv
        ~ link list
        link list --type order
        link remove customer/42 hubspot/contacts
        link remove customer/42 hubspot/contacts
        ~ status --user u_1
        status --user u_2
        connect hubspot --sandbox --user u_2",
    );
}
