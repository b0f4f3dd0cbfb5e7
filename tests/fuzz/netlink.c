/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Fuzz target: the netfilter queue's messages. Input: a datagram as the kernel would send it.
 * The reader always gets on, what it points at lies inside the datagram, and a verdict with payload written in place
 * of the packet is a well-formed message that touches nothing else.
 */
#include "fuzz.h"

#include "netlink.h"

enum { ROOM = 8 }; /* behind the datagram, for padding */

static void check_rewrite(const struct lv_nl_packet *packet, u8 *datagram, u32 len)
{
    struct nlmsghdr header;
    u8 *msg = packet->payload - LV_NL_REWRITE_BYTES, *copy = malloc(len + ROOM);
    u32 at = (u32)(msg - datagram), n, padded;
    u8 *value, *p;

    CHECK(copy);
    memcpy(copy, datagram, len + ROOM);
    n = lv_nl_put_rewrite(copy + (packet->payload - datagram), packet->payload_len, 3, packet->id);
    padded = NLMSG_ALIGN(LV_NL_REWRITE_BYTES + packet->payload_len);
    CHECK(n == padded && at + n <= len + ROOM);
    CHECK(!memcmp(copy, datagram, at) && !memcmp(copy + at + n, datagram + at + n, len + ROOM - at - n));
    CHECK(!memcmp(copy + at + LV_NL_REWRITE_BYTES, packet->payload, packet->payload_len));
    memcpy(&header, copy + at, sizeof(header));
    CHECK(header.nlmsg_len == LV_NL_REWRITE_BYTES + packet->payload_len);
    p = copy + at + NLMSG_HDRLEN + sizeof(struct nfgenmsg);
    CHECK(lv_nl_attr(&p, copy + at + header.nlmsg_len, &value, &n) == NFQA_VERDICT_HDR && n == 8);
    CHECK(lv_get32(value) == NF_ACCEPT && lv_get32(value + 4) == packet->id);
    CHECK(lv_nl_attr(&p, copy + at + header.nlmsg_len, &value, &n) == NFQA_PAYLOAD && n == packet->payload_len);
    free(copy);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct exact datagram = exact_copy(data, (u32)LV_MIN(size, 65535u));
    u32 at = 0, used;
    int has_id;

    while (at < datagram.len) {
        struct lv_nl_packet packet;
        u8 *msg = datagram.data + at, *end = datagram.data + datagram.len;
        u32 len = datagram.len - at;
        enum lv_nl_kind kind = lv_nl_read(&packet, msg, len, &used, &has_id);

        CHECK(used >= LV_MIN(len, (u32)NLMSG_HDRLEN) && used <= len);
        if (kind == LV_NL_PACKET) {
            u8 *again = malloc(len + ROOM);

            CHECK(has_id && packet.payload >= msg + LV_NL_REWRITE_BYTES);
            CHECK(packet.payload + packet.payload_len <= end);
            CHECK(!packet.l2 || (packet.l2 >= msg && packet.l2 + packet.l2_len <= end));
            CHECK(again);
            memcpy(again, msg, len);
            memset(again + len, 0x77, ROOM);
            packet.payload = again + (packet.payload - msg);
            check_rewrite(&packet, again, len);
            free(again);
        } else {
            CHECK(kind == LV_NL_MALFORMED || kind == LV_NL_ERROR || kind == LV_NL_OTHER);
        }
        at += used;
    }
    exact_free(&datagram);
    return 0;
}
