//! The threads that carry calls out. One at a time waits for the next call; before it starts on one it sees to it
//! that another waits, since a call may take as long as a human does.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;

use super::call::{Call, Outcome, Result};
use super::calls::refusal;
use super::judge::{Judge, Known};
use super::target::Target;
use super::{attributes, exec, fail, map, names, open, process, queue, socket, system};
use crate::sys::identity;
use crate::sys::seccomp::Notification;

/// Threads that are kept to wait; more are made while calls take long.
const IDLE_MAX: usize = 16;

/// As many calls can be under way; what comes then waits until one is done.
const WORKERS_MAX: usize = 256;

/// Each keeps little on its stack.
const STACK: usize = 256 << 10;

thread_local! {
    static SWITCHED: Cell<bool> = const { Cell::new(false) };
}

/// This thread acts with another's rights from now on.
pub fn switched() {
    SWITCHED.set(true);
}

/// Back to the supervisor's own rights, which reading another process takes.
pub fn back() -> Result<()> {
    if SWITCHED.replace(false) {
        identity::be_root().map_err(|_| Errno::EACCES)?;
    }
    Ok(())
}

/// What finds out what a call is about, has it decided and carries it out.
type Handle = fn(&Call<'_>) -> Result;

/// The workers of one session.
pub struct Workers {
    judge: Arc<Judge>,
    session: Arc<Known>,
    handle: Handle,
    /// Held by the one that waits for the next call.
    turn: Mutex<()>,
    idle: AtomicUsize,
    all: AtomicUsize,
}

impl Workers {
    /// Starts them. They end with the last process of the session.
    pub fn start(judge: Arc<Judge>, session: Arc<Known>) -> std::io::Result<()> {
        Self::start_with(handle, judge, session)
    }

    fn start_with(handle: Handle, judge: Arc<Judge>, session: Arc<Known>) -> std::io::Result<()> {
        let (idle, all) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { judge, session, handle, turn: Mutex::new(()), idle, all }).add()
    }

    fn add(self: &Arc<Self>) -> std::io::Result<()> {
        let workers = self.clone();
        self.all.fetch_add(1, Ordering::SeqCst);
        self.idle.fetch_add(1, Ordering::SeqCst);
        let started = std::thread::Builder::new()
            .name("authz-seccomp".into())
            .stack_size(STACK)
            .spawn(move || workers.work());
        if let Err(error) = started {
            self.all.fetch_sub(1, Ordering::SeqCst);
            self.idle.fetch_sub(1, Ordering::SeqCst);
            return Err(error);
        }
        Ok(())
    }

    fn work(self: Arc<Self>) {
        if let Err(error) = identity::own_file_system_state() {
            // Its umask would be everyone's.
            tracing::error!(%error, "a worker cannot be set up; calls wait for another one");
            self.idle.fetch_sub(1, Ordering::SeqCst);
            self.all.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        while let Some(asked) = self.next() {
            let others = self.idle.fetch_sub(1, Ordering::SeqCst) - 1;
            if others == 0
                && self.all.load(Ordering::SeqCst) < WORKERS_MAX
                && let Err(error) = self.add()
            {
                tracing::warn!(%error, "no more workers: calls wait");
            }
            self.answer(asked);
            if back().is_err() {
                tracing::error!("a worker could not get its own rights back; it ends");
                break;
            }
            if self.idle.fetch_add(1, Ordering::SeqCst) >= IDLE_MAX {
                self.idle.fetch_sub(1, Ordering::SeqCst);
                break;
            }
        }
        self.all.fetch_sub(1, Ordering::SeqCst);
    }

    /// The next call; none: nobody is left who could make one.
    fn next(&self) -> Option<Notification> {
        let _turn = self.turn.lock().ok()?;
        let listener = &self.session.listener;
        loop {
            let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(_) => return None,
            }
            let ready = fds[0].revents().unwrap_or(PollFlags::empty());
            if ready.contains(PollFlags::POLLIN) {
                match listener.receive() {
                    Ok(asked) => return Some(asked),
                    // Killed meanwhile.
                    Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => {}
                    Err(error) => {
                        tracing::error!(%error, "the listener failed: calls of the session fail");
                        return None;
                    }
                }
            } else if ready.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
                return None;
            }
        }
    }

    fn answer(&self, asked: Notification) {
        let listener = &self.session.listener;
        let target = Target::read(asked.tid).unwrap_or_else(|_| {
            let target = Target::unknown(asked.tid);
            target.cannot(fail::UNREADABLE);
            target
        });
        let call = Call::new(&self.judge, &self.session, asked, target);
        // Whatever goes wrong here, the call must not wait for ever.
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.carry_out(&call)));
        let sent = match call.finish(caught.ok()) {
            Ok(Outcome::Value(value)) => listener.respond(asked.id, value),
            Ok(Outcome::GoOn) => listener.go_on(asked.id),
            Ok(Outcome::Answered) => Ok(()),
            Ok(Outcome::File(file, close)) => match listener.respond_with(asked.id, file, close) {
                Err(error) if error.raw_os_error() != Some(libc::ENOENT) => {
                    let errno = error.raw_os_error().unwrap_or(libc::EMFILE);
                    listener.respond(asked.id, -i64::from(errno))
                }
                sent => sent,
            },
            Err(error) => listener.respond(asked.id, -(error as i64)),
        };
        // ENOENT: it was killed, and needs no answer.
        if let Err(error) = sent
            && error.raw_os_error() != Some(libc::ENOENT)
        {
            tracing::error!(%error, "a call could not be answered");
        }
    }

    fn carry_out(&self, call: &Call<'_>) -> Result {
        call.check()?;
        if call.target.unjudged().is_some() { Err(Errno::EACCES) } else { (self.handle)(call) }
    }
}

