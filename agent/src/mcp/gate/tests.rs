use std::collections::VecDeque;

use serde_json::{Value, json};

use super::*;
use crate::ledger::entry::Attribution;
use crate::mcp::judge::{DenialView, Rule};

#[path = "task_tests.rs"]
mod tasks;

/// Decides as it was told before, and keeps what it was asked.
#[derive(Default)]
struct Script {
    effects: VecDeque<Result<(Effect, Option<Value>), String>>,
    denials: Vec<DenialView>,
    asked: Vec<ToolCall>,
    did: Vec<String>,
    opened: Vec<Uuid>,
}

fn view(call: Uuid, effect: Effect, arguments: Option<Value>) -> CallView {
    let rule = Rule { id: "rule-1".into(), reason: "No.".into(), advice: "Ask.".into() };
    CallView {
        call,
        session: Uuid::nil(),
        effect,
        mode: Mode::Enforce,
        rules: vec![rule],
        arguments,
        pending: (effect == Effect::Escalate).then(|| "abcd".into()),
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        span_id: "b7ad6b7169203331".into(),
        trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
    }
}

impl Judge for Script {
    fn open(&mut self, call: ToolCall) -> Result<CallView, String> {
        self.asked.push(call);
        let (effect, arguments) = self.effects.pop_front().unwrap_or(Ok((Effect::Allow, None)))?;
        let id = Uuid::now_v7();
        self.opened.push(id);
        Ok(view(id, effect, arguments))
    }

    fn wait(&mut self, _: Uuid) {
        self.did.push("wait".into());
    }

    fn withdraw(&mut self, _: Uuid) {
        self.did.push("withdraw".into());
    }

    fn elicited(&mut self, _: Uuid, action: &str) {
        self.did.push(format!("elicited {action}"));
    }

    fn close(&mut self, _: Uuid, outcome: Outcome) -> Vec<DenialView> {
        self.did.push(format!("close {outcome:?}"));
        std::mem::take(&mut self.denials)
    }
}

fn gate(effects: impl IntoIterator<Item = Effect>) -> Gate<Script> {
    gate_with(effects.into_iter().map(|effect| Ok((effect, None))), false)
}

fn gate_with(
    effects: impl IntoIterator<Item = Result<(Effect, Option<Value>), String>>,
    serialize: bool,
) -> Gate<Script> {
    let judge = Script { effects: effects.into_iter().collect(), ..Script::default() };
    let options = Options {
        server: "fs".into(),
        serialize,
        elicit: true,
        mode: Mode::Enforce,
        cwd: None,
        home: None,
        session: None,
    };
    Gate::new(options, Arc::new(Shared::default()), judge)
}

fn to_client(out: &[Out]) -> Vec<Value> {
    let parse = |out: &Out| match out {
        Out::Client { line, .. } => serde_json::from_slice(line).ok(),
        _ => None,
    };
    out.iter().filter_map(parse).collect()
}

fn to_server(out: &[Out]) -> Vec<Value> {
    let parse = |out: &Out| match out {
        Out::Server { line, .. } => serde_json::from_slice(line).ok(),
        _ => None,
    };
    out.iter().filter_map(parse).collect()
}

fn call(id: Value, name: &str, arguments: Value) -> Vec<u8> {
    let params = json!({"name": name, "arguments": arguments});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string().into_bytes()
}

fn modern(id: Value, more: Value) -> Vec<u8> {
    let mut params = json!({"name": "write", "arguments": {"path": "/prod/x"}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
    }});
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string().into_bytes()
}

fn initialize(capabilities: Value) -> Vec<u8> {
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": capabilities, "clientInfo": {}});
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string().into_bytes()
}

#[test]
fn what_is_not_judged_passes_byte_for_byte() {
    let mut gate = gate([]);
    let line = br#"{ "method":"tools/list","params" : {"x":1.0,"y":1e0, "y":2},"id":1.0 ,"jsonrpc":"2.0"}"#;
    let id = Id::parse("1.0").unwrap();
    assert_eq!(gate.client(line), [Out::Server { line: line.to_vec(), about: Some(id.clone()) }]);
    let line = br#"{"jsonrpc": "2.0","result":{"tools":[],"a":1,"a":2} , "id":1}"#;
    assert_eq!(gate.server(line), [Out::Client { line: line.to_vec(), about: Some(id) }]);
    assert!(gate.judge.asked.is_empty());
    assert!(gate.waiting.is_empty());
    assert_eq!(gate.client(b"  \r"), []);
}

