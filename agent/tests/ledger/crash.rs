//! What a crash leaves, and what the next start makes of it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use authz::ledger::*;

use super::{copy, in_memory, log, read, small, unsigned, verified};

/// A state folder as a crash leaves it with so many entries in the log, each durable before the next.
fn crashed(count: u64) -> tempfile::TempDir {
    let (dir, left) = (in_memory(), in_memory());
    let store = Store::open(&dir.path().join("one"), unsigned()).unwrap();
    (0..count).for_each(|n| store.wait(store.append(small(&format!("n{n}"))).unwrap()).unwrap());
    copy(dir.path(), left.path());
    left
}

#[test]
fn what_was_left_unsigned_the_next_start_signs() {
    let dir = in_memory();
    for round in 1..=3 {
        let store = Store::open(dir.path(), unsigned()).unwrap();
        store.wait(store.append(small("left")).unwrap()).unwrap();
        store.leave_unsigned();
        drop(store);
        let found = verified(dir.path()).unwrap();
        assert_eq!((found.checkpoint.map(|signed| signed.size), found.unsigned), (None, round));
    }
    drop(Store::open(dir.path(), unsigned()).unwrap());
    let found = verified(dir.path()).unwrap();
    assert_eq!((found.checkpoint.map(|signed| signed.size), found.unsigned), (Some(3), 0));
}

#[test]
fn a_last_write_torn_at_any_byte_is_moved_aside() {
    let base = crashed(3);
    let whole = fs::read(log(&base.path().join("one"), 0)).unwrap();
    let last = whole.len() - (16 + read(&base.path().join("one"))[2].bytes.len());
    for end in last..=whole.len() {
        for filler in [&b""[..], &b"\0\0\0"[..], &b"\0\n"[..]] {
            let dir = in_memory();
            copy(base.path(), dir.path());
            let state = dir.path().join("one");
            let left = [&whole[..end], filler].concat();
            fs::write(log(&state, 0), &left).unwrap();
            let keeps = if end == whole.len() { 3 } else { 2 };
            let cut = if end == whole.len() { end } else { last };
            let torn = &left[cut..];

            let mut reader = Reader::open(&state).unwrap();
            assert_eq!(reader.by_ref().filter(|item| item.is_ok()).count(), keeps);
            assert_eq!(reader.notice().is_some(), !torn.is_empty(), "at {end}");

            let store = Store::open(&state, unsigned()).unwrap();
            store.append(small("next")).unwrap();
            store.flush().unwrap();
            assert_eq!(
                fs::read(log(&state, 0)).unwrap()[..cut],
                whole[..cut],
                "what is durable is never changed"
            );
            drop(store);
            let records = read(&state);
            let aside = state.join(format!("ledger/wal/{:020}.wal.{cut}.torn", 0));
            if torn.is_empty() {
                assert_eq!(records.len(), keeps + 1);
                assert!(!aside.exists());
            } else {
                assert_eq!(records.len(), keeps + 2);
                assert_eq!(records[keeps].entry.kind, Kind::Gap);
                let detail = records[keeps].entry.detail.as_ref().unwrap();
                assert_eq!(detail["bytes"], torn.len());
                assert_eq!(fs::read(&aside).unwrap(), torn);
                assert!(aside.ends_with(detail["file"].as_str().unwrap()));
            }
            assert_eq!(verified(&state).unwrap().checkpoint.unwrap().size, records.len() as u64);
        }
    }
}

#[test]
fn a_write_of_several_entries_may_be_torn_in_its_middle() {
    let (dir, left) = (in_memory(), in_memory());
    let options = Options { linger: Duration::from_secs(3600), ..unsigned() };
    let store = Store::open(dir.path(), options).unwrap();
    store.wait(store.append(small("alone")).unwrap()).unwrap();
    (1..6).for_each(|n| assert_eq!(store.append(small("together")).unwrap(), Ticket(n)));
    store.flush().unwrap();
    copy(dir.path(), left.path());
    let mut bytes = fs::read(log(left.path(), 0)).unwrap();
    let at = bytes.windows(9).position(|window| window == b"{\"seq\":2,").unwrap();
    bytes[at + 30] ^= 1;
    fs::write(log(left.path(), 0), &bytes).unwrap();
    drop(Store::open(left.path(), unsigned()).unwrap());
    let records = read(left.path());
    assert_eq!(records.len(), 3, "two whole ones and the gap");
    assert_eq!(records[2].entry.kind, Kind::Gap);
}

