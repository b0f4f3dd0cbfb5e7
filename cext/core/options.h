/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * TCP options: read those of a segment, write those of a SYN or SYN-ACK.
 *
 * Owns: struct lv_opts. Called by: gate (SYN), splice (offsets of what must be translated), emit.h. Must not know:
 * whose options these are. Unknown, duplicate, unaligned and malformed options are read as Linux reads them: the last
 * one of a kind counts, one of a wrong length is stepped over, and what runs past the header ends the reading.
 */
#ifndef LV_OPTIONS_H
#define LV_OPTIONS_H

#include "base.h"

enum lv_option {
    LV_OPT_END = 0,
    LV_OPT_NOP = 1,
    LV_OPT_MSS = 2,       /* RFC 9293 3.7.1 */
    LV_OPT_WSCALE = 3,    /* RFC 7323 2.2 */
    LV_OPT_SACK_OK = 4,   /* RFC 2018 */
    LV_OPT_SACK = 5,      /* RFC 2018 */
    LV_OPT_TS = 8,        /* RFC 7323 3.2 */
    LV_OPT_MD5 = 19,      /* RFC 2385 */
    LV_OPT_AO = 29,       /* RFC 5925 */
    LV_OPT_FASTOPEN = 34, /* RFC 7413 */
};

enum {
    LV_OPTIONS_MAX_BYTES = 40,
    LV_WSCALE_NONE = 15, /* no window scale option; 0..14 are values of it */
    LV_WSCALE_MAX = 14,  /* RFC 7323 2.3 */
};

struct lv_opts {
    u16 mss;    /* 0: absent */
    u8 wscale;  /* 0..14 or LV_WSCALE_NONE */
    u8 sack_ok; /* SACK permitted */
    u8 has_ts;
    u8 is_signed;   /* MD5 or AO */
    u8 ts_at;       /* offset of TSval from the start of the TCP header, 0: none */
    u8 sack_at;     /* offset of the first SACK edge, 0: none */
    u8 sack_blocks; /* 0..4 */
    u8 sack_ok_at;  /* offset of the option, 0: none */
    u8 wscale_at;
    u8 mss_at;
    u32 tsval, tsecr;
};

LV_INLINE void lv_opts_clear(struct lv_opts *o)
{
    lv_zero(o, sizeof(*o));
    o->wscale = LV_WSCALE_NONE;
}

/* Read the options between tcp + 20 and tcp + header_len (20..60; the caller has checked that they are in the buffer).
 * `syn`: the options that only a SYN may carry are looked at. */
LV_INLINE void lv_opts_read(struct lv_opts *o, const u8 *tcp, u32 header_len, int syn)
{
    u32 at = 20, i;

    lv_opts_clear(o);
    for (i = 0; i < LV_OPTIONS_MAX_BYTES; i++) {
        u8 kind, len;

        if (at >= header_len || at >= 60)
            return;
        kind = tcp[at];
        if (kind == LV_OPT_END)
            return;
        if (kind == LV_OPT_NOP) {
            at++;
            continue;
        }
        if (at + 2 > header_len)
            return;
        len = tcp[at + 1];
        if (len < 2 || at + len > header_len)
            return;
        switch (kind) {
        case LV_OPT_MSS:
            if (len == 4 && syn && lv_get16(tcp + at + 2)) {
                o->mss = lv_get16(tcp + at + 2);
                o->mss_at = (u8)at;
            }
            break;
        case LV_OPT_WSCALE:
            if (len == 3 && syn) {
                o->wscale = LV_MIN(tcp[at + 2], LV_WSCALE_MAX);
                o->wscale_at = (u8)at;
            }
            break;
        case LV_OPT_SACK_OK:
            if (len == 2 && syn) {
                o->sack_ok = 1;
                o->sack_ok_at = (u8)at;
            }
            break;
        case LV_OPT_SACK:
            if (!syn && len >= 10 && (len - 2) % 8 == 0) {
                o->sack_at = (u8)(at + 2);
                o->sack_blocks = (u8)((len - 2) / 8);
            }
            break;
        case LV_OPT_TS:
            if (len == 10) {
                o->has_ts = 1;
                o->ts_at = (u8)(at + 2);
                o->tsval = lv_get32(tcp + at + 2);
                o->tsecr = lv_get32(tcp + at + 6);
            }
            break;
        case LV_OPT_MD5:
        case LV_OPT_AO: o->is_signed = 1; break;
        default: break;
        }
        at += len;
    }
}

/* Write the options of a SYN or SYN-ACK in the order Linux uses, padded to 32 bits. Returns the length, 0..20 bytes. */
LV_INLINE u32 lv_opts_write_syn(u8 *p, const struct lv_opts *o)
{
    u32 n = 0;

    if (o->mss) {
        p[n] = LV_OPT_MSS;
        p[n + 1] = 4;
        lv_put16(p + n + 2, o->mss);
        n += 4;
    }
    if (o->sack_ok || o->has_ts) {
        p[n] = o->sack_ok ? LV_OPT_SACK_OK : LV_OPT_NOP;
        p[n + 1] = o->sack_ok ? 2 : LV_OPT_NOP;
        n += 2;
        if (!o->has_ts) {
            p[n] = p[n + 1] = LV_OPT_NOP;
            n += 2;
        }
    }
    if (o->has_ts) {
        p[n] = LV_OPT_TS;
        p[n + 1] = 10;
        lv_put32(p + n + 2, o->tsval);
        lv_put32(p + n + 6, o->tsecr);
        n += 10;
    }
    if (o->wscale != LV_WSCALE_NONE) {
        p[n] = LV_OPT_NOP;
        p[n + 1] = LV_OPT_WSCALE;
        p[n + 2] = 3;
        p[n + 3] = o->wscale;
        n += 4;
    }
    return n;
}

/* Write the timestamp option of a segment that is not a SYN (RFC 7323 appendix A). Returns 12 or 0 bytes. */
LV_INLINE u32 lv_opts_write_ts(u8 *p, const struct lv_opts *o)
{
    if (!o->has_ts)
        return 0;
    p[0] = p[1] = LV_OPT_NOP;
    p[2] = LV_OPT_TS;
    p[3] = 10;
    lv_put32(p + 4, o->tsval);
    lv_put32(p + 8, o->tsecr);
    return 12;
}

#endif
