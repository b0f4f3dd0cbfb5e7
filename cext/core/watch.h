/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Handshakes that go past the box, while a service with `protect: auto` needs no protection: what is noted of them in the
 * half-open cache.
 *
 * Owns: entries with LV_HALF_WATCHED. Called by: watching.h in user space, the programs. Must not know: when a service is
 * watched (guard.h), how a flow is kept.
 *
 * The client's SYN makes an entry, so that it is known what the server was asked for; the server's SYN-ACK completes it;
 * the client's ACK of exactly that SYN-ACK proves the client, and the connection becomes a flow that passes. So a flow is
 * known only by what a server said, and a flood of SYNs fills nothing but the cache, which evicts. When protection begins
 * in the middle of a handshake, its entry lets it end as it began.
 */
#ifndef LV_WATCH_H
#define LV_WATCH_H

#include "flow.h"
#include "halfopen.h"
#include "learned.h"
#include "synack.h"

enum {
    LV_WATCHED_MS = 20000,     /* an entry is of no more use: Linux repeats a SYN-ACK for the fourth time after 15 s */
    LV_WATCHED_SYN_MS = 3000,  /* so long a repeated SYN is left to the server, which repeats its SYN-ACK */
    LV_WATCHED_EARLY = 0xffff, /* bytes that a client may have sent before the packet that is its first one here */
    LV_CONFIRMED_MS = 10000,   /* what was learned is written again after so long, for its age */
};

LV_INLINE int lv_is_watched(const struct lv_half *e)
{
    return e && (e->flags & LV_HALF_WATCHED);
}

LV_INLINE void lv_watch_begin(struct lv_half *e, const struct lv_key *key, u32 client_isn, u32 now_ms)
{
    e->key = *key;
    e->client_isn = client_isn;
    e->isn = 0;
    e->made_ms = now_ms;
    e->wscale = LV_WSCALE_NONE;
    e->mss = 0; /* the SYN has not been seen */
    e->tries = 0;
    e->service = 0;
    e->flags = LV_HALF_USED | LV_HALF_WATCHED;
}

/* A SYN that goes on to the server. `e`: the entry of this key, or a place for one. */
LV_INLINE void lv_watch_syn(struct lv_half *e, const struct lv_key *key, const struct lv_tcp *t,
                            const struct lv_opts *o, u32 now_ms)
{
    const u8 ecn = LV_ECE | LV_CWR;

    lv_watch_begin(e, key, t->seq, now_ms);
    e->wscale = o->wscale;
    e->mss = o->mss ? o->mss : 536;
    e->flags |= (u8)((o->sack_ok ? LV_HALF_SACK_OFFER : 0) | (o->has_ts ? LV_HALF_TS : 0) |
                     ((t->flags & ecn) == ecn ? LV_HALF_ECN_OFFER : 0));
}

/* The options that the server was asked for (enum lv_known). Where its SYN was not seen: those it answered, at least. */
LV_INLINE u8 lv_watch_asked(const struct lv_half *e, const struct lv_tcp *t, const struct lv_server_options *so)
{
    if (lv_is_watched(e) && e->mss && e->client_isn + 1 == t->ack)
        return (u8)((e->wscale != LV_WSCALE_NONE ? LV_KNOWN_WSCALE : 0) |
                    (e->flags & LV_HALF_SACK_OFFER ? LV_KNOWN_SACK : 0) | (e->flags & LV_HALF_TS ? LV_KNOWN_TS : 0) |
                    (e->flags & LV_HALF_ECN_OFFER ? LV_KNOWN_ECN : 0));
    return (u8)((so->wscale != LV_WSCALE_NONE ? LV_KNOWN_WSCALE : 0) | (so->sack_ok ? LV_KNOWN_SACK : 0) |
                (so->has_ts ? LV_KNOWN_TS : 0) | (so->ecn ? LV_KNOWN_ECN : 0));
}

/* The options of a SYN-ACK as they are learned. */
LV_INLINE void lv_watch_options(const struct lv_tcp *t, const struct lv_opts *o, struct lv_server_options *so)
{
    so->mss = o->mss;
    so->wscale = o->wscale;
    so->sack_ok = o->sack_ok;
    so->has_ts = o->has_ts;
    so->ecn = !!(t->flags & LV_ECE);
}

