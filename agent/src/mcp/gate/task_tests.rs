use serde_json::{Value, json};

use super::*;

fn about(id: u64, method: &str, task: &str) -> Vec<u8> {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"taskId": task}}).to_string().into_bytes()
}

fn answer(id: u64, result: Value) -> Vec<u8> {
    json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string().into_bytes()
}

/// A gate with one call open as task `t`.
fn tasked(serialize: bool) -> Gate<Script> {
    let mut gate = gate_with([], serialize);
    let params = json!({"name": "run", "arguments": {}, "task": {"ttl": 1}});
    let line = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    gate.client(line.as_bytes());
    let handle = answer(1, json!({"task": {"taskId": "t", "status": "working"}}));
    assert_eq!(to_client(&gate.server(&handle)).len(), 1);
    assert!(gate.judge.did.is_empty(), "the handle is not the end");
    gate
}

#[test]
fn a_task_ends_with_what_the_server_says_of_it() {
    let ends = |status: &str| json!({"taskId": "t", "status": status});
    let error = |code: i64| json!({"jsonrpc": "2.0", "id": 2, "error": {"code": code, "message": "x"}});
    for (method, line, did) in [
        ("tasks/get", answer(2, ends("working")), None),
        ("tasks/get", answer(2, ends("input_required")), None),
        ("tasks/get", answer(2, ends("completed")), Some("close Ok")),
        ("tasks/get", answer(2, json!({"taskId": "u", "status": "completed"})), None),
        ("tasks/get", error(-32602).to_string().into_bytes(), Some("close Lost")),
        ("tasks/get", error(-32000).to_string().into_bytes(), None),
        ("tasks/cancel", answer(2, ends("cancelled")), Some("close Cancelled")),
        ("tasks/cancel", error(-32602).to_string().into_bytes(), None),
        ("tasks/result", answer(2, json!({"content": []})), Some("close Ok")),
        ("tasks/result", answer(2, json!({"content": [], "isError": true})), Some("close Error")),
        ("tasks/result", error(-1).to_string().into_bytes(), Some("close Error")),
    ] {
        let mut gate = tasked(false);
        gate.client(&about(2, method, "t"));
        let out = gate.server(&line);
        assert_eq!(
            out,
            [Out::Client { line: line.clone(), about: Some(Id::parse("2").unwrap()) }],
            "unchanged"
        );
        assert_eq!(
            gate.judge.did,
            did.into_iter().collect::<Vec<_>>(),
            "{method} {}",
            String::from_utf8_lossy(&line)
        );
        gate.server_ended();
        assert_eq!(
            gate.judge.did,
            [did.unwrap_or("close Lost")],
            "closed once, and at the latest with the server"
        );
    }
}

#[test]
fn what_was_denied_under_a_task_is_told_with_its_result() {
    let told = |line: &Value, content: &str| line.pointer(content).unwrap().to_string().contains("rule prod");
    let mut gate = tasked(false);
    gate.judge.denials = vec![denial()];
    let status = json!({"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": {"taskId": "t", "status": "completed"}});
    gate.server(status.to_string().as_bytes());
    assert_eq!(gate.judge.did, ["close Ok"]);
    gate.client(&about(2, "tasks/result", "t"));
    let out = gate.server(&answer(2, json!({"content": []})));
    assert!(told(&to_client(&out)[0], "/result/content"), "{out:?}");

    let mut gate = tasked(false);
    gate.judge.denials = vec![denial()];
    let done = json!({"taskId": "t", "status": "completed", "result": {"content": []}, "x": 1.0});
    let note = json!({"jsonrpc": "2.0", "method": "notifications/tasks", "params": done});
    assert!(told(&to_client(&gate.server(note.to_string().as_bytes()))[0], "/params/result/content"));
    gate.client(&about(2, "tasks/get", "t"));
    let out = gate.server(&answer(2, done));
    assert!(told(&to_client(&out)[0], "/result/result/content"), "also to who asks: {out:?}");
    assert_eq!(gate.judge.did, ["close Ok"]);
}

#[test]
fn the_newer_protocol_gives_tasks_that_nobody_asked_for() {
    let mut gate = gate_with([], true);
    gate.client(&modern(json!(1), json!({})));
    gate.server(&answer(1, json!({"resultType": "task", "taskId": "t", "status": "working"})));
    assert!(gate.judge.did.is_empty());
    let out = to_client(&gate.client(&modern(json!(2), json!({}))));
    assert!(out[0]["result"]["content"][0]["text"].as_str().unwrap().contains("task \"t\""), "{out:?}");
    gate.client(&about(3, "tasks/get", "t"));
    gate.server(&answer(3, json!({"taskId": "t", "status": "failed", "error": {"code": 1, "message": "x"}})));
    assert_eq!(gate.judge.did, ["close Error"]);
    assert_eq!(to_server(&gate.client(&modern(json!(4), json!({})))).len(), 1, "the next one may go on");
    gate.client(&call(json!(5), "run", json!({})));
    gate.server(&answer(4, json!({"task": {"taskId": "u", "status": "working"}})));
    assert_eq!(gate.judge.did, ["close Error", "close Ok"], "who asked for no task got none");
}
