use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn nothing(_: &str) -> Option<String> {
    None
}

fn terminal(name: &str) -> Option<String> {
    (name == "CLAUDE_CODE_ENTRYPOINT").then(|| "cli".into())
}

fn read(agent: Agent, event: &Value) -> Result<Event, EventError> {
    agent.read(event.to_string().as_bytes(), nothing)
}

fn call(agent: Agent, event: &Value) -> Call {
    match read(agent, event).unwrap() {
        Event::Before(call) => call,
        other => panic!("{other:?}"),
    }
}

/// The members that Claude Code 2.1 sends before a call.
fn claude(tool: &str, input: Value) -> Value {
    json!({
        "session_id": "6b5f0c9a-6a54-4cc1-8d2e-1f6b0c0e4a11",
        "transcript_path": "/home/dev/.claude/projects/-w/6b5f0c9a.jsonl",
        "cwd": "/home/dev/w",
        "permission_mode": "default",
        "hook_event_name": "PreToolUse",
        "tool_name": tool,
        "tool_input": input,
        "tool_use_id": "toolu_01ABC",
    })
}

/// The members that Codex 0.169 sends before a call.
fn codex(tool: &str, input: Value) -> Value {
    json!({
        "session_id": "0193b1f2-6a54-7cc1-8d2e-1f6b0c0e4a11",
        "turn_id": "0193b1f2-7000-7cc1-8d2e-1f6b0c0e4a11",
        "transcript_path": null,
        "cwd": "/home/dev/w",
        "hook_event_name": "PreToolUse",
        "model": "m",
        "permission_mode": "bypassPermissions",
        "tool_name": tool,
        "tool_input": input,
        "tool_use_id": "call_7Qx",
    })
}

/// The members that Gemini CLI 0.61 sends before a call.
fn gemini(tool: &str, input: Value) -> Value {
    json!({
        "session_id": "d2a7",
        "transcript_path": "/home/dev/.gemini/tmp/w/chats/session.json",
        "cwd": "/home/dev/w",
        "hook_event_name": "BeforeTool",
        "timestamp": "2026-11-20T09:00:00.000Z",
        "tool_name": tool,
        "tool_input": input,
    })
}

fn with(mut event: Value, members: Value) -> Value {
    let (Some(event_members), Value::Object(members)) = (event.as_object_mut(), members) else { panic!() };
    event_members.extend(members);
    event
}

#[test]
fn tools_have_a_server_and_a_name() {
    let context =
        |server, tool| json!({"mcp_context": {"server_name": server, "tool_name": tool, "command": "x"}});
    for (agent, event, server, name) in [
        (Agent::Claude, claude("Write", json!({})), "claude", "Write"),
        (Agent::Claude, claude("mcp__fs__write_file", json!({})), "fs", "write_file"),
        (Agent::Claude, claude("mcp__fs__a__b", json!({})), "fs", "a__b"),
        (Agent::Codex, codex("Bash", json!({})), "codex", "Bash"),
        (Agent::Codex, codex("mcp__git__git_add", json!({})), "git", "git_add"),
        (Agent::Gemini, gemini("write_file", json!({})), "gemini", "write_file"),
        (Agent::Gemini, gemini("mcp__fs__move_file", json!({})), "fs", "move_file"),
        (
            Agent::Gemini,
            with(gemini("mcp_my_fs_move_file", json!({})), context("my fs", "move_file")),
            "my fs",
            "move_file",
        ),
    ] {
        let call = call(agent, &event);
        assert_eq!((call.server.as_str(), call.name.as_str()), (server, name), "{event}");
    }
}

#[test]
fn a_tool_that_could_be_another_is_refused() {
    let context = json!({"mcp_context": {"server_name": "gemini", "tool_name": "write_file"}});
    for (agent, event) in [
        (Agent::Claude, claude("", json!({}))),
        (Agent::Claude, claude("mcp__fs", json!({}))),
        (Agent::Claude, claude("mcp__fs__", json!({}))),
        (Agent::Claude, claude("mcp____x", json!({}))),
        (Agent::Claude, claude("mcp__claude__Write", json!({}))),
        (Agent::Codex, codex("mcp__codex__Bash", json!({}))),
        (Agent::Codex, codex("apply_patch", json!({"command": "no patch"}))),
        (Agent::Codex, codex("apply_patch", json!({}))),
        (Agent::Codex, codex("apply_patch", json!("text"))),
        (Agent::Codex, codex("apply_patch", json!({"command": "*** Add File: a", "files": {}}))),
        (Agent::Gemini, gemini("mcp_fs_move_file", json!({}))),
        (Agent::Gemini, with(gemini("mcp_gemini_write_file", json!({})), context)),
    ] {
        assert!(matches!(read(agent, &event), Err(EventError::Tool { .. })), "{event}");
    }
}

