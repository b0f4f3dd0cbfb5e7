/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The splice: packets of open flows, translated in place and sent on; flows that are only known pass as they are.
 *
 * Owns: states ESTABLISHED, CLOSED, PASS. Called by: engine, with the flow's lock held. Must not know: cookies.
 */
#ifndef LV_SPLICE_H
#define LV_SPLICE_H

#include "handshake.h"
#include "translate.h"
#include "worker.h"

/* Challenge ACK to the client, RFC 5961 section 4: a SYN on an open connection is either old, forged, or of a client
 * that started anew; the last answers with a RST at exactly the right place. `link` leads back to its sender: of a flow
 * that is only known no MACs are kept. */
LV_INLINE void lv_challenge(struct lv_worker *w, const struct lv_flow *f, const struct lv_ether *link)
{
    struct lv_segment s;

    if (!w->challenges_left)
        return;
    w->challenges_left--;
    lv_flow_segment(&s, f, LV_OUTSIDE);
    s.flags = LV_ACK;
    s.seq = f->c.s_nxt + f->c.seq_delta;
    s.ack = f->c.s_ack;
    s.window = lv_window_rescale(f->c.s_win, lv_wscale_own(f->c.wscale_s), lv_wscale_told(f->c.wscale_s));
    lv_send(w, LV_OUTSIDE, link, &s);
}

/* The server repeats its SYN-ACK: our ACK was lost. */
LV_INLINE void lv_ack_again(struct lv_worker *w, const struct lv_flow *f, const struct lv_opts *o)
{
    struct lv_segment s;
    struct lv_opts mine;

    lv_opts_clear(&mine);
    mine.has_ts = !!(f->c.flags & LV_F_TS_S);
    mine.tsval = f->c.tsval;
    mine.tsecr = o->tsval;
    lv_flow_segment(&s, f, LV_INSIDE);
    s.flags = LV_ACK;
    s.seq = f->c.s_ack;
    s.ack = f->c.s_nxt;
    s.window = lv_window_rescale(f->c.c_win, lv_wscale_own(f->c.wscale_c), lv_wscale_told(f->c.wscale_c));
    s.options_len = lv_opts_write_ts(s.options, &mine);
    lv_flow_send(w, f, LV_INSIDE, &s);
}

LV_INLINE void lv_apply(struct lv_worker *w, struct lv_flow *f, struct lv_pkt *k, enum lv_side side,
                        const struct lv_opts *o)
{
    struct lv_csum_diff d = {0};

    if (side == LV_OUTSIDE)
        lv_translate_to_server(&f->c, k->ip.l4, o, &d);
    else
        lv_translate_to_client(&f->c, k->ip.l4, o, &d);
    lv_diff_apply(&d, k->ip.l4 + 16);
    lv_count_event(w, f->c.service, LV_E_TRANSLATED);
}

/* Segment of an open or closed flow, neither SYN nor SYN-ACK. */
LV_INLINE enum lv_verdict lv_splice(struct lv_worker *w, struct lv_flow *f, struct lv_pkt *k, enum lv_side side)
{
    enum lv_reason reason;
    u8 before = f->c.state;
    struct lv_opts o;

    reason = lv_flow_track(&f->c, &k->tcp, side, w->now_ms);
    if (reason != LV_R_COUNT)
        return lv_drop(w, f->c.service, reason);
    if (before == LV_FLOW_ESTABLISHED && f->c.state == LV_FLOW_CLOSED)
        lv_count_event(w, f->c.service, LV_E_CLOSED);
    if (before != f->c.state)
        lv_limits_changed(w, &f->key, &f->c, f->c.state == LV_FLOW_ESTABLISHED ? 1 : -1);
    lv_opts_read(&o, k->ip.l4, k->tcp.header_len, 0);
    lv_apply(w, f, k, side, &o);
    if (side == LV_INSIDE && (f->c.marks & LV_M_HIDE_ECN))
        lv_hide_ecn(k->ip.l3, k->ip.family);
    return LV_REWRITE;
}

/* The service of a flow, from its key and tags alone. */
LV_INLINE u16 lv_service_of_flow(const struct lv_services *s, const struct lv_flow *f)
{
    return lv_service_of_conn(s, &f->key, f->c.tags);
}

/* A record for a connection that is only known; 0 if half of the table are such, or it is full. */
LV_INLINE struct lv_flow *lv_passing_insert(struct lv_worker *w, const struct lv_key *key, u32 hash)
{
    struct lv_table *t = &w->ctx->table;
    struct lv_flow *f;

    if (__atomic_load_n(&t->passing, __ATOMIC_RELAXED) >= t->capacity / 2)
        return 0;
    f = lv_table_insert(t, key, hash);
    if (f)
        __atomic_fetch_add(&t->passing, 1, __ATOMIC_RELAXED);
    return f;
}

/* Know a connection from a packet of the server's side, so that its packets pass. Full: it passes without being known,
 * and the client's side of it only as long as the service is not protected. */
LV_INLINE void lv_know(struct lv_worker *w, const struct lv_pkt *k, const struct lv_key *key, u32 hash, u16 service)
{
    struct lv_flow *f = lv_passing_insert(w, key, hash);

    if (!f)
        return;
    f->c.service = service;
    f->c.tags = lv_tags_pack(k);
    f->c.opened_ms = w->now_ms;
    lv_flow_set_state(f, LV_FLOW_PASS);
    lv_flow_track_pass(&f->c, &k->tcp, LV_INSIDE, w->now_ms);
}

#endif
