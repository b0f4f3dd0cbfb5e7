/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What both programs need: the maps, counting, the clock, finding a service, handing a packet to user space.
 *
 * Owns: the declaration of the maps (each object declares all; the daemon makes both use the same). Included by:
 * gate.bpf.c, splice.bpf.c.
 */
#ifndef LV_BPF_COMMON_H
#define LV_BPF_COMMON_H

#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "../core/synack.h"
#include "../core/translate.h"
#include "../core/watch.h"
#include "maps.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, u32);
    __type(value, struct lv_bpf_config);
} lv_config SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, u32);
    __type(value, struct lv_cookie_keys);
} lv_keys SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 2);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, u32);
    __type(value, struct lv_services_flat);
} lv_service_tables SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1); /* sets; resized before loading */
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, u32);
    __type(value, struct lv_half_sets);
} lv_halfopen SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1); /* as many as lv_halfopen */
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, u32);
    __type(value, struct lv_half_tags);
} lv_half_tags SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, LV_LEARNED_ENTRIES / LV_LEARNED_WAYS);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, u32);
    __type(value, struct lv_learned_sets);
} lv_learned SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, LV_SERVICES_MAX);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, u32);
    __type(value, struct lv_guard);
} lv_guards SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1); /* resized before loading */
    __type(key, struct lv_key);
    __type(value, struct lv_conn);
} lv_flows SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, LV_SERVICES_MAX);
    __type(key, u32);
    __type(value, struct lv_counters);
} lv_counts SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4 << 20);
} lv_handovers SEC(".maps");

enum { LV_ANSWER_MAX_BYTES = 128 }; /* of the gate's: link header with two tags, IPv6, TCP with all options */

/*
 * What the stages of a program hand on, and what is too large for the stack of 512 bytes. Each stage is a function that is
 * not static: the verifier then looks at it once, not once for every way that leads to it. Pointers into a packet must not
 * be kept in a map, so the packet stands here as numbers: those in `k` are null, l3 and l4 are offsets.
 */
struct lv_scratch {
    struct lv_pkt k;
    struct lv_key key;
    u64 now_ns;
    u32 services; /* which of the two tables all questions about this packet go to */
    u32 l3, l4;   /* offsets of the IP and the TCP or ICMP header from the start of the frame */
    u32 service;
    u32 kind; /* enum lv_kind */
    u32 side;
    u8 tcp[LV_TCP_COPY_BYTES]; /* the TCP header */
    struct lv_opts opts;
    struct lv_segment segment;
    struct lv_ether back;
    struct lv_half half;
    u8 frame[192];
};

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, struct lv_scratch);
} lv_scratch SEC(".maps");

LV_INLINE void *lv_first(void *map)
{
    u32 zero = 0;

    return bpf_map_lookup_elem(map, &zero);
}

/* `len` if it lies between two bounds, else 0. One comparison after the other: where the compiler makes one of both, the
 * verifiers up to Linux 6.12 learn nothing of the length. */
LV_INLINE u32 lv_len_between(u32 len, u32 least, u32 most)
{
    LV_OPAQUE(len); /* so that the register that is compared is the one that is used */
    if (len > most)
        return 0;
    LV_OPAQUE(len);
    return len < least ? 0 : len;
}

LV_INLINE u32 lv_now_ms(u64 now_ns)
{
    return (u32)(now_ns / 1000000);
}

/* A packet begins: its time, and the services that count for it. */
LV_INLINE void lv_begin(struct lv_scratch *s, const struct lv_bpf_config *config)
{
    s->now_ns = bpf_ktime_get_ns();
    s->services = config->services & 1;
}

LV_INLINE const struct lv_services *lv_services_now(const struct lv_scratch *s)
{
    u32 which = s->services & 1;

    return bpf_map_lookup_elem(&lv_service_tables, &which);
}

#include "note.h"
#include "tap.h"

LV_INLINE void lv_count(u32 service, u32 which)
{
    struct lv_counters *c = bpf_map_lookup_elem(&lv_counts, &service);

    if (c && which < LV_REASONS_AND_EVENTS)
        c->n[which]++;
    if (which < LV_R_COUNT) {
        lv_tap_tell(which);
        lv_note_tell(service, which);
    }
}

