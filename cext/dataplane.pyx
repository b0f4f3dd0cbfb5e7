# cython: language_level=3
"""The data plane's memory: what is allocated before the first packet, and how Python looks into it.

Owns: shared memory file, flow table, caches, services, counters. Called by: the daemon, engines (worker()), tests.
Must not know: sockets, rules, YAML. The shared memory file holds a header, the learned options and the flow records;
the records are valid whatever instruction a predecessor was killed at (core/table.h).
"""

import mmap
import os
import secrets
import struct
import time
from dataclasses import dataclass

from cext.servicetable import flatten

from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

cdef extern from "core/engine.h" nogil:
    enum:
        LV_R_COUNT
        LV_E_COUNT
        LV_COUNTERS
        LV_SERVICES_MAX
        LV_INTERVALS_MAX
        LV_RULES_MAX
        LV_CATCHES_MAX
        LV_LISTED_BLOCKED
        LV_LISTED_ALLOWED
        LV_LISTED_MAX
        LV_EXACT_SETS_MAX
        LV_EXACT_WAYS
        LV_HALF_WAYS
        LV_SOURCE_WAYS
        LV_OVER_DROP
        LV_OVER_RESET
        LV_OVER_BLOCK
        LV_SYN_STAGES
        LV_HOLD_BLOCK_BYTES
        LV_LEARNED_ENTRIES
        LV_WSCALE_NONE
        LV_EPOCH_S
        LV_SECRET_BYTES
        LV_FLOW_FREE
        LV_FORWARDS_PORT
        LV_FORWARDS_ADDRESS
        LV_NOTED

    struct lv_addr:
        u8 *b

    struct lv_key:
        lv_addr client
        lv_addr server
        u16 cport
        u16 sport
        u16 *vid

    struct lv_conn:
        u8 state
        u16 service
        u32 last_ms
        u32 opened_ms

    struct lv_flow:
        lv_key key
        lv_conn c

    struct lv_server_options:
        u16 mss
        u8 wscale
        u8 sack_ok
        u8 has_ts
        u8 ecn

    struct lv_learned:
        lv_addr addr
        u16 port
        u16 used
        u32 sequence
        lv_server_options o
        u8 known
        u16 window
        u32 changed_ms
        u32 seen_ms

    struct lv_sipkey "lv_sipkey":
        u64 k0
        u64 k1

    struct lv_table:
        u32 *head
        lv_flow *flow
        u32 capacity
        u32 used
        lv_sipkey key

    struct lv_hold_block:
        u32 next

    struct lv_hold:
        lv_hold_block *block
        u32 blocks
        u32 blocks_used

    struct lv_learning:
        lv_learned *entry

    struct lv_meter:
        u32 passed

    struct lv_guard:
        u32 on
        u32 most_syns
        lv_meter *log

    struct lv_most:
        u32 most
        u32 period_ms

    enum:
        LV_PROTECT_OFF
        LV_PROTECT_ALWAYS
        LV_PROTECT_AUTO

    struct lv_config:
        u32 flows
        u32 offered_window
        u8 *out_layer
        u8 *secret
        u32 ts_offset

    struct lv_source:
        pass

    struct lv_sources:
        lv_source *entry
        u32 sets_mask
        u32 used
        lv_sipkey key

    struct lv_catch:
        lv_addr source
        u16 service

    struct lv_catches:
        u32 n

    struct lv_ctx_full "lv_ctx":
        lv_config config
        lv_table table
        lv_hold hold
        lv_learning learning
        lv_catches catches
        const lv_services *services
        lv_guard *guard
        lv_sources sources

    struct lv_half:
        u8 flags

    struct lv_half_tags:
        pass

    struct lv_halfopen:
        lv_half *entry
        lv_half_tags *tags
        u64 seed
        u32 sets_mask
        u32 used

    struct lv_timer:
        u32 index

    struct lv_ring:
        lv_timer *timer
        u32 mask

    struct lv_cookie_keys:
        pass

    struct lv_worker_full "lv_worker":
        lv_ctx_full *ctx
        u32 index
        lv_halfopen half
        lv_ring *syn_ring
        u64 *count
        lv_outq outq
        lv_cookie_keys keys

    struct lv_service:
        u8 used
        u8 protect
        u8 window_zero
        u8 fragments_pass
        u8 trap
        u8 excepted
        u8 wscale
        u8 sack_ok
        u8 has_ts
        u16 *mss
        u8 pinned
        u8 signed_drop
        u8 *source_prefix
        u32 source_new_per_s
        u32 source_open
        u8 source_over
        u8 forwards
        u8 target
        u16 to_port
        lv_addr to
        lv_most *log

    struct lv_port_rule:
        u16 lo
        u16 hi
        u16 vid
        u16 service

    struct lv_interval:
        u64 *lo
        u64 *hi
        u32 first
        u32 count
        u32 step
        u16 portless
        u8 has_vlans

    struct lv_exact_set:
        pass

    struct lv_services_flat:
        pass

    struct lv_listed_span:
        u64 *lo
        u64 *hi
        u64 what

    struct lv_lists:
        u32 count
        u32 search_step
        lv_listed_span *span

    struct lv_services_full "lv_services":
        u32 intervals
        u32 rules
        u32 search_step
        u32 has_excepted
        u32 has_forwards
        u32 exact_sets
        u32 has_limits
        u32 has_watched
        u32 has_logs
        lv_exact_set *exact
        const lv_interval *interval
        const lv_port_rule *rule
        lv_service *service

    void lv_table_attach(lv_table *t, lv_flow *flow, u32 capacity, u32 *head, u32 heads)
    void lv_hold_init(lv_hold *h, lv_hold_block *memory, u32 blocks, u32 per_flow_bytes)
    void lv_cookie_start(lv_cookie_keys *ks, const u8 *secret, u32 epoch, u32 now_ms)
    u32 lv_catch_take(lv_catches *c, lv_catch *out, u32 room)
    void lv_listed_touch(lv_lists *l, const lv_listed_span *span)
    void lv_exact_fill(lv_services_full *s)
    bint lv_is_refusal(u32 reason)
    u16 lv_service_of_flow(const lv_services *s, const lv_flow *f)
    void lv_handshake_resume(lv_worker_full *w, lv_flow *f)
    int lv_learned_restore(lv_learning *l, const lv_learned *e, u32 now_ms)
    u32 lv_learned_forget(lv_learning *l, u32 most_ms, u32 now_ms)

