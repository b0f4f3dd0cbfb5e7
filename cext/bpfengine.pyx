# cython: language_level=3
"""The BPF engine: programs in the kernel answer and translate, one thread here does the handshakes.

Owns: the programs' life, the memory shared with them, the thread. Called by: the daemon. Must not know: what a packet
says (core/), how programs are loaded (bpf/loader.h), how flows are copied (bpf/kernelflows.h).

The thread: packets from the ring, then timers, then the sweep of the kernel's flow table, the keys and the heartbeat. A
daemon that is killed leaves programs, link and maps at work; the heartbeat in the map tells them that nobody is behind.
"""

import os
import signal
import socket
import threading
import time

from libc.errno cimport EBUSY, EINTR, ENOENT, errno
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove, memset, strerror
from posix.mman cimport munmap
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec

from cext.dataplane cimport (
    LV_DROP, Dataplane, lv_engine_tick, lv_flow_query, lv_frame, lv_out, lv_outq_has_room, lv_tap_after, lv_tap_before,
    lv_tap_output, lv_verdict, lv_worker, lv_worker_clock,
)
from cext.linux cimport u8, u16, u32, u64
from cext.rawsock cimport RawSenders

from cext.dataplane import DROP_REASONS, EVENTS
from cext.errors import EngineError

cdef extern from "<sys/epoll.h>" nogil:
    struct epoll_event:
        u32 events
    int epoll_wait(int fd, epoll_event *events, int count, int timeout_ms)

cdef extern from "bpf/loader.h" nogil:
    enum:
        LV_HANDOVER_GSO
        LV_REASONS_AND_EVENTS
        LV_LEARNED_ENTRIES
        LV_HANDOVER_COPY
        LV_HANDOVER_CATCH

    struct lv_sipkey:
        u64 k0
        u64 k1

    struct lv_bpf_config:
        u64 heartbeat_ns
        u64 late_ns
        u64 half_seed
        lv_sipkey source_key
        u32 half_sets_mask
        u32 source_sets_mask
        u32 ts_offset
        u32 offered_window
        u32 services
        u32 *ifindex
        u8 fail_open
        u8 pass_full
        u8 lists
        u8 listed
        u8 watches
        u8 logs

    struct lv_handover:
        u32 len
        u8 side
        u8 flags
        u16 vlan_proto
        u16 vlan_tci

    struct lv_half:
        pass

    struct lv_half_tags:
        pass

    struct lv_half_sets:
        pass

    struct lv_learned:
        pass

    struct lv_source_sets:
        pass

    struct lv_loader:
        u32 flows
        u32 half_sets
        u32 source_sets
        u32 replaced
        char *log

    struct lv_attachment:
        int link_fd
        int xdp_generic
        u8 clsact_made

    int lv_loader_open(
        lv_loader *l, const char *folder, const char *gate, const char *splice,
        u32 flows, u32 half_sets, u32 source_sets,
    )
    int lv_loader_attach(lv_loader *l, lv_attachment *a, int outside, int inside)
    int lv_loader_attached(const lv_loader *l, const lv_attachment *a)
    void lv_loader_remove(const char *folder, int forget)
    void lv_clsact_remove(int ifindex)
    void lv_loader_close(lv_loader *l)
    int lv_loader_map(const lv_loader *l, const char *name)
    void *lv_loader_mmap(int fd, size_t bytes)

cdef extern from "bpf/kernelflows.h" nogil:
    enum:
        LV_SWEEP_BATCH

    struct lv_key:
        pass

    struct lv_conn:
        pass

    struct lv_kernel_flows:
        int fd
        lv_worker *w
        u32 capacity
        u64 errors
        u32 used
        u32 passing
        lv_key *keys
        lv_conn *conns

    void lv_kernel_start(lv_kernel_flows *kf)
    lv_verdict lv_kernel_packet(lv_kernel_flows *kf, lv_frame *frame)
    void lv_kernel_learn(lv_kernel_flows *kf, const lv_frame *frame)
    void lv_kernel_catch(lv_kernel_flows *kf, const lv_frame *frame)
    void lv_kernel_sweep(lv_kernel_flows *kf)

