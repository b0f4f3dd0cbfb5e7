"""Captured packets: which are wanted, and what was captured of them."""

from dataclasses import dataclass

from cext.dataplane import DROP_REASONS as DROP_REASONS
from cext.dataplane import Dataplane
from cext.errors import EngineError as EngineError

MOST_BYTES: int  # of a frame
FATES: tuple[str, ...]  # what may become of a packet
TAG_BYTES: int

@dataclass(frozen=True, slots=True)
class CaptureQuery:
    """Which packets are wanted, all that is given together; nothing given is all of them.

    until_ns: the end, on CLOCK_MONOTONIC. addresses: one of the packet's lies in this range (128 bits, IPv4 mapped).
    service: its name. reasons: dropped for one of these (names of DROP_REASONS); fates: or one of these became of it.
    bytes_each: kept of each Ethernet frame, 1 to MOST_BYTES.
    """

    until_ns: int
    addresses: tuple[int, int] | None = None
    service: str | None = None
    reasons: tuple[str, ...] = ()
    fates: tuple[str, ...] = ()
    bytes_each: int = ...

@dataclass(frozen=True, slots=True)
class CapturedPacket:
    """One packet. outside: it came in there, or (fate "sent") left there; else inside.

    time_ns: CLOCK_MONOTONIC. reason: why it was dropped, "" for all others. service: "" for none. length: bytes of the
    Ethernet frame as it was, with its VLAN tags; data: its beginning. MAC addresses that are not known are zeros.
    """

    time_ns: int
    outside: bool
    fate: str
    reason: str
    service: str
    length: int
    data: bytes

def memory_bytes(workers: int) -> int:
    """Bytes of the rings of so many workers, from the first capture on."""

class Capture:
    """The captures of a data plane, one at a time; used by one thread.

    choice_map, ring_map: descriptors of the maps lv_capture and lv_captures, where programs in the kernel see packets
    too. Workers and programs never wait: a packet that finds no room is in `missed`.
    """

    def __new__(cls, dataplane: Dataplane, *, choice_map: int = -1, ring_map: int = -1) -> Capture: ...
    @property
    def missed(self) -> int:
        """Wanted packets that found no room, since begin()."""
    def begin(self, query: CaptureQuery) -> None:
        """Capture what is asked for, until end() or until the time comes. KeyError: there is no such service."""
    def take(self, room: int) -> list[CapturedPacket]:
        """Packets that wait, in the order of their times; no more than about `room` bytes of them."""
    def end(self) -> None:
        """Capture no more. What waits can still be taken."""
    def close(self) -> None:
        """Capture no more, and let go of the programs' maps. Before the data plane is closed."""
