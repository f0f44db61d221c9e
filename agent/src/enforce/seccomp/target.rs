//! The thread whose call waits: who it is, what its memory and its descriptors hold. Everything is copied once;
//! what is decided and what is done are the copy.

use std::cell::Cell;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, readlink};
use nix::sys::stat::Mode;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;

use super::fail;
use crate::sys::identity::Identity;
use crate::sys::peer::pidfd_open;
use crate::sys::seccomp::descriptor_of;

/// linux/limits.h, with the NUL.
pub const PATH_MAX: usize = 4096;

/// Reads stop at page boundaries, since the next page may not be there.
const PAGE: u64 = 4096;

/// A waiting thread.
#[derive(Debug)]
pub struct Target {
    /// Its number.
    pub tid: i32,
    /// That of its process.
    pub tgid: i32,
    /// Its real user and group, which records name.
    pub uid: u32,
    /// See `uid`.
    pub gid: u32,
    /// With whose rights it acts.
    pub identity: Identity,
    /// What it takes off the mode of new files.
    pub umask: Mode,
    /// The name it gives itself.
    pub comm: Vec<u8>,
    /// It has another tracer.
    pub traced: bool,
    /// Why something of it, or for it, was not to be had; the call then failed with EACCES.
    unjudged: Cell<Option<&'static str>>,
}

impl Target {
    /// One of which nothing is known but its number; its user is the number that no user has.
    pub fn unknown(tid: i32) -> Self {
        Self {
            tid,
            tgid: tid,
            uid: u32::MAX,
            gid: u32::MAX,
            identity: Identity::default(),
            umask: Mode::empty(),
            comm: Vec::new(),
            traced: false,
            unjudged: Cell::new(None),
        }
    }

    /// Notes why the call cannot be judged, and is the error for it.
    pub fn cannot(&self, cause: &'static str) -> Errno {
        self.unjudged.set(Some(cause));
        Errno::EACCES
    }

    /// It is judged all the same.
    pub fn can(&self) {
        self.unjudged.set(None);
    }

