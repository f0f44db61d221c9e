//! Runs the tests of a policy: rules named `test_*` in any of its files, as `opa test` does. Files named
//! `*_test.rego` are loaded for this alone.

use std::time::{Duration, Instant};

use regorus::Value;

use super::ast::{Program, location};
use super::bundle::Bundle;
use super::engine::{compile, timer};
use super::error::{Location, PolicyError, one_line};

/// How long one test may take.
const LIMIT: Duration = Duration::from_secs(10);

/// One test.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TestResult {
    /// The rule: `data.PACKAGE.test_NAME`.
    pub name: String,
    /// Where it begins.
    pub at: Location,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took.
    #[serde(skip)]
    pub cost: Duration,
}

/// What came of a test.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The rule is true.
    Pass,
    /// The rule is undefined or not true.
    Fail,
    /// The rule cannot be evaluated, with the reason.
    Error(String),
    /// The rule is named `todo_test_*`.
    Skip,
}

/// Runs every test of the bundle's sources, in the order of their names.
pub fn run(bundle: &Bundle) -> Result<Vec<TestResult>, PolicyError> {
    let mut engine = compile(bundle, &bundle.tests)?;
    engine.set_execution_timer_config(timer(LIMIT));
    let program = Program::new(engine.get_modules());
    let mut results: Vec<TestResult> = Vec::new();
    for ((package, rule), node) in program.rules() {
        let skipped = rule.starts_with("todo_test_");
        if !rule.starts_with("test_") && !skipped {
            continue;
        }
        let name = format!("data.{package}.{rule}");
        // Rego joins them into one rule, which the weaker body makes true; OPA runs each.
        if let Some(known) = results.iter_mut().find(|known| known.name == name) {
            let second = location(node.span());
            known.outcome =
                Outcome::Error(format!("defined again at {second}; give each test a name of its own"));
            continue;
        }
        let start = Instant::now();
        let outcome = if skipped { Outcome::Skip } else { outcome(&mut engine, &name) };
        results.push(TestResult { name, at: location(node.span()), outcome, cost: start.elapsed() });
    }
    Ok(results)
}

fn outcome(engine: &mut regorus::Engine, name: &str) -> Outcome {
    match engine.eval_rule(name.to_owned()) {
        Ok(Value::Bool(true)) => Outcome::Pass,
        Ok(_) => Outcome::Fail,
        Err(error) => Outcome::Error(one_line(&error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::bundle::{Generated, PolicySource};

    #[test]
    fn tests_are_found_in_any_file_and_a_name_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("rules.rego", "package authz\n\ntest_beside_the_rules if true\n");
        write("rules_test.rego", "package authz\n\ntest_twice if false\n\ntest_twice if true\n");
        let source = PolicySource::Path(folder.path().to_owned());
        let results = run(&Bundle::load(&[source], &Generated::default()).unwrap()).unwrap();
        let [beside, twice] = &results[..] else { panic!("{results:?}") };
        assert_eq!((&*beside.name, &beside.outcome), ("data.authz.test_beside_the_rules", &Outcome::Pass));
        assert!(
            matches!(&twice.outcome, Outcome::Error(why) if why.contains("rules_test.rego:5")),
            "{twice:?}"
        );
    }

    #[test]
    fn the_tests_of_the_presets_pass() {
        for (preset, count) in [("coding-agent", 7), ("prod-readonly", 5), ("observe-all", 4)] {
            let bundle = Bundle::load(&[PolicySource::Preset(preset.into())], &Generated::default()).unwrap();
            let results = run(&bundle).unwrap();
            assert_eq!(results.len(), count, "{preset}");
            for result in results {
                assert_eq!(result.outcome, Outcome::Pass, "{preset}: {} at {}", result.name, result.at);
            }
        }
    }
}
