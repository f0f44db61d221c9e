/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* A verdict by its place. The daemon may take it back at any moment, and use the place for another one. */
#pragma once

/* What a verdict said at one moment. */
struct said {
	__u32 effect;
	__u64 evaluation;
};

/* The verdict of this serial, or NULL once it is taken back or too old. */
static __always_inline struct authz_verdict *verdict_at(__u32 index, __u32 serial, struct said *said)
{
	struct authz_verdict *v = bpf_map_lookup_elem(&verdicts, &index);
	__u64 expires_ns;

	if (!v || !serial)
		return NULL;
	said->effect = VOLATILE(v->effect);
	said->evaluation = VOLATILE(v->evaluation);
	expires_ns = VOLATILE(v->expires_ns);
	barrier();	/* it lost its serial before it became another one */
	if (VOLATILE(v->serial) != serial)
		return NULL;
	if (expires_ns && bpf_ktime_get_ns() > expires_ns)
		return NULL;
	return v;
}
