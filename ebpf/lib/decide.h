/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* THE decision: table, else the daemon, else the fail direction. Every hook ends here. */
#pragma once

/*
 * The daemon is woken, unless all there is are records of what the table allowed, and not many. At once too where the
 * record says what the process is: it may soon be another program or none. Always by force: else the kernel wakes
 * nobody while a record lies there that nobody was woken for.
 */
static __always_inline __u64 wake_for(struct authz_task *task, __u8 kind)
{
	struct authz_session *session = session_of(task);
	__u32 read = AUTHZ_SESSION_DOMAIN_PER_EXEC | AUTHZ_SESSION_DOMAIN_PER_FORK;

	if (kind != AUTHZ_KIND_ALLOWED || !session || (session->flags & read) ||
	    bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > RING_MANY)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

/* Sends the event; 0 or an error (ring full: counted). */
static __noinline int send(struct authz_task *task, struct call *call)
{
	struct authz_event *e = &call->event;
	__u32 len = (e->path_len & (AUTHZ_PATH_MAX - 1)) + (e->other_len & (AUTHZ_PATH_MAX - 1));

	describe_task(e, task);
	identify_inode(call);
	e->observe = observing(task);
	len += AUTHZ_EVENT_HEADER;
	barrier_var(len);	/* 6.1 loses the bound of what the compiler computes twice */
	if (len > sizeof(*e))
		len = sizeof(*e);
	if (bpf_ringbuf_output(&events, e, len, wake_for(task, e->kind))) {
		count(AUTHZ_CAUSE_RING);
		return -1;
	}
	return 0;
}

/* The fail direction, with a record of the current task's call. Not static: so it is verified once in each program. */
__attribute__((noinline)) int fail_call(__u32 cause)
{
	struct authz_task *task = managed();
	struct call *call = bpf_task_storage_get(&calls, bpf_get_current_task_btf(), NULL, 0);

	if (!task)
		return -EACCES;
	if (call) {
		call->event.kind = AUTHZ_KIND_FAILED;
		call->event.cause = cause;
		call->event.ticket = 0;
		send(task, call);
	}
	return fail_direction(task, cause);
}

static __always_inline int fail(__u32 cause)
{
	int ret = fail_call(cause);

	barrier_var(ret);	/* the compiler knows what it returns, the verifier does not */
	return bounded(ret);
}

/* The same before there is a call or an object: the record says the action and nothing more. */
static __noinline int fail_without_call(struct authz_task *task, __u32 action, __u32 cause)
{
	__u64 header[AUTHZ_EVENT_HEADER / 8] = {};
	struct authz_event *e = (struct authz_event *)header;

	if (!task)
		return -EACCES;
	e->kind = AUTHZ_KIND_FAILED;
	e->action = action;
	e->object = AUTHZ_OBJ_BROKEN;
	e->cause = cause;
	e->session = task->session;
	e->observe = observing(task);
	describe_task(e, task);
	if (bpf_ringbuf_output(&events, header, sizeof(header), BPF_RB_FORCE_WAKEUP))
		count(AUTHZ_CAUSE_RING);
	return fail_direction(task, cause);
}

/* Whether an action leaves alone what a file's other names stand for. */
static __always_inline bool_t names_only(__u8 action)
{
	return action == AUTHZ_FILE_DELETE || action == AUTHZ_FILE_RENAME || action == AUTHZ_FILE_LINK;
}

/* The verdict of the table for the call's key with a name of so many bytes, or NULL. */
static __always_inline struct authz_verdict *listed(struct call *call, __u32 len, struct said *said)
{
	struct authz_verdict_key *key = &call->key;
	struct authz_region *region;
	struct authz_verdict *v;

	if (len > AUTHZ_KEY_MAX)
		len = AUTHZ_KEY_MAX;
	barrier_var(len);	/* 6.1 loses the bound, which the compiler keeps in another register */
	if (len > AUTHZ_KEY_MAX)
		return NULL;
	if (bpf_probe_read_kernel(key->name, len, call->event.data)) {
		count(AUTHZ_CAUSE_READ);
		return NULL;
	}
	if (len < AUTHZ_KEY_MAX)	/* a longer name meets no entry that has the NUL */
		key->name[len++] = 0;
	key->prefixlen = (8 + len) * 8;
	region = bpf_map_lookup_elem(&regions, key);
	if (!region)
		return NULL;
	v = verdict_at(region->verdict, region->serial, said);
	if (v)
		call->region = *region;
	return v;
}

/* The verdict of the folder or the table, or NULL; the event gets its effect and evaluation. */
static __always_inline struct authz_verdict *remembered(struct authz_task *task, struct authz_session *session,
							struct call *call)
{
	struct authz_event *e = &call->event;
	struct authz_verdict_key *key = &call->key;
	struct authz_verdict *v = NULL;
	struct said said;
	__u32 len = e->path_len;

	if (!task->domain || task->generation != session->generation)
		return NULL;
	/* A foreign or broken path, a nameless file: decided afresh each time. */
	if (e->object == AUTHZ_OBJ_FOREIGN || e->object == AUTHZ_OBJ_BROKEN || e->object == AUTHZ_OBJ_PROCESS)
		return NULL;
	if (e->object == AUTHZ_OBJ_PATH && (e->flags & AUTHZ_EVENT_UNLINKED))
		return NULL;
	if (e->object == AUTHZ_OBJ_ANON)
		len += e->other_len;
	key->domain = task->domain;
	key->action = e->action;
	key->object = e->object;
	key->role = e->role;
	key->names = e->names;
	if (call->region.bits == IN_FOLDER)
		v = verdict_at(call->region.verdict, call->region.serial, &said);
	call->region.serial = call->region.bits = 0;	/* of this object alone */
	if (!v)
		v = listed(call, len, &said);
	if (!v || said.effect == AUTHZ_EFFECT_ASK)
		return NULL;
	/* Another name of the file may be protected: ask, with the link count. */
	if (said.effect == AUTHZ_EFFECT_ALLOW && (e->flags & AUTHZ_EVENT_MULTILINK) &&
	    e->action != AUTHZ_FILE_READ && e->action != AUTHZ_PROCESS_EXEC && !names_only(e->action))
		return NULL;
	e->effect = said.effect;
	e->evaluation = said.evaluation;
	return v;
}

static __always_inline int obey(struct authz_task *task, __u32 effect)
{
	if (effect == AUTHZ_EFFECT_ALLOW || observing(task))
		return 0;
	return -EACCES;
}

/* Not in the table. */
static __noinline int ask(struct authz_task *task, struct call *call)
{
	struct authz_session *session;
	struct authz_answer *answer;
	struct slot *slot;
	struct digest d = {};
	__u64 now = bpf_ktime_get_ns(), identity, ticket;
	__u32 effect;

	if (!task || !call)
		return -EACCES;
	session = session_of(task);
	if (!session)
		return fail(AUTHZ_CAUSE_SESSION);
	call->event.kind = AUTHZ_KIND_ASK;
	call->event.ticket = 0;
	if (session->mode == AUTHZ_MODE_OBSERVE) {
		count(AUTHZ_COUNT_ASKS);
		send(task, call);
		return 0;
	}
	if (call->no_hold || !can_hold()) {
		/* Decided all the same, so that the next time it may be known. */
		send(task, call);
		return fail(AUTHZ_CAUSE_UNHOLDABLE);
	}
	identify_inode(call);
	digest(call, &d);
	identity = call_identity();
	slot = find_slot(call, &d, now);
	if (slot && outdated(task, slot, identity))
		slot->state = SLOT_USED;
	if (slot && slot->state == SLOT_ASKED) {
		ticket = slot->ticket;
		answer = bpf_map_lookup_elem(&answers, &ticket);
		if (answer) {
			slot->effect = answer->effect;
			slot->state = SLOT_ANSWERED;
			task->awaiting = 0;
			slot->deadline_ns = now + ANSWER_LIVES_NS;
			task->domain = answer->domain;
			task->generation = answer->generation;
			bpf_map_delete_elem(&answers, &ticket);
		}
	}
	if (slot && (slot->state == SLOT_ANSWERED || serves_again(call, slot, identity))) {
		effect = slot->effect;
		slot->state = SLOT_USED;
		slot->call = identity;
		slot->stage = call->stage;
		forget_earlier(call, slot, identity);
		return obey(task, effect);
	}
	if (!daemon_alive()) {
		task->awaiting = 0;
		if (slot)
			slot->state = 0;
		return fail(AUTHZ_CAUSE_STALE);
	}
	if (!slot || slot->state == SLOT_USED) {
		if (!slot)
			slot = take_slot(call, identity);
		if (!slot)
			return fail(AUTHZ_CAUSE_SLOTS);
		slot->digest[0] = d.a;
		slot->digest[1] = d.b;
		slot->call = identity;
		slot->domain = task->domain;
		slot->generation = task->generation;
		slot->ticket = __sync_fetch_and_add(&last_ticket, 1) + 1;
		slot->deadline_ns = now + session->hold_ns;
		slot->effect = AUTHZ_EFFECT_NONE;
		slot->state = SLOT_UNSENT;
	}
	if (now > slot->deadline_ns) {
		task->awaiting = 0;
		slot->state = 0;
		return fail(AUTHZ_CAUSE_DEADLINE);
	}
	if (kick()) {
		task->awaiting = 0;
		slot->state = 0;
		return fail(AUTHZ_CAUSE_KICK);
	}
	if (slot->state == SLOT_UNSENT) {
		call->event.ticket = slot->ticket;
		if (handles_sigcont())
			call->event.flags |= AUTHZ_EVENT_SIGCONT;
		if (!send(task, call)) {	/* else: at the next kick, until the deadline */
			slot->state = SLOT_ASKED;
			task->awaiting = 1;
			count(AUTHZ_COUNT_ASKS);
		}
	}
	revive_answers(call, identity, slot->deadline_ns);
	return -ERESTARTNOINTR;
}

/*
 * True if this very call was held for the verdict just found: the daemon has recorded it. Frees the
 * slot.
 */
static __noinline int answered_by_table(struct call *call)
{
	struct digest d = {};
	struct slot *slot;

	if (!call)
		return 0;
	identify_inode(call);
	digest(call, &d);
	slot = find_slot(call, &d, bpf_ktime_get_ns());
	if (!slot || slot->state != SLOT_ASKED)
		return 0;
	slot->state = 0;
	return 1;
}

/* What changes something or starts a program is recorded one by one; reads are counted by region. */
static __always_inline bool_t leaves_trace(struct authz_event *e)
{
	return e->action != AUTHZ_FILE_READ && e->role != AUTHZ_ROLE_LIBRARY;
}

/*
 * True if a change that the table allows is to start anew, since its record finds no room on the ring: a daemon that
 * lives makes some. Not where that cannot be, and not for ever: then the record is a count.
 */
static __always_inline bool_t no_room(struct authz_task *task, struct authz_session *session, struct call *call)
{
	__u64 now;

	if (!leaves_trace(&call->event) || session->mode != AUTHZ_MODE_ENFORCE ||
	    bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) < RING_FULL) {
		call->room_until = 0;
		return 0;
	}
	now = bpf_ktime_get_ns();
	if (!call->room_until)
		call->room_until = now + ROOM_NS;
	if (now > call->room_until || call->no_hold || !daemon_alive() || !can_hold() || handles_sigcont() || kick()) {
		call->room_until = 0;
		return 0;
	}
	revive_answers(call, call_identity(), call->room_until);
	return 1;
}

