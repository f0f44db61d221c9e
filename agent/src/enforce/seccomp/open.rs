//! open, openat, openat2, creat: resolved, decided, opened here and handed over.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::{AccessFlags, faccessat};

use super::call::{Call, Outcome, Result};
use super::facts::put_file;
use super::place::{End, Place, by_descriptor, kind, path_of, same};
use super::resolve::Last;
use super::sticky::may_create_over;
use crate::event::Action;
use crate::pipeline::Verdict;

/// Something else may come and go under a name; more often than this it is an attack.
const TRIES: u32 = 64;

/// `struct open_how` of the first version, and the page above which the kernel refuses.
const HOW_SIZE: u64 = 24;
const HOW_MAX: u64 = 4096;

/// What is to be opened.
struct Wanted {
    folder: i32,
    path: Vec<u8>,
    flags: OFlag,
    mode: Mode,
    resolve: ResolveFlag,
}

pub fn open_call(call: &Call<'_>) -> Result {
    let bits = |bits: i32| OFlag::from_bits_retain(bits);
    let mode = |index: usize| Mode::from_bits_truncate(call.arg(index) as u32 & 0o7777);
    let here = libc::AT_FDCWD;
    let (folder, path, flags, mode) = match call.asked.number {
        libc::SYS_open => (here, 0, bits(call.int(1)), mode(2)),
        libc::SYS_creat => (here, 0, OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_TRUNC, mode(1)),
        libc::SYS_openat => (call.int(0), 1, bits(call.int(2)), mode(3)),
        _ => return opened(call, &how(call)?, false),
    };
    // The kernel looks at flags before it looks at the path.
    valid(flags, mode)?;
    opened(
        call,
        &Wanted { folder, path: call.path(path)?, flags, mode, resolve: ResolveFlag::empty() },
        false,
    )
}

/// The arguments of openat2.
fn how(call: &Call<'_>) -> Result<Wanted> {
    let size = call.arg(3);
    if size < HOW_SIZE {
        return Err(Errno::EINVAL);
    }
    if size > HOW_MAX {
        return Err(Errno::E2BIG);
    }
    let rest = call.target.bytes(call.arg(2), size as usize)?;
    if rest[HOW_SIZE as usize..].iter().any(|byte| *byte != 0) {
        return Err(Errno::E2BIG);
    }
    // From the copy, not from memory again.
    let word =
        |index: usize| u64::from_ne_bytes(rest[8 * index..8 * index + 8].try_into().unwrap_or_default());
    if word(0) >> 32 != 0 || word(1) & !0o7777 != 0 || word(2) >> 32 != 0 {
        return Err(Errno::EINVAL);
    }
    let flags = OFlag::from_bits_retain(word(0) as i32);
    let mode = Mode::from_bits_truncate(word(1) as u32);
    let resolve = ResolveFlag::from_bits_retain(word(2));
    // What the kernel says of the flags, before it comes to the path.
    match openat2(nix::fcntl::AT_FDCWD, "", OpenHow::new().flags(flags).mode(mode).resolve(resolve)) {
        Err(Errno::ENOENT) | Ok(_) => {}
        Err(error) => return Err(error),
    }
    // What is looked up here may wait.
    if word(2) & libc::RESOLVE_CACHED != 0 {
        return Err(Errno::EAGAIN);
    }
    if flags.contains(OFlag::O_PATH) {
        // Such a descriptor cannot be handed over (EBADF), and the kernel would read the flags from memory again.
        // Programs that get this take openat, which the filter lets through.
        return Err(Errno::ENOSYS);
    }
    Ok(Wanted { folder: call.int(0), path: call.path(1)?, flags, mode, resolve })
}

