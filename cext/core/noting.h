/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Notes of the engine in user space: a ring of each worker, from the packet path to the daemon's log.
 *
 * Owns: the ring: one writer (the worker), one reader (notes.pyx). Called by: engine.h, handshake.h, kernelflows.h.
 * Must not know: words. Full: there is no note, and the packet is left out of the log as those beyond the limit are.
 */
#ifndef LV_NOTING_H
#define LV_NOTING_H

#include "note.h"
#include "worker.h"

enum { LV_NOTES = 512 }; /* a power of two */

struct lv_notes {
    u32 head; /* the worker's */
    u32 tail; /* the reader's */
    struct lv_note note[LV_NOTES];
};

/* Where the next note of this service goes; 0 if there is to be none. */
LV_INLINE struct lv_note *lv_note_place(struct lv_worker *w, u16 service, enum lv_noted noted)
{
    const struct lv_service *sv = &lv_services_of(w)->service[service];
    struct lv_notes *notes = __atomic_load_n(&w->notes, __ATOMIC_ACQUIRE);

    if (LV_LIKELY(!sv->log[noted].most) || !notes)
        return 0;
    if (notes->head - __atomic_load_n(&notes->tail, __ATOMIC_ACQUIRE) == LV_NOTES)
        return 0;
    if (!lv_note_wanted(sv, &w->ctx->guard[service], noted, w->now_ms))
        return 0;
    return &notes->note[notes->head % LV_NOTES];
}

/* The note is filled. */
LV_INLINE void lv_note_put(struct lv_worker *w)
{
    __atomic_store_n(&w->notes->head, w->notes->head + 1, __ATOMIC_RELEASE);
}

/* A packet was dropped; the worker knows why, and for which service. */
LV_INLINE void lv_note_dropped(struct lv_worker *w, const struct lv_pkt *k, enum lv_kind kind, enum lv_side side)
{
    struct lv_note *n;

    if (!lv_is_refusal(w->reason))
        return;
    n = lv_note_place(w, w->dropped_of, LV_NOTED_REFUSED);
    if (LV_UNLIKELY(n != 0)) {
        lv_note_packet(n, k, kind, w->dropped_of, w->reason, side);
        lv_note_put(w);
    }
}

/* What became of a client's connection: enum lv_reason, or LV_R_COUNT + enum lv_event. */
LV_INLINE void lv_note_became(struct lv_worker *w, const struct lv_key *key, u16 service, u32 why)
{
    enum lv_noted noted = why == LV_R_COUNT + LV_E_OPENED ? LV_NOTED_OPENED : LV_NOTED_REFUSED;
    struct lv_note *n = lv_note_place(w, service, noted);

    if (LV_UNLIKELY(n != 0)) {
        lv_note_client(n, key, service, why);
        lv_note_put(w);
    }
}

/* Take the oldest note out; returns 0 if there is none. The reader's thread. */
LV_INLINE int lv_note_take(struct lv_notes *notes, struct lv_note *out)
{
    if (notes->tail == __atomic_load_n(&notes->head, __ATOMIC_ACQUIRE))
        return 0;
    *out = notes->note[notes->tail % LV_NOTES];
    __atomic_store_n(&notes->tail, notes->tail + 1, __ATOMIC_RELEASE);
    return 1;
}

#endif
