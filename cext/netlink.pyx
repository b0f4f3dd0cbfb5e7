# cython: language_level=3
"""The netlink socket of one netfilter queue: binds it, receives packets in batches, answers them in batches.

Owns: the socket, the receive buffers and the verdicts that wait for one sendmsg. Called by: one nfqueue worker, from
its own thread. Must not know: flows, interfaces, what a packet says.

How the kernel delivers (net/netfilter/nfnetlink_queue.c): one datagram with one message for each packet, so recvmmsg
with one buffer for each. Verdicts go the other way as a row of messages in one send; the kernel works through them in
the system call, and what is accepted runs through the rest of the stack there. It searches its queue from the oldest
packet on, so verdicts in the order of the ids cost no search, and keep packets in order.

A run of equal verdicts without payload is one NFQNL_MSG_VERDICT_BATCH, "everything up to this id". That is only right
while everything before the run has been answered; therefore the verdicts of a send that failed are made up for by a
drop of everything up to its last id, ahead of the next ones: a packet that was to be rewritten never leaves unchanged.
"""

import errno as errno_names
import os

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from cext.errors import EngineError
from cext.queues import kernel_queues

from cext.linux cimport (
    AF_NETLINK, MSG_DONTWAIT, MSG_TRUNC, NETLINK_CAP_ACK, NETLINK_NETFILTER, NETLINK_NO_ENOBUFS,
    SO_RCVBUFFORCE, SO_SNDBUFFORCE, SOCK_CLOEXEC, SOCK_RAW, SOL_NETLINK, SOL_SOCKET, bind, close,
    recv, recvmmsg, send, sendmsg, setsockopt, sockaddr, sockaddr_nl, socket
)

cdef extern from "<linux/netfilter.h>":
    enum:
        NF_DROP
        NF_ACCEPT

cdef enum:
    # The kernel copies what one sendmsg brings into one buffer, which it takes from vmalloc above a page. CPU time of a
    # rewritten packet of 1400 bytes: 4.0 to 4.5 us with 3500 bytes here (two packets a call), 3.4 to 3.9 with 8000, 3.4
    # with 32768, 3.4 to 3.9 with 98304.
    VERDICT_CHUNK_BYTES = 32768
    SEND_BUFFER_BYTES = 1 << 20
    # What one queued packet costs in the receive buffer: 1280 bytes for a SYN, about 3000 for a full frame. setsockopt
    # doubles the number it is given.
    RECEIVE_BYTES_A_PACKET = 1536
    RECEIVE_BUFFER_MAX = 1 << 30