#[test]
fn an_allowed_call_goes_on_as_it_was_judged() {
    let mut gate = gate([Effect::Allow]);
    let line = br#"{"jsonrpc":"2.0","id":1e0,"method":"tools/call","x":7,
        "params":{"name":"read","arguments":{"p\u0061th":"/a","n":1.0},"_meta":{"progressToken":5,"callId":"c1"}}}"#;
    let out = gate.client(line);
    let [Out::Server { line, .. }] = &out[..] else { panic!("{out:?}") };
    let text = std::str::from_utf8(line).unwrap();
    assert!(text.starts_with(r#"{"jsonrpc":"2.0","id":1e0,"method":"tools/call","params":"#), "{text}");
    assert_eq!(
        to_server(&out)[0]["params"],
        json!({
        "name": "read", "arguments": {"path": "/a", "n": 1.0}, "_meta": {"progressToken": 5, "callId": "c1",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}})
    );
    let asked = &gate.judge.asked[0];
    assert_eq!((asked.name.as_str(), asked.server.as_deref()), ("read", Some("fs")));
    assert_eq!(asked.arguments, json!({"path": "/a", "n": 1.0}));
    assert_eq!(asked.call_id.as_deref(), Some("c1"));
    let answer = br#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;
    assert_eq!(
        to_client(&gate.server(answer)),
        [json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}})]
    );
    assert_eq!(gate.judge.did, ["close Ok"]);
}

#[test]
fn a_denied_call_is_an_ordinary_result_that_says_why() {
    let mut gate = gate([Effect::Deny]);
    let out = gate.client(&call(json!("a"), "wri\u{202e}te", json!({})));
    assert!(to_server(&out).is_empty());
    let answer = &to_client(&out)[0];
    assert_eq!((&answer["id"], &answer["result"]["isError"]), (&json!("a"), &json!(true)));
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    let decision = gate.judge.opened[0];
    assert_eq!(
        text,
        format!("authz denied fs/wri\\u{{202e}}te: No. Ask. [rule rule-1, decision {decision}]")
    );
    assert_eq!(answer["result"]["_meta"]["dev.authz/decision"]["rules"][0]["id"], "rule-1");
    assert!(answer["result"].get("resultType").is_none());
}

#[test]
fn resources_and_prompts_are_judged_too() {
    let mut gate = gate([Effect::Deny, Effect::Deny]);
    for (method, params) in
        [("resources/read", json!({"uri": "file:///x"})), ("prompts/get", json!({"name": "p"}))]
    {
        let line = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let out = gate.client(line.as_bytes());
        assert!(to_server(&out).is_empty());
        assert_eq!(to_client(&out)[0]["error"]["code"], 403);
        assert_eq!(gate.judge.asked.pop().unwrap().name, method);
    }
}

#[test]
fn compute_sends_other_arguments() {
    let mut gate = gate_with(
        [Ok((Effect::Compute, Some(json!({"path": "/staging"})))), Ok((Effect::Compute, None))],
        false,
    );
    let out = gate.client(&call(json!(1), "write", json!({"path": "/prod"})));
    assert_eq!(to_server(&out)[0]["params"]["arguments"], json!({"path": "/staging"}));
    let out = gate.client(&call(json!(2), "write", json!({"path": "/prod"})));
    assert!(to_server(&out).is_empty(), "a rewrite that says nothing is none");
    assert_eq!(to_client(&out)[0]["result"]["isError"], true);
}

#[test]
fn without_a_decision_it_is_closed_in_enforce_and_open_in_observe() {
    let mut gate = gate_with([Err("the daemon\u{1b} is gone".into())], false);
    let out = gate.client(&call(json!(1), "write", json!({})));
    assert!(to_server(&out).is_empty());
    let text = to_client(&out)[0]["result"]["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.contains("could not be decided") && !text.contains('\u{1b}'), "{text}");
    gate.judge.effects.push_back(Err("gone".into()));
    gate.mode = Mode::Observe;
    assert_eq!(to_server(&gate.client(&call(json!(2), "write", json!({})))).len(), 1);
}

#[test]
fn what_is_hostile_never_reaches_the_server() {
    let mut gate = gate([]);
    let lines: &[&[u8]] = &[
        br#"[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}]"#,
        br#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"}}"#,
        br#"{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"x"}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Name":"b"}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Arguments":{}}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":{"p":1,"p":2}}}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_meta":{"trace_parent":"x"}}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a\u0000b"}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"resources/read"}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":[]}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["a"]}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"Tools/Call","params":{"name":"a"}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call\u0000","params":{"name":"a"}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"shell/run","params":{}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#,
        br#"{"jsonrpc":"2.0","method":"notifications/shell","params":{}}"#,
        br#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{}}"#,
        br#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        br#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{},"capabilities":{}}}"#,
        b"\xff\xfe",
        b"not json",
    ];
    for line in lines {
        let out = gate.client(line);
        assert!(to_server(&out).is_empty(), "{}", String::from_utf8_lossy(line));
        assert_eq!(out.len(), 1, "one word about {}", String::from_utf8_lossy(line));
    }
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"a","arguments":{{"x":{}{}}}}}}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    assert!(to_server(&gate.client(deep.as_bytes())).is_empty());
    assert_eq!(to_client(&gate.unreadable())[0]["id"], Value::Null);
    assert!(gate.judge.asked.is_empty() && gate.waiting.is_empty());
}

