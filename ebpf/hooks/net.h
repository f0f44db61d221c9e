/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Addresses: connect, and every way to send to one without it. */
#pragma once

#define UNIX_SUN_PATH 2		/* offset of sun_path in sockaddr_un */
#define UNIX_PATH_MAX 108

static __always_inline bool_t all_zero(const __u8 *bytes, int n)
{
	for (int i = 0; i < n; i++)
		if (bytes[i])
			return 0;
	return 1;
}

/* An IPv4 address; to connect to 0.0.0.0 means this host. */
static __always_inline void put_ipv4(struct authz_address *a, const __u8 *addr, bool_t connect)
{
	a->family = AF_INET;
	__builtin_memcpy(a->addr, addr, 4);
	if (connect && all_zero(a->addr, 4)) {
		a->addr[0] = 127;
		a->addr[3] = 1;
	}
}

/* An IPv6 address; mapped IPv4 is IPv4, to connect to :: means this host. */
static __always_inline void put_ipv6(struct authz_address *a, const struct sockaddr_in6_raw *in6, bool_t connect)
{
	if (all_zero(in6->addr, 10) && in6->addr[10] == 0xff && in6->addr[11] == 0xff) {
		put_ipv4(a, &in6->addr[12], connect);
		return;
	}
	a->family = AF_INET6;
	__builtin_memcpy(a->addr, in6->addr, 16);
	if (connect && all_zero(a->addr, 16))
		a->addr[15] = 1;
	if (a->addr[0] == 0xfe && (a->addr[1] & 0xc0) == 0x80)
		a->scope = in6->scope;
}

/*
 * Decides net.connect or net.bind of the kernel's copy of an address. `unspec_is_inet`: an IPv4 socket
 * takes AF_UNSPEC for AF_INET when sending and binding; in connect it means disconnect.
 */
static __always_inline int decide_address(struct authz_task *task, __u8 action, struct socket *sock,
					  const void *address, int len, bool_t unspec_is_inet)
{
	struct sockaddr_in6_raw in6 = {};
	struct authz_address *a;
	struct call *call;
	struct sock *sk = BPF_CORE_READ(sock, sk);
	__u16 family;

	if (len < 2 || bpf_probe_read_kernel(&family, sizeof(family), address))
		return fail_without_call(task, action, AUTHZ_CAUSE_READ);
	if (family == AF_UNSPEC && unspec_is_inet && BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET)
		family = AF_INET;
	if (family != AF_INET && family != AF_INET6)
		return 0;	/* unix: judged by the real peer, below; others: when the socket is made */
	if (family == AF_INET && len >= 8) {
		if (bpf_probe_read_kernel(&in6, 8, address))
			return fail_without_call(task, action, AUTHZ_CAUSE_READ);
	} else if (family == AF_INET6 && len >= 24) {
		if (bpf_probe_read_kernel(&in6, len >= 28 ? 28 : 24, address))
			return fail_without_call(task, action, AUTHZ_CAUSE_READ);
	} else {
		return 0;	/* too short: the kernel refuses it */
	}
	call = begin(task, action);
	if (!call)
		return fail_without_call(task, action, AUTHZ_CAUSE_STORAGE);
	a = (struct authz_address *)call->event.data;
	__builtin_memset(a, 0, sizeof(*a));
	a->port = in6.port;
	a->protocol = BPF_CORE_READ(sk, sk_protocol);
	if (family == AF_INET)
		put_ipv4(a, ((struct sockaddr_in_raw *)&in6)->addr, action == AUTHZ_NET_CONNECT);
	else
		put_ipv6(a, &in6, action == AUTHZ_NET_CONNECT);
	call->event.object = AUTHZ_OBJ_ADDRESS;
	call->event.path_len = sizeof(*a);
	return decide(call);
}

SEC("lsm/socket_connect")
int BPF_PROG(socket_connect, struct socket *sock, struct sockaddr *address, int addrlen)
{
	FILE_HOOK(task);
	return decide_address(task, AUTHZ_NET_CONNECT, sock, address, addrlen, 0);
}

/* Binding to a path is file.create, at path_mknod; other unix names are the namespace's own. */
SEC("lsm/socket_bind")
int BPF_PROG(socket_bind, struct socket *sock, struct sockaddr *address, int addrlen)
{
	FILE_HOOK(task);
	return decide_address(task, AUTHZ_NET_BIND, sock, address, addrlen, 1);
}

/* sendto, sendmsg, sendmmsg, and TCP fast open, which never calls socket_connect. */
SEC("lsm/socket_sendmsg")
int BPF_PROG(socket_sendmsg, struct socket *sock, struct msghdr *msg, int size)
{
	void *name;

	FILE_HOOK(task);
	name = msg->msg_name;
	if (!name)
		return 0;
	return decide_address(task, AUTHZ_NET_CONNECT, sock, name, msg->msg_namelen, 1);
}

/* A unix socket is judged by the peer that was found, not by the name that was asked for. */
static __always_inline int decide_unix(struct authz_task *task, struct sock *other)
{
	struct unix_sock *peer = (struct unix_sock *)other;
	struct dentry *dentry = BPF_CORE_READ(peer, path.dentry);
	struct vfsmount *mnt = BPF_CORE_READ(peer, path.mnt);
	struct unix_address *addr = BPF_CORE_READ(peer, addr);
	struct call *call;
	__u32 len;

	if (!addr && !dentry)
		return 0;	/* unnamed: a socketpair, or a peer that came by descriptor */
	call = begin(task, AUTHZ_NET_CONNECT);
	if (!call)
		return fail_without_call(task, AUTHZ_NET_CONNECT, AUTHZ_CAUSE_STORAGE);
	if (dentry) {
		put_untyped(call, mnt, dentry);
		if (call->event.object == AUTHZ_OBJ_PATH)
			call->event.object = AUTHZ_OBJ_UNIX_PATH;
		return decide(call);
	}
	call->event.object = AUTHZ_OBJ_UNIX_ABSTRACT;
	len = BPF_CORE_READ(addr, len);
	if (len <= UNIX_SUN_PATH + 1 || len > UNIX_SUN_PATH + UNIX_PATH_MAX)
		return fail(AUTHZ_CAUSE_PATH);
	len -= UNIX_SUN_PATH + 1;
	if (len > UNIX_PATH_MAX)
		return fail(AUTHZ_CAUSE_PATH);
	if (bpf_probe_read_kernel(call->event.data, len & 127,
				  (char *)addr + bpf_core_type_size(struct unix_address) + UNIX_SUN_PATH + 1))
		return fail(AUTHZ_CAUSE_READ);
	call->event.path_len = len & 127;
	return decide(call);
}

SEC("lsm/unix_stream_connect")
int BPF_PROG(unix_stream_connect, struct sock *sock, struct sock *other, struct sock *newsk)
{
	FILE_HOOK(task);
	return decide_unix(task, other);
}

SEC("lsm/unix_may_send")
int BPF_PROG(unix_may_send, struct socket *sock, struct socket *other)
{
	FILE_HOOK(task);
	return decide_unix(task, BPF_CORE_READ(other, sk));
}
