# cython: language_level=3
"""The nfqueue engine: a pinned thread for each pair of queues, which takes packets, asks the packet core, and answers.

Owns: the thread, its loop, and the translation of a queue message into the core's frame. Called by: the daemon.
Must not know: what a packet says (that is core/), how rules steer packets here.

Why a pair: SYNs have a queue of their own, so that what a flood of them fills is that queue and nothing else. More SYNs
than the box can answer then cost new connections a retransmission; open connections and clients in the middle of their
handshake lose nothing, because the thread takes up to as many of their packets as of SYNs in every turn.

One turn of the loop: receive up to RECV_BATCH packets of each queue, read the clock once, ask the core about each, run
the timers when they are due, send the core's own packets, send the verdicts, and wait only if no batch was full. SYNs
are received first and handled last: what a client sent before a SYN (the last ACK of the connection before, on the same
port) is then handled before it.

The core's packets leave BEFORE the verdicts. What the core sends of its own for a flow in one batch (the ACK that ends
the server's handshake, held data) belongs before what it rewrites of that flow later in that batch (the next data); the
other order would let data overtake the data held before it. The opposite case, a packet of ours made after a rewritten
one in the same direction of the same flow, is a reset or a probe for which TCP does not mind.

Errors that pass (no memory, no buffers, interface down) are counted by name and survived. One that does not, a socket
that cannot receive any more, ends the thread with `failure` set.
"""

import contextlib
import os
import signal
import threading

from libc.errno cimport EINTR, ENOBUFS, ENOMEM
from libc.string cimport memcpy
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec

from cext.errors import EngineError
from cext.queues import QueueStats, WorkerStats, kernel_queues

from cext.dataplane cimport (
    LV_DROP, LV_INSIDE, LV_L2, LV_OUTSIDE, LV_PASS, LV_REWRITE, Dataplane, lv_engine_judge, lv_engine_look,
    lv_engine_tick, lv_frame, lv_out, lv_outq_has_room, lv_tap_after, lv_tap_before, lv_tap_output, lv_verdict,
    lv_worker_clock,
)
from cext.linux cimport EFD_CLOEXEC, EFD_NONBLOCK, POLLIN, close, eventfd, poll, pollfd, read, u16, write
from cext.netlink cimport (
    BUFFER_BYTES, LV_NL_ERROR, LV_NL_MALFORMED, LV_NL_PACKET, RECV_BATCH, lv_nl_kind, lv_nl_read,
)

cdef extern from "<linux/netfilter.h>":
    enum:
        NF_DROP
        NF_ACCEPT
        NF_INET_LOCAL_OUT

cdef extern from "<linux/netfilter/nfnetlink_queue.h>":
    enum:
        NFQA_SKB_CSUMNOTREADY

cdef extern from "core/packet.h":
    void lv_checksum_complete(u8 *p, u32 len, u16 proto) nogil

cdef enum:
    # Answered SYNs that wait for their verdict while more come: see QueueSocket.flush_late(). From 64 to 256 they save
    # the same (a few per cent of the CPU time of an answer). At most a quarter of a short queue.
    SYNS_KEPT = 128
    # Timers are due this often; also how long a worker sleeps at most.
    TICK_MS = 10
    # Two calls for each interface, so once a second costs nothing.
    LOOKUP_MS = 1000
    # After an error that says the interface is gone: not with every packet.
    LOOKUP_AGAIN_MS = 50
    # stop() answers what is queued, but not for ever when the rules still bring more.
    DRAIN_MS = 500
    # Out of memory while receiving: the queue stays readable, so poll alone would spin.
    RETRY_MS = 1
    ETHERNET_BYTES = 14
    FIFO_PRIORITY = 1
    NICE = -10
    # Written behind a rewritten packet, so that the next verdict is aligned.
    PAD_BYTES = 3


