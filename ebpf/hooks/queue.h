/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* POSIX message queues: files of an internal mount, which no hook of paths sees being made or removed. */
#pragma once

#define SYS_MQ_OPEN 240
#define SYS_MQ_UNLINK 241
#define COMPAT_MQ_OPEN 277
#define COMPAT_MQ_UNLINK 278
#define X32_BIT 0x40000000u

/* By these calls alone: where the file system is mounted, the hooks of paths have decided already. */
static __always_inline int decide_queue(struct dentry *dentry, __u8 action, __u32 nr, __u32 compat)
{
	struct call *call;

	FILE_HOOK(task);
	if (!is_queue(dentry))
		return 0;
	if ((syscall_number() & ~X32_BIT) != (compat_call() ? compat : nr))
		return 0;
	call = begin(task, action);
	if (!call)
		return fail_without_call(task, action, AUTHZ_CAUSE_STORAGE);
	describe_inode(call, BPF_CORE_READ(dentry, d_inode));
	put_anonymous(&call->event, dentry);
	return bounded(decide(task, call));
}

SEC("lsm/inode_create")
int BPF_PROG(inode_create, struct inode *dir, struct dentry *dentry, unsigned short mode)
{
	return decide_queue(dentry, AUTHZ_FILE_CREATE, SYS_MQ_OPEN, COMPAT_MQ_OPEN);
}

SEC("lsm/inode_unlink")
int BPF_PROG(inode_unlink, struct inode *dir, struct dentry *dentry)
{
	return decide_queue(dentry, AUTHZ_FILE_DELETE, SYS_MQ_UNLINK, COMPAT_MQ_UNLINK);
}
