/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The second handshake: with the server, for a client that completed the first one with us.
 *
 * Owns: flows in state SYN_SENT, from the client's valid ACK to the server's answer, refusal or silence. Called by:
 * engine, with the flow's lock held. Must not know: how the client was verified (gate), open flows (splice).
 */
#ifndef LV_HANDSHAKE_H
#define LV_HANDSHAKE_H

#include "flow.h"
#include "forward.h"
#include "limits.h"
#include "noting.h"
#include "translate.h"
#include "worker.h"

static const u32 lv_syn_delay_ms[LV_SYN_STAGES] = {1000, 2000, 4000, 4000};

/* A segment of this flow towards a side; the caller adds flags, numbers, options. */
LV_INLINE void lv_flow_segment(struct lv_segment *s, const struct lv_flow *f, enum lv_side towards)
{
    int out = towards == LV_OUTSIDE;

    s->src = out ? f->key.server : f->key.client;
    s->dst = out ? f->key.client : f->key.server;
    s->sport = out ? f->key.sport : f->key.cport;
    s->dport = out ? f->key.cport : f->key.sport;
    s->family = lv_key_family(&f->key);
    s->ttl = out ? LV_TTL : f->c.ttl;
    s->flags = 0;
    s->window = 0;
    s->seq = s->ack = 0;
    s->options_len = 0;
    s->payload = 0;
    s->payload_len = 0;
}

/* A segment of our own to a server: by the name that it has itself. */
LV_INLINE void lv_forward_segment(const struct lv_services *services, u16 service, struct lv_segment *s)
{
    const struct lv_service *sv = &services->service[service];

    if (!sv->forwards)
        return;
    s->dport = sv->to_port;
    if (sv->forwards == LV_FORWARDS_ADDRESS)
        s->dst = sv->to;
}

LV_INLINE void lv_flow_send(struct lv_worker *w, const struct lv_flow *f, enum lv_side towards, struct lv_segment *s)
{
    struct lv_ether l;

    if (towards == LV_INSIDE)
        lv_forward_segment(lv_services_of(w), f->c.service, s);
    lv_ether_make(&l, towards, f->c.mac_c, f->c.mac_s, f->c.tags, f->c.tci, f->c.marks & LV_M_L2);
    lv_send(w, towards, &l, s);
}

LV_INLINE void lv_flow_forget(struct lv_worker *w, struct lv_flow *f, u32 hash)
{
    struct lv_ctx *c = w->ctx;

    if (c->on_forget)
        c->on_forget(c->owner, &f->key);
    lv_hold_release(&c->hold, &f->c.hold);
    if (lv_conn_counts(&f->c))
        lv_limits_changed(w, &f->key, &f->c, -1);
    if (f->c.state == LV_FLOW_PASS || f->c.state == LV_FLOW_PASS_CLOSED)
        __atomic_fetch_sub(&c->table.passing, 1, __ATOMIC_RELAXED);
    lv_table_remove(&c->table, f, hash);
}

LV_INLINE void lv_send_rst(struct lv_worker *w, const struct lv_flow *f, enum lv_side towards, u32 seq, u32 ack,
                           int has_ack)
{
    struct lv_segment s;

    lv_flow_segment(&s, f, towards);
    s.seq = seq;
    s.ack = ack;
    s.flags = (u8)(LV_RST | (has_ack ? LV_ACK : 0));
    lv_flow_send(w, f, towards, &s);
}

/* Tell the client that there will be no connection: a RST at the edge of its window, which its stack takes at once. */
LV_INLINE void lv_refuse(struct lv_worker *w, struct lv_flow *f, u32 hash, enum lv_event why)
{
    lv_count_event(w, f->c.service, why);
    lv_note_became(w, &f->key, f->c.service, (u32)LV_R_COUNT + why);
    lv_send_rst(w, f, LV_OUTSIDE, f->c.seq_delta + 1, f->c.s_ack, 1);
    lv_flow_forget(w, f, hash);
}

