/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The way of a packet through gate, splice and handshake, for engines that run in user space.
 *
 * Owns: struct lv_frame, dispatch, the tick. Called by: nfqueue.pyx for every packet, dataplane.pyx for tests, the fuzz
 * targets. Must not know: sockets.
 *
 * A caller sets the clock with lv_worker_clock() before each batch, hands over packets one by one, sends what stands in
 * w->outq and empties it (n = 0), and calls lv_engine_tick() of every worker at least every LV_TICK_MS. Before each
 * call it sees to lv_outq_has_room(). A packet is handed over with lv_engine_packet(), or in two steps: lv_engine_look()
 * at the next one goes before lv_engine_judge() of this one, so that memory is fetched for the next one meanwhile.
 */
#ifndef LV_ENGINE_H
#define LV_ENGINE_H

#include "forward.h"
#include "gate.h"
#include "icmp.h"
#include "noting.h"
#include "splice.h"
#include "watching.h"
#include "worker.h"

/* A packet as an engine hands it over. */
struct lv_frame {
    u8 *data;  /* first byte after the Ethernet header and after a VLAN tag that came out of band */
    u32 len;   /* bytes at data */
    u32 room;  /* bytes that may be written at data, at least len */
    u16 proto; /* EtherType of data */
    u8 side;   /* enum lv_side, of the NIC it came in on */
    u8 has_l2; /* dst and src are known */
    u8 dst[6], src[6];
    u16 vlan_proto; /* of the tag out of band, 0: none */
    u16 vlan_tci;
};

/* A packet that was looked at, and not judged yet. */
struct lv_arrival {
    struct lv_pkt k;
    struct lv_key key; /* LV_KIND_TCP */
    u32 hash;          /* of the key, in the flow table */
    enum lv_kind kind;
    enum lv_side side;
};

LV_INLINE void lv_worker_clock(struct lv_worker *w, u32 monotonic_ms, u64 realtime_s)
{
    /* In this order for everybody: who sees the new number knows that the old tables are not looked at any more. */
    __atomic_store_n(&w->quiescent, w->quiescent + 1, __ATOMIC_SEQ_CST);
    w->services = __atomic_load_n(&w->ctx->services, __ATOMIC_SEQ_CST);
    w->lists = __atomic_load_n(&w->ctx->lists, __ATOMIC_SEQ_CST);
    w->now_ms = monotonic_ms;
    w->epoch = (u32)(realtime_s / LV_EPOCH_S);
    lv_cookie_tick(&w->keys, w->epoch, monotonic_ms);
    if (monotonic_ms - w->second_ms >= 1000) {
        w->second_ms = monotonic_ms;
        w->challenges_left = LV_CHALLENGES_PER_S;
        w->retrans_left = LV_RETRANS_PER_S;
    }
}

/* No flow, or a closed one that may give way. */
LV_INLINE enum lv_verdict lv_from_outside(struct lv_worker *w, struct lv_pkt *k, const struct lv_key *key, u32 hash,
                                          u16 service, const struct lv_ether *link, struct lv_flow *closed)
{
    const struct lv_services *services = lv_services_of(w);
    u8 flags = k->tcp.flags;

    if (!services->service[service].protect || lv_client_excepted(services, &key->client, k)) {
        if (closed && (flags & LV_SYN)) /* the server answers this one itself: the old numbers mean nothing to it */
            lv_flow_forget(w, closed, hash);
        if ((flags & (LV_SYN | LV_ACK | LV_RST)) == LV_ACK && lv_half_expects(w, k, key))
            return lv_gate_ack(w, k, key, hash, service, link, closed); /* we promised it a connection before */
        return lv_pass(w, service);
    }
    if (!lv_protects(w, service))
        return lv_watch_from_outside(w, k, key, hash, service, link, closed);
    if ((flags & (LV_SYN | LV_ACK)) == LV_SYN)
        return lv_gate_syn(w, k, key, service, link);
    if ((flags & (LV_SYN | LV_ACK | LV_RST)) == LV_ACK) {
        struct lv_half *e = lv_half_of(w, key);

        if (lv_watch_proves(e, &k->tcp)) /* its handshake began before protection did */
            return lv_watch_opened(w, k, key, hash, service, e, closed);
        return lv_gate_ack(w, k, key, hash, service, link, closed);
    }
    if (flags & LV_RST)
        lv_half_reset(lv_half_of(w, key), &k->tcp);
    return lv_drop(w, service, LV_R_NO_FLOW);
}

