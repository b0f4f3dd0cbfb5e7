"""A lab without the appliance whose box hands packets of one UDP port, or all TCP, to a netfilter queue.

For tests of the queue's socket and of a worker by themselves. Owns a lab of its own (another prefix than the standard
one) and the rules in its box. Called by test_nfqueue_*.py.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cext.queues import KernelQueue, kernel_queues
from netlab import ability, netns, topology
from netlab.names import OUTSIDE, Names
from netlab.process import run
from netlab.topology import Mode

UDP_PORT = 7777
ARRIVAL_LIMIT_S = 3.0
SILENCE_S = 0.2
SO_SNDBUFFORCE = 32  # asm-generic/socket.h; Python has no name for it


def modes(config: pytest.Config) -> list[Mode]:
    """Modes to test: the one that was asked for, else those this kernel can do."""
    asked = config.getoption("--mode", None) or os.environ.get("LEVEE_LAB_MODE")
    if asked:
        return [Mode(asked)]
    return ability.modes() if os.geteuid() == 0 else [Mode.ROUTED]


@dataclass(frozen=True)
class QueueBed:
    """A lab with rules in its box."""

    mode: Mode
    names: Names

    @property
    def client(self) -> topology.End:
        return topology.addressing(self.mode).client

    @property
    def server(self) -> topology.End:
        return topology.addressing(self.mode).server

    def inside_box(self) -> contextlib.AbstractContextManager[None]:
        return netns.entered(self.names.box)

    def kernel_queue(self, number: int) -> KernelQueue:
        """The kernel's counters of a queue of the box; /proc shows a thread its own namespace."""
        with self.inside_box():
            queues = kernel_queues("/proc/thread-self/net/netfilter/nfnetlink_queue")
        assert queues is not None
        return queues[number]

    def ifindex(self, interface: str) -> int:
        with self.inside_box():
            return socket.if_nametoindex(interface)

    def mac(self, interface: str) -> bytes:
        path = Path("/sys/class/net") / interface / "address"
        text = run(["cat", str(path)], namespace=self.names.box).stdout
        return bytes.fromhex(text.strip().replace(":", ""))

    @contextlib.contextmanager
    def queued(
        self, match: str, queues: str, *, syns: str = "", interfaces: tuple[str, ...] = (OUTSIDE,)
    ) -> Iterator[None]:
        """Packets that match, `udp dport 7777` or `tcp`, go to `queues`, `7` or `7-8`; SYNs to `syns` if given."""
        remove = [["nft", "delete", "table", self._family, "bed"]]
        if not self._nft(match, queues, syns, interfaces):
            remove = [[program, "-t", "raw", "-F", "PREROUTING"] for program in ("iptables", "ip6tables")]
            if syns:
                self._iptables(["-p", "tcp", "--syn"], syns, interfaces)
            protocol, _, port = match.partition(" dport ")
            self._iptables(["-p", protocol, *(["--dport", port] if port else [])], queues, interfaces)
        try:
            yield
        finally:
            for command in remove:
                run(command, namespace=self.names.box)

    def _iptables(self, matches: list[str], queues: str, interfaces: tuple[str, ...]) -> None:
        numbers = ["--queue-balance", queues.replace("-", ":")] if "-" in queues else ["--queue-num", queues]
        for program in ("iptables", "ip6tables"):
            for interface in interfaces:
                rule = ["-t", "raw", "-A", "PREROUTING", "-i", interface, *matches, "-j", "NFQUEUE", *numbers]
                run([program, *rule], namespace=self.names.box)

    @property
    def _family(self) -> str:
        return "bridge" if self.mode is Mode.BRIDGE else "inet"

    def _nft(self, match: str, queues: str, syns: str, interfaces: tuple[str, ...]) -> bool:
        """Whether nftables could do it. In bridge mode it must; there is no iptables for bridges."""
        hook = "forward" if self.mode is Mode.BRIDGE else "prerouting"
        came_in = f"iifname {{ {', '.join(interfaces)} }}"
        lines = [
            f"table {self._family} bed {{",
            "chain bed {",
            f"type filter hook {hook} priority -310;",
            *([f"{came_in} tcp flags & (syn | ack) == syn queue num {syns}"] if syns else []),
            f"{came_in} {match if ' ' in match else f'meta l4proto {match}'} queue num {queues}",
            "}",
            "}",
            "",
        ]
        must = self.mode is Mode.BRIDGE
        done = run(["nft", "-f", "-"], namespace=self.names.box, text_in="\n".join(lines), check=must)
        return done.returncode == 0

    @contextlib.contextmanager
    def udp(self) -> Iterator[tuple[Callable[[bytes], object], socket.socket]]:
        """A function that sends a datagram from the client, and the server's socket that receives it."""
        address = (self.server.v4, UDP_PORT)
        with (
            netns.new_socket(self.names.client, socket.AF_INET, socket.SOCK_DGRAM) as client,
            netns.new_socket(self.names.server, socket.AF_INET, socket.SOCK_DGRAM) as server,
        ):
            server.bind(address)
            client.connect(address)
            # On a bridge a queued packet still counts against its sender, and sending would wait for room.
            client.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 1 << 24)
            yield client.send, server

    def add_pair(self, name: str) -> None:
        """A link in the box whose other end, also there, swallows what is sent. Not every kernel has dummy links."""
        run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}-far"], namespace=self.names.box)
        for end in (name, f"{name}-far"):
            run(["ip", "link", "set", end, "up"], namespace=self.names.box)

    def replace_outside(self) -> None:
        """Take the outside link away and bring it back as it was, with another interface index."""
        before = self.ifindex(OUTSIDE)
        run(["ip", "link", "del", OUTSIDE], namespace=self.names.box)
        # Somebody else takes the index meanwhile.
        self.add_pair(f"taken{before}")
        for command in topology.plan(self.mode, self.names):
            makes_namespace = "netns" in command.argv and "link" not in command.argv
            concerns = OUTSIDE in command.argv or command.namespace == self.names.client
            if command.argv[0] == "ip" and concerns and not makes_namespace:
                run(command.argv, namespace=command.namespace, text_in=command.text_in)
        assert self.ifindex(OUTSIDE) != before


def receive(server: socket.socket, count: int) -> list[bytes]:
    """Exactly `count` datagrams, in order: waits for them, then sees that no other comes."""
    server.settimeout(ARRIVAL_LIMIT_S)
    found = [server.recv(65536) for _ in range(count)]
    server.settimeout(SILENCE_S)
    with contextlib.suppress(TimeoutError):
        found.append(server.recv(65536))
    return found


@contextlib.contextmanager
def queue_bed(mode: Mode) -> Iterator[QueueBed]:
    """Bring it up; it is gone afterwards."""
    netns.require_root()
    names = Names("leveeq")
    topology.demolish(names)
    try:
        topology.build(mode, names)
        yield QueueBed(mode, names)
    finally:
        topology.demolish(names)
