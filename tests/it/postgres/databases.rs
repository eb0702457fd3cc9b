//! Databases of homes: each home has one of its own, in which ids begin at 1, as in a file.
//!
//! They are copies of a template with the schema and the workspace of a neighbour, whose rows have the ids that the home's
//! will get: a statement that forgets the workspace finds the wrong row.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio_postgres::SimpleQueryMessage;

use super::{server, workspaces};
use crate::harness::Home;

const TEMPLATE: &str = "template_of_homes";

/// Restarts the ids at 1.
const RESTART_SEQUENCES: &str = "DO $$
    DECLARE
        name TEXT;
    BEGIN
        FOR name IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'integ' LOOP
            EXECUTE format('ALTER SEQUENCE integ.%I RESTART', name);
        END LOOP;
    END $$";

/// A database, dropped with the value.
pub struct Database {
    name: String,
    /// The URL with which commands reach it.
    pub url: String,
}

impl Database {
    /// Creates one.
    pub fn create() -> Self {
        static TEMPLATE_READY: OnceLock<()> = OnceLock::new();
        TEMPLATE_READY.get_or_init(create_template);
        Self::from_template(TEMPLATE)
    }

    /// Copies it. No process may be connected to it.
    pub fn copy(&self) -> Self {
        Self::from_template(&self.name)
    }

    fn from_template(template: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("home_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        run(format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"));
        // With the rights of a node, from which row-level security hides the neighbour.
        Self { url: workspaces::url_of(&name).unwrap().replace("integ@", "node@"), name }
    }

    /// Runs a query as the owner of the schema, and returns its first column as text.
    pub fn column(&self, sql: &str) -> Vec<String> {
        let (config, sql) = (server::database(&self.name), sql.to_owned());
        server::block_on(async move {
            let messages = server::connect(&config).await.simple_query(&sql).await.unwrap();
            let text = |message| match message {
                SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            };
            messages.into_iter().filter_map(text).collect()
        })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        run(format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

fn create_template() {
    run(format!("CREATE DATABASE {TEMPLATE}"));
    let home =
        Home::in_files().with("INTEG_STORE_URL", workspaces::url_of(TEMPLATE).expect("PostgreSQL is not installed"));
    for line in [
        "config set vault.identity file",
        "connect slack --sandbox",
        "connect stripe --sandbox --user neighbour",
        "sync slack",
        "link add customer/1 slack/users U1",
        "endpoint event add invoice.paid",
        "endpoint add https://neighbour.example/hook",
        "api-token create neighbour --scope connections:read",
    ] {
        home.ok(line);
    }
    let config = server::database(TEMPLATE);
    server::block_on(server::create_node_role());
    server::block_on(async move { server::connect(&config).await.batch_execute(RESTART_SEQUENCES).await.unwrap() });
}

fn run(sql: String) {
    server::block_on(async move { server::owner().await.batch_execute(&sql).await.unwrap() });
}
