/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Internet checksum (RFC 1071), whole and incremental (RFC 1624, equation 3).
 *
 * Owns: sums of big-endian 16-bit words kept in 32 bits in host order. Used by: packet.h (verify), emit.h (make),
 * translate.h (update). An incremental update keeps a wrong checksum wrong, so that the receiver still sees the damage.
 */
#ifndef LV_CHECKSUM_H
#define LV_CHECKSUM_H

#include "base.h"

LV_INLINE u16 lv_csum_fold(u32 sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (u16)sum;
}

LV_INLINE u32 lv_csum_add32(u32 sum, u32 v)
{
    return sum + (v >> 16) + (v & 0xffff);
}

/* A sum of words in memory order as one of big-endian words: one's complement sums commute with byte swapping (RFC 1071
 * section 2B). */
LV_INLINE u16 lv_csum_of_memory(u64 acc)
{
    acc = (acc & 0xffffffff) + (acc >> 32);
    acc = (acc & 0xffffffff) + (acc >> 32);
    return lv_be16(lv_csum_fold(((u32)acc & 0xffff) + ((u32)acc >> 16)));
}

#ifdef __bpf__
enum { LV_CSUM_MAX_BYTES = 64 };

/* Sum of len bytes, a multiple of 4 and at most LV_CSUM_MAX_BYTES, on top of `sum`. */
LV_INLINE u32 lv_csum_bytes(const u8 *p, u32 len, u32 sum)
{
    u64 acc = 0;
    u32 at;

    LV_ROLLED
    for (at = 0; at < LV_CSUM_MAX_BYTES && at < len; at += 4)
        acc += lv_load32(p + at);
    return sum + lv_csum_of_memory(acc);
}
#else
/* Sum of len bytes on top of `sum`. An odd length stands for a zero byte behind the data, so only the last piece of a
 * packet may have one. The bytes add at most 0xffff, so a few pieces and a pseudo header do not overflow 32 bits. */
LV_INLINE u32 lv_csum_bytes(const u8 *p, u32 len, u32 sum)
{
    u64 acc = 0;
    u64 w;

    while (len >= 8) {
        w = lv_load64(p);
        acc += w;
        acc += acc < w; /* end-around carry */
        p += 8;
        len -= 8;
    }
    if (len) {
        w = 0;
        for (u32 i = 0; i < len; i++)
            ((u8 *)&w)[i] = p[i];
        acc += w;
        acc += acc < w;
    }
    return sum + lv_csum_of_memory(acc);
}
#endif

/* Collects changes of a header and applies them to its checksum field once. */
struct lv_csum_diff {
    u32 sum;
};

LV_INLINE void lv_diff16(struct lv_csum_diff *d, u16 old, u16 now)
{
    d->sum += (u16)~old;
    d->sum += now;
    d->sum = (d->sum & 0xffff) + (d->sum >> 16);
}

/* A 32-bit field that starts `odd` bytes after a 16-bit boundary of the checksummed area (options may be unaligned). */
LV_INLINE void lv_diff32(struct lv_csum_diff *d, u32 old, u32 now, int odd)
{
    if (odd) {
        old = (old << 8) | (old >> 24);
        now = (now << 8) | (now >> 24);
    }
    lv_diff16(d, (u16)(old >> 16), (u16)(now >> 16));
    lv_diff16(d, (u16)old, (u16)now);
}

LV_INLINE void lv_diff_apply(const struct lv_csum_diff *d, u8 *field)
{
    u32 sum = (u16)~lv_get16(field);

    lv_put16(field, (u16)~lv_csum_fold(sum + d->sum));
}

#endif
