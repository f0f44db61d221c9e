//! From a path to what it names, as the kernel would for the waiting thread: with its rights, root and working
//! directory, one component at a time through descriptors, so that what is decided is what is acted on.
//!
//! What the kernel decides by *who asks* is answered for that thread: `/proc/self`, the limits on following
//! links in shared folders, and those that openat2 is given.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use super::place::{End, Place, is_own, is_proc, kind, mount, path_of, root, same};
use super::sticky::may_follow;
use super::target::Target;

/// include/linux/namei.h
const LINKS_MAX: u32 = 40;

/// How the last component is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// A symbolic link is followed.
    Follow,
    /// Only if a slash comes after it.
    Keep,
    /// It may be made by what it leads to. Nothing is looked up if a slash comes after it, which whoever asked
    /// refuses: what is made is no folder.
    Create,
    /// The same, but a link is not followed.
    New,
    /// Never: the name itself is meant, as for unlink.
    Name,
}

const OBJECT: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

/// Limits by which the folder that a path starts from is its root.
const SCOPED: ResolveFlag = ResolveFlag::RESOLVE_BENEATH.union(ResolveFlag::RESOLVE_IN_ROOT);

/// Resolves paths for one thread.
pub struct Resolver<'a> {
    target: &'a Target,
    /// Its root, where that is not the supervisor's; or that of a scope.
    root: Option<OwnedFd>,
    /// Those of openat2.
    limits: ResolveFlag,
    /// The root was needed on the way.
    knows_root: bool,
    links: u32,
}

impl<'a> Resolver<'a> {
    /// For a thread; with a root of its own, if it has one.
    pub fn new(target: &'a Target, root: Option<OwnedFd>) -> Self {
        Self { target, root, limits: ResolveFlag::empty(), knows_root: false, links: 0 }
    }

