/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR MIT */
/*
 * The ABI between the eBPF programs and the daemon: the only place a shared struct is written.
 * The Rust side is generated from this file (`cargo xtask codegen`). Fixed widths, explicit padding,
 * asserted sizes. A change of any struct is a new AUTHZ_ABI_VERSION.
 */
#ifndef AUTHZ_ABI_H
#define AUTHZ_ABI_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#define AUTHZ_ABI_VERSION 6
#define AUTHZ_PATH_MAX 4096	/* bytes of a path with its NUL; longer fails closed */
#define AUTHZ_KEY_MAX 240	/* bytes of a path in the verdict table: what lies behind counts for no region */
#define AUTHZ_VERDICTS_MAX 65536	/* remembered verdicts of one instance */
#define AUTHZ_SESSIONS_MAX 1024	/* sessions of one instance; index 0 is "unmanaged" */
#define AUTHZ_WALK_BASE 2560	/* longest first name of a rename or link, whose second name is walked behind it */
#define AUTHZ_DATA_MAX (AUTHZ_WALK_BASE + AUTHZ_PATH_MAX + 264)	/* names; a last component and a last word */
#define AUTHZ_NAME_MAX 27	/* bytes of a name that a policy looks for in paths */
#define AUTHZ_SLOTS 8		/* answers one system call may need */

/* Numbers of the actions; event.rs names them. */
enum authz_action {
	AUTHZ_FILE_READ = 1,
	AUTHZ_FILE_WRITE = 2,
	AUTHZ_FILE_CREATE = 3,
	AUTHZ_FILE_DELETE = 4,
	AUTHZ_FILE_RENAME = 5,
	AUTHZ_FILE_LINK = 6,
	AUTHZ_FILE_SETATTR = 7,
	AUTHZ_PROCESS_EXEC = 8,
	AUTHZ_PROCESS_PTRACE = 9,
	AUTHZ_PROCESS_SIGNAL = 10,
	AUTHZ_NET_CONNECT = 11,
	AUTHZ_NET_BIND = 12,
	AUTHZ_SYSTEM_MOUNT = 13,
	AUTHZ_SYSTEM_USERNS = 14,
	AUTHZ_SYSTEM_NAMESPACE = 15,
	AUTHZ_SYSTEM_BPF = 16,
	AUTHZ_SYSTEM_PERF = 17,
	AUTHZ_SYSTEM_MODULE = 18,
	AUTHZ_SYSTEM_IO_URING = 19,
	AUTHZ_SYSTEM_RAW_SOCKET = 20,
	AUTHZ_SYSTEM_SOCKET = 21,
};

/* What authz_event.path holds. */
enum authz_object {
	AUTHZ_OBJ_PATH = 1,	/* absolute path in the task's mount namespace */
	AUTHZ_OBJ_FOREIGN = 2,	/* the same on a mount of another namespace, or detached */
	AUTHZ_OBJ_ANON = 3,	/* object of an internal mount: path = file system type, other = its name */
	AUTHZ_OBJ_BROKEN = 4,	/* no path: too long, disconnected, or changing all the time */
	AUTHZ_OBJ_ADDRESS = 5,	/* struct authz_address at the start of path */
	AUTHZ_OBJ_UNIX_PATH = 6,	/* unix socket: path of the bound socket */
	AUTHZ_OBJ_UNIX_ABSTRACT = 7,	/* unix socket: abstract name without the leading NUL */
	AUTHZ_OBJ_PROCESS = 8,	/* target_pid */
	AUTHZ_OBJ_NAME = 9,	/* a short word, for system.* */
};

/* Which side of an operation the object is, or how a file comes to be executed. */
enum authz_role {
	AUTHZ_ROLE_NONE = 0,
	AUTHZ_ROLE_SOURCE = 1,
	AUTHZ_ROLE_TARGET = 2,
	AUTHZ_ROLE_PROGRAM = 3,
	AUTHZ_ROLE_INTERPRETER = 4,
	AUTHZ_ROLE_LIBRARY = 5,
};

enum authz_mode {
	AUTHZ_MODE_NONE = 0,	/* the session is over: fails closed */
	AUTHZ_MODE_ENFORCE = 1,
	AUTHZ_MODE_OBSERVE = 2,
};

enum authz_effect {
	AUTHZ_EFFECT_NONE = 0,
	AUTHZ_EFFECT_ALLOW = 1,
	AUTHZ_EFFECT_DENY = 2,
	AUTHZ_EFFECT_ASK = 3,	/* ask each time */
};

/* Why an event was sent. */
enum authz_kind {
	AUTHZ_KIND_ASK = 1,	/* not known; ticket != 0: the thread is held and waits for its answer */
	AUTHZ_KIND_DENIED = 2,	/* the table denied it (observe: would have) */
	AUTHZ_KIND_ALLOWED = 3,	/* the table allowed it; a read is sent only under AUTHZ_SESSION_AUDIT_EACH */
	AUTHZ_KIND_FAILED = 4,	/* decided by the fail direction; see cause */
};

