//! Violations from before the rules of `tidy`. The lists may only shrink; each has one entry per line, sorted.
//! They are texts because rustfmt would put several entries of an array on one line.

/// Top-level modules that the table in `src/lib.rs` lacks.
pub const UNLISTED_MODULES: &str = "
";

/// Paths in the text of `src/lib.rs` that lead nowhere.
pub const UNRESOLVED_PATHS: &str = "
";

/// Modules that use one further up.
pub const UPWARD_ARROWS: &str = "
";

/// Top-level modules that use each other in a cycle.
pub const MODULES_IN_CYCLES: &str = "
";

/// Files of `cli` that use each other in a cycle.
pub const CLI_FILES_IN_CYCLES: &str = "
";

/// Files of the entry points that name `crate::store`.
pub const FILES_THAT_NAME_THE_STORE: &str = "
";

/// Files of more than 600 lines.
pub const LONG_FILES: &str = "
tests/it/attack/peers.rs
";

/// Functions of more than 80 lines: the file and the name.
pub const LONG_FUNCTIONS: &str = "
tests/it/field/lists/random_endings.rs field_01_02_03_random_endings_of_lists_delete_nothing_that_is_there_and_mark_what_is_gone
";

/// Functions with more than 5 blocks inside each other: the file and the name.
pub const DEEP_FUNCTIONS: &str = "
tests/it/webhook_faults.rs fault_068_what_was_answered_for_is_there_whenever_the_receiver_is_killed
";

/// Arguments of commands without a help text.
pub const ARGUMENTS_WITHOUT_HELP: &str = "
";

/// Names that two types share which are `pub` to any reach.
pub const SHARED_TYPE_NAMES: &str = "";

/// Identifiers with a banned word.
pub const BANNED_IDENTIFIERS: &str = "
Finding
Gone
KEPT_BYTES
MOST_KEPT
Refused
Waiting
again
given
goes_on
gone
gone_status
kept
mod near
mod nesting
names_kept
said
stands
told
ways
whom
";

/// Files with sleeps that no comment explains, and how many.
pub const UNEXPLAINED_SLEEPS: &str = "
src/doctor/mod.rs 1
src/oauth/listener_tests.rs 1
src/vault/tests/identity.rs 1
src/vault/tests/replacing.rs 1
tests/bench/list_server.rs 1
tests/bench/webhooks/run 1
tests/campaigns/compare 1
tests/campaigns/refresh 2
tests/it/attack/clocks.rs 4
tests/it/attack/exec.rs 1
tests/it/attack/peers.rs 2
tests/it/attack/proofs.rs 6
tests/it/attack/trusted_files.rs 1
tests/it/attack/typed_input.rs 1
tests/it/endpoint.rs 2
tests/it/fake.rs 1
tests/it/field/values/output.rs 1
tests/it/field/webhooks/handling.rs 1
tests/it/field/webhooks/identity.rs 1
tests/it/field/webhooks/mod.rs 1
tests/it/oidc.rs 1
tests/it/push.rs 1
tests/it/race.rs 1
tests/it/receiver.rs 2
tests/it/subscription.rs 2
tests/it/sync_faults.rs 1
tests/it/webhook.rs 1
tests/it/webhook_faults.rs 2
";
