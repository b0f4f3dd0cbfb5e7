# cython: language_level=3
"""The packet core's parsers and encoders, callable from Python: the same functions the engines compile in.

Owns: the conversion between bytes and the structures of core/. Called by: tests, diagnosis; never by an engine.
Must not know: services, sockets. Hostile bytes never raise: a parser answers. Arguments that no packet can bring about
(a wrong address length, a value out of range) raise ValueError or OverflowError.
"""

from libc.string cimport memcpy, memset

from cext.parsed import CookieBits, Ip, Options, Packet, Quote, Tcp

cdef extern from *:
    """
    #include "core/reason.h"
    #define LV_ONE(id, name, text) name,
    static const char *const wire_reasons[] = {LV_DROP_REASONS(LV_ONE)};
    #undef LV_ONE
    """
    const char *wire_reasons[]

cdef enum:
    MAX_PACKET_BYTES = 65535 + 40 + 4 * 2

WSCALE_MAX = LV_WSCALE_MAX
EPOCH_S = LV_EPOCH_S
SECRET_BYTES = LV_SECRET_BYTES
SIPHASH_MAX_BYTES = LV_SIPHASH_MAX_BYTES
SEGMENT_MAX_BYTES = LV_SEGMENT_MAX_BYTES
COOKIE_MSS = {4: tuple(lv_cookie_mss[0][i] for i in range(LV_COOKIE_TABLE)),
              6: tuple(lv_cookie_mss[1][i] for i in range(LV_COOKIE_TABLE))}
COOKIE_WSCALE = tuple(None if lv_cookie_wscale[i] == LV_WSCALE_NONE else lv_cookie_wscale[i]
                      for i in range(LV_COOKIE_TABLE))

# Where the bytes of an empty packet begin: pointer arithmetic on NULL is undefined.
cdef u8 nothing[1]

cdef tuple KINDS = ("other", "tcp", "icmp_error", "fragment", "junk")


cdef str reason_name(int reason):
    return wire_reasons[reason].decode()


cdef u8 put_address(lv_addr *to, bytes address) except 0:
    """Returns the family."""
    if len(address) == 4:
        lv_addr_v4(to, <const u8 *><const char *>address)
        return 4
    if len(address) == 16:
        memcpy(to.b, <const char *>address, 16)
        return 6
    raise ValueError(f"an address has 4 or 16 bytes, not {len(address)}")


cdef u8 put_addresses(lv_addr *src, bytes src_bytes, lv_addr *dst, bytes dst_bytes) except 0:
    cdef u8 family = put_address(src, src_bytes)
    if put_address(dst, dst_bytes) != family:
        raise ValueError("both addresses must be of one family")
    return family


cdef object ip_of(const lv_ip *ip, const u8 *start):
    cdef int at = 12 if ip.family == 4 else 0
    if not ip.family or ip.l4 == NULL:
        return None
    return Ip(ip.family, ip.src.b[at:16], ip.dst.b[at:16], ip.proto, ip.ttl, ip.tos, ip.fragment,
              ip.l3 - start, ip.l4 - start, ip.end - start)


cdef lv_kind run_parser(lv_pkt *k, const u8 *start, Py_ssize_t length, u16 ethertype, tags) except *:
    memset(k, 0, sizeof(lv_pkt))
    for proto, tci in tags:
        if k.tags == LV_VLAN_TAGS:
            raise ValueError(f"at most {LV_VLAN_TAGS} tags out of band")
        k.tag_proto[k.tags] = proto
        k.tci[k.tags] = tci
        k.tags += 1
    # The parsers keep pointers that engines write through; nothing is written here.
    return lv_parse(k, <u8 *>start, <u8 *>start + length, ethertype)


