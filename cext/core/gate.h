/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The gate: packets from outside that belong to no open flow. A SYN is answered with a cookie and forgotten; an ACK is
 * checked for one.
 *
 * Owns: the first handshake. Called by: engine. Must not know: the second one, beyond lv_handshake_start().
 */
#ifndef LV_GATE_H
#define LV_GATE_H

#include "announce.h"
#include "handshake.h"
#include "worker.h"

static const u32 lv_half_delay_ms[LV_HALF_RETRIES] = {1000, 2000, 4000};

/* The SYN-ACK of a half-open entry, first or again. */
LV_INLINE void lv_send_synack(struct lv_worker *w, const struct lv_half *e, int window_zero)
{
    struct lv_segment s;
    struct lv_opts o;
    struct lv_ether l;

    lv_opts_clear(&o);
    o.mss = e->mss_told;
    o.sack_ok = !!(e->flags & LV_HALF_SACK);
    o.has_ts = !!(e->flags & LV_HALF_TS);
    o.tsval = e->tsval;
    o.tsecr = e->tsval_c;
    o.wscale = e->wscale_told;
    s.src = e->key.server;
    s.dst = e->key.client;
    s.sport = e->key.sport;
    s.dport = e->key.cport;
    s.family = lv_key_family(&e->key);
    s.ttl = LV_TTL;
    s.flags = (u8)(LV_SYN | LV_ACK | ((e->flags & LV_HALF_ECN) ? LV_ECE : 0));
    s.window = window_zero ? 0 : (u16)w->ctx->config.offered_window;
    s.seq = e->isn;
    s.ack = e->client_isn + 1;
    s.options_len = lv_opts_write_syn(s.options, &o);
    s.payload = 0;
    s.payload_len = 0;
    lv_ether_make(&l, LV_OUTSIDE, e->mac_c, e->mac_s, e->tags, e->tci, e->l2);
    lv_send(w, LV_OUTSIDE, &l, &s);
}

LV_INLINE void lv_half_timer(struct lv_worker *w, const struct lv_half *e)
{
    if (e->tries < LV_HALF_RETRIES)
        lv_ring_push(&w->half_ring[e->tries], (u32)(e - w->half.entry), e->made_ms, w->now_ms + lv_half_delay_ms[e->tries]);
}

/* Remember a SYN and choose the cookie and options that answer it. */
LV_INLINE void lv_half_fill(struct lv_worker *w, struct lv_half *e, const struct lv_pkt *k, const struct lv_key *key,
                            const struct lv_service *sv, const struct lv_ether *link)
{
    struct lv_server_options so;
    struct lv_cookie_bits bits;
    struct lv_opts o;
    u32 ts;

    lv_opts_read(&o, k->ip.l4, k->tcp.header_len, 1);
    lv_announce(w, sv, k->ip.family, &key->server, key->sport, &so);
    e->key = *key;
    e->client_isn = k->tcp.seq;
    e->made_ms = w->now_ms;
    e->mss = o.mss;
    e->mss_told = so.mss;
    e->window = k->tcp.window;
    e->wscale = o.wscale;
    e->wscale_told = o.wscale == LV_WSCALE_NONE ? LV_WSCALE_NONE : so.wscale;
    e->tries = 0;
    e->flags = LV_HALF_USED;
    if (o.sack_ok && so.sack_ok)
        e->flags |= LV_HALF_SACK;
    if (o.has_ts && so.has_ts)
        e->flags |= LV_HALF_TS;
    if ((k->tcp.flags & LV_ECE) && (k->tcp.flags & LV_CWR) && so.ecn)
        e->flags |= LV_HALF_ECN;
    /* No scale agreed on: the cookie says "none", whatever the client offered. */
    bits.mss = o.mss ? o.mss : 536;
    bits.wscale = e->wscale_told == LV_WSCALE_NONE ? LV_WSCALE_NONE : o.wscale;
    bits.sack_ok = !!(e->flags & LV_HALF_SACK);
    e->isn = lv_cookie_make(&w->keys, k->ip.family, &key->client, &key->server, key->cport, key->sport, k->tcp.seq, &bits);
    ts = w->now_ms + w->ctx->config.ts_offset;
    e->tsval = (ts & ~((1u << LV_TS_BITS) - 1)) | (bits.wscale & LV_TS_WSCALE_MASK) |
               ((e->flags & LV_HALF_ECN) ? (u32)LV_TS_ECN : 0);
    e->tsval_c = o.tsval;
    lv_copy(e->mac_c, link->dst, 6);
    lv_copy(e->mac_s, link->src, 6);
    e->l2 = link->known;
    e->tags = lv_tags_pack(k);
    e->tci[0] = k->tci[0];
    e->tci[1] = k->tci[1];
}

