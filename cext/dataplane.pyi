"""The data plane: flow table, caches, keys and services of one box, shared by the workers of an engine."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self, TypedDict, type_check_only

@dataclass(frozen=True, slots=True)
class DataplaneConfig:
    """Sizes are of records or bytes, fixed for the life of the Dataplane.

    sources: prefixes whose connections are counted, for services with limits.
    path: file of the shared memory (on a tmpfs); None keeps it private. secret: 32 bytes, the cookies' master secret.
    route_outside, route_inside: packets of our own are IP packets to be routed, not Ethernet frames.
    """

    secret: bytes
    path: str | None = None
    workers: int = 1
    flows: int = 262144
    half_open: int = 65536
    hold_per_flow_bytes: int = 32768
    hold_total_bytes: int = 67108864
    sources: int = 65536
    route_outside: bool = False
    route_inside: bool = False

@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One service as the data plane sees it.

    addresses: ranges (first, last) as integers of 128 bits; IPv4 is mapped, ::ffff:a.b.c.d. ports: ranges. vids: VLAN
    identifiers, empty for any. wscale None: the server has no window scaling. trap: nobody is served; who completes a
    handshake is in caught(). signed_drop: SYNs with a TCP-MD5 or TCP-AO signature are dropped; else up to 50 a second
    pass, and the server's signed answer makes the connection known. excepted: not a service but hosts that pass,
    whatever the ports; protect is to be False. pinned: mss4 to timestamps are announced whatever servers answer, and
    no ECN; else they are a first guess. auto (with protect): connections pass and are watched, until a second has
    more than most_syns_per_s SYNs or set_guard() says so; then new ones are proxied. source_new_per_s, source_open:
    connections that one source, the first source_prefix4 or source_prefix6 bits of an address, may begin in a second
    and have open; 0: any number. source_over: "drop", "reset", or "block", which puts who is over into caught().
    forward_port: the port of its servers, which clients know by the one port of `ports`; 0: the same.
    forward_address: likewise the server's address, where `addresses` is a single one. target: not a service but what
    another one forwards to; then these two lead back to it, and protect is to be False. log_refused, log_opened: notes
    of packets that were refused and of connections that were opened, at most so many in so many seconds (cext.notes).
    """

    name: str
    addresses: tuple[tuple[int, int], ...]
    ports: tuple[tuple[int, int], ...]
    vids: tuple[int, ...] = ()
    protect: bool = True
    window_zero: bool = False
    fragments_pass: bool = False
    trap: bool = False
    signed_drop: bool = False
    mss4: int = 1460
    mss6: int = 1440
    wscale: int | None = 7
    sack: bool = True
    timestamps: bool = True
    excepted: bool = False
    pinned: bool = False
    auto: bool = False
    most_syns_per_s: int = 0
    source_new_per_s: int = 0
    source_open: int = 0
    source_prefix4: int = 32
    source_prefix6: int = 64
    source_over: str = "drop"
    forward_port: int = 0
    forward_address: int | None = None
    target: bool = False
    log_refused: tuple[int, int] = (0, 1)
    log_opened: tuple[int, int] = (0, 1)

@dataclass(frozen=True, slots=True)
class FlowQuery:
    """Which connections are asked for; nothing given is all of them.

    client, server: ranges (first, last) as in ServiceSpec. ports: of the server, both ends inside. states: of
    FLOW_STATES.
    """

    client: tuple[int, int] | None = None
    server: tuple[int, int] | None = None
    ports: tuple[int, int] = (0, 65535)
    service: str | None = None
    states: tuple[str, ...] = ()

@type_check_only
class Counters(TypedDict):
    """events: name -> count. drops: reason -> count."""

    events: dict[str, int]
    drops: dict[str, int]

@type_check_only
class AllCounters(TypedDict):
    """total: everything. services: by name; what belongs to no service is only in total."""

    total: Counters
    services: dict[str, Counters]

@type_check_only
class Occupancy(TypedDict):
    """Records in use and their number; bytes for the hold."""

    flows_used: int
    flows_capacity: int
    half_open_used: int
    half_open_capacity: int
    hold_bytes_used: int
    hold_bytes_capacity: int
    sources_used: int
    sources_capacity: int