def parse(const u8[::1] data not None, u16 ethertype, tags=()):
    """Parse the bytes after an Ethernet header. `tags`: VLAN tags that came out of band. See core/packet.h."""
    cdef lv_pkt k
    cdef const u8 *start = &data[0] if data.shape[0] else nothing
    cdef lv_kind kind
    if data.shape[0] > MAX_PACKET_BYTES:
        raise ValueError(f"a packet has at most {MAX_PACKET_BYTES} bytes")
    kind = run_parser(&k, start, data.shape[0], ethertype, tags)
    tcp = quote = None
    if kind == LV_KIND_TCP:
        tcp = Tcp(k.tcp.sport, k.tcp.dport, k.tcp.seq, k.tcp.ack, k.tcp.flags, k.tcp.window, k.tcp.header_len,
                  k.tcp.payload_len)
    elif kind == LV_KIND_ICMP_ERROR:
        quote = Quote(k.icmp_type, k.icmp_code, ip_of(&k.quoted, start), k.tcp.sport, k.tcp.dport, k.tcp.seq,
                      k.tcp.ack if k.quoted_ack else None)
    return Packet(
        KINDS[<int>kind],
        reason_name(k.ip.reason) if kind == LV_KIND_JUNK else None,
        tuple([(k.tag_proto[i], k.tci[i]) for i in range(k.tags)]),
        ip_of(&k.ip, start),
        tcp,
        quote,
    )


def checksums_ok(const u8[::1] data not None, u16 ethertype):
    """(IP header, TCP) checksum right? None for what is not there. IPv6 has no header checksum: True."""
    cdef lv_pkt k
    cdef lv_kind kind
    if data.shape[0] > MAX_PACKET_BYTES:
        raise ValueError(f"a packet has at most {MAX_PACKET_BYTES} bytes")
    kind = run_parser(&k, &data[0] if data.shape[0] else nothing, data.shape[0], ethertype, ())
    if kind == LV_KIND_JUNK or k.ip.l4 == NULL:
        return None, None
    return bool(lv_ip_checksum_ok(&k.ip)), bool(lv_tcp_checksum_ok(&k.ip)) if kind == LV_KIND_TCP else None


def source_impossible(bytes src not None, bytes dst not None):
    """True for a source address that no client of `dst` can have."""
    cdef lv_ip ip
    memset(&ip, 0, sizeof(ip))
    ip.family = put_addresses(&ip.src, src, &ip.dst, dst)
    return bool(lv_source_impossible(&ip))


def before(u32 a, u32 b):
    """a < b in sequence space, RFC 9293 section 3.4."""
    return bool(lv_before(a, b))


def after(u32 a, u32 b):
    """a > b in sequence space."""
    return bool(lv_after(a, b))


def within(u32 x, u32 low, u32 high):
    """low <= x <= high in sequence space."""
    return bool(lv_within(x, low, high))


def siphash(bytes key not None, bytes data not None):
    """SipHash-2-4 of up to 64 bytes with a 16-byte key, as a 64-bit number (Aumasson and Bernstein, 2012)."""
    cdef lv_sipkey k
    cdef const u8 *raw = <const u8 *><const char *>key
    if len(key) != 16 or len(data) > LV_SIPHASH_MAX_BYTES:
        raise ValueError(f"a key has 16 bytes, a message at most {LV_SIPHASH_MAX_BYTES}")
    k.k0 = lv_get64le(raw)
    k.k1 = lv_get64le(raw + 8)
    return lv_siphash(&k, <const u8 *><const char *>data, <u32>len(data))


def checksum(const u8[::1] data not None, u32 start=0):
    """Internet checksum field (RFC 1071) of up to 65535 bytes on top of the sum `start` (at most 0xfffff)."""
    if data.shape[0] > 65535 or start > 0xfffff:
        raise ValueError("at most 65535 bytes and a start of 0xfffff")
    return <u16>~lv_csum_fold(lv_csum_bytes(&data[0] if data.shape[0] else nothing, <u32>data.shape[0], start))