cdef extern from "core/flowquery.h" nogil:
    bint lv_flow_asked(const lv_flow_query *q, const lv_key *key, const lv_conn *c)

cdef extern from * nogil:
    """
    #include <stddef.h>

    #include "core/engine.h"

    static const char *const lv_reason_names[] = {
    #define LV_ONE(id, name, text) name,
        LV_DROP_REASONS(LV_ONE) LV_EVENTS(LV_ONE)
    #undef LV_ONE
    };
    static const char *const lv_reason_texts[] = {
    #define LV_ONE(id, name, text) text,
        LV_DROP_REASONS(LV_ONE) LV_EVENTS(LV_ONE)
    #undef LV_ONE
    };

    static void lv_services_publish(struct lv_ctx *c, const struct lv_services *s)
    {
        __atomic_store_n(&c->services, s, __ATOMIC_SEQ_CST);
    }

    static void lv_lists_publish(struct lv_ctx *c, const struct lv_lists *l)
    {
        __atomic_store_n(&c->lists, l, __ATOMIC_SEQ_CST);
    }

    static size_t lv_lists_bytes(u32 spans)
    {
        return offsetof(struct lv_lists, span) + spans * sizeof(struct lv_listed_span);
    }

    static u64 lv_quiescent_of(const struct lv_worker *w)
    {
        return __atomic_load_n(&w->quiescent, __ATOMIC_SEQ_CST);
    }
    """
    const char *lv_reason_names[]
    const char *lv_reason_texts[]
    void lv_services_publish(lv_ctx *c, const lv_services *s)
    void lv_lists_publish(lv_ctx *c, const lv_lists *l)
    size_t lv_lists_bytes(u32 spans)
    u64 lv_quiescent_of(const lv_worker *w)

_names = [lv_reason_names[i].decode() for i in range(LV_COUNTERS)]
_texts = [lv_reason_texts[i].decode() for i in range(LV_COUNTERS)]
DROP_REASONS = dict(zip(_names[:LV_R_COUNT], _texts[:LV_R_COUNT]))
EVENTS = dict(zip(_names[LV_R_COUNT:], _texts[LV_R_COUNT:]))
REFUSALS = tuple(name for i, name in enumerate(DROP_REASONS) if lv_is_refusal(i))
_KNOWN = ("wscale", "sack", "timestamps", "ecn")  # enum lv_known, from its lowest bit
FLOW_STATES = ("free", "syn_sent", "established", "closed", "pass", "pass_closed")

# Header of the shared memory file: magic, layout version, size of a record, number of records, boot id.
_MAGIC = b"LEVEEFLW"
_LAYOUT = 2
_HEADER = struct.Struct("<8sIII36s")
_HEADER_BYTES = 4096
_LEARNED_BYTES = LV_LEARNED_ENTRIES * sizeof(lv_learned)
_RECORDS_AT = _HEADER_BYTES + (_LEARNED_BYTES + 4095) // 4096 * 4096
_SIDES = {"outside": <int>LV_OUTSIDE, "inside": <int>LV_INSIDE}
_OVER = {"drop": <int>LV_OVER_DROP, "reset": <int>LV_OVER_RESET, "block": <int>LV_OVER_BLOCK}
_VERDICTS = {<int>LV_DROP: "drop", <int>LV_PASS: "pass", <int>LV_REWRITE: "rewrite"}
_TIMERS_MAX = 65536
_RECORDS_MAX = 1 << 28  # of any table: 32 GiB of connections, and powers of two still fit 32 bits


@dataclass(frozen=True, slots=True)
class DataplaneConfig:
    secret: bytes
    path: str | None = None
    workers: int = 1
    flows: int = 262144
    half_open: int = 65536
    hold_per_flow_bytes: int = 32768
    hold_total_bytes: int = 67108864
    sources: int = 65536
    route_outside: bool = False
    route_inside: bool = False


@dataclass(frozen=True, slots=True)
class FlowQuery:
    client: tuple[int, int] | None = None
    server: tuple[int, int] | None = None
    ports: tuple[int, int] = (0, 65535)
    service: str | None = None
    states: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    name: str
    addresses: tuple[tuple[int, int], ...]
    ports: tuple[tuple[int, int], ...]
    vids: tuple[int, ...] = ()
    protect: bool = True
    window_zero: bool = False
    fragments_pass: bool = False
    trap: bool = False
    signed_drop: bool = False
    mss4: int = 1460
    mss6: int = 1440
    wscale: int | None = 7
    sack: bool = True
    timestamps: bool = True
    excepted: bool = False
    pinned: bool = False
    auto: bool = False
    most_syns_per_s: int = 0
    source_new_per_s: int = 0
    source_open: int = 0
    source_prefix4: int = 32
    source_prefix6: int = 64
    source_over: str = "drop"
    forward_port: int = 0
    forward_address: int | None = None
    target: bool = False
    log_refused: tuple[int, int] = (0, 1)
    log_opened: tuple[int, int] = (0, 1)


