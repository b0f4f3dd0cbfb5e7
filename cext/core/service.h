/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which service a packet belongs to: address, port and VLAN to the number of a service and its policy.
 *
 * Owns: an immutable table made by the control plane: address intervals that do not overlap, in ascending order, each
 * with a run of port rules; and an index over those rules that are for one port of one address in any VLAN, which most
 * are. Called by: gate. Must not know: names, YAML. Lookup is one look at a set of the index; what is not there takes two
 * binary searches, one for the address and one for the port.
 */
#ifndef LV_SERVICE_H
#define LV_SERVICE_H

#include "base.h"
#include "meter.h"
#include "packet.h"

enum {
    LV_SERVICES_MAX = 16384,
    LV_INTERVALS_MAX = 32768, /* these two bound what a BPF map holds; powers of two */
    LV_RULES_MAX = 65536,
    LV_INTERVAL_STEPS = 16, /* of a binary search among that many */
    LV_RULE_STEPS = 17,
    LV_EXACT_SETS_MAX = 16384,
    LV_EXACT_WAYS = 4,
    LV_SERVICE_NONE = 0, /* number of "no service"; counters of what belongs to none are kept there */
    LV_VID_ANY = 0xffff,
};

enum lv_protect { LV_PROTECT_OFF = 0, LV_PROTECT_ALWAYS, LV_PROTECT_AUTO };

/* Whether its server has another name than clients use: forward.h. */
enum lv_forwards { LV_FORWARDS_NOT = 0, LV_FORWARDS_PORT, LV_FORWARDS_ADDRESS };

/* What the log of a service gets lines of: note.h. */
enum lv_noted { LV_NOTED_REFUSED = 0, LV_NOTED_OPENED, LV_NOTED };

struct lv_service {
    u8 used;
    u8 protect;     /* enum lv_protect */
    u8 window_zero; /* SYN-ACK offers window 0 until the server has answered */
    u8 fragments_pass;
    u8 excepted; /* hosts, not a service: whatever comes from or goes to them passes */
    /* What the SYN-ACK announces until the server's own options are known. */
    u8 wscale, sack_ok, has_ts;
    u16 mss[2];           /* IPv4, IPv6 */
    u8 pinned;            /* these hold, whatever its servers answer */
    u8 trap;              /* nobody is served: who completes a handshake is caught */
    u8 signed_drop;       /* SYNs with a TCP-MD5 or TCP-AO signature: else they pass, a few a second */
    u8 source_over;       /* enum lv_source_over: what becomes of more than a source may have (sources.h): */
    u8 source_prefix[2];  /* so many bits of an address are one source: IPv4, IPv6 */
    u32 source_new_per_s; /* connections that begin in a second, 0: any number */
    u32 source_open;      /* connections that are open, 0: any number */
    u8 forwards;          /* enum lv_forwards */
    u8 target;            /* this is what another service forwards to: `to` and `to_port` lead back */
    u16 to_port;
    struct lv_addr to;
    struct lv_most log[LV_NOTED]; /* lines in a period */
};

struct lv_port_rule {
    u16 lo, hi;
    u16 vid; /* or LV_VID_ANY */
    u16 service;
};

struct lv_interval {
    u64 lo[2], hi[2]; /* both ends included, host byte order, most significant half first */
    u32 first, count; /* port rules, by VLAN and then by port; those of one VLAN do not overlap */
    u32 step;         /* largest power of two that is not above `count` */
    u16 portless;     /* service of what has no ports */
    u8 has_vlans;     /* not all rules are for any VLAN */
    u8 pad;
};

/* One port of one address, in any VLAN. */
struct lv_exact {
    u64 addr[2];
    u16 port;
    u16 service; /* LV_SERVICE_NONE: unused */
    u32 pad;
};

struct lv_exact_set {
    struct lv_exact way[LV_EXACT_WAYS];
};