def pseudo_sum(bytes src not None, bytes dst not None, u8 proto, u32 length):
    """Sum of the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1), to start `checksum` with."""
    cdef lv_addr a, b
    cdef u8 family = put_addresses(&a, src, &b, dst)
    return lv_pseudo_sum(family, &a, &b, proto, length)


def checksum_update16(u16 field, changes):
    """The checksum field after the 16-bit words of `changes`, pairs (old, new), have changed (RFC 1624)."""
    cdef lv_csum_diff d
    cdef u8 raw[2]
    d.sum = 0
    raw[0], raw[1] = field >> 8, field & 0xff
    for old, now in changes:
        lv_diff16(&d, old, now)
    lv_diff_apply(&d, raw)
    return raw[0] << 8 | raw[1]


def checksum_update32(u16 field, changes):
    """The same for 32-bit fields: (old, new, odd); odd says that the field begins at an odd offset."""
    cdef lv_csum_diff d
    cdef u8 raw[2]
    d.sum = 0
    raw[0], raw[1] = field >> 8, field & 0xff
    for old, now, odd in changes:
        lv_diff32(&d, old, now, bool(odd))
    lv_diff_apply(&d, raw)
    return raw[0] << 8 | raw[1]


cdef object options_of(const lv_opts *o):
    return Options(
        o.mss,
        None if o.wscale == LV_WSCALE_NONE else o.wscale,
        bool(o.sack_ok),
        (o.tsval, o.tsecr) if o.has_ts else None,
        bool(o.is_signed),
        o.ts_at, o.sack_at, o.sack_blocks, o.sack_ok_at, o.wscale_at, o.mss_at,
    )


cdef int put_options(lv_opts *o, options) except -1:
    lv_opts_clear(o)
    o.mss = options.mss
    if options.wscale is not None:
        if not 0 <= options.wscale <= LV_WSCALE_MAX:
            raise ValueError(f"a window scale is 0..{LV_WSCALE_MAX}")
        o.wscale = options.wscale
    o.sack_ok = options.sack_ok
    if options.timestamps is not None:
        o.has_ts = 1
        o.tsval, o.tsecr = options.timestamps
    return 0


def read_options(bytes options not None, bint syn):
    """Read the options that follow the 20 fixed bytes of a TCP header; at most 40 bytes. See core/options.h."""
    cdef u8 header[60]
    cdef lv_opts o
    if len(options) > LV_OPTIONS_MAX_BYTES:
        raise ValueError(f"options have at most {LV_OPTIONS_MAX_BYTES} bytes")
    memset(header, 0, sizeof(header))
    memcpy(header + 20, <const char *>options, len(options))
    lv_opts_read(&o, header, 20 + <u32>len(options), syn)
    return options_of(&o)


def write_syn_options(options):
    """The options of a SYN or SYN-ACK as bytes, a multiple of four."""
    cdef u8 raw[40]
    cdef lv_opts o
    put_options(&o, options)
    return raw[:lv_opts_write_syn(raw, &o)]


def write_timestamp_option(options):
    """The options of any other segment of ours: the timestamps, or nothing."""
    cdef u8 raw[40]
    cdef lv_opts o
    put_options(&o, options)
    return raw[:lv_opts_write_ts(raw, &o)]


cdef int put_bits(lv_cookie_bits *to, bits) except -1:
    to.mss = bits.mss
    to.wscale = LV_WSCALE_NONE if bits.wscale is None else bits.wscale
    to.sack_ok = bits.sack_ok
    if bits.wscale is not None and not 0 <= bits.wscale <= LV_WSCALE_MAX:
        raise ValueError(f"a window scale is 0..{LV_WSCALE_MAX}")
    return 0


cdef object bits_of(const lv_cookie_bits *b):
    return CookieBits(b.mss, None if b.wscale == LV_WSCALE_NONE else b.wscale, bool(b.sack_ok))


