/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The answer to a SYN: which cookie and which options, and the segment that carries them.
 *
 * Owns: making and reading half-open entries. Called by: gate.h in user space, the XDP program. Must not know: how the
 * segment is sent, what is counted.
 */
#ifndef LV_SYNACK_H
#define LV_SYNACK_H

#include "announce.h"
#include "cookie.h"
#include "emit.h"
#include "halfopen.h"

/* What an answer depends on beside the SYN and its service. */
struct lv_synack_env {
    const struct lv_cookie_keys *keys;
    const struct lv_learned *learned; /* the set of the server */
    u32 now_ms;
    u32 ts_offset;
};

/* Does this entry answer this SYN already? Its cookie must be valid for as long as the client may take. A client may
 * repeat its SYN without ECN (RFC 3168 section 6.1.1.1) and means it. */
LV_INLINE int lv_half_answers(const struct lv_half *e, const struct lv_tcp *t, u32 now_ms)
{
    const u8 ecn = LV_ECE | LV_CWR;

    return e && !(e->flags & LV_HALF_WATCHED) && e->client_isn == t->seq && now_ms - e->made_ms < LV_EPOCH_S * 1000u &&
           !(e->flags & (LV_HALF_ECN | LV_HALF_ECN_OFFER)) == ((t->flags & ecn) != ecn);
}

/* Does this ACK prove that its sender got the SYN-ACK of this entry? The final ACK itself may be lost: a later segment or a
 * keep-alive proves as much. */
LV_INLINE int lv_half_proves(const struct lv_half *e, const struct lv_tcp *t, u32 offered_window)
{
    return e && !(e->flags & LV_HALF_WATCHED) && t->ack == e->isn + 1 && t->seq - e->client_isn <= offered_window + 1;
}

/* A RST of a client that had this entry's SYN-ACK and does not want it. */
LV_INLINE void lv_half_reset(struct lv_half *e, const struct lv_tcp *t)
{
    if (e && (t->seq == e->client_isn + 1 || ((t->flags & LV_ACK) && t->ack == e->isn + 1)))
        e->flags = 0;
}

/* Is it time to send the SYN-ACK again? After 1, 3 and 7 s. */
LV_INLINE int lv_half_is_due(const struct lv_half *e, u32 age_ms)
{
    return e->tries < LV_HALF_RETRIES && age_ms < 0x80000000u && age_ms >= ((2u << e->tries) - 1) * 1000u;
}

/* Remember a SYN and choose the cookie and options that answer it; `o` are its options, `link` leads back to its sender. */
LV_SHARED void lv_half_fill(struct lv_half *e, const struct lv_pkt *k, const struct lv_key *key,
                            const struct lv_opts *o, const struct lv_service *sv, const struct lv_ether *link,
                            const struct lv_synack_env *env)
{
    struct lv_server_options so;
    struct lv_cookie_bits bits;
    u8 flags = LV_HALF_USED;
    u32 ts;

    lv_announce(env->learned, sv, k->ip.family, &key->server, key->sport, &so);
    e->key = *key;
    e->client_isn = k->tcp.seq;
    e->made_ms = env->now_ms;
    e->mss = o->mss;
    e->mss_told = so.mss;
    e->window = k->tcp.window;
    e->wscale = o->wscale;
    e->wscale_told = o->wscale == LV_WSCALE_NONE ? LV_WSCALE_NONE : so.wscale;
    e->tries = 0;
    if (o->sack_ok)
        flags |= so.sack_ok ? LV_HALF_SACK : LV_HALF_SACK_OFFER;
    if (o->has_ts && so.has_ts)
        flags |= LV_HALF_TS;
    if ((k->tcp.flags & LV_ECE) && (k->tcp.flags & LV_CWR))
        flags |= so.ecn ? LV_HALF_ECN : LV_HALF_ECN_OFFER;
    e->flags = flags;
    /* No scale agreed on: the cookie says "none", whatever the client offered. */
    bits.mss = o->mss ? o->mss : 536;
    bits.wscale = e->wscale_told == LV_WSCALE_NONE ? LV_WSCALE_NONE : o->wscale;
    bits.sack_ok = !!(flags & LV_HALF_SACK);
    e->isn =
        lv_cookie_make(env->keys, k->ip.family, &key->client, &key->server, key->cport, key->sport, k->tcp.seq, &bits);
    ts = env->now_ms + env->ts_offset;
    e->tsval = (ts & ~((1u << LV_TS_BITS) - 1)) | (bits.wscale & LV_TS_WSCALE_MASK) |
               ((flags & LV_HALF_ECN) ? (u32)LV_TS_ECN : 0);
    e->tsval_c = o->tsval;
    lv_copy(e->mac_c, link->dst, 6);
    lv_copy(e->mac_s, link->src, 6);
    e->l2 = link->known;
    e->tags = lv_tags_pack(k);
    e->tci[0] = k->tci[0];
    e->tci[1] = k->tci[1];
}

/* The SYN-ACK of an entry. */
LV_SHARED void lv_synack_segment(const struct lv_half *e, u16 window, struct lv_segment *s)
{
    struct lv_opts o;

    lv_opts_clear(&o);
    o.mss = e->mss_told;
    o.sack_ok = !!(e->flags & LV_HALF_SACK);
    o.has_ts = !!(e->flags & LV_HALF_TS);
    o.tsval = e->tsval;
    o.tsecr = e->tsval_c;
    o.wscale = e->wscale_told;
    s->src = e->key.server;
    s->dst = e->key.client;
    s->sport = e->key.sport;
    s->dport = e->key.cport;
    s->family = lv_key_family(&e->key);
    s->ttl = LV_TTL;
    s->flags = (u8)(LV_SYN | LV_ACK | ((e->flags & LV_HALF_ECN) ? LV_ECE : 0));
    s->window = window;
    s->seq = e->isn;
    s->ack = e->client_isn + 1;
    s->options_len = lv_opts_write_syn(s->options, &o);
    s->payload = 0;
    s->payload_len = 0;
}

#endif
