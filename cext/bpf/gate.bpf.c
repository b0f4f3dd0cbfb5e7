/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The gate in the driver: an XDP program on the outside NIC. It answers SYNs, drops what cannot be right, hands clients
 * that proved themselves to user space, and lets everything else go on.
 *
 * Owns: the order of the checks. Called by: the kernel, for every frame from outside, before a socket buffer exists. Must
 * not know: how open flows are translated (splice.bpf.c).
 *
 * LIMIT: the TCP checksum of a SYN that carries data is not verified here; the SYN is answered, and harms nobody. User
 * space verifies whatever reaches a server.
 */
#include "reading.h"
#include "sources.h"
#include "gatetap.h"

LV_INLINE int lv_gate_drop(u32 service, enum lv_reason r)
{
    lv_count(service, r);
    return XDP_DROP;
}

LV_INLINE int lv_gate_pass(u32 service)
{
    lv_count_ev(service, LV_E_PASSED);
    return XDP_PASS;
}

LV_INLINE void lv_fill_handover(struct xdp_md *ctx, struct lv_handover *h, u32 len, u32 room, u8 flags)
{
    h->len = len;
    h->side = LV_OUTSIDE;
    h->flags = flags;
    h->vlan_proto = h->vlan_tci = 0;
    len = lv_len_between(len, LV_ETHERNET_BYTES, room - sizeof(*h));
    if (!len || bpf_xdp_load_bytes(ctx, 0, h + 1, len))
        h->len = 0; /* user space steps over it */
    bpf_ringbuf_submit(h, 0);
}

/* Hand the whole frame to user space; it is consumed either way. Not static: verified by itself. */
__noinline int lv_hand_over(struct xdp_md *ctx, u32 service)
{
    u32 len = (u32)bpf_xdp_get_buff_len(ctx);
    struct lv_handover *h;

    if (len > LV_HANDOVER_LARGE - sizeof(*h))
        return lv_gate_drop(service, LV_R_HANDOVER_SIZE);
    if (len <= LV_HANDOVER_SMALL - sizeof(*h)) {
        h = bpf_ringbuf_reserve(&lv_handovers, LV_HANDOVER_SMALL, 0);
        if (h) {
            lv_fill_handover(ctx, h, len, LV_HANDOVER_SMALL, 0);
            return XDP_DROP;
        }
    } else {
        h = bpf_ringbuf_reserve(&lv_handovers, LV_HANDOVER_LARGE, 0);
        if (h) {
            lv_fill_handover(ctx, h, len, LV_HANDOVER_LARGE, 0);
            return XDP_DROP;
        }
    }
    return lv_gate_drop(service, LV_R_HANDOVER_FULL);
}

/* Put the answer into the frame, which has its length. Returns 0 if it is in more than one buffer. Word by word: the
 * memcpy() in bpf_xdp_store_bytes() took a seventh of the whole time of an answer. */
LV_INLINE int lv_answer_copy(struct xdp_md *ctx, const u8 *answer, u32 len)
{
    enum { FIRST = 48 };
    u8 *data = (u8 *)(long)ctx->data, *end = (u8 *)(long)ctx->data_end;
    u32 at;

    if (data + FIRST > end || (u64)end - (u64)data < len)
        return 0;
    lv_copy(data, answer, FIRST);
    LV_ROLLED
    for (at = FIRST; at < LV_ANSWER_MAX_BYTES && at + 4 <= len; at += 4) {
        if (data + at + 4 > end)
            return 0;
        lv_store32(data + at, lv_load32(answer + at));
    }
    if (data + at + 2 > end) /* Ethernet's header is no multiple of 4 */
        return 0;
    lv_store16(data + at, lv_load16(answer + at));
    return 1;
}

/* Stage: turn the frame into the segment, with the link header `back`. Returns 0 if the kernel would not have it. */
__noinline int lv_turn_round(struct xdp_md *ctx)
{
    u32 len, have = (u32)bpf_xdp_get_buff_len(ctx);
    struct lv_scratch *s = lv_first(&lv_scratch);

    if (!s)
        return 0;
    len = lv_ether_write(s->frame, &s->back, s->segment.family);
    if (len > LV_ETHER_MAX_BYTES)
        return 0;
    len += lv_segment_write(s->frame + len, &s->segment);
    if (bpf_xdp_adjust_tail(ctx, (int)len - (int)have))
        return 0;
    if (lv_answer_copy(ctx, s->frame, len))
        return 1;
    len = lv_len_between(len, 54, LV_ANSWER_MAX_BYTES);
    return len && !bpf_xdp_store_bytes(ctx, 0, s->frame, len);
}

