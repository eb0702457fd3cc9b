//! What the build is made of.

use std::path::Path;

use toml::Table;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn packages() -> Vec<(String, String)> {
    let lock: Table = std::fs::read_to_string(root().join("Cargo.lock")).unwrap().parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    packages
        .iter()
        .map(|package| (package["name"].as_str().unwrap().to_owned(), package["version"].as_str().unwrap().to_owned()))
        .collect()
}

#[test]
fn fault_110_the_sqlite_underneath_loses_no_writes() {
    let version = integ::store::sqlite_version();
    let numbers: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
    assert!(numbers.as_slice() >= [3, 51, 3].as_slice(), "SQLite {version}");
}

/// SQLCipher comes from a crate of its own, which only the bindings to SQLite bring in, and which names what it is made of.
#[test]
fn fault_111_sqlcipher_is_the_one_that_libsqlite3_sys_asks_for() {
    let lock: Table = std::fs::read_to_string(root().join("Cargo.lock")).unwrap().parse().unwrap();
    let lock = lock["package"].as_array().unwrap();
    let dependants: Vec<&str> = lock
        .iter()
        .filter(|package| {
            let needs = package.get("dependencies").and_then(|needs| needs.as_array()).into_iter().flatten();
            needs.into_iter().any(|need| need.as_str().unwrap().split(' ').next() == Some("sqlcipher-src"))
        })
        .map(|package| package["name"].as_str().unwrap())
        .collect();
    // The second one is in the lock for WebAssembly alone, which is none of the targets.
    assert_eq!(dependants, ["libsqlite3-sys", "sqlite-wasm-rs"]);
    let sources: Vec<&toml::Value> =
        lock.iter().filter(|package| package["name"].as_str() == Some("sqlcipher-src")).collect();
    assert_eq!(sources.len(), 1);
    assert_eq!(sources[0]["source"].as_str(), Some("registry+https://github.com/rust-lang/crates.io-index"));
    let version = sources[0]["version"].as_str().unwrap();
    assert!(version.contains(&format!("sqlite-{}", integ::store::sqlite_version())), "{version}");
}

#[test]
fn fault_112_crates_that_the_policy_bans_are_not_in_the_build() {
    let policy: Table = std::fs::read_to_string(root().join(".deny.toml")).unwrap().parse().unwrap();
    let packages = packages();
    for banned in policy["bans"]["deny"].as_array().unwrap() {
        let banned = banned["crate"].as_str().unwrap();
        assert!(packages.iter().all(|(name, _)| name != banned), "{banned} is in Cargo.lock");
    }
    let manifest: Table = std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    assert_eq!(manifest["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
    let versions = |wanted: &str| packages.iter().filter(|(name, _)| name == wanted).count();
    for single in ["reqwest", "hyper", "rustls", "rusqlite", "tokio", "ring"] {
        assert_eq!(versions(single), 1, "{single} is there in more than one version");
    }
}
