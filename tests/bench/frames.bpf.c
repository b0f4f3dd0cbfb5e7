/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Forged frames of the benchmark, made in the kernel: sent from an interface by BPF_PROG_RUN in live-frame mode, or
 * given to another program whose time is measured. Beside them what the benchmark needs at both ends of a wire.
 *
 * Owns: what changes from one frame to the next. Loaded by programs.py, which writes the plan. Must not know: who gets
 * the frames. A frame is Ethernet, IPv4 without options, TCP. Live frames are used again and again, and what is measured
 * changes its frame (the answer is written over the question): so every byte is written each time.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;

enum {
    LVB_FRAME_BYTES = 96,
    LVB_IP_SUM = 24, /* offsets in the frame */
    LVB_SOURCE = 26,
    LVB_DESTINATION = 30,
    LVB_SOURCE_PORT = 34,
    LVB_DESTINATION_PORT = 36,
    LVB_SEQ = 38,
    LVB_ACK = 42,
    LVB_FLAGS = 47,
    LVB_TCP_SUM = 50,
    LVB_HEADERS_BYTES = 54,
    LVB_CLIENTS_BASE = 0xc6128000, /* 198.18.128.0/17: every forged client */
    LVB_CLIENTS_MASK = 0x7fff,
    LVB_CLIENTS_BITS = 15,
    LVB_PORT_FIRST = 1024,
    LVB_SYN_ACK = 0x12,
};

/* Written by programs.py. Only one program runs on a plan at a time. */
struct lvb_plan {
    u64 state; /* of the draw */
    u8 frame[LVB_FRAME_BYTES];
    u32 bytes;
    u32 tcp_sum, ip_sum; /* over what does not change, in the byte order of memory */
    u32 clients;         /* so many different ones, by address and port; 0: any */
    u32 servers;         /* addresses from server_first on, host byte order */
    u32 server_first;
    u32 client_sends; /* 0: the frame is the server's, the client its destination */
    u32 new_numbers;  /* sequence numbers are drawn too */
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, struct lvb_plan);
} lvb_plan SEC(".maps");

/* SYN-ACKs that came back to forged clients. */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, u64);
} lvb_answers SEC(".maps");

/* The program whose time is measured. */
struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, u32);
} lvb_xdp_measured SEC(".maps"), lvb_tc_measured SEC(".maps");

static __always_inline u32 lvb_words(u32 value)
{
    return (value & 0xffff) + (value >> 16);
}

static __always_inline u16 lvb_folded(u32 sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (u16)~sum;
}

static __always_inline void lvb_put16(u8 *at, u16 raw)
{
    *(u16 *)at = raw;
}

static __always_inline void lvb_put32(u8 *at, u32 raw)
{
    lvb_put16(at, (u16)raw);
    lvb_put16(at + 2, (u16)(raw >> 16));
}

/* The next frame of the plan, complete and with both checksums. */
static __always_inline struct lvb_plan *lvb_next(void)
{
    u32 zero = 0, who, client, server, sum;
    struct lvb_plan *p = bpf_map_lookup_elem(&lvb_plan, &zero);
    u64 draw;
    u16 port;

    if (!p || p->bytes < LVB_HEADERS_BYTES || p->bytes > LVB_FRAME_BYTES)
        return 0;
    draw = p->state = p->state * 6364136223846793005ULL + 1442695040888963407ULL;
    who = (u32)(draw >> 32);
    server = bpf_htonl(p->server_first + (u32)((draw >> 16 & 0xffff) * p->servers >> 16));
    if (p->clients)
        who = (u32)((u64)who * p->clients >> 32);
    client = bpf_htonl(LVB_CLIENTS_BASE + (who & LVB_CLIENTS_MASK));
    port = (u16)(who >> LVB_CLIENTS_BITS);
    port = bpf_htons(port < LVB_PORT_FIRST ? port + LVB_PORT_FIRST : port);
    lvb_put32(p->frame + LVB_SOURCE, p->client_sends ? client : server);
    lvb_put32(p->frame + LVB_DESTINATION, p->client_sends ? server : client);
    lvb_put16(p->frame + (p->client_sends ? LVB_SOURCE_PORT : LVB_DESTINATION_PORT), port);
    sum = lvb_words(client) + lvb_words(server);
    lvb_put16(p->frame + LVB_IP_SUM, lvb_folded(p->ip_sum + sum));
    sum += p->tcp_sum + port;
    if (p->new_numbers) {
        u32 seq = (u32)(draw >> 20) ^ who, ack = (u32)(draw >> 13);

        lvb_put32(p->frame + LVB_SEQ, seq);
        lvb_put32(p->frame + LVB_ACK, p->frame[LVB_FLAGS] & 0x10 ? ack : 0);
        sum += lvb_words(seq) + (p->frame[LVB_FLAGS] & 0x10 ? lvb_words(ack) : 0);
    }
    lvb_put16(p->frame + LVB_TCP_SUM, lvb_folded(sum));
    return p;
}

