//! Users: filters, and their deletion.

use crate::harness::{Home, finish, on_postgres};

#[test]
fn a_deleted_user_leaves_audit_entries_alone() {
    let home = Home::new();
    home.ok("connect slack@user17 --sandbox --user u_17");
    home.ok("connect hubspot --sandbox --user u_18");
    home.ok("sync slack@user17/users");
    home.ok("link add customer/42 slack@user17/users U1");
    home.ok("link add customer/43 hubspot/contacts 7 --user u_17");
    home.ok("consent grant u_17 sync");
    let listed = home.json("user list");
    assert_eq!(listed["summary"]["connections_per_user"], 1.0);
    assert_eq!(home.json("user show u_17")["connections"], serde_json::json!(["slack@user17"]));
    assert_eq!(home.json("records --user u_18")["streams"].as_array().unwrap().len(), 0);
    assert_eq!(home.json("records --user u_17")["streams"].as_array().unwrap().len(), 1);
    assert_eq!(home.json("job list --user u_17")["jobs"].as_array().unwrap().len(), 1);
    assert_eq!(home.json("job list --user u_18")["jobs"].as_array().unwrap().len(), 0);

    let asked = home.run("user delete u_17 --json");
    assert_eq!(asked.code, 2, "{asked:?}");
    let deleted = home.json("user delete u_17 --yes");
    assert_eq!((&deleted["links"], &deleted["consents"]), (&2.into(), &1.into()));
    // A server vacuums when it wants to.
    assert_eq!(deleted["purged"], !on_postgres());
    assert_eq!(deleted["connections"][0]["result"], "revoked");
    let missing = home.run("user show u_17 --json");
    assert_eq!((missing.code, missing.error_code().as_str()), (3, "user_not_found"));
}

/// Returns the tables of the home's database with a row that satisfies the condition.
fn tables_with(home: &Home, condition: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let sql = "SELECT c.relname || ' ' || string_agg(a.attname, ' ') FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
               WHERE c.relnamespace = 'integ'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 GROUP BY c.relname
               ORDER BY c.relname";
    let mut found = Vec::new();
    for table in home.sql(sql) {
        let (name, columns) = table.split_once(' ').unwrap();
        let Some(condition) = condition(columns) else { continue };
        let rows = home.sql(&format!("SELECT count(*) FROM integ.{name} r WHERE {condition}"));
        if rows != ["0"] {
            found.push(name.to_owned());
        }
    }
    found
}

/// What other workspaces have: of each table its name and its number of rows.
fn rows_of_neighbours(home: &Home, workspace: &str) -> Vec<String> {
    let tables = tables_with(home, |columns| columns.contains("workspace_id").then(|| "true".to_owned()));
    let count = |table: &String| {
        format!(
            "SELECT '{table} ' || count(*) FROM integ.{table} WHERE workspace_id <> {workspace} HAVING count(*) > 0"
        )
    };
    tables.iter().flat_map(|table| home.sql(&count(table))).collect()
}

#[test]
fn a_deleted_user_is_in_no_table_of_postgres() {
    let Some(home) = Home::in_postgres() else { return };
    home.ok("connect slack@user17 --sandbox --user u_17");
    home.ok("connect hubspot --sandbox --user u_18");
    home.ok("sync slack@user17/users");
    home.ok("sync hubspot/contacts");
    assert_eq!(finish(home.command(["schedule", "set", "slack@user17", "every 15m"])).code, 0);
    home.ok("link add customer/42 slack@user17/users U1");
    home.ok("link add customer/43 hubspot/contacts 7 --user u_17");
    home.ok("consent grant u_17 sync");
    let one = |sql: &str| home.sql(sql).pop().unwrap();
    let workspace = one("SELECT workspace_id FROM integ.connections WHERE user_id = 'u_17'");
    let connection = one("SELECT id FROM integ.connections WHERE user_id = 'u_17'");
    let named = || tables_with(&home, |_| Some("r::text LIKE '%u\\_17%' OR r::text LIKE '%user17%'".to_owned()));
    let of_connection = || {
        let condition = format!("workspace_id = {workspace} AND connection_id = {connection}");
        tables_with(&home, |columns| columns.contains("connection_id").then(|| condition.clone()))
    };
    let records = || one(&format!("SELECT count(*) FROM integ.records WHERE workspace_id = {workspace}"));
    assert_eq!(named(), ["audit_entries", "connections", "consents", "links"]);
    assert_eq!(of_connection(), ["grants", "health_checks", "links", "schedules", "streams"]);
    let (neighbours, before) = (rows_of_neighbours(&home, &workspace), records());

    let deleted = home.run("user delete u_17 --yes");
    assert!(deleted.code == 0 && deleted.stderr.contains("until it vacuums them"), "{deleted:?}");
    assert_eq!(named(), ["audit_entries"]);
    assert_eq!(of_connection(), [""; 0]);
    let of_others = home.sql(&format!(
        "SELECT count(*) FROM integ.records r JOIN integ.streams s ON (s.workspace_id, s.id) = (r.workspace_id, r.stream_id)
         JOIN integ.connections c ON (c.workspace_id, c.id) = (s.workspace_id, s.connection_id)
         WHERE c.workspace_id = {workspace} AND c.user_id = 'u_18'"
    ));
    assert_eq!(vec![records()], of_others);
    assert_ne!(before, records());
    assert_eq!(rows_of_neighbours(&home, &workspace), neighbours);
}
