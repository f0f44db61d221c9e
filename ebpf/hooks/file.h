/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Files: opening, and everything that changes a name or what a name stands for. */
#pragma once

/* Decides `action` on the object at (mnt, dentry); `other` names a second one beside it. */
static __always_inline int decide_staged(struct authz_task *task, __u32 stage, __u8 action, __u8 role,
					 struct vfsmount *mnt, struct dentry *dentry, struct vfsmount *other_mnt,
					 struct dentry *other)
{
	struct call *call = begin(task, action);
	int ret;

	if (!call)
		return fail_without_call(task, action, AUTHZ_CAUSE_STORAGE);
	call->stage = stage;
	call->event.role = role;
	put_object(call, mnt, dentry);
	if (other && call->event.object != AUTHZ_OBJ_ANON)
		put_other(call, other_mnt, other);
	ret = decide(call);
	/* Not where the second name was walked last; a rename would have it forgotten, too. */
	if (!ret && !other && holds_within(call))
		remember_object_within(call, mnt, dentry);
	return ret;
}

static __always_inline int decide_path(struct authz_task *task, __u8 action, __u8 role, struct vfsmount *mnt,
				       struct dentry *dentry, struct vfsmount *other_mnt, struct dentry *other)
{
	return decide_staged(task, 0, action, role, mnt, dentry, other_mnt, other);
}

/* Decides `action` on an open file. */
static __always_inline int decide_file(struct authz_task *task, __u32 stage, __u8 action, __u8 role, struct file *file)
{
	struct call *call = begin(task, action);

	if (!call)
		return fail_without_call(task, action, AUTHZ_CAUSE_STORAGE);
	call->stage = stage;
	call->event.role = role;
	put_file(call, file);
	return decide(call);
}

/* What overlayfs opens underneath beside data carries no mark but its private mount of a real file system. */
static __always_inline bool_t opened_by_overlay(struct file *file)
{
	if (BPF_CORE_READ(file, f_path.mnt, mnt_sb, s_flags) & SB_INTERNAL)
		return 0;
	return (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) == S_IFDIR || kernels_own_work();
}

/* Decides what leaves no trace of its own where a verdict allows it: the file's folder may know that one does. */
static __always_inline int decide_traceless(struct authz_task *task, __u8 action, __u8 role, __u32 open_flags,
					    struct file *file)
{
	struct call *call;
	int ret;

	if (file_allowed_within(task, file, action, role))
		return 0;
	call = begin(task, action);
	if (!call)
		return fail_without_call(task, action, AUTHZ_CAUSE_STORAGE);
	call->event.role = role;
	call->event.open_flags = open_flags;
	put_file(call, file);
	if (call->event.object == AUTHZ_OBJ_ANON && action == AUTHZ_FILE_READ && opened_by_overlay(file))
		return 0;
	ret = decide(call);
	if (!ret && holds_within(call))
		remember_file_within(call, file);
	return ret;
}

#define FILE_HOOK(task)                                                                            \
	struct authz_task *task = managed();                                                       \
	if (!task)                                                                                 \
		return 0

static __always_inline int decide_open(struct authz_task *task, __u8 action, __u8 role, __u32 open_flags,
				       struct file *file)
{
	struct call *call = begin(task, action);
	int ret;

	if (!call)
		return fail_without_call(task, action, AUTHZ_CAUSE_STORAGE);
	call->event.role = role;
	call->event.open_flags = open_flags;
	/* Each restart makes another nameless inode: what stays the same, and counts, is the folder. */
	if (action == AUTHZ_FILE_CREATE)
		put_untyped(call, file->f_path.mnt, BPF_CORE_READ(file, f_path.dentry, d_parent));
	else
		put_file(call, file);
	if (call->event.object == AUTHZ_OBJ_ANON && opened_by_overlay(file))
		return 0;
	ret = decide(call);
	if (!ret && action != AUTHZ_FILE_CREATE && holds_within(call))
		remember_file_within(call, file);
	return ret;
}

SEC("lsm/file_open")
int BPF_PROG(file_open, struct file *file)
{
	__u32 mode, flags;
	int ret = 0;

	FILE_HOOK(task);
	mode = file->f_mode;
	flags = file->f_flags;
	/* Overlayfs opens the real file again; the create was decided as such, and cannot be held here. */
	if (mode & (FMODE_NOACCOUNT | FMODE_CREATED))
		return 0;
	/* Created too: 9p sets the mode later. */
	if ((flags & FLAG_NEW) == FLAG_NEW)
		return 0;
	/* A program, and what bprm_check_security never sees: an ELF file's interpreter. */
	if (flags & FLAG_EXEC)
		return decide_open(task, AUTHZ_PROCESS_EXEC, AUTHZ_ROLE_PROGRAM, 0, file);
	if ((flags & FLAG_TMPFILE) == FLAG_TMPFILE)
		return decide_open(task, AUTHZ_FILE_CREATE, 0, flags, file);
	if ((mode & FMODE_READ) || !(mode & FMODE_WRITE))
		ret = decide_traceless(task, AUTHZ_FILE_READ, 0, flags, file);
	if (!ret && (mode & FMODE_WRITE))
		ret = decide_open(task, AUTHZ_FILE_WRITE, 0, flags, file);
	return bounded(ret);
}

