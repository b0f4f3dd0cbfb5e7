/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Fuzz target: the packet parser. Input: EtherType choice, number of tags out of band and how much of the packet is
 * missing from the buffer, then the packet.
 * Whatever the bytes are, the view that comes back lies inside them and its parts are in order.
 */
#include "fuzz.h"

#include "core/options.h"
#include "core/packet.h"

static const u16 ethertypes[] = {LV_ETH_P_IP, LV_ETH_P_IPV6, LV_ETH_P_8021Q, LV_ETH_P_8021AD};

static void check_ip(const struct lv_ip *ip, const u8 *start, const u8 *end)
{
    CHECK(ip->family == 4 || ip->family == 6);
    CHECK(start <= ip->l3 && ip->l3 + (ip->family == 4 ? 20 : 40) <= ip->l4);
    CHECK(ip->l4 <= ip->end && ip->end <= end);
    CHECK(ip->fragment <= 2);
    CHECK(ip->l3 + ip->total >= ip->end);
    CHECK((ip->family == 4) == lv_addr_is_v4(&ip->src));
    CHECK((ip->family == 4) == lv_addr_is_v4(&ip->dst));
}

static void check_tcp(const struct lv_pkt *k)
{
    struct lv_opts o;
    int syn;

    CHECK(k->ip.proto == LV_IPPROTO_TCP && k->ip.fragment != 2);
    CHECK(k->tcp.header_len >= 20 && k->tcp.header_len <= 60 && k->tcp.sport && k->tcp.dport);
    CHECK((u32)(k->ip.l4 - k->ip.l3) + k->tcp.header_len + k->tcp.payload_len == k->ip.total);
    CHECK(k->ip.l4 + k->tcp.header_len <= k->ip.end);
    for (syn = 0; syn < 2; syn++) {
        lv_opts_read(&o, k->ip.l4, k->tcp.header_len, syn);
        CHECK(!o.ts_at || o.ts_at + 8 <= k->tcp.header_len);
        CHECK(!o.sack_at || o.sack_at + 8 * o.sack_blocks <= k->tcp.header_len);
    }
    (void)lv_tcp_checksum_ok(&k->ip);
    (void)lv_ip_checksum_ok(&k->ip);
    (void)lv_source_impossible(&k->ip);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct input in = {data, data + size};
    u16 proto = ethertypes[take8(&in) & 3];
    u8 how = take8(&in);
    u32 tags = how % (LV_VLAN_TAGS + 1), missing = how / (LV_VLAN_TAGS + 1) * 8u;
    struct exact packet = exact_take(&in, 65535);
    struct exact before = exact_copy(packet.data, packet.len);
    const u8 *end = packet.data + packet.len;
    struct lv_pkt k;
    enum lv_kind kind;

    memset(&k, 0xa5, sizeof(k)); /* as the engine's is: not zeroed */
    lv_pkt_begin(&k);
    k.tags = (u8)tags;
    if (missing)
        k.wire_len = packet.len + missing;
    kind = lv_parse(&k, packet.data, packet.data + packet.len, proto);
    CHECK(k.tags <= LV_VLAN_TAGS);
    switch (kind) {
    case LV_KIND_TCP:
        check_ip(&k.ip, packet.data, end);
        check_tcp(&k);
        break;
    case LV_KIND_ICMP_ERROR:
        check_ip(&k.ip, packet.data, end);
        check_ip(&k.quoted, k.ip.l4 + 8, k.ip.end);
        CHECK(k.quoted.family == k.ip.family && k.quoted.proto == LV_IPPROTO_TCP);
        CHECK(k.quoted.l4 + (k.quoted_ack ? 12 : 8) <= k.quoted.end);
        break;
    case LV_KIND_FRAGMENT:
        check_ip(&k.ip, packet.data, end);
        CHECK(k.ip.fragment);
        break;
    case LV_KIND_JUNK: CHECK(k.ip.reason < LV_R_COUNT); break;
    default: CHECK(kind == LV_KIND_OTHER);
    }
    CHECK(!packet.len || !memcmp(packet.data, before.data, packet.len));
    exact_free(&before);
    exact_free(&packet);
    return 0;
}