#[test]
fn the_call_carries_what_the_agent_said() {
    let input = json!({"file_path": "a.txt", "content": "x"});
    let event = with(claude("Write", input.clone()), json!({"agent_id": "a1", "new_member": [1, {}]}));
    let call = call(Agent::Claude, &event);
    assert_eq!((call.id.as_str(), call.arguments, call.cwd), ("toolu_01ABC", input, "/home/dev/w".into()));
    assert_eq!(call.session, "6b5f0c9a-6a54-4cc1-8d2e-1f6b0c0e4a11");
    assert_eq!(Value::Object(call.claimed), json!({"agent_id": "a1"}));
}

#[test]
fn only_attended_claude_asks() {
    let asks = |agent: Agent, event: &Value, env: fn(&str) -> Option<String>| match agent
        .read(event.to_string().as_bytes(), env)
        .unwrap()
    {
        Event::Before(call) => call.asks,
        other => panic!("{other:?}"),
    };
    let headless = |_: &str| Some("sdk-cli".to_owned());
    let mode = |mode: &str| with(claude("Bash", json!({})), json!({ "permission_mode": mode }));
    assert!(asks(Agent::Claude, &mode("default"), terminal));
    assert!(asks(Agent::Claude, &mode("plan"), terminal));
    assert!(!asks(Agent::Claude, &mode("bypassPermissions"), terminal));
    assert!(!asks(Agent::Claude, &mode("dontAsk"), terminal));
    assert!(!asks(Agent::Claude, &mode("a mode of tomorrow"), terminal));
    assert!(!asks(Agent::Claude, &mode("default"), headless));
    assert!(!asks(Agent::Claude, &mode("default"), nothing));
    assert!(!asks(Agent::Codex, &codex("Bash", json!({})), terminal));
    assert!(!asks(Agent::Gemini, &gemini("write_file", json!({})), terminal));
}

#[test]
fn a_patch_names_its_files() {
    let patch = "*** Begin Patch\n*** Add File: new.txt\n+*** Delete File: not this\n*** Update File: src/a.rs\n\
                 *** Move to: src/b.rs\n@@\n-x\n+y\n*** Delete File: /etc/old\n*** End Patch";
    let call = call(Agent::Codex, &codex("apply_patch", json!({ "command": patch })));
    let files =
        json!({"add": ["new.txt"], "update": ["src/a.rs"], "move": ["src/b.rs"], "delete": ["/etc/old"]});
    assert_eq!(call.arguments, json!({ "command": patch, "files": files }));
    assert!(Agent::Codex.fixed(&call.arguments).is_some());
    assert!(Agent::Codex.fixed(&json!({ "command": "ls" })).is_none());
}

