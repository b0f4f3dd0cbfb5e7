# cython: language_level=3
"""The sockets through which packets of our own leave: one packet socket for each side, raw IP sockets for routed mode.

Owns: four lanes (outside, inside, ipv4, ipv6), each a socket with a batch of frames waiting for one sendmmsg.
Called by: one nfqueue worker, from its own thread. Must not know: what a packet is for.
Frames keep their order within a lane. The bytes must stay where they are until flush().

What cannot be sent is counted by errno and forgotten: a SYN-ACK, a SYN and held data are all repeated by TCP or by our
timers, and waiting for one NIC would stop the answers on the other.

PACKET_QDISC_BYPASS: the frame goes from here to the driver. LIMIT: a capture on the sending NIC does not see it.
"""

import errno as errno_names
import os

from libc.errno cimport (
    EAFNOSUPPORT, EAGAIN, EBADF, EINTR, EINVAL, ENETDOWN, ENODEV, ENXIO, errno
)
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from cext.errors import EngineError

from cext.linux cimport (
    AF_INET, AF_INET6, AF_PACKET, IP_HDRINCL, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_RAW, IPV6_HDRINCL,
    MSG_DONTWAIT, PACKET_QDISC_BYPASS, SO_MARK, SO_SNDBUFFORCE, SOCK_CLOEXEC, SOCK_RAW,
    SOL_PACKET, SOL_SOCKET, bind, close, lv_link_lookup, sendmmsg, setsockopt, sockaddr, sockaddr_in,
    sockaddr_in6, sockaddr_ll, socket
)

cdef enum:
    # A frame counts against this from the send call until the NIC (veth: the receiver) lets go of it, and a full buffer
    # loses frames, so it is sized for a driver ring of 4096 small frames (768 bytes of accounting each).
    SEND_BUFFER_BYTES = 4 << 20
    IPV4_HEADER_BYTES = 20
    IPV4_DESTINATION = 16
    IPV6_HEADER_BYTES = 40
    IPV6_DESTINATION = 24

LANE_NAMES = ("outside", "inside", "ipv4", "ipv6")


