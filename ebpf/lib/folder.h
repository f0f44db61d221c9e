/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The path of a folder, remembered in its inode, so that most objects take one name and no walk.
 *
 * What is remembered is what a walk would say now, since nothing else changes the path of a folder's inode:
 * - A folder has no hard links. Its dentry, or one above it, moves under rename_lock only, mounts change under
 *   mount_lock only, and both have counters, of the whole system.
 * - The object's dentry is held by its hook and holds its parent, which holds the folder's inode. The memory of an
 *   inode that is used again has no storage.
 * - File systems that others change (network, FUSE, proc) or that give one folder names of several spellings have
 *   dentry operations for it, and are walked each time. The mount holds what lies above it, which so
 *   changes its name or place only under the two locks.
 * - The counters are of 32 bits: what is remembered is too soon too old for them to come round.
 * The object's own name is read afresh, so it does not matter how many others it has or had.
 */
#pragma once

#ifndef folder_of
#define folder_of(inode, flags) bpf_inode_storage_get(&folders, inode, NULL, flags)
#define folder_forget(inode) bpf_inode_storage_delete(&folders, inode)
#endif

#define FOLDER_JIFFIES 4096	/* 4 to 41 s; each of 2^31 renames takes 50 ns and more under the lock */
#define FOLDER_UNSURE (DCACHE_OP_HASH | DCACHE_OP_COMPARE | DCACHE_OP_REVALIDATE | DCACHE_DISCONNECTED)

static __always_inline bool_t unchanged(__u32 renames, __u32 mounts)
{
	return sequence(rename_lock_addr) == renames && sequence(mount_lock_addr) == mounts;
}

/*
 * Whether what is remembered is about this folder, as the task sees it and not too long ago. Here and below `dentry`
 * and `mnt` have to be the hook's own: what is loaded through a pointer of known type needs no helper call.
 */
static __always_inline bool_t is_about(struct folder *folder, struct vfsmount *mnt, struct dentry *dentry)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct dentry *parent = dentry->d_parent;

	if (folder->dentry != (__u64)parent || folder->mnt != (__u64)mnt)
		return 0;
	if (parent == dentry || dentry == mnt->mnt_root || folder->ns != (__u64)current->nsproxy->mnt_ns)
		return 0;
	return bpf_jiffies64() - folder->since <= FOLDER_JIFFIES;
}

/* Where the verdict of a domain and action is, if it is there (within.h). */
static __always_inline struct within *within_of(struct folder *folder, __u32 domain, __u8 action)
{
	return &folder->within[(domain << 3 ^ action) & (FOLDER_VERDICTS - 1)];
}

static __always_inline bool_t is_of(struct within *within, __u32 domain, __u8 action, __u8 role, __u8 names)
{
	return within->domain == domain && within->action == action && within->role == role && within->names == names;
}

/* The object's path, and maybe its verdict, by what its folder's inode remembers; false: walk. What is to be decided is
 * set already, the role too. */
static __always_inline bool_t recall(struct call *call, struct vfsmount *mnt, struct dentry *dentry)
{
	struct dentry *parent = dentry->d_parent;
	struct folder *folder = folder_of(parent->d_inode, 0);
	struct authz_event *e = &call->event;
	__u32 version, renames, mounts, len, name_len;
	const unsigned char *name;
	struct within within;

	if (!folder)
		return 0;
	version = VOLATILE(folder->version);
	barrier();
	if ((version & 1) || !is_about(folder, mnt, dentry))
		return 0;
	if (call->named && (!call->names_version || folder->names_version != call->names_version))
		return 0;
	renames = folder->renames;
	mounts = folder->mounts;
	call->mask = folder->mask;
	within = *within_of(folder, call->key.domain, e->action);
	len = folder->len;
	name_len = dentry->d_name.len;
	name = dentry->d_name.name;
	if (len >= FOLDER_PATH_MAX || name_len > NAME_MASK)
		return 0;
	barrier_var(len);	/* 6.1 loses the bounds that the compiler has seen */
	barrier_var(name_len);
	len &= FOLDER_PATH_MAX - 1;
	name_len &= NAME_MASK;
	if (bpf_probe_read_kernel(e->data, len, folder->path) ||
	    bpf_probe_read_kernel(&e->data[len + 1], name_len, name)) {
		count(AUTHZ_CAUSE_READ);
		return 0;
	}
	e->data[len] = '/';
	if (call->named)
		note_name(call, name, e->data[len + 1], e->data[len + 2], name_len);
	barrier();
	if (VOLATILE(folder->version) != version || !unchanged(renames, mounts))
		return 0;
	call->walked.renames = renames;
	call->walked.mounts = mounts;
	call->walked.folder_len = len;
	e->path_len = len + 1 + name_len;
	e->names = call->named ? call->mask : 0;
	e->object = AUTHZ_OBJ_PATH;
	if (is_of(&within, call->key.domain, e->action, e->role, e->names)) {
		call->region.verdict = within.verdict;
		call->region.serial = within.serial;
		call->region.bits = IN_FOLDER;
	}
	return 1;
}

/* Into the inode of the object's folder, after a walk: its part of the path. What cannot be is walked again. */
static __always_inline void remember(struct call *call, struct vfsmount *mnt, struct dentry *dentry)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct dentry *parent = dentry->d_parent;
	struct inode *inode = parent->d_inode;
	struct authz_event *e = &call->event;
	__u32 version, len = e->path_len;
	struct folder *folder;

	if (e->object != AUTHZ_OBJ_PATH || parent == dentry || call->walked.parent != (__u64)parent ||
	    (call->walked.flags & FOLDER_UNSURE))
		return;
	len -= call->walked.name_len + 1;
	if (len >= FOLDER_PATH_MAX)
		return;
	call->walked.folder_len = len;
	folder = folder_of(inode, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!folder)
		return;
	/* While nothing is renamed, the object's dentry held this very folder: it was no inode about to be freed. Else
	 * its storage must go before its memory does, which is not before this program ends. */
	if (mount_kind(mnt) != AUTHZ_OBJ_PATH || !unchanged(call->walked.renames, call->walked.mounts)) {
		folder_forget(inode);
		return;
	}
	version = VOLATILE(folder->version);
	if ((version & 1) || __sync_val_compare_and_swap(&folder->version, version, version + 1) != version)
		return;
	folder->mnt = (__u64)mnt;
	folder->dentry = (__u64)parent;
	folder->ns = (__u64)current->nsproxy->mnt_ns;
	folder->since = bpf_jiffies64();
	folder->renames = call->walked.renames;
	folder->mounts = call->walked.mounts;
	folder->names_version = call->named ? call->names_version : 0;
	folder->mask = call->walked.mask;
	folder->len = len;
	__builtin_memset(folder->within, 0, sizeof(folder->within));
	barrier_var(len);
	len &= FOLDER_PATH_MAX - 1;
	if (bpf_probe_read_kernel(folder->path, len, e->data)) {
		count(AUTHZ_CAUSE_READ);
		folder->dentry = 0;
	}
	__sync_fetch_and_add(&folder->version, 1);
}
