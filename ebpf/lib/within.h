/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Verdicts that hold for all that lies in a folder, remembered in its inode beside its path (folder.h): what leaves no
 * trace of its own is then allowed without a path and without the table, and what does without the table. Where the
 * region's bits end in the folder's path, every name in it that has the same groups of names is in the region.
 */
#pragma once

/* The groups of names in the path of the object; false: they have to be looked up. */
static __always_inline bool_t names_of(struct authz_session *session, struct folder *folder, struct dentry *dentry,
				       __u8 *names)
{
	__u32 version = VOLATILE(session->names_version);	/* before the names: as in begin() */
	__u32 len = dentry->d_name.len;
	__u8 first[2] = {};

	*names = 0;
	if (!(session->flags & AUTHZ_SESSION_NAMES))
		return 1;
	if (!version || folder->names_version != version)
		return 0;
	if (bpf_probe_read_kernel(first, sizeof(first), dentry->d_name.name)) {	/* of one byte: with its NUL */
		count(AUTHZ_CAUSE_READ);
		return 0;
	}
	*names = folder->mask;
	return !may_be_named(session, first[0], first[1], len);
}

/* Whether the folder's inode knows that this is allowed. False says nothing. */
static __always_inline bool_t allowed_within(struct authz_task *task, __u8 action, __u8 role, struct vfsmount *mnt,
					     struct dentry *dentry)
{
	struct dentry *parent = dentry->d_parent;
	struct inode *inode = dentry->d_inode;
	struct folder *folder = folder_of(parent->d_inode, 0);
	struct authz_session *session = session_of(task);
	struct authz_verdict *v;
	struct within *within;
	struct said said;
	__u32 version, renames, mounts;
	__u8 names;

	if (!folder || !session || session->mode == AUTHZ_MODE_NONE || (session->flags & AUTHZ_SESSION_AUDIT_EACH))
		return 0;
	if (!task->domain || task->generation != session->generation || task->awaiting)
		return 0;
	/* A file without a name is decided afresh. */
	if (!dentry->d_hash.pprev || !inode || !inode->i_nlink)
		return 0;
	version = VOLATILE(folder->version);
	barrier();
	if ((version & 1) || !is_about(folder, mnt, dentry) || !names_of(session, folder, dentry, &names))
		return 0;
	renames = folder->renames;
	mounts = folder->mounts;
	within = within_of(folder, task->domain, action);
	if (!is_of(within, task->domain, action, role, names))
		return 0;
	v = verdict_at(within->verdict, within->serial, &said);
	if (!v || said.effect != AUTHZ_EFFECT_ALLOW)
		return 0;
	barrier();
	if (VOLATILE(folder->version) != version || !unchanged(renames, mounts))
		return 0;
	/* A policy that looks for other names, or none, comes with another generation. */
	if (VOLATILE(session->generation) != task->generation)
		return 0;
	count(AUTHZ_COUNT_WITHIN);
	__sync_fetch_and_add(&v->hits, 1);
	return 1;
}

/* Whether the verdict that was found allows all that lies in the object's folder. The length may be of an earlier object
 * where the folder's path was not remembered: then remember_within() finds another one, or no folder. */
static __always_inline bool_t holds_within(struct call *call)
{
	__u32 name_at = 8 + call->walked.folder_len + 1;	/* behind domain, action, object, role and names */

	return call->region.serial && call->event.effect == AUTHZ_EFFECT_ALLOW &&
	       call->event.object == AUTHZ_OBJ_PATH && call->region.bits <= name_at * 8;
}

/* After it was obeyed: into the folder's inode, if that remembers the very path that was judged. */
static __always_inline void remember_within(struct call *call, struct vfsmount *mnt, struct dentry *dentry)
{
	struct dentry *parent = dentry->d_parent;
	struct folder *folder = folder_of(parent->d_inode, 0);
	struct within *within;
	__u32 version;

	if (!folder)
		return;
	within = within_of(folder, call->key.domain, call->key.action);
	if (within->serial == call->region.serial && within->names == call->key.names && within->role == call->key.role)
		return;	/* it was not used for another reason */
	version = VOLATILE(folder->version);
	if ((version & 1) || __sync_val_compare_and_swap(&folder->version, version, version + 1) != version)
		return;
	if (is_about(folder, mnt, dentry) && folder->len == call->walked.folder_len &&
	    folder->renames == call->walked.renames && folder->mounts == call->walked.mounts) {
		within->domain = call->key.domain;
		within->verdict = call->region.verdict;
		within->serial = call->region.serial;
		within->action = call->key.action;
		within->role = call->key.role;
		within->names = call->key.names;
	}
	__sync_fetch_and_add(&folder->version, 1);
}