#[test]
fn ends() {
    let post = |members: Value| with(claude("Bash", json!({})), members);
    for (agent, event, end, name) in [
        (
            Agent::Claude,
            post(json!({"hook_event_name": "PostToolUse", "tool_response": {"stdout": "x"}})),
            End::Ok,
            "PostToolUse",
        ),
        (
            Agent::Claude,
            post(json!({"hook_event_name": "PostToolUse", "tool_response": "text"})),
            End::Ok,
            "PostToolUse",
        ),
        (
            Agent::Claude,
            post(json!({"hook_event_name": "PostToolUseFailure", "error": "exit 1", "is_interrupt": false})),
            End::Error,
            "PostToolUseFailure",
        ),
        (
            Agent::Claude,
            post(json!({"hook_event_name": "PostToolUseFailure", "error": "x", "is_interrupt": true})),
            End::Cancelled,
            "PostToolUseFailure",
        ),
        (
            Agent::Codex,
            with(codex("Bash", json!({})), json!({"hook_event_name": "PostToolUse", "tool_response": "out"})),
            End::Ok,
            "PostToolUse",
        ),
        (
            Agent::Codex,
            with(
                codex("mcp__a__b", json!({})),
                json!({"hook_event_name": "PostToolUse", "tool_response": {"isError": true}}),
            ),
            End::Error,
            "PostToolUse",
        ),
        (
            Agent::Gemini,
            with(
                gemini("replace", json!({})),
                json!({"hook_event_name": "AfterTool", "tool_response": {"llmContent": "x", "error": {"message": "m"}}}),
            ),
            End::Error,
            "AfterTool",
        ),
    ] {
        match read(agent, &event).unwrap() {
            Event::After { end: found, event: found_name, .. } => {
                assert_eq!((found, found_name), (end, name))
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn gemini_calls_have_one_id_before_and_after() {
    let before = gemini("replace", json!({"file_path": "a", "old_string": "b"}));
    let id = call(Agent::Gemini, &before).id;
    let after = with(before, json!({"hook_event_name": "AfterTool", "tool_response": {"llmContent": "x"}}));
    assert!(matches!(read(Agent::Gemini, &after).unwrap(), Event::After { id: found, .. } if found == id));
    let other = call(Agent::Gemini, &gemini("replace", json!({"file_path": "b", "old_string": "b"})));
    assert_ne!(other.id, id);
}

#[test]
fn gemini_names_a_rewritten_call_by_its_new_arguments() {
    let (old, new) = (json!({"file_path": "a"}), json!({"file_path": "/staging/a"}));
    let call = call(Agent::Gemini, &gemini("write_file", old));
    let tool = (call.server.as_str(), call.name.as_str());
    let renamed = Agent::Gemini.renamed(&call.session, tool, &new).unwrap();
    let after = with(gemini("write_file", new.clone()), json!({"hook_event_name": "AfterTool"}));
    assert!(matches!(read(Agent::Gemini, &after).unwrap(), Event::After { id, .. } if id == renamed));
    assert_eq!(Agent::Claude.renamed(&call.session, tool, &new), None);
}

#[test]
fn a_prompt_begins_a_turn() {
    let prompt = |name| json!({"session_id": "s", "cwd": "/w", "hook_event_name": name, "prompt": "x", "transcript_path": "/t"});
    for (agent, name) in [
        (Agent::Claude, "UserPromptSubmit"),
        (Agent::Codex, "UserPromptSubmit"),
        (Agent::Gemini, "BeforeAgent"),
    ] {
        assert_eq!(read(agent, &prompt(name)), Ok(Event::Turn { session: "s".into() }));
    }
    assert!(read(Agent::Claude, &prompt("PreToolUse")).is_err());
}

#[test]
fn each_agent_is_told_as_it_understands() {
    let (why, instead) = ("Because.".to_owned(), json!({"path": "/staging/x"}));
    let answer = |decision: &str, reason: &str| {
        json!({"hookSpecificOutput": {"hookEventName": "PreToolUse", "permissionDecision": decision,
            "permissionDecisionReason": reason}})
    };
    let mut rewrite = answer("allow", "authz rewrote the arguments by policy.");
    rewrite["hookSpecificOutput"]["updatedInput"] = instead.clone();
    let refused = json!({"decision": "deny", "reason": "Because."});
    let laid_over = json!({"decision": "allow",
        "hookSpecificOutput": {"hookEventName": "BeforeTool", "tool_input": instead}});
    for (agent, verdict, told) in [
        (Agent::Claude, Verdict::Allow, None),
        (Agent::Claude, Verdict::Deny(why.clone()), Some(answer("deny", "Because."))),
        (Agent::Claude, Verdict::Ask(why.clone()), Some(answer("ask", "Because."))),
        (Agent::Claude, Verdict::Compute(instead.clone()), Some(rewrite.clone())),
        (Agent::Codex, Verdict::Allow, None),
        (Agent::Codex, Verdict::Deny(why.clone()), Some(answer("deny", "Because."))),
        (Agent::Codex, Verdict::Ask(why.clone()), Some(answer("deny", "Because."))),
        (Agent::Codex, Verdict::Compute(instead.clone()), Some(rewrite)),
        (Agent::Gemini, Verdict::Allow, Some(json!({}))),
        (Agent::Gemini, Verdict::Deny(why.clone()), Some(refused.clone())),
        (Agent::Gemini, Verdict::Ask(why.clone()), Some(refused)),
        (Agent::Gemini, Verdict::Compute(instead), Some(laid_over)),
    ] {
        assert_eq!(agent.before(&verdict), told, "{agent:?} {verdict:?}");
    }
    let context = |event| json!({"hookSpecificOutput": {"hookEventName": event, "additionalContext": "x"}});
    assert_eq!(Agent::Claude.after("PostToolUse", None), None);
    assert_eq!(Agent::Codex.after("PostToolUse", Some("x")), Some(context("PostToolUse")));
    assert_eq!(Agent::Claude.after("PostToolUseFailure", Some("x")), Some(context("PostToolUseFailure")));
    assert_eq!(Agent::Gemini.after("AfterTool", Some("x")), Some(context("AfterTool")));
    assert_eq!(Agent::Gemini.after("AfterTool", None), Some(json!({})));
}

#[test]
fn what_is_not_an_event_is_an_error() {
    let whole = claude("Write", json!({}));
    for member in ["session_id", "cwd", "hook_event_name", "tool_name", "tool_input", "tool_use_id"] {
        let mut event = whole.clone();
        event.as_object_mut().unwrap().remove(member);
        // Without its input a call would be judged as one without arguments.
        assert!(read(Agent::Claude, &event).is_err(), "{member}");
    }
    let deep = format!("{{\"tool_input\": {}", "[".repeat(1_000_000));
    for text in
        ["", "null", "[]", "{", "\u{0}", "{\"cwd\": 1}", deep.as_str(), "{\"cwd\":\"/\",\"cwd\":\"/a\"}"]
    {
        assert!(matches!(Agent::Claude.read(text.as_bytes(), nothing), Err(EventError::Malformed(_))));
    }
    let relative = with(whole.clone(), json!({"cwd": "w"}));
    assert!(matches!(read(Agent::Claude, &relative), Err(EventError::Malformed(_))));
    for name in ["Stop", "pretooluse", "BeforeTool", ""] {
        let event = with(whole.clone(), json!({ "hook_event_name": name }));
        assert_eq!(read(Agent::Claude, &event), Err(EventError::Unexpected(name.into())));
    }
    let null = with(whole, json!({ "tool_input": null }));
    assert_eq!(call(Agent::Claude, &null).arguments, Value::Null);
    let event = gemini("write_file", json!({}));
    assert!(matches!(read(Agent::Codex, &event), Err(EventError::Unexpected(_))));
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect()))
        ]
    })
}

