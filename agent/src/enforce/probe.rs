//! What this kernel and this user can enforce: asked and tried, not guessed from version numbers.

use std::fs;
use std::io;

use nix::errno::Errno;
use serde::Serialize;

use super::btf::{Hooks, Vmlinux};
use super::level::{self, Enforcement};
use super::restart;
use super::seccomp::calls::Features;
use crate::sys::trial::{self, Refused, Step};
use crate::sys::{bpf, features};

/// One fact, whether it is as it should be, and what to do if not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// Whether it stands in nothing's way.
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// The one line that puts it right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// What was found. Every field is a plain answer, so that conclusions can be tested without the kernel.
#[derive(Debug, Clone)]
pub struct Probe {
    /// `uname -r`.
    pub kernel: String,
    /// The LSM hooks of the kernel's type information.
    pub hooks: Result<Hooks, String>,
    /// The active security modules, in order.
    pub modules: Result<Vec<String>, String>,
    /// The kernel's lockdown.
    pub lockdown: Lockdown,
    /// Whether an LSM program can be loaded.
    pub load: Result<(), Errno>,
    /// Why calls that LSM programs hold cannot start anew on file systems that take the signal's flag away.
    pub restart: Option<String>,
    /// Landlock's interface.
    pub landlock: Result<u32, Errno>,
    /// Whether a seccomp supervisor is possible.
    pub supervise: Result<(), Refused>,
    /// Effective user.
    pub uid: u32,
    /// Effective capabilities, bit n for capability n.
    pub capabilities: u64,
    /// How control groups are mounted.
    pub cgroup: Cgroup,
}

/// What the kernel forbids root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lockdown {
    /// Nothing.
    None,
    /// To change it.
    Integrity,
    /// To read its memory too, which an eBPF program must.
    Confidentiality,
    /// It could not be read.
    Unknown,
}

/// How control groups are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cgroup {
    /// The unified hierarchy.
    V2,
    /// Version 1, with the unified one beside it or without.
    V1,
    /// Not at all.
    None,
}

/// Whether the supervisor compares a new image with what was decided.
const EXEC_CHECKED: bool = true;

/// Capabilities that matter, with their numbers (linux/capability.h).
const CAPABILITIES: &[(u32, &str)] = &[
    (39, "CAP_BPF"),
    (38, "CAP_PERFMON"),
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
    (24, "CAP_SYS_RESOURCE"),
];

