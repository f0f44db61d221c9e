//! execve, execveat. Nobody can execute for another process, so: the program, its interpreters and its arguments
//! are decided, the kernel goes on, and before the first instruction of the new image runs it is compared with
//! what was decided. A difference is the end of the process.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{FileStat, SFlag, fstat};
use nix::unistd::{AccessFlags, Pid, faccessat};

use super::call::{Call, Outcome, Result};
use super::facts::put_file;
use super::fail;
use super::image::{self, Image};
use super::map;
use super::place::{End, by_descriptor, kind, path_of};
use super::resolve::Last;
use crate::abi::raw::{AUTHZ_ROLE_INTERPRETER, AUTHZ_ROLE_PROGRAM, authz_event};
use crate::event::Action;
use crate::pipeline::Verdict;
use crate::sys::ptrace::{self, Stop};

/// Interpreters of interpreters (fs/exec.c).
const LEVELS_MAX: usize = 5;

/// As much as the kernel takes of arguments at the usual stack limit, with room.
const ARGUMENTS_MAX: usize = 8 << 20;

/// What has to become of the process.
struct Decided {
    /// The file that is mapped in the end.
    image: FileStat,
    /// Its path and that of its loader: nothing else is mapped before the first instruction.
    mapped: Vec<Vec<u8>>,
    /// Its arguments, each with a NUL.
    arguments: Vec<u8>,
}

pub fn exec(call: &Call<'_>) -> Result {
    let (folder, path, argv, flags) = match call.asked.number {
        libc::SYS_execveat => (call.int(0), call.path(1)?, call.arg(2), call.int(4)),
        _ => (libc::AT_FDCWD, call.path(0)?, call.arg(1), 0),
    };
    if flags & !(libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW) != 0 {
        // Checks without executing and what else may come: none of it is needed.
        return Err(Errno::EINVAL);
    }
    let arguments = arguments(call, argv)?;
    let file = if path.is_empty() && flags & libc::AT_EMPTY_PATH != 0 {
        let file = call.start(folder, b"")?;
        call.act()?;
        file
    } else {
        let last = if flags & libc::AT_SYMLINK_NOFOLLOW != 0 { Last::Keep } else { Last::Follow };
        existing(call.resolve(folder, &path, last)?)?
    };
    let Some(decided) = decide(call, file, &as_given(folder, &path), arguments)? else {
        return Ok(Outcome::GoOn);
    };
    call.back()?;
    if call.target.traced {
        // Its tracer could exchange the image after the comparison, and we could not make one.
        return unwatched(call, &decided);
    }
    run(call, &decided)
}

fn existing(end: End) -> Result<OwnedFd> {
    match end {
        End::Found { file, .. } => Ok(file),
        End::Missing(_) => Err(Errno::ENOENT),
    }
}

/// The name that a script gets of itself.
fn as_given(folder: i32, path: &[u8]) -> Vec<u8> {
    if folder == libc::AT_FDCWD || path.starts_with(b"/") {
        return path.to_vec();
    }
    let mut name = format!("/dev/fd/{folder}").into_bytes();
    if !path.is_empty() {
        name.push(b'/');
        name.extend_from_slice(path);
    }
    name
}

/// Copies the arguments, each with a NUL after it.
fn arguments(call: &Call<'_>, mut at: u64) -> Result<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    let mut size = 0;
    if at == 0 {
        return Ok(vec![Vec::new()]);
    }
    loop {
        let [pointer] = call.target.words(at)?;
        if pointer == 0 {
            break;
        }
        let argument = call.target.string(pointer, ARGUMENTS_MAX, Errno::E2BIG)?;
        size += argument.len() + 1;
        if size > ARGUMENTS_MAX {
            return Err(Errno::E2BIG);
        }
        all.push(argument);
        at += 8;
    }
    if all.is_empty() {
        // The kernel puts an empty one in its place.
        all.push(Vec::new());
    }
    Ok(all)
}

