//! What was changed is found, and where.

use std::fs;
use std::path::Path;

use authz::ledger::tree::{Edge, Hash, leaf};
use authz::ledger::*;

use super::{copy, files, in_memory, ledger, log, read, small, unsigned, verified};

/// A small ledger that was closed, and one as a crash leaves it, with a checkpoint in the middle of its log.
fn subjects() -> [(tempfile::TempDir, Vec<Record>); 2] {
    let closed = in_memory();
    ledger(&closed.path().join("one"), 5);
    let (dir, crashed) = (in_memory(), in_memory());
    ledger(&dir.path().join("one"), 3);
    let store = Store::open(&dir.path().join("one"), unsigned()).unwrap();
    (0..4).for_each(|n| store.wait(store.append(small(&format!("m{n}"))).unwrap()).unwrap());
    copy(dir.path(), crashed.path());
    [closed, crashed].map(|dir| {
        let records = read(&dir.path().join("one"));
        (dir, records)
    })
}

/// Opening for writing either recovers, having lost at most what a crash may take and said so, or refuses and names
/// a place; reading never gives another entry than the one that was written.
fn recovers_or_refuses(state: &Path, before: &[Record], what: &str) {
    for record in Reader::open(state).into_iter().flatten().flatten() {
        assert!(before.contains(&record), "{what}: a changed entry was read: {record:?}");
    }
    let signed = before.len().min(if before.len() == 5 { 5 } else { 3 });
    match Store::open(state, Options::default()) {
        Ok(store) => {
            drop(store);
            let after = read(state);
            let same = after.iter().zip(before).take_while(|(a, b)| a == b).count();
            assert!(same >= signed, "{what}: only {same} entries are left");
            if same < before.len() {
                assert!(after[same..].iter().all(|record| record.entry.kind == Kind::Gap), "{what}");
            }
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains(&*state.to_string_lossy()), "{what}: no place in {text:?}");
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    for (base, before) in subjects() {
        let base = base.path().join("one");
        let key = key::public(&base.join("key.pub")).unwrap();
        let mut count = 0;
        for path in files(&base.join("ledger")) {
            let whole = fs::read(&path).unwrap();
            let below = path.strip_prefix(&base).unwrap();
            for at in 0..whole.len() {
                let dir = in_memory();
                let state = dir.path().join("one");
                copy(&base, &state);
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << (at % 8);
                fs::write(state.join(below), &bytes).unwrap();
                let what = format!("byte {at} of {}", below.display());
                let found = verify::verify(&state.join("ledger"), &key);
                let in_log = below.starts_with("ledger/wal");
                if !below.ends_with("key.pub") && !in_log {
                    assert!(found.is_err(), "{what}: not found");
                } else if in_log {
                    // What is signed or was followed by another write is an error, the last write a notice.
                    let size = found.map_or(0, |found| 3 + found.unsigned);
                    assert!(size < before.len() as u64, "{what}: not found");
                }
                recovers_or_refuses(&state, &before, &what);
                count += 1;
            }
        }
        println!("{count} bytes flipped, each found");
    }
}

#[test]
fn a_cut_at_any_byte_is_found() {
    for (base, before) in subjects() {
        let base = base.path().join("one");
        let key = key::public(&base.join("key.pub")).unwrap();
        for path in files(&base.join("ledger")) {
            let whole = fs::read(&path).unwrap();
            let below = path.strip_prefix(&base).unwrap();
            for length in 0..whole.len() {
                let dir = in_memory();
                let state = dir.path().join("one");
                copy(&base, &state);
                fs::write(state.join(below), &whole[..length]).unwrap();
                let what = format!("{} of {} bytes of {}", length, whole.len(), below.display());
                if !below.ends_with("key.pub") && !below.starts_with("ledger/wal") {
                    let found = verify::verify(&state.join("ledger"), &key);
                    assert!(found.is_err() || below.ends_with("sessions"), "{what}: not found");
                }
                recovers_or_refuses(&state, &before, &what);
            }
        }
    }
}

/// Writes entries as the only bundle of a ledger, with tiles that fit them: what somebody without the key can do.
fn forge(state: &Path, entries: &[Vec<u8>]) {
    let ledger = state.join("ledger");
    fs::remove_dir_all(ledger.join("tile")).unwrap();
    let mut edge = Edge::default();
    let mut bundle = Vec::new();
    for entry in entries {
        bundle.extend((entry.len() as u16).to_be_bytes());
        bundle.extend(entry);
        edge.push(leaf(entry));
    }
    for (name, bytes) in [("0", edge.levels()[0].concat()), ("entries", bundle)] {
        fs::create_dir_all(ledger.join(format!("tile/{name}/000.p"))).unwrap();
        fs::write(ledger.join(format!("tile/{name}/000.p/{}", entries.len())), bytes).unwrap();
    }
}

/// The entries with numbers that fit their places.
fn renumbered(entries: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let number = |(n, entry): (usize, &Vec<u8>)| {
        let mut entry: Entry = serde_json::from_slice(entry).unwrap();
        entry.seq = n as u64;
        serde_json::to_vec(&entry).unwrap()
    };
    entries.iter().enumerate().map(number).collect()
}

#[test]
fn changed_removed_reordered_and_inserted_entries_are_found() {
    let dir = in_memory();
    ledger(dir.path(), 20);
    let entries: Vec<Vec<u8>> = read(dir.path()).into_iter().map(|record| record.bytes).collect();
    let note = fs::read_to_string(dir.path().join("ledger/checkpoint")).unwrap();
    let mut forged: Vec<Vec<Vec<u8>>> = Vec::new();
    for at in 0..20 {
        let mut changed = entries.clone();
        changed[at] = String::from_utf8(entries[at].clone()).unwrap().replace("\"n", "\"N").into_bytes();
        let (mut removed, mut inserted, mut swapped) = (entries.clone(), entries.clone(), entries.clone());
        removed.remove(at);
        inserted.insert(at, entries[(at + 1) % 20].clone());
        swapped.swap(at, (at + 1) % 20);
        forged.extend([changed, renumbered(&removed), renumbered(&inserted), renumbered(&swapped), swapped]);
    }
    forged.push(entries[..19].to_vec());
    for entries in forged {
        let copied = in_memory();
        let state = copied.path().join(dir.path().file_name().unwrap());
        copy(dir.path(), &state);
        forge(&state, &entries);
        assert!(verified(&state).is_err(), "with the checkpoint as it was");
        assert!(Store::open(&state, Options::default()).is_err());
        // Whoever has the key can sign the forged tree too; a checkpoint that was kept elsewhere tells.
        let text = fs::read_to_string(state.join("key")).unwrap();
        let signer = note::Signer::from_secret_text(&text).unwrap();
        let mut edge = Edge::default();
        entries.iter().for_each(|entry| drop(edge.push(leaf(entry))));
        let old = signer.verifier().checkpoint(&note).unwrap();
        let new = note::Checkpoint { size: edge.size(), root: edge.root(), ..old.clone() };
        fs::write(state.join("ledger/checkpoint"), signer.sign(&new)).unwrap();
        let error = verify::extends(&state.join("ledger"), signer.verifier(), &old).unwrap_err().to_string();
        assert!(error.contains("changed") || error.contains("cut off"), "{error}");
    }
    assert!(verified(dir.path()).is_ok());
}

#[test]
fn entries_in_the_log_keep_their_places() {
    let [_, (base, before)] = subjects();
    let base = base.path().join("one");
    let whole = fs::read(log(&base, 3)).unwrap();
    let mut frames = Vec::new();
    let mut rest = &whole[..];
    while !rest.is_empty() {
        let length = 16 + u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        let (frame, after) = rest.split_at(length);
        frames.push(frame.to_vec());
        rest = after;
    }
    let (mut removed, mut swapped, mut twice) = (frames.clone(), frames.clone(), frames.clone());
    removed.remove(1);
    swapped.swap(1, 2);
    twice.insert(1, frames[1].clone());
    for frames in [removed, swapped, twice] {
        let dir = in_memory();
        let state = dir.path().join("one");
        copy(&base, &state);
        fs::write(log(&state, 3), frames.concat()).unwrap();
        let error = Store::open(&state, Options::default()).err().unwrap().to_string();
        assert!(error.contains("stands where entry 4 belongs") || error.contains("entry 5"), "{error}");
        assert!(verified(&state).is_err());
        recovers_or_refuses(&state, &before, "frames");
    }
}

#[test]
fn hashes_of_the_left_are_looked_at_too() {
    let dir = in_memory();
    ledger(dir.path(), 1000);
    let checkpoint = verified(dir.path()).unwrap().checkpoint.unwrap();
    assert_eq!(checkpoint.size, 1000);
    for name in ["tile/0/001", "tile/entries/002", "tile/1/000.p/3", "tile/0/003.p/232"] {
        let path = dir.path().join("ledger").join(name);
        let whole = fs::read(&path).unwrap();
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 16;
            fs::write(&path, &bytes).unwrap();
            let error = verified(dir.path()).unwrap_err().to_string();
            assert!(error.contains("tile/"), "{error}");
        }
        fs::remove_file(&path).unwrap();
        assert!(verified(dir.path()).unwrap_err().to_string().contains(name.split(".p").next().unwrap()));
        fs::write(&path, &whole).unwrap();
    }
    // More than is signed: an entry put in at the end.
    let bundle = dir.path().join("ledger/tile/entries/003.p");
    let mut bytes = fs::read(bundle.join("232")).unwrap();
    bytes.extend(b"\0\x02{}");
    fs::write(bundle.join("233"), bytes).unwrap();
    assert!(verified(dir.path()).unwrap_err().to_string().contains("more than the 1000 entries"));
    fs::remove_file(bundle.join("233")).unwrap();
    let root: Hash = checkpoint.root;
    assert_eq!(verified(dir.path()).unwrap().checkpoint.unwrap().root, root);
}