impl Probe {
    /// Asks the running kernel.
    pub fn run() -> Self {
        let btf = Vmlinux::read();
        let hooks = btf.as_ref().map_err(Clone::clone).and_then(Vmlinux::hooks);
        let file_open = hooks.as_ref().ok().and_then(|hooks| hooks.get("file_open").copied());
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            kernel: read("/proc/sys/kernel/osrelease").unwrap_or_else(|error| error),
            load: file_open.map_or(Err(Errno::ENOENT), |id| bpf::load_lsm_program(id).map(drop)),
            hooks,
            modules: modules(),
            lockdown: read("/sys/kernel/security/lockdown")
                .map_or(Lockdown::Unknown, |text| parse_lockdown(&text)),
            restart: restart::obstacle(btf.as_ref().map_err(String::as_str)),
            landlock: features::landlock_abi(),
            supervise: trial::supervise(),
            uid: nix::unistd::geteuid().as_raw(),
            capabilities: parse_capabilities(&status),
            cgroup: parse_cgroup(&fs::read_to_string("/proc/self/mounts").unwrap_or_default()),
        }
    }

    /// Which of these hooks the kernel has; none, if that cannot be known.
    pub fn hooks_present<'a>(&self, names: &[&'a str]) -> Vec<(&'a str, bool)> {
        let has = |name: &str| self.hooks.as_ref().is_ok_and(|hooks| hooks.contains_key(name));
        names.iter().map(|name| (*name, has(name))).collect()
    }

    /// Why LSM programs would not be asked; `None`: they would.
    pub fn against_lsm(&self) -> Option<String> {
        // Where the list cannot be read, loading is the best evidence there is.
        let listed = self.modules.as_ref().map_or(true, |list| list.iter().any(|name| name == "bpf"));
        Some(match (&self.hooks, self.load) {
            (_, Err(Errno::EPERM)) if !self.privileged() => match self.uid {
                0 => "root has no CAP_BPF and CAP_PERFMON here".into(),
                _ => "no root: LSM programs need it".into(),
            },
            (Err(_), _) => "the kernel has no type information (BTF)".into(),
            (Ok(hooks), _) if !hooks.contains_key("file_open") => {
                "the kernel is built without BPF LSM".into()
            }
            _ if !listed => "bpf is not in the kernel's list of LSMs".into(),
            _ if self.lockdown == Lockdown::Confidentiality => {
                "lockdown=confidentiality forbids LSM programs".into()
            }
            (_, Err(Errno::EPERM)) => "the host forbids LSM programs".into(),
            (_, Err(errno)) => format!("LSM programs do not load: {}", errno.desc()),
            (_, Ok(())) => return None,
        })
    }

    /// Why there can be no seccomp supervisor; `None`: there can.
    pub fn against_seccomp(&self) -> Option<String> {
        self.supervise.err().map(|refused| format!("refused: {refused}"))
    }

    /// What could be enforced here by LSM programs, per action.
    pub fn by_lsm(&self) -> Enforcement {
        let has = |name: &str| self.hooks.as_ref().is_ok_and(|hooks| hooks.contains_key(name));
        match self.against_lsm() {
            None => Enforcement::by_hooks(has, has),
            Some(why) => Enforcement::nothing(&why),
        }
    }

    /// What could be enforced here by a seccomp supervisor, per action. A policy's floor can only add to it.
    pub fn by_seccomp(&self) -> Enforcement {
        match self.against_seccomp() {
            None => Self::where_seccomp_works(),
            Some(why) => Enforcement::nothing(&why),
        }
    }

    /// The same, where a probe has found already that there can be one.
    pub fn where_seccomp_works() -> Enforcement {
        Enforcement::by_seccomp(Features { exec_checked: EXEC_CHECKED })
    }

    /// Every fact, with the fix of each gap.
    pub fn checks(&self) -> Vec<Check> {
        vec![
            Check { name: "kernel", ok: true, found: self.kernel.clone(), fix: None },
            self.check_hooks(),
            self.check_modules(),
            self.check_lockdown(),
            self.check_user(),
            self.check_load(),
            self.check_restart(),
            Check {
                name: "landlock",
                ok: self.landlock.is_ok(),
                found: self
                    .landlock
                    .map_or_else(|errno| errno.desc().into(), |abi| format!("interface {abi}")),
                fix: self.landlock.is_err().then(|| self.fix_modules("landlock")),
            },
            self.check_supervise(),
            Check { name: "cgroup", ok: true, found: format!("{:?}", self.cgroup).to_lowercase(), fix: None },
        ]
    }

    fn check_hooks(&self) -> Check {
        let (ok, found, fix) = match &self.hooks {
            Err(error) => (false, error.clone(), Some("use a kernel with CONFIG_DEBUG_INFO_BTF=y")),
            Ok(hooks) if !hooks.contains_key("file_open") => (
                false,
                "no hook functions for LSM programs".into(),
                Some("use a kernel with CONFIG_BPF_LSM=y"),
            ),
            Ok(hooks) => {
                let absent: Vec<_> =
                    level::hooks().into_iter().filter(|hook| !hooks.contains_key(*hook)).collect();
                let rest =
                    if absent.is_empty() { String::new() } else { format!(", not {}", absent.join(", ")) };
                (true, format!("{} LSM hooks{rest}", hooks.len()), None)
            }
        };
        Check { name: "btf", ok, found, fix: fix.map(Into::into) }
    }

    fn check_modules(&self) -> Check {
        let (ok, found, fix) = match &self.modules {
            Ok(list) if list.iter().any(|name| name == "bpf") => (true, list.join(","), None),
            Ok(list) => (false, list.join(","), Some(self.fix_modules("bpf"))),
            Err(error) => (
                false,
                format!("cannot be read: {error}"),
                Some("mount -t securityfs securityfs /sys/kernel/security".into()),
            ),
        };
        Check { name: "lsm list", ok, found, fix }
    }

    fn fix_modules(&self, module: &str) -> String {
        let list = self.modules.as_deref().unwrap_or_default().iter().map(String::as_str);
        let mut list: Vec<&str> = list.filter(|name| *name != "capability" && *name != module).collect();
        list.push(module);
        let known = if self.modules.is_ok() { list.join(",") } else { format!("...,{module}") };
        format!(
            "add {module} to the lsm= list on the kernel command line: GRUB_CMDLINE_LINUX=\"lsm={known}\" in \
             /etc/default/grub, then update-grub and reboot"
        )
    }

    fn check_lockdown(&self) -> Check {
        let bad = self.lockdown == Lockdown::Confidentiality;
        let fix = "boot without lockdown=confidentiality; lockdown=integrity is fine";
        Check {
            name: "lockdown",
            ok: !bad,
            found: format!("{:?}", self.lockdown).to_lowercase(),
            fix: bad.then(|| fix.into()),
        }
    }

    fn has(&self, capability: u32) -> bool {
        self.capabilities >> capability & 1 == 1
    }

    /// CAP_SYS_ADMIN stands in for CAP_BPF and CAP_PERFMON.
    fn privileged(&self) -> bool {
        self.has(21) || (self.has(39) && self.has(38))
    }

    fn check_user(&self) -> Check {
        let held = CAPABILITIES.iter().filter(|(bit, _)| self.has(*bit)).map(|(_, name)| *name);
        let held = held.collect::<Vec<_>>().join(", ");
        let held = if held.is_empty() { "no capability that matters" } else { &held };
        let ok = self.privileged() && self.has(19);
        let fix = "run as root; without it, sessions are enforced by seccomp";
        Check { name: "user", ok, found: format!("uid {}, {held}", self.uid), fix: (!ok).then(|| fix.into()) }
    }

    fn check_supervise(&self) -> Check {
        let fix = |refused: Refused| match (refused.step, refused.errno) {
            (Step::Filter, Errno::EBUSY) => {
                "another supervisor has this process already: start authz outside of it, or without its filter"
            }
            (Step::Filter, Errno::EPERM | Errno::EACCES) => {
                "what runs this container forbids seccomp(2): allow it in its profile"
            }
            (Step::Filter | Step::Child, _) => "use a kernel with CONFIG_SECCOMP_FILTER=y, 5.19 or later",
            (Step::Listener | Step::Memory, _) => {
                "allow a process to trace its children: sysctl kernel.yama.ptrace_scope=1, and in a container \
                 process_vm_readv(2) and pidfd_getfd(2)"
            }
        };
        Check {
            name: "seccomp notify",
            ok: self.supervise.is_ok(),
            found: self.supervise.map_or_else(|refused| refused.to_string(), |()| "works".into()),
            fix: self.supervise.err().map(|refused| fix(refused).into()),
        }
    }

    fn check_restart(&self) -> Check {
        let fix =
            "use a kernel that is not a real-time one and shows its functions in BTF; or keep agents off 9p";
        Check {
            name: "held on 9p",
            ok: self.restart.is_none(),
            found: self.restart.as_ref().map_or_else(
                || "starts anew".into(),
                |why| format!("{why}: what LSM programs hold there fails with errno 513"),
            ),
            fix: self.restart.is_some().then(|| fix.into()),
        }
    }

    fn check_load(&self) -> Check {
        let fix = match self.load {
            Ok(()) => None,
            Err(Errno::EPERM) if self.privileged() => Some(
                "the host forbids LSM programs whatever the user may do: use a machine of your own or a VM",
            ),
            Err(Errno::EPERM) => Some("run as root; without it, sessions are enforced by seccomp"),
            Err(Errno::ENOENT) => Some("see btf"),
            Err(Errno::ENOSYS) => Some("use a kernel with CONFIG_BPF_SYSCALL=y"),
            Err(_) => Some("use a kernel with CONFIG_BPF_LSM=y and CONFIG_BPF_JIT=y"),
        };
        let found = self
            .load
            .map_or_else(|errno| format!("refused: {} ({errno:?})", errno.desc()), |()| "loads".into());
        Check { name: "lsm program", ok: self.load.is_ok(), found, fix: fix.map(Into::into) }
    }
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .map_err(|error: io::Error| format!("{path}: {error}"))
}

