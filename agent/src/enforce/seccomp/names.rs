//! Calls that make, remove or move a name: done here, in the folder that was resolved, under the name that was
//! decided.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat, mknodat};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::{AccessFlags, LinkatFlags, UnlinkatFlags, faccessat, linkat, symlinkat, unlinkat};

use super::call::{Call, Outcome, Result, not_empty};
use super::facts::{put_file, put_other};
use super::place::{End, Place, by_descriptor, is_proc, kind, mount, path_of, same};
use super::resolve::Last;
use crate::abi::raw::{AUTHZ_ROLE_SOURCE, AUTHZ_ROLE_TARGET};
use crate::event::Action;

const DONE: Result = Ok(Outcome::Value(0));

/// Decides and makes a new name. `slash`: it may be written with one.
fn make(
    call: &Call<'_>,
    folder: i32,
    path: &[u8],
    slash: bool,
    act: impl FnOnce(&Place) -> nix::Result<()>,
) -> Result {
    let place = match call.resolve(folder, path, Last::Name)? {
        End::Found { .. } => return Err(Errno::EEXIST),
        End::Missing(place) => place,
    };
    if !slash && place.name.ends_with(b"/") {
        return Err(Errno::ENOENT);
    }
    let mut raw = call.record(Action::FileCreate);
    put_file(&mut raw, &place.path()?, None);
    call.allow(&raw)?;
    act(&place)?;
    DONE
}

pub fn mkdir(call: &Call<'_>) -> Result {
    let at = usize::from(call.asked.number == libc::SYS_mkdirat);
    let folder = if at == 1 { call.int(0) } else { libc::AT_FDCWD };
    // The sticky bit is the only one above the permissions that mkdir takes.
    let mode = Mode::from_bits_truncate(call.arg(at + 1) as u32 & 0o1777);
    make(call, folder, &call.path(at)?, true, |place| mkdirat(&place.folder, place.written(), mode))
}

pub fn mknod(call: &Call<'_>) -> Result {
    let at = usize::from(call.asked.number == libc::SYS_mknodat);
    let folder = if at == 1 { call.int(0) } else { libc::AT_FDCWD };
    let bits = call.arg(at + 1) as u32;
    let kind = SFlag::from_bits_truncate(bits & libc::S_IFMT);
    match bits & libc::S_IFMT {
        0 | libc::S_IFREG | libc::S_IFIFO | libc::S_IFSOCK | libc::S_IFCHR | libc::S_IFBLK => {}
        libc::S_IFDIR => return Err(Errno::EPERM),
        _ => return Err(Errno::EINVAL),
    }
    let mode = Mode::from_bits_truncate(bits & 0o7777);
    // new_decode_dev() of the kernel: the call's number is 32 bits wide.
    let device = u64::from(call.arg(at + 2) as u32);
    make(call, folder, &call.path(at)?, false, |place| {
        mknodat(&place.folder, place.written(), kind, mode, device)
    })
}

pub fn symlink(call: &Call<'_>) -> Result {
    let to = call.path(0)?;
    if to.is_empty() {
        return Err(Errno::ENOENT);
    }
    let (folder, at) =
        if call.asked.number == libc::SYS_symlinkat { (call.int(1), 2) } else { (libc::AT_FDCWD, 1) };
    make(call, folder, &call.path(at)?, false, |place| {
        symlinkat(OsStr::from_bytes(&to), &place.folder, place.written())
    })
}

