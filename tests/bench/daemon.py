"""A peer's program in the box: started, ready, and ended with the context.

Called by the peers. Must not know: what the program is.
"""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.errors import BenchError
from bench.topology import BOX, inside, on_cpus

_READY_WAIT_S = 120.0  # with thousands of services on a busy machine
_STOP_WAIT_S = 10.0
_LAST_WORDS_CHARS = 2000


@contextmanager
def daemon(command: str, cpus: Sequence[int], log: Path, ready: Callable[[], bool]) -> Iterator[list[int]]:
    """Run a program in the box on `cpus` until the context ends; ready or an error with its last words."""
    program = Path(command.split(maxsplit=1)[0]).name
    with log.open("w") as output:
        process = subprocess.Popen(
            shlex.split(inside(BOX, on_cpus(cpus, command))), stdout=output, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + _READY_WAIT_S
            while not ready():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise BenchError(f"{program} did not become ready", _last_words(log))
                time.sleep(0.05)
            yield [process.pid]  # `ip netns exec` and `taskset` have become the program by now
            if process.poll() is not None:
                raise BenchError(f"{program} ended during the measurement", _last_words(log))
        finally:
            process.terminate()
            try:
                process.wait(_STOP_WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _last_words(log: Path) -> str:
    return log.read_text().strip()[-_LAST_WORDS_CHARS:] or "it said nothing"