cdef class QueueWorker:
    def __cinit__(
        self,
        Dataplane dataplane not None,
        *,
        int queue,
        int syn_queue,
        int index,
        str outside not None,
        str inside not None,
        str mode not None,
        int length=16384,
        str when_full="drop",
        unsigned int mark=0,
        cpu=None,
    ):
        self.event_fd = -1
        self.worker = NULL
        self.stopping = False
        self.lookup_wanted = False
        self.turn = 0
        self.waits = False
        if not (0 <= queue <= 0xFFFF and 0 <= syn_queue <= 0xFFFF and queue != syn_queue):
            raise ValueError("queue numbers are 0 to 65535, and two")
        if length < 1:
            raise ValueError("a queue holds at least one packet")
        if mode not in ("bridge", "routed", "host") or when_full not in ("drop", "pass"):
            raise ValueError("mode is bridge, routed or host, when_full is drop or pass")
        self.dataplane = dataplane
        self.index = index
        self.serves_itself = mode == "host"
        self.main_socket = QueueSocket()
        self.syn_socket = QueueSocket()
        self.senders = RawSenders()
        self.settings = {
            "queue": queue, "syn_queue": syn_queue, "outside": outside, "inside": inside, "mode": mode,
            "length": length, "when_full": when_full, "mark": mark, "cpu": cpu,
        }
        self.thread = None
        self.failure_text = None

    @property
    def running(self):
        return self.thread is not None and self.thread.is_alive()

    @property
    def failure(self):
        return self.failure_text

    def open(self):
        """Open the sockets and bind the queue. Raises EngineError."""
        if self.event_fd >= 0:
            raise RuntimeError("the worker is open")
        settings = self.settings
        self.syns_kept = <u32>min(SYNS_KEPT, settings["length"] // 4)
        self.worker = self.dataplane.worker(self.index)
        self.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.event_fd < 0:
            raise EngineError("cannot make an event descriptor", "raise the limit of open files (ulimit -n)")
        try:
            self.senders.open(
                settings["outside"], settings["inside"], settings["mode"] != "bridge", settings["mark"]
            )
            # Only in bridge mode unsegmented: see lv_nl_put_bind().
            for queue, number in ((self.main_socket, settings["queue"]), (self.syn_socket, settings["syn_queue"])):
                queue.open(number, settings["length"], settings["when_full"] == "pass", settings["mode"] == "bridge")
        except BaseException:
            self.close()
            raise

    def close(self):
        """Close everything; the kernel unbinds the queue. Not while the thread runs: that is stop()."""
        if self.running:
            raise RuntimeError("the worker runs; stop() it")
        self.main_socket.close()
        self.syn_socket.close()
        self.senders.close()
        if self.event_fd >= 0:
            close(self.event_fd)
        self.event_fd = -1

    def start(self):
        """Open if need be, and start the thread. Raises EngineError."""
        if self.thread is not None:
            raise RuntimeError("the worker has been started")
        if self.event_fd < 0:
            self.open()
        self.stopping = False
        self.failure_text = None
        self.thread = threading.Thread(
            target=self._run, name=f"levee-worker-{self.index}", daemon=True
        )
        self.thread.start()

    def stop(self):
        """Answer what is queued, end the thread, close. Safe to call twice."""
        if self.thread is not None:
            self.stopping = True
            self._wake()
            self.thread.join()
            self.thread = None
        self.close()

    def refresh_interfaces(self):
        """Have the thread look both interfaces up again."""
        self.lookup_wanted = True
        self._wake()

    def _wake(self):
        cdef u64 one = 1
        if self.event_fd >= 0:
            # EAGAIN would mean that the counter is full of wake-ups already.
            write(self.event_fd, &one, sizeof(one))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *unused):
        self.stop()

    def _run(self):
        cdef int failed
        # Signals are the main thread's.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        cpus = sorted(os.sched_getaffinity(0))
        if self.settings["cpu"] is None:
            self.settings["cpu"] = cpus[self.index % len(cpus)]
        try:
            os.sched_setaffinity(0, {self.settings["cpu"]})
        except OSError as error:
            self.failure_text = f"cannot run on CPU {self.settings['cpu']}: {error.strerror}"
            return
        # Before all programs, and before the kernel's threads that receive packets: who works on what has been received
        # goes before who receives more, else a flood leaves no time to answer it. A worker without packets sleeps, so
        # the others get what it leaves them. Without CAP_SYS_NICE it stays as it is.
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIFO_PRIORITY))
        except PermissionError:
            with contextlib.suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        with nogil:
            failed = self.serve()
        if failed:
            self.failure_text = f"worker {self.index}: receiving from a queue failed: {os.strerror(failed)}"

    # ---- the loop ----

    cdef int serve(self) noexcept nogil:
        """Returns 0 after stop(), or the errno with which receiving ended."""
        cdef u64 drain_until_ms = 0
        cdef int syns, got
        cdef bint ticked
        self.next_tick_ms = 0
        self.next_lookup_ms = 0
        while True:
            syns = self.syn_socket.receive()
            got = self.main_socket.receive()
            if syns < 0 and syns not in (-ENOMEM, -ENOBUFS, -EINTR):
                return -syns
            if got < 0 and got not in (-ENOMEM, -ENOBUFS, -EINTR):
                return -got
            self.read_clock()
            self.take_batch(self.main_socket, got)
            self.take_batch(self.syn_socket, syns)
            ticked = self.now_ms >= self.next_tick_ms
            if ticked:
                if not lv_outq_has_room(self.worker):
                    self.send_output()
                lv_engine_tick(self.worker)
                self.next_tick_ms = self.now_ms + TICK_MS
            self.send_output()
            self.main_socket.flush()
            if syns > 0 and not self.stopping:
                self.syn_socket.flush_late(self.syns_kept)
            elif ticked or self.stopping:
                self.syn_socket.flush()
            self.upkeep()
            if self.stopping:
                if drain_until_ms == 0:
                    drain_until_ms = self.now_ms + DRAIN_MS
                if (got == 0 and syns == 0) or self.now_ms >= drain_until_ms:
                    return 0
            elif got < RECV_BATCH and syns < RECV_BATCH:
                # A batch that is not full ended because the socket was empty.
                self.wait(got >= 0 and syns >= 0)

    cdef void read_clock(self) noexcept nogil:
        cdef timespec monotonic, real
        clock_gettime(CLOCK_MONOTONIC, &monotonic)
        clock_gettime(CLOCK_REALTIME, &real)
        self.now_ms = <u64>monotonic.tv_sec * 1000 + <u64>monotonic.tv_nsec // 1000000
        lv_worker_clock(self.worker, <u32>self.now_ms, <u64>real.tv_sec)

    cdef void upkeep(self) noexcept nogil:
        """Follow the interfaces: once a second, when asked, and soon after an error that says one is gone."""
        if self.now_ms < self.next_lookup_ms and not self.lookup_wanted:
            return
        self.lookup_wanted = False
        self.senders.refresh()
        self.next_lookup_ms = self.now_ms + (LOOKUP_AGAIN_MS if self.senders.stale else LOOKUP_MS)

    cdef void wait(self, bint can_receive) noexcept nogil:
        """Sleep until a packet, a wake-up or the next timer. A signal or error only ends the sleep early."""
        cdef pollfd fds[3]
        cdef u64 wakes
        cdef int timeout_ms = RETRY_MS
        if can_receive:
            timeout_ms = <int>(self.next_tick_ms - self.now_ms) if self.next_tick_ms > self.now_ms else 0
        fds[0].fd = self.event_fd
        fds[0].events = POLLIN
        fds[0].revents = 0
        fds[1].fd = self.main_socket.fd if can_receive else -1
        fds[1].events = POLLIN
        fds[1].revents = 0
        fds[2].fd = self.syn_socket.fd if can_receive else -1
        fds[2].events = POLLIN
        fds[2].revents = 0
        if poll(fds, 3, timeout_ms) > 0 and fds[0].revents:
            read(self.event_fd, &wakes, sizeof(wakes))

    cdef void take_batch(self, QueueSocket queue, int count) noexcept nogil:
        cdef int number
        queue.counts.batches += count > 0
        for number in range(count):
            self.take_datagram(queue, number)
        self.judge(queue)

    cdef void take_datagram(self, QueueSocket queue, int number) noexcept nogil:
        cdef lv_nl_packet packet
        cdef lv_nl_kind kind
        cdef u32 length, used
        cdef int has_id
        cdef u8 *data = queue.datagram(number, &length)
        cdef u8 *end = data + BUFFER_BYTES - PAD_BYTES
        if length == 0:
            queue.counts.malformed += 1
        while length:
            kind = lv_nl_read(&packet, data, length, &used, &has_id)
            if kind == LV_NL_PACKET:
                # Only the last message of a datagram may grow; the kernel sends one in each.
                self.look(queue, &packet, end if used == length else data + used - PAD_BYTES)
            elif kind == LV_NL_ERROR:
                queue.count_error(packet.error)
            elif kind == LV_NL_MALFORMED:
                queue.counts.malformed += 1
                if has_id:
                    self.judge(queue)  # ids must rise
                    queue.decide(packet.id, NF_DROP)
            data += used
            length -= used

    cdef void look(self, QueueSocket queue, lv_nl_packet *packet, u8 *end) noexcept nogil:
        """Look at a packet, and then judge the one before it: what this one needs comes from memory meanwhile."""
        cdef Arrived *now = &self.arrived[self.turn]
        cdef lv_frame *frame = &now.frame
        cdef int side = self.side_of(packet)
        queue.counts.received += 1
        if side < 0 or packet.cap_len:
            # Not from where the rules take packets, or cut off by the kernel (only above 65531 bytes).
            queue.counts.unknown_interface += side < 0
            queue.counts.truncated += packet.cap_len != 0
            queue.counts.verdicts[<int>LV_DROP] += 1
            self.judge(queue)
            queue.decide(packet.id, NF_DROP)
            return
        now.id = packet.id
        frame.data = packet.payload
        frame.len = packet.payload_len
        frame.room = <u32>(end - packet.payload)
        frame.proto = packet.proto
        frame.side = side
        frame.vlan_tci = packet.vlan_tci
        frame.vlan_proto = packet.vlan_proto
        frame.has_l2 = True
        if packet.skb_info & NFQA_SKB_CSUMNOTREADY:
            # What is changed leaves as if its checksum were complete.
            lv_checksum_complete(packet.payload, packet.payload_len, packet.proto)
        if packet.l2_len >= ETHERNET_BYTES:
            memcpy(frame.dst, packet.l2, 6)
            memcpy(frame.src, packet.l2 + 6, 6)
        elif packet.has_source and self.senders.links[side].is_ethernet:
            memcpy(frame.dst, self.senders.links[side].mac, 6)
            memcpy(frame.src, packet.source, 6)
        else:
            frame.has_l2 = False
        lv_engine_look(self.worker, frame, &now.arrival)
        self.judge(queue)
        self.turn ^= 1
        self.waits = True

    cdef void judge(self, QueueSocket queue) noexcept nogil:
        """The packet that was looked at last, if it has not been judged."""
        cdef Arrived *last = &self.arrived[self.turn ^ 1]
        cdef lv_verdict verdict
        if not self.waits:
            return
        self.waits = False
        if not lv_outq_has_room(self.worker):
            self.send_output()
        lv_tap_before(self.worker, &last.frame)
        verdict = lv_engine_judge(self.worker, &last.frame, &last.arrival)
        lv_tap_after(self.worker, &last.frame, verdict)
        queue.counts.verdicts[<int>verdict] += 1
        if verdict == LV_REWRITE:
            queue.rewrite(last.id, last.frame.data, last.frame.len)
        else:
            queue.decide(last.id, NF_ACCEPT if verdict == LV_PASS else NF_DROP)

    cdef int side_of(self, lv_nl_packet *packet) noexcept nogil:
        """The side whose interface it came in on, -1 for none. A port of a bridge goes before the bridge itself.

        What a router itself tells a server is about packets it could not send on to a client: that is from outside. A
        host's own packets are those of the servers.

        Called again after a lookup when no interface fits: it may have come back with another index.
        """
        cdef int side
        if packet.hook == NF_INET_LOCAL_OUT:
            return LV_INSIDE if self.serves_itself else LV_OUTSIDE
        for side in range(2):
            if packet.physindev and <int>packet.physindev == self.senders.links[side].ifindex:
                return side
        for side in range(2):
            if packet.indev and <int>packet.indev == self.senders.links[side].ifindex:
                return side
        self.senders.stale = True
        if self.next_lookup_ms > self.now_ms + LOOKUP_AGAIN_MS:
            self.next_lookup_ms = self.now_ms
        return -1

    cdef void send_output(self) noexcept nogil:
        """Send what the core made. Its bytes may be reused afterwards."""
        cdef u32 i
        cdef lv_out *out
        if self.worker.outq.n == 0:
            return
        lv_tap_output(self.worker)
        for i in range(self.worker.outq.n):
            out = &self.worker.outq.slot[i]
            if out.layer == LV_L2:
                self.senders.add_frame(out.side, out.data, out.len)
            else:
                self.senders.add_packet(out.data, out.len)
        self.senders.flush()
        self.worker.outq.n = 0
        if self.senders.stale and self.next_lookup_ms > self.now_ms + LOOKUP_AGAIN_MS:
            self.next_lookup_ms = self.now_ms

    def stats(self):
        """Counters since the worker was made, and the kernel's since open(): what was sent; each queue, SYNs second."""
        kernel = kernel_queues() or {}
        return WorkerStats(
            running=self.running,
            cpu=self.settings["cpu"],
            sent=self.senders.sent(),
            send_errors=self.senders.errors(),
            queues=(
                _queue_stats(self.main_socket, "connections", kernel.get(self.settings["queue"])),
                _queue_stats(self.syn_socket, "syns", kernel.get(self.settings["syn_queue"])),
            ),
        )


cdef object _queue_stats(QueueSocket queue, str carries, object kernel):
    return QueueStats(
        num=queue.queue,
        carries=carries,
        received=queue.counts.received,
        batches=queue.counts.batches,
        verdict_drop=queue.counts.verdicts[<int>LV_DROP],
        verdict_pass=queue.counts.verdicts[<int>LV_PASS],
        verdict_rewrite=queue.counts.verdicts[<int>LV_REWRITE],
        malformed=queue.counts.malformed,
        truncated=queue.counts.truncated,
        unknown_interface=queue.counts.unknown_interface,
        receive_errors=queue.receive_error_counts(),
        verdict_errors=queue.verdict_error_counts(),
        waiting=kernel and kernel["waiting"],
        dropped_queue_full=kernel and kernel["dropped_queue_full"],
        dropped_user=kernel and kernel["dropped_user"],
    )
