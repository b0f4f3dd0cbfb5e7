/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the programs know of sources: the operator's lists, and what each source that proved itself has open.
 *
 * Owns: their maps, and the questions. Included by: gate.bpf.c, splice.bpf.c. Must not know: what becomes of a packet.
 * Entries are made by user space alone, which counts a connection when its record is in the map of flows.
 */
#ifndef LV_BPF_SOURCES_H
#define LV_BPF_SOURCES_H

#include "common.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 2);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, u32);
    __type(value, struct lv_lists);
} lv_list_tables SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1); /* sets; resized before loading */
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, u32);
    __type(value, struct lv_source_sets);
} lv_sources SEC(".maps");

/* Returns enum lv_listed. Not static: verified by itself. */
__noinline int lv_source_listed(const struct lv_addr *addr)
{
    const struct lv_bpf_config *config = lv_first(&lv_config);
    const struct lv_lists *lists;
    u32 which;

    if (!addr || !config)
        return LV_LISTED_NOT;
    which = config->lists & 1;
    lists = bpf_map_lookup_elem(&lv_list_tables, &which);
    return lists ? (int)lv_listed(lists, addr) : LV_LISTED_NOT;
}

/* The entry of the source of the packet's connection, 0 if it has none. */
LV_INLINE struct lv_source *lv_source_of(const struct lv_bpf_config *config, const struct lv_scratch *s,
                                         const struct lv_service *sv, u32 service)
{
    u64 tag = lv_source_tag(&config->source_key, sv, (u16)service, &s->key.client);
    u32 index = lv_source_index(tag, config->source_sets_mask);
    struct lv_source_sets *set = bpf_map_lookup_elem(&lv_sources, &index);

    return set ? lv_source_find(set->way, tag) : 0;
}

/* Stage: the packet's connection is open no longer (by = -1), or again (by = 1). As lv_limits_changed() in limits.h. */
__noinline int lv_source_changed(int by)
{
    const struct lv_bpf_config *config = lv_first(&lv_config);
    const struct lv_scratch *s = lv_first(&lv_scratch);
    const struct lv_services *services;
    const struct lv_service *sv;
    struct lv_source *e;
    u32 service;

    if (!config || !s)
        return 0;
    services = lv_services_now(s);
    if (!services)
        return 0;
    service = lv_ask_service(&s->k, &s->key.server, s->key.sport);
    sv = lv_service_at(services, service);
    e = lv_source_limited(sv) ? lv_source_of(config, s, sv, service) : 0;
    if (e)
        lv_source_change(e, by < 0 ? -1 : 1);
    return 0;
}

#endif
