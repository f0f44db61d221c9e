//! Why a call could not be decided, in words. What becomes of it then is said in one place, [`Judge::fail`]: in
//! enforce mode it is refused, in observe mode it goes on as the kernel has it, and both are recorded.
//!
//! What observe mode cannot give back: a call on which the supervisor failed after the decision may have been
//! carried out already. It is refused there too, since the kernel would do it a second time.
//!
//! [`Judge::fail`]: super::judge::Judge::fail

use nix::errno::Errno;

use crate::abi::raw::*;
use crate::enforce::wire::CAUSES;

/// The object has no path.
pub const PATH: &str = CAUSES[AUTHZ_CAUSE_PATH as usize];
/// Nobody is there to ask.
pub const STALE: &str = CAUSES[AUTHZ_CAUSE_STALE as usize];
/// Nobody answered.
pub const DEADLINE: &str = CAUSES[AUTHZ_CAUSE_DEADLINE as usize];
/// It aims at what decides.
pub const GUARD: &str = CAUSES[AUTHZ_CAUSE_GUARD as usize];
/// Status, memory or descriptors of the process are not to be had.
pub const UNREADABLE: &str = "the process cannot be read, so what it asks for cannot be told";
/// The supervisor's own limits.
pub const EXHAUSTED: &str = "the supervisor has no descriptor or memory left for the call";
/// Neither the process's rights nor the way back.
pub const RIGHTS: &str = "the rights of the process could not be taken on";
/// A program that may be executed and not read, without root.
pub const CLOSED: &str = "the program cannot be read, nor could the process that it becomes";
/// A tracer in the way of the comparison.
pub const UNWATCHED: &str = "the new program cannot be watched, since another process traces it";
/// The comparison.
pub const CHANGED: &str = "the new program or its arguments are not those that were decided";
/// A panic.
pub const FAULT: &str = "the supervisor failed on the call";
/// No rule can allow it.
pub const REFUSED: &str = CAUSES[AUTHZ_CAUSE_REFUSED as usize];
/// A message queue that this process does not reach.
pub const NAMESPACE: &str = "the message queue is of another namespace than the supervisor's";
/// A record that makes no event.
pub const RECORD: &str = "what the call is about could not be put into words";

/// Why a process could not be read.
pub fn unread(error: Errno) -> &'static str {
    match error {
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => EXHAUSTED,
        _ => UNREADABLE,
    }
}
