/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Workers that share one small box, all at once: each plays clients and servers on the same few connections, so that
 * records, chains, held blocks and learned options are fought over. Built with ThreadSanitizer by test_race.py.
 *
 * Proves: no data race beyond those named in races.supp; every record, block and counter is given back at the end.
 * Usage: race ROUNDS. Says "ok OPENED" and ends with 0, or says what is wrong and ends with 1.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/engine.h"

enum {
    WORKERS = 4,
    FLOWS = 16,
    HEADS = 16,
    HALVES = 16,
    BLOCKS = 8,
    TIMERS = 16,
    CLIENTS = 24, /* more than there is room for */
    SOURCES = 8,
    SOURCE_OPEN = 12,
    START_MS = 0xfffff000u,
    START_S = 1700000000,
    PACKET_BYTES = 600,
};

struct thread {
    pthread_t id;
    struct lv_worker worker;
    struct lv_half half[HALVES];
    struct lv_half_tags tags[HALVES / LV_HALF_WAYS];
    struct lv_timer timer[LV_SYN_STAGES][TIMERS];
    u64 count[2 * LV_COUNTERS];
    u8 slots[LV_OUT_SLOTS * LV_SLOT_BYTES];
    u32 random;
    u32 rounds;
    u32 isn[CLIENTS]; /* of our last SYN-ACK, as this worker sent it */
};

static struct lv_ctx ctx;
static struct lv_flow flows[FLOWS];
static u32 heads[HEADS];
static struct lv_hold_block blocks[BLOCKS];
static struct lv_learned learned[LV_LEARNED_ENTRIES];
static struct lv_services services;
static struct lv_guard guards[2];
static struct lv_source sources[SOURCES];
static struct lv_interval interval[2];
static struct lv_port_rule rule = {80, 80, LV_VID_ANY, 1};
static struct thread threads[WORKERS];
static u32 clock_ms = START_MS;

static u32 roll(struct thread *t, u32 below)
{
    t->random = t->random * 1664525 + 1013904223;
    return (t->random >> 8) % below;
}

static void take_cookies(struct thread *t)
{
    struct lv_outq *q = &t->worker.outq;

    for (u32 i = 0; i < q->n; i++) {
        const u8 *tcp = q->slot[i].data + 20;

        if (tcp[13] == (LV_SYN | LV_ACK))
            t->isn[(lv_get16(tcp + 2) - 1000u) % CLIENTS] = lv_get32(tcp + 4);
    }
    q->n = 0;
}

static void offer(struct thread *t, u32 client, enum lv_side side, u8 flags, u32 seq, u32 ack, u32 payload_len)
{
    static const u8 data[PACKET_BYTES];
    static const u8 client_ip[4] = {198, 18, 0, 1}, server_ip[4] = {198, 19, 0, 1};
    struct lv_segment s = {0};
    struct lv_frame f = {0};
    u8 packet[PACKET_BYTES + 100];

    lv_addr_v4(side == LV_OUTSIDE ? &s.src : &s.dst, client_ip);
    lv_addr_v4(side == LV_OUTSIDE ? &s.dst : &s.src, server_ip);
    s.family = 4;
    s.ttl = 64;
    s.flags = flags;
    s.sport = side == LV_OUTSIDE ? (u16)(1000 + client) : 80;
    s.dport = side == LV_OUTSIDE ? 80 : (u16)(1000 + client);
    s.window = 1000;
    s.seq = seq;
    s.ack = ack;
    s.payload = data;
    s.payload_len = payload_len;
    f.len = f.room = lv_segment_write(packet, &s);
    f.data = packet;
    f.proto = LV_ETH_P_IP;
    f.side = side;
    lv_engine_packet(&t->worker, &f);
    take_cookies(t);
}

/* Sequence numbers are the same for all: the client's ISN is 100, the server's 900. */
static void step(struct thread *t)
{
    u32 client = roll(t, CLIENTS), told = t->isn[client] + 1;

    switch (roll(t, 10)) {
    case 0: offer(t, client, LV_OUTSIDE, LV_SYN, 100, 0, 0); break;
    case 1: offer(t, client, LV_OUTSIDE, LV_ACK, 101, told, roll(t, 500)); break;
    case 2:
    case 3: offer(t, client, LV_INSIDE, LV_SYN | LV_ACK, 900, 101, 0); break;
    case 4: offer(t, client, LV_OUTSIDE, LV_ACK | LV_PSH, 101 + roll(t, 200), told, roll(t, 500)); break;
    case 5: offer(t, client, LV_INSIDE, LV_ACK, 901, 101, roll(t, 500)); break;
    case 6: offer(t, client, LV_OUTSIDE, LV_ACK | LV_FIN, 101, told, 0); break;
    case 7: offer(t, client, LV_INSIDE, LV_ACK | LV_FIN, 901, 102, 0); break;
    case 8: offer(t, client, roll(t, 2) ? LV_OUTSIDE : LV_INSIDE, LV_RST, roll(t, 2) ? 101 : 901, 0, 0); break;
    default: offer(t, client, LV_INSIDE, LV_SYN, 900, 0, 0); break;
    }
}

