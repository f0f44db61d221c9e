//! Calls that change what a file has beside its content: mode, owner, times, extended attributes, flags; and its
//! length. Done here on the file that was decided.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, fchmod, fstat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{AccessFlags, Gid, Uid, faccessat, fchown, fchownat, ftruncate, truncate};

use super::call::{Call, Outcome, Result};
use super::facts::put_file;
use super::place::{End, Place, by_descriptor, kind, path_of};
use super::resolve::Last;
use crate::event::Action;
use crate::sys::file;

const DONE: Result = Ok(Outcome::Value(0));

/// How the file is named.
enum Named {
    /// By a path from a folder; with what becomes of a link at its end.
    Path(i32, Vec<u8>, Last),
    /// As what any descriptor is of, one by O_PATH too, or the working directory.
    Itself(i32),
    /// By the thread's descriptor.
    Number(i32),
}

/// A file to be changed.
struct Subject {
    file: OwnedFd,
    /// It is the thread's own descriptor and not an O_PATH one.
    own: bool,
    /// Its name, where it was found by one.
    place: Option<Place>,
}

impl Subject {
    /// A path that leads to just this file.
    fn path(&self) -> String {
        by_descriptor(self.file.as_fd())
    }

    fn is_link(&self) -> Result<bool> {
        Ok(kind(&fstat(&self.file)?) == SFlag::S_IFLNK)
    }
}

/// The first two arguments as folder and path, with AT_EMPTY_PATH. The kernel looks at the flags before the path.
fn named(call: &Call<'_>, flags: i32) -> Result<Named> {
    if flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let (folder, path) = (call.int(0), call.path(1)?);
    if path.is_empty() && flags & libc::AT_EMPTY_PATH != 0 {
        return Ok(Named::Itself(folder));
    }
    let last = if flags & libc::AT_SYMLINK_NOFOLLOW != 0 { Last::Keep } else { Last::Follow };
    Ok(Named::Path(folder, path, last))
}

/// Finds the file, and acts with the thread's rights from here on.
fn subject(call: &Call<'_>, named: Named) -> Result<Subject> {
    match named {
        Named::Number(number) => {
            let file = call.target.duplicate(number)?;
            call.act()?;
            Ok(Subject { file, own: true, place: None })
        }
        Named::Itself(folder) => {
            let file = call.target.folder(folder)?;
            call.act()?;
            Ok(Subject { file, own: false, place: None })
        }
        Named::Path(folder, path, last) => match call.resolve_by_steps(folder, &path, last)? {
            End::Found { file, place } => Ok(Subject { file, own: false, place }),
            End::Missing(_) => Err(Errno::ENOENT),
        },
    }
}

fn decided(call: &Call<'_>, subject: &Subject, action: Action) -> Result<()> {
    let mut raw = call.record(action);
    let path = path_of(subject.file.as_fd())?;
    put_file(&mut raw, &path, Some(&fstat(&subject.file)?));
    // A pipe or socket is not a file that a policy knows.
    if subject.own && u32::from(raw.object) == crate::abi::raw::AUTHZ_OBJ_ANON {
        return Ok(());
    }
    call.allow(&raw)
}

fn change(call: &Call<'_>, named: Named, act: impl FnOnce(&Subject) -> nix::Result<()>) -> Result {
    let subject = subject(call, named)?;
    decided(call, &subject, Action::FileSetattr)?;
    act(&subject)?;
    DONE
}

pub fn chmod(call: &Call<'_>) -> Result {
    let here = libc::AT_FDCWD;
    let (named, mode) = match call.asked.number {
        libc::SYS_fchmod => (Named::Number(call.int(0)), call.arg(1)),
        libc::SYS_chmod => (Named::Path(here, call.path(0)?, Last::Follow), call.arg(1)),
        libc::SYS_fchmodat => (Named::Path(call.int(0), call.path(1)?, Last::Follow), call.arg(2)),
        _ => (named(call, call.int(3))?, call.arg(2)),
    };
    let mode = Mode::from_bits_truncate(mode as u32 & 0o7777);
    change(call, named, |subject| {
        if subject.own {
            return fchmod(&subject.file, mode);
        }
        if kind(&fstat(&subject.file)?) == SFlag::S_IFLNK {
            return Err(Errno::EOPNOTSUPP);
        }
        nix::sys::stat::fchmodat(
            AT_FDCWD,
            subject.path().as_str(),
            mode,
            nix::sys::stat::FchmodatFlags::FollowSymlink,
        )
    })
}

