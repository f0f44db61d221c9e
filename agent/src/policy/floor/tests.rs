use serde_json::json;

use super::*;
use crate::policy::Engine;
use crate::policy::bundle::{Bundle, Generated, PolicyFile, PolicySource};

/// The floor of a policy's text and data, or the errors' lines.
fn load(rules: &str, data: Value) -> Result<Floor, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data.json");
    std::fs::write(&file, json!({ "authz": data }).to_string()).unwrap();
    let generated = Generated { workspace: vec!["/home/dev/ws".into()], ..Generated::default() };
    let mut bundle =
        Bundle::load(&[PolicySource::Path(file)], &generated).map_err(|error| error.to_string())?;
    bundle.policies.push(PolicyFile {
        path: "policy/p.rego".into(),
        origin: "p.rego".into(),
        text: format!("package authz\n{rules}"),
        library: false,
    });
    Engine::load(&bundle).map(|engine| engine.floor().clone()).map_err(|error| error.to_string())
}

fn paths(paths: &[&str]) -> Option<Vec<PathBuf>> {
    Some(paths.iter().map(PathBuf::from).collect())
}

#[test]
fn absent_null_and_empty_are_told_apart() {
    assert_eq!(load("", json!({})), Ok(Floor::default()));
    assert_eq!(load("", json!({"floor": null})), Ok(Floor::default()));
    assert!(load("", json!({"floor": {}})).unwrap().is_empty());
    let floor = load("", json!({"floor": {"write": [], "read": null}})).unwrap();
    assert_eq!(floor, Floor { write: Some(Vec::new()), ..Floor::default() });
    assert_eq!(floor.to_string(), "writes nothing");
    assert_eq!(Floor::default().to_string(), "none");
}

#[test]
fn rules_add_to_the_floor_and_may_compute_it() {
    let rules = r#"
floor.write contains folder if some folder in data.authz.workspace
floor.write contains "/tmp"
floor.connect_ports contains port if {
	some port in data.authz.ports
	open_to_all(port)
}
floor.scope contains "signals"
open_to_all(port) if port != 22"#;
    let floor = load(rules, json!({"ports": [443, 22]})).unwrap();
    let expected = Floor {
        write: paths(&["/home/dev/ws", "/tmp"]),
        connect_ports: Some(vec![443]),
        scope: vec![Scope::Signals],
        ..Floor::default()
    };
    assert_eq!(floor, expected);
    assert_eq!(
        floor.to_string(),
        "writes below /home/dev/ws, /tmp only; connects to TCP ports 443 only; signals stay inside"
    );
    let json = serde_json::to_string(&floor).unwrap();
    assert_eq!(serde_json::from_str::<Floor>(&json).unwrap(), expected, "as it goes to who lays it");
    let whole = load("floor := {\"execute\": [\"/usr\", \"/usr\"]}", json!({})).unwrap();
    assert_eq!(whole.execute, paths(&["/usr"]));
}

#[test]
fn what_is_no_floor_is_named() {
    for (data, expected) in [
        (json!(["/tmp"]), "authz.floor is [\"/tmp\"]; write an object"),
        (json!({"writes": []}), "authz.floor has no member \"writes\"; there are read, write,"),
        (json!({"write": "/tmp"}), "authz.floor.write is \"/tmp\"; write a list, or leave it out"),
        (json!({"write": ["tmp"]}), "authz.floor.write has \"tmp\"; write an absolute path without .."),
        (json!({"read": ["/tmp/../etc"]}), "authz.floor.read has \"/tmp/../etc\"; write an absolute path"),
        (json!({"read": [1]}), "authz.floor.read has 1; write an absolute path"),
        (json!({"bind_ports": [65536]}), "authz.floor.bind_ports has 65536; write a port from 0 to 65535"),
        (json!({"bind_ports": ["80"]}), "authz.floor.bind_ports has \"80\"; write a port"),
        (json!({"scope": ["signal"]}), "authz.floor.scope has \"signal\"; write signals or"),
    ] {
        let error = load("", json!({ "floor": data })).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn what_would_not_mean_what_it_says_is_refused() {
    let input = load("floor.write contains x if x := input.resource.id", json!({})).unwrap_err();
    assert_eq!(input, "p.rego:2:32: the floor is laid before there is an input; use data only");
    let helper = load("floor.write contains x if x := f\nf := input.resource.id", json!({})).unwrap_err();
    assert!(helper.starts_with("p.rego:3:6: the floor is laid"), "{helper}");
    let both = load("floor.write contains \"/tmp\"", json!({"floor": {"read": ["/"]}})).unwrap_err();
    assert!(both.starts_with("p.rego:2:1: a data file states authz.floor too"), "{both}");
    let twice = load("floor := {\"read\": []}\nfloor := {\"write\": []}", json!({})).unwrap_err();
    assert!(twice.contains("conflicts"), "{twice}");
}

#[test]
fn the_presets_state_theirs() {
    let bundle = Bundle::load(&[PolicySource::Preset("observe-all".into())], &Generated::default()).unwrap();
    assert!(Engine::load(&bundle).unwrap().floor().is_empty());
    let coding = |workspace: &str| {
        let sources = [PolicySource::Preset("coding-agent".into())];
        let generated = Generated { workspace: vec![workspace.into()], ..Generated::default() };
        Engine::load(&Bundle::load(&sources, &generated).unwrap()).unwrap()
    };
    let engine = coding("/home/dev/ws");
    assert!(engine.floor().write.as_ref().unwrap().contains(&PathBuf::from("/home/dev/ws")));
    assert!(!engine.reads().needs("floor"));
}
