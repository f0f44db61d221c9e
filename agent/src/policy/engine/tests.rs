use super::*;
use crate::policy::bundle::{Generated, PolicySource, sha256};
use crate::policy::decision::Effect;
use proptest::prelude::*;
use serde_json::json;

const GENERATED: fn() -> Generated = || Generated {
    protected: vec!["/run/authz".into()],
    workspace: vec!["/work".into()],
    ..Generated::default()
};

fn preset(name: &str) -> Engine {
    Engine::load(&Bundle::load(&[PolicySource::Preset(name.into())], &GENERATED()).unwrap()).unwrap()
}

fn policy(rules: &str) -> Engine {
    let mut bundle = Bundle::load(&[], &GENERATED()).unwrap();
    bundle.policies.push(PolicyFile {
        path: "policy/p.rego".into(),
        origin: "p.rego".into(),
        text: format!("package authz\n{rules}\n"),
        library: false,
    });
    Engine::load(&bundle).unwrap()
}

fn with_default(rules: &str, default: Value) -> Engine {
    let mut bundle = Bundle::load(&[], &GENERATED()).unwrap();
    bundle.data.insert("authz".into(), json!({"default": default}));
    bundle.policies.push(PolicyFile {
        path: "policy/p.rego".into(),
        origin: "p.rego".into(),
        text: format!("package authz\n{rules}\n"),
        library: false,
    });
    Engine::load(&bundle).unwrap()
}

fn input(action: &str, id: &str) -> Value {
    json!({"action": {"name": action}, "resource": {"id": id}})
}

fn effect(engine: &mut Engine, action: &str, id: &str) -> Effect {
    let evaluation = engine.decide_value(&input(action, id));
    assert_eq!(evaluation.cause, None);
    evaluation.decision.effect
}

#[test]
fn presets_decide_and_name_the_rule() {
    let evaluation = preset("prod-readonly").decide_value(&input("file.write", "/prod/x"));
    assert_eq!(evaluation.cause, None);
    assert_eq!(evaluation.decision.effect, Effect::Deny);
    assert_eq!(evaluation.decision.rules[0].id, "prod-readonly");
    assert_eq!(effect(&mut preset("coding-agent"), "file.write", "/work/x"), Effect::Allow);
}

#[test]
fn nothing_matched_is_the_default_but_not_for_what_undoes_enforcement() {
    for (default, expected) in [
        (json!("allow"), Effect::Allow),
        (json!("escalate"), Effect::Escalate),
        (json!("deny"), Effect::Deny),
    ] {
        let mut engine = with_default("", default);
        assert_eq!(effect(&mut engine, "file.read", "/x"), expected);
        for (action, name) in crate::event::ACTIONS {
            if name.starts_with("system.") || *name == "process.ptrace" {
                assert_eq!(effect(&mut engine, action.as_str(), "x"), Effect::Deny, "{name}");
            }
        }
    }
    assert_eq!(effect(&mut policy(""), "file.read", "/x"), Effect::Deny);
    let mut engine = policy("allow contains {\"id\": \"x\"} if input.action.name == \"system.mount\"");
    assert_eq!(effect(&mut engine, "system.mount", "/mnt"), Effect::Allow);
}

#[test]
fn no_policy_gives_authz_itself_away() {
    let mut engine = policy("allow contains {\"id\": \"all\"} if true");
    for (action, id) in [
        ("file.write", "/run/authz/socket"),
        ("file.delete", "/run/authz"),
        ("file.rename", "/run"),
        ("file.setattr", "foreign:/run/authz/x"),
        ("net.connect", "unix:/run/authz/socket"),
        ("net.bind", "unix:/run/authz/socket"),
    ] {
        let decision = engine.decide_value(&input(action, id)).decision;
        assert_eq!(decision.effect, Effect::Deny, "{action} {id}");
        assert_eq!(decision.rules[0].id, "authz-protected", "{action} {id}");
    }
    for (action, id) in
        [("file.read", "/run/authz/x"), ("file.write", "/run/authz2"), ("net.connect", "unix:@/run/authz/x")]
    {
        assert_eq!(effect(&mut engine, action, id), Effect::Allow, "{action} {id}");
    }
}

