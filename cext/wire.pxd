# cython: language_level=3
# The packet core as Cython sees it: the structures and functions of core/ that wire.pyx gives a Python face.
from libc.stdint cimport uint8_t as u8, uint16_t as u16, uint32_t as u32, uint64_t as u64

cdef extern from "core/base.h" nogil:
    int lv_before(u32 a, u32 b)
    int lv_after(u32 a, u32 b)
    int lv_within(u32 x, u32 lo, u32 hi)
    enum lv_side:
        LV_OUTSIDE
        LV_INSIDE

cdef extern from "core/reason.h" nogil:
    enum lv_reason:
        LV_R_COOKIE_ACCEPTED
        LV_R_COUNT

cdef extern from "core/siphash.h" nogil:
    enum:
        LV_SIPHASH_MAX_BYTES
    struct lv_sipkey:
        u64 k0
        u64 k1
    u64 lv_get64le(const u8 *p)
    u64 lv_siphash(const lv_sipkey *key, const u8 *data, u32 len)

cdef extern from "core/checksum.h" nogil:
    struct lv_csum_diff:
        u32 sum
    u16 lv_csum_fold(u32 sum)
    u32 lv_csum_bytes(const u8 *p, u32 len, u32 sum)
    void lv_diff16(lv_csum_diff *d, u16 old, u16 now)
    void lv_diff32(lv_csum_diff *d, u32 old, u32 now, int odd)
    void lv_diff_apply(const lv_csum_diff *d, u8 *field)

cdef extern from "core/packet.h" nogil:
    enum:
        LV_VLAN_TAGS
        LV_IPPROTO_TCP
    enum lv_kind:
        LV_KIND_OTHER
        LV_KIND_TCP
        LV_KIND_ICMP_ERROR
        LV_KIND_FRAGMENT
        LV_KIND_JUNK
    struct lv_addr:
        u8 b[16]
    struct lv_ip:
        u8 *l3
        u8 *l4
        u8 *end
        lv_addr src
        lv_addr dst
        u8 family
        u8 proto
        u8 ttl
        u8 tos
        u8 fragment
        u8 reason
    struct lv_tcp:
        u16 sport
        u16 dport
        u32 seq
        u32 ack
        u16 window
        u8 flags
        u8 header_len
        u32 payload_len
    struct lv_pkt:
        lv_ip ip
        lv_tcp tcp
        lv_ip quoted
        u8 icmp_type
        u8 icmp_code
        u8 quoted_ack
        u8 tags
        u16 tag_proto[2]
        u16 tci[2]
    void lv_addr_v4(lv_addr *a, const u8 *p)
    lv_kind lv_parse(lv_pkt *k, u8 *p, u8 *end, u16 proto)
    int lv_source_impossible(const lv_ip *ip)
    u32 lv_pseudo_sum(u8 family, const lv_addr *src, const lv_addr *dst, u8 proto, u32 length)
    int lv_tcp_checksum_ok(const lv_ip *ip)
    int lv_ip_checksum_ok(const lv_ip *ip)

cdef extern from "core/options.h" nogil:
    enum:
        LV_WSCALE_NONE
        LV_WSCALE_MAX
        LV_OPTIONS_MAX_BYTES
    struct lv_opts:
        u16 mss
        u8 wscale
        u8 sack_ok
        u8 has_ts
        u8 is_signed
        u8 ts_at
        u8 sack_at
        u8 sack_blocks
        u8 sack_ok_at
        u8 wscale_at
        u8 mss_at
        u32 tsval
        u32 tsecr
    void lv_opts_clear(lv_opts *o)
    void lv_opts_read(lv_opts *o, const u8 *tcp, u32 header_len, int syn)
    u32 lv_opts_write_syn(u8 *p, const lv_opts *o)
    u32 lv_opts_write_ts(u8 *p, const lv_opts *o)

cdef extern from "core/cookie.h" nogil:
    enum:
        LV_EPOCH_S
        LV_SECRET_BYTES
        LV_COOKIE_TABLE
    const u16 lv_cookie_mss[2][8]
    const u8 lv_cookie_wscale[8]
    struct lv_cookie_key:
        lv_sipkey key
        u32 epoch
        u32 since_ms
        u64 issued
        u8 valid
    struct lv_cookie_keys:
        lv_cookie_key slot[2]
        u32 current
    struct lv_cookie_bits:
        u16 mss
        u8 wscale
        u8 sack_ok
    u8 lv_cookie_encode(u8 family, const lv_cookie_bits *b, u32 epoch)
    void lv_cookie_decode(u8 family, u8 low, lv_cookie_bits *b)
    void lv_cookie_start(lv_cookie_keys *ks, const u8 *secret, u32 epoch, u32 now_ms)
    void lv_cookie_tick(lv_cookie_keys *ks, u32 epoch, u32 now_ms)
    u32 lv_cookie_make(const lv_cookie_keys *ks, u8 family, const lv_addr *src, const lv_addr *dst, u16 sport,
                       u16 dport, u32 client_isn, const lv_cookie_bits *b)
    lv_reason lv_cookie_check(const lv_cookie_keys *ks, u8 family, const lv_addr *src, const lv_addr *dst, u16 sport,
                              u16 dport, u32 client_isn, u32 cookie, lv_cookie_bits *b)

cdef extern from "core/flow.h" nogil:
    enum:
        LV_F_TS_C
        LV_F_TS_S
        LV_F_SACK_C
        LV_F_SACK_S
    struct lv_conn:
        u8 state
        u8 flags
        u8 wscale_c
        u8 wscale_s
        u32 seq_delta
        u32 ts_delta
    u8 lv_wscale_pair(u8 own, u8 told)

cdef extern from "core/translate.h" nogil:
    u16 lv_window_rescale(u16 window, u8 own, u8 told)
    void lv_translate_to_server(const lv_conn *f, u8 *tcp, const lv_opts *o, lv_csum_diff *d)
    void lv_hide_ecn(u8 *l3, u8 family)
    void lv_translate_to_client(const lv_conn *f, u8 *tcp, const lv_opts *o, lv_csum_diff *d)

cdef extern from "core/emit.h" nogil:
    enum:
        LV_ETHER_MAX_BYTES
        LV_SEGMENT_MAX_BYTES
    struct lv_ether:
        u8 dst[6]
        u8 src[6]
        u8 known
        u8 tags
        u16 tag_proto[2]
        u16 tci[2]
    struct lv_segment:
        lv_addr src
        lv_addr dst
        u8 family
        u8 ttl
        u8 flags
        u16 sport
        u16 dport
        u16 window
        u32 seq
        u32 ack
        u8 options[40]
        u32 options_len
        const u8 *payload
        u32 payload_len
    u32 lv_ether_write(u8 *p, const lv_ether *l, u8 family)
    u32 lv_segment_write(u8 *p, const lv_segment *s)
