/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The netlink messages of the netfilter queue: reads what the kernel sends, writes configuration and verdicts.
 *
 * Owns: the layout of these messages. Used by: nfqueue.pyx. Must not know: sockets, flows, what a packet says.
 * Source: linux/netfilter/nfnetlink_queue.h, net/netfilter/nfnetlink_queue.c. Netlink's own headers are in host order,
 * the queue's values big endian on the wire; in struct lv_nl_packet everything is in host order.
 */
#ifndef LV_NETLINK_H
#define LV_NETLINK_H

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <string.h>

#include "core/base.h"

enum {
    /* The kernel cuts a packet here: 16 bits of attribute length, the attribute's own header taken off. */
    LV_NL_PAYLOAD_MAX = 0xffff - NLA_HDRLEN,
    /* All other attributes of one packet message together stay well under this (hardware address, L2 header, VLAN,
     * indices, mark, timestamp, priority; no conntrack, uid or security context, which we do not ask for). */
    LV_NL_ATTRS_MAX = 512,
    /* nlmsghdr, nfgenmsg, verdict attribute, header of the payload attribute. The kernel's message has at least this
     * much before its payload (nlmsghdr, nfgenmsg, packet attribute, header of the payload attribute), so that a verdict
     * with payload is written into the received message, in place, and the packet is not copied. */
    LV_NL_VERDICT_BYTES = NLMSG_HDRLEN + sizeof(struct nfgenmsg) + NLA_HDRLEN + sizeof(struct nfqnl_msg_verdict_hdr),
    LV_NL_REWRITE_BYTES = LV_NL_VERDICT_BYTES + NLA_HDRLEN,
    LV_NL_CONFIG_MAX = 128,
};

/* A run of verdicts relies on it. */
_Static_assert(NLMSG_HDRLEN + sizeof(struct nfgenmsg) + NLA_ALIGN(NLA_HDRLEN + sizeof(struct nfqnl_msg_packet_hdr)) +
                       NLA_HDRLEN >=
                   LV_NL_REWRITE_BYTES,
               "a verdict with payload fits into the message that brought the packet");

enum lv_nl_kind {
    LV_NL_MALFORMED = 0, /* nothing of it can be used, and the rest of the datagram neither */
    LV_NL_PACKET = 1,
    LV_NL_ERROR = 2, /* the kernel's answer to a message of ours; error is an errno, 0 an acknowledgement */
    LV_NL_OTHER = 3, /* well formed, not for us */
};

struct lv_nl_packet {
    u32 id;
    u16 proto; /* ethertype; of the inner tag for QinQ */
    u8 family; /* NFPROTO_* of the hook */
    u8 hook;
    u32 indev;     /* ifindex, 0 = absent. In the bridge family the bridge where the kernel has br_netfilter, ... */
    u32 physindev; /* ... and then this is the port; without br_netfilter indev is the port and this is absent */
    u32 skb_info;  /* NFQA_SKB_*: ready-to-send checksums, GSO */
    u32 cap_len;   /* length before the kernel cut it, 0 = whole */
    u8 *payload;
    u32 payload_len;
    u8 *l2;     /* Ethernet header, bridge family only */
    u32 l2_len; /* bytes */
    u8 source[6];
    u8 has_source; /* source is the sender's MAC */
    u16 vlan_tci;
    u16 vlan_proto; /* 0 = untagged */
    int error;
};

/* One attribute of [*p, end). Returns its type, 0 at the end, -1 where the lengths do not fit. */
LV_INLINE int lv_nl_attr(u8 **p, const u8 *end, u8 **value, u32 *len)
{
    struct nlattr attr;
    u32 left = (u32)(end - *p);

    if (left == 0)
        return 0;
    if (left < NLA_HDRLEN)
        return -1;
    memcpy(&attr, *p, sizeof(attr));
    if (attr.nla_len < NLA_HDRLEN || attr.nla_len > left)
        return -1;
    *value = *p + NLA_HDRLEN;
    *len = attr.nla_len - NLA_HDRLEN;
    *p += LV_MIN((u32)NLA_ALIGN(attr.nla_len), left); /* the last one is not padded */
    return attr.nla_type & NLA_TYPE_MASK ? attr.nla_type & NLA_TYPE_MASK : NLA_TYPE_MASK;
}

LV_INLINE int lv_nl_read_vlan(struct lv_nl_packet *out, u8 *p, const u8 *end)
{
    u8 *value;
    u32 len;
    int type;

    while ((type = lv_nl_attr(&p, end, &value, &len)) > 0) {
        if (type != NFQA_VLAN_TCI && type != NFQA_VLAN_PROTO)
            continue;
        if (len < sizeof(u16))
            return -1;
        if (type == NFQA_VLAN_TCI)
            out->vlan_tci = lv_get16(value);
        else
            out->vlan_proto = lv_get16(value);
    }
    return type;
}

