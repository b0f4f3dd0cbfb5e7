/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The gate: packets from outside that belong to no open flow. A SYN is answered with a cookie and forgotten; an ACK is
 * checked for one.
 *
 * Owns: the first handshake. Called by: engine. Must not know: the second one, beyond lv_handshake_start().
 */
#ifndef LV_GATE_H
#define LV_GATE_H

#include "handshake.h"
#include "synack.h"
#include "watch.h"
#include "worker.h"

/* The SYN-ACK of a half-open entry, first or again. */
LV_INLINE void lv_send_synack(struct lv_worker *w, const struct lv_half *e, const struct lv_service *sv)
{
    struct lv_segment s;
    struct lv_ether l;

    lv_synack_segment(e, sv->window_zero ? 0 : (u16)w->ctx->config.offered_window, &s);
    lv_ether_make(&l, LV_OUTSIDE, e->mac_c, e->mac_s, e->tags, e->tci, e->l2);
    lv_send(w, LV_OUTSIDE, &l, &s);
}

LV_INLINE const struct lv_learned *lv_learned_of(const struct lv_worker *w, const struct lv_addr *addr, u16 port)
{
    return &w->ctx->learning.entry[(u64)lv_learned_index(addr, port) * LV_LEARNED_WAYS];
}

LV_INLINE struct lv_half *lv_half_of(struct lv_worker *w, const struct lv_key *key)
{
    struct lv_half_set set = lv_half_set(&w->half, key);

    return lv_half_find(&set, key);
}

/* Is this the ACK that a half-open entry waits for? */
LV_INLINE int lv_half_expects(struct lv_worker *w, const struct lv_pkt *k, const struct lv_key *key)
{
    const struct lv_half *e = lv_half_of(w, key);

    return e && !(e->flags & LV_HALF_WATCHED) && (k->tcp.flags & LV_ACK) && k->tcp.ack == e->isn + 1;
}

/* A SYN from outside to a protected service. `link` leads back to the sender. A signed one is the server's to judge: no
 * box can sign an answer. */
LV_INLINE enum lv_verdict lv_gate_syn(struct lv_worker *w, const struct lv_pkt *k, const struct lv_key *key,
                                      u16 service, const struct lv_ether *link)
{
    const struct lv_service *sv = &lv_services_of(w)->service[service];
    struct lv_half_set set = lv_half_set(&w->half, key);
    struct lv_half *e;
    struct lv_opts o;

    lv_count_event(w, service, LV_E_SYN_RECEIVED);
    lv_opts_read(&o, k->ip.l4, k->tcp.header_len, 1);
    if (!lv_ip_checksum_ok(&k->ip))
        return lv_drop(w, service, LV_R_IP_CHECKSUM);
    if (!lv_checksum_believed(&k->ip))
        return lv_drop(w, service, LV_R_TCP_CHECKSUM);
    if (o.is_signed) {
        if (sv->signed_drop || !lv_guard_signed(&w->ctx->guard[service], w->now_ms))
            return lv_drop(w, service, LV_R_SIGNED);
        lv_count_event(w, service, LV_E_SIGNED);
        return lv_pass(w, service);
    }
    e = lv_half_find(&set, key);
    if (lv_watch_waits(e, &k->tcp, w->now_ms))
        return lv_drop(w, service, LV_R_SYN_WATCHED);
    if (lv_half_answers(e, &k->tcp, w->now_ms)) { /* the same SYN again gets the same answer */
        lv_send_synack(w, e, sv);
    } else {
        struct lv_synack_env env = {&w->keys, lv_learned_of(w, &key->server, key->sport), w->now_ms,
                                    w->ctx->config.ts_offset};
        struct lv_half fresh;

        /* The answer first: the entry's place is likely to be far away in memory, and what is written there is waited for
         * where it is read again. */
        lv_half_fill(&fresh, k, key, &o, sv, link, &env);
        fresh.service = service;
        lv_send_synack(w, &fresh, sv);
        *(e ? e : lv_half_place(&set, w->now_ms)) = fresh;
    }
    w->keys.slot[w->keys.current & 1].issued++;
    lv_count_event(w, service, LV_E_SYNACK_SENT);
    return lv_drop(w, service, LV_R_SYN_ANSWERED);
}

