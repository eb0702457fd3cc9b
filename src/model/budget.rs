//! A rate limit: units per time.

use schemars::JsonSchema;
use serde::Deserialize;

/// So many units in so many seconds: requests, or what the vendor counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    pub units: u32,
    pub secs: u32,
    /// Units that may be used at once; all of them where absent.
    #[serde(default)]
    pub burst: Option<u32>,
}
