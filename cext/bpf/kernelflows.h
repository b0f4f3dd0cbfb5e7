/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Flows that live in a BPF map, seen from user space: a packet that was handed over is processed by the same engine as in
 * the nfqueue engine, on a record that is copied in before and out after.
 *
 * Owns: the copying, the sweep of the map. Called by: bpfengine.pyx. Must not know: how packets are handed over, what the
 * programs do. The table in user space holds nothing but handshakes (their timers and early data are here); the map holds
 * every flow, a handshake too, so that the programs know whose packets to hand over, and a successor whom to serve.
 *
 * A record is copied out before anything that was sent because of it leaves: the server's first data finds its flow open.
 * The programs change open flows at any time, so an open flow is never written back.
 */
#ifndef LV_BPF_KERNELFLOWS_H
#define LV_BPF_KERNELFLOWS_H

#include <bpf/bpf.h>
#include <errno.h>

#include "../core/engine.h"

enum { LV_SWEEP_BATCH = 1024 };

struct lv_kernel_flows {
    int fd;
    struct lv_worker *w;
    u32 capacity;           /* of the map: a predecessor's may be of another size than the configuration's */
    u64 errors;             /* of the map's system calls, except those that are answers */
    u32 used, passing;      /* as the last whole sweep found them */
    u32 seen, seen_passing; /* by this one */
    u32 cursor, has_cursor;
    struct lv_key *keys; /* LV_SWEEP_BATCH */
    struct lv_conn *conns;
};

static void lv_kernel_forget(void *owner, const struct lv_key *key)
{
    struct lv_kernel_flows *kf = owner;

    if (bpf_map_delete_elem(kf->fd, key) && errno != ENOENT)
        kf->errors++;
}

/* Take a record out of the table here, not out of the map. */
LV_INLINE void lv_kernel_release(struct lv_kernel_flows *kf, struct lv_flow *f, u32 hash)
{
    lv_hold_release(&kf->w->ctx->hold, &f->c.hold);
    lv_table_remove(&kf->w->ctx->table, f, hash);
}

/* Copy the map's record in. Returns the record here, 0 if there is none in the map (or no room here). */
LV_INLINE struct lv_flow *lv_kernel_import(struct lv_kernel_flows *kf, const struct lv_key *key, u32 hash)
{
    struct lv_table *t = &kf->w->ctx->table;
    struct lv_flow *f = lv_table_find(t, key, hash);
    struct lv_conn c;

    if (bpf_map_lookup_elem(kf->fd, key, &c)) {
        if (errno != ENOENT)
            kf->errors++;
        if (f)
            lv_kernel_release(kf, f, hash);
        return 0;
    }
    if (f && f->c.state == LV_FLOW_SYN_SENT && c.state == LV_FLOW_SYN_SENT)
        return f; /* ours is the newer one: it has the early data */
    if (!f) {
        f = lv_table_insert(t, key, hash);
        if (!f)
            return 0;
    } else {
        lv_hold_release(&kf->w->ctx->hold, &f->c.hold);
    }
    c.next = f->c.next;
    c.hold = 0;
    c.tries = 0;
    f->c = c;
    if (c.state == LV_FLOW_SYN_SENT) /* of a predecessor */
        lv_syn_timer(kf->w, f);
    return f;
}

/* Copy a record out. Returns 0, or -1 if the map is full. */
LV_INLINE int lv_kernel_export(struct lv_kernel_flows *kf, const struct lv_flow *f)
{
    struct lv_conn c = f->c;

    c.hold = 0;
    c.next = 0;
    if (!bpf_map_update_elem(kf->fd, &f->key, &c, BPF_ANY))
        return 0;
    if (errno != E2BIG && errno != ENOMEM)
        kf->errors++;
    return -1;
}

/* The programs see packets before a NIC, or what stands in for one, has completed their checksum (CHECKSUM_PARTIAL).
 * From here they leave by a socket, where nobody does it; and translation must find a whole sum to correct. */
LV_INLINE void lv_kernel_complete(const struct lv_ip *ip)
{
    if (!ip->fragment && (u32)(ip->end - ip->l3) >= ip->total && lv_tcp_checksum_is_partial(ip) &&
        !lv_tcp_checksum_ok(ip))
        lv_tcp_checksum_complete(ip);
}