#[test]
fn a_gap_that_was_not_recorded_is_recorded_later() {
    let dir = in_memory();
    drop(Store::open(dir.path(), Options::default()).unwrap());
    fs::write(dir.path().join("ledger/wal/0.torn.new"), "{\"se").unwrap();
    drop(Store::open(dir.path(), Options::default()).unwrap());
    drop(Store::open(dir.path(), Options::default()).unwrap());
    let records = read(dir.path());
    assert_eq!(records.len(), 1, "once");
    assert_eq!(records[0].entry.kind, Kind::Gap);
    assert!(dir.path().join("ledger/wal/0.torn").exists());
}

/// Not a test: the process that the next one kills.
#[test]
fn appender() {
    let Ok(state) = std::env::var("AUTHZ_TEST_STATE") else { return };
    let options = Options { rotate_at: 200_000, checkpoint: Duration::from_millis(10), ..Options::default() };
    let store = std::sync::Arc::new(Store::open(state.as_ref(), options).unwrap());
    let threads = (0..3).map(|thread| {
        let store = store.clone();
        std::thread::spawn(move || {
            for n in 0.. {
                let ticket = store.append(small(&format!("{thread}/{n}"))).unwrap();
                if n % 7 == 0 {
                    store.wait(ticket).unwrap();
                    // One write, so that lines of several threads do not mix.
                    std::io::stderr().write_all(format!("{} {thread}/{n}\n", ticket.0).as_bytes()).unwrap();
                }
            }
        })
    });
    threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
}

/// `AUTHZ_TEST_KILLS`: how often, instead of 50 times.
#[test]
fn what_was_reported_survives_kill() {
    let kills = std::env::var("AUTHZ_TEST_KILLS").map_or(50, |text| text.parse().unwrap());
    let mut dice = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
    let (mut total, mut torn, mut signed) = (0, 0, 0);
    let mut dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut reported = Vec::new();
    for round in 0..kills {
        if round % 10 == 0 {
            dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            reported = Vec::new();
        }
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::appender", "--nocapture"])
            .env("AUTHZ_TEST_STATE", dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let delay = Duration::from_micros(2_000 + (dice >> 33) % 150_000);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(delay);
            child.kill().unwrap();
            child.wait().unwrap();
        });
        let before = reported.len();
        for line in lines.map_while(Result::ok) {
            let Some((seq, id)) = line.split_once(' ') else { panic!("{line}") };
            reported.push((seq.parse::<usize>().unwrap(), id.to_owned()));
        }
        killer.join().unwrap();
        total += reported.len() - before;
        let note = fs::read_to_string(dir.path().join("ledger/checkpoint")).ok();
        let store = Store::open(dir.path(), Options::default());
        drop(store.unwrap_or_else(|error| panic!("round {round}: {error}")));
        let records = read(dir.path());
        for (seq, id) in &reported {
            assert_eq!(records[*seq].entry.requested_id.as_ref(), Some(id), "round {round}");
        }
        let found = verified(dir.path()).unwrap_or_else(|error| panic!("round {round}: {error}"));
        let size = found.checkpoint.map_or(0, |checkpoint| checkpoint.size);
        assert_eq!(size, records.len() as u64, "round {round}: all is signed at the end");
        if let Some(note) = note {
            let key = key::public(&dir.path().join("key.pub")).unwrap();
            let old = key.checkpoint(&note).unwrap();
            verify::extends(&dir.path().join("ledger"), &key, &old).unwrap();
            signed += 1;
        }
        torn += records.iter().filter(|record| record.entry.kind == Kind::Gap).count();
    }
    println!(
        "{total} entries reported durable over {kills} kills, all there; {signed} checkpoints continued, {torn} gaps"
    );
    assert!(total > 0);
}
