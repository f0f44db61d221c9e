use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::event::{Action, Mode};
use crate::ledger::entry::{DecidedBy, Entry, Kind};
use crate::ledger::{ResourceEntry, Store};
use crate::policy::{Bundle, Engine, Generated, kept};

const RULES: &str = r#"
deny contains {"id": "prod", "reason": "not there"} if { writes; under(input.resource.id, "/prod") }
escalate contains {"id": "ask", "reason": "a human decides"} if under(input.resource.id, "/ask")
allow contains {"id": "lib"} if { reads; under(input.resource.id, "/usr") }
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

    fn did(&mut self, action: Action, id: &str) {
        self.did_with(action, id, json!({}));
    }

    fn did_with(&mut self, action: Action, id: &str, properties: Value) {
        let input = json!({"subject": {"type": "agent", "id": "agent"}, "action": {"name": action},
            "resource": {"type": action.resource_type(), "id": id, "properties": properties},
            "context": {"layer": "seccomp", "mode": "observe"}});
        let evaluation = self.engine.decide_value(&input);
        let mut entry = Entry::new(Kind::Decision);
        entry.policy = Some(self.engine.digest().to_owned());
        entry.session = Some(Uuid::from_u128(1));
        entry.mode = Some(Mode::Observe);
        entry.action = Some(action.into());
        let kind = action.resource_type().into();
        entry.resource =
            Some(ResourceEntry { kind, id: id.into(), properties: Default::default(), raw: None });
        entry.subject = Some(json!({"comm": "tool\n", "pid": 1}));
        entry.input = Some(input);
        entry.decision = Some(evaluation.decision);
        entry.decided_by = Some(DecidedBy::Policy);
        self.store.append(entry).unwrap();
    }

    fn learn(&self, beyond: Beyond) -> Result<Learned, LearnError> {
        self.store.flush().unwrap();
        let bundles = vec![self.folder.path().join("bundles")];
        let options = Options { beyond, bundles, ..Options::default() };
        run(&mut Readers::open(self.folder.path()).unwrap(), &options, |_, _| ())
    }
}

fn bundle(folder: &Path, rules: &str) -> Bundle {
    let file = folder.join("p.rego");
    std::fs::write(&file, format!("package authz\n{rules}\n")).unwrap();
    Bundle::load(&[PolicySource::Path(file)], &Generated::default()).unwrap()
}

/// The lines of a policy that are no comments.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with('#')).map(|line| format!("{line}\n")).collect()
}

