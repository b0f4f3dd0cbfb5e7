"""`make bench`: runs the parts one after the other, prints their tables, writes JSON, tables and a plot.

    python -m bench [PART...] [--rounds N] [--seconds S] [--no-save]

The process itself stays on the client's core where the box has one for itself. See README.md for what is measured and
why so.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence

from netlab.process import LabError

from bench import established, gate, memory, newconnections, packettime, report, syns
from bench.errors import BenchError
from bench.part import Effort, Report
from bench.topology import alone, say

# Name, what is measured, rounds and seconds by default: together under a quarter of an hour.
PARTS: dict[str, tuple[Callable[[Effort], Report], int, int]] = {
    "syns": (syns.run, 5, 3),
    "gate": (gate.run, 3, 2),
    "packet": (packettime.run, 5, 1),
    "established": (established.run, 3, 1),
    "connections": (newconnections.run, 3, 1),
    "memory": (memory.run, 1, 1),
}

_TERMINATED = 128 + signal.SIGTERM


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the process's exit code."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))  # contexts end: daemons, namespaces, mounts
    reports: dict[str, Report] = {}
    cores = os.sched_getaffinity(0)
    try:
        with alone():
            for name in options.parts or PARTS:
                run, rounds, seconds = PARTS[name]
                effort = Effort(options.rounds or rounds, options.seconds or seconds)
                reports[name] = run(effort)
                os.sched_setaffinity(0, cores)
    except (BenchError, LabError) as error:
        say(f"bench: {error}" + (f"\n  hint: {error.hint}" if error.hint else ""))
        return 1
    print(report.tables(reports))
    if not options.no_save:
        for path in report.save(reports):
            print(f"written: {os.path.relpath(path)}")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="what Levee does and costs, beside its peers")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default: all")
    parser.add_argument("--rounds", type=int, help="rounds; medians are taken over them")
    parser.add_argument("--seconds", type=int, help="length of one measurement")
    parser.add_argument("--no-save", action="store_true", help="write no files into results/")
    options = parser.parse_args(arguments)
    for name in options.parts:
        if name not in PARTS:
            parser.error(f"no part is called {name}; there are {', '.join(PARTS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
