//! The JSON Schema of a connector file, made from the model: `connectors/schema.json`, and what `validate` walks by.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Connector;

/// JSON Schema, draft 2020-12.
pub fn json_schema() -> Value {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Connector>();
    schema.to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE=1 cargo test schema` writes the file anew.
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