    /// With limits on the way from `start`.
    pub fn within(self, limits: ResolveFlag, start: &OwnedFd) -> Result<Self, Errno> {
        let scoped = limits.intersects(SCOPED);
        let root = if scoped { Some(start.try_clone().map_err(|_| Errno::EMFILE)?) } else { self.root };
        Ok(Self { root, limits, knows_root: scoped, ..self })
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
        if matches!(last, Last::Follow | Last::Keep)
            && self.root.is_none()
            && self.limits.is_empty()
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
            return Ok(Place { folder: self.jump_to_root(None)?, name: Vec::new() });
        }
        // With a dot, since it must be a folder that the thread may search.
        match self.resolve(start, &[above, b"."].concat(), Last::Follow)? {
            End::Found { file: folder, .. } => Ok(Place { folder, name: [name, slash].concat() }),
            End::Missing(_) => Err(Errno::ENOENT),
        }
    }

    /// Where an absolute path starts; `from`: where the link is that has it.
    fn jump_to_root(&mut self, from: Option<&OwnedFd>) -> Result<OwnedFd, Errno> {
        if self.limits.contains(ResolveFlag::RESOLVE_BENEATH) {
            return Err(Errno::EXDEV);
        }
        let root = match &self.root {
            Some(root) => root.try_clone().map_err(|_| Errno::EMFILE)?,
            None => root()?,
        };
        if let Some(from) = from
            && self.limits.contains(ResolveFlag::RESOLVE_NO_XDEV)
            // The kernel compares with a root that it has not looked up before it needed one.
            && !(self.knows_root && mount(from)? == mount(&root)?)
        {
            return Err(Errno::EXDEV);
        }
        self.knows_root = true;
        Ok(root)
    }

    fn walk(&mut self, start: &OwnedFd, path: Vec<u8>, last: Last) -> Result<End, Errno> {
        let mut folder = if path.starts_with(b"/") {
            self.jump_to_root(None)?
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
                b"" => return self.found(folder, None, true),
                b"." | b".." => {
                    folder = self.step(&folder, &name)?;
                    if is_last {
                        return self.found(folder, None, false);
                    }
                    continue;
                }
                _ => {}
            }
            if slash && matches!(last, Last::Create | Last::New) {
                // The folder must be one that the thread may search.
                self.step(&folder, b".")?;
                return Ok(End::Missing(Place { folder, name: [&name[..], b"/"].concat() }));
            }
            let written = || if slash { [&name[..], b"/"].concat() } else { name.clone() };
            let file = match self.open(&folder, &name, OFlag::O_NOFOLLOW, ResolveFlag::RESOLVE_NO_XDEV) {
                Ok(file) => file,
                Err(Errno::ENOENT) if is_last => {
                    return Ok(End::Missing(Place { folder, name: written() }));
                }
                Err(error) => return Err(error),
            };
            let stat = fstat(&file)?;
            let follow = !is_last || slash || matches!(last, Last::Follow | Last::Create);
            if kind(&stat) == SFlag::S_IFLNK && follow {
                match self.follow(&folder, &file, &stat, &name, is_last)? {
                    Jump::To(there) => {
                        if is_last {
                            return self.found(there, None, slash);
                        }
                        folder = there;
                    }
                    Jump::Path(mut target) => {
                        if target.starts_with(b"/") {
                            folder = self.jump_to_root(Some(&folder))?;
                        }
                        target.append(&mut rest);
                        rest = target;
                    }
                }
                continue;
            }
            if is_last {
                let place = Place { folder, name: written() };
                return self.found(file, Some(place), slash);
            }
            folder = file;
        }
    }

    fn found(&self, file: OwnedFd, place: Option<Place>, is_folder: bool) -> Result<End, Errno> {
        if is_folder && kind(&fstat(&file)?) != SFlag::S_IFDIR {
            return Err(Errno::ENOTDIR);
        }
        if let Some(root) = &self.root
            && self.limits.intersects(SCOPED)
            && !is_under(&path_of(file.as_fd())?, &path_of(root.as_fd())?)
        {
            // Moved out while it was looked up.
            return Err(Errno::EXDEV);
        }
        Ok(End::Found { file, place })
    }

    /// What has a name in a folder, under those of the limits that are for one step.
    fn open(
        &self,
        folder: &OwnedFd,
        name: &[u8],
        flags: OFlag,
        limits: ResolveFlag,
    ) -> Result<OwnedFd, Errno> {
        let (name, flags, limits) = (OsStr::from_bytes(name), OBJECT | flags, self.limits & limits);
        if limits.is_empty() {
            return openat(folder, name, flags, Mode::empty());
        }
        openat2(folder, name, OpenHow::new().flags(flags).resolve(limits))
    }

    /// `.` and `..`: never above the root.
    fn step(&mut self, folder: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
        let up = name == b"..";
        self.knows_root |= up;
        let at_root = match &self.root {
            Some(root) if up => same(&fstat(root)?, &fstat(folder)?) && mount(root)? == mount(folder)?,
            _ => false,
        };
        let name = if at_root { b"." } else { name };
        let there = self.open(folder, name, OFlag::empty(), ResolveFlag::RESOLVE_NO_XDEV);
        let beyond = at_root && self.limits.contains(ResolveFlag::RESOLVE_BENEATH);
        match there {
            Ok(_) if beyond => Err(self.beyond()),
            Err(Errno::EXDEV) => Err(self.beyond()),
            there => there,
        }
    }

    /// The error for `..` beyond a limit: the kernel starts anew there, more slowly, and goes on counting links.
    fn beyond(&self) -> Errno {
        if 2 * self.links > LINKS_MAX { Errno::ELOOP } else { Errno::EXDEV }
    }

    fn follow(
        &mut self,
        folder: &OwnedFd,
        link: &OwnedFd,
        stat: &FileStat,
        name: &[u8],
        is_last: bool,
    ) -> Result<Jump, Errno> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::ELOOP);
        }
        if is_last {
            may_follow(folder, stat, self.target.identity.uid)?;
        }
        if self.limits.contains(ResolveFlag::RESOLVE_NO_SYMLINKS) {
            return Err(Errno::ELOOP);
        }
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
                _ => return self.open(folder, name, OFlag::empty(), ResolveFlag::all()).map(Jump::To),
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
    let flags = if last == Last::Keep { OBJECT | OFlag::O_NOFOLLOW } else { OBJECT };
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(start, OsStr::from_bytes(path), how) {
        Ok(file) => Ok(Some(End::Found { file, place: None })),
        // A link, or a name that may be made: step by step. EAGAIN: a rename at the same time.
        Err(Errno::ELOOP | Errno::ENOENT | Errno::EAGAIN) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_under(path: &[u8], folder: &[u8]) -> bool {
    let folder = folder.strip_suffix(b"/").unwrap_or(folder);
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}
