/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A connection through the box: its key, its record of 128 bytes, and how packets move it through its states.
 *
 * Owns: struct lv_key, struct lv_flow, lv_flow_track(). Called by: splice and handshake. Must not know: where records
 * are kept (table.h, or a BPF map), how packets are changed (translate.h).
 *
 * Names: `c` is the client, `s` the server; all sequence numbers of the server's stream are kept in the server's own
 * numbering; what the client sees is that plus seq_delta. The client's stream is not renumbered.
 */
#ifndef LV_FLOW_H
#define LV_FLOW_H

#include "base.h"
#include "options.h"
#include "packet.h"

struct lv_key {
    struct lv_addr client, server;
    u16 cport, sport;
    u16 vid[LV_VLAN_TAGS]; /* VLAN identifiers, outermost first, 0: none */
};

enum lv_flow_state {
    LV_FLOW_FREE = 0,
    LV_FLOW_SYN_SENT,    /* the client proved itself, our SYN is on its way to the server */
    LV_FLOW_ESTABLISHED, /* translated; also half closed */
    LV_FLOW_CLOSED,      /* both FINs acknowledged, or reset: lingers for late packets, gives way to a new SYN */
    LV_FLOW_PASS,        /* known, not translated: opened by the server, or older than our protection */
    LV_FLOW_PASS_CLOSED,
    LV_FLOW_STATES
};

enum lv_flow_flag {
    LV_F_TS_C = 0x01,   /* the client sends timestamps */
    LV_F_TS_S = 0x02,   /* the server agreed to them */
    LV_F_SACK_S = 0x04, /* the server agreed to SACK */
    LV_F_FIN_C = 0x08,  /* FIN of the client seen, fin_c is the number after it */
    LV_F_FIN_S = 0x10,
    LV_F_RESET = 0x20,  /* closed by RST; ESTABLISHED: the server talked on, the client has not since */
    LV_F_WSCALE = 0x40, /* SYN_SENT: our SYN has a window scale */
    LV_F_SACK_C = 0x80, /* the client and we agreed on SACK */
};

enum lv_flow_mark {
    LV_M_L2 = 0x01,       /* MACs are known */
    LV_M_ECN = 0x02,      /* SYN_SENT: ECN was agreed with the client */
    LV_M_ANSWERED = 0x04, /* PASS: the client has spoken */
    LV_M_ASK_SACK = 0x08, /* SYN_SENT: offered by the client and not told to it: does the server have it by now? */
    LV_M_ASK_ECN = 0x10,
    LV_M_HIDE_ECN = 0x20, /* the server uses ECN, the client does not: packets must not be marked instead of dropped */
    LV_M_CHANGING = 0x40, /* from SYN_SENT to ESTABLISHED just now: who finds a record so cannot trust its numbers */
};

/* What is known of a connection, beside its key. A BPF map keeps this by lv_key; a table keeps both in one record. */
struct lv_conn {
    u32 next;         /* table.h: next record of the chain */
    u8 state;         /* enum lv_flow_state */
    u8 flags;         /* enum lv_flow_flag */
    u8 wscale_c;      /* low nibble: the scale the client's windows have, high: the one the server was told */
    u8 wscale_s;      /* low nibble: the scale the server's windows have, high: the one the client was told */
    u32 seq_delta;    /* SYN_SENT: our ISN. After: our ISN minus the server's */
    u32 ts_delta;     /* SYN_SENT: our TSval that the client echoed. After: that minus the server's TSval */
    u32 c_nxt, s_nxt; /* one past the highest sequence number sent */
    u32 c_ack, s_ack; /* highest acknowledgement sent, c_ack in the server's numbering */
    u32 fin_c, fin_s;
    u32 tsval;   /* the client's latest TSval seen in the handshake */
    u32 last_ms; /* last packet */
    u32 opened_ms;
    u32 hold;         /* hold.h: early data, 0: none */
    u16 c_win, s_win; /* as last sent, not scaled. SYN_SENT: s_win is the window our SYN offers */
    u16 mss;          /* SYN_SENT: the client's MSS. After: the server's */
    u16 service;
    u16 tci[LV_VLAN_TAGS];
    u8 mac_c[6], mac_s[6]; /* source and destination of the client's frames */
    u8 tags;               /* low nibble: number of VLAN tags; bit 4, 5: tag is 802.1ad */
    u8 tries;              /* SYNs sent again */
    u8 ttl;
    u8 marks; /* enum lv_flow_mark */
};

