/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Fills the event of a call: who acts, on what object. What is put here is what gets decided. */
#pragma once

static __always_inline __u32 min_u32(__u32 a, __u32 b)
{
	return a < b ? a : b;
}

#define SYS_IO_URING_ENTER 426

/* Number of the current system call. */
static __always_inline __u32 syscall_number(void)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());

	return (__u32)regs->orig_ax;
}

static __always_inline bool_t compat_call(void)
{
	struct task_struct *current = bpf_get_current_task_btf();

	return !!(current->thread_info.status & TS_COMPAT);
}

/*
 * The kernel works under other credentials than the task's own when overlayfs acts on its layers, which was
 * decided as what was asked of it. io_uring does so too, for what the task asked: that is decided.
 */
static __always_inline bool_t kernels_own_work(void)
{
	struct task_struct *current = bpf_get_current_task_btf();

	if (current->cred == current->real_cred || (current->flags & PF_IO_WORKER))
		return 0;
	return syscall_number() != SYS_IO_URING_ENTER || compat_call();
}

/* The call of the current task, with a fresh event; NULL: no memory. */
static __always_inline struct call *begin(struct authz_task *task, __u8 action)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct call *call = bpf_task_storage_get(&calls, current, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	struct authz_session *session = session_of(task);
	struct authz_event *e;

	if (!call)
		return NULL;
	e = &call->event;
	__builtin_memset(e, 0, AUTHZ_EVENT_HEADER);
	e->action = action;
	e->session = task->session;
	call->no_hold = 0;
	call->stage = 0;
	call->torn = 0;
	/* Before the names themselves: no older ones go by a newer number. */
	call->names_version = session ? VOLATILE(session->names_version) : 0;
	call->named = session && (session->flags & AUTHZ_SESSION_NAMES);
	call->inode = NULL;
	call->key.domain = task->domain;
	call->region.serial = call->region.bits = 0;
	return call;
}

/* The rest of "who", needed only when an event is sent. */
static __always_inline void describe_task(struct authz_event *e, struct authz_task *task)
{
	struct task_struct *current = bpf_get_current_task_btf();
	__u64 id = bpf_get_current_pid_tgid(), user = bpf_get_current_uid_gid();
	struct authz_session *session = session_of(task);

	e->time_ns = bpf_ktime_get_ns();
	/* A program belongs to the tool call under which its process was made. */
	e->calls = task->calls || e->action != AUTHZ_PROCESS_EXEC ? task->calls : task->born;
	e->open_calls = session ? session->calls : 0;
	e->domain = task->domain;
	e->generation = task->generation;
	e->tgid = id >> 32;
	e->tid = (__u32)id;
	e->uid = (__u32)user;
	e->gid = user >> 32;
	e->start_ns = current->group_leader->start_boottime;
	e->syscall = syscall_number();
	if (compat_call())
		e->flags |= AUTHZ_EVENT_COMPAT;
	if (bpf_get_current_comm(e->comm, sizeof(e->comm)))
		count(AUTHZ_CAUSE_READ);
}

/* What the table is asked by: what kind of inode, and whether it has other names or none. */
static __always_inline void put_inode(struct call *call, __u32 mode, __u32 nlink)
{
	struct authz_event *e = &call->event;
	__u32 type = mode & S_IFMT;

	e->mode = mode;
	e->nlink = nlink;
	if (type == S_IFDIR)
		e->flags |= AUTHZ_EVENT_DIRECTORY;
	if (type == S_IFREG && nlink > 1)
		e->flags |= AUTHZ_EVENT_MULTILINK;
	if (nlink == 0)
		e->flags |= AUTHZ_EVENT_UNLINKED;
}

/* The rest of an inode, for a question and a record. */
#define IDENTIFY(e, inode, LOAD)                                                                   \
	do {                                                                                       \
		struct inode___6_11 *since_6_11 = (void *)(inode);                                 \
		struct inode___6_6 *since_6_6 = (void *)(inode);                                   \
                                                                                                   \
		(e)->ino = LOAD(inode, i_ino);                                                     \
		(e)->size = LOAD(inode, i_size);                                                   \
		if (bpf_core_field_exists(struct inode___6_11, i_ctime_sec)) {                     \
			(e)->ctime_sec = LOAD(since_6_11, i_ctime_sec);                            \
			(e)->ctime_nsec = LOAD(since_6_11, i_ctime_nsec) & ~CTIME_QUERIED;         \
		} else if (bpf_core_field_exists(struct inode___6_6, __i_ctime)) {                 \
			(e)->ctime_sec = LOAD(since_6_6, __i_ctime.tv_sec);                        \
			(e)->ctime_nsec = LOAD(since_6_6, __i_ctime.tv_nsec);                      \
		} else {                                                                           \
			(e)->ctime_sec = LOAD(inode, i_ctime.tv_sec);                              \
			(e)->ctime_nsec = LOAD(inode, i_ctime.tv_nsec);                            \
		}                                                                                  \
	} while (0)
