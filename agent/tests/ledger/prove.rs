//! Proofs, pruning, and what is found without reading everything.

use std::fs;

use authz::ledger::consistency::{self, Consistency};
use authz::ledger::note::{Checkpoint, Signer};
use authz::ledger::proof::{Proof, prove};
use authz::ledger::prune::{Before, Pruned, prune};
use authz::ledger::*;
use serde_json::json;
use uuid::Uuid;

use super::{copy, full, ledger, read, small, verified};

#[test]
fn an_entry_is_proven_with_the_public_key_only() {
    let dir = tempfile::tempdir().unwrap();
    ledger(dir.path(), 700);
    let key = key::public(&dir.path().join("key.pub")).unwrap();
    let records = read(dir.path());
    for index in [0, 1, 255, 256, 300, 511, 512, 699] {
        let proof = prove(&dir.path().join("ledger"), &key, index).unwrap();
        for text in [proof.to_text(), proof.to_json().to_string()] {
            let (entry, checkpoint) = Proof::parse(&text).unwrap().check(&key).unwrap();
            assert_eq!((entry, checkpoint.size), (records[index as usize].entry.clone(), 700));
        }
        assert!(proof.check(Signer::new(&[3; 32]).verifier()).is_err());
        for other in [
            Proof { index: index ^ 1, ..proof.clone() },
            Proof { entry: records[index as usize ^ 2].bytes.clone(), ..proof.clone() },
            Proof { path: proof.path[1..].to_vec(), ..proof.clone() },
            Proof { note: proof.note.replace("\n700\n", "\n701\n"), ..proof.clone() },
        ] {
            assert!(other.check(&key).is_err());
        }
    }
    let error = prove(&dir.path().join("ledger"), &key, 700).unwrap_err();
    assert!(matches!(error, LedgerError::Unsigned { index: 700, size: 700 }));
}

#[test]
fn every_changed_byte_of_a_proof_is_found() {
    let dir = tempfile::tempdir().unwrap();
    ledger(dir.path(), 5);
    let key = key::public(&dir.path().join("key.pub")).unwrap();
    let proof = prove(&dir.path().join("ledger"), &key, 3).unwrap();
    for text in [proof.to_text(), proof.to_json().to_string()] {
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1 << (at % 7);
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            let checked = Proof::parse(&changed).and_then(|proof| proof.check(&key));
            assert!(checked.is_err() || Proof::parse(&changed).unwrap() == proof, "{changed}");
        }
    }
}

#[test]
fn that_a_ledger_only_grew_is_proven_with_the_public_key_only() {
    let dir = tempfile::tempdir().unwrap();
    let (path, mut kept) = (dir.path().join("ledger"), Vec::new());
    for (from, to) in [(0, 1), (1, 5), (5, 256), (256, 300), (300, 700)] {
        let store = Store::open(dir.path(), Options::default()).unwrap();
        (from..to).for_each(|n| assert!(store.append(small(&format!("n{n}"))).is_ok()));
        drop(store);
        kept.push(fs::read_to_string(path.join("checkpoint")).unwrap());
    }
    let key = key::public(&dir.path().join("key.pub")).unwrap();
    let kept: Vec<_> = kept.iter().map(|note| key.checkpoint(note).unwrap()).collect();
    assert_eq!(kept.iter().map(|old| old.size).collect::<Vec<_>>(), [1, 5, 256, 300, 700]);
    for old in &kept {
        let proof = consistency::prove(&path, &key, old).unwrap();
        let text = proof.to_text();
        assert_eq!(Consistency::parse(&text).unwrap().check(&key, old).unwrap().size, 700);
        assert!(proof.check(Signer::new(&[3; 32]).verifier(), old).is_err());
        for other in kept.iter().filter(|other| *other != old) {
            assert!(proof.check(&key, other).is_err());
        }
        let changed = Checkpoint { root: [7; 32], ..old.clone() };
        assert!(proof.check(&key, &changed).is_err() && consistency::prove(&path, &key, &changed).is_err());
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1 << (at % 7);
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            let checked = Consistency::parse(&changed).and_then(|proof| proof.check(&key, old));
            assert!(checked.is_err() || Consistency::parse(&changed).unwrap() == proof, "{changed}");
        }
    }
}

#[test]
fn a_copy_is_verified_with_the_public_key_only() {
    let (dir, copied) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    ledger(dir.path(), 300);
    let key = key::public(&dir.path().join("key.pub")).unwrap();
    copy(&dir.path().join("ledger"), &copied.path().join("elsewhere"));
    let found = verify::verify(&copied.path().join("elsewhere"), &key).unwrap();
    assert_eq!((found.checkpoint.unwrap().size, found.unsigned), (300, 0));
    assert_eq!(Readers::open(&copied.path().join("elsewhere")).unwrap().count(), 300);
    let other = Signer::new(&[1; 32]);
    assert!(verify::verify(&copied.path().join("elsewhere"), other.verifier()).is_err());
}