struct lv_flow {
    struct lv_key key;
    struct lv_conn c;
};
_Static_assert(sizeof(struct lv_key) == 40, "no holes: the key is hashed and compared as bytes");
_Static_assert(sizeof(struct lv_flow) == 128, "two cache lines a flow");

LV_INLINE u8 lv_wscale_own(u8 w)
{
    return w & 0xf;
}

LV_INLINE u8 lv_wscale_told(u8 w)
{
    return w >> 4;
}

LV_INLINE u8 lv_wscale_pair(u8 own, u8 told)
{
    return (u8)(own | told << 4);
}

LV_INLINE u8 lv_key_family(const struct lv_key *key)
{
    return lv_addr_is_v4(&key->client) ? 4 : 6;
}

/* Key of a packet that came in on `side`; the client is always the host outside. */
LV_INLINE void lv_flow_key(struct lv_key *key, const struct lv_pkt *k, enum lv_side side)
{
    u32 i;

    if (side == LV_OUTSIDE) {
        key->client = k->ip.src;
        key->server = k->ip.dst;
        key->cport = k->tcp.sport;
        key->sport = k->tcp.dport;
    } else {
        key->client = k->ip.dst;
        key->server = k->ip.src;
        key->cport = k->tcp.dport;
        key->sport = k->tcp.sport;
    }
    for (i = 0; i < LV_VLAN_TAGS; i++)
        key->vid[i] = i < k->tags ? k->tci[i] & 0xfff : 0;
}

/* Key of the connection an ICMP error from `side` speaks of: the quoted packet went the other way. */
LV_INLINE void lv_flow_key_quoted(struct lv_key *key, const struct lv_pkt *k, enum lv_side side)
{
    u32 i;

    if (side == LV_OUTSIDE) { /* a packet of the server did not reach the client */
        key->client = k->quoted.dst;
        key->server = k->quoted.src;
        key->cport = k->tcp.dport;
        key->sport = k->tcp.sport;
    } else {
        key->client = k->quoted.src;
        key->server = k->quoted.dst;
        key->cport = k->tcp.sport;
        key->sport = k->tcp.dport;
    }
    for (i = 0; i < LV_VLAN_TAGS; i++)
        key->vid[i] = i < k->tags ? k->tci[i] & 0xfff : 0;
}

/* Eight bytes of a key. It was written as ports and addresses: without may_alias the compiler may read before that. */
typedef u64 __attribute__((may_alias)) lv_word;

LV_INLINE int lv_key_eq(const struct lv_key *a, const struct lv_key *b)
{
    const lv_word *x = (const lv_word *)a, *y = (const lv_word *)b;

    return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3] && x[4] == y[4];
}

/* How far a number may run ahead of what was seen and still be believed: the largest window, RFC 7323 2.3. */
enum { LV_SEQ_AHEAD_MAX = 1 << 30 };

LV_INLINE void lv_advance(u32 *mark, u32 to)
{
    if (to - *mark < LV_SEQ_AHEAD_MAX)
        *mark = to;
}

LV_INLINE void lv_flow_close_if_done(struct lv_conn *f)
{
    const u8 fins = LV_F_FIN_C | LV_F_FIN_S;

    if ((f->flags & fins) == fins && !lv_before(f->c_ack, f->fin_s) && !lv_before(f->s_ack, f->fin_c))
        f->state = LV_FLOW_CLOSED;
}

/* How much the server may still be willing to take beyond s_ack. Not less than 64 KiB: its window may have grown in a
 * packet that was lost on our side, and a probe goes one byte beyond a closed one. */
LV_INLINE u32 lv_flow_window_s(const struct lv_conn *f)
{
    u32 window = (u32)f->s_win << lv_wscale_own(f->wscale_s);

    return LV_MAX(window, 0xffffu);
}

/*
 * Follow one packet of a translated flow (ESTABLISHED or CLOSED); `t` as it came, before translation.
 * Returns LV_R_COUNT if it may go on, LV_R_RST_INVALID if a server would ignore it (RFC 9293 3.10.7.4, RFC 5961 3.2).
 * A RST within the window but not at its edge goes on and leaves the flow open: the receiver answers it with a challenge
 * ACK. A flow closed by RST opens again when the server goes on talking: then either it did not accept the RST, or this
 * was in flight; LV_F_RESET stays until the client talks too, and keeps the record from living for hours.
 */
