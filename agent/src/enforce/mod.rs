//! Back ends: what makes decisions bind. One file, or folder, each; the daemon sees an [`EnforcementPoint`].

pub mod bpf_lsm;
pub mod btf;
pub mod choice;
pub mod imagined;
pub mod kernel;
pub mod landlock;
pub mod level;
pub mod nothing;
pub mod park;
pub mod probe;
pub mod regions;
pub mod restart;
pub mod seccomp;
mod syscalls;
pub mod verdicts;
pub mod wire;

use std::collections::HashSet;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::pipeline::{EventSource, VerdictSink};
use crate::session::Session;
use crate::sys::peer::Peer;

/// Why an enforcement point could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The LSM programs.
    #[error(transparent)]
    Lsm(#[from] bpf_lsm::Error),
    /// A system call.
    #[error("{what}: {source}")]
    Io {
        /// What was to be done.
        what: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
}

/// What a session is taken in with, besides itself.
#[derive(Debug, Clone, Copy)]
pub struct Admission {
    /// Record each remembered allow.
    pub audit_each: bool,
    /// The seccomp listener, as the number of a descriptor of the first process.
    pub listener: Option<i32>,
}

/// What an enforcement point in this process needs: hits counted, dead sessions seen. Its own calls wake the daemon.
const REST: Duration = Duration::from_secs(1);

/// What makes verdicts bind, as the daemon sees it.
pub trait EnforcementPoint: EventSource + VerdictSink {
    /// What is really enforced.
    fn enforcement(&self) -> &level::Enforcement;

    /// Readable when there are events.
    fn ready(&self) -> BorrowedFd<'_>;

    /// How long the daemon may leave it alone when nothing happens.
    fn rest(&self) -> Duration {
        REST
    }

    /// Tells it that the daemon lives.
    fn heartbeat(&mut self) -> Result<(), Error>;

    /// Takes in the first process of a session, which waits. Its children follow by themselves.
    fn admit(&mut self, session: &Session, admission: &Admission) -> Result<(), Error>;

    /// Tells it what a session has become: its mode, its generation, its open calls.
    fn publish(&mut self, session: &Session) -> Result<(), Error>;

    /// The session is over.
    fn forget(&mut self, index: u32) -> Result<(), Error>;

    /// The session whose process the peer is.
    fn session_of(&self, peer: &Peer) -> std::io::Result<Option<u32>>;

    /// Whether the peer is a process of any session.
    fn encloses(&self, peer: &Peer) -> std::io::Result<bool> {
        Ok(self.session_of(peer)?.is_some())
    }

    /// Indexes of the sessions that have a task.
    fn live(&self) -> HashSet<u32>;

    /// How often each remembered verdict was used since the last call, by evaluation.
    fn take_hits(&mut self) -> Vec<(u64, u64)>;

    /// Drops what nobody waits for any more.
    fn sweep(&mut self);

    /// What happened without an event since the last call: causes in words, with counts.
    fn unrecorded(&mut self) -> Vec<(&'static str, u64)>;

    /// The last session is over.
    fn close(&mut self) -> Result<(), Error>;
}

/// Every process that still runs: a zombie without other threads does nothing any more.
fn processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter(|pid| {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let zombie =
            state.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']));
        let threads = || std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        !zombie || threads() > 1
    })
}
