/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Captures packets around the engine in user space: a copy of each before, what became of it after, and what the box sent.
 *
 * Owns: the ring of each worker: one writer (the worker), one reader (capture.pyx), a stated number of slots. Full: the
 * packet is counted as missed, and the worker goes on. Called by: nfqueue.pyx, bpfengine.pyx, dataplane.pyx (tests)
 * around lv_engine_packet(). While nothing is captured a packet costs one branch. Must not know: files.
 */
#ifndef LV_TAP_H
#define LV_TAP_H

#include <time.h>

#include "capture.h"
#include "engine.h"

enum { LV_TAP_SLOTS = 512 }; /* a power of two */

struct lv_tap_slot {
    struct lv_captured c;
    u8 bytes[LV_CAPTURE_BYTES];
};

struct lv_tap {
    const struct lv_capture *wanted;
    u32 head; /* slots filled so far; the worker's */
    u32 tail; /* slots read so far; the reader's */
    u64 missed;
    u8 holds;        /* `hand` is of the packet in the engine */
    struct lv_ip ip; /* of the packet in hand */
    struct lv_tap_slot hand;
    struct lv_tap_slot slot[LV_TAP_SLOTS];
};

LV_INLINE u64 lv_tap_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (u64)now.tv_sec * 1000000000u + (u64)now.tv_nsec;
}

/* Put what is in hand into the ring, if it is wanted. */
static void lv_tap_put(struct lv_tap *t, enum lv_fate fate)
{
    struct lv_tap_slot *slot = &t->slot[t->head % LV_TAP_SLOTS];

    t->hand.c.fate = (u8)fate;
    if (!lv_capture_wants(t->wanted, &t->ip, &t->hand.c))
        return;
    if (t->head - __atomic_load_n(&t->tail, __ATOMIC_ACQUIRE) == LV_TAP_SLOTS) {
        __atomic_store_n(&t->missed, t->missed + 1, __ATOMIC_RELAXED);
        return;
    }
    slot->c = t->hand.c;
    __builtin_memcpy(slot->bytes, t->hand.bytes, slot->c.kept);
    __atomic_store_n(&t->head, t->head + 1, __ATOMIC_RELEASE);
}

/* The bytes of an Ethernet frame in two parts, cut to what is wanted. */
static void lv_tap_bytes(struct lv_tap *t, const u8 *link, const u8 *data, u32 len)
{
    u32 room = LV_MIN(t->wanted->bytes, (u32)LV_CAPTURE_BYTES), first = LV_MIN(room, 14u), rest;

    rest = LV_MIN(room - first, len);
    __builtin_memcpy(t->hand.bytes, link, first);
    __builtin_memcpy(t->hand.bytes + first, data, rest);
    t->hand.c.len = 14 + len;
    t->hand.c.kept = first + rest;
}

/* Addresses and service of a packet; `k` is begun. */
static void lv_tap_about(struct lv_worker *w, struct lv_tap *t, struct lv_pkt *k, u8 *data, u32 len, u16 proto,
                         int from_client)
{
    const struct lv_services *services = lv_services_of(w);
    enum lv_kind kind = lv_parse(k, data, data + len, proto);
    const struct lv_addr *server = from_client ? &k->ip.dst : &k->ip.src;

    t->ip = k->ip;
    t->hand.c.service = LV_SERVICE_NONE;
    if (kind == LV_KIND_TCP)
        t->hand.c.service = lv_service_find(services, server, from_client ? k->tcp.dport : k->tcp.sport, k);
    else if (k->ip.family)
        t->hand.c.service = lv_service_of_address(services, server);
}

static void lv_tap_frame(struct lv_worker *w, struct lv_tap *t, const struct lv_frame *f)
{
    u8 link[14] = {0};
    struct lv_pkt k;

    if (f->has_l2) {
        lv_copy(link, f->dst, 6);
        lv_copy(link + 6, f->src, 6);
    }
    lv_put16(link + 12, f->proto);
    lv_tap_bytes(t, link, f->data, f->len);
    t->hand.c.time_ns = lv_tap_now_ns();
    t->hand.c.vlan_proto = f->vlan_proto;
    t->hand.c.vlan_tci = f->vlan_tci;
    t->hand.c.side = f->side;
    t->hand.c.reason = LV_R_COUNT;
    lv_frame_begin(&k, f);
    lv_tap_about(w, t, &k, f->data, f->len, f->proto, f->side == LV_OUTSIDE);
}

