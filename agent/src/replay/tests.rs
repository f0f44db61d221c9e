use super::*;
use std::path::Path;

use serde_json::{Value, json};

use crate::event::Action;
use crate::ledger::{DecidedBy, Effect, Kind, ResourceEntry, Store};
use crate::policy::{Bundle, Decision, Engine, Generated, kept};

const RULES: &str = r#"
deny contains {"id": "prod", "reason": "not there"} if under(input.resource.id, "/prod")
escalate contains {"id": "ask", "reason": "a human decides"} if under(input.resource.id, "/ask")
allow contains {"id": "rest", "reason": "all else"} if input.subject.id == "agent"
allow contains {"id": "few", "reason": "twice", "constraints": {"max_uses": 2}} if under(input.resource.id, "/few")
"#;

/// A ledger in the making.
struct Run {
    folder: tempfile::TempDir,
    store: Store,
    engine: Engine,
}

impl Run {
    fn new(rules: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bundle = bundle(folder.path(), rules);
        kept::keep(&folder.path().join("bundles"), &bundle).unwrap();
        let store = Store::open(&folder.path().join("one"), Default::default()).unwrap();
        Self { folder, store, engine: Engine::load(&bundle).unwrap() }
    }

    /// An entry as the pipeline makes it.
    fn decided(&mut self, action: Action, id: &str) -> Entry {
        let mut input = json!({"subject": {"type": "agent", "id": "agent"}, "action": {"name": action},
            "resource": {"type": "file", "id": id, "properties": {"n": id.len()}}, "context": {"session": "s"}});
        if action == Action::ProcessExec {
            input["resource"]["properties"]["argv"] =
                json!(["x", "--password", "p", "x".repeat(id.len() * 10_000)]);
        }
        let evaluation = self.engine.decide_value(&input);
        let mut entry = Entry::new(Kind::Decision);
        entry.policy = Some(self.engine.digest().to_owned());
        entry.session = Some(Uuid::from_u128(1));
        entry.action = Some(action.into());
        let properties = Default::default();
        entry.resource = Some(ResourceEntry { kind: "file".into(), id: id.into(), properties, raw: None });
        entry.input = Some(input);
        entry.input_hash = Some(evaluation.input_hash);
        entry.output_hash = Some(evaluation.output_hash);
        entry.nd_builtin_cache = (!evaluation.drawn.is_empty()).then_some(evaluation.drawn);
        entry.causes.extend(evaluation.cause);
        entry.decision = Some(evaluation.decision);
        entry.decided_by = Some(DecidedBy::Policy);
        entry
    }

    /// The entry of an operation that the table decided as an earlier one.
    fn remembered(&self, origin: &Entry, id: &str) -> Entry {
        let mut entry = Entry { id: Uuid::now_v7(), input: None, ..origin.clone() };
        entry.resource.as_mut().unwrap().id = id.into();
        entry.decided_by = Some(DecidedBy::Supervisor);
        entry.detail = Some(json!({"evaluated_as": origin.id}));
        entry
    }

    fn record(&mut self, action: Action, id: &str) -> Entry {
        let entry = self.decided(action, id);
        self.append(&entry);
        entry
    }

    fn append(&self, entry: &Entry) {
        self.store.append(entry.clone()).unwrap();
    }

    fn replay(&self, other: Option<&str>) -> Report {
        self.store.flush().unwrap();
        let policy = other.map(|rules| written(self.folder.path(), "other.rego", rules));
        let options = Options {
            policy: policy.into_iter().collect(),
            bundles: vec![self.folder.path().join("bundles")],
            threads: 2,
            ..Options::default()
        };
        run(&mut Readers::open(self.folder.path()).unwrap(), &options, |_, _| ()).unwrap()
    }
}

fn written(folder: &Path, name: &str, rules: &str) -> PolicySource {
    let file = folder.join(name);
    std::fs::write(&file, format!("package authz\n{rules}\n")).unwrap();
    PolicySource::Path(file)
}

fn bundle(folder: &Path, rules: &str) -> Bundle {
    let generated = Generated {
        protected: vec!["/run/authz".into()],
        workspace: vec!["/home/dev".into()],
        ..Generated::default()
    };
    Bundle::load(&[written(folder, "p.rego", rules)], &generated).unwrap()
}

