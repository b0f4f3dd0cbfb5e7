/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * At most so many of something in a period: how many lines the log of a service gets.
 *
 * Owns: struct lv_meter, struct lv_most. Called by: note.h, the programs. Must not know: what is counted.
 *
 * Used up, it is only read until its period is over: what comes then costs a comparison, however much it is. Several
 * processors may pass it at once, each with one more than there are to be.
 */
#ifndef LV_METER_H
#define LV_METER_H

#include "base.h"

enum { LV_METER_APART_MS = 60000 }; /* the clocks of two workers, at most */

struct lv_most {
    u32 most; /* in a period; 0: none */
    u32 period_ms;
};

struct lv_meter {
    u32 began_ms; /* the present period */
    u32 passed;   /* in it */
};

/* One more? */
LV_INLINE int lv_meter_passes(struct lv_meter *m, const struct lv_most *limit, u32 now_ms)
{
    u32 age_ms = now_ms - *(volatile u32 *)&m->began_ms;

    if (!limit->most)
        return 0;
    if (age_ms >= limit->period_ms && age_ms < 0u - LV_METER_APART_MS) {
        *(volatile u32 *)&m->began_ms = now_ms;
        *(volatile u32 *)&m->passed = 0;
    }
    if (*(volatile u32 *)&m->passed >= limit->most)
        return 0;
    __sync_fetch_and_add(&m->passed, 1);
    return 1;
}

#endif
