/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The flow table of the engines that live in user space: chained hash over a fixed array of records in shared memory.
 *
 * Owns: allocation, lookup, locks, sweeping. Called by: engine.h. Must not know: what a state means beyond FREE.
 *
 * The record array is the only thing in shared memory. Hash heads, free list and locks are private and are rebuilt from
 * the records when a new daemon attaches, so that a daemon killed at any instruction leaves nothing that must be trusted
 * but records: one that was being written still has state FREE, because the state is stored last, or LV_M_CHANGING.
 *
 * Full: lv_table_insert() returns NULL and the caller says so; nothing is evicted, because a flood cannot get here (only
 * clients that proved themselves do) and because every record is somebody's open connection. Closed records go early when
 * less than a quarter of the table is free.
 *
 * Locking: one spin lock guards all chains whose number ends alike; it is held while a packet of that flow is processed.
 * A table of fewer chains than locks leaves some locks unused: two flows of one chain never have two locks.
 */
#ifndef LV_TABLE_H
#define LV_TABLE_H

#include <time.h>

#include "flow.h"
#include "siphash.h"

enum {
    LV_LOCKS = 1024,
    LV_NIL = 0xffffffffu,
    LV_SPINS_BEFORE_SLEEP = 200,
};

struct lv_spinlock {
    u32 taken;
};

struct lv_table {
    struct lv_flow *flow; /* shared memory, `capacity` records */
    u32 capacity;
    u32 mask;  /* heads - 1 */
    u32 *head; /* private: first record of each chain */
    u32 free;  /* first free record, chained by next */
    u32 used;
    u32 passing; /* of those used, in state PASS: at most half, so that they cannot keep clients out */
    u32 cursor;  /* sweep */
    struct lv_spinlock free_lock;
    struct lv_spinlock lock[LV_LOCKS];
    struct lv_sipkey key;
};

LV_INLINE void lv_lock(struct lv_spinlock *l)
{
    const struct timespec nap = {0, 10000};
    u32 spins = 0;

    while (__atomic_exchange_n(&l->taken, 1, __ATOMIC_ACQUIRE))
        if (++spins % LV_SPINS_BEFORE_SLEEP == 0)
            nanosleep(&nap, 0); /* the holder may have lost its core, to us: yielding is for equals in rank only */
}

LV_INLINE void lv_unlock(struct lv_spinlock *l)
{
    __atomic_store_n(&l->taken, 0, __ATOMIC_RELEASE);
}

LV_INLINE u32 lv_table_hash(const struct lv_table *t, const struct lv_key *key)
{
    return (u32)lv_siphash(&t->key, (const u8 *)key, sizeof(*key));
}

LV_INLINE struct lv_spinlock *lv_table_lock(struct lv_table *t, u32 hash)
{
    return &t->lock[hash & t->mask & (LV_LOCKS - 1)];
}

/* In a large table each chain is elsewhere in memory; what is done meanwhile hides that. */
LV_INLINE void lv_table_prefetch(const struct lv_table *t, u32 hash)
{
    __builtin_prefetch(&t->head[hash & t->mask]);
}

LV_INLINE struct lv_flow *lv_table_find(struct lv_table *t, const struct lv_key *key, u32 hash)
{
    u32 i = t->head[hash & t->mask];

    while (i != LV_NIL) {
        struct lv_flow *f = &t->flow[i];

        if (lv_key_eq(&f->key, key))
            return f;
        i = f->c.next;
    }
    return 0;
}

/* A new record with its key set, all else zero and state FREE: the caller fills it and stores the state last. */
LV_INLINE struct lv_flow *lv_table_insert(struct lv_table *t, const struct lv_key *key, u32 hash)
{
    struct lv_flow *f;
    u32 i;

    lv_lock(&t->free_lock);
    i = t->free;
    if (i != LV_NIL) {
        t->free = t->flow[i].c.next;
        t->used++;
    }
    lv_unlock(&t->free_lock);
    if (i == LV_NIL)
        return 0;
    f = &t->flow[i];
    lv_zero(f, sizeof(*f));
    f->key = *key;
    f->c.next = t->head[hash & t->mask];
    t->head[hash & t->mask] = i;
    return f;
}

/*
 * For timers, which know a record but not its key and so not its lock: a look at the key, which may be changing under us,
 * to find the lock; with that held, lv_flow_is() says whether it was the right one. The state is read first: it is stored
 * last, so if it is of a new connection, so is the key.
 */
LV_INLINE void lv_flow_peek(const struct lv_flow *f, struct lv_key *key)
{
    *key = f->key;
}

LV_INLINE int lv_flow_is(const struct lv_flow *f, const struct lv_key *key)
{
    return __atomic_load_n(&f->c.state, __ATOMIC_ACQUIRE) != LV_FLOW_FREE && lv_key_eq(&f->key, key);
}

LV_INLINE void lv_flow_set_state(struct lv_flow *f, enum lv_flow_state state)
{
    __atomic_store_n(&f->c.state, (u8)state, __ATOMIC_RELEASE);
}

LV_INLINE void lv_table_remove(struct lv_table *t, struct lv_flow *f, u32 hash)
{
    u32 self = (u32)(f - t->flow);
    u32 *link = &t->head[hash & t->mask];

    while (*link != self)
        link = &t->flow[*link].c.next;
    *link = f->c.next;
    lv_flow_set_state(f, LV_FLOW_FREE);
    lv_lock(&t->free_lock);
    f->c.next = t->free;
    t->free = self;
    t->used--;
    lv_unlock(&t->free_lock);
}

/* Build heads and free list from the records. `head` has room for a power of two of at least `capacity` entries. */
LV_INLINE void lv_table_attach(struct lv_table *t, struct lv_flow *flow, u32 capacity, u32 *head, u32 heads)
{
    u32 i;

    t->flow = flow;
    t->capacity = capacity;
    t->head = head;
    t->mask = heads - 1;
    t->free = LV_NIL;
    t->used = t->passing = t->cursor = 0;
    for (i = 0; i < heads; i++)
        head[i] = LV_NIL;
    for (i = capacity; i-- > 0;) {
        struct lv_flow *f = &flow[i];
        u32 *first = &t->free;

        if (f->c.state != LV_FLOW_FREE && f->c.state < LV_FLOW_STATES && !(f->c.marks & LV_M_CHANGING)) {
            first = &head[lv_table_hash(t, &f->key) & t->mask];
            t->used++;
            t->passing += f->c.state == LV_FLOW_PASS || f->c.state == LV_FLOW_PASS_CLOSED;
        } else {
            f->c.state = LV_FLOW_FREE;
        }
        f->c.next = *first;
        *first = i;
    }
}

#endif
