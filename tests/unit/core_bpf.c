/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Every function of the core that is meant for BPF programs, called once from a function that is kept: compiled for BPF
 * by test_core_headers.py, it shows that none needs libc, a loop without bound, more stack than there is, or more
 * registers for arguments than there are. Whether the verifier follows the bounds is for the programs of cext/bpf to show.
 */
#include "core/base.h"
#include "core/checksum.h"
#include "core/cookie.h"
#include "core/flow.h"
#include "core/lists.h"
#include "core/options.h"
#include "core/packet.h"
#include "core/reason.h"
#include "core/siphash.h"
#include "core/translate.h"

struct values {
    u32 a, b, c, len;
    u16 x, y;
    u8 side, family;
    u8 *data, *end;
    struct lv_sipkey sipkey;
    struct lv_csum_diff diff;
    struct lv_pkt packet;
    struct lv_opts options;
    struct lv_cookie_keys keys;
    struct lv_cookie_bits bits;
    struct lv_key key, other;
    struct lv_conn conn;
};

u64 base(struct values *v)
{
    lv_put16(v->data, lv_get16(v->data));
    lv_put32(v->data, lv_get32(v->data));
    lv_copy(&v->key, &v->other, sizeof(v->key));
    lv_zero(&v->other, sizeof(v->other));
    lv_read_fence();
    v->c = lv_load_acquire(&v->a);
    return (u64)lv_before(v->a, v->b) + (u64)lv_after(v->a, v->b) + (u64)lv_within(v->a, v->b, v->c);
}

u64 siphash(struct values *v)
{
    return lv_siphash(&v->sipkey, v->data, v->len);
}

u64 checksum(struct values *v)
{
    lv_diff16(&v->diff, v->x, v->y);
    lv_diff32(&v->diff, v->a, v->b, v->side);
    lv_diff_apply(&v->diff, v->data);
    return lv_csum_fold(lv_csum_add32(v->a, v->b));
}

u64 packet(struct values *v)
{
    return (u64)lv_parse(&v->packet, v->data, v->end, v->x) + (u64)lv_source_impossible(&v->packet.ip) +
           lv_pseudo_sum(v->family, &v->packet.ip.src, &v->packet.ip.dst, 6, v->len) + lv_seq_len(&v->packet.tcp) +
           (u64)lv_addr_eq(&v->packet.ip.src, &v->packet.ip.dst);
}

u64 options(struct values *v)
{
    lv_opts_read(&v->options, v->data, v->len, v->side);
    return lv_opts_write_syn(v->data, &v->options) + lv_opts_write_ts(v->data, &v->options);
}

u64 cookie(struct values *v)
{
    const struct lv_addr *src = &v->packet.ip.src, *dst = &v->packet.ip.dst;

    lv_cookie_start(&v->keys, v->data, v->a, v->b);
    lv_cookie_tick(&v->keys, v->a, v->b);
    v->c = lv_cookie_make(&v->keys, v->family, src, dst, v->x, v->y, v->a, &v->bits);
    return (u64)lv_cookie_check(&v->keys, v->family, src, dst, v->x, v->y, v->a, v->c, &v->bits);
}

u64 flow(struct values *v)
{
    v->conn.wscale_c = lv_wscale_pair(v->side, v->family);
    v->family = lv_key_family(&v->key);
    lv_flow_key(&v->key, &v->packet, (enum lv_side)v->side);
    lv_flow_key_quoted(&v->other, &v->packet, (enum lv_side)v->side);
    lv_flow_track_pass(&v->conn, &v->packet.tcp, (enum lv_side)v->side, v->a);
    return (u64)lv_key_eq(&v->key, &v->other) + (u64)lv_fits_closed(&v->conn, &v->packet.tcp) +
           (u64)lv_flow_track(&v->conn, &v->packet.tcp, (enum lv_side)v->side, v->a);
}

u64 lists(struct values *v)
{
    return (u64)lv_listed((const struct lv_lists *)v->data, &v->packet.ip.src);
}

u64 translate(struct values *v)
{
    lv_translate_to_server(&v->conn, v->data, &v->options, &v->diff);
    lv_translate_to_client(&v->conn, v->data, &v->options, &v->diff);
    lv_hide_ecn(v->data, v->family);
    return lv_window_rescale(v->x, v->side, v->family);
}
