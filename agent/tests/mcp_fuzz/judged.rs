//! What has to hold for the gate, whatever a line says; the fuzz target asks the same.

use std::collections::HashSet;
use std::sync::Arc;

use authz::event::Mode;
use authz::ledger::entry::Attribution;
use authz::mcp::judge::{CallView, DenialView, Judge, Outcome, ToolCall};
use authz::mcp::{Gate, Options, Out, Shared};
use authz::policy::Effect;
use serde_json::Value;
use uuid::Uuid;

/// What has to be judged.
const GATED: [&str; 3] = ["tools/call", "resources/read", "prompts/get"];

/// Allows, holds or refuses by turns, and keeps what it was asked.
#[derive(Default)]
pub struct Judging {
    pub asked: Vec<ToolCall>,
    open: HashSet<Uuid>,
    turn: usize,
}

impl Judge for Judging {
    fn open(&mut self, call: ToolCall) -> Result<CallView, String> {
        self.asked.push(call);
        self.turn += 1;
        let effect = [Effect::Allow, Effect::Allow, Effect::Escalate, Effect::Deny][self.turn % 4];
        let call = Uuid::new_v4();
        self.open.extend((effect == Effect::Allow).then_some(call));
        Ok(CallView {
            call,
            session: Uuid::nil(),
            effect,
            mode: Mode::Enforce,
            rules: Vec::new(),
            arguments: None,
            pending: (effect == Effect::Escalate).then(|| "p".to_owned()),
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
            span_id: String::new(),
            trace_id: String::new(),
        })
    }

    fn wait(&mut self, _: Uuid) {}

    fn withdraw(&mut self, _: Uuid) {}

    fn elicited(&mut self, _: Uuid, _: &str) {}

    fn close(&mut self, call: Uuid, _: Outcome) -> Vec<DenialView> {
        assert!(self.open.remove(&call), "what is closed was open");
        vec![DenialView {
            id: call,
            time: String::new(),
            action: "file.write".into(),
            resource: "/x\u{202e}".into(),
            rule: "r".into(),
            reason: "No.".into(),
            advice: String::new(),
            span_id: None,
            attribution: Attribution::Exact,
            count: 1,
            calls: vec![call],
        }]
    }
}

/// Both sides are gone: nothing is open any more, also what has become a task.
pub fn end(gate: &mut Gate<Judging>) {
    gate.client_gone().iter().chain(&gate.server_gone()).for_each(well_formed);
    gate.server_ended();
    assert!(gate.judge().open.is_empty(), "a call is left open");
}

/// A gate that has heard nothing yet.
pub fn gate() -> Gate<Judging> {
    let options = Options {
        server: "s".into(),
        serialize: false,
        elicit: true,
        mode: Mode::Enforce,
        cwd: None,
        home: None,
        session: None,
    };
    Gate::new(options, Arc::new(Shared::default()), Judging::default())
}

/// What any reader of the server's makes of a line: the last of equal keys, as most do.
fn sent(line: &[u8]) -> Value {
    serde_json::from_slice(line).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(line)))
}

/// A line of the client's: what reaches the server is what was judged. How many calls were, and were forwarded.
pub fn from_client(gate: &mut Gate<Judging>, line: &[u8]) -> (usize, usize) {
    let out = gate.client(line);
    let asked = std::mem::take(&mut gate.judge().asked);
    check(line, &asked, &out);
    (asked.len(), out.iter().filter(|out| matches!(out, Out::Server { .. })).count())
}

/// A line of the server's.
pub fn from_server(gate: &mut Gate<Judging>, line: &[u8]) {
    let out = gate.server(line);
    assert!(gate.judge().asked.is_empty(), "nothing of the server becomes a call");
    out.iter().for_each(well_formed);
}

fn check(line: &[u8], asked: &[ToolCall], out: &[Out]) {
    assert!(asked.len() <= 1, "one line is one call at most");
    for message in out {
        match message {
            Out::Note(_) => {}
            Out::Client { line: answer, .. } => drop(sent(answer)),
            Out::Server { line: forwarded, .. } => {
                if asked.is_empty() {
                    assert_eq!(forwarded, line, "what is not judged passes as it is");
                    let seen: Value = serde_json::from_slice(line).unwrap_or_default();
                    let method = seen["method"].as_str().unwrap_or_default().to_lowercase();
                    assert!(!GATED.contains(&method.as_str()), "{}", String::from_utf8_lossy(line));
                    continue;
                }
                let value = sent(forwarded);
                let method = value["method"].as_str().unwrap_or_default().to_owned();
                assert!(GATED.contains(&method.as_str()) && value.get("id").is_some());
                let params = &value["params"];
                let arguments = match method.as_str() {
                    "tools/call" => {
                        assert_eq!(params["name"], asked[0].name.as_str());
                        params.get("arguments").cloned().unwrap_or_else(|| Value::Object(Default::default()))
                    }
                    "resources/read" => serde_json::json!({ "uri": params["uri"] }),
                    _ => serde_json::json!({ "name": params["name"], "arguments":
                        params.get("arguments").cloned().unwrap_or_else(|| Value::Object(Default::default())) }),
                };
                assert_eq!(arguments, asked[0].arguments, "what was judged is what is sent");
                let state = params.get("requestState").and_then(Value::as_str).unwrap_or_default();
                assert!(!state.starts_with("dev.authz:"), "our state stays here");
            }
        }
    }
}

/// What is sent to either side is JSON that passed as it was, or was made here.
fn well_formed(out: &Out) {
    if let Out::Client { line, .. } | Out::Server { line, .. } = out {
        assert!(std::str::from_utf8(line).is_ok() && line.trim_ascii().starts_with(b"{"));
    }
}
