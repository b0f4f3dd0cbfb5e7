# cython: language_level=3
from cext.linux cimport iovec, lv_link, mmsghdr, sockaddr_in6, u8, u32, u64

cdef enum:
    # Frames handed to one sendmmsg. The kernel gains nothing from more (each frame is sent by itself), and the entries
    # of four lanes stay within the second-level cache.
    SEND_BATCH = 64
    # One counter for each errno that Linux has (the highest is EHWPOISON, 133).
    ERRNO_COUNT = 134

cdef enum:
    LANE_OUTSIDE = 0
    LANE_INSIDE = 1
    LANE_IPV4 = 2
    LANE_IPV6 = 3
    LANE_COUNT = 4

cdef struct Lane:
    int fd
    unsigned int count
    u64 sent
    u64 errors[ERRNO_COUNT]
    mmsghdr messages[SEND_BATCH]
    iovec pieces[SEND_BATCH]
    sockaddr_in6 names[SEND_BATCH]

cdef class RawSenders:
    cdef Lane *lanes
    cdef lv_link links[2]
    cdef bint stale
    cdef void add_frame(self, u8 side, u8 *data, u32 length) noexcept nogil
    cdef void add_packet(self, u8 *data, u32 length) noexcept nogil
    cdef void flush(self) noexcept nogil
    cdef void flush_lane(self, Lane *lane) noexcept nogil
    cdef void refresh(self) noexcept nogil
    cdef int bind_link(self, int side) noexcept nogil
