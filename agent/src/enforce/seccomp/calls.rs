//! The system calls that the seccomp back end mediates: one table, from which the filter is made and from which a
//! session's level is told. A call that is not in it goes to the kernel unseen.
//!
//! The filter sees registers only, so a row says by numbers when it applies; what is behind a pointer is the
//! supervisor's. Two things need no row: a program's own filter can only take away more, and a second listener
//! is refused by the kernel (EBUSY).

use libc::{c_int, c_long};

use crate::enforce::level::{ActionLevel, Backend, Enforcement, Level};
use crate::event::Action::*;
use crate::event::{ACTIONS, Action};

/// Arguments for which a row applies. Values are compared in their lower 32 bits, as the kernel takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Whatever they are.
    Always,
    /// The argument, all 64 bits of it, is not 0: a pointer is given.
    Given(u8),
    /// The argument has one of these bits.
    Bits(u8, u32),
    /// The argument has none of these bits.
    Lacks(u8, u32),
    /// The argument is one of these.
    Is(u8, &'static [u32]),
    /// The argument's bits under the mask are none of these.
    Not(u8, u32, &'static [u32]),
}

/// Who carries a call out once it is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The supervisor, with arguments that it copied once: nothing can be exchanged after the decision.
    Supervisor,
    /// The kernel: what was judged is in registers, or there is no way to do it for another process.
    Kernel,
    /// Nobody: the call fails with this error, by which a program takes another call or none.
    Nobody(c_int),
    /// Nobody, whatever a policy says: it fails with this error and is recorded, under the action that it comes closest
    /// to. In observe mode the kernel does it.
    Refused(c_int, Action),
}

/// A row: a system call, when it applies and what it means. Several rows of one call apply independently.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Its name.
    pub name: &'static str,
    /// Its number on x86-64.
    pub number: c_long,
    /// What it is to a policy, one of these by its arguments; none: no action names it.
    pub actions: &'static [Action],
    /// The arguments for which it is mediated.
    pub when: When,
    /// Who carries it out.
    pub way: Way,
}

// Not in libc yet (arch/x86/entry/syscalls/syscall_64.tbl, Linux 6.13 to 6.17).
const SYS_SETXATTRAT: c_long = 463;
const SYS_REMOVEXATTRAT: c_long = 466;
const SYS_OPEN_TREE_ATTR: c_long = 467;
const SYS_FILE_SETATTR: c_long = 469;

/// include/uapi/linux/fs.h: FS_IOC_SETFLAGS and FS_IOC_SETVERSION, which say long and take an int; FS_IOC_FSSETXATTR;
/// the 32-bit ones; FAT's and btrfs's own.
const FLAG_IOCTLS: &[u32] =
    &[0x4008_6602, 0x4008_7602, 0x401c_5820, 0x4004_6602, 0x4004_7602, 0x4004_7211, 0x4008_941a];

/// include/uapi/asm-generic/ioctls.h: TIOCSTI, and TIOCLINUX, which can paste: input for whoever reads the terminal
/// next. FIOSETOWN and SIOCSPGRP: F_SETOWN with a pointer. FS_IOC_SET_ENCRYPTION_POLICY and FS_IOC_ENABLE_VERITY: an
/// attribute for good, with pointers in its argument.
const TYPING_IOCTLS: &[u32] = &[0x5412, 0x541c];
const OWNER_IOCTLS: &[u32] = &[0x8901, 0x8902];
const FIXING_IOCTLS: &[u32] = &[0x800c_6613, 0x4080_6685];

/// fs/xfs/libxfs/xfs_fs.h: XFS_IOC_OPEN_BY_HANDLE, READLINK, ATTRLIST and ATTRMULTI, with the handle in memory.
const HANDLE_IOCTLS: &[u32] = &[0xc038_586b, 0xc038_586c, 0x4058_587a, 0x4048_587b];

/// The first argument is a process other than 0, which is the caller.
const ANOTHER: When = When::Not(0, u32::MAX, &[0]);

/// include/uapi/asm-generic/fcntl.h: who is sent a signal, any that F_SETSIG names, when something can be read; the
/// other one names it in memory.
const F_SETOWN: u32 = 8;
const F_SETOWN_EX: u32 = 15;

