//! How fast recorded decisions are decided again.
use std::time::Instant;

use authz::event::Action;
use authz::ledger::{DecidedBy, Entry, Kind, Options as LedgerOptions, Readers, ResourceEntry, Store};
use authz::policy::{Bundle, Engine, Generated, PolicySource, kept};
use authz::replay::{self, Options};

use super::{Row, evaluate};

const ROUNDS: usize = 5;
const ENTRIES: usize = 40_000;

pub(super) fn rows() -> Vec<Row> {
    // How many entries share what the policy reads.
    [(20, ">= 20,000 entries/s", 20_000.0), (1, "", 0.0)]
        .map(|(alike, target, least)| {
            let folder = recorded(alike);
            let samples = (0..ROUNDS).map(|_| rate(folder.path())).collect();
            let method = format!(
                "replay of {ENTRIES} entries of policy coding-agent with inputs, {alike} alike in what it reads; a \
                 reading thread and one evaluating thread for each processor, {ROUNDS} rounds"
            );
            let row = Row::of(format!("replay, {alike} entries alike"), "entries/s", samples, method);
            let row = Row { best: row.best.max(row.p90), ..row };
            if target.is_empty() { row } else { row.against(target, move |median| median >= least) }
        })
        .into()
}

/// A ledger as the daemon writes it.
fn recorded(alike: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let generated = Generated {
        protected: vec!["/run/authz".into()],
        workspace: vec!["/home/dev/project".into()],
        ..Generated::default()
    };
    let bundle = Bundle::load(&[PolicySource::Preset("coding-agent".into())], &generated).unwrap();
    kept::keep(&folder.path().join("bundles"), &bundle).unwrap();
    let mut engine = Engine::load(&bundle).unwrap();
    let store = Store::open(&folder.path().join("one"), LedgerOptions::default()).unwrap();
    for number in 0..ENTRIES / alike {
        let id = format!("/home/dev/project/src/module_{number}.rs");
        let input = evaluate::input(Action::FileWrite, &id);
        let evaluation = engine.decide(&input);
        for _ in 0..alike {
            let entry = Entry {
                policy: Some(engine.digest().to_owned()),
                action: Some(Action::FileWrite.into()),
                resource: Some(ResourceEntry {
                    kind: "file".into(),
                    id: id.clone(),
                    properties: input.resource.properties.clone(),
                    raw: None,
                }),
                input: Some(input.to_value()),
                input_hash: Some(evaluation.input_hash.clone()),
                output_hash: Some(evaluation.output_hash.clone()),
                decision: Some(evaluation.decision.clone()),
                decided_by: Some(DecidedBy::Policy),
                enforced: Some(true),
                ..Entry::new(Kind::Decision)
            };
            store.append(entry).unwrap();
        }
    }
    store.flush().unwrap();
    folder
}

fn rate(folder: &std::path::Path) -> f64 {
    let start = Instant::now();
    let options = Options { bundles: vec![folder.join("bundles")], ..Options::default() };
    let report = replay::run(&mut Readers::open(folder).unwrap(), &options, |_, _| ()).unwrap();
    assert_eq!(report.same.entries, ENTRIES as u64, "{report:?}");
    ENTRIES as f64 / start.elapsed().as_secs_f64()
}
