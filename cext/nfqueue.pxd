# cython: language_level=3
from cext.dataplane cimport Dataplane, lv_arrival, lv_frame, lv_worker
from cext.linux cimport u8, u32, u64
from cext.netlink cimport QueueSocket, lv_nl_packet
from cext.rawsock cimport RawSenders

# A packet between lv_engine_look() and lv_engine_judge().
cdef struct Arrived:
    u32 id
    lv_frame frame
    lv_arrival arrival

cdef class QueueWorker:
    cdef Dataplane dataplane
    cdef lv_worker *worker
    cdef QueueSocket main_socket
    cdef QueueSocket syn_socket
    cdef RawSenders senders
    cdef int event_fd
    cdef bint stopping
    cdef bint serves_itself
    cdef bint lookup_wanted
    cdef int index
    cdef u64 now_ms
    cdef u64 next_tick_ms
    cdef u64 next_lookup_ms
    cdef u32 syns_kept
    cdef Arrived arrived[2]
    cdef int turn
    cdef bint waits
    cdef object settings
    cdef object thread
    cdef object failure_text
    cdef int serve(self) noexcept nogil
    cdef void read_clock(self) noexcept nogil
    cdef void upkeep(self) noexcept nogil
    cdef void wait(self, bint can_receive) noexcept nogil
    cdef void take_batch(self, QueueSocket queue, int count) noexcept nogil
    cdef void take_datagram(self, QueueSocket queue, int number) noexcept nogil
    cdef void look(self, QueueSocket queue, lv_nl_packet *packet, u8 *end) noexcept nogil
    cdef void judge(self, QueueSocket queue) noexcept nogil
    cdef int side_of(self, lv_nl_packet *packet) noexcept nogil
    cdef void send_output(self) noexcept nogil
