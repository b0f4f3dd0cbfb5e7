/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Fuzz target: the whole engine. Input: policy, window scale, then a row of commands (enum command): raw packets,
 * TCP segments whose numbers are taken from what was seen before, so that handshakes get through, ICMP errors about
 * packets seen before, time, restarts.
 *
 * After every call: each verdict is counted once and by a reason; a packet that passes is untouched; a rewritten one
 * keeps its length, addresses, payload and the state of its checksum; whatever the box sends is a well-formed packet
 * with right checksums; no SYN reaches the server without a valid cookie; tables, chains and locks are in order.
 *
 * At its end the process prints what the run has reached, so that a target that goes nowhere is seen.
 */
#include "box.h"

enum command { RAW, SEGMENT, SEGMENT_IN, ICMP, TIME, EPOCH, RESTART, TICK, COMMANDS };

/* Whose numbers: of the last packet the box sent or passed on to a side, and of the last one that came from it. */
enum whose { TO_OUTSIDE, TO_INSIDE, FROM_OUTSIDE, FROM_INSIDE, WHOSE };
enum which { SEQ, END, ACKNOWLEDGED, ZERO, WHICH };

enum {
    CLIENTS = 4,
    FIRST_PORT = 4000,
    COMMANDS_MAX = 64,
    FRAME_BYTES = 2100,
};

static u32 numbers[CLIENTS][WHOSE][WHICH];
static u8 last[2][FRAME_BYTES]; /* last IP packet that the box sent or rewrote, and that came in */
static u32 last_len[2];
static u64 reached[LV_COUNTERS], syns_inside, packets_out, rewritten, errors_rewritten, ecn_hidden;

static void remember(const struct lv_tcp *t, enum whose whose)
{
    int to_client = whose == TO_OUTSIDE || whose == FROM_INSIDE;
    u32 *n = numbers[(to_client ? t->dport : t->sport) % CLIENTS][whose];

    n[SEQ] = t->seq;
    n[END] = t->seq + lv_seq_len(t);
    n[ACKNOWLEDGED] = t->ack;
}

/* A number in four bytes of input: which one, and how far from it. */
static u32 recall(struct input *in, u32 client)
{
    u8 what = take8(in);
    u32 base = numbers[client][what & 3][what >> 2 & 3];

    if (what & 0x80)
        return base + take32(in);
    return base + (u32)(int)(signed char)take8(in);
}

static u16 residue(const struct lv_ip *ip)
{
    u32 len = (u32)(ip->end - ip->l4);
    u32 start = ip->proto == LV_IPPROTO_ICMP ? 0 : lv_pseudo_sum(ip->family, &ip->src, &ip->dst, ip->proto, len);
    u16 sum = lv_csum_fold(lv_csum_bytes(ip->l4, len, start));

    return sum == 0xffff ? 0 : sum;
}

static enum lv_kind parse(struct lv_pkt *k, u8 *data, u32 len, u16 proto)
{
    lv_pkt_begin(k);
    return lv_parse(k, data, data + len, proto);
}

static void keep_last(u32 which, const u8 *ip, u32 len)
{
    last_len[which] = LV_MIN(len, FRAME_BYTES);
    memcpy(last[which], ip, last_len[which]);
}

static void check_sent(const struct lv_out *o)
{
    struct exact e = exact_copy(o->data, o->len);
    u16 proto = (e.data[0] >> 4) == 4 ? LV_ETH_P_IP : LV_ETH_P_IPV6;
    u32 at = 0;
    struct lv_pkt k;

    CHECK(o->side <= 1 && (o->layer == LV_L2 || o->layer == LV_L3) && o->len <= LV_SLOT_BYTES);
    CHECK(o->layer == LV_L3 || box.ctx.config.out_layer[o->side] == LV_L2);
    if (o->layer == LV_L2) {
        proto = lv_get16(e.data + 12);
        at = 14;
    }
    CHECK(parse(&k, e.data + at, o->len - at, proto) == LV_KIND_TCP);
    CHECK(k.ip.end == e.data + o->len && !k.ip.fragment);
    CHECK(lv_ip_checksum_ok(&k.ip) && lv_tcp_checksum_ok(&k.ip));
    remember(&k.tcp, o->side == LV_OUTSIDE ? TO_OUTSIDE : TO_INSIDE);
    if (o->side == LV_INSIDE && (k.tcp.flags & LV_SYN))
        syns_inside++;
    keep_last(0, k.ip.l3, (u32)(k.ip.end - k.ip.l3));
    packets_out++;
    exact_free(&e);
}