/* Stage: make the entry that answers a new SYN, in the scratch. Returns 0 if there is none. */
__noinline int lv_gate_fill(void)
{
    const struct lv_bpf_config *config = lv_first(&lv_config);
    const struct lv_cookie_keys *keys = lv_first(&lv_keys);
    struct lv_scratch *s = lv_first(&lv_scratch);
    struct lv_synack_env env = {keys, 0, 0, 0};
    const struct lv_services *services;
    struct lv_learned_sets *learned;
    u32 server;

    if (!config || !keys || !s)
        return 0;
    services = lv_services_now(s);
    server = lv_learned_index(&s->key.server, s->key.sport);
    learned = bpf_map_lookup_elem(&lv_learned, &server);
    if (!services || !learned)
        return 0;
    env.learned = learned->way;
    env.now_ms = lv_now_ms(s->now_ns);
    env.ts_offset = config->ts_offset;
    lv_half_fill(&s->half, &s->k, &s->key, &s->opts, lv_service_at(services, s->service), &s->back, &env);
    s->half.service = (u16)s->service;
    return 1;
}

/* Stage: is the checksum of a segment without data right, or left to a NIC that does not exist (CHECKSUM_PARTIAL on veth)? */
__noinline int lv_gate_believes_checksum(void)
{
    const struct lv_scratch *s = lv_first(&lv_scratch);
    u32 len, pseudo;

    if (!s)
        return 0;
    len = s->k.tcp.header_len;
    if (s->k.tcp.payload_len)
        return 1;
    len = lv_len_between(len, 20, LV_TCP_HEADER_MAX);
    if (!len)
        return 0;
    pseudo = lv_pseudo_sum(s->k.ip.family, &s->k.ip.src, &s->k.ip.dst, LV_IPPROTO_TCP, len);
    return lv_csum_fold(lv_csum_bytes(s->tcp, len, pseudo)) == 0xffff || lv_get16(s->tcp + 16) == lv_csum_fold(pseudo);
}

/* A signed SYN is the server's to judge. As lv_gate_syn() in gate.h. */
LV_INLINE int lv_gate_signed(const struct lv_scratch *s, const struct lv_service *sv)
{
    struct lv_guard *guard = bpf_map_lookup_elem(&lv_guards, &s->service);

    if (!guard || sv->signed_drop || !lv_guard_signed(guard, lv_now_ms(s->now_ns)))
        return lv_gate_drop(s->service, LV_R_SIGNED);
    lv_count_ev(s->service, LV_E_SIGNED);
    return lv_gate_pass(s->service);
}

