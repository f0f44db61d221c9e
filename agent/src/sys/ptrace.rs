//! ptrace(2) and the waiting for tracees.
//!
//! Raw instead of nix: nix has no PTRACE_LISTEN, and its `waitpid` loses the number of a real-time
//! signal, which then could not be injected again.
#![allow(unsafe_code)] // ptrace and waitpid are foreign functions

use nix::errno::Errno;
use nix::unistd::Pid;

/// linux/ptrace.h; libc does not have it for glibc.
const PTRACE_EVENT_STOP: i32 = 128;

/// What waitpid(2) reported of a tracee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// A signal is about to be delivered; it is lost unless it is injected again.
    Signal(i32),
    /// PTRACE_EVENT_STOP. `signal` is SIGTRAP after an interrupt or a SIGCONT, and the stopping
    /// signal when the thread takes part in a group stop.
    Event {
        /// SIGTRAP, or the stopping signal of the group stop.
        signal: i32,
    },
    /// PTRACE_EVENT_EXEC: a new image, of which nothing has run yet.
    Exec,
    /// Any other stop (system call): nothing that was asked for.
    Other,
    /// The thread is gone, by itself or by a signal, and has been reaped.
    Exited,
}

/// Starts to trace one thread without stopping it. No options: the tracee must outlive the tracer.
pub fn seize(tid: i32) -> nix::Result<()> {
    request(libc::PTRACE_SEIZE, tid, 0)
}

/// The same, with a stop at exec; the tracee is killed if the tracer ends, since nobody would look at the new image.
pub fn seize_for_exec(tid: i32) -> nix::Result<()> {
    request(libc::PTRACE_SEIZE, tid, libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_EXITKILL)
}

/// Asks for a PTRACE_EVENT_STOP.
pub fn interrupt(tid: i32) -> nix::Result<()> {
    request(libc::PTRACE_INTERRUPT, tid, 0)
}

/// Lets a tracee in PTRACE_EVENT_STOP wait for the next change of group stop, not running.
pub fn listen(tid: i32) -> nix::Result<()> {
    request(libc::PTRACE_LISTEN, tid, 0)
}

/// Resumes, delivering `signal` if it is not 0.
pub fn cont(tid: i32, signal: i32) -> nix::Result<()> {
    request(libc::PTRACE_CONT, tid, signal)
}

/// Ends tracing and resumes, delivering `signal` if it is not 0. The tracee has to be stopped.
pub fn detach(tid: i32, signal: i32) -> nix::Result<()> {
    request(libc::PTRACE_DETACH, tid, signal)
}

#[cfg(target_env = "musl")]
type Request = libc::c_int;
#[cfg(not(target_env = "musl"))]
type Request = libc::c_uint;

fn request(request: Request, tid: i32, data: i32) -> nix::Result<()> {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: the requests used here take an integer as data and no address, so the kernel reads or
    // writes no memory of ours.
    let result = unsafe { libc::ptrace(request, tid, none, i64::from(data)) };
    Errno::result(result).map(drop)
}

/// What happened to this thread's tracee `tid`, if anything did. Never blocks.
///
/// Asks for that one thread, and only among what the calling thread traces (`__WNOTHREAD`): an
/// ordinary child of the process cannot be reaped by accident. ECHILD: no longer a tracee.
pub fn poll(tid: i32) -> nix::Result<Option<Stop>> {
    let mut status = 0;
    let flags = libc::WNOHANG | libc::__WALL | libc::__WNOTHREAD;
    // SAFETY: `status` is valid for writing for the time of the call.
    let result = Errno::result(unsafe { libc::waitpid(tid, &mut status, flags) })?;
    Ok((result == tid).then(|| decode(status)))
}

/// Waits for what happens next to any of this thread's tracees: its number, which exec can change, and what.
pub fn wait() -> nix::Result<(i32, Stop)> {
    let mut status = 0;
    let flags = libc::__WALL | libc::__WNOTHREAD;
    // SAFETY: `status` is valid for writing for the time of the call.
    let tid = Errno::result(unsafe { libc::waitpid(-1, &mut status, flags) })?;
    Ok((tid, decode(status)))
}

fn decode(status: i32) -> Stop {
    if !libc::WIFSTOPPED(status) {
        return Stop::Exited;
    }
    match (status >> 16, libc::WSTOPSIG(status)) {
        (0, signal) => Stop::Signal(signal),
        (PTRACE_EVENT_STOP, signal) => Stop::Event { signal },
        (libc::PTRACE_EVENT_EXEC, _) => Stop::Exec,
        _ => Stop::Other,
    }
}

/// The calling thread's id.
pub fn gettid() -> i32 {
    Pid::as_raw(nix::unistd::gettid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_statuses_are_told_apart() {
        assert_eq!(decode(0), Stop::Exited);
        assert_eq!(decode(libc::SIGKILL), Stop::Exited);
        assert_eq!(decode(0x7f | 10 << 8), Stop::Signal(10));
        assert_eq!(decode(0x7f | 40 << 8), Stop::Signal(40), "real-time");
        assert_eq!(decode(0x7f | 5 << 8 | 128 << 16), Stop::Event { signal: 5 });
        assert_eq!(decode(0x7f | 19 << 8 | 128 << 16), Stop::Event { signal: 19 });
        assert_eq!(decode(0x7f | 5 << 8 | 4 << 16), Stop::Exec);
        assert_eq!(decode(0x7f | 5 << 8 | 1 << 16), Stop::Other);
    }

    #[test]
    fn errors_are_the_kernels() {
        assert_eq!(seize(i32::MAX), Err(Errno::ESRCH));
        assert_eq!(seize(gettid()), Err(Errno::EPERM));
        assert_eq!(poll(i32::MAX), Err(Errno::ECHILD));
    }
}
