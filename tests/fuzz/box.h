/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A whole box for fuzzing: one worker with every table as small as it can be, so that "full" is reached in a few packets.
 *
 * Owns: the memory of the box, its services, and what must be true of it after every call. Used by: engine.c. Must not
 * know: what packets are fed.
 *
 * Service 1 is 198.19.0.0/24 and 2001:db8:19::/64, ports 1..100; service 2 the same addresses, ports 101..200, with its
 * policy set by the input: also watched (`protect: auto`), a trap, or with limits of sources. The input says whether the
 * IPv4 client is blocked.
 */
#ifndef FUZZ_BOX_H
#define FUZZ_BOX_H

#include "fuzz.h"

#include "core/engine.h"

enum {
    FLOWS = 8,
    HEADS = 8,
    HALVES = 8, /* two sets */
    BLOCKS = 4,
    TIMERS = 8,
    SOURCES = 4, /* one set */
    HOLD_BYTES = 5000,
    SERVICES = 3,
    START_MS = 0xffff0000u, /* the clock wraps after a minute */
    START_S = 1700000000,
};

struct box {
    struct lv_flow flow[FLOWS];
    u32 head[HEADS];
    struct lv_half half[HALVES];
    struct lv_half_tags tags[HALVES / LV_HALF_WAYS];
    struct lv_hold_block block[BLOCKS];
    struct lv_timer timer[LV_SYN_STAGES][TIMERS];
    struct lv_source source[SOURCES];
    u64 count[SERVICES][LV_COUNTERS];
    struct lv_ctx ctx;
    struct lv_worker worker;
    struct lv_notes notes;
    u64 realtime_s;
};

static struct box box;
static struct lv_learned learned[LV_LEARNED_ENTRIES];
static u8 slots[LV_OUT_SLOTS * LV_SLOT_BYTES];
static struct lv_interval intervals[2];
static struct lv_port_rule rules[4] = {
    {1, 100, LV_VID_ANY, 1}, {101, 200, LV_VID_ANY, 2}, {1, 100, LV_VID_ANY, 1}, {101, 200, LV_VID_ANY, 2}};
static struct lv_services services;
static struct lv_guard guards[SERVICES];
static struct lv_lists lists;

static const u8 box_server4[4] = {198, 19, 0, 0};
static const u8 box_server6[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 0x19};

static void box_services(void)
{
    struct lv_addr a;

    lv_addr_v4(&a, box_server4);
    intervals[0].lo[0] = intervals[0].hi[0] = lv_addr_half(a.b);
    intervals[0].lo[1] = lv_addr_half(a.b + 8);
    intervals[0].hi[1] = intervals[0].lo[1] + 255;
    intervals[0].count = intervals[0].step = 2;
    intervals[0].portless = intervals[1].portless = 1;
    intervals[1].lo[0] = intervals[1].hi[0] = lv_addr_half(box_server6);
    intervals[1].hi[1] = ~0ull;
    intervals[1].first = intervals[1].count = intervals[1].step = 2;
    services.intervals = 2;
    services.rules = 4;
    services.search_step = 2;
    services.interval = intervals;
    services.rule = rules;
    for (u32 i = 1; i < SERVICES; i++) {
        struct lv_service *s = &services.service[i];

        s->used = s->protect = s->sack_ok = s->has_ts = 1;
        s->window_zero = s->fragments_pass = 0;
        s->wscale = 7;
        s->mss[0] = 1460;
        s->mss[1] = 1440;
    }
}

/* 198.18.0.1, of which all IPv4 clients are ports. */
static void box_lists(int blocked)
{
    static const u8 client4[4] = {198, 18, 0, 1};
    struct lv_listed_span *e = &lists.span[0];
    struct lv_addr a;

    lv_addr_v4(&a, client4);
    e->lo[0] = e->hi[0] = lv_addr_half(a.b);
    e->lo[1] = e->hi[1] = lv_addr_half(a.b + 8);
    e->what = LV_LISTED_BLOCKED;
    lists.count = lists.search_step = !!blocked;
    lv_listed_touch(&lists, e);
    box.ctx.lists = &lists;
}