/* Take a packet in: complete its checksum, find the key of the flow that it is about. 0 if it is about none. */
LV_INLINE int lv_kernel_take(const struct lv_frame *f, struct lv_key *key)
{
    enum lv_side side = f->side == LV_INSIDE ? LV_INSIDE : LV_OUTSIDE;
    struct lv_pkt k;

    lv_frame_begin(&k, f);
    switch (lv_parse(&k, f->data, f->data + f->len, f->proto)) {
    case LV_KIND_TCP:
        lv_kernel_complete(&k.ip);
        lv_flow_key(key, &k, side);
        return 1;
    case LV_KIND_ICMP_ERROR: lv_flow_key_quoted(key, &k, side); return 1;
    default: return 0;
    }
}

/* A copy of a SYN-ACK that goes past the box. */
static void lv_kernel_learn(struct lv_kernel_flows *kf, const struct lv_frame *f)
{
    struct lv_worker *w = kf->w;
    struct lv_key key;
    struct lv_pkt k;

    lv_frame_begin(&k, f);
    if (lv_parse(&k, f->data, f->data + f->len, f->proto) != LV_KIND_TCP)
        return;
    lv_flow_key(&key, &k, LV_INSIDE);
    lv_watch_learn(w, &k, &key, lv_service_find(lv_services_of(w), &key.server, key.sport, &k));
}

/* A client that proved itself, whose source is to be blocked: its packet goes no further. */
static void lv_kernel_catch(struct lv_kernel_flows *kf, const struct lv_frame *f)
{
    struct lv_worker *w = kf->w;
    struct lv_key key;
    struct lv_pkt k;

    lv_frame_begin(&k, f);
    if (lv_parse(&k, f->data, f->data + f->len, f->proto) != LV_KIND_TCP)
        return;
    lv_flow_key(&key, &k, LV_OUTSIDE);
    lv_catch_put(&w->ctx->catches, &key.client, lv_service_find(lv_services_of(w), &key.server, key.sport, &k));
}

/* The flow of a half-open entry is in the map. Until then the entry alone tells the gate that the client's further
 * segments, which may be right behind its first, are proved too. */
LV_INLINE void lv_kernel_proved(struct lv_worker *w, const struct lv_key *key)
{
    struct lv_half *e = lv_half_of(w, key);

    if (e)
        e->flags = 0;
}

/* A FIN on an open flow, handed over while its handshake went on: the programs have to know of it, or the flow would stay
 * open for hours. Their record is read again; what they change between this and the update is in their next packet too. */
LV_INLINE void lv_kernel_note_fin(struct lv_kernel_flows *kf, const struct lv_flow *f)
{
    const u8 fins = LV_F_FIN_C | LV_F_FIN_S;
    struct lv_conn c;

    if (bpf_map_lookup_elem(kf->fd, &f->key, &c) || c.state != LV_FLOW_ESTABLISHED)
        return;
    if ((f->c.flags & ~c.flags) & LV_F_FIN_C)
        c.fin_c = f->c.fin_c;
    if ((f->c.flags & ~c.flags) & LV_F_FIN_S)
        c.fin_s = f->c.fin_s;
    c.flags |= f->c.flags & fins;
    if (lv_after(f->c.c_nxt, c.c_nxt))
        c.c_nxt = f->c.c_nxt;
    if (lv_after(f->c.s_nxt, c.s_nxt))
        c.s_nxt = f->c.s_nxt;
    if (bpf_map_update_elem(kf->fd, &f->key, &c, BPF_EXIST) && errno != ENOENT)
        kf->errors++;
}

