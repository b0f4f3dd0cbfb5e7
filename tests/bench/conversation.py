"""Short conversations through the box: one byte there and one back, over one connection or a new one each time.

Runs talk.c in both ends' namespaces. Called by the parts. Must not know: what carries them.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench import builds
from bench.errors import BenchError
from bench.levee import CONVERSATION_PORT
from bench.topology import CLIENT, CLIENT_IF, SERVER, SERVER_ADDRESS, inside, run, wait_reachable

SOURCES = 4  # 198.18.1.1 and so on: ports of one address would run out
_LISTEN_WAIT_S = 3.0


@dataclass(frozen=True)
class Talks:
    """Conversations of one run. Times are from connect() (or from the byte sent) to the byte that came back."""

    finished: int
    failed: int
    seconds: float
    p50_us: float
    p99_us: float

    @property
    def per_s(self) -> float:
        return self.finished / self.seconds


@contextmanager
def server() -> Iterator[None]:
    """The answering end, and the client's addresses, for the length of the context."""
    for number in range(SOURCES):
        run(f"ip -n {CLIENT} address add 198.18.1.{number + 1}/32 dev {CLIENT_IF}")
        wait_reachable(f"198.18.1.{number + 1}")
    run(inside(CLIENT, "sysctl -qw net.ipv4.ip_local_port_range='1024 65535'"))
    run(inside(SERVER, "sysctl -qw net.core.somaxconn=4096"))
    with listening(f"{builds.binary('talk')} serve {SERVER_ADDRESS} {CONVERSATION_PORT}", CONVERSATION_PORT):
        yield


@contextmanager
def listening(command: str, port: int) -> Iterator[None]:
    """A program that serves a port in the server's namespace, for the length of the context."""
    process = subprocess.Popen(
        shlex.split(inside(SERVER, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + _LISTEN_WAIT_S
        while f":{port:04X} " not in run(inside(SERVER, "cat /proc/net/tcp /proc/net/tcp6")):
            if time.monotonic() > deadline or process.poll() is not None:
                raise BenchError(f"{command.split(maxsplit=1)[0]} does not listen in the server's namespace")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def exchange(seconds: float) -> Talks:
    """One connection, one byte each way, over and over."""
    return _talk(f"exchange {SERVER_ADDRESS} {CONVERSATION_PORT} {seconds}")


def connect(seconds: float, clients: int, rate: float = 0) -> Talks:
    """A new connection each time: `clients` at once; or so many begun a second, `clients` at once at most."""
    return _talk(f"connect {SERVER_ADDRESS} {CONVERSATION_PORT} {seconds} {clients} {rate} {SOURCES}")


def _talk(arguments: str) -> Talks:
    return Talks(**json.loads(run(inside(CLIENT, f"{builds.binary('talk')} {arguments}"))))
