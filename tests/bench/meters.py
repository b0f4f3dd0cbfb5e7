"""What is measured: answers on the wire, and the time a core was busy.

Answers are counted by an nft counter at the client's end of the link, where no peer can touch it,
and dropped there so that the client's stack does not answer them with resets.

CPU time is measured twice. What the box's threads ran, from their schedstat in nanoseconds: the NAPI thread that
does the kernel's receive work, and all threads of the peer's program. And how long their core was not idle, from
/proc/stat in steps of 10 ms: that has everything in it, also what belongs to no thread of ours, and also what
other people do on that core. On a quiet machine the two agree, and only then the rates mean something.

Used by the measurements. Must not know: which peer runs.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.topology import CLIENT, CLIENT_IF, inside, run

_TABLE = "levee_bench"
_ANSWERS = f"""
table netdev {_TABLE} {{
    counter answers {{ }}
    chain ingress {{
        type filter hook ingress device {CLIENT_IF} priority 0; policy accept;
        tcp flags & (syn | ack) == (syn | ack) counter name answers drop
    }}
}}
"""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_IDLE_FIELDS, _STEAL_FIELD = (3, 4), 7  # of the cpuN lines: idle and iowait; stolen by the host


@dataclass(frozen=True)
class Reading:
    """One moment: seconds, answers so far, idle and stolen seconds of a core so far, seconds our threads ran."""

    at_s: float
    answers: int
    idle_s: float
    stolen_s: float
    ran_s: float


@dataclass(frozen=True)
class Interval:
    """What lies between two readings."""

    seconds: float
    answers: int
    busy_s: float
    stolen_s: float
    ran_s: float

    @property
    def answers_per_s(self) -> float:
        """Answers a second on the client's wire."""
        return self.answers / self.seconds

    @property
    def busy_share(self) -> float:
        """Share of the time the core was not idle, 0 to 1."""
        return self.busy_s / self.seconds


@contextmanager
def answer_counter() -> Iterator[None]:
    """The counter on the client's wire, for the length of the context."""
    run(inside(CLIENT, "nft -f -"), text=_ANSWERS)
    try:
        yield
    finally:
        run(inside(CLIENT, f"nft delete table netdev {_TABLE}"))


def read(cpu: int, processes: Sequence[int] = ()) -> Reading:
    """A reading now, of a core and of processes with all their threads. The counter is read some ms before."""
    answers = _answers()
    idle_s, stolen_s = idle_and_stolen(cpu)
    return Reading(time.monotonic(), answers, idle_s, stolen_s, sum(map(ran_s, processes)))


def between(first: Reading, last: Reading) -> Interval:
    """The interval from one reading to a later one."""
    seconds = last.at_s - first.at_s
    return Interval(
        seconds=seconds,
        answers=last.answers - first.answers,
        busy_s=max(0.0, seconds - (last.idle_s - first.idle_s)),
        stolen_s=last.stolen_s - first.stolen_s,
        ran_s=last.ran_s - first.ran_s,
    )


def ran_s(process: int) -> float:
    """Seconds that all threads of a process have run: Documentation/scheduler/sched-stats.rst."""
    tasks = Path(f"/proc/{process}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def _answers() -> int:
    text = run(inside(CLIENT, f"nft -j list counter netdev {_TABLE} answers"))
    for item in json.loads(text)["nftables"]:
        if "counter" in item:
            return int(item["counter"]["packets"])
    raise BenchError("the answer counter is gone from the client's namespace")


def received_frames(namespace: str, interface: str) -> int:
    """Frames that an end of a veth pair took from its ring so far: drivers/net/veth.c, `ethtool -S`."""
    lines = [line.split(":") for line in run(inside(namespace, f"ethtool -S {interface}")).splitlines()]
    counts = [int(value) for name, value in lines if name.strip().endswith("_xdp_packets") and "rx_queue" in name]
    if not counts:
        raise BenchError(f"{interface}: no counter of frames in `ethtool -S`", "the interface must be veth")
    return sum(counts)


def idle_and_stolen(cpu: int) -> tuple[float, float]:
    """Seconds that a core was idle, and that the host took from it, so far."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{cpu}":
            idle = sum(int(fields[at]) for at in _IDLE_FIELDS)
            return idle / _TICKS_PER_S, int(fields[_STEAL_FIELD]) / _TICKS_PER_S
    raise BenchError(f"core {cpu} is not in /proc/stat", "is it online?")
