/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Packets of services with `protect: auto` that belong to no flow, while they are only watched; and those of handshakes
 * that began then and end later.
 *
 * Owns: turning watched handshakes into flows that pass, learning from them. Called by: engine.h with the flow's lock held,
 * kernelflows.h for a copy of a SYN-ACK. Must not know: who turns protection on and off (guard.h).
 */
#ifndef LV_WATCHING_H
#define LV_WATCHING_H

#include "gate.h"
#include "guard.h"
#include "splice.h"
#include "watch.h"

/* The client of a watched handshake is proved: the connection is known from now on, and its packets pass. With too many
 * such flows it passes without being known, and its client's packets only as long as the service is not protected. */
LV_INLINE enum lv_verdict lv_watch_opened(struct lv_worker *w, const struct lv_pkt *k, const struct lv_key *key,
                                          u32 hash, u16 service, struct lv_half *e, struct lv_flow *closed)
{
    struct lv_flow *f;

    if (closed)
        lv_flow_forget(w, closed, hash);
    f = lv_passing_insert(w, key, hash);
    if (f) {
        lv_watch_record(&f->c, e, service, lv_tags_pack(k), w->now_ms);
        lv_flow_set_state(f, LV_FLOW_PASS);
        lv_flow_track_pass(&f->c, &k->tcp, LV_OUTSIDE, w->now_ms);
    }
    e->flags = 0;
    lv_count_event(w, service, LV_E_WATCHED_DONE);
    return lv_pass(w, service);
}

/* From outside, to a service that is watched just now. `closed`: the record of an old flow of this key. */
LV_INLINE enum lv_verdict lv_watch_from_outside(struct lv_worker *w, const struct lv_pkt *k, const struct lv_key *key,
                                                u32 hash, u16 service, const struct lv_ether *link,
                                                struct lv_flow *closed)
{
    struct lv_half_set set = lv_half_set(&w->half, key);
    struct lv_half *e = lv_half_find(&set, key);
    const struct lv_tcp *t = &k->tcp;
    struct lv_cookie_bits bits;
    struct lv_opts o;

    if ((t->flags & (LV_SYN | LV_ACK)) == LV_SYN) {
        /* A SYN whose answer is out already gets the same one; and one SYN too many is answered. */
        if (lv_half_answers(e, t, w->now_ms) || lv_guard_syn(&w->ctx->guard[service], w->now_ms))
            return lv_gate_syn(w, k, key, service, link);
        if (closed)
            lv_flow_forget(w, closed, hash);
        lv_opts_read(&o, k->ip.l4, t->header_len, 1);
        lv_watch_syn(e ? e : lv_half_place(&set, w->now_ms), key, t, &o, w->now_ms);
        lv_count_event(w, service, LV_E_SYN_RECEIVED);
        lv_count_event(w, service, LV_E_WATCHED);
        return lv_pass(w, service);
    }
    if (lv_watch_proves(e, t))
        return lv_watch_opened(w, k, key, hash, service, e, closed);
    /* Cookies that were given while protection was on are good for as long as any. */
    if ((t->flags & (LV_SYN | LV_ACK | LV_RST)) == LV_ACK &&
        (lv_half_proves(e, t, w->ctx->config.offered_window) ||
         lv_cookie_check(&w->keys, k->ip.family, &key->client, &key->server, key->cport, key->sport, t->seq - 1,
                         t->ack - 1, &bits) == LV_R_COOKIE_ACCEPTED))
        return lv_gate_ack(w, k, key, hash, service, link, closed);
    if (t->flags & LV_RST)
        lv_half_reset(e, t);
    return lv_pass(w, service);
}

/* What a SYN-ACK that passes says of its server. */
LV_INLINE void lv_watch_learn(struct lv_worker *w, const struct lv_pkt *k, const struct lv_key *key, u16 service)
{
    const struct lv_service *sv = &lv_services_of(w)->service[service];
    const struct lv_learned *set = lv_learned_of(w, &key->server, key->sport);
    struct lv_server_options so;
    struct lv_opts o;
    u8 asked;

    lv_opts_read(&o, k->ip.l4, k->tcp.header_len, 1);
    lv_watch_options(&k->tcp, &o, &so);
    asked = lv_watch_asked(lv_half_of(w, key), &k->tcp, &so);
    if (!lv_learned_confirms(set, &key->server, key->sport, &so, asked, w->now_ms))
        lv_learned_put(&w->ctx->learning, &key->server, key->sport, &so, asked, k->tcp.window, sv->wscale, w->now_ms);
}

/* SYN-ACK or RST of a server with LV_PROTECT_AUTO to a client without a flow. Returns 1 if it passes, 0 if it belongs to
 * no handshake that goes past the box. */
LV_INLINE int lv_watch_from_inside(struct lv_worker *w, const struct lv_pkt *k, const struct lv_key *key, u16 service)
{
    struct lv_half_set set = lv_half_set(&w->half, key);

    switch (lv_watch_server(&set, key, &k->tcp, lv_protects(w, service), w->now_ms)) {
    case LV_WATCH_NOT: return 0;
    case LV_WATCH_REFUSED: lv_count_event(w, service, LV_E_WATCHED_DONE); return 1;
    case LV_WATCH_SYNACK: lv_watch_learn(w, k, key, service); return 1;
    default: return 1;
    }
}

#endif