/* A descriptor that another process sends, or that is taken from one: as if it were opened here. recvmsg
 * would drop it at a restart, so it is not held. Pipes, sockets and memfds are everyday between processes. */
static __always_inline int decide_received(struct authz_task *task, struct file *file, __u8 action)
{
	struct call *call = begin(task, action);

	if (!call)
		return fail_without_call(task, action, AUTHZ_CAUSE_STORAGE);
	call->no_hold = 1;
	call->event.open_flags = file->f_flags;
	put_file(call, file);
	if (call->event.object == AUTHZ_OBJ_ANON)
		return 0;
	return decide(call);
}

SEC("lsm/file_receive")
int BPF_PROG(file_receive, struct file *file)
{
	__u32 mode;
	int ret = 0;

	FILE_HOOK(task);
	mode = file->f_mode;
	if (mode & FMODE_PATH)
		return 0;
	if (mode & FMODE_READ)
		ret = decide_received(task, file, AUTHZ_FILE_READ);
	if (!ret && (mode & FMODE_WRITE))
		ret = decide_received(task, file, AUTHZ_FILE_WRITE);
	return bounded(ret);
}

SEC("lsm/path_mknod")
int BPF_PROG(path_mknod, struct path *dir, struct dentry *dentry, unsigned short mode, unsigned int dev)
{
	FILE_HOOK(task);
	return decide_path(task, AUTHZ_FILE_CREATE, 0, dir->mnt, dentry, NULL, NULL);
}

SEC("lsm/path_mkdir")
int BPF_PROG(path_mkdir, struct path *dir, struct dentry *dentry, unsigned short mode)
{
	FILE_HOOK(task);
	return decide_path(task, AUTHZ_FILE_CREATE, 0, dir->mnt, dentry, NULL, NULL);
}

SEC("lsm/path_symlink")
int BPF_PROG(path_symlink, struct path *dir, struct dentry *dentry, const char *old_name)
{
	FILE_HOOK(task);
	return decide_path(task, AUTHZ_FILE_CREATE, 0, dir->mnt, dentry, NULL, NULL);
}

SEC("lsm/path_unlink")
int BPF_PROG(path_unlink, struct path *dir, struct dentry *dentry)
{
	FILE_HOOK(task);
	return decide_path(task, AUTHZ_FILE_DELETE, 0, dir->mnt, dentry, NULL, NULL);
}

SEC("lsm/path_rmdir")
int BPF_PROG(path_rmdir, struct path *dir, struct dentry *dentry)
{
	FILE_HOOK(task);
	return decide_path(task, AUTHZ_FILE_DELETE, 0, dir->mnt, dentry, NULL, NULL);
}

SEC("lsm/path_rename")
int BPF_PROG(path_rename, struct path *old_dir, struct dentry *old, struct path *new_dir, struct dentry *new)
{
	int ret;

	FILE_HOOK(task);
	ret = decide_path(task, AUTHZ_FILE_RENAME, AUTHZ_ROLE_SOURCE, old_dir->mnt, old, new_dir->mnt, new);
	if (!ret)
		ret = decide_path(task, AUTHZ_FILE_RENAME, AUTHZ_ROLE_TARGET, new_dir->mnt, new, old_dir->mnt, old);
	return bounded(ret);
}

SEC("lsm/path_link")
int BPF_PROG(path_link, struct dentry *old, struct path *new_dir, struct dentry *new)
{
	int ret;

	FILE_HOOK(task);
	/* Both names are on one mount, or the kernel refuses. */
	ret = decide_path(task, AUTHZ_FILE_LINK, AUTHZ_ROLE_SOURCE, new_dir->mnt, old, new_dir->mnt, new);
	if (!ret)
		ret = decide_path(task, AUTHZ_FILE_LINK, AUTHZ_ROLE_TARGET, new_dir->mnt, new, new_dir->mnt, old);
	return bounded(ret);
}

SEC("lsm/path_truncate")
int BPF_PROG(path_truncate, struct path *path)
{
	FILE_HOOK(task);
	return decide_staged(task, 1, AUTHZ_FILE_WRITE, 0, path->mnt, path->dentry, NULL, NULL);
}

SEC("lsm/file_truncate")
int BPF_PROG(file_truncate, struct file *file)
{
	FILE_HOOK(task);
	return decide_file(task, 1, AUTHZ_FILE_WRITE, 0, file);
}
