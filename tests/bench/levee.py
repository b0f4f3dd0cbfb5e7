"""Levee as a peer: `levee run` in the box with either engine, set up as an operator would.

Called by peers.py and by the parts that need many services. Must not know: what is measured.
"""

from __future__ import annotations

import ipaddress
import json
import mmap
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpf.libbpf import pinned

from bench.daemon import daemon
from bench.errors import BenchError
from bench.topology import BRIDGE_IF, INSIDE_IF, OUTSIDE_IF, SERVER_ADDRESS, SERVICE_PORT, run

THROUGHPUT_PORT = 5201
CONVERSATION_PORT = 5202
FLOWS = 262_144  # the default
_ISSUED_AT = (56, 96)  # of the two keys in struct lv_cookie_keys, cext/core/cookie.h
PORTS = (SERVICE_PORT, THROUGHPUT_PORT, CONVERSATION_PORT)


@dataclass(frozen=True)
class Levee:
    """A running daemon: its processes, and the folder of its pinned maps (bpf engine)."""

    command: Path
    socket: Path
    pins: Path
    processes: list[int]

    def status(self) -> dict[str, Any]:
        """Its own `levee status --json`."""
        done = _status(self.command, self.socket)
        if not done.stdout:  # the exit code says how the box is: under attack, for example
            raise BenchError("levee does not answer `status`", done.stderr.strip())
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def pin(self, name: str) -> Path:
        """Where a map of the bpf engine is pinned."""
        found = list(self.pins.glob(f"{name}-*"))
        if len(found) != 1:
            raise BenchError(f"the map {name} is not pinned below {self.pins}")
        return found[0]


def server_addresses(count: int) -> list[str]:
    """Addresses of `count` services, one after the other; the first is the server's."""
    first = int(ipaddress.IPv4Address(SERVER_ADDRESS))
    return [str(ipaddress.IPv4Address(first + number)) for number in range(count)]


def forget_cookies(keys: Path) -> None:
    """As it is 64 s after the last SYN: the programs are told that no cookie of either key is out."""
    fd = pinned(keys)
    try:
        with mmap.mmap(fd, mmap.PAGESIZE) as memory:
            for at in _ISSUED_AT:
                memory[at : at + 8] = bytes(8)
    finally:
        os.close(fd)


@contextmanager
def running(engine: str, cpus: Sequence[int], services: int = 1, flows: int = FLOWS) -> Iterator[Levee]:
    """`levee run` on these cores with so many services of one address each, and room for so many flows."""
    command = Path(sys.executable).with_name("levee")
    if not command.exists():
        raise BenchError(f"{command} is missing", "build the project first: make build")
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="levee-bench-")))
        levee = Levee(command, state / "run/control.sock", state / "run/bpf", [])
        config = state / "levee.yaml"
        config.write_text(_configuration(engine, len(cpus), state, services, flows))
        if engine == "bpf":
            stack.enter_context(_bpf_file_system(levee.pins))

        def protecting() -> bool:
            done = _status(command, levee.socket)
            return done.returncode == 0 and json.loads(done.stdout)["state"] == "PROTECTING"

        line = f"{command} run -c {config}"
        levee.processes.extend(stack.enter_context(daemon(line, cpus, state / "log", protecting)))
        yield levee


def _configuration(engine: str, queues: int, state: Path, services: int, flows: int) -> str:
    bridge = f"mode: bridge\nbridge: {BRIDGE_IF}" if engine == "bpf" else "mode: routed"
    head = f"""
version: 1
{bridge}
engine: {engine}
outside: {OUTSIDE_IF}
inside: {INSIDE_IF}
nfqueue: {{queues: {queues}}}
limits: {{flows: {flows}}}
bpf: {{on_stop: remove}}
cookie: {{secret_file: {state}/secret}}
runtime_dir: {state}/run
state_dir: {state}/state
services:
"""
    ports = ", ".join(map(str, PORTS))
    return head + "".join(
        f"  bench{number}: {{addresses: [{address}], ports: [{ports}]}}\n"
        for number, address in enumerate(server_addresses(services))
    )


@contextmanager
def _bpf_file_system(folder: Path) -> Iterator[None]:
    """Mounted here: mounts that are made behind `ip netns exec` go away with its command."""
    folder.mkdir(parents=True)
    run(f"mount -t bpf bpf {folder}")
    try:
        yield
    finally:
        run(f"umount {folder}")


def _status(command: Path, socket: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"LC_ALL": "C"}
    argv = [str(command), "status", "--json", "--socket", str(socket)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