/* A packet that the programs handed over. */
LV_INLINE enum lv_verdict lv_kernel_packet(struct lv_kernel_flows *kf, struct lv_frame *frame)
{
    struct lv_worker *w = kf->w;
    struct lv_table *t = &w->ctx->table;
    u32 queued = w->outq.n, hash, before = LV_FLOW_FREE, ended = 0;
    enum lv_verdict verdict;
    struct lv_flow *f;
    struct lv_key key;

    if (!lv_kernel_take(frame, &key))
        return lv_engine_packet(w, frame);
    hash = lv_table_hash(t, &key);
    f = lv_kernel_import(kf, &key, hash);
    if (f) {
        before = f->c.state;
        ended = f->c.flags & (LV_F_FIN_C | LV_F_FIN_S);
    }
    verdict = lv_engine_packet(w, frame);
    f = lv_table_find(t, &key, hash);
    if (!f)
        return verdict;
    if ((f->c.state != before || before == LV_FLOW_SYN_SENT) && lv_kernel_export(kf, f)) {
        w->outq.n = queued; /* nobody would translate it: as if the table here were full */
        lv_count_drop(w, f->c.service, LV_R_FLOW_TABLE_FULL);
        lv_note_became(w, &key, f->c.service, LV_R_FLOW_TABLE_FULL);
        lv_kernel_release(kf, f, hash);
        return LV_DROP;
    }
    if (before == LV_FLOW_ESTABLISHED && f->c.state == before && (f->c.flags & (LV_F_FIN_C | LV_F_FIN_S)) != ended)
        lv_kernel_note_fin(kf, f);
    if (f->c.state == LV_FLOW_SYN_SENT && before != LV_FLOW_SYN_SENT) {
        lv_kernel_proved(w, &key);
        lv_limits_begun(w, &key, &f->c); /* not before: the gate believes the count, unless it finds the flow */
    }
    if (f->c.state != LV_FLOW_SYN_SENT)
        lv_kernel_release(kf, f, hash);
    return verdict;
}

/* One record of the sweep. */
LV_INLINE void lv_kernel_sweep_one(struct lv_kernel_flows *kf, const struct lv_key *key, const struct lv_conn *c,
                                   int crowded)
{
    struct lv_table *t = &kf->w->ctx->table;
    struct lv_conn now;

    kf->seen++;
    kf->seen_passing += c->state == LV_FLOW_PASS || c->state == LV_FLOW_PASS_CLOSED;
    lv_limits_saw(kf->w, key, c);
    if (c->state == LV_FLOW_SYN_SENT) {
        u32 hash = lv_table_hash(t, key);

        if (!lv_table_find(t, key, hash))
            lv_kernel_import(kf, key, hash); /* a predecessor's handshake goes on here */
        return;
    }
    if (!lv_is_idle(c, kf->w->now_ms, crowded))
        return;
    if (bpf_map_lookup_elem(kf->fd, key, &now) || !lv_is_idle(&now, kf->w->now_ms, crowded))
        return; /* it moved meanwhile */
    if (now.state == LV_FLOW_ESTABLISHED)
        lv_count_event(kf->w, now.service, LV_E_EXPIRED);
    if (lv_conn_counts(&now))
        lv_limits_changed(kf->w, key, &now, -1);
    lv_kernel_forget(kf, key);
}

/* Look at the next LV_SWEEP_BATCH records of the map (about), and forget what has been silent for too long. */
LV_INLINE void lv_kernel_sweep(struct lv_kernel_flows *kf)
{
    u32 n = LV_SWEEP_BATCH, next, i;
    int crowded = lv_is_crowded(kf->used, kf->passing, kf->capacity), failed;

    if (!kf->has_cursor)
        lv_limits_round(kf->w);
    failed = bpf_map_lookup_batch(kf->fd, kf->has_cursor ? &kf->cursor : 0, &next, kf->keys, kf->conns, &n, 0);

    if (failed && errno != ENOENT) {
        kf->errors++;
        n = 0;
    }
    for (i = 0; i < n && i < LV_SWEEP_BATCH; i++)
        lv_kernel_sweep_one(kf, &kf->keys[i], &kf->conns[i], crowded);
    if (failed) { /* that was the last of them */
        kf->used = kf->seen;
        kf->passing = kf->seen_passing;
        kf->seen = kf->seen_passing = 0;
    } else {
        kf->cursor = next;
    }
    kf->has_cursor = !failed;
}

/* Begin with a map: count what a predecessor left, take up its handshakes. */
static void lv_kernel_start(struct lv_kernel_flows *kf)
{
    kf->w->ctx->on_forget = lv_kernel_forget;
    kf->w->ctx->owner = kf;
    do
        lv_kernel_sweep(kf);
    while (kf->has_cursor);
}

#endif
