/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * ICMP errors about TCP connections: the quoted segment is put into the numbering of whoever sent it, and an error
 * about our SYN to a server is the client's to hear.
 *
 * Owns: lv_icmp(). Called by: engine. Must not know: ICMP that is not an error (it passes).
 * Sources: RFC 792, RFC 4443, RFC 5927 (an error is believed only for a sequence number in flight).
 */
#ifndef LV_ICMP_H
#define LV_ICMP_H

#include "handshake.h"
#include "splice.h"

/* An error that means the packet was too big is about the path, not about the connection. */
LV_INLINE int lv_icmp_is_too_big(const struct lv_pkt *k)
{
    return k->ip.family == 4 ? k->icmp_type == 3 && k->icmp_code == 4 : k->icmp_type == 2;
}

LV_INLINE int lv_icmp_is_unreachable(const struct lv_pkt *k)
{
    return k->ip.family == 4 ? k->icmp_type == 3 && k->icmp_code != 4 : k->icmp_type == 1;
}

LV_INLINE enum lv_verdict lv_icmp_about_flow(struct lv_worker *w, struct lv_flow *f, u32 hash, struct lv_pkt *k,
                                             enum lv_side side)
{
    struct lv_csum_diff d = {0};
    u16 service = f->c.service;
    u8 *t = k->quoted.l4;
    int odd = (int)(t - k->ip.l4) & 1;

    if (f->c.state == LV_FLOW_PASS || f->c.state == LV_FLOW_PASS_CLOSED)
        return lv_pass(w, service);
    if (side == LV_OUTSIDE) { /* quotes a segment of the server as the client would have seen it */
        u32 seq = k->tcp.seq - f->c.seq_delta;

        if (f->c.state == LV_FLOW_SYN_SENT || !lv_within(seq, f->c.c_ack - 1, f->c.s_nxt))
            return lv_drop(w, service, LV_R_ICMP_INVALID);
        lv_change32(&d, t + 4, seq, odd);
    } else { /* quotes a segment of the client, or our SYN in its name */
        if (!lv_within(k->tcp.seq, f->c.s_ack - 1, f->c.c_nxt))
            return lv_drop(w, service, LV_R_ICMP_INVALID);
        if (f->c.state == LV_FLOW_SYN_SENT) {
            if (lv_icmp_is_unreachable(k))
                lv_refuse(w, f, hash, LV_E_REFUSED);
            return lv_drop(w, service, lv_icmp_is_too_big(k) ? LV_R_ICMP_INVALID : LV_R_ICMP_CONSUMED);
        }
        if (k->quoted_ack)
            lv_change32(&d, t + 8, k->tcp.ack + f->c.seq_delta, odd);
    }
    if (t + 18 <= k->quoted.end) { /* long enough to carry the quoted segment's own checksum */
        u16 was = lv_get16(t + 16);

        lv_diff_apply(&d, t + 16);
        lv_diff16(&d, was, lv_get16(t + 16));
    }
    lv_diff_apply(&d, k->ip.l4 + 2);
    lv_count_event(w, service, LV_E_TRANSLATED);
    return LV_REWRITE;
}

LV_INLINE enum lv_verdict lv_icmp(struct lv_worker *w, struct lv_pkt *k, enum lv_side side)
{
    struct lv_table *table = &w->ctx->table;
    const struct lv_services *services = lv_services_of(w);
    enum lv_verdict verdict;
    struct lv_flow *f;
    struct lv_key key;
    u16 service;
    u32 hash;

    lv_flow_key_quoted(&key, k, side);
    hash = lv_table_hash(table, &key);
    lv_lock(lv_table_lock(table, hash));
    f = lv_table_find(table, &key, hash);
    if (f) {
        verdict = lv_icmp_about_flow(w, f, hash, k, side);
    } else {
        service = lv_service_find(services, &key.server, key.sport, k);
        if (side == LV_OUTSIDE && lv_protects(w, service)) /* echo of our SYN-ACKs to forged sources */
            verdict = lv_drop(w, service, LV_R_ICMP_NO_FLOW);
        else
            verdict = lv_pass(w, service);
    }
    lv_unlock(lv_table_lock(table, hash));
    return verdict;
}

#endif