/// Flags of clone and unshare that make one.
pub const NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;
/// A bit that clone(2) takes for a part of the exit signal.
const NEWTIME: u32 = 0x80;

const SOCKET_TYPE: u32 = 0xf;
const ORDINARY_FAMILIES: &[u32] = &[libc::AF_UNIX as u32, libc::AF_INET as u32, libc::AF_INET6 as u32];
const ORDINARY_TYPES: &[u32] = &[libc::SOCK_STREAM as u32, libc::SOCK_DGRAM as u32];
const ORDINARY_PROTOCOLS: &[u32] = &[
    0,
    libc::IPPROTO_TCP as u32,
    libc::IPPROTO_MPTCP as u32,
    libc::IPPROTO_UDP as u32,
    libc::IPPROTO_UDPLITE as u32,
    libc::IPPROTO_ICMP as u32,
    libc::IPPROTO_ICMPV6 as u32,
];

const OPEN: &[Action] = &[FileRead, FileWrite, FileCreate];
const SOCKET: &[Action] = &[SystemSocket, SystemRawSocket];
const NAMESPACE: &[Action] = &[SystemUserns, SystemNamespace];

/// The supervisor does it.
const fn done(name: &'static str, number: c_long, actions: &'static [Action]) -> Call {
    Call { name, number, actions, when: When::Always, way: Way::Supervisor }
}

/// The kernel does it.
const fn left(name: &'static str, number: c_long, actions: &'static [Action]) -> Call {
    Call { name, number, actions, when: When::Always, way: Way::Kernel }
}

/// There is no such call.
const fn absent(name: &'static str, number: c_long) -> Call {
    Call { name, number, actions: &[], when: When::Always, way: Way::Nobody(libc::ENOSYS) }
}

/// No rule allows it.
const fn refused(name: &'static str, number: c_long, like: Action) -> Call {
    Call { name, number, actions: &[], when: When::Always, way: Way::Refused(libc::EPERM, like) }
}

impl Call {
    const fn when(self, when: When) -> Self {
        Self { when, ..self }
    }

    const fn way(self, way: Way) -> Self {
        Self { way, ..self }
    }
}

impl When {
    /// Whether a row applies, as the filter has it.
    pub fn applies(self, args: &[u64; 6]) -> bool {
        let low = |argument: u8| args[usize::from(argument)] as u32;
        match self {
            Self::Always => true,
            Self::Given(argument) => args[usize::from(argument)] != 0,
            Self::Bits(argument, bits) => low(argument) & bits != 0,
            Self::Lacks(argument, bits) => low(argument) & bits == 0,
            Self::Is(argument, values) => values.contains(&low(argument)),
            Self::Not(argument, mask, values) => !values.contains(&(low(argument) & mask)),
        }
    }
}

