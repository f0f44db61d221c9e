//! What grows with the work: sessions, regions, distinct paths. Of the daemon's own parts, in this process, since one
//! daemon gets one session by the command line.
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use authz::abi::raw::{AUTHZ_EFFECT_ALLOW, AUTHZ_OBJ_PATH, AUTHZ_VERDICTS_MAX};
use authz::enforce::regions::{Regions, SESSION_MAX, point};
use authz::enforce::verdicts::{Entry, Verdicts};
use authz::enforce::wire::verdict_key;
use authz::event::{Action, Key, Mode};
use authz::policy::region::{Remember, remember};
use authz::policy::{Bundle, Engine, Generated, PolicySource};
use authz::session::{Session, Sessions, Sources};
use aya::EbpfLoader;

use super::Row;
use super::evaluate::input;
use super::lookup::OBJECT;

const SESSIONS: u32 = 1000;
const REGIONS: [usize; 3] = [1_000, 10_000, 100_000];
const PATHS: u32 = 1_000_000;
const LOOKUPS: usize = 100_000;

pub(super) fn rows() -> Vec<Row> {
    // Small things first: what was freed is not given back, and would hide what comes after.
    let mut rows = regions();
    rows.extend(paths());
    match kernel_table() {
        Ok(more) => rows.extend(more),
        Err(error) => eprintln!("no figures of the kernel's table: {error:#}"),
    }
    rows.push(sessions(true));
    rows.push(sessions(false));
    rows
}

/// Resident memory of this process in MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn bundle(workspace: &str) -> Bundle {
    let generated = Generated {
        protected: vec!["/var/lib/authz".into()],
        workspace: vec![workspace.into()],
        ..Generated::default()
    };
    Bundle::load(&[PolicySource::Preset("coding-agent".into())], &generated).unwrap()
}

/// As the daemon does it: a policy is loaded for each session, and kept if no other session has the same.
fn sessions(alike: bool) -> Row {
    let inputs = [
        input(Action::FileRead, "/usr/lib/x86_64-linux-gnu/libc.so.6"),
        input(Action::FileWrite, "/home/dev/project/src/main.rs"),
    ];
    let before = resident();
    let mut sessions = Sessions::default();
    for index in 1..=SESSIONS {
        let workspace = if alike { String::new() } else { index.to_string() };
        let engine = Engine::load(&bundle(&format!("/home/dev/project{workspace}"))).unwrap();
        let engine = sessions.shared(engine, &Sources::default());
        let mut session =
            Session::new(index, "agent".into(), 0, Mode::Enforce, engine, Duration::from_secs(60), 1);
        for input in &inputs {
            assert_eq!(session.engine.decide(input).cause, None);
        }
        sessions.insert(session);
    }
    let grown = resident() - before;
    black_box(&sessions);
    let what = if alike { "of the same policy and workspace" } else { "a workspace of its own each" };
    Row::of(
        format!("memory of {SESSIONS} sessions, {what}"),
        "MiB",
        vec![grown],
        "VmRSS after less before; preset:coding-agent, asked twice in each; without what a back end keeps of them",
    )
    .against("daemon <= 60 MiB", |grown| grown <= 60.0)
}

fn key(name: String) -> Key {
    Key { action: Action::FileRead, object: AUTHZ_OBJ_PATH as u8, role: 0, names: 0, name: name.into_bytes() }
}

fn name(number: usize) -> String {
    format!("/home/dev/project/part{}/module{}/file{number}.rs", number % 97, number % 7)
}

/// Each lookup in nanoseconds, of which there are many between two looks at the clock.
fn lookups(regions: &Regions<u64>, points: &[Vec<u8>]) -> Vec<f64> {
    let rounds = points.chunks(1000).map(|chunk| {
        let start = Instant::now();
        for point in chunk {
            black_box(regions.find(black_box(point)).map(|known| known.value));
        }
        start.elapsed().as_nanos() as f64 / chunk.len() as f64
    });
    rounds.collect()
}

