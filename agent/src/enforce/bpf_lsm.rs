//! The eBPF LSM back end: loads and pins the programs, and is the only one that touches their maps.

use std::collections::HashMap as StdHashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};

use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::links::FdLink;
use aya::programs::{Lsm, Program, ProgramError};
use aya::{Btf, Ebpf, EbpfError, EbpfLoader, VerifierLogLevel};

use super::level::Enforcement;
use super::restart;
use super::verdicts::Verdicts;
use crate::abi::raw::*;
use crate::abi::{self, VerdictKey};
use crate::sys::bpf_map;

/// The object that build.rs compiles.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/authz.bpf.o"));

/// Folder of the pins; one folder an instance.
pub const PIN_ROOT: &str = "/sys/fs/bpf/authz";

/// A daemon whose heartbeat is older than this is dead or stuck.
pub const STALE_NS: u64 = 5_000_000_000;

/// A hook, the program for it, and what is lost without it.
pub struct Hook {
    /// Symbol in the object.
    pub program: &'static str,
    /// Kernel hook, as in `bpf_lsm_<hook>`.
    pub hook: &'static str,
    /// Empty: authz refuses to run without it. Else what is not mediated where the kernel lacks it.
    pub without: &'static str,
}

const fn required(name: &'static str) -> Hook {
    Hook { program: name, hook: name, without: "" }
}

/// Every hook, in the order of the files under `ebpf/hooks`.
pub const HOOKS: &[Hook] = &[
    required("task_alloc"),
    required("bprm_committed_creds"),
    required("task_fix_setuid"),
    required("file_open"),
    required("file_receive"),
    required("path_mknod"),
    required("path_mkdir"),
    required("path_symlink"),
    required("path_unlink"),
    required("path_rmdir"),
    required("path_rename"),
    required("path_link"),
    required("path_truncate"),
    // Until 6.1 ftruncate calls path_truncate.
    Hook { program: "file_truncate", hook: "file_truncate", without: "nothing: path_truncate covers it" },
    required("inode_create"),
    required("inode_unlink"),
    required("path_chmod"),
    required("path_chown"),
    required("inode_setattr"),
    required("inode_setxattr"),
    required("inode_removexattr"),
    // Until 6.1 an ACL is an extended attribute.
    Hook { program: "inode_set_acl", hook: "inode_set_acl", without: "nothing: inode_setxattr covers it" },
    Hook {
        program: "inode_remove_acl",
        hook: "inode_remove_acl",
        without: "nothing: inode_removexattr covers it",
    },
    required("file_ioctl"),
    // Kernels without it call file_ioctl for both.
    Hook {
        program: "file_ioctl_compat",
        hook: "file_ioctl_compat",
        without: "nothing: file_ioctl covers it",
    },
    // It came with the system call file_setattr.
    Hook {
        program: "inode_file_setattr",
        hook: "inode_file_setattr",
        without: "nothing: file_ioctl covers it",
    },
    required("bprm_check_security"),
    required("mmap_file"),
    required("file_mprotect"),
    required("socket_connect"),
    required("socket_bind"),
    required("socket_sendmsg"),
    required("unix_stream_connect"),
    required("unix_may_send"),
    required("sb_mount"),
    required("move_mount"),
    required("sb_umount"),
    required("sb_pivotroot"),
    required("path_chroot"),
    Hook { program: "userns_create", hook: "userns_create", without: "user namespaces" },
    Hook { program: "bpf_call", hook: "bpf", without: "" },
    required("perf_event_open"),
    required("kernel_read_file"),
    required("kernel_load_data"),
    required("inode_init_security_anon"),
    required("capable"),
    required("socket_create"),
    required("ptrace_access_check"),
    required("ptrace_traceme"),
    required("task_kill"),
    required("file_fcntl"),
];

/// Why the back end cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel has no type information.
    #[error("cannot read /sys/kernel/btf/vmlinux: {0}; the kernel needs CONFIG_DEBUG_INFO_BTF=y")]
    Btf(#[source] aya::BtfError),
    /// The object was refused.
    #[error("cannot load the eBPF object: {0}; run `authz doctor`")]
    Object(#[source] Box<EbpfError>),
    /// The list of hooks cannot be read.
    #[error("cannot tell which hooks this kernel has: {0}")]
    Hooks(String),
    /// One program was refused.
    #[error("cannot {what} the program for hook {hook}: {source}; run `authz doctor`")]
    Program {
        /// load or attach.
        what: &'static str,
        /// The hook.
        hook: &'static str,
        /// aya's error.
        #[source]
        source: Box<ProgramError>,
    },
    /// A hook that authz cannot do without is missing.
    #[error(
        "this kernel has no LSM hook {0}, without which files, exec or connect cannot be mediated; use a kernel of 6.1 or later"
    )]
    Missing(&'static str),
    /// A map operation failed.
    #[error("map {map}: {source}")]
    Map {
        /// Its name.
        map: &'static str,
        /// aya's error.
        #[source]
        source: Box<MapError>,
    },
    /// A file of the back end could not be read or written.
    #[error("{what} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The addresses of the path lookup locks are hidden.
    #[error(
        "/proc/kallsyms does not show {0}, needed to read paths without tearing; run as root with kernel.kptr_restrict below 2"
    )]
    Symbol(&'static str),
}

