/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Makes one TCP stream out of the two halves: changes the sequence and acknowledgement numbers, SACK blocks, timestamps
 * and windows of a segment of an open flow, in both directions.
 *
 * Owns: the changes and the difference they make to the checksum. Called by: splice, for ICMP quotes too. Must not know:
 * state (flow.h tracks it), addresses, who applies the checksum (lv_diff_apply() in user space, bpf_l4_csum_replace() in
 * tc). Lengths never change: an option that the other side did not agree to is overwritten with NOPs.
 */
#ifndef LV_TRANSLATE_H
#define LV_TRANSLATE_H

#include "base.h"
#include "checksum.h"
#include "flow.h"
#include "options.h"

/* A window sent with scale `own` to a peer that was told scale `told`. Rounds down, never a non-zero window to zero. */
LV_INLINE u16 lv_window_rescale(u16 window, u8 own, u8 told)
{
    u32 bytes = (u32)window << own;

    if (own == told || !window)
        return window;
    bytes >>= told;
    if (!bytes)
        return 1;
    return (u16)LV_MIN(bytes, 0xffff);
}

LV_INLINE void lv_change16(struct lv_csum_diff *d, u8 *p, u16 now)
{
    lv_diff16(d, lv_get16(p), now);
    lv_put16(p, now);
}

LV_INLINE void lv_change32(struct lv_csum_diff *d, u8 *p, u32 now, int odd)
{
    lv_diff32(d, lv_get32(p), now, odd);
    lv_put32(p, now);
}

/* Overwrite `len` bytes at offset `at` of the header with NOPs; the loop is bounded by the size of the options. */
LV_INLINE void lv_blank(struct lv_csum_diff *d, u8 *tcp, u32 at, u32 len)
{
    u32 i;

    for (i = 0; i < len && i < LV_OPTIONS_MAX_BYTES; i++) {
        u32 here = at + i, shift = (here & 1) ? 0 : 8;

        LV_OPAQUE(here);
        if (here >= LV_TCP_HEADER_MAX)
            return;
        lv_diff16(d, (u16)((u32)tcp[here] << shift), (u16)(LV_OPT_NOP << shift));
        tcp[here] = LV_OPT_NOP;
    }
}

/* Segment from the client to the server. `o` holds the options as read from this header. */
LV_INLINE void lv_translate_to_server(const struct lv_conn *f, u8 *tcp, const struct lv_opts *o, struct lv_csum_diff *d)
{
    u32 i;

    if (tcp[13] & LV_ACK)
        lv_change32(d, tcp + 8, lv_get32(tcp + 8) - f->seq_delta, 0);
    if (!(tcp[13] & LV_RST))
        lv_change16(d, tcp + 14,
                    lv_window_rescale(lv_get16(tcp + 14), lv_wscale_own(f->wscale_c), lv_wscale_told(f->wscale_c)));
    if (o->sack_at) {
        if (f->flags & LV_F_SACK_S) {
            for (i = 0; i < 8 && i < 2u * o->sack_blocks; i++) {
                u32 at = o->sack_at + 4 * i;

                LV_OPAQUE(at);
                if (at > LV_TCP_HEADER_MAX - 4)
                    break;
                lv_change32(d, tcp + at, lv_get32(tcp + at) - f->seq_delta, at & 1);
            }
        } else {
            lv_blank(d, tcp, o->sack_at - 2u, 2u + 8u * o->sack_blocks);
        }
    }
    if (o->ts_at && o->ts_at <= LV_TCP_HEADER_MAX - 8) {
        if (!(f->flags & LV_F_TS_S))
            lv_blank(d, tcp, o->ts_at - 2u, 10);
        else if ((tcp[13] & LV_ACK) && o->tsecr)
            lv_change32(d, tcp + o->ts_at + 4, o->tsecr - f->ts_delta, o->ts_at & 1);
    }
}

/* Segment from the server to the client. */
LV_INLINE void lv_translate_to_client(const struct lv_conn *f, u8 *tcp, const struct lv_opts *o, struct lv_csum_diff *d)
{
    lv_change32(d, tcp + 4, lv_get32(tcp + 4) + f->seq_delta, 0);
    if (!(tcp[13] & LV_RST))
        lv_change16(d, tcp + 14,
                    lv_window_rescale(lv_get16(tcp + 14), lv_wscale_own(f->wscale_s), lv_wscale_told(f->wscale_s)));
    if (o->sack_at && !(f->flags & LV_F_SACK_C))
        lv_blank(d, tcp, o->sack_at - 2u, 2u + 8u * o->sack_blocks);
    if (o->ts_at && o->ts_at <= LV_TCP_HEADER_MAX - 8 && (f->flags & LV_F_TS_C))
        lv_change32(d, tcp + o->ts_at, o->tsval + f->ts_delta, o->ts_at & 1);
}

/* Take ECN-capable transport (RFC 3168 section 5) out of an IP header. */
LV_INLINE void lv_hide_ecn(u8 *l3, u8 family)
{
    if (family == 4) {
        struct lv_csum_diff d = {0};

        lv_change16(&d, l3, lv_get16(l3) & 0xfffc);
        lv_diff_apply(&d, l3 + 10);
    } else {
        l3[1] &= 0xcf;
    }
}

#endif
