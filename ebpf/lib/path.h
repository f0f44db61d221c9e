/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The canonical path of a (mount, dentry): one walk for all hooks and kernels, so that every layer
 * sees the same string. bpf_d_path is allowed in some hooks only, and prints a path on a foreign or
 * detached mount as if it were ordinary.
 */
#pragma once

#define WALK_STEPS 2200		/* components of the longest path, and mounts */
#define WALK_TRIES 24		/* another process that renames all the time makes many walks vain */
#define NAME_MASK 255u

struct walk {
	struct call *call;
	struct dentry *dentry;
	struct mount *mnt, *first;	/* of the way so far, of the object */
	struct dentry *mnt_root;
	__u32 pos;		/* of the first byte in the walk's part of the event's data */
	__u32 result;		/* enum authz_object; 0: still walking */
};

static __always_inline struct mount *real_mount(struct vfsmount *mnt)
{
	return (struct mount *)((char *)mnt - bpf_core_field_offset(struct mount, mnt));
}

/* A dentry begins so in every kernel so far: read at once, it is a third of the helper calls. */
struct component {
	__u32 flags, seq;
	void *hash[2];
	struct dentry *parent;
	__u32 name_hash, len;
	const unsigned char *name;
};

#define LIES_AT(field, member)                                                                     \
	(bpf_core_field_offset(struct dentry, field) == __builtin_offsetof(struct component, member))

static __always_inline int read_component(struct component *c, struct dentry *dentry)
{
	if (LIES_AT(d_flags, flags) && LIES_AT(d_parent, parent) && LIES_AT(d_name.len, len) && LIES_AT(d_name.name, name))
		return bpf_probe_read_kernel(c, sizeof(*c), dentry);
	c->flags = BPF_CORE_READ(dentry, d_flags);
	c->parent = BPF_CORE_READ(dentry, d_parent);
	c->len = BPF_CORE_READ(dentry, d_name.len);
	c->name = BPF_CORE_READ(dentry, d_name.name);
	return 0;
}

/* Whether the policy may look for a name of this length in paths that begins so; of one byte the second is 0. */
static __always_inline bool_t may_be_named(struct authz_session *session, __u32 first, __u32 second, __u32 len)
{
	__u32 bit = AUTHZ_NAME_BIT(first, second, len);

	return session->names[bit / 64 & (AUTHZ_NAME_WORDS - 1)] >> (bit & 63) & 1;
}

/*
 * Whether the policy looks for the name in paths. The filter lets few others through to the table. A name that
 * could not be read is in every group: no verdict rests on a bit that is set.
 */
static __always_inline void note_name(struct call *call, const unsigned char *name, __u32 first, __u32 second, __u32 len)
{
	struct authz_name key = { .session = call->event.session };
	struct authz_session *session = bpf_map_lookup_elem(&sessions, &key.session);
	__u32 *groups;

	if (session && !may_be_named(session, first, len > 1 ? second : 0, len))
		return;
	barrier_var(len);	/* 6.1 loses a bound that is known before */
	if (len > AUTHZ_NAME_MAX)
		return;
	if (bpf_probe_read_kernel(key.name, len, name)) {
		count(AUTHZ_CAUSE_READ);
		call->mask = 0xff;
		return;
	}
	groups = bpf_map_lookup_elem(&name_groups, &key);
	if (groups)
		call->mask |= *groups;
}

/* One component, from the last to the first. The pointers are copied to locals: CO-RE would else look
 * for struct walk in the kernel. */
