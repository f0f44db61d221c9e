//! Hostile lines against the gate: whatever a client says, what reaches the server is what was judged, and nothing
//! panics. `FUZZ_SECONDS` says for how long (default 2), `FUZZ_SEED` from where; it prints how many lines it tried.
#![allow(clippy::unwrap_used, reason = "a test")]

mod judged;

use std::time::{Duration, Instant};

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

#[test]
fn no_line_gets_past_the_gate_unjudged() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("FUZZ_SEED").unwrap_or(0x9e37_79b9_7f4a_7c15).max(1);
    let end = Instant::now() + Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(2));
    let mut random = Random(seed);
    let (mut tried, mut forwarded, mut calls) = (0u64, 0u64, 0u64);
    while Instant::now() < end {
        let mut gate = judged::gate();
        for _ in 0..200 {
            let mut line = SEEDS[random.below(SEEDS.len())].as_bytes().to_vec();
            for _ in 0..random.below(6) {
                mutate(&mut line, &mut random);
            }
            tried += 1;
            if random.below(3) == 0 {
                judged::from_server(&mut gate, &line);
                continue;
            }
            let (asked, sent) = judged::from_client(&mut gate, &line);
            calls += asked as u64;
            forwarded += sent as u64;
        }
        judged::end(&mut gate);
    }
    println!("{tried} lines, {calls} judged, {forwarded} forwarded, seed {seed}");
    assert!(tried > 1000 && forwarded > 100, "{tried} {forwarded}");
}
