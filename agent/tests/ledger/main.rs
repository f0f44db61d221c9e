//! The ledger on a real disk: what it looks like, what survives a crash, how fast it is.
#![allow(clippy::unwrap_used)] // tests may panic

mod crash;
mod golden;
mod independent;
mod prove;
mod tamper;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use authz::event::{Action, Layer, Mode};
use authz::ledger::*;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// An entry with every field set.
fn full() -> Entry {
    Entry {
        time: "2026-11-21T10:00:00.000000007Z".parse().unwrap(),
        id: Uuid::from_u128(0x0193_4f00_0000_7000_8000_0000_0000_0001),
        session: Some(Uuid::from_u128(0x0193_4f00_0000_7000_8000_0000_0000_0002)),
        trace_id: Some(Hex([0xab; 16])),
        span_id: Some(Hex([1; 8])),
        attribution: Some(Attribution::Exact),
        layer: Some(Layer::Kernel),
        mode: Some(Mode::Enforce),
        action: Some(Action::FileWrite.into()),
        resource: Some(ResourceEntry {
            kind: "file".into(),
            id: "/prod/config.yaml".into(),
            properties: Map::from_iter([("nlink".into(), json!(1))]),
            raw: Some("../prod/config.yaml".into()),
        }),
        subject: Some(json!({"type": "agent", "id": "claude"})),
        syscall: Some("openat".into()),
        policy: Some("00ff".into()),
        path: Some("authz/decision".into()),
        input: Some(
            json!({"context": {"tool": {"arguments": {"path": "/prod/config.yaml", "token": "t0p"}}}}),
        ),
        input_hash: Some("aa".into()),
        output_hash: Some("bb".into()),
        decision: Some(Decision {
            effect: Effect::Compute,
            rules: vec![RuleRef { id: "prod".into(), reason: "no".into(), advice: "yes".into() }],
            constraints: Map::new(),
            rewrite: Some(json!({"path": "/staging/config.yaml"})),
        }),
        causes: vec!["none really".into()],
        decided_by: Some(DecidedBy::Policy),
        enforced: Some(true),
        requested_id: Some("/prod/config.yaml".into()),
        enforced_id: Some("/staging/config.yaml".into()),
        count: Some(1),
        held_us: Some(80),
        cost_us: Some(25),
        detail: Some(json!({"note": 1})),
        ..Entry::new(Kind::Decision)
    }
}

fn small(id: &str) -> Entry {
    let mut entry = Entry::new(Kind::Decision);
    entry.requested_id = Some(id.into());
    entry
}

fn read(state: &Path) -> Vec<Record> {
    Reader::open(state).unwrap().collect::<Result<_, _>>().unwrap()
}

/// The file of the log that begins with an entry.
fn log(state: &Path, first: u64) -> std::path::PathBuf {
    state.join(format!("ledger/wal/{first:020}.wal"))
}

/// A ledger of small entries, closed.
fn ledger(state: &Path, count: u64) {
    let store = Store::open(state, Options::default()).unwrap();
    (0..count).for_each(|n| assert_eq!(store.append(small(&format!("n{n}"))).unwrap(), Ticket(n)));
}

/// Options with which nothing is signed before the end.
fn unsigned() -> Options {
    Options { checkpoint: Duration::from_secs(3600), ..Options::default() }
}

/// A folder in memory: for what is done thousands of times, where nothing is about the disk.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Copies a folder as it is now.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let path = item.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { fs::copy(&path, &target).map(drop).unwrap() }
    }
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for item in fs::read_dir(folder).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// What verification with the key of a state folder says.
fn verified(state: &Path) -> Result<verify::Verified, LedgerError> {
    verify::verify(&state.join("ledger"), &key::public(&state.join("key.pub"))?)
}

#[test]
fn a_line_is_what_it_was_agreed_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let ticket = store.append(full()).unwrap();
    store.wait(ticket).unwrap();
    let golden = concat!(
        r#"{"seq":0,"timestamp":"2026-11-21T10:00:00.000000007Z","decision_id":"01934f00-0000-7000-8000-000000000001","#,
        r#""kind":"decision","session":"01934f00-0000-7000-8000-000000000002","#,
        r#""trace_id":"abababababababababababababababab","span_id":"0101010101010101","attribution":"exact","#,
        r#""layer":"kernel","mode":"enforce","action":"file.write","resource":{"type":"file","id":"/prod/config.yaml","#,
        r#""properties":{"nlink":1},"raw":"../prod/config.yaml"},"subject":{"id":"claude","type":"agent"},"#,
        r#""syscall":"openat","policy":"00ff","path":"authz/decision","#,
        r#""input":{"context":{"tool":{"arguments":{"path":"/prod/config.yaml","token":"[redacted]"}}}},"#,
        r#""erased":["/context/tool/arguments/token"],"input_hash":"aa","output_hash":"bb","#,
        r#""result":{"effect":"compute","rules":[{"id":"prod","reason":"no","advice":"yes"}],"constraints":{},"#,
        r#""rewrite":{"path":"/staging/config.yaml"}},"causes":["none really"],"decided_by":"policy","enforced":true,"#,
        r#""requested_id":"/prod/config.yaml","enforced_id":"/staging/config.yaml","count":1,"held_us":80,"cost_us":25,"#,
        r#""detail":{"note":1}}"#,
    );
    let frame = fs::read(log(dir.path(), 0)).unwrap();
    assert_eq!(&frame[16..], golden.as_bytes());
    let record = &read(dir.path())[0];
    assert_eq!(record.bytes, golden.as_bytes(), "the reader gives the stored bytes");
    drop(store);
    assert_eq!(read(dir.path())[0].bytes, golden.as_bytes());
    assert!(!format!("{record:?}").contains("t0p"));
}

