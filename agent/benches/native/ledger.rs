//! How fast the ledger takes entries.
use std::time::Instant;

use authz::event::{Action, Layer, Mode};
use authz::ledger::{DecidedBy, Entry, Kind, Options, ResourceEntry, Store};
use authz::policy::{Decision, Effect};
use serde_json::{Map, json};
use uuid::Uuid;

use super::Row;

const ROUNDS: usize = 7;

/// As the daemon writes for one decision.
fn entry(number: usize) -> Entry {
    Entry {
        session: Some(Uuid::from_u128(0x0193_4f00_0000_7000_8000_0000_0000_0002)),
        layer: Some(Layer::Kernel),
        mode: Some(Mode::Enforce),
        action: Some(Action::FileRead.into()),
        resource: Some(ResourceEntry {
            kind: "file".into(),
            id: format!("/home/dev/project/src/module_{number}.rs"),
            properties: Map::from_iter([("nlink".into(), json!(1)), ("exists".into(), json!(true))]),
            raw: None,
        }),
        subject: Some(json!({"pid": 4242, "tid": 4242, "uid": 1000, "comm": "cargo"})),
        syscall: Some("openat".into()),
        policy: Some("5f".repeat(32)),
        path: Some("authz/decision".into()),
        input_hash: Some("ab".repeat(32)),
        output_hash: Some("cd".repeat(32)),
        decision: Some(Decision { effect: Effect::Allow, ..Decision::deny("", "") }),
        decided_by: Some(DecidedBy::Policy),
        enforced: Some(true),
        cost_us: Some(25),
        ..Entry::new(Kind::Decision)
    }
}

/// What the clock stops at.
#[derive(Clone, Copy, PartialEq)]
enum Until {
    /// Each entry is waited for.
    Each,
    /// All are in the log, durably.
    Durable,
    /// All are in tiles, and signed.
    Signed,
}

pub(super) fn rows() -> Vec<Row> {
    [(1, 40_000, Until::Durable), (2, 20_000, Until::Durable), (2, 50_000, Until::Signed), (1, 400, Until::Each)]
        .map(|(threads, each, until)| {
            let samples = (0..ROUNDS).map(|_| rate(threads, each, until)).collect();
            let what = match until {
                Until::Each => "each waited for",
                Until::Durable => "durable at the end",
                Until::Signed => "in tiles and signed at the end",
            };
            let method = format!(
                "{} entries as the daemon writes them through Store::append, {threads} thread(s), {what}; fsync included, {ROUNDS} rounds",
                threads * each
            );
            let mut row = Row::of(format!("ledger, {threads} thread(s), {what}"), "entries/s", samples, method);
            row.best = row.best.max(row.p90);
            if until == Until::Each { row } else { row.against(">= 100,000 entries/s", |median| median >= 100_000.0) }
        })
        .into()
}

fn rate(threads: usize, each: usize, until: Until) -> f64 {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for number in 0..each {
                    let ticket = store.append(entry(number)).unwrap();
                    if until == Until::Each {
                        store.wait(ticket).unwrap();
                    }
                }
            });
        }
    });
    store.flush().unwrap();
    if until == Until::Signed {
        drop(store);
    }
    (threads * each) as f64 / start.elapsed().as_secs_f64()
}
