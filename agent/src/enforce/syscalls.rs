//! Names of the system calls that hooks are met in.

macro_rules! table {
    ($($name:ident $number:ident),* $(,)?) => {
        &[$((libc::$number as u32, stringify!($name))),*]
    };
}

const NAMES: &[(u32, &str)] = table![
    open SYS_open, openat SYS_openat, openat2 SYS_openat2, creat SYS_creat, truncate SYS_truncate,
    ftruncate SYS_ftruncate, rename SYS_rename, renameat SYS_renameat, renameat2 SYS_renameat2,
    unlink SYS_unlink, unlinkat SYS_unlinkat, rmdir SYS_rmdir, mkdir SYS_mkdir, mkdirat SYS_mkdirat,
    mknod SYS_mknod, mknodat SYS_mknodat, link SYS_link, linkat SYS_linkat, symlink SYS_symlink,
    symlinkat SYS_symlinkat, chmod SYS_chmod, fchmod SYS_fchmod, fchmodat SYS_fchmodat, chown SYS_chown,
    fchown SYS_fchown, lchown SYS_lchown, fchownat SYS_fchownat, execve SYS_execve,
    execveat SYS_execveat, mmap SYS_mmap, mprotect SYS_mprotect, connect SYS_connect, sendto SYS_sendto,
    sendmsg SYS_sendmsg, sendmmsg SYS_sendmmsg, bind SYS_bind, getsockname SYS_getsockname, socket SYS_socket, mount SYS_mount,
    umount2 SYS_umount2, move_mount SYS_move_mount, open_tree SYS_open_tree, fsopen SYS_fsopen,
    mount_setattr SYS_mount_setattr, pivot_root SYS_pivot_root, chroot SYS_chroot,
    unshare SYS_unshare, setns SYS_setns, clone SYS_clone, clone3 SYS_clone3, bpf SYS_bpf,
    perf_event_open SYS_perf_event_open, init_module SYS_init_module,
    finit_module SYS_finit_module, kexec_load SYS_kexec_load, io_uring_setup SYS_io_uring_setup,
    io_uring_enter SYS_io_uring_enter, ptrace SYS_ptrace, process_vm_readv SYS_process_vm_readv,
    process_vm_writev SYS_process_vm_writev, pidfd_getfd SYS_pidfd_getfd, kill SYS_kill,
    tkill SYS_tkill, tgkill SYS_tgkill, pidfd_send_signal SYS_pidfd_send_signal,
    rt_sigqueueinfo SYS_rt_sigqueueinfo, open_by_handle_at SYS_open_by_handle_at, write SYS_write, fcntl SYS_fcntl,
    fchmodat2 SYS_fchmodat2, utime SYS_utime, utimes SYS_utimes, futimesat SYS_futimesat, utimensat
    SYS_utimensat, setxattr SYS_setxattr, lsetxattr SYS_lsetxattr, fsetxattr SYS_fsetxattr, removexattr
    SYS_removexattr, lremovexattr SYS_lremovexattr, fremovexattr SYS_fremovexattr, pkey_mprotect
    SYS_pkey_mprotect, process_madvise SYS_process_madvise, prlimit64 SYS_prlimit64, kcmp SYS_kcmp,
    rt_tgsigqueueinfo SYS_rt_tgsigqueueinfo, socketpair SYS_socketpair, fsconfig SYS_fsconfig, fsmount
    SYS_fsmount, fspick SYS_fspick, delete_module SYS_delete_module, kexec_file_load
    SYS_kexec_file_load, io_uring_register SYS_io_uring_register, mq_open SYS_mq_open, mq_unlink SYS_mq_unlink, setpriority SYS_setpriority, ioprio_set SYS_ioprio_set, sched_setparam SYS_sched_setparam, sched_setscheduler SYS_sched_setscheduler, sched_setattr SYS_sched_setattr, sched_setaffinity SYS_sched_setaffinity, migrate_pages SYS_migrate_pages, move_pages SYS_move_pages, ioctl SYS_ioctl, fanotify_init SYS_fanotify_init, keyctl SYS_keyctl, add_key SYS_add_key, request_key SYS_request_key, acct SYS_acct, userfaultfd SYS_userfaultfd, swapon SYS_swapon, swapoff SYS_swapoff, quotactl SYS_quotactl, quotactl_fd SYS_quotactl_fd, iopl SYS_iopl, ioperm SYS_ioperm, reboot SYS_reboot, settimeofday SYS_settimeofday, clock_settime SYS_clock_settime, adjtimex SYS_adjtimex, clock_adjtime SYS_clock_adjtime,
];

/// The name of a 64-bit system call, if a hook is met in it.
pub fn name(number: u32) -> Option<&'static str> {
    NAMES.iter().find(|(n, _)| *n == number).map(|(_, name)| *name)
}
