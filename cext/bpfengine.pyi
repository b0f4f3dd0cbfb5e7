"""The BPF engine: programs on both NICs, and one thread for what they hand to user space."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self, TypedDict, type_check_only

from cext.dataplane import DROP_REASONS as DROP_REASONS
from cext.dataplane import EVENTS as EVENTS
from cext.dataplane import AllCounters, Dataplane, Flow, FlowQuery, Occupancy
from cext.errors import EngineError as EngineError

@type_check_only
class BpfStats(TypedDict):
    """Counters since start(). attached: "native" or "generic" XDP. Times in microseconds."""

    attached: str
    handovers: int
    malformed: int
    verdict_drop: int
    verdict_pass: int
    verdict_rewrite: int
    map_errors: int
    sent: dict[str, int]
    send_errors: dict[str, int]

class BpfEngine:
    """The programs of a bridge of two NICs, and the thread behind them.

    dataplane: with one worker, private memory (no path). pin_folder: on a bpffs; programs and maps pinned there outlive
    the daemon, and a successor takes them up. fail_open: what new connections meet while no daemon is at work.
    heartbeat_late_ms: after so long without a sign of life of this process the programs follow fail_open.
    """

    def __new__(
        cls,
        dataplane: Dataplane,
        *,
        outside: str,
        inside: str,
        pin_folder: str,
        fail_open: bool = False,
        heartbeat_late_ms: int = 2000,
    ) -> Self: ...
    @property
    def running(self) -> bool: ...
    @property
    def failure(self) -> str | None: ...
    @property
    def taken_up(self) -> int:
        """Connections found in the kernel's table at open()."""
    @property
    def replaced(self) -> int:
        """Maps of a predecessor with another layout, which were made anew; their contents are lost."""
    @property
    def clsact_made(self) -> tuple[str, ...]:
        """Interfaces that had no clsact qdisc before attach()."""
    def open(self) -> None:
        """Load (or take up) maps and programs. Raises EngineError. Nothing is attached yet."""
    def start(self) -> None:
        """Attach the programs and start the thread. Raises EngineError."""
    def attach(self) -> None:
        """Put the programs back on interfaces that lost them, or came back. Raises EngineError."""
    def publish_services(self) -> None:
        """Hand the data plane's services to the programs, all at once. To be called after Dataplane.set_services()."""
    def publish_lists(self) -> None:
        """The same for the data plane's lists of sources."""
    def stop(self, *, detach: bool, forget: bool = False) -> None:
        """End the thread. detach: take the programs off; else they go on by themselves.

        forget (with detach): the maps go too, and with them all connections; else a successor finds them.
        """
    def close(self) -> None:
        """Let go of everything without detaching. Not while the thread runs."""
    def counters(self) -> AllCounters:
        """The data plane's and the programs' together."""
    def occupancy(self) -> Occupancy: ...
    def flow_page(self, query: FlowQuery, cursor: int, limit: int) -> tuple[list[Flow], int | None]:
        """As the data plane's, from the table in the kernel; more than `limit` by up to a batch. Raises EngineError."""
    def map(self, name: str) -> int:
        """Descriptor of a map that the programs use, valid until close(). KeyError: there is none of this name."""
    def attached(self) -> bool:
        """Whether the programs are still on both interfaces."""
    def stats(self) -> BpfStats: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

def remove_programs(pin_folder: str, *, forget: bool, clsact: Sequence[str] = ()) -> None:
    """Take the programs off every interface of this network namespace, those of any version. No engine may be open.

    forget: the maps go too, and with them all connections. clsact: interfaces whose clsact qdisc goes too, if empty.
    """