@type_check_only
class Flow(TypedDict):
    """One connection. Addresses are 16 bytes, IPv4 mapped; age and idle in ms."""

    client: bytes
    client_port: int
    server: bytes
    server_port: int
    vids: tuple[int, int]
    state: str
    service: str
    age_ms: int
    idle_ms: int

@type_check_only
class Backend(TypedDict):
    """What a server's SYN-ACKs announce. wscale None: none; window as on the wire; age in ms.

    known: which of "wscale", "sack", "timestamps", "ecn" the server was asked for; the others say nothing.
    """

    address: bytes
    port: int
    mss: int
    wscale: int | None
    sack: bool
    timestamps: bool
    ecn: bool
    known: tuple[str, ...]
    window: int
    age_ms: int

DROP_REASONS: dict[str, str]
"""Reason -> sentence for the operator, in the order of the counters."""
REFUSALS: tuple[str, ...]
"""Those of DROP_REASONS for a packet that was not wanted; the others are the protection at work."""
EVENTS: dict[str, str]
"""Event -> sentence for the operator."""
FLOW_STATES: tuple[str, ...]

class StateError(Exception):
    """The shared memory file cannot be used: message and hint."""

    message: str
    hint: str
    def __init__(self, message: str, hint: str) -> None: ...

def memory_bytes(config: DataplaneConfig) -> dict[str, int]:
    """Bytes of memory by table, all of it allocated at the start."""

class Dataplane:
    """Owns all memory of the data plane. Workers must have stopped before close()."""

    def __new__(cls, config: DataplaneConfig) -> Self: ...
    @property
    def config(self) -> DataplaneConfig: ...
    @property
    def worker_count(self) -> int: ...
    @property
    def taken_up(self) -> int:
        """Connections taken up from a predecessor."""
    def set_services(self, services: Sequence[ServiceSpec]) -> None:
        """Replace all services at once. Counters of a name that stays go on. ValueError: services overlap."""
    def set_lists(self, spans: Sequence[tuple[int, int, bool]]) -> None:
        """Replace the lists of sources: spans (first, last, blocked), ascending, none over another.

        Addresses are as in ServiceSpec. False: allowed, never to be blocked. ValueError: too many. See sourcelist.py.
        """
    def caught(self) -> list[tuple[bytes, str]]:
        """Sources that walked into a trap since the last call: 16 bytes, IPv4 mapped, and the name of the service.

        Those that the lists allow are not caught. At most 1024 are kept; later ones are caught when they try again.
        """
    def counters(self) -> AllCounters: ...
    def occupancy(self) -> Occupancy: ...
    def flows(self, limit: int, query: FlowQuery = ...) -> list[Flow]: ...
    def flow_page(self, query: FlowQuery, cursor: int, limit: int) -> tuple[list[Flow], int | None]:
        """Connections from one part of the table, and where the next one begins: None at its end.

        Looks at a bounded number of records, so that asking takes a bounded time however large the table is. cursor:
        0 at first. ValueError: a state that does not exist.
        """
    def guards(self) -> dict[str, bool]:
        """Services with auto, by name: whether they are protected just now."""
    def set_guard(self, name: str, on: bool) -> None:
        """Protect a service with auto from now on, or only watch it; open connections go on. KeyError: not one."""
    def backends(self) -> list[Backend]: ...
    def restore_backends(self, backends: Iterable[Backend]) -> int:
        """Put in servers that are not known yet, as old as they say (24 days at most); how many were put in.

        ValueError or OverflowError: a value that no server can have.
        """
    def forget_backends(self, older_than_ms: int) -> int:
        """Forget servers not heard for longer than this, at most 49 days; how many."""
    def packet(
        self,
        side: Literal["outside", "inside"],
        frame: bytes,
        now_ms: int,
        *,
        realtime_s: int = 1700000000,
        worker: int = 0,
        has_l2: bool = True,
    ) -> tuple[str, bytes, list[tuple[str, str, bytes]]]:
        """One Ethernet frame through the engine, for tests. A first VLAN tag is handed over out of band, as kernels do.

        Returns the verdict ("drop", "pass", "rewrite"), the frame as it goes on, and what the box sent: (towards which
        side, "l2" or "l3", bytes). Times are the caller's, so that a test is its own clock.
        """
    def tick(self, now_ms: int, *, realtime_s: int = 1700000000, worker: int = 0) -> list[tuple[str, str, bytes]]:
        """Timers: what the box sent."""
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...
