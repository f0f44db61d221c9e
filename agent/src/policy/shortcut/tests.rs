use proptest::prelude::*;
use serde_json::{Value, json};

use crate::event::{ACTIONS, Action};
use crate::policy::bundle::{Bundle, Generated, PolicyFile, PolicySource};
use crate::policy::{Engine, Evaluation};

fn load(preset: Option<&str>, rules: &str) -> Engine {
    let generated = Generated {
        protected: vec!["/run/authz".into()],
        workspace: vec!["/work".into()],
        ..Generated::default()
    };
    let sources: Vec<PolicySource> =
        preset.map(|name| PolicySource::Preset(name.into())).into_iter().collect();
    let mut bundle = Bundle::load(&sources, &generated).unwrap();
    bundle.policies.push(PolicyFile {
        path: "policy/p.rego".into(),
        origin: "p.rego".into(),
        text: format!("package authz\n{rules}\n"),
        library: false,
    });
    Engine::load(&bundle).unwrap()
}

/// The same evaluation by the shorter policy and by the whole one, but for how long it took.
fn both_ways(engine: &mut Engine, input: &Value) -> Evaluation {
    let mut whole = engine.clone().without_shortcuts();
    let one = engine.decide_value(input);
    let other = whole.decide_again(input, &one.drawn).unwrap();
    assert_eq!(Evaluation { cost: one.cost, ..other }, one, "{input}");
    one
}

#[test]
fn each_preset_has_a_shorter_policy_for_each_action() {
    for preset in ["coding-agent", "prod-readonly", "observe-all"] {
        let mut engine = load(Some(preset), "");
        for (action, name) in ACTIONS {
            assert!(engine.has_shortcut(*action), "{preset} {name}");
            for id in
                ["/work/x", "/run/authz/key", "/home/x/.ssh/id", "/usr/bin/sudo", "anon:memfd:x", "netlink:0"]
            {
                both_ways(&mut engine, &json!({"action": {"name": name}, "resource": {"id": id}}));
            }
            for (id, ip, port) in [("tcp://169.254.1.1:80", "169.254.1.1", 80), ("udp://[::1]:53", "::1", 53)]
            {
                let resource = json!({"id": id, "properties": {"ip": ip, "port": port}});
                both_ways(&mut engine, &json!({"action": {"name": name}, "resource": resource}));
            }
        }
    }
}

#[test]
fn rules_of_every_form_come_out_the_same() {
    for (rules, shorter) in [
        ("allow contains {\"id\": \"a\"} if reads", true),
        ("allow contains {\"id\": \"a\"} if { reads; not writes; input.action.name == \"file.read\" }", true),
        (
            "allow contains {\"id\": \"a\"} if { writes; secret }\nsecret if glob(input.resource.id, \"/s/**\")",
            true,
        ),
        ("allow contains {\"id\": \"a\"} if not old\nold if { writes; is(input.resource.id, \"/x\") }", true),
        ("allow contains \"plain\" if reads\nallow contains 7 if executes", true),
        (
            "allow contains {\"id\": \"a\", \"constraints\": {\"ttl\": \"1h\", \"rate\": \"1/s\"}} if reads\n\
          allow contains {\"id\": \"b\", \"constraints\": {\"ttl\": \"2h\"}} if reads",
            true,
        ),
        ("allow contains {\"id\": \"a\", \"constraints\": 7} if reads", true),
        ("allow contains {\"id\": 7} if reads", true),
        ("compute contains {\"id\": \"a\", \"rewrite\": {\"path\": \"/y\"}} if reads", true),
        ("default v := 1\nv := 2 if reads\nallow contains {\"id\": \"a\"} if v == 2", true),
        ("allow contains {\"id\": \"a\"} if time.now_ns() > 0", true),
        ("allow contains {\"id\": \"a\"} if { reads; to_number(input.resource.id) > 1 }", true),
        ("allow contains {\"id\": \"a\"} if { writes; to_number(input.resource.id) > 1 }", true),
        ("allow contains {\"id\": \"a\"} if reads with input.action.name as \"file.read\"", false),
        ("v := 1 if reads\nelse := 2 if writes\nallow contains {\"id\": \"a\"} if v == 1", true),
        ("v := under(input.resource.id, \"/s\")\nallow contains {\"id\": \"a\"} if v == false", true),
        ("allow contains {\"id\": \"a\"} if not is(input.resource.id, \"/x\")", true),
        ("allow contains {\"id\": \"a\"} if data.authz.under(input.resource.id, \"/s\")", true),
        ("allow contains {\"id\": \"a\"} if glob(input.resource.id, 7)", true),
        ("allow contains {\"id\": \"a\"} if named(input.resource.properties.none, [\"x\"])", true),
        (
            "yes(path, names) := true\n\
             allow contains {\"id\": \"a\"} if named(input.resource.id, []) with named as yes",
            false,
        ),
        (
            "s contains 1 if executes\nescalate contains {\"id\": \"e\"} if count(s) > 0\n\
             allow contains {\"id\": \"a\"} if { s := [1]; count(s) > 0 }",
            true,
        ),
        ("escalate contains {\"id\": \"e\"} if { false; reads }\nallow contains {\"id\": \"a\"}", true),
        (
            "v := 1 if writes\nelse := 2 if executes\nelse := 3 if count(none) > 0\nelse := 4 if reads\nelse := 5\n\
             none contains 1 if executes\nallow contains {\"id\": \"a\"} if v == 4\nescalate contains {\"id\": \"e\"} if v == 5",
            true,
        ),
        (
            "v := 1 if count(some_) > 0\nelse := 2\nsome_ contains 1 if reads\nsome_ contains 1 if writes\n\
             allow contains {\"id\": \"a\"} if v == 1",
            true,
        ),
        ("m[k] := 1 if { reads; some k in [\"a\"] }\nallow contains {\"id\": \"a\"} if m.a", true),
    ] {
        let mut engine = load(None, rules);
        assert_eq!(engine.has_shortcut(Action::FileRead), shorter, "{rules}");
        for action in ["file.read", "file.write", "process.exec", "net.connect", "other.thing"] {
            for id in ["/x", "/s/x", "1"] {
                both_ways(&mut engine, &json!({"action": {"name": action}, "resource": {"id": id}}));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_member_is_put_together_as_the_combiner_does(
        ids in prop::collection::vec(prop_oneof![Just(json!("a")), Just(json!("b")), Just(json!(7)), Just(json!(null))], 1..4),
        constraints in prop::collection::vec(prop_oneof![
            Just(json!({})), Just(json!({"ttl": "1h"})), Just(json!({"ttl": "2h", "max_uses": 3})), Just(json!("x")),
        ], 4),
    ) {
        thread_local! {
            static ENGINE: std::cell::RefCell<Engine> = std::cell::RefCell::new(load(
                None, "allow contains member if some member in input.subject.properties.members"));
        }
        let members: Vec<Value> = ids.iter().zip(&constraints)
            .map(|(id, constraints)| json!({"id": id, "constraints": constraints})).chain([json!("text")]).collect();
        let subject = json!({"properties": {"members": members}});
        let input = json!({"action": {"name": "file.read"}, "resource": {"id": "/x"}, "subject": subject});
        ENGINE.with_borrow_mut(|engine| both_ways(engine, &input));
    }
}
