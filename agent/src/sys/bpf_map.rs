//! Task storage from user space, which aya has no accessor for: raw bpf(2) with a pidfd as key.
#![allow(unsafe_code, reason = "bpf(2) has no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;

/// The part of `union bpf_attr` for element commands (linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct ElemAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

fn elem(command: libc::c_long, map: BorrowedFd<'_>, pidfd: BorrowedFd<'_>, value: u64) -> io::Result<()> {
    let key: i32 = pidfd.as_raw_fd();
    let attr = ElemAttr {
        map_fd: map.as_raw_fd() as u32,
        key: (&raw const key) as u64,
        value,
        ..ElemAttr::default()
    };
    // SAFETY: `attr` and `key` outlive the call; `value` points to a live value of the map's value
    // size, which the callers see to by type, or is not looked at (delete).
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attr, size_of::<ElemAttr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Writes the storage of the task behind `pidfd`. `T` must be the map's value type.
pub fn task_storage_set<T: aya::Pod>(
    map: BorrowedFd<'_>,
    pidfd: BorrowedFd<'_>,
    value: &T,
) -> io::Result<()> {
    elem(BPF_MAP_UPDATE_ELEM, map, pidfd, (value as *const T) as u64)
}

/// Removes the storage of the task behind `pidfd`.
pub fn task_storage_delete(map: BorrowedFd<'_>, pidfd: BorrowedFd<'_>) -> io::Result<()> {
    elem(BPF_MAP_DELETE_ELEM, map, pidfd, 0)
}

/// Reads it; `None`: the task has none.
pub fn task_storage_get<T: aya::Pod + Default>(
    map: BorrowedFd<'_>,
    pidfd: BorrowedFd<'_>,
) -> io::Result<Option<T>> {
    let mut value = T::default();
    match elem(BPF_MAP_LOOKUP_ELEM, map, pidfd, (&raw mut value) as u64) {
        Ok(()) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}