LV_INLINE int lv_nl_read_value(struct lv_nl_packet *out, int type, u8 *value, u32 len)
{
    struct nfqnl_msg_packet_hw hw;

    switch (type) {
    case NFQA_IFINDEX_INDEV:
    case NFQA_IFINDEX_PHYSINDEV:
    case NFQA_CAP_LEN:
    case NFQA_SKB_INFO:
        if (len < sizeof(u32))
            return -1;
        *(type == NFQA_IFINDEX_INDEV       ? &out->indev
          : type == NFQA_IFINDEX_PHYSINDEV ? &out->physindev
          : type == NFQA_CAP_LEN           ? &out->cap_len
                                           : &out->skb_info) = lv_get32(value);
        return 0;
    case NFQA_HWADDR:
        if (len < sizeof(hw))
            return -1;
        memcpy(&hw, value, sizeof(hw));
        if (ntohs(hw.hw_addrlen) == sizeof(out->source)) {
            memcpy(out->source, hw.hw_addr, sizeof(out->source));
            out->has_source = 1;
        }
        return 0;
    case NFQA_VLAN: return lv_nl_read_vlan(out, value, value + len);
    case NFQA_L2HDR:
        out->l2 = value;
        out->l2_len = len;
        return 0;
    case NFQA_PAYLOAD:
        out->payload = value;
        out->payload_len = len;
        return 0;
    default: return 0;
    }
}

/* Attributes of a packet message. The id is read first and stays even when the rest is malformed (has_id), so that the
 * packet can be dropped by name instead of lying in the kernel's queue. */
LV_INLINE enum lv_nl_kind lv_nl_read_packet(struct lv_nl_packet *out, u8 *msg, const u8 *end, int *has_id)
{
    u8 *p = msg + NLMSG_HDRLEN + sizeof(struct nfgenmsg);
    u8 *value;
    u32 len;
    int type;

    while ((type = lv_nl_attr(&p, end, &value, &len)) > 0) {
        if (type == NFQA_PACKET_HDR) {
            if (len < sizeof(struct nfqnl_msg_packet_hdr))
                return LV_NL_MALFORMED;
            out->id = lv_get32(value);
            out->proto = lv_get16(value + 4);
            out->hook = value[6];
            *has_id = 1;
        } else if (lv_nl_read_value(out, type, value, len)) {
            return LV_NL_MALFORMED;
        }
    }
    if (type < 0 || !*has_id || !out->payload || out->payload < msg + LV_NL_REWRITE_BYTES)
        return LV_NL_MALFORMED;
    return LV_NL_PACKET;
}

/* Reads the first message of a datagram of len bytes; *used is where the next one begins (len at the end or when the
 * lengths do not fit). *has_id says whether out->id may be used, also for a malformed packet message. */
LV_INLINE enum lv_nl_kind lv_nl_read(struct lv_nl_packet *out, u8 *msg, u32 len, u32 *used, int *has_id)
{
    struct nlmsghdr header;
    struct nlmsgerr error;

    memset(out, 0, sizeof(*out));
    *used = len;
    *has_id = 0;
    if (len < NLMSG_HDRLEN)
        return LV_NL_MALFORMED;
    memcpy(&header, msg, sizeof(header));
    if (header.nlmsg_len < NLMSG_HDRLEN || header.nlmsg_len > len)
        return LV_NL_MALFORMED;
    if (len - header.nlmsg_len >= NLMSG_ALIGNTO)
        *used = NLMSG_ALIGN(header.nlmsg_len);
    if (header.nlmsg_type == NLMSG_ERROR) {
        if (header.nlmsg_len < NLMSG_HDRLEN + sizeof(error))
            return LV_NL_MALFORMED;
        memcpy(&error, msg + NLMSG_HDRLEN, sizeof(error));
        out->error = (int)(0u - (u32)error.error); /* of the lowest int too */
        return LV_NL_ERROR;
    }
    if (header.nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET))
        return LV_NL_OTHER;
    if (header.nlmsg_len < NLMSG_HDRLEN + sizeof(struct nfgenmsg))
        return LV_NL_MALFORMED;
    out->family = msg[NLMSG_HDRLEN];
    return lv_nl_read_packet(out, msg, msg + header.nlmsg_len, has_id);
}

/* nlmsghdr and nfgenmsg of a message of ours for one queue. No NLM_F_ACK unless asked: the kernel answers errors anyway,
 * and acknowledgements of verdicts would cost as much as packets. */
LV_INLINE void lv_nl_put_header(u8 *msg, u32 len, u8 type, u16 flags, u16 queue)
{
    struct nlmsghdr header = {
        .nlmsg_len = len,
        .nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | type,
        .nlmsg_flags = NLM_F_REQUEST | flags,
    };
    struct nfgenmsg gen = {.version = NFNETLINK_V0, .res_id = htons(queue)};

    memcpy(msg, &header, sizeof(header));
    memcpy(msg + NLMSG_HDRLEN, &gen, sizeof(gen));
}