def cookie_encode(u8 family, bits, u32 epoch):
    """The low byte of a cookie: the options rounded down to the tables, and the parity of the epoch."""
    cdef lv_cookie_bits b
    put_bits(&b, bits)
    return lv_cookie_encode(family, &b, epoch)


def cookie_decode(u8 family, u8 low):
    """What the low byte of a cookie says."""
    cdef lv_cookie_bits b
    lv_cookie_decode(family, low, &b)
    return bits_of(&b)


cdef class CookieKeys:
    """Keys of the current and the previous epoch. `now_ms` is a monotonic clock of 32 bits."""

    cdef lv_cookie_keys keys

    def __cinit__(self, bytes secret not None, u32 epoch, u32 now_ms):
        if len(secret) != LV_SECRET_BYTES:
            raise ValueError(f"a secret has {LV_SECRET_BYTES} bytes")
        lv_cookie_start(&self.keys, <const u8 *><const char *>secret, epoch, now_ms)

    def tick(self, u32 epoch, u32 now_ms):
        """Let time pass: to be called at least once a second."""
        lv_cookie_tick(&self.keys, epoch, now_ms)

    @property
    def slots(self):
        """(epoch, valid, issued) of the two keys, by parity."""
        return tuple([(self.keys.slot[i].epoch, bool(self.keys.slot[i].valid), self.keys.slot[i].issued)
                      for i in range(2)])

    def make(self, bytes src not None, bytes dst not None, u16 sport, u16 dport, u32 client_isn, bits):
        """The cookie (our ISN) that answers the SYN src:sport -> dst:dport; counts it as issued."""
        cdef lv_addr a, b
        cdef lv_cookie_bits c
        cdef u8 family = put_addresses(&a, src, &b, dst)
        put_bits(&c, bits)
        self.keys.slot[self.keys.current & 1].issued += 1
        return lv_cookie_make(&self.keys, family, &a, &b, sport, dport, client_isn, &c)

    def check(self, bytes src not None, bytes dst not None, u16 sport, u16 dport, u32 client_isn, u32 cookie):
        """(reason, bits): the reason is cookie_accepted with bits, or why the cookie is refused with None."""
        cdef lv_addr a, b
        cdef lv_cookie_bits c
        cdef u8 family = put_addresses(&a, src, &b, dst)
        cdef lv_reason reason = lv_cookie_check(&self.keys, family, &a, &b, sport, dport, client_isn, cookie, &c)
        return reason_name(reason), bits_of(&c) if reason == LV_R_COOKIE_ACCEPTED else None

    def macs_accepted(self, bytes src not None, bytes dst not None, u16 sport, u16 dport, u32 client_isn, u8 low):
        """How many of the 2^24 cookies that end in `low` are accepted: what a blind guesser can hit."""
        cdef lv_addr a, b
        cdef lv_cookie_bits c
        cdef u8 family = put_addresses(&a, src, &b, dst)
        cdef u32 mac, right = 0
        with nogil:
            for mac in range(1 << 24):
                right += lv_cookie_check(&self.keys, family, &a, &b, sport, dport, client_isn, mac << 8 | low,
                                         &c) == LV_R_COOKIE_ACCEPTED
        return right


def rescale_window(u16 window, u8 own, u8 told):
    """A window sent with scale `own` to a peer that was told scale `told`."""
    if own > LV_WSCALE_MAX or told > LV_WSCALE_MAX:
        raise ValueError(f"a window scale is 0..{LV_WSCALE_MAX}")
    return lv_window_rescale(window, own, told)


