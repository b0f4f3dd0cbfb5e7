# cython: language_level=3
"""The core's C face, as the engines and the test face use it, and the class that owns its memory."""

from libc.stdint cimport uint8_t as u8, uint16_t as u16, uint32_t as u32, uint64_t as u64

cdef extern from "core/engine.h" nogil:
    enum lv_side:
        LV_OUTSIDE
        LV_INSIDE

    enum lv_verdict:
        LV_DROP
        LV_PASS
        LV_REWRITE

    enum lv_layer:
        LV_L2
        LV_L3

    enum:
        LV_OUT_MAX_PER_CALL
        LV_OUT_SLOTS
        LV_SLOT_BYTES

    struct lv_out:
        u32 len
        u8 side
        u8 layer
        u8 *data

    struct lv_outq:
        u32 n
        lv_out slot[1]
        u8 *memory

    struct lv_worker:
        u32 index
        u32 now_ms
        u64 quiescent
        lv_outq outq

    struct lv_frame:
        u8 *data
        u32 len
        u32 room
        u16 proto
        u8 side
        u8 has_l2
        u8 *dst
        u8 *src
        u16 vlan_proto
        u16 vlan_tci

    void lv_worker_clock(lv_worker *w, u32 monotonic_ms, u64 realtime_s)
    bint lv_outq_has_room(const lv_worker *w)
    lv_verdict lv_engine_packet(lv_worker *w, const lv_frame *f)

    struct lv_arrival:
        pass

    void lv_engine_look(lv_worker *w, const lv_frame *f, lv_arrival *a)
    lv_verdict lv_engine_judge(lv_worker *w, const lv_frame *f, lv_arrival *a)
    void lv_engine_tick(lv_worker *w)

    struct lv_ctx:
        pass

    struct lv_services:
        pass

cdef extern from "core/tap.h" nogil:
    void lv_tap_before(lv_worker *w, const lv_frame *f)
    void lv_tap_after(lv_worker *w, const lv_frame *f, lv_verdict verdict)
    void lv_tap_output(lv_worker *w)

cdef extern from "core/flowquery.h" nogil:
    struct lv_flow_query:
        u8 *client_lo
        u8 *client_hi
        u8 *server_lo
        u8 *server_hi
        u16 port_lo
        u16 port_hi
        u32 states
        int service


cdef class Dataplane:
    cdef lv_ctx *ctx
    cdef lv_worker **workers
    cdef lv_services *current
    cdef dict tables  # name -> addresses of the memory of what workers read without a lock
    cdef list retired
    cdef list owned  # addresses of half-open caches: a worker may have been made to use another one
    cdef dict slots
    cdef tuple guarded
    cdef object shared
    cdef object view
    cdef readonly object config
    cdef readonly int worker_count
    cdef readonly int taken_up
    cdef u32 half_entries
    cdef u32 source_entries
    cdef lv_worker *worker(self, int index) except NULL
    cdef void *shared_pointer(self, size_t offset) except NULL
    cdef void open_worker(self, int index) except *
    cdef void replace_table(self, str name, list memory) except *
    cdef list _counters_of(self, int slot)
    cdef void sweep_retired(self) except *
    cdef void ask(self, object query, lv_flow_query *asked) except *
    cdef dict described(self, const void *key, const void *conn, u32 now_ms, dict names)
    cdef void _free(self) noexcept
