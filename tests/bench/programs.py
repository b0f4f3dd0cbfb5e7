"""frames.bpf.c compiled and loaded, its plan of forged frames, and its programs put on an interface.

Owns: how a plan is written down (struct lvb_plan). Called by the parts and by peers.py. Must not know what is
measured.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bpf.libbpf import Loaded, Program, detach
from netlab import netns

from bench import builds

PROGRAMS = (
    "lvb_send", "lvb_xdp_case", "lvb_tc_case", "lvb_xdp_nothing", "lvb_tc_nothing",
    "lvb_drop", "lvb_echo", "lvb_pass", "lvb_count",
)  # fmt: skip
_PLAN = struct.Struct("=Q96sIIIIIIII")  # struct lvb_plan
_ANSWERS = struct.Struct("=Q")
_ZERO = bytes(4)  # the key of an array's only entry
_IP, _TCP = 14, 34  # offsets: Ethernet without tags, IPv4 without options


@dataclass(frozen=True)
class Plan:
    """A frame and what is drawn for each copy of it: client's address and port, server's address, sequence numbers.

    frame: Ethernet, IPv4 without options, TCP; at most 96 bytes. clients: how many different ones, 0 for any.
    servers: how many addresses, counting from the frame's own. client_sends: the frame goes to the server.
    """

    frame: bytes
    clients: int = 0
    servers: int = 1
    client_sends: bool = True
    new_numbers: bool = True

    def packed(self) -> bytes:
        """As struct lvb_plan."""
        frame = bytearray(self.frame)
        server_at = _IP + (16 if self.client_sends else 12)
        first = int.from_bytes(frame[server_at : server_at + 4], "big")
        for at, length in self._drawn():
            frame[at : at + length] = bytes(length)
        tcp = frame[_TCP:]
        pseudo = struct.pack("!HH", 6, len(tcp))
        sums = _sum(tcp) + _sum(pseudo), _sum(frame[_IP:_TCP])
        numbers = (len(frame), *sums, self.clients, self.servers, first, self.client_sends, self.new_numbers)
        return _PLAN.pack(random.getrandbits(64), bytes(frame), *numbers)

    def _drawn(self) -> list[tuple[int, int]]:
        """Offset and length of what the program writes, checksums with it."""
        fields = [(_IP + 10, 2), (_IP + 12, 8), (_TCP + (0 if self.client_sends else 2), 2), (_TCP + 16, 2)]
        return [*fields, (_TCP + 4, 8)] if self.new_numbers else fields


def _sum(data: bytes | bytearray) -> int:
    """Sum of 16-bit words in the byte order of memory, not folded: RFC 1071 works in either."""
    even = bytes(data) + bytes(len(data) % 2)
    return sum(struct.unpack(f"={len(even) // 2}H", even))


class Frames:
    """The loaded object: its programs by name, the plan, the count of answers."""

    def __init__(self, objects: Loaded) -> None:
        self.programs: dict[str, Program] = objects.programs
        self._plan = objects.map("lvb_plan")
        self._answers = objects.map("lvb_answers")
        self._measured = {kind: objects.map(f"lvb_{kind}_measured") for kind in ("xdp", "tc")}

    def plan(self, plan: Plan) -> None:
        """What lvb_send and the lvb_*_case programs make from now on."""
        self._plan.update(_ZERO, plan.packed())

    def measure(self, kind: str, program: Program) -> None:
        """kind "xdp" or "tc": what lvb_*_case gives its frames to."""
        self._measured[kind].update(_ZERO, struct.pack("=I", program.fd))

    @property
    def answers(self) -> int:
        """Frames that came back to forged clients, where lvb_count is attached."""
        return int(_ANSWERS.unpack(self._answers.lookup(_ZERO))[0])


@contextmanager
def loaded() -> Iterator[Frames]:
    """The programs in the kernel, for the length of the context."""
    with Loaded(builds.bpf_object("frames"), PROGRAMS) as objects:
        yield Frames(objects)


@contextmanager
def attached(program: Program, namespace: str, interface: str) -> Iterator[int]:
    """An XDP program on the driver of an interface, for the length of the context; the interface's index."""
    with netns.entered(namespace):
        ifindex = socket.if_nametoindex(interface)
        program.attach(ifindex)
    try:
        yield ifindex
    finally:
        with netns.entered(namespace):
            detach(ifindex)
