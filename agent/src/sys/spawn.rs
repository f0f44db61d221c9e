//! Starting the agent: a child that waits, before it executes anything, until it is in its session.
#![allow(unsafe_code, reason = "what happens between fork and exec")]
#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "the child's whole way to exec has one argument for it"
)]

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
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

/// Spawns `command`, as `credentials` if given. Between fork and exec the child reports its number to `ready`, which is called in
/// the parent and must put it into its session; only then does it go on. An error of `ready` ends it.
pub fn spawn_gated(
    mut command: Command,
    credentials: Option<Credentials>,
    ready: impl FnOnce(i32) -> io::Result<()> + Send,
) -> io::Result<Child> {
    let (mut hello, hello_child) = io::pipe()?;
    let (go_child, mut go) = io::pipe()?;
    let parent_ends = [hello.as_raw_fd(), go.as_raw_fd()];
    // SAFETY: after fork the closure only makes system calls (close, setgroups, setresgid, setresuid, getpid,
    // write, read, close_range), which are async-signal-safe; it allocates nothing.
    unsafe {
        command.pre_exec(move || {
            for fd in parent_ends {
                libc::close(fd);
            }
            if let Some(credentials) = &credentials {
                become_user(credentials)?;
            }
            let pid = libc::getpid().to_ne_bytes();
            let mut byte = [0u8; 1];
            let hello = hello_child.as_raw_fd();
            let go = go_child.as_raw_fd();
            if libc::write(hello, pid.as_ptr().cast(), pid.len()) != pid.len() as isize {
                return Err(io::Error::last_os_error());
            }
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
            let mut pid = [0; 4];
            hello.read_exact(&mut pid)?;
            ready(i32::from_ne_bytes(pid))?;
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
