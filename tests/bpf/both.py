"""The same packets through both engines: the programs with the bpf engine's thread, and the nfqueue engine's path.

Owns the comparison. Called by test_cases.py and test_connection.py as if it were the box of box.py. Must not know the
cases.

Both have the same secret and the same hour, so the same cookies. The clocks run apart and timestamps begin at a random
number: of a SYN-ACK's TSval only the bits that say something (RFC 7323 leaves them to us; cookie.h) are compared, and
so its checksum. Nothing else is normalised.
"""

from __future__ import annotations

import ipaddress
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from types import TracebackType
from typing import Self

from box.box import SECRET, Result
from box.wire import Path, segment, split_link

from bpf.kernelbox import KernelBox, Left, Ran, Side, other
from cext.dataplane import Dataplane, DataplaneConfig, ServiceSpec
from cext.sourcelist import Span

_CLOCK = 0xFFFFFFC0  # the bits of our TSval that are clock: the lower six say scale and ECN
_EPOCH_S = 32  # cookie.h
_APART_S = 0.5  # more than the two boxes' clocks can be apart


@dataclass(frozen=True)
class Outcome:
    """What one packet came to in both engines, which agreed."""

    verdict: str
    way: tuple[str, ...]
    left: tuple[Left, ...]


def without_clock(frame: bytes) -> bytes:
    """A SYN-ACK of the box without the clock in its TSval and without its checksum; any other frame as it is."""
    _, tags, ethertype, packet = split_link(frame)
    at = 14 + 4 * len(tags) + (20 if ethertype == 0x0800 else 40)
    protocol = packet[9] if ethertype == 0x0800 else packet[6]
    if protocol != 6 or len(frame) < at + 20 or frame[at + 13] & 0x12 != 0x12:
        return frame
    changed = bytearray(frame)
    changed[at + 16 : at + 18] = b"\0\0"
    here, end = at + 20, at + (frame[at + 12] >> 4) * 4
    while here < end and frame[here]:
        if frame[here] == 8:
            (tsval,) = struct.unpack_from("!I", frame, here + 2)
            struct.pack_into("!I", changed, here + 2, tsval & ~_CLOCK)
        here += 1 if frame[here] == 1 else frame[here + 1]
    return bytes(changed)


def comparable(left: Sequence[Left]) -> list[Left]:
    return sorted((side, without_clock(frame)) for side, frame in left)


class Both:
    """Two boxes that must agree. Has what Talk of box.py asks of a box."""

    layers = ("l2", "l2")

    def __init__(
        self, scratch: FilePath, services: Sequence[ServiceSpec], *, fail_open: bool = False, **config: object
    ) -> None:
        values = {"secret": SECRET, "flows": 4096, "half_open": 4, "hold_total_bytes": 1 << 20, **config}
        settings = DataplaneConfig(**values)  # type: ignore[arg-type]  # names are checked by the frozen dataclass
        self.kernel = KernelBox(scratch, settings, services, fail_open=fail_open)
        self.plane = Dataplane(settings)
        self.plane.set_services(services)
        self.services = services
        self.outcome = Outcome("", (), ())
        self.about = b""
        self._sent: set[Left] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.kernel.__exit__(kind, error, trace)
        self.plane.close()

    @property
    def now_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    def cookie_of_another(self, path: Path, client_isn: int, epochs_ago: int) -> int:
        """ISN that a box with the same secret gave this client's SYN so many epochs ago, for a MSS of 1400."""
        one_epoch()
        syn = path.from_client(flags="S", seq=client_isn, options=[("MSS", 1400)])
        with Dataplane(DataplaneConfig(secret=SECRET, flows=64, half_open=64)) as one:
            one.set_services(self.services)
            then_s = int(time.time()) - epochs_ago * _EPOCH_S
            _, _, ((_, _, frame),) = one.packet("outside", syn, 1, realtime_s=then_s)
        return segment("outside", "l2", frame).seq

    def set_services(self, services: Sequence[ServiceSpec]) -> None:
        """Other services, in both."""
        for plane in (self.kernel.plane, self.plane):
            plane.set_services(services)
        self.kernel.engine.publish_services()

    def set_lists(self, spans: Sequence[Span]) -> None:
        """Block and allow these sources, in both."""
        for plane in (self.kernel.plane, self.plane):
            plane.set_lists(spans)
        self.kernel.engine.publish_lists()

    def reasons(self, name: str) -> tuple[int, int]:
        """How many packets each of them dropped for this reason."""
        kernel, plane = self.kernel.engine.counters(), self.plane.counters()
        return kernel["total"]["drops"][name], plane["total"]["drops"][name]

    def begin(self, path: Path) -> None:
        """A case with a server of its own: what else the box sends, for other cases, is their repetitions."""
        self.about = ipaddress.ip_address(path.server).packed
        self._sent = set()

    def nothing_else(self) -> None:
        """The bpf engine has sent nothing more in this case, beside what it sent before: timers go on."""
        late = set(comparable(self.kernel.arrived(self.about))) - self._sent
        assert not late, f"sent by the bpf engine and not by the nfqueue engine: {show(sorted(late))}"

    def outside(self, frame: bytes) -> Result:
        return self.offer("outside", frame)

    def inside(self, frame: bytes) -> Result:
        return self.offer("inside", frame)

    def offer(self, side: Side, frame: bytes) -> Result:
        """One frame into both. The result is the nfqueue engine's; `outcome` says what the programs did."""
        one_epoch()
        self.nothing_else()
        ran: Ran = self.kernel.offer(side, frame)
        verdict, after, sent = self.plane.packet(side, frame, self.now_ms, realtime_s=int(time.time()))
        expected: list[Left] = [("outside" if to == "outside" else "inside", data) for to, _, data in sent]
        if verdict != "drop":
            expected.append((other(side), after))
        left = list(ran.left)
        if ran.verdict == "handover":
            left += self.kernel.answers(len(expected), self.about)
        self._sent |= set(comparable(expected))
        assert comparable(left) == comparable(expected), (
            f"programs: {ran.verdict} by {ran.way}, left {show(left)}; nfqueue engine: {verdict}, left {show(expected)}"
        )
        self.outcome = Outcome(ran.verdict, ran.way, tuple(left))
        return Result(verdict, after, [segment(*one) for one in sent])


def one_epoch() -> None:
    """Not at a moment at which one box may have changed its key already and the other one not."""
    into_s = (time.time() + _APART_S) % _EPOCH_S
    if into_s < 2 * _APART_S:
        time.sleep(2 * _APART_S - into_s)


def show(left: Sequence[Left]) -> str:
    """For the message of a failed comparison."""
    return "; ".join(f"{side}: {frame.hex()}" for side, frame in left) or "nothing"
