//! An operation as a record of the eBPF programs would have it, so that the same code turns both into events:
//! same names, same facts, same keys.

use nix::sys::stat::{FileStat, SFlag};

use super::place::kind;
use super::target::Target;
use crate::abi::raw::*;
use crate::clock::monotonic_ns;
use crate::event::Action;

/// A record about an operation of `target` in the call `number`; its object is still to be put.
pub fn record(target: &Target, number: i64, action: Action) -> Box<authz_event> {
    let mut raw = Box::<authz_event>::default();
    raw.kind = AUTHZ_KIND_ASK as u8;
    raw.time_ns = monotonic_ns();
    raw.tid = target.tid as u32;
    raw.tgid = target.tgid as u32;
    raw.uid = target.uid;
    raw.gid = target.gid;
    raw.syscall = number as u32;
    raw.action = action as u8;
    for (to, from) in raw.comm.iter_mut().zip(target.comm.iter().take(15)) {
        *to = *from as _;
    }
    raw
}

/// The same record without an object: what is left of one that is not understood.
pub fn nameless(raw: &authz_event) -> Box<authz_event> {
    let authz_event { time_ns, tid, tgid, uid, gid, syscall, action, comm, .. } = *raw;
    let (kind, object) = (AUTHZ_KIND_ASK as u8, AUTHZ_OBJ_BROKEN as u8);
    Box::new(authz_event {
        kind,
        object,
        time_ns,
        tid,
        tgid,
        uid,
        gid,
        syscall,
        action,
        comm,
        ..authz_event::default()
    })
}

/// Puts bytes as the object's name; a second name after them.
fn put(raw: &mut authz_event, object: u32, name: &[u8], other: &[u8]) {
    let all = name.len() + other.len();
    if all > raw.data.len() || name.len() > AUTHZ_PATH_MAX as usize {
        raw.object = AUTHZ_OBJ_BROKEN as u8;
        return;
    }
    raw.object = object as u8;
    raw.path_len = name.len() as u16;
    raw.other_len = other.len() as u16;
    raw.data[..name.len()].copy_from_slice(name);
    raw.data[name.len()..all].copy_from_slice(other);
}

/// Puts a file: its path as the kernel prints it, and what it is; none: it does not exist yet.
pub fn put_file(raw: &mut authz_event, path: &[u8], stat: Option<&FileStat>) {
    match stat {
        Some(stat) => put_inode(raw, stat),
        None => raw.flags |= AUTHZ_EVENT_NEGATIVE,
    }
    let deleted = stat.is_some_and(|stat| stat.st_nlink == 0);
    if !path.starts_with(b"/") || path.starts_with(b"/memfd:") {
        let (kind, name) = anonymous(path);
        put(raw, AUTHZ_OBJ_ANON, kind, name);
    } else if path.starts_with(b"(unreachable)") {
        raw.object = AUTHZ_OBJ_BROKEN as u8;
    } else {
        let path = if deleted { path.strip_suffix(b" (deleted)").unwrap_or(path) } else { path };
        put(raw, AUTHZ_OBJ_PATH, path, b"");
    }
}

/// Puts the second name of a rename or link.
pub fn put_other(raw: &mut authz_event, other: &[u8]) {
    if u32::from(raw.object) != AUTHZ_OBJ_PATH {
        return;
    }
    let name = raw.data[..usize::from(raw.path_len)].to_vec();
    put(raw, AUTHZ_OBJ_PATH, &name, other);
}

/// File system type and name of a file without a path, as the kernel prints it: `pipe:[1]`, `/memfd:x (deleted)`.
fn anonymous(path: &[u8]) -> (&[u8], &[u8]) {
    let memfd = path.strip_prefix(b"/").unwrap_or(path);
    if memfd.starts_with(b"memfd:") {
        return (b"tmpfs", memfd.strip_suffix(b" (deleted)").unwrap_or(memfd));
    }
    if let Some(name) = path.strip_prefix(b"anon_inode:") {
        return (b"anon_inodefs", name);
    }
    match path.iter().position(|byte| *byte == b':') {
        Some(at) if &path[..at] == b"pipe" => (b"pipefs", b""),
        Some(at) if &path[..at] == b"socket" => (b"sockfs", b""),
        Some(at) => (&path[..at], b""),
        None => (path, b""),
    }
}