/// The table of the seccomp supervisor; as many sessions as it takes, since each may have so many.
fn regions() -> Vec<Row> {
    let mut rows = Vec::new();
    for count in REGIONS {
        let before = resident();
        let mut regions = Regions::default();
        for number in 0..count {
            let session = (number / SESSION_MAX) as u32 + 1;
            let point = point(session, &key(name(number)));
            regions.insert(session, &point, point.len() * 8, number as u64);
        }
        let grown = resident() - before;
        let stride = 7919;
        let points: Vec<_> = (0..LOOKUPS)
            .map(|turn| turn * stride % count)
            .map(|number| point((number / SESSION_MAX) as u32 + 1, &key(name(number))))
            .collect();
        assert!(points.iter().all(|point| regions.peek(point).is_some()));
        rows.push(Row::of(
            format!("lookup among {count} regions"),
            "ns",
            lookups(&regions, &points),
            format!("Regions::find, {LOOKUPS} hits in a mixed order, of exact names of 45 bytes or so; by thousands"),
        ));
        rows.push(Row::of(
            format!("memory of {count} regions"),
            "MiB",
            vec![grown],
            "VmRSS after less before; what the allocator had left from before is in no figure",
        ));
    }
    rows
}

/// The table that the LSM programs decide from, which the daemon looks through once a second for what was used.
fn kernel_table() -> Result<Vec<Row>> {
    let mut ebpf = EbpfLoader::new().allow_unsupported_maps().load(OBJECT)?;
    let [regions, verdicts] = ["regions", "verdicts"].map(|name| ebpf.take_map(name).context(name));
    let mut table = Verdicts::new(regions?, verdicts?)?;
    let mut rows = Vec::new();
    let mut filled = 0;
    for count in REGIONS.map(|count| count.min(AUTHZ_VERDICTS_MAX as usize)) {
        while filled < count {
            let key = key(name(filled));
            let (bits, bytes) =
                verdict_key((filled / SESSION_MAX) as u32 + 1, &key, (key.name.len() + 1) * 8);
            let entry = Entry { effect: AUTHZ_EFFECT_ALLOW, evaluation: 1, expires_ns: 0 };
            let place = table.place().context("the table is full")?;
            table.insert(place, bits, bytes, entry)?;
            filled += 1;
        }
        let mut looks = Vec::new();
        for _ in 0..7 {
            let start = Instant::now();
            assert!(table.take_hits().0.is_empty());
            looks.push(start.elapsed().as_secs_f64() * 100.0);
        }
        rows.push(Row::of(
            format!("daemon's share of a processor for {count} regions in the kernel's table"),
            "%",
            looks,
            "Verdicts::take_hits: each verdict read by a system call, as once a second for what was used; 7 times",
        ));
    }
    Ok(rows)
}

/// One session that touches each path once: by a policy whose decisions hold for regions, and by one that is asked for
/// each name.
fn paths() -> Vec<Row> {
    let mut engine = Engine::load(&bundle("/home/dev/project")).unwrap();
    let mut rows = Vec::new();
    for (what, exact) in [("decided by region", false), ("each by its exact name", true)] {
        let before = resident();
        let mut regions = Regions::default();
        let (mut asked, mut kept) = (0_u32, 0_usize);
        let start = Instant::now();
        for number in 0..PATHS {
            let name = name(number as usize);
            let point = point(1, &key(name.clone()));
            if regions.find(&point).is_some() {
                continue;
            }
            asked += 1;
            let bits = if exact {
                point.len() * 8
            } else {
                let input = input(Action::FileRead, &name);
                let evaluation = engine.decide(&input);
                match remember(&engine, &input, &evaluation) {
                    Remember::Within { region, .. } if !region.exact => 64 + region.id_bits,
                    _ => point.len() * 8,
                }
            };
            kept = kept + 1 - regions.insert(1, &point, bits, u64::from(number)).len();
        }
        let each = start.elapsed().as_nanos() as f64 / f64::from(PATHS);
        let grown = resident() - before;
        let method = format!(
            "{PATHS} distinct paths of one session, file.read under preset:coding-agent; {asked} of them were asked \
             for, {kept} regions are kept{}",
            if exact { "; without the evaluations" } else { "; evaluations included" }
        );
        rows.push(Row::of(format!("a million paths, {what}"), "ns a path", vec![each], method.clone()));
        rows.push(Row::of(format!("memory after a million paths, {what}"), "MiB", vec![grown], method));
    }
    rows
}
