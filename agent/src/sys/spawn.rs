//! Starting the agent: a child that waits, before it executes anything, until it is in its session.
#![allow(unsafe_code, reason = "what happens between fork and exec")]
#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "the child's whole way to exec has one argument for it"
)]

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// Whom a command runs as.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// What a command is confined by before it executes.
#[derive(Debug)]
pub struct Confinement {
    /// Stops its calls for a supervisor.
    pub filter: Vec<libc::sock_filter>,
    /// A Landlock ruleset.
    pub ruleset: Option<OwnedFd>,
}

impl Confinement {
    /// Confines the calling thread; the listener. Calls nothing but the kernel.
    fn apply(&self) -> io::Result<RawFd> {
        if let Some(ruleset) = &self.ruleset {
            super::landlock::restrict_self(ruleset.as_fd())?;
        }
        super::seccomp::install(&self.filter)
    }
}

/// Groups, group and user, in the order that lets each still be set. Calls nothing but the kernel.
fn become_user(credentials: &Credentials) -> io::Result<()> {
    // SAFETY: the pointer and length are of one live vector; the calls take integers otherwise.
    let failed = unsafe {
        libc::setgroups(credentials.groups.len(), credentials.groups.as_ptr()) != 0
            || libc::setresgid(credentials.gid, credentials.gid, credentials.gid) != 0
            || libc::setresuid(credentials.uid, credentials.uid, credentials.uid) != 0
    };
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A descriptor that this process was started with.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: integers only.
    if number <= 2 || unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: it is open, as was just seen, and its number was given to this process for this one use.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// What the child tells of itself: its number, and that of the listener's descriptor or -1.
type Hello = [i32; 2];

/// Spawns `command`, as `credentials` and under `confinement` if given. Between fork and exec the child reports its
/// number, and that of its listener, to `ready`, which is called in the parent and must put it into its session;
/// only then does it go on. An error of `ready` ends it.
pub fn spawn_gated(
    mut command: Command,
    credentials: Option<Credentials>,
    confinement: Option<Confinement>,
    ready: impl FnOnce(i32, Option<RawFd>) -> io::Result<()> + Send,
) -> io::Result<Child> {
    let (mut hello, hello_child) = io::pipe()?;
    let (go_child, mut go) = io::pipe()?;
    let parent_ends = [hello.as_raw_fd(), go.as_raw_fd()];
    // SAFETY: after fork the closure only makes system calls (close, setgroups, setresgid, setresuid, getpid,
    // landlock_restrict_self, prctl, seccomp, sigprocmask, write, read, close_range), which are async-signal-safe; it allocates
    // nothing.
    unsafe {
        command.pre_exec(move || {
            for fd in parent_ends {
                libc::close(fd);
            }
            if let Some(credentials) = &credentials {
                become_user(credentials)?;
            }
            let listener = match &confinement {
                Some(confinement) => confinement.apply()?,
                None => -1,
            };
            let words: Hello = [libc::getpid(), listener];
            let mut byte = [0u8; 1];
            let hello = hello_child.as_raw_fd();
            let go = go_child.as_raw_fd();
            if libc::write(hello, words.as_ptr().cast(), size_of::<Hello>()) != size_of::<Hello>() as isize {
                return Err(io::Error::last_os_error());
            }
            // What this process waits for in its own way is the agent's again.
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
            // Nothing but the standard three reaches the agent.
            if libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) != 0 {
                return Err(io::Error::last_os_error());
            }
            if libc::read(go, byte.as_mut_ptr().cast(), 1) != 1 {
                return Err(io::Error::from_raw_os_error(libc::ECANCELED));
            }
            Ok(())
        });
    }
    std::thread::scope(|scope| {
        // spawn() returns only after exec, which waits for the gate.
        let gate = scope.spawn(move || {
            let mut word = || {
                let mut bytes = [0; 4];
                hello.read_exact(&mut bytes).map(|()| i32::from_ne_bytes(bytes))
            };
            let (pid, listener) = (word()?, word()?);
            ready(pid, (listener >= 0).then_some(listener))?;
            go.write_all(b"g")
        });
        let child = command.spawn();
        // The child's ends live in the closure: without this the gate would wait for a failed fork.
        drop(command);
        let gate = gate.join().unwrap_or_else(|_| Err(io::Error::other("the gate failed")));
        match (child, gate) {
            (Ok(child), Ok(())) => Ok(child),
            (Err(_), Err(error)) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            (Err(error), _) => Err(error),
            (Ok(_), Err(error)) => Err(error),
        }
    })
}