/* A SYN-ACK that goes on to the client: from here on its ACK is expected. `e` as above. */
LV_INLINE void lv_watch_synack(struct lv_half *e, const struct lv_key *key, const struct lv_tcp *t, u32 now_ms)
{
    if (!lv_is_watched(e) || !lv_key_eq(&e->key, key) || e->client_isn + 1 != t->ack)
        lv_watch_begin(e, key, t->ack - 1, now_ms);
    e->isn = t->seq;
    e->made_ms = now_ms;
    e->flags |= LV_HALF_ANSWERED;
}

/* Does this packet of the client prove that it got the SYN-ACK? Data may come first where the ACK itself was lost. */
LV_INLINE int lv_watch_proves(const struct lv_half *e, const struct lv_tcp *t)
{
    const u8 both = LV_HALF_WATCHED | LV_HALF_ANSWERED;

    return e && (e->flags & both) == both && (t->flags & (LV_SYN | LV_ACK | LV_RST)) == LV_ACK &&
           t->ack == e->isn + 1 && t->seq - (e->client_isn + 1) <= LV_WATCHED_EARLY;
}

/* Is this SYN one that went to the server before protection began, and may the server still answer it? */
LV_INLINE int lv_watch_waits(const struct lv_half *e, const struct lv_tcp *t, u32 now_ms)
{
    return lv_is_watched(e) && e->client_isn == t->seq && now_ms - e->made_ms < LV_WATCHED_SYN_MS;
}

enum lv_watch_answer {
    LV_WATCH_NOT = 0, /* of no handshake that goes past the box */
    LV_WATCH_OTHER,
    LV_WATCH_REFUSED, /* RST for the client's SYN */
    LV_WATCH_SYNACK,  /* noted; to be learned from */
};

/* A SYN-ACK or RST of a server with LV_PROTECT_AUTO to a client without a flow; all but LV_WATCH_NOT passes. While the
 * service is protected (`protects`), only what belongs to a handshake from before. `set`: the key's set. */
LV_INLINE enum lv_watch_answer lv_watch_server(const struct lv_half_set *set, const struct lv_key *key,
                                               const struct lv_tcp *t, int protects, u32 now_ms)
{
    struct lv_half *e = lv_half_find(set, key);

    if (protects && !lv_is_watched(e))
        return LV_WATCH_NOT;
    if (t->flags & LV_RST) {
        if (!lv_is_watched(e) || !(t->flags & LV_ACK) || t->ack != e->client_isn + 1)
            return LV_WATCH_OTHER;
        e->flags = 0;
        return LV_WATCH_REFUSED;
    }
    if (!e || lv_is_watched(e)) /* else our own SYN-ACK is out to this client, too: its ACK says which one it took */
        lv_watch_synack(e ? e : lv_half_place(set, now_ms), key, t, now_ms);
    return LV_WATCH_SYNACK;
}

/* The record of a connection whose client is proved. The rest of it is zero; the caller sets the state last. */
LV_INLINE void lv_watch_record(struct lv_conn *c, const struct lv_half *e, u16 service, u8 tags, u32 now_ms)
{
    c->service = service;
    c->tags = tags;
    c->opened_ms = now_ms;
    c->s_nxt = e->isn + 1;
    c->s_ack = e->client_isn + 1;
}

/* Is this what is known of the server already, and was it heard lately? `set`: its set of learned.h. */
LV_INLINE int lv_learned_confirms(const struct lv_learned *set, const struct lv_addr *addr, u16 port,
                                  const struct lv_server_options *so, u8 asked, u32 now_ms)
{
    struct lv_learned l;

    if (!lv_learned_read(set, addr, port, &l) || now_ms - l.seen_ms >= LV_CONFIRMED_MS || (asked & ~l.known))
        return 0;
    return l.o.mss == so->mss && (!(asked & LV_KNOWN_WSCALE) || l.o.wscale == so->wscale) &&
           (!(asked & LV_KNOWN_SACK) || l.o.sack_ok == so->sack_ok) &&
           (!(asked & LV_KNOWN_TS) || l.o.has_ts == so->has_ts) && (!(asked & LV_KNOWN_ECN) || l.o.ecn == so->ecn);
}

#endif
