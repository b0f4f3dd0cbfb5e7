"""The few calls of libbpf that the tests need, over ctypes: load an object beside pinned maps, run a program.

Owns file descriptors of the objects it loads. Called by kernelbox.py and the tests. Must not know what a
program does. ctypes keeps all of this out of the product, which attaches its programs and never runs them by hand.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import struct
from ctypes import c_char_p, c_int, c_size_t, c_uint32, c_void_p
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_LOG_BYTES = 1 << 20
_LOG_STATS = 4  # BPF_LOG_STATS, linux/bpf_verifier.h
_OUT_BYTES = 1 << 16
_STATS = re.compile(
    r"processed (?P<instructions>\d+) insns \(limit \d+\) max_states_per_insn \d+ "
    r"total_states (?P<states>\d+) peak_states (?P<peak_states>\d+)"
)
_STACK = re.compile(r"stack depth ([\d+]+)")


class _RunOptions(ctypes.Structure):
    """struct bpf_test_run_opts, bpf/bpf.h."""

    _fields_ = (
        ("sz", c_size_t),
        ("data_in", c_char_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_char_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


def _library() -> ctypes.CDLL:
    lib = ctypes.CDLL("libbpf.so.1", use_errno=True)
    pointers = ("bpf_object__open_file", "bpf_object__next_map", "bpf_object__find_program_by_name")
    for name in pointers:
        getattr(lib, name).restype = c_void_p
    lib.bpf_map__name.restype = c_char_p
    lib.bpf_map__name.argtypes = [c_void_p]
    lib.bpf_object__open_file.argtypes = [c_char_p, c_void_p]
    lib.bpf_object__next_map.argtypes = [c_void_p, c_void_p]
    lib.bpf_object__find_program_by_name.argtypes = [c_void_p, c_char_p]
    lib.bpf_object__load.argtypes = [c_void_p]
    lib.bpf_object__close.argtypes = [c_void_p]
    lib.bpf_object__close.restype = None
    lib.bpf_map__reuse_fd.argtypes = [c_void_p, c_int]
    lib.bpf_program__fd.argtypes = [c_void_p]
    lib.bpf_program__set_log_level.argtypes = [c_void_p, c_uint32]
    lib.bpf_program__set_log_buf.argtypes = [c_void_p, c_void_p, c_size_t]
    lib.bpf_obj_get.argtypes = [c_char_p]
    lib.bpf_prog_test_run_opts.argtypes = [c_int, c_void_p]
    return lib


_LIB = _library()


def _checked(value: int, what: str) -> int:
    if value < 0:
        number = -value if value < -1 else ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return value


@dataclass(frozen=True)
class VerifierStats:
    """What the verifier says of one program: instructions it walked, states it kept, bytes of stack by frame."""

    program: str
    instructions: int
    states: int
    peak_states: int
    stack_bytes: str


class Program:
    """A loaded program. Valid as long as its Loaded is."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._out = ctypes.create_string_buffer(_OUT_BYTES)

    def run(self, frame: bytes) -> tuple[int, bytes]:
        """The program's return value for a frame, and the frame as it left the program."""
        options = _RunOptions(
            sz=ctypes.sizeof(_RunOptions),
            data_in=frame,
            data_size_in=len(frame),
            data_out=ctypes.addressof(self._out),
            data_size_out=_OUT_BYTES,
            repeat=1,
        )
        _checked(_LIB.bpf_prog_test_run_opts(self._fd, ctypes.byref(options)), "BPF_PROG_RUN")
        return options.retval, self._out.raw[: options.data_size_out]


class Loaded:
    """Programs of one object file, on the maps that are pinned in a folder where there are any of the same name."""

    def __init__(self, file: Path, programs: tuple[str, ...], pins: Path) -> None:
        self._object = _LIB.bpf_object__open_file(os.fsencode(file), None)
        if not self._object:
            raise OSError(ctypes.get_errno(), f"{file}: {os.strerror(ctypes.get_errno())}")
        self._logs: dict[str, ctypes.Array[ctypes.c_char]] = {}
        try:
            self._reuse(pins)
            found = {name: _LIB.bpf_object__find_program_by_name(self._object, name.encode()) for name in programs}
            for name, program in found.items():
                self._logs[name] = ctypes.create_string_buffer(_LOG_BYTES)
                _checked(_LIB.bpf_program__set_log_level(program, _LOG_STATS), "bpf_program__set_log_level")
                _checked(
                    _LIB.bpf_program__set_log_buf(program, ctypes.addressof(self._logs[name]), _LOG_BYTES),
                    "bpf_program__set_log_buf",
                )
            _checked(_LIB.bpf_object__load(self._object), f"loading {file.name}")
            self.programs = {name: Program(_LIB.bpf_program__fd(program)) for name, program in found.items()}
        except BaseException:
            self.close()
            raise

    def _reuse(self, pins: Path) -> None:
        pinned = {pin.name: pin for pin in pins.iterdir()}
        one = None
        while one := _LIB.bpf_object__next_map(self._object, one):
            pin = pinned.get(_LIB.bpf_map__name(one).decode())
            if not pin:
                continue
            fd = _checked(_LIB.bpf_obj_get(os.fsencode(pin)), str(pin))
            try:
                _checked(_LIB.bpf_map__reuse_fd(one, fd), f"reusing {pin}")
            finally:
                os.close(fd)

    def stats(self) -> list[VerifierStats]:
        """What the verifier said of each program."""
        found = []
        for name, log in self._logs.items():
            text = log.value.decode()
            numbers, stack = _STATS.search(text), _STACK.search(text)
            assert numbers, f"the verifier's summary of {name} reads otherwise: {text[-300:]}"
            assert stack, f"the verifier's summary of {name} has no stack depth: {text[-300:]}"
            values = {key: int(value) for key, value in numbers.groupdict().items()}
            found.append(VerifierStats(name, stack_bytes=stack.group(1), **values))
        return found

    def close(self) -> None:
        _LIB.bpf_object__close(self._object)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()


class RingPositions:
    """How much a ring buffer's programs have written and its reader has read, in bytes since it was made.

    Linux lays out a ring buffer map as the reader's page, the writers' page, the data (kernel/bpf/ringbuf.c).
    """

    def __init__(self, pin: Path) -> None:
        fd = _checked(_LIB.bpf_obj_get(os.fsencode(pin)), str(pin))
        try:
            page = mmap.PAGESIZE
            self._read = mmap.mmap(fd, page, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
            self._written = mmap.mmap(fd, page, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ, offset=page)
        finally:
            os.close(fd)

    @property
    def written(self) -> int:
        return int(struct.unpack_from("Q", self._written)[0])

    @property
    def read(self) -> int:
        return int(struct.unpack_from("Q", self._read)[0])

    def close(self) -> None:
        self._read.close()
        self._written.close()