/* Why the fail direction decided; also indices of the counters map. */
enum authz_cause {
	AUTHZ_CAUSE_NONE = 0,
	AUTHZ_CAUSE_STORAGE = 1,	/* no task storage: out of memory */
	AUTHZ_CAUSE_SESSION = 2,	/* the label names no live session */
	AUTHZ_CAUSE_STALE = 3,		/* the daemon's heartbeat is old */
	AUTHZ_CAUSE_UNHOLDABLE = 4,	/* io_uring, exiting, dumping core, created in this call */
	AUTHZ_CAUSE_KICK = 5,		/* a signal could not be sent */
	AUTHZ_CAUSE_DEADLINE = 6,	/* no answer in time */
	AUTHZ_CAUSE_SLOTS = 7,		/* more answers needed than a call can keep */
	AUTHZ_CAUSE_PATH = 8,		/* the object has no path */
	AUTHZ_CAUSE_READ = 9,		/* kernel memory could not be read */
	AUTHZ_CAUSE_RING = 10,		/* an event was lost: ring full */
	AUTHZ_CAUSE_INHERIT = 11,	/* a fork was refused: its label could not be stored */
	AUTHZ_CAUSE_GUARD = 12,		/* aimed at the daemon */
	AUTHZ_CAUSE_REFUSED = 13,	/* no action names the call, or its object is in memory that can change */
	AUTHZ_CAUSE_MAX = 14,
};

#define AUTHZ_COUNT_KICKS 16	/* further counters: kicks, */
#define AUTHZ_COUNT_HITS 17	/* verdicts found by a path in the table, */
#define AUTHZ_COUNT_ASKS 18	/* asks sent, */
#define AUTHZ_COUNT_RETRIES 19	/* path walks repeated because of a rename or mount, */
#define AUTHZ_COUNT_WALKS 20	/* all path walks, of which a folder that is remembered saves most, */
#define AUTHZ_COUNT_WITHIN 21	/* and verdicts found in a folder's inode, by no path */
#define AUTHZ_COUNTERS 24

#define AUTHZ_SESSION_DOMAIN_PER_EXEC 1u	/* the policy reads the program */
#define AUTHZ_SESSION_DOMAIN_PER_FORK 2u	/* the policy reads the process id */
#define AUTHZ_SESSION_DOMAIN_PER_CRED 4u	/* the policy reads the user */
#define AUTHZ_SESSION_AUDIT_EACH 8u		/* send an event for each remembered allow */
#define AUTHZ_SESSION_DOMAIN_PER_CALL 16u	/* the policy reads the tool call */
#define AUTHZ_SESSION_NAMES 32u			/* the policy looks for names in paths */

/* The bit of a name in a session's filter, by its first two bytes (0: it has one only) and its length. */
#define AUTHZ_NAME_WORDS 8
#define AUTHZ_NAME_BIT(first, second, len)                                                         \
	((((first) | (second) << 8 | (len) << 16) * 0x9e3779b1u >> 20) % (64 * AUTHZ_NAME_WORDS))

#define AUTHZ_EVENT_UNLINKED 1u		/* the object has no name any more */
#define AUTHZ_EVENT_MULTILINK 2u	/* regular file with more than one hard link */
#define AUTHZ_EVENT_DIRECTORY 4u
#define AUTHZ_EVENT_NEGATIVE 8u		/* the name does not exist yet */
#define AUTHZ_EVENT_COMPAT 16u		/* 32-bit system call */
#define AUTHZ_EVENT_SIGCONT 32u		/* the process would notice kicks: park at once */

/* Label of a task (map `tasks`, task storage), inherited at fork. Written by the daemon once. */
struct authz_task {
	__u32 session;		/* index in `sessions` */
	__u32 generation;	/* of the session when `domain` was set; else the domain is unknown */
	__u32 domain;		/* 0: unknown */
	__u32 calls;		/* set of tool calls that were open when the process was made that executed a program; 0: none */
	__u32 born;		/* the same for this process, which becomes `calls` when it executes one */
	__u32 awaiting;		/* a question is out, which the table may answer; of this task alone */
};

/* Map `sessions`, written by the daemon. */
struct authz_session {
	__u32 mode;
	__u32 generation;	/* grows when policy or tool calls change what a domain means */
	__u32 flags;
	__u32 calls;		/* number of the set of tool calls that are open; 0: none */
	__u64 hold_ns;		/* longest hold */
	__u64 names[AUTHZ_NAME_WORDS];	/* in which bits the names show that its policy looks for (AUTHZ_NAME_BIT) */
	__u32 names_version;	/* of its names in `name_groups`, never used again for others; 0: they are being changed */
	__u32 pad;
};

