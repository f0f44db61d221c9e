//! A thread of the supervisor takes on the identity of the thread it acts for.
#![allow(unsafe_code, reason = "the C library changes identities of whole processes; these are per thread")]

use std::cell::RefCell;
use std::io;

/// With whose rights files are opened and sockets connected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// File system user.
    pub uid: u32,
    /// File system group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Effective capabilities.
    pub capabilities: u64,
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The calling thread gets a root, working directory and umask of its own.
pub fn own_file_system_state() -> io::Result<()> {
    // SAFETY: an integer argument.
    check(libc::c_long::from(unsafe { libc::unshare(libc::CLONE_FS) }))
}

/// What the calls below made of their thread; none: not known. What is so already is not done again, since most
/// agents have the rights of their supervisor and each change makes the kernel copy all of them.
#[derive(Default)]
struct Made {
    uid: Option<u32>,
    gid: Option<u32>,
    groups: Option<Vec<u32>>,
    /// Effective ones.
    capabilities: Option<u64>,
    /// Those it may have, which nothing here changes: its real user stays root.
    permitted: Option<u64>,
}

thread_local! {
    static MADE: RefCell<Made> = RefCell::default();
}

/// Makes `slot` be `value` by `change`. After an error it is not known.
fn make<T: PartialEq>(
    slot: &mut Option<T>,
    value: T,
    change: impl FnOnce(&T) -> io::Result<()>,
) -> io::Result<()> {
    if slot.as_ref() != Some(&value) {
        *slot = None;
        change(&value)?;
        *slot = Some(value);
    }
    Ok(())
}

impl Made {
    fn groups(&mut self, groups: &[u32]) -> io::Result<()> {
        if self.groups.as_deref() == Some(groups) {
            return Ok(());
        }
        make(&mut self.groups, groups.to_vec(), |groups| {
            // SAFETY: pointer and length are of one live vector.
            check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })
        })
    }

    fn gid(&mut self, gid: u32) -> io::Result<()> {
        make(&mut self.gid, gid, |gid| {
            // SAFETY: integers only.
            check(unsafe { libc::syscall(libc::SYS_setresgid, KEEP, *gid, KEEP) })
        })
    }

    fn uid(&mut self, uid: u32) -> io::Result<()> {
        let Self { uid: slot, capabilities, .. } = self;
        make(slot, uid, |uid| {
            // From root to another user the kernel clears the effective capabilities, and back it raises them.
            *capabilities = None;
            // SAFETY: integers only.
            check(unsafe { libc::syscall(libc::SYS_setresuid, KEEP, *uid, KEEP) })
        })
    }

    fn capabilities(&mut self, mask: u64) -> io::Result<()> {
        let permitted = match self.permitted {
            Some(permitted) => permitted,
            None => *self.permitted.insert(Capabilities::get()?.permitted()),
        };
        make(&mut self.capabilities, permitted & mask, |effective| Capabilities::get()?.set(*effective))
    }
}

/// For setresuid(2) and setresgid(2): as it is.
const KEEP: libc::c_long = -1;

/// The calling thread, whose real user is root, acts as `identity` from now on. On an error it may be in between:
/// nothing must be done with it but [`be_root`].
pub fn be(identity: &Identity) -> io::Result<()> {
    let Identity { uid, gid, groups, capabilities } = identity;
    MADE.with_borrow_mut(|made| {
        made.groups(groups)?;
        made.gid(*gid)?;
        made.uid(*uid)?;
        if *uid == 0 { made.capabilities(*capabilities) } else { Ok(()) }
    })
}

/// Back to root with all its capabilities.
pub fn be_root() -> io::Result<()> {
    MADE.with_borrow_mut(|made| {
        made.uid(0)?;
        made.gid(0)?;
        made.capabilities(u64::MAX)
    })
}

/// linux/capability.h
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

impl Header {
    /// _LINUX_CAPABILITY_VERSION_3 (two words of 32) of the calling thread.
    const OWN: Self = Self { version: 0x2008_0522, pid: 0 };
}

/// linux/capability.h
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Word {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// The calling thread's.
struct Capabilities([Word; 2]);

impl Capabilities {
    fn get() -> io::Result<Self> {
        let mut header = Header::OWN;
        let mut words = [Word::default(); 2];
        // SAFETY: both live and of the layout of linux/capability.h.
        check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) })?;
        Ok(Self(words))
    }

    fn permitted(&self) -> u64 {
        u64::from(self.0[1].permitted) << 32 | u64::from(self.0[0].permitted)
    }

    fn set(mut self, effective: u64) -> io::Result<()> {
        let mut header = Header::OWN;
        self.0[0].effective = effective as u32;
        self.0[1].effective = (effective >> 32) as u32;
        // SAFETY: as above.
        check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, self.0.as_ptr()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// File system user and group, groups, effective capabilities, as the kernel has them for this thread.
    fn now() -> Identity {
        let text = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let words = |name: &str| -> Vec<u32> {
            line(name).split_ascii_whitespace().map(|word| word.parse().unwrap()).collect()
        };
        Identity {
            uid: words("Uid:")[3],
            gid: words("Gid:")[3],
            groups: words("Groups:"),
            capabilities: u64::from_str_radix(line("CapEff:").trim(), 16).unwrap(),
        }
    }

    #[test]
    fn what_is_skipped_is_so_already() {
        if !nix::unistd::getuid().is_root() {
            return;
        }
        std::thread::spawn(|| {
            be_root().unwrap();
            let all = now().capabilities;
            let root = |capabilities| Identity { capabilities, ..Identity::default() };
            let user =
                |uid, groups: &[u32]| Identity { uid, gid: uid, groups: groups.to_vec(), capabilities: 0 };
            let turns = [root(all), user(1000, &[7, 8]), user(1000, &[7, 8]), user(1001, &[]), root(all)];
            let limited = [root(0), root(1), root(all & !1), user(1000, &[7]), root(all), root(all)];
            let group = [Identity { gid: 5, ..root(all) }, Identity { gid: 5, ..root(2) }, root(all)];
            for identity in [&turns[..], &limited, &group, &turns].concat() {
                be(&identity).unwrap();
                assert_eq!(now(), identity);
                be_root().unwrap();
                let back = now();
                assert_eq!((back.uid, back.gid, back.capabilities), (0, 0, all), "after {identity:?}");
            }
        })
        .join()
        .unwrap();
    }
}