/// Every row.
pub const CALLS: &[Call] = &[
    // Files, by name or by descriptor: a descriptor can be exchanged by another thread as well as a name.
    // What O_PATH opens can only be named by it, and whatever uses it is mediated.
    done("open", libc::SYS_open, OPEN).when(When::Lacks(1, libc::O_PATH as u32)),
    done("openat", libc::SYS_openat, OPEN).when(When::Lacks(2, libc::O_PATH as u32)),
    done("openat2", libc::SYS_openat2, OPEN),
    done("creat", libc::SYS_creat, &[FileWrite, FileCreate]),
    done("truncate", libc::SYS_truncate, &[FileWrite]),
    done("ftruncate", libc::SYS_ftruncate, &[FileWrite]),
    done("mkdir", libc::SYS_mkdir, &[FileCreate]),
    done("mkdirat", libc::SYS_mkdirat, &[FileCreate]),
    done("mknod", libc::SYS_mknod, &[FileCreate]),
    done("mknodat", libc::SYS_mknodat, &[FileCreate]),
    done("symlink", libc::SYS_symlink, &[FileCreate]),
    done("symlinkat", libc::SYS_symlinkat, &[FileCreate]),
    done("unlink", libc::SYS_unlink, &[FileDelete]),
    done("unlinkat", libc::SYS_unlinkat, &[FileDelete]),
    done("rmdir", libc::SYS_rmdir, &[FileDelete]),
    done("rename", libc::SYS_rename, &[FileRename]),
    done("renameat", libc::SYS_renameat, &[FileRename]),
    done("renameat2", libc::SYS_renameat2, &[FileRename]),
    done("link", libc::SYS_link, &[FileLink]),
    done("linkat", libc::SYS_linkat, &[FileLink]),
    done("chmod", libc::SYS_chmod, &[FileSetattr]),
    done("fchmod", libc::SYS_fchmod, &[FileSetattr]),
    done("fchmodat", libc::SYS_fchmodat, &[FileSetattr]),
    done("fchmodat2", libc::SYS_fchmodat2, &[FileSetattr]),
    done("chown", libc::SYS_chown, &[FileSetattr]),
    done("fchown", libc::SYS_fchown, &[FileSetattr]),
    done("lchown", libc::SYS_lchown, &[FileSetattr]),
    done("fchownat", libc::SYS_fchownat, &[FileSetattr]),
    done("utime", libc::SYS_utime, &[FileSetattr]),
    done("utimes", libc::SYS_utimes, &[FileSetattr]),
    done("futimesat", libc::SYS_futimesat, &[FileSetattr]),
    done("utimensat", libc::SYS_utimensat, &[FileSetattr]),
    done("setxattr", libc::SYS_setxattr, &[FileSetattr]),
    done("lsetxattr", libc::SYS_lsetxattr, &[FileSetattr]),
    done("fsetxattr", libc::SYS_fsetxattr, &[FileSetattr]),
    absent("setxattrat", SYS_SETXATTRAT),
    done("removexattr", libc::SYS_removexattr, &[FileSetattr]),
    done("lremovexattr", libc::SYS_lremovexattr, &[FileSetattr]),
    done("fremovexattr", libc::SYS_fremovexattr, &[FileSetattr]),
    absent("removexattrat", SYS_REMOVEXATTRAT),
    absent("file_setattr", SYS_FILE_SETATTR),
    done("ioctl", libc::SYS_ioctl, &[FileSetattr]).when(When::Is(1, FLAG_IOCTLS)),
    // A handle is a name without a path to judge.
    refused("open_by_handle_at", libc::SYS_open_by_handle_at, FileRead),
    refused("ioctl", libc::SYS_ioctl, FileRead).when(When::Is(1, HANDLE_IOCTLS)),
    refused("ioctl", libc::SYS_ioctl, FileSetattr).when(When::Is(1, FIXING_IOCTLS)),
    refused("ioctl", libc::SYS_ioctl, FileWrite).when(When::Is(1, TYPING_IOCTLS)),
    // Message queues are files of a file system that need not be mounted anywhere.
    done("mq_open", libc::SYS_mq_open, OPEN),
    done("mq_unlink", libc::SYS_mq_unlink, &[FileDelete]),
    // Programs. No process can execute for another one.
    left("execve", libc::SYS_execve, &[ProcessExec]),
    left("execveat", libc::SYS_execveat, &[ProcessExec]),
    absent("uselib", libc::SYS_uselib),
    left("mmap", libc::SYS_mmap, &[ProcessExec]).when(When::Bits(2, libc::PROT_EXEC as u32)),
    left("mprotect", libc::SYS_mprotect, &[ProcessExec]).when(When::Bits(2, libc::PROT_EXEC as u32)),
    left("pkey_mprotect", libc::SYS_pkey_mprotect, &[ProcessExec])
        .when(When::Bits(2, libc::PROT_EXEC as u32)),
    // The supervisor must be able to read what a call points to: a process may not hide its memory.
    absent("prctl", libc::SYS_prctl).when(When::Is(0, &[libc::PR_SET_DUMPABLE as u32])).way(Way::Nobody(0)),
    // Other processes.
    left("ptrace", libc::SYS_ptrace, &[ProcessPtrace]),
    left("process_vm_readv", libc::SYS_process_vm_readv, &[ProcessPtrace]),
    left("process_vm_writev", libc::SYS_process_vm_writev, &[ProcessPtrace]),
    left("process_madvise", libc::SYS_process_madvise, &[ProcessPtrace]),
    left("prlimit64", libc::SYS_prlimit64, &[ProcessPtrace]).when(ANOTHER),
    left("kcmp", libc::SYS_kcmp, &[ProcessPtrace]),
    left("pidfd_getfd", libc::SYS_pidfd_getfd, &[ProcessPtrace]),
    left("kill", libc::SYS_kill, &[ProcessSignal]),
    left("tkill", libc::SYS_tkill, &[ProcessSignal]),
    left("tgkill", libc::SYS_tgkill, &[ProcessSignal]),
    left("rt_sigqueueinfo", libc::SYS_rt_sigqueueinfo, &[ProcessSignal]),
    left("rt_tgsigqueueinfo", libc::SYS_rt_tgsigqueueinfo, &[ProcessSignal]),
    left("pidfd_send_signal", libc::SYS_pidfd_send_signal, &[ProcessSignal]),
    left("fcntl", libc::SYS_fcntl, &[ProcessSignal]).when(When::Is(1, &[F_SETOWN])),
    refused("fcntl", libc::SYS_fcntl, ProcessSignal)
        .when(When::Is(1, &[F_SETOWN_EX]))
        .way(Way::Refused(libc::EINVAL, ProcessSignal)),
    refused("ioctl", libc::SYS_ioctl, ProcessSignal).when(When::Is(1, OWNER_IOCTLS)),
    // Whether and when another process runs, and where its memory is.
    left("setpriority", libc::SYS_setpriority, &[ProcessSignal]).when(When::Not(1, u32::MAX, &[0])),
    left("setpriority", libc::SYS_setpriority, &[ProcessSignal]).when(When::Not(0, u32::MAX, &[0])),
    left("ioprio_set", libc::SYS_ioprio_set, &[ProcessSignal]).when(When::Not(1, u32::MAX, &[0])),
    left("ioprio_set", libc::SYS_ioprio_set, &[ProcessSignal]).when(When::Not(0, u32::MAX, &[1])),
    left("sched_setparam", libc::SYS_sched_setparam, &[ProcessSignal]).when(ANOTHER),
    left("sched_setscheduler", libc::SYS_sched_setscheduler, &[ProcessSignal]).when(ANOTHER),
    left("sched_setattr", libc::SYS_sched_setattr, &[ProcessSignal]).when(ANOTHER),
    left("sched_setaffinity", libc::SYS_sched_setaffinity, &[ProcessSignal]).when(ANOTHER),
    left("migrate_pages", libc::SYS_migrate_pages, &[ProcessPtrace]).when(ANOTHER),
    left("move_pages", libc::SYS_move_pages, &[ProcessPtrace]).when(ANOTHER),
    // The network. What is sent on a connected socket has no address and is not seen.
    done("connect", libc::SYS_connect, &[NetConnect]),
    done("sendto", libc::SYS_sendto, &[NetConnect]).when(When::Given(4)),
    done("sendmsg", libc::SYS_sendmsg, &[NetConnect]),
    done("sendmmsg", libc::SYS_sendmmsg, &[NetConnect]),
    // A Unix socket's path is a new file.
    done("bind", libc::SYS_bind, &[NetBind, FileCreate]),
    // The kernel knows such a name by its last component.
    done("getsockname", libc::SYS_getsockname, &[NetBind]),
    left("socket", libc::SYS_socket, SOCKET).when(When::Not(0, u32::MAX, ORDINARY_FAMILIES)),
    left("socket", libc::SYS_socket, SOCKET).when(When::Not(1, SOCKET_TYPE, ORDINARY_TYPES)),
    left("socket", libc::SYS_socket, SOCKET).when(When::Not(2, u32::MAX, ORDINARY_PROTOCOLS)),
    left("socketpair", libc::SYS_socketpair, SOCKET).when(When::Not(0, u32::MAX, &[libc::AF_UNIX as u32])),
    // Mounts and roots.
    left("mount", libc::SYS_mount, &[SystemMount]),
    left("umount2", libc::SYS_umount2, &[SystemMount]),
    left("pivot_root", libc::SYS_pivot_root, &[SystemMount]),
    left("chroot", libc::SYS_chroot, &[SystemMount]),
    left("move_mount", libc::SYS_move_mount, &[SystemMount]),
    left("open_tree", libc::SYS_open_tree, &[SystemMount]),
    left("open_tree_attr", SYS_OPEN_TREE_ATTR, &[SystemMount]),
    left("fsopen", libc::SYS_fsopen, &[SystemMount]),
    left("fsconfig", libc::SYS_fsconfig, &[SystemMount]),
    left("fsmount", libc::SYS_fsmount, &[SystemMount]),
    left("fspick", libc::SYS_fspick, &[SystemMount]),
    left("mount_setattr", libc::SYS_mount_setattr, &[SystemMount]),
    // Namespaces. clone3 has its flags in memory; without it the C library takes clone.
    left("unshare", libc::SYS_unshare, NAMESPACE).when(When::Bits(0, NAMESPACES | NEWTIME)),
    left("clone", libc::SYS_clone, NAMESPACE).when(When::Bits(0, NAMESPACES)),
    left("setns", libc::SYS_setns, NAMESPACE),
    absent("clone3", libc::SYS_clone3),
    // What undoes enforcement from below, or goes past it.
    left("bpf", libc::SYS_bpf, &[SystemBpf]),
    left("perf_event_open", libc::SYS_perf_event_open, &[SystemPerf]),
    left("init_module", libc::SYS_init_module, &[SystemModule]),
    left("finit_module", libc::SYS_finit_module, &[SystemModule]),
    left("delete_module", libc::SYS_delete_module, &[SystemModule]),
    left("kexec_load", libc::SYS_kexec_load, &[SystemModule]),
    left("kexec_file_load", libc::SYS_kexec_file_load, &[SystemModule]),
    left("io_uring_setup", libc::SYS_io_uring_setup, &[SystemIoUring]),
    left("io_uring_enter", libc::SYS_io_uring_enter, &[SystemIoUring]),
    left("io_uring_register", libc::SYS_io_uring_register, &[SystemIoUring]),
    // No action names these, and no agent needs them; what each comes closest to is for the record.
    // Gives files that others open, with root's rights.
    refused("fanotify_init", libc::SYS_fanotify_init, FileRead),
    refused("keyctl", libc::SYS_keyctl, FileRead),
    refused("add_key", libc::SYS_add_key, FileRead),
    refused("request_key", libc::SYS_request_key, FileRead),
    refused("acct", libc::SYS_acct, FileWrite),
    refused("userfaultfd", libc::SYS_userfaultfd, ProcessPtrace),
    refused("swapon", libc::SYS_swapon, SystemMount),
    refused("swapoff", libc::SYS_swapoff, SystemMount),
    refused("quotactl", libc::SYS_quotactl, SystemMount),
    refused("quotactl_fd", libc::SYS_quotactl_fd, SystemMount),
    // What changes the machine.
    refused("iopl", libc::SYS_iopl, SystemModule),
    refused("ioperm", libc::SYS_ioperm, SystemModule),
    refused("reboot", libc::SYS_reboot, SystemModule),
    refused("settimeofday", libc::SYS_settimeofday, SystemModule),
    refused("clock_settime", libc::SYS_clock_settime, SystemModule),
    // The supervisor reads the clock for them, and nothing else.
    refused("adjtimex", libc::SYS_adjtimex, SystemModule),
    refused("clock_adjtime", libc::SYS_clock_adjtime, SystemModule),
];

