"""Notes for the log of a service: packets that were refused, connections that were opened."""

from dataclasses import dataclass

from cext.dataplane import DROP_REASONS as DROP_REASONS
from cext.dataplane import EVENTS as EVENTS
from cext.dataplane import Dataplane
from cext.errors import EngineError as EngineError

@dataclass(frozen=True, slots=True)
class Note:
    """One packet, or the client and server of one connection.

    opened: a connection was opened to a server; else something was refused. why: a name of DROP_REASONS; "refused" or
    "timed_out" of EVENTS where a server was the reason, "opened". outside: it came in there, else inside. source,
    destination: 16 bytes, IPv4 mapped. Ports are 0 where there are none, or they are not known; flags: of TCP, the byte
    on the wire, where there are ports. vlans: identifiers, outermost first.
    """

    service: str
    opened: bool
    why: str
    outside: bool
    source: bytes
    source_port: int
    destination: bytes
    destination_port: int
    vlans: tuple[int, ...]
    flags: int

def memory_bytes(workers: int) -> int:
    """Bytes of the rings of so many workers."""

class Notes:
    """The notes of a data plane from here on; used by one thread.

    ring_map: descriptor of the map lv_notes, where programs in the kernel leave theirs. Which services have notes, and
    how many, their ServiceSpec says. Workers and programs never wait: for what finds no room there is no note.
    """

    def __new__(cls, dataplane: Dataplane, *, ring_map: int = -1) -> Notes: ...
    def take(self) -> list[Note]:
        """Notes that wait, those of one worker or program in their order."""
    def close(self) -> None:
        """Take no more. Before the data plane is closed."""
