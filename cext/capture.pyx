# cython: language_level=3
"""Captured packets: which are wanted, told to the workers and the programs, and what was captured, taken from them.

Owns: the rings' readers. Called by: the engines of the appliance, tests; by one thread. Must not know: files, clients.
Written to is by workers (core/tap.h) and by programs (bpf/tap.h), which never wait: what finds no room is counted.
"""

from dataclasses import dataclass

from libc.stdlib cimport free
from libc.string cimport memcpy, memset
from posix.mman cimport munmap

from cext.dataplane cimport Dataplane, lv_worker
from cext.linux cimport u8, u16, u32, u64

from cext.dataplane import DROP_REASONS
from cext.errors import EngineError

cdef extern from "<stdlib.h>" nogil:
    void *calloc(size_t count, size_t size)

cdef extern from "core/tap.h" nogil:
    enum:
        LV_R_COUNT
        LV_SERVICES_MAX
        LV_CAPTURE_BYTES
        LV_FATE_DROPPED
        LV_OUTSIDE

    struct lv_capture:
        u64 until_ns
        u64 missed
        u64 reasons
        u64 *lo
        u64 *hi
        u32 fates
        u32 bytes
        u32 service
        u32 any_address

    struct lv_captured:
        u64 time_ns
        u32 len
        u32 kept
        u16 vlan_proto
        u16 vlan_tci
        u16 service
        u8 side
        u8 fate
        u8 reason

    struct lv_tap_slot:
        lv_captured c
        u8 *bytes

    struct lv_tap:
        const lv_capture *wanted
        u64 missed
        u8 holds

    struct lv_ctx_capture "lv_ctx":
        lv_capture capture

    struct lv_worker_tap "lv_worker":
        lv_tap *tap

    int lv_tap_read(lv_tap *t, lv_tap_slot *out)

cdef extern from * nogil:
    """
    static void lv_tap_publish(struct lv_worker *w, struct lv_tap *t)
    {
        __atomic_store_n(&w->tap, t, __ATOMIC_RELEASE);
    }

    static u64 lv_missed_of(const u64 *missed)
    {
        return __atomic_load_n(missed, __ATOMIC_RELAXED);
    }
    """
    void lv_tap_publish(lv_worker *w, lv_tap *t)
    u64 lv_missed_of(const u64 *missed)

cdef extern from "bpf/loader.h" nogil:
    void *lv_loader_mmap(int fd, size_t bytes)

cdef extern from "<bpf/libbpf.h>":
    struct ring_buffer:
        pass
    ctypedef int (*ring_buffer_sample_fn)(void *ctx, void *data, size_t size) noexcept
    ring_buffer *ring_buffer__new(int fd, ring_buffer_sample_fn callback, void *ctx, const void *options)
    void ring_buffer__free(ring_buffer *ring)
    int ring_buffer__consume(ring_buffer *ring)

cdef extern from "<sys/mman.h>" nogil:
    void *MAP_FAILED

MOST_BYTES = LV_CAPTURE_BYTES
FATES = ("dropped", "passed", "translated", "sent")
TAG_BYTES = 4
_REASONS = tuple(DROP_REASONS)
_ENOUGH = -1  # ends ring_buffer__consume(); what it has given is consumed


@dataclass(frozen=True, slots=True)
class CaptureQuery:
    until_ns: int
    addresses: tuple[int, int] | None = None
    service: str | None = None
    reasons: tuple[str, ...] = ()
    fates: tuple[str, ...] = ()
    bytes_each: int = MOST_BYTES


@dataclass(frozen=True, slots=True)
class CapturedPacket:
    time_ns: int
    outside: bool
    fate: str
    reason: str
    service: str
    length: int
    data: bytes


def memory_bytes(int workers):
    """Bytes of the rings."""
    return workers * sizeof(lv_tap)


cdef int on_captured(void *capture, void *data, size_t size) noexcept:
    return (<Capture>capture).take_one(<u8 *>data, size)