/* Stage: a SYN to a protected service. */
__noinline int lv_gate_syn(struct xdp_md *ctx)
{
    u8 *data = (u8 *)(long)ctx->data, *end = (u8 *)(long)ctx->data_end;
    const struct lv_bpf_config *config = lv_first(&lv_config);
    struct lv_cookie_keys *keys = lv_first(&lv_keys);
    struct lv_scratch *s = lv_first(&lv_scratch);
    const struct lv_services *services;
    const struct lv_service *sv;
    struct lv_half_set set;
    struct lv_half *e;
    u16 window;
    u32 now_ms;
    int is_signed, answers;

    if (!config || !keys || !s || data + LV_ETHERNET_BYTES > end)
        return XDP_DROP;
    services = lv_services_now(s);
    if (!services || !lv_halves(config, &s->key, &set))
        return XDP_DROP;
    lv_half_prefetch(&set);
    sv = &services->service[s->service & (LV_SERVICES_MAX - 1)];
    window = sv->window_zero ? 0 : (u16)config->offered_window;
    lv_count_ev(s->service, LV_E_SYN_RECEIVED);
    is_signed = lv_read_options(1);
    if (!lv_gate_believes_checksum())
        return lv_gate_drop(s->service, LV_R_TCP_CHECKSUM);
    if (is_signed)
        return lv_gate_signed(s, sv);
    if (lv_daemon_is_late(config, s->now_ns)) /* nobody would keep the promise */
        return config->fail_open ? lv_gate_pass(s->service) : lv_gate_drop(s->service, LV_R_NO_DAEMON);
    lv_ether_make(&s->back, LV_OUTSIDE, data + 6, data, lv_tags_pack(&s->k), s->k.tci, 1);
    now_ms = lv_now_ms(s->now_ns);
    e = lv_half_find(&set, &s->key);
    if (lv_watch_waits(e, &s->k.tcp, now_ms))
        return lv_gate_drop(s->service, LV_R_SYN_WATCHED);
    if (!keys->slot[keys->current & 1].issued)
        keys->slot[keys->current & 1].issued = 1;
    answers = lv_half_answers(e, &s->k.tcp, now_ms);
    if (!answers && !lv_gate_fill())
        return XDP_DROP;
    lv_synack_segment(answers ? e : &s->half, window, &s->segment);
    if (!lv_turn_round(ctx))
        return lv_gate_drop(s->service, LV_R_NOT_CHANGED);
    if (!answers) /* after the answer: as lv_gate_syn() in gate.h */
        *(e ? e : lv_half_place(&set, now_ms)) = s->half;
    lv_count_both(s->service, LV_R_SYN_ANSWERED, LV_E_SYNACK_SENT);
    return XDP_TX;
}

/* Does the ACK belong to a half-open entry? As lv_half_expects() in gate.h. */
LV_INLINE int lv_gate_expects(const struct lv_bpf_config *config, const struct lv_cookie_keys *keys,
                              const struct lv_scratch *s)
{
    return lv_cookies_out(keys) && lv_half_proves(lv_half_of(config, &s->key), &s->k.tcp, config->offered_window);
}

/* Stage: does the ACK prove that its sender got our SYN-ACK, by its half-open entry or its cookie? Returns enum lv_reason. */
__noinline int lv_gate_proof(void)
{
    const struct lv_bpf_config *config = lv_first(&lv_config);
    const struct lv_cookie_keys *keys = lv_first(&lv_keys);
    const struct lv_scratch *s = lv_first(&lv_scratch);
    struct lv_cookie_bits bits;

    if (!config || !keys || !s)
        return LV_R_COOKIE_INVALID;
    if (lv_gate_expects(config, keys, s))
        return LV_R_COOKIE_ACCEPTED;
    return lv_cookie_check(keys, s->k.ip.family, &s->key.client, &s->key.server, s->key.cport, s->key.sport,
                           s->k.tcp.seq - 1, s->k.tcp.ack - 1, &bits);
}

/* Stage: the client of a watched handshake is proved: its connection is known from now on, and passes. `closed`: there is
 * the record of an old one. As lv_watch_opened() in watching.h. Returns 0 if it is not such a packet. */
__noinline int lv_gate_opened(int closed)
{
    const struct lv_bpf_config *config = lv_first(&lv_config);
    struct lv_scratch *s = lv_first(&lv_scratch);
    struct lv_conn c = {};
    struct lv_half *e;

    if (!config || !s)
        return 0;
    e = lv_half_of(config, &s->key);
    if (!lv_watch_proves(e, &s->k.tcp))
        return 0;
    if (closed)
        bpf_map_delete_elem(&lv_flows, &s->key);
    lv_watch_record(&c, e, (u16)s->service, lv_tags_pack(&s->k), lv_now_ms(s->now_ns));
    c.state = LV_FLOW_PASS;
    lv_flow_track_pass(&c, &s->k.tcp, LV_OUTSIDE, c.opened_ms);
    if (!config->pass_full)
        bpf_map_update_elem(&lv_flows, &s->key, &c, BPF_NOEXIST); /* full: it passes without being known */
    e->flags = 0;
    lv_count_ev(s->service, LV_E_WATCHED_DONE);
    return 1;
}

/* Does the packet prove that its sender got our SYN-ACK? A client that gives up at once says so too (RST+ACK), while
 * its ACK may still be on its way through user space: it goes the same way, behind it.
 * LIMIT: a bare RST proves nothing and is not handed over; the connection then ends as a silent one does. */