cdef extern from "bpf/sharedstate.h" nogil:
    void lv_shared_adopt(
        lv_worker *w, lv_half *half, lv_half_tags *tags, u32 sets_mask, u64 seed, lv_learned *learned
    )
    void lv_shared_guards(lv_worker *w, void *map)
    size_t lv_shared_guards_bytes()
    void lv_shared_sources(lv_worker *w, void *map, u32 sets_mask, const lv_sipkey *key)
    void lv_shared_keys_take_all(lv_worker *w, void *map)
    void lv_shared_keys_follow(lv_worker *w, void *map)
    void lv_shared_let_go() nogil
    int lv_shared_services(const lv_worker *w, void *map, u32 which)
    int lv_shared_has_logs(const lv_worker *w)
    u32 lv_shared_lists(const lv_worker *w, void *map, u32 which)
    size_t lv_shared_lists_bytes()
    u32 lv_shared_offered_window(const lv_worker *w)
    u32 lv_shared_ts_offset(const lv_worker *w)
    size_t lv_shared_services_bytes()
    size_t lv_shared_keys_bytes()

cdef extern from "<bpf/libbpf.h>" nogil:
    struct ring_buffer:
        pass
    ctypedef int (*ring_buffer_sample_fn)(void *ctx, void *data, size_t size) noexcept nogil
    ring_buffer *ring_buffer__new(int fd, ring_buffer_sample_fn callback, void *ctx, const void *options)
    void ring_buffer__free(ring_buffer *ring)
    int ring_buffer__epoll_fd(const ring_buffer *ring)
    int ring_buffer__consume(ring_buffer *ring)
    int libbpf_num_possible_cpus()

cdef extern from "<bpf/bpf.h>" nogil:
    int bpf_map_lookup_elem(int fd, const void *key, void *value)
    int bpf_map_lookup_batch(int fd, void *from_, void *next, void *keys, void *values, u32 *count, const void *options)

cdef extern from "core/flowquery.h" nogil:
    bint lv_flow_asked(const lv_flow_query *q, const lv_key *key, const lv_conn *c)

cdef extern from "<sys/mman.h>" nogil:
    void *MAP_FAILED

cdef enum:
    TICK_MS = 10
    LOOKUP_MS = 1000
    # The clock is read again after so many packets of one turn, and what they made is sent.
    PACKETS_A_CLOCK = 64
    # In front of a frame, so that a tag which came out of band can be put back.
    TAG_BYTES = 4
    ETHERNET_BYTES = 14
    PAGE_BATCHES = 64  # of LV_SWEEP_BATCH records, looked at for one page of flow_page()


cdef int on_handover(void *engine, void *data, size_t size) noexcept nogil:
    (<BpfEngine>engine).take(<lv_handover *>data, size)
    return 0


