//! The last step of Landlock, which is made between fork and exec.
#![allow(unsafe_code, reason = "no safe wrapper makes these two calls and nothing else")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Restricts the calling thread, and what it starts, by a ruleset; for that it gives up gaining privileges by exec.
/// Makes two system calls and allocates nothing.
pub fn restrict_self(ruleset: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: integers only.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that is open, and no flags.
    if unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
