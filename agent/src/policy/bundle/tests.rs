use super::*;
use crate::policy::Engine;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn load(path: &Path) -> Result<Bundle, PolicyError> {
    Bundle::load(&[PolicySource::Path(path.to_owned())], &Generated::default())
}

/// The message, the folder's own name taken out.
fn message(folder: &tempfile::TempDir, name: &str) -> String {
    let error = load(&folder.path().join(name)).and_then(|bundle| Engine::load(&bundle)).unwrap_err();
    error.to_string().replace(&format!("{}/", folder.path().display()), "")
}

const RULE: &str = "package authz\nallow contains {\"id\": \"x\"} if reads\n";

#[test]
fn what_cannot_be_loaded_says_where_and_what_to_do() {
    let folder = folder(&[
        ("syntax/p.rego", "package authz\n\nallow contains {\"id\": } if reads\n"),
        ("json/data.json", "{\"a\": 1,\n \"b\": }"),
        ("array/data.json", "[]"),
        ("default/data.json", "{\"authz\": {\"default\": \"alow\"}}"),
        ("reserved/data.json", "{\"authz\": {\"protected\": []}}"),
        ("clash/a.json", "{\"k\": {\"x\": 1}}"),
        ("clash/b.json", "{\"k\": {\"x\": 2}}"),
        ("over/data.json", "{\"authz\": {\"decision\": {\"effect\": \"allow\"}}}"),
        ("empty/README.md", "no policy"),
        ("other.txt", "x"),
    ]);
    std::fs::write(folder.path().join("latin.rego"), b"package authz # \xe9").unwrap();
    for (name, expected) in [
        ("missing", "missing: no such file or folder; name a folder of .rego files, a file or preset:NAME"),
        ("syntax", "syntax/p.rego:3:23: expecting expression; correct the rule"),
        ("json", "json/data.json:2:7: expected value at line 2 column 7; correct the JSON"),
        ("array", "array/data.json:1:1: a data file holds one JSON object; put the value under a key"),
        (
            "default",
            "data.json:1:1: authz.default is \"alow\", no effect; write \"deny\", \"escalate\" or \"allow\"",
        ),
        (
            "reserved",
            "reserved/data.json:1:1: authz.protected is given by the daemon; remove it, and write deny rules instead",
        ),
        ("clash", "clash/b.json:1:1: data.k.x has another value in another data file; keep one of them"),
        ("over", "over/data.json:1:1: authz.decision is a rule of authz; give the data another name"),
        ("empty", "DIR/empty: no .rego or data .json file; put a policy there or name another folder"),
        ("other.txt", "other.txt: neither .rego nor .json; name a policy or a data file"),
        ("latin.rego", "latin.rego: not UTF-8; save it as UTF-8 text"),
    ] {
        assert_eq!(message(&folder, name), expected.replace("DIR/", ""), "{name}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    use std::os::unix::fs::symlink;
    let folder = folder(&[]);
    // Permissions do not stop root; a link to itself stops everyone.
    symlink("loop.rego", folder.path().join("loop.rego")).unwrap();
    let text = message(&folder, "loop.rego");
    assert!(text.starts_with("loop.rego: cannot be read ("), "{text}");
    let text = message(&folder, "");
    assert!(text.starts_with("loop.rego: cannot be read ("), "{text}");
}

#[test]
fn an_unknown_preset_names_those_there_are() {
    let error = Bundle::load(&["preset:coding".parse().unwrap()], &Generated::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "preset:coding: no such preset; there are coding-agent, prod-readonly, observe-all"
    );
}

#[test]
fn the_digest_is_of_the_content_and_not_of_where_it_lies() {
    let one = folder(&[("a/p.rego", RULE), ("data.json", "{\"k\": {\"b\": 1, \"a\": 2}}")]);
    let two = folder(&[
        ("a/p.rego", RULE),
        ("data.json", "{\"k\":{\"a\":2,\"b\":1}}"),
        ("p_test.rego", "package t"),
    ]);
    let digest = load(one.path()).unwrap().digest();
    assert_eq!(digest, load(two.path()).unwrap().digest());
    assert_eq!(digest.len(), 64);
    for changed in [
        folder(&[("b/p.rego", RULE), ("data.json", "{\"k\":{\"a\":2,\"b\":1}}")]),
        folder(&[("a/p.rego", &RULE.replace('x', "y")), ("data.json", "{\"k\":{\"a\":2,\"b\":1}}")]),
        folder(&[("a/p.rego", RULE), ("data.json", "{\"k\":{\"a\":2,\"b\":2}}")]),
        folder(&[("a/p.rego", RULE)]),
    ] {
        assert_ne!(digest, load(changed.path()).unwrap().digest());
    }
    let protected = Generated { protected: vec!["/run/authz".into()], ..Generated::default() };
    let bundle = Bundle::load(&[PolicySource::Path(one.path().into())], &protected).unwrap();
    assert_ne!(digest, bundle.digest());
}

#[test]
fn a_stored_bundle_is_the_bundle() {
    let generated = Generated {
        protected: vec!["/run/authz".into()],
        workspace: vec!["/work".into()],
        ..Generated::default()
    };
    let bundle = Bundle::load(&["preset:coding-agent".parse().unwrap()], &generated).unwrap();
    let stored = Bundle::from_files(bundle.files()).unwrap();
    assert_eq!(stored.digest(), bundle.digest());
    let (mut a, mut b) = (Engine::load(&bundle).unwrap(), Engine::load(&stored).unwrap());
    let input = serde_json::json!({"action": {"name": "file.write"}, "resource": {"id": "/run/authz/x"}});
    assert_eq!(a.decide_value(&input).output_hash, b.decide_value(&input).output_hash);
}

#[test]
fn the_users_data_wins_over_a_presets() {
    let user =
        folder(&[("data.json", "{\"authz\": {\"production\": [\"/srv\"], \"workspace\": [\"/mine\"]}}")]);
    let generated = Generated { workspace: vec!["/work".into()], ..Generated::default() };
    let sources = [PolicySource::Path(user.path().into()), PolicySource::Preset("prod-readonly".into())];
    let bundle = Bundle::load(&sources, &generated).unwrap();
    assert_eq!(bundle.data()["authz"]["production"], serde_json::json!(["/srv"]));
    assert_eq!(bundle.data()["authz"]["workspace"], serde_json::json!(["/mine"]));
    assert_eq!(bundle.data()["authz"]["default"], "allow");
}

#[test]
fn two_folders_may_hold_files_of_one_name() {
    let (one, two) = (folder(&[("p.rego", RULE)]), folder(&[("p.rego", RULE)]));
    let sources = [&one, &two].map(|folder| PolicySource::Path(folder.path().into()));
    let bundle = Bundle::load(&sources, &Generated::default()).unwrap();
    assert!(bundle.files().contains_key("policy/p.rego") && bundle.files().contains_key("policy-2/p.rego"));
    let twice = [&one, &one].map(|folder| PolicySource::Path(folder.path().into()));
    let once = load(one.path()).unwrap();
    assert_eq!(Bundle::load(&twice, &Generated::default()).unwrap().digest(), once.digest());
}
