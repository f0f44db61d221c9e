/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * For hooks that get a dentry and no mount: the mounts that show it. Which one the system call came
 * through cannot be told, so the operation is decided by each name that the task's namespace gives the
 * object, and one denial is enough. Without such a name it is foreign, internal or unknown.
 */
#pragma once

#define MOUNTS_MAX 8192		/* of one file system, in all namespaces; more fail closed */

enum shown { NOT_SHOWN, SHOWN, TOO_DEEP };

struct ascent {
	struct dentry *dentry, *root;
	__u32 result;		/* enum shown */
};

static long ascent_step(__u32 step, struct ascent *a)
{
	struct dentry *dentry = a->dentry, *parent;

	if (dentry == a->root) {
		a->result = SHOWN;
		return 1;
	}
	parent = BPF_CORE_READ(dentry, d_parent);
	if (!parent || parent == dentry) {
		a->result = NOT_SHOWN;
		return 1;
	}
	a->dentry = parent;
	return 0;
}

/* Whether the mount shows the dentry: a bind mount may begin below or beside it. */
static __always_inline enum shown shows(struct mount *mnt, struct dentry *dentry)
{
	struct ascent a = { .dentry = dentry, .root = BPF_CORE_READ(mnt, mnt.mnt_root), .result = TOO_DEEP };

	if (bpf_loop(WALK_STEPS, ascent_step, &a, 0) < 0)
		return TOO_DEEP;
	return a.result;
}

static __always_inline bool_t chained_by_pointer(void)
{
	return bpf_core_field_exists(struct mount___6_18, mnt_next_for_sb);
}

static long names_step(__u32 step, struct names **at)
{
	struct names *n = *at;
	struct dentry *dentry = (struct dentry *)n->dentry;
	struct mnt_namespace *ns;
	struct mount *mnt;
	__u64 node = n->node;
	__u32 count = n->count;
	enum shown shown;
	bool_t ours;

	if (node == n->end || !node) {
		n->complete = node == n->end;
		return 1;
	}
	if (chained_by_pointer()) {
		struct mount___6_18 *newer = (void *)node;

		mnt = (void *)node;
		n->node = (__u64)BPF_CORE_READ(newer, mnt_next_for_sb);
	} else {
		mnt = (void *)(node - bpf_core_field_offset(struct mount, mnt_instance));
		n->node = (__u64)BPF_CORE_READ(mnt, mnt_instance.next);
	}
	ns = BPF_CORE_READ(mnt, mnt_ns);
	if ((unsigned long)ns >= (unsigned long)ERR_PTR_MIN) {
		/* Else the kernel's own view of a real file system, such as a layer of overlayfs. */
		n->internal = !!(BPF_CORE_READ(mnt, mnt.mnt_sb, s_flags) & SB_INTERNAL);
		return 0;
	}
	ours = (__u64)ns == n->ns;
	if (!ours && n->foreign)
		return 0;
	shown = shows(mnt, dentry);
	if (shown == TOO_DEEP)
		return 1;	/* not complete */
	if (shown == NOT_SHOWN)
		return 0;
	if (!ours) {
		n->foreign = (__u64)mnt;
		return 0;
	}
	if (count < NAMES_MAX)
		n->mounts[count] = (__u64)mnt;
	n->count = count + 1;
	return 0;
}

/* A function of its own: an offset that this kernel does not have must not be computed outside the branch. */
static __noinline int first_mount(struct names *n, struct super_block *sb)
{
	if (!n)
		return 0;
	if (chained_by_pointer()) {
		struct super_block___6_18 *newer = (void *)sb;

		n->node = (__u64)BPF_CORE_READ(newer, s_mounts);
		n->end = 0;
	} else {
		n->node = (__u64)BPF_CORE_READ(sb, s_mounts.next);
		n->end = (__u64)sb + bpf_core_field_offset(struct super_block, s_mounts);
	}
	return 0;
}

