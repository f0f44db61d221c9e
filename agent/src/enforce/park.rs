//! Parking: a thread that waits for a human or for a slow answer is put into a ptrace stop.
//!
//! The thread is one whose system call the kernel side keeps restarting until there is a verdict.
//! Spinning is for microseconds; parked, it costs nothing, its parent sees no stop, and the other
//! threads of the process run on. When the tracer dies, the kernel ends the stops by itself.
//!
//! One thread owns all tracing, since ptrace requests must come from the tracing thread. It sleeps in
//! poll(2) on one eventfd, which commands and SIGCHLD wake (see [`crate::sys::sigchld`] for why that
//! way), and then asks waitpid(2) for each of its tracees by number, so it can never reap a child that
//! belongs to another part of the process.
//!
//! What a parked thread still takes part in:
//! * **SIGKILL** ends it at once, and it is reported [`Report::Gone`].
//! * **Another signal that would act on it** (Ctrl-C, Ctrl-Z, a handler): a thread in a ptrace stop takes
//!   no signals, which would make the program deaf for as long as the human thinks. So within a tick
//!   it is let go to take the signal and reported [`Report::Signalled`]; if it survives, it runs into
//!   the hook again and is parked again. SIGCONT is no reason: every hold sends one.
//! * **A group stop** begun by a sibling (job control): it is in PTRACE_LISTEN, so it joins the stop, and
//!   the stop completes. Every hold of a sibling sends SIGCONT and ends the listening; it is taken up
//!   again at the next tick, not at once, so that a spinning sibling does not make the tracer spin.

mod signals;
mod thread;

use std::collections::HashSet;
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::errno::Errno;

use crate::sys::sigchld::Wake;

/// What became of a thread. Sent from the tracing thread: the receiver must not block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// It is stopped and stays so until [`Tracer::release`].
    Parked {
        /// The thread.
        tid: i32,
    },
    /// It runs again, as was asked.
    Released {
        /// The thread.
        tid: i32,
    },
    /// It runs again, to take a signal. If it comes back to the hook, park it again.
    Signalled {
        /// The thread.
        tid: i32,
    },
    /// It could not be parked and was left as it was.
    Failed {
        /// The thread.
        tid: i32,
        /// Why not.
        why: ParkError,
    },
    /// It ended while traced.
    Gone {
        /// The thread.
        tid: i32,
    },
}

/// Why a thread cannot be parked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParkError {
    /// Another tracer (a debugger, strace) has it.
    #[error("thread is traced already, by thread {0}")]
    Traced(i32),
    /// There is no such thread.
    #[error("thread has ended")]
    Exited,
    /// No right to trace it.
    #[error("PTRACE_SEIZE is not permitted; it takes CAP_SYS_PTRACE")]
    Denied,
    /// Anything else.
    #[error("{call}: {errno}")]
    Call {
        /// The call that failed.
        call: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

enum Command {
    Park(i32),
    Release(i32),
    End,
}

/// Handle on the tracing thread. Dropping it lets every parked thread go.
#[derive(Debug)]
pub struct Tracer {
    commands: Sender<Command>,
    wake: Arc<Wake>,
    parked: Arc<Mutex<HashSet<i32>>>,
    thread: Option<JoinHandle<()>>,
}

impl Tracer {
    /// Starts the tracing thread. `report` is called on it, once for each thing that happens.
    pub fn spawn(report: impl FnMut(Report) + Send + 'static) -> io::Result<Self> {
        let wake = Arc::new(Wake::new()?);
        let parked = Arc::new(Mutex::new(HashSet::new()));
        let (commands, inbox) = channel();
        let tracing = thread::Tracing::new(inbox, wake.clone(), parked.clone(), Box::new(report));
        let thread = std::thread::Builder::new().name("authz-park".into()).spawn(move || tracing.run())?;
        Ok(Self { commands, wake, parked, thread: Some(thread) })
    }

    /// Asks that thread `tid` be parked; [`Report::Parked`] or [`Report::Failed`] follows.
    pub fn park(&self, tid: i32) {
        self.send(Command::Park(tid));
    }

    /// Asks that it run again; [`Report::Released`] or [`Report::Gone`] follows if it was traced.
    pub fn release(&self, tid: i32) {
        self.send(Command::Release(tid));
    }

    /// Whether it is stopped now.
    pub fn is_parked(&self, tid: i32) -> bool {
        thread::lock(&self.parked).contains(&tid)
    }

    fn send(&self, command: Command) {
        // The receiver is gone only if the tracing thread is; the kernel released its tracees then.
        self.commands.send(command).ok();
        self.wake.wake();
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.send(Command::End);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
