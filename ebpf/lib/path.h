/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The canonical path of a (mount, dentry): one walk for all hooks and kernels, so that every layer
 * sees the same string. bpf_d_path is allowed in some hooks only, and prints a path on a foreign or
 * detached mount as if it were ordinary.
 */
#pragma once

#define WALK_STEPS 2200		/* components of the longest path, and mounts */
#define WALK_RETRIES 24		/* another process that renames all the time makes many walks vain */
#define NAME_MASK 255u

struct walk {
	struct call *call;
	struct dentry *dentry;
	struct mount *mnt;
	struct dentry *mnt_root;
	__u32 pos;		/* of the first byte in the walk's part of the event's data */
	__u32 result;		/* enum authz_object; 0: still walking */
};

static __always_inline struct mount *real_mount(struct vfsmount *mnt)
{
	return (struct mount *)((char *)mnt - bpf_core_field_offset(struct mount, mnt));
}

/* One component, from the last to the first. The pointers are copied to locals: CO-RE would else look
 * for struct walk in the kernel. */
static long walk_step(__u32 step, struct walk *w)
{
	struct dentry *dentry = w->dentry, *parent;
	struct mount *mnt = w->mnt, *up;
	const unsigned char *name;
	__u32 pos = w->pos, len;

	if (dentry == w->mnt_root) {
		up = BPF_CORE_READ(mnt, mnt_parent);
		if (up == mnt || !up) {
			w->result = AUTHZ_OBJ_PATH;
			return 1;
		}
		w->dentry = BPF_CORE_READ(mnt, mnt_mountpoint);
		w->mnt = up;
		w->mnt_root = BPF_CORE_READ(up, mnt.mnt_root);
		return 0;
	}
	parent = BPF_CORE_READ(dentry, d_parent);
	if (!parent || parent == dentry) {
		w->result = AUTHZ_OBJ_BROKEN;	/* disconnected, or outside the mount's root */
		return 1;
	}
	len = BPF_CORE_READ(dentry, d_name.len);
	name = BPF_CORE_READ(dentry, d_name.name);
	if (len > NAME_MASK || pos < len + 1 || pos > AUTHZ_PATH_MAX) {
		w->result = AUTHZ_OBJ_BROKEN;	/* too long */
		return 1;
	}
	pos = (pos - len - 1) & (AUTHZ_PATH_MAX - 1);
	len &= NAME_MASK;
	w->call->event.data[AUTHZ_WALK_BASE + pos] = '/';
	if (bpf_probe_read_kernel(&w->call->event.data[AUTHZ_WALK_BASE + pos + 1], len, name)) {
		count(AUTHZ_CAUSE_READ);
		w->result = AUTHZ_OBJ_BROKEN;
		return 1;
	}
	w->pos = pos;
	w->dentry = parent;
	return 0;
}

/* A seqlock's counter; the locks' addresses come from the loader. */
static __always_inline __u32 sequence(__u64 addr)
{
	__u32 seq = 0;

	if (bpf_probe_read_kernel(&seq, sizeof(seq), (void *)addr))
		count(AUTHZ_CAUSE_READ);
	return seq;
}

/*
 * Walks into the last AUTHZ_PATH_MAX bytes of the event's data; returns the first byte's index there. `*object`
 * is AUTHZ_OBJ_PATH or AUTHZ_OBJ_BROKEN. A rename or mount in the middle could mix two paths: the
 * kernel's own sequence counters tell, and the walk is done again.
 */
static __noinline __u32 walk_path(struct call *call, struct vfsmount *vfsmnt, struct dentry *dentry, __u32 *object)
{
	struct walk w = {};
	__u32 try, renames, mounts;

	*object = AUTHZ_OBJ_BROKEN;
	for (try = 0; try < WALK_RETRIES; try++) {
		renames = sequence(rename_lock_addr);
		mounts = sequence(mount_lock_addr);
		w.call = call;
		w.dentry = dentry;
		w.mnt = real_mount(vfsmnt);
		w.mnt_root = BPF_CORE_READ(vfsmnt, mnt_root);
		w.pos = AUTHZ_PATH_MAX;
		w.result = 0;
		if (bpf_loop(WALK_STEPS, walk_step, &w, 0) < 0)
			return AUTHZ_PATH_MAX;
		if (!((renames | mounts) & 1) && renames == sequence(rename_lock_addr) &&
		    mounts == sequence(mount_lock_addr)) {
			if (w.result == AUTHZ_OBJ_PATH)
				*object = AUTHZ_OBJ_PATH;
			if (w.pos == AUTHZ_PATH_MAX && w.result == AUTHZ_OBJ_PATH) {
				call->event.data[AUTHZ_WALK_BASE + AUTHZ_PATH_MAX - 1] = '/';	/* the root itself */
				return AUTHZ_PATH_MAX - 1;
			}
			return w.pos;
		}
		count(AUTHZ_COUNT_RETRIES);
	}
	return AUTHZ_PATH_MAX;
}

/* How the mount relates to the task's namespace: PATH (its own), FOREIGN, or ANON (internal). */
static __always_inline __u32 mount_kind(struct vfsmount *vfsmnt)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct mnt_namespace *theirs = BPF_CORE_READ(real_mount(vfsmnt), mnt_ns);
	struct mnt_namespace *ours = BPF_CORE_READ(task, nsproxy, mnt_ns);

	if ((unsigned long)theirs >= (unsigned long)ERR_PTR_MIN)
		return AUTHZ_OBJ_ANON;
	if (!theirs || theirs != ours)
		return AUTHZ_OBJ_FOREIGN;
	return AUTHZ_OBJ_PATH;
}