class StateError(Exception):
    def __init__(self, message, hint):
        super().__init__(message)
        self.message = message
        self.hint = hint


def _log_limits(spec):
    """Lines and milliseconds, in the order of enum lv_noted."""
    return [(most, period_s * 1000) for most, period_s in (spec.log_refused, spec.log_opened)]


cdef u32 _power_of_two(u64 at_least):
    cdef u32 n = 1
    while n < at_least:
        n *= 2
    return n


cdef extern from "<stdlib.h>":
    void *aligned_alloc(size_t alignment, size_t size) nogil

cdef extern from "<sys/mman.h>":
    int MADV_HUGEPAGE
    int madvise(void *start, size_t length, int advice) nogil

cdef enum:
    HUGE_PAGE_BYTES = 1 << 21
    PAGE_RECORDS = 1 << 16  # looked at for one page of flow_page()


cdef u32 _half_entries(object config):
    return _power_of_two(max(1, config.half_open // config.workers // LV_HALF_WAYS)) * LV_HALF_WAYS


cdef u32 _source_entries(object config):
    return _power_of_two(max(1, config.sources // LV_SOURCE_WAYS)) * LV_SOURCE_WAYS


def memory_bytes(config):
    """Bytes of memory by table."""
    return {
        "flows": config.flows * sizeof(lv_flow) + 4 * _power_of_two(config.flows),
        "half_open": config.workers * _half_entries(config) // LV_HALF_WAYS
        * (LV_HALF_WAYS * sizeof(lv_half) + sizeof(lv_half_tags)),
        "timers": config.workers * LV_SYN_STAGES * _syn_timers(config) * sizeof(lv_timer),
        "hold": config.hold_total_bytes // LV_HOLD_BLOCK_BYTES * LV_HOLD_BLOCK_BYTES,
        "learned": _LEARNED_BYTES,
        "services": 2 * sizeof(lv_services_flat),
        "lists": 2 * lv_lists_bytes(LV_LISTED_MAX),
        "sources": _source_entries(config) * sizeof(lv_source),
        "counters": config.workers * LV_SERVICES_MAX * LV_COUNTERS * 8,
        "output": config.workers * LV_OUT_SLOTS * LV_SLOT_BYTES,
    }


cdef u32 _syn_timers(object config):
    return _power_of_two(min(config.flows, _TIMERS_MAX))


cdef void *_zeroed(size_t count, size_t size) except NULL:
    """Memory of zeros, on huge pages where it is large: a table hit at random costs a TLB miss a packet else."""
    cdef void *p
    cdef size_t whole = (count * size + HUGE_PAGE_BYTES - 1) & ~<size_t>(HUGE_PAGE_BYTES - 1)
    if count * size >= HUGE_PAGE_BYTES:
        p = aligned_alloc(HUGE_PAGE_BYTES, whole)
        if p != NULL:
            madvise(p, whole, MADV_HUGEPAGE)  # refused by kernels without huge pages: then on small ones
            memset(p, 0, count * size)
    else:
        p = calloc(count, size)
    if p == NULL:
        raise MemoryError(f"no memory for {count} records of {size} bytes")
    return p


def _boot_id():
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip().encode()


def _read_header(file):
    """Number of records of a file of this layout and this boot, else None."""
    raw = os.pread(file, _HEADER.size, 0)
    if len(raw) < _HEADER.size:
        return None
    magic, layout, size, count, boot = _HEADER.unpack(raw)
    if (magic, layout, size, boot) != (_MAGIC, _LAYOUT, sizeof(lv_flow), _boot_id()):
        return None
    if os.fstat(file).st_size != _RECORDS_AT + count * sizeof(lv_flow):
        return None
    return count


def _make_file(path, flows, learned, records):
    """A new file beside the old one, renamed over it when it is whole."""
    new = f"{path}.new"
    file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(file, 0, _RECORDS_AT + flows * sizeof(lv_flow))
        os.pwrite(file, _HEADER.pack(_MAGIC, _LAYOUT, sizeof(lv_flow), flows, _boot_id()), 0)
        os.pwrite(file, learned, _HEADER_BYTES)
        os.pwrite(file, records, _RECORDS_AT)
        os.rename(new, path)
    except BaseException:
        os.close(file)
        os.unlink(new)
        raise
    return file


cdef bytes _live_records(bytes raw, u32 most):
    """The records in use, the most recently used first if there are more than `most`."""
    cdef const u8 *p = raw
    cdef u32 i
    cdef u32 now_ms = <u32>((time.monotonic_ns() // 1000000) & 0xFFFFFFFF)
    live = []
    for i in range(len(raw) // sizeof(lv_flow)):
        flow = <const lv_flow *>(p + i * sizeof(lv_flow))
        if flow.c.state != LV_FLOW_FREE:
            live.append((<u32>(now_ms - flow.c.last_ms), i))
    if len(live) > most:
        live.sort()
    size = sizeof(lv_flow)
    return b"".join(raw[i * size:(i + 1) * size] for _, i in live[:most])


def _open_shared(path, flows):
    """The mapping, with a predecessor's records if they can be used, else empty ones."""
    size = _RECORDS_AT + flows * sizeof(lv_flow)
    if path is None:
        return mmap.mmap(-1, size)
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            count = _read_header(file)
            if count != flows:
                learned = os.pread(file, _LEARNED_BYTES, _HEADER_BYTES) if count else b""
                raw = os.pread(file, (count or 0) * sizeof(lv_flow), _RECORDS_AT)
                os.close(file)
                file = -1
                file = _make_file(path, flows, learned, _live_records(raw, flows))
            return mmap.mmap(file, size)
        finally:
            if file >= 0:
                os.close(file)
    except OSError as error:
        raise StateError(
            f"{path}: cannot use the flow table's file: {error.strerror}",
            "the folder must exist, be writable and have room for it; it belongs on a tmpfs such as /run",
        ) from error


cdef class Dataplane:
    def __cinit__(self, config not None):
        cdef lv_ctx_full *ctx
        cdef lv_hold_block *blocks
        cdef u32 *heads
        cdef u32 count = 0
        cdef int i
        if len(config.secret) != LV_SECRET_BYTES:
            raise ValueError(f"the secret is {LV_SECRET_BYTES} bytes")
        if config.workers < 1 or min(config.flows, config.half_open, config.sources) < 1:
            raise ValueError("there is at least one worker, one flow, one half-open entry and one source")
        blocks_of_all = config.hold_total_bytes // LV_HOLD_BLOCK_BYTES
        if max(config.flows, config.half_open, config.sources, blocks_of_all) > _RECORDS_MAX:
            raise ValueError(f"a table has at most {_RECORDS_MAX} records")
        self.ctx = NULL
        self.workers = NULL
        self.current = NULL
        self.retired = []
        self.tables = {}
        self.owned = []
        self.slots = {}
        self.guarded = ()
        self.config = config
        self.worker_count = 0
        self.half_entries = _half_entries(config)
        self.source_entries = _source_entries(config)
        ctx = <lv_ctx_full *>_zeroed(1, sizeof(lv_ctx_full))
        self.ctx = <lv_ctx *>ctx
        ctx.config.flows = config.flows
        ctx.config.offered_window = min(65535, max(1, config.hold_per_flow_bytes))
        ctx.config.out_layer[<int>LV_OUTSIDE] = LV_L3 if config.route_outside else LV_L2
        ctx.config.out_layer[<int>LV_INSIDE] = LV_L3 if config.route_inside else LV_L2
        memcpy(ctx.config.secret, <const u8 *><bytes>config.secret, LV_SECRET_BYTES)
        ctx.config.ts_offset = secrets.randbits(32)
        ctx.table.key.k0 = secrets.randbits(64)
        ctx.table.key.k1 = secrets.randbits(64)
        self.shared = _open_shared(config.path, config.flows)
        self.view = memoryview(self.shared)
        ctx.learning.entry = <lv_learned *>self.shared_pointer(_HEADER_BYTES)
        ctx.guard = <lv_guard *>_zeroed(LV_SERVICES_MAX, sizeof(lv_guard))
        self.owned.append(<size_t>ctx.guard)
        ctx.sources.entry = <lv_source *>_zeroed(self.source_entries, sizeof(lv_source))
        self.owned.append(<size_t>ctx.sources.entry)
        ctx.sources.sets_mask = self.source_entries // LV_SOURCE_WAYS - 1
        ctx.sources.key.k0 = secrets.randbits(64)
        ctx.sources.key.k1 = secrets.randbits(64)
        if config.path is not None and not self.shared[:8] == _MAGIC:
            raise StateError(f"{config.path}: is not a flow table", "remove the file")
        count = _power_of_two(config.flows)
        heads = <u32 *>_zeroed(count, sizeof(u32))
        lv_table_attach(&ctx.table, <lv_flow *>self.shared_pointer(_RECORDS_AT), config.flows, heads, count)
        for i in range(LV_LEARNED_ENTRIES):
            if ctx.learning.entry[i].sequence & 1:  # its writer was killed half way
                memset(&ctx.learning.entry[i], 0, sizeof(lv_learned))
        count = config.hold_total_bytes // LV_HOLD_BLOCK_BYTES
        blocks = <lv_hold_block *>_zeroed(max(1, count), sizeof(lv_hold_block))
        lv_hold_init(&ctx.hold, blocks, count, config.hold_per_flow_bytes)
        self.workers = <lv_worker **>_zeroed(config.workers, sizeof(lv_worker *))
        self._publish([], [], {})
        self.set_lists([])
        for i in range(config.workers):
            self.open_worker(i)
        self.taken_up = ctx.table.used
        self._resume()

    cdef void *shared_pointer(self, size_t offset) except NULL:
        cdef unsigned char[::1] view = self.view
        return &view[offset]

    cdef void open_worker(self, int index) except *:
        cdef lv_worker_full *w = <lv_worker_full *>_zeroed(1, sizeof(lv_worker_full))
        cdef u32 i, timers
        self.workers[index] = <lv_worker *>w
        self.worker_count = index + 1
        w.ctx = <lv_ctx_full *>self.ctx
        w.index = index
        w.half.entry = <lv_half *>_zeroed(self.half_entries, sizeof(lv_half))
        self.owned.append(<size_t>w.half.entry)
        w.half.tags = <lv_half_tags *>_zeroed(self.half_entries // LV_HALF_WAYS, sizeof(lv_half_tags))
        self.owned.append(<size_t>w.half.tags)
        w.half.sets_mask = self.half_entries // LV_HALF_WAYS - 1
        w.half.seed = secrets.randbits(64)
        for i in range(LV_SYN_STAGES):
            timers = _syn_timers(self.config)
            w.syn_ring[i].timer = <lv_timer *>_zeroed(timers, sizeof(lv_timer))
            w.syn_ring[i].mask = timers - 1
        w.count = <u64 *>_zeroed(LV_SERVICES_MAX * LV_COUNTERS, sizeof(u64))
        w.outq.memory = <u8 *>_zeroed(LV_OUT_SLOTS, LV_SLOT_BYTES)
        self._clock(index, time.monotonic_ns() // 1000000, int(time.time()))
        lv_cookie_start(
            &w.keys, w.ctx.config.secret, <u32>(int(time.time()) // LV_EPOCH_S), self.workers[index].now_ms
        )

    def _clock(self, int index, now_ms, realtime_s):
        lv_worker_clock(self.workers[index], <u32>(now_ms & 0xFFFFFFFF), realtime_s)

    def _resume(self):
        """Records of a predecessor: their timers are set anew, their service numbers mean nothing (set_services() finds
        new ones)."""
        cdef lv_worker_full *w = <lv_worker_full *>self.workers[0]
        cdef lv_table *t = &w.ctx.table
        cdef u32 i
        for i in range(t.capacity):
            if t.flow[i].c.state == LV_FLOW_FREE:
                continue
            t.flow[i].c.service = 0
            lv_handshake_resume(w, &t.flow[i])

    cdef lv_worker *worker(self, int index) except NULL:
        if not 0 <= index < self.worker_count:
            raise IndexError(f"there are {self.worker_count} workers")
        return self.workers[index]

    # ---- services ----

    def set_services(self, services):
        """Replace all services at once."""
        cdef lv_ctx_full *ctx = <lv_ctx_full *>self.ctx
        cdef u32 i
        self._check_open()
        slots = self._slots_for([spec.name for spec in services])
        intervals, rules = flatten(services, slots)
        if len(intervals) >= LV_INTERVALS_MAX or len(rules) > LV_RULES_MAX:
            raise ValueError(
                f"the services have more than {LV_INTERVALS_MAX - 1} address ranges or {LV_RULES_MAX} port ranges"
            )
        for name in slots.keys() - self.slots.keys():
            self._clear_counters(slots[name])
            memset(&ctx.guard[<int>slots[name]], 0, sizeof(lv_guard))
        for spec in services:
            ctx.guard[<int>slots[spec.name]].most_syns = spec.most_syns_per_s
        changed = [(slots[spec.name], noted) for spec in services for noted in self._new_limits(slots[spec.name], spec)]
        self._publish(intervals, rules, {slots[spec.name]: spec for spec in services})
        for slot, noted in changed:
            ctx.guard[<int>slot].log[<int>noted].passed = 0
        self.slots = slots
        self.guarded = tuple(spec.name for spec in services if spec.protect and spec.auto)
        for i in range(ctx.table.capacity):
            if ctx.table.flow[i].c.state != LV_FLOW_FREE:
                ctx.table.flow[i].c.service = lv_service_of_flow(self.current, &ctx.table.flow[i])

    def _new_limits(self, int slot, spec):
        """What this service's log has another limit of now; a service that is new to its slot, too."""
        cdef lv_most *log = (<lv_services_full *>self.current).service[slot].log
        cdef int i
        wanted = _log_limits(spec)
        return [i for i in range(LV_NOTED) if (log[i].most, log[i].period_ms) != wanted[i]]

    def _slots_for(self, names):
        """Number of each name: a name keeps the one it had, so that its counters and flows go on. A new one gets a
        number that nobody has now, if there is one: workers still count for the old services."""
        if len(names) >= LV_SERVICES_MAX:
            raise ValueError(f"there can be at most {LV_SERVICES_MAX - 1} services")
        if len(set(names)) != len(names):
            raise ValueError("two services have one name")
        slots = {name: self.slots[name] for name in names if name in self.slots}
        leaving = set(self.slots.values()) - set(slots.values())
        taken = set(self.slots.values())
        unused = iter([slot for slot in range(1, LV_SERVICES_MAX) if slot not in taken] + sorted(leaving))
        for name in names:
            if name not in slots:
                slots[name] = next(unused)
        return slots

    def _clear_counters(self, int slot):
        cdef int i
        for i in range(self.worker_count):
            memset(&(<lv_worker_full *>self.workers[i]).count[slot * LV_COUNTERS], 0, LV_COUNTERS * sizeof(u64))

    def _publish(self, intervals, rules, specs):
        """Build the C table and swap it in. The old one is freed when no worker can hold it any more."""
        cdef lv_services_full *s = <lv_services_full *>_zeroed(1, sizeof(lv_services_full))
        cdef lv_interval *interval = <lv_interval *>_zeroed(_power_of_two(len(intervals) + 1), sizeof(lv_interval))
        cdef lv_port_rule *rule = <lv_port_rule *>_zeroed(max(1, len(rules)), sizeof(lv_port_rule))
        cdef lv_service *one
        for i, (lo, hi, first, count, portless, has_vlans) in enumerate(intervals):
            interval[i].lo[0], interval[i].lo[1] = lo >> 64, lo & 0xFFFFFFFFFFFFFFFF
            interval[i].hi[0], interval[i].hi[1] = hi >> 64, hi & 0xFFFFFFFFFFFFFFFF
            interval[i].first, interval[i].count = first, count
            interval[i].step = 1 << count.bit_length() >> 1
            interval[i].portless, interval[i].has_vlans = portless, has_vlans
        for i, (vid, lo, hi, slot) in enumerate(rules):
            rule[i].lo, rule[i].hi, rule[i].vid, rule[i].service = lo, hi, vid, slot
        for slot, spec in specs.items():
            one = &s.service[<int>slot]
            one.used = 1
            one.protect = LV_PROTECT_OFF if not spec.protect else LV_PROTECT_AUTO if spec.auto else LV_PROTECT_ALWAYS
            s.has_watched |= one.protect == LV_PROTECT_AUTO
            one.window_zero = spec.window_zero
            one.fragments_pass = spec.fragments_pass
            one.trap = spec.trap
            one.signed_drop = spec.signed_drop
            one.excepted = spec.excepted
            s.has_excepted |= one.excepted
            one.wscale = LV_WSCALE_NONE if spec.wscale is None else spec.wscale
            one.sack_ok = spec.sack
            one.has_ts = spec.timestamps
            one.mss[0], one.mss[1] = spec.mss4, spec.mss6
            one.pinned = spec.pinned
            one.source_new_per_s, one.source_open = spec.source_new_per_s, spec.source_open
            one.source_prefix[0], one.source_prefix[1] = spec.source_prefix4, spec.source_prefix6
            one.source_over = _OVER[spec.source_over]
            s.has_limits |= one.source_new_per_s > 0 or one.source_open > 0
            one.target = spec.target
            for noted, (most, period_ms) in enumerate(_log_limits(spec)):
                one.log[<int>noted].most, one.log[<int>noted].period_ms = most, period_ms
                s.has_logs |= most > 0
            if spec.forward_port:
                s.has_forwards = 1
                one.to_port = spec.forward_port
                one.forwards = LV_FORWARDS_PORT if spec.forward_address is None else LV_FORWARDS_ADDRESS
                _put_address(one.to.b, spec.forward_address or 0)
        s.intervals, s.rules = len(intervals), len(rules)
        s.search_step = 1 << len(intervals).bit_length() >> 1
        s.interval, s.rule = interval, rule
        s.exact_sets = min(<u32>LV_EXACT_SETS_MAX, _power_of_two(len(rules) // 2))
        s.exact = <lv_exact_set *>_zeroed(s.exact_sets, sizeof(lv_exact_set))
        lv_exact_fill(s)
        lv_services_publish(self.ctx, <lv_services *>s)
        self.current = <lv_services *>s
        self.replace_table("services", [<size_t>s.interval, <size_t>s.rule, <size_t>s.exact, <size_t>s])

    # ---- sources ----

    def set_lists(self, spans):
        """Replace the lists of blocked and allowed sources."""
        cdef lv_lists *lists
        cdef u32 count = 0
        self._check_open()
        if len(spans) >= LV_LISTED_MAX:
            raise ValueError(f"the lists of sources have more than {LV_LISTED_MAX - 1} ranges")
        lists = <lv_lists *>_zeroed(1, lv_lists_bytes(<u32>len(spans)))
        for lo, hi, blocked in spans:
            span = &lists.span[count]
            span.lo[0], span.lo[1] = lo >> 64, lo & 0xFFFFFFFFFFFFFFFF
            span.hi[0], span.hi[1] = hi >> 64, hi & 0xFFFFFFFFFFFFFFFF
            span.what = <u64>(LV_LISTED_BLOCKED if blocked else LV_LISTED_ALLOWED)
            lv_listed_touch(lists, span)
            count += 1
        lists.count = count
        lists.search_step = 1 << len(spans).bit_length() >> 1
        lv_lists_publish(self.ctx, lists)
        self.replace_table("lists", [<size_t>lists])

    def caught(self):
        """Sources that are to be blocked, noted since the last call."""
        cdef lv_catch *found
        cdef u32 i, n
        self._check_open()
        found = <lv_catch *>_zeroed(LV_CATCHES_MAX, sizeof(lv_catch))
        try:
            n = lv_catch_take(&(<lv_ctx_full *>self.ctx).catches, found, LV_CATCHES_MAX)
            names = {slot: name for name, slot in self.slots.items()} if n else {}
            return [((<const char *>found[i].source.b)[:16], names.get(found[i].service, "")) for i in range(n)]
        finally:
            free(found)

    # ---- tables that workers read without a lock ----

    cdef void replace_table(self, str name, list memory) except *:
        """The memory of a table that was swapped in; that of the one before is freed when no worker can hold it."""
        self.sweep_retired()
        if name in self.tables:
            self.retired.append((self.tables[name], self._quiescent()))
        self.tables[name] = memory

    def _quiescent(self):
        return [lv_quiescent_of(self.workers[i]) for i in range(self.worker_count)]

    cdef void sweep_retired(self) except *:
        """Free the tables that every worker has let go of since they were replaced. One that stands still keeps
        them."""
        now = self._quiescent()
        kept = []
        for memory, then in self.retired:
            if all(a > b for a, b in zip(now, then)):
                _free_all(memory)
            else:
                kept.append((memory, then))
        self.retired = kept

    # ---- guards ----

    def guards(self):
        """Which services with auto are protected just now."""
        self._check_open()
        cdef lv_ctx_full *ctx = <lv_ctx_full *>self.ctx
        return {name: bool(ctx.guard[<int>self.slots[name]].on) for name in self.guarded}

    def set_guard(self, str name not None, bint on):
        """Turn protection of a service with auto on or off."""
        self._check_open()
        cdef lv_ctx_full *ctx = <lv_ctx_full *>self.ctx
        if name not in self.guarded:
            raise KeyError(f"{name} is not a service with auto")
        ctx.guard[<int>self.slots[name]].on = on

    # ---- looking in ----

    def counters(self):
        """Sums over all workers."""
        self._check_open()
        names = list(DROP_REASONS) + list(EVENTS)
        total = self._counters_of(0)
        services = {}
        for name, slot in self.slots.items():
            values = self._counters_of(slot)
            if any(values):
                total = [a + b for a, b in zip(total, values)]
            services[name] = _as_counters(names, values)
        return {"total": _as_counters(names, total), "services": services}

    cdef list _counters_of(self, int slot):
        """There may be thousands of services, and somebody may ask every second."""
        cdef int i, j
        cdef u64 value
        cdef list values = []
        for j in range(LV_COUNTERS):
            value = 0
            for i in range(self.worker_count):
                value += (<lv_worker_full *>self.workers[i]).count[slot * LV_COUNTERS + j]
            values.append(value)
        return values

    def occupancy(self):
        """Records and bytes in use."""
        self._check_open()
        cdef lv_ctx_full *ctx = <lv_ctx_full *>self.ctx
        cdef int i
        half = 0
        for i in range(self.worker_count):
            half += (<lv_worker_full *>self.workers[i]).half.used
        return {
            "flows_used": ctx.table.used,
            "flows_capacity": ctx.table.capacity,
            "half_open_used": half,
            "half_open_capacity": self.half_entries * self.worker_count,
            "hold_bytes_used": ctx.hold.blocks_used * LV_HOLD_BLOCK_BYTES,
            "hold_bytes_capacity": ctx.hold.blocks * LV_HOLD_BLOCK_BYTES,
            "sources_used": ctx.sources.used,
            "sources_capacity": self.source_entries,
        }

    def flows(self, limit, query=FlowQuery()):
        """Up to `limit` connections."""
        found, cursor = [], 0
        while cursor is not None and len(found) < limit:
            page, cursor = self.flow_page(query, cursor, limit - len(found))
            found += page
        return found

    def flow_page(self, query, u32 cursor, u32 limit):
        """Connections from one part of the table."""
        self._check_open()
        cdef lv_ctx_full *ctx = <lv_ctx_full *>self.ctx
        cdef lv_flow_query asked
        cdef lv_flow f
        cdef u32 end, now_ms = <u32>((time.monotonic_ns() // 1000000) & 0xFFFFFFFF)
        self.ask(query, &asked)
        names = {slot: name for name, slot in self.slots.items()}
        found = []
        end = ctx.table.capacity if cursor > ctx.table.capacity else min(ctx.table.capacity, cursor + PAGE_RECORDS)
        while cursor < end and len(found) < limit:
            f = ctx.table.flow[cursor]
            cursor += 1
            if lv_flow_asked(&asked, &f.key, &f.c):
                found.append(self.described(&f.key, &f.c, now_ms, names))
        return found, cursor if cursor < ctx.table.capacity else None

    cdef void ask(self, object query, lv_flow_query *asked) except *:
        """The question in C."""
        memset(asked, 0, sizeof(asked[0]))
        _put_range(query.client, asked.client_lo, asked.client_hi)
        _put_range(query.server, asked.server_lo, asked.server_hi)
        asked.port_lo, asked.port_hi = query.ports
        asked.service = -1 if query.service is None else self.slots.get(query.service, LV_SERVICES_MAX)
        for state in query.states or FLOW_STATES:
            asked.states |= 1 << FLOW_STATES.index(state)

    cdef dict described(self, const void *key, const void *conn, u32 now_ms, dict names):
        """One record, for Python."""
        cdef const lv_key *k = <const lv_key *>key
        cdef const lv_conn *c = <const lv_conn *>conn
        return {
            "client": (<const char *>k.client.b)[:16],
            "client_port": k.cport,
            "server": (<const char *>k.server.b)[:16],
            "server_port": k.sport,
            "vids": (k.vid[0], k.vid[1]),
            "state": FLOW_STATES[c.state],
            "service": names.get(c.service, ""),
            "age_ms": <u32>(now_ms - c.opened_ms),
            "idle_ms": max(0, <int>(now_ms - c.last_ms)),
        }

    def backends(self):
        """What is known of servers."""
        self._check_open()
        cdef lv_ctx_full *ctx = <lv_ctx_full *>self.ctx
        cdef lv_learned e
        cdef int i
        cdef u32 now_ms = <u32>((time.monotonic_ns() // 1000000) & 0xFFFFFFFF)
        found = []
        for i in range(LV_LEARNED_ENTRIES):
            e = ctx.learning.entry[i]
            if e.used and not e.sequence & 1:
                found.append({
                    "address": (<const char *>e.addr.b)[:16],
                    "port": e.port,
                    "mss": e.o.mss,
                    "wscale": e.o.wscale if e.known & 1 and e.o.wscale != LV_WSCALE_NONE else None,
                    "sack": bool(e.o.sack_ok),
                    "timestamps": bool(e.o.has_ts),
                    "ecn": bool(e.o.ecn),
                    "known": tuple(name for bit, name in enumerate(_KNOWN) if e.known >> bit & 1),
                    "window": e.window,
                    "age_ms": <u32>(now_ms - e.seen_ms),
                })
        return found

    def restore_backends(self, backends):
        """Put in what a file remembers of servers that are not known."""
        self._check_open()
        cdef lv_ctx_full *ctx = <lv_ctx_full *>self.ctx
        cdef u32 now_ms = <u32>((time.monotonic_ns() // 1000000) & 0xFFFFFFFF)
        cdef lv_learned e
        cdef int count = 0
        for one in backends:
            memset(&e, 0, sizeof(e))
            if len(one["address"]) != 16:
                raise ValueError("an address is 16 bytes")
            memcpy(e.addr.b, <const u8 *><bytes>one["address"], 16)
            e.port, e.window = one["port"], one["window"]
            e.o.mss = one["mss"]
            e.o.wscale = LV_WSCALE_NONE if one["wscale"] is None else one["wscale"]
            e.o.sack_ok, e.o.has_ts, e.o.ecn = one["sack"], one["timestamps"], one["ecn"]
            e.known = sum(1 << bit for bit, name in enumerate(_KNOWN) if name in one["known"])
            e.seen_ms = e.changed_ms = <u32>((now_ms - min(one["age_ms"], 0x7FFFFFFF)) & 0xFFFFFFFF)
            count += lv_learned_restore(&ctx.learning, &e, now_ms)
        return count

    def forget_backends(self, older_than_ms):
        """Forget servers that have not been heard for so long."""
        self._check_open()
        cdef lv_ctx_full *ctx = <lv_ctx_full *>self.ctx
        return lv_learned_forget(
            &ctx.learning, older_than_ms, <u32>((time.monotonic_ns() // 1000000) & 0xFFFFFFFF)
        )

    # ---- the test face: the same functions the engines call, without their sockets ----

    def packet(self, side, bytes frame not None, now_ms, *, realtime_s=1700000000, int worker=0, bint has_l2=True):
        """One Ethernet frame through the engine."""
        self._check_open()
        cdef lv_frame f
        cdef lv_worker *w
        cdef lv_verdict verdict
        cdef int header = 14
        if len(frame) < header:
            raise ValueError("an Ethernet frame has at least 14 bytes")
        memset(&f, 0, sizeof(f))
        f.proto = int.from_bytes(frame[12:14], "big")
        if f.proto in (0x8100, 0x88A8) and len(frame) >= 18:
            f.vlan_proto = f.proto
            f.vlan_tci = int.from_bytes(frame[14:16], "big")
            f.proto = int.from_bytes(frame[16:18], "big")
            header = 18
        f.len = len(frame) - header
        f.room = f.len
        f.side = _SIDES[side]
        f.has_l2 = has_l2
        memcpy(f.dst, <const u8 *>frame, 6)
        memcpy(f.src, <const u8 *>frame + 6, 6)
        # Of exactly the packet's size, so that memory checkers see a read behind its end.
        f.data = <u8 *>malloc(max(1, f.len))
        if f.data == NULL:
            raise MemoryError
        try:
            memcpy(f.data, <const u8 *>frame + header, f.len)
            w = self.worker(worker)
            self._clock(worker, now_ms, realtime_s)
            with nogil:
                lv_tap_before(w, &f)
                verdict = lv_engine_packet(w, &f)
                lv_tap_after(w, &f, verdict)
            return _VERDICTS[<int>verdict], frame[:header] + (<char *>f.data)[:f.len], self._take_output(worker)
        finally:
            free(f.data)

    def tick(self, now_ms, *, realtime_s=1700000000, int worker=0):
        """Timers of one worker."""
        cdef lv_worker *w
        self._check_open()
        w = self.worker(worker)
        self._clock(worker, now_ms, realtime_s)
        with nogil:
            lv_engine_tick(w)
        return self._take_output(worker)

    def _take_output(self, int worker):
        cdef lv_outq *q = &self.workers[worker].outq
        cdef u32 i
        lv_tap_output(self.workers[worker])
        sent = [
            (
                "outside" if q.slot[i].side == LV_OUTSIDE else "inside",
                "l2" if q.slot[i].layer == LV_L2 else "l3",
                (<char *>q.slot[i].data)[:q.slot[i].len],
            )
            for i in range(q.n)
        ]
        q.n = 0
        return sent

    # ---- the end ----

    def _check_open(self):
        if self.ctx == NULL:
            raise ValueError("the data plane is closed")

    def close(self):
        """Let go of the shared memory; a private one is gone, a file keeps the records for a successor."""
        self._free()
        if self.view is not None:
            self.view.release()
            self.shared.close()
            self.view = self.shared = None

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def __dealloc__(self):
        self._free()

    cdef void _free(self) noexcept:
        cdef lv_ctx_full *ctx = <lv_ctx_full *>self.ctx
        cdef int i, j
        for i in range(self.worker_count):
            worker = <lv_worker_full *>self.workers[i]
            for j in range(LV_SYN_STAGES):
                free(worker.syn_ring[j].timer)
            free(worker.count)
            free(worker.outq.memory)
            free(worker)
        self.worker_count = 0
        free(self.workers)
        self.workers = NULL
        for address in self.owned or ():
            free(<void *><size_t>address)
        self.owned = []
        for memory, _ in self.retired or ():
            _free_all(memory)
        self.retired = []
        for memory in (self.tables or {}).values():
            _free_all(memory)
        self.tables = {}
        self.current = NULL
        if ctx != NULL:
            free(ctx.hold.block)
            free(ctx.table.head)
            free(ctx)
        self.ctx = NULL


cdef void _free_all(memory) noexcept:
    for address in memory:
        free(<void *><size_t>address)


cdef void _put_address(u8 *to, object address) except *:
    """An address of 128 bits."""
    cdef bytes packed = address.to_bytes(16, "big")
    memcpy(to, <const u8 *>packed, 16)


cdef void _put_range(object span, u8 *lo, u8 *hi) except *:
    """Both ends of a range, None for all addresses, as 16 bytes each."""
    cdef bytes first = (span[0] if span else 0).to_bytes(16, "big")
    cdef bytes last = (span[1] if span else (1 << 128) - 1).to_bytes(16, "big")
    memcpy(lo, <const u8 *>first, 16)
    memcpy(hi, <const u8 *>last, 16)


def _as_counters(names, values):
    pairs = list(zip(names, values))
    return {"drops": dict(pairs[:LV_R_COUNT]), "events": dict(pairs[LV_R_COUNT:])}
