/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Attributes: mode and owner, times, extended attributes and ACLs, file flags. All are file.setattr. */
#pragma once

#define ATTR_ATIME_SET 0x80u
#define ATTR_MTIME_SET 0x100u
#define ATTR_TIMES_SET 0x10000u
#define ATTR_TOUCH 0x20000u
/* Only utimes sets one of these: chmod, chown and truncate set their own times without. */
#define ATTR_UTIMES (ATTR_ATIME_SET | ATTR_MTIME_SET | ATTR_TIMES_SET | ATTR_TOUCH)

#define FS_IOC_SETFLAGS 0x40086602u
#define FS_IOC32_SETFLAGS 0x40046602u
#define FS_IOC_SETVERSION 0x40087602u
#define FS_IOC32_SETVERSION 0x40047602u
#define FS_IOC_FSSETXATTR 0x401c5820u
#define FS_IOC_SET_ENCRYPTION_POLICY 0x800c6613u
#define FS_IOC_ENABLE_VERITY 0x40806685u
#define FAT_IOCTL_SET_ATTRIBUTES 0x40047211u
#define BTRFS_IOC_SUBVOL_SETFLAGS 0x4008941au
/* Input for whoever reads the terminal next, typed or pasted; F_SETOWN with a pointer. */
#define TIOCSTI 0x5412u
#define TIOCLINUX 0x541cu
#define FIOSETOWN 0x8901u
#define SIOCSPGRP 0x8902u

SEC("lsm/path_chmod")
int BPF_PROG(path_chmod, struct path *path, unsigned short mode)
{
	FILE_HOOK(task);
	return decide_path(task, AUTHZ_FILE_SETATTR, 0, path->mnt, path->dentry, NULL, NULL);
}

SEC("lsm/path_chown")
int BPF_PROG(path_chown, struct path *path, __u64 uid, __u64 gid)
{
	FILE_HOOK(task);
	return decide_path(task, AUTHZ_FILE_SETATTR, 0, path->mnt, path->dentry, NULL, NULL);
}

/* utimes. 6.9 put the mount's idmap before the arguments. */
SEC("lsm/inode_setattr")
int inode_setattr(__u64 *ctx)
{
	struct dentry *dentry;
	struct iattr *attr;

	FILE_HOOK(task);
	if (bpf_core_field_exists(union security_list_options, inode_post_setattr)) {
		dentry = (struct dentry *)ctx[1];
		attr = (struct iattr *)ctx[2];
		barrier_var(attr);	/* one load at a computed offset would be refused */
	} else {
		dentry = (struct dentry *)ctx[0];
		attr = (struct iattr *)ctx[1];
		barrier_var(attr);
	}
	if (!(BPF_CORE_READ(attr, ia_valid) & ATTR_UTIMES))
		return 0;
	return decide_dentry(task, AUTHZ_FILE_SETATTR, 0, dentry);
}

/* The first argument changed its type in 6.3; it is not used. */
#define DENTRY_HOOK(name, stage)                                                                   \
	SEC("lsm/" #name)                                                                          \
	int BPF_PROG(name, void *idmap, struct dentry *dentry)                                     \
	{                                                                                          \
		FILE_HOOK(task);                                                                   \
		return decide_dentry(task, AUTHZ_FILE_SETATTR, stage, dentry);                           \
	}

DENTRY_HOOK(inode_setxattr, 0)
DENTRY_HOOK(inode_removexattr, 0)
DENTRY_HOOK(inode_set_acl, 0)		/* until 6.1: an extended attribute */
DENTRY_HOOK(inode_remove_acl, 0)

/* What no rule can allow: by the fail direction, with a record. */
static __always_inline int refuse_call(__u8 action)
{
	FILE_HOOK(task);
	return fail_without_call(task, action, AUTHZ_CAUSE_REFUSED);
}

static __always_inline int decide_ioctl(struct file *file, unsigned int cmd)
{
	switch (cmd) {
	case FS_IOC_SETFLAGS:
	case FS_IOC32_SETFLAGS:
	case FS_IOC_SETVERSION:
	case FS_IOC32_SETVERSION:
	case FS_IOC_FSSETXATTR:
	case FS_IOC_SET_ENCRYPTION_POLICY:
	case FS_IOC_ENABLE_VERITY:
	case FAT_IOCTL_SET_ATTRIBUTES:
	case BTRFS_IOC_SUBVOL_SETFLAGS:
		break;
	case TIOCSTI:
	case TIOCLINUX:
		return refuse_call(AUTHZ_FILE_WRITE);
	case FIOSETOWN:
	case SIOCSPGRP:
		return refuse_call(AUTHZ_PROCESS_SIGNAL);
	default:
		return 0;
	}
	FILE_HOOK(task);
	if (kernels_own_work())
		return 0;
	return decide_file(task, 0, AUTHZ_FILE_SETATTR, 0, file);
}

SEC("lsm/file_ioctl")
int BPF_PROG(file_ioctl, struct file *file, unsigned int cmd, unsigned long arg)
{
	return decide_ioctl(file, cmd);
}

SEC("lsm/file_ioctl_compat")
int BPF_PROG(file_ioctl_compat, struct file *file, unsigned int cmd, unsigned long arg)
{
	return decide_ioctl(file, cmd);
}

/* file_setattr(2), and once more what came by ioctl. */
SEC("lsm/inode_file_setattr")
int BPF_PROG(inode_file_setattr, struct dentry *dentry)
{
	FILE_HOOK(task);
	return decide_dentry(task, AUTHZ_FILE_SETATTR, 1, dentry);
}