/* The SYN to the server, with the client's own options: MSS, window scale, SACK, TSval, ECN. */
LV_INLINE void lv_send_syn(struct lv_worker *w, struct lv_flow *f)
{
    struct lv_segment s;
    struct lv_opts o;

    lv_opts_clear(&o);
    o.mss = f->c.mss;
    o.sack_ok = (f->c.flags & LV_F_SACK_C) || (f->c.marks & LV_M_ASK_SACK);
    o.has_ts = !!(f->c.flags & LV_F_TS_C);
    o.tsval = f->c.tsval;
    if (f->c.flags & LV_F_WSCALE)
        o.wscale = lv_wscale_told(f->c.wscale_c);
    lv_flow_segment(&s, f, LV_INSIDE);
    s.flags = (u8)(LV_SYN | ((f->c.marks & (LV_M_ECN | LV_M_ASK_ECN)) ? LV_ECE | LV_CWR : 0));
    s.seq = f->c.s_ack - 1;
    s.window = f->c.s_win;
    s.options_len = lv_opts_write_syn(s.options, &o);
    lv_flow_send(w, f, LV_INSIDE, &s);
}

LV_INLINE void lv_syn_timer(struct lv_worker *w, const struct lv_flow *f)
{
    lv_ring_push(&w->syn_ring[f->c.tries], (u32)(f - w->ctx->table.flow), f->c.opened_ms,
                 w->now_ms + lv_syn_delay_ms[f->c.tries]);
}

/* Begin: the record is filled; send the SYN and wait. */
LV_INLINE void lv_handshake_start(struct lv_worker *w, struct lv_flow *f)
{
    f->c.opened_ms = f->c.last_ms = w->now_ms;
    lv_flow_set_state(f, LV_FLOW_SYN_SENT);
    lv_count_event(w, f->c.service, LV_E_SYN_SENT);
    lv_send_syn(w, f);
    lv_syn_timer(w, f);
}

/* Is the TCP checksum right? Only of a packet that is here as a whole. */
LV_INLINE int lv_checksum_believed(const struct lv_ip *ip)
{
    return (u32)(ip->end - ip->l3) >= ip->total && lv_tcp_checksum_ok(ip);
}

/* Hold the data and FIN of a segment if they are the next ones. The checksum is verified here, because what is held
 * leaves with a new one. Returns the reason to count. */
LV_INLINE enum lv_reason lv_hold_segment(struct lv_worker *w, struct lv_flow *f, const struct lv_pkt *k)
{
    struct lv_hold *h = &w->ctx->hold;
    u32 next = f->c.s_ack + lv_hold_bytes(h, f->c.hold);
    u32 skip = next - k->tcp.seq, taken;

    if (!k->tcp.payload_len && !(k->tcp.flags & LV_FIN))
        return LV_R_EARLY;
    if (!lv_checksum_believed(&k->ip))
        return LV_R_TCP_CHECKSUM;
    /* LIMIT: urgent data before the server's answer is left to the client's retransmission, not held. */
    if (skip > k->tcp.payload_len || (k->tcp.flags & LV_URG) || (f->c.flags & LV_F_FIN_C))
        return k->tcp.flags & LV_URG ? LV_R_HOLD_FULL : LV_R_EARLY;
    taken = lv_hold_append(h, &f->c.hold, k->ip.l4 + k->tcp.header_len + skip, k->tcp.payload_len - skip);
    lv_count_events(w, f->c.service, LV_E_HELD_BYTES, taken);
    f->c.c_nxt = next + taken;
    if (taken < k->tcp.payload_len - skip)
        return LV_R_HOLD_FULL;
    if (k->tcp.flags & LV_FIN) {
        f->c.flags |= LV_F_FIN_C;
        f->c.c_nxt++;
        f->c.fin_c = f->c.c_nxt;
    }
    return LV_R_HELD;
}