fn classes(report: &Report) -> Vec<(Class, u64)> {
    report.not_compared.iter().map(|(class, count)| (*class, count.operations)).collect()
}

#[test]
fn what_was_recorded_comes_out_again_and_equal_inputs_once() {
    let mut run = Run::new(RULES);
    for number in 0..1000 {
        let id = ["/prod/x", "/home/x", "/etc/passwd"][number % 3];
        let origin = run.record(Action::FileRead, id);
        if number < 3 {
            run.append(&run.remembered(&origin, id));
            let mut hits = Entry::new(Kind::Remembered);
            (hits.id, hits.count, hits.decision) = (origin.id, Some(50), origin.decision.clone());
            run.append(&hits);
        }
    }
    run.append(&Entry::new(Kind::SessionEnd));
    let report = run.replay(None);
    assert!(report.is_fine(), "{report:?}");
    assert_eq!((report.same.entries, report.same.operations), (1006, 1003 + 150));
    assert_eq!(report.entries(), 1006);
    assert!(report.evaluations <= 6, "{}", report.evaluations);
    assert_eq!(report.other, None);
}

#[test]
fn each_change_of_an_entry_is_found() {
    type Change = fn(&mut Entry);
    let changes: [(What, Change); 9] = [
        (What::Decision, |entry| entry.decision.as_mut().unwrap().effect = Effect::Allow),
        (What::Decision, |entry| entry.decision.as_mut().unwrap().rules[0].reason = "fine".into()),
        (What::Decision, |entry| entry.decision = None),
        (What::Output, |entry| entry.output_hash = Some("0".repeat(64))),
        (What::Output, |entry| entry.output_hash = None),
        (What::Input, |entry| entry.input.as_mut().unwrap()["resource"]["id"] = "/home/x".into()),
        (What::Input, |entry| entry.input_hash = None),
        (What::Operation, |entry| entry.resource.as_mut().unwrap().id = "/home/x".into()),
        (What::Operation, |entry| entry.action = Some(Action::FileRead.into())),
    ];
    for (number, (what, change)) in changes.into_iter().enumerate() {
        let mut run = Run::new(RULES);
        run.record(Action::FileWrite, "/prod/x");
        let mut entry = run.decided(Action::FileWrite, "/prod/x");
        change(&mut entry);
        run.append(&entry);
        run.record(Action::FileWrite, "/home/x");
        let report = run.replay(None);
        assert!(!report.is_fine());
        assert_eq!((report.same.entries, report.different.entries), (2, 1), "change {number}");
        assert_eq!(report.differences[0].what, what, "change {number}");
        assert_eq!(report.differences[0].entry.decision_id, entry.id);
        assert_eq!(report.differences[0].entry.seq, 1);
    }
}

#[test]
fn a_remembered_verdict_is_checked_for_its_own_resource() {
    let mut run = Run::new(RULES);
    let origin = run.record(Action::FileRead, "/home/x");
    run.append(&run.remembered(&origin, "/home/y"));
    run.append(&run.remembered(&origin, "/prod/y"));
    let mut lost = run.remembered(&origin, "/home/z");
    lost.detail = Some(json!({"evaluated_as": Uuid::from_u128(9)}));
    run.append(&lost);
    let report = run.replay(None);
    assert_eq!((report.same.entries, report.different.entries), (2, 1));
    assert_eq!(report.differences[0].entry.resource, "/prod/y");
    assert_eq!(classes(&report), [(Class::Origin, 1)]);
}