static void check_sent_all(u32 most)
{
    struct lv_outq *q = &box.worker.outq;

    CHECK(q->n <= most);
    for (u32 i = 0; i < q->n; i++)
        check_sent(&q->slot[i]);
    q->n = 0;
    CHECK(syns_inside == box_event(LV_E_SYN_SENT) + box_event(LV_E_SYN_RETRANS));
    CHECK(box_event(LV_E_SYN_SENT) <= box_event(LV_E_COOKIE_VALID));
    box_check_table();
}

/* What may differ after a rewrite: TCP header from seq on, or ICMP checksum and the quoted segment's numbers. */
static void check_rewrite(const struct exact *was, const struct exact *now, u16 proto, u8 tags, u8 side)
{
    struct lv_pkt a, b;
    u32 head;

    a.tags = b.tags = tags;
    CHECK(lv_parse(&a, was->data, was->data + was->len, proto) == lv_parse(&b, now->data, now->data + now->len, proto));
    head = (u32)(a.ip.l4 - was->data);
    if (memcmp(was->data, now->data, head)) {
        CHECK(side == LV_INSIDE && a.ip.tos != b.ip.tos && !(b.ip.tos & 3));
        lv_hide_ecn(a.ip.l3, a.ip.family);
        CHECK(!memcmp(was->data, now->data, head));
        ecn_hidden++;
    }
    CHECK(residue(&a.ip) == residue(&b.ip));
    if (a.ip.proto == LV_IPPROTO_TCP) {
        u32 payload = head + a.tcp.header_len;

        CHECK(!memcmp(a.ip.l4, b.ip.l4, 4) && !memcmp(a.ip.l4 + 12, b.ip.l4 + 12, 2));
        CHECK((a.tcp.flags & LV_RST) || !a.tcp.window == !b.tcp.window);
        CHECK(!memcmp(was->data + payload, now->data + payload, was->len - payload));
        remember(&b.tcp, side == LV_OUTSIDE ? TO_INSIDE : TO_OUTSIDE);
        keep_last(0, b.ip.l3, (u32)(b.ip.end - b.ip.l3));
        rewritten++;
    } else {
        errors_rewritten++;
    }
}

static void feed(const u8 *data, u32 len, u16 proto, u8 side, u8 l2, u16 vlan_tci)
{
    static const u8 mac[2][6] = {{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}};
    struct exact was = exact_copy(data, len), now = exact_copy(data, len);
    u64 drops = box_drops(), passed = box_event(LV_E_PASSED), translated = box_event(LV_E_TRANSLATED);
    struct lv_frame f;
    struct lv_pkt k;
    enum lv_verdict verdict;

    memset(&f, 0, sizeof(f));
    f.data = now.data;
    f.len = f.room = len;
    f.proto = proto;
    f.side = side;
    f.has_l2 = l2;
    memcpy(f.src, mac[side], 6);
    memcpy(f.dst, mac[!side], 6);
    f.vlan_proto = vlan_tci ? LV_ETH_P_8021Q : 0;
    f.vlan_tci = vlan_tci;
    if (parse(&k, was.data, len, proto) == LV_KIND_TCP) {
        remember(&k.tcp, side == LV_OUTSIDE ? FROM_OUTSIDE : FROM_INSIDE);
        keep_last(1, k.ip.l3, (u32)(k.ip.end - k.ip.l3));
    }
    verdict = lv_engine_packet(&box.worker, &f);
    CHECK(f.len == len);
    switch (verdict) {
    case LV_DROP:
        CHECK(box_drops() == drops + 1 && box_event(LV_E_PASSED) == passed && box_event(LV_E_TRANSLATED) == translated);
        break;
    case LV_PASS:
        CHECK(box_drops() == drops && box_event(LV_E_PASSED) == passed + 1 && box_event(LV_E_TRANSLATED) == translated);
        CHECK(!len || !memcmp(was.data, now.data, len));
        break;
    case LV_REWRITE:
        CHECK(box_drops() == drops && box_event(LV_E_PASSED) == passed && box_event(LV_E_TRANSLATED) == translated + 1);
        check_rewrite(&was, &now, proto, vlan_tci ? 1 : 0, side);
        break;
    default: CHECK(!"a verdict");
    }
    check_sent_all(LV_OUT_MAX_PER_CALL);
    exact_free(&was);
    exact_free(&now);
}