/* Is this SYN-ACK signed, and goes past the box? Only a server that has the key signs, and only for a client that has it
 * too (RFC 2385 section 2, RFC 5925 section 7.3): its connection is known from here on. LIMIT: a server that ignores the
 * signature of a SYN answers without one, and is taken for one that answers too late. */
LV_INLINE int lv_signs(const struct lv_pkt *k, const struct lv_service *sv)
{
    struct lv_opts o;

    if (sv->signed_drop)
        return 0;
    lv_opts_read(&o, k->ip.l4, k->tcp.header_len, 1);
    return o.is_signed;
}

/* No flow, from the side of the servers: what they say is believed. */
LV_INLINE enum lv_verdict lv_from_inside(struct lv_worker *w, struct lv_pkt *k, const struct lv_key *key, u32 hash,
                                         u16 service, const struct lv_ether *link)
{
    const struct lv_services *services = lv_services_of(w);
    u8 flags = k->tcp.flags;

    if (!services->service[service].protect || lv_client_excepted(services, &key->client, k))
        return lv_pass(w, service);
    if (services->service[service].protect == LV_PROTECT_AUTO &&
        ((flags & LV_RST) || (flags & (LV_SYN | LV_ACK)) == (LV_SYN | LV_ACK)) &&
        lv_watch_from_inside(w, k, key, service))
        return lv_pass(w, service);
    if ((flags & (LV_SYN | LV_ACK)) == (LV_SYN | LV_ACK) && !lv_signs(k, &services->service[service])) {
        /* Late: we gave up on it. Free the server's entry. */
        struct lv_segment s;

        s.src = key->client;
        s.dst = key->server;
        s.sport = key->cport;
        s.dport = key->sport;
        s.family = k->ip.family;
        s.ttl = LV_TTL;
        s.flags = LV_RST;
        s.seq = k->tcp.ack;
        s.ack = 0;
        s.window = 0;
        s.options_len = s.payload_len = 0;
        s.payload = 0;
        lv_forward_segment(services, service, &s);
        lv_send(w, LV_INSIDE, link, &s);
        return lv_drop(w, service, LV_R_SERVER_UNEXPECTED);
    }
    /* While its handshake is watched, only the client's proof makes a connection known: a server also says something
     * to a second, forged SYN (a challenge ACK, RFC 9293 section 3.10.7.4). */
    if (!(flags & LV_RST) && !lv_is_watched(lv_half_of(w, key)))
        lv_know(w, k, key, hash, service);
    return lv_pass(w, service);
}

/* Is this SYN on a connection that is only known one that its server must not see? */
LV_INLINE int lv_refuses_syn(const struct lv_worker *w, const struct lv_flow *f, const struct lv_key *key,
                             const struct lv_pkt *k)
{
    return lv_protects(w, f->c.service) && !lv_syn_fits_passing(&f->c, &k->tcp) &&
           !lv_client_excepted(lv_services_of(w), &key->client, k);
}

/* `service`: that a packet of no flow would belong to. */
LV_INLINE enum lv_verdict lv_in_flow(struct lv_worker *w, struct lv_flow *f, const struct lv_key *key, u32 hash,
                                     u16 service, struct lv_pkt *k, const struct lv_ether *link, enum lv_side side)
{
    u8 flags = k->tcp.flags;
    int syn = (flags & (LV_SYN | LV_ACK)) == LV_SYN, synack = (flags & (LV_SYN | LV_ACK)) == (LV_SYN | LV_ACK);
    struct lv_opts o;

    switch (f->c.state) {
    case LV_FLOW_SYN_SENT:
        lv_opts_read(&o, k->ip.l4, k->tcp.header_len, synack);
        return side == LV_OUTSIDE ? lv_early(w, f, hash, k, &o) : lv_server_answer(w, f, hash, k, &o);
    case LV_FLOW_PASS_CLOSED:
        if (side == LV_OUTSIDE && (syn || lv_half_expects(w, k, key)))
            return lv_from_outside(w, k, key, hash, service, link, f);
        if (syn) { /* the server uses its port again */
            f->c.flags = 0;
            f->c.s_ack = 0;
            f->c.state = LV_FLOW_PASS;
        }
        break;
    case LV_FLOW_PASS:
        if (side == LV_OUTSIDE && syn && lv_refuses_syn(w, f, key, k)) {
            lv_challenge(w, f, link);
            return lv_drop(w, f->c.service, LV_R_SYN_IN_FLOW);
        }
        break;
    default:
        if (side == LV_OUTSIDE) {
            if (synack)
                return lv_drop(w, f->c.service, LV_R_NO_FLOW);
            if (syn && f->c.state != LV_FLOW_CLOSED) {
                lv_challenge(w, f, link);
                return lv_drop(w, f->c.service, LV_R_SYN_IN_FLOW);
            }
            if (syn || (f->c.state == LV_FLOW_CLOSED && !(flags & LV_RST) &&
                        (!lv_fits_closed(&f->c, &k->tcp) || lv_half_expects(w, k, key))))
                return lv_from_outside(w, k, key, hash, service, link, f);
        } else if (flags & LV_SYN) {
            if (synack && k->tcp.ack == f->c.s_ack && k->tcp.seq + 1 == f->c.s_nxt) {
                lv_opts_read(&o, k->ip.l4, k->tcp.header_len, 1);
                lv_ack_again(w, f, &o);
                return lv_drop(w, f->c.service, LV_R_SERVER_HANDSHAKE);
            }
            if (syn && f->c.state == LV_FLOW_CLOSED) { /* the server connects from the ports of an old connection */
                lv_flow_forget(w, f, hash);
                return lv_from_inside(w, k, key, hash, service, link);
            }
            return lv_drop(w, f->c.service, LV_R_SERVER_UNEXPECTED);
        }
        return lv_splice(w, f, k, side);
    }
    lv_flow_track_pass(&f->c, &k->tcp, side, w->now_ms);
    return lv_pass(w, f->c.service);
}

