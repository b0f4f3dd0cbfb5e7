/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the rooms of the data plane work with: the context all workers share, and what each worker has for itself.
 *
 * Owns: struct lv_ctx, struct lv_worker, timers, counting. Called by: gate, handshake, splice, engine. Must not know:
 * where packets come from. Everything here is allocated before the first packet; nothing is allocated for one.
 */
#ifndef LV_WORKER_H
#define LV_WORKER_H

#include "capture.h"
#include "catches.h"
#include "cookie.h"
#include "emit.h"
#include "guard.h"
#include "halfopen.h"
#include "hold.h"
#include "learning.h"
#include "lists.h"
#include "reason.h"
#include "service.h"
#include "sources.h"
#include "table.h"

enum {
    LV_COUNTERS = (int)LV_R_COUNT + (int)LV_E_COUNT,
    LV_SYN_STAGES = 4,          /* our SYN again after 1, 2 and 4 s; 4 s later the client is told */
    LV_CHALLENGES_PER_S = 1000, /* RFC 5961 section 7 */
    LV_RETRANS_PER_S = 2000,    /* SYN-ACKs sent again, so that a flood that fits the cache is not answered twice */
    LV_TICK_MS = 10,
    LV_CLOCKS_APART_MS = 60000, /* of two workers, at most */
    LV_SWEEP_TICKS = 200,       /* the whole table is looked at once in so many ticks: 2 s */
};

/* Times after which a silent flow is forgotten, in ms. */
enum {
    LV_IDLE_ESTABLISHED_MS = 7440000, /* 2 h 4 min: RFC 5382 REQ-5 */
    LV_IDLE_HALF_CLOSED_MS = 3600000,
    LV_IDLE_LAST_ACK_MS = 240000, /* both FINs seen, one not acknowledged: RFC 5382's transitory time */
    LV_IDLE_CLOSED_MS = 60000,    /* as long as Linux keeps TIME-WAIT */
    LV_IDLE_RESET_MS = 10000,
    LV_IDLE_CLOSED_CROWDED_MS = 5000, /* with less than a quarter of the table free */
    LV_IDLE_SYN_SENT_MS = 30000,      /* only reached if its timer was lost */
};

struct lv_config {
    u32 flows;
    u32 offered_window; /* of our SYN-ACKs: what is held of one flow, at most 65535 */
    u8 out_layer[2];    /* enum lv_layer towards each side */
    u8 secret[LV_SECRET_BYTES];
    u32 ts_offset; /* so that our timestamps do not tell the uptime */
};

struct lv_timer {
    u32 index; /* of a flow record */
    u32 stamp; /* its opened_ms: it may be another one by now */
    u32 due_ms;
};

/* Timers of one delay are due in the order they were set, so a ring is enough. Full: the oldest is lost, and found by
 * the sweep. */
struct lv_ring {
    struct lv_timer *timer;
    u32 mask; /* capacity - 1 */
    u32 head, tail;
};

struct lv_ctx {
    struct lv_config config;
    struct lv_capture capture; /* what the workers' taps look for */
    struct lv_table table;
    struct lv_hold hold;
    struct lv_learning learning;
    const struct lv_services *services; /* swapped whole: the newest; see lv_worker.quiescent */
    struct lv_catches catches;
    const struct lv_lists *lists; /* the same; 0: none yet */
    struct lv_guard *guard;       /* LV_SERVICES_MAX, one for each service */
    struct lv_sources sources;
    /* Called with each key that is forgotten, for an engine that keeps the flows elsewhere too; may be 0. */
    void (*on_forget)(void *owner, const struct lv_key *key);
    void *owner;
};

struct lv_tap;
struct lv_notes;

struct lv_worker {
    struct lv_ctx *ctx;
    u32 index;
    u32 now_ms;
    u32 epoch;
    u32 second_ms, tick_ms;
    u32 challenges_left, retrans_left;
    u64 quiescent; /* grows whenever the worker lets go of the tables that are swapped whole, and takes the newest */
    const struct lv_services *services; /* of this batch: all questions about one packet go to one table */
    const struct lv_lists *lists;
    struct lv_cookie_keys keys;
    struct lv_halfopen half;
    u8 half_stays; /* whoever makes a new flow seen elsewhere removes its half-open entry, and not before */
    struct lv_ring syn_ring[LV_SYN_STAGES];
    u64 *count;             /* LV_COUNTERS numbers for each service: reasons, then events */
    struct lv_tap *tap;     /* 0: nothing is captured; see tap.h */
    u8 reason;              /* that was counted last, */
    u16 dropped_of;         /* for this service */
    struct lv_notes *notes; /* noting.h; 0: nobody reads them */
    struct lv_outq outq;
};

LV_INLINE void lv_count_drop(struct lv_worker *w, u16 service, enum lv_reason r)
{
    w->count[(u32)service * LV_COUNTERS + r]++;
    w->reason = (u8)r;
    w->dropped_of = service;
}

LV_INLINE void lv_count_events(struct lv_worker *w, u16 service, enum lv_event e, u32 n)
{
    w->count[(u32)service * LV_COUNTERS + LV_R_COUNT + e] += n;
}

LV_INLINE void lv_count_event(struct lv_worker *w, u16 service, enum lv_event e)
{
    lv_count_events(w, service, e, 1);
}

LV_INLINE enum lv_verdict lv_drop(struct lv_worker *w, u16 service, enum lv_reason r)
{
    lv_count_drop(w, service, r);
    return LV_DROP;
}

LV_INLINE enum lv_verdict lv_pass(struct lv_worker *w, u16 service)
{
    lv_count_event(w, service, LV_E_PASSED);
    return LV_PASS;
}

LV_INLINE const struct lv_services *lv_services_of(const struct lv_worker *w)
{
    return w->services;
}

LV_INLINE const struct lv_lists *lv_lists_of(const struct lv_worker *w)
{
    return w->lists;
}

/* Does the service answer in place of its servers just now? */
LV_INLINE int lv_protects(const struct lv_worker *w, u16 service)
{
    return lv_guard_protects(&lv_services_of(w)->service[service], &w->ctx->guard[service]);
}

LV_INLINE void lv_ring_push(struct lv_ring *r, u32 index, u32 stamp, u32 due_ms)
{
    struct lv_timer *t = &r->timer[r->head++ & r->mask];

    t->index = index;
    t->stamp = stamp;
    t->due_ms = due_ms;
    if (r->head - r->tail > r->mask + 1)
        r->tail = r->head - r->mask - 1;
}

/* Take the next timer that is due; returns 0 if there is none. */
LV_INLINE int lv_ring_pop(struct lv_ring *r, u32 now_ms, struct lv_timer *out)
{
    if (r->head == r->tail || lv_before(now_ms, r->timer[r->tail & r->mask].due_ms))
        return 0;
    *out = r->timer[r->tail++ & r->mask];
    return 1;
}

LV_INLINE int lv_outq_has_room(const struct lv_worker *w)
{
    return w->outq.n + LV_OUT_MAX_PER_CALL <= LV_OUT_SLOTS;
}

/* Send a segment of our own towards a side, over the NIC if the MACs are known and the mode wants it, else routed. */
LV_INLINE void lv_send(struct lv_worker *w, enum lv_side side, const struct lv_ether *l, struct lv_segment *s)
{
    enum lv_layer layer = l->known ? (enum lv_layer)w->ctx->config.out_layer[side] : LV_L3;

    lv_emit(&w->outq, side, layer, l, s);
}

#endif