/* Bytes of the input as they are; bit 3 of the flags has the checksums made right first. */
static void raw(struct input *in)
{
    static const u16 ethertypes[] = {LV_ETH_P_IP, LV_ETH_P_IPV6, LV_ETH_P_8021Q, LV_ETH_P_8021AD};
    u8 flags = take8(in);
    u32 len = take16(in) % FRAME_BYTES;
    struct exact e = exact_take(in, len);
    u16 proto = ethertypes[flags >> 4 & 3];
    struct lv_pkt k;

    if ((flags & 8) && parse(&k, e.data, e.len, proto) == LV_KIND_TCP) {
        u32 size = (u32)(k.ip.end - k.ip.l4);

        if (k.ip.family == 4) {
            lv_put16(k.ip.l3 + 10, 0);
            lv_put16(k.ip.l3 + 10, (u16)~lv_csum_fold(lv_csum_bytes(k.ip.l3, (u32)(k.ip.l4 - k.ip.l3), 0)));
        }
        lv_put16(k.ip.l4 + 16, 0);
        lv_put16(k.ip.l4 + 16, (u16)~lv_csum_fold(lv_csum_bytes(
                                   k.ip.l4, size, lv_pseudo_sum(k.ip.family, &k.ip.src, &k.ip.dst, 6, size))));
    }
    feed(e.data, e.len, proto, flags & 1, !!(flags & 2), flags & 4 ? 7 : 0);
    exact_free(&e);
}

/* A TCP segment between one of four clients and one of two services. */
static void segment(struct input *in, u8 side)
{
    static const u8 payload[1400] = "early data";
    u8 data[FRAME_BYTES];
    struct lv_segment s;
    struct lv_addr client, server;
    u8 who = take8(in), v4[4] = {198, 18, 0, 1}, v6[16] = {0x20, 1, 0x0d, 0xb8, 0, 0x18};
    u16 port = who & 4 ? 180 : 80, cport = FIRST_PORT + who % CLIENTS;
    u32 len, i;

    memset(&s, 0, sizeof(s));
    s.family = who & 8 ? 6 : 4;
    v6[15] = 1;
    if (s.family == 4) {
        lv_addr_v4(&client, v4);
        memcpy(v4, box_server4, 4);
        v4[3] = 1;
        lv_addr_v4(&server, v4);
    } else {
        memcpy(client.b, v6, 16);
        memcpy(server.b, box_server6, 16);
        server.b[15] = 1;
    }
    s.src = side == LV_OUTSIDE ? client : server;
    s.dst = side == LV_OUTSIDE ? server : client;
    s.sport = side == LV_OUTSIDE ? cport : port;
    s.dport = side == LV_OUTSIDE ? port : cport;
    s.ttl = who;
    s.flags = take8(in);
    s.seq = recall(in, who % CLIENTS);
    s.ack = recall(in, who % CLIENTS);
    s.window = take16(in);
    s.payload = payload;
    s.payload_len = take8(in) * 8u;
    s.payload_len = LV_MIN(s.payload_len, (u32)sizeof(payload));
    s.options_len = take8(in) % 11 * 4;
    for (i = 0; i < s.options_len; i++)
        s.options[i] = take8(in);
    len = lv_segment_write(data, &s);
    if (who & 0x80) { /* ECN-capable transport */
        data[1] |= s.family == 4 ? 2 : 0x20;
        if (s.family == 4) {
            lv_put16(data + 10, 0);
            lv_put16(data + 10, (u16)~lv_csum_fold(lv_csum_bytes(data, 20, 0)));
        }
    }
    if (who & 0x10)
        data[len - 1] ^= 0x55; /* damaged on the way */
    feed(data, len, s.family == 4 ? LV_ETH_P_IP : LV_ETH_P_IPV6, side, !(who & 0x20), who & 0x40 ? 7 : 0);
}

