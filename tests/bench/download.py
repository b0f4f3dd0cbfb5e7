"""How fast an established download goes: iperf3 from the server to the client, through the box.

The links are as the kernel makes them (offloads on, no pinning): bulk data is carried in large
segments, and where they are cut is part of what a peer costs. One TCP stream, bounded time.
Called by bench.__main__. Must not know: which peer carries it.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from bench.errors import BenchError
from bench.levee import THROUGHPUT_PORT
from bench.part import Bars, Effort, Report, Spread, Table
from bench.peers import LEVEE, ROUTING, SYNPROXY
from bench.topology import CLIENT, SERVER, SERVER_ADDRESS, inside, say, topology
from bench.topology import run as command

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
        text = command(
            inside(
                CLIENT,
                f"iperf3 --client {SERVER_ADDRESS} --port {THROUGHPUT_PORT} --reverse --json "
                f"--time {seconds} --connect-timeout {_CONNECT_MS}",
            )
        )
    end = json.loads(text)["end"]
    return Download(float(end["sum_received"]["bits_per_second"]), int(end["sum_sent"]["retransmits"]))


PEERS = (ROUTING, SYNPROXY, LEVEE)


def run(effort: Effort) -> Report:
    """Every peer in turn, in each round."""
    found: dict[str, list[Download]] = {peer.title: [] for peer in PEERS}
    for number in range(effort.rounds):
        for peer in PEERS:
            with topology(peer.shape), peer.start(range(os.cpu_count() or 1)):
                found[peer.title].append(measure(effort.seconds))
            say(f"download: round {number + 1} of {effort.rounds}: {peer.title}: "
                f"{found[peer.title][-1].bits_per_s / 1e9:.2f} Gbit/s")  # fmt: skip
    rates = {title: Spread.of([one.bits_per_s / 1e9 for one in runs]) for title, runs in found.items()}
    rows = tuple(
        (title, rate.text(), f"{rate.median / rates[ROUTING.title].median:.2f}") for title, rate in rates.items()
    )
    return Report(
        tables=(Table("Download, one stream", ("", "Gbit/s", "of direct"), rows),),
        runs={title: [asdict(one) for one in runs] for title, runs in found.items()},
        plots=(Bars("Download, one stream", "Gbit/s", rates),),
    )


@contextmanager
def _server() -> Iterator[None]:
    line = inside(SERVER, f"iperf3 --server --port {THROUGHPUT_PORT}")
    # Told to end, it says so on stderr; the client's report is what counts.
    process = subprocess.Popen(shlex.split(line), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for_listener()
        yield
    finally:
        process.terminate()
        process.wait()


def _wait_for_listener() -> None:
    deadline = time.monotonic() + _LISTEN_WAIT_S
    while f":{THROUGHPUT_PORT:04X} " not in command(inside(SERVER, "cat /proc/net/tcp /proc/net/tcp6")):
        if time.monotonic() > deadline:
            raise BenchError("iperf3 does not listen in the server's namespace")
        time.sleep(0.05)
