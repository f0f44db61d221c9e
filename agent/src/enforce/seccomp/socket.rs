//! Calls that name an address: done here on the thread's own socket, with the address and the data that were
//! copied once.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};

use super::address::{self, Address, Use};
use super::call::{Call, Outcome, Result};
use super::facts::{put_address, put_file, put_unix_name, put_unix_path};
use super::place::{End, by_descriptor, kind, path_of};
use super::resolve::Last;
use crate::event::Action;
use crate::pipeline::Verdict;
use crate::sys::socket;

const DONE: Result = Ok(Outcome::Value(0));

/// `struct sockaddr_storage`
const ADDRESS_MAX: i32 = 128;
/// `UIO_MAXIOV`, and the most messages of one sendmmsg.
const PIECES_MAX: u64 = 1024;
/// As much of a stream is copied at once, and of anything else at all: more than the kernel takes by default.
const DATA_MAX: usize = 1 << 20;
/// net.core.optmem_max is far below it.
const CONTROL_MAX: u64 = 1 << 16;

/// A socket of the thread.
struct Socket {
    fd: OwnedFd,
    family: i32,
    protocol: i32,
    /// What is sent is a stream, and may be sent in parts.
    stream: bool,
}

impl Socket {
    fn of(call: &Call<'_>, number: i32) -> Result<Self> {
        let fd = call.target.duplicate(number)?;
        let family = socket::option(fd.as_fd(), libc::SO_DOMAIN)?;
        let protocol = socket::option(fd.as_fd(), libc::SO_PROTOCOL)?;
        let stream = socket::option(fd.as_fd(), libc::SO_TYPE)? == libc::SOCK_STREAM;
        Ok(Self { fd, family, protocol, stream })
    }
}

fn copied(call: &Call<'_>, address: u64, length: i32) -> Result<Vec<u8>> {
    if !(0..=ADDRESS_MAX).contains(&length) {
        return Err(Errno::EINVAL);
    }
    let bytes = call.target.bytes(address, length as usize)?;
    // The kernel looks at the length before the path.
    let unix = bytes.starts_with(&(libc::AF_UNIX as u16).to_ne_bytes());
    if unix && bytes.len() > size_of::<libc::sockaddr_un>() { Err(Errno::EINVAL) } else { Ok(bytes) }
}

/// Decides about sending or connecting to an address; what comes back is to be used in its place. Acts with the
/// thread's rights.
fn judged(call: &Call<'_>, to: &Socket, bytes: Vec<u8>, given_for: Use, instead: bool) -> Result<Vec<u8>> {
    let mut raw = call.record(Action::NetConnect);
    let bytes = match Address::parse(&bytes, to.family, to.protocol, given_for) {
        // Disconnect, and what the kernel refuses by itself.
        Address::None | Address::Unnamed => return Ok(bytes),
        Address::Inet(address) => {
            put_address(&mut raw, &address);
            bytes
        }
        Address::Abstract(name) => {
            put_unix_name(&mut raw, &name);
            bytes
        }
        Address::Path(path) => {
            let End::Found { file, .. } = call.resolve(libc::AT_FDCWD, &path, Last::Follow)? else {
                return Err(Errno::ENOENT);
            };
            let stat = fstat(&file)?;
            let path = path_of(file.as_fd())?;
            if call.session.is_control(&path) {
                put_unix_path(&mut raw, &path, &stat);
                return Err(call.guard(&raw));
            }
            // Anything else than a socket the kernel refuses by itself.
            if kind(&stat) == SFlag::S_IFSOCK {
                put_unix_path(&mut raw, &path, &stat);
                if let Verdict::Compute(other) = call.decide(&raw)? {
                    return elsewhere(call, to, &other, given_for, instead);
                }
            }
            call.act()?;
            let bytes = address::unix(by_descriptor(file.as_fd()).as_bytes());
            call.keep(file);
            return Ok(bytes);
        }
    };
    if let Verdict::Compute(other) = call.decide(&raw)? {
        return elsewhere(call, to, &other, given_for, instead);
    }
    call.act()?;
    Ok(bytes)
}

fn elsewhere(call: &Call<'_>, to: &Socket, other: &str, given_for: Use, instead: bool) -> Result<Vec<u8>> {
    let other = address::written(other, to.family).filter(|_| !instead).ok_or(Errno::EACCES)?;
    call.back()?;
    judged(call, to, other, given_for, true)
}

pub fn connect(call: &Call<'_>) -> Result {
    let to = Socket::of(call, call.int(0))?;
    let address = copied(call, call.arg(1), call.int(2))?;
    let address = judged(call, &to, address, Use::Connect, false)?;
    call.act()?;
    call.blocking(|| socket::connect(to.fd.as_fd(), &address))?;
    DONE
}

