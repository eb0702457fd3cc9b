//! Names: no two types share one, and none uses a word that a newcomer would have to learn.

use super::source::{TREE, Tree};
use super::visit::Kind;
use super::{Found, debts, settle};

/// Words that no identifier may contain, with the standard term.
const BANNED_WORDS: &[(&str, &str)] = &[
    ("anew", "restart"),
    ("bury", "tombstone"),
    ("custodian", "vault"),
    ("entrust", "move_to_keyring"),
    ("gone", "deleted"),
    ("kept", "stored, or what it is: metadata"),
    ("mend", "fix"),
    ("mended", "fixed"),
    ("mending", "fixing"),
    ("mends", "fixes"),
    ("parcel", "page"),
    ("parted", "partitioned"),
    ("rehearse", "dry_run"),
    ("revive", "requeue"),
    ("said", "message"),
    ("sighting", "seen id"),
    ("sightings", "seen ids"),
    ("standing", "status"),
    ("stands", "status"),
    ("swept", "what it is: deleted, or a sweep that is pending"),
    ("talk", "prompt"),
    ("tamper", "corrupt"),
    ("told", "notified, or result"),
    ("volley", "burst"),
    ("ways", "auth methods"),
    ("whoever", "the holder's role"),
    ("whom", "scope"),
    ("whomever", "the holder's role"),
    ("wish", "request or options"),
];

/// Identifiers that are too vague on their own, with standard terms for what they name today.
const BANNED_NAMES: &[(&str, &str)] = &[
    ("Brought", "Totals"),
    ("Bulk", "RetryFilter"),
    ("Captures", "PathParams"),
    ("Carrier", "SignatureLocation"),
    ("Chosen", "SelectedStream"),
    ("Conversation", "Prompter"),
    ("Course", "DeliveryState"),
    ("Ended", "AttemptResult"),
    ("Ends", "Totals"),
    ("Facts", "GrantMetadata"),
    ("Finding", "Diagnostic"),
    ("Found", "Diagnostic"),
    ("Hold", "LockMode"),
    ("Judged", "ParsedRequest"),
    ("Keyless", "MissingKey"),
    ("Lane", "EndpointQueue"),
    ("Life", "SessionObjects"),
    ("Loaded", "ConnectionWithGrant"),
    ("Mistake", "Diagnostic"),
    ("Moment", "CursorValue"),
    ("Opened", "OpenVault"),
    ("Order", "what is asked for: SyncRequest, ActionCall, MessageDraft"),
    ("PagePlace", "PageToken"),
    ("PartId", "PartitionId"),
    ("Party", "OAuthClient"),
    ("Place", "what is stored there: SecretStorage, PageCheckpoint, ParamLocation"),
    ("Places", "Routes"),
    ("Presented", "RefreshAttempt"),
    ("Proof", "SignatureScheme"),
    ("Pusher", "EventIngest"),
    ("Refused", "VerifyError"),
    ("Seen", "ListenEvent"),
    ("Sheet", "PageResponse"),
    ("Shot", "Sent"),
    ("Signs", "PendingSyncs"),
    ("Taken", "InsertResult"),
    ("Trouble", "PageError"),
    ("Turn", "Checkpoint"),
    ("Visit", "RequestContext"),
    ("Waiting", "QueuedEvent"),
    ("Walk", "Pager"),
    ("Want", "Freshness"),
    ("again", "is_verification_pass, or count of duplicates"),
    ("given", "params"),
    ("goes_on", "is_resumable"),
    ("looks_after", "runs_maintenance"),
    ("rein_in", "clamp_due_times"),
    ("take_back", "move_from_keyring"),
];

/// Module names that do not suggest their contents, with better ones.
const BANNED_MODULES: &[(&str, &str)] = &[
    ("ask", "request"),
    ("dialect", "quirks"),
    ("life", "session objects"),
    ("moment", "cursor"),
    ("near", "suggest"),
    ("nesting", "toml_depth"),
    ("order", "selection"),
    ("pace", "rate limiter"),
    ("parts", "partition"),
    ("proof", "verify"),
    ("talk", "prompt"),
    ("tamper", "corrupt"),
    ("volley", "burst"),
    ("walk", "pager"),
];

/// An identifier's words in lower case: `take_back`, `TakeBack` and `TAKE_BACK` have the same.
fn words(identifier: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for letter in identifier.trim_start_matches("r#").chars() {
        if letter == '_' || letter.is_uppercase() && was_lower {
            words.push(String::new());
        }
        if letter != '_' {
            words.last_mut().unwrap().extend(letter.to_lowercase());
        }
        was_lower = letter.is_lowercase() || letter.is_ascii_digit();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Returns the standard term for a banned identifier, or `None` if the identifier is fine.
fn better(identifier: &str) -> Option<String> {
    if let Some((_, better)) = BANNED_NAMES.iter().find(|(name, _)| *name == identifier) {
        return Some((*better).to_owned());
    }
    let words = words(identifier);
    let (word, better) = BANNED_WORDS.iter().find(|(word, _)| words.iter().any(|found| found == word))?;
    Some(format!("{word}: {better}"))
}

#[test]
fn identifiers_have_no_banned_words() {
    let mut found = Found::new();
    for file in &TREE.src {
        let definitions = &file.facts.definitions;
        for definition in definitions.iter().filter(|definition| !definition.is_test) {
            if let Some(better) = better(&definition.name) {
                let place = format!("{}:{} ({better})", file.path, definition.line);
                found.entry(definition.name.clone()).or_default().push(place);
            }
        }
    }
    for (path, module) in TREE.modules.iter().filter(|(_, module)| !TREE.src[module.file].is_test) {
        let name = path.last().map_or("", String::as_str);
        if let Some((_, better)) = BANNED_MODULES.iter().find(|(banned, _)| *banned == name) {
            let place = format!("{} ({better})", TREE.src[module.file].path);
            found.insert(format!("mod {}", path.join("::")), vec![place]);
        }
    }
    settle(
        "BANNED_IDENTIFIERS",
        debts::BANNED_IDENTIFIERS,
        &found,
        "Use the standard term (a suggestion is in brackets):",
    );
}

/// The names that two types and more share, with their places. `pub(crate)` and `pub(super)` count: a reader meets both
/// names in the same places.
pub fn shared(tree: &Tree) -> Found {
    let mut found = Found::new();
    for file in &tree.src {
        for public in file.facts.public.iter().filter(|public| public.kind == Kind::Type) {
            found.entry(public.name.clone()).or_default().push(format!("{}:{}", file.path, public.line));
        }
    }
    found.retain(|_, places| places.len() > 1);
    found
}

#[test]
fn public_types_have_names_of_their_own() {
    let advice = "Give each of these types a name of its own, for what it is:";
    settle("SHARED_TYPE_NAMES", debts::SHARED_TYPE_NAMES, &shared(&TREE), advice);
}

#[test]
fn words_are_found_in_every_case() {
    for name in ["told_at", "ToldAt", "TOLD_AT", "Told", "is_told"] {
        assert!(better(name).is_some(), "{name}");
    }
    for name in ["retold", "metolder", "place", "Marketplace", "walk"] {
        assert_eq!(better(name), None, "{name}");
    }
    assert_eq!(words("HTTPStatus2xx_OK"), ["httpstatus2xx", "ok"]);
    assert!([BANNED_WORDS, BANNED_NAMES, BANNED_MODULES].iter().all(|list| list.is_sorted()));
}