fn put_inode(raw: &mut authz_event, stat: &FileStat) {
    raw.mode = stat.st_mode;
    raw.nlink = stat.st_nlink as u32;
    raw.ino = stat.st_ino;
    raw.size = stat.st_size as u64;
    raw.dev = stat.st_dev as u32;
    raw.ctime_sec = stat.st_ctime;
    raw.ctime_nsec = stat.st_ctime_nsec as u32;
    if kind(stat) == SFlag::S_IFDIR {
        raw.flags |= AUTHZ_EVENT_DIRECTORY;
    }
    if kind(stat) == SFlag::S_IFREG && stat.st_nlink > 1 {
        raw.flags |= AUTHZ_EVENT_MULTILINK;
    }
    if stat.st_nlink == 0 {
        raw.flags |= AUTHZ_EVENT_UNLINKED;
    }
}

/// Puts a message queue; none: it does not exist yet, or was not looked at.
pub fn put_queue(raw: &mut authz_event, name: &[u8], stat: Option<&FileStat>) {
    match stat {
        Some(stat) => put_inode(raw, stat),
        None => raw.flags |= AUTHZ_EVENT_NEGATIVE,
    }
    put(raw, AUTHZ_OBJ_ANON, b"mqueue", name);
}

/// Puts a process.
pub fn put_process(raw: &mut authz_event, pid: i32) {
    raw.object = AUTHZ_OBJ_PROCESS as u8;
    raw.target_pid = pid as u32;
}

/// Puts a word, for `system.*`.
pub fn put_name(raw: &mut authz_event, name: &str) {
    put(raw, AUTHZ_OBJ_NAME, name.as_bytes(), b"");
}

/// Puts the path of a Unix socket.
pub fn put_unix_path(raw: &mut authz_event, path: &[u8], stat: &FileStat) {
    put_file(raw, path, Some(stat));
    if u32::from(raw.object) == AUTHZ_OBJ_PATH {
        raw.object = AUTHZ_OBJ_UNIX_PATH as u8;
    }
}

/// Puts the abstract name of a Unix socket, without the NUL before it.
pub fn put_unix_name(raw: &mut authz_event, name: &[u8]) {
    put(raw, AUTHZ_OBJ_UNIX_ABSTRACT, name, b"");
}

/// Puts an internet address.
pub fn put_address(raw: &mut authz_event, address: &authz_address) {
    put(raw, AUTHZ_OBJ_ADDRESS, crate::abi::bytes_of_address(address), b"");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::wire;

    #[test]
    fn a_file_without_a_path_is_named_as_the_kernel_side_does() {
        let target = Target::read(std::process::id() as i32).unwrap();
        let id = |path: &[u8]| {
            let mut raw = record(&target, libc::SYS_openat, Action::FileRead);
            put_file(&mut raw, path, None);
            wire::event(&raw).unwrap().operation.resource.id
        };
        assert_eq!(id(b"/etc/hosts"), "/etc/hosts");
        assert_eq!(id(b"pipe:[4711]"), "anon:pipe");
        assert_eq!(id(b"socket:[4711]"), "anon:socket");
        assert_eq!(id(b"anon_inode:[eventpoll]"), "anon:[eventpoll]");
        assert_eq!(id(b"/memfd:x (deleted)"), "anon:memfd:x");
        assert_eq!(id(&[b'/'; 5000]), "unknown:path");
    }

    #[test]
    fn two_names_are_kept_apart() {
        let target = Target::read(std::process::id() as i32).unwrap();
        let mut raw = record(&target, libc::SYS_rename, Action::FileRename);
        raw.role = AUTHZ_ROLE_SOURCE as u8;
        put_file(&mut raw, b"/a/b", None);
        put_other(&mut raw, b"/c");
        let event = wire::event(&raw).unwrap();
        assert_eq!(event.operation.resource.id, "/a/b");
        assert_eq!(event.operation.resource.properties["target"], "/c");
    }
}
