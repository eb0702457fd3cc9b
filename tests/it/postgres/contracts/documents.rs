//! What the apps, the event types and the sandbox's documents of every store do.

use integ::model::{ClientCredentials, EventTypeDefinition, OAuthApp};
use serde_json::json;

use super::super::on_both_stores;
use super::at;

fn app(connector: &str, server: Option<&str>, secret: &str) -> OAuthApp {
    OAuthApp {
        connector: connector.to_owned(),
        server: server.map(str::to_owned),
        client: ClientCredentials { id: "client".to_owned(), secret: Some(secret.into()) },
        updated_at: at(1),
    }
}

#[test]
fn an_app_is_one_of_its_server_and_can_be_assigned_to_one() {
    on_both_stores(async |subject| {
        let (name, apps) = (subject.name, subject.store().apps());
        for app in
            [app("slack", None, "first"), app("slack", None, "second"), app("github", Some("https://a"), "third")]
        {
            apps.set(&app).await.unwrap();
        }
        let secrets = async || {
            let listed = subject.other().apps().list().await.unwrap();
            let shown = |app: OAuthApp| {
                (app.connector, app.server.unwrap_or_default(), app.client.secret.unwrap().expose().clone())
            };
            listed.into_iter().map(shown).collect::<Vec<_>>()
        };
        let row =
            |connector: &str, server: &str, secret: &str| (connector.to_owned(), server.to_owned(), secret.to_owned());
        assert_eq!(secrets().await, [row("github", "https://a", "third"), row("slack", "", "second")], "{name}");
        apps.assign("slack", "https://b").await.unwrap();
        apps.assign("notion", "https://b").await.unwrap();
        assert_eq!(secrets().await[1], row("slack", "https://b", "second"), "{name}");
        assert!(apps.for_connector("notion").await.unwrap().is_empty(), "{name}");
        apps.remove("slack", None).await.unwrap();
        assert_eq!(apps.for_connector("slack").await.unwrap().len(), 1, "{name}: it is another server's");
        apps.remove("slack", Some("https://b")).await.unwrap();
        assert!(apps.for_connector("slack").await.unwrap().is_empty(), "{name}");
    });
}

#[test]
fn a_connector_has_one_app_at_each_server() {
    on_both_stores(async |subject| {
        let (name, apps) = (subject.name, subject.store().apps());
        let set = async |id: &str, secret: Option<&str>, server: Option<&str>, second| {
            let client = ClientCredentials { id: id.to_owned(), secret: secret.map(Into::into) };
            let server = server.map(str::to_owned);
            apps.set(&OAuthApp { connector: "oidc".to_owned(), server, client, updated_at: at(second) }).await.unwrap();
        };
        let ids = async || -> Vec<String> {
            let found = subject.other().apps().for_connector("oidc").await.unwrap();
            found.into_iter().map(|app| app.client.id).collect()
        };
        set("id", Some("s3cret"), None, 1).await;
        set("id2", None, None, 2).await;
        set("id3", None, Some("https://as.example"), 3).await;
        let app = apps.for_connector("oidc").await.unwrap().remove(0);
        assert_eq!((app.client.id.as_str(), app.client.secret, app.updated_at), ("id2", None, at(2)), "{name}");
        assert_eq!(ids().await, ["id2", "id3"], "{name}");
        apps.assign("oidc", "https://b.example").await.unwrap();
        set("id4", None, None, 4).await;
        assert_eq!(ids().await, ["id4", "id3", "id2"], "{name}");
        apps.remove("oidc", Some("https://as.example")).await.unwrap();
        apps.remove("oidc", None).await.unwrap();
        assert_eq!(ids().await, ["id2"], "{name}");
    });
}

#[test]
fn an_event_type_replaces_the_one_of_its_name() {
    on_both_stores(async |subject| {
        let types = subject.store().event_types();
        let definition = |kind: &str, sample| EventTypeDefinition {
            kind: kind.to_owned(),
            description: "what it says".to_owned(),
            sample,
        };
        types.put(&definition("b.two", None)).await.unwrap();
        types.put(&definition("a.one", None)).await.unwrap();
        types.put(&definition("b.two", Some(json!({"id": 1})))).await.unwrap();
        let listed = subject.other().event_types().list().await.unwrap();
        let shown: Vec<_> = listed.iter().map(|one| (one.kind.as_str(), one.sample.clone())).collect();
        assert_eq!(shown, [("a.one", None), ("b.two", Some(json!({"id": 1})))], "{}", subject.name);
        assert!(types.remove("a.one").await.unwrap() && !types.remove("a.one").await.unwrap(), "{}", subject.name);
    });
}

#[test]
fn a_document_is_replaced_by_who_has_read_it() {
    on_both_stores(async |subject| {
        let (name, own, other) = (subject.name, subject.store().sandbox(), subject.other().sandbox());
        let (one, two) = (json!({"a": 1, "b": 2}), json!({"a": 3}));
        assert!(!own.replace("state/slack", Some(&one), Some(&two)).await.unwrap(), "{name}: there is none");
        assert!(own.replace("state/slack", None, Some(&one)).await.unwrap(), "{name}");
        assert!(!other.replace("state/slack", None, Some(&two)).await.unwrap(), "{name}: there is one");
        assert!(!other.replace("state/slack", Some(&two), Some(&two)).await.unwrap(), "{name}: it is another one");
        assert_eq!(own.get("state/slack").await.unwrap(), Some(one.clone()), "{name}");
        // The order of its members is nothing.
        let same = json!({"b": 2, "a": 1});
        assert!(other.replace("state/slack", Some(&same), Some(&two)).await.unwrap(), "{name}");
        assert!(!own.replace("state/slack", Some(&one), None).await.unwrap(), "{name}");
        assert_eq!(own.get("state/slack").await.unwrap(), Some(two.clone()), "{name}");
        own.replace("state_x", None, Some(&one)).await.unwrap();
        own.replace("state/github", None, Some(&one)).await.unwrap();
        let listed = other.list("state/").await.unwrap();
        let expected = [("state/github".to_owned(), one.clone()), ("state/slack".to_owned(), two.clone())];
        assert_eq!(listed, expected, "{name}");
        assert!(own.replace("state/slack", Some(&two), None).await.unwrap(), "{name}");
        assert_eq!(other.get("state/slack").await.unwrap(), None, "{name}");
        assert_eq!((other.clear("state/").await.unwrap(), own.get("state_x").await.unwrap()), (1, Some(one)), "{name}");
        assert_eq!(own.clear("").await.unwrap(), 1, "{name}");
    });
}
