/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Sources that proved themselves, and what each has of a service: connections that began within a second, connections
 * that are open. A source is a prefix of addresses, as long as the service says.
 *
 * Owns: struct lv_source, its judgement, the table of them. Called by: limits.h in user space, the programs. Must not
 * know: what becomes of who is over a limit. A forged packet never gets here: nothing is counted before a valid cookie.
 *
 * An entry has no address, but a keyed hash of 64 bits of service and prefix, so that one instruction makes it somebody
 * else's. Numbers are changed by single atomic instructions, of programs in the kernel too; one that is lost (a daemon
 * killed between two, two processors that close one connection at once, another prefix length) is found by the sweep:
 * after each round through all connections no count may be further from what was seen than it changed meanwhile.
 *
 * Full: an entry without open connections gives way, the one least used of late; else the one with the fewest.
 */
#ifndef LV_SOURCES_H
#define LV_SOURCES_H

#include "base.h"
#include "emit.h"
#include "packet.h"
#include "reason.h"
#include "service.h"
#include "siphash.h"

enum {
    LV_SOURCE_WAYS = 4,
    LV_SOURCE_PARTS = 1000,   /* a connection that may begin, in thousandths: those that come back in a ms are whole */
    LV_SOURCE_FULL_MS = 1000, /* after so long all have come back */
    LV_SOURCE_TELL_MS = 1000, /* who is to be blocked is told to the daemon so often */
    LV_SOURCE_SETTLE_MS = 2000, /* counts are settled no more often */
};

enum lv_source_over { LV_OVER_DROP = 0, LV_OVER_RESET, LV_OVER_BLOCK };

struct lv_source {
    u64 tag;     /* 0: unused */
    u64 begun;   /* high: when a connection last began, ms; low: how many more could then, in LV_SOURCE_PARTS */
    s32 open;    /* below zero when more are closed than were counted */
    u32 changes; /* of `open`, since it was settled */
    u32 seen;    /* open connections that the sweep has met in this round */
    u32 told_ms;
};

struct lv_sources {
    struct lv_source *entry;
    u32 sets_mask;
    u32 used; /* when last settled */
    u32 settled_ms;
    u32 sweeping; /* a round of the sweep that counts */
    struct lv_sipkey key;
};

/* Single numbers that others may be changing. */
LV_INLINE u64 lv_peek64(const u64 *p)
{
#ifdef __bpf__
    return *(volatile const u64 *)p;
#else
    return __atomic_load_n(p, __ATOMIC_RELAXED);
#endif
}

LV_INLINE u32 lv_peek32(const u32 *p)
{
#ifdef __bpf__
    return *(volatile const u32 *)p;
#else
    return __atomic_load_n(p, __ATOMIC_RELAXED);
#endif
}

LV_INLINE int lv_source_limited(const struct lv_service *sv)
{
    return sv->source_new_per_s || sv->source_open;
}

/* The first n of 64 bits. */
LV_INLINE u64 lv_first_bits(u32 n)
{
    return n >= 64 ? ~0ull : n ? ~0ull << (64 - n) : 0;
}

/* What stands for a source of this service. */
LV_INLINE u64 lv_source_tag(const struct lv_sipkey *key, const struct lv_service *sv, u16 service,
                            const struct lv_addr *addr)
{
    u32 bits = lv_addr_is_v4(addr) ? 96u + sv->source_prefix[0] : sv->source_prefix[1];
    u64 words[3] = {lv_addr_half(addr->b) & lv_first_bits(bits),
                    lv_addr_half(addr->b + 8) & lv_first_bits(bits > 64 ? bits - 64 : 0), service};
    u64 tag = lv_siphash(key, (const u8 *)words, sizeof(words));

    return tag ? tag : 1;
}

LV_INLINE u32 lv_source_index(u64 tag, u32 sets_mask)
{
    return (u32)tag & sets_mask;
}

/* `set`: that of the tag. 0 if the source has no entry. */
LV_INLINE struct lv_source *lv_source_find(struct lv_source *set, u64 tag)
{
    u32 i;

    for (i = 0; i < LV_SOURCE_WAYS; i++)
        if (lv_peek64(&set[i].tag) == tag)
            return &set[i];
    return 0;
}

/* How many connections may begin, in LV_SOURCE_PARTS. They come back evenly, up to those of a second. */
LV_INLINE u32 lv_source_left(u64 begun, u32 new_per_s, u32 now_ms)
{
    u32 age_ms = now_ms - (u32)(begun >> 32), full = new_per_s * LV_SOURCE_PARTS, left;

    if ((s32)age_ms < 0) /* by another processor's clock */
        age_ms = 0;
    if (age_ms >= LV_SOURCE_FULL_MS)
        return full;
    left = (u32)begun + age_ms * new_per_s;
    return LV_MIN(left, full);
}

/* May this source have one more connection? `e` may be 0: it has none. Returns LV_R_COUNT, or why not. */
LV_INLINE enum lv_reason lv_source_judge(const struct lv_source *e, const struct lv_service *sv, u32 now_ms)
{
    if (!e)
        return LV_R_COUNT;
    if (sv->source_open && (s32)lv_peek32((const u32 *)&e->open) >= (s32)sv->source_open)
        return LV_R_SOURCE_OPEN;
    if (sv->source_new_per_s && lv_source_left(lv_peek64(&e->begun), sv->source_new_per_s, now_ms) < LV_SOURCE_PARTS)
        return LV_R_SOURCE_RATE;
    return LV_R_COUNT;
}

/* A connection more that is open (by = 1), or less (by = -1). */
LV_INLINE void lv_source_change(struct lv_source *e, s32 by)
{
    __sync_fetch_and_add(&e->open, by);
    __sync_fetch_and_add(&e->changes, 1);
}