#[test]
fn another_policy_changes_exactly_what_it_decides_otherwise() {
    let mut run = Run::new(RULES);
    for number in 0..300 {
        run.record(Action::FileRead, &format!("/home/{}/{number}", ["a", "b", "c"][number % 3]));
    }
    let origin = run.record(Action::FileRead, "/home/b/x");
    run.append(&run.remembered(&origin, "/home/b/y"));
    run.record(Action::FileRead, "/prod/x");
    let rules = format!(r#"{RULES} deny contains {{"id": "no-b"}} if under(input.resource.id, "/home/b")"#);
    let report = run.replay(Some(&rules));
    assert!(report.is_fine());
    let other = report.other.unwrap();
    assert_eq!((other.unchanged.entries, other.undecided.entries), (201, 0));
    let [change] = &other.changes[..] else { panic!("{:?}", other.changes) };
    assert_eq!((change.before.effect, change.before.rules.join(" ").as_str()), (Effect::Allow, "rest"));
    assert_eq!((change.after.effect, change.after.rules.join(" ").as_str()), (Effect::Deny, "no-b"));
    assert_eq!(change.count.entries, 102);
    let examples: Vec<_> = change.examples.iter().map(|example| example.resource.as_str()).collect();
    assert_eq!(examples, ["/home/b/1", "/home/b/4", "/home/b/7"]);
    assert_eq!(run.replay(Some(RULES)).other.unwrap().changes, []);
    let reworded = RULES.replace("all else", "everything else");
    let other = run.replay(Some(&reworded)).other.unwrap();
    assert_eq!(other.changes[0].before, other.changes[0].after);
}

#[test]
fn the_other_policy_has_the_workspace_and_the_protected_folders_of_the_record() {
    let mut run = Run::new(RULES);
    run.record(Action::FileWrite, "/home/dev/x");
    run.record(Action::FileWrite, "/tmp/x");
    let rules = r#"allow contains {"id": "own"} if under(input.resource.id, data.authz.workspace)"#;
    let other = run.replay(Some(rules)).other.unwrap();
    let after: Vec<_> = other.changes.iter().map(|change| change.after.effect).collect();
    assert_eq!(after.len(), 2);
    assert!(after.contains(&Effect::Allow) && after.contains(&Effect::Deny), "{other:?}");
}

#[test]
fn what_a_policy_saw_of_time_and_chance_is_seen_again() {
    let rules = r#"
allow contains {"id": "odd", "reason": sprintf("at %d", [time.now_ns()])} if rand.intn("coin", 2) == 1
deny contains {"id": "even", "reason": sprintf("at %d", [time.now_ns()])} if rand.intn("coin", 2) == 0
"#;
    let mut run = Run::new(rules);
    for _ in 0..20 {
        run.record(Action::FileRead, "/x");
    }
    let mut without = run.decided(Action::FileRead, "/x");
    without.nd_builtin_cache = None;
    run.append(&without);
    let report = run.replay(None);
    assert_eq!((report.same.entries, classes(&report)), (20, vec![(Class::Chance, 1)]), "{report:?}");
    // To a policy that looks at the clock only now, it is the time of the record.
    let late = r#"allow contains {"id": "late"} if time.now_ns() > 1000000000000000000"#;
    let mut run = Run::new(RULES);
    run.record(Action::FileRead, "/x");
    let other = run.replay(Some(late)).other.unwrap();
    assert_eq!(other.changes[0].after.rules, ["late"]);
    let coin = r#"allow contains {"id": "coin"} if rand.intn("coin", 2) == 1"#;
    assert_eq!(run.replay(Some(coin)).other.unwrap().undecided.entries, 1);
}

#[test]
fn what_humans_limits_and_the_fail_direction_decided_is_counted_apart() {
    let mut run = Run::new(RULES);
    let question = run.record(Action::FileRead, "/ask/x");
    let mut answer = Entry { kind: Kind::Answer, output_hash: None, ..question.clone() };
    answer.decision.as_mut().unwrap().effect = Effect::Allow;
    answer.decided_by = Some(DecidedBy::Human);
    run.append(&answer);
    let mut approved = run.decided(Action::FileRead, "/ask/x");
    approved.decision.as_mut().unwrap().effect = Effect::Allow;
    approved.decided_by = Some(DecidedBy::Human);
    run.append(&approved);
    let refused = |entry: &mut Entry| {
        entry.decision = Some(Decision::deny("authz-failsafe", "max_uses 2 is used up"));
        entry.causes = vec!["max_uses 2 is used up".into()];
    };
    let mut limited = run.decided(Action::FileRead, "/few/x");
    refused(&mut limited);
    run.append(&limited);
    let mut failed = run.decided(Action::FileRead, "/home/x");
    refused(&mut failed);
    run.append(&failed);
    let mut undecided = failed.clone();
    (undecided.input, undecided.output_hash) = (None, None);
    undecided.decided_by = Some(DecidedBy::Failsafe);
    run.append(&undecided);
    let mut gap = Entry::new(Kind::Gap);
    gap.count = Some(7);
    run.append(&gap);
    let report = run.replay(None);
    assert!(report.is_fine(), "{report:?}");
    assert_eq!(report.same.entries, 1);
    let expected = [(Class::Human, 2), (Class::Limit, 1), (Class::Failsafe, 2), (Class::Gap, 7)];
    assert_eq!(classes(&report), expected);
}

#[test]
fn a_redacted_input_is_compared_unless_the_policy_reads_what_was_redacted() {
    let mut run = Run::new(RULES);
    run.record(Action::ProcessExec, "/bin/x");
    let report = run.replay(None);
    assert_eq!((report.same.entries, report.different.entries), (1, 0));
    let reads = r#"allow contains {"id": "argv"} if input.resource.properties.argv[1] == "--password""#;
    let report = run.replay(Some(reads));
    assert_eq!(classes(&report), [(Class::Redacted, 1)]);
    let mut run = Run::new(reads);
    run.record(Action::ProcessExec, "/bin/x");
    assert_eq!(classes(&run.replay(None)), [(Class::Redacted, 1)]);
}

#[test]
fn long_inputs_are_found_beside_the_ledger() {
    let mut run = Run::new(RULES);
    run.record(Action::ProcessExec, "/prod/program");
    assert_eq!(run.replay(None).same.entries, 1);
    let payload = run.folder.path().join("one/ledger/payload");
    let file = std::fs::read_dir(payload).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&file, "{}").unwrap();
    let report = run.replay(None);
    assert_eq!(classes(&report), [(Class::Input, 1)]);
    assert!(!report.is_fine() && report.missing.len() == 1);
}

