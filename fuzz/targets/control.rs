//! A line of the control protocol: an error, or a request that means the same when it is written again.
#![no_main]

use authz::control::Request;

libfuzzer_sys::fuzz_target!(|line: &[u8]| {
    let Ok(request) = serde_json::from_slice::<Request>(line) else { return };
    let again = serde_json::to_string(&request).expect("what was read can be written");
    let read: Request = serde_json::from_str(&again).expect("what was written can be read");
    assert_eq!(format!("{request:?}"), format!("{read:?}"));
});