/// Decides the program and all that interprets it. None: one cannot be read, and only observe mode lets it pass.
fn decide(
    call: &Call<'_>,
    file: OwnedFd,
    name: &[u8],
    mut arguments: Vec<Vec<u8>>,
) -> Result<Option<Decided>> {
    let (mut file, mut name) = (file, name.to_vec());
    let mut role = AUTHZ_ROLE_PROGRAM;
    for _ in 0..=LEVELS_MAX {
        let stat = executable(&file)?;
        let mut raw = call.record(Action::ProcessExec);
        raw.role = role as u8;
        let path = path_of(file.as_fd())?;
        put_file(&mut raw, &path, Some(&stat));
        allow(call, &raw, &arguments)?;
        let Some(head) = head(call, &file)? else {
            // A process whose program cannot be read cannot be read either, so none of its calls could be judged.
            call.judge.fail(call.session, &raw, fail::CLOSED)?;
            return Ok(None);
        };
        match image::of(&head) {
            Image::Script { interpreter, argument } => {
                // fs/binfmt_script.c: the interpreter, its argument, the script, the rest.
                let mut own = vec![interpreter.clone()];
                own.extend(argument);
                own.push(name);
                arguments.splice(..1, own);
                name = interpreter;
                file = existing(call.resolve(libc::AT_FDCWD, &name, Last::Follow)?)?;
                role = AUTHZ_ROLE_INTERPRETER;
            }
            Image::Foreign => return Err(Errno::ENOEXEC),
            Image::Elf { loader } => {
                let mut mapped = vec![path];
                if let Some(loader) = loader {
                    let file = existing(call.resolve(libc::AT_FDCWD, &loader, Last::Follow)?)?;
                    let mut raw = call.record(Action::ProcessExec);
                    raw.role = AUTHZ_ROLE_PROGRAM as u8;
                    let path = path_of(file.as_fd())?;
                    put_file(&mut raw, &path, Some(&executable(&file)?));
                    allow(call, &raw, &arguments)?;
                    mapped.push(path);
                }
                return Ok(Some(decided(stat, mapped, &arguments)));
            }
            // The kernel knows it, or refuses it; it must be mapped as itself.
            Image::Unknown => return Ok(Some(decided(stat, vec![path], &arguments))),
        }
    }
    Err(Errno::ELOOP)
}

fn decided(image: FileStat, mapped: Vec<Vec<u8>>, arguments: &[Vec<u8>]) -> Decided {
    let arguments = arguments.iter().flat_map(|argument| [&argument[..], &[0]].concat()).collect();
    Decided { image, mapped, arguments }
}

fn allow(call: &Call<'_>, raw: &authz_event, arguments: &[Vec<u8>]) -> Result<()> {
    let verdict = call.decide_with(raw, |event| {
        if call.session.reads_arguments.load(Ordering::Acquire) {
            let texts = arguments.iter().map(|argument| crate::enforce::wire::text(argument).into());
            event
                .operation
                .resource
                .properties
                .insert("argv".into(), serde_json::Value::Array(texts.collect()));
        }
    });
    match verdict? {
        Verdict::Allow => Ok(()),
        Verdict::Deny | Verdict::Compute(_) => Err(Errno::EACCES),
    }
}

/// Whether the thread may execute it; acts with its rights.
fn executable(file: &OwnedFd) -> Result<FileStat> {
    let stat = fstat(file)?;
    if kind(&stat) == SFlag::S_IFLNK {
        return Err(Errno::ELOOP);
    }
    if kind(&stat) != SFlag::S_IFREG {
        return Err(Errno::EACCES);
    }
    let path = by_descriptor(file.as_fd());
    faccessat(nix::fcntl::AT_FDCWD, path.as_str(), AccessFlags::X_OK, nix::fcntl::AtFlags::AT_EACCESS)?;
    Ok(stat)
}