/* A packet of the client before the server has answered. */
LV_INLINE enum lv_verdict lv_early(struct lv_worker *w, struct lv_flow *f, u32 hash, const struct lv_pkt *k,
                                   const struct lv_opts *o)
{
    const struct lv_tcp *t = &k->tcp;
    u16 service = f->c.service;

    if (t->flags & LV_RST) {
        if (t->seq != f->c.c_nxt && t->seq != f->c.s_ack)
            return lv_drop(w, service, LV_R_RST_INVALID);
        lv_send_rst(w, f, LV_INSIDE, f->c.s_ack, 0, 0);
        lv_count_event(w, service, LV_E_CLOSED);
        lv_flow_forget(w, f, hash);
        return lv_drop(w, service, LV_R_EARLY);
    }
    if (t->flags & LV_SYN) {
        struct lv_segment s;

        if (t->seq == f->c.s_ack - 1 || (t->flags & LV_ACK))
            return lv_drop(w, service, LV_R_EARLY);
        if (w->challenges_left) { /* RFC 5961 section 4; a client that started anew answers with a valid RST */
            w->challenges_left--;
            lv_flow_segment(&s, f, LV_OUTSIDE);
            s.flags = LV_ACK;
            s.seq = f->c.seq_delta + 1;
            s.ack = f->c.c_nxt;
            s.window = (u16)w->ctx->config.offered_window;
            lv_flow_send(w, f, LV_OUTSIDE, &s);
        }
        return lv_drop(w, service, LV_R_SYN_IN_FLOW);
    }
    if (!(t->flags & LV_ACK) || t->ack != f->c.seq_delta + 1)
        return lv_drop(w, service, LV_R_EARLY);
    f->c.c_win = t->window;
    if (o->has_ts && (f->c.flags & LV_F_TS_C) && lv_after(o->tsval, f->c.tsval))
        f->c.tsval = o->tsval;
    return lv_drop(w, service, lv_hold_segment(w, f, k));
}

/* Final ACK of the second handshake, with as much of the held data as the server's window takes. What is left over is
 * the client's to send again. */
LV_INLINE void lv_deliver(struct lv_worker *w, struct lv_flow *f, u32 server_tsval, u32 server_window)
{
    struct lv_hold *h = &w->ctx->hold;
    u32 held = lv_hold_bytes(h, f->c.hold), left, offset = 0, packets = 0;
    u32 ts_bytes = (f->c.flags & LV_F_TS_S) ? 12 : 0;
    /* Our packets fit 1500 bytes: an IPv6 header takes 20 more, whatever MSS the server announced. */
    u32 most = lv_key_family(&f->key) == 6 ? LV_SEGMENT_MAX_BYTES - 20 : LV_SEGMENT_MAX_BYTES;
    u32 step = LV_MIN((u32)(f->c.mss ? f->c.mss : 536), most);
    struct lv_segment s;
    struct lv_opts o;
    u8 data[LV_SEGMENT_MAX_BYTES];

    step = step > ts_bytes + 1 ? step - ts_bytes : 1;
    left = LV_MIN(held, server_window);
    lv_opts_clear(&o);
    o.has_ts = ts_bytes != 0;
    o.tsval = f->c.tsval;
    o.tsecr = server_tsval;
    do {
        u32 n = lv_hold_read(h, f->c.hold, offset, data, LV_MIN(left, step));

        lv_flow_segment(&s, f, LV_INSIDE);
        s.flags = LV_ACK;
        s.seq = f->c.s_ack + offset;
        s.ack = f->c.s_nxt;
        s.window = lv_window_rescale(f->c.c_win, lv_wscale_own(f->c.wscale_c), lv_wscale_told(f->c.wscale_c));
        s.options_len = lv_opts_write_ts(s.options, &o);
        s.payload = data;
        s.payload_len = n;
        offset += n;
        left -= n;
        if (n && !left)
            s.flags |= LV_PSH;
        if (offset == held && (f->c.flags & LV_F_FIN_C))
            s.flags |= LV_FIN;
        lv_flow_send(w, f, LV_INSIDE, &s);
        packets++;
    } while (left && packets < LV_OUT_MAX_PER_CALL - 2);
    if (offset < held)
        f->c.flags &= (u8)~LV_F_FIN_C;
    f->c.c_nxt = f->c.s_ack + offset + !!(f->c.flags & LV_F_FIN_C);
    lv_hold_release(h, &f->c.hold);
}

