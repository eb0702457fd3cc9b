//! Lines that run until they are interrupted, and lines that cannot be run in a test. All of them are parsed.

/// What is special about a line.
pub enum Exception {
    /// It is not run, and why.
    NotRun(&'static str),
    /// It runs until it is interrupted.
    Serves,
}

use Exception::{NotRun, Serves};

/// By the line; one that ends in `…` is the beginning of lines. The first that fits counts.
pub const EXCEPTIONS: &[(&str, Exception)] = &[
    ("alias integ…", NotRun("the shell of each line is its own")),
    ("cargo install…", NotRun("it builds integ")),
    ("cargo run --no-default-features…", NotRun("it builds integ")),
    ("integ api-token trust remove deploy --yes", NotRun("it needs a trust: see `ci_token`")),
    ("integ api-token login…", NotRun("it needs a server and a CI system: see `ci_token`")),
    ("echo \"$ID_TOKEN\"…", NotRun("it needs a server and a CI system: see `ci_token`")),
    ("integ approval show apr_…", NotRun("it needs a request that waits: see `approval`")),
    ("integ approval grant apr_…", NotRun("it needs a request that waits: see `approval`")),
    ("integ approval deny apr_…", NotRun("it needs a request that waits: see `approval`")),
    ("integ connect https://api.githubcopilot.com/mcp/ --with-token", NotRun("it needs an account")),
    ("integ calendar update outlook-calendar EVENT…", NotRun("EVENT stands for an id")),
    ("integ calendar delete outlook-calendar EVENT…", NotRun("EVENT stands for an id")),
    ("integ mcp install claude-code mcp@linear…", NotRun("it asks first")),
    ("integ mcp install vscode mcp@linear…", NotRun("it asks first")),
    ("integ connect oidc --issuer…", NotRun("it needs a server: see `oidc`")),
    ("integ connect api-key…", NotRun("it needs a service")),
    ("integ connect slack --origin…", NotRun("it needs the emulation of the line before")),
    ("integ connector install https…", NotRun("it needs a server")),
    ("integ connector new --from-openapi https…", NotRun("it needs a server")),
    ("integ connector new acme", NotRun("it asks at a terminal: see `guided`")),
    ("integ connector new my-service", NotRun("it asks at a terminal: see `guided`")),
    ("integ token oidc --format id-token", NotRun("it needs a server that gives ID tokens: see `oidc`")),
    ("integ vault move-tokens keyring", NotRun("it needs a keyring: see `keyring`")),
    ("integ webhook resolve 1…", NotRun("it needs an event with a conflict: see `webhook`")),
    ("integ workspace create team --store…", NotRun("it needs a PostgreSQL server: see `postgres`")),
    ("integ workspace create team-b --store…", NotRun("it needs a PostgreSQL server: see `postgres`")),
    ("integ vault move --to…", NotRun("it needs a PostgreSQL server: see `postgres`")),
    ("integ -w team…", NotRun("it needs that workspace: see `postgres`")),
    ("tests/run", NotRun("it runs the tests")),
    ("integ endpoint deliver", Serves),
    ("integ dashboard", NotRun("it asks at a terminal: see `dashboard`")),
    ("integ dashboard --as…", Serves),
    ("integ sandbox run…", Serves),
    ("integ status --watch", Serves),
    ("integ proxy…", Serves),
    ("integ serve…", Serves),
    ("integ webhook listen…", Serves),
];

/// Whether an entry of the list is about a line.
pub fn fits(entry: &str, line: &str) -> bool {
    entry.strip_suffix('…').map_or(entry == line, |start| line.starts_with(start))
}

/// The exception of a line.
pub fn of(line: &str) -> Option<&'static Exception> {
    EXCEPTIONS.iter().find(|(entry, _)| fits(entry, line)).map(|(_, exception)| exception)
}

#[test]
fn an_entry_is_a_line_or_its_beginning() {
    assert!(matches!(of("integ sandbox run slack"), Some(Serves)));
    assert!(matches!(of("integ endpoint deliver"), Some(Serves)));
    assert!(of("integ endpoint deliver --once").is_none());
}
