use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const AGENTS: [Agent; 3] = [Agent::Claude, Agent::Codex, Agent::Gemini];

fn line(agent: Agent) -> String {
    command("/usr/bin/authz", agent, &[]).unwrap()
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn the_command_is_quoted() {
    let policy = ["preset:coding-agent".to_owned(), "/home/a b/it's.rego".to_owned()];
    let line = command("/opt/my tools/authz", Agent::Codex, &policy).unwrap();
    let words = shlex::split(&line).unwrap();
    assert_eq!(words[..3], ["/opt/my tools/authz", "hook", "codex"]);
    assert_eq!(words[3..7], ["--policy", "preset:coding-agent", "--policy", "/home/a b/it's.rego"]);
    assert!(command("/a\0b", Agent::Codex, &[]).is_err());
}

#[test]
fn a_new_file_has_the_hooks_of_each_agent() {
    let text = edit("", Agent::Claude, Some(&line(Agent::Claude))).unwrap();
    let hook = |more: Value| {
        let mut hook =
            json!({"type": "command", "command": "/usr/bin/authz hook claude || exit 2", "timeout": 600});
        hook.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([{"matcher": "*", "hooks": [hook]}])
    };
    let turn =
        json!([{"hooks": [{"type": "command", "command": "/usr/bin/authz hook claude", "timeout": 10}]}]);
    let expected = json!({"hooks": {
        "PreToolUse": hook(json!({"onFailure": "block"})),
        "PostToolUse": hook(json!({})),
        "PostToolUseFailure": hook(json!({})),
        "UserPromptSubmit": turn,
    }});
    assert_eq!(value(&text), expected);
    assert!(text.ends_with("}\n"));
    let codex = value(&edit("", Agent::Codex, Some(&line(Agent::Codex))).unwrap());
    assert_eq!(
        codex["hooks"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["PostToolUse", "PreToolUse", "UserPromptSubmit"]
    );
    assert_eq!(codex["hooks"]["PreToolUse"][0]["hooks"][0]["timeout"], 600);
    let gemini = value(&edit(" \n", Agent::Gemini, Some(&line(Agent::Gemini))).unwrap());
    assert_eq!(gemini["hooks"]["BeforeTool"][0]["hooks"][0]["timeout"], 600_000);
    let after = &gemini["hooks"]["AfterTool"][0]["hooks"][0]["command"];
    assert_eq!(after.as_str().unwrap(), format!("{} || exit 2", line(Agent::Gemini)));
}

#[test]
fn everything_else_keeps_its_bytes() {
    let text = "{\n    \"z\": 1.50,\n    \"permissions\" : {\"allow\":[ \"Bash(ls:*)\" ]},\n    \"hooks\": {\n        \
                \"PreToolUse\": [\n            {\"matcher\": \"Bash\", \"hooks\": [{\"type\": \"command\", \
                \"command\": \"/x/mine.sh\"}]}\n        ],\n        \"Stop\": []\n    },\n    \"a\": \"\\u00e4\"\n}\n";
    let installed = edit(text, Agent::Claude, Some(&line(Agent::Claude))).unwrap();
    for kept in [
        "\"z\": 1.50,\n    \"permissions\" : {\"allow\":[ \"Bash(ls:*)\" ]},",
        "{\"matcher\": \"Bash\", \"hooks\": [{\"type\": \"command\", \"command\": \"/x/mine.sh\"}]}",
        "\"Stop\": []",
        "\"a\": \"\\u00e4\"",
    ] {
        assert!(installed.contains(kept), "{installed}");
    }
    assert_eq!(value(&installed)["hooks"]["PreToolUse"].as_array().unwrap().len(), 2);
    assert_eq!(edit(&installed, Agent::Claude, Some(&line(Agent::Claude))).unwrap(), installed);
    assert_eq!(edit(&installed, Agent::Claude, None).unwrap(), text);
}

#[test]
fn another_policy_replaces_the_hook() {
    let first = edit("{}", Agent::Gemini, Some(&line(Agent::Gemini))).unwrap();
    let other = command("/usr/local/bin/authz", Agent::Gemini, &["preset:observe-all".into()]).unwrap();
    let second = edit(&first, Agent::Gemini, Some(&other)).unwrap();
    let groups = &value(&second)["hooks"]["BeforeTool"];
    assert_eq!(groups.as_array().unwrap().len(), 1);
    assert_eq!(groups[0]["hooks"][0]["command"].as_str().unwrap(), format!("{other} || exit 2"));
}

#[test]
fn only_our_hooks_are_taken_out() {
    let theirs = [
        "authz-lint hook claude",
        "/usr/bin/authz hook gemini",
        "echo authz hook claude",
        "authz hooks",
        "'",
    ];
    for command in theirs {
        let text = json!({"hooks": {"PreToolUse": [{"hooks": [{"type": "command", "command": command}]}]}})
            .to_string();
        assert_eq!(edit(&text, Agent::Claude, None).unwrap(), text);
    }
    // One that the user put into a group with another one.
    let both =
        json!([{"type": "command", "command": "mine"}, {"type": "command", "command": line(Agent::Claude)}]);
    let text = json!({"hooks": {"PreToolUse": [{"hooks": both}]}}).to_string();
    let left = json!({"hooks": {"PreToolUse": [{"hooks": [{"type": "command", "command": "mine"}]}]}});
    assert_eq!(value(&edit(&text, Agent::Claude, None).unwrap()), left);
}

#[test]
fn what_is_not_understood_is_refused() {
    let deep = "[".repeat(100_000);
    for text in [
        "{",
        "[]",
        "null",
        "\"x\"",
        "{\"a\": 1,}",
        "{a: 1}",
        "{} x",
        "{'a': 1}",
        "// c\n{}",
        "{\"a\" 1}",
        &deep,
    ] {
        assert!(edit(text, Agent::Claude, Some(&line(Agent::Claude))).is_err(), "{text:.20}");
    }
    for text in ["{\"hooks\": []}", "{\"hooks\": null}", "{\"hooks\": {\"PreToolUse\": {}}}"] {
        let refused = edit(text, Agent::Codex, Some(&line(Agent::Codex)));
        assert!(matches!(refused, Err(SettingsError::Shape(..))), "{text}");
    }
    for text in ["{\"hooks\": {}, \"hooks\": {}}", "{\"hooks\": {\"Stop\": [], \"\\u0053top\": []}}"] {
        let refused = edit(text, Agent::Codex, Some(&line(Agent::Codex)));
        assert!(matches!(refused, Err(SettingsError::Twice(_))), "{text}");
    }
    let comments = "// mine\n{\"a\": 1 /* one */}\n";
    let installed = edit(comments, Agent::Gemini, Some(&line(Agent::Gemini))).unwrap();
    assert!(installed.starts_with("// mine\n") && installed.contains("/* one */"));
    assert_eq!(
        switched_off("{\"hooksConfig\": {\"enabled\": false}}", Agent::Gemini),
        Some("hooksConfig.enabled is false")
    );
    assert_eq!(switched_off("{\"disableAllHooks\": true}", Agent::Claude), Some("disableAllHooks is true"));
    assert_eq!(switched_off(comments, Agent::Gemini), None);
}

/// Settings of any members, perhaps with hooks of others among them.
fn settings() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        Just(json!([1, {"x": []}]))
    ];
    let groups = prop::collection::vec("[a-z]{1,5}", 1..4).prop_map(|commands| {
        let hooks = |command| json!({"matcher": "*", "hooks": [{"type": "command", "command": command}]});
        Value::Array(commands.into_iter().map(hooks).collect())
    });
    let event = prop::sample::select(vec!["PreToolUse", "PostToolUse", "BeforeTool", "AfterTool", "Stop"]);
    let hooks = prop::collection::btree_map(event, groups, 1..4);
    let members = prop::collection::btree_map("[a-z\"\\\\é]{1,6}", leaf, 0..6);
    (members, prop::option::of(hooks)).prop_map(|(members, hooks)| {
        let mut all: serde_json::Map<_, _> =
            members.into_iter().filter(|(name, _)| name != "hooks").collect();
        if let Some(hooks) = hooks {
            all.insert(
                "hooks".into(),
                hooks.into_iter().map(|(name, groups)| (name.to_owned(), groups)).collect(),
            );
        }
        Value::Object(all)
    })
}

proptest! {
    #[test]
    fn install_and_uninstall_leave_no_trace(settings in settings(), pretty: bool) {
        let mut text = if pretty { serde_json::to_string_pretty(&settings) } else { serde_json::to_string(&settings) }.unwrap();
        text.push('\n');
        for agent in AGENTS {
            let installed = edit(&text, agent, Some(&line(agent))).unwrap();
            let effective = value(&installed);
            for (event, group) in agent.hooks(&line(agent)) {
                prop_assert_eq!(effective["hooks"][event].as_array().and_then(|all| all.last()), Some(&group));
            }
            prop_assert_eq!(&edit(&installed, agent, Some(&line(agent))).unwrap(), &installed, "idempotent");
            let back = edit(&installed, agent, None).unwrap();
            prop_assert_eq!(value(&back), settings.clone());
            if pretty && settings != json!({}) {
                prop_assert_eq!(&back, &text);
            }
        }
    }

    #[test]
    fn any_text_is_edited_or_refused(text in "[\\[\\]{}\",:a-z0-9/*\n ]{0,60}") {
        for agent in AGENTS {
            if let Ok(edited) = edit(&text, agent, Some(&line(agent))) {
                prop_assert!(edited.contains("authz hook"));
            }
        }
    }
}
