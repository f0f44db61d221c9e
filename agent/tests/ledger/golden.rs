//! The format, byte for byte. `AUTHZ_TEST_GOLDEN=write` writes what is compared with anew, which makes every ledger
//! that exists unreadable for the new version: a change of the format needs a number of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use authz::ledger::note::Signer;
use authz::ledger::proof::prove;
use authz::ledger::*;
use serde_json::json;
use uuid::Uuid;

use super::{copy, files, full, log, unsigned, verified};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/ledger")
}

/// A ledger that comes out the same each time: key, entries and origin are given.
fn make(folder: &Path) {
    let state = folder.join("01934f00-0000-7000-8000-000000000000");
    let secret = folder.join("key");
    fs::write(&secret, Signer::new(b"not a secret: for tests only ...").to_secret_text()).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let store = Store::open(&state, Options { keys: Some(folder.into()), ..unsigned() }).unwrap();
    for n in 0..300u64 {
        let mut entry = Entry::new(Kind::Remembered);
        (entry.time, entry.id) = (Time(1_790_000_000_000_000_000 + n), Uuid::from_u128(u128::from(n) + 1));
        entry.count = Some(n);
        if n == 1 {
            entry = full();
        } else if n == 2 {
            entry.session = Some(Uuid::from_u128(2));
            entry.input = Some(json!({"long": "x".repeat(66_000)}));
        }
        store.wait(store.append(entry).unwrap()).unwrap();
        if n == 2 {
            // The log is cut at the end; its frames are compared too.
            fs::copy(log(&state, 0), folder.join("first-three.wal")).unwrap();
        }
    }
    drop(store);
    let key = key::public(&folder.join("key.pub")).unwrap();
    let proof = prove(&state.join("ledger"), &key, 258).unwrap();
    fs::write(folder.join("258.tlog-proof"), proof.to_text()).unwrap();
    fs::write(folder.join("258.json"), proof.to_json().to_string() + "\n").unwrap();
}

#[test]
fn the_format_is_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    if std::env::var("AUTHZ_TEST_GOLDEN").is_ok_and(|what| what == "write") {
        fs::remove_dir_all(golden()).ok();
        copy(dir.path(), &golden());
        fs::remove_dir(golden().join("01934f00-0000-7000-8000-000000000000/ledger/wal")).unwrap();
    }
    let names = |folder: &Path| -> Vec<PathBuf> {
        files(folder).iter().map(|path| path.strip_prefix(folder).unwrap().to_owned()).collect()
    };
    assert_eq!(names(dir.path()), names(&golden()));
    for name in names(dir.path()) {
        let same = fs::read(dir.path().join(&name)).unwrap() == fs::read(golden().join(&name)).unwrap();
        assert!(same, "{} has changed", name.display());
    }
}

#[test]
fn what_was_written_then_is_read_verified_and_continued() {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden(), dir.path());
    let state = dir.path().join("01934f00-0000-7000-8000-000000000000");
    let key = key::public(&dir.path().join("key.pub")).unwrap();
    assert_eq!(verify::verify(&state.join("ledger"), &key).unwrap().checkpoint.unwrap().size, 300);
    assert_eq!(Readers::open(dir.path()).unwrap().filter(|record| record.is_ok()).count(), 300);
    for name in ["258.tlog-proof", "258.json"] {
        let proof = proof::Proof::parse(&fs::read_to_string(dir.path().join(name)).unwrap()).unwrap();
        assert_eq!(proof.check(&key).unwrap().0.count, Some(258));
    }
    fs::set_permissions(dir.path().join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    let store = Store::open(&state, Options { keys: Some(dir.path().into()), ..Options::default() }).unwrap();
    assert_eq!(store.append(full()).unwrap(), Ticket(300));
    drop(store);
    fs::copy(dir.path().join("key.pub"), state.join("key.pub")).unwrap();
    assert_eq!(verified(&state).unwrap().checkpoint.unwrap().size, 301);
}
