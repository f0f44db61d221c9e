//! The combiner, the library and the presets mean the same in an independent implementation of Rego.

use std::path::Path;
use std::process::Command;

use authz::event::{ACTIONS, Action};
use authz::policy::input::address_properties;
use authz::policy::{Bundle, Engine, Generated, PolicySource};
use serde_json::{Value, json};

/// Cases for each policy.
const CASES: usize = 120;

/// A small generator with a fixed start, so that a failure comes again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.roll(from.len())]
    }
}

const PATHS: &[&str] = &[
    "/",
    "/prod",
    "/prod/",
    "/prod/x",
    "/production/x",
    "/srv/prod/x",
    "/srv",
    "/work",
    "/work/a/b",
    "/work2",
    "/tmp/x",
    "/dev/null",
    "/dev/pts/1",
    "/home/dev/.ssh/id",
    "/home/dev/.aws",
    "/etc/shadow",
    "/etc/ssh/a_key",
    "/proc/1/environ",
    "/proc/1/task/2/mem",
    "/usr/bin/git",
    "/usr/bin/sudo",
    "/run/authz",
    "/run/authz/s",
    "/run",
    "anon:pipe",
    "anon:memfd:x",
    "foreign:/prod/x",
    "foreign:/home/dev/.ssh/id",
    "unknown:x",
    "",
];

const ADDRESSES: &[&str] = &[
    "tcp://192.0.2.7:443",
    "tcp://192.0.2.7:25",
    "tcp://127.0.0.1:5432",
    "tcp://[::1]:8080",
    "udp://[::1]:53",
    "tcp://169.254.169.254:80",
    "tcp://[fe80::1]:443",
    "tcp://[fd00:ec2::254]:80",
    "udp://9.9.9.9:53",
    "tcp://0.0.0.0:80",
    "tcp://0.0.0.0:0",
    "unix:/run/docker.sock",
    "unix:/run/dbus/system_bus_socket",
    "unix:/run/user/1000/bus",
    "unix:/run/systemd/private",
    "unix:/run/systemd/journal/socket",
    "unix:anon",
    "unix:@/tmp/.X11-unix/X0",
    "unix:@x",
    "unix:/tmp/s",
    "unix:/run/authz/socket",
];

const SYSTEM: &[&str] = &["netlink:0", "netlink:9", "family:40", "mount", ""];

fn input(dice: &mut Dice) -> Value {
    let (action, name) = ACTIONS[dice.roll(ACTIONS.len())];
    let id = match action {
        Action::NetConnect | Action::NetBind => dice.pick(ADDRESSES),
        action if action.resource_type() == "system" => dice.pick(SYSTEM),
        _ => dice.pick(PATHS),
    };
    json!({
        "subject": {"type": "agent", "id": "claude", "properties": {}},
        "action": {"name": name, "properties": {}},
        "resource": {"type": action.resource_type(), "id": id, "properties": address_properties(id)},
        "context": {"layer": "kernel", "mode": "enforce"}
    })
}

/// Every predicate by itself, on arguments that the case brings.
const PREDICATES: &str = r#"package authz

arguments := input.subject.properties

as_set(list) := {member | some member in list}

escalate contains {"id": "under"} if under(input.resource.id, arguments.directories[0])
escalate contains {"id": "under-array"} if under(input.resource.id, arguments.directories)
escalate contains {"id": "under-set"} if under(input.resource.id, as_set(arguments.directories))
escalate contains {"id": "is"} if is(input.resource.id, arguments.paths[0])
escalate contains {"id": "is-array"} if is(input.resource.id, arguments.paths)
escalate contains {"id": "glob"} if glob(input.resource.id, arguments.globs[0])
escalate contains {"id": "glob-array"} if glob(input.resource.id, arguments.globs)
escalate contains {"id": "cidr"} if in_cidr(input.resource.properties.ip, arguments.blocks[0])
escalate contains {"id": "cidr-set"} if in_cidr(input.resource.properties.ip, as_set(arguments.blocks))
escalate contains {"id": "port"} if port_is(443)
escalate contains {"id": "ports"} if port_is({53, 80})
escalate contains {"id": "reads"} if reads
escalate contains {"id": "writes"} if writes
escalate contains {"id": "executes"} if executes
escalate contains {"id": "connects"} if connects
"#;