def translate(bytes segment not None, bint to_server, shift):
    """Translate a TCP segment (header, options, payload) of an open flow; the checksum is updated, not recomputed."""
    cdef bytearray out = bytearray(segment)
    cdef u8 *tcp = <u8 *><char *>out
    cdef lv_conn f
    cdef lv_opts o
    cdef lv_csum_diff d
    cdef u32 header_len
    header_len = (tcp[12] >> 4) * 4 if len(out) >= 20 else 0
    if header_len < 20 or header_len > <u32>len(out):
        raise ValueError("not a whole TCP header")
    for scale in (*shift.client_wscale, *shift.server_wscale):
        if not 0 <= scale <= LV_WSCALE_MAX:
            raise ValueError(f"a window scale is 0..{LV_WSCALE_MAX}")
    memset(&f, 0, sizeof(f))
    f.seq_delta = shift.seq
    f.ts_delta = shift.ts
    f.flags = (LV_F_TS_C if shift.client_ts else 0) | (LV_F_TS_S if shift.server_ts else 0) | \
              (LV_F_SACK_C if shift.client_sack else 0) | (LV_F_SACK_S if shift.server_sack else 0)
    f.wscale_c = lv_wscale_pair(shift.client_wscale[0], shift.client_wscale[1])
    f.wscale_s = lv_wscale_pair(shift.server_wscale[0], shift.server_wscale[1])
    d.sum = 0
    lv_opts_read(&o, tcp, header_len, 0)
    if to_server:
        lv_translate_to_server(&f, tcp, &o, &d)
    else:
        lv_translate_to_client(&f, tcp, &o, &d)
    lv_diff_apply(&d, tcp + 16)
    return bytes(out)


def hide_ecn(bytes packet not None):
    """An IP packet without ECN-capable transport; an IPv4 header checksum is updated, not recomputed."""
    cdef bytearray out = bytearray(packet)
    cdef u8 *ip = <u8 *><char *>out
    cdef u8 family = ip[0] >> 4 if len(out) >= 20 else 0
    if family != 4 and (family != 6 or len(out) < 40):
        raise ValueError("not a whole IP header")
    lv_hide_ecn(ip, family)
    return bytes(out)


def write_ether(bytes dst not None, bytes src not None, u8 family, tags=()):
    """An Ethernet header with VLAN tags (EtherType, TCI), outermost first."""
    cdef lv_ether link
    cdef u8 raw[LV_ETHER_MAX_BYTES]
    if len(dst) != 6 or len(src) != 6 or len(tags) > LV_VLAN_TAGS:
        raise ValueError(f"addresses have 6 bytes, and there are at most {LV_VLAN_TAGS} tags")
    memset(&link, 0, sizeof(link))
    memcpy(link.dst, <const char *>dst, 6)
    memcpy(link.src, <const char *>src, 6)
    for proto, tci in tags:
        link.tag_proto[link.tags] = proto
        link.tci[link.tags] = tci
        link.tags += 1
    return raw[:lv_ether_write(raw, &link, family)]


def write_segment(bytes src not None, bytes dst not None, tcp, u8 ttl=64, bytes options not None=b"",
                  bytes payload not None=b""):
    """An IP packet with one TCP segment; the length fields of `tcp` are not read."""
    cdef lv_segment s
    cdef u8 raw[40 + 60 + LV_SEGMENT_MAX_BYTES]
    if len(options) > LV_OPTIONS_MAX_BYTES or len(options) % 4 or len(payload) > LV_SEGMENT_MAX_BYTES:
        raise ValueError(
            f"options: a multiple of 4 up to {LV_OPTIONS_MAX_BYTES}; payload: up to {LV_SEGMENT_MAX_BYTES}"
        )
    memset(&s, 0, sizeof(s))
    s.family = put_addresses(&s.src, src, &s.dst, dst)
    s.ttl, s.flags, s.window = ttl, tcp.flags, tcp.window
    s.sport, s.dport, s.seq, s.ack = tcp.sport, tcp.dport, tcp.seq, tcp.ack
    memcpy(s.options, <const char *>options, len(options))
    s.options_len = <u32>len(options)
    s.payload = <const u8 *><const char *>payload
    s.payload_len = <u32>len(payload)
    return raw[:lv_segment_write(raw, &s)]