LV_INLINE int lv_gate_proves(const struct lv_scratch *s)
{
    return (s->k.tcp.flags & (LV_SYN | LV_ACK)) == LV_ACK && lv_gate_proof() == LV_R_COOKIE_ACCEPTED;
}

/* Tell user space whose source is to be blocked. Without room in the ring, or of a jumbo frame: by another packet. */
LV_INLINE void lv_gate_tell(struct xdp_md *ctx)
{
    u32 len = (u32)bpf_xdp_get_buff_len(ctx);
    struct lv_handover *h;

    if (len > LV_HANDOVER_SMALL - sizeof(*h))
        return;
    h = bpf_ringbuf_reserve(&lv_handovers, LV_HANDOVER_SMALL, 0);
    if (h)
        lv_fill_handover(ctx, h, len, LV_HANDOVER_SMALL, LV_HANDOVER_CATCH);
}

/* A proved client whose source has too much already. As lv_over_limit() in gate.h. */
LV_INLINE int lv_gate_over(struct xdp_md *ctx, struct lv_scratch *s, const struct lv_service *sv, struct lv_source *e,
                           enum lv_reason reason)
{
    u8 *data = (u8 *)(long)ctx->data, *end = (u8 *)(long)ctx->data_end;

    lv_count(s->service, reason);
    if (sv->source_over == LV_OVER_BLOCK && lv_source_tell(e, lv_now_ms(s->now_ns)))
        lv_gate_tell(ctx);
    if (sv->source_over != LV_OVER_RESET || data + LV_ETHERNET_BYTES > end)
        return XDP_DROP;
    lv_ether_make(&s->back, LV_OUTSIDE, data + 6, data, lv_tags_pack(&s->k), s->k.tci, 1);
    lv_source_reset(&s->segment, &s->k);
    return lv_turn_round(ctx) ? XDP_TX : XDP_DROP;
}

/*
 * Stage: hand a client that proved itself to user space, if its source may have one more connection. As lv_limits_judge()
 * in limits.h, which asks again and counts. A source that has just used up its limit may have this very connection in its
 * count: then its flow is in the map by now.
 */
__noinline int lv_gate_admit(struct xdp_md *ctx)
{
    const struct lv_bpf_config *config = lv_first(&lv_config);
    struct lv_scratch *s = lv_first(&lv_scratch);
    const struct lv_services *services;
    const struct lv_service *sv;
    enum lv_reason reason;
    struct lv_source *e;

    if (!config || !s)
        return XDP_DROP;
    services = lv_services_now(s);
    if (!services)
        return XDP_DROP;
    sv = lv_service_at(services, s->service);
    if (!lv_source_limited(sv) || (s->k.tcp.flags & LV_RST))
        return lv_hand_over(ctx, s->service);
    e = lv_source_of(config, s, sv, s->service);
    reason = lv_source_judge(e, sv, lv_now_ms(s->now_ns));
    if (reason != LV_R_COUNT && e && !(config->listed && lv_source_listed(&s->key.client) == LV_LISTED_ALLOWED)) {
        const struct lv_conn *c = bpf_map_lookup_elem(&lv_flows, &s->key);

        if (!c || (c->state != LV_FLOW_SYN_SENT && c->state != LV_FLOW_ESTABLISHED))
            return lv_gate_over(ctx, s, sv, e, reason);
    }
    return lv_hand_over(ctx, s->service);
}

