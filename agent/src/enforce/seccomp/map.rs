//! mmap and mprotect of code: a library, or a program run by its loader. The kernel carries them out; the file is
//! a descriptor that another thread could exchange meanwhile, which is why this is partial.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use nix::sys::stat::{FileStat, fstat, stat};

use super::call::{Call, Outcome, Result};
use super::facts::put_file;
use super::place::path_of;
use crate::abi::raw::AUTHZ_ROLE_LIBRARY;
use crate::event::Action;

fn decide(call: &Call<'_>, path: &[u8], stat: Option<&FileStat>) -> Result<()> {
    let mut raw = call.record(Action::ProcessExec);
    raw.role = AUTHZ_ROLE_LIBRARY as u8;
    put_file(&mut raw, path, stat);
    call.allow(&raw)
}

pub fn map(call: &Call<'_>) -> Result {
    if call.asked.number != libc::SYS_mmap {
        return protect(call);
    }
    if call.int(3) & libc::MAP_ANONYMOUS == 0 {
        let file = call.target.descriptor(call.int(4))?;
        decide(call, &path_of(file.as_fd())?, Some(&fstat(&file)?))?;
    }
    Ok(Outcome::GoOn)
}

/// A file that was mapped to be read becomes code.
fn protect(call: &Call<'_>) -> Result {
    let maps = call.target.proc("maps")?;
    let (start, end) = (call.arg(0), call.arg(0).saturating_add(call.arg(1)));
    for line in maps.split(|byte| *byte == b'\n') {
        let Some((low, high, path)) = mapping(line) else { continue };
        if high <= start || low >= end || !path.starts_with(b"/") {
            continue;
        }
        let found = stat(OsStr::from_bytes(path)).ok();
        decide(call, path, found.as_ref())?;
    }
    Ok(Outcome::GoOn)
}

/// Range and name of a line of /proc/PID/maps.
fn mapping(line: &[u8]) -> Option<(u64, u64, &[u8])> {
    let dash = line.iter().position(|byte| *byte == b'-')?;
    let space = line.iter().position(|byte| *byte == b' ')?;
    let number = |bytes: &[u8]| u64::from_str_radix(std::str::from_utf8(bytes).ok()?, 16).ok();
    let name = line.iter().position(|byte| *byte == b'/').map_or(&b""[..], |at| &line[at..]);
    Some((number(line.get(..dash)?)?, number(line.get(dash + 1..space)?)?, name))
}

/// The files of /proc/PID/maps, as they are shown there.
pub fn names(maps: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = maps.split(|byte| *byte == b'\n').filter_map(mapping);
    lines.map(|(_, _, name)| name).filter(|name| !name.is_empty())
}

/// A path as it is shown there.
pub fn shown(path: &[u8]) -> Vec<u8> {
    path.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(&b"\\012"[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_read() {
        let line = b"7f00-7fff r-xp 00000000 fe:00 42    /usr/lib/a b.so";
        assert_eq!(mapping(line), Some((0x7f00, 0x7fff, &b"/usr/lib/a b.so"[..])));
        assert_eq!(mapping(b"00-01 rw-p 00000000 00:00 0"), Some((0, 1, &b""[..])));
        assert_eq!(mapping(b""), None);
        let maps = [line, &b"00-01 rw-p 00000000 00:00 0   [stack]"[..], b"02-03 r--p 0 0:0 7  /x\\012y"]
            .join(&b'\n');
        assert_eq!(names(&maps).collect::<Vec<_>>(), [&b"/usr/lib/a b.so"[..], &shown(b"/x\ny")]);
    }
}