/* An ICMP error from either side about the last packet that went out or came in. */
static void icmp(struct input *in)
{
    u8 data[FRAME_BYTES] = {0};
    u8 flags = take8(in), type = take8(in), code = take8(in), which = flags >> 1 & 1;
    u32 quote = 8 + take8(in) * 8u, head, len;
    const u8 *q = last[which];

    if (!last_len[which])
        return;
    quote = LV_MIN(quote, last_len[which]);
    head = q[0] >> 4 == 4 ? 20 : 40;
    len = head + 8 + quote;
    if (head == 20) {
        lv_put32(data, 0x45000000u | len);
        data[8] = 64;
        data[9] = LV_IPPROTO_ICMP;
        memcpy(data + 12, q + 16, 4);
        memcpy(data + 16, q + 12, 4);
    } else {
        data[0] = 0x60;
        lv_put16(data + 4, (u16)(8 + quote));
        data[6] = LV_IPPROTO_ICMPV6;
        memcpy(data + 8, q + 24, 16);
        memcpy(data + 24, q + 8, 16);
    }
    data[head] = type;
    data[head + 1] = code;
    memcpy(data + head + 8, q, quote);
    if (flags & 4)
        data[head + 8 + (flags >> 3)] ^= 1;
    feed(data, len, head == 20 ? LV_ETH_P_IP : LV_ETH_P_IPV6, flags & 1, 1, 0);
}

static void pass_time(u32 ms)
{
    struct lv_worker *w = &box.worker;

    box.realtime_s += ms / 1000;
    lv_worker_clock(w, w->now_ms + ms, box.realtime_s);
    lv_engine_tick(w);
    check_sent_all(LV_OUT_SLOTS);
}

static void command(struct input *in)
{
    static const u32 units_ms[4] = {1, 64, 1000, 60000};
    u8 amount;

    switch (take8(in) % COMMANDS) {
    case RAW: raw(in); break;
    case SEGMENT: segment(in, LV_OUTSIDE); break;
    case SEGMENT_IN: segment(in, LV_INSIDE); break;
    case ICMP: icmp(in); break;
    case TIME:
        amount = take8(in);
        pass_time((amount & 63) * units_ms[amount >> 6]);
        break;
    case EPOCH:
        box.realtime_s += (u64)(long long)(signed char)take8(in) * LV_EPOCH_S;
        pass_time(0);
        break;
    case RESTART: box_restart(); break;
    default: pass_time(LV_TICK_MS);
    }
}

static void report(void)
{
#define LV_ONE(id, name, text) fprintf(stderr, "reached %s %llu\n", name, (unsigned long long)reached[LV_R_##id]);
    LV_DROP_REASONS(LV_ONE)
#undef LV_ONE
#define LV_ONE(id, name, text)                                                                                         \
    fprintf(stderr, "reached %s %llu\n", name, (unsigned long long)reached[(int)LV_R_COUNT + (int)LV_E_##id]);
    LV_EVENTS(LV_ONE)
#undef LV_ONE
    fprintf(stderr, "reached packets_sent %llu\nreached packets_rewritten %llu\n", (unsigned long long)packets_out,
            (unsigned long long)rewritten);
    fprintf(stderr, "reached errors_rewritten %llu\nreached ecn_hidden %llu\n", (unsigned long long)errors_rewritten,
            (unsigned long long)ecn_hidden);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return atexit(report);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct input in = {data, data + size};
    u8 policy = take8(&in), wscale = take8(&in);

    memset(numbers, 0, sizeof(numbers));
    last_len[0] = last_len[1] = 0;
    syns_inside = 0;
    box_open(policy, wscale);
    for (u32 i = 0; i < COMMANDS_MAX && left(&in); i++)
        command(&in);
    pass_time(LV_TICK_MS);
    for (u32 s = 0; s < SERVICES; s++)
        for (u32 i = 0; i < LV_COUNTERS; i++)
            reached[i] += box.count[s][i];
    return 0;
}
