//! From a path to what it names, as the kernel would for the waiting thread: with its rights, root and working
//! directory, one component at a time through descriptors, so that what is decided is what is acted on.
//!
//! What the kernel decides by *who asks* is answered for that thread: `/proc/self`, the limits on following
//! links in shared folders.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::sys::statfs::{FsType, PROC_SUPER_MAGIC, fstatfs};

use super::target::Target;

/// include/linux/namei.h
pub const LINKS_MAX: u32 = 40;

/// How the last component is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// A symbolic link is followed.
    Follow,
    /// Only if a slash comes after it.
    Keep,
    /// Unless a slash comes after it, which whoever asked refuses: what is made is no folder.
    Create,
    /// Never: the name itself is meant, as for unlink.
    Name,
}

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
pub fn peek(folder: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
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

/// Resolves paths for one thread.
pub struct Resolver<'a> {
    target: &'a Target,
    /// Its root, where that is not the supervisor's.
    root: Option<OwnedFd>,
    links: u32,
}

impl<'a> Resolver<'a> {
    /// For a thread; with a root of its own, if it has one.
    pub fn new(target: &'a Target, root: Option<OwnedFd>) -> Self {
        Self { target, root, links: 0 }
    }

    /// Whether the thread has a root that is not the supervisor's.
    pub fn is_rooted(&self) -> Result<bool, Errno> {
        match &self.root {
            Some(own) => Ok(!same(&fstat(own)?, &fstat(root()?)?)),
            None => Ok(false),
        }
    }

    /// For the second path of the same call.
    pub fn again(self) -> Self {
        Self { links: 0, ..self }
    }

