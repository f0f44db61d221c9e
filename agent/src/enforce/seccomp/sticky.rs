//! What only the owner may do in folders that everybody writes to: the rules of sysctl fs.protected_*, which the kernel
//! applies to who asks.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag, fstat};

use super::place::kind;

const STICKY_FOR_ALL: u32 = libc::S_ISVTX | libc::S_IWOTH;

/// fs.protected_symlinks: in a shared folder only links of oneself or of the folder's owner are followed.
pub fn may_follow(folder: &OwnedFd, link: &FileStat, uid: u32) -> Result<(), Errno> {
    static PROTECTED: OnceLock<u32> = OnceLock::new();
    if *PROTECTED.get_or_init(|| setting("protected_symlinks")) == 0 || link.st_uid == uid {
        return Ok(());
    }
    let parent = fstat(folder)?;
    let shared = parent.st_mode & STICKY_FOR_ALL == STICKY_FOR_ALL;
    if shared && parent.st_uid != link.st_uid { Err(Errno::EACCES) } else { Ok(()) }
}

/// O_CREAT does not open another's file in a shared folder: for files and pipes by fs.protected_regular and
/// fs.protected_fifos, for all else always.
pub fn may_create_over(folder: BorrowedFd<'_>, file: &FileStat, uid: u32) -> Result<(), Errno> {
    static REGULAR: OnceLock<u32> = OnceLock::new();
    static FIFOS: OnceLock<u32> = OnceLock::new();
    let level = match kind(file) {
        SFlag::S_IFREG => *REGULAR.get_or_init(|| setting("protected_regular")),
        SFlag::S_IFIFO => *FIFOS.get_or_init(|| setting("protected_fifos")),
        _ => 1,
    };
    let parent = fstat(folder)?;
    if level == 0 || parent.st_mode & libc::S_ISVTX == 0 || file.st_uid == parent.st_uid || file.st_uid == uid
    {
        return Ok(());
    }
    let for_all = parent.st_mode & libc::S_IWOTH != 0;
    let for_group = parent.st_mode & libc::S_IWGRP != 0 && level >= 2;
    if for_all || for_group { Err(Errno::EACCES) } else { Ok(()) }
}

fn setting(name: &str) -> u32 {
    let text = std::fs::read_to_string(format!("/proc/sys/fs/{name}")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}
