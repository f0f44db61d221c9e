/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The few kernel types that are read, as views: preserve_access_index makes every access a CO-RE
 * relocation, so only names matter here, not order or size. Checked against 6.1, 6.12 and 7.x.
 */
#pragma once

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u8 bool_t;

#define NULL ((void *)0)
#define VOLATILE(x) (*(volatile typeof(x) *)&(x))
#define EPERM 1
#define ENOMEM 12
#define EACCES 13
#define ENOSYS 38
#define ERESTARTNOINTR 513
#define CLONE_THREAD 0x00010000
#define ERR_PTR_MIN (-4095L)

#define BPF_MAP_TYPE_HASH 1
#define BPF_MAP_TYPE_ARRAY 2
#define BPF_MAP_TYPE_PERCPU_ARRAY 6
#define BPF_MAP_TYPE_LPM_TRIE 11
#define BPF_MAP_TYPE_RINGBUF 27
#define BPF_RB_NO_WAKEUP 1
#define BPF_RB_FORCE_WAKEUP 2
#define BPF_RB_AVAIL_DATA 0
#define BPF_MAP_TYPE_INODE_STORAGE 28
#define BPF_MAP_TYPE_TASK_STORAGE 29
#define BPF_ANY 0
#define BPF_F_NO_PREALLOC 1
#define BPF_LOCAL_STORAGE_GET_F_CREATE 1

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct qstr {
	__u32 len;
	const unsigned char *name;
};

struct timespec64 {
	__s64 tv_sec;
	long tv_nsec;
};

struct file_system_type {
	const char *name;
};

struct list_head {
	struct list_head *next, *prev;
};

struct super_block {
	__u32 s_dev;
	struct file_system_type *s_type;
	unsigned long s_flags;
	unsigned long s_magic;
	struct list_head s_mounts;		/* until 6.17 */
};

struct super_block___6_18 {
	struct mount *s_mounts;
};

struct inode {
	__u16 i_mode;
	unsigned long i_ino;
	__s64 i_size;
	__u32 i_nlink;
	struct super_block *i_sb;
	struct timespec64 i_ctime;		/* until 6.5 */
};

struct inode___6_6 {
	struct timespec64 __i_ctime;		/* 6.6 to 6.10 */
};

struct inode___6_11 {
	__s64 i_ctime_sec;			/* since 6.11 */
	__u32 i_ctime_nsec;
};

struct hlist_bl_node {
	struct hlist_bl_node *next, **pprev;
};

struct dentry {
	unsigned int d_flags;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
	struct hlist_bl_node d_hash;
};

struct vfsmount {
	struct dentry *mnt_root;
	struct super_block *mnt_sb;
};

struct mnt_namespace;

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	struct mnt_namespace *mnt_ns;
	struct list_head mnt_instance;		/* in s_mounts, until 6.17 */
};

struct mount___6_18 {
	struct mount *mnt_next_for_sb;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	unsigned int f_mode;
	unsigned int f_flags;
	struct path f_path;
	struct inode *f_inode;
};

struct file___const {
	struct path __f_path;			/* beside f_path, in a union: since 6.18 or 6.19 */
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
};

struct thread_info {
	unsigned long flags;
	__u32 status;
};

typedef void (*sighandler_fn)(int);

struct sigaction {
	sighandler_fn sa_handler;
};

struct k_sigaction {
	struct sigaction sa;
};

struct sighand_struct {
	struct k_sigaction action[64];
};

struct cred;

struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	unsigned in_execve : 1;
	int pid;
	int tgid;
	struct task_struct *group_leader;
	struct task_struct *real_parent;
	__u64 start_boottime;
	struct nsproxy *nsproxy;
	struct sighand_struct *sighand;
	struct cred *cred, *real_cred;
};

struct pt_regs {
	unsigned long di, si, dx, r10, r8, r9;
	unsigned long ip, sp, ax, orig_ax;
};

struct linux_binprm {
	struct file *file;
	struct file *executable;
	struct file *interpreter;
};

struct kernel_siginfo;

struct sockaddr {
	__u16 sa_family;
};

struct sock_common {
	__u16 skc_family;
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_type;
	__u16 sk_protocol;
	struct socket *sk_socket;
};

struct socket {
	__s16 type;
	struct sock *sk;
};

struct unix_address {
	int len;
	/* sockaddr_un follows; read by offset */
};

struct unix_sock {
	struct unix_address *addr;
	struct path path;
};

struct msghdr {
	void *msg_name;
	int msg_namelen;
};

struct user_namespace;
union bpf_attr;
struct perf_event_attr;

struct vm_area_struct {
	struct file *vm_file;
};

struct iattr {
	unsigned int ia_valid;
};

/* The hooks' own types: a name that is in it tells how the others look. */
union security_list_options {
	void *inode_post_setattr;		/* since 6.9, when inode_setattr got its first argument */
};

#pragma clang attribute pop

/* Not kernel types: what user space passes, with a fixed layout. */
struct sockaddr_in_raw {
	__u16 family;
	__u16 port;
	__u8 addr[4];
};

struct sockaddr_in6_raw {
	__u16 family;
	__u16 port;
	__u32 flowinfo;
	__u8 addr[16];
	__u32 scope;
};

#define AF_UNSPEC 0
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_NETLINK 16
#define AF_PACKET 17
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_RAW 3
#define IPPROTO_IP 0
#define IPPROTO_ICMP 1
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_ICMPV6 58
#define IPPROTO_UDPLITE 136
#define IPPROTO_MPTCP 262

#define CTIME_QUERIED (1u << 31)	/* in i_ctime_nsec since 6.13: somebody has looked at the time */
#define S_IFMT 00170000
#define S_IFREG 0100000
#define S_IFDIR 0040000

#define MQUEUE_MAGIC 0x19800202ul
#define DCACHE_OP_HASH 0x1u
#define DCACHE_OP_COMPARE 0x2u
#define DCACHE_OP_REVALIDATE 0x4u
#define DCACHE_DISCONNECTED 0x20u

#define SB_INTERNAL (1ul << 22 | 1ul << 31)	/* SB_KERNMOUNT, SB_NOUSER: pipes, sockets, memfds */

#define FMODE_READ 0x1u
#define FMODE_WRITE 0x2u
#define FMODE_PATH 0x4000u
#define FMODE_CREATED 0x100000u		/* bit 20: made by this very open */
#define FMODE_NOACCOUNT 0x20000000u	/* bit 29: overlayfs opening underneath */
#define FLAG_EXEC 0x20u			/* __FMODE_EXEC in f_flags */
#define FLAG_NEW 0300u			/* O_CREAT | O_EXCL: got past the lookup, it did not exist */
#define FLAG_TMPFILE 020000000u		/* __O_TMPFILE */

#define PF_EXITING 0x4u
#define PF_IO_WORKER 0x10u
#define PF_DUMPCORE 0x200u
#define PF_KTHREAD 0x200000u
#define TS_COMPAT 0x2u
#define SIGCONT 18
#define SIGSTOP 19
