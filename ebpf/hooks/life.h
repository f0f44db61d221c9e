/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* The label: inherited at every fork and thread; its domain forgotten when what it stands for changes. */
#pragma once

/* Runs in the parent, before the child can run: nothing to race with, nothing to leave. */
SEC("lsm/task_alloc")
int BPF_PROG(task_alloc, struct task_struct *child, unsigned long clone_flags)
{
	struct authz_task *parent = managed(), *label;
	struct authz_session *session;

	if (!parent)
		return 0;
	label = bpf_task_storage_get(&tasks, child, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!label) {
		count(AUTHZ_CAUSE_INHERIT);
		return observing(parent) ? 0 : -ENOMEM;
	}
	*label = *parent;
	label->awaiting = 0;
	session = session_of(parent);
	if (!session)
		return 0;
	if (session->flags & AUTHZ_SESSION_DOMAIN_PER_FORK)
		label->domain = 0;
	if (!(clone_flags & CLONE_THREAD))
		label->born = session->calls;
	return 0;
}

static __always_inline void forget_domain(__u32 flag)
{
	struct authz_task *task = managed();
	struct authz_session *session;

	if (!task)
		return;
	session = session_of(task);
	if (!session || (session->flags & flag))
		task->domain = 0;
}

/* A program that is executed under a tool call belongs to it from then on, and all that it starts. */
static __always_inline void adopt_calls(void)
{
	struct authz_task *task = managed();

	if (!task || task->calls || !task->born)
		return;
	task->calls = task->born;
	forget_domain(AUTHZ_SESSION_DOMAIN_PER_CALL);
}

SEC("lsm/bprm_committed_creds")
void BPF_PROG(bprm_committed_creds, struct linux_binprm *bprm)
{
	forget_domain(AUTHZ_SESSION_DOMAIN_PER_EXEC | AUTHZ_SESSION_DOMAIN_PER_CRED);
	adopt_calls();
}

SEC("lsm/task_fix_setuid")
int BPF_PROG(task_fix_setuid, struct cred *new, const struct cred *old, int flags)
{
	forget_domain(AUTHZ_SESSION_DOMAIN_PER_CRED);
	return 0;
}