pub fn chown(call: &Call<'_>) -> Result {
    let here = libc::AT_FDCWD;
    let (named, at) = match call.asked.number {
        libc::SYS_fchown => (Named::Number(call.int(0)), 1),
        libc::SYS_chown => (Named::Path(here, call.path(0)?, Last::Follow), 1),
        libc::SYS_lchown => (Named::Path(here, call.path(0)?, Last::Keep), 1),
        _ => (named(call, call.int(4))?, 2),
    };
    let id = |index: usize| Some(call.arg(index) as u32).filter(|id| *id != u32::MAX);
    let (uid, gid) = (id(at).map(Uid::from_raw), id(at + 1).map(Gid::from_raw));
    change(call, named, |subject| {
        if subject.own {
            fchown(&subject.file, uid, gid)
        } else {
            fchownat(&subject.file, "", uid, gid, AtFlags::AT_EMPTY_PATH)
        }
    })
}

/// Two times of a `struct timespec[2]`; none: now.
fn times(call: &Call<'_>, address: u64, in_microseconds: bool) -> Result<Option<[TimeSpec; 2]>> {
    if address == 0 {
        return Ok(None);
    }
    let words: [u64; 4] = call.target.words(address)?;
    let time = |seconds: u64, fraction: u64| {
        let fraction = fraction as i64;
        if !in_microseconds {
            return Ok(TimeSpec::new(seconds as i64, fraction));
        }
        if !(0..1_000_000).contains(&fraction) {
            return Err(Errno::EINVAL);
        }
        Ok(TimeSpec::new(seconds as i64, fraction * 1000))
    };
    Ok(Some([time(words[0], words[1])?, time(words[2], words[3])?]))
}

pub fn utimes(call: &Call<'_>) -> Result {
    let here = libc::AT_FDCWD;
    let (named, times) = match call.asked.number {
        libc::SYS_utime => {
            let times = match call.arg(1) {
                0 => None,
                address => {
                    let words: [u64; 2] = call.target.words(address)?;
                    Some(words.map(|seconds| TimeSpec::new(seconds as i64, 0)))
                }
            };
            (Named::Path(here, call.path(0)?, Last::Follow), times)
        }
        libc::SYS_utimes => (Named::Path(here, call.path(0)?, Last::Follow), times(call, call.arg(1), true)?),
        libc::SYS_futimesat => {
            let times = times(call, call.arg(2), true)?;
            if call.arg(1) == 0 {
                (Named::Number(call.int(0)), times)
            } else {
                (Named::Path(call.int(0), call.path(1)?, Last::Follow), times)
            }
        }
        _ => {
            let times = times(call, call.arg(2), false)?;
            let omit = |time: &TimeSpec| time.tv_nsec() == libc::UTIME_OMIT;
            if times.as_ref().is_some_and(|times| times.iter().all(omit)) {
                // Nothing to do: the kernel does not even look at the path.
                return DONE;
            }
            if call.arg(1) == 0 && call.int(0) != here {
                if call.int(3) != 0 {
                    return Err(Errno::EINVAL);
                }
                (Named::Number(call.int(0)), times)
            } else {
                (named(call, call.int(3))?, times)
            }
        }
    };
    let now = TimeSpec::new(0, libc::UTIME_NOW);
    let [accessed, modified] = times.unwrap_or([now, now]);
    change(call, named, |subject| {
        if subject.own {
            return futimens(&subject.file, &accessed, &modified);
        }
        if kind(&fstat(&subject.file)?) == SFlag::S_IFLNK {
            return file::set_times(subject.file.as_fd(), &accessed, &modified);
        }
        let path = subject.path();
        utimensat(AT_FDCWD, path.as_str(), &accessed, &modified, UtimensatFlags::FollowSymlink)
    })
}

