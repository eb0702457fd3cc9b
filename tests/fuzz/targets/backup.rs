//! The SQLite file inside a backup. The input is laid over a genuine snapshot at a place that its first three bytes name, so
//! that pages behind the header are reached as well.
#![no_main]

use std::sync::LazyLock;

use integ::clock::Timestamp;
use integ::store::{StoreKey, LostWritesPolicy, Snapshot, Store};
use libfuzzer_sys::fuzz_target;

static GENUINE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = Folder::new("genuine");
    let (path, key) = (folder.0.join("vault.db"), StoreKey::random());
    Store::create(&path, &key, Timestamp::UNIX_EPOCH).expect("a new store");
    let store = Store::open(&path, &key, LostWritesPolicy::Refuse).expect("the new store opens");
    store.snapshot(&[]).expect("a snapshot").to_vec()
});

struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("integ-fuzz-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fuzz_target!(|data: &[u8]| {
    let [high, middle, low, patch @ ..] = data else { return };
    let mut snapshot = GENUINE.clone();
    let at = usize::try_from(u32::from_be_bytes([0, *high, *middle, *low])).unwrap_or(0) % snapshot.len();
    for (byte, new) in snapshot[at..].iter_mut().zip(patch) {
        *byte = *new;
    }
    let folder = Folder::new("restored");
    let (path, key) = (folder.0.join("vault.db"), StoreKey::random());
    let Ok(backup) = Snapshot::read(&snapshot) else { return };
    if backup.restore(&path, &key, 0, Timestamp::UNIX_EPOCH).is_ok() {
        let store = Store::open(&path, &key, LostWritesPolicy::Refuse).expect("what was restored opens");
        store.check().expect("what was restored is sound");
    }
});
