/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The SYN cookie: an initial sequence number that carries what a stateless box must know again when the ACK comes.
 *
 *     bit 31..8   MAC, the upper 24 bits of SipHash-2-4
 *     bit  7..5   MSS, index into a table per family, rounded down
 *     bit  4..2   window scale of the client, index, rounded down (index 0: option absent)
 *     bit  1      SACK was agreed on
 *     bit  0      parity of the key epoch
 *
 * The MAC covers, in this order and in network byte order: source address, destination address (4 or 16 bytes each),
 * source port, destination port, the client's ISN, the low byte of the cookie, three zero bytes, the epoch (4 bytes).
 *
 * Owns: format, tables, keys. Used by: gate. Must not know: packets, flows. An epoch is LV_EPOCH_S long, keys of this and
 * the previous epoch are valid and the parity bit tells which, so a forged ACK costs one hash and is accepted with
 * probability 2^-24: 0.06 a second at a million a second.
 */
#ifndef LV_COOKIE_H
#define LV_COOKIE_H

#include "base.h"
#include "options.h"
#include "packet.h"
#include "siphash.h"

enum {
    LV_EPOCH_S = 32,
    LV_SECRET_BYTES = 32,
    LV_COOKIE_TABLE = 8,
    /* TSval of the SYN-ACK: the low bits carry what the ISN rounds off. */
    LV_TS_BITS = 6,
    LV_TS_WSCALE_MASK = 0x0f, /* the client's window scale, 15: absent */
    LV_TS_ECN = 0x10,         /* ECN was agreed on, RFC 3168 */
};

/* Rounded down, so that a peer never sends more than was offered. First entries: the smallest values seen in the wild.
 * LIMIT: a client that offers less than 216 and whose half-open entry was evicted is taken for one of 216. */
static const u16 lv_cookie_mss[2][LV_COOKIE_TABLE] = {
    {216, 536, 1220, 1360, 1400, 1440, 1460,
     8960}, /* IPv4: 536 is RFC 9293's default, 1440 PPPoE less options, 8960 jumbo */
    {216, 536, 1220, 1340, 1380, 1420, 1440, 8940}, /* IPv6: 1220 is the default, 1440 Ethernet, 1420 PPPoE */
};
static const u8 lv_cookie_wscale[LV_COOKIE_TABLE] = {LV_WSCALE_NONE, 0, 2, 4, 6, 7, 8, 10};

struct lv_cookie_key {
    struct lv_sipkey key;
    u32 epoch;
    u32 since_ms; /* when this box began to use it */
    u64 issued;   /* cookies made with it; 0: no ACK can be right, so none is hashed */
    u8 valid;
};

struct lv_cookie_keys {
    struct lv_sipkey master[2];   /* one for each half of a derived key */
    struct lv_cookie_key slot[2]; /* by parity of the epoch */
    u32 current;                  /* slot in use */
};

/* What a cookie says of the client's options. */
struct lv_cookie_bits {
    u16 mss;
    u8 wscale; /* or LV_WSCALE_NONE */
    u8 sack_ok;
};

LV_INLINE u8 lv_cookie_encode(u8 family, const struct lv_cookie_bits *b, u32 epoch)
{
    const u16 *mss = lv_cookie_mss[family == 6];
    u8 m = 0, w = 0, i;

    for (i = 1; i < LV_COOKIE_TABLE; i++) {
        if (mss[i] <= b->mss)
            m = i;
        if (b->wscale != LV_WSCALE_NONE && lv_cookie_wscale[i] <= b->wscale)
            w = i;
    }
    return (u8)(m << 5 | w << 2 | (b->sack_ok ? 2 : 0) | (epoch & 1));
}

LV_INLINE void lv_cookie_decode(u8 family, u8 low, struct lv_cookie_bits *b)
{
    b->mss = lv_cookie_mss[family == 6][low >> 5];
    b->wscale = lv_cookie_wscale[(low >> 2) & 7];
    b->sack_ok = (low >> 1) & 1;
}

/* The cookie whose low byte is `low`, for the client's SYN src:sport -> dst:dport with sequence number client_isn. */
LV_SHARED u32 lv_cookie_mac(const struct lv_cookie_key *k, u8 family, const struct lv_addr *src,
                            const struct lv_addr *dst, u16 sport, u16 dport, u32 client_isn, u8 low)
{
    struct lv_sipstate s;
    u64 word[6], h;
    u32 n = 0, i;

    /* The message is what the bytes of a packet would be: addresses, ports, ISN, option bits, epoch. */
    if (family == 4) {
        word[n++] = lv_sip_pair(lv_load32(&src->b[12]), lv_load32(&dst->b[12]));
    } else {
        word[n++] = lv_get64le(src->b);
        word[n++] = lv_get64le(src->b + 8);
        word[n++] = lv_get64le(dst->b);
        word[n++] = lv_get64le(dst->b + 8);
    }
    word[n++] = lv_sip_pair(lv_be32((u32)sport << 16 | dport), lv_be32(client_isn));
    word[n++] = lv_sip_pair(lv_be32((u32)low << 24), lv_be32(k->epoch));
    lv_sip_begin(&s, &k->key);
    LV_ROLLED
    for (i = 0; i < n && i < 6; i++)
        lv_sip_word(&s, word[i]);
    h = lv_sip_end(&s, 0, 8 * n);
    return (u32)(h >> 40) << 8 | low;
}