static __attribute__((noinline)) void lv_tap_take(struct lv_worker *w, struct lv_tap *t, const struct lv_frame *f)
{
    lv_tap_frame(w, t, f);
    t->holds = 1;
}

static __attribute__((noinline)) void lv_tap_settle(struct lv_worker *w, struct lv_tap *t, const struct lv_frame *f,
                                                    enum lv_verdict verdict)
{
    if (!t->holds) /* the capture began while the packet was in the engine */
        return;
    t->holds = 0;
    t->hand.c.reason = w->reason;
    if (verdict == LV_DROP) {
        lv_tap_put(t, LV_FATE_DROPPED);
    } else if (verdict == LV_PASS) {
        lv_tap_put(t, LV_FATE_PASSED);
    } else {
        lv_tap_put(t, LV_FATE_TRANSLATED);
        lv_tap_frame(w, t, f);
        t->hand.c.side = f->side == LV_OUTSIDE ? LV_INSIDE : LV_OUTSIDE;
        lv_tap_put(t, LV_FATE_SENT);
    }
}

static __attribute__((noinline)) void lv_tap_sent(struct lv_worker *w, struct lv_tap *t)
{
    u32 i;

    for (i = 0; i < w->outq.n; i++) {
        const struct lv_out *o = &w->outq.slot[i];
        u8 link[14] = {0}, *data = o->data;
        u32 len = o->len;
        struct lv_pkt k;

        if (o->layer == LV_L2) {
            lv_copy(link, data, 14);
            data += 14;
            len -= 14;
        } else {
            lv_put16(link + 12, data[0] >> 4 == 4 ? LV_ETH_P_IP : LV_ETH_P_IPV6);
        }
        lv_tap_bytes(t, link, data, len);
        t->hand.c.time_ns = lv_tap_now_ns();
        t->hand.c.vlan_proto = t->hand.c.vlan_tci = 0;
        t->hand.c.side = o->side;
        t->hand.c.reason = LV_R_COUNT;
        lv_pkt_begin(&k);
        lv_tap_about(w, t, &k, data, len, lv_get16(link + 12), o->side == LV_INSIDE);
        lv_tap_put(t, LV_FATE_SENT);
    }
}

/* Before the engine has a packet. */
LV_INLINE void lv_tap_before(struct lv_worker *w, const struct lv_frame *f)
{
    struct lv_tap *t = __atomic_load_n(&w->tap, __ATOMIC_ACQUIRE);

    if (LV_UNLIKELY(t != 0))
        lv_tap_take(w, t, f);
}

/* After it. */
LV_INLINE void lv_tap_after(struct lv_worker *w, const struct lv_frame *f, enum lv_verdict verdict)
{
    struct lv_tap *t = __atomic_load_n(&w->tap, __ATOMIC_ACQUIRE);

    if (LV_UNLIKELY(t != 0))
        lv_tap_settle(w, t, f, verdict);
}

/* Before the packets of the box's own are sent. */
LV_INLINE void lv_tap_output(struct lv_worker *w)
{
    struct lv_tap *t = __atomic_load_n(&w->tap, __ATOMIC_ACQUIRE);

    if (LV_UNLIKELY(t != 0))
        lv_tap_sent(w, t);
}

/* Take the oldest packet out; returns 0 if there is none. The reader's thread. */
LV_INLINE int lv_tap_read(struct lv_tap *t, struct lv_tap_slot *out)
{
    const struct lv_tap_slot *slot = &t->slot[t->tail % LV_TAP_SLOTS];

    if (t->tail == __atomic_load_n(&t->head, __ATOMIC_ACQUIRE))
        return 0;
    out->c = slot->c;
    __builtin_memcpy(out->bytes, slot->bytes, slot->c.kept);
    __atomic_store_n(&t->tail, t->tail + 1, __ATOMIC_RELEASE);
    return 1;
}

#endif