fn modules() -> Result<Vec<String>, String> {
    match features::security_modules() {
        Ok(ids) => Ok(ids.into_iter().map(module_name).collect()),
        Err(_) => read("/sys/kernel/security/lsm").map(|text| parse_modules(&text)),
    }
}

/// linux/lsm.h
fn module_name(id: u64) -> String {
    let names = [
        "capability",
        "selinux",
        "smack",
        "tomoyo",
        "apparmor",
        "yama",
        "loadpin",
        "safesetid",
        "lockdown",
        "bpf",
        "landlock",
        "ima",
        "evm",
        "ipe",
    ];
    let known = id.checked_sub(100).and_then(|index| names.get(usize::try_from(index).ok()?));
    known.map_or_else(|| format!("module-{id}"), |name| (*name).to_owned())
}

fn parse_modules(text: &str) -> Vec<String> {
    text.trim().split(',').map(str::trim).filter(|name| !name.is_empty()).map(Into::into).collect()
}

/// `none [integrity] confidentiality`: the one in brackets.
fn parse_lockdown(text: &str) -> Lockdown {
    match text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']')) {
        Some("none") => Lockdown::None,
        Some("integrity") => Lockdown::Integrity,
        Some("confidentiality") => Lockdown::Confidentiality,
        _ => Lockdown::Unknown,
    }
}

fn parse_capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn parse_cgroup(mounts: &str) -> Cgroup {
    let at = |place: &str, kind: &str| {
        mounts.lines().any(|line| {
            let mut words = line.split(' ').skip(1);
            (words.next(), words.next()) == (Some(place), Some(kind))
        })
    };
    if at("/sys/fs/cgroup", "cgroup2") {
        Cgroup::V2
    } else if mounts.lines().any(|line| line.split(' ').nth(2).is_some_and(|kind| kind.starts_with("cgroup")))
    {
        Cgroup::V1
    } else {
        Cgroup::None
    }
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