/* A packet that is consumed, and what it was, in one look. */
LV_INLINE void lv_count_both(u32 service, enum lv_reason r, enum lv_event e)
{
    struct lv_counters *c = bpf_map_lookup_elem(&lv_counts, &service);

    if (c && (u32)r < LV_R_COUNT && (u32)e < LV_REASONS_AND_EVENTS - LV_R_COUNT) {
        c->n[r]++;
        c->n[LV_R_COUNT + e]++;
    }
    lv_tap_tell(r);
    lv_note_tell(service, r);
}

LV_INLINE void lv_count_ev(u32 service, enum lv_event e)
{
    lv_count(service, LV_R_COUNT + e);
}

/* The heart may beat between the reading of the clock and this: then it is ahead of `now_ns`. */
LV_INLINE int lv_daemon_is_late(const struct lv_bpf_config *config, u64 now_ns)
{
    return now_ns > config->heartbeat_ns + config->late_ns;
}

/* A question to the service table. */
struct lv_query {
    struct lv_addr addr;
    u16 tci[LV_VLAN_TAGS];
    u16 port; /* 0: any, for what has no ports */
    u8 tags;
    u8 pad;
};

/*
 * Number of the service, LV_SERVICE_NONE for none. A function that is verified by itself (it is not static): inlined, the
 * verifier would look at the search once for every way that leads to it.
 */
__noinline int lv_service_of(const struct lv_query *q)
{
    const struct lv_scratch *s = lv_first(&lv_scratch);
    const struct lv_services *services;
    struct lv_pkt k;

    if (!q || !s)
        return LV_SERVICE_NONE;
    services = lv_services_now(s);
    if (!services)
        return LV_SERVICE_NONE;
    if (!q->port)
        return lv_service_of_address(services, &q->addr);
    k.tags = q->tags;
    k.tci[0] = q->tci[0];
    k.tci[1] = q->tci[1];
    return lv_service_find(services, &q->addr, q->port, &k);
}

LV_INLINE u32 lv_ask_service(const struct lv_pkt *k, const struct lv_addr *addr, u16 port)
{
    struct lv_query q = {*addr, {k->tci[0], k->tci[1]}, port, k->tags, 0};

    u32 service = (u32)lv_service_of(&q);

    LV_OPAQUE(service); /* the compiler sees that the function masks it; the verifier does not look */
    return service & (LV_SERVICES_MAX - 1);
}

LV_INLINE const struct lv_service *lv_service_at(const struct lv_services *services, u32 service)
{
    return &services->service[service & (LV_SERVICES_MAX - 1)];
}

/* Is this client one of the hosts that pass? */
LV_INLINE int lv_is_excepted(const struct lv_services *services, const struct lv_pkt *k, const struct lv_addr *client)
{
    return services->has_excepted && lv_service_at(services, lv_ask_service(k, client, 1))->excepted;
}

/* Does the service answer in place of its servers just now? */
LV_INLINE int lv_protects(const struct lv_services *services, u32 service)
{
    const struct lv_service *sv = lv_service_at(services, service);

    return lv_guard_protects(sv, sv->protect == LV_PROTECT_AUTO ? bpf_map_lookup_elem(&lv_guards, &service) : 0);
}

/* The set of a key in the half-open cache; 0 if there is none, which cannot be. */
LV_INLINE int lv_halves(const struct lv_bpf_config *config, const struct lv_key *key, struct lv_half_set *found)
{
    u64 hash = lv_half_hash(config->half_seed, key);
    u32 set = lv_half_index(hash) & config->half_sets_mask;
    struct lv_half_sets *entries = bpf_map_lookup_elem(&lv_halfopen, &set);
    struct lv_half_tags *tags = bpf_map_lookup_elem(&lv_half_tags, &set);

    if (!entries || !tags)
        return 0;
    found->way = entries->way;
    found->tags = tags;
    found->tag = lv_half_tag(hash);
    return 1;
}

/* The half-open entry of a key, if there is one. */
LV_INLINE struct lv_half *lv_half_of(const struct lv_bpf_config *config, const struct lv_key *key)
{
    struct lv_half_set set;

    return lv_halves(config, key, &set) ? lv_half_find(&set, key) : 0;
}