/* Stage: a packet to a service that is only watched just now. As lv_watch_from_outside() in watching.h. */
__noinline int lv_gate_watch(struct xdp_md *ctx, int closed)
{
    const struct lv_bpf_config *config = lv_first(&lv_config);
    struct lv_scratch *s = lv_first(&lv_scratch);
    struct lv_half_set set;
    struct lv_guard *guard;
    struct lv_half *e;
    u32 now_ms;
    u8 flags;

    if (!config || !s)
        return XDP_PASS;
    guard = bpf_map_lookup_elem(&lv_guards, &s->service);
    if (!guard || !lv_halves(config, &s->key, &set))
        return XDP_PASS;
    now_ms = lv_now_ms(s->now_ns);
    flags = s->k.tcp.flags;
    e = lv_half_find(&set, &s->key);
    if ((flags & (LV_SYN | LV_ACK)) == LV_SYN) {
        /* Protection needs a daemon: without one it does not begin. */
        if (lv_half_answers(e, &s->k.tcp, now_ms) ||
            (!lv_daemon_is_late(config, s->now_ns) && lv_guard_syn(guard, now_ms)))
            return lv_gate_syn(ctx);
        if (closed)
            bpf_map_delete_elem(&lv_flows, &s->key);
        lv_read_options(1);
        lv_watch_syn(e ? e : lv_half_place(&set, now_ms), &s->key, &s->k.tcp, &s->opts, now_ms);
        lv_count_ev(s->service, LV_E_SYN_RECEIVED);
        lv_count_ev(s->service, LV_E_WATCHED);
        return lv_gate_pass(s->service);
    }
    if (lv_gate_opened(closed))
        return lv_gate_pass(s->service);
    if (lv_gate_proves(s))
        return lv_gate_admit(ctx);
    if (flags & LV_RST)
        lv_half_reset(e, &s->k.tcp);
    return lv_gate_pass(s->service);
}

enum { LV_GIVES_WAY = -1 };

/* A segment that proves nothing, of a connection that was opened since the gate looked for its flow: user space puts the
 * flow into the map first, and then gives up the half-open entry that spoke for the client until then. */
LV_INLINE int lv_gate_opened_since(struct xdp_md *ctx, const struct lv_scratch *s)
{
    const struct lv_cookie_keys *keys = lv_first(&lv_keys);
    const struct lv_conn *c;

    if (!keys || !lv_cookies_out(keys))
        return LV_GIVES_WAY;
    c = bpf_map_lookup_elem(&lv_flows, &s->key);
    if (c && c->state == LV_FLOW_SYN_SENT)
        return lv_hand_over(ctx, s->service);
    return c && c->state == LV_FLOW_ESTABLISHED ? XDP_PASS : LV_GIVES_WAY;
}

/* Stage: an ACK without an open flow. `known`: it fits a closed flow of this key; what is no cookie goes on. */
__noinline int lv_gate_ack(struct xdp_md *ctx, int known)
{
    const struct lv_bpf_config *config = lv_first(&lv_config);
    struct lv_scratch *s = lv_first(&lv_scratch);
    enum lv_reason reason;
    int verdict;

    if (!config || !s)
        return XDP_DROP;
    reason = (enum lv_reason)lv_gate_proof();
    if (reason == LV_R_COOKIE_ACCEPTED)
        return lv_gate_admit(ctx);
    if (known)
        return XDP_PASS;
    verdict = lv_gate_opened_since(ctx, s);
    if (verdict != LV_GIVES_WAY)
        return verdict;
    if (config->fail_open && lv_daemon_is_late(config, s->now_ns)) /* opened while nobody was at work */
        return lv_gate_pass(s->service);
    lv_count_both(s->service, reason, LV_E_COOKIE_BAD);
    return XDP_DROP;
}

/* A segment whose key has a flow: the splice's, except where the flow may give way to a new connection. */
LV_INLINE int lv_gate_known(struct xdp_md *ctx, const struct lv_scratch *s, const struct lv_services *services,
                            const struct lv_conn *c)
{
    u8 flags = s->k.tcp.flags;
    int syn = (flags & (LV_SYN | LV_ACK)) == LV_SYN, ack = (flags & (LV_SYN | LV_ACK | LV_RST)) == LV_ACK;

    switch (c->state) {
    case LV_FLOW_SYN_SENT: /* here, before GRO makes large packets of small ones */
        return lv_hand_over(ctx, s->service);
    case LV_FLOW_CLOSED:
    case LV_FLOW_PASS_CLOSED:
        if (syn)
            return LV_GIVES_WAY;
        if (!ack)
            return XDP_PASS;
        if (c->state == LV_FLOW_PASS_CLOSED || lv_fits_closed(c, &s->k.tcp))
            return lv_gate_ack(ctx, 1);
        return LV_GIVES_WAY;
    case LV_FLOW_PASS: /* as lv_refuses_syn() in engine.h: user space challenges the client */
        if (syn && !lv_syn_fits_passing(c, &s->k.tcp) && lv_protects(services, s->service) &&
            !lv_is_excepted(services, &s->k, &s->key.client))
            return lv_hand_over(ctx, s->service);
        return XDP_PASS;
    default: return XDP_PASS;
    }
}

