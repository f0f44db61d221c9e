//! One file of a ledger, which the first byte chooses, with any content: an error that says where, or nothing that was
//! signed is another than it was.
#![no_main]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use authz::ledger::proof::Proof;
use authz::ledger::{Options, Reader, Store, key, verify};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/ledger");
const INSTANCE: &str = "01934f00-0000-7000-8000-000000000000";
const LOG: &str = "wal/00000000000000000000.wal";

/// In memory, since each run writes files.
static PLACE: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    copy(Path::new(GOLDEN), place.path());
    place
});

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() { copy(&item.path(), &target) } else { drop(fs::copy(item.path(), target).unwrap()) }
    }
}

fn read(state: &Path) -> usize {
    Reader::open(state).map_or(0, |reader| reader.take_while(Result::is_ok).count())
}

/// The ledger with one file replaced; the file comes back.
fn replaced(name: &str, content: &[u8], signed: bool) {
    let state = PLACE.path().join(INSTANCE);
    let (ledger, key) = (state.join("ledger"), key::public(&PLACE.path().join("key.pub")).unwrap());
    let path = ledger.join(name);
    let before = fs::read(&path).ok();
    fs::write(&path, content).unwrap();
    read(&state);
    if verify::verify(&ledger, &key).is_ok() && signed {
        assert_eq!(before.as_deref(), Some(content), "what is signed was changed, and is not found out");
    }
    match before {
        Some(before) => fs::write(&path, before).unwrap(),
        None => fs::remove_file(&path).unwrap(),
    }
}

/// Recovery of a log: what a reader finds in it is there afterwards, and verifies.
fn recovered(log: &[u8]) {
    let state: PathBuf = PLACE.path().join("recovered");
    let ledger = state.join("ledger");
    fs::remove_dir_all(&state).ok();
    fs::create_dir_all(ledger.join("wal")).unwrap();
    fs::write(ledger.join(LOG), log).unwrap();
    let found = read(&state);
    let options = Options { keys: Some(PLACE.path().into()), ..Options::default() };
    if let Ok(store) = Store::open(&state, options) {
        drop(store);
        assert!(read(&state) >= found, "entries are lost");
        let key = key::public(&PLACE.path().join("key.pub")).unwrap();
        verify::verify(&ledger, &key).expect("what was recovered verifies");
    }
}

/// Lines as frames with the right sums, as a writer makes them.
fn framed(lines: &[u8]) -> Vec<u8> {
    let mut log = Vec::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let (length, durable) = ((line.len() as u32).to_be_bytes(), 0u64.to_be_bytes());
        let sum = [&length[..], &durable, line].iter().fold(0, |sum, part| crc32c::crc32c_append(sum, part));
        log.extend([&length[..], &sum.to_be_bytes(), &durable, line].concat());
    }
    log
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((choice, content)) = input.split_first() else { return };
    match choice {
        b'l' => recovered(content),
        b'f' => recovered(&framed(content)),
        b'e' => replaced("tile/entries/001.p/44", content, true),
        b'h' => replaced("tile/0/001.p/44", content, true),
        b'c' => replaced("checkpoint", content, false),
        b's' => replaced("sessions", content, false),
        b'p' => replaced("pruned", content, false),
        b't' => {
            if let Ok(text) = std::str::from_utf8(content) {
                drop(Proof::parse(text));
            }
        }
        _ => {}
    }
});
