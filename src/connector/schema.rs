//! The JSON Schema of a connector file, generated from the model: published as `connectors/schema.json`, and used by
//! `validate`.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Connector;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Connector>();
    schema.to_value()
});

/// Returns the schema, JSON Schema draft 2020-12. It is generated once a process.
pub fn json_schema() -> &'static Value {
    &SCHEMA
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE=1 cargo test schema` writes the file again.
    #[test]
    fn the_published_schema_is_the_models() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/schema.json");
        let text = format!("{:#}\n", json_schema());
        #[expect(clippy::disallowed_methods, reason = "a switch of the test's own")]
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert!(
            std::fs::read_to_string(&path).unwrap_or_default() == text,
            "connectors/schema.json is out of date: UPDATE=1 cargo test schema"
        );
    }
}