/* What is agreed with a client whose SYN we remember. */
LV_INLINE void lv_agree_exact(struct lv_flow *f, const struct lv_half *e)
{
    f->c.mss = e->mss;
    f->c.s_win = e->window;
    if (e->flags & LV_HALF_SACK)
        f->c.flags |= LV_F_SACK_C;
    if (e->flags & LV_HALF_ECN)
        f->c.marks |= LV_M_ECN;
    if (e->flags & LV_HALF_SACK_OFFER)
        f->c.marks |= LV_M_ASK_SACK;
    if (e->flags & LV_HALF_ECN_OFFER)
        f->c.marks |= LV_M_ASK_ECN;
    /* A client that was told no scale sends plain windows: offered to the server as a scale of 0, which asks for its
     * own. LIMIT: timestamps cannot be asked for like this, all packets would have to carry them; a server that begins
     * to use them is noticed when its entry is displaced. */
    if (e->wscale != LV_WSCALE_NONE)
        f->c.flags |= LV_F_WSCALE;
    if (e->wscale != LV_WSCALE_NONE && e->wscale_told != LV_WSCALE_NONE) {
        f->c.wscale_c = lv_wscale_pair(e->wscale, e->wscale);
        f->c.wscale_s = lv_wscale_pair(0, e->wscale_told);
    }
}

/* What is agreed with a client of whom only the cookie is left, and the timestamp it echoes. */
LV_INLINE void lv_agree_cookie(struct lv_worker *w, struct lv_flow *f, const struct lv_service *sv,
                               const struct lv_cookie_bits *b, const struct lv_opts *o, u16 window)
{
    u8 scale = b->wscale;
    u32 bytes;

    f->c.mss = b->mss;
    if (b->sack_ok)
        f->c.flags |= LV_F_SACK_C;
    if (o->has_ts && (o->tsecr & LV_TS_ECN))
        f->c.marks |= LV_M_ECN;
    if (b->wscale != LV_WSCALE_NONE) {
        /* The echoed timestamp has the exact scale; it is believed if it rounds down to what the cookie says. */
        u8 exact = o->tsecr & LV_TS_WSCALE_MASK;
        u8 told = lv_announced_wscale(lv_learned_of(w, &f->key.server, f->key.sport), sv, &f->key.server, f->key.sport,
                                      w->now_ms);
        struct lv_cookie_bits again = {b->mss, exact, b->sack_ok}, rounded;

        lv_cookie_decode(4, lv_cookie_encode(4, &again, 0), &rounded);
        if (o->has_ts && rounded.wscale == b->wscale)
            scale = exact;
        f->c.flags |= LV_F_WSCALE;
        f->c.wscale_c = lv_wscale_pair(scale, scale);
        f->c.wscale_s = lv_wscale_pair(0, told == LV_WSCALE_NONE ? 0 : told);
    } else {
        scale = 0;
    }
    bytes = (u32)window << scale;
    f->c.s_win = (u16)LV_MIN(bytes, 0xffff); /* the window of a SYN is not scaled */
}

/* Is this client, which completed a handshake, to be caught? One that the operator allows is served even here. */
LV_INLINE int lv_is_trapped(const struct lv_worker *w, const struct lv_service *sv, const struct lv_addr *client)
{
    const struct lv_lists *lists = lv_lists_of(w);

    return sv->trap && !(lists && lv_listed(lists, client) == LV_LISTED_ALLOWED);
}

/* A proved client whose source has too much already. TCP repeats what is dropped, so that a client gets its turn. It is
 * not counted among the valid ones: one ACK again and again would make a flood look like finished handshakes. */
LV_INLINE enum lv_verdict lv_over_limit(struct lv_worker *w, const struct lv_pkt *k, u16 service,
                                        const struct lv_ether *link, enum lv_reason reason, int tell)
{
    struct lv_segment s;

    if (tell)
        lv_catch_put(&w->ctx->catches, &k->ip.src, service);
    if (lv_services_of(w)->service[service].source_over == LV_OVER_RESET) {
        lv_source_reset(&s, k);
        lv_send(w, LV_OUTSIDE, link, &s);
    }
    return lv_drop(w, service, reason);
}

/*
 * An ACK from outside that belongs to no open flow. With a valid cookie the flow begins; `old` is the record of a closed
 * flow of the same key, if there is one: it gives way.
 */
