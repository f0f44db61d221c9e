//! Lines at the gate, one after the other; one that begins with `<` is the server's. What reaches either side is what was
//! judged, and nothing panics.
#![no_main]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../../agent/tests/mcp_fuzz/judged.rs"]
mod judged;

libfuzzer_sys::fuzz_target!(|lines: &[u8]| {
    let mut gate = judged::gate();
    for line in lines.split(|byte| *byte == b'\n') {
        match line.strip_prefix(b"<") {
            Some(line) => judged::from_server(&mut gate, line),
            None => drop(judged::from_client(&mut gate, line)),
        }
    }
    judged::end(&mut gate);
});
