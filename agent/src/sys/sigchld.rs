//! SIGCHLD as a wake-up: an eventfd that becomes readable when a child or tracee changed state.
//!
//! Why a handler. The stops of a tracee are announced by SIGCHLD to the tracer's process and by
//! nothing else that can be polled: a signalfd needs the signal blocked in every thread of the
//! process, whoever started it; a thread blocked in waitpid(2) cannot be woken for a command
//! without a lost-wake-up race; a pidfd reports exits only. A handler needs nobody's cooperation:
//! whichever thread runs it, the write to the eventfd is seen. It reaps nothing, and it calls the
//! handler that was there before, so it and a run-time's own handler can be installed in either order.
#![allow(unsafe_code)] // sigaction, and what is allowed inside a signal handler

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Room for subscriptions. The daemon has one; more exist in tests only.
const SLOTS: usize = 64;

/// What the handler writes to; -1 is an empty slot. A descriptor that stands here is never closed,
/// only used again, so the handler can never write into somebody else's file.
static FDS: [AtomicI32; SLOTS] = [const { AtomicI32::new(-1) }; SLOTS];
static PREVIOUS: OnceLock<SigAction> = OnceLock::new();
static POOL: Mutex<Pool> = Mutex::new(Pool { used: 0, idle: Vec::new() });

struct Pool {
    used: usize,
    idle: Vec<&'static EventFd>,
}

/// An eventfd that is readable after each SIGCHLD, and after [`Wake::wake`].
#[derive(Debug)]
pub struct Wake(&'static EventFd);

impl Wake {
    /// Installs the handler, once in the process, and subscribes to it.
    pub fn new() -> nix::Result<Self> {
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        if PREVIOUS.get().is_none() {
            let flags = SaFlags::SA_RESTART | SaFlags::SA_ONSTACK;
            let action = SigAction::new(SigHandler::SigAction(on_sigchld), flags, SigSet::empty());
            // SAFETY: the handler only does what signal-safety(7) allows, see there.
            let previous = unsafe { sigaction(Signal::SIGCHLD, &action) }?;
            PREVIOUS.get_or_init(|| previous);
        }
        if let Some(fd) = pool.idle.pop() {
            return Ok(Self(fd));
        }
        let slot = FDS.get(pool.used).ok_or(Errno::EMFILE)?;
        let fd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        slot.store(fd.as_fd().as_raw_fd(), Ordering::Release);
        pool.used += 1;
        Ok(Self(Box::leak(Box::new(fd))))
    }

    /// Makes it readable.
    pub fn wake(&self) {
        // EAGAIN: the counter is full, so it is readable already.
        self.0.write(1).ok();
    }

    /// Makes it unreadable until the next wake-up.
    pub fn clear(&self) {
        // EAGAIN: it was not readable.
        self.0.read().ok();
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        POOL.lock().unwrap_or_else(PoisonError::into_inner).idle.push(self.0);
    }
}

extern "C" fn on_sigchld(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let errno = Errno::last_raw();
    for slot in &FDS {
        let fd = slot.load(Ordering::Acquire);
        if fd < 0 {
            break;
        }
        let one = 1u64.to_ne_bytes();
        // SAFETY: write(2) is async-signal-safe, the buffer is ours, and the descriptor is an eventfd
        // that is never closed. It does not block; a failure means that it is readable already.
        unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
    }
    match PREVIOUS.get().map(SigAction::handler) {
        Some(SigHandler::Handler(handler)) => handler(signal),
        Some(SigHandler::SigAction(handler)) => handler(signal, info, context),
        _ => {}
    }
    Errno::set_raw(errno);
}

/// Blocks every signal but SIGCHLD in the calling thread. The kernel offers a tracee's SIGCHLD to the
/// tracing thread first, so the other threads are not disturbed.
pub fn only_sigchld_here() -> nix::Result<()> {
    let mut mask = SigSet::all();
    mask.remove(Signal::SIGCHLD);
    mask.thread_set_mask()
}