/// Whose call it is.
fn handle(call: &Call<'_>) -> Result {
    if let Some((errno, like)) = refusal(call.asked.number, &call.asked.args) {
        return system::refused(call, Errno::from_raw(errno), like);
    }
    match call.asked.number {
        libc::SYS_open | libc::SYS_openat | libc::SYS_openat2 | libc::SYS_creat => open::open_call(call),
        libc::SYS_mkdir | libc::SYS_mkdirat => names::mkdir(call),
        libc::SYS_mknod | libc::SYS_mknodat => names::mknod(call),
        libc::SYS_symlink | libc::SYS_symlinkat => names::symlink(call),
        libc::SYS_unlink | libc::SYS_unlinkat | libc::SYS_rmdir => names::unlink(call),
        libc::SYS_rename | libc::SYS_renameat | libc::SYS_renameat2 => names::rename(call),
        libc::SYS_link | libc::SYS_linkat => names::link(call),
        libc::SYS_truncate | libc::SYS_ftruncate => attributes::shorten(call),
        libc::SYS_chmod | libc::SYS_fchmod | libc::SYS_fchmodat | libc::SYS_fchmodat2 => {
            attributes::chmod(call)
        }
        libc::SYS_chown | libc::SYS_fchown | libc::SYS_lchown | libc::SYS_fchownat => attributes::chown(call),
        libc::SYS_utime | libc::SYS_utimes | libc::SYS_futimesat | libc::SYS_utimensat => {
            attributes::utimes(call)
        }
        libc::SYS_setxattr
        | libc::SYS_lsetxattr
        | libc::SYS_fsetxattr
        | libc::SYS_removexattr
        | libc::SYS_lremovexattr
        | libc::SYS_fremovexattr => attributes::xattr(call),
        libc::SYS_ioctl => attributes::flags(call),
        libc::SYS_mq_open => queue::open(call),
        libc::SYS_mq_unlink => queue::unlink(call),
        libc::SYS_execve | libc::SYS_execveat => exec::exec(call),
        libc::SYS_mmap | libc::SYS_mprotect | libc::SYS_pkey_mprotect => map::map(call),
        libc::SYS_connect => socket::connect(call),
        libc::SYS_bind => socket::bind(call),
        libc::SYS_getsockname => socket::name(call),
        libc::SYS_sendto => socket::sendto(call),
        libc::SYS_sendmsg => socket::sendmsg(call),
        libc::SYS_sendmmsg => socket::sendmmsg(call),
        libc::SYS_kill
        | libc::SYS_tkill
        | libc::SYS_tgkill
        | libc::SYS_rt_sigqueueinfo
        | libc::SYS_rt_tgsigqueueinfo
        | libc::SYS_pidfd_send_signal => process::signal(call),
        libc::SYS_fcntl => process::owner(call),
        libc::SYS_ptrace
        | libc::SYS_process_vm_readv
        | libc::SYS_process_vm_writev
        | libc::SYS_process_madvise
        | libc::SYS_pidfd_getfd
        | libc::SYS_prlimit64
        | libc::SYS_migrate_pages
        | libc::SYS_move_pages
        | libc::SYS_kcmp => process::trace(call),
        libc::SYS_setpriority
        | libc::SYS_ioprio_set
        | libc::SYS_sched_setparam
        | libc::SYS_sched_setscheduler
        | libc::SYS_sched_setattr
        | libc::SYS_sched_setaffinity => process::schedule(call),
        libc::SYS_socket | libc::SYS_socketpair => system::socket(call),
        libc::SYS_unshare | libc::SYS_clone | libc::SYS_setns => system::namespace(call),
        _ => system::system(call),
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