    /// Why the call cannot be judged, if so.
    pub fn unjudged(&self) -> Option<&'static str> {
        self.unjudged.get()
    }

    /// Reads /proc/TID/status. Whoever calls checks afterwards that the call still waits.
    pub fn read(tid: i32) -> Result<Self, Errno> {
        let text = status(tid).map_err(|_| Errno::ESRCH)?;
        let mut target = Self::unknown(tid);
        let mut complete = false;
        for line in text.split(|byte| *byte == b'\n') {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            let words = || std::str::from_utf8(value).unwrap_or_default().split_ascii_whitespace();
            let number = |index: usize| words().nth(index).and_then(|word| word.parse().ok());
            let hex = || u64::from_str_radix(words().next().unwrap_or_default(), 16);
            match name {
                b"Name" => target.comm = value.to_vec(),
                b"Umask" => {
                    let bits = u32::from_str_radix(words().next().unwrap_or_default(), 8);
                    target.umask = Mode::from_bits_truncate(bits.map_err(|_| Errno::ESRCH)?);
                }
                b"Tgid" => target.tgid = number(0).map_or(tid, |tgid: u32| tgid as i32),
                b"TracerPid" => target.traced = number(0) != Some(0),
                // Real, effective, saved, file system.
                b"Uid" => {
                    target.uid = number(0).ok_or(Errno::ESRCH)?;
                    target.identity.uid = number(3).ok_or(Errno::ESRCH)?;
                }
                b"Gid" => {
                    target.gid = number(0).ok_or(Errno::ESRCH)?;
                    target.identity.gid = number(3).ok_or(Errno::ESRCH)?;
                }
                b"Groups" => target.identity.groups = words().filter_map(|word| word.parse().ok()).collect(),
                // Comes after all others of these.
                b"CapEff" => {
                    target.identity.capabilities = hex().map_err(|_| Errno::ESRCH)?;
                    complete = true;
                }
                _ => {}
            }
        }
        if complete { Ok(target) } else { Err(Errno::ESRCH) }
    }

    /// Copies `length` bytes.
    pub fn bytes(&self, address: u64, length: usize) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; length];
        let mut done = 0;
        while done < length {
            let n = self.read_some(address + done as u64, &mut bytes[done..])?;
            if n == 0 {
                return Err(Errno::EFAULT);
            }
            done += n;
        }
        Ok(bytes)
    }

    fn read_some(&self, address: u64, into: &mut [u8]) -> Result<usize, Errno> {
        let remote = [RemoteIoVec { base: address as usize, len: into.len() }];
        match process_vm_readv(Pid::from_raw(self.tid), &mut [IoSliceMut::new(into)], &remote) {
            Err(Errno::EFAULT) => Err(Errno::EFAULT),
            Err(error) => Err(self.cannot(fail::unread(error))),
            Ok(n) => Ok(n),
        }
    }

    /// Copies a string that ends in NUL, without it; at most `max` bytes with it.
    pub fn string(&self, address: u64, max: usize, too_long: Errno) -> Result<Vec<u8>, Errno> {
        let mut text = Vec::new();
        let mut chunk = [0; PAGE as usize];
        while text.len() < max {
            let at = address.wrapping_add(text.len() as u64);
            let length = ((PAGE - at % PAGE) as usize).min(max - text.len());
            let n = self.read_some(at, &mut chunk[..length])?;
            if n == 0 {
                return Err(Errno::EFAULT);
            }
            if let Some(end) = chunk[..n].iter().position(|byte| *byte == 0) {
                text.extend_from_slice(&chunk[..end]);
                return Ok(text);
            }
            text.extend_from_slice(&chunk[..n]);
        }
        Err(too_long)
    }

    /// Copies a path. Empty ones are returned as such.
    pub fn path(&self, address: u64) -> Result<Vec<u8>, Errno> {
        self.string(address, PATH_MAX, Errno::ENAMETOOLONG)
    }

    /// Copies 64-bit words.
    pub fn words<const N: usize>(&self, address: u64) -> Result<[u64; N], Errno> {
        let bytes = self.bytes(address, 8 * N)?;
        let mut words = [0; N];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
        }
        Ok(words)
    }

    /// Writes a result.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        let remote = [RemoteIoVec { base: address as usize, len: bytes.len() }];
        let n = process_vm_writev(Pid::from_raw(self.tid), &[IoSlice::new(bytes)], &remote)?;
        if n == bytes.len() { Ok(()) } else { Err(Errno::EFAULT) }
    }

    /// The folder that a relative path starts from; `number` as in openat(2).
    pub fn folder(&self, number: i32) -> Result<OwnedFd, Errno> {
        if number == libc::AT_FDCWD { self.link("cwd") } else { self.descriptor(number) }
    }

    /// Its root, if that is not everyone's.
    pub fn root(&self) -> Result<OwnedFd, Errno> {
        self.link("root")
    }

    /// Which namespace of a kind it is in.
    pub fn namespace(&self, kind: &str) -> Result<OsString, Errno> {
        let link = readlink(format!("/proc/{}/ns/{kind}", self.tid).as_str());
        link.map_err(|error| self.cannot(fail::unread(error)))
    }

    /// What its descriptor refers to, as an O_PATH descriptor.
    pub fn descriptor(&self, number: i32) -> Result<OwnedFd, Errno> {
        if number < 0 {
            return Err(Errno::EBADF);
        }
        self.link(&format!("fd/{number}"))
            .map_err(|error| if error == Errno::ENOENT { Errno::EBADF } else { error })
    }

    fn link(&self, name: &str) -> Result<OwnedFd, Errno> {
        let path = CString::new(format!("/proc/{}/{name}", self.tid)).map_err(|_| Errno::EINVAL)?;
        let opened = open(path.as_c_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
        opened.map_err(|error| if error == Errno::ENOENT { error } else { self.cannot(fail::unread(error)) })
    }

    /// A file of its folder in /proc that only who may read the process can read.
    pub fn proc(&self, name: &str) -> Result<Vec<u8>, Errno> {
        std::fs::read(format!("/proc/{}/{name}", self.tid)).map_err(|error| match raw(&error) {
            Errno::ENOENT => Errno::ENOENT,
            error => self.cannot(fail::unread(error)),
        })
    }

    /// Its descriptor itself, shared.
    pub fn duplicate(&self, number: i32) -> Result<OwnedFd, Errno> {
        let pidfd = pidfd_open(self.tgid).map_err(|error| self.cannot(fail::unread(raw(&error))))?;
        descriptor_of(pidfd.as_fd(), number).map_err(|error| match raw(&error) {
            Errno::EBADF => Errno::EBADF,
            error => self.cannot(fail::unread(error)),
        })
    }
}

fn raw(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// /proc/TID/status, which the kernel writes whole at the first read: its lines are of one moment.
fn status(tid: i32) -> std::io::Result<Vec<u8>> {
    let file = File::open(format!("/proc/{tid}/status"))?;
    let mut text = Vec::with_capacity(2 * PAGE as usize);
    // Every call begins here: a plain File asks for the size and then reads 32, 32, 64 bytes, and so on.
    file.take(u64::MAX).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_read() {
        let target = Target::read(std::process::id() as i32).unwrap();
        assert_eq!(target.tgid, std::process::id() as i32);
        assert_eq!(target.identity.uid, nix::unistd::geteuid().as_raw());
        let text = c"/etc/hosts";
        assert_eq!(target.path(text.as_ptr() as u64).unwrap(), b"/etc/hosts");
        assert_eq!(target.path(1), Err(Errno::EFAULT));
        let long = vec![b'a'; 3 * PATH_MAX];
        assert_eq!(target.path(long.as_ptr() as u64), Err(Errno::ENAMETOOLONG));
        assert_eq!(target.descriptor(-1).err(), Some(Errno::EBADF));
        assert_eq!(target.descriptor(999_999).err(), Some(Errno::EBADF));
        assert_eq!(Target::read(-1).err(), Some(Errno::ESRCH));
    }
}
