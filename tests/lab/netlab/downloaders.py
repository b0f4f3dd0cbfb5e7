"""Many clients that download at the same time, for as long as something is done to the box.

Called by tests that kill it, or change it, again and again. Must not know what is done.
"""

from __future__ import annotations

import threading
from pathlib import Path

from netlab import clients
from netlab.session import Lab

DOWNLOADS = 50
RATE = "1M"  # bytes a second for each: a download lives through several of what is done
DOWNLOAD_LIMIT_S = 240.0


class Downloaders:
    """Clients that download the file, compare it, and begin again until they are told to end."""

    def __init__(self, lab: Lab, file: Path) -> None:
        self.lab = lab
        self.file = file
        self.errors: list[BaseException] = []
        self.done = 0
        self._under_way = 0
        self._lock = threading.Lock()
        self._end = threading.Event()
        families = (4, 6) if lab.engine != "none" else (4,)
        self._threads = [
            threading.Thread(target=self._run, args=(families[number % len(families)],)) for number in range(DOWNLOADS)
        ]

    @property
    def under_way(self) -> int:
        with self._lock:
            return self._under_way

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Downloads that have begun come to their end."""
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _run(self, family: int) -> None:
        while not self._end.is_set() and not self.errors:
            with self._lock:
                self._under_way += 1
            try:
                address = self.lab.server_address(family)
                clients.download_equals(self.lab.names, address, self.file.name, self.file, DOWNLOAD_LIMIT_S, rate=RATE)
            except AssertionError as error:
                self.errors.append(error)
            with self._lock:
                self._under_way -= 1
                self.done += 1