#define DIRECTLY(from, field) ((from)->field)

/* An inode that the verifier does not know: each field is a helper call, so the rest waits until it is needed. */
static __always_inline void describe_inode(struct call *call, struct inode *inode)
{
	call->inode = inode;
	if (inode)
		put_inode(call, BPF_CORE_READ(inode, i_mode), BPF_CORE_READ(inode, i_nlink));
	else
		call->event.flags |= AUTHZ_EVENT_NEGATIVE;
}

/* That rest. */
static __noinline int identify_inode(struct call *call)
{
	struct authz_event *e = &call->event;
	struct inode *inode = call->inode;

	if (!inode)
		return 0;
	call->inode = NULL;
	IDENTIFY(e, inode, BPF_CORE_READ);
	e->dev = BPF_CORE_READ(inode, i_sb, s_dev);
	return 0;
}

/*
 * The inode of a hook's own dentry, by plain loads. A name that does not exist yet has none, and some verifiers take
 * for granted that it has: so the pointer is looked at where it is a number to them.
 */
static __always_inline void describe_typed(struct call *call, struct dentry *dentry)
{
	struct authz_event *e = &call->event;
	struct inode *inode = dentry->d_inode;

	VOLATILE(call->inode) = inode;
	if (!inode || !VOLATILE(call->inode)) {
		e->flags |= AUTHZ_EVENT_NEGATIVE;
		return;
	}
	put_inode(call, inode->i_mode, inode->i_nlink);
	if (e->action == AUTHZ_FILE_READ)
		return;		/* seldom on record: the rest waits */
	call->inode = NULL;
	IDENTIFY(e, inode, DIRECTLY);
	e->dev = inode->i_sb->s_dev;
}

/* Appends the walked path (from `pos`) to the event's data; false: it could not be read. */
static __always_inline bool_t put_path(struct call *call, __u32 pos, bool_t other)
{
	struct authz_event *e = &call->event;
	__u32 at = 0, len;

	if (pos >= AUTHZ_PATH_MAX)
		return 0;
	len = (AUTHZ_PATH_MAX - pos) & (AUTHZ_PATH_MAX - 1);
	pos &= AUTHZ_PATH_MAX - 1;
	if (other)
		at = e->path_len;
	if (at > AUTHZ_WALK_BASE)
		return 0;	/* the walk of the second name ran into the first */
	/* To lower addresses: the copy goes upwards, so it may overlap. */
	if (bpf_probe_read_kernel(&e->data[at], len, &e->data[AUTHZ_WALK_BASE + pos])) {
		count(AUTHZ_CAUSE_READ);
		return 0;
	}
	if (other) {
		e->other_len = len;
	} else {
		e->path_len = len;
		e->names = call->mask;
	}
	return 1;
}

/* An object of an internal mount has no path: its file system type, and the name it was given. */
static __always_inline void put_anonymous(struct authz_event *e, struct dentry *dentry)
{
	const char *type = BPF_CORE_READ(dentry, d_sb, s_type, name);
	const unsigned char *name = BPF_CORE_READ(dentry, d_name.name);
	long n = bpf_probe_read_kernel_str(e->data, 64, type);

	e->object = AUTHZ_OBJ_ANON;
	if (n < 1 || n > 64) {
		e->object = AUTHZ_OBJ_BROKEN;
		return;
	}
	e->path_len = n - 1;
	n = bpf_probe_read_kernel_str(&e->data[(n - 1) & 63], 256, name);
	e->other_len = n > 0 && n <= 256 ? n - 1 : 0;
}

