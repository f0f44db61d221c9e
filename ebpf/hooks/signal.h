/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What keeps a kick alive. Some file systems take TIF_SIGPENDING away while they wait and then let the kernel find
 * out anew whether a signal is pending; 9p does so at each request. After a kick none is, so the call would return
 * -ERESTARTNOINTR to the program. It is kicked again here, where the flag was lost.
 *
 * The signal lock is held, so what is sent goes by irq_work as soon as interrupts are on again, one signal at a time.
 * First the stop; what takes it back follows when that work is done, at the end of its interrupt.
 */
#pragma once

/* Between a kick and the end of the pass through the system call that it was for. */
static __always_inline bool_t kicked(struct task_struct *current, struct call *call)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(current);
	__u64 identity;

	if ((long)BPF_CORE_READ(regs, ax) != -ENOSYS)	/* the result, which stands there from the call's end on */
		return 0;
	if (call->torn_until)
		return 1;
	identity = call_identity();
	for (int i = 0; i < AUTHZ_SLOTS; i++) {
		struct slot *slot = &call->slots[i];

		if ((slot->state == SLOT_UNSENT || slot->state == SLOT_ASKED) && slot->call == identity)
			return 1;
	}
	return 0;
}

SEC("fexit/recalc_sigpending")
int BPF_PROG(recalc_sigpending)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct call *call = bpf_task_storage_get(&calls, current, NULL, 0);

	if (!call || sigpending(current) || !kicked(current, call))
		return 0;
	if (!bpf_send_signal_thread(SIGSTOP))
		call->stopping = 1;
	return 0;
}

SEC("tp_btf/irq_work_exit")
int BPF_PROG(irq_work_exit, int vector)
{
	struct call *call = bpf_task_storage_get(&calls, bpf_get_current_task_btf(), NULL, 0);

	if (!call || !call->stopping)
		return 0;
	if (!bpf_send_signal_thread(SIGCONT)) {
		call->stopping = 0;
		count(AUTHZ_COUNT_KICKS);
	}
	return 0;
}
