//! The tables of `tests/cases`, decided by the engine alone. `tests/vm` does the same for real and
//! expects the same outcome.

use std::path::{Path, PathBuf};

use authz::event::{Action, Layer, Mode, Operation, Resource};
use authz::policy::input::{Context, Input, Subject, SubjectProperties, address_properties};
use authz::policy::{Bundle, Effect, Engine, Generated, PolicySource};
use serde::Deserialize;

#[derive(Deserialize)]
struct Table {
    policy: String,
    deny: Vec<Case>,
    allow: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    action: String,
    args: Vec<String>,
    resource: Option<String>,
    /// `denied` or `other`: whose content it has.
    sha256: Option<String>,
    /// Decided without a policy.
    #[serde(default)]
    guard: bool,
}

/// The hash that the test's data file denies.
const DENIED: &str = "denied";

impl Case {
    fn input(&self) -> Input {
        let id = self.resource.as_ref().or(self.args.first()).expect("a resource");
        let id = [
            ("{prod}", "/prod/c"),
            ("{free}", "/free/c"),
            ("{base}", ""),
            ("{case}", "c"),
            ("{outside}", "4242"),
        ]
        .iter()
        .fold(id.clone(), |id, (name, value)| id.replace(name, value));
        let mut properties = address_properties(&id);
        if let Some(sha256) = &self.sha256 {
            properties.insert("sha256".into(), sha256.as_str().into());
        }
        let operation = Operation {
            action: Action::from_name(&self.action).expect("an action"),
            resource: Resource { id, properties },
            properties: serde_json::Map::new(),
        };
        let context = Context {
            layer: Layer::Kernel,
            mode: Mode::Enforce,
            session: None,
            trace_id: None,
            span_id: None,
            tool: None,
            request: None,
        };
        Input::new(Subject::agent("cases", SubjectProperties::default()), &operation, context)
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases")
}

/// How many cases the table has; every one was decided as it says.
fn decide(name: &str) -> usize {
    let text = std::fs::read_to_string(folder().join(format!("{name}.toml"))).expect("a table");
    let table: Table = toml::from_str(&text).expect("a sound table");
    let data = tempfile::Builder::new().suffix(".json").tempfile().expect("a file");
    let denied = serde_json::json!({"authz": {"denied_programs": [DENIED]}});
    std::fs::write(data.path(), denied.to_string()).expect("written");
    let policy = match table.policy.strip_prefix("preset:") {
        Some(preset) => PolicySource::Preset(preset.into()),
        None => PolicySource::Path(folder().join(&table.policy)),
    };
    let generated = Generated { protected: vec!["/run/authz".into()], ..Generated::default() };
    let bundle = Bundle::load(&[policy, PolicySource::Path(data.path().into())], &generated)
        .expect("the policy loads");
    let mut engine = Engine::load(&bundle).expect("the policy is sound");
    let mut count = 0;
    for (cases, effect) in [(&table.deny, Effect::Deny), (&table.allow, Effect::Allow)] {
        for case in cases.iter().filter(|case| !case.guard) {
            let evaluation = engine.decide(&case.input());
            assert_eq!(evaluation.cause, None, "{name}: {}", case.name);
            assert_eq!(evaluation.decision.effect, effect, "{name}: {}", case.name);
            count += 1;
        }
    }
    count
}

#[test]
fn the_engine_decides_each_case_as_its_table_says() {
    for name in ["file", "exec-path", "exec-sha256", "net", "system"] {
        assert!(decide(name) > 5, "{name} has cases");
    }
}
