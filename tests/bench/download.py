"""How fast an established download goes: iperf3 from the server to the client, through the box.

The links are as the kernel makes them (offloads on, no pinning): bulk data is carried in large
segments, and where they are cut is part of what a peer costs. One TCP stream, bounded time.
Called by bench.__main__. Must not know: which peer carries it.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.errors import BenchError
from bench.peers import THROUGHPUT_PORT
from bench.topology import CLIENT, SERVER, SERVER_ADDRESS, inside, run

_CONNECT_MS = 5000
_LISTEN_WAIT_S = 3.0


@dataclass(frozen=True)
class Download:
    """One download: bits a second as the receiver saw them, and segments the sender repeated."""

    bits_per_s: float
    retransmits: int


def measure(seconds: int) -> Download:
    """Download for `seconds` through whatever the box is doing now."""
    with _server():
        text = run(
            inside(
                CLIENT,
                f"iperf3 --client {SERVER_ADDRESS} --port {THROUGHPUT_PORT} --reverse --json "
                f"--time {seconds} --connect-timeout {_CONNECT_MS}",
            )
        )
    end = json.loads(text)["end"]
    return Download(float(end["sum_received"]["bits_per_second"]), int(end["sum_sent"]["retransmits"]))


@contextmanager
def _server() -> Iterator[None]:
    command = inside(SERVER, f"iperf3 --server --port {THROUGHPUT_PORT}")
    # Told to end, it says so on stderr; the client's report is what counts.
    process = subprocess.Popen(shlex.split(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for_listener()
        yield
    finally:
        process.terminate()
        process.wait()


def _wait_for_listener() -> None:
    deadline = time.monotonic() + _LISTEN_WAIT_S
    while f":{THROUGHPUT_PORT:04X} " not in run(inside(SERVER, "cat /proc/net/tcp /proc/net/tcp6")):
        if time.monotonic() > deadline:
            raise BenchError("iperf3 does not listen in the server's namespace")
        time.sleep(0.05)
