//! A thread of the supervisor takes on the identity of the thread it acts for.
#![allow(unsafe_code, reason = "the C library changes identities of whole processes; these are per thread")]

use std::io;

/// With whose rights files are opened and sockets connected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// File system user.
    pub uid: u32,
    /// File system group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Effective capabilities.
    pub capabilities: u64,
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The calling thread gets a root, working directory and umask of its own.
pub fn own_file_system_state() -> io::Result<()> {
    // SAFETY: an integer argument.
    check(libc::c_long::from(unsafe { libc::unshare(libc::CLONE_FS) }))
}

/// The calling thread, whose real user is root, acts as `identity` from now on. On an error it may be in between:
/// nothing must be done with it but [`be_root`].
pub fn be(identity: &Identity) -> io::Result<()> {
    const KEEP: libc::c_long = -1;
    let Identity { uid, gid, groups, capabilities } = identity;
    // SAFETY: pointer and length are of one live vector.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresgid, KEEP, *gid, KEEP) })?;
    // From root to another user this clears the effective capabilities.
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, KEEP, *uid, KEEP) })?;
    if *uid == 0 { limit_capabilities(*capabilities) } else { Ok(()) }
}

/// Back to root with all its capabilities.
pub fn be_root() -> io::Result<()> {
    const KEEP: libc::c_long = -1;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, KEEP, 0, KEEP) })?;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresgid, KEEP, 0, KEEP) })?;
    limit_capabilities(u64::MAX)
}

/// Sets the effective capabilities to those of the mask that are permitted.
fn limit_capabilities(mask: u64) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    // _LINUX_CAPABILITY_VERSION_3: two words of 32.
    let mut header = Header { version: 0x2008_0522, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: both live and of the layout of linux/capability.h.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    data[0].effective = data[0].permitted & mask as u32;
    data[1].effective = data[1].permitted & (mask >> 32) as u32;
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) })
}
