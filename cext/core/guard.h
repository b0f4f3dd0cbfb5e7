/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The guard of a service: with `protect: auto` whether it is protected just now, and the count that turns that on; how many
 * signed SYNs may still pass in this second, and how many lines its log still gets.
 *
 * Owns: struct lv_guard. Called by: engine.h, watching.h, the programs, at packets that belong to no open flow. Must not
 * know: what an attack is beyond its rate of SYNs; the daemon measures everything else, and alone turns protection off.
 *
 * Turned on in the packet path, so that a flood is met within as many SYNs as the limit has, whatever the daemon does.
 */
#ifndef LV_GUARD_H
#define LV_GUARD_H

#include "base.h"
#include "meter.h"
#include "service.h"

enum {
    LV_GUARD_WINDOW_MS = 1000,
    LV_SIGNED_PER_S = 50, /* what a router opens to its neighbours, and nothing of a flood */
};

struct lv_guard {
    u32 on;        /* 1: new connections are proxied */
    u32 most_syns; /* in a window; more: on */
    u32 window_ms; /* when the present window began */
    u32 syns;      /* in it */
    u32 signed_ms; /* when the present second of signed SYNs began */
    u32 signeds;   /* in it */
    struct lv_meter log[LV_NOTED];
};

/* Does the service answer in place of its servers just now? `g` may be 0 where there is no guard. */
LV_INLINE int lv_guard_protects(const struct lv_service *sv, const struct lv_guard *g)
{
    return sv->protect == LV_PROTECT_AUTO ? g && *(volatile const u32 *)&g->on : sv->protect;
}

/* One more SYN to a service that is watched. Returns 1 if it is one too many: protection is on from here on. Several
 * processors count at once; a SYN that is lost or counted into the wrong window at its border makes no difference. */
LV_INLINE int lv_guard_syn(struct lv_guard *g, u32 now_ms)
{
    u32 age_ms = now_ms - *(volatile u32 *)&g->window_ms;

    if (age_ms >= LV_GUARD_WINDOW_MS) {
        *(volatile u32 *)&g->window_ms = now_ms;
        *(volatile u32 *)&g->syns = 0;
    }
    __sync_fetch_and_add(&g->syns, 1);
    if (*(volatile u32 *)&g->syns <= g->most_syns)
        return 0;
    *(volatile u32 *)&g->on = 1;
    return 1;
}

/* May one more signed SYN pass on to its server? Nobody but the server can tell whether the signature is right, so no
 * cookie can be asked for. LIMIT: forged ones use up the same count, and then real ones wait for TCP to repeat them. */
LV_INLINE int lv_guard_signed(struct lv_guard *g, u32 now_ms)
{
    if (now_ms - *(volatile u32 *)&g->signed_ms >= LV_GUARD_WINDOW_MS) {
        *(volatile u32 *)&g->signed_ms = now_ms;
        *(volatile u32 *)&g->signeds = 0;
    }
    if (*(volatile u32 *)&g->signeds >= LV_SIGNED_PER_S)
        return 0;
    __sync_fetch_and_add(&g->signeds, 1);
    return 1;
}

#endif