/* A RST of no open connection: it may end a handshake. */
LV_INLINE int lv_gate_reset(struct xdp_md *ctx, const struct lv_scratch *s, const struct lv_bpf_config *config)
{
    int verdict;

    if (lv_gate_proves(s))
        return lv_hand_over(ctx, s->service);
    verdict = lv_gate_opened_since(ctx, s);
    if (verdict != LV_GIVES_WAY)
        return verdict;
    lv_half_reset(lv_half_of(config, &s->key), &s->k.tcp);
    return lv_gate_drop(s->service, LV_R_NO_FLOW);
}

/* From a blocked source to a protected service? Its open connections end here too. */
LV_INLINE int lv_gate_blocks(const struct lv_bpf_config *config, const struct lv_services *services,
                             const struct lv_scratch *s)
{
    return config->listed && lv_service_at(services, s->service)->protect &&
           lv_source_listed(&s->k.ip.src) == LV_LISTED_BLOCKED && !lv_is_excepted(services, &s->k, &s->k.ip.src);
}

/* A segment of no open connection. `closed`: there is the record of an old one. As lv_from_outside() in engine.h. */
LV_INLINE int lv_gate_new(struct xdp_md *ctx, struct lv_scratch *s, const struct lv_bpf_config *config,
                          const struct lv_services *services, int closed)
{
    const struct lv_cookie_keys *keys = lv_first(&lv_keys);
    u8 flags = s->k.tcp.flags;

    if (!lv_service_at(services, s->service)->protect || lv_is_excepted(services, &s->k, &s->key.client)) {
        if (closed && (flags & LV_SYN)) /* the server answers this one itself: the old numbers mean nothing to it */
            bpf_map_delete_elem(&lv_flows, &s->key);
        if (keys && (flags & (LV_SYN | LV_ACK | LV_RST)) == LV_ACK && lv_gate_expects(config, keys, s))
            return lv_gate_admit(ctx); /* we promised it a connection before */
        return lv_gate_pass(s->service);
    }
    if (!lv_protects(services, s->service))
        return lv_gate_watch(ctx, closed);
    if (lv_source_impossible(&s->k.ip))
        return lv_gate_drop(s->service, LV_R_IP_SOURCE);
    if ((flags & (LV_SYN | LV_ACK)) == LV_SYN)
        return lv_gate_syn(ctx);
    if ((flags & (LV_SYN | LV_ACK | LV_RST)) == LV_ACK) {
        if (config->watches && lv_gate_opened(closed)) /* its handshake began before protection did */
            return lv_gate_pass(s->service);
        return lv_gate_ack(ctx, 0);
    }
    if (flags & LV_RST)
        return lv_gate_reset(ctx, s, config);
    return lv_gate_drop(s->service, LV_R_NO_FLOW);
}

LV_INLINE int lv_gate_tcp(struct xdp_md *ctx, struct lv_scratch *s, const struct lv_bpf_config *config,
                          const struct lv_services *services)
{
    int verdict = LV_GIVES_WAY;
    struct lv_conn *c;

    lv_flow_key(&s->key, &s->k, LV_OUTSIDE);
    s->service = lv_ask_service(&s->k, &s->key.server, s->key.sport);
    if (lv_gate_blocks(config, services, s))
        return lv_gate_drop(s->service, LV_R_BLOCKED);
    c = bpf_map_lookup_elem(&lv_flows, &s->key);
    if (c)
        verdict = lv_gate_known(ctx, s, services, c);
    return verdict != LV_GIVES_WAY ? verdict : lv_gate_new(ctx, s, config, services, !!c);
}

/* Stage: read what an ICMP message quotes. */
__noinline int lv_gate_read_quote(struct xdp_md *ctx)
{
    struct lv_scratch *s = lv_first(&lv_scratch);

    if (!s)
        return LV_KIND_OTHER;
    return lv_read_quote(s, (u8 *)(long)ctx->data, (u8 *)(long)ctx->data_end);
}

