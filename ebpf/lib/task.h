/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Who: the label of the current task, its session, and whether the daemon is alive. */
#pragma once

/* The label of the current task; NULL: unmanaged. The one lookup an unmanaged process pays. */
static __always_inline struct authz_task *managed(void)
{
	return bpf_task_storage_get(&tasks, bpf_get_current_task_btf(), NULL, 0);
}

static __always_inline struct authz_session *session_of(struct authz_task *task)
{
	__u32 index = task->session;

	return bpf_map_lookup_elem(&sessions, &index);
}

static __always_inline bool_t observing(struct authz_task *task)
{
	struct authz_session *session = session_of(task);

	return session && session->mode == AUTHZ_MODE_OBSERVE;
}

/* A daemon that is dead or stuck answers nothing: do not wait for it. */
static __always_inline bool_t daemon_alive(void)
{
	__u32 zero = 0;
	struct authz_state *s = bpf_map_lookup_elem(&state, &zero);
	__u64 now = bpf_ktime_get_ns();

	return s && (now < s->heartbeat_ns || now - s->heartbeat_ns < s->stale_ns);
}

static __always_inline __u32 daemon_tgid(void)
{
	__u32 zero = 0;
	struct authz_state *s = bpf_map_lookup_elem(&state, &zero);

	return s ? s->daemon_tgid : 0;
}

/* True if `other` belongs to the session of `task`. */
static __always_inline bool_t same_session(struct authz_task *task, struct task_struct *other)
{
	struct authz_task *label = bpf_task_storage_get(&tasks, other, NULL, 0);

	return label && label->session == task->session;
}

/* LSM hooks may return [-4095, 0] only; 6.1 does not check, later kernels refuse what they cannot bound. */
static __always_inline int bounded(int ret)
{
	if (ret > 0 || ret < -4095)
		return -EACCES;
	return ret;
}

/*
 * THE fail direction: closed in enforce, open in observe. Every path that cannot decide ends here.
 * Counted always, and recorded by an event: nothing calls this but fail_call() and fail_without_call() (decide.h).
 */
static __always_inline int fail_direction(struct authz_task *task, __u32 cause)
{
	count(cause);
	return observing(task) ? 0 : -EACCES;
}