/// What a call is to a policy, before its arguments are read: the first action of its row.
pub fn action_of(number: i64) -> Action {
    let rows = || CALLS.iter().filter(|call| call.number == number);
    let named = rows().find_map(|call| call.actions.first().copied());
    let like =
        || rows().find_map(|call| if let Way::Refused(_, like) = call.way { Some(like) } else { None });
    named.or_else(like).unwrap_or(FileRead)
}

/// The error and the action of a call that no rule allows.
pub fn refusal(number: i64, args: &[u64; 6]) -> Option<(c_int, Action)> {
    CALLS.iter().find_map(|call| match call.way {
        Way::Refused(errno, like) if call.number == number && call.when.applies(args) => Some((errno, like)),
        _ => None,
    })
}

const SENT: &str = "descriptors sent by others";
const REUSED: &str = "a process number or descriptor that changes hands between decision and call";
const IN_MEMORY: &str = "names in memory of what is allowed, which can change before the kernel reads them";

/// What no row covers, per action: why it is `partial` at best.
const GAPS: &[(Action, &[&str])] = &[
    (FileRead, &[SENT]),
    (FileWrite, &[SENT]),
    (ProcessExec, &["a library exchanged by another thread between decision and mapping"]),
    (ProcessPtrace, &[REUSED]),
    (ProcessSignal, &[REUSED]),
    (SystemMount, &[IN_MEMORY]),
    (SystemModule, &[IN_MEMORY]),
];