#[test]
fn files_are_private_and_used_by_one() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("ledger")).unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("ledger")), 0o700, "made private");
    store.append(full()).unwrap();
    assert!(matches!(Store::open(dir.path(), Options::default()), Err(LedgerError::Locked(_))));
    drop(store);
    for path in files(dir.path()) {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    Store::open(dir.path(), Options::default()).unwrap();
    // A key that others could have read signs nothing more.
    fs::set_permissions(dir.path().join("key"), fs::Permissions::from_mode(0o640)).unwrap();
    let error = Store::open(dir.path(), Options::default()).err().unwrap().to_string();
    assert!(error.contains("others can read it"), "{error}");
}

#[test]
fn the_log_rotates_and_numbers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { rotate_at: 1000, ..unsigned() };
    let mut most = 0;
    for round in 0..30 {
        let store = Store::open(dir.path(), options.clone()).unwrap();
        for n in 0..20 {
            store.wait(store.append(small(&format!("{}", round * 20 + n))).unwrap()).unwrap();
        }
        most = most.max(fs::read_dir(dir.path().join("ledger/wal")).unwrap().count());
        assert_eq!(read(dir.path()).len(), 20 * (round + 1), "while it is written");
        drop(store);
        assert_eq!(fs::read_dir(dir.path().join("ledger/wal")).unwrap().count(), 0, "all is in tiles");
        assert_eq!(verified(dir.path()).unwrap().checkpoint.unwrap().size, 20 * (round as u64 + 1));
    }
    assert!(most > 2, "{most}");
    let records = read(dir.path());
    assert_eq!(records.len(), 600);
    for (n, record) in records.iter().enumerate() {
        assert_eq!((record.entry.seq, &record.entry.requested_id), (n as u64, &Some(n.to_string())));
    }
    for name in
        ["tile/entries/000", "tile/entries/001", "tile/entries/002.p/88", "tile/0/002.p/88", "tile/1/000.p/2"]
    {
        assert!(dir.path().join("ledger").join(name).exists(), "{name}");
    }
    assert!(!dir.path().join("ledger/tile/0/001.p").exists(), "full tiles have no partial ones");
    // A crash right after a rotation leaves an empty last file.
    fs::write(log(dir.path(), 600), "").unwrap();
    let store = Store::open(dir.path(), options).unwrap();
    assert_eq!(store.append(small("x")).unwrap(), Ticket(600));
    drop(store);
    assert_eq!(read(dir.path()).len(), 601);
}

#[test]
fn a_ledger_is_read_while_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { rotate_at: 20_000, checkpoint: Duration::from_millis(1), ..Options::default() };
    let store = Store::open(dir.path(), options).unwrap();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for n in 0..20_000u64 {
                let ticket = store.append(small(&n.to_string())).unwrap();
                if n % 50 == 0 {
                    store.wait(ticket).unwrap();
                }
            }
        });
        let (mut rounds, mut before) = (0, 0);
        while !writing.is_finished() || rounds < 3 {
            let records = read(dir.path());
            assert!(records.len() >= before, "{} after {before}", records.len());
            assert!(records.iter().enumerate().all(|(n, record)| record.entry.seq == n as u64));
            (rounds, before) = (rounds + 1, records.len());
        }
        println!("read {rounds} times while 20,000 entries were written");
    });
    drop(store);
    assert_eq!(verified(dir.path()).unwrap().checkpoint.unwrap().size, 20_000);
}

#[test]
fn a_long_input_is_moved_aside_and_a_longer_entry_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let mut entry = full();
    let long =
        json!({"context": {"tool": {"arguments": {"text": "x".repeat(70_000), "password": "hunter2"}}}});
    entry.input = Some(long);
    store.append(entry).unwrap();
    store.flush().unwrap();
    let record = &read(dir.path())[0].entry;
    let payload = dir.path().join(format!("ledger/payload/{}", record.input_at.unwrap()));
    let stored: Value = serde_json::from_slice(&fs::read(payload).unwrap()).unwrap();
    assert_eq!(stored["context"]["tool"]["arguments"]["password"], "[redacted]");
    assert_eq!(record.erased, ["/context/tool/arguments/password"]);
    let mut entry = full();
    entry.subject = Some(json!("x".repeat(70_000)));
    assert!(matches!(store.append(entry), Err(LedgerError::TooLong(_))));
    for length in 64_700..65_000 {
        let mut entry = Entry::new(Kind::Finding);
        entry.requested_id = Some("y".repeat(length));
        store.append(entry).ok();
    }
    drop(store);
    assert!(read(dir.path()).iter().all(|record| record.bytes.len() <= MAX_LINE));
}

