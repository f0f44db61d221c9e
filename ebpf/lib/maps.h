/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Every map, and the values the loader sets. */
#pragma once

#ifndef barrier_var
#define barrier_var(var) asm volatile("" : "+r"(var))
#endif

#ifndef barrier
#define barrier() asm volatile("" : : : "memory")
#endif

#define arg_trusted __attribute__((btf_decl_tag("arg:trusted")))

/* An answer that the current system call of this task needs, or has. Bound to the operation by its
 * digest and to the call by its registers. */
struct slot {
	__u64 digest[2];
	__u64 call;		/* hash of the registers at entry: the same after a restart */
	__u64 ticket;		/* 0: free */
	__u64 deadline_ns;	/* asked: give up then. answered: forget then */
	__u32 effect;		/* NONE: not answered */
	__u32 state;
	__u32 stage;		/* of the hook that used it */
	__u32 domain;		/* of the task when it was asked */
	__u32 generation;
	__u32 pad;
};

enum slot_state { SLOT_UNSENT = 1, SLOT_ASKED = 2, SLOT_ANSWERED = 3, SLOT_USED = 4 };

#define NAMES_MAX 4		/* mounts that show one object; more fail closed */

/* The mounts that show a dentry (names.h). Not on a stack: 6.1 takes a callback to run once, and would know
 * what such a count is. */
struct names {
	__u64 dentry;
	__u64 ns;		/* the task's */
	__u64 node, end;	/* of the file system's list of mounts */
	__u64 mounts[NAMES_MAX];	/* of the task's namespace */
	__u64 foreign;		/* one of another */
	__u32 count;
	__u32 internal;		/* pipes, sockets, memfds: on no mount but the kernel's */
	__u32 complete;
	__u32 torn;		/* the list or a path changed at each try */
};

/* What a walk found of the object's own folder (folder.h). */
struct walked {
	__u64 mnt, dentry;	/* where the way ends */
	__u32 object;		/* what is found: AUTHZ_OBJ_PATH or AUTHZ_OBJ_BROKEN */
	__u32 pad;
	__u64 parent;		/* dentry of the folder; 0: the object is the root of its mount */
	__u32 name_len;		/* of the object in it */
	__u32 flags;		/* d_flags of all dentries on the way below the root of the object's mount */
	__u32 mask;		/* groups of names in the folder's path, */
	__u32 name_mask;	/* and in the object's name */
	__u32 renames, mounts;	/* the kernel's counters all the while */
	__u32 folder_len;	/* bytes of the folder's path */
};

/* The bits of a call's region before it is decided, where the object's folder knows the verdict. */
#define IN_FOLDER 0xffffffffu

/* A verdict whose region is all that lies in a folder (within.h). */
struct within {
	__u32 domain;
	__u32 verdict, serial;	/* as in struct authz_region; serial 0: none */
	__u8 action, role, names, pad;	/* as in struct authz_verdict_key */
};

/* What one thread's operation in progress needs; per task, so preemption cannot mix two. Below 8 KiB: 7.x
 * allocates task storage by kmalloc_nolock, which gives no more. */
struct call {
	struct slot slots[AUTHZ_SLOTS];
	struct authz_verdict_key key;
	__u32 no_hold;		/* a restart would lose something */
	struct names names;
	__u32 stage;		/* 1: a second hook of one call for the same thing */
	__u32 stopping;		/* a stop was sent that has to be taken back (signal.h) */
	__u32 torn;		/* the object's path changed at each try */
	__u32 mask;		/* groups of names in the path walked last */
	__u32 named;		/* the policy looks for names */
	__u32 names_version;	/* of authz_session */
	struct walked walked;
	struct authz_region region;	/* where the table has the verdict that was found; serial 0: nowhere */
	__u64 torn_until;	/* when to give up starting anew for it; 0: not begun */
	__u64 room_until;	/* likewise, for room on the ring */
	struct inode *inode;	/* of this hook's object, while it is not described in full */
	struct authz_event event;
};

_Static_assert(sizeof(struct call) <= 8192 - 128, "task storage of 7.x");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct authz_task);
} tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct call);
} calls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, AUTHZ_SESSIONS_MAX);
	__type(key, __u32);
	__type(value, struct authz_session);
} sessions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct authz_state);
} state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, AUTHZ_VERDICTS_MAX);
	__type(key, struct authz_verdict_key);
	__type(value, struct authz_region);
} regions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, AUTHZ_VERDICTS_MAX);
	__type(key, __u32);
	__type(value, struct authz_verdict);
} verdicts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct authz_name);
	__type(value, __u32);
} name_groups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct authz_answer);
} answers SEC(".maps");

#define FOLDER_PATH_MAX 256	/* bytes of a folder's path that is remembered */
#define FOLDER_VERDICTS 16	/* of domains and actions */

/* The path of a folder on the way that was taken last (folder.h). */
struct folder {
	__u32 version;		/* odd: being written */
	__u32 len;		/* bytes of the path; the root has none */
	__u64 mnt;		/* struct vfsmount */
	__u64 dentry;
	__u64 ns;		/* mount namespace of mnt */
	__u64 since;		/* jiffies */
	__u32 renames, mounts;	/* the kernel's counters when it was so */
	__u32 names_version;	/* of the names that mask is of; 0: of none */
	__u32 mask;		/* groups of names in the path */
	struct within within[FOLDER_VERDICTS];
	__u8 path[FOLDER_PATH_MAX];
};

/* In the inode of each folder: it is gone with it. The benchmark's programs may not use inodes for it. */
#ifndef FOLDERS_TYPE
#define FOLDERS_TYPE BPF_MAP_TYPE_INODE_STORAGE
#endif

struct {
	__uint(type, FOLDERS_TYPE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct folder);
} folders SEC(".maps");

/* What waits for room leaves a quarter to questions and refusals, which do not. */
#define RING_BYTES (4 * 1024 * 1024)
#define RING_FULL (RING_BYTES / 4 * 3)
#define RING_MANY (RING_BYTES / 8)	/* more than the daemon should find at its next look, at each heartbeat */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_BYTES);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, AUTHZ_COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

/* Set by the loader. */
const volatile __u64 digest_seed[2] = { 1, 2 };	/* random: nobody outside can aim for a collision */
const volatile __u64 rename_lock_addr = 0;	/* of the kernel's seqlocks, from kallsyms */
const volatile __u64 mount_lock_addr = 0;
const volatile __u64 sigpending_mask = 4;	/* 1 << TIF_SIGPENDING, which 6.18 moved */

__u64 last_ticket = 0;

static __always_inline void count(__u32 which)
{
	__u64 *n = bpf_map_lookup_elem(&counters, &which);

	if (n)
		(*n)++;
}