/* ---- in live-frame mode: out of the interface it is run for ---- */

SEC("xdp")
int lvb_send(struct xdp_md *ctx)
{
    struct lvb_plan *p = lvb_next();
    u32 bytes = p ? p->bytes : 0;

    if (!p || bytes < LVB_HEADERS_BYTES || bytes > LVB_FRAME_BYTES || bpf_xdp_store_bytes(ctx, 0, p->frame, bytes))
        return XDP_ABORTED;
    return XDP_TX;
}

/* ---- in front of a program that is measured ---- */

SEC("xdp.frags")
int lvb_xdp_case(struct xdp_md *ctx)
{
    u32 have = (u32)bpf_xdp_get_buff_len(ctx);
    struct lvb_plan *p = lvb_next();
    u32 bytes = p ? p->bytes : 0;

    if (!p || bytes < LVB_HEADERS_BYTES || bytes > LVB_FRAME_BYTES)
        return XDP_ABORTED;
    if (have != bytes && bpf_xdp_adjust_tail(ctx, (int)bytes - (int)have))
        return XDP_ABORTED;
    if (bpf_xdp_store_bytes(ctx, 0, p->frame, bytes))
        return XDP_ABORTED;
    bpf_tail_call(ctx, &lvb_xdp_measured, 0);
    return XDP_ABORTED;
}

SEC("tc")
int lvb_tc_case(struct __sk_buff *skb)
{
    struct lvb_plan *p = lvb_next();
    u32 bytes = p ? p->bytes : 0;

    if (!p || bytes < LVB_HEADERS_BYTES || bytes > LVB_FRAME_BYTES)
        return TC_ACT_UNSPEC;
    if (bpf_skb_store_bytes(skb, 0, p->frame, bytes, 0))
        return TC_ACT_UNSPEC;
    bpf_tail_call(skb, &lvb_tc_measured, 0);
    return TC_ACT_UNSPEC;
}

/* What making the frame and calling takes by itself. */
SEC("xdp.frags")
int lvb_xdp_nothing(struct xdp_md *ctx)
{
    (void)ctx;
    return XDP_DROP;
}

SEC("tc")
int lvb_tc_nothing(struct __sk_buff *skb)
{
    (void)skb;
    return TC_ACT_SHOT;
}

/* ---- at the ends of a wire ---- */

/* Floor: as little as a box can do. */
SEC("xdp")
int lvb_drop(struct xdp_md *ctx)
{
    (void)ctx;
    return XDP_DROP;
}

/* Floor: send it back, with nothing changed but the addresses of the link. */
SEC("xdp")
int lvb_echo(struct xdp_md *ctx)
{
    u8 *data = (u8 *)(long)ctx->data, *end = (u8 *)(long)ctx->data_end, mac[6];

    if (data + 14 > end)
        return XDP_DROP;
    __builtin_memcpy(mac, data, 6);
    __builtin_memcpy(data, data + 6, 6);
    __builtin_memcpy(data + 6, mac, 6);
    return XDP_TX;
}

/* A program that does nothing: the price of having one. */
SEC("xdp")
int lvb_pass(struct xdp_md *ctx)
{
    (void)ctx;
    return XDP_PASS;
}

/* The client's end: what goes to forged clients ends here, their SYN-ACKs are counted. An echoed frame comes from them. */
SEC("xdp")
int lvb_count(struct xdp_md *ctx)
{
    u8 *data = (u8 *)(long)ctx->data, *end = (u8 *)(long)ctx->data_end;
    u32 zero = 0, source, destination;
    u64 *answers;

    if (data + LVB_HEADERS_BYTES > end || *(u16 *)(data + 12) != bpf_htons(0x0800) || data[23] != 6)
        return XDP_PASS;
    source = bpf_ntohl(*(u32 *)(data + LVB_SOURCE));
    destination = bpf_ntohl(*(u32 *)(data + LVB_DESTINATION));
    if ((destination & ~LVB_CLIENTS_MASK) != LVB_CLIENTS_BASE && (source & ~LVB_CLIENTS_MASK) != LVB_CLIENTS_BASE)
        return XDP_PASS;
    answers = bpf_map_lookup_elem(&lvb_answers, &zero);
    if (answers && (data[LVB_FLAGS] == LVB_SYN_ACK || (source & ~LVB_CLIENTS_MASK) == LVB_CLIENTS_BASE))
        ++*answers;
    return XDP_DROP;
}

char lvb_license[] SEC("license") = "GPL";