#[test]
fn rules_reasons_constraints_and_rewrites_arrive() {
    let mut engine = policy(
        r#"
        allow contains {"id": "b", "constraints": {"ttl": "1h"}} if reads
        allow contains {"id": "a", "reason": "r", "advice": "v", "constraints": {"ttl": "1m", "max_uses": 2}} if reads
        compute contains {"id": "c", "rewrite": {"path": "/staging/x"}} if writes
        compute contains {"id": "d", "rewrite": {"path": input.resource.id}} if {
            writes
            under(input.resource.id, "/two")
        }
        "#,
    );
    let decision = engine.decide_value(&input("file.read", "/x")).decision;
    assert_eq!(
        serde_json::to_value(&decision).unwrap(),
        json!({
            "effect": "allow",
            "rules": [{"id": "a", "reason": "r", "advice": "v"}, {"id": "b", "reason": "", "advice": ""}],
            "constraints": {"max_uses": 2, "ttl": ["1h", "1m"]},
            "rewrite": null
        })
    );
    assert_eq!(decision.limits().unwrap().ttl, Some(Duration::from_secs(60)));
    let decision = engine.decide_value(&input("file.write", "/x")).decision;
    assert_eq!((decision.effect, decision.rewrite), (Effect::Compute, Some(json!({"path": "/staging/x"}))));
    let decision = engine.decide_value(&input("file.write", "/two/x")).decision;
    assert_eq!(decision.effect, Effect::Deny, "two rewrites leave open which holds");
    assert!(decision.rules.iter().any(|rule| rule.id == "compute-conflict"));
}

#[test]
fn what_a_policy_prints_is_not_kept() {
    let mut engine = policy("allow contains {\"id\": \"x\"} if { print(input.resource.id); reads }");
    assert_eq!(engine.decide_value(&input("file.read", "/x")).decision.effect, Effect::Allow);
    assert!(engine.engine.take_prints().unwrap().is_empty());
    for shorter in engine.shortcuts.values_mut().flatten() {
        assert!(shorter.take_prints().unwrap().is_empty());
    }
}

#[test]
fn what_the_policy_cannot_decide_is_a_deny_with_its_cause() {
    for (rules, action, cause) in [
        ("allow contains {\"id\": \"x\"} if to_number(input.resource.id) > 1", "file.read", "p.rego:2:"),
        (
            "v := 1 if reads\nv := 2 if reads\nallow contains {\"id\": \"x\"} if v == 1",
            "file.read",
            "p.rego:",
        ),
        (
            "allow contains {\"id\": \"x\"} if { some i in numbers.range(1, 100000); some j in numbers.range(1, 1000); i * j == -1 }",
            "file.read",
            "the policy takes too long",
        ),
        (
            "allow contains {\"id\": {\"not\": \"text\"}} if reads",
            "file.read",
            "data.authz.decision is malformed",
        ),
    ] {
        let start = Instant::now();
        let evaluation = policy(rules).decide_value(&input(action, "/x"));
        assert_eq!(evaluation.decision.effect, Effect::Deny, "{rules}");
        assert_eq!(evaluation.decision.rules[0].id, "policy-error");
        let found = evaluation.cause.unwrap();
        assert!(found.contains(cause), "{rules}\n{found}");
        assert!(!found.contains('\n'));
        assert!(start.elapsed() < Duration::from_secs(5));
    }
    let evaluation = with_default("", json!("alow")).decide_value(&input("file.read", "/x"));
    assert!(evaluation.cause.unwrap().contains("unknown variant `alow`"));
    assert_eq!(evaluation.decision.effect, Effect::Deny);
    // After a time-out the engine goes on.
    let mut engine = policy(
        "allow contains {\"id\": \"x\"} if { some i in numbers.range(1, input.subject.properties.n); i == -1 }",
    );
    let mut long = input("file.read", "/x");
    long["subject"] = json!({"properties": {"n": 10_000_000}});
    assert!(engine.decide_value(&long).cause.is_some());
    assert_eq!(effect(&mut engine, "file.read", "/x"), Effect::Deny);
}