LV_INLINE u8 *lv_nl_put_attr(u8 *p, u16 type, const void *value, u32 len)
{
    struct nlattr attr = {.nla_len = (u16)(NLA_HDRLEN + len), .nla_type = type};

    memcpy(p, &attr, sizeof(attr));
    if (value)
        memcpy(p + NLA_HDRLEN, value, len);
    return p + NLA_HDRLEN + len;
}

/* One verdict (NF_DROP, NF_ACCEPT) for every queued packet up to and with id. LV_NL_VERDICT_BYTES long. */
LV_INLINE void lv_nl_put_batch(u8 *msg, u16 queue, u32 id, u32 verdict)
{
    struct nfqnl_msg_verdict_hdr hdr = {.verdict = htonl(verdict), .id = htonl(id)};

    lv_nl_put_header(msg, LV_NL_VERDICT_BYTES, NFQNL_MSG_VERDICT_BATCH, 0, queue);
    lv_nl_put_attr(msg + NLMSG_HDRLEN + sizeof(struct nfgenmsg), NFQA_VERDICT_HDR, &hdr, sizeof(hdr));
}

/* NF_ACCEPT for one packet whose new bytes stand at payload: written in the LV_NL_REWRITE_BYTES before it, padding (up
 * to 3 bytes, which the caller leaves room for) behind it. Returns the length to send from payload - LV_NL_REWRITE_BYTES,
 * which is a multiple of 4 so that another message may follow. */
LV_INLINE u32 lv_nl_put_rewrite(u8 *payload, u32 len, u16 queue, u32 id)
{
    struct nfqnl_msg_verdict_hdr hdr = {.verdict = htonl(NF_ACCEPT), .id = htonl(id)};
    u8 *msg = payload - LV_NL_REWRITE_BYTES;
    u32 padded = NLMSG_ALIGN(LV_NL_REWRITE_BYTES + len);
    u8 *p;

    lv_nl_put_header(msg, LV_NL_REWRITE_BYTES + len, NFQNL_MSG_VERDICT, 0, queue);
    p = lv_nl_put_attr(msg + NLMSG_HDRLEN + sizeof(struct nfgenmsg), NFQA_VERDICT_HDR, &hdr, sizeof(hdr));
    lv_nl_put_attr(p, NFQA_PAYLOAD, NULL, len);
    memset(payload + len, 0, padded - LV_NL_REWRITE_BYTES - len);
    return padded;
}

/* Binds a queue and states all that it needs in one message: copy mode packet, whole packets, its length, and
 * whether the kernel lets packets through when it is full. Every flag is named in the mask, so that none is inherited:
 * - GSO is off in routed mode: the kernel then segments and completes checksums before it queues. In the bridge family
 *   it has to be on: segmenting there (nfqnl_enqueue_packet() of net/netfilter/nfnetlink_queue.c, without br_netfilter)
 *   starts at the network header and loses the Ethernet header, and such segments leave as garbage. With it on, packets
 *   come unsegmented, their checksum possibly left to the NIC (NFQA_SKB_CSUMNOTREADY); a changed one is segmented, and
 *   its TCP checksums made, on its way out.
 * - UID_GID, SECCTX, CONNTRACK stay off: they only make messages longer.
 * The kernel acknowledges (NLM_F_ACK). Returns the length, at most LV_NL_CONFIG_MAX. */
LV_INLINE u32 lv_nl_put_bind(u8 *msg, u16 queue, u32 length, int fail_open, int gso)
{
    struct nfqnl_msg_config_cmd cmd = {.command = NFQNL_CFG_CMD_BIND};
    /* Padded by hand: the structure is packed to 5 bytes. */
    u8 params[8] = {0};
    u32 maxlen = htonl(length);
    u32 mask = htonl(NFQA_CFG_F_FAIL_OPEN | NFQA_CFG_F_GSO | NFQA_CFG_F_CONNTRACK | NFQA_CFG_F_UID_GID);
    u32 flags = htonl((fail_open ? NFQA_CFG_F_FAIL_OPEN : 0) | (gso ? NFQA_CFG_F_GSO : 0));
    u8 *p = msg + NLMSG_HDRLEN + sizeof(struct nfgenmsg);

    lv_put32(params, 0xffff); /* more than LV_NL_PAYLOAD_MAX means that */
    params[4] = NFQNL_COPY_PACKET;
    p = lv_nl_put_attr(p, NFQA_CFG_CMD, &cmd, sizeof(cmd));
    p = lv_nl_put_attr(p, NFQA_CFG_PARAMS, params, sizeof(params));
    p = lv_nl_put_attr(p, NFQA_CFG_QUEUE_MAXLEN, &maxlen, sizeof(maxlen));
    p = lv_nl_put_attr(p, NFQA_CFG_MASK, &mask, sizeof(mask));
    p = lv_nl_put_attr(p, NFQA_CFG_FLAGS, &flags, sizeof(flags));
    lv_nl_put_header(msg, (u32)(p - msg), NFQNL_MSG_CONFIG, NLM_F_ACK, queue);
    return (u32)(p - msg);
}

#endif
