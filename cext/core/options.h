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
    LV_TCP_HEADER_MAX = 60,
    LV_TCP_COPY_BYTES = 72, /* a header and what the longest read from its last byte would touch */
    LV_WSCALE_NONE = 15,    /* no window scale option; 0..14 are values of it */
    LV_WSCALE_MAX = 14,     /* RFC 7323 2.3 */
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

struct lv_opts_walk {
    struct lv_opts *o;
    const u8 *tcp;
    u32 at, header_len;
    u32 syn;
};

LV_INLINE void lv_opt_read(struct lv_opts *o, const u8 *p, u32 at, u8 kind, u8 len, u32 syn)
{
    if (kind == LV_OPT_TS) {
        if (len == 10) {
            o->has_ts = 1;
            o->ts_at = (u8)(at + 2);
            o->tsval = lv_get32(p + 2);
            o->tsecr = lv_get32(p + 6);
        }
    } else if (kind == LV_OPT_MD5 || kind == LV_OPT_AO) {
        o->is_signed = 1;
    } else if (!syn) {
        if (kind == LV_OPT_SACK && len >= 10 && (len - 2) % 8 == 0) {
            o->sack_at = (u8)(at + 2);
            o->sack_blocks = (u8)((len - 2) / 8);
        }
    } else if (kind == LV_OPT_MSS) {
        if (len == 4 && lv_get16(p + 2)) {
            o->mss = lv_get16(p + 2);
            o->mss_at = (u8)at;
        }
    } else if (kind == LV_OPT_WSCALE) {
        if (len == 3) {
            o->wscale = LV_MIN(p[2], LV_WSCALE_MAX);
            o->wscale_at = (u8)at;
        }
    } else if (kind == LV_OPT_SACK_OK && len == 2) {
        o->sack_ok = 1;
        o->sack_ok_at = (u8)at;
    }
}

/* One option. */
LV_STEP lv_opts_step(u32 turn, void *state)
{
    struct lv_opts_walk *w = state;
    u32 at = w->at;
    u8 kind, len;

    (void)turn;
    if (at >= w->header_len || at > LV_TCP_HEADER_MAX - 1)
        return 1;
    kind = w->tcp[at];
    if (kind == LV_OPT_END)
        return 1;
    if (kind == LV_OPT_NOP) {
        w->at = at + 1;
        return 0;
    }
    if (at + 2 > w->header_len || at > LV_TCP_HEADER_MAX - 2)
        return 1;
    len = w->tcp[at + 1];
    if (len < 2 || at + len > w->header_len)
        return 1;
    lv_opt_read(w->o, w->tcp + at, at, kind, len, w->syn);
    w->at = at + len;
    return 0;
}

/* NOP, NOP, timestamps of ten bytes. */
enum { LV_OPTS_TIMESTAMP = LV_OPT_NOP << 24 | LV_OPT_NOP << 16 | LV_OPT_TS << 8 | 10 };

/* The layout of nearly every SYN: MSS, SACK permitted, timestamps, NOP, window scale, as Linux and its kin write them.
 * Returns 0 if these are other ones. */
LV_INLINE int lv_opts_read_usual(struct lv_opts *o, const u8 *tcp, u32 header_len)
{
    if (header_len != 40 || lv_get16(tcp + 20) != (LV_OPT_MSS << 8 | 4) ||
        lv_get32(tcp + 24) != (LV_OPT_SACK_OK << 24 | 2 << 16 | LV_OPT_TS << 8 | 10) ||
        lv_get32(tcp + 36) >> 8 != (LV_OPT_NOP << 16 | LV_OPT_WSCALE << 8 | 3))
        return 0;
    lv_opt_read(o, tcp + 20, 20, LV_OPT_MSS, 4, 1);
    lv_opt_read(o, tcp + 24, 24, LV_OPT_SACK_OK, 2, 1);
    lv_opt_read(o, tcp + 26, 26, LV_OPT_TS, 10, 1);
    lv_opt_read(o, tcp + 37, 37, LV_OPT_WSCALE, 3, 1);
    return 1;
}

/* Read the options between tcp + 20 and tcp + header_len (20..60; the caller has checked that they are in the buffer; in
 * BPF the buffer is a copy of LV_TCP_COPY_BYTES). `syn`: the options that only a SYN may carry are looked at. */
LV_SHARED void lv_opts_read(struct lv_opts *o, const u8 *tcp, u32 header_len, int syn)
{
    struct lv_opts_walk walk = {o, tcp, 20, header_len, (u32)syn};

    lv_opts_clear(o);
    if (header_len == 32 && lv_get32(tcp + 20) == LV_OPTS_TIMESTAMP) { /* nearly every segment: RFC 7323 appendix A */
        lv_opt_read(o, tcp + 22, 22, LV_OPT_TS, 10, (u32)syn);
        return;
    }
    if (syn && lv_opts_read_usual(o, tcp, header_len))
        return;
    lv_loop(LV_OPTIONS_MAX_BYTES, lv_opts_step, &walk);
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
