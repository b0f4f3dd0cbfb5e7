"""The signals of the daemon, as events of its loop.

Owns the handlers and the pipe they write to. Called by daemon.py, in the main thread. A signal that arrives before the
loop runs is kept. Must not know what a signal leads to.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

STOP = frozenset({signal.SIGTERM, signal.SIGINT})
RELOAD = frozenset({signal.SIGHUP})
READ_BYTES = 512


class Inbox:
    """Signals that have arrived and not been taken yet; `descriptor` is readable while there are any."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def take(self) -> set[int]:
        """The numbers of the signals since the last call; never waits."""
        try:
            return set(os.read(self.descriptor, READ_BYTES))
        except BlockingIOError:
            return set()


def _note(_number: int, _frame: object) -> None:
    """A Python handler has to exist for the interpreter to write the number to the pipe."""


@contextmanager
def inbox() -> Iterator[Inbox]:
    """Catches the signals until the end of the block, then leaves them as they were."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    previous_pipe = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    previous = {number: signal.signal(number, _note) for number in STOP | RELOAD}
    try:
        yield Inbox(reader)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(previous_pipe)
        os.close(reader)
        os.close(writer)
