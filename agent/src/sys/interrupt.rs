//! Getting a thread of this process out of a system call that blocks.
#![allow(unsafe_code, reason = "a signal handler, and signals to threads, have no safe wrapper")]

use std::io;
use std::sync::Once;

/// Ignored by default and sent by nobody else to a process without urgent data.
const SIGNAL: libc::c_int = libc::SIGURG;

extern "C" fn nothing(_: libc::c_int) {}

/// From now on [`interrupt`] makes blocking calls fail with EINTR.
pub fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: all zero is a value of it: no flags (so no restart), an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = nothing as *const () as libc::sighandler_t;
        // SAFETY: a live action whose handler does nothing at all.
        unsafe { libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut()) };
    });
}

/// Interrupts a thread of this process; if it is not in a call yet it has to be done again.
pub fn interrupt(tid: i32) -> io::Result<()> {
    // SAFETY: integers only.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), tid, SIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