#[test]
fn a_policy_that_is_missing_or_changed_is_no_success() {
    let mut run = Run::new(RULES);
    run.record(Action::FileRead, "/x");
    let path = run.folder.path().join(format!("bundles/{}.json", run.engine.digest()));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("/prod", "/prad")).unwrap();
    let report = run.replay(None);
    assert!(!report.is_fine());
    assert_eq!(classes(&report), [(Class::Policy, 1)]);
    assert!(report.missing[0].contains("changed"), "{:?}", report.missing);
    std::fs::remove_file(&path).unwrap();
    assert!(run.replay(None).missing[0].contains("not kept"));
}

#[test]
fn only_what_is_wanted_is_counted() {
    let mut run = Run::new(RULES);
    let first = run.record(Action::FileRead, "/x");
    let mut other = run.decided(Action::FileRead, "/x");
    other.session = Some(Uuid::from_u128(2));
    run.append(&other);
    // Remembered from what lies before.
    let mut late = run.remembered(&first, "/x");
    late.time = Time(first.time.0 + 1_000_000_000_000);
    run.append(&late);
    run.store.flush().unwrap();
    let counted = |options: Options| {
        let options = Options { bundles: vec![run.folder.path().join("bundles")], ..options };
        super::run(&mut Readers::open(run.folder.path()).unwrap(), &options, |_, _| ()).unwrap().same.entries
    };
    assert_eq!(counted(Options::default()), 3);
    assert_eq!(counted(Options { session: Some(Uuid::from_u128(2)), ..Options::default() }), 1);
    assert_eq!(counted(Options { since: Some(late.time), ..Options::default() }), 1);
}

#[test]
fn a_policy_sees_no_difference_between_an_input_and_what_it_looks_at() {
    let run = Run::new(RULES);
    let whole: Value =
        json!({"subject": {"id": "agent", "x": 1}, "resource": {"id": "/x", "type": "file"}, "context": 5});
    let kept = run.engine.reads().project(&whole);
    assert_eq!(kept, json!({"subject": {"id": "agent"}, "resource": {"id": "/x"}}));
}
