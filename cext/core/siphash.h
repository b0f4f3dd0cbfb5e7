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

/* The state between two words of the message. */
struct lv_sipstate {
    u64 v0, v1, v2, v3;
};

LV_INLINE void lv_sip_begin(struct lv_sipstate *s, const struct lv_sipkey *key)
{
    s->v0 = key->k0 ^ 0x736f6d6570736575ULL;
    s->v1 = key->k1 ^ 0x646f72616e646f6dULL;
    s->v2 = key->k0 ^ 0x6c7967656e657261ULL;
    s->v3 = key->k1 ^ 0x7465646279746573ULL;
}

/* Eight bytes of the message, the first one lowest. */
LV_INLINE void lv_sip_word(struct lv_sipstate *s, u64 word)
{
    s->v3 ^= word;
    LV_SIPROUND(s->v0, s->v1, s->v2, s->v3);
    LV_SIPROUND(s->v0, s->v1, s->v2, s->v3);
    s->v0 ^= word;
}

/* Two numbers as they stand in memory, one after the other, as a word of the message. */
LV_INLINE u64 lv_sip_pair(u32 first, u32 second)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return (u64)second << 32 | first;
#else
    return (u64)__builtin_bswap32(second) << 32 | __builtin_bswap32(first);
#endif
}

/* `last`: the up to seven bytes that are left; `len`: bytes of the whole message. */
LV_INLINE u64 lv_sip_end(struct lv_sipstate *s, u64 last, u32 len)
{
    lv_sip_word(s, last | (u64)len << 56);
    s->v2 ^= 0xff;
    LV_SIPROUND(s->v0, s->v1, s->v2, s->v3);
    LV_SIPROUND(s->v0, s->v1, s->v2, s->v3);
    LV_SIPROUND(s->v0, s->v1, s->v2, s->v3);
    LV_SIPROUND(s->v0, s->v1, s->v2, s->v3);
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/* Hash of `len` bytes; len is at most LV_SIPHASH_MAX_BYTES so that the loop is bounded for the BPF verifier. */
enum { LV_SIPHASH_MAX_BYTES = 64 };

LV_INLINE u64 lv_siphash(const struct lv_sipkey *key, const u8 *data, u32 len)
{
    struct lv_sipstate s;
    u32 words = len / 8, i;
    u64 last = 0;

    lv_sip_begin(&s, key);
    for (i = 0; i < words && i < LV_SIPHASH_MAX_BYTES / 8; i++)
        lv_sip_word(&s, lv_get64le(data + 8 * i));
    for (i = 0; i < (len & 7); i++)
        last |= (u64)data[8 * words + i] << (8 * i);
    return lv_sip_end(&s, last, len);
}

#endif
