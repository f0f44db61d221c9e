/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Execution: each interpreter level of execve, and files mapped as code. */
#pragma once

#define PROT_EXEC 4

/* Once per level: the script, then its interpreter. Writers of the file are locked out here. */
SEC("lsm/bprm_check_security")
int BPF_PROG(bprm_check_security, struct linux_binprm *bprm)
{
	struct file *file;
	__u8 role;

	FILE_HOOK(task);
	file = bprm->file;
	role = bprm->executable != file ? AUTHZ_ROLE_INTERPRETER : AUTHZ_ROLE_PROGRAM;
	return decide_file(task, 1, AUTHZ_PROCESS_EXEC, role, file);
}

/* Code by another way than execve: ld.so run as a program, dlopen, a memfd. */
SEC("lsm/mmap_file")
int BPF_PROG(mmap_file, struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags)
{
	struct task_struct *current = bpf_get_current_task_btf();

	FILE_HOOK(task);
	if (!file || !((prot | reqprot) & PROT_EXEC))
		return 0;
	/* After execve's point of no return an error would kill; the files were decided before it. */
	if (BPF_CORE_READ_BITFIELD_PROBED(current, in_execve))
		return 0;
	return decide_traceless(task, AUTHZ_PROCESS_EXEC, AUTHZ_ROLE_LIBRARY, 0, file);
}

SEC("lsm/file_mprotect")
int BPF_PROG(file_mprotect, struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot)
{
	struct file *file;

	FILE_HOOK(task);
	if (!((prot | reqprot) & PROT_EXEC))
		return 0;
	file = vma->vm_file;
	if (!file)
		return 0;
	return decide_traceless(task, AUTHZ_PROCESS_EXEC, AUTHZ_ROLE_LIBRARY, 0, file);
}