LV_INLINE enum lv_verdict lv_tcp(struct lv_worker *w, struct lv_arrival *a, const struct lv_ether *back)
{
    u16 service = lv_service_find(lv_services_of(w), &a->key.server, a->key.sport, &a->k);
    struct lv_table *table = &w->ctx->table;
    enum lv_verdict verdict;
    struct lv_flow *f;

    lv_lock(lv_table_lock(table, a->hash));
    f = lv_table_find(table, &a->key, a->hash);
    if (f)
        verdict = lv_in_flow(w, f, &a->key, a->hash, service, &a->k, back, a->side);
    else if (a->side == LV_OUTSIDE)
        verdict = lv_from_outside(w, &a->k, &a->key, a->hash, service, back, 0);
    else
        verdict = lv_from_inside(w, &a->k, &a->key, a->hash, service, back);
    lv_unlock(lv_table_lock(table, a->hash));
    return verdict;
}

/* Of a first fragment the header can be translated, of later ones there is nothing to translate. A SYN in fragments is
 * never let through: nobody sends one in earnest, and it would be a way around the gate. */
LV_INLINE int lv_first_fragment_refused(const struct lv_worker *w, const struct lv_pkt *k, u16 *service)
{
    const struct lv_services *services = lv_services_of(w);

    *service = lv_service_find(services, &k->ip.dst, k->tcp.dport, k);
    return lv_protects(w, *service) && (!services->service[*service].fragments_pass || (k->tcp.flags & LV_SYN));
}

/* Fragments without a TCP header pass only where the operator lets them. */
LV_INLINE enum lv_verdict lv_fragment(struct lv_worker *w, const struct lv_pkt *k, enum lv_side side)
{
    const struct lv_services *services = lv_services_of(w);
    u16 service = lv_service_of_address(services, side == LV_OUTSIDE ? &k->ip.dst : &k->ip.src);

    if (side == LV_INSIDE || !lv_protects(w, service) || services->service[service].fragments_pass)
        return lv_pass(w, service);
    return lv_drop(w, service, LV_R_FRAGMENT);
}

/* What a frame says before it is parsed: the tag that came out of band. */
LV_INLINE void lv_frame_begin(struct lv_pkt *k, const struct lv_frame *f)
{
    lv_pkt_begin(k);
    if (f->vlan_proto) {
        k->tags = 1;
        k->tag_proto[0] = f->vlan_proto;
        k->tci[0] = f->vlan_tci;
    }
}

/* From a blocked source to a protected service? Its open connections end here too. What is no longer a first fragment has
 * no ports, an ICMP error speaks of a server that was quoted. */
LV_INLINE int lv_source_blocked(const struct lv_worker *w, const struct lv_pkt *k, enum lv_kind kind, u16 *service)
{
    const struct lv_services *services = lv_services_of(w);
    const struct lv_lists *lists = lv_lists_of(w);

    if (!lists || lv_listed(lists, &k->ip.src) != LV_LISTED_BLOCKED)
        return 0;
    if (kind == LV_KIND_TCP)
        *service = lv_service_find(services, &k->ip.dst, k->tcp.dport, k);
    else if (kind == LV_KIND_ICMP_ERROR)
        *service = lv_service_find(services, &k->quoted.src, k->tcp.sport, k);
    else
        *service = lv_service_of_address(services, &k->ip.dst);
    return services->service[*service].protect && !lv_client_excepted(services, &k->ip.src, k);
}

