//! Questions about the kernel that are asked by system call and change nothing.
#![allow(unsafe_code, reason = "these system calls have no safe wrapper")]

use nix::errno::Errno;

const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
/// The number is the same on every architecture.
const SYS_LSM_LIST_MODULES: libc::c_long = 461;

/// The version of Landlock's interface. EOPNOTSUPP: built in but not switched on; ENOSYS: not built in.
pub fn landlock_abi() -> nix::Result<u32> {
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: with this flag the kernel takes no memory, only a null pointer and a length of 0.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, none, 0usize, LANDLOCK_CREATE_RULESET_VERSION)
    };
    Errno::result(version).map(|version| u32::try_from(version).unwrap_or(0))
}

/// The numbers of the active security modules (linux/lsm.h). ENOSYS before Linux 6.8.
pub fn security_modules() -> nix::Result<Vec<u64>> {
    let mut ids = [0u64; 32];
    let mut size = size_of_val(&ids) as u32;
    // SAFETY: `ids` has `size` bytes, and the kernel writes no more, else it reports E2BIG.
    let count = unsafe { libc::syscall(SYS_LSM_LIST_MODULES, ids.as_mut_ptr(), &raw mut size, 0) };
    let count = usize::try_from(Errno::result(count)?).unwrap_or(0);
    Ok(ids.into_iter().take(count).collect())
}