#[test]
fn what_was_pruned_stays_signed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let long = |n: u64| json!({"context": {"tool": {"arguments": {"text": format!("{n}").repeat(70_000)}}}});
    for n in 0..1000u64 {
        let mut entry = Entry { input: None, ..full() };
        entry.time = Time(n);
        if n % 300 == 0 {
            entry.input = Some(long(n % 900));
        }
        store.append(entry).unwrap();
    }
    drop(store);
    let key = key::public(&dir.path().join("key.pub")).unwrap();
    let note = fs::read_to_string(path.join("checkpoint")).unwrap();
    let before = read(dir.path());
    let proof = prove(&path, &key, 100).unwrap();

    assert_eq!(prune(&path, Before::Entry(255), false).unwrap(), Pruned::default());
    let would = prune(&path, Before::Entry(600), true).unwrap();
    assert_eq!((would.first, would.entries), (512, 512));
    assert_eq!(read(dir.path()).len(), 1000, "only said");
    let done = prune(&path, Before::Time(Time(600)), false).unwrap();
    assert_eq!((done.first, done.entries), (512, 512));
    assert!(done.bytes > would.bytes, "inputs too");
    assert_eq!(prune(&path, Before::Time(Time(600)), false).unwrap().entries, 0);

    assert_eq!(read(dir.path()), before[512..]);
    let found = verified(dir.path()).unwrap();
    assert_eq!((found.pruned, found.checkpoint.unwrap().size), (512, 1000));
    let payloads = fs::read_dir(path.join("payload")).unwrap().count();
    assert_eq!(payloads, 2, "entry 900 has the input of 0");
    assert!(prove(&path, &key, 100).unwrap_err().to_string().contains("pruned"));
    proof.check(&key).unwrap();
    prove(&path, &key, 600).unwrap();
    verify::extends(&path, &key, &key.checkpoint(&note).unwrap()).unwrap();

    // It is still written to, and a bundle that nobody pruned is still missed.
    ledger_goes_on(&dir);
    fs::remove_file(path.join("tile/entries/002")).unwrap();
    assert!(verified(dir.path()).unwrap_err().to_string().contains("tile/entries/002"));
    fs::write(path.join("pruned"), "99999\n").unwrap();
    assert!(verified(dir.path()).is_err());
}

fn ledger_goes_on(dir: &tempfile::TempDir) {
    let store = Store::open(dir.path(), Options::default()).unwrap();
    assert_eq!(store.append(small("on")).unwrap(), Ticket(1000));
    drop(store);
    assert_eq!(verified(dir.path()).unwrap().checkpoint.unwrap().size, 1001);
}

#[test]
fn only_ledgers_that_can_hold_a_session_are_opened() {
    let dir = tempfile::tempdir().unwrap();
    let session = |n: u128| Uuid::from_u128(n);
    for n in 0..4u128 {
        let options = Options { keys: Some(dir.path().into()), ..Options::default() };
        let store = Store::open(&dir.path().join(session(n).to_string()), options).unwrap();
        for of in [n, n, 9] {
            store.append(Entry { session: Some(session(of)), ..full() }).unwrap();
        }
    }
    let count = |n| Readers::of_session(dir.path(), session(n)).unwrap().count();
    assert_eq!((count(2), count(9), count(5)), (3, 12, 0));
    let index = dir.path().join(session(1).to_string()).join("ledger/sessions");
    assert_eq!(fs::read_to_string(&index).unwrap().lines().count(), 2);
    // A ledger that is damaged is not opened for a session of another one.
    fs::write(dir.path().join(session(0).to_string()).join("ledger/checkpoint"), "x").unwrap();
    assert!(Readers::of_session(dir.path(), session(2)).unwrap().all(|record| record.is_ok()));
    assert!(!Readers::open(dir.path()).unwrap().all(|record| record.is_ok()));
    // Without an index everything is looked at, and none is begun in the middle.
    fs::remove_file(&index).unwrap();
    assert_eq!(count(2), 6);
    let options = Options { keys: Some(dir.path().into()), ..Options::default() };
    let store = Store::open(&dir.path().join(session(1).to_string()), options).unwrap();
    store.append(Entry { session: Some(session(7)), ..full() }).unwrap();
    drop(store);
    assert!(!index.exists());
    assert_eq!(count(2), 7);
}
