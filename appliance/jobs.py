"""Work that may take long, done in a thread of its own, and its results brought back into the daemon's loop.

Owns the thread, the order (first come, first served, one at a time: so changes of the box never meet each other) and
the pipe that wakes the loop. Called by daemon.py and control.py. Must not know what the work is.
"""

import os
import selectors
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

READ_BYTES = 512


class Jobs:
    """Open from construction to close()."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="levee-jobs")
        self._finished: deque[Callable[[], None]] = deque()
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        selector.register(self._reader, selectors.EVENT_READ, self._bring_back)

    def submit(self, work: Callable[[], Result], done: Callable[[Result], None]) -> None:
        """Runs `work()` in the thread, then `done(result)` in the loop; what `work` raises is raised in the loop."""

        def finished(future: Future[Result]) -> None:
            if not future.cancelled():
                self._finished.append(lambda: done(future.result()))
                self._wake()

        self._thread.submit(work).add_done_callback(finished)

    def close(self) -> None:
        """Waits for the job in hand; those after it are not begun, and results that nobody took are dropped.

        Can be repeated.
        """
        self._thread.shutdown(wait=True, cancel_futures=True)
        if self._reader < 0:
            return
        self._selector.unregister(self._reader)
        os.close(self._reader)
        os.close(self._writer)
        self._reader = self._writer = -1

    def _wake(self) -> None:
        try:
            os.write(self._writer, b"\0")
        except BlockingIOError:
            return  # the pipe is full of wake-ups: one is enough

    def _bring_back(self, _events: int) -> None:
        os.read(self._reader, READ_BYTES)
        while self._finished:
            self._finished.popleft()()
