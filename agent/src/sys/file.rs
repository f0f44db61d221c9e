//! Changes of files for which there is no safe wrapper.
#![allow(unsafe_code, reason = "extended attributes, ioctl and utimensat by descriptor have no safe wrapper")]

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::time::TimeSpec;

/// The file whose extended attributes are meant.
#[derive(Debug)]
pub enum Xattr<'a> {
    /// By a descriptor that is not an O_PATH one.
    Of(BorrowedFd<'a>),
    /// By path.
    At(String),
    /// By path, not following a link at its end.
    Link(CString),
}

impl Xattr<'_> {
    /// Sets an attribute.
    pub fn set(&self, name: &CStr, value: &[u8], flags: i32) -> nix::Result<()> {
        let (data, length) = (value.as_ptr().cast(), value.len());
        let result = match self {
            // SAFETY: name and value are live; the kernel copies them.
            Self::Of(file) => unsafe {
                libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), data, length, flags)
            },
            // SAFETY: path, name and value are live; the kernel copies them.
            Self::Link(path) => unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), data, length, flags) },
            Self::At(path) => {
                let path = CString::new(path.as_str()).map_err(|_| Errno::EINVAL)?;
                // SAFETY: path, name and value are live; the kernel copies them.
                unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), data, length, flags) }
            }
        };
        Errno::result(result).map(drop)
    }

    /// Removes an attribute.
    pub fn remove(&self, name: &CStr) -> nix::Result<()> {
        let result = match self {
            // SAFETY: the name is live.
            Self::Of(file) => unsafe { libc::fremovexattr(file.as_raw_fd(), name.as_ptr()) },
            // SAFETY: path and name are live.
            Self::Link(path) => unsafe { libc::lremovexattr(path.as_ptr(), name.as_ptr()) },
            Self::At(path) => {
                let path = CString::new(path.as_str()).map_err(|_| Errno::EINVAL)?;
                // SAFETY: path and name are live.
                unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) }
            }
        };
        Errno::result(result).map(drop)
    }
}

/// Sets the times of what an O_PATH descriptor refers to, a symbolic link too.
pub fn set_times(file: BorrowedFd<'_>, accessed: &TimeSpec, modified: &TimeSpec) -> nix::Result<()> {
    let times = [*accessed.as_ref(), *modified.as_ref()];
    // SAFETY: the empty string and the two times are live.
    let result =
        unsafe { libc::utimensat(file.as_raw_fd(), c"".as_ptr(), times.as_ptr(), libc::AT_EMPTY_PATH) };
    Errno::result(result).map(drop)
}

/// An ioctl whose argument is at most as long as `argument`.
pub fn ioctl(file: BorrowedFd<'_>, request: u32, argument: &mut [u8]) -> nix::Result<()> {
    // SAFETY: the caller's buffer is live and, by contract, as long as the request's argument.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::Ioctl::from(request), argument.as_mut_ptr()) };
    Errno::result(result).map(drop)
}