/* Copy a TCP header into a buffer that may be indexed. 0 if it is not in reach. */
LV_INLINE int lv_copy_header(u8 *to, const u8 *tcp, u32 header_len, const u8 *end)
{
    u32 at;

    for (at = 0; at < LV_TCP_HEADER_MAX; at += 4) {
        if (at >= header_len)
            break;
        if (tcp + at + 4 > end)
            return 0;
        lv_copy(to + at, tcp + at, 4);
    }
    return 1;
}

/* Stage: read the options of the TCP header that was copied. Returns whether there is a signature. */
__noinline int lv_read_options(int syn)
{
    struct lv_scratch *s = lv_first(&lv_scratch);

    if (!s)
        return 0;
    lv_opts_read(&s->opts, s->tcp, s->k.tcp.header_len, syn);
    return s->opts.is_signed;
}

/* Keep what was read of a packet. `data` is the start of the frame, `at` the offset of the network header. */
LV_INLINE enum lv_kind lv_keep_packet(struct lv_scratch *s, const struct lv_pkt *k, u8 *data, u32 at, u8 *end,
                                      enum lv_kind kind)
{
    s->k.ip.src = k->ip.src;
    s->k.ip.dst = k->ip.dst;
    s->k.ip.total = k->ip.total;
    s->k.ip.family = k->ip.family;
    s->k.ip.fragment = k->ip.fragment;
    s->k.ip.reason = k->ip.reason;
    s->k.tcp = k->tcp;
    s->k.tags = k->tags;
    s->k.tci[0] = k->tci[0];
    s->k.tci[1] = k->tci[1];
    s->k.tag_proto[0] = k->tag_proto[0];
    s->k.tag_proto[1] = k->tag_proto[1];
    s->l3 = at;
    s->l4 = 0;
    if (kind == LV_KIND_TCP || kind == LV_KIND_ICMP_ERROR)
        s->l4 = (u32)(k->ip.l4 - data);
    if (kind == LV_KIND_TCP && !lv_copy_header(s->tcp, k->ip.l4, k->tcp.header_len, end))
        return LV_KIND_OTHER; /* split over two buffers: the parser would have said so */
    return kind;
}

/* Read a packet from its network header on, and keep what was read. `k` is begun; of the offset `at` the verifier needs to
 * know only that it is small. */
LV_INLINE enum lv_kind lv_read_packet(struct lv_scratch *s, struct lv_pkt *k, u8 *data, u32 at, u8 *end, u16 proto,
                                      u32 wire_len)
{
    LV_OPAQUE(at);
    at &= 0x1f;
    return lv_keep_packet(s, k, data, at, end, lv_parse_l3(k, data + at, end, proto, wire_len));
}

/* The packet quoted in an ICMP error that lv_read_packet() found. */
LV_INLINE enum lv_kind lv_read_quote(struct lv_scratch *s, u8 *data, u8 *end)
{
    u32 l3 = s->l3 & 0x1f, l4 = s->l4 & LV_IP6_WALK_MAX;
    struct lv_pkt k = {};
    enum lv_kind kind;

    k.ip.family = s->k.ip.family;
    k.ip.fragment = s->k.ip.fragment;
    k.ip.l4 = data + l4;
    k.ip.end = data + l3 + (s->k.ip.total & 0xffff);
    kind = lv_parse_icmp(&k, end);
    s->k.quoted.src = k.quoted.src;
    s->k.quoted.dst = k.quoted.dst;
    s->k.tcp = k.tcp;
    return kind;
}

/* A frame is in hand: nothing is known of it yet. */
LV_INLINE void lv_tap_forget(struct lv_scratch *s)
{
    s->k.ip.family = 0;
    s->key.sport = 0;
}

/* Its service, by what was read meanwhile: the flow's server, else the address on the servers' side. */
LV_INLINE u16 lv_tap_service(const struct lv_scratch *s, u32 side)
{
    if (s->key.sport)
        return (u16)lv_ask_service(&s->k, &s->key.server, s->key.sport);
    return s->k.ip.family ? (u16)lv_ask_service(&s->k, side == LV_OUTSIDE ? &s->k.ip.dst : &s->k.ip.src, 0) : 0;
}

#endif