/* ICMP errors about flows are rare: user space translates them. Those about no flow are echoes of our own SYN-ACKs. */
LV_INLINE int lv_gate_icmp(struct xdp_md *ctx, struct lv_scratch *s, const struct lv_bpf_config *config,
                           const struct lv_services *services)
{
    struct lv_conn *c;

    if (lv_gate_read_quote(ctx) != LV_KIND_ICMP_ERROR)
        return XDP_PASS;
    lv_flow_key_quoted(&s->key, &s->k, LV_OUTSIDE);
    s->service = lv_ask_service(&s->k, &s->key.server, s->key.sport);
    if (lv_gate_blocks(config, services, s))
        return lv_gate_drop(s->service, LV_R_BLOCKED);
    c = bpf_map_lookup_elem(&lv_flows, &s->key);
    if (c)
        return c->state == LV_FLOW_PASS || c->state == LV_FLOW_PASS_CLOSED ? XDP_PASS : lv_hand_over(ctx, s->service);
    if (lv_protects(services, s->service))
        return lv_gate_drop(s->service, LV_R_ICMP_NO_FLOW);
    return lv_gate_pass(s->service);
}

/* A first fragment with its TCP header: as lv_first_fragment_refused() in engine.h. */
LV_INLINE int lv_gate_refuses_fragment(struct lv_scratch *s, const struct lv_services *services)
{
    const struct lv_service *sv;

    s->service = lv_ask_service(&s->k, &s->k.ip.dst, s->k.tcp.dport);
    sv = lv_service_at(services, s->service);
    return lv_protects(services, s->service) && (!sv->fragments_pass || (s->k.tcp.flags & LV_SYN));
}

/* Junk and fragments have no ports (or none that can be believed): the address decides. */
LV_INLINE int lv_gate_portless(struct lv_scratch *s, const struct lv_bpf_config *config,
                               const struct lv_services *services, enum lv_reason reason)
{
    const struct lv_service *sv;

    if (!s->k.ip.family)
        return XDP_PASS; /* no IP header that could be read: the bridge may have it */
    s->service = lv_ask_service(&s->k, &s->k.ip.dst, 0);
    if (reason == LV_R_FRAGMENT && lv_gate_blocks(config, services, s))
        return lv_gate_drop(s->service, LV_R_BLOCKED);
    sv = lv_service_at(services, s->service);
    if (!lv_protects(services, s->service) || (reason == LV_R_FRAGMENT && sv->fragments_pass))
        return lv_gate_pass(s->service);
    return lv_gate_drop(s->service, reason);
}

LV_INLINE int lv_gate_frame(struct xdp_md *ctx)
{
    const struct lv_bpf_config *config = lv_first(&lv_config);
    struct lv_scratch *s = lv_first(&lv_scratch);
    const struct lv_services *services;
    int kind;

    if (!config || !s)
        return XDP_PASS;
    lv_begin(s, config);
    services = lv_services_now(s);
    if (!services)
        return XDP_PASS;
    kind = lv_gate_read(ctx);
    if (lv_gate_is_far(ctx, s, kind))
        kind = lv_gate_read_far(ctx);
    s->kind = (u32)kind;
    s->side = LV_OUTSIDE;
    switch (kind) {
    case LV_KIND_TCP:
        if (s->k.ip.fragment && lv_gate_refuses_fragment(s, services))
            return lv_gate_drop(s->service, LV_R_FRAGMENT);
        return lv_gate_tcp(ctx, s, config, services);
    case LV_KIND_ICMP_ERROR: return lv_gate_icmp(ctx, s, config, services);
    case LV_KIND_FRAGMENT: return lv_gate_portless(s, config, services, LV_R_FRAGMENT);
    case LV_KIND_JUNK: return lv_gate_portless(s, config, services, (enum lv_reason)s->k.ip.reason);
    default: return XDP_PASS;
    }
}

SEC("xdp.frags")
int lv_gate(struct xdp_md *ctx)
{
    int verdict;

    if (lv_tap_on())
        lv_gate_tap_before(ctx);
    verdict = lv_gate_frame(ctx);
    if (lv_tap_on())
        lv_gate_tap_after(ctx, verdict);
    return verdict;
}

char lv_license[] SEC("license") = "GPL";
