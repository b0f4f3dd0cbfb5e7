/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The gate's side of a capture: frames before it, and what became of them.
 *
 * Owns: when a frame is the gate's to report. Included by: gate.bpf.c. Must not know: what is wanted (tap.h).
 */
#ifndef LV_BPF_GATETAP_H
#define LV_BPF_GATETAP_H

#include "common.h"

/* Copy the frame into the hand. 0, or an error. */
LV_INLINE int lv_gate_copy(struct xdp_md *ctx, struct lv_tapped *t, u32 kept)
{
    u32 len = lv_tap_load_bytes(kept);

    if (!len || bpf_xdp_load_bytes(ctx, 0, t->bytes, len))
        return -1;
    t->c.kept = kept;
    return 0;
}

/* While packets are captured: the frame as it came. */
__noinline int lv_gate_tap_before(struct xdp_md *ctx)
{
    struct lv_scratch *s = lv_first(&lv_scratch);
    struct lv_tapped *t = lv_first(&lv_tap);

    if (!s || !t)
        return 0;
    lv_tap_forget(s);
    return lv_gate_copy(ctx, t, lv_tap_begin(t, (u32)bpf_xdp_get_buff_len(ctx)));
}

/* And what became of it. The splice has what passes, user space what is handed over. */
__noinline int lv_gate_tap_after(struct xdp_md *ctx, int verdict)
{
    struct lv_scratch *s = lv_first(&lv_scratch);
    struct lv_tapped *t = lv_first(&lv_tap);

    if (!s || !t || !t->c.kept || t->c.reason == LV_R_COUNT || verdict == XDP_PASS)
        return 0;
    t->c.service = lv_tap_service(s, LV_OUTSIDE);
    lv_tap_put(t, &s->k.ip, LV_OUTSIDE, LV_FATE_DROPPED);
    if (verdict == XDP_TX && !lv_gate_copy(ctx, t, lv_tap_begin(t, (u32)bpf_xdp_get_buff_len(ctx))))
        lv_tap_put(t, &s->k.ip, LV_OUTSIDE, LV_FATE_SENT);
    t->c.kept = 0;
    return 0;
}

#endif