/// linux/limits.h
const XATTR_NAME_MAX: usize = 256;
const XATTR_SIZE_MAX: u64 = 65536;

pub fn xattr(call: &Call<'_>) -> Result {
    let number = call.asked.number;
    let sets = matches!(number, libc::SYS_setxattr | libc::SYS_lsetxattr | libc::SYS_fsetxattr);
    if sets && call.int(4) & !(libc::XATTR_CREATE | libc::XATTR_REPLACE) != 0 {
        return Err(Errno::EINVAL);
    }
    let name = call.target.string(call.arg(1), XATTR_NAME_MAX, Errno::ERANGE)?;
    if name.is_empty() {
        return Err(Errno::ERANGE);
    }
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    let mut value = Vec::new();
    if sets {
        if call.arg(3) > XATTR_SIZE_MAX {
            return Err(Errno::E2BIG);
        }
        if call.arg(3) > 0 {
            value = call.target.bytes(call.arg(2), call.arg(3) as usize)?;
        }
    }
    let here = libc::AT_FDCWD;
    let named = match number {
        libc::SYS_setxattr | libc::SYS_removexattr => Named::Path(here, call.path(0)?, Last::Follow),
        libc::SYS_fsetxattr | libc::SYS_fremovexattr => Named::Number(call.int(0)),
        _ => Named::Path(here, call.path(0)?, Last::Keep),
    };
    change(call, named, |subject| {
        let file = match &subject.place {
            _ if subject.own => file::Xattr::Of(subject.file.as_fd()),
            // There is no way to a link by descriptor; its name cannot be followed.
            Some(place) if subject.is_link()? => {
                let folder = by_descriptor(place.folder.as_fd());
                let path = [folder.as_bytes(), b"/", place.plain().as_bytes()].concat();
                file::Xattr::Link(CString::new(path).map_err(|_| Errno::EINVAL)?)
            }
            _ => file::Xattr::At(subject.path()),
        };
        if sets { file.set(&name, &value, call.int(4)) } else { file.remove(&name) }
    })
}

pub fn shorten(call: &Call<'_>) -> Result {
    let length = call.arg(1) as i64;
    if length < 0 {
        return Err(Errno::EINVAL);
    }
    if call.asked.number == libc::SYS_ftruncate {
        let subject = subject(call, Named::Number(call.int(0)))?;
        decided(call, &subject, Action::FileWrite)?;
        ftruncate(&subject.file, length)?;
        return DONE;
    }
    let subject = subject(call, Named::Path(libc::AT_FDCWD, call.path(0)?, Last::Follow))?;
    match kind(&fstat(&subject.file)?) {
        SFlag::S_IFREG => {}
        SFlag::S_IFDIR => return Err(Errno::EISDIR),
        _ => return Err(Errno::EINVAL),
    }
    faccessat(AT_FDCWD, subject.path().as_str(), AccessFlags::W_OK, AtFlags::AT_EACCESS)?;
    decided(call, &subject, Action::FileWrite)?;
    truncate(subject.path().as_str(), length)?;
    DONE
}

/// The ioctls that change a file's flags.
pub fn flags(call: &Call<'_>) -> Result {
    let request = call.arg(1) as u32;
    // _IOC_SIZE; FS_IOC_SETFLAGS and FS_IOC_SETVERSION say long and take an int.
    let int = matches!(request, 0x4008_6602 | 0x4008_7602);
    let size = if int { 4 } else { (request >> 16 & 0x3fff) as usize };
    let argument = call.target.bytes(call.arg(2), size);
    let subject = subject(call, Named::Number(call.int(0)))?;
    if !matches!(kind(&fstat(&subject.file)?), SFlag::S_IFREG | SFlag::S_IFDIR) {
        return Err(Errno::ENOTTY);
    }
    let mut argument = argument?;
    argument.resize(64, 0);
    decided(call, &subject, Action::FileSetattr)?;
    file::ioctl(subject.file.as_fd(), request, &mut argument)?;
    DONE
}
