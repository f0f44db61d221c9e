//! A first sight, but for the kernel's part: from the record on the ring to the answer. The maps are the kernel's own.
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use authz::abi::raw::*;
use authz::enforce::regions::{self, Regions};
use authz::enforce::verdicts::{Entry, Verdicts};
use authz::enforce::wire;
use authz::event::{Action, Event, Key, Mode};
use authz::ledger::{Options, Store};
use authz::pipeline::{Answer, EventSource, Pipeline, Remembered, Verdict, VerdictSink};
use authz::policy::{Bundle, Engine, Generated, PolicySource};
use authz::session::Session;
use aya::EbpfLoader;
use aya::maps::{HashMap, MapData};

use super::Row;
use super::lookup::OBJECT;

const ROUNDS: usize = 400;
const UNMEASURED: usize = 20;

/// What the back end of the LSM programs is to the pipeline, without programs.
struct Maps {
    /// The record that comes next.
    record: Option<Box<authz_event>>,
    regions: Regions<u32>,
    verdicts: Verdicts,
    answers: HashMap<MapData, u64, authz_answer>,
    kept: Option<(Vec<u8>, Key, usize, u32)>,
    answered: usize,
}

impl Maps {
    fn new() -> Result<Self> {
        let mut ebpf = EbpfLoader::new().allow_unsupported_maps().load(OBJECT)?;
        let [regions, verdicts, answers] =
            ["regions", "verdicts", "answers"].map(|name| ebpf.take_map(name).context(name));
        Ok(Self {
            record: None,
            regions: Regions::new(AUTHZ_VERDICTS_MAX as usize - 1),
            verdicts: Verdicts::new(regions?, verdicts?)?,
            answers: HashMap::try_from(answers?)?,
            kept: None,
            answered: 0,
        })
    }

    /// What was answered and remembered is away, so that the next one is as new.
    fn forget(&mut self) {
        self.answers.remove(&1).ok();
        if let Some((point, key, bits, place)) = self.kept.take() {
            self.regions.remove(&regions::start(&point, 64 + bits));
            let (length, key) = wire::verdict_key(1, &key, bits);
            self.verdicts.remove(length, key, place);
        }
    }
}

impl EventSource for Maps {
    fn next(&mut self) -> Option<Result<Event, String>> {
        let record = self.record.take()?;
        Some(wire::event(&record).map_err(|error| error.to_string()))
    }
}

impl VerdictSink for Maps {
    fn answer(&mut self, ticket: u64, answer: Answer) -> Result<(), String> {
        let effect = if answer.verdict == Verdict::Allow { AUTHZ_EFFECT_ALLOW } else { AUTHZ_EFFECT_DENY };
        self.answered += 1;
        let answer = authz_answer { effect, domain: answer.domain, generation: answer.generation, pad: 0 };
        self.answers.insert(ticket, answer, 0).map_err(|error| error.to_string())
    }

    fn remember(&mut self, verdict: Remembered<'_>) -> Result<(), String> {
        let bits = wire::significant_bits(verdict.key, verdict.region).ok_or("the name is too long")?;
        let point = regions::point(verdict.domain, verdict.key);
        let place = self.verdicts.place().ok_or("the table is full")?;
        assert!(self.regions.insert(verdict.session, &point, 64 + bits, place).is_empty());
        let (length, key) = wire::verdict_key(verdict.domain, verdict.key, bits);
        let effect = if verdict.allow { AUTHZ_EFFECT_ALLOW } else { AUTHZ_EFFECT_DENY };
        let entry = Entry { effect, evaluation: verdict.evaluation, expires_ns: 0 };
        self.kept = Some((point, verdict.key.clone(), bits, place));
        self.verdicts.insert(place, length, key, entry).map_err(|error| error.to_string())
    }

    fn park(&mut self, _tid: i32, _ticket: u64) {
        panic!("nothing waits for a human here");
    }

    fn release(&mut self, _tid: i32) {}
}

/// A question as the programs send it.
fn record(action: Action, path: &str) -> Box<authz_event> {
    let mut record = Box::<authz_event>::default();
    record.kind = AUTHZ_KIND_ASK as u8;
    record.ticket = 1;
    record.session = 1;
    record.action = action as u8;
    record.object = AUTHZ_OBJ_PATH as u8;
    record.tgid = std::process::id();
    record.tid = record.tgid;
    (record.mode, record.nlink) = (libc::S_IFREG | 0o644, 1);
    record.path_len = path.len() as u16;
    record.data[..path.len()].copy_from_slice(path.as_bytes());
    record
}

/// Microseconds of each first sight of what a preset allows.
fn samples(preset: &str) -> Result<Vec<f64>> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let generated = Generated {
        protected: vec!["/var/lib/authz".into()],
        workspace: vec!["/home/dev/project".into()],
        ..Generated::default()
    };
    let engine = Engine::load(&Bundle::load(&[PolicySource::Preset(preset.into())], &generated)?)?;
    let mut pipeline = Pipeline::new(Store::open(&folder.path().join("state"), Options::default())?);
    let session = Session::new(1, "agent".into(), 0, Mode::Enforce, engine, Duration::from_secs(60), 1);
    pipeline.sessions.insert(session);
    let mut maps = Maps::new()?;
    let mut samples = Vec::new();
    for round in 0..ROUNDS + UNMEASURED {
        for (action, path) in [
            (Action::FileRead, format!("/usr/include/linux/part{round}.h")),
            (Action::FileWrite, format!("/home/dev/project/src/module{round}.rs")),
            (Action::FileCreate, format!("/home/dev/project/target/part{round}.o")),
            (Action::FileDelete, format!("/home/dev/project/target/part{round}.d")),
        ] {
            maps.record = Some(record(action, &path));
            let start = Instant::now();
            assert!(!pipeline.turn(&mut maps, 8));
            if round >= UNMEASURED {
                samples.push(start.elapsed().as_secs_f64() * 1e6);
            }
            assert!(maps.kept.is_some(), "{action:?} was not remembered");
            maps.forget();
        }
    }
    let asked = (ROUNDS + UNMEASURED) * 4;
    assert_eq!(maps.answered, asked, "each was answered, since the task's domain was new each time");
    assert_eq!(pipeline.sessions.get_mut(1).map(|session| session.stats.denied), Some(0));
    Ok(samples)
}

pub(super) fn rows() -> Result<Vec<Row>> {
    ["prod-readonly", "coding-agent"]
        .map(|preset| {
            let method = format!(
                "Pipeline::turn with the record of a question of a task whose domain is new: decoded, decided with both \
                 hashes, appended to the ledger, put into the kernel's tables, answered there; 4 kinds (read, write, \
                 create, delete) in turn, {ROUNDS} rounds after {UNMEASURED} unmeasured; without the hook and the \
                 wake-ups"
            );
            let row = Row::of(format!("first sight, the daemon's part, preset:{preset}"), "us", samples(preset)?, method);
            Ok(row.against("<= 100 us", |median| median <= 100.0))
        })
        .into_iter()
        .collect()
}