pub(super) fn map_error(map: &'static str) -> impl Fn(MapError) -> Error {
    move |source| Error::Map { map, source: Box::new(source) }
}

/// The loaded programs of one daemon.
pub struct BpfLsm {
    pins: PathBuf,
    tasks: MapData,
    sessions: Array<MapData, authz_session>,
    state: Array<MapData, authz_state>,
    verdicts: Verdicts,
    names: HashMap<MapData, authz_name, u32>,
    answers: HashMap<MapData, u64, authz_answer>,
    counters: PerCpuArray<MapData, u64>,
    ring: RingBuf<MapData>,
    missing: Vec<&'static Hook>,
    // Held only so that it is dropped last.
    _ebpf: Ebpf,
}

impl BpfLsm {
    /// Loads, attaches and pins everything under `PIN_ROOT/<instance>`. No task is managed yet.
    pub fn load(instance: &str, seed: [u64; 2]) -> Result<Self, Error> {
        let btf = Btf::from_sys_fs().map_err(Error::Btf)?;
        let symbols = kernel_symbols(&["rename_lock", "mount_lock"])?;
        let sigpending_mask = sigpending_mask(&release());
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&btf))
            .allow_unsupported_maps()
            .verifier_log_level(verifier_log())
            .override_global("digest_seed", &seed, true)
            .override_global("rename_lock_addr", &symbols[0], true)
            .override_global("mount_lock_addr", &symbols[1], true)
            .override_global("sigpending_mask", &sigpending_mask, true)
            .load(OBJECT)
            .map_err(|error| Error::Object(Box::new(error)))?;
        let mut this_maps = StdHashMap::new();
        for name in [
            "tasks",
            "sessions",
            "state",
            "regions",
            "verdicts",
            "name_groups",
            "answers",
            "counters",
            "events",
        ] {
            let map = ebpf.take_map(name).ok_or(Error::Missing("(map)"))?;
            this_maps.insert(name, map);
        }
        let mut take = |name: &str| this_maps.remove(name).ok_or(Error::Missing("(map)"));
        let Map::Unsupported(tasks) = take("tasks")? else { return Err(Error::Missing("(task storage)")) };
        let mut lsm = Self {
            pins: Path::new(PIN_ROOT).join(instance),
            tasks,
            sessions: Array::try_from(take("sessions")?).map_err(map_error("sessions"))?,
            state: Array::try_from(take("state")?).map_err(map_error("state"))?,
            verdicts: Verdicts::new(take("regions")?, take("verdicts")?)?,
            names: HashMap::try_from(take("name_groups")?).map_err(map_error("name_groups"))?,
            answers: HashMap::try_from(take("answers")?).map_err(map_error("answers"))?,
            counters: PerCpuArray::try_from(take("counters")?).map_err(map_error("counters"))?,
            ring: RingBuf::try_from(take("events")?).map_err(map_error("events"))?,
            missing: Vec::new(),
            _ebpf: ebpf,
        };
        lsm.heartbeat(crate::clock::monotonic_ns())?;
        let attached = lsm.attach(&btf);
        if let Err(error) = attached {
            // A part of the programs is no enforcement, and the kernel allows few at a hook. Removing takes descriptors.
            let pins = lsm.pins.clone();
            drop(lsm);
            if let Err(error) = remove_pins(&pins) {
                tracing::warn!(%error, "what was loaded in part stays until the next start");
            }
            return Err(error);
        }
        Ok(lsm)
    }

    fn attach(&mut self, btf: &Btf) -> Result<(), Error> {
        let io = |what, path: &Path| {
            let path = path.to_path_buf();
            move |source| Error::Io { what, path, source }
        };
        std::fs::create_dir_all(&self.pins).map_err(io("cannot make", &self.pins))?;
        let path = self.pins.join("tasks");
        self.tasks.pin(&path).map_err(|error| Error::Io {
            what: "cannot pin",
            path: path.clone(),
            source: std::io::Error::other(error),
        })?;
        let pins = self.pins.clone();
        for (hook, program) in self.load_programs(btf)? {
            let failed =
                |source| Error::Program { what: "attach", hook: hook.hook, source: Box::new(source) };
            let id = program.attach().map_err(failed)?;
            let link = program.take_link(id).map_err(failed)?;
            let path = pins.join(format!("link_{}", hook.hook));
            FdLink::from(link).pin(&path).map_err(|error| Error::Io {
                what: "cannot pin",
                path: path.clone(),
                source: std::io::Error::other(error),
            })?;
        }
        restart::attach(&mut self._ebpf, btf, &self.pins);
        Ok(())
    }

    /// Loads the program of each hook that this kernel has, on all processors, since the verifier takes its time.
    fn load_programs(&mut self, btf: &Btf) -> Result<Vec<(&'static Hook, &mut Lsm)>, Error> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut parts: Vec<Vec<(&Hook, &mut Lsm)>> = (0..threads).map(|_| Vec::new()).collect();
        let mut programs: StdHashMap<&str, &mut Program> = self._ebpf.programs_mut().collect();
        for (number, hook) in HOOKS.iter().enumerate() {
            let program = programs.remove(hook.program).and_then(|program| program.try_into().ok());
            parts[number % threads].push((hook, program.ok_or(Error::Missing(hook.hook))?));
        }
        let load = |part: Vec<(&'static Hook, _)>| {
            let each = part.into_iter().map(|(hook, program): (_, &mut Lsm)| {
                let outcome = program.load(hook.hook, btf);
                (hook, program, outcome)
            });
            each.collect::<Vec<_>>()
        };
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = parts.into_iter().map(|part| scope.spawn(|| load(part))).collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        });
        let mut loaded = Vec::new();
        for (hook, program, outcome) in outcomes {
            match outcome {
                Ok(()) => loaded.push((hook, program)),
                Err(ProgramError::Btf(_)) if !hook.without.is_empty() => self.missing.push(hook),
                Err(ProgramError::Btf(_)) => return Err(Error::Missing(hook.hook)),
                Err(source) => {
                    tracing::debug!(hook = hook.hook, error = %source, "refused; AUTHZ_VERIFIER_LOG=1 has the verifier say why");
                    return Err(Error::Program { what: "load", hook: hook.hook, source: Box::new(source) });
                }
            }
        }
        Ok(loaded)
    }

    /// What is really enforced, by the hooks that are attached and those the kernel has.
    pub fn enforcement(&self) -> Result<Enforcement, Error> {
        let exists = super::btf::of_kernel().map_err(Error::Hooks)?;
        let attached = |name: &str| {
            HOOKS.iter().any(|hook| hook.hook == name) && !self.missing.iter().any(|hook| hook.hook == name)
        };
        Ok(Enforcement::by_hooks(|name| exists.contains_key(name), attached))
    }

    /// Tells the programs that the daemon lives.
    pub fn heartbeat(&mut self, now_ns: u64) -> Result<(), Error> {
        let state = authz_state {
            heartbeat_ns: now_ns,
            stale_ns: STALE_NS,
            daemon_tgid: std::process::id(),
            abi_version: AUTHZ_ABI_VERSION,
        };
        self.state.set(0, state, 0).map_err(map_error("state"))
    }

    /// Sets what the programs know of a session.
    pub fn set_session(&mut self, index: u32, session: authz_session) -> Result<(), Error> {
        self.sessions.set(index, session, 0).map_err(map_error("sessions"))
    }

    /// Puts the task behind `pidfd` into a session. Its children follow by themselves.
    pub fn label(&self, pidfd: BorrowedFd<'_>, index: u32) -> std::io::Result<()> {
        let task = authz_task { session: index, ..authz_task::default() };
        bpf_map::task_storage_set(self.tasks.fd().as_fd(), pidfd, &task)
    }

    /// The session index of the task behind `pidfd`; `None`: it is in no session.
    pub fn label_of(&self, pidfd: BorrowedFd<'_>) -> std::io::Result<Option<u32>> {
        let task = bpf_map::task_storage_get::<authz_task>(self.tasks.fd().as_fd(), pidfd)?;
        Ok(task.map(|task| task.session))
    }

    /// The next record of the ring buffer, if any.
    pub fn next_event(&mut self) -> Option<Result<Box<authz_event>, usize>> {
        let item = self.ring.next()?;
        Some(abi::event_from_bytes(&item).ok_or(item.len()))
    }

    /// Answers a held operation.
    pub fn answer(&mut self, ticket: u64, answer: authz_answer) -> Result<(), Error> {
        self.answers.insert(ticket, answer, 0).map_err(map_error("answers"))
    }

    /// Takes back an answer that nobody took.
    pub fn forget_answer(&mut self, ticket: u64) {
        match self.answers.remove(&ticket) {
            Ok(()) | Err(MapError::KeyNotFound) => {}
            // The hook took it.
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => tracing::warn!(ticket, %error, "cannot remove an answer"),
        }
    }

    /// The verdicts that the programs decide from.
    pub fn verdicts(&mut self) -> &mut Verdicts {
        &mut self.verdicts
    }

    /// What the programs would find for a key, all of whose bits count.
    pub fn find(&self, bits: u32, key: VerdictKey) -> Result<Option<authz_verdict>, Error> {
        self.verdicts.find(bits, key)
    }

    /// The name is in these groups from now on.
    pub fn set_name(&mut self, name: authz_name, groups: u8) -> Result<(), Error> {
        self.names.insert(name, u32::from(groups), 0).map_err(map_error("name_groups"))
    }

    /// The name is in none any more.
    pub fn forget_name(&mut self, name: authz_name) -> Result<(), Error> {
        match self.names.remove(&name) {
            Err(MapError::KeyNotFound) | Ok(()) => Ok(()),
            Err(error) => Err(map_error("name_groups")(error)),
        }
    }

    /// The flags the session was published with.
    pub fn session_flags(&self, index: u32) -> Result<u32, Error> {
        Ok(self.sessions.get(&index, 0).map_err(map_error("sessions"))?.flags)
    }

    /// How many of `processes` are labelled by the programs pinned in `folder`.
    pub fn tasks_of_pins(folder: &Path, processes: impl Iterator<Item = i32>) -> Result<usize, Error> {
        let tasks = MapData::from_pin(folder.join("tasks")).map_err(map_error("tasks"))?;
        let labelled = |pid: &i32| {
            let label = crate::sys::peer::pidfd_open(*pid)
                .and_then(|pidfd| bpf_map::task_storage_get::<authz_task>(tasks.fd().as_fd(), pidfd.as_fd()));
            matches!(label, Ok(Some(_)))
        };
        Ok(processes.filter(labelled).count())
    }

    /// The counters, summed over processors, by `authz_cause` and `AUTHZ_COUNT_*`.
    pub fn counters(&self) -> Result<Vec<u64>, Error> {
        (0..AUTHZ_COUNTERS)
            .map(|i| Ok(self.counters.get(&i, 0).map_err(map_error("counters"))?.iter().sum()))
            .collect()
    }

    /// Detaches everything: only when no task is left in any session.
    pub fn unpin(&self) -> std::io::Result<()> {
        remove_pins(&self.pins)
    }
}