cdef class Capture:
    cdef Dataplane dataplane
    cdef lv_tap **taps
    cdef lv_capture *programs  # the programs' own choice, in their map
    cdef ring_buffer *ring
    cdef list found
    cdef dict names
    cdef object room

    def __cinit__(self, Dataplane dataplane not None, *, int choice_map=-1, int ring_map=-1):
        cdef void *memory
        self.dataplane = dataplane
        self.taps = NULL
        self.programs = NULL
        self.ring = NULL
        self.found = []
        self.names = {}
        self.room = 0
        if choice_map < 0:
            return
        memory = lv_loader_mmap(choice_map, sizeof(lv_capture))
        if memory == MAP_FAILED:
            raise EngineError("the BPF map lv_capture cannot be mapped", "Linux 5.5 or newer is needed")
        self.programs = <lv_capture *>memory
        self.programs.until_ns = 0  # a predecessor's capture is over
        self.ring = ring_buffer__new(ring_map, on_captured, <void *>self, NULL)
        if self.ring == NULL:
            raise EngineError("the ring of captured packets cannot be read", "Linux 5.8 or newer is needed")

    def begin(self, query):
        """Capture what is asked for, until end() or until the time comes."""
        cdef lv_capture *chosen = &(<lv_ctx_capture *>self.dataplane.ctx).capture
        cdef int i
        self.end()
        self.take(0xFFFFFFFF)
        memset(chosen, 0, sizeof(lv_capture))
        _choose(chosen, query, self.dataplane.slots)
        self._make_taps()
        chosen.until_ns = query.until_ns
        for i in range(self.dataplane.worker_count):
            self.taps[i].missed = 0
            self.taps[i].holds = 0
            lv_tap_publish(self.dataplane.workers[i], self.taps[i])
        if self.programs != NULL:
            memcpy(<u8 *>self.programs + sizeof(u64), <u8 *>chosen + sizeof(u64), sizeof(lv_capture) - sizeof(u64))
            self.programs.until_ns = query.until_ns

    def end(self):
        """Capture no more. What waits can still be taken."""
        cdef int i
        if self.programs != NULL:
            self.programs.until_ns = 0
        if self.dataplane.ctx != NULL:
            for i in range(self.dataplane.worker_count):
                lv_tap_publish(self.dataplane.workers[i], NULL)

    def take(self, room):
        """Packets that wait, in the order of their times; no more than about `room` bytes of them."""
        cdef lv_tap_slot *slot
        cdef int i
        self.found, self.room = [], room
        self.names = {number: name for name, number in self.dataplane.slots.items()}
        if self.ring != NULL:
            ring_buffer__consume(self.ring)
        if self.taps != NULL:
            slot = <lv_tap_slot *>calloc(1, sizeof(lv_tap_slot))
            if slot == NULL:
                raise MemoryError
            try:
                for i in range(self.dataplane.worker_count):
                    while self.room > 0 and lv_tap_read(self.taps[i], slot):
                        self.keep(&slot.c, slot.bytes)
            finally:
                free(slot)
        found, self.found = self.found, []
        found.sort(key=lambda one: one.time_ns)
        return found

    @property
    def missed(self):
        cdef u64 total = 0
        cdef int i
        if self.taps != NULL:
            for i in range(self.dataplane.worker_count):
                total += lv_missed_of(&self.taps[i].missed)
        if self.programs != NULL:
            total += lv_missed_of(&self.programs.missed)
        return total

    def close(self):
        """Capture no more, and let go of the programs' maps. The rings are freed with the data plane."""
        self.end()
        self._free()

    def __dealloc__(self):
        self._free()

    def _free(self):
        if self.ring != NULL:
            ring_buffer__free(self.ring)
        if self.programs != NULL:
            munmap(self.programs, sizeof(lv_capture))
        self.ring = NULL
        self.programs = NULL

    cdef int take_one(self, u8 *data, size_t size) noexcept:
        """One packet of the programs."""
        cdef lv_captured *c = <lv_captured *>data
        if size >= sizeof(lv_captured) and c.kept <= size - sizeof(lv_captured):
            self.keep(c, data + sizeof(lv_captured))
        return 0 if self.room > 0 else _ENOUGH

    cdef void keep(self, const lv_captured *c, const u8 *data) noexcept:
        cdef bytes frame = (<const char *>data)[:c.kept]
        cdef int tag = TAG_BYTES if c.vlan_proto else 0
        if tag:
            frame = frame[:12] + c.vlan_proto.to_bytes(2, "big") + c.vlan_tci.to_bytes(2, "big") + frame[12:]
        self.room -= len(frame)
        self.found.append(CapturedPacket(
            time_ns=c.time_ns,
            outside=c.side == LV_OUTSIDE,
            fate=FATES[c.fate & 3],
            reason=_REASONS[c.reason] if c.fate == LV_FATE_DROPPED and c.reason < LV_R_COUNT else "",
            service=self.names.get(c.service, ""),
            length=c.len + tag,
            data=frame,
        ))

    cdef void _make_taps(self) except *:
        """The workers' rings, at the first capture. They belong to the data plane: a worker may be in one."""
        cdef int i
        if self.taps != NULL:
            return
        self.taps = <lv_tap **>calloc(self.dataplane.worker_count, sizeof(lv_tap *))
        if self.taps == NULL:
            raise MemoryError
        self.dataplane.owned.append(<size_t>self.taps)
        for i in range(self.dataplane.worker_count):
            self.taps[i] = <lv_tap *>calloc(1, sizeof(lv_tap))
            if self.taps[i] == NULL:
                raise MemoryError
            self.dataplane.owned.append(<size_t>self.taps[i])
            self.taps[i].wanted = &(<lv_ctx_capture *>self.dataplane.ctx).capture


cdef void _choose(lv_capture *c, object query, dict slots) except *:
    """The question in C. Without reasons and fates everything is wanted."""
    everything = not query.reasons and not query.fates
    if not 1 <= query.bytes_each <= LV_CAPTURE_BYTES:
        raise ValueError(f"of each packet 1 to {LV_CAPTURE_BYTES} bytes are kept")
    c.bytes = query.bytes_each
    for number, name in enumerate(_REASONS):
        if everything or name in query.reasons:
            c.reasons |= <u64>1 << <u32>number
    for number, name in enumerate(FATES):
        if everything or name in query.fates:
            c.fates |= <u32>1 << <u32>number
    if "dropped" in query.fates:
        c.reasons = 0xFFFFFFFFFFFFFFFF
    c.service = LV_SERVICES_MAX if query.service is None else slots[query.service]
    c.any_address = query.addresses is None
    if query.addresses is not None:
        lo, hi = query.addresses
        c.lo[0], c.lo[1] = lo >> 64, lo & 0xFFFFFFFFFFFFFFFF
        c.hi[0], c.hi[1] = hi >> 64, hi & 0xFFFFFFFFFFFFFFFF
