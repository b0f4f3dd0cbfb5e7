"""Network namespaces: existence, removal, and entering one from the running process.

A socket stays in the namespace it was created in, so tests enter only to create sockets and come
back. setns(2) moves one thread, not the process. Knows nothing of the lab's topology.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from netlab.process import LabError, run, start_time

CLONE_NEWNET = 0x40000000
NETNS_DIR = Path("/run/netns")

_libc = ctypes.CDLL(None, use_errno=True)


def exists(namespace: str) -> bool:
    return (NETNS_DIR / namespace).exists()


def require_root() -> None:
    if os.geteuid() != 0:
        raise LabError("the lab needs root", "namespaces and raw sockets: run it with sudo")


def _setns(file: int) -> None:
    if _libc.setns(file, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


@contextlib.contextmanager
def entered(namespace: str) -> Iterator[None]:
    """The calling thread is inside `namespace` for the length of the block."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        there = os.open(NETNS_DIR / namespace, os.O_RDONLY)
        try:
            _setns(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def new_socket(namespace: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
    with entered(namespace):
        return socket.socket(family, kind, protocol)


def pids(namespace: str) -> list[int]:
    if not exists(namespace):
        return []
    return [int(word) for word in run(["ip", "netns", "pids", namespace]).stdout.split()]


def end_processes(namespace: str, patience_s: float = 3.0) -> None:
    """SIGTERM, then SIGKILL, to everything that runs inside `namespace`."""
    for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 1.0)):
        found = [pid for pid in pids(namespace) if pid != os.getpid()]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):  # ended by itself in between
                os.kill(pid, number)
        limit = time.monotonic() + wait_s
        while time.monotonic() < limit and any(start_time(pid) is not None for pid in found):
            time.sleep(0.02)


def remove(namespace: str) -> None:
    """Remove it and everything in it; nothing happens when there is none."""
    if exists(namespace):
        end_processes(namespace)
        run(["ip", "netns", "del", namespace])
