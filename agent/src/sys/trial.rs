//! Whether one process can supervise the system calls of another here: tried with a child, which ends at once.
#![allow(unsafe_code, reason = "fork, seccomp(2) and pidfd_getfd(2) have no safe wrapper")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "the child's whole life has one argument for it")]

use std::io::{self, IoSliceMut, Read};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use super::peer::pidfd_open;

/// What a supervisor needs, in the order it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A child, and a way to hear from it.
    Child,
    /// A filter with a listener whose calls are not interrupted once they were received (Linux 5.19).
    Filter,
    /// The listener, taken out of the child.
    Listener,
    /// The child's memory.
    Memory,
}

/// The step that was refused, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Which.
    pub step: Step,
    /// The error.
    pub errno: Errno,
}

/// Tries every step.
pub fn supervise() -> Result<(), Refused> {
    let refused = |step| move |errno| Refused { step, errno };
    let error = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
    let (mut report, report_child) = io::pipe().map_err(error).map_err(refused(Step::Child))?;
    // SAFETY: the child only makes system calls.
    let pid = Errno::result(unsafe { libc::fork() }).map_err(refused(Step::Child))?;
    if pid == 0 {
        child(report_child.as_raw_fd());
    }
    drop(report_child);
    let mut number = [0; 4];
    let mut steps = || {
        // It dies without a word where a filter around us kills for what it does.
        report.read_exact(&mut number).map_err(|_| Refused { step: Step::Filter, errno: Errno::EPERM })?;
        let listener = result_of(i32::from_ne_bytes(number)).map_err(refused(Step::Filter))?;
        let pidfd = pidfd_open(pid).map_err(error).map_err(refused(Step::Listener))?;
        // SAFETY: integers in, a descriptor or an error out.
        let taken = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), listener, 0) };
        let taken = Errno::result(taken).map_err(refused(Step::Listener))?;
        // SAFETY: the kernel made this descriptor for us just now, and nobody else has it.
        unsafe { libc::close(taken as i32) };
        read_memory(Pid::from_raw(pid)).map_err(refused(Step::Memory))
    };
    let result = steps();
    // SAFETY: it is our child and nobody has waited for it, so the number is still its own.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, std::ptr::null_mut(), 0);
    }
    result
}

/// A negative number is an error.
fn result_of(number: i32) -> nix::Result<i32> {
    if number < 0 { Err(Errno::from_raw(-number)) } else { Ok(number) }
}

/// Reads what a child has at the same address as its parent.
fn read_memory(pid: Pid) -> nix::Result<()> {
    static HERE: u8 = 7;
    let mut byte = [0];
    let remote = [RemoteIoVec { base: (&raw const HERE).addr(), len: 1 }];
    process_vm_readv(pid, &mut [IoSliceMut::new(&mut byte)], &remote)?;
    if byte == [HERE] { Ok(()) } else { Err(Errno::EIO) }
}

/// Installs a filter that lets everything through, writes the listener's number or the negative error, and waits to
/// be killed.
fn child(report: i32) -> ! {
    let allow = libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    };
    let program = libc::sock_fprog { len: 1, filter: (&raw const allow).cast_mut() };
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: the program and its instruction live through the call; the rest takes integers and four bytes that live.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        let fd = libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program);
        let number = if fd < 0 { -*libc::__errno_location() } else { fd as i32 };
        libc::write(report, (&raw const number).cast(), size_of::<i32>());
        loop {
            libc::pause();
        }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let step = match self.step {
            Step::Child => "a child",
            Step::Filter => "a filter with a listener",
            Step::Listener => "taking the listener over",
            Step::Memory => "reading the child's memory",
        };
        write!(f, "{step}: {} ({:?})", self.errno.desc(), self.errno)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trial_answers_and_leaves_nobody_behind() {
        let result = supervise();
        println!("{result:?}");
        if let Err(refused) = result {
            assert!(refused.to_string().contains(refused.errno.desc()));
            assert_ne!(refused.step, Step::Child);
        }
    }

    #[test]
    fn a_negative_number_is_an_error() {
        assert_eq!(result_of(3), Ok(3));
        assert_eq!(result_of(-libc::EBUSY), Err(Errno::EBUSY));
    }
}
