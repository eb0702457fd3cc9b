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
src/cli/api.rs
src/cli/app.rs
src/cli/args.rs
src/cli/call.rs
src/cli/complete.rs
src/cli/completions.rs
src/cli/config.rs
src/cli/connect.rs
src/cli/connector/action.rs
src/cli/connector/descriptor.rs
src/cli/connector/install.rs
src/cli/connector/list.rs
src/cli/connector/mod.rs
src/cli/connector/new/auth.rs
src/cli/connector/new/fill.rs
src/cli/connector/new/mod.rs
src/cli/connector/remove.rs
src/cli/connector/schema.rs
src/cli/connector/search.rs
src/cli/connector/setup.rs
src/cli/connector/show.rs
src/cli/connector/stream.rs
src/cli/connector/validate.rs
src/cli/disconnect.rs
src/cli/doctor.rs
src/cli/endpoint/event.rs
src/cli/endpoint/mod.rs
src/cli/endpoint/view.rs
src/cli/exec.rs
src/cli/help.rs
src/cli/man.rs
src/cli/refresh.rs
src/cli/sandbox.rs
src/cli/status.rs
src/cli/sync/mod.rs
src/cli/sync/progress.rs
src/cli/sync/records.rs
src/cli/sync/schedule.rs
src/cli/sync/singer.rs
src/cli/table.rs
src/cli/terminal.rs
src/cli/test.rs
src/cli/token.rs
src/cli/ui.rs
src/cli/vault/backup.rs
src/cli/vault/identity.rs
src/cli/vault/mod.rs
src/cli/vault/output.rs
src/cli/webhook/address.rs
src/cli/webhook/backfill.rs
src/cli/webhook/events.rs
src/cli/webhook/listen.rs
src/cli/webhook/mod.rs
src/cli/webhook/printer.rs
src/cli/webhook/prune.rs
src/cli/webhook/replay.rs
src/cli/webhook/resolve.rs
src/cli/webhook/secret.rs
src/cli/webhook/simulate.rs
src/cli/webhook/subscribe.rs
src/cli/webhook/verify.rs
src/cli/words.rs
src/cli/workspace.rs
";

/// Files of the entry points that name `crate::store`.
pub const FILES_THAT_NAME_THE_STORE: &str = "
src/cli/endpoint/event.rs
src/cli/endpoint/mod.rs
src/cli/endpoint/view.rs
src/cli/vault/backup.rs
src/cli/vault/mod.rs
src/cli/webhook/backfill.rs
src/cli/webhook/events.rs
src/cli/webhook/keys.rs
src/cli/webhook/listen.rs
src/cli/webhook/replay.rs
src/cli/webhook/resolve.rs
src/cli/webhook/subscribe.rs
";

/// Files of more than 600 lines.
pub const LONG_FILES: &str = "
tests/it/attack/peers.rs
";

/// Functions of more than 80 lines: the file and the name.
pub const LONG_FUNCTIONS: &str = "
src/connect/flow.rs keep
src/oauth/access.rs renew
tests/it/field/lists/random_endings.rs field_01_02_03_random_endings_of_lists_delete_nothing_that_is_there_and_mark_what_is_gone
";

/// Functions with more than 5 blocks inside each other: the file and the name.
pub const DEEP_FUNCTIONS: &str = "
tests/it/webhook_faults.rs fault_068_what_was_answered_for_is_there_whenever_the_receiver_is_killed
";

/// Arguments of commands without a help text.
pub const ARGUMENTS_WITHOUT_HELP: &str = "
integ api --method
integ api CONNECTION
integ api PATH
integ call ACTION
integ call CONNECTION
integ completions SHELL
integ connector descriptor CONNECTOR
integ connector remove CONNECTOR
integ connector setup CONNECTOR
integ connector show ACTION
integ connector show CONNECTOR
integ endpoint add --description
integ endpoint add URL
integ endpoint deliveries --limit
integ endpoint deliveries --status
integ endpoint disable ID
integ endpoint enable ID
integ endpoint event remove KIND
integ endpoint remove ID
integ endpoint retry DELIVERIES
integ endpoint rotate ID
integ endpoint show ID
integ endpoint update --description
integ endpoint update ID
integ sandbox advance --ticks
integ sandbox advance SERVICE
integ sandbox data --records
integ sandbox data STREAM
integ sandbox fault CONNECTOR
integ sandbox reset CONNECTOR
integ sandbox run CONNECTORS
integ vault move-identity TO
integ vault move-tokens TO
integ vault recipients add RECIPIENT
integ vault recipients remove RECIPIENT
integ webhook backfill CONNECTION
integ webhook events --limit
integ webhook events --status
integ webhook events CONNECTION
integ webhook prune CONNECTION
integ webhook replay CONNECTION
integ webhook retry IDS
integ webhook secret CONNECTION
integ webhook show ID
integ webhook simulate EVENT
integ webhook subscribe CONNECTION
integ webhook unsubscribe --all
integ webhook unsubscribe CONNECTION
integ webhook url CONNECTION
integ webhook verify --method
integ webhook verify CONNECTION
";

/// Names that two types share which are `pub` to any reach.
pub const SHARED_TYPE_NAMES: &str = "
Account
Answer
App
Ask
Asked
Attempt
Call
Change
Changed
Chosen
Client
Command
Condition
Credential
Delivery
Detail
Document
Ended
Endpoint
Endpoints
Ends
Event
Events
Fault
Finding
Format
Found
Given
Guard
Identity
Key
Keys
Kind
Known
Listener
Made
Members
Mode
Order
Outcome
Page
Part
Place
Plan
Progress
Pruned
Purpose
RedirectUri
Refusal
Refused
Renewed
Reply
Report
Request
Sender
Sent
Setup
ShowArgs
Source
Standing
State
Streams
Summary
Taken
Tokens
Trust
Verdict
Webhook
Wish
";

/// Identifiers with a banned word.
pub const BANNED_IDENTIFIERS: &str = "
AlreadyGone
Brought
Bulk
Captures
Carrier
Chosen
Conversation
Course
Custodian
Ended
Ends
Facts
Finding
Found
Gone
Hold
Judged
KEPT_BYTES
Kept
KeyKept
Keyless
Lane
Life
Loaded
MOST_KEPT
MOST_SAID
Mistake
Moment
Opened
Order
Parcel
PartId
Party
Place
Places
Presented
Proof
Pusher
READER_HAS_GONE
Refused
Seen
Sheet
Shot
Signs
Standing
TOLD
Taken
TamperError
Told
Trouble
Turn
Visit
Volley
WAYS
Waiting
Walk
Want
Whom
Wish
again
bury
custodian
entrust
gate_told
given
goes_on
gone
gone_at
gone_keys
gone_status
is_gone
is_told_apart_by_time
kept
kept_here
looks_after
mend
mod connect::talk
mod http::pace
mod near
mod nesting
mod oauth::dialect
mod sandbox::life
mod sync::ask
mod sync::moment
mod sync::order
mod sync::parts
mod sync::walk
mod webhook::subscription::ask
mod webhook::tamper
mod webhook::volley
names_kept
other_ways
parted
put_standing
reader_has_gone
rehearse
rein_in
revive
revive_failed
said
said_time
set_standing
sign_anew
signed_anew
standing
stands
stands_already
swept
swept_next
take_back
talk
tamper
told
told_at
volley
ways
whom
wish
";

/// Files with sleeps that no comment explains, and how many.
pub const UNEXPLAINED_SLEEPS: &str = "
src/doctor/mod.rs 1
src/oauth/listener_tests.rs 1
src/vault/keyring.rs 2
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
