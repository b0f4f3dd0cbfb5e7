"""The few calls of libbpf that tests and benchmark need, over ctypes: load an object beside pinned maps, run a program.

Owns file descriptors of the objects it loads. Called by kernelbox.py, the tests and tests/bench. Must not know what a
program does. ctypes keeps all of this out of the product, which attaches its programs and never runs them by hand.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import re
import struct
from ctypes import c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_LOG_BYTES = 1 << 20
_LOG_STATS = 4  # BPF_LOG_STATS, linux/bpf_verifier.h
_OUT_BYTES = 1 << 16
_LIVE_FRAMES = 1 << 1  # BPF_F_TEST_XDP_LIVE_FRAMES, linux/bpf.h
_LIVE_BATCH = 64  # as many as a driver takes in one turn (NAPI_POLL_WEIGHT)
_DRIVER_MODE = 1 << 2  # XDP_FLAGS_DRV_MODE, linux/if_link.h
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


class _MapInfo(ctypes.Structure):
    """The beginning of struct bpf_map_info, linux/bpf.h."""

    _fields_ = tuple((name, c_uint32) for name in ("type", "id", "key_size", "value_size", "max_entries", "map_flags"))


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
    lib.bpf_object__find_map_fd_by_name.argtypes = [c_void_p, c_char_p]
    lib.bpf_map_lookup_elem.argtypes = [c_int, c_char_p, c_char_p]
    lib.bpf_map_update_elem.argtypes = [c_int, c_char_p, c_char_p, c_uint64]
    lib.bpf_map_update_batch.argtypes = [c_int, c_char_p, c_char_p, c_void_p, c_void_p]
    lib.bpf_map_get_next_key.argtypes = [c_int, c_char_p, c_char_p]
    lib.bpf_xdp_attach.argtypes = [c_int, c_int, c_uint32, c_void_p]
    lib.bpf_obj_get_info_by_fd.argtypes = [c_int, c_void_p, c_void_p]
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
        self.fd = fd
        self._out = ctypes.create_string_buffer(_OUT_BYTES)

    def run(self, frame: bytes, first_buffer_bytes: int = 0) -> tuple[int, bytes]:
        """The program's return value for a frame, and the frame as it left the program.

        first_buffer_bytes: so much of it is in the first of several buffers (XDP programs, Linux 6.18).
        """
        options = _RunOptions(
            sz=ctypes.sizeof(_RunOptions),
            data_in=frame,
            data_size_in=len(frame),
            data_out=ctypes.addressof(self._out),
            data_size_out=_OUT_BYTES,
            repeat=1,
        )
        if first_buffer_bytes:
            context = struct.pack("=IIIIII", 0, first_buffer_bytes, 0, 0, 0, 0)  # struct xdp_md, linux/bpf.h
            options.ctx_in, options.ctx_size_in = context, len(context)
        _checked(_LIB.bpf_prog_test_run_opts(self.fd, ctypes.byref(options)), "BPF_PROG_RUN")
        return options.retval, self._out.raw[: options.data_size_out]

    def time(self, frame: bytes, times: int) -> tuple[int, int]:
        """The return value of the last of many runs on one buffer, and nanoseconds a run as the kernel measured it."""
        options = _RunOptions(sz=ctypes.sizeof(_RunOptions), data_in=frame, data_size_in=len(frame), repeat=times)
        _checked(_LIB.bpf_prog_test_run_opts(self.fd, ctypes.byref(options)), "BPF_PROG_RUN")
        return options.retval, options.duration

    def send(self, frame: bytes, times: int, ifindex: int) -> None:
        """Live frames (Documentation/bpf/bpf_prog_run.rst): what the program does with them, happens on `ifindex`."""
        context = struct.pack("=IIIIII", 0, len(frame), 0, ifindex, 0, 0)  # struct xdp_md, linux/bpf.h
        options = _RunOptions(
            sz=ctypes.sizeof(_RunOptions),
            data_in=frame,
            data_size_in=len(frame),
            ctx_in=context,
            ctx_size_in=len(context),
            repeat=times,
            flags=_LIVE_FRAMES,
            batch_size=_LIVE_BATCH,
        )
        _checked(_LIB.bpf_prog_test_run_opts(self.fd, ctypes.byref(options)), "BPF_PROG_RUN with live frames")

    def attach(self, ifindex: int) -> None:
        """To the driver of an interface of this network namespace, instead of what is there."""
        _checked(_LIB.bpf_xdp_attach(ifindex, self.fd, _DRIVER_MODE, None), "bpf_xdp_attach")


def detach(ifindex: int) -> None:
    """Take off an interface of this network namespace whatever XDP program its driver has."""
    _checked(_LIB.bpf_xdp_attach(ifindex, -1, _DRIVER_MODE, None), "bpf_xdp_attach")


class Map:
    """A map that is not per CPU, with its sizes as the kernel has them. Valid as long as its file descriptor is."""

    def __init__(self, fd: int) -> None:
        info = _MapInfo()
        length = c_uint32(ctypes.sizeof(info))
        _checked(_LIB.bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(length)), "bpf_obj_get_info_by_fd")
        self.fd = fd
        self.key_bytes, self.value_bytes = int(info.key_size), int(info.value_size)

    def lookup(self, key: bytes) -> bytes:
        value = ctypes.create_string_buffer(self.value_bytes)
        _checked(_LIB.bpf_map_lookup_elem(self.fd, key, value), "bpf_map_lookup_elem")
        return value.raw

    def update(self, key: bytes, value: bytes) -> None:
        assert (len(key), len(value)) == (self.key_bytes, self.value_bytes), "not of this map's sizes"
        _checked(_LIB.bpf_map_update_elem(self.fd, key, value, 0), "bpf_map_update_elem")

    def update_many(self, keys: bytes, values: bytes) -> None:
        """Keys one behind the other, and as many values."""
        count = len(keys) // self.key_bytes
        assert len(values) == count * self.value_bytes, "not of this map's sizes"
        done = c_uint32(count)
        _checked(_LIB.bpf_map_update_batch(self.fd, keys, values, ctypes.byref(done), None), "bpf_map_update_batch")

    def first_key(self) -> bytes | None:
        """A key that is in the map; None of an empty one."""
        key = ctypes.create_string_buffer(self.key_bytes)
        if _LIB.bpf_map_get_next_key(self.fd, None, key) and ctypes.get_errno() == errno.ENOENT:
            return None
        return key.raw


def pinned(pin: Path) -> int:
    """A new file descriptor of what is pinned there; the caller closes it."""
    return _checked(_LIB.bpf_obj_get(os.fsencode(pin)), str(pin))


class Loaded:
    """Programs of one object file, on the maps that are pinned in a folder where there are any of the same name."""

    def __init__(self, file: Path, programs: tuple[str, ...], pins: Path | None = None) -> None:
        self._object = _LIB.bpf_object__open_file(os.fsencode(file), None)
        if not self._object:
            raise OSError(ctypes.get_errno(), f"{file}: {os.strerror(ctypes.get_errno())}")
        self._logs: dict[str, ctypes.Array[ctypes.c_char]] = {}
        try:
            if pins:
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
        pinned = {pin.name.partition("-")[0]: pin for pin in pins.iterdir()}
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

    def map(self, name: str) -> Map:
        """A map of the object, by name."""
        return Map(_checked(_LIB.bpf_object__find_map_fd_by_name(self._object, name.encode()), name))

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


def pin_of(name: str, pins: Path) -> Path:
    """The pinned map of this name: its file is called NAME-LAYOUT."""
    (found,) = pins.glob(f"{name}-*")
    return found


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