/* Key of an epoch: both halves are SipHash of the epoch and a label under the two halves of the secret. */
LV_INLINE void lv_cookie_derive(const struct lv_cookie_keys *ks, u32 epoch, struct lv_sipkey *out)
{
    u8 m[8] = {'l', 'v', 'k', 0};

    lv_put32(m + 4, epoch);
    out->k0 = lv_siphash(&ks->master[0], m, 8);
    out->k1 = lv_siphash(&ks->master[1], m, 8);
}

LV_INLINE void lv_cookie_install(struct lv_cookie_keys *ks, u32 epoch, u32 now_ms, u64 issued)
{
    struct lv_cookie_key *k = &ks->slot[epoch & 1];

    k->valid = 0;
    lv_cookie_derive(ks, epoch, &k->key);
    k->epoch = epoch;
    k->since_ms = now_ms;
    k->issued = issued;
    k->valid = 1;
}

/* Start with a secret. Cookies of a predecessor, or of another box with the same secret, may be out: issued = 1. */
LV_INLINE void lv_cookie_start(struct lv_cookie_keys *ks, const u8 *secret, u32 epoch, u32 now_ms)
{
    u32 i;

    lv_zero(ks, sizeof(*ks));
    for (i = 0; i < 2; i++) {
        ks->master[i].k0 = lv_get64le(secret + 16 * i);
        ks->master[i].k1 = lv_get64le(secret + 16 * i + 8);
    }
    lv_cookie_install(ks, epoch - 1, now_ms, 1);
    lv_cookie_install(ks, epoch, now_ms, 1);
    ks->current = epoch & 1;
}

/* Has the clock jumped, from one epoch to another that is not the next? */
LV_INLINE int lv_cookie_jumped(u32 from, u32 to)
{
    return to - from > 1;
}

/* To be called at least once a second. A clock that jumps changes the epoch early; the key it leaves stays valid as the
 * previous one if its parity differs. Else handshakes in flight are known by their half-open entries alone, which are
 * looked at as long as a cookie is out: one is said to be. A clock that steps back over the beginning of an epoch finds
 * the key it left there, and the number of cookies that are out with it. */
LV_INLINE void lv_cookie_tick(struct lv_cookie_keys *ks, u32 epoch, u32 now_ms)
{
    struct lv_cookie_key *cur = &ks->slot[ks->current & 1], *old = &ks->slot[(ks->current & 1) ^ 1];

    if (cur->epoch != epoch) {
        u64 issued = old->valid && old->epoch == epoch ? old->issued : 0;

        lv_cookie_install(ks, epoch, now_ms, issued + (u64)lv_cookie_jumped(cur->epoch, epoch));
        ks->current = epoch & 1;
    } else if (old->valid && now_ms - cur->since_ms > LV_EPOCH_S * 1000u + 1000u) {
        old->valid = 0;
    }
}

LV_INLINE u32 lv_cookie_make(const struct lv_cookie_keys *ks, u8 family, const struct lv_addr *src,
                             const struct lv_addr *dst, u16 sport, u16 dport, u32 client_isn,
                             const struct lv_cookie_bits *b)
{
    const struct lv_cookie_key *k = &ks->slot[ks->current & 1];

    return lv_cookie_mac(k, family, src, dst, sport, dport, client_isn, lv_cookie_encode(family, b, k->epoch));
}

/* Is any cookie out that is still good? Half-open entries are good for no longer. */
LV_INLINE int lv_cookies_out(const struct lv_cookie_keys *ks)
{
    return (ks->slot[0].valid && ks->slot[0].issued) || (ks->slot[1].valid && ks->slot[1].issued);
}

/* Check a cookie. Returns LV_R_COOKIE_ACCEPTED and fills `b` if it is ours and valid, else the reason why not. The
 * comparison is of two registers, its time does not depend on the values. */
LV_INLINE enum lv_reason lv_cookie_check(const struct lv_cookie_keys *ks, u8 family, const struct lv_addr *src,
                                         const struct lv_addr *dst, u16 sport, u16 dport, u32 client_isn, u32 cookie,
                                         struct lv_cookie_bits *b)
{
    const struct lv_cookie_key *k = &ks->slot[cookie & 1];

    if (!k->valid)
        return LV_R_COOKIE_EXPIRED;
    if (!k->issued)
        return LV_R_NO_COOKIE_OUT;
    if (lv_cookie_mac(k, family, src, dst, sport, dport, client_isn, (u8)cookie) != cookie)
        return LV_R_COOKIE_INVALID;
    lv_cookie_decode(family, (u8)cookie, b);
    return LV_R_COOKIE_ACCEPTED;
}

#endif
