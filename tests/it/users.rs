//! Users: filters, and their deletion.

use crate::harness::Home;

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
    assert_eq!((&deleted["purged"], &deleted["links"], &deleted["consents"]), (&true.into(), &2.into(), &1.into()));
    assert_eq!(deleted["connections"][0]["result"], "revoked");
    let missing = home.run("user show u_17 --json");
    assert_eq!((missing.code, missing.error_code().as_str()), (3, "user_not_found"));
}
