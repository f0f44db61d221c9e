/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Holding an operation: the kick. SIGSTOP sets TIF_SIGPENDING, SIGCONT takes the stop back before
 * anyone sees it, and -ERESTARTNOINTR makes the kernel restart the system call on its way out. The
 * hook runs again, on the object as it is then, until the daemon has answered.
 */
#pragma once

#define ANSWER_LIVES_NS 1000000000ull	/* longest time from a call's first answer to its last */

#define TORN_NS 250000000ull		/* longest time a call starts anew for a path that others keep changing */

#define ROOM_NS 2000000000ull		/* longest time a call starts anew for room on the ring */

/* False where a restart cannot be had or would be seen. */
static __always_inline bool_t can_hold(void)
{
	struct task_struct *current = bpf_get_current_task_btf();

	if (current->flags & (PF_IO_WORKER | PF_EXITING | PF_DUMPCORE | PF_KTHREAD))
		return 0;
	return syscall_number() != SYS_IO_URING_ENTER || compat_call();
}

/* The same number each time a call restarts: the registers are put back as they were at its entry. */
static __noinline __u64 call_identity(void)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	__u64 h = digest_seed[0], k = digest_seed[1] | 1;

	h = mix(h, BPF_CORE_READ(regs, orig_ax), k);
	h = mix(h, BPF_CORE_READ(regs, di), k);
	h = mix(h, BPF_CORE_READ(regs, si), k);
	h = mix(h, BPF_CORE_READ(regs, dx), k);
	h = mix(h, BPF_CORE_READ(regs, r10), k);
	h = mix(h, BPF_CORE_READ(regs, r8), k);
	h = mix(h, BPF_CORE_READ(regs, ip), k);
	return mix(h, BPF_CORE_READ(regs, sp), k);
}

/* A process with a SIGCONT handler would run it at each kick: the daemon parks it at once. */
static __noinline bool_t handles_sigcont(void)
{
	struct task_struct *current = bpf_get_current_task_btf();
	unsigned long handler = (unsigned long)BPF_CORE_READ(current, sighand, action[SIGCONT - 1].sa.sa_handler);

	return handler > 1;
}

static __always_inline bool_t sigpending(struct task_struct *task)
{
	return !!(BPF_CORE_READ(task, thread_info.flags) & sigpending_mask);
}

/* 0: the call will restart; return -ERESTARTNOINTR. Else it cannot be held. */
static __noinline int kick(void)
{
	if (bpf_send_signal_thread(SIGSTOP) || bpf_send_signal_thread(SIGCONT))
		return -1;
	if (!sigpending(bpf_get_current_task_btf()))
		return -1;
	count(AUTHZ_COUNT_KICKS);
	return 0;
}

/*
 * Not static: so what follows is verified once, and not for each slot that may have been found. They look the call up
 * again, as decide_call() does.
 */

/* The number of the slot of this operation, else AUTHZ_SLOTS. Expired ones are freed in passing. */
__attribute__((noinline)) int number_of_slot(__u64 digest_a, __u64 digest_b, __u64 now)
{
	struct call *call = bpf_task_storage_get(&calls, bpf_get_current_task_btf(), NULL, 0);

	if (!call)
		return AUTHZ_SLOTS;
	for (int i = 0; i < AUTHZ_SLOTS; i++) {
		struct slot *slot = &call->slots[i];

		if (!slot->state)
			continue;
		if (slot->state >= SLOT_ANSWERED && now > slot->deadline_ns) {
			slot->state = 0;
			continue;
		}
		if (slot->digest[0] == digest_a && slot->digest[1] == digest_b)
			return i;
	}
	return AUTHZ_SLOTS;
}

/*
 * The number of a slot for a new question, else AUTHZ_SLOTS: a free one, else one that an earlier call left behind. A
 * call does not get to a new question before each earlier one is answered, so one that still stands as asked was
 * answered through the table: of this call, or of one before with the same registers, as a loop makes them.
 */
__attribute__((noinline)) int number_of_free_slot(__u64 identity)
{
	struct call *call = bpf_task_storage_get(&calls, bpf_get_current_task_btf(), NULL, 0);

	if (!call)
		return AUTHZ_SLOTS;
	for (int i = 0; i < AUTHZ_SLOTS; i++)
		if (!call->slots[i].state)
			return i;
	for (int i = 0; i < AUTHZ_SLOTS; i++)
		if (call->slots[i].call != identity || call->slots[i].state <= SLOT_ASKED)
			return i;
	return AUTHZ_SLOTS;
}

/* The slot of that number, or NULL. */
static __always_inline struct slot *slot_at(struct call *call, __u32 number)
{
	if (number >= AUTHZ_SLOTS)
		return NULL;
	barrier_var(number);	/* 6.1 loses the bound */
	return &call->slots[number & (AUTHZ_SLOTS - 1)];
}

static __always_inline struct slot *find_slot(struct call *call, struct digest *d, __u64 now)
{
	return slot_at(call, number_of_slot(d->a, d->b, now));
}

static __always_inline struct slot *take_slot(struct call *call, __u64 identity)
{
	return slot_at(call, number_of_free_slot(identity));
}

/*
 * One call meets several hooks, and a restart begins at the first again: an answer already used by
 * this call must serve it once more, or it would be asked for ever. It lives as long as the question
 * now asked may wait.
 */
static __noinline int revive_answers(struct call *call, __u64 identity, __u64 until)
{
	for (int i = 0; i < AUTHZ_SLOTS; i++) {
		if (call->slots[i].state == SLOT_USED && call->slots[i].call == identity) {
			call->slots[i].state = SLOT_ANSWERED;
			call->slots[i].deadline_ns = until + ANSWER_LIVES_NS;
		}
	}
	return 0;
}

/*
 * This answer is used now. Each pass through a call uses its answers in the order of their questions, so one that an
 * earlier question got and this pass did not use is of a call before with the same registers, as a loop makes them:
 * its slot is free.
 */
static __always_inline void forget_earlier(struct call *call, struct slot *used, __u64 identity)
{
	for (int i = 0; i < AUTHZ_SLOTS; i++) {
		struct slot *slot = &call->slots[i];

		if (slot->state == SLOT_ANSWERED && slot->call == identity && slot->ticket < used->ticket)
			slot->state = 0;
	}
}

/*
 * True if the call is to start anew since the object's path changed at each try: whoever renames or mounts may be
 * stopped in the middle of it, on a processor that does not run. For a while only.
 */
static __always_inline bool_t try_later(struct call *call)
{
	__u64 now = bpf_ktime_get_ns();

	if (!call->torn)
		return 0;
	if (!call->torn_until)
		call->torn_until = now + TORN_NS;
	if (now > call->torn_until || call->no_hold || !can_hold() || handles_sigcont() || kick()) {
		call->torn_until = 0;
		return 0;
	}
	revive_answers(call, call_identity(), call->torn_until);
	return 1;
}

/* A question of an earlier call or domain: it was answered through the table, so nobody will answer it now. */
static __always_inline bool_t outdated(struct authz_task *task, struct slot *slot, __u64 identity)
{
	return slot->state <= SLOT_ASKED && (slot->call != identity || slot->domain != task->domain ||
					     slot->generation != task->generation);
}

/* One call may meet a second hook for the same thing (open with O_TRUNC, execve): one answer serves both. */
static __always_inline bool_t serves_again(struct call *call, struct slot *slot, __u64 identity)
{
	return slot->state == SLOT_USED && slot->call == identity && call->stage > slot->stage;
}
