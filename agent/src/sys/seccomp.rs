//! seccomp(2) user notification: a thread's system call waits until a supervisor answers it.
#![allow(unsafe_code, reason = "seccomp(2) and its listener's ioctls have no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::peer::pidfd_open;

/// include/uapi/linux/seccomp.h, Linux 6.6: wake the supervisor on the processor that asks.
const USER_NOTIF_FD_SYNC_WAKE_UP: u64 = 1;

/// A system call that waits.
#[derive(Debug, Clone, Copy)]
pub struct Notification {
    /// Names it in answers.
    pub id: u64,
    /// The thread, as a number of this process's PID namespace; 0: not visible here.
    pub tid: i32,
    /// Number of the call.
    pub number: i64,
    /// Its arguments.
    pub args: [u64; 6],
}

/// Installs the filter for the calling thread and what it starts, and returns the listener, a descriptor that
/// is closed by exec. Calls nothing but the kernel, so it may stand between fork and exec.
pub fn install(filter: &[libc::sock_filter]) -> io::Result<RawFd> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: integers only.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // A held call is not interrupted by a signal that does not kill: it would be started twice.
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: the program and its instructions live through the call; the kernel copies them.
    let fd =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(fd as RawFd) }
}

/// The supervisor's end.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
}

/// A handle on a descriptor of another process, as pidfd_getfd(2) gives it.
pub fn descriptor_of(pidfd: BorrowedFd<'_>, number: i32) -> io::Result<OwnedFd> {
    // SAFETY: integers in, a descriptor or an error out.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel made this descriptor for us just now.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

impl Listener {
    /// Takes the listener that process `pid` has as its descriptor `number`.
    pub fn of_process(pid: i32, number: i32) -> io::Result<Self> {
        let listener = Self { fd: descriptor_of(pidfd_open(pid)?.as_fd(), number)? };
        // Faster where it exists (6.6), the same without.
        // SAFETY: an integer argument.
        unsafe {
            libc::ioctl(
                listener.fd.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS,
                USER_NOTIF_FD_SYNC_WAKE_UP,
            );
        }
        Ok(listener)
    }

    /// The next call that waits; blocks. ENOENT: one that was killed meanwhile.
    pub fn receive(&self) -> io::Result<Notification> {
        // SAFETY: all zero is a value of it, and what the kernel asks for.
        let mut raw: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: a live value of the type that this request fills.
        if unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut raw) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Notification {
            id: raw.id,
            tid: raw.pid as i32,
            number: i64::from(raw.data.nr),
            args: raw.data.args,
        })
    }

    /// Whether the call still waits. What was read of its thread before a yes was really that thread's.
    pub fn is_waiting(&self, id: u64) -> bool {
        // SAFETY: a live value of the type that this request reads.
        unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id) == 0 }
    }

    /// The call returns this, an error as its negative number.
    pub fn respond(&self, id: u64, value: i64) -> io::Result<()> {
        let (error, val) = if value < 0 { (value as i32, 0) } else { (0, value) };
        self.send(libc::seccomp_notif_resp { id, val, error, flags: 0 })
    }

    /// The kernel carries the call out as if nobody had asked.
    pub fn go_on(&self, id: u64) -> io::Result<()> {
        let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
        self.send(libc::seccomp_notif_resp { id, val: 0, error: 0, flags })
    }

    fn send(&self, response: libc::seccomp_notif_resp) -> io::Result<()> {
        // SAFETY: a live value of the type that this request reads.
        let sent =
            unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const response) };
        if sent != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The call returns a new descriptor of the thread for this file. In two steps, between which our own descriptor
    /// is closed, lest the file be busy, or its lock held, once the thread has closed its own; or the other end of a
    /// pipe see a reader that the thread does not know of. In between the call can only be killed.
    pub fn respond_with(&self, id: u64, file: OwnedFd, close_on_exec: bool) -> io::Result<()> {
        let request = libc::seccomp_notif_addfd {
            id,
            flags: 0,
            srcfd: file.as_raw_fd() as u32,
            newfd: 0,
            newfd_flags: if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 },
        };
        // SAFETY: a live value of the type that this request reads.
        let added =
            unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const request) };
        if added < 0 {
            return Err(io::Error::last_os_error());
        }
        drop(file);
        self.respond(id, i64::from(added))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