/// The same for the older calls.
fn valid(flags: OFlag, mode: Mode) -> Result<()> {
    match open("", flags, mode) {
        Err(Errno::ENOENT) | Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}

fn opened(call: &Call<'_>, wanted: &Wanted, instead: bool) -> Result {
    if wanted.path.is_empty() {
        return Err(Errno::ENOENT);
    }
    let creates = wanted.flags.contains(OFlag::O_CREAT);
    let exclusive = creates && wanted.flags.contains(OFlag::O_EXCL);
    let keep = exclusive || wanted.flags.contains(OFlag::O_NOFOLLOW);
    let last = match (creates, keep) {
        (true, true) => Last::New,
        (true, false) => Last::Create,
        (false, true) => Last::Keep,
        (false, false) => Last::Follow,
    };
    let resolver = call.resolver()?;
    // An absolute path in a root of its own starts there.
    let start = if wanted.resolve.contains(ResolveFlag::RESOLVE_IN_ROOT) {
        call.target.folder(wanted.folder)?
    } else {
        call.start(wanted.folder, &wanted.path)?
    };
    let mut resolver = resolver.within(wanted.resolve, &start)?;
    call.act()?;
    for _ in 0..TRIES {
        let end = if creates || wanted.flags.contains(OFlag::O_NOFOLLOW) {
            resolver.resolve_by_steps(&start, &wanted.path, last)?
        } else {
            resolver.resolve(&start, &wanted.path, last)?
        };
        let outcome = match end {
            End::Missing(place) => {
                if !creates {
                    return Err(Errno::ENOENT);
                }
                create(call, wanted, &place, instead)
            }
            End::Found { file, place } => existing(call, wanted, &file, place.as_ref(), instead),
        };
        match outcome {
            // It came, or went, between the look and the act: decide about what is there now.
            Err(Errno::EEXIST) if creates && !exclusive => {}
            outcome => return outcome,
        }
    }
    Err(Errno::EAGAIN)
}

fn create(call: &Call<'_>, wanted: &Wanted, place: &Place, instead: bool) -> Result {
    if place.name.ends_with(b"/") {
        return Err(Errno::EISDIR);
    }
    let mut raw = call.record(Action::FileCreate);
    put_file(&mut raw, &place.path()?, None);
    if let Verdict::Compute(path) = call.decide(&raw)? {
        return elsewhere(call, wanted, path, instead);
    }
    let flags = wanted.flags | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = openat(&place.folder, place.written(), flags, wanted.mode)?;
    Ok(Outcome::File(file, wanted.flags.contains(OFlag::O_CLOEXEC)))
}

/// Another path, by the policy's will: decided like any other, but it ends there.
fn elsewhere(call: &Call<'_>, wanted: &Wanted, path: String, instead: bool) -> Result {
    if instead {
        return Err(Errno::EACCES);
    }
    call.back()?;
    let wanted = Wanted {
        folder: libc::AT_FDCWD,
        path: path.into_bytes(),
        flags: wanted.flags,
        mode: wanted.mode,
        resolve: ResolveFlag::empty(),
    };
    opened(call, &wanted, true)
}

fn existing(
    call: &Call<'_>,
    wanted: &Wanted,
    file: &OwnedFd,
    place: Option<&Place>,
    instead: bool,
) -> Result {
    let flags = wanted.flags;
    let stat = fstat(file)?;
    let folder = kind(&stat) == SFlag::S_IFDIR;
    if flags.contains(OFlag::O_CREAT) {
        if place.is_some_and(|place| place.name.ends_with(b"/")) {
            return Err(Errno::EISDIR);
        }
        if flags.contains(OFlag::O_EXCL) {
            return Err(Errno::EEXIST);
        }
        if folder {
            return Err(Errno::EISDIR);
        }
        if let Some(place) = place {
            may_create_over(place.folder.as_fd(), &stat, call.target.identity.uid)?;
        }
    }
    if flags.contains(OFlag::O_DIRECTORY) && !folder {
        return Err(Errno::ENOTDIR);
    }
    let close = flags.contains(OFlag::O_CLOEXEC);
    if flags.contains(OFlag::O_PATH) {
        // Only openat2 comes here with it; the filter lets it through elsewhere.
        let file = file.try_clone().map_err(|_| Errno::EMFILE)?;
        return Ok(Outcome::File(file, close));
    }
    if kind(&stat) == SFlag::S_IFLNK {
        return Err(Errno::ELOOP);
    }
    if flags.contains(OFlag::O_TMPFILE) {
        return nameless(call, wanted, file, instead);
    }
    let (reads, writes) = access(flags);
    permitted(file, &stat, flags)?;
    let path = path_of(file.as_fd())?;
    for (action, wants) in [(Action::FileRead, reads), (Action::FileWrite, writes || truncates(flags))] {
        if !wants {
            continue;
        }
        let mut raw = call.record(action);
        raw.open_flags = flags.bits() as u32;
        put_file(&mut raw, &path, Some(&stat));
        if let Verdict::Compute(path) = call.decide(&raw)? {
            return elsewhere(call, wanted, path, instead);
        }
    }
    outside_memory(call, &path)?;
    let file = reopen(call, wanted, file, place, &stat)?;
    Ok(Outcome::File(file, close))
}

/// What is read and what is written: the access mode, and what the kernel takes the fourth one for.
fn access(flags: OFlag) -> (bool, bool) {
    match flags.bits() & libc::O_ACCMODE {
        libc::O_WRONLY => (false, true),
        libc::O_RDWR => (true, true),
        _ => (true, false),
    }
}

fn truncates(flags: OFlag) -> bool {
    flags.contains(OFlag::O_TRUNC)
}

/// Whether the thread may by the file's own mode: asked before a policy, and a human, are.
fn permitted(file: &OwnedFd, stat: &FileStat, flags: OFlag) -> Result<()> {
    let truncates = truncates(flags);
    // The fourth access mode takes both rights and gives neither.
    let both = flags.bits() & libc::O_ACCMODE == libc::O_ACCMODE;
    let (reads, writes) = access(flags);
    let (reads, writes) = (reads || both, writes || both || truncates);
    if writes && kind(stat) == SFlag::S_IFDIR {
        return Err(Errno::EISDIR);
    }
    let mut wants = AccessFlags::empty();
    wants.set(AccessFlags::R_OK, reads);
    wants.set(AccessFlags::W_OK, writes);
    let path = by_descriptor(file.as_fd());
    let allowed = faccessat(nix::fcntl::AT_FDCWD, path.as_str(), wants, AtFlags::AT_EACCESS);
    if both && allowed == Err(Errno::EROFS) {
        // Nothing will be written.
        return Ok(());
    }
    if allowed == Err(Errno::EROFS) && !truncates {
        // Something else may be in the way before that; nothing comes of it in any case.
        let drop = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_TRUNC;
        return Err(open(path.as_str(), flags & !drop, Mode::empty()).err().unwrap_or(Errno::EROFS));
    }
    // To cut a file short the kernel asks the mount first.
    if allowed == Err(Errno::EACCES)
        && truncates
        && nix::sys::statvfs::fstatvfs(file)?.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY)
    {
        return Err(Errno::EROFS);
    }
    allowed
}