/* Looks through the list; the kernel's counters tell whether it or a path could have changed meanwhile. */
static long names_once(__u32 try, struct names **at)
{
	struct names *n = *at;
	struct task_struct *current = bpf_get_current_task_btf();
	struct dentry *dentry = (struct dentry *)n->dentry;
	__u32 renames = sequence(rename_lock_addr), mounts = sequence(mount_lock_addr);

	if (try)
		count(AUTHZ_COUNT_RETRIES);
	n->ns = (__u64)BPF_CORE_READ(current, nsproxy, mnt_ns);
	n->foreign = 0;
	n->count = 0;
	n->internal = 0;
	n->complete = 0;
	n->torn = 1;
	first_mount(n, BPF_CORE_READ(dentry, d_sb));
	if (bpf_loop(MOUNTS_MAX, names_step, at, 0) < 0)
		return 1;
	n->torn = ((renames | mounts) & 1) || renames != sequence(rename_lock_addr) || mounts != sequence(mount_lock_addr);
	return !n->torn;
}

/* False: the list or the path is too long, or they change all the time. */
static __noinline int find_names(struct names *n)
{
	if (!n || bpf_loop(WALK_TRIES, names_once, &n, 0) < 0)
		return 0;
	return n->complete && !n->torn;
}

/*
 * Decides by the name that the mount gives the object of call->names; without one (0), it is of the kind
 * `object`. Not static, so that it is verified once and not for each name.
 */
__attribute__((noinline)) int decide_named(__u64 mount, __u32 object, __u32 action, __u32 stage)
{
	struct vfsmount *mnt = (struct vfsmount *)(mount + bpf_core_field_offset(struct mount, mnt));
	struct authz_task *task = managed();
	struct dentry *dentry;
	struct call *call;
	__u32 kind;

	if (!task)
		return 0;
	call = begin(task, action);
	if (!call)
		return fail_without_call(task, action, AUTHZ_CAUSE_STORAGE);
	call->stage = stage;
	dentry = (struct dentry *)call->names.dentry;
	if (mount) {
		kind = mount_kind(mnt);
		put_untyped(call, mnt, dentry);
		/* Nothing holds the mount: if it was unmounted meanwhile, its path is cut short. */
		if (mount_kind(mnt) != kind)
			call->event.object = AUTHZ_OBJ_BROKEN;
		return decide(call);
	}
	describe_inode(call, BPF_CORE_READ(dentry, d_inode));
	call->event.object = object;
	call->torn = call->names.torn;
	if (object == AUTHZ_OBJ_ANON)
		put_anonymous(&call->event, dentry);
	return decide(call);
}

/* By each name in turn, until one is refused. */
static __always_inline int decide_names(struct names *n, __u32 action, __u32 stage)
{
	int ret = 0;

	if (!find_names(n) || n->count > NAMES_MAX)
		return decide_named(0, AUTHZ_OBJ_BROKEN, action, stage);
	if (!n->count && n->foreign)
		return decide_named(n->foreign, AUTHZ_OBJ_FOREIGN, action, stage);
	if (!n->count)
		return decide_named(0, n->internal ? AUTHZ_OBJ_ANON : AUTHZ_OBJ_BROKEN, action, stage);
#pragma unroll	/* 6.1 refuses some loops */
	for (__u32 i = 0; i < NAMES_MAX; i++) {
		if (!ret && i < n->count)
			ret = decide_named(n->mounts[i], AUTHZ_OBJ_PATH, action, stage);
	}
	return ret;
}

static __always_inline int decide_dentry(struct authz_task *task, __u32 action, __u32 stage, struct dentry *dentry)
{
	struct call *call;

	if (kernels_own_work())
		return 0;
	call = begin(task, action);
	if (!call)
		return fail_without_call(task, action, AUTHZ_CAUSE_STORAGE);
	call->names.dentry = (__u64)dentry;
	/* Newer verifiers want to see the number that a hook returns. */
	switch (decide_names(&call->names, action, stage)) {
	case 0:
		return 0;
	case -ERESTARTNOINTR:
		return -ERESTARTNOINTR;
	default:
		return -EACCES;
	}
}