proptest! {
    #[test]
    fn hostile_events_are_errors_or_calls(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        member in prop::sample::select(vec!["tool_name", "tool_input", "hook_event_name", "cwd", "tool_use_id",
            "session_id", "mcp_context", "tool_response", "permission_mode", "is_interrupt"]),
        put in value(),
    ) {
        for agent in [Agent::Claude, Agent::Codex, Agent::Gemini] {
            prop_assert!(agent.read(&bytes, nothing).is_err());
            for event in [claude("Write", json!({})), codex("apply_patch", json!({})), gemini("x", json!({}))] {
                let event = with(event, json!({ member: put }));
                if let Ok(Event::Before(call)) = read(agent, &event) {
                    prop_assert!(!call.server.is_empty() && !call.name.is_empty() && !call.id.is_empty());
                    prop_assert!(call.cwd.is_absolute());
                }
            }
        }
    }

    #[test]
    fn a_denial_is_never_taken_for_consent(reason in "\\PC{1,40}") {
        for agent in [Agent::Claude, Agent::Codex, Agent::Gemini] {
            let told = agent.before(&Verdict::Deny(reason.clone())).unwrap();
            let inner = &told["hookSpecificOutput"];
            let word = inner["permissionDecision"].as_str().or(told["decision"].as_str());
            prop_assert_eq!(word, Some("deny"));
            let why = inner["permissionDecisionReason"].as_str().or(told["reason"].as_str());
            prop_assert_eq!(why, Some(reason.as_str()));
        }
    }
}
