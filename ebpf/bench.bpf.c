// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What the hooks do, as programs that can be run by BPF_PROG_TEST_RUN: there is none for LSM programs.
 * The same functions on the same maps; never attached to anything. Not `syscall` programs: those may
 * sleep, and LPM tries are refused there.
 */
#pragma clang diagnostic ignored "-Wunused-function"	/* not every hook's part is run here */
/* Only LSM programs may use inode storage. That of the task takes the same function to look up. */
#define FOLDERS_TYPE BPF_MAP_TYPE_TASK_STORAGE
#define folder_of(inode, flags) ((void)(inode), bpf_task_storage_get(&folders, bpf_get_current_task_btf(), NULL, flags))
#define folder_forget(inode) bpf_task_storage_delete(&folders, bpf_get_current_task_btf())
#include "lib/kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "authz_abi.h"
#include "lib/maps.h"
#include "lib/task.h"
#include "lib/path.h"
#include "lib/folder.h"
#include "lib/verdict.h"
#include "lib/within.h"
#include "lib/object.h"
#include "lib/digest.h"
#include "lib/hold.h"
#include "lib/decide.h"

#define BENCH_NAMES 1024

struct bench_name {
	__u32 len;
	__u8 name[AUTHZ_KEY_MAX];
};

/* Names to look up, in turn. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BENCH_NAMES);
	__type(key, __u32);
	__type(value, struct bench_name);
} names SEC(".maps");

/* In: rounds. Out: nanoseconds of all, and how many found what they should. */
struct bench_run {
	__u64 rounds;
	__u64 ns;
	__u64 found;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bench_run);
} runs SEC(".maps");

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct mm_struct___bench {
	struct file *exe_file;
};
struct task_struct___bench {
	struct mm_struct___bench *mm;
};
#pragma clang attribute pop

struct round {
	__u64 found;
};

static __always_inline int run(long (*step)(__u32, struct round *))
{
	__u32 zero = 0;
	struct bench_run *run = bpf_map_lookup_elem(&runs, &zero);
	struct round round = {};
	__u64 start;

	if (!run)
		return 1;
	start = bpf_ktime_get_ns();
	bpf_loop(run->rounds, step, &round, 0);
	run->ns = bpf_ktime_get_ns() - start;
	run->found = round.found;
	return 0;
}

/* The program file of the current task. */
static __always_inline struct file *own_file(void)
{
	struct task_struct___bench *task = (void *)bpf_get_current_task_btf();

	return task->mm->exe_file;
}

/* The name for this step into the event of the current task's call. */
static __always_inline struct call *name_step(__u32 step)
{
	struct call *call = bpf_task_storage_get(&calls, bpf_get_current_task_btf(), NULL,
						 BPF_LOCAL_STORAGE_GET_F_CREATE);
	__u32 index = step % BENCH_NAMES;
	struct bench_name *name = bpf_map_lookup_elem(&names, &index);

	if (!call || !name)
		return NULL;
	call->event.path_len = name->len;
	call->event.other_len = 0;
	call->event.flags = 0;
	call->event.action = AUTHZ_FILE_READ;
	call->event.object = AUTHZ_OBJ_PATH;
	call->event.role = 0;
	if (bpf_probe_read_kernel(call->event.data, AUTHZ_KEY_MAX, name->name))
		return NULL;
	return call;
}

static long prepare_step(__u32 step, struct round *round)
{
	if (name_step(step))
		round->found++;
	return 0;
}

static long lookup_step(__u32 step, struct round *round)
{
	struct call *call = name_step(step);
	struct authz_task *task = managed();
	struct authz_session *session;

	if (!call || !task)
		return 1;
	session = session_of(task);
	if (session && remembered(task, session, call))
		round->found++;
	return 0;
}

static long unmanaged_step(__u32 step, struct round *round)
{
	if (!managed())
		round->found++;
	return 0;
}

/* The own file is decided, with what its folder remembers of the path; NULL: it was not allowed. */
static __always_inline struct call *decide_own(struct authz_task *task)
{
	struct call *call = begin(task, AUTHZ_FILE_READ);

	if (!call)
		return NULL;
	put_file(call, own_file());
	return decide(call) ? NULL : call;
}

/* As decide_file in hooks/file.h. */
static long decide_step(__u32 step, struct round *round)
{
	struct authz_task *task = managed();

	if (!task || !decide_own(task))
		return 1;
	round->found++;
	return 0;
}

/* The same with a walk: the first object of a folder, and after each rename. */
static long walked_step(__u32 step, struct round *round)
{
	struct authz_task *task = managed();
	struct file *file = own_file();
	struct call *call;

	if (!task)
		return 1;
	call = begin(task, AUTHZ_FILE_READ);
	if (!call)
		return 1;
	put_untyped(call, file->f_path.mnt, file->f_path.dentry);
	if (decide(call))
		return 1;
	round->found++;
	return 0;
}

/* As decide_traceless in hooks/file.h, counting what the folder's inode knew. */
static long within_step(__u32 step, struct round *round)
{
	struct authz_task *task = managed();
	struct call *call;

	if (!task)
		return 1;
	if (file_allowed_within(task, own_file(), AUTHZ_FILE_READ, 0)) {
		round->found++;
		return 0;
	}
	call = decide_own(task);
	if (!call)
		return 1;
	if (holds_within(call))
		remember_file_within(call, own_file());
	return 0;
}

static long empty_step(__u32 step, struct round *round)
{
	round->found++;
	return 0;
}

/* The loop itself. */
SEC("raw_tp/bench")
int bench_empty(void *ctx)
{
	return run(empty_step);
}

/* Puts a name where a hook would have put it. */
SEC("raw_tp/bench")
int bench_prepare(void *ctx)
{
	return run(prepare_step);
}

/* The same, and looks it up in the verdict table. */
SEC("raw_tp/bench")
int bench_lookup(void *ctx)
{
	return run(lookup_step);
}

/* What a process outside of every session pays in a hook. */
SEC("raw_tp/bench")
int bench_unmanaged(void *ctx)
{
	return run(unmanaged_step);
}

/* A whole remembered decision on a file: label, inode, path, table. */
SEC("raw_tp/bench")
int bench_decide(void *ctx)
{
	return run(decide_step);
}

/* The same where the folder's inode knows a verdict that holds for all that lies in it. */
SEC("raw_tp/bench")
int bench_within(void *ctx)
{
	return run(within_step);
}

/* The same with a walk of the whole path. */
SEC("raw_tp/bench")
int bench_walked(void *ctx)
{
	return run(walked_step);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
