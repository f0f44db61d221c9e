//! POSIX message queues: files without a path, `anon:mqueue:NAME`, opened and removed here by the name that was copied.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::fcntl::readlink;
use nix::mqueue::{MQ_OFlag, MqAttr, mq_close, mq_open, mq_unlink};
use nix::sys::stat::{Mode, fstat};

use super::call::{Call, Outcome, Result};
use super::facts::put_queue;
use super::fail;
use crate::event::Action;

/// Queues may come and go; more often than this it is an attack.
const TRIES: u32 = 64;

/// The name, as the C library takes it. Names are looked up in the namespace of whoever opens.
fn name(call: &Call<'_>) -> Result<(Vec<u8>, CString)> {
    let name = call.path(0)?;
    let moved = call.session.moved.load(Ordering::Acquire);
    if moved && call.target.namespace("ipc")? != readlink("/proc/self/ns/ipc")? {
        return Err(call.target.cannot(fail::NAMESPACE));
    }
    if name.is_empty() {
        return Err(Errno::ENOENT);
    }
    let written = CString::new([b"/", &name[..]].concat()).map_err(|_| Errno::EINVAL)?;
    Ok((name, written))
}

pub fn open(call: &Call<'_>) -> Result {
    let flags = MQ_OFlag::from_bits_retain(call.int(1));
    let mode = Mode::from_bits_truncate(call.arg(2) as u32 & 0o7777);
    let attributes = match call.arg(3) {
        0 => None,
        at => {
            let [flags, messages, size, queued, ..]: [u64; 8] = call.target.words(at)?;
            Some(MqAttr::new(flags as i64, messages as i64, size as i64, queued as i64))
        }
    };
    let (name, written) = name(call)?;
    let creates = flags.contains(MQ_OFlag::O_CREAT);
    let exclusive = creates && flags.contains(MQ_OFlag::O_EXCL);
    let plain = flags & !(MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL);
    for _ in 0..TRIES {
        call.act()?;
        // To open one changes nothing: what is decided is what is handed over.
        let outcome = match opened(&written, plain, Mode::empty(), None) {
            Ok(_) | Err(Errno::EACCES) if exclusive => return Err(Errno::EEXIST),
            Ok(queue) => return existing(call, &name, plain, queue),
            Err(Errno::ENOENT) if creates => {
                let mut raw = call.record(Action::FileCreate);
                put_queue(&mut raw, &name, None);
                call.allow(&raw)?;
                call.act()?;
                let flags = flags | MQ_OFlag::O_EXCL;
                opened(&written, flags, mode, attributes.as_ref())
            }
            Err(error) => return Err(error),
        };
        match outcome {
            Ok(queue) => return handed(queue),
            // It came in between: decide about that one.
            Err(Errno::EEXIST) if !exclusive => {}
            Err(error) => return Err(error),
        }
    }
    Err(Errno::EAGAIN)
}

fn opened(name: &CStr, flags: MQ_OFlag, mode: Mode, attributes: Option<&MqAttr>) -> Result<OwnedFd> {
    let queue = mq_open(name, flags, mode, attributes)?;
    // That one is not closed by itself.
    let own = queue.as_fd().try_clone_to_owned();
    mq_close(queue)?;
    own.map_err(|_| Errno::EMFILE)
}

fn existing(call: &Call<'_>, name: &[u8], flags: MQ_OFlag, queue: OwnedFd) -> Result {
    let stat = fstat(&queue)?;
    let access = flags.bits() & libc::O_ACCMODE;
    for (action, wants) in
        [(Action::FileRead, access != libc::O_WRONLY), (Action::FileWrite, access != libc::O_RDONLY)]
    {
        if wants {
            let mut raw = call.record(action);
            raw.open_flags = flags.bits() as u32;
            put_queue(&mut raw, name, Some(&stat));
            call.allow(&raw)?;
        }
    }
    handed(queue)
}

/// The kernel closes them at exec, whatever was asked for.
fn handed(queue: OwnedFd) -> Result {
    Ok(Outcome::File(queue, true))
}

pub fn unlink(call: &Call<'_>) -> Result {
    let (name, written) = name(call)?;
    let mut raw = call.record(Action::FileDelete);
    put_queue(&mut raw, &name, None);
    call.allow(&raw)?;
    call.act()?;
    mq_unlink(written.as_c_str())?;
    Ok(Outcome::Value(0))
}