/* Which flow is it of? */
LV_INLINE void lv_arrival_key(const struct lv_worker *w, struct lv_arrival *a)
{
    lv_flow_key(&a->key, &a->k, a->side);
    a->hash = lv_table_hash(&w->ctx->table, &a->key);
}

/* A parsed packet, with the names that clients use. */
LV_INLINE enum lv_verdict lv_engine_parsed(struct lv_worker *w, const struct lv_frame *f, struct lv_arrival *a)
{
    struct lv_pkt *k = &a->k;
    struct lv_ether back;
    u16 service;

    switch (a->kind) {
    case LV_KIND_TCP:
        if (k->ip.fragment && a->side == LV_OUTSIDE && lv_first_fragment_refused(w, k, &service))
            return lv_drop(w, service, LV_R_FRAGMENT);
        lv_ether_make(&back, LV_OUTSIDE, f->src, f->dst, lv_tags_pack(k), k->tci, f->has_l2);
        return lv_tcp(w, a, &back);
    case LV_KIND_ICMP_ERROR: return lv_icmp(w, k, a->side);
    case LV_KIND_FRAGMENT: return lv_fragment(w, k, a->side);
    case LV_KIND_JUNK:
        if (a->side == LV_INSIDE)
            return lv_pass(w, LV_SERVICE_NONE);
        service = k->ip.family ? lv_service_of_address(lv_services_of(w), &k->ip.dst) : (u16)LV_SERVICE_NONE;
        return lv_drop(w, service, (enum lv_reason)k->ip.reason);
    default: break;
    }
    return lv_pass(w, LV_SERVICE_NONE);
}

/* A parsed packet, with the names that are on the wire. */
LV_INLINE enum lv_verdict lv_engine_named(struct lv_worker *w, const struct lv_frame *f, struct lv_arrival *a)
{
    const struct lv_services *services = lv_services_of(w);
    enum lv_kind kind = a->kind;
    enum lv_verdict verdict;
    int renamed = 0;
    u16 service;

    if (a->side == LV_OUTSIDE && (kind == LV_KIND_TCP || kind == LV_KIND_ICMP_ERROR || kind == LV_KIND_FRAGMENT) &&
        lv_source_blocked(w, &a->k, kind, &service))
        return lv_drop(w, service, LV_R_BLOCKED);
    if (LV_LIKELY(!services->has_forwards))
        return lv_engine_parsed(w, f, a);
    if (a->side == LV_INSIDE) {
        renamed = lv_forward_from_inside(services, &a->k, kind);
        if (renamed && kind == LV_KIND_TCP)
            lv_arrival_key(w, a);
    } else if (kind == LV_KIND_TCP && lv_forward_asked_directly(services, &a->k)) {
        return lv_drop(w, LV_SERVICE_NONE, LV_R_FORWARD_TARGET);
    }
    verdict = lv_engine_parsed(w, f, a);
    if (a->side == LV_OUTSIDE && verdict != LV_DROP)
        renamed = lv_forward_to_inside(services, &a->k, kind);
    return renamed && verdict == LV_PASS ? LV_REWRITE : verdict;
}

/* Read a packet, and ask for the memory that judging it will need: in a flood each packet's is elsewhere. Changes nothing;
 * the frame's bytes stay where they are until lv_engine_judge(). */
LV_INLINE void lv_engine_look(struct lv_worker *w, const struct lv_frame *f, struct lv_arrival *a)
{
    a->side = f->side == LV_INSIDE ? LV_INSIDE : LV_OUTSIDE;
    lv_frame_begin(&a->k, f);
    a->kind = lv_parse(&a->k, f->data, f->data + f->len, f->proto);
    if (a->kind == LV_KIND_TCP && a->side == LV_OUTSIDE && lv_source_impossible(&a->k.ip))
        a->kind = lv_junk(&a->k.ip, LV_R_IP_SOURCE);
    if (a->kind != LV_KIND_TCP)
        return;
    lv_arrival_key(w, a);
    lv_table_prefetch(&w->ctx->table, a->hash);
    if (a->side == LV_OUTSIDE && (a->k.tcp.flags & (LV_SYN | LV_ACK)) == LV_SYN) {
        struct lv_half_set set = lv_half_set(&w->half, &a->key);

        lv_half_prefetch(&set);
    }
}