const UNCHECKED_EXEC: &str = "a program exchanged between decision and exec";

/// What the supervisor can do on this machine beyond the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// The new image is compared with what was decided before it runs.
    pub exec_checked: bool,
}

impl Enforcement {
    /// By a seccomp supervisor that has a row of [`CALLS`] for everything it sees.
    pub fn by_seccomp(features: Features) -> Self {
        let level = |action: Action| {
            let gaps = GAPS.iter().find(|(of, _)| *of == action).map_or(&[][..], |(_, gaps)| *gaps);
            let mut missing: Vec<String> = gaps.iter().map(|gap| (*gap).to_owned()).collect();
            if action == ProcessExec && !features.exec_checked {
                missing.insert(0, UNCHECKED_EXEC.to_owned());
            }
            // Decided at the gate, which needs nothing from the kernel.
            let seen = action == ToolCall || CALLS.iter().any(|call| call.actions.contains(&action));
            let level = match (seen, missing.is_empty()) {
                (false, _) => Level::None,
                (true, false) => Level::Partial,
                (true, true) => Level::Full,
            };
            ActionLevel { action, level, missing }
        };
        let actions = ACTIONS.iter().map(|(action, _)| level(*action)).collect();
        Self { backend: Backend::Seccomp, actions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_of_the_kernel_has_a_call() {
        for (action, name) in ACTIONS.iter().filter(|(action, _)| *action != ToolCall) {
            assert!(CALLS.iter().any(|call| call.actions.contains(action)), "{name}");
        }
    }

    #[test]
    fn a_call_is_named_once_unless_its_arguments_tell_rows_apart() {
        for (index, call) in CALLS.iter().enumerate() {
            let twice = CALLS[..index].iter().find(|other| other.number == call.number);
            if let Some(other) = twice {
                assert_eq!(call.name, other.name);
                assert_ne!(call.when, other.when, "{}", call.name);
                assert!(![call.when, other.when].contains(&When::Always), "{}", call.name);
            }
            let refused = matches!(call.way, Way::Nobody(_) | Way::Refused(..));
            assert_eq!(call.actions.is_empty(), refused, "{}: refused is what no action names", call.name);
            // Numbers from 512 on are x32's, which the filter refuses as a whole.
            assert!((0..512).contains(&call.number), "{}", call.name);
        }
    }

    #[test]
    fn names_and_numbers_agree_with_those_of_records() {
        let known = CALLS.iter().filter_map(|call| {
            Some((call.name, crate::enforce::syscalls::name(u32::try_from(call.number).ok()?)?))
        });
        let wrong: Vec<_> = known.filter(|(name, known)| name != known).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn gaps_make_it_partial_and_nothing_else_does() {
        let checked = Enforcement::by_seccomp(Features { exec_checked: true });
        let partial: Vec<_> = checked.below(Level::Full).map(|item| (item.action, item.level)).collect();
        let expected: Vec<_> = GAPS.iter().map(|(action, _)| (*action, Level::Partial)).collect();
        assert_eq!(partial, expected);
        assert_eq!(checked.actions.len(), ACTIONS.len());
        let unchecked = Enforcement::by_seccomp(Features { exec_checked: false });
        let exec = |enforcement: &Enforcement| {
            let item = enforcement.actions.iter().find(|item| item.action == ProcessExec);
            item.map(|item| item.missing.clone()).unwrap_or_default()
        };
        assert_eq!(exec(&unchecked)[0], UNCHECKED_EXEC);
        assert_eq!(exec(&checked), exec(&unchecked)[1..]);
    }
}