/// Every way the combiner can go.
const COMBINER: &str = r#"package authz

effects := input.subject.properties.effects

deny contains {"id": "d", "reason": "r"} if "deny" in effects
deny contains "text" if "text" in effects
escalate contains {"id": "e", "constraints": {"ttl": "1h"}} if "escalate" in effects
compute contains {"id": "c", "rewrite": {"path": "/x"}} if "compute" in effects
compute contains {"id": "c2", "rewrite": {"path": "/y"}} if "conflict" in effects
allow contains {"id": "a", "constraints": {"ttl": "1h", "max_uses": 3}} if "allow" in effects
allow contains {"id": "b", "advice": "v", "constraints": {"ttl": "5m", "max_uses": 3}} if "also" in effects
"#;

fn arguments(dice: &mut Dice) -> Value {
    const EFFECTS: &[&str] = &["deny", "text", "escalate", "compute", "conflict", "allow", "also"];
    const GLOBS: &[&str] =
        &["/prod/*", "/prod/**", "/*/x", "/**/x", "/prod?", "/work/*/b", "**", "*", "/home/*/.ssh/**"];
    const BLOCKS: &[&str] = &["127.0.0.0/8", "::1/128", "0.0.0.0/0", "fe80::/10", "192.0.2.0/29", "::/0"];
    const DIRECTORIES: &[&str] =
        &["/", "/prod", "/prod/", "/work", "/srv", "/run/authz", "/home/dev", "anon:pipe", ""];
    let mut some = |from: &[&str], least: usize, most: usize| {
        let count = least + dice.roll(most - least + 1);
        (0..count).map(|_| dice.pick(from).to_owned()).collect::<Vec<_>>()
    };
    json!({
        "directories": some(DIRECTORIES, 1, 20), "paths": some(PATHS, 1, 3), "globs": some(GLOBS, 1, 3),
        "blocks": some(BLOCKS, 1, 3), "effects": some(EFFECTS, 0, 3)
    })
}

fn table(name: &str, sources: &[PolicySource], dice: &mut Dice) -> Value {
    let generated = Generated {
        protected: vec!["/run/authz".into()],
        workspace: vec!["/work".into()],
        ..Generated::default()
    };
    let bundle = Bundle::load(sources, &generated).expect("the policy loads");
    let mut engine = Engine::load(&bundle).expect("the policy is sound");
    let cases: Vec<_> = (0..CASES)
        .map(|_| {
            let mut input = input(dice);
            if name.starts_with("own") {
                input["subject"]["properties"] = arguments(dice);
            }
            let evaluation = engine.decide_value(&input);
            assert_eq!(evaluation.cause, None, "{name} {input}");
            json!({"input": input, "decision": evaluation.decision})
        })
        .collect();
    json!({"name": name, "files": bundle.files(), "cases": cases})
}

#[test]
fn an_independent_rego_decides_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        PolicySource::Path(path)
    };
    let mut dice = Dice(7);
    let mut policies: Vec<_> = ["coding-agent", "prod-readonly", "observe-all"]
        .map(|name| table(name, &[PolicySource::Preset(name.into())], &mut dice))
        .to_vec();
    policies.push(table("own predicates", &[write("predicates.rego", PREDICATES)], &mut dice));
    let combiner = write("combiner.rego", COMBINER);
    policies.push(table("own combiner", std::slice::from_ref(&combiner), &mut dice));
    let default = write("data.json", r#"{"authz": {"default": "allow"}}"#);
    policies.push(table("own combiner, default allow", &[combiner, default], &mut dice));

    let file = folder.path().join("table.json");
    std::fs::write(&file, serde_json::to_string(&policies).expect("JSON")).expect("written");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/rego_cross_check.py");
    // Where `cargo xtask setup` puts the Python packages; beside it, whoever installed them for all.
    let own = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("venv").join("bin/python");
    let python = if own.exists() { own } else { "python3".into() };
    let output = Command::new(python).arg(script).arg(&file).output();
    let output = output.expect("python3 is needed for this test; run: cargo xtask setup");
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).join("\n");
    assert!(output.status.success(), "{}\n{text}", output.status);
    assert!(text.contains(&format!("{} cases compared, 0 differ", 6 * CASES)), "{text}");
}