LV_INLINE enum lv_reason lv_flow_track(struct lv_conn *f, const struct lv_tcp *t, enum lv_side side, u32 now_ms)
{
    u32 end = t->seq + lv_seq_len(t);

    if (side == LV_OUTSIDE) {
        u32 right = f->s_ack + lv_flow_window_s(f);

        if (t->flags & LV_RST) {
            if (t->seq != f->s_ack && t->seq != f->c_nxt) /* delayed ACKs: the server may stand anywhere between */
                return lv_within(t->seq, f->s_ack, right) ? LV_R_COUNT : LV_R_RST_INVALID;
            f->flags |= LV_F_RESET;
            f->state = LV_FLOW_CLOSED;
            f->last_ms = now_ms;
            return LV_R_COUNT;
        }
        if (f->state == LV_FLOW_ESTABLISHED)
            f->flags &= (u8)~LV_F_RESET;
        /* A blind forger must not move the mark: RST is measured by it. It may be beyond a window that shrank. */
        if (lv_after(end, f->c_nxt) && !lv_after(end, right))
            f->c_nxt = end;
        if (t->flags & LV_ACK) {
            u32 ack = t->ack - f->seq_delta;

            if (!lv_after(ack, f->s_nxt))
                lv_advance(&f->c_ack, ack);
        }
        if ((t->flags & LV_FIN) && lv_within(end, f->s_ack, right + 1)) {
            f->flags |= LV_F_FIN_C;
            f->fin_c = end;
        }
        f->c_win = t->window;
    } else {
        if (t->flags & LV_RST) {
            f->flags |= LV_F_RESET;
            f->state = LV_FLOW_CLOSED;
            f->last_ms = now_ms;
            return LV_R_COUNT;
        }
        if (f->flags & LV_F_RESET)
            f->state = LV_FLOW_ESTABLISHED;
        lv_advance(&f->s_nxt, end);
        if (t->flags & LV_ACK) {
            lv_advance(&f->s_ack, t->ack);
            lv_advance(&f->c_nxt, t->ack); /* the server has it, so the client sent it */
        }
        if ((t->flags & LV_FIN) && !(f->flags & LV_F_FIN_S)) {
            f->flags |= LV_F_FIN_S;
            f->fin_s = end;
        }
        f->s_win = t->window;
    }
    f->last_ms = now_ms;
    if (f->state == LV_FLOW_ESTABLISHED)
        lv_flow_close_if_done(f);
    return LV_R_COUNT;
}

/* Follow one packet of a flow that is only known. */
LV_INLINE void lv_flow_track_pass(struct lv_conn *f, const struct lv_tcp *t, enum lv_side side, u32 now_ms)
{
    const u8 fins = LV_F_FIN_C | LV_F_FIN_S;

    f->last_ms = now_ms;
    if (t->flags & LV_FIN)
        f->flags |= side == LV_OUTSIDE ? LV_F_FIN_C : LV_F_FIN_S;
    if (side == LV_INSIDE) {
        f->s_nxt = t->seq + lv_seq_len(t);
        f->s_win = t->window;
        if (t->flags & LV_ACK)
            f->s_ack = t->ack;
        if (t->flags & LV_RST)
            f->flags |= LV_F_RESET;
    } else {
        f->marks |= LV_M_ANSWERED;
        /* Of the client only a RST that the server accepts: with the number it expects, or about its SYN. */
        if ((t->flags & LV_RST) && ((f->s_ack && t->seq == f->s_ack) || ((t->flags & LV_ACK) && t->ack == f->s_nxt)))
            f->flags |= LV_F_RESET;
    }
    if ((f->flags & LV_F_RESET) || (f->flags & fins) == fins)
        f->state = LV_FLOW_PASS_CLOSED;
}

/* May a client's SYN go on to the server of a connection that is only known? The one that the server has answered and the
 * client has not confirmed yet, repeated; and one that crosses the server's own SYN. Any other one is old, forged, or of a
 * client that started anew: RFC 9293 section 3.10.7.4 has it challenged, and the box does that where it protects. */
LV_INLINE int lv_syn_fits_passing(const struct lv_conn *f, const struct lv_tcp *t)
{
    return !f->s_ack || (!(f->marks & LV_M_ANSWERED) && t->seq + 1 == f->s_ack);
}

/* Does an ACK of the client fit a closed flow, or is it of a new connection on the same ports? */
LV_INLINE int lv_fits_closed(const struct lv_conn *f, const struct lv_tcp *t)
{
    u32 ack = t->ack - f->seq_delta;

    return !(t->flags & LV_ACK) || lv_within(ack, f->c_ack - 0xffffu, f->s_nxt);
}

#endif