pub fn bind(call: &Call<'_>) -> Result {
    let socket = Socket::of(call, call.int(0))?;
    let bytes = copied(call, call.arg(1), call.int(2))?;
    let (mut address, mut given) = (bytes.clone(), None);
    match Address::parse(&bytes, socket.family, socket.protocol, Use::Bind) {
        Address::Inet(inet) => {
            let mut raw = call.record(Action::NetBind);
            put_address(&mut raw, &inet);
            call.allow(&raw)?;
            call.act()?;
        }
        Address::Path(path) => {
            let place = match call.resolve(libc::AT_FDCWD, &path, Last::Name)? {
                End::Found { .. } => return Err(Errno::EADDRINUSE),
                End::Missing(place) => place,
            };
            let mut raw = call.record(Action::FileCreate);
            put_file(&mut raw, &place.path()?, None);
            call.allow(&raw)?;
            // In the folder that was decided: a longer path could lead elsewhere by now.
            nix::unistd::fchdir(&place.folder)?;
            address = address::unix(&place.name);
            given = Some(path).filter(|path| *path != place.name);
        }
        // A name of the network namespace's own, or none.
        Address::Abstract(_) | Address::Unnamed | Address::None => call.act()?,
    }
    socket::bind(socket.fd.as_fd(), &address)?;
    if let Some(path) = given {
        call.session.bound.put(fstat(&socket.fd)?.st_ino, path);
    }
    DONE
}

/// getsockname: the path that a Unix socket was bound by, all else from the kernel.
pub fn name(call: &Call<'_>) -> Result {
    let fd = call.target.duplicate(call.int(0))?;
    let path = call.session.bound.get(fstat(&fd)?.st_ino);
    // An inode's number may have been another socket's.
    let Some(path) = path.filter(|_| socket::has_path(fd.as_fd()) == Ok(true)) else {
        return Ok(Outcome::GoOn);
    };
    let room = i32::from_ne_bytes(call.target.bytes(call.arg(2), 4)?.try_into().unwrap_or_default());
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    let mut name = address::unix(&path);
    // Of the longest one the kernel counts a NUL too.
    name.resize(size_of::<libc::sa_family_t>() + path.len() + 1, 0);
    call.target.write(call.arg(1), &name[..name.len().min(room)])?;
    call.target.write(call.arg(2), &(name.len() as u32).to_ne_bytes())?;
    DONE
}

pub fn sendto(call: &Call<'_>) -> Result {
    let to = Socket::of(call, call.int(0))?;
    let data = Data(vec![(call.arg(1), call.arg(2))]);
    let first = data.part(call, &to, 0)?;
    let address = copied(call, call.arg(4), call.int(5))?;
    let flags = call.int(3);
    let address = judged(call, &to, address, Use::Send, false)?;
    sent(call, data.send(call, &to, first, (&address, &[]), flags), flags)
}

/// What is to be sent, in the thread's memory: (address, length) of each piece.
struct Data(Vec<(u64, u64)>);

impl Data {
    fn length(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, length)| sum.saturating_add(*length))
    }

    /// Copies what comes after the first `skip` bytes, as much as is sent at once.
    fn part(&self, call: &Call<'_>, to: &Socket, mut skip: u64) -> Result<Vec<u8>> {
        if !to.stream && self.length() > DATA_MAX as u64 {
            return Err(Errno::EMSGSIZE);
        }
        let mut part = Vec::new();
        for (address, length) in &self.0 {
            let before = skip.min(*length);
            skip -= before;
            let length = (length - before).min((DATA_MAX - part.len()) as u64);
            part.extend(call.target.bytes(address.wrapping_add(before), length as usize)?);
        }
        Ok(part)
    }

    /// Sends it; of a stream all, unless the kernel stops before.
    fn send(
        &self,
        call: &Call<'_>,
        to: &Socket,
        first: Vec<u8>,
        (address, control): (&[u8], &[u8]),
        flags: i32,
    ) -> nix::Result<usize> {
        let send = |part: &[u8], address: &[u8], control: &[u8], flags: i32| {
            call.act()?;
            call.blocking(|| socket::send(to.fd.as_fd(), address, part, control, flags | libc::MSG_NOSIGNAL))
        };
        let mut done = send(&first, address, control, flags)?;
        let mut whole = done == first.len();
        // What was sent is told; an error comes again with the next call.
        while whole && (done as u64) < self.length() {
            let more = call.back().and_then(|()| self.part(call, to, done as u64));
            let Ok(part) = more else { break };
            let Ok(sent) = send(&part, &[], &[], flags & !libc::MSG_FASTOPEN) else { break };
            whole = sent == part.len();
            done += sent;
        }
        Ok(done)
    }
}

