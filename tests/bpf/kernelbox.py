"""The bpf engine in a namespace of its own, and its programs run on one frame at a time.

Owns the namespace, two veth pairs, a bpf file system and an engine. Called by both.py and by tests. Must not know what
is right: it says what left the box.

A frame takes the way it has in the kernel: the gate; if it passes, the splice of its side. The programs run by
BPF_PROG_RUN on the engine's own maps; what they hand over, the engine's thread reads and answers through real sockets,
and the far ends of the veth pairs see it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from bpf.libbpf import Loaded, RingPositions, pin_of
from cext.bpfengine import BpfEngine
from cext.dataplane import Dataplane, DataplaneConfig, ServiceSpec

Side = Literal["outside", "inside"]
Left = tuple[Side, bytes]  # towards which side, and the frame

CLONE_NEWNET = 0x40000000
PATIENCE_S = 5.0
_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_AUXDATA = 263, 8
_VLAN_VALID, _TPID_VALID = 1 << 4, 1 << 6
_AUXDATA = struct.Struct("=IIIHHHH")  # struct tpacket_auxdata, linux/if_packet.h
_XDP = {1: "drop", 2: "pass", 3: "tx"}
_TC = {0: "pass", 2: "drop", 7: "redirect"}
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Ran:
    """What the programs did with a frame. verdict: "drop", "handover", "tx", "redirect" or "pass".

    way: the programs that saw it. left: what they sent themselves, a passed frame too.
    """

    verdict: str
    way: tuple[str, ...]
    left: tuple[Left, ...]


def run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True, text=True)


def other(side: Side) -> Side:
    return "inside" if side == "outside" else "outside"


@contextlib.contextmanager
def new_namespace() -> Iterator[None]:
    """This thread is in a new network namespace, without a name and without IPv6's own talk; then back."""
    with Path("/proc/thread-self/ns/net").open() as home:
        if _libc.unshare(CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, f"unshare: {os.strerror(number)}")
        try:
            for which in ("all", "default"):
                Path(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6").write_text("1")
            yield
        finally:
            if _libc.setns(home.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns: the test cannot go back to its own namespace")


@contextlib.contextmanager
def bpf_file_system(folder: Path) -> Iterator[Path]:
    """A place for pins that goes away with all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "bpf", "bpf", str(folder))
    try:
        yield folder
    finally:
        run("umount", str(folder))


class Wire:
    """The far end of one of the box's cables."""

    def __init__(self, name: str) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self.socket.bind((name, _ETH_P_ALL))
        self.socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)

    def receive(self) -> bytes:
        """The frame that waits there, with the tag the kernel took out of it."""
        data, ancillary, _, _ = self.socket.recvmsg(1 << 16, 256)
        for level, kind, value in ancillary:
            if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
                status, _, _, _, _, tci, tpid = _AUXDATA.unpack_from(value)
                if status & _VLAN_VALID:
                    data = data[:12] + struct.pack("!HH", tpid if status & _TPID_VALID else 0x8100, tci) + data[12:]
        return data


class KernelBox:
    """Programs, maps and thread of one engine. working: the thread runs and the heart beats; else it is late."""

    def __init__(
        self,
        scratch: Path,
        config: DataplaneConfig,
        services: Sequence[ServiceSpec],
        *,
        working: bool = True,
        fail_open: bool = False,
    ) -> None:
        self.new_connections = "pass" if fail_open else "drop"  # while the daemon is late
        with contextlib.ExitStack() as stack:
            stack.enter_context(new_namespace())
            for side in ("outside", "inside"):
                run("ip", "link", "add", side, "type", "veth", "peer", "name", f"{side}-end")
                for name in (side, f"{side}-end"):
                    run("ip", "link", "set", name, "mtu", "9000", "arp", "off", "up")
            self.wires: dict[Side, Wire] = {"outside": Wire("outside-end"), "inside": Wire("inside-end")}
            for wire in self.wires.values():
                stack.callback(wire.socket.close)
            pins = stack.enter_context(bpf_file_system(scratch / "bpf"))
            self.plane = Dataplane(config)
            stack.callback(self.plane.close)
            self.plane.set_services(services)
            self.engine = BpfEngine(
                self.plane, outside="outside", inside="inside", pin_folder=str(pins), fail_open=fail_open
            )
            self.engine.open()
            stack.callback(self.engine.stop, detach=True)
            here = Path(str(files("cext"))) / "bpf"
            gate = stack.enter_context(Loaded(here / "gate.bpf.o", ("lv_gate",), pins))
            splices = ("lv_splice_outside", "lv_splice_inside")
            splice = stack.enter_context(Loaded(here / "splice.bpf.o", splices, pins))
            self.stats = gate.stats() + splice.stats()
            self.ring = RingPositions(pin_of("lv_handovers", pins))
            stack.callback(self.ring.close)
            self.gate = gate.programs["lv_gate"]
            self.splice = {
                "outside": splice.programs["lv_splice_outside"],
                "inside": splice.programs["lv_splice_inside"],
            }
            if working:
                self.engine.start()
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._stack.close()

    def offer(self, side: Side, frame: bytes, first_buffer_bytes: int = 0) -> Ran:
        """One frame through the programs; first_buffer_bytes: in several buffers, as the gate sees it."""
        if side == "outside":
            before = self.ring.written
            code, after = self.gate.run(frame, first_buffer_bytes)
            verdict = _XDP[code]
            if verdict == "drop":
                return Ran("drop" if self.ring.written == before else "handover", ("gate",), ())
            if verdict == "tx":
                return Ran("tx", ("gate",), (("outside", after),))
            assert after == frame, "the gate changed a frame that it passed"
        way = (*(("gate",) if side == "outside" else ()), f"splice {side}")
        before = self.ring.written
        code, after = self.splice[side].run(frame)
        verdict = _TC[code]
        if verdict == "drop":
            return Ran("drop" if self.ring.written == before else "handover", way, ())
        if verdict == "pass":
            assert after == frame, "the splice changed a frame that it passed"
        return Ran(verdict, way, ((other(side), after),))

    def answers(self, expected: int, about: bytes) -> list[Left]:
        """What the thread sent after a hand-over: when the ring is empty and so many frames came, or patience ends."""
        limit = time.monotonic() + PATIENCE_S
        found: list[Left] = []
        while len(found) < expected or self.ring.read != self.ring.written:
            found += self.arrived(about)
            if time.monotonic() > limit:
                break
            time.sleep(0.001)
        return found + self.arrived(about)

    def arrived(self, about: bytes) -> list[Left]:
        """Frames that wait at the far ends and have these bytes in them; the others are gone."""
        found: list[Left] = []
        for side, wire in self.wires.items():
            while select.select([wire.socket], [], [], 0)[0]:
                frame = wire.receive()
                if about in frame:
                    found.append((side, frame))
        return found
