"""The peers of the comparison, each one a context in which the box carries what goes to the server.

Each that protects, protects PORTS of SERVER_ADDRESS as an operator would set it up, with all of its work on the cores
it is given. Peers know the topology, never how they are measured.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import levee, programs
from bench.daemon import daemon
from bench.levee import PORTS
from bench.topology import (
    BOX,
    INSIDE_IF,
    OUTSIDE_IF,
    SERVER_ADDRESS,
    SERVICE_PORT,
    Shape,
    inside,
    run,
)

_NAIVE = Path(__file__).resolve().parent.parent / "reference" / "run.py"
_NAIVE_QUEUE = 40

_SYNPROXY = f"""
table ip levee_bench {{
    chain prerouting {{
        type filter hook prerouting priority raw; policy accept;
        iifname {OUTSIDE_IF} ip daddr {SERVER_ADDRESS} tcp dport {{ {", ".join(map(str, PORTS))} }} \
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
    """A way through the box: `key` in results, `title` in tables, the shape of the box it is for.

    `start` makes it answer, on the given cores, for the length of a context, and gives its processes.
    """

    key: str
    title: str
    start: Callable[[Sequence[int]], AbstractContextManager[list[int]]]
    shape: Shape = Shape.ROUTED


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
            with daemon(command, cpus, log, listening) as processes:
                yield processes
        finally:
            run(inside(BOX, f"iptables -D {rule}"))


@contextmanager
def _levee_nfqueue(cpus: Sequence[int]) -> Iterator[list[int]]:
    with levee.running("nfqueue", cpus) as one:
        yield one.processes


@contextmanager
def _levee_bpf(cpus: Sequence[int]) -> Iterator[list[int]]:
    with levee.running("bpf", cpus) as one:
        yield one.processes


@contextmanager
def _nothing(cpus: Sequence[int]) -> Iterator[list[int]]:
    """What the wire and the kernel do without any of the peers."""
    del cpus
    yield []


@contextmanager
def _xdp_pass(cpus: Sequence[int]) -> Iterator[list[int]]:
    """The bare bridge with an XDP program that does nothing: veth gives up TSO under any, a NIC does not."""
    del cpus
    with programs.loaded() as frames, programs.attached(frames.programs["lvb_pass"], BOX, OUTSIDE_IF):
        yield []


ROUTING = Peer("routing", "plain routing", _nothing)
SYNPROXY = Peer("nft_synproxy", "nft synproxy", _nft_synproxy)
LEVEE = Peer("levee_nfqueue", "levee, nfqueue engine", _levee_nfqueue)
NAIVE = Peer("naive", "naive (NetfilterQueue + Scapy)", _naive)
BRIDGE = Peer("bridge", "bare bridge", _nothing, Shape.BRIDGE)
BRIDGE_PASS = Peer("bridge_xdp_pass", "bare bridge, XDP_PASS outside", _xdp_pass, Shape.BRIDGE)
LEVEE_BPF = Peer("levee_bpf", "levee, bpf engine", _levee_bpf, Shape.BRIDGE)