cdef class QueueSocket:
    def __cinit__(self):
        self.fd = -1
        self.buffers = NULL
        self.messages = NULL
        self.receive_pieces = NULL
        self.verdict_pieces = NULL
        self.batch_messages = NULL
        self.verdict_count = 0
        self.batch_count = 0
        self.verdict_bytes = 0
        self.run_open = False
        memset(&self.counts, 0, sizeof(self.counts))
        memset(self.receive_errors, 0, sizeof(self.receive_errors))
        memset(self.verdict_errors, 0, sizeof(self.verdict_errors))

    def __dealloc__(self):
        self.close()

    def open(self, int queue, unsigned int length, bint fail_open, bint gso=False):
        """Open the socket and bind the queue; gso: packets come unsegmented. Raises EngineError."""
        cdef int i
        if self.fd >= 0:
            raise RuntimeError("the queue is open")
        self.queue = queue
        self.buffers = <u8 *>malloc(<size_t>RECV_BATCH * BUFFER_BYTES)
        self.messages = <mmsghdr *>calloc(RECV_BATCH, sizeof(mmsghdr))
        self.receive_pieces = <iovec *>calloc(RECV_BATCH, sizeof(iovec))
        # Each packet ends at most one run and adds at most one message; one more for the drop after a failed send.
        self.verdict_pieces = <iovec *>calloc(2 * RECV_BATCH + 2, sizeof(iovec))
        self.batch_messages = <u8 *>calloc(RECV_BATCH + 2, LV_NL_VERDICT_BYTES)
        if (
            self.buffers == NULL or self.messages == NULL or self.receive_pieces == NULL
            or self.verdict_pieces == NULL or self.batch_messages == NULL
        ):
            self.close()
            raise MemoryError
        for i in range(RECV_BATCH):
            self.receive_pieces[i].iov_base = self.buffers + <size_t>i * BUFFER_BYTES
            self.receive_pieces[i].iov_len = BUFFER_BYTES - GROW_BYTES
            self.messages[i].msg_hdr.msg_iov = &self.receive_pieces[i]
            self.messages[i].msg_hdr.msg_iovlen = 1
        try:
            self._open(length, fail_open, gso)
        except BaseException:
            self.close()
            raise

    def _open(self, unsigned int length, bint fail_open, bint gso):
        cdef sockaddr_nl address
        cdef int receive_bytes = <int>min(<u64>length * RECEIVE_BYTES_A_PACKET, <u64>RECEIVE_BUFFER_MAX)
        self.fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER)
        if self.fd < 0:
            raise self._error(errno, "open a netlink socket")
        memset(&address, 0, sizeof(address))
        address.nl_family = AF_NETLINK
        if bind(self.fd, <sockaddr *>&address, sizeof(address)):
            raise self._error(errno, "bind a netlink socket")
        self._set(SOL_SOCKET, SO_RCVBUFFORCE, receive_bytes)
        self._set(SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_BYTES)
        # A message that does not fit is counted by the kernel (dropped_user) and its packet dropped or, with fail-open,
        # passed; receiving must not fail for it. Errors need not bring our own message back.
        self._set(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
        self._set(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self._bind_queue(length, fail_open, gso)

    def _bind_queue(self, unsigned int length, bint fail_open, bint gso):
        cdef u8 message[LV_NL_CONFIG_MAX]
        cdef u8 answer[256]
        cdef lv_nl_packet parsed
        cdef u32 used
        cdef int has_id
        cdef ssize_t got
        if send(self.fd, message, lv_nl_put_bind(message, self.queue, length, fail_open, gso), 0) < 0:
            raise self._error(errno, f"bind queue {self.queue}")
        # No packet can come before the acknowledgement: both come from this system call, in this order.
        got = recv(self.fd, answer, sizeof(answer), 0)
        if got < 0:
            raise self._error(errno, f"bind queue {self.queue}")
        if lv_nl_read(&parsed, answer, <u32>got, &used, &has_id) != LV_NL_ERROR:
            raise EngineError(f"queue {self.queue}: the kernel's answer is no acknowledgement", "report this")
        if parsed.error:
            raise self._error(parsed.error, f"bind queue {self.queue}")

    def _set(self, int level, int option, int value):
        if setsockopt(self.fd, level, option, &value, sizeof(value)):
            raise self._error(errno, "configure a netlink socket")

    def _error(self, int number, str what):
        hint = {
            "EPERM": "this needs the capability CAP_NET_ADMIN",
            "EBUSY": "another program reads this queue; give levee other numbers (nfqueue: first_queue)",
            "EEXIST": "another program reads this queue; give levee other numbers (nfqueue: first_queue)",
            "EINVAL": "the kernel has no netfilter queue (nfnetlink_queue)",
            "EPROTONOSUPPORT": "the kernel has no netfilter netlink (nfnetlink)",
        }.get(errno_names.errorcode.get(number, ""), "see the kernel's log")
        if errno_names.errorcode.get(number) == "EPERM":
            # The kernel says the same when the queue is another program's.
            queues = kernel_queues() or {}
            if self.queue in queues:
                hint = (
                    f"the program with netlink port {queues[self.queue]['portid']} (mostly its pid) reads this queue;"
                    " give levee other numbers (nfqueue: first_queue)"
                )
        return EngineError(f"cannot {what}: {os.strerror(number)}", hint)

    def close(self):
        """Close the socket; the kernel unbinds the queue and drops what is in it. Safe to call twice."""
        if self.fd >= 0:
            close(self.fd)
        self.fd = -1
        free(self.buffers)
        free(self.messages)
        free(self.receive_pieces)
        free(self.verdict_pieces)
        free(self.batch_messages)
        self.buffers = NULL
        self.messages = NULL
        self.receive_pieces = NULL
        self.verdict_pieces = NULL
        self.batch_messages = NULL

    cdef int receive(self) noexcept nogil:
        """Take what is there, without waiting. Returns datagrams (0: nothing there) or minus an errno.

        Who sent is not looked at: only a process with CAP_NET_ADMIN can send to this socket besides the kernel.
        """
        cdef int failed
        cdef int got = recvmmsg(self.fd, self.messages, RECV_BATCH, MSG_DONTWAIT, NULL)
        if got >= 0:
            return got
        failed = errno
        if failed == EAGAIN:
            return 0
        self.receive_errors[failed if failed < ERRNO_SLOTS else 0] += 1
        return -failed

    cdef u8 *datagram(self, int number, u32 *length) noexcept nogil:
        """The bytes of one received datagram; length 0 when it was longer than the buffer."""
        cdef mmsghdr *message = &self.messages[number]
        length[0] = 0 if message.msg_hdr.msg_flags & MSG_TRUNC else message.msg_len
        return <u8 *>message.msg_hdr.msg_iov.iov_base

    cdef void count_error(self, int error) noexcept nogil:
        """An error the kernel answered to a verdict (ENOENT: the packet's interface went down meanwhile)."""
        if error:
            self.verdict_errors[error if 0 < error < ERRNO_SLOTS else 0] += 1

    cdef void decide(self, u32 packet_id, u32 verdict) noexcept nogil:
        """Drop (NF_DROP) or pass (NF_ACCEPT) as it came. Ids must rise."""
        if self.run_open and self.run_verdict != verdict:
            self.end_run()
        self.run_open = True
        self.run_verdict = verdict
        self.last_id = packet_id

    cdef void rewrite(self, u32 packet_id, u8 *payload, u32 length) noexcept nogil:
        """Pass with the bytes at payload, which must be where the packet was received."""
        cdef u32 bytes_
        self.end_run()
        bytes_ = lv_nl_put_rewrite(payload, length, self.queue, packet_id)
        if self.verdict_bytes and self.verdict_bytes + bytes_ > VERDICT_CHUNK_BYTES:
            self.flush()
        self.verdict_pieces[self.verdict_count].iov_base = payload - LV_NL_REWRITE_BYTES
        self.verdict_pieces[self.verdict_count].iov_len = bytes_
        self.verdict_count += 1
        self.verdict_bytes += bytes_
        self.last_id = packet_id

    cdef void end_run(self) noexcept nogil:
        if not self.run_open:
            return
        self.run_open = False
        self.put_batch(self.last_id, self.run_verdict)

    cdef void put_batch(self, u32 packet_id, u32 verdict) noexcept nogil:
        cdef u8 *message = self.batch_messages + <size_t>self.batch_count * LV_NL_VERDICT_BYTES
        lv_nl_put_batch(message, self.queue, packet_id, verdict)
        self.verdict_pieces[self.verdict_count].iov_base = message
        self.verdict_pieces[self.verdict_count].iov_len = LV_NL_VERDICT_BYTES
        self.batch_count += 1
        self.verdict_count += 1
        self.verdict_bytes += LV_NL_VERDICT_BYTES

    cdef void flush_late(self, u32 packets) noexcept nogil:
        """Send the verdicts that wait, but keep the last `packets` undecided while nothing but drops waits.

        Newer kernels find a queued packet in a hash table that they resize on another thread as the queue fills and
        empties, and a worker that empties it in each turn makes them do little else. Packets that are dropped anyway
        can wait; with some always in the queue the table keeps its size. flush() ends the wait.
        """
        if self.verdict_count or not self.run_open or self.run_verdict != NF_DROP:
            self.flush()
        elif self.last_id - self.released_id > packets:
            self.released_id = self.last_id - packets
            self.put_batch(self.released_id, NF_DROP)
            self.send_verdicts()

    cdef void flush(self) noexcept nogil:
        """Send the verdicts that wait."""
        self.end_run()
        self.released_id = self.last_id
        if self.verdict_count:
            self.send_verdicts()

    cdef void send_verdicts(self) noexcept nogil:
        cdef msghdr message
        cdef int failed = 0
        memset(&message, 0, sizeof(message))
        message.msg_iov = self.verdict_pieces
        message.msg_iovlen = self.verdict_count
        while sendmsg(self.fd, &message, 0) < 0:
            failed = errno
            if failed != EINTR:
                break
            failed = 0
        self.verdict_count = 0
        self.batch_count = 0
        self.verdict_bytes = 0
        if failed:
            self.verdict_errors[failed if failed < ERRNO_SLOTS else 0] += 1
            # Goes ahead of all later verdicts, again and again until it goes.
            self.put_batch(self.last_id, NF_DROP)

    def serve_once(self, decide):
        """Receive one batch without waiting and answer it as `decide` says; returns the number of packets.

        The worker's own way of doing it is nfqueue.pyx; this is for tests and diagnosis.
        """
        cdef lv_nl_packet packet
        cdef lv_nl_kind kind
        cdef u32 length, used
        cdef int number, has_id
        cdef u8 *data
        cdef int packets = 0
        cdef int got
        if self.fd < 0:
            raise RuntimeError("the queue is closed")
        got = self.receive()
        for number in range(got):
            data = self.datagram(number, &length)
            while length:
                kind = lv_nl_read(&packet, data, length, &used, &has_id)
                if kind == LV_NL_ERROR:
                    self.count_error(packet.error)
                elif kind == LV_NL_PACKET:
                    self.answer(&packet, decide(_describe(kind, &packet, has_id)))
                    packets += 1
                data += used
                length -= used
        self.flush()
        return packets

    cdef int answer(self, lv_nl_packet *packet, object verdict) except -1:
        if isinstance(verdict, bytes):
            if len(verdict) > packet.payload_len + GROW_BYTES:
                raise ValueError(f"a packet may grow by {GROW_BYTES} bytes at most")
            memcpy(packet.payload, <const char *>verdict, len(verdict))
            self.rewrite(packet.id, packet.payload, <u32>len(verdict))
        else:
            self.decide(packet.id, NF_ACCEPT if verdict else NF_DROP)
        return 0

    def receive_error_counts(self):
        """Failed receive calls by errno name."""
        return _errno_counts(self.receive_errors)

    def verdict_error_counts(self):
        """Verdicts the kernel refused, and verdict messages that could not be sent, by errno name."""
        return _errno_counts(self.verdict_errors)


cdef dict _errno_counts(u64 *errors):
    return {
        errno_names.errorcode.get(number, f"errno {number}"): errors[number]
        for number in range(ERRNO_SLOTS)
        if errors[number]
    }


def read_messages(bytes datagram not None):
    """What the worker sees of a datagram: a list of dictionaries, one for each message. For tests and diagnosis."""
    cdef u8 *data
    cdef u8 *start
    cdef u32 length = <u32>len(datagram)
    cdef u32 used
    cdef int has_id
    cdef lv_nl_packet packet
    found = []
    start = <u8 *>malloc(length + 1)  # of the exact length, so that a sanitizer sees a read past the end
    if start == NULL:
        raise MemoryError
    try:
        memcpy(start, <const char *>datagram, length)
        data = start
        while length:
            kind = lv_nl_read(&packet, data, length, &used, &has_id)
            found.append(_describe(kind, &packet, has_id))
            data += used
            length -= used
    finally:
        free(start)
    return found


cdef dict _describe(lv_nl_kind kind, lv_nl_packet *packet, bint has_id):
    if kind == LV_NL_ERROR:
        return {"kind": "error", "error": packet.error}
    if kind == LV_NL_OTHER:
        return {"kind": "other"}
    if kind == LV_NL_MALFORMED:
        return {"kind": "malformed", "id": packet.id if has_id else None}
    return {
        "kind": "packet",
        "id": packet.id,
        "proto": packet.proto,
        "family": packet.family,
        "hook": packet.hook,
        "indev": packet.indev,
        "physindev": packet.physindev,
        "skb_info": packet.skb_info,
        "cap_len": packet.cap_len,
        "payload": packet.payload[:packet.payload_len],
        "l2": packet.l2[:packet.l2_len] if packet.l2 != NULL else None,
        "source": packet.source[:6] if packet.has_source else None,
        "vlan_tci": packet.vlan_tci,
        "vlan_proto": packet.vlan_proto,
    }


def encode_bind(u16 queue, u32 length, bint fail_open, bint gso=False):
    """The message that binds and configures a queue."""
    cdef u8 message[LV_NL_CONFIG_MAX]
    cdef u32 used = lv_nl_put_bind(message, queue, length, fail_open, gso)
    return message[:used]


def encode_batch(u16 queue, u32 packet_id, u32 verdict):
    """The message with one verdict for everything up to packet_id."""
    cdef u8 message[LV_NL_VERDICT_BYTES]
    lv_nl_put_batch(message, queue, packet_id, verdict)
    return message[:LV_NL_VERDICT_BYTES]


def encode_rewrite(u16 queue, u32 packet_id, bytes payload not None):
    """The message that accepts packet_id with other bytes, padded to a multiple of four."""
    cdef u32 used
    cdef u8 *message
    if len(payload) > LV_NL_PAYLOAD_MAX:
        raise ValueError(f"a packet has at most {LV_NL_PAYLOAD_MAX} bytes")
    message = <u8 *>malloc(LV_NL_REWRITE_BYTES + len(payload) + 3)
    if message == NULL:
        raise MemoryError
    try:
        memcpy(message + LV_NL_REWRITE_BYTES, <const char *>payload, len(payload))
        used = lv_nl_put_rewrite(message + LV_NL_REWRITE_BYTES, <u32>len(payload), queue, packet_id)
        return message[:used]
    finally:
        free(message)