/// The first bytes, which the kernel reads whoever may read the file. Root may; another supervisor, what it can.
fn head(call: &Call<'_>, file: &OwnedFd) -> Result<Option<Vec<u8>>> {
    call.back()?;
    let mut head = Vec::new();
    let Ok(file) = std::fs::File::open(by_descriptor(file.as_fd())) else { return Ok(None) };
    file.take(image::HEAD).read_to_end(&mut head).map_err(|_| Errno::EIO)?;
    call.act()?;
    Ok(Some(head))
}

/// Lets the kernel execute, and looks at what came of it before it runs.
fn run(call: &Call<'_>, decided: &Decided) -> Result {
    let tid = call.target.tid;
    if ptrace::seize_for_exec(tid).is_err() {
        return unwatched(call, decided);
    }
    // If the call fails it stops on its way back, so that it can be let go.
    let stopped = ptrace::interrupt(tid);
    let listener = &call.session.listener;
    if stopped.is_err() || listener.go_on(call.asked.id).is_err() {
        // It was killed meanwhile; as a tracee it is reaped below.
        listener.respond(call.asked.id, -i64::from(libc::EACCES)).ok();
    }
    loop {
        match ptrace::wait() {
            Ok((pid, Stop::Exec)) => {
                let session = call.session;
                if session.had_calls.load(Ordering::Acquire) {
                    session.lineage.executed(pid, session.calls.load(Ordering::Acquire));
                }
                if !is_decided(pid, decided) {
                    let mut raw = call.record(Action::ProcessExec);
                    put_file(&mut raw, &image_path(pid), None);
                    if call.judge.fail(call.session, &raw, fail::CHANGED).is_err() {
                        // Nothing of it has run.
                        kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
                    }
                }
                // One that was killed cannot be let go. It ends, and only after that was waited for here can its
                // parent wait for it.
                if ptrace::detach(pid, 0).is_ok() {
                    break;
                }
            }
            Ok((pid, Stop::Signal(signal))) => {
                // Else it was killed: its end comes next.
                ptrace::cont(pid, signal).ok();
            }
            Ok((pid, Stop::Event { .. } | Stop::Other)) => {
                if ptrace::detach(pid, 0).is_ok() {
                    break;
                }
            }
            Ok((_, Stop::Exited)) | Err(Errno::ECHILD) => break,
            Err(Errno::EINTR) => {}
            Err(_) => break,
        }
    }
    Ok(Outcome::Answered)
}

/// A program that cannot be compared.
fn unwatched(call: &Call<'_>, decided: &Decided) -> Result {
    call.check()?;
    let mut raw = call.record(Action::ProcessExec);
    put_file(&mut raw, &decided.mapped[0], Some(&decided.image));
    call.judge.fail(call.session, &raw, fail::UNWATCHED)?;
    Ok(Outcome::GoOn)
}

fn image_path(pid: i32) -> Vec<u8> {
    std::fs::read_link(format!("/proc/{pid}/exe"))
        .map(|path| path.as_os_str().as_bytes().to_vec())
        .unwrap_or_default()
}

/// Whether the new image is what was decided: the same file, unchanged, with the same loader and arguments.
fn is_decided(pid: i32, decided: &Decided) -> bool {
    let Ok(image) = std::fs::metadata(format!("/proc/{pid}/exe")) else { return false };
    let same = image.dev() == decided.image.st_dev
        && image.ino() == decided.image.st_ino
        && image.size() == decided.image.st_size as u64
        && image.ctime() == decided.image.st_ctime
        && image.ctime_nsec() == decided.image.st_ctime_nsec;
    same && std::fs::read(format!("/proc/{pid}/maps")).is_ok_and(|maps| {
        map::names(&maps).all(|name| decided.mapped.iter().any(|path| map::shown(path) == name))
    }) && std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|arguments| arguments == decided.arguments)
}
