/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Fuzz target: translation. Input: the flow's numbers, then a TCP segment.
 * Only what may change changes, the checksum stays exactly as right or wrong as it was, a window that is not zero does
 * not become zero, and a segment that nothing was taken from comes back by the inverse flow.
 */
#include "fuzz.h"

#include "core/packet.h"
#include "core/translate.h"

/* What the checksum is off by, folded: 0 and 0xffff are both "right by that sum". */
static u16 residue(const u8 *tcp, u32 len)
{
    u16 sum = lv_csum_fold(lv_csum_bytes(tcp, len, 0));

    return sum == 0xffff ? 0 : sum;
}

static void check_change(const struct lv_conn *f, const struct exact *was, const struct exact *now, int to_server)
{
    u32 header_len = (u32)(was->data[12] >> 4) * 4, i;
    u16 window = lv_get16(was->data + 14);
    struct lv_opts o;

    CHECK(!memcmp(was->data, now->data, 4));                                               /* ports */
    CHECK(!memcmp(was->data + 12, now->data + 12, 2));                                     /* length, flags */
    CHECK(!memcmp(was->data + 18, now->data + 18, 2));                                     /* urgent pointer */
    CHECK(!memcmp(was->data + header_len, now->data + header_len, was->len - header_len)); /* payload */
    CHECK(!window == !lv_get16(now->data + 14));
    CHECK(lv_get32(now->data + 4) == lv_get32(was->data + 4) + (to_server ? 0 : f->seq_delta));
    if (!to_server)
        CHECK(lv_get32(now->data + 8) == lv_get32(was->data + 8));
    else if (was->data[13] & LV_ACK)
        CHECK(lv_get32(now->data + 8) == lv_get32(was->data + 8) - f->seq_delta);
    CHECK(residue(was->data, was->len) == residue(now->data, now->len));
    lv_opts_read(&o, was->data, header_len, 0);
    for (i = 20; i < header_len; i++) {
        int in_ts = o.ts_at && i + 2 >= o.ts_at && i < o.ts_at + 8u;
        int in_sack = o.sack_at && i + 2 >= o.sack_at && i < o.sack_at + 8u * o.sack_blocks;

        CHECK(was->data[i] == now->data[i] || in_ts || in_sack);
    }
}

static void translate(const struct lv_conn *f, struct exact *segment, int to_server)
{
    struct lv_csum_diff d = {0};
    struct lv_opts o;

    lv_opts_read(&o, segment->data, (u32)(segment->data[12] >> 4) * 4, 0);
    if (to_server)
        lv_translate_to_server(f, segment->data, &o, &d);
    else
        lv_translate_to_client(f, segment->data, &o, &d);
    lv_diff_apply(&d, segment->data + 16);
}

/* The numbers of a segment to the client, changed the other way. */
static void check_round_trip(const struct lv_conn *f, const struct exact *was, const struct exact *now)
{
    struct lv_conn inverse = *f;
    struct exact back;
    struct lv_opts o;

    lv_opts_read(&o, was->data, (u32)(was->data[12] >> 4) * 4, 0);
    if (o.sack_at && !(f->flags & LV_F_SACK_C))
        return; /* taken out, so it cannot come back */
    back = exact_copy(now->data, now->len);
    inverse.seq_delta = -f->seq_delta;
    inverse.ts_delta = -f->ts_delta;
    translate(&inverse, &back, 0);
    lv_put16(back.data + 14, lv_get16(was->data + 14)); /* rescaling a window rounds */
    back.data[16] = was->data[16];
    back.data[17] = was->data[17];
    CHECK(!memcmp(back.data, was->data, was->len));
    exact_free(&back);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct input in = {data, data + size};
    struct exact was, now;
    struct lv_conn f;
    u32 header_len;
    int to_server = take8(&in) & 1;

    memset(&f, 0, sizeof(f));
    f.flags = take8(&in) & (LV_F_TS_C | LV_F_TS_S | LV_F_SACK_C | LV_F_SACK_S);
    f.wscale_c = lv_wscale_pair(take8(&in) % 15, take8(&in) % 15);
    f.wscale_s = lv_wscale_pair(take8(&in) % 15, take8(&in) % 15);
    f.seq_delta = take32(&in);
    f.ts_delta = take32(&in);
    was = exact_take(&in, 65535);
    header_len = was.len >= 20 ? (u32)(was.data[12] >> 4) * 4 : 0;
    if (header_len < 20 || header_len > was.len) {
        exact_free(&was);
        return -1; /* nothing that lv_parse() lets through: not worth keeping in the corpus */
    }
    now = exact_copy(was.data, was.len);
    translate(&f, &now, to_server);
    check_change(&f, &was, &now, to_server);
    if (!to_server)
        check_round_trip(&f, &was, &now);
    exact_free(&now);
    exact_free(&was);
    return 0;
}
