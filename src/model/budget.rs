//! A rate limit: units per time.

use schemars::JsonSchema;
use serde::Deserialize;

/// Units per time: requests, or the vendor's units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    pub units: u32,
    pub secs: u32,
    /// Units that may be used at once; all of them if absent.
    #[serde(default)]
    pub burst: Option<u32>,
}
