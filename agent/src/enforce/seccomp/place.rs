//! Objects and names of the file system, held by descriptors so that nothing can be exchanged.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag};
use nix::sys::statfs::{FsType, PROC_SUPER_MAGIC, fstatfs};

/// What a path came to.
#[derive(Debug)]
pub enum End {
    /// Something that exists. The name it was found by, if that is a name of its own.
    Found {
        /// It, opened by O_PATH.
        file: OwnedFd,
        /// Its folder and name.
        place: Option<Place>,
    },
    /// A name that does not exist, in a folder that does.
    Missing(Place),
}

/// A name in a folder.
#[derive(Debug)]
pub struct Place {
    /// The folder, opened by O_PATH.
    pub folder: OwnedFd,
    /// The name, as it was written: with its slash, if one came after it.
    pub name: Vec<u8>,
}

impl Place {
    /// The name without a slash after it.
    pub fn plain(&self) -> &OsStr {
        OsStr::from_bytes(self.name.strip_suffix(b"/").unwrap_or(&self.name))
    }

    /// The name as it was written.
    pub fn written(&self) -> &OsStr {
        OsStr::from_bytes(&self.name)
    }

    /// Whether it is none, `.` or `..`: nothing can be made, removed or moved by it.
    pub fn is_special(&self) -> bool {
        matches!(self.plain().as_bytes(), b"" | b"." | b"..")
    }

    /// What is there, if anything is.
    pub fn look(&self) -> Result<Option<OwnedFd>, Errno> {
        match peek(self.folder.as_fd(), self.plain()) {
            Err(Errno::ENOENT) => Ok(None),
            found => found.map(Some),
        }
    }

    /// The absolute path.
    pub fn path(&self) -> Result<Vec<u8>, Errno> {
        let mut path = path_of(self.folder.as_fd())?;
        if path != b"/" {
            path.push(b'/');
        }
        path.extend_from_slice(self.plain().as_bytes());
        Ok(path)
    }
}

/// Opens by O_PATH, without following a link.
fn peek(folder: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    openat(folder, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

/// The supervisor's root, which is everyone's who has none of its own.
pub fn root() -> Result<OwnedFd, Errno> {
    nix::fcntl::open("/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
}

/// The name under which this process reaches the file behind a descriptor, without resolving anything anew.
pub fn by_descriptor(file: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// The absolute path of the file behind a descriptor, as the kernel has it.
pub fn path_of(file: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    readlinkat(AT_FDCWD, by_descriptor(file).as_str()).map(|path| path.as_bytes().to_vec())
}

/// Whether a path is one of this process's own below /proc, on which its rights are more than the agent's.
pub fn is_own(path: &[u8]) -> bool {
    let number = path.strip_prefix(b"/proc/").and_then(|rest| rest.split(|byte| *byte == b'/').next());
    let number = number.and_then(|number| std::str::from_utf8(number).ok()?.parse::<i32>().ok());
    // Each thread has a folder too.
    number.is_some_and(|number| std::path::Path::new(&format!("/proc/self/task/{number}")).exists())
}

pub fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

pub fn same(a: &FileStat, b: &FileStat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

pub fn is_proc(folder: &OwnedFd) -> Result<bool, Errno> {
    const PROC: FsType = PROC_SUPER_MAGIC;
    Ok(fstatfs(folder)?.filesystem_type() == PROC)
}

/// The mount that a folder is on.
pub fn mount(folder: &OwnedFd) -> Result<u64, Errno> {
    let info = std::fs::read_to_string(format!("/proc/thread-self/fdinfo/{}", folder.as_raw_fd()));
    let info = info.map_err(|_| Errno::EACCES)?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    id.ok_or(Errno::EACCES)
}