#[test]
fn a_variant_of_an_argument_that_the_schema_names_is_refused() {
    let mut gate = gate([]);
    gate.client(br#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    let tools = json!([{"name": "write", "annotations": {"readOnlyHint": false},
                        "inputSchema": {"type": "object", "properties": {"path": {}}}}]);
    gate.server(json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}}).to_string().as_bytes());
    let out = gate.client(&call(json!(2), "write", json!({"Path": "/prod"})));
    assert_eq!(to_client(&out)[0]["error"]["code"], 400);
    gate.client(&call(json!(3), "write", json!({"path": "/prod"})));
    assert_eq!(gate.judge.asked[0].annotations, json!({"readOnlyHint": false}));
}

#[test]
fn ids_are_of_one_direction() {
    let mut gate = gate([]);
    gate.client(&call(json!(1), "read", json!({})));
    let out = gate.server(br#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#);
    assert_eq!(to_client(&out).len(), 1, "the server's 1 is another one");
    let out = gate.client(&call(json!(1), "read", json!({})));
    assert_eq!(to_client(&out)[0]["error"]["code"], 409, "the client's 1 is in use");
    assert_eq!(to_client(&gate.client(&call(json!(1.0), "read", json!({}))))[0]["error"]["code"], 409);
    assert_eq!(to_server(&gate.client(br#"{"jsonrpc":"2.0","id":1,"result":{"roots":[]}}"#)).len(), 1);
    assert!(to_server(&gate.client(br#"{"jsonrpc":"2.0","id":1,"result":{"roots":[]}}"#)).is_empty(), "once");
    assert_eq!(to_client(&gate.server(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#)).len(), 1);
    assert!(to_client(&gate.server(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#)).is_empty(), "once");
    let out = gate.server(br#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{}}"#);
    assert_eq!(to_server(&out)[0]["error"]["code"], -32601);
    assert!(to_client(&out).is_empty());
}

fn denial() -> DenialView {
    DenialView {
        id: Uuid::nil(),
        time: String::new(),
        action: "file.write".into(),
        resource: "/prod/x\n".into(),
        rule: "prod".into(),
        reason: "Not here.".into(),
        advice: "There.".into(),
        span_id: None,
        attribution: Attribution::Exact,
        count: 2,
        calls: Vec::new(),
    }
}

#[test]
fn what_was_denied_underneath_is_told_in_the_answer() {
    let mut gate = gate([]);
    let denial = denial();
    let told = "authz denied file.write /prod/x\\n (2 times): Not here. There. [rule prod, decision 00000000-0000-0000-0000-000000000000]";
    for (line, pointer) in [
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"x"}],"n":1.0,"m":1e400}}"#,
            "content",
        ),
        (r#"{"jsonrpc":"2.0","id":1,"result":{"content":[ ],"isError":true,"n":1.0,"m":1e400}}"#, "content"),
    ] {
        gate.judge.denials = vec![denial.clone()];
        gate.client(&call(json!(1), "run", json!({})));
        let out = gate.server(line.as_bytes());
        let [Out::Client { line, .. }] = &out[..] else { panic!() };
        let text = std::str::from_utf8(line).unwrap();
        assert!(text.contains(r#""n":1.0,"m":1e400"#), "the rest is as it was: {text}");
        let value: Value = serde_json::from_str(&text.replace("1e400", "1")).unwrap();
        let content = value["result"][pointer].as_array().unwrap();
        assert_eq!(content.last().unwrap(), &json!({"type": "text", "text": told}));
    }
    gate.judge.denials = vec![denial];
    gate.client(&call(json!(1), "run", json!({})));
    let out = gate.server(br#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"failed"}}"#);
    assert_eq!(to_client(&out)[0]["error"]["message"], format!("failed\n{told}"));
    assert_eq!(gate.judge.did, ["close Ok", "close Error", "close Error"]);
}

#[test]
fn a_held_call_goes_on_when_it_is_approved_outside() {
    let mut gate = gate([Effect::Escalate]);
    let out = gate.client(&call(json!(1), "write", json!({})));
    assert_eq!((out.len(), &gate.judge.did[..]), (0, &["wait".to_owned()][..]));
    assert!(
        to_client(&gate.server(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#)).is_empty(),
        "it was not sent"
    );
    let id = gate.judge.opened[0];
    let out = gate.answered(id, Ok(view(id, Effect::Allow, None)));
    assert_eq!(to_server(&out)[0]["params"]["name"], "write");
    assert!(gate.answered(id, Ok(view(id, Effect::Deny, None))).is_empty(), "once");
}

#[test]
fn a_held_call_that_is_not_approved_is_denied_with_its_id() {
    let mut gate = gate([Effect::Escalate]);
    gate.client(&call(json!(1), "write", json!({})));
    let id = gate.judge.opened[0];
    let out = gate.answered(id, Ok(view(id, Effect::Deny, None)));
    let text = to_client(&out)[0]["result"]["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("authz held fs/write as abcd and it was not approved"), "{text}");
}

#[test]
fn a_yes_at_the_client_is_no_approval() {
    let mut gate = gate([Effect::Escalate, Effect::Escalate]);
    gate.client(&initialize(json!({"elicitation": {}})));
    gate.server(br#"{"jsonrpc":"2.0","id":0,"result":{}}"#);
    let asked = to_client(&gate.client(&call(json!(1), "write", json!({}))));
    assert_eq!(asked[0]["method"], "elicitation/create");
    assert!(asked[0]["params"]["message"].as_str().unwrap().contains("authz approve abcd"));
    let accept =
        json!({"jsonrpc": "2.0", "id": asked[0]["id"], "result": {"action": "accept", "content": {}}});
    assert!(gate.client(accept.to_string().as_bytes()).is_empty());
    assert_eq!(gate.judge.did, ["wait", "elicited accept"]);
    let id = gate.judge.opened[0];
    assert_eq!(to_server(&gate.answered(id, Ok(view(id, Effect::Allow, None)))).len(), 1);
    // A no is taken at its word.
    let asked = to_client(&gate.client(&call(json!(2), "write", json!({}))));
    let decline = json!({"jsonrpc": "2.0", "id": asked[0]["id"], "result": {"action": "decline"}});
    let out = gate.client(decline.to_string().as_bytes());
    assert_eq!(to_client(&out)[0]["result"]["isError"], true);
    assert_eq!(gate.judge.did.last().unwrap(), "withdraw");
}

#[test]
fn a_question_is_taken_back_when_the_call_is_answered() {
    let mut gate = gate([Effect::Escalate]);
    gate.client(&initialize(json!({"elicitation": {"form": {}}})));
    let asked = to_client(&gate.client(&call(json!(1), "write", json!({}))));
    let id = gate.judge.opened[0];
    let out = gate.answered(id, Ok(view(id, Effect::Allow, None)));
    let back = &to_client(&out)[0];
    assert_eq!(
        (&back["method"], &back["params"]["requestId"]),
        (&json!("notifications/cancelled"), &asked[0]["id"])
    );
}

#[test]
fn the_newer_protocol_comes_again_with_a_state_that_serves_once() {
    let mut gate = gate([Effect::Escalate, Effect::Deny, Effect::Deny]);
    let upstream = json!({"requestState": "theirs", "inputResponses": {"k": {"roots": []}}});
    let out = gate.client(&modern(json!(1), upstream));
    let answer = &to_client(&out)[0]["result"];
    assert_eq!(answer["resultType"], "input_required");
    assert_eq!(answer["inputRequests"]["dev.authz/approval"]["method"], "elicitation/create");
    let state = answer["requestState"].as_str().unwrap().to_owned();
    assert!(gate.waiting.is_empty(), "it was answered");
    let retry =
        json!({"requestState": state, "inputResponses": {"dev.authz/approval": {"action": "accept"}}});
    assert!(gate.client(&modern(json!(2), retry.clone())).is_empty());
    assert_eq!(gate.judge.did, ["elicited accept", "wait"], "it waits for the answer that counts");
    let id = gate.judge.opened[0];
    let sent = to_server(&gate.answered(id, Ok(view(id, Effect::Allow, None)))).remove(0);
    assert_eq!(sent["id"], 2);
    assert_eq!(sent["params"]["requestState"], "theirs");
    assert_eq!(sent["params"]["inputResponses"], json!({"k": {"roots": []}}));
    // Used again, or made up, a state is nothing: the call is judged anew.
    let out = gate.client(&modern(json!(3), retry));
    assert_eq!(to_client(&out)[0]["result"]["isError"], true);
    let out = gate.client(&modern(json!(4), json!({"requestState": "dev.authz:0", "inputResponses": {}})));
    assert_eq!(to_client(&out)[0]["result"]["resultType"], "complete");
    assert_eq!(gate.judge.asked.len(), 3);
}

#[test]
fn a_state_is_of_one_call_and_its_arguments() {
    let mut gate = gate([Effect::Escalate, Effect::Deny]);
    let out = gate.client(&modern(json!(1), json!({})));
    let state = to_client(&out)[0]["result"]["requestState"].clone();
    let other = json!({"requestState": state, "arguments": {"path": "/prod/other"}});
    let out = gate.client(&modern(json!(2), other));
    assert_eq!(to_client(&out)[0]["result"]["isError"], true, "judged anew");
    assert_eq!(gate.judge.did, ["withdraw"]);
    assert_eq!(gate.judge.asked[1].arguments, json!({"path": "/prod/other"}));
}

#[test]
fn our_state_and_answers_do_not_go_upstream() {
    let mut gate = gate([Effect::Allow]);
    let more = json!({"requestState": "dev.authz:x", "inputResponses": {"dev.authz/approval": {}, "k": 1}});
    let sent = to_server(&gate.client(&modern(json!(1), more))).remove(0);
    assert_eq!(sent["params"]["inputResponses"], json!({"k": 1}));
    assert!(sent["params"].get("requestState").is_none());
}

#[test]
fn a_cancelled_call_is_withdrawn_or_closed() {
    let mut gate = gate([Effect::Escalate, Effect::Allow]);
    let cancel = |id: i32| {
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}})
            .to_string()
    };
    gate.client(&call(json!(1), "write", json!({})));
    assert!(gate.client(cancel(1).as_bytes()).is_empty(), "the server never saw it");
    let id = gate.judge.opened[0];
    assert!(gate.answered(id, Ok(view(id, Effect::Allow, None))).is_empty(), "an approval that comes late");
    gate.client(&call(json!(2), "write", json!({})));
    assert_eq!(to_server(&gate.client(cancel(2).as_bytes())).len(), 1);
    assert!(to_client(&gate.server(br#"{"jsonrpc":"2.0","id":2,"result":{}}"#)).is_empty(), "nobody waits");
    assert_eq!(gate.judge.did, ["wait", "withdraw", "close Cancelled", "close Cancelled"]);
}

#[test]
fn serialized_calls_go_one_at_a_time_and_others_pass() {
    let mut gate = gate_with([], true);
    assert_eq!(to_server(&gate.client(&call(json!(1), "a", json!({})))).len(), 1);
    for id in [2, 3] {
        assert!(gate.client(&call(json!(id), "b", json!({}))).is_empty());
    }
    assert_eq!(to_server(&gate.client(br#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#)).len(), 1);
    assert_eq!(gate.judge.asked.len(), 1, "a call that waits is not judged yet");
    gate.client(br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#);
    let out = gate.server(br#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#);
    assert_eq!((to_client(&out).len(), to_server(&out)[0]["id"].clone()), (1, json!(3)));
}

#[test]
fn a_dead_server_leaves_nobody_waiting() {
    let mut gate = gate([Effect::Allow, Effect::Escalate]);
    gate.client(&call(json!(1), "a", json!({})));
    gate.client(&call(json!(2), "b", json!({})));
    gate.client(br#"{"jsonrpc":"2.0","id":3,"method":"ping"}"#);
    let mut answers = to_client(&gate.server_gone());
    answers.sort_by_key(|answer| answer["id"].as_i64());
    assert_eq!(answers.len(), 3);
    assert_eq!(answers[0]["result"]["isError"], true);
    assert_eq!(answers[2]["error"]["code"], 502);
    gate.judge.did.sort();
    assert_eq!(gate.judge.did, ["close Lost", "wait", "withdraw"]);
    assert_eq!(to_client(&gate.client(&call(json!(4), "a", json!({}))))[0]["error"]["code"], 502);
}

#[test]
fn a_client_that_is_gone_waits_for_nothing() {
    let mut gate = gate([Effect::Allow, Effect::Escalate]);
    gate.client(&call(json!(1), "a", json!({})));
    gate.client(&call(json!(2), "b", json!({})));
    assert!(gate.client_gone().is_empty());
    assert_eq!(gate.judge.did, ["wait", "withdraw"]);
    assert_eq!(
        to_client(&gate.server(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#)).len(),
        1,
        "it may still read"
    );
}
