# cython: language_level=3
from cext.linux cimport iovec, mmsghdr, msghdr, u8, u16, u32, u64

cdef extern from "netlink.h" nogil:
    enum:
        LV_NL_PAYLOAD_MAX
        LV_NL_ATTRS_MAX
        LV_NL_VERDICT_BYTES
        LV_NL_REWRITE_BYTES
        LV_NL_CONFIG_MAX

    enum lv_nl_kind:
        LV_NL_MALFORMED
        LV_NL_PACKET
        LV_NL_ERROR
        LV_NL_OTHER

    struct lv_nl_packet:
        u32 id
        u16 proto
        u8 family
        u8 hook
        u32 indev
        u32 physindev
        u32 skb_info
        u32 cap_len
        u8 *payload
        u32 payload_len
        u8 *l2
        u32 l2_len
        u8 source[6]
        u8 has_source
        u16 vlan_tci
        u16 vlan_proto
        int error

    lv_nl_kind lv_nl_read(lv_nl_packet *out, u8 *msg, u32 len, u32 *used, int *has_id)
    void lv_nl_put_batch(u8 *msg, u16 queue, u32 id, u32 verdict)
    u32 lv_nl_put_rewrite(u8 *payload, u32 len, u16 queue, u32 id)
    u32 lv_nl_put_bind(u8 *msg, u16 queue, u32 length, int fail_open, int gso)

cdef enum:
    # Packets taken with one recvmmsg and answered with one send of verdicts. From 32 to 256 the CPU time of an answered
    # SYN is the same (2.9 to 3.1 us, veth, one core, a canned answer in place of the packet core): the system calls are
    # shared out by then. Fewer packets wait less for each other.
    RECV_BATCH = 128
    # Distance of two receive buffers: the longest message, room for a packet to grow by one TCP header, and a remainder
    # that keeps the buffers' first lines from falling into the same cache sets. Only pages that long packets touched
    # are ever resident.
    GROW_BYTES = 64
    BUFFER_BYTES = 65536 + 512 + GROW_BYTES + 192
    ERRNO_SLOTS = 134

# What a reader of the queue counts.
cdef struct QueueCounts:
    u64 received
    u64 batches
    u64 verdicts[3]
    u64 malformed
    u64 truncated
    u64 unknown_interface

cdef class QueueSocket:
    cdef int fd
    cdef u16 queue
    cdef QueueCounts counts
    cdef u8 *buffers
    cdef mmsghdr *messages
    cdef iovec *receive_pieces
    cdef iovec *verdict_pieces
    cdef u8 *batch_messages
    cdef unsigned int verdict_count
    cdef unsigned int batch_count
    cdef u32 verdict_bytes
    cdef bint run_open
    cdef u32 run_verdict
    cdef u32 last_id
    cdef u32 released_id
    cdef u64 receive_errors[ERRNO_SLOTS]
    cdef u64 verdict_errors[ERRNO_SLOTS]
    cdef int receive(self) noexcept nogil
    cdef u8 *datagram(self, int number, u32 *length) noexcept nogil
    cdef void count_error(self, int error) noexcept nogil
    cdef void decide(self, u32 packet_id, u32 verdict) noexcept nogil
    cdef void rewrite(self, u32 packet_id, u8 *payload, u32 length) noexcept nogil
    cdef void end_run(self) noexcept nogil
    cdef void put_batch(self, u32 packet_id, u32 verdict) noexcept nogil
    cdef void flush_late(self, u32 packets) noexcept nogil
    cdef void flush(self) noexcept nogil
    cdef void send_verdicts(self) noexcept nogil
    cdef int answer(self, lv_nl_packet *packet, object verdict) except -1
