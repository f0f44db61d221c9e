// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The kernel side of authz. The hooks, by what they are for:
 *   life.h    task_alloc bprm_committed_creds task_fix_setuid: the label and its domain
 *   file.h    file_open file_receive path_* file_truncate: file.*
 *   queue.h   inode_create inode_unlink: POSIX message queues
 *   attr.h    path_chmod path_chown inode_setattr inode_*xattr inode_*_acl file_ioctl: file.setattr
 *   exec.h    bprm_check_security mmap_file file_mprotect: process.exec
 *   net.h     socket_connect socket_bind socket_sendmsg unix_stream_connect unix_may_send: net.*
 *   system.h  mounts, namespaces, bpf, perf, modules, io_uring, raw sockets: system.*
 *   process.h ptrace_access_check ptrace_traceme task_kill file_fcntl: process.ptrace, process.signal
 *   signal.h  recalc_sigpending irq_work_exit: no decision; a held call starts anew whatever the file system does
 */
#include "lib/kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "authz_abi.h"
#include "lib/maps.h"
#include "lib/task.h"
#include "lib/path.h"
#include "lib/folder.h"
#include "lib/verdict.h"
#include "lib/within.h"
#include "lib/object.h"
#include "lib/digest.h"
#include "lib/hold.h"
#include "lib/decide.h"
#include "lib/names.h"
#include "hooks/life.h"
#include "hooks/file.h"
#include "hooks/queue.h"
#include "hooks/attr.h"
#include "hooks/exec.h"
#include "hooks/net.h"
#include "hooks/system.h"
#include "hooks/process.h"
#include "hooks/signal.h"

/* LSM programs must be compatible with the GPL. */
char LICENSE[] SEC("license") = "Dual MIT/GPL";
