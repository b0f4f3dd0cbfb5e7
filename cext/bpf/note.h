/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Notes of the programs: what they refused, for the log of a service.
 *
 * Owns: the ring in which they wait. Included by: common.h. Must not know: how a program reads its packet. While no service
 * has a log a refused packet costs a look at the configuration. Full: no note; the packet is left out of the log.
 * Connections are opened, and refused by their servers, in user space: core/noting.h.
 */
#ifndef LV_BPF_NOTE_H
#define LV_BPF_NOTE_H

#include "../core/note.h"

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1 << 16);
} lv_notes SEC(".maps");

LV_INLINE int lv_notes_wanted(void)
{
    const struct lv_bpf_config *config = lv_first(&lv_config);

    return config && config->logs;
}

/* The packet in hand was refused. Not static: verified by itself. */
__noinline int lv_note_refused(u32 service, u32 reason)
{
    struct lv_scratch *s = lv_first(&lv_scratch);
    const struct lv_services *services;
    struct lv_guard *guard;
    struct lv_note *n;

    if (!s)
        return 0;
    services = lv_services_now(s);
    guard = bpf_map_lookup_elem(&lv_guards, &service);
    if (!services || !guard)
        return 0;
    if (!lv_note_wanted(&services->service[service & (LV_SERVICES_MAX - 1)], guard, LV_NOTED_REFUSED,
                        lv_now_ms(s->now_ns)))
        return 0;
    n = bpf_ringbuf_reserve(&lv_notes, sizeof(*n), 0);
    if (!n)
        return 0;
    lv_note_packet(n, &s->k, s->kind, service, reason, s->side);
    bpf_ringbuf_submit(n, BPF_RB_NO_WAKEUP);
    return 0;
}

/* Counted, for such a reason. */
LV_INLINE void lv_note_tell(u32 service, u32 reason)
{
    if (lv_is_refusal(reason) && LV_UNLIKELY(lv_notes_wanted()))
        lv_note_refused(service, reason);
}

#endif
