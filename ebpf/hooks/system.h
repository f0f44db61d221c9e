/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What would undo the rest. No policy line means deny. */
#pragma once

#define CAP_SYS_ADMIN 21
#define PTRACE_MODE_ATTACH 2
#define SYS_PTRACE 101
#define SYS_UNSHARE 272
#define SYS_CLONE 56
#define SYS_CLONE3 435
#define SYS_SETNS 308
#define SYS_OPEN_TREE 428
#define SYS_FSOPEN 430
#define SYS_FSPICK 433
#define SYS_MOUNT_SETATTR 442
#define SYS_SWAPON 167
#define NETLINK_ROUTE 0

/* Decides `action` on a thing known by a word of at most 31 bytes. */
static __always_inline int decide_name(struct authz_task *task, __u8 action, const char *name, __u32 len)
{
	struct call *call = begin(task, action);

	if (!call)
		return fail_without_call(task, action, AUTHZ_CAUSE_STORAGE);
	call->event.object = AUTHZ_OBJ_NAME;
	if (bpf_probe_read_kernel(call->event.data, len & 31, name))
		return fail(AUTHZ_CAUSE_READ);
	call->event.path_len = len & 31;
	return decide(call);
}

#define SYSTEM_HOOK(action, literal)                                                               \
	do {                                                                                       \
		FILE_HOOK(task);                                                                   \
		static const char name[] = literal;                                                \
		return decide_name(task, action, name, sizeof(name) - 1);                          \
	} while (0)

SEC("lsm/sb_mount")
int BPF_PROG(sb_mount, const char *dev, struct path *path, const char *type, unsigned long flags, void *data)
{
	SYSTEM_HOOK(AUTHZ_SYSTEM_MOUNT, "mount");
}

SEC("lsm/move_mount")
int BPF_PROG(move_mount, struct path *from, struct path *to)
{
	SYSTEM_HOOK(AUTHZ_SYSTEM_MOUNT, "move_mount");
}

SEC("lsm/sb_umount")
int BPF_PROG(sb_umount, struct vfsmount *mnt, int flags)
{
	SYSTEM_HOOK(AUTHZ_SYSTEM_MOUNT, "umount");
}

SEC("lsm/sb_pivotroot")
int BPF_PROG(sb_pivotroot, struct path *old, struct path *new)
{
	SYSTEM_HOOK(AUTHZ_SYSTEM_MOUNT, "pivot_root");
}

SEC("lsm/path_chroot")
int BPF_PROG(path_chroot, struct path *path)
{
	SYSTEM_HOOK(AUTHZ_SYSTEM_MOUNT, "chroot");
}

SEC("lsm/userns_create")
int BPF_PROG(userns_create, struct cred *cred)
{
	SYSTEM_HOOK(AUTHZ_SYSTEM_USERNS, "userns");
}

SEC("lsm/bpf")
int BPF_PROG(bpf_call, int cmd, union bpf_attr *attr, unsigned int size)
{
	SYSTEM_HOOK(AUTHZ_SYSTEM_BPF, "bpf");
}

SEC("lsm/perf_event_open")
int BPF_PROG(perf_event_open, struct perf_event_attr *attr, int type)
{
	SYSTEM_HOOK(AUTHZ_SYSTEM_PERF, "perf_event_open");
}

SEC("lsm/kernel_read_file")
int BPF_PROG(kernel_read_file, struct file *file, int id, bool_t contents)
{
	SYSTEM_HOOK(AUTHZ_SYSTEM_MODULE, "kernel_read_file");
}

SEC("lsm/kernel_load_data")
int BPF_PROG(kernel_load_data, int id, bool_t contents)
{
	SYSTEM_HOOK(AUTHZ_SYSTEM_MODULE, "kernel_load_data");
}

/* Anonymous inodes are everyday; one of them is a second system call interface. */
SEC("lsm/inode_init_security_anon")
int BPF_PROG(inode_init_security_anon, struct inode *inode, struct qstr *name, struct inode *context)
{
	static const char io_uring[] = "[io_uring]";
	char kind[11] = {};

	FILE_HOOK(task);
	if (bpf_probe_read_kernel_str(kind, sizeof(kind), BPF_CORE_READ(name, name)) < 0)
		return fail_without_call(task, AUTHZ_SYSTEM_IO_URING, AUTHZ_CAUSE_READ);
	for (int i = 0; i < 10; i++)
		if (kind[i] != io_uring[i])
			return 0;
	SYSTEM_HOOK(AUTHZ_SYSTEM_IO_URING, "io_uring");
}

/*
 * open_tree(CLONE), mount_setattr, setns and namespaces made by root have no hook of their own, but
 * all need CAP_SYS_ADMIN.
 */
SEC("lsm/capable")
int BPF_PROG(capable, struct cred *cred, struct user_namespace *ns, int cap, unsigned int opts)
{
	__u32 nr;

	if (cap != CAP_SYS_ADMIN)
		return 0;
	FILE_HOOK(task);
	nr = syscall_number();
	if (compat_call())
		SYSTEM_HOOK(AUTHZ_SYSTEM_MOUNT, "compat");
	if (nr == SYS_UNSHARE || nr == SYS_SETNS || nr == SYS_CLONE || nr == SYS_CLONE3)
		SYSTEM_HOOK(AUTHZ_SYSTEM_NAMESPACE, "namespace");
	if (nr == SYS_OPEN_TREE || nr == SYS_MOUNT_SETATTR || nr == SYS_SWAPON ||
	    (nr >= SYS_FSOPEN && nr <= SYS_FSPICK))
		SYSTEM_HOOK(AUTHZ_SYSTEM_MOUNT, "mount_api");
	return 0;
}

/* "netlink:0": a prefix of eight bytes and a number below 1000. */
static __always_inline int decide_family(struct authz_task *task, const char *prefix, __u32 number)
{
	char name[12];
	__u32 n = 8;

	__builtin_memcpy(name, prefix, 8);
	if (number > 999)
		number = 999;
	if (number > 99)
		name[n++] = '0' + number / 100;
	if (number > 9)
		name[n++] = '0' + number / 10 % 10;
	name[n++] = '0' + number % 10;
	return decide_name(task, AUTHZ_SYSTEM_SOCKET, name, n);
}

/* Families whose addresses no other hook sees. */
SEC("lsm/socket_create")
int BPF_PROG(socket_create, int family, int type, int protocol, int kern)
{
	if (kern)
		return 0;
	FILE_HOOK(task);
	if (family == AF_UNIX)
		return 0;
	if (family == AF_PACKET)
		SYSTEM_HOOK(AUTHZ_SYSTEM_RAW_SOCKET, "packet");
	if (family == AF_NETLINK)
		return decide_family(task, "netlink:", protocol);
	if (family != AF_INET && family != AF_INET6)
		return decide_family(task, "address:", family);
	if (type == SOCK_RAW)
		SYSTEM_HOOK(AUTHZ_SYSTEM_RAW_SOCKET, "raw");
	if (type == SOCK_STREAM && (!protocol || protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP))
		return 0;
	if (type == SOCK_DGRAM && (!protocol || protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE ||
				   protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6))
		return 0;
	return decide_family(task, "ipproto:", protocol);
}
