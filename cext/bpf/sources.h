/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the gate knows of sources: the operator's lists.
 *
 * Owns: their map, and the question. Included by: gate.bpf.c. Must not know: services.
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

#endif