static void *work(void *arg)
{
    struct thread *t = arg;

    for (u32 i = 0; i < t->rounds; i++) {
        /* Each thread lets time pass, in steps that reach every idle time once in a while. */
        u32 by_ms = roll(t, 4000) ? roll(t, 3) : 300000;

        lv_worker_clock(&t->worker, __atomic_add_fetch(&clock_ms, by_ms, __ATOMIC_RELAXED), START_S);
        step(t);
        lv_engine_tick(&t->worker);
        take_cookies(t);
    }
    return 0;
}

static void open_box(void)
{
    static const u8 secret[LV_SECRET_BYTES], server_ip[4] = {198, 19, 0, 1};
    struct lv_addr a;

    lv_addr_v4(&a, server_ip);
    interval[0].lo[0] = interval[0].hi[0] = lv_addr_half(a.b);
    interval[0].lo[1] = interval[0].hi[1] = lv_addr_half(a.b + 8);
    interval[0].count = interval[0].step = interval[0].portless = 1;
    services.intervals = services.rules = services.search_step = 1;
    services.interval = interval;
    services.rule = &rule;
    services.service[1].used = services.service[1].protect = 1;
    services.service[1].mss[0] = 1460;
    services.service[1].wscale = 7;
    services.service[1].source_open = SOURCE_OPEN;
    services.service[1].source_new_per_s = 1000000;
    services.service[1].source_prefix[0] = 32;
    services.has_limits = 1;
    ctx.services = &services;
    ctx.guard = guards;
    ctx.sources.entry = sources;
    ctx.sources.sets_mask = SOURCES / LV_SOURCE_WAYS - 1;
    ctx.config.offered_window = 4000;
    ctx.config.out_layer[LV_OUTSIDE] = ctx.config.out_layer[LV_INSIDE] = LV_L3;
    ctx.learning.entry = learned;
    lv_table_attach(&ctx.table, flows, FLOWS, heads, HEADS);
    lv_hold_init(&ctx.hold, blocks, BLOCKS, 4000);
    for (u32 i = 0; i < WORKERS; i++) {
        struct thread *t = &threads[i];
        struct lv_worker *w = &t->worker;

        w->ctx = &ctx;
        w->index = i;
        w->half.entry = t->half;
        w->half.tags = t->tags;
        w->half.sets_mask = HALVES / LV_HALF_WAYS - 1;
        for (u32 j = 0; j < LV_SYN_STAGES; j++) {
            w->syn_ring[j].timer = t->timer[j];
            w->syn_ring[j].mask = TIMERS - 1;
        }
        w->count = t->count;
        w->outq.memory = t->slots;
        t->random = i * 7919 + 1;
        lv_cookie_start(&w->keys, secret, START_S / LV_EPOCH_S, START_MS);
    }
}

/* Let everything expire and count what is left; returns what is wrong, or 0. */
static const char *empty_box(void)
{
    struct thread *t = &threads[0];
    u32 listed = 0;

    for (u32 i = 0; i < 4 * LV_SWEEP_TICKS; i++) {
        lv_worker_clock(&t->worker, clock_ms += i == 0 ? LV_IDLE_ESTABLISHED_MS : LV_TICK_MS, START_S);
        lv_engine_tick(&t->worker);
        t->worker.outq.n = 0;
    }
    for (u32 i = 0; i < HEADS; i++)
        if (heads[i] != LV_NIL)
            return "a chain still has a record";
    for (u32 i = ctx.table.free; i != LV_NIL && listed <= FLOWS; i = flows[i].c.next)
        listed++;
    if (listed != FLOWS || ctx.table.used)
        return "records were lost";
    if (ctx.table.passing)
        return "the count of connections that pass is wrong";
    if (ctx.hold.blocks_used)
        return "held blocks were lost";
    for (u32 i = 0; i < SOURCES; i++)
        if (sources[i].tag || sources[i].open)
            return "a source still has connections";
    return 0;
}

int main(int argc, char **argv)
{
    u64 opened = 0;
    const char *wrong;

    open_box();
    for (u32 i = 0; i < WORKERS; i++) {
        threads[i].rounds = argc > 1 ? (u32)atoi(argv[1]) : 10000;
        if (pthread_create(&threads[i].id, 0, work, &threads[i]))
            return 1;
    }
    for (u32 i = 0; i < WORKERS; i++)
        pthread_join(threads[i].id, 0);
    wrong = empty_box();
    for (u32 i = 0; i < WORKERS; i++)
        opened += threads[i].count[LV_COUNTERS + LV_R_COUNT + LV_E_OPENED];
    if (!opened)
        wrong = "nothing was opened: nothing was tested";
    if (wrong)
        return fprintf(stderr, "%s\n", wrong), 1;
    printf("ok %llu\n", (unsigned long long)opened);
    return 0;
}
