/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which service a packet belongs to: address, port and VLAN to the number of a service and its policy.
 *
 * Owns: an immutable table made by the control plane: address intervals that do not overlap, in ascending order, each
 * with a run of port rules. Called by: gate. Must not know: names, YAML. Lookup is one binary search and a short scan.
 */
#ifndef LV_SERVICE_H
#define LV_SERVICE_H

#include "base.h"
#include "packet.h"

enum {
    LV_SERVICES_MAX = 16384,
    LV_INTERVALS_MAX = 32768, /* these two bound what a BPF map holds; powers of two */
    LV_RULES_MAX = 65536,
    LV_RULES_PER_ADDRESS = 1024,
    LV_INTERVAL_STEPS = 16, /* of a binary search among that many */
    LV_SERVICE_NONE = 0,    /* number of "no service"; counters of what belongs to none are kept there */
    LV_VID_ANY = 0xffff,
};

struct lv_service {
    u8 used;
    u8 protect;     /* 0 off, 1 always */
    u8 window_zero; /* SYN-ACK offers window 0 until the server has answered */
    u8 fragments_pass;
    u8 excepted; /* hosts, not a service: whatever comes from or goes to them passes */
    /* What the SYN-ACK announces until the server's own options are known. */
    u8 wscale, sack_ok, has_ts;
    u16 mss[2]; /* IPv4, IPv6 */
};

struct lv_port_rule {
    u16 lo, hi;
    u16 vid; /* or LV_VID_ANY */
    u16 service;
};

struct lv_interval {
    u64 lo[2], hi[2]; /* both ends included, host byte order, most significant half first */
    u32 first, count; /* port rules */
};

/* As a BPF map holds it: everything in one piece. */
struct lv_services_flat {
    u32 intervals, rules;
    u32 search_step; /* largest power of two that is not above `intervals`, 0 for none */
    u32 has_excepted;
    struct lv_interval interval[LV_INTERVALS_MAX];
    struct lv_port_rule rule[LV_RULES_MAX];
    struct lv_service service[LV_SERVICES_MAX];
};

#ifdef __bpf__
#define lv_services lv_services_flat
#else
struct lv_services {
    u32 intervals, rules;
    u32 search_step;
    u32 has_excepted;
    const struct lv_interval *interval;
    const struct lv_port_rule *rule;
    struct lv_service service[LV_SERVICES_MAX];
};
#endif

LV_INLINE u64 lv_addr_half(const u8 *p)
{
    return (u64)lv_get32(p) << 32 | lv_get32(p + 4);
}

LV_INLINE int lv_less128(const u64 *a, const u64 *b)
{
    return a[0] != b[0] ? a[0] < b[0] : a[1] < b[1];
}

struct lv_search {
    const struct lv_services *s;
    u64 addr[2];
    u32 at;   /* number of intervals known to begin at or before the address */
    u32 step; /* what is tried next */
};

/* One bit of `at`, from the highest down. */
LV_STEP lv_search_step(u32 turn, void *state)
{
    struct lv_search *w = state;
    u32 probe = (w->at + w->step - 1) & (LV_INTERVALS_MAX - 1);

    (void)turn;
    if (!w->step)
        return 1;
    if (probe < w->s->intervals && !lv_less128(w->addr, w->s->interval[probe].lo))
        w->at += w->step;
    w->step >>= 1;
    return 0;
}

LV_INLINE const struct lv_interval *lv_interval_find(const struct lv_services *s, const struct lv_addr *addr)
{
    struct lv_search w = {s, {lv_addr_half(addr->b), lv_addr_half(addr->b + 8)}, 0, s->search_step};
    const struct lv_interval *v;

    lv_loop(LV_INTERVAL_STEPS, lv_search_step, &w);
    if (!w.at)
        return 0;
    v = &s->interval[(w.at - 1) & (LV_INTERVALS_MAX - 1)];
    return lv_less128(v->hi, w.addr) ? 0 : v;
}

LV_INLINE int lv_rule_matches(const struct lv_port_rule *r, u16 port, const struct lv_pkt *k)
{
    if (port < r->lo || port > r->hi)
        return 0;
    return r->vid == LV_VID_ANY || (k->tags > 0 && (k->tci[0] & 0xfff) == r->vid) ||
           (k->tags > 1 && (k->tci[1] & 0xfff) == r->vid);
}

/* A look at the rules of one address interval. */
struct lv_rule_scan {
    const struct lv_services *s;
    const struct lv_pkt *k;
    u32 first, count;
    u32 port;
    u32 found; /* service number */
};

/* The first rule that matches. */
LV_STEP lv_rule_step(u32 turn, void *state)
{
    struct lv_rule_scan *w = state;
    const struct lv_port_rule *r = &w->s->rule[(w->first + turn) & (LV_RULES_MAX - 1)];

    if (turn >= w->count)
        return 1;
    if (!lv_rule_matches(r, (u16)w->port, w->k))
        return 0;
    w->found = r->service;
    return 1;
}

/* The first rule, or a later one of a service that lets fragments through. */
LV_STEP lv_rule_fragment_step(u32 turn, void *state)
{
    struct lv_rule_scan *w = state;
    const struct lv_port_rule *r = &w->s->rule[(w->first + turn) & (LV_RULES_MAX - 1)];

    if (turn >= w->count)
        return 1;
    if (!turn || w->s->service[r->service & (LV_SERVICES_MAX - 1)].fragments_pass)
        w->found = r->service;
    return 0;
}

/* Number of the service at addr:port in the packet's VLAN, or LV_SERVICE_NONE. */
LV_INLINE u16 lv_service_find(const struct lv_services *s, const struct lv_addr *addr, u16 port, const struct lv_pkt *k)
{
    const struct lv_interval *v = lv_interval_find(s, addr);
    struct lv_rule_scan w = {s, k, 0, 0, port, LV_SERVICE_NONE};

    if (!v)
        return LV_SERVICE_NONE;
    w.first = v->first;
    w.count = v->count;
    lv_loop(LV_RULES_PER_ADDRESS, lv_rule_step, &w);
    return (u16)(w.found & (LV_SERVICES_MAX - 1));
}

/* Is this client one of the hosts that pass? (Excepted servers need no question: their service does not protect.) */
LV_INLINE int lv_client_excepted(const struct lv_services *s, const struct lv_addr *client, const struct lv_pkt *k)
{
    return s->has_excepted && s->service[lv_service_find(s, client, 1, k)].excepted;
}

/* A service of this address, one that lets fragments through before others. Fragments have no ports. */
LV_INLINE u16 lv_service_of_address(const struct lv_services *s, const struct lv_addr *addr)
{
    const struct lv_interval *v = lv_interval_find(s, addr);
    struct lv_rule_scan w = {s, 0, 0, 0, 0, LV_SERVICE_NONE};

    if (!v)
        return LV_SERVICE_NONE;
    w.first = v->first;
    w.count = v->count;
    lv_loop(LV_RULES_PER_ADDRESS, lv_rule_fragment_step, &w);
    return (u16)(w.found & (LV_SERVICES_MAX - 1));
}

#endif