/* The path of the object at (mnt, dentry), or what else it is, by a walk. */
static __noinline int walk_object(struct call *call, struct vfsmount *mnt, struct dentry *dentry)
{
	struct authz_event *e = &call->event;
	__u32 kind = mount_kind(mnt), pos;

	if (kind == AUTHZ_OBJ_ANON) {
		put_anonymous(e, dentry);
		return 0;
	}
	pos = walk_path(call, mnt, dentry);
	e->object = call->walked.object == AUTHZ_OBJ_PATH ? kind : AUTHZ_OBJ_BROKEN;
	if (e->object != AUTHZ_OBJ_BROKEN && !put_path(call, pos, 0))
		e->object = AUTHZ_OBJ_BROKEN;
	return 0;
}

/* A dentry that is in no folder any more: its file has this name no longer. The root of a file system is in none. */
static __always_inline void note_unlinked(struct call *call, bool_t hashed, bool_t is_root)
{
	if (!hashed && !is_root && !(call->event.flags & AUTHZ_EVENT_NEGATIVE))
		call->event.flags |= AUTHZ_EVENT_UNLINKED;
}

/* The object at (mnt, dentry) is what will be decided. For pointers that the verifier does not know. */
static __noinline int put_untyped(struct call *call, struct vfsmount *mnt, struct dentry *dentry)
{
	describe_inode(call, BPF_CORE_READ(dentry, d_inode));
	note_unlinked(call, !!BPF_CORE_READ(dentry, d_hash.pprev),
		      BPF_CORE_READ(dentry, d_parent) == dentry && BPF_CORE_READ(mnt, mnt_root) == dentry);
	return walk_object(call, mnt, dentry);
}

/* The same for a hook's own pointers. */
static __always_inline void put_typed(struct call *call, struct vfsmount *mnt, struct dentry *dentry)
{
	describe_typed(call, dentry);
	note_unlinked(call, !!dentry->d_hash.pprev, dentry->d_parent == dentry && mnt->mnt_root == dentry);
	if (recall(call, mnt, dentry))
		return;
	walk_object(call, mnt, dentry);
	remember(call, mnt, dentry);
}

static __noinline int put_object(struct call *call, struct vfsmount *mnt, struct dentry *dentry)
{
	put_typed(call, mnt, dentry);
	return 0;
}

/* Newer verifiers trust nothing that is loaded out of a union, but a pointer to what is in one. */
static __always_inline bool_t path_in_union(void)
{
	return bpf_core_field_exists(struct file___const, __f_path);
}

__attribute__((noinline)) int put_path_of(struct path *path arg_trusted, struct call *call)
{
	if (call && path_in_union())
		put_typed(call, path->mnt, path->dentry);
	return 0;
}

/* The same for an open file. */
static __noinline int put_file(struct call *call, struct file *file)
{
	if (path_in_union())
		put_path_of(&file->f_path, call);
	else
		put_typed(call, file->f_path.mnt, file->f_path.dentry);
	return 0;
}

__attribute__((noinline)) int path_allowed_within(struct path *path arg_trusted, struct authz_task *task, __u32 action,
						   __u32 role)
{
	if (task && path_in_union())
		return allowed_within(task, action, role, path->mnt, path->dentry);
	return 0;
}

static __noinline int file_allowed_within(struct authz_task *task, struct file *file, __u32 action, __u32 role)
{
	if (path_in_union())
		return path_allowed_within(&file->f_path, task, action, role);
	return task && allowed_within(task, action, role, file->f_path.mnt, file->f_path.dentry);
}

__attribute__((noinline)) int remember_path_within(struct path *path arg_trusted, struct call *call)
{
	if (call && path_in_union())
		remember_within(call, path->mnt, path->dentry);
	return 0;
}

static __noinline int remember_file_within(struct call *call, struct file *file)
{
	if (path_in_union())
		return remember_path_within(&file->f_path, call);
	if (call)
		remember_within(call, file->f_path.mnt, file->f_path.dentry);
	return 0;
}

static __noinline int remember_object_within(struct call *call, struct vfsmount *mnt, struct dentry *dentry)
{
	remember_within(call, mnt, dentry);
	return 0;
}

/* The second name of a rename or link, as a fact beside the object. */
static __noinline int put_other(struct call *call, struct vfsmount *mnt, struct dentry *dentry)
{
	__u32 pos = walk_path(call, mnt, dentry);

	if (call->walked.object != AUTHZ_OBJ_PATH || mount_kind(mnt) != AUTHZ_OBJ_PATH || !put_path(call, pos, 1))
		call->event.object = AUTHZ_OBJ_BROKEN;
	return 0;
}