/* Not static: so it is verified once in each program, and not for each call of it. It looks both up again, since 6.1
 * takes no argument of such a function for a key of a map. */
__attribute__((noinline)) int decide_call(__u32 action)
{
	struct authz_task *task = managed();
	struct call *call = bpf_task_storage_get(&calls, bpf_get_current_task_btf(), NULL, 0);
	struct authz_session *session;
	struct authz_verdict *v;
	__u32 effect;

	if (!task || !call)
		return fail_without_call(task, action, AUTHZ_CAUSE_STORAGE);
	session = session_of(task);
	if (!session || session->mode == AUTHZ_MODE_NONE)
		return fail(AUTHZ_CAUSE_SESSION);
	if (call->event.object == AUTHZ_OBJ_BROKEN) {
		if (session->mode == AUTHZ_MODE_ENFORCE && try_later(call))
			return -ERESTARTNOINTR;
		return fail(AUTHZ_CAUSE_PATH);
	}
	call->torn_until = 0;
	v = remembered(task, session, call);
	if (!v)
		return ask(task, call);
	if (no_room(task, session, call))
		return -ERESTARTNOINTR;
	count(AUTHZ_COUNT_HITS);
	effect = call->event.effect;
	/* Held for this verdict: it is on record, and no use beside that. A slot that stayed would let the same call,
	 * made again once the table no longer has it, wait for an answer. */
	if ((task->awaiting || effect == AUTHZ_EFFECT_DENY) && answered_by_table(call)) {
		task->awaiting = 0;
		return obey(task, effect);
	}
	__sync_fetch_and_add(&v->hits, 1);
	if (effect == AUTHZ_EFFECT_DENY || (session->flags & AUTHZ_SESSION_AUDIT_EACH) || leaves_trace(&call->event)) {
		call->event.kind = effect == AUTHZ_EFFECT_DENY ? AUTHZ_KIND_DENIED : AUTHZ_KIND_ALLOWED;
		if (!send(task, call) && effect != AUTHZ_EFFECT_DENY)
			__sync_fetch_and_add(&v->sent, 1);
	}
	return obey(task, effect);
}

/* The object of call->event, of the current task, is complete: decide. */
static __always_inline int decide(struct call *call)
{
	int ret = decide_call(call->event.action);

	barrier_var(ret);	/* the compiler knows what it returns, the verifier does not */
	return bounded(ret);
}
