//! What a crash leaves, and what the next start makes of it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use authz::ledger::*;

use super::{file, read, small};

#[test]
fn a_last_line_torn_at_any_byte_is_moved_aside() {
    let whole = {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::default()).unwrap();
        (0..3).for_each(|n| assert_eq!(store.append(small(&format!("n{n}"))).unwrap(), Ticket(n)));
        drop(store);
        fs::read(file(dir.path(), 1)).unwrap()
    };
    let last = whole[..whole.len() - 1].iter().rposition(|b| *b == b'\n').unwrap() + 1;
    for end in last..=whole.len() {
        for filler in [&b""[..], &b"\0\0\0"[..], &b"\0\n"[..]] {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("ledger")).unwrap();
            let left = [&whole[..end], filler].concat();
            fs::write(file(dir.path(), 1), &left).unwrap();
            let keeps = if end == whole.len() { 3 } else { 2 };
            let cut = if end == whole.len() { end } else { last };
            let torn = &left[cut..];

            let mut reader = Reader::open(dir.path()).unwrap();
            assert_eq!(reader.by_ref().filter(|item| item.is_ok()).count(), keeps);
            assert_eq!(reader.notice().is_some(), !torn.is_empty(), "at {end}");

            let store = Store::open(dir.path(), Options::default()).unwrap();
            store.append(small("next")).unwrap();
            drop(store);
            let records = read(dir.path());
            let aside = dir.path().join(format!("ledger/0001.jsonl.{cut}.torn"));
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
            assert_eq!(
                fs::read(file(dir.path(), 1)).unwrap()[..cut],
                whole[..cut],
                "durable lines are never changed"
            );
        }
    }
}

#[test]
fn a_gap_that_was_not_recorded_is_recorded_later() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path(), Options::default()).unwrap());
    fs::write(dir.path().join("ledger/0001.jsonl.0.torn.new"), "{\"se").unwrap();
    drop(Store::open(dir.path(), Options::default()).unwrap());
    drop(Store::open(dir.path(), Options::default()).unwrap());
    let records = read(dir.path());
    assert_eq!(records.len(), 1, "once");
    assert_eq!(records[0].entry.kind, Kind::Gap);
    assert!(dir.path().join("ledger/0001.jsonl.0.torn").exists());
}

/// Not a test: the process that the next one kills.
#[test]
fn appender() {
    let Ok(state) = std::env::var("AUTHZ_TEST_STATE") else { return };
    let options = Options { rotate_at: 200_000, ..Options::default() };
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

#[test]
fn what_was_reported_survives_kill() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut reported = Vec::new();
    for round in 0..25u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::appender", "--nocapture"])
            .env("AUTHZ_TEST_STATE", dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(40 + round * 7));
            child.kill().unwrap();
            child.wait().unwrap();
        });
        for line in lines.map_while(Result::ok) {
            let Some((seq, id)) = line.split_once(' ') else { panic!("{line}") };
            reported.push((seq.parse::<usize>().unwrap(), id.to_owned()));
        }
        killer.join().unwrap();
        let store = Store::open(dir.path(), Options::default()).unwrap();
        drop(store);
        let records = read(dir.path());
        for (seq, id) in &reported {
            assert_eq!(records[*seq].entry.requested_id.as_ref(), Some(id), "round {round}");
        }
    }
    println!("{} entries reported durable over 25 kills, all there", reported.len());
    assert!(!reported.is_empty());
}