/* With window zero in our SYN-ACK the client waits for this. */
LV_INLINE void lv_open_window(struct lv_worker *w, struct lv_flow *f, u32 server_tsval)
{
    struct lv_segment s;
    struct lv_opts o;

    lv_opts_clear(&o);
    o.has_ts = !!(f->c.flags & LV_F_TS_C) && !!(f->c.flags & LV_F_TS_S);
    o.tsval = server_tsval + f->c.ts_delta;
    o.tsecr = f->c.tsval;
    lv_flow_segment(&s, f, LV_OUTSIDE);
    s.flags = LV_ACK;
    s.seq = f->c.s_nxt + f->c.seq_delta;
    s.ack = f->c.s_ack;
    s.window = lv_window_rescale(f->c.s_win, lv_wscale_own(f->c.wscale_s), lv_wscale_told(f->c.wscale_s));
    s.options_len = lv_opts_write_ts(s.options, &o);
    lv_flow_send(w, f, LV_OUTSIDE, &s);
}

/* A daemon may be killed between any two instructions; the compiler must not move others over these. */
LV_INLINE void lv_changing(struct lv_flow *f, int changing)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    f->c.marks = (u8)(changing ? f->c.marks | LV_M_CHANGING : f->c.marks & ~LV_M_CHANGING);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* A record of a predecessor: what was held for the server is gone, the client will send it again; the SYN too. */
LV_INLINE void lv_handshake_resume(struct lv_worker *w, struct lv_flow *f)
{
    f->c.hold = 0;
    if (f->c.state != LV_FLOW_SYN_SENT)
        return;
    f->c.flags &= (u8)~LV_F_FIN_C;
    f->c.c_nxt = f->c.s_ack;
    f->c.tries = 0;
    lv_syn_timer(w, f);
}

/* The server's SYN-ACK: its options are learned, the translation is settled, the held data goes out. */
LV_INLINE void lv_opened(struct lv_worker *w, struct lv_flow *f, const struct lv_tcp *t, const struct lv_opts *o)
{
    const struct lv_service *sv = &lv_services_of(w)->service[f->c.service];
    struct lv_server_options so = {o->mss, o->wscale, o->sack_ok, o->has_ts, !!(t->flags & LV_ECE)};
    u8 asked = 0;
    u8 own = 0;

    if (f->c.flags & LV_F_WSCALE)
        asked |= LV_KNOWN_WSCALE;
    if ((f->c.flags & LV_F_SACK_C) || (f->c.marks & LV_M_ASK_SACK))
        asked |= LV_KNOWN_SACK;
    if (f->c.flags & LV_F_TS_C)
        asked |= LV_KNOWN_TS;
    if (f->c.marks & (LV_M_ECN | LV_M_ASK_ECN))
        asked |= LV_KNOWN_ECN;
    lv_learned_put(&w->ctx->learning, &f->key.server, f->key.sport, &so, asked, t->window, sv->wscale, w->now_ms);
    lv_changing(f, 1);
    if ((f->c.marks & LV_M_ASK_ECN) && so.ecn)
        f->c.marks |= LV_M_HIDE_ECN;
    if (!(f->c.flags & LV_F_WSCALE)) {
        f->c.wscale_c = f->c.wscale_s = 0;
    } else if (o->wscale == LV_WSCALE_NONE) { /* the server wants none: its windows and those it is told are plain */
        f->c.wscale_c = lv_wscale_pair(lv_wscale_own(f->c.wscale_c), 0);
        f->c.wscale_s = lv_wscale_pair(0, lv_wscale_told(f->c.wscale_s));
    } else {
        own = o->wscale;
        f->c.wscale_s = lv_wscale_pair(own, lv_wscale_told(f->c.wscale_s));
    }
    if ((f->c.flags & LV_F_TS_C) && o->has_ts) {
        f->c.flags |= LV_F_TS_S;
        f->c.ts_delta -= o->tsval;
    } else {
        f->c.ts_delta = 0;
    }
    if ((f->c.flags & LV_F_SACK_C) && o->sack_ok)
        f->c.flags |= LV_F_SACK_S;
    f->c.seq_delta -= t->seq;
    f->c.c_ack = f->c.s_nxt = t->seq + 1;
    f->c.s_win = lv_window_rescale(t->window, 0, own); /* a SYN's window is not scaled, a small one not closed */
    f->c.mss = o->mss;
    f->c.last_ms = w->now_ms;
    lv_flow_set_state(f, LV_FLOW_ESTABLISHED);
    lv_changing(f, 0);
    lv_count_event(w, f->c.service, LV_E_OPENED);
    lv_note_became(w, &f->key, f->c.service, (u32)LV_R_COUNT + LV_E_OPENED);
    lv_deliver(w, f, o->tsval, t->window);
    if (sv->window_zero)
        lv_open_window(w, f, o->tsval);
}