LV_INLINE enum lv_verdict lv_gate_ack(struct lv_worker *w, const struct lv_pkt *k, const struct lv_key *key, u32 hash,
                                      u16 service, const struct lv_ether *link, struct lv_flow *old)
{
    const struct lv_service *sv = &lv_services_of(w)->service[service];
    struct lv_half *e = lv_cookies_out(&w->keys) ? lv_half_of(w, key) : 0;
    const struct lv_tcp *t = &k->tcp;
    struct lv_cookie_bits bits = {0};
    enum lv_reason reason;
    struct lv_flow *f;
    struct lv_opts o;
    u32 client_isn = t->seq - 1;
    int tell;

    if (lv_half_proves(e, t, w->ctx->config.offered_window)) {
        client_isn = e->client_isn;
        reason = LV_R_COOKIE_ACCEPTED;
    } else {
        e = 0;
        reason = lv_cookie_check(&w->keys, k->ip.family, &key->client, &key->server, key->cport, key->sport, client_isn,
                                 t->ack - 1, &bits);
    }
    if (reason == LV_R_COOKIE_ACCEPTED && !lv_ip_checksum_ok(&k->ip))
        reason = LV_R_IP_CHECKSUM;
    if (reason == LV_R_COOKIE_ACCEPTED && !lv_checksum_believed(&k->ip))
        reason = LV_R_TCP_CHECKSUM;
    if (reason != LV_R_COOKIE_ACCEPTED) {
        lv_count_event(w, service, LV_E_COOKIE_BAD);
        return lv_drop(w, service, reason);
    }
    if (lv_is_trapped(w, sv, &key->client)) {
        lv_count_event(w, service, LV_E_COOKIE_VALID);
        lv_catch_put(&w->ctx->catches, &key->client, service);
        return lv_drop(w, service, LV_R_TRAPPED);
    }
    reason = lv_limits_judge(w, sv, service, &key->client, &tell);
    if (reason != LV_R_COUNT)
        return lv_over_limit(w, k, service, link, reason, tell);
    lv_count_event(w, service, LV_E_COOKIE_VALID);
    if (old)
        lv_flow_forget(w, old, hash);
    f = lv_table_insert(&w->ctx->table, key, hash);
    if (!f)
        return lv_drop(w, service, LV_R_FLOW_TABLE_FULL);
    lv_opts_read(&o, k->ip.l4, t->header_len, 0);
    f->c.service = service;
    f->c.seq_delta = t->ack - 1;
    f->c.s_ack = f->c.c_nxt = client_isn + 1;
    f->c.c_win = t->window;
    if (o.has_ts && (!e || (e->flags & LV_HALF_TS))) {
        f->c.flags |= LV_F_TS_C;
        f->c.tsval = o.tsval;
        f->c.ts_delta = o.tsecr;
    }
    if (e)
        lv_agree_exact(f, e);
    else
        lv_agree_cookie(w, f, sv, &bits, &o, t->window);
    lv_copy(f->c.mac_c, link->dst, 6);
    lv_copy(f->c.mac_s, link->src, 6);
    f->c.marks |= link->known ? LV_M_L2 : 0;
    f->c.tags = lv_tags_pack(k);
    f->c.tci[0] = k->tci[0];
    f->c.tci[1] = k->tci[1];
    f->c.ttl = k->ip.ttl;
    if (w->ctx->config.out_layer[LV_INSIDE] == LV_L3 && f->c.ttl > 1)
        f->c.ttl--; /* a router's hop */
    if (e && !w->half_stays)
        e->flags = 0;
    lv_handshake_start(w, f);
    if (!w->half_stays)
        lv_limits_begun(w, key, &f->c);
    reason = lv_hold_segment(w, f, k);
    return lv_drop(w, service, reason == LV_R_EARLY ? LV_R_COOKIE_ACCEPTED : reason);
}

/* SYN-ACKs whose ACK did not come, and entries that are of no more use: the next part of the cache. Bounded a second, so
 * that a flood that fits the cache does not double what we send. */
LV_INLINE void lv_gate_tick(struct lv_worker *w)
{
    struct lv_halfopen *h = &w->half;
    u32 entries = (h->sets_mask + 1) * LV_HALF_WAYS, n = entries / LV_HALF_SCAN_TICKS + 1;

    while (n-- && lv_outq_has_room(w)) {
        struct lv_half *e = &h->entry[h->cursor];
        u32 age_ms = w->now_ms - e->made_ms;
        int watched = !!(e->flags & LV_HALF_WATCHED);

        if (e->flags & LV_HALF_USED) {
            h->seen++;
            if (age_ms >= (watched ? (u32)LV_WATCHED_MS : 2000u * LV_EPOCH_S) && age_ms < 0x80000000u) {
                e->flags = 0;
            } else if (!watched && lv_half_is_due(e, age_ms) && w->retrans_left) {
                w->retrans_left--;
                e->tries++;
                lv_send_synack(w, e, &lv_services_of(w)->service[e->service]);
                lv_count_event(w, e->service, LV_E_SYNACK_RETRANS);
            }
        } else {
            lv_half_free(h, h->cursor);
        }
        if (++h->cursor == entries) {
            h->cursor = 0;
            h->used = h->seen;
            h->seen = 0;
        }
    }
}

#endif
