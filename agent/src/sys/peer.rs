//! Who is at the other end of a Unix socket.
#![allow(unsafe_code, reason = "SO_PEERPIDFD and the pidfd calls have no safe wrapper yet")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// include/uapi/asm-generic/socket.h, Linux 6.5.
const SO_PEERPIDFD: libc::c_int = 77;

/// The process that connected.
#[derive(Debug)]
pub struct Peer {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its number at the time.
    pub pid: i32,
    /// A handle on it, which no later process can take over.
    pub pidfd: OwnedFd,
}

impl Peer {
    /// This process itself.
    pub fn own() -> io::Result<Self> {
        let pid = nix::unistd::getpid().as_raw();
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        Ok(Self { uid, gid, pid, pidfd: pidfd_open(pid)? })
    }

    /// Another handle on the same process.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { uid: self.uid, gid: self.gid, pid: self.pid, pidfd: self.pidfd.try_clone()? })
    }
}

/// Asks the kernel who connected `socket`.
pub fn peer_of(socket: &impl AsFd) -> io::Result<Peer> {
    let cred = getsockopt(socket, PeerCredentials)?;
    let pidfd = match peer_pidfd(socket) {
        // Before 6.5: by number. The eBPF programs refuse the connection itself to every managed
        // process, so this is the second guard, not the first.
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => pidfd_open(cred.pid())?,
        other => other?,
    };
    Ok(Peer { uid: cred.uid(), gid: cred.gid(), pid: cred.pid(), pidfd })
}

fn peer_pidfd(socket: &impl AsFd) -> io::Result<OwnedFd> {
    let mut fd: libc::c_int = -1;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `fd` and `length` are live and of the size that is passed.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut fd).cast(),
            &raw mut length,
        )
    };
    if result < 0 || fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel made this descriptor for us just now.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A handle on a process by number.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: two integers in, a descriptor or an error out.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel made this descriptor for us just now.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sends a signal to the process of a handle, which can be no other one.
pub fn pidfd_signal(pidfd: &OwnedFd, signal: nix::sys::signal::Signal) -> io::Result<()> {
    let number = signal as libc::c_int;
    // SAFETY: integers and a null pointer, which stands for what kill(2) would send.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            number,
            std::ptr::null::<libc::c_void>(),
            0,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
