/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Captures packets around the programs in the kernel: a copy of each before, what became of it after.
 *
 * Owns: the ring in which captured packets wait, the copy in hand. Included by: common.h. Must not know: how a program
 * reads its packet. While nothing is captured a packet costs a look at one map. Full: the packet is counted as missed.
 * What is handed over to user space is captured there (core/tap.h), what the gate passes by the splice of its side.
 */
#ifndef LV_BPF_TAP_H
#define LV_BPF_TAP_H

#include "../core/capture.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, u32);
    __type(value, struct lv_capture);
} lv_capture SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1 << 20);
} lv_captures SEC(".maps");

struct lv_tapped {
    struct lv_captured c;
    u8 bytes[LV_CAPTURE_BYTES];
};

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, struct lv_tapped);
} lv_tap SEC(".maps");

LV_INLINE int lv_tap_on(void)
{
    const struct lv_capture *c = lv_first(&lv_capture);

    return c && c->until_ns;
}

/* Why the packet in hand was dropped. */
LV_INLINE void lv_tap_tell(u32 reason)
{
    struct lv_tapped *t;

    if (LV_LIKELY(!lv_tap_on()))
        return;
    t = lv_first(&lv_tap);
    if (t)
        t->c.reason = (u8)reason;
}

/* Begin with a frame of so many bytes. Returns how many of them to copy into the hand, 0: none, the capture is over. */
LV_INLINE u32 lv_tap_begin(struct lv_tapped *t, u32 len)
{
    const struct lv_capture *c = lv_first(&lv_capture);
    u64 now_ns = bpf_ktime_get_ns();
    u32 kept;

    t->c.kept = 0;
    if (!c || now_ns >= c->until_ns)
        return 0;
    kept = LV_MIN(len, c->bytes);
    t->c.time_ns = now_ns;
    t->c.len = len;
    t->c.vlan_proto = t->c.vlan_tci = 0;
    t->c.reason = LV_R_COUNT;
    return kept;
}

/* How many bytes to load for those that are kept, 0: none are. Never fewer than every frame has: the verifier of Linux 6.1
 * learns nothing from a comparison with zero. */
LV_INLINE u32 lv_tap_load_bytes(u32 kept)
{
    if (!kept)
        return 0;
    return lv_len_between(LV_MAX(kept, (u32)LV_ETHERNET_BYTES), LV_ETHERNET_BYTES, LV_CAPTURE_BYTES);
}

/* Put what is in hand into the ring, if it is wanted. `ip`: its addresses. */
LV_INLINE void lv_tap_put(struct lv_tapped *t, const struct lv_ip *ip, u32 side, u32 fate)
{
    struct lv_capture *c = lv_first(&lv_capture);
    u32 kept = t->c.kept;

    t->c.side = (u8)side;
    t->c.fate = (u8)fate;
    if (!c || !lv_capture_wants(c, ip, &t->c))
        return;
    LV_OPAQUE(kept);
    if (kept < 1 || kept > LV_CAPTURE_BYTES)
        return;
    if (bpf_ringbuf_output(&lv_captures, t, sizeof(t->c) + kept, BPF_RB_NO_WAKEUP))
        __sync_fetch_and_add(&c->missed, 1);
}

#endif