    /// Resolves `path` from the folder `start`.
    pub fn resolve(&mut self, start: &OwnedFd, path: &[u8], last: Last) -> Result<End, Errno> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        if last != Last::Name
            && self.root.is_none()
            && let Some(end) = quickly(start, path, last)?
        {
            return Ok(end);
        }
        self.resolve_by_steps(start, path, last)
    }

    /// The same, always component by component: what is found has its name with it.
    pub fn resolve_by_steps(&mut self, start: &OwnedFd, path: &[u8], last: Last) -> Result<End, Errno> {
        match last {
            _ if path.is_empty() => Err(Errno::ENOENT),
            Last::Name => self.name(start, path),
            _ => self.walk(start, path.to_vec(), last),
        }
    }

    fn name(&mut self, start: &OwnedFd, path: &[u8]) -> Result<End, Errno> {
        let place = self.parent(start, path)?;
        if place.name.is_empty() {
            return Ok(End::Found { file: place.folder, place: None });
        }
        if place.is_special() {
            let file = self.step(&place.folder, place.plain().as_bytes())?;
            return Ok(End::Found { file, place: None });
        }
        Ok(match place.look()? {
            Some(file) => End::Found { file, place: Some(place) },
            None => End::Missing(place),
        })
    }

    /// The folder of the last component, in which nothing has been looked up yet; the name may be a special one.
    pub fn parent(&mut self, start: &OwnedFd, path: &[u8]) -> Result<Place, Errno> {
        let slashes = path.iter().rev().take_while(|byte| **byte == b'/').count();
        let plain = &path[..path.len() - slashes];
        let (above, name) =
            plain.split_at(plain.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1));
        let slash = &path[plain.len()..][..slashes.min(1)];
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        if name.is_empty() {
            return Ok(Place { folder: self.root()?, name: Vec::new() });
        }
        // With a dot, since it must be a folder that the thread may search.
        match self.resolve(start, &[above, b"."].concat(), Last::Follow)? {
            End::Found { file: folder, .. } => Ok(Place { folder, name: [name, slash].concat() }),
            End::Missing(_) => Err(Errno::ENOENT),
        }
    }

    /// Where an absolute path starts.
    fn root(&self) -> Result<OwnedFd, Errno> {
        match &self.root {
            Some(root) => root.try_clone().map_err(|_| Errno::EMFILE),
            None => root(),
        }
    }

    fn walk(&mut self, start: &OwnedFd, path: Vec<u8>, last: Last) -> Result<End, Errno> {
        let mut folder = if path.starts_with(b"/") {
            self.root()?
        } else {
            start.try_clone().map_err(|_| Errno::EMFILE)?
        };
        let mut rest = path;
        loop {
            let skip = rest.iter().take_while(|byte| **byte == b'/').count();
            rest.drain(..skip);
            let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
            let after = rest.split_off(end);
            let name = std::mem::replace(&mut rest, after);
            let is_last = rest.iter().all(|byte| *byte == b'/');
            let slash = is_last && !rest.is_empty();
            match &name[..] {
                b"" => return Ok(End::Found { file: folder, place: None }),
                b"." | b".." => {
                    folder = self.step(&folder, &name)?;
                    if is_last {
                        return Ok(End::Found { file: folder, place: None });
                    }
                    continue;
                }
                _ => {}
            }
            let written = || if slash { [&name[..], b"/"].concat() } else { name.clone() };
            let file = match peek(folder.as_fd(), OsStr::from_bytes(&name)) {
                Ok(file) => file,
                Err(Errno::ENOENT) if is_last => {
                    return Ok(End::Missing(Place { folder, name: written() }));
                }
                Err(error) => return Err(error),
            };
            let stat = fstat(&file)?;
            let follow = match last {
                _ if !is_last => true,
                Last::Follow => true,
                Last::Keep => slash,
                Last::Create => !slash,
                Last::Name => false, // resolved by its folder
            };
            if kind(&stat) == SFlag::S_IFLNK && follow {
                match self.follow(&folder, &file, &stat, &name)? {
                    Jump::To(there) => {
                        if is_last {
                            return self.found(there, None, slash, last);
                        }
                        folder = there;
                    }
                    Jump::Path(mut target) => {
                        if target.starts_with(b"/") {
                            folder = self.root()?;
                        }
                        target.append(&mut rest);
                        rest = target;
                    }
                }
                continue;
            }
            if is_last {
                let place = Place { folder, name: written() };
                return self.found(file, Some(place), slash, last);
            }
            folder = file;
        }
    }

    fn found(&self, file: OwnedFd, place: Option<Place>, slash: bool, last: Last) -> Result<End, Errno> {
        if slash && last != Last::Create && kind(&fstat(&file)?) != SFlag::S_IFDIR {
            return Err(Errno::ENOTDIR);
        }
        Ok(End::Found { file, place })
    }

    /// `.` and `..`: never above the thread's root.
    fn step(&self, folder: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
        let at_root = match &self.root {
            Some(root) if name == b".." => same(&fstat(root)?, &fstat(folder)?),
            _ => false,
        };
        let name = if at_root { b"." } else { name };
        openat(folder, OsStr::from_bytes(name), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
    }

    fn follow(
        &mut self,
        folder: &OwnedFd,
        link: &OwnedFd,
        stat: &FileStat,
        name: &[u8],
    ) -> Result<Jump, Errno> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::ELOOP);
        }
        may_follow(folder, stat, self.target.identity.uid)?;
        if is_proc(folder)? {
            match name {
                b"self" => return Ok(Jump::Path(self.target.tgid.to_string().into_bytes())),
                b"thread-self" => {
                    let path = format!("{}/task/{}", self.target.tgid, self.target.tid);
                    return Ok(Jump::Path(path.into_bytes()));
                }
                b"mounts" | b"net" => {}
                // Leads to an object and not to a path; those of this process are not the agent's.
                _ if is_own(&path_of(folder.as_fd())?) => return Err(Errno::EACCES),
                _ => {
                    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
                    return openat(folder, OsStr::from_bytes(name), flags, Mode::empty()).map(Jump::To);
                }
            }
        }
        let target = readlinkat(link, "")?.as_bytes().to_vec();
        if target.is_empty() { Err(Errno::ENOENT) } else { Ok(Jump::Path(target)) }
    }
}

/// Where a symbolic link leads.
enum Jump {
    Path(Vec<u8>),
    To(OwnedFd),
}

/// In one call, if no symbolic link is on the way.
fn quickly(start: &OwnedFd, path: &[u8], last: Last) -> Result<Option<End>, Errno> {
    let mut flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    if last == Last::Keep {
        flags |= OFlag::O_NOFOLLOW;
    }
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(start, OsStr::from_bytes(path), how) {
        Ok(file) => Ok(Some(End::Found { file, place: None })),
        // A link, or a name that may be made: step by step. EAGAIN: a rename at the same time.
        Err(Errno::ELOOP | Errno::ENOENT | Errno::EAGAIN) => Ok(None),
        Err(error) => Err(error),
    }
}

pub fn same(a: &FileStat, b: &FileStat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

pub fn is_proc(folder: &OwnedFd) -> Result<bool, Errno> {
    const PROC: FsType = PROC_SUPER_MAGIC;
    Ok(fstatfs(folder)?.filesystem_type() == PROC)
}

const STICKY_FOR_ALL: u32 = libc::S_ISVTX | libc::S_IWOTH;

/// fs.protected_symlinks: in a shared folder only links of oneself or of the folder's owner are followed.
fn may_follow(folder: &OwnedFd, link: &FileStat, uid: u32) -> Result<(), Errno> {
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
