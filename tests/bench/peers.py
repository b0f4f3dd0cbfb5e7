"""The peers of the comparison, each one a context in which the box's namespace answers SYNs.

Each protects SERVER_ADDRESS:SERVICE_PORT (and the throughput test's port) as an operator would set
it up, with all of its work on the cores it is given. Peers know the topology, never how they are measured.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.topology import (
    BOX,
    INSIDE_IF,
    OUTSIDE_IF,
    SERVER_ADDRESS,
    SERVICE_PORT,
    inside,
    on_cpus,
    run,
)

THROUGHPUT_PORT = 5201
_READY_WAIT_S = 15.0
_STOP_WAIT_S = 10.0
_LAST_WORDS_CHARS = 2000
_NAIVE = Path(__file__).resolve().parent.parent / "reference" / "run.py"
_NAIVE_QUEUE = 40

_SYNPROXY = f"""
table ip levee_bench {{
    chain prerouting {{
        type filter hook prerouting priority raw; policy accept;
        iifname {OUTSIDE_IF} ip daddr {SERVER_ADDRESS} tcp dport {{ {SERVICE_PORT}, {THROUGHPUT_PORT} }} \
            tcp flags & (fin | syn | rst | ack) == syn notrack
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp sack-perm
        ct state invalid drop
    }}
}}
"""


@dataclass(frozen=True)
class Peer:
    """A way to answer SYNs: `key` in results, `title` in tables.

    `start` makes it answer, on the given cores, for the length of a context, and gives its processes.
    """

    key: str
    title: str
    start: Callable[[Sequence[int]], AbstractContextManager[list[int]]]


@contextmanager
def _nft_synproxy(cpus: Sequence[int]) -> Iterator[list[int]]:
    """The kernel's own SYN proxy; it works in softirq, so the cores are those of the topology."""
    del cpus
    run(inside(BOX, "nft -f -"), text=_SYNPROXY)
    try:
        # As its documentation demands: an ACK in the middle of nowhere must not become a connection.
        run(inside(BOX, "sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0"))
        yield []
    finally:
        run(inside(BOX, "nft delete table ip levee_bench"))


def _levee_config(queues: int, state: str) -> str:
    return f"""
version: 1
mode: routed
engine: nfqueue
outside: {OUTSIDE_IF}
inside: {INSIDE_IF}
services:
  bench:
    addresses: [{SERVER_ADDRESS}]
    ports: [{SERVICE_PORT}, {THROUGHPUT_PORT}]
nfqueue: {{queues: {queues}}}
cookie: {{secret_file: {state}/secret}}
runtime_dir: {state}/run
state_dir: {state}/state
"""


@contextmanager
def _levee(cpus: Sequence[int]) -> Iterator[list[int]]:
    """`levee run` with one queue a core."""
    command = Path(sys.executable).with_name("levee")
    if not command.exists():
        raise BenchError(f"{command} is missing", "build the project first: make build")
    with tempfile.TemporaryDirectory(prefix="levee-bench-") as state:
        config = Path(state, "levee.yaml")
        config.write_text(_levee_config(len(cpus), state))
        socket = Path(state, "run", "control.sock")

        def protecting() -> bool:
            status = [str(command), "status", "--json", "--socket", str(socket)]
            done = subprocess.run(status, capture_output=True, text=True, check=False)
            return done.returncode == 0 and json.loads(done.stdout)["state"] == "PROTECTING"

        with _daemon(f"{command} run -c {config}", cpus, Path(state, "log"), protecting) as processes:
            yield processes


@contextmanager
def _naive(cpus: Sequence[int]) -> Iterator[list[int]]:
    """The reference of the tests: NetfilterQueue and Scapy, one packet at a time."""
    service = f"-i {OUTSIDE_IF} -d {SERVER_ADDRESS} -p tcp --dport {SERVICE_PORT}"
    rule = f"PREROUTING -t raw {service} -j NFQUEUE --queue-num {_NAIVE_QUEUE}"
    with tempfile.TemporaryDirectory(prefix="levee-bench-") as state:
        log = Path(state, "log")

        def listening() -> bool:
            return "ready" in log.read_text()

        sides = f"--outside {OUTSIDE_IF} --inside {INSIDE_IF}"
        command = f"{sys.executable} {_NAIVE} --queue {_NAIVE_QUEUE} {sides}"
        run(inside(BOX, f"iptables -A {rule}"))
        try:
            with _daemon(command, cpus, log, listening) as processes:
                yield processes
        finally:
            run(inside(BOX, f"iptables -D {rule}"))


@contextmanager
def _nothing(cpus: Sequence[int]) -> Iterator[list[int]]:
    """Plain routing: what the wire and the kernel do without any of the peers."""
    del cpus
    yield []


ROUTING = Peer("routing", "plain routing", _nothing)
SYNPROXY = Peer("nft_synproxy", "nft synproxy", _nft_synproxy)
LEVEE = Peer("levee_nfqueue", "levee, nfqueue engine", _levee)
NAIVE = Peer("naive", "naive (NetfilterQueue + Scapy)", _naive)
PEERS = (ROUTING, SYNPROXY, LEVEE, NAIVE)


@contextmanager
def _daemon(command: str, cpus: Sequence[int], log: Path, ready: Callable[[], bool]) -> Iterator[list[int]]:
    """Run a program in the box on `cpus` until the context ends; ready or an error with its last words."""
    program = Path(command.split(maxsplit=1)[0]).name
    with log.open("w") as output:
        process = subprocess.Popen(
            shlex.split(inside(BOX, on_cpus(cpus, command))), stdout=output, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + _READY_WAIT_S
            while not ready():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise BenchError(f"{program} did not become ready", _last_words(log))
                time.sleep(0.1)
            yield [process.pid]  # `ip netns exec` and `taskset` have become the program by now
            if process.poll() is not None:
                raise BenchError(f"{program} ended during the measurement", _last_words(log))
        finally:
            process.terminate()
            try:
                process.wait(_STOP_WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _last_words(log: Path) -> str:
    return log.read_text().strip()[-_LAST_WORDS_CHARS:] or "it said nothing"