static void box_open(u8 policy, u8 wscale)
{
    static const u8 secret[LV_SECRET_BYTES] = {1, 2, 3};
    struct lv_worker *w = &box.worker;
    u32 i;

    if (box.count[1][LV_R_COUNT + LV_E_OPENED] + box.count[2][LV_R_COUNT + LV_E_OPENED])
        memset(learned, 0, sizeof(learned));
    memset(&box, 0, sizeof(box));
    box_services();
    services.service[2].protect = policy & 1 ? LV_PROTECT_OFF : wscale & 16 ? LV_PROTECT_AUTO : LV_PROTECT_ALWAYS;
    services.service[2].window_zero = !!(policy & 2);
    services.service[2].fragments_pass = !!(policy & 4);
    services.service[2].sack_ok = !(policy & 8);
    services.service[2].has_ts = !(policy & 16);
    services.service[2].wscale = wscale % 16;
    services.service[2].trap = !!(wscale & 32);
    services.service[2].source_open = wscale & 128 ? 2 : 0;
    services.service[2].source_new_per_s = wscale & 128 ? 1 + policy % 4 : 0;
    services.service[2].source_over = (policy >> 2) % 3;
    services.service[2].source_prefix[0] = 32;
    services.service[2].source_prefix[1] = 64;
    services.has_limits = !!(wscale & 128);
    services.service[1].signed_drop = 1;
    for (i = 0; i < LV_NOTED; i++) {
        services.service[2].log[i].most = policy % 8;
        services.service[2].log[i].period_ms = 1000;
    }
    box.ctx.sources.entry = box.source;
    box.ctx.sources.sets_mask = SOURCES / LV_SOURCE_WAYS - 1;
    box_lists(wscale & 64);
    box.ctx.services = &services;
    box.ctx.config.flows = FLOWS;
    box.ctx.config.offered_window = policy & 32 ? 65535 : HOLD_BYTES;
    box.ctx.config.out_layer[LV_OUTSIDE] = policy & 64 ? LV_L3 : LV_L2;
    box.ctx.config.out_layer[LV_INSIDE] = policy & 128 ? LV_L3 : LV_L2;
    box.ctx.learning.entry = learned;
    memset(guards, 0, sizeof(guards));
    guards[2].most_syns = 4;
    box.ctx.guard = guards;
    lv_table_attach(&box.ctx.table, box.flow, FLOWS, box.head, HEADS);
    lv_hold_init(&box.ctx.hold, box.block, BLOCKS, HOLD_BYTES);
    w->ctx = &box.ctx;
    w->half.entry = box.half;
    w->half.tags = box.tags;
    w->half.sets_mask = HALVES / LV_HALF_WAYS - 1;
    for (i = 0; i < LV_SYN_STAGES; i++) {
        w->syn_ring[i].timer = box.timer[i];
        w->syn_ring[i].mask = TIMERS - 1;
    }
    w->count = &box.count[0][0];
    w->outq.memory = slots;
    w->notes = &box.notes;
    box.realtime_s = START_S;
    lv_cookie_start(&w->keys, secret, START_S / LV_EPOCH_S, START_MS);
    lv_worker_clock(w, START_MS, START_S);
}

static u64 box_sum(u32 first, u32 last)
{
    u64 sum = 0;

    for (u32 s = 0; s < SERVICES; s++)
        for (u32 i = first; i <= last; i++)
            sum += box.count[s][i];
    return sum;
}

static u64 box_event(enum lv_event e)
{
    return box_sum((u32)LV_R_COUNT + e, (u32)LV_R_COUNT + e);
}

static u64 box_drops(void)
{
    return box_sum(0, LV_R_COUNT - 1);
}

/* Every record is either free or in the chain of its hash; early data belongs to a flow; no lock is left taken. */
static void box_check_table(void)
{
    static const struct lv_spinlock unlocked[LV_LOCKS];
    struct lv_table *t = &box.ctx.table;
    u32 chained = 0, free_records = 0, passing = 0, blocks = 0, i, j;

    for (i = 0; i < HEADS; i++) {
        for (j = t->head[i]; j != LV_NIL; j = box.flow[j].c.next) {
            struct lv_flow *f = &box.flow[j];

            CHECK(j < FLOWS && chained++ < FLOWS);
            CHECK((lv_table_hash(t, &f->key) & t->mask) == i);
            CHECK(f->c.state > LV_FLOW_FREE && f->c.state < LV_FLOW_STATES);
            CHECK(f->c.state == LV_FLOW_SYN_SENT || !f->c.hold);
            CHECK(lv_wscale_own(f->c.wscale_c) <= LV_WSCALE_MAX && lv_wscale_own(f->c.wscale_s) <= LV_WSCALE_MAX);
            CHECK(lv_hold_bytes(&box.ctx.hold, f->c.hold) <= HOLD_BYTES);
            passing += f->c.state == LV_FLOW_PASS || f->c.state == LV_FLOW_PASS_CLOSED;
            for (u32 b = f->c.hold ? f->c.hold - 1 : LV_NIL; b != LV_NIL; b = box.block[b].next)
                CHECK(b < BLOCKS && blocks++ < BLOCKS);
        }
    }
    for (j = t->free; j != LV_NIL; j = box.flow[j].c.next)
        CHECK(j < FLOWS && free_records++ < FLOWS && box.flow[j].c.state == LV_FLOW_FREE);
    CHECK(chained == t->used && chained + free_records == FLOWS);
    CHECK(passing == t->passing && passing <= FLOWS / 2);
    CHECK(blocks == box.ctx.hold.blocks_used);
    for (i = 0; i < SOURCES; i++) /* below zero: opened before it had an entry */
        CHECK(box.source[i].open >= -FLOWS && box.source[i].open <= FLOWS);
    CHECK(!memcmp(t->lock, unlocked, sizeof(unlocked)));
    CHECK(!t->free_lock.taken && !box.ctx.hold.lock.taken && !box.ctx.learning.lock.taken);
}

/* As a new daemon does: heads and free list are made anew from the records, and half-open entries are gone. */
static void box_restart(void)
{
    struct lv_worker *w = &box.worker;
    u32 i;

    for (i = 0; i < FLOWS; i++)
        box.flow[i].c.hold = 0;
    lv_table_attach(&box.ctx.table, box.flow, FLOWS, box.head, HEADS);
    lv_hold_init(&box.ctx.hold, box.block, BLOCKS, HOLD_BYTES);
    memset(box.half, 0, sizeof(box.half));
    memset(box.source, 0, sizeof(box.source));
    w->half.used = w->half.seen = w->half.cursor = 0;
    for (i = 0; i < LV_SYN_STAGES; i++)
        w->syn_ring[i].head = w->syn_ring[i].tail = 0;
}

#endif
