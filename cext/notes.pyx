# cython: language_level=3
"""Notes for the log of a service: taken out of the rings of the workers and of the programs.

Owns: the rings' reader. Called by: the engines of the appliance, tests; by one thread. Must not know: words, the log.
Written to is by workers (core/noting.h) and by programs (bpf/note.h), which never wait.
"""

from dataclasses import dataclass


from cext.dataplane cimport Dataplane, lv_worker
from cext.linux cimport u8, u16, u32

from cext.dataplane import DROP_REASONS, EVENTS
from cext.errors import EngineError

cdef extern from "<stdlib.h>" nogil:
    void *calloc(size_t count, size_t size)

cdef extern from "core/noting.h" nogil:
    enum:
        LV_NOTED_OPENED
        LV_OUTSIDE

    struct lv_address "lv_addr":
        u8 *b

    struct lv_note:
        lv_address src
        lv_address dst
        u16 sport
        u16 dport
        u16 service
        u16 *vid
        u8 noted
        u8 why
        u8 side
        u8 flags

    struct lv_notes:
        u32 head

    int lv_note_take(lv_notes *notes, lv_note *out)

cdef extern from * nogil:
    """
    static void lv_notes_publish(struct lv_worker *w, struct lv_notes *notes)
    {
        __atomic_store_n(&w->notes, notes, __ATOMIC_RELEASE);
    }
    """
    void lv_notes_publish(lv_worker *w, lv_notes *notes)

cdef extern from "<bpf/libbpf.h>":
    struct ring_buffer:
        pass
    ctypedef int (*ring_buffer_sample_fn)(void *ctx, void *data, size_t size) noexcept
    ring_buffer *ring_buffer__new(int fd, ring_buffer_sample_fn callback, void *ctx, const void *options)
    void ring_buffer__free(ring_buffer *ring)
    int ring_buffer__consume(ring_buffer *ring)

_WHY = (*DROP_REASONS, *EVENTS)


@dataclass(frozen=True, slots=True)
class Note:
    service: str
    opened: bool
    why: str
    outside: bool
    source: bytes
    source_port: int
    destination: bytes
    destination_port: int
    vlans: tuple[int, ...]
    flags: int


def memory_bytes(int workers):
    """Bytes of the rings."""
    return workers * sizeof(lv_notes)


cdef int on_note(void *notes, void *data, size_t size) noexcept:
    if size >= sizeof(lv_note):
        (<Notes>notes).keep(<lv_note *>data)
    return 0


cdef class Notes:
    cdef Dataplane dataplane
    cdef lv_notes **rings
    cdef ring_buffer *ring
    cdef list found

    def __cinit__(self, Dataplane dataplane not None, *, int ring_map=-1):
        cdef int i
        self.dataplane = dataplane
        self.rings = NULL
        self.ring = NULL
        self.found = []
        # They belong to the data plane: a worker may be in one.
        self.rings = <lv_notes **>calloc(dataplane.worker_count, sizeof(lv_notes *))
        if self.rings == NULL:
            raise MemoryError
        dataplane.owned.append(<size_t>self.rings)
        for i in range(dataplane.worker_count):
            self.rings[i] = <lv_notes *>calloc(1, sizeof(lv_notes))
            if self.rings[i] == NULL:
                raise MemoryError
            dataplane.owned.append(<size_t>self.rings[i])
            lv_notes_publish(dataplane.workers[i], self.rings[i])
        if ring_map < 0:
            return
        self.ring = ring_buffer__new(ring_map, on_note, <void *>self, NULL)
        if self.ring == NULL:
            raise EngineError("the ring of notes cannot be read", "Linux 5.8 or newer is needed")
        self.take()  # a predecessor's are of services with other numbers

    def take(self):
        """Notes that wait, those of one worker or program in their order."""
        cdef lv_note note
        cdef int i
        self.found = []
        if self.ring != NULL:
            ring_buffer__consume(self.ring)
        if self.dataplane.ctx != NULL:
            for i in range(self.dataplane.worker_count):
                while lv_note_take(self.rings[i], &note):
                    self.keep(&note)
        found, self.found = self.found, []
        return self._named(found) if found else []

    def _named(self, found):
        names = {number: name for name, number in self.dataplane.slots.items()}
        return [
            Note(names[number], *rest) for number, *rest in found if number in names  # its service may be gone by now
        ]

    def close(self):
        """Take no more. The workers' rings are freed with the data plane."""
        cdef int i
        if self.dataplane.ctx != NULL:
            for i in range(self.dataplane.worker_count):
                lv_notes_publish(self.dataplane.workers[i], NULL)
        self._free()

    def __dealloc__(self):
        self._free()

    def _free(self):
        if self.ring != NULL:
            ring_buffer__free(self.ring)
        self.ring = NULL

    cdef void keep(self, const lv_note *note) noexcept:
        cdef int why = note.why
        if why >= len(_WHY):
            return
        self.found.append((
            note.service,
            note.noted == LV_NOTED_OPENED,
            _WHY[why],
            note.side == LV_OUTSIDE,
            (<const char *>note.src.b)[:16],
            note.sport,
            (<const char *>note.dst.b)[:16],
            note.dport,
            tuple(vid for vid in (note.vid[0], note.vid[1]) if vid),
            note.flags,
        ))
