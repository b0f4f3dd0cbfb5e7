/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A question to the flow table: which connections an operator wants to see.
 *
 * Owns: struct lv_flow_query and the comparison. Called by: dataplane.pyx (records in memory), bpfengine.pyx (records of
 * the map). Must not know: where records are kept. User space only: nothing of this runs for a packet.
 */
#ifndef LV_FLOWQUERY_H
#define LV_FLOWQUERY_H

#include <string.h>

#include "flow.h"

struct lv_flow_query {
    u8 client_lo[16], client_hi[16]; /* both ends inside, as in struct lv_addr */
    u8 server_lo[16], server_hi[16];
    u16 port_lo, port_hi; /* of the server */
    u32 states;           /* bit for each enum lv_flow_state */
    s32 service;          /* -1: any */
};

LV_INLINE int lv_addr_between(const struct lv_addr *a, const u8 *lo, const u8 *hi)
{
    return memcmp(a->b, lo, 16) >= 0 && memcmp(a->b, hi, 16) <= 0;
}

/* Is this a record that was asked for? A free one never is. */
LV_INLINE int lv_flow_asked(const struct lv_flow_query *q, const struct lv_key *key, const struct lv_conn *c)
{
    return c->state != LV_FLOW_FREE && c->state < LV_FLOW_STATES && (q->states >> c->state & 1) &&
           (q->service < 0 || c->service == (u32)q->service) && key->sport >= q->port_lo && key->sport <= q->port_hi &&
           lv_addr_between(&key->client, q->client_lo, q->client_hi) &&
           lv_addr_between(&key->server, q->server_lo, q->server_hi);
}

#endif