/// Removes a folder of pins, which detaches its programs.
pub fn remove_pins(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        std::fs::remove_file(entry?.path())?;
    }
    std::fs::remove_dir(folder)
}

/// Addresses of data symbols of the kernel.
fn kernel_symbols(names: &[&'static str]) -> Result<Vec<u64>, Error> {
    let path = Path::new("/proc/kallsyms");
    let text = std::fs::read_to_string(path).map_err(|source| Error::Io {
        what: "cannot read",
        path: path.to_path_buf(),
        source,
    })?;
    let find = |name: &'static str| {
        text.lines()
            .filter_map(|line| {
                let mut words = line.split_ascii_whitespace();
                let address = u64::from_str_radix(words.next()?, 16).ok()?;
                (words.nth(1)? == name && words.next().is_none() && address != 0).then_some(address)
            })
            .next()
            .ok_or(Error::Symbol(name))
    };
    names.iter().map(|name| find(name)).collect()
}

impl AsFd for BpfLsm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

fn release() -> String {
    nix::sys::utsname::uname()
        .map_or_else(|_| String::new(), |name| name.release().to_string_lossy().into_owned())
}

/// `1 << TIF_SIGPENDING`. The number is in no type information; 6.18 gave x86 the generic ones. A wrong one
/// fails closed: no thread could be held.
fn sigpending_mask(release: &str) -> u64 {
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0u32));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (6, 18) { 1 << 1 } else { 1 << 2 }
}

/// The verifier's log costs load time, so it is asked for only by AUTHZ_VERIFIER_LOG=1.
fn verifier_log() -> VerifierLogLevel {
    if std::env::var_os("AUTHZ_VERIFIER_LOG").is_some() {
        VerifierLogLevel::DEBUG
    } else {
        VerifierLogLevel::DISABLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hook_that_a_level_counts_has_a_program() {
        for hook in crate::enforce::level::hooks() {
            assert!(HOOKS.iter().any(|known| known.hook == hook), "{hook}");
        }
    }

    #[test]
    fn the_signal_flag_is_where_the_kernel_has_it() {
        assert_eq!(sigpending_mask("6.1.0-56-amd64"), 4);
        assert_eq!(sigpending_mask("6.12.117+deb12-amd64"), 4);
        assert_eq!(sigpending_mask("7.2.13+deb14-amd64"), 2);
        assert_eq!(sigpending_mask(""), 4);
    }
}