/// Who writes to a socket nobody reads from gets a signal, unless it asked for none.
fn sent(call: &Call<'_>, result: nix::Result<usize>, flags: i32) -> Result {
    if result == Err(Errno::EPIPE) && flags & libc::MSG_NOSIGNAL == 0 {
        let thread = nix::unistd::Pid::from_raw(call.target.tid);
        // If it is gone it needs no signal.
        nix::sys::signal::kill(thread, nix::sys::signal::Signal::SIGPIPE).ok();
    }
    result.map(|sent| Outcome::Value(sent as i64))
}

/// A copied `struct msghdr`.
struct Message {
    address: Vec<u8>,
    data: Data,
    /// What of `data` is sent first.
    first: Vec<u8>,
    control: Vec<u8>,
    /// Descriptors that `control` refers to.
    _passed: Vec<OwnedFd>,
}

impl Message {
    fn copy(call: &Call<'_>, to: &Socket, at: u64) -> Result<Self> {
        let [name, name_length, pieces, count, control, control_length, _flags]: [u64; 7] =
            call.target.words(at)?;
        let address = if name == 0 { Vec::new() } else { copied(call, name, name_length as i32)? };
        if count > PIECES_MAX {
            return Err(Errno::EMSGSIZE);
        }
        let vector = call.target.bytes(pieces, 16 * count as usize)?;
        let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
        let data =
            Data(vector.chunks_exact(16).map(|piece| (word(&piece[..8]), word(&piece[8..]))).collect());
        let first = data.part(call, to, 0)?;
        if control_length > CONTROL_MAX {
            return Err(Errno::ENOBUFS);
        }
        let control =
            if control == 0 { Vec::new() } else { call.target.bytes(control, control_length as usize)? };
        let (control, passed) = translated(call, control)?;
        Ok(Self { address, data, first, control, _passed: passed })
    }

    fn send(self, call: &Call<'_>, to: &Socket, flags: i32) -> nix::Result<usize> {
        let address = if self.address.is_empty() {
            self.address
        } else {
            judged(call, to, self.address, Use::Send, false)?
        };
        self.data.send(call, to, self.first, (&address, &self.control), flags)
    }
}

/// Control messages with the numbers that mean something in one process only: descriptors and process ids.
fn translated(call: &Call<'_>, mut control: Vec<u8>) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    let mut passed = Vec::new();
    let mut at = 0;
    while at + HEADER <= control.len() {
        let word = |at: usize, control: &[u8]| {
            i32::from_ne_bytes(control[at..at + 4].try_into().unwrap_or_default())
        };
        let length = u64::from_ne_bytes(control[at..at + 8].try_into().unwrap_or_default()) as usize;
        if length < HEADER || length > control.len() - at {
            return Err(Errno::EINVAL);
        }
        let (level, kind) = (word(at + 8, &control), word(at + 12, &control));
        if level == libc::SOL_SOCKET && kind == libc::SCM_RIGHTS {
            for place in (at + HEADER..at + length).step_by(4).filter(|place| place + 4 <= at + length) {
                let file = call.target.duplicate(word(place, &control))?;
                control[place..place + 4].copy_from_slice(&file.as_raw_fd().to_ne_bytes());
                passed.push(file);
            }
        }
        if level == libc::SOL_SOCKET && kind == libc::SCM_CREDENTIALS && length >= HEADER + 4 {
            // Nobody but root may give another process's number.
            let own = std::process::id() as i32;
            if word(at + HEADER, &control) != call.target.tgid {
                return Err(Errno::EPERM);
            }
            control[at + HEADER..at + HEADER + 4].copy_from_slice(&own.to_ne_bytes());
        }
        at += length.next_multiple_of(8);
    }
    Ok((control, passed))
}

pub fn sendmsg(call: &Call<'_>) -> Result {
    let to = Socket::of(call, call.int(0))?;
    let message = Message::copy(call, &to, call.arg(1))?;
    let flags = call.int(2);
    sent(call, message.send(call, &to, flags), flags)
}

pub fn sendmmsg(call: &Call<'_>) -> Result {
    /// `struct mmsghdr`, and where its result is.
    const SIZE: u64 = 64;
    const RESULT: u64 = 56;
    let to = Socket::of(call, call.int(0))?;
    let flags = call.int(3);
    let mut done = 0;
    for index in 0..u64::from(call.arg(2) as u32).min(PIECES_MAX) {
        call.back()?;
        let at = call.arg(1) + index * SIZE;
        let result = Message::copy(call, &to, at).and_then(|message| message.send(call, &to, flags));
        match result {
            Ok(length) => {
                call.back()?;
                call.target.write(at + RESULT, &(length as u32).to_ne_bytes())?;
                done += 1;
            }
            // What was sent is told; the error comes again with the next call.
            Err(_) if done > 0 => break,
            Err(error) => return sent(call, Err(error), flags),
        }
    }
    Ok(Outcome::Value(done))
}
