//! Socket calls with addresses and control messages as bytes: what another process wrote is passed on as it is.
#![allow(unsafe_code, reason = "typed wrappers would lose what they do not know")]

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// connect(2).
pub fn connect(socket: BorrowedFd<'_>, address: &[u8]) -> nix::Result<()> {
    // SAFETY: pointer and length are of one live slice.
    let result = unsafe {
        libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), address.len() as libc::socklen_t)
    };
    Errno::result(result).map(drop)
}

/// bind(2).
pub fn bind(socket: BorrowedFd<'_>, address: &[u8]) -> nix::Result<()> {
    // SAFETY: pointer and length are of one live slice.
    let result =
        unsafe { libc::bind(socket.as_raw_fd(), address.as_ptr().cast(), address.len() as libc::socklen_t) };
    Errno::result(result).map(drop)
}

/// getsockname(2): whether the socket has the path of a file as its name.
pub fn has_path(socket: BorrowedFd<'_>) -> nix::Result<bool> {
    const BEFORE: usize = size_of::<libc::sa_family_t>();
    // SAFETY: all zero is an address without a name.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    let mut length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: `address` and `length` are live and of the size that is passed.
    let result = unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut address).cast(), &raw mut length) };
    Errno::result(result)?;
    let unix = i32::from(address.sun_family) == libc::AF_UNIX;
    Ok(unix && length as usize > BEFORE && address.sun_path[0] != 0)
}

/// sendmsg(2) of one piece of data, to `address` unless that is empty, with control messages.
pub fn send(
    socket: BorrowedFd<'_>,
    address: &[u8],
    data: &[u8],
    control: &[u8],
    flags: i32,
) -> nix::Result<usize> {
    let mut data = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    // SAFETY: all zero is an empty message.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    if !address.is_empty() {
        message.msg_name = address.as_ptr().cast_mut().cast();
        message.msg_namelen = address.len() as libc::socklen_t;
    }
    message.msg_iov = &raw mut data;
    message.msg_iovlen = 1;
    if !control.is_empty() {
        message.msg_control = control.as_ptr().cast_mut().cast();
        message.msg_controllen = control.len();
    }
    // SAFETY: the message points to live slices, which the kernel only reads.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
    Errno::result(sent).map(|sent| sent as usize)
}

/// An `int` option of SOL_SOCKET.
pub fn option(socket: BorrowedFd<'_>, name: i32) -> nix::Result<i32> {
    let (mut value, mut length) = (0i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: `value` and `length` are live and of the size that is passed.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut length)
    };
    Errno::result(result).map(|_| value)
}