cdef class BpfEngine:
    cdef Dataplane dataplane
    cdef lv_worker *worker
    cdef lv_loader loader
    cdef lv_attachment attachment
    cdef lv_kernel_flows flows
    cdef RawSenders senders
    cdef ring_buffer *ring
    cdef lv_bpf_config *settings
    cdef void *keys
    cdef void *services
    cdef void *lists
    cdef void *halves
    cdef void *tags
    cdef void *learned
    cdef u8 *buffer
    cdef bint opened
    cdef bint stopping
    cdef u64 now_ms
    cdef u64 next_tick_ms
    cdef u64 next_lookup_ms
    cdef u32 since_clock
    cdef u64 handovers
    cdef u64 malformed
    cdef u64 verdicts[3]
    cdef object arguments
    cdef object thread
    cdef object failure_text
    cdef readonly int taken_up

    def __cinit__(
        self,
        Dataplane dataplane not None,
        *,
        str outside not None,
        str inside not None,
        str pin_folder not None,
        bint fail_open=False,
        int heartbeat_late_ms=2000,
    ):
        memset(&self.loader, 0, sizeof(self.loader))
        memset(&self.attachment, 0, sizeof(self.attachment))
        memset(&self.flows, 0, sizeof(self.flows))
        memset(self.verdicts, 0, sizeof(self.verdicts))
        self.attachment.link_fd = -1
        self.ring = NULL
        self.settings = NULL
        self.keys = self.services = self.lists = self.halves = self.tags = self.learned = NULL
        self.buffer = NULL
        self.dataplane = dataplane
        self.worker = dataplane.worker(0)
        self.senders = RawSenders()
        self.arguments = (outside, inside, pin_folder, fail_open, heartbeat_late_ms)
        self.thread = None
        self.failure_text = None

    def __dealloc__(self):
        self._free()

    @property
    def running(self):
        return self.thread is not None and self.thread.is_alive()

    @property
    def failure(self):
        return self.failure_text

    # ---- open, attach, let go ----

    def open(self):
        """Load (or take up) maps and programs."""
        outside, inside, pin_folder, fail_open, late_ms = self.arguments
        cdef int error
        if self.opened:
            raise RuntimeError("the engine is open")
        self.senders.open(outside, inside, False, 0)
        here = os.path.join(os.path.dirname(__file__), "bpf")
        error = lv_loader_open(
            &self.loader,
            os.fsencode(pin_folder),
            os.fsencode(os.path.join(here, "gate.bpf.o")),
            os.fsencode(os.path.join(here, "splice.bpf.o")),
            self.dataplane.config.flows,
            self.dataplane.half_entries // 4,
            self.dataplane.source_entries // 4,
        )
        self.opened = True
        if error:
            said = self._log()
            self.close()
            raise EngineError(f"the BPF programs cannot be loaded: {_text(error)}", said or "see the kernel's log")
        self.share(late_ms, fail_open)

    cdef void share(self, int late_ms, bint fail_open) except *:
        """Map the memory that the programs use, and make the data plane use it too."""
        self.settings = <lv_bpf_config *>self._map(b"lv_config", sizeof(lv_bpf_config))
        self.keys = self._map(b"lv_keys", lv_shared_keys_bytes())
        self.services = self._map(b"lv_service_tables", 2 * lv_shared_services_bytes())
        self.lists = self._map(b"lv_list_tables", 2 * lv_shared_lists_bytes())
        self.halves = self._map(b"lv_halfopen", <size_t>self.loader.half_sets * sizeof(lv_half_sets))
        self.tags = self._map(b"lv_half_tags", <size_t>self.loader.half_sets * sizeof(lv_half_tags))
        self.learned = self._map(b"lv_learned", LV_LEARNED_ENTRIES * sizeof(lv_learned))
        if self.settings.half_seed == 0:  # new maps: not a predecessor's
            self.settings.half_seed = int.from_bytes(os.urandom(8), "little") | 1
            self.settings.ts_offset = lv_shared_ts_offset(self.worker)
            self.settings.source_key.k0 = int.from_bytes(os.urandom(8), "little")
            self.settings.source_key.k1 = int.from_bytes(os.urandom(8), "little")
        self.settings.half_sets_mask = self.loader.half_sets - 1
        self.settings.source_sets_mask = self.loader.source_sets - 1
        self.settings.offered_window = lv_shared_offered_window(self.worker)
        self.settings.late_ns = <u64>late_ms * 1000000
        self.settings.fail_open = fail_open
        lv_shared_adopt(
            self.worker, <lv_half *>self.halves, <lv_half_tags *>self.tags, self.loader.half_sets - 1,
            self.settings.half_seed, <lv_learned *>self.learned,
        )
        lv_shared_guards(self.worker, self._map(b"lv_guards", lv_shared_guards_bytes()))
        lv_shared_sources(
            self.worker,
            self._map(b"lv_sources", <size_t>self.loader.source_sets * sizeof(lv_source_sets)),
            self.loader.source_sets - 1,
            &self.settings.source_key,
        )
        lv_shared_keys_take_all(self.worker, self.keys)
        self.buffer = <u8 *>calloc(1, TAG_BYTES + LV_HANDOVER_GSO)
        self.flows.keys = <lv_key *>calloc(LV_SWEEP_BATCH, sizeof(lv_key))
        self.flows.conns = <lv_conn *>calloc(LV_SWEEP_BATCH, sizeof(lv_conn))
        if self.buffer == NULL or self.flows.keys == NULL or self.flows.conns == NULL:
            raise MemoryError
        self.flows.fd = lv_loader_map(&self.loader, b"lv_flows")
        self.flows.w = self.worker
        self.flows.capacity = self.loader.flows
        lv_kernel_start(&self.flows)
        self.taken_up = self.flows.used
        self.ring = ring_buffer__new(lv_loader_map(&self.loader, b"lv_handovers"), on_handover, <void *>self, NULL)
        if self.ring == NULL:
            raise EngineError("the ring buffer cannot be read", "Linux 5.8 or newer is needed")
        self.publish_services()
        self.publish_lists()

    cdef void *_map(self, bytes name, size_t size) except NULL:
        cdef void *memory = lv_loader_mmap(lv_loader_map(&self.loader, name), size)
        if memory == MAP_FAILED:
            raise EngineError(f"the BPF map {name.decode()} cannot be mapped", "Linux 5.5 or newer is needed")
        return memory

    def publish_services(self):
        """Hand the data plane's services to the programs: into the table that is not in use, then swap."""
        cdef u32 other = (self.settings.services ^ 1) & 1
        with nogil:
            lv_shared_let_go()
        if lv_shared_services(self.worker, self.services, other):
            self.settings.watches = True  # for good: a handshake may be on its way when the last such service goes
        self.settings.services = other
        self.settings.logs = lv_shared_has_logs(self.worker)

    def publish_lists(self):
        """The same for the data plane's lists of sources."""
        cdef u32 other = (self.settings.lists ^ 1) & 1
        cdef u32 count
        with nogil:
            lv_shared_let_go()
        count = lv_shared_lists(self.worker, self.lists, other)
        self.settings.lists = other
        self.settings.listed = count > 0

    def start(self):
        """Attach the programs and start the thread."""
        if self.thread is not None:
            raise RuntimeError("the engine has been started")
        if not self.opened:
            self.open()
        self.read_clock()
        lv_shared_keys_follow(self.worker, self.keys)  # an epoch may have begun since open()
        self.beat()
        try:
            self.attach()
        except EngineError:
            self.close()
            raise
        self.stopping = False
        self.failure_text = None
        self.thread = threading.Thread(target=self._run, name="levee-handshake", daemon=True)
        self.thread.start()

    def attach(self):
        """Put the programs on both interfaces, in the place of a predecessor's; or back on them."""
        cdef int error
        cdef int outside = _index(self.arguments[0])
        cdef int inside = _index(self.arguments[1])
        self.settings.ifindex[0], self.settings.ifindex[1] = outside, inside
        error = lv_loader_attach(&self.loader, &self.attachment, outside, inside)
        if error == -EBUSY:
            hint = f"another XDP program is on {self.arguments[0]}: see `ip link show {self.arguments[0]}`"
            raise EngineError(f"the BPF programs cannot be attached: {_text(error)}", hint)
        if error:
            hint = self._log() or "see the kernel's log"
            raise EngineError(f"the BPF programs cannot be attached: {_text(error)}", hint)

    def stop(self, *, bint detach, bint forget=False):
        """End the thread; take the programs off and forget the flows if asked."""
        self.stopping = True
        if self.thread is not None:
            self.thread.join()
            self.thread = None
        made = self.clsact_made
        self.close()
        if detach:
            remove_programs(self.arguments[2], forget=forget, clsact=made)

    def close(self):
        """Let go of everything; what is attached and pinned stays."""
        if self.running:
            raise RuntimeError("the engine runs; stop() it")
        self.senders.close()
        self._free()

    def _free(self):
        if self.ring != NULL:
            ring_buffer__free(self.ring)
        self.ring = NULL
        self._unmap()
        free(self.buffer)
        free(self.flows.keys)
        free(self.flows.conns)
        self.buffer = NULL
        self.flows.keys = NULL
        self.flows.conns = NULL
        if self.opened:
            lv_loader_close(&self.loader)
        self.opened = False
        if self.attachment.link_fd >= 0:
            os.close(self.attachment.link_fd)
        memset(&self.attachment, 0, sizeof(self.attachment))
        self.attachment.link_fd = -1

    def _unmap(self):
        # The data plane goes on to use the half-open and learned entries, the guards and the sources: those stay mapped
        # until the process ends.
        if self.settings != NULL:
            munmap(self.settings, sizeof(lv_bpf_config))
        if self.keys != NULL:
            munmap(self.keys, lv_shared_keys_bytes())
        if self.services != NULL:
            munmap(self.services, 2 * lv_shared_services_bytes())
        if self.lists != NULL:
            munmap(self.lists, 2 * lv_shared_lists_bytes())
        self.settings = NULL
        self.keys = self.services = self.lists = NULL

    def _log(self):
        """The last lines libbpf said."""
        lines = (<bytes>self.loader.log).decode(errors="replace").strip().splitlines()
        return " / ".join(lines[-4:])

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *unused):
        self.stop(detach=True, forget=True)

    # ---- the thread ----

    def _run(self):
        cdef int failed
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        with nogil:
            failed = self.serve()
        if failed:
            self.failure_text = f"reading the ring buffer failed: {_text(failed)}"

    cdef int serve(self) noexcept nogil:
        """0 after stop(), or the negative errno with which reading ended."""
        cdef int waiting_fd = ring_buffer__epoll_fd(self.ring)
        cdef int got
        cdef epoll_event event
        self.next_tick_ms = 0
        self.next_lookup_ms = 0
        while not self.stopping:
            if epoll_wait(waiting_fd, &event, 1, TICK_MS) < 0 and errno != EINTR:
                return -errno
            self.read_clock()
            got = ring_buffer__consume(self.ring)
            if got < 0:
                return got
            if self.since_clock:
                self.read_clock()
            if self.now_ms >= self.next_tick_ms:
                self.tick()
            self.send_output()
        return 0

    cdef void read_clock(self) noexcept nogil:
        cdef timespec monotonic, real
        clock_gettime(CLOCK_MONOTONIC, &monotonic)
        clock_gettime(CLOCK_REALTIME, &real)
        self.now_ms = <u64>monotonic.tv_sec * 1000 + <u64>monotonic.tv_nsec // 1000000
        self.since_clock = 0
        lv_worker_clock(self.worker, <u32>self.now_ms, <u64>real.tv_sec)

    cdef void beat(self) noexcept nogil:
        cdef timespec now
        clock_gettime(CLOCK_MONOTONIC, &now)
        self.settings.heartbeat_ns = <u64>now.tv_sec * 1000000000 + <u64>now.tv_nsec

    cdef void tick(self) noexcept nogil:
        self.next_tick_ms = self.now_ms + TICK_MS
        self.beat()
        lv_shared_keys_follow(self.worker, self.keys)
        if not lv_outq_has_room(self.worker):
            self.send_output()
        lv_engine_tick(self.worker)
        lv_kernel_sweep(&self.flows)
        self.settings.pass_full = self.flows.passing > self.loader.flows // 2
        if self.now_ms >= self.next_lookup_ms:
            self.senders.refresh()
            self.next_lookup_ms = self.now_ms + LOOKUP_MS

    cdef void take(self, lv_handover *h, size_t size) noexcept nogil:
        cdef lv_frame frame
        cdef lv_verdict verdict
        cdef u8 *start = self.buffer + TAG_BYTES
        self.handovers += 1
        if h.len < ETHERNET_BYTES or h.len + sizeof(lv_handover) > size:
            self.malformed += 1
            return
        self.since_clock += 1
        if self.since_clock >= PACKETS_A_CLOCK:
            self.send_output()
            self.read_clock()
            if self.now_ms >= self.next_tick_ms:
                self.tick()
        memcpy(start, h + 1, h.len)
        frame.data = start + ETHERNET_BYTES
        frame.len = h.len - ETHERNET_BYTES
        frame.room = frame.len
        frame.proto = <u16>(start[12] << 8 | start[13])
        frame.side = h.side
        frame.has_l2 = 1
        memcpy(frame.dst, start, 6)
        memcpy(frame.src, start + 6, 6)
        frame.vlan_proto = h.vlan_proto
        frame.vlan_tci = h.vlan_tci
        if h.flags & LV_HANDOVER_COPY:
            lv_kernel_learn(&self.flows, &frame)
            return
        if h.flags & LV_HANDOVER_CATCH:
            lv_kernel_catch(&self.flows, &frame)
            return
        if not lv_outq_has_room(self.worker):
            self.send_output()
        lv_tap_before(self.worker, &frame)
        verdict = lv_kernel_packet(&self.flows, &frame)
        lv_tap_after(self.worker, &frame, verdict)
        self.verdicts[<int>verdict] += 1
        if verdict != LV_DROP:
            self.send_on(&frame, start)

    cdef void send_on(self, lv_frame *frame, u8 *start) noexcept nogil:
        """Send a packet that may go on out of the other NIC, with the tag that came out of band put back."""
        cdef u32 length = ETHERNET_BYTES + frame.len
        if frame.vlan_proto:
            memmove(start - TAG_BYTES, start, 12)
            start -= TAG_BYTES
            length += TAG_BYTES
            start[12] = <u8>(frame.vlan_proto >> 8)
            start[13] = <u8>frame.vlan_proto
            start[14] = <u8>(frame.vlan_tci >> 8)
            start[15] = <u8>frame.vlan_tci
        self.send_output()
        self.senders.add_frame(frame.side ^ 1, start, length)
        self.senders.flush()

    cdef void send_output(self) noexcept nogil:
        cdef u32 i
        cdef lv_out *out
        lv_tap_output(self.worker)
        for i in range(self.worker.outq.n):
            out = &self.worker.outq.slot[i]
            self.senders.add_frame(out.side, out.data, out.len)
        if self.worker.outq.n:
            self.senders.flush()
        self.worker.outq.n = 0

    # ---- looking in ----

    def counters(self):
        """The data plane's and the programs' together."""
        cdef u64 *values = <u64 *>calloc(libbpf_num_possible_cpus(), LV_REASONS_AND_EVENTS * sizeof(u64))
        if values == NULL:
            raise MemoryError
        try:
            both = self.dataplane.counters()
            names = [*DROP_REASONS, *EVENTS]
            for name, slot in [("", 0), *self.dataplane.slots.items()]:
                kernel = self._kernel_counters(slot, values)
                if not any(kernel):
                    continue
                for group in [both["total"], *([both["services"][name]] if name else [])]:
                    for i, value in enumerate(kernel):
                        group["drops" if i < len(DROP_REASONS) else "events"][names[i]] += value
            return both
        finally:
            free(values)

    cdef list _kernel_counters(self, u32 slot, u64 *values):
        cdef int cpu, i
        cdef int cpus = libbpf_num_possible_cpus()
        cdef u64 value
        cdef list total = []
        if bpf_map_lookup_elem(lv_loader_map(&self.loader, b"lv_counts"), &slot, values):
            return total
        for i in range(LV_REASONS_AND_EVENTS):
            value = 0
            for cpu in range(cpus):
                value += values[cpu * LV_REASONS_AND_EVENTS + i]
            total.append(value)
        return total

    def occupancy(self):
        """As the data plane's, with the flows in the kernel: as the last whole sweep found them."""
        found = self.dataplane.occupancy()
        found["flows_used"] = self.flows.used
        found["flows_capacity"] = self.loader.flows
        found["half_open_capacity"] = self.loader.half_sets * 4
        found["sources_capacity"] = self.loader.source_sets * 4
        return found

    def flow_page(self, query, u32 cursor, u32 limit):
        """Connections from one part of the kernel's table."""
        cdef lv_flow_query asked
        cdef u32 next_cursor = 0, count, i, now_ms = <u32>(time.monotonic_ns() // 1000000 & 0xFFFFFFFF)
        cdef lv_key *keys = <lv_key *>calloc(LV_SWEEP_BATCH, sizeof(lv_key))
        cdef lv_conn *conns = <lv_conn *>calloc(LV_SWEEP_BATCH, sizeof(lv_conn))
        cdef int _turn, failed = 0
        found = []
        try:
            if keys == NULL or conns == NULL:
                raise MemoryError
            self.dataplane.ask(query, &asked)
            names = {slot: name for name, slot in self.dataplane.slots.items()}
            for _turn in range(PAGE_BATCHES):
                if failed or len(found) >= limit:
                    break
                count = LV_SWEEP_BATCH
                failed = bpf_map_lookup_batch(
                    self.flows.fd, &cursor if cursor else NULL, &next_cursor, keys, conns, &count, NULL
                )
                if failed and errno != ENOENT:
                    raise EngineError(f"the kernel's flow table cannot be read: {_text(errno)}", "see the kernel's log")
                for i in range(count):
                    if lv_flow_asked(&asked, &keys[i], &conns[i]):
                        found.append(self.dataplane.described(&keys[i], &conns[i], now_ms, names))
                cursor = next_cursor
            return found, None if failed else cursor
        finally:
            free(keys)
            free(conns)

    def map(self, str name not None):
        """Descriptor of a map that the programs use."""
        cdef int fd = lv_loader_map(&self.loader, name.encode())
        if not self.opened or fd < 0:
            raise KeyError(name)
        return fd

    def attached(self):
        """Whether the programs are still on both interfaces."""
        return self.opened and bool(lv_loader_attached(&self.loader, &self.attachment))

    @property
    def clsact_made(self):
        return tuple(self.arguments[side] for side in range(2) if self.attachment.clsact_made & 1 << side)

    @property
    def replaced(self):
        return self.loader.replaced

    def stats(self):
        """Counters since start()."""
        return {
            "attached": "generic" if self.attachment.xdp_generic else "native",
            "handovers": self.handovers,
            "malformed": self.malformed,
            "verdict_drop": self.verdicts[0],
            "verdict_pass": self.verdicts[1],
            "verdict_rewrite": self.verdicts[2],
            "map_errors": self.flows.errors,
            "sent": self.senders.sent(),
            "send_errors": self.senders.errors(),
        }


def remove_programs(str pin_folder not None, *, bint forget, clsact=()):
    """Take the programs off every interface, whoever put them there; the maps too, to forget all connections.

    clsact: interfaces on which it was made for the filters; it goes too, if nobody else has filters there.
    """
    lv_loader_remove(os.fsencode(pin_folder), forget)
    for index, name in socket.if_nameindex():
        if name in clsact:
            lv_clsact_remove(index)


cdef int _index(str name) except -1:
    try:
        return socket.if_nametoindex(name)
    except OSError as cause:
        raise EngineError(f"{name}: there is no such interface", "see `ip link`") from cause


def _text(int error):
    return (<bytes>strerror(-error if error < 0 else error)).decode()
