"""Queues in the hands of one pinned thread: one for SYNs, one for everything else.

Order for the caller: open (or start) every worker, then load the rules; remove the rules, then stop the workers.
A packet that is queued while nobody listens is dropped by the kernel (or passed, where the rule says `bypass`).
"""

from types import TracebackType
from typing import Literal, Self

from cext.dataplane import Dataplane
from cext.errors import EngineError as EngineError
from cext.queues import QueueStats as QueueStats
from cext.queues import WorkerStats as WorkerStats

class QueueWorker:
    """Two queues in the hands of the data plane's worker number `index`.

    syn_queue: where the rules send SYNs, so that a flood of them fills no other queue. queue: everything else.
    outside, inside: interface names; they are looked up again when they vanish and return.
    length: packets the kernel holds for us in each. when_full: what the kernel does with more than that.
    mode: "routed" and "host" open raw IP sockets next to the packet sockets; in "host" the machine's own packets are
        those of the servers.
    mark: SO_MARK of what leaves through the raw IP sockets. cpu: None = the index-th CPU this process may use.
    """

    def __new__(
        cls,
        dataplane: Dataplane,
        *,
        queue: int,
        syn_queue: int,
        index: int,
        outside: str,
        inside: str,
        mode: Literal["bridge", "routed", "host"],
        length: int = 16384,
        when_full: Literal["drop", "pass"] = "drop",
        mark: int = 0,
        cpu: int | None = None,
    ) -> Self: ...
    @property
    def running(self) -> bool: ...
    @property
    def failure(self) -> str | None:
        """Why the thread ended by itself, None while it runs or after stop()."""
    def open(self) -> None:
        """Open the sockets and bind the queues. Raises EngineError. From here on packets wait for start()."""
    def start(self) -> None:
        """open() if that has not been done, then start the thread. Raises EngineError."""
    def stop(self) -> None:
        """Answer what is still queued, end the thread, close. Safe to call twice."""
    def close(self) -> None: ...
    def refresh_interfaces(self) -> None:
        """Have the thread look both interfaces up again now (it also does so every second and after a send error)."""
    def stats(self) -> WorkerStats: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...
