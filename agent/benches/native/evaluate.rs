//! One evaluation of each preset.
use std::time::Instant;

use authz::event::{Action, Layer, Mode, Operation, Resource};
use authz::policy::input::{Context, Subject, SubjectProperties, address_properties};
use authz::policy::{Bundle, Engine, Generated, Input, PolicySource};
use serde_json::{Map, json};

use super::Row;

const ROUNDS: usize = 400;

pub(super) fn input(action: Action, id: &str) -> Input {
    let properties = match action {
        Action::NetConnect => address_properties(id),
        _ => Map::from_iter([("exists".into(), json!(true)), ("nlink".into(), json!(1))]),
    };
    let operation = Operation {
        action,
        resource: Resource { id: id.into(), properties },
        properties: Map::from_iter([("syscall".into(), json!("openat"))]),
    };
    let subject = SubjectProperties { uid: Some(1000), pid: Some(4242), ..SubjectProperties::default() };
    let context = Context {
        layer: Layer::Kernel,
        mode: Mode::Enforce,
        session: Some("01934f00-0000-7000-8000-000000000001".into()),
        trace_id: Some("0af7651916cd43dd8448eb211c80319c".into()),
        span_id: Some("b7ad6b7169203331".into()),
        tool: None,
        request: None,
    };
    Input::new(Subject::agent("bench", subject), &operation, context)
}

pub(super) fn rows() -> Vec<Row> {
    let inputs = [
        input(Action::FileRead, "/usr/lib/x86_64-linux-gnu/libc.so.6"),
        input(Action::FileWrite, "/home/dev/project/src/main.rs"),
        input(Action::FileDelete, "/prod/config.yaml"),
        input(Action::ProcessExec, "/usr/bin/git"),
        input(Action::NetConnect, "tcp://140.82.121.3:443"),
    ];
    let generated = Generated {
        protected: vec!["/var/lib/authz".into()],
        workspace: vec!["/home/dev/project".into()],
        ..Generated::default()
    };
    let mut rows = Vec::new();
    for preset in ["observe-all", "prod-readonly", "coding-agent"] {
        let bundle = Bundle::load(&[PolicySource::Preset(preset.into())], &generated).unwrap();
        let engine = Engine::load(&bundle).unwrap();
        for (what, mut engine) in [("", engine.clone()), (", the whole policy", engine.without_shortcuts())] {
            let row = Row::of(
                format!("evaluation, preset:{preset}{what}"),
                "us",
                samples(&mut engine, &inputs),
                format!(
                    "Engine::decide with both hashes, {} inputs (read, write, delete, exec, connect) in turn, \
                     {ROUNDS} rounds after 20 unmeasured; target is that of the whole first sight, of which this \
                     is a part",
                    inputs.len()
                ),
            );
            rows.push(row.against("<= 100 us", |median| median <= 100.0));
        }
    }
    rows
}

/// Microseconds of each evaluation.
fn samples(engine: &mut Engine, inputs: &[Input]) -> Vec<f64> {
    let mut samples = Vec::new();
    for round in 0..ROUNDS + 20 {
        for input in inputs {
            let start = Instant::now();
            let evaluation = engine.decide(input);
            let took = start.elapsed();
            assert_eq!(evaluation.cause, None);
            if round >= 20 {
                samples.push(took.as_secs_f64() * 1e6);
            }
        }
    }
    samples
}