#[test]
fn hashes_are_of_canonical_json() {
    let mut engine = preset("observe-all");
    let a = engine.decide_value(&serde_json::from_str(r#"{"a":1,"b":{"c":1.0}}"#).unwrap());
    let b = engine.decide_value(&serde_json::from_str(r#"{"b":{"c":1},"a":1}"#).unwrap());
    assert_eq!(a.input_hash, b.input_hash);
    assert_eq!(a.input_hash, sha256(br#"{"a":1,"b":{"c":1}}"#));
    assert_eq!(a.output_hash, b.output_hash);
    let text = r#"{"constraints":{},"effect":"allow","rewrite":null,"rules":[{"advice":"","id":"observe-all","reason":"Everything is allowed and recorded."}]}"#;
    assert_eq!(a.output_hash, sha256(text.as_bytes()));
}

#[test]
fn an_integer_that_canonical_json_cannot_carry_is_refused() {
    let mut engine = preset("observe-all");
    for (number, exact) in [
        (json!(9_007_199_254_740_992_i64), true),
        (json!(9_007_199_254_740_993_i64), false),
        (json!(-9_007_199_254_740_993_i64), false),
        (json!(u64::MAX), false),
    ] {
        let evaluation = engine.decide_value(&json!({"resource": {"properties": {"size": number}}}));
        assert_eq!(evaluation.cause.is_none(), exact, "{number}");
        if let Some(cause) = evaluation.cause {
            assert!(cause.contains("resource.properties.size"), "{cause}");
            assert_eq!(evaluation.decision.effect, Effect::Deny);
            assert!(evaluation.input_hash.starts_with("raw:"));
        }
    }
}

#[test]
fn time_is_noticed_only_where_it_is_read() {
    let mut engine = policy("allow contains {\"id\": \"x\"} if { reads; time.now_ns() > 0 }");
    assert!(!engine.decide_value(&input("file.read", "/x")).drawn.is_empty());
    assert!(engine.decide_value(&input("file.write", "/x")).drawn.is_empty());
}

#[test]
fn a_clone_decides_the_same_on_another_thread() {
    let mut engine = preset("prod-readonly");
    let mut clone = engine.clone();
    let there =
        std::thread::spawn(move || clone.decide_value(&input("file.write", "/prod/x"))).join().unwrap();
    let here = engine.decide_value(&input("file.write", "/prod/x"));
    assert_eq!((there.output_hash, there.input_hash), (here.output_hash, here.input_hash));
}

/// under() straight from its definition.
fn under(path: &str, directory: &str) -> bool {
    let bare = directory.strip_suffix('/').unwrap_or(directory);
    !path.is_empty() && !directory.is_empty() && (path == bare || path.starts_with(&format!("{bare}/")))
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        prop::sample::select(vec!["file.write", "file.rename", "net.connect", "unix:/run/authz", "/prod/x"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        let key = prop_oneof![
            prop::sample::select(vec![
                "action",
                "name",
                "resource",
                "id",
                "properties",
                "ip",
                "port",
                "subject"
            ])
            .prop_map(str::to_owned),
            ".{0,6}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_input_is_decided(value in json_value(), which in 0..3_usize) {
        thread_local! {
            static ENGINES: std::cell::RefCell<Vec<Engine>> = std::cell::RefCell::new(
                ["coding-agent", "prod-readonly", "observe-all"].map(preset).to_vec());
        }
        let evaluation = ENGINES.with_borrow_mut(|engines| engines[which].decide_value(&value));
        prop_assert!(!evaluation.decision.rules.is_empty());
        prop_assert!(evaluation.cause.is_none() || evaluation.decision.effect == Effect::Deny);
    }

    #[test]
    fn the_strictest_effect_wins(effects in prop::collection::btree_set(0..4_usize, 0..4)) {
        thread_local! {
            static ENGINE: std::cell::RefCell<Engine> = std::cell::RefCell::new(policy(r#"
                deny contains {"id": "deny"} if "deny" in input.subject.properties.effects
                escalate contains {"id": "escalate"} if "escalate" in input.subject.properties.effects
                compute contains {"id": "compute", "rewrite": {}} if "compute" in input.subject.properties.effects
                allow contains {"id": "allow"} if "allow" in input.subject.properties.effects
            "#));
        }
        let effects: Vec<Effect> = effects.into_iter().map(|index| Effect::ALL[index]).collect();
        let mut value = input("file.read", "/x");
        value["subject"] = json!({"properties": {"effects": effects}});
        let decision = ENGINE.with_borrow_mut(|engine| engine.decide_value(&value)).decision;
        let expected = effects.iter().max().copied();
        prop_assert_eq!(decision.effect, expected.unwrap_or(Effect::Deny));
        let rule = decision.rules.iter().map(|rule| rule.id.as_str()).collect::<Vec<_>>();
        prop_assert_eq!(rule, [expected.map_or("default", Effect::as_str)]);
    }

    #[test]
    fn under_is_its_definition(
        path in "(/[ab]{0,2}){0,4}/?",
        directories in prop::collection::vec("(/[ab]{1,2}){0,3}/?", 1..24),
    ) {
        thread_local! {
            static ENGINE: std::cell::RefCell<Engine> = std::cell::RefCell::new(policy(r#"
                escalate contains {"id": "one"} if under(input.resource.id, input.subject.properties.list[0])
                escalate contains {"id": "list"} if under(input.resource.id, input.subject.properties.list)
                escalate contains {"id": "set"} if {
                    under(input.resource.id, {directory | some directory in input.subject.properties.list})
                }
                escalate contains {"id": "always"} if true
            "#));
        }
        let mut value = input("file.read", &path);
        value["subject"] = json!({"properties": {"list": directories}});
        let evaluation = ENGINE.with_borrow_mut(|engine| engine.decide_value(&value));
        prop_assert_eq!(evaluation.cause, None);
        let found: Vec<_> = evaluation.decision.rules.iter().map(|rule| rule.id.as_str()).collect();
        let any = directories.iter().any(|directory| under(&path, directory));
        let mut expected = vec!["always"];
        if any { expected.push("list"); }
        if under(&path, &directories[0]) { expected.push("one"); }
        if any { expected.push("set"); }
        prop_assert_eq!(found, expected, "{} {:?}", path, directories);
    }
}
