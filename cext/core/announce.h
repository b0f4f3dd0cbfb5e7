/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What our SYN-ACK announces on behalf of a server: what the server is known to answer, else the service's first guess;
 * the latter alone where the operator pinned it.
 *
 * Owns: that choice. Called by: gate. Must not know: packets, cookies. A guess that proves wrong is repaired by
 * translate.h for the connection at hand, and is not made again.
 */
#ifndef LV_ANNOUNCE_H
#define LV_ANNOUNCE_H

#include "cookie.h"
#include "learned.h"
#include "service.h"

/* `set`: the set of learned.h for this server. */
LV_INLINE void lv_announce(const struct lv_learned *set, const struct lv_service *sv, u8 family,
                           const struct lv_addr *server, u16 port, struct lv_server_options *so)
{
    struct lv_learned l;

    so->mss = sv->mss[family == 6];
    so->wscale = sv->wscale;
    so->sack_ok = sv->sack_ok;
    so->has_ts = sv->has_ts;
    so->ecn = 0;
    if (sv->pinned || !lv_learned_read(set, server, port, &l))
        return;
    so->mss = l.o.mss;
    if (l.known & LV_KNOWN_WSCALE)
        so->wscale = l.o.wscale;
    if (l.known & LV_KNOWN_SACK)
        so->sack_ok = l.o.sack_ok;
    if (l.known & LV_KNOWN_TS)
        so->has_ts = l.o.has_ts;
    if (l.known & LV_KNOWN_ECN)
        so->ecn = l.o.ecn;
}

/*
 * The window scale that a client was told, when only its cookie is left. If it changed while the cookie may have been
 * out, the larger one is taken: the client then sees a window that is too small, never one that is too large.
 */
LV_INLINE u8 lv_announced_wscale(const struct lv_learned *set, const struct lv_service *sv,
                                 const struct lv_addr *server, u16 port, u32 now_ms)
{
    struct lv_learned l;
    u8 now, before;

    if (sv->pinned || !lv_learned_read(set, server, port, &l) || !(l.known & LV_KNOWN_WSCALE))
        return sv->wscale;
    now = l.o.wscale;
    before = l.wscale_before;
    if (now == LV_WSCALE_NONE)
        now = 0;
    if (before == LV_WSCALE_NONE)
        before = 0;
    return now_ms - l.changed_ms < 2000u * LV_EPOCH_S ? LV_MAX(now, before) : now;
}

#endif
