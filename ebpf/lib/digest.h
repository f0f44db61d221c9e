/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * A keyed 128-bit digest of the operation: what an answer is bound to. The seeds are random, never
 * leave the kernel, and no output is visible to the agent, so it cannot aim for a collision.
 */
#pragma once

#define DIGEST_WORDS ((AUTHZ_DATA_MAX - 8) / 8)

struct digest {
	struct call *call;
	__u64 a, b;
	__u32 words;
};

static __always_inline __u64 mix(__u64 h, __u64 word, __u64 k)
{
	h = (h ^ word) * k;
	return h ^ (h >> 29);
}

static __always_inline void absorb(struct digest *d, __u64 word)
{
	d->a = mix(d->a, word, digest_seed[1] | 1);
	d->b = mix(d->b + word, d->a, digest_seed[0] | 1);
}

static long digest_step(__u32 i, struct digest *d)
{
	__u64 word = 0;

	if (i >= d->words || i >= DIGEST_WORDS)
		return 1;
	__builtin_memcpy(&word, &d->call->event.data[i * 8], sizeof(word));
	absorb(d, word);
	return 0;
}

/* Over everything an answer may depend on: action, role, object, identity of the inode, both names. */
static __always_inline void digest(struct call *call, struct digest *d)
{
	struct authz_event *e = &call->event;
	__u32 len = (e->path_len & (AUTHZ_PATH_MAX - 1)) + (e->other_len & (AUTHZ_PATH_MAX - 1));

	d->call = call;
	d->a = digest_seed[0];
	d->b = digest_seed[1];
	absorb(d, (__u64)e->action | (__u64)e->role << 8 | (__u64)e->object << 16);
	absorb(d, (__u64)e->path_len | (__u64)e->other_len << 16 | (__u64)e->target_pid << 32);
	absorb(d, e->ino);
	absorb(d, (__u64)e->dev | (__u64)e->mode << 32);
	if (e->action == AUTHZ_PROCESS_EXEC) {
		/* A hash of the program was taken of this very content. */
		absorb(d, e->size);
		absorb(d, e->ctime_sec);
		absorb(d, e->ctime_nsec);
	}
	/* Bytes after the names are left over from an earlier event: zero up to a whole word. */
	barrier_var(len);
	if (len > AUTHZ_DATA_MAX - 8)
		len = AUTHZ_DATA_MAX - 8;
	__builtin_memset(&e->data[len], 0, 8);
	d->words = (len + 7) / 8;
	if (bpf_loop(DIGEST_WORDS, digest_step, d, 0) < 0)
		count(AUTHZ_CAUSE_READ);
}
