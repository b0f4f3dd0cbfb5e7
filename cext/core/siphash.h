/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SipHash-2-4 (Aumasson and Bernstein, 2012) with a 64-bit result, over a whole number of 64-bit words, and over bytes.
 *
 * Owns: the function. Used by: cookie.h (MAC, key derivation), table.h (hash under attack). No libc, bounded loops.
 */
#ifndef LV_SIPHASH_H
#define LV_SIPHASH_H

#include "base.h"

struct lv_sipkey {
    u64 k0, k1;
};

#define LV_ROTL64(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

#define LV_SIPROUND(v0, v1, v2, v3)                                                                                    \
    do {                                                                                                               \
        v0 += v1;                                                                                                      \
        v1 = LV_ROTL64(v1, 13) ^ v0;                                                                                   \
        v0 = LV_ROTL64(v0, 32);                                                                                        \
        v2 += v3;                                                                                                      \
        v3 = LV_ROTL64(v3, 16) ^ v2;                                                                                   \
        v0 += v3;                                                                                                      \
        v3 = LV_ROTL64(v3, 21) ^ v0;                                                                                   \
        v2 += v1;                                                                                                      \
        v1 = LV_ROTL64(v1, 17) ^ v2;                                                                                   \
        v2 = LV_ROTL64(v2, 32);                                                                                        \
    } while (0)

LV_INLINE u64 lv_get64le(const u8 *p)
{
    return (u64)p[0] | (u64)p[1] << 8 | (u64)p[2] << 16 | (u64)p[3] << 24 | (u64)p[4] << 32 | (u64)p[5] << 40 |
           (u64)p[6] << 48 | (u64)p[7] << 56;
}

/* Hash of `len` bytes; len is at most LV_SIPHASH_MAX_BYTES so that the loop is bounded for the BPF verifier. */
enum { LV_SIPHASH_MAX_BYTES = 64 };

LV_INLINE u64 lv_siphash(const struct lv_sipkey *key, const u8 *data, u32 len)
{
    u64 v0 = key->k0 ^ 0x736f6d6570736575ULL, v1 = key->k1 ^ 0x646f72616e646f6dULL;
    u64 v2 = key->k0 ^ 0x6c7967656e657261ULL, v3 = key->k1 ^ 0x7465646279746573ULL;
    u64 last = (u64)len << 56;
    u32 words = len / 8, i;

    for (i = 0; i < words && i < LV_SIPHASH_MAX_BYTES / 8; i++) {
        u64 m = lv_get64le(data + 8 * i);

        v3 ^= m;
        LV_SIPROUND(v0, v1, v2, v3);
        LV_SIPROUND(v0, v1, v2, v3);
        v0 ^= m;
    }
    for (i = 0; i < (len & 7); i++)
        last |= (u64)data[8 * words + i] << (8 * i);
    v3 ^= last;
    LV_SIPROUND(v0, v1, v2, v3);
    LV_SIPROUND(v0, v1, v2, v3);
    v0 ^= last;
    v2 ^= 0xff;
    LV_SIPROUND(v0, v1, v2, v3);
    LV_SIPROUND(v0, v1, v2, v3);
    LV_SIPROUND(v0, v1, v2, v3);
    LV_SIPROUND(v0, v1, v2, v3);
    return v0 ^ v1 ^ v2 ^ v3;
}

#endif