#[test]
fn what_nothing_allowed_is_proposed_and_nothing_else() {
    let mut run = Run::new(RULES);
    for file in ["a", "b", "c"] {
        run.did(Action::FileCreate, &format!("/srv/out/{file}"));
        run.did(Action::FileWrite, &format!("/srv/out/{file}"));
        run.did(Action::FileRead, &format!("/usr/lib/{file}"));
    }
    run.did(Action::FileRead, "/etc/hosts");
    run.did(Action::FileRead, "/etc/hosts");
    run.did(Action::ProcessExec, "/usr/bin/git");
    run.did_with(Action::ProcessExec, "/usr/lib/x/libc.so", json!({"role": "library"}));
    run.did_with(Action::NetConnect, "tcp://192.0.2.1:443", json!({"ip": "192.0.2.1", "port": 443}));
    let learned = run.learn(Beyond::Own).unwrap();
    assert_eq!((learned.operations, learned.covered, learned.allowed), (14, 3, 11), "{learned:?}");
    assert!(learned.denied.is_empty(), "{learned:?}");
    let text = code(&learned.policy);
    for line in [
        "package authz\n",
        "\t\"id\": \"learned-read-files\",\n",
        "\treads\n\tis(input.resource.id, {\n\t\t\"/etc/hosts\",\n\t})\n",
        "\twrites\n\tunder(input.resource.id, {\n\t\t\"/srv/out\",\n\t})\n",
        "\texecutes\n\tis(input.resource.id, {\n\t\t\"/usr/bin/git\",\n\t})\n",
        "\texecutes\n\tis(input.resource.id, {\n\t\t\"/usr/lib/x/libc.so\",\n\t})\n",
        "\tconnects\n\tis(input.resource.id, {\n\t\t\"tcp://192.0.2.1:443\",\n\t})\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains("/usr/lib/a"), "{text}");
    let evidence =
        "\t\t# 6 times (3 file.create, 3 file.write) on 3 resources, by tool\\n, e.g. /srv/out/a; 20";
    assert!(learned.policy.contains(evidence), "{}", learned.policy);
    assert!(learned.policy.contains("\t\t# 2 times, by tool\\n; 20"), "{}", learned.policy);
    assert_eq!(learned.policy, run.learn(Beyond::Own).unwrap().policy, "the same each time");
}

#[test]
fn what_a_rule_forbids_is_named_and_not_proposed() {
    let mut run = Run::new(RULES);
    run.did(Action::FileWrite, "/prod/x");
    run.did(Action::FileRead, "/ask/x");
    let learned = run.learn(Beyond::Own).unwrap();
    assert_eq!((learned.rules, learned.allowed), (0, 0));
    let by: Vec<_> = learned.denied.iter().map(|denied| (denied.rules.clone(), denied.operations)).collect();
    assert_eq!(by, [(vec!["ask".to_owned()], 1), (vec!["prod".to_owned()], 1)]);
    assert!(learned.policy.contains("# Nothing is proposed.\n"), "{}", learned.policy);
    assert!(learned.policy.contains("# prod denies (not there)\n#     once"), "{}", learned.policy);
    assert!(learned.policy.contains("# ask asks a human (a human decides)\n"), "{}", learned.policy);
}

#[test]
fn what_is_delicate_stands_behind_a_comment() {
    let mut run = Run::new(RULES);
    run.did(Action::SystemSocket, "netlink:9");
    run.did(Action::ProcessSignal, "42");
    run.did(Action::FileRead, "/home/dev/.ssh/id");
    run.did(Action::FileRead, "foreign:/x");
    let learned = run.learn(Beyond::Own).unwrap();
    assert_eq!((learned.rules, learned.allowed, learned.denied.len()), (0, 0, 4), "{learned:?}");
    assert_eq!(code(&learned.policy).trim(), "package authz");
    for line in
        ["coding-agent-secret: Agents do not", "# \t\t\"/home/dev/.ssh/id\",\n", "# \t\t\"netlink:9\",\n"]
    {
        assert!(learned.policy.contains(line), "{line}: {}", learned.policy);
    }
    // Whoever takes the comments away has rules that load and hold.
    let mut rules = String::new();
    for line in learned.policy.lines().skip_while(|line| !line.contains("Not proposed")) {
        let line = line.strip_prefix("# ").unwrap_or_default();
        let said = line.ends_with(':') || line.starts_with("Not proposed");
        rules += &if said { "\n".to_owned() } else { format!("{line}\n") };
    }
    let mut engine = Engine::load(&bundle(run.folder.path(), &rules)).unwrap();
    let input = json!({"action": {"name": "system.socket"}, "resource": {"id": "netlink:9"}});
    assert_eq!(engine.decide_value(&input).decision.effect, crate::policy::Effect::Allow, "{rules}");
}

#[test]
fn beyond_nothing_it_stands_alone() {
    let mut run = Run::new(RULES);
    run.did(Action::FileRead, "/usr/share/x");
    run.did(Action::FileWrite, "/prod/x");
    let learned = run.learn(Beyond::Nothing).unwrap();
    assert_eq!((learned.covered, learned.allowed), (0, 2), "{learned:?}");
    let mut engine =
        Engine::load(&bundle(run.folder.path(), &learned.policy.replace("package authz", ""))).unwrap();
    let mut effect = |id: &str| {
        let input = json!({"action": {"name": "file.read"}, "resource": {"id": id}});
        engine.decide_value(&input).decision.effect
    };
    assert_eq!(effect("/usr/share/x"), crate::policy::Effect::Allow);
    assert_eq!(effect("/usr/share/y"), crate::policy::Effect::Deny);
}

#[test]
fn beyond_a_preset_what_it_covers_is_left_out() {
    let mut run = Run::new(RULES);
    run.did(Action::FileRead, "/opt/x");
    run.did(Action::FileWrite, "/opt/x");
    let preset = Beyond::Named(vec![PolicySource::Preset("coding-agent".into())]);
    let learned = run.learn(preset).unwrap();
    assert_eq!((learned.covered, learned.allowed, learned.rules), (1, 1, 1), "{learned:?}");
    assert!(
        learned.policy.contains("authz exec --policy preset:coding-agent --policy THIS_FILE"),
        "{}",
        learned.policy
    );
}

#[test]
fn hosts_are_named_where_their_names_are_known() {
    let mut run = Run::new(RULES);
    let properties = json!({"ip": "192.0.2.1", "port": 443, "names": ["code.example"]});
    run.did_with(Action::NetConnect, "tcp://192.0.2.1:443", properties);
    let learned = run.learn(Beyond::Own).unwrap();
    assert_eq!((learned.allowed, learned.rules), (1, 1), "{learned:?}");
    let text = code(&learned.policy);
    assert!(text.contains("\tport_is(443)\n\tsome host in input.resource.properties.names\n\thost in {\n\t\t\"code.example\",\n\t}\n"), "{text}");
}

#[test]
fn names_that_act_cannot_leave_their_line() {
    let mut run = Run::new(RULES);
    for id in ["/x/a\n}\nallow contains {\"id\": \"all\"} if true #", "/x/\u{202e}\"\\", "/x/{a,b}*"] {
        run.did(Action::FileWrite, id);
    }
    run.did(Action::FileWrite, "/y/\u{e0041}\n");
    run.did(Action::FileWrite, &format!("/z/{}", "\u{e4}/".repeat(1000)));
    let learned = run.learn(Beyond::Own).unwrap();
    assert_eq!((learned.allowed, learned.denied.len()), (4, 1), "{}", learned.policy);
    assert!(learned.denied[0].why.contains("too long"), "{:?}", learned.denied);
    let acts = |c: char| c != '\n' && c != '\t' && c.is_control() || matches!(c, '\u{202e}' | '\u{e0041}');
    assert!(!learned.policy.contains(acts), "{}", learned.policy);
    let begun = code(&learned.policy).lines().filter(|line| line.starts_with("allow contains")).count();
    assert_eq!(begun, learned.rules, "{}", learned.policy);
}

#[test]
fn nothing_on_record_and_policies_that_are_gone_are_errors() {
    let mut run = Run::new(RULES);
    assert!(matches!(run.learn(Beyond::Own), Err(LearnError::Nothing(_))));
    run.did(Action::FileRead, "/x");
    std::fs::remove_dir_all(run.folder.path().join("bundles")).unwrap();
    assert!(matches!(run.learn(Beyond::Own), Err(LearnError::Unkept(_))));
    assert_eq!(run.learn(Beyond::Nothing).unwrap().allowed, 1);
}