/// /proc/PID/mem of a process outside is that process.
fn outside_memory(call: &Call<'_>, path: &[u8]) -> Result<()> {
    let Some(pid) = path
        .strip_prefix(b"/proc/")
        .and_then(|rest| rest.strip_suffix(b"/mem"))
        .and_then(|rest| std::str::from_utf8(rest).ok()?.split('/').next()?.parse().ok())
    else {
        return Ok(());
    };
    super::process::outside(call, Action::ProcessPtrace, pid)
}

/// The terminal of whoever opens it.
const DEV_TTY: libc::dev_t = libc::makedev(5, 0);

/// Opens what was decided, not what has its name by now.
fn reopen(
    call: &Call<'_>,
    wanted: &Wanted,
    file: &OwnedFd,
    place: Option<&Place>,
    stat: &FileStat,
) -> Result<OwnedFd> {
    let drop = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
    let flags = (wanted.flags & !drop) | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    if kind(stat) == SFlag::S_IFCHR && stat.st_rdev == DEV_TTY {
        return open(super::process::terminal(call)?.as_str(), flags, Mode::empty());
    }
    // O_NOFOLLOW shows in F_GETFL: by name where that does nothing before it is known to be the same.
    let plain = matches!(kind(stat), SFlag::S_IFREG | SFlag::S_IFDIR) && !truncates(flags);
    if wanted.flags.contains(OFlag::O_NOFOLLOW)
        && plain
        && let Some(place) = place
    {
        let by_name = openat(&place.folder, place.written(), flags | OFlag::O_NOFOLLOW, Mode::empty());
        if let Ok(opened) = by_name
            && same(&fstat(&opened)?, stat)
        {
            return Ok(opened);
        }
    }
    let open = || open(by_descriptor(file.as_fd()).as_str(), flags, Mode::empty());
    // A pipe waits for its other end, a device for whatever it likes.
    if matches!(kind(stat), SFlag::S_IFIFO | SFlag::S_IFCHR) { call.blocking(open) } else { open() }
}

/// A file without a name is decided by its folder.
fn nameless(call: &Call<'_>, wanted: &Wanted, folder: &OwnedFd, instead: bool) -> Result {
    let mut raw = call.record(Action::FileCreate);
    put_file(&mut raw, &path_of(folder.as_fd())?, Some(&fstat(folder)?));
    if let Verdict::Compute(path) = call.decide(&raw)? {
        return elsewhere(call, wanted, path, instead);
    }
    let flags = (wanted.flags & !OFlag::O_NOFOLLOW) | OFlag::O_CLOEXEC;
    let file = open(by_descriptor(folder.as_fd()).as_str(), flags, wanted.mode)?;
    Ok(Outcome::File(file, wanted.flags.contains(OFlag::O_CLOEXEC)))
}
