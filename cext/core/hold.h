/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Early data: what a client sends before the server has answered, kept in order and delivered with the first ACK.
 *
 * Owns: a pool of blocks, bounded per flow and in all. Called by: handshake, with the flow's lock held. Must not know:
 * TCP beyond "the next byte". Full: the data is not taken, and since nobody acknowledged it, TCP sends it again.
 */
#ifndef LV_HOLD_H
#define LV_HOLD_H

#include "base.h"
#include "table.h"

enum { LV_HOLD_BLOCK_BYTES = 2048, LV_HOLD_DATA_BYTES = LV_HOLD_BLOCK_BYTES - 16 };

struct lv_hold_block {
    u32 next;  /* index, LV_NIL at the end */
    u32 used;  /* bytes of data in this block */
    u32 tail;  /* first block only: index of the last */
    u32 total; /* first block only: bytes in all */
    u8 data[LV_HOLD_DATA_BYTES];
};
_Static_assert(sizeof(struct lv_hold_block) == LV_HOLD_BLOCK_BYTES, "blocks are a power of two");

struct lv_hold {
    struct lv_hold_block *block;
    u32 blocks, blocks_used;
    u32 per_flow_bytes;
    u32 free;
    struct lv_spinlock lock;
};

LV_INLINE void lv_hold_init(struct lv_hold *h, struct lv_hold_block *memory, u32 blocks, u32 per_flow_bytes)
{
    u32 i;

    h->block = memory;
    h->blocks = blocks;
    h->blocks_used = 0;
    h->per_flow_bytes = per_flow_bytes;
    h->free = blocks ? 0 : LV_NIL;
    for (i = 0; i < blocks; i++)
        memory[i].next = i + 1 < blocks ? i + 1 : LV_NIL;
    h->lock.taken = 0;
}

LV_INLINE u32 lv_hold_take(struct lv_hold *h)
{
    u32 i;

    lv_lock(&h->lock);
    i = h->free;
    if (i != LV_NIL) {
        h->free = h->block[i].next;
        h->blocks_used++;
    }
    lv_unlock(&h->lock);
    if (i != LV_NIL) {
        h->block[i].next = LV_NIL;
        h->block[i].used = 0;
    }
    return i;
}

/* Give all blocks back. `ref` is lv_flow.hold: index of the first block plus one, 0 for none. */
LV_INLINE void lv_hold_release(struct lv_hold *h, u32 *ref)
{
    u32 first = *ref - 1, n = 1, last;

    if (!*ref)
        return;
    last = h->block[first].tail;
    for (u32 i = first; i != last; i = h->block[i].next)
        n++;
    lv_lock(&h->lock);
    h->block[last].next = h->free;
    h->free = first;
    h->blocks_used -= n;
    lv_unlock(&h->lock);
    *ref = 0;
}

LV_INLINE u32 lv_hold_bytes(const struct lv_hold *h, u32 ref)
{
    return ref ? h->block[ref - 1].total : 0;
}

/* Append as much of data as there is room for; returns how many bytes were taken. */
LV_INLINE u32 lv_hold_append(struct lv_hold *h, u32 *ref, const u8 *data, u32 len)
{
    u32 taken = 0;

    if (!*ref) {
        u32 first = len && h->per_flow_bytes ? lv_hold_take(h) : LV_NIL;

        if (first == LV_NIL)
            return 0;
        h->block[first].tail = first;
        h->block[first].total = 0;
        *ref = first + 1;
    }
    while (taken < len) {
        struct lv_hold_block *first = &h->block[*ref - 1], *b = &h->block[first->tail];
        u32 n;

        if (first->total >= h->per_flow_bytes)
            break;
        if (b->used == LV_HOLD_DATA_BYTES) {
            u32 i = lv_hold_take(h);

            if (i == LV_NIL)
                break;
            b->next = i;
            first->tail = i;
            b = &h->block[i];
        }
        n = LV_MIN(len - taken, (u32)LV_HOLD_DATA_BYTES - b->used);
        n = LV_MIN(n, h->per_flow_bytes - first->total);
        __builtin_memcpy(b->data + b->used, data + taken, n);
        b->used += n;
        first->total += n;
        taken += n;
    }
    return taken;
}

/* Copy up to `len` bytes from `offset` on into `to`; returns the number copied. */
LV_INLINE u32 lv_hold_read(const struct lv_hold *h, u32 ref, u32 offset, u8 *to, u32 len)
{
    u32 i = ref - 1, done = 0;

    if (!ref)
        return 0;
    for (; i != LV_NIL && done < len; i = h->block[i].next) {
        const struct lv_hold_block *b = &h->block[i];
        u32 n;

        if (offset >= b->used) {
            offset -= b->used;
            continue;
        }
        n = LV_MIN(len - done, b->used - offset);
        __builtin_memcpy(to + done, b->data + offset, n);
        done += n;
        offset = 0;
    }
    return done;
}

#endif