#[test]
fn a_failed_write_stops_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { rotate_at: 1, ..unsigned() };
    let store = Store::open(dir.path(), options).unwrap();
    store.wait(store.append(small("a")).unwrap()).unwrap();
    fs::create_dir(log(dir.path(), 1)).unwrap(); // the next file cannot be created
    let ticket = store.append(small("b")).unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    store.on_durable(ticket, move |result| send.send(result).unwrap());
    assert!(matches!(receive.recv().unwrap(), Err(LedgerError::Failed(_))));
    assert!(matches!(store.wait(ticket), Err(LedgerError::Failed(_))));
    assert!(matches!(store.append(small("c")), Err(LedgerError::Failed(_))));
    assert!(store.failed().is_some());
    store.wait(Ticket(0)).unwrap();
}

#[test]
fn a_full_disk_stops_the_ledger_and_leaves_whole_lines() {
    let dir = tempfile::tempdir().unwrap();
    let mount = nix::mount::mount(
        Some("tmpfs"),
        dir.path(),
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        Some("size=1m"),
    );
    if mount.is_err() {
        return println!("not run: mounting a small file system takes privileges");
    }
    let _mounted = Mounted(dir.path().to_owned());
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let mut durable = 0;
    let error = loop {
        let ticket = store.append(small(&"z".repeat(10_000))).and_then(|ticket| store.wait(ticket));
        match ticket {
            Ok(()) => durable += 1,
            Err(error) => break error,
        }
        assert!(durable < 1000);
    };
    assert!(error.to_string().contains("No space"), "{error}");
    drop(store);
    assert_eq!(read(dir.path()).len(), durable);
}

struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH).unwrap();
    }
}

#[test]
fn callbacks_come_once_and_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let store =
        Store::open(dir.path(), Options { linger: Duration::from_secs(60), ..Options::default() }).unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    for n in 0..100u64 {
        let send = send.clone();
        let ticket = store.append(small("x")).unwrap();
        store.on_durable(ticket, move |result| send.send((n, result.is_ok())).unwrap());
    }
    let mut got: Vec<_> = (0..100).map(|_| receive.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
    got.sort();
    assert!(got.iter().enumerate().all(|(n, item)| *item == (n as u64, true)));
    store.append(small("lingers")).unwrap();
    let (_, inbox) = (send, receive);
    drop(store);
    assert!(inbox.try_recv().is_err());
    assert_eq!(read(dir.path()).len(), 101, "what was queued is written on drop");
}

/// Printed, not asserted: the machine is shared.
#[test]
fn throughput() {
    for (threads, each, waits) in [(1, 100_000, false), (4, 25_000, false), (1, 2_000, true), (32, 500, true)]
    {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let store = Arc::new(Store::open(dir.path(), Options::default()).unwrap());
        let start = Instant::now();
        let work = (0..threads).map(|_| {
            let store = store.clone();
            std::thread::spawn(move || {
                for _ in 0..each {
                    let ticket = store.append(full()).unwrap();
                    if waits {
                        store.wait(ticket).unwrap();
                    }
                }
            })
        });
        work.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
        store.flush().unwrap();
        let (took, count) = (start.elapsed(), threads * each);
        let start = Instant::now();
        assert_eq!(Reader::open(dir.path()).unwrap().count(), count);
        println!(
            "{count} entries from {threads} threads, {}: {:.0}/s, read at {:.0}/s",
            if waits { "each waited for" } else { "durable at the end" },
            count as f64 / took.as_secs_f64(),
            count as f64 / start.elapsed().as_secs_f64(),
        );
    }
}

fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        Just("\u{0}\n\r\t\u{1b}[2J\u{9b}\u{202e}\u{2028}\"\\\u{feff}\u{10ffff}".to_owned()),
        Just("\"}\n{\"seq\":0}".to_owned()),
        "[\\x00-\\x1f\"\\\\{}:,]{0,30}",
    ]
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e300..1e300f64).prop_map(Value::from),
        hostile().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(hostile(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn whatever_is_appended_is_read(items in prop::collection::vec((hostile(), hostile(), json_value()), 1..8)) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::default()).unwrap();
        let mut expected = Vec::new();
        for (n, (id, why, value)) in items.into_iter().enumerate() {
            let mut entry = full();
            entry.seq = n as u64;
            entry.resource = Some(ResourceEntry { id, ..entry.resource.unwrap() });
            entry.causes = vec![why.clone()];
            entry.input = Some(json!({ "subject": value.clone(), why: value.clone() }));
            entry.detail = (!value.is_null()).then_some(value);
            expected.push(entry.clone());
            store.append(entry).unwrap();
        }
        drop(store);
        let read: Vec<Entry> = read(dir.path()).into_iter().map(|record| record.entry).collect();
        prop_assert_eq!(read, expected);
    }
}
