/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Fuzz target: TCP options. Input: "a SYN?", then the options (up to 40 bytes).
 * What was read lies inside the header, and what is written of it reads the same again.
 */
#include "fuzz.h"

#include "core/options.h"

static void check_places(const struct lv_opts *o, u32 header_len)
{
    CHECK(!o->mss_at || (o->mss && o->mss_at >= 20 && o->mss_at + 4u <= header_len));
    CHECK(!o->wscale_at || (o->wscale <= LV_WSCALE_MAX && o->wscale_at >= 20 && o->wscale_at + 3u <= header_len));
    CHECK(!o->sack_ok_at || (o->sack_ok && o->sack_ok_at >= 20 && o->sack_ok_at + 2u <= header_len));
    CHECK(!o->ts_at || (o->has_ts && o->ts_at >= 22 && o->ts_at + 8u <= header_len));
    CHECK(!o->sack_at || (o->sack_blocks && o->sack_at >= 22 && o->sack_at + 8u * o->sack_blocks <= header_len));
    CHECK(o->wscale <= LV_WSCALE_MAX || o->wscale == LV_WSCALE_NONE);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct input in = {data, data + size};
    int syn = take8(&in) & 1;
    u32 len = LV_MIN(left(&in), (u32)LV_OPTIONS_MAX_BYTES);
    u8 header[60] = {0}, written[20 + LV_OPTIONS_MAX_BYTES] = {0};
    struct exact tcp;
    struct lv_opts o, again;
    u32 n;

    memcpy(header + 20, in.p, len);
    tcp = exact_copy(header, 20 + len);
    lv_opts_read(&o, tcp.data, tcp.len, syn);
    check_places(&o, tcp.len);
    CHECK(syn ? !o.sack_at : !o.mss_at && !o.wscale_at && !o.sack_ok_at);

    n = lv_opts_write_syn(written + 20, &o);
    CHECK(n <= 20 && n % 4 == 0);
    lv_opts_read(&again, written, 20 + n, 1);
    CHECK(again.mss == o.mss && again.wscale == o.wscale && again.sack_ok == o.sack_ok && again.has_ts == o.has_ts);
    CHECK(again.tsval == o.tsval && again.tsecr == o.tsecr && !again.is_signed);

    n = lv_opts_write_ts(written + 20, &o);
    CHECK(n == (o.has_ts ? 12 : 0));
    lv_opts_read(&again, written, 20 + n, 0);
    CHECK(again.has_ts == o.has_ts && again.tsval == o.tsval && again.tsecr == o.tsecr);
    exact_free(&tcp);
    return 0;
}