/* A SYN from outside to a protected service. `link` leads back to the sender. */
LV_INLINE enum lv_verdict lv_gate_syn(struct lv_worker *w, const struct lv_pkt *k, const struct lv_key *key, u32 hash,
                                      u16 service, const struct lv_ether *link)
{
    const struct lv_service *sv = &lv_services_of(w)->service[service];
    struct lv_half *e;
    struct lv_opts o;

    lv_count_event(w, service, LV_E_SYN_RECEIVED);
    lv_opts_read(&o, k->ip.l4, k->tcp.header_len, 1);
    if (o.is_signed)
        return lv_drop(w, service, LV_R_SIGNED);
    if (!lv_ip_checksum_ok(&k->ip))
        return lv_drop(w, service, LV_R_IP_CHECKSUM);
    if (!lv_tcp_checksum_ok(&k->ip))
        return lv_drop(w, service, LV_R_TCP_CHECKSUM);
    e = lv_half_find(&w->half, key, hash);
    if (!e || e->client_isn != k->tcp.seq || w->now_ms - e->made_ms >= LV_EPOCH_S * 1000u) {
        if (!e)
            e = lv_half_place(&w->half, hash, w->now_ms);
        e->service = service;
        lv_half_fill(w, e, k, key, sv, link);
        lv_half_timer(w, e);
    } /* else: the same SYN again gets the same answer */
    lv_send_synack(w, e, sv->window_zero);
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
    if (e->wscale != LV_WSCALE_NONE && e->wscale_told != LV_WSCALE_NONE) {
        f->c.flags |= LV_F_WSCALE;
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
        u8 told = lv_announced_wscale(w, sv, &f->key.server, f->key.sport);
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

/*
 * An ACK from outside that belongs to no open flow. With a valid cookie the flow begins; `old` is the record of a closed
 * flow of the same key, if there is one: it gives way.
 */
LV_INLINE enum lv_verdict lv_gate_ack(struct lv_worker *w, const struct lv_pkt *k, const struct lv_key *key, u32 hash,
                                      u16 service, const struct lv_ether *link, struct lv_flow *old)
{
    const struct lv_service *sv = &lv_services_of(w)->service[service];
    struct lv_half *e = lv_half_find(&w->half, key, hash);
    const struct lv_tcp *t = &k->tcp;
    struct lv_cookie_bits bits = {0};
    enum lv_reason reason;
    struct lv_flow *f;
    struct lv_opts o;
    u32 client_isn = t->seq - 1;

    if (e && t->ack == e->isn + 1 && t->seq - e->client_isn <= w->ctx->config.offered_window + 1) {
        client_isn = e->client_isn; /* the final ACK may be lost: a later segment or a keep-alive proves as much */
        reason = LV_R_COOKIE_ACCEPTED;
    } else {
        e = 0;
        reason = lv_cookie_check(&w->keys, k->ip.family, &key->client, &key->server, key->cport, key->sport, client_isn,
                                 t->ack - 1, &bits);
    }
    if (reason == LV_R_COOKIE_ACCEPTED && !lv_ip_checksum_ok(&k->ip))
        reason = LV_R_IP_CHECKSUM;
    if (reason == LV_R_COOKIE_ACCEPTED && !lv_tcp_checksum_ok(&k->ip))
        reason = LV_R_TCP_CHECKSUM;
    if (reason != LV_R_COOKIE_ACCEPTED) {
        lv_count_event(w, service, LV_E_COOKIE_BAD);
        return lv_drop(w, service, reason);
    }
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
    if (e)
        lv_half_drop(&w->half, e);
    lv_handshake_start(w, f);
    reason = lv_hold_segment(w, f, k);
    return lv_drop(w, service, reason == LV_R_HELD ? LV_R_HELD : LV_R_COOKIE_ACCEPTED);
}

/* A RST of a client that had a SYN-ACK from us and does not want it. */
LV_INLINE void lv_gate_rst(struct lv_worker *w, const struct lv_pkt *k, const struct lv_key *key, u32 hash)
{
    struct lv_half *e = lv_half_find(&w->half, key, hash);

    if (e && (k->tcp.seq == e->client_isn + 1 || ((k->tcp.flags & LV_ACK) && k->tcp.ack == e->isn + 1)))
        lv_half_drop(&w->half, e);
}

/* SYN-ACKs whose ACK did not come. Bounded a second, so that a flood that fits the cache does not double what we send. */
LV_INLINE void lv_gate_tick(struct lv_worker *w)
{
    struct lv_timer t;
    u32 stage;

    for (stage = 0; stage < LV_HALF_RETRIES; stage++) {
        while (lv_outq_has_room(w) && lv_ring_pop(&w->half_ring[stage], w->now_ms, &t)) {
            struct lv_half *e = &w->half.entry[t.index];

            if (!(e->flags & LV_HALF_USED) || e->made_ms != t.stamp || e->tries != stage || !w->retrans_left)
                continue;
            w->retrans_left--;
            e->tries++;
            lv_send_synack(w, e, lv_services_of(w)->service[e->service].window_zero);
            lv_count_event(w, e->service, LV_E_SYNACK_RETRANS);
            lv_half_timer(w, e);
        }
    }
}

#endif