/* Is the daemon to be told of this source now? Twice does no harm. */
LV_INLINE int lv_source_tell(struct lv_source *e, u32 now_ms)
{
    if (now_ms - lv_peek32(&e->told_ms) < LV_SOURCE_TELL_MS)
        return 0;
#ifdef __bpf__
    *(volatile u32 *)&e->told_ms = now_ms;
#else
    __atomic_store_n(&e->told_ms, now_ms, __ATOMIC_RELAXED);
#endif
    return 1;
}

/* The reset for a client whose connection is not wanted: at the edge of its window. RFC 9293 section 3.10.7.1. */
LV_INLINE void lv_source_reset(struct lv_segment *s, const struct lv_pkt *k)
{
    s->src = k->ip.dst;
    s->dst = k->ip.src;
    s->sport = k->tcp.dport;
    s->dport = k->tcp.sport;
    s->family = k->ip.family;
    s->ttl = LV_TTL;
    s->flags = LV_RST;
    s->window = 0;
    s->seq = k->tcp.ack;
    s->ack = 0;
    s->options_len = 0;
    s->payload = 0;
    s->payload_len = 0;
}

#ifndef __bpf__

LV_INLINE struct lv_source *lv_source_set(const struct lv_sources *t, u64 tag)
{
    return &t->entry[(u64)lv_source_index(tag, t->sets_mask) * LV_SOURCE_WAYS];
}

LV_INLINE u32 lv_source_age_ms(const struct lv_source *e, u32 now_ms)
{
    u32 age_ms = now_ms - (u32)(lv_peek64(&e->begun) >> 32);

    return (s32)age_ms < 0 ? 0 : age_ms;
}

/* Who gives way in a full set: of two entries, is the first of less use? */
LV_INLINE int lv_source_yields(const struct lv_source *a, const struct lv_source *b, u32 now_ms)
{
    s32 open_a = (s32)lv_peek32((const u32 *)&a->open), open_b = (s32)lv_peek32((const u32 *)&b->open);

    if (!lv_peek64(&a->tag) || !lv_peek64(&b->tag))
        return !lv_peek64(&a->tag);
    if (open_a > 0 || open_b > 0)
        return open_a < open_b;
    return lv_source_age_ms(a, now_ms) > lv_source_age_ms(b, now_ms);
}

/* The entry of a source, made if need be. 0 if another worker took its place this very moment, or if only an entry with
 * open connections could give way and `push` is not set. */
LV_INLINE struct lv_source *lv_source_have(struct lv_sources *t, u64 tag, u32 now_ms, int push)
{
    struct lv_source *set = lv_source_set(t, tag), *e = lv_source_find(set, tag);
    u64 before;
    u32 i;

    if (e)
        return e;
    e = set;
    for (i = 1; i < LV_SOURCE_WAYS; i++)
        if (lv_source_yields(&set[i], e, now_ms))
            e = &set[i];
    before = lv_peek64(&e->tag);
    if (before && !push && ((s32)lv_peek32((const u32 *)&e->open) > 0 || lv_peek32(&e->seen)))
        return 0;
    if (!__atomic_compare_exchange_n(&e->tag, &before, tag, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        return lv_source_find(set, tag);
    __atomic_store_n(&e->begun, (u64)(now_ms - LV_SOURCE_FULL_MS) << 32, __ATOMIC_RELAXED);
    __atomic_store_n(&e->open, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&e->changes, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&e->seen, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&e->told_ms, now_ms - LV_SOURCE_TELL_MS, __ATOMIC_RELAXED);
    return e;
}

/* A connection begins. */
LV_INLINE void lv_source_begin(struct lv_source *e, const struct lv_service *sv, u32 now_ms)
{
    u64 before = lv_peek64(&e->begun), after;

    do {
        u32 left = lv_source_left(before, sv->source_new_per_s, now_ms);

        after = (u64)now_ms << 32 | (left < LV_SOURCE_PARTS ? 0 : left - LV_SOURCE_PARTS);
    } while (!__atomic_compare_exchange_n(&e->begun, &before, after, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    lv_source_change(e, 1);
}

/* One entry at the end of a round. Returns 1 if it stays in use. */
LV_INLINE int lv_source_settle(struct lv_source *e, u32 now_ms)
{
    s32 open = (s32)lv_peek32((const u32 *)&e->open), seen = (s32)lv_peek32(&e->seen), settled = open;
    s32 changes = (s32)__atomic_exchange_n(&e->changes, 0, __ATOMIC_RELAXED);
    u64 tag = lv_peek64(&e->tag);

    __atomic_store_n(&e->seen, 0, __ATOMIC_RELAXED);
    if (settled < seen - changes)
        settled = seen - changes;
    if (settled > seen + changes)
        settled = seen + changes;
    /* Changed this very moment: the next round will do. */
    if (settled != open)
        __atomic_compare_exchange_n(&e->open, &open, settled, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    if (settled > 0 || changes || lv_source_age_ms(e, now_ms) < LV_SOURCE_FULL_MS)
        return 1;
    return !__atomic_compare_exchange_n(&e->tag, &tag, 0, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* The sweep has been through all connections, and begins another round. `wanted`: there are limits. */
LV_INLINE void lv_sources_round(struct lv_sources *t, int wanted, u32 now_ms)
{
    u32 entries = (t->sets_mask + 1) * LV_SOURCE_WAYS, i;

    if (t->sweeping) {
        t->used = 0;
        for (i = 0; i < entries; i++)
            t->used += lv_peek64(&t->entry[i].tag) && lv_source_settle(&t->entry[i], now_ms);
        t->settled_ms = now_ms;
    }
    t->sweeping = (wanted || t->used) && now_ms - t->settled_ms >= LV_SOURCE_SETTLE_MS;
}

#endif

#endif
