/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Limits of sources, as the rooms in user space ask for them and keep their counts.
 *
 * Owns: when a connection counts: from the client's proof to its end by FIN, RST or silence, while it is translated. One
 * that only passes does not. Called by: gate, handshake, splice, engine, kernelflows.h. Must not know: how the table of
 * sources is kept (sources.h).
 */
#ifndef LV_LIMITS_H
#define LV_LIMITS_H

#include "flow.h"
#include "sources.h"
#include "worker.h"

LV_INLINE int lv_conn_counts(const struct lv_conn *c)
{
    return c->state == LV_FLOW_SYN_SENT || c->state == LV_FLOW_ESTABLISHED;
}

/* The service of a connection, from its key and tags alone: the number in its record may be a predecessor's. */
LV_INLINE u16 lv_service_of_conn(const struct lv_services *s, const struct lv_key *key, u8 tags)
{
    struct lv_pkt k;

    k.tags = tags & 0xf;
    k.tci[0] = key->vid[0];
    k.tci[1] = key->vid[1];
    return lv_service_find(s, &key->server, key->sport, &k);
}

/* The limits that hold for a connection, 0: none. `tag`: what stands for its source. */
LV_SHARED const struct lv_service *lv_limits_of(const struct lv_worker *w, const struct lv_key *key, u8 tags, u64 *tag)
{
    const struct lv_services *services = lv_services_of(w);
    const struct lv_service *sv;
    u16 service;

    if (!services->has_limits)
        return 0;
    service = lv_service_of_conn(services, key, tags);
    sv = &services->service[service];
    if (!lv_source_limited(sv))
        return 0;
    *tag = lv_source_tag(&w->ctx->sources.key, sv, service, &key->client);
    return sv;
}

/* May a client that proved itself have one more connection? Returns LV_R_COUNT or why not; then *tell says whether the
 * daemon is to be told. Whom the operator allows is never over a limit. */
LV_SHARED enum lv_reason lv_limits_judge(struct lv_worker *w, const struct lv_service *sv, u16 service,
                                         const struct lv_addr *client, int *tell)
{
    const struct lv_lists *lists = lv_lists_of(w);
    enum lv_reason reason;
    struct lv_source *e;
    u64 tag;

    *tell = 0;
    if (!lv_source_limited(sv))
        return LV_R_COUNT;
    tag = lv_source_tag(&w->ctx->sources.key, sv, service, client);
    e = lv_source_find(lv_source_set(&w->ctx->sources, tag), tag);
    reason = lv_source_judge(e, sv, w->now_ms);
    if (reason == LV_R_COUNT || (lists && lv_listed(lists, client) == LV_LISTED_ALLOWED))
        return LV_R_COUNT;
    *tell = sv->source_over == LV_OVER_BLOCK && lv_source_tell(e, w->now_ms);
    return reason;
}

/* A client's connection begins: its record is where everybody finds it. */
LV_SHARED void lv_limits_begun(struct lv_worker *w, const struct lv_key *key, const struct lv_conn *c)
{
    u64 tag;
    const struct lv_service *sv = lv_limits_of(w, key, c->tags, &tag);
    struct lv_source *e = sv ? lv_source_have(&w->ctx->sources, tag, w->now_ms, 1) : 0;

    if (e)
        lv_source_begin(e, sv, w->now_ms);
}

/* A connection is open no longer (by = -1), or again (by = 1). */
LV_SHARED void lv_limits_changed(struct lv_worker *w, const struct lv_key *key, const struct lv_conn *c, s32 by)
{
    u64 tag;
    const struct lv_service *sv = lv_limits_of(w, key, c->tags, &tag);
    struct lv_source *e = sv ? lv_source_find(lv_source_set(&w->ctx->sources, tag), tag) : 0;

    if (e)
        lv_source_change(e, by);
}

/* The sweep begins with the first connection. */
LV_INLINE void lv_limits_round(struct lv_worker *w)
{
    lv_sources_round(&w->ctx->sources, !!lv_services_of(w)->has_limits, w->now_ms);
}

/* The sweep meets a connection. */
LV_SHARED void lv_limits_saw(struct lv_worker *w, const struct lv_key *key, const struct lv_conn *c)
{
    const struct lv_service *sv;
    struct lv_source *e;
    u64 tag;

    if (!w->ctx->sources.sweeping || !lv_conn_counts(c))
        return;
    sv = lv_limits_of(w, key, c->tags, &tag);
    e = sv ? lv_source_have(&w->ctx->sources, tag, w->now_ms, 0) : 0;
    if (e)
        __sync_fetch_and_add(&e->seen, 1);
}

#endif