/* As a BPF map holds it: everything in one piece. */
struct lv_services_flat {
    u32 intervals, rules;
    u32 search_step; /* largest power of two that is not above `intervals`, 0 for none */
    u32 has_excepted;
    u32 exact_sets; /* a power of two, 0: no index */
    u32 has_limits; /* of sources */
    u32 has_forwards;
    u32 has_logs;
    struct lv_exact_set exact[LV_EXACT_SETS_MAX];
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
    u32 exact_sets;
    u32 has_limits;
    u32 has_forwards;
    u32 has_watched; /* `protect: auto` */
    u32 has_logs;
    struct lv_exact_set *exact;
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

/* What a rule is sorted by, within its run. */
LV_INLINE u32 lv_rule_order(u16 vid, u16 port)
{
    return (u32)vid << 16 | port;
}

/* A search among the rules of one address interval. */
struct lv_rule_search {
    const struct lv_services *s;
    u32 first, count;
    u32 wanted; /* lv_rule_order() */
    u32 at;     /* number of rules known to begin at or before it */
    u32 step;
};

LV_STEP lv_rule_step(u32 turn, void *state)
{
    struct lv_rule_search *w = state;
    u32 probe = w->at + w->step - 1;
    const struct lv_port_rule *r = &w->s->rule[(w->first + probe) & (LV_RULES_MAX - 1)];

    (void)turn;
    if (!w->step)
        return 1;
    if (probe < w->count && lv_rule_order(r->vid, r->lo) <= w->wanted)
        w->at += w->step;
    w->step >>= 1;
    return 0;
}

/* The service of a port in one VLAN, or in any of them. */
LV_INLINE u16 lv_rule_find(const struct lv_services *s, const struct lv_interval *v, u16 vid, u16 port)
{
    struct lv_rule_search w = {s, v->first, v->count, lv_rule_order(vid, port), 0, v->step};
    const struct lv_port_rule *r;

    lv_loop(LV_RULE_STEPS, lv_rule_step, &w);
    if (!w.at)
        return LV_SERVICE_NONE;
    r = &s->rule[(w.first + w.at - 1) & (LV_RULES_MAX - 1)];
    return r->vid == vid && port <= r->hi ? r->service : (u16)LV_SERVICE_NONE;
}

/* Place in the index. Servers are the operator's, nobody else chooses them: a quick hash will do. */
LV_INLINE u32 lv_exact_index(const u64 *addr, u16 port)
{
    u64 h = (addr[1] ^ (u64)port << 48) * 0x9e3779b97f4a7c15ULL;

    h = (h ^ (h >> 32) ^ addr[0]) * 0xbf58476d1ce4e5b9ULL;
    return (u32)(h >> 32);
}

LV_INLINE u16 lv_exact_find(const struct lv_services *s, const u64 *addr, u16 port)
{
    const struct lv_exact_set *set;
    u32 i;

    if (!s->exact_sets)
        return LV_SERVICE_NONE;
    set = &s->exact[lv_exact_index(addr, port) & (s->exact_sets - 1) & (LV_EXACT_SETS_MAX - 1)];
    for (i = 0; i < LV_EXACT_WAYS; i++) {
        const struct lv_exact *e = &set->way[i];

        if (e->addr[1] == addr[1] && e->port == port && e->addr[0] == addr[0])
            return e->service;
    }
    return LV_SERVICE_NONE;
}

/* Number of the service at addr:port in the packet's VLAN, or LV_SERVICE_NONE. A service of the outer VLAN comes before
 * one of the inner, and that before one of any. */
LV_SHARED u16 lv_service_find(const struct lv_services *s, const struct lv_addr *addr, u16 port, const struct lv_pkt *k)
{
    const u64 a[2] = {lv_addr_half(addr->b), lv_addr_half(addr->b + 8)};
    u16 service = lv_exact_find(s, a, port);
    const struct lv_interval *v;

    if (service)
        return service & (LV_SERVICES_MAX - 1);
    v = lv_interval_find(s, addr);
    if (!v)
        return LV_SERVICE_NONE;
    if (v->has_vlans && k->tags > 0)
        service = lv_rule_find(s, v, k->tci[0] & 0xfff, port);
    if (!service && v->has_vlans && k->tags > 1)
        service = lv_rule_find(s, v, k->tci[1] & 0xfff, port);
    if (!service)
        service = lv_rule_find(s, v, LV_VID_ANY, port);
    return service & (LV_SERVICES_MAX - 1);
}

/* Is this client one of the hosts that pass? (Excepted servers need no question: their service does not protect.) */
LV_INLINE int lv_client_excepted(const struct lv_services *s, const struct lv_addr *client, const struct lv_pkt *k)
{
    return s->has_excepted && s->service[lv_service_find(s, client, 1, k)].excepted;
}

/* The service of this address that decides about what has no ports: one that is protected and lets fragments through, else
 * one that is protected, else any. */
LV_SHARED u16 lv_service_of_address(const struct lv_services *s, const struct lv_addr *addr)
{
    const struct lv_interval *v = lv_interval_find(s, addr);

    return v ? v->portless & (LV_SERVICES_MAX - 1) : (u16)LV_SERVICE_NONE;
}

#ifndef __bpf__

/* Fill the index, whose memory is zero. Full: what finds no place in its set is found by the searches. So is what is at an
 * address with services of one VLAN: there the port alone does not decide. */
LV_INLINE void lv_exact_fill(struct lv_services *s)
{
    u32 i, j, w;

    for (i = 0; i < s->intervals; i++) {
        const struct lv_interval *v = &s->interval[i];

        if (v->lo[0] != v->hi[0] || v->lo[1] != v->hi[1] || v->has_vlans)
            continue;
        for (j = 0; j < v->count; j++) {
            const struct lv_port_rule *r = &s->rule[v->first + j];
            struct lv_exact_set *set = &s->exact[lv_exact_index(v->lo, r->lo) & (s->exact_sets - 1)];

            for (w = 0; w < LV_EXACT_WAYS && set->way[w].service; w++)
                ;
            if (w == LV_EXACT_WAYS || r->lo != r->hi)
                continue;
            set->way[w].addr[0] = v->lo[0];
            set->way[w].addr[1] = v->lo[1];
            set->way[w].port = r->lo;
            set->way[w].service = r->service;
        }
    }
}

#endif

#endif
