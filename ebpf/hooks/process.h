/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Processes outside the session, and the daemon above all. */
#pragma once

#define F_SETOWN 8
#define F_SETOWN_EX 15

static __always_inline int decide_pid(struct authz_task *task, __u8 action, __u32 tgid)
{
	struct call *call = begin(task, action);

	if (!call)
		return fail_without_call(task, action, AUTHZ_CAUSE_STORAGE);
	call->event.object = AUTHZ_OBJ_PROCESS;
	call->event.target_pid = tgid;
	if (tgid == daemon_tgid())	/* in every policy, and in observe mode too */
		return fail(AUTHZ_CAUSE_GUARD), -EACCES;
	return decide(call);
}

static __always_inline int decide_process(struct authz_task *task, __u8 action, struct task_struct *target)
{
	if (same_session(task, target))
		return 0;
	return decide_pid(task, action, BPF_CORE_READ(target, tgid));
}

/* ptrace, /proc/PID/mem, process_vm_*, pidfd_getfd. Reading is judged as a file. */
SEC("lsm/ptrace_access_check")
int BPF_PROG(ptrace_access_check, struct task_struct *child, unsigned int mode)
{
	FILE_HOOK(task);
	if (!(mode & PTRACE_MODE_ATTACH))
		return 0;
	return decide_process(task, AUTHZ_PROCESS_PTRACE, child);
}

SEC("lsm/ptrace_traceme")
int BPF_PROG(ptrace_traceme, struct task_struct *parent)
{
	FILE_HOOK(task);
	return decide_process(task, AUTHZ_PROCESS_PTRACE, parent);
}

SEC("lsm/task_kill")
int BPF_PROG(task_kill, struct task_struct *target, struct kernel_siginfo *info, int sig, struct cred *cred)
{
	FILE_HOOK(task);
	/* Signal 0 only asks; the kernel's own signals (info 0 and 1 are no pointers) are not the agent's. */
	if (!sig || (unsigned long)info == 1)
		return 0;
	return decide_process(task, AUTHZ_PROCESS_SIGNAL, target);
}

/*
 * Whom the kernel signals, by whatever signal F_SETSIG names, once the file can be read. Others of the session cannot be
 * told by number from those outside; F_SETOWN_EX has the number in memory.
 */
SEC("lsm/file_fcntl")
int BPF_PROG(file_fcntl, struct file *file, unsigned int cmd, unsigned long arg)
{
	__u64 own = bpf_get_current_pid_tgid();
	__s32 pid = arg;

	if (cmd != F_SETOWN && cmd != F_SETOWN_EX)
		return 0;
	if (cmd == F_SETOWN_EX)
		return refuse_call(AUTHZ_PROCESS_SIGNAL);
	FILE_HOOK(task);
	if (!pid || (__u32)pid == (__u32)(own >> 32) || (__u32)pid == (__u32)own)
		return 0;
	return decide_pid(task, AUTHZ_PROCESS_SIGNAL, pid < 0 ? -pid : pid);
}
