//! Hostile lines against the gate: whatever a client says, what reaches the server is what was judged, and nothing
//! panics. `FUZZ_SECONDS` says for how long (default 2), `FUZZ_SEED` from where; it prints how many lines it tried.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use authz::event::Mode;
use authz::mcp::judge::{CallView, DenialView, Judge, Outcome, ToolCall};
use authz::mcp::{Gate, Options, Out, Shared};
use authz::policy::Effect;
use serde_json::Value;
use uuid::Uuid;

/// Where mutation begins: what real clients and servers say, and what attacks do.
const SEEDS: &[&str] = &[
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write","arguments":{"path":"/a","n":1.5e3}}}"#,
    r#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"a","_meta":{"traceparent":"00-1"},"requestState":"dev.authz:1","inputResponses":{"dev.authz/approval":{"action":"accept"}}}}"#,
    r#"{"jsonrpc":"2.0","id":1.0e0,"method":"resources/read","params":{"uri":"file:///x"}}"#,
    r#"{"jsonrpc":"2.0","id":-3,"method":"prompts/get","params":{"name":"p","arguments":{"a":"\u0062\ud83d\ude00"}}}"#,
    r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"capabilities":{"elicitation":{}},"protocolVersion":"2025-06-18"}}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
    r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#,
    r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"x"}],"isError":true}}"#,
    r#"{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"m"}}"#,
    r#"{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"cursor":"c"}}"#,
    r#"[{"jsonrpc":"2.0","id":1,"method":"tools/call"}]"#,
];

/// Pieces that break what reads them.
const TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "null",
    "true",
    "1e999",
    "-0",
    "18446744073709551616",
    "\"method\":\"tools/call\",",
    "\"Method\":\"tools/call\",",
    "\"params\":{},",
    "\"id\":2,",
    "\"name\":\"b\",",
    "\"Name\":\"b\",",
    "\"arguments\":{},",
    "\"name\":\"\\u0062\",",
    "\u{feff}",
    "\u{17f}",
    "\u{212a}",
    " ",
    "\r",
    "\t",
    "//",
    "'",
    "NaN",
];

/// What has to be judged.
const GATED: [&str; 3] = ["tools/call", "resources/read", "prompts/get"];

/// xorshift64*: a seed makes a run again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

fn mutate(line: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(line.len() + 1);
    match random.below(6) {
        0 if at < line.len() => line[at] ^= 1 << random.below(8),
        1 => drop(line.drain(at..(at + random.below(8)).min(line.len()))),
        2 => drop(line.splice(at..at, TOKENS[random.below(TOKENS.len())].bytes())),
        3 => {
            let piece = line[at..(at + random.below(40)).min(line.len())].to_vec();
            let to = random.below(line.len() + 1);
            drop(line.splice(to..to, piece));
        }
        4 => {
            let other = SEEDS[random.below(SEEDS.len())].as_bytes();
            let from = random.below(other.len());
            drop(line.splice(at.., other[from..].iter().copied()));
        }
        _ if at < line.len() => line[at] = random.next() as u8,
        _ => {}
    }
}

/// Allows, holds or refuses by turns, and keeps what it was asked.
#[derive(Default)]
struct Judging {
    asked: Vec<ToolCall>,
    turn: usize,
}

impl Judge for Judging {
    fn open(&mut self, call: ToolCall) -> Result<CallView, String> {
        self.asked.push(call);
        self.turn += 1;
        let effect = [Effect::Allow, Effect::Allow, Effect::Escalate, Effect::Deny][self.turn % 4];
        Ok(CallView {
            call: Uuid::new_v4(),
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

    fn close(&mut self, _: Uuid, _: Outcome) -> Vec<DenialView> {
        Vec::new()
    }
}

fn gate() -> Gate<Judging> {
    let options = Options {
        server: "s".into(),
        serialize: false,
        elicit: true,
        mode: Mode::Enforce,
        cwd: None,
        session: None,
    };
    Gate::new(options, Arc::new(Shared::default()), Judging::default())
}

/// What any reader of the server's makes of a line: the last of equal keys, as most do.
fn sent(line: &[u8]) -> Value {
    serde_json::from_slice(line).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(line)))
}

fn check(gate: &mut Gate<Judging>, line: &[u8], out: &[Out]) {
    let asked = std::mem::take(&mut gate.judge().asked);
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

#[test]
fn no_line_gets_past_the_gate_unjudged() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("FUZZ_SEED").unwrap_or(0x9e37_79b9_7f4a_7c15).max(1);
    let end = Instant::now() + Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(2));
    let mut random = Random(seed);
    let (mut tried, mut forwarded, mut judged) = (0u64, 0u64, 0u64);
    while Instant::now() < end {
        let mut gate = gate();
        for _ in 0..200 {
            let mut line = SEEDS[random.below(SEEDS.len())].as_bytes().to_vec();
            for _ in 0..random.below(6) {
                mutate(&mut line, &mut random);
            }
            tried += 1;
            if random.below(3) == 0 {
                let out = gate.server(&line);
                assert!(gate.judge().asked.is_empty(), "nothing of the server becomes a call");
                out.iter().for_each(well_formed);
                continue;
            }
            let out = gate.client(&line);
            judged += gate.judge().asked.len() as u64;
            forwarded += out.iter().filter(|out| matches!(out, Out::Server { .. })).count() as u64;
            check(&mut gate, &line, &out);
        }
        drop(gate.server_gone());
    }
    println!("{tried} lines, {judged} judged, {forwarded} forwarded, seed {seed}");
    assert!(tried > 1000 && forwarded > 100, "{tried} {forwarded}");
}

/// What is sent to either side is JSON that passed as it was, or was made here.
fn well_formed(out: &Out) {
    if let Out::Client { line, .. } | Out::Server { line, .. } = out {
        assert!(std::str::from_utf8(line).is_ok() && line.trim_ascii().starts_with(b"{"));
    }
}