/* A packet of the server while our SYN is out: RFC 9293 3.10.7.3. */
LV_INLINE enum lv_verdict lv_server_answer(struct lv_worker *w, struct lv_flow *f, u32 hash, const struct lv_pkt *k,
                                           const struct lv_opts *o)
{
    const struct lv_tcp *t = &k->tcp;
    u16 service = f->c.service;
    int acked = (t->flags & LV_ACK) && t->ack == f->c.s_ack;

    if (t->flags & LV_RST) {
        if (!acked)
            return lv_drop(w, service, LV_R_RST_INVALID);
        lv_refuse(w, f, hash, LV_E_REFUSED);
        return lv_drop(w, service, LV_R_SERVER_HANDSHAKE);
    }
    if (acked && (t->flags & LV_SYN)) {
        lv_opened(w, f, t, o);
        return lv_drop(w, service, LV_R_SERVER_HANDSHAKE);
    }
    if ((t->flags & LV_ACK) && !acked) /* it still has an older connection: our RST ends it, our next SYN is accepted */
        lv_send_rst(w, f, LV_INSIDE, t->ack, 0, 0);
    return lv_drop(w, service, LV_R_SERVER_UNEXPECTED);
}

/* SYNs whose time has come: send again, or give up. */
LV_INLINE void lv_handshake_tick(struct lv_worker *w)
{
    struct lv_table *table = &w->ctx->table;
    struct lv_timer t;
    u32 stage;

    for (stage = 0; stage < LV_SYN_STAGES; stage++) {
        while (lv_outq_has_room(w) && lv_ring_pop(&w->syn_ring[stage], w->now_ms, &t)) {
            struct lv_flow *f = &table->flow[t.index];
            struct lv_key key;
            u32 hash;

            lv_flow_peek(f, &key);
            hash = lv_table_hash(table, &key);
            lv_lock(lv_table_lock(table, hash));
            if (lv_flow_is(f, &key) && f->c.state == LV_FLOW_SYN_SENT && f->c.opened_ms == t.stamp &&
                f->c.tries == stage) {
                if (stage == LV_SYN_STAGES - 1) {
                    lv_refuse(w, f, hash, LV_E_TIMED_OUT);
                } else {
                    f->c.tries++;
                    lv_count_event(w, f->c.service, LV_E_SYN_RETRANS);
                    lv_send_syn(w, f);
                    lv_syn_timer(w, f);
                }
            }
            lv_unlock(lv_table_lock(table, hash));
        }
    }
}

#endif