cdef class RawSenders:
    def __cinit__(self):
        self.lanes = NULL
        self.stale = False
        memset(self.links, 0, sizeof(self.links))

    def __dealloc__(self):
        self.close()

    def open(self, str outside not None, str inside not None, bint routed, u32 mark):
        """Open the packet sockets of both sides and, routed, the raw IP sockets. Raises EngineError."""
        cdef Lane *lane
        cdef int number, i
        if self.lanes != NULL:
            raise RuntimeError("the senders are open")
        self.lanes = <Lane *>calloc(LANE_COUNT, sizeof(Lane))
        if self.lanes == NULL:
            raise MemoryError
        for number in range(LANE_COUNT):
            lane = &self.lanes[number]
            lane.fd = -1
            for i in range(SEND_BATCH):
                lane.messages[i].msg_hdr.msg_iov = &lane.pieces[i]
                lane.messages[i].msg_hdr.msg_iovlen = 1
        try:
            self._open_frames(0, outside, routed)
            self._open_frames(1, inside, routed)
            if routed:
                self._open_packets(LANE_IPV4, AF_INET, IPPROTO_IP, IP_HDRINCL, mark)
                self._open_packets(LANE_IPV6, AF_INET6, IPPROTO_IPV6, IPV6_HDRINCL, mark)
        except BaseException:
            self.close()
            raise

    def close(self):
        """Close the sockets and forget what waits. Safe to call twice."""
        cdef int number
        if self.lanes == NULL:
            return
        for number in range(LANE_COUNT):
            if self.lanes[number].fd >= 0:
                close(self.lanes[number].fd)
        free(self.lanes)
        self.lanes = NULL

    def _open_frames(self, int side, str name, bint routed):
        cdef int one = 1, failed
        cdef bytes encoded = os.fsencode(name)
        if not 0 < len(encoded) < <Py_ssize_t>sizeof(self.links[side].name):
            raise EngineError(f"{name!r} is not an interface name", "it has 1 to 15 bytes")
        memset(&self.links[side], 0, sizeof(self.links[side]))
        memcpy(self.links[side].name, <char *>encoded, len(encoded))
        # Protocol 0: nothing is ever received here.
        self.lanes[side].fd = _socket(AF_PACKET, 0, f"a packet socket on {name}")
        _set(self.lanes[side].fd, SOL_PACKET, PACKET_QDISC_BYPASS, one, "PACKET_QDISC_BYPASS")
        _set(self.lanes[side].fd, SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_BYTES, "SO_SNDBUFFORCE")
        failed = self.bind_link(side)
        if failed in (ENODEV, ENXIO):
            raise EngineError(f"there is no interface {name}", "see `ip link`; the configuration names it")
        if failed:
            raise EngineError(f"cannot send on {name}: {os.strerror(failed)}", "see `ip link`")
        if not (self.links[side].is_ethernet or routed):
            raise EngineError(f"{name} is not an Ethernet interface", "mode bridge needs two Ethernet interfaces")

    def _open_packets(self, int number, int family, int level, int option, u32 mark):
        cdef int fd
        try:
            fd = _socket(family, IPPROTO_RAW, f"a raw {LANE_NAMES[number]} socket")
        except EngineError as error:
            if error.__cause__.errno == EAFNOSUPPORT:  # a kernel without IPv6: nothing of it will arrive either
                return
            raise
        self.lanes[number].fd = fd
        _set(fd, level, option, 1, "HDRINCL")
        _set(fd, SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_BYTES, "SO_SNDBUFFORCE")
        if mark:
            _set(fd, SOL_SOCKET, SO_MARK, <int>mark, "SO_MARK")

    cdef int bind_link(self, int side) noexcept nogil:
        """Look the interface of a side up and bind its socket there. Returns 0 or an errno."""
        cdef sockaddr_ll address
        cdef int before = self.links[side].ifindex
        cdef int failed = lv_link_lookup(self.lanes[side].fd, &self.links[side])
        if failed or (self.links[side].ifindex == before and not self.stale):
            return failed
        memset(&address, 0, sizeof(address))
        address.sll_family = AF_PACKET
        address.sll_ifindex = self.links[side].ifindex
        if bind(self.lanes[side].fd, <sockaddr *>&address, sizeof(address)):
            failed = errno
            self.links[side].ifindex = 0
            return failed
        return 0

    cdef void refresh(self) noexcept nogil:
        """Follow interfaces that vanished or came back. What fails here fails again, and is counted, when sending."""
        cdef int failed = self.bind_link(0) | self.bind_link(1)
        self.stale = failed != 0

    cdef void add_frame(self, u8 side, u8 *data, u32 length) noexcept nogil:
        """A whole Ethernet frame for the NIC of that side."""
        cdef Lane *lane = &self.lanes[side & 1]
        lane.pieces[lane.count].iov_base = data
        lane.pieces[lane.count].iov_len = length
        lane.count += 1
        if lane.count == SEND_BATCH:
            self.flush_lane(lane)

    cdef void add_packet(self, u8 *data, u32 length) noexcept nogil:
        """An IPv4 or IPv6 packet that the kernel routes."""
        cdef Lane *lane
        cdef sockaddr_in6 *name
        if length >= IPV4_HEADER_BYTES and data[0] >> 4 == 4:
            lane = &self.lanes[LANE_IPV4]
            name = &lane.names[lane.count]
            name.sin6_family = AF_INET
            memcpy(&(<sockaddr_in *>name).sin_addr, data + IPV4_DESTINATION, 4)
            lane.messages[lane.count].msg_hdr.msg_namelen = sizeof(sockaddr_in)
        elif length >= IPV6_HEADER_BYTES and data[0] >> 4 == 6:
            lane = &self.lanes[LANE_IPV6]
            name = &lane.names[lane.count]
            name.sin6_family = AF_INET6
            memcpy(&name.sin6_addr, data + IPV6_DESTINATION, 16)
            lane.messages[lane.count].msg_hdr.msg_namelen = sizeof(sockaddr_in6)
        else:
            self.lanes[LANE_IPV4].errors[EINVAL] += 1
            return
        lane.messages[lane.count].msg_hdr.msg_name = name
        lane.pieces[lane.count].iov_base = data
        lane.pieces[lane.count].iov_len = length
        lane.count += 1
        if lane.count == SEND_BATCH:
            self.flush_lane(lane)

    cdef void flush(self) noexcept nogil:
        """Send all that waits. Afterwards the bytes are the caller's again."""
        cdef int number
        for number in range(LANE_COUNT):
            if self.lanes[number].count:
                self.flush_lane(&self.lanes[number])

    cdef void flush_lane(self, Lane *lane) noexcept nogil:
        cdef unsigned int done = 0
        cdef int sent, failed
        while done < lane.count:
            # Stops at the first frame that fails; the error is told when that frame is the first of a call.
            sent = sendmmsg(lane.fd, &lane.messages[done], lane.count - done, MSG_DONTWAIT)
            if sent > 0:
                lane.sent += sent
                done += sent
                continue
            failed = errno if sent < 0 else EINVAL
            if failed == EINTR:
                continue
            if failed in (ENXIO, ENODEV, ENETDOWN, EAGAIN, EBADF):
                # The interface or the buffer, not the frame: the rest of the batch would fail like this one.
                if failed not in (EAGAIN, EBADF):
                    self.stale = True
                lane.errors[failed] += lane.count - done
                break
            lane.errors[failed if 0 <= failed < ERRNO_COUNT else 0] += 1
            done += 1
        lane.count = 0

    def sent(self):
        """Packets sent, by lane."""
        if self.lanes == NULL:
            return {}
        return {name: self.lanes[number].sent for number, name in enumerate(LANE_NAMES)}

    def errors(self):
        """Packets that could not be sent, by lane and errno: {"outside ENOBUFS": 3}."""
        counts = {}
        if self.lanes == NULL:
            return counts
        for number, name in enumerate(LANE_NAMES):
            counts.update(
                (f"{name} {kind}", count)
                for kind, count in errno_counts(self.lanes[number].errors).items()
            )
        return counts

    def send(self, side, bytes data not None):
        """Send one packet now, for tests and tools: side 0 or 1 a frame to that NIC, None an IP packet."""
        if self.lanes == NULL:
            raise RuntimeError("the senders are closed")
        cdef u8 *start = data
        if side is None:
            self.add_packet(start, len(data))
        else:
            self.add_frame(side, start, len(data))
        self.flush()

    def lookup(self):
        """Look both interfaces up again; (ifindex, MAC) of each side, ifindex 0 where there is none."""
        if self.lanes == NULL:
            raise RuntimeError("the senders are closed")
        self.refresh()
        return tuple(
            (self.links[side].ifindex, bytes(self.links[side].mac[:6])) for side in range(2)
        )


cdef dict errno_counts(u64 *errors):
    return {
        errno_names.errorcode.get(number, f"errno {number}"): errors[number]
        for number in range(ERRNO_COUNT)
        if errors[number]
    }


cdef int _socket(int family, int protocol, str what) except -1:
    cdef int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC, protocol)
    if fd >= 0:
        return fd
    error = OSError(errno, os.strerror(errno))
    raise EngineError(
        f"cannot open {what}: {error.strerror}", "this needs the capabilities CAP_NET_RAW and CAP_NET_ADMIN"
    ) from error


cdef int _set(int fd, int level, int option, int value, str what) except -1:
    if setsockopt(fd, level, option, &value, sizeof(value)):
        error = OSError(errno, os.strerror(errno))
        raise EngineError(
            f"cannot set {what}: {error.strerror}", "this needs the capabilities CAP_NET_RAW and CAP_NET_ADMIN"
        ) from error
    return 0
