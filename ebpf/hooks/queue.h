/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * POSIX message queues: files of the kernel's own mount, so that no path_ hook sees mq_open make one or mq_unlink
 * remove one. What is opened meets file_open like any file.
 */
#pragma once

#define SYS_MQ_OPEN 240
#define SYS_MQ_UNLINK 241
#define SYS_MQ_OPEN_COMPAT 277
#define SYS_MQ_UNLINK_COMPAT 278

/* The same two hooks are called for every other file, which the path_ hooks have decided. */
static __always_inline int decide_queue(struct dentry *dentry, __u8 action, __u32 native, __u32 compat)
{
	struct call *call;

	if (dentry->d_sb->s_magic != MQUEUE_MAGIC)
		return 0;
	FILE_HOOK(task);
	if (syscall_number() != (compat_call() ? compat : native))
		return 0;
	call = begin(task, action);
	if (!call)
		return fail_without_call(task, action, AUTHZ_CAUSE_STORAGE);
	describe_inode(call, BPF_CORE_READ(dentry, d_inode));
	put_anonymous(&call->event, dentry);
	return decide(call);
}

SEC("lsm/inode_create")
int BPF_PROG(inode_create, struct inode *dir, struct dentry *dentry, unsigned short mode)
{
	return decide_queue(dentry, AUTHZ_FILE_CREATE, SYS_MQ_OPEN, SYS_MQ_OPEN_COMPAT);
}

SEC("lsm/inode_unlink")
int BPF_PROG(inode_unlink, struct inode *dir, struct dentry *dentry)
{
	return decide_queue(dentry, AUTHZ_FILE_DELETE, SYS_MQ_UNLINK, SYS_MQ_UNLINK_COMPAT);
}
