/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Fuzz target: cookies and their keys under any clock. Input: secret, connection, options, then a row of ticks.
 * A cookie is accepted at once and says what was put into it, rounded down; every bit of its MAC counts; after any ticks
 * the current key is that of the epoch given, and a cookie of it is accepted.
 */
#include "fuzz.h"

#include "core/cookie.h"

struct connection {
    struct lv_addr src, dst;
    u8 family;
    u16 sport, dport;
    u32 isn;
};

static void take_address(struct input *in, struct lv_addr *a, u8 family)
{
    u8 raw[16];
    u32 i;

    for (i = 0; i < 16; i++)
        raw[i] = take8(in);
    if (family == 4)
        lv_addr_v4(a, raw);
    else
        memcpy(a->b, raw, 16);
}

static u32 make(struct lv_cookie_keys *ks, const struct connection *c, const struct lv_cookie_bits *b)
{
    ks->slot[ks->current].issued++;
    return lv_cookie_make(ks, c->family, &c->src, &c->dst, c->sport, c->dport, c->isn, b);
}

static enum lv_reason check(const struct lv_cookie_keys *ks, const struct connection *c, u32 cookie,
                            struct lv_cookie_bits *b)
{
    return lv_cookie_check(ks, c->family, &c->src, &c->dst, c->sport, c->dport, c->isn, cookie, b);
}

static void check_rounding(u8 family, const struct lv_cookie_bits *in, const struct lv_cookie_bits *out)
{
    CHECK(out->mss <= in->mss || out->mss == lv_cookie_mss[family == 6][0]);
    CHECK((in->wscale == LV_WSCALE_NONE) == (out->wscale == LV_WSCALE_NONE));
    CHECK(out->wscale <= in->wscale);
    CHECK(out->sack_ok == !!in->sack_ok);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct input in = {data, data + size};
    struct lv_cookie_bits bits, back;
    struct lv_cookie_keys keys;
    struct connection c;
    u8 secret[LV_SECRET_BYTES];
    u32 epoch, now_ms, cookie, bit, i;

    for (i = 0; i < sizeof(secret); i++)
        secret[i] = take8(&in);
    c.family = take8(&in) & 1 ? 6 : 4;
    take_address(&in, &c.src, c.family);
    take_address(&in, &c.dst, c.family);
    c.sport = take16(&in);
    c.dport = take16(&in);
    c.isn = take32(&in);
    bits.mss = take16(&in);
    bits.wscale = take8(&in) % (LV_WSCALE_NONE + 1);
    bits.sack_ok = take8(&in) & 1;
    epoch = take32(&in);
    now_ms = take32(&in);
    lv_cookie_start(&keys, secret, epoch, now_ms);
    for (i = 0; i < 64; i++) {
        CHECK(keys.current < 2 && keys.slot[keys.current].epoch == epoch && keys.slot[keys.current].valid);
        cookie = make(&keys, &c, &bits);
        CHECK((cookie & 1) == (epoch & 1));
        CHECK(check(&keys, &c, cookie, &back) == LV_R_COOKIE_ACCEPTED);
        check_rounding(c.family, &bits, &back);
        bit = 8 + take8(&in) % 24; /* of the MAC; other low bits have a MAC of their own, equal once in 2^24 */
        CHECK(check(&keys, &c, cookie ^ 1u << bit, &back) != LV_R_COOKIE_ACCEPTED);
        if (!left(&in))
            break;
        epoch += (u32)(int)(signed char)take8(&in);
        now_ms += take32(&in) % 40000;
        lv_cookie_tick(&keys, epoch, now_ms);
    }
    return 0;
}