/* Map `state`, one entry, written by the daemon. */
struct authz_state {
	__u64 heartbeat_ns;	/* CLOCK_MONOTONIC */
	__u64 stale_ns;		/* older than this: the daemon is dead or stuck */
	__u32 daemon_tgid;
	__u32 abi_version;
};

/* Map `name_groups`: for a name that the session's policy looks for in paths, the groups it is in, a bit each. */
struct authz_name {
	__u32 session;
	__u8 name[AUTHZ_NAME_MAX + 1];
};

/*
 * Map `regions`, an LPM trie. Bytes after prefixlen are domain, action, object, role, names, then the name.
 * An entry holds for every name that begins with its bits, so it does not matter which one is found. An exact
 * entry has the NUL byte behind the name: "/etc/hosts\0".
 */
struct authz_verdict_key {
	__u32 prefixlen;	/* bits */
	__u32 domain;
	__u8 action;
	__u8 object;
	__u8 role;
	__u8 names;		/* groups of names that occur in the path */
	__u8 name[AUTHZ_KEY_MAX];
};

/* What holds in a region. */
struct authz_region {
	__u32 verdict;		/* its index, */
	__u32 serial;		/* and which one it is: the place is used again */
	__u32 bits;		/* prefixlen of the region's key */
	__u32 pad;
};

/* Map `verdicts`, an array. What is taken back has no serial before its place is used again. */
struct authz_verdict {
	__u32 effect;
	__u32 sent;		/* of the hits, those with an event of their own; wraps */
	__u64 evaluation;	/* the daemon's number of the evaluation it came from */
	__u64 expires_ns;	/* CLOCK_MONOTONIC; 0: never */
	__u64 hits;		/* counted by the kernel, but for the use that it was asked for */
	__u32 serial;		/* 0: none */
	__u32 pad;
};

/* Map `answers`, by ticket: written by the daemon, taken by the hook. */
struct authz_answer {
	__u32 effect;
	__u32 domain;
	__u32 generation;
	__u32 pad;
};

/* Canonical by authz: IPv4-mapped is IPv4, 0.0.0.0 and :: are loopback. Network byte order. */
struct authz_address {
	__u16 family;		/* AF_INET or AF_INET6 */
	__u16 protocol;		/* IPPROTO_TCP, IPPROTO_UDP, ... */
	__u16 port;
	__u16 pad;
	__u8 addr[16];
	__u32 scope;
};

struct authz_event {
	__u64 time_ns;		/* CLOCK_MONOTONIC */
	__u64 ticket;
	__u64 evaluation;	/* of the verdict found */
	__u64 start_ns;		/* start of the process, with tgid an identity */
	__u64 ino;
	__u64 size;
	__s64 ctime_sec;
	__u32 ctime_nsec;
	__u32 dev;
	__u32 session;
	__u32 domain;
	__u32 generation;
	__u32 tid;
	__u32 tgid;
	__u32 uid;
	__u32 gid;
	__u32 target_pid;
	__u32 nlink;
	__u32 mode;		/* inode mode, 0: unknown */
	__u32 open_flags;
	__u32 syscall;
	__u32 flags;
	__u32 calls;		/* of the task's label, */
	__u32 open_calls;	/* and of the session: which tool calls it may belong to */
	__u8 kind;
	__u8 action;
	__u8 object;
	__u8 role;
	__u8 effect;
	__u8 cause;
	__u8 observe;		/* 1: the session is in observe mode */
	__u8 names;		/* groups of names that occur in the path */
	__u16 path_len;		/* bytes at data[0], without a NUL */
	__u16 other_len;	/* bytes after them */
	char comm[16];
	__u8 data[AUTHZ_DATA_MAX];
};

#define AUTHZ_EVENT_HEADER (sizeof(struct authz_event) - AUTHZ_DATA_MAX)

_Static_assert(sizeof(struct authz_task) == 24, "authz_task");
_Static_assert(sizeof(struct authz_session) == 96, "authz_session");
_Static_assert(sizeof(struct authz_name) == 32, "authz_name");
_Static_assert(sizeof(struct authz_state) == 24, "authz_state");
_Static_assert(sizeof(struct authz_verdict_key) == 12 + AUTHZ_KEY_MAX, "authz_verdict_key");
_Static_assert(sizeof(struct authz_region) == 16, "authz_region");
_Static_assert(sizeof(struct authz_verdict) == 40, "authz_verdict");
_Static_assert(sizeof(struct authz_answer) == 16, "authz_answer");
_Static_assert(sizeof(struct authz_address) == 28, "authz_address");
_Static_assert(sizeof(struct authz_event) == 152 + AUTHZ_DATA_MAX, "authz_event");

#endif