/* The bytes of a packet that is dropped may have been changed. */
LV_INLINE enum lv_verdict lv_engine_judge(struct lv_worker *w, const struct lv_frame *f, struct lv_arrival *a)
{
    enum lv_verdict verdict;

    w->reason = LV_R_COUNT;
    verdict = lv_engine_named(w, f, a);
    if (verdict == LV_DROP)
        lv_note_dropped(w, &a->k, a->kind, a->side);
    return verdict;
}

/* Both steps. */
LV_INLINE enum lv_verdict lv_engine_packet(struct lv_worker *w, const struct lv_frame *f)
{
    struct lv_arrival a;

    lv_engine_look(w, f, &a);
    return lv_engine_judge(w, f, &a);
}

/* How long a record may be silent. */
LV_INLINE u32 lv_idle_limit_ms(const struct lv_conn *f, int crowded)
{
    const u8 fins = LV_F_FIN_C | LV_F_FIN_S;

    switch (f->state) {
    case LV_FLOW_SYN_SENT: return LV_IDLE_SYN_SENT_MS;
    case LV_FLOW_CLOSED:
    case LV_FLOW_PASS_CLOSED:
        if (crowded)
            return LV_IDLE_CLOSED_CROWDED_MS;
        return (f->flags & LV_F_RESET) ? LV_IDLE_RESET_MS : LV_IDLE_CLOSED_MS;
    default:
        if ((f->flags & fins) == fins || (f->flags & LV_F_RESET))
            return LV_IDLE_LAST_ACK_MS;
        if (f->state == LV_FLOW_PASS && !(f->marks & LV_M_ANSWERED))
            return LV_IDLE_LAST_ACK_MS;
        return (f->flags & fins) ? LV_IDLE_HALF_CLOSED_MS : LV_IDLE_ESTABLISHED_MS;
    }
}

/* Has it been silent for too long? Another worker's clock may be a little ahead of ours, so its last packet too. */
LV_INLINE int lv_is_idle(const struct lv_conn *f, u32 now_ms, int crowded)
{
    u32 idle_ms = now_ms - f->last_ms;

    return idle_ms >= lv_idle_limit_ms(f, crowded) && idle_ms < 0u - LV_CLOCKS_APART_MS;
}

/* Is there little room for new records: in all, or in the half that those may have which are only known? */
LV_INLINE int lv_is_crowded(u32 used, u32 passing, u32 capacity)
{
    return used > capacity - capacity / 4 || passing > capacity / 2 - capacity / 8;
}

/* Look at the next part of the table and forget what has been silent for too long. */
LV_INLINE void lv_sweep(struct lv_worker *w)
{
    struct lv_table *t = &w->ctx->table;
    u32 n = t->capacity / LV_SWEEP_TICKS + 1;
    int crowded = lv_is_crowded(t->used, t->passing, t->capacity);

    while (n-- && lv_outq_has_room(w)) {
        struct lv_flow *f = &t->flow[t->cursor];
        struct lv_key key;
        u32 hash;

        if (!t->cursor)
            lv_limits_round(w);
        t->cursor = t->cursor + 1 < t->capacity ? t->cursor + 1 : 0;
        if (w->ctx->sources.sweeping) {
            lv_flow_peek(f, &key);
            lv_limits_saw(w, &key, &f->c);
        }
        if (f->c.state == LV_FLOW_FREE || !lv_is_idle(&f->c, w->now_ms, crowded))
            continue;
        lv_flow_peek(f, &key);
        hash = lv_table_hash(t, &key);
        lv_lock(lv_table_lock(t, hash));
        if (lv_flow_is(f, &key) && lv_is_idle(&f->c, w->now_ms, crowded)) {
            if (f->c.state == LV_FLOW_SYN_SENT) {
                lv_refuse(w, f, hash, LV_E_TIMED_OUT);
            } else {
                if (f->c.state == LV_FLOW_ESTABLISHED)
                    lv_count_event(w, f->c.service, LV_E_EXPIRED);
                lv_flow_forget(w, f, hash);
            }
        }
        lv_unlock(lv_table_lock(t, hash));
    }
}

LV_INLINE void lv_engine_tick(struct lv_worker *w)
{
    if (w->now_ms - w->tick_ms < LV_TICK_MS)
        return;
    w->tick_ms = w->now_ms;
    lv_handshake_tick(w);
    lv_gate_tick(w);
    if (w->index == 0)
        lv_sweep(w);
}

#endif