static long walk_step(__u32 step, struct walk *w)
{
	struct dentry *dentry = w->dentry;
	struct mount *mnt = w->mnt, *up;
	struct component c = {};
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
	if (read_component(&c, dentry) || !c.parent || c.parent == dentry) {
		w->result = AUTHZ_OBJ_BROKEN;	/* disconnected, or outside the mount's root */
		return 1;
	}
	if (mnt == w->first)
		w->call->walked.flags |= c.flags;
	len = c.len;
	if (len > NAME_MASK || pos < len + 1 || pos > AUTHZ_PATH_MAX) {
		w->result = AUTHZ_OBJ_BROKEN;	/* too long */
		return 1;
	}
	pos = (pos - len - 1) & (AUTHZ_PATH_MAX - 1);
	len &= NAME_MASK;
	w->call->event.data[AUTHZ_WALK_BASE + pos] = '/';
	if (bpf_probe_read_kernel(&w->call->event.data[AUTHZ_WALK_BASE + pos + 1], len, c.name)) {
		count(AUTHZ_CAUSE_READ);
		w->result = AUTHZ_OBJ_BROKEN;
		return 1;
	}
	if (w->call->named)
		note_name(w->call, c.name, w->call->event.data[AUTHZ_WALK_BASE + pos + 1],
			  w->call->event.data[AUTHZ_WALK_BASE + pos + 2], len);
	if (!step) {
		w->call->walked.parent = (__u64)c.parent;
		w->call->walked.name_len = len;
		w->call->walked.name_mask = w->call->mask;
		w->call->mask = 0;
	}
	w->pos = pos;
	w->dentry = c.parent;
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

struct attempt {
	struct walk walk;
	struct vfsmount *mnt;
	struct dentry *dentry;
	bool_t whole;	/* nothing was renamed or mounted meanwhile */
};

/* A whole walk. The kernel's own sequence counters tell whether a rename or mount in the middle could have mixed
 * two paths. */
static long walk_once(__u32 try, struct attempt *a)
{
	__u32 renames = sequence(rename_lock_addr), mounts = sequence(mount_lock_addr);
	struct walk *w = &a->walk;
	struct vfsmount *mnt = a->mnt;

	if (try)
		count(AUTHZ_COUNT_RETRIES);
	w->dentry = a->dentry;
	w->mnt = w->first = real_mount(mnt);
	w->mnt_root = BPF_CORE_READ(mnt, mnt_root);
	w->pos = AUTHZ_PATH_MAX;
	w->result = 0;
	w->call->mask = 0;
	w->call->walked.parent = 0;
	w->call->walked.flags = 0;
	w->call->walked.name_mask = 0;
	w->call->walked.renames = renames;
	w->call->walked.mounts = mounts;
	if (bpf_loop(WALK_STEPS, walk_step, w, 0) < 0)
		return 1;
	a->whole = !((renames | mounts) & 1) && renames == sequence(rename_lock_addr) &&
		   mounts == sequence(mount_lock_addr);
	return a->whole;
}

/*
 * Walks to call->walked.dentry into the last AUTHZ_PATH_MAX bytes of the event's data; returns the first byte's index
 * there. Tries in a bpf_loop, so that the verifier sees one and not all; not static, so that it sees it once in each
 * program.
 */
__attribute__((noinline)) int walk(struct call *call)
{
	struct attempt a = { .walk = { .call = call } };

	if (!call)
		return AUTHZ_PATH_MAX;
	a.mnt = (struct vfsmount *)call->walked.mnt;
	a.dentry = (struct dentry *)call->walked.dentry;
	call->walked.object = AUTHZ_OBJ_BROKEN;
	count(AUTHZ_COUNT_WALKS);
	if (bpf_loop(WALK_TRIES, walk_once, &a, 0) < 0 || !a.whole) {
		call->torn = 1;
		return AUTHZ_PATH_MAX;
	}
	if (a.walk.result != AUTHZ_OBJ_PATH)
		return a.walk.pos;
	call->walked.mask = call->mask;
	call->mask |= call->walked.name_mask;
	call->walked.object = AUTHZ_OBJ_PATH;
	if (a.walk.pos != AUTHZ_PATH_MAX)
		return a.walk.pos;
	call->event.data[AUTHZ_WALK_BASE + AUTHZ_PATH_MAX - 1] = '/';	/* the root itself */
	return AUTHZ_PATH_MAX - 1;
}

static __always_inline __u32 walk_path(struct call *call, struct vfsmount *mnt, struct dentry *dentry)
{
	call->walked.mnt = (__u64)mnt;
	call->walked.dentry = (__u64)dentry;
	return walk(call);
}

/* How the mount relates to the task's namespace: PATH (its own), FOREIGN, or ANON (internal). */
static __always_inline __u32 mount_kind(struct vfsmount *vfsmnt)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct mnt_namespace *theirs = BPF_CORE_READ(real_mount(vfsmnt), mnt_ns);
	struct mnt_namespace *ours = task->nsproxy->mnt_ns;	/* a typed pointer: plain loads, NULL reads as 0 */

	if ((unsigned long)theirs >= (unsigned long)ERR_PTR_MIN)
		return AUTHZ_OBJ_ANON;
	/* Until 6.1 message queues are on a mount of no namespace, and not of the kernel's own. */
	if (!theirs && BPF_CORE_READ(vfsmnt, mnt_sb, s_magic) == MQUEUE_MAGIC)
		return AUTHZ_OBJ_ANON;
	if (!theirs || theirs != ours)
		return AUTHZ_OBJ_FOREIGN;
	return AUTHZ_OBJ_PATH;
}