pub fn unlink(call: &Call<'_>) -> Result {
    let (folder, path, flags) = match call.asked.number {
        libc::SYS_unlinkat => (call.int(0), 1, call.int(2)),
        libc::SYS_rmdir => (libc::AT_FDCWD, 0, libc::AT_REMOVEDIR),
        _ => (libc::AT_FDCWD, 0, 0),
    };
    if flags & !libc::AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    let path = call.path(path)?;
    let is_folder = flags & libc::AT_REMOVEDIR != 0;
    let place = call.parent(folder, &path)?;
    if place.is_special() {
        return Err(unremovable(&place, is_folder));
    }
    if read_only(&place.folder)? {
        return Err(Errno::EROFS);
    }
    let file = place.look()?.ok_or(Errno::ENOENT)?;
    if is_descriptors(&place.folder)? {
        let slash = place.name.ends_with(b"/");
        return Err(if is_folder || slash { Errno::ENOTDIR } else { Errno::EPERM });
    }
    let how = if is_folder { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
    if is_folder || !place.name.ends_with(b"/") {
        let mut raw = call.record(Action::FileDelete);
        put_file(&mut raw, &place.path()?, Some(&fstat(&file)?));
        call.allow(&raw)?;
    }
    // With a slash after it a file is never removed, so nothing was decided.
    unlinkat(&place.folder, place.written(), how)?;
    DONE
}

/// What the kernel says of removing `.`, `..` and the root.
fn unremovable(place: &Place, is_folder: bool) -> Errno {
    match (is_folder, place.plain().as_bytes()) {
        (false, _) => Errno::EISDIR,
        (true, b".") => Errno::EINVAL,
        (true, b"..") => Errno::ENOTEMPTY,
        (true, _) => Errno::EBUSY,
    }
}

/// Whether it is a /proc/PID/fd, where nothing can be changed: a thread is told so in another way than we would be.
fn is_descriptors(folder: &OwnedFd) -> Result<bool> {
    Ok(is_proc(folder)? && path_of(folder.as_fd())?.ends_with(b"/fd"))
}

/// Whether nothing on the mount can be changed.
fn read_only(folder: &OwnedFd) -> Result<bool> {
    Ok(fstatvfs(folder)?.flags().contains(FsFlags::ST_RDONLY))
}

/// One side of a rename or link: its name and what is there.
struct Side {
    place: Place,
    path: Vec<u8>,
    stat: Option<FileStat>,
}

impl Side {
    fn of(place: Place) -> Result<Self> {
        let stat = place.look()?.map(fstat).transpose()?;
        Ok(Self { path: place.path()?, place, stat })
    }

    fn is_folder(&self) -> bool {
        self.stat.is_some_and(|stat| kind(&stat) == SFlag::S_IFDIR)
    }

    fn has_slash(&self) -> bool {
        self.place.name.ends_with(b"/")
    }

    /// Whether names of its folder may be changed, by the folder's mode.
    fn may_change(&self) -> nix::Result<()> {
        let folder = by_descriptor(self.place.folder.as_fd());
        faccessat(AT_FDCWD, folder.as_str(), AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS)
    }
}

/// What the kernel says, in its order, of a rename to or from a /proc/PID/fd, whose thread may do anything there in
/// vain.
fn among_descriptors(from: &Side, to: &Side, exchange: bool) -> Result {
    let (Some(from_stat), Some(to_stat)) = (&from.stat, &to.stat) else {
        // The file system does not look up what is not there.
        return Err(Errno::ENOENT);
    };
    let end = if exchange { to } else { from };
    if (from.has_slash() && !from.is_folder()) || (to.has_slash() && !end.is_folder()) {
        return Err(Errno::ENOTDIR);
    }
    if same(from_stat, to_stat) {
        return DONE;
    }
    for side in [from, to] {
        if !is_descriptors(&side.place.folder)? {
            side.may_change()?;
        }
    }
    match (from.is_folder(), to.is_folder()) {
        (false, true) if !exchange => Err(Errno::EISDIR),
        (true, false) if !exchange => Err(Errno::ENOTDIR),
        _ => Err(Errno::EPERM),
    }
}

/// Decides for the old name and for the new one.
fn both(
    call: &Call<'_>,
    action: Action,
    from: (&[u8], &Option<FileStat>),
    to: (&[u8], &Option<FileStat>),
) -> Result<()> {
    for (role, this, other) in [(AUTHZ_ROLE_SOURCE, from, to), (AUTHZ_ROLE_TARGET, to, from)] {
        let mut raw = call.record(action);
        raw.role = role as u8;
        put_file(&mut raw, this.0, this.1.as_ref());
        put_other(&mut raw, other.0);
        call.allow(&raw)?;
    }
    Ok(())
}

pub fn rename(call: &Call<'_>) -> Result {
    let here = libc::AT_FDCWD;
    let flags = if call.asked.number == libc::SYS_renameat2 { call.arg(4) as u32 } else { 0 };
    let exchange = flags & libc::RENAME_EXCHANGE != 0;
    let fresh = flags & libc::RENAME_NOREPLACE != 0;
    if flags & !(libc::RENAME_EXCHANGE | libc::RENAME_NOREPLACE | libc::RENAME_WHITEOUT) != 0
        || (exchange && flags != libc::RENAME_EXCHANGE)
    {
        return Err(Errno::EINVAL);
    }
    let (from, to) = match call.asked.number {
        libc::SYS_rename => ((here, call.path(0)?), (here, call.path(1))),
        _ => ((call.int(0), call.path(1)?), (call.int(2), call.path(3))),
    };
    not_empty(&from.1)?;
    let mut resolver = call.resolver()?;
    // Errors come in the kernel's order: all of the first path before the second one.
    let starts = (
        call.start(from.0, &from.1)?,
        to.1.and_then(|path| not_empty(&path).and_then(|()| Ok((call.start(to.0, &path)?, path)))),
    );
    call.act()?;
    let from = resolver.parent(&starts.0, &from.1)?;
    let (start, path) = starts.1?;
    let to = resolver.again().parent(&start, &path)?;
    if mount(&from.folder)? != mount(&to.folder)? {
        return Err(Errno::EXDEV);
    }
    if from.is_special() {
        return Err(Errno::EBUSY);
    }
    if to.is_special() {
        return Err(if fresh { Errno::EEXIST } else { Errno::EBUSY });
    }
    if read_only(&from.folder)? {
        return Err(Errno::EROFS);
    }
    let from = Side::of(from)?;
    if from.stat.is_none() {
        return Err(Errno::ENOENT);
    }
    let to = Side::of(to)?;
    match to.stat {
        Some(_) if fresh => return Err(Errno::EEXIST),
        None if exchange => return Err(Errno::ENOENT),
        _ => {}
    }
    if is_descriptors(&from.place.folder)? || is_descriptors(&to.place.folder)? {
        return among_descriptors(&from, &to, exchange);
    }
    both(call, Action::FileRename, (&from.path, &from.stat), (&to.path, &to.stat))?;
    if exchange {
        both(call, Action::FileRename, (&to.path, &to.stat), (&from.path, &from.stat))?;
    }
    let flags = nix::fcntl::RenameFlags::from_bits_retain(flags);
    nix::fcntl::renameat2(
        &from.place.folder,
        from.place.written(),
        &to.place.folder,
        to.place.written(),
        flags,
    )?;
    DONE
}

pub fn link(call: &Call<'_>) -> Result {
    let here = libc::AT_FDCWD;
    let flags = if call.asked.number == libc::SYS_link { 0 } else { call.int(4) };
    if flags & !(libc::AT_SYMLINK_FOLLOW | libc::AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    // Errors come in the kernel's order: all of the first path before the second one.
    let (from, to) = match call.asked.number {
        libc::SYS_link => ((here, call.path(0)?), (here, call.path(1))),
        _ => ((call.int(0), call.path(1)?), (call.int(2), call.path(3))),
    };
    let by_number = flags & libc::AT_EMPTY_PATH != 0 && from.1.is_empty();
    if !by_number {
        not_empty(&from.1)?;
    }
    let last = if flags & libc::AT_SYMLINK_FOLLOW != 0 { Last::Follow } else { Last::Keep };
    let mut resolver = call.resolver()?;
    let starts = (
        call.start(from.0, &from.1)?,
        to.1.and_then(|path| not_empty(&path).and_then(|()| Ok((call.start(to.0, &path)?, path)))),
    );
    call.act()?;
    let source: OwnedFd = if by_number {
        starts.0
    } else {
        match resolver.resolve(&starts.0, &from.1, last)? {
            End::Found { file, .. } => file,
            End::Missing(_) => return Err(Errno::ENOENT),
        }
    };
    let (start, path) = starts.1?;
    let to = match resolver.again().resolve(&start, &path, Last::Name)? {
        End::Found { .. } => return Err(Errno::EEXIST),
        End::Missing(place) if place.name.ends_with(b"/") => return Err(Errno::ENOENT),
        End::Missing(place) => place,
    };
    let stat = Some(fstat(&source)?);
    both(call, Action::FileLink, (&path_of(source.as_fd())?, &stat), (&to.path()?, &None))?;
    // Of a descriptor it counts who opened it: the thread, as which it is opened here. Of the working directory nothing.
    if by_number && from.0 != here {
        let source =
            open(by_descriptor(source.as_fd()).as_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        linkat(&source, "", &to.folder, to.written(), LinkatFlags::from(AtFlags::AT_EMPTY_PATH))?;
    } else {
        let source = by_descriptor(source.as_fd());
        linkat(AT_FDCWD, source.as_str(), &to.folder, to.written(), AtFlags::AT_SYMLINK_FOLLOW)?;
    }
    DONE
}
