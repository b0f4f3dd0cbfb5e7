"""A client that is far away: delayline.c on the cable between client and box.

Called by the part that measures who pays round trips. Must not know: what crosses it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from bench import builds, programs
from bench.errors import BenchError
from bench.topology import CLIENT_ADDRESS, LINE, LINE_BOX_IF, LINE_CLIENT_IF, wait_reachable


@contextmanager
def line(round_trip_ms: float) -> Iterator[None]:
    """Every frame takes half of it each way, for the length of the context; the topology was made with `far`."""
    one_way_us = round(round_trip_ms * 1000 / 2)
    argv = [str(builds.binary("delayline")), LINE_CLIENT_IF, LINE_BOX_IF, str(one_way_us)]
    # veth takes frames that an XDP program of the box sends back only where there is a program at its other end too.
    with programs.loaded() as frames, programs.attached(frames.programs["lvb_pass"], LINE, LINE_BOX_IF):
        process = subprocess.Popen(
            ["ip", "netns", "exec", LINE, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            if not process.stdout or process.stdout.readline() != "ready\n":
                raise BenchError("the delay line did not start", process.communicate()[1].strip())
            wait_reachable(CLIENT_ADDRESS)
            yield
        finally:
            process.terminate()
            _, said = process.communicate()
        if process.returncode != 0:
            raise BenchError("the delay line lost frames, so times through it say nothing", said.strip())
