"""How many SYNs a second a peer answers, and what one answer costs.

One measurement: the generator sends at a given rate from the client's core; after a warm-up two
readings are taken while it still sends. `find_peak` climbs a ladder of rates, because a box that
is given more than it can do may answer less than it could: the peak is what it answers at its best.

Called by bench.__main__. Must not know: which peer answers.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from netlab.flood import compiled

from bench import meters
from bench.errors import BenchError
from bench.topology import (
    BOX,
    BOX_CPU,
    CLIENT,
    CLIENT_CPU,
    CLIENT_IF,
    OUTSIDE_IF,
    SERVER_ADDRESS,
    SERVICE_PORT,
    Shape,
    inside,
    mac_of,
    next_hop,
    on_cpus,
)

_WARM_UP_S = 0.6
_OVERHANG_S = 0.4  # the generator goes on this long after the second reading
_COUNT_MAX = 100_000_000  # the generator wants a bound; its time ends first
_SOURCES = "198.18.64.0/18"  # with ports and ISNs drawn anew for each SYN
_TESTS = Path(__file__).resolve().parent.parent
_ENVIRONMENT = os.environ | {"PYTHONPATH": str(_TESTS)}

LADDER_STEP = 1.25
_LADDER_STEPS_MAX = 40
_FALLING_BEHIND = 0.85  # answered share of what was sent below which a rung counts as too high


@dataclass(frozen=True)
class Measurement:
    """One run at one rate. Rates are packets a second; CPU time is that of the box's threads, see meters.py."""

    offered_pps: float
    answered_pps: float
    cpu_us_per_syn: float
    busy_us_per_syn: float  # of the core, whoever was busy
    busy_share: float
    stolen_share: float


def measure(pps: float, seconds: int, processes: Sequence[int]) -> Measurement:
    """Send at `pps` (0: as fast as the link takes them) and measure for `seconds`; `processes` do the box's work."""
    with _generator(pps, _WARM_UP_S + seconds + _OVERHANG_S) as process:
        time.sleep(_WARM_UP_S)
        first = meters.read(BOX_CPU, processes)
        time.sleep(seconds)
        interval = meters.between(first, meters.read(BOX_CPU, processes))
        report = process.communicate()[0]
    if process.returncode != 0:
        raise BenchError("the generator failed", "its message stands above")
    return Measurement(
        offered_pps=float(json.loads(report)["pps"]),
        answered_pps=interval.answers_per_s,
        cpu_us_per_syn=interval.ran_s * 1e6 / max(1, interval.answers),
        busy_us_per_syn=interval.busy_s * 1e6 / max(1, interval.answers),
        busy_share=interval.busy_share,
        stolen_share=interval.stolen_s / interval.seconds,
    )


def find_peak(start_pps: float, seconds: int, processes: Sequence[int]) -> list[Measurement]:
    """Climb from `start_pps` until two rungs in a row fall behind or the sender is the limit; all rungs."""
    rungs: list[Measurement] = []
    pps, behind = start_pps, 0
    for _ in range(_LADDER_STEPS_MAX):
        rung = measure(pps, seconds, processes)
        rungs.append(rung)
        behind = behind + 1 if rung.answered_pps < _FALLING_BEHIND * pps else 0
        if behind == 2:
            break
        pps *= LADDER_STEP
    return rungs


def best(rungs: list[Measurement]) -> Measurement:
    """The rung at which most was answered."""
    return max(rungs, key=lambda rung: rung.answered_pps)


def verify(shape: Shape = Shape.ROUTED) -> None:
    """See that what will be counted are right answers."""
    options = f"--interface {CLIENT_IF} --to {next_hop(shape).hex(':')} --target {SERVER_ADDRESS} --port {SERVICE_PORT}"
    command = inside(CLIENT, f"{sys.executable} -m bench.verify {options}")
    done = subprocess.run(shlex.split(command), env=_ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError("the answers are not right, so they are not counted", done.stderr.strip())


@contextmanager
def _generator(pps: float, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """The lab's generator on the client's core, sending; it ends by itself."""
    macs = f"--source-mac {mac_of(CLIENT, CLIENT_IF).hex(':')} --destination-mac {mac_of(BOX, OUTSIDE_IF).hex(':')}"
    towards = f"--interface {CLIENT_IF} --source {_SOURCES} --destination {SERVER_ADDRESS} --port {SERVICE_PORT}"
    bounds = f"--rate {round(pps)} --count {_COUNT_MAX} --seconds {math.ceil(seconds)} --seed {time.monotonic_ns()}"
    command = f"{compiled()} --kind syn-options {macs} {towards} {bounds}"
    line = shlex.split(inside(CLIENT, on_cpus([CLIENT_CPU], command)))
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
