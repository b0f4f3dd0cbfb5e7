"""Many short connections between both ends, each checked to its last byte: running generators/short.c.

Owns the arguments, and the kernel's settings that change what a client's SYN says. Called by test_load.py. Must not
know what is between the ends.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from netlab.compiled import compiled
from netlab.names import Names
from netlab.process import in_namespace, run

SOURCE = "short.c"
PORT = 18090
CLIENTS = 64  # at a time
PORTS = "1024 60999"  # crafted endpoints have those above
SWITCHES = ("tcp_timestamps", "tcp_sack", "tcp_window_scaling", "tcp_ecn")  # of net.ipv4, for both families


@dataclass(frozen=True)
class Done:
    """late: stood still; `why` says what was wrong with the first that failed."""

    finished: int
    failed: int
    late: int
    why: str


@contextlib.contextmanager
def served(names: Names) -> Iterator[None]:
    """The server's end answers on PORT."""
    server = subprocess.Popen(in_namespace(names.server, [str(compiled(SOURCE)), "serve", str(PORT)]))
    try:
        yield
    finally:
        server.kill()
        server.wait()


def settings() -> Iterator[dict[str, int]]:
    """Every combination of what a client's kernel may offer."""
    for values in itertools.product((1, 0), repeat=len(SWITCHES)):
        yield dict(zip(SWITCHES, values, strict=True))


@contextlib.contextmanager
def offering(names: Names, values: dict[str, int]) -> Iterator[None]:
    """The client's kernel offers just this, and may use every port that is free."""
    before = {name: run(["sysctl", "-n", f"net.ipv4.{name}"], namespace=names.client).stdout.strip() for name in values}
    try:
        _set(names, {**{name: str(value) for name, value in values.items()}, "ip_local_port_range": PORTS})
        yield
    finally:
        _set(names, before)


def _set(names: Names, values: dict[str, str]) -> None:
    for name, value in values.items():
        run(["sysctl", "-qw", f"net.ipv4.{name}={value}"], namespace=names.client)


def connect(names: Names, address: str, count: int, limit_s: float) -> Done:
    """So many connections, CLIENTS at a time."""
    argv = [str(compiled(SOURCE)), "connect", address, str(PORT), str(count), str(CLIENTS)]
    done = subprocess.run(in_namespace(names.client, argv), capture_output=True, text=True, timeout=limit_s, check=True)
    return Done(**json.loads(done.stdout))
