"""Forged frames at a rate, from the client's interface and core, for the length of a context.

A thread runs lvb_send in live-frame mode: the frames reach the other end of the wire without a socket buffer. What does
not fit into its ring of 256 is lost there, on this core, and costs the box nothing. Called by the parts; what arrived
is counted by meters.py.
"""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType
from typing import Self

from netlab import netns

from bench.errors import BenchError
from bench.programs import Frames
from bench.topology import CLIENT, CLIENT_CPU

_CALL_FRAMES = 32_768  # in one call, at full rate: some ten milliseconds
_CALLS_PER_S = 1000  # at a given rate, so that frames come evenly; more calls where
_CALL_FRAMES_EVEN = 128  # one would fill half of the ring
_POLITE = 19  # what the client's end receives comes first: answers are not to be lost there


class Generator:
    """Sends the plan of `frames` towards the box: `pps` frames a second, 0 for as many as the core can make."""

    def __init__(self, frames: Frames, frame_bytes: int, ifindex: int, pps: float = 0) -> None:
        self._program = frames.programs["lvb_send"]
        self._buffer = bytes(frame_bytes)
        self._ifindex = ifindex
        self._pps = pps
        self._ended = threading.Event()
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="bench-generator", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self._failure and not error:
            raise BenchError("the generator failed", str(self._failure))

    def _run(self) -> None:
        os.sched_setaffinity(0, {CLIENT_CPU})  # of this thread, as the two below
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _POLITE)
        try:
            with netns.entered(CLIENT):
                self._send()
        except OSError as failure:
            self._failure = failure

    def _send(self) -> None:
        even = min(_CALL_FRAMES_EVEN, max(1, round(self._pps / _CALLS_PER_S)))
        frames = even if self._pps else _CALL_FRAMES
        start, made = time.monotonic(), 0
        while not self._ended.is_set():
            self._program.send(self._buffer, frames, self._ifindex)
            made += frames
            if self._pps:
                time.sleep(max(0.0, start + made / self._pps - time.monotonic()))
