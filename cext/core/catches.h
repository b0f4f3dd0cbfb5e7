/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Sources that walked into a trap: from the gate, which saw them complete a handshake, to the daemon, which blocks them.
 *
 * Owns: a mailbox of a fixed size. Called by: gate (puts in), dataplane.pyx (takes out, about once a second). User space
 * only. Must not know: for how long a source is blocked.
 *
 * Full: who is caught now is not noted, and will be at the next try.
 */
#ifndef LV_CATCHES_H
#define LV_CATCHES_H

#include "packet.h"
#include "table.h"

enum { LV_CATCHES_MAX = 1024 };

struct lv_catch {
    struct lv_addr source;
    u16 service;
};

struct lv_catches {
    struct lv_spinlock lock;
    u32 n;
    struct lv_catch caught[LV_CATCHES_MAX];
};

/* One source may come more than once before it is blocked; once is enough. */
LV_INLINE void lv_catch_put(struct lv_catches *c, const struct lv_addr *source, u16 service)
{
    struct lv_catch *last;

    lv_lock(&c->lock);
    last = c->n ? &c->caught[c->n - 1] : 0;
    if (c->n < LV_CATCHES_MAX && !(last && last->service == service && lv_addr_eq(&last->source, source))) {
        c->caught[c->n].source = *source;
        c->caught[c->n].service = service;
        c->n++;
    }
    lv_unlock(&c->lock);
}

/* Take out up to `room`; returns how many. */
LV_INLINE u32 lv_catch_take(struct lv_catches *c, struct lv_catch *out, u32 room)
{
    u32 n;

    lv_lock(&c->lock);
    n = LV_MIN(c->n, room);
    __builtin_memcpy(out, c->caught, n * sizeof(*out));
    c->n = 0;
    lv_unlock(&c->lock);
    return n;
}

#endif
