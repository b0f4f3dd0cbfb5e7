"""SIGKILL at random moments, again and again, while many clients download: none of them loses anything.

`--kills` says how often: a few in the suite, 100 by `make test-kills`. Every fourth time the successor is killed too,
while it is starting: with maps taken up, programs replaced or not, wherever that finds it.
"""

from __future__ import annotations

import random
import subprocess
import threading
import time
from pathlib import Path

import pytest
from netlab import clients, servers
from netlab.process import in_namespace
from netlab.session import Lab

DOWNLOADS = 50
FILE_MIB = 8
RATE = "1M"  # bytes a second for each: a download lives through several kills
MOMENT_S = 1.5  # the next kill comes at a random moment within
STARTING_S = 0.6  # about what a start takes
DOWNLOAD_LIMIT_S = 240.0


@pytest.fixture(scope="module")
def file(nginx: Path) -> Path:
    path = nginx / "for-kills"
    servers.write_pattern(path, FILE_MIB)
    return path


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


def start_and_kill(lab: Lab, after_s: float) -> None:
    """A daemon that does not get far."""
    argv = [str(lab.appliance.levee), "run", "-c", str(lab.names.lab_dir / "levee.yaml")]
    with subprocess.Popen(in_namespace(lab.names.box, argv), stderr=subprocess.DEVNULL) as child:
        time.sleep(after_s)
        child.kill()


def test_downloads_survive_kills_at_random_moments(lab: Lab, file: Path, kills: int) -> None:
    downloaders = Downloaders(lab, file)
    downloaders.start()
    hit = []
    try:
        for number in range(kills):
            time.sleep(random.uniform(0, MOMENT_S))
            hit.append(downloaders.under_way)
            lab.kill_daemon()
            if number % 4 == 3:
                start_and_kill(lab, random.uniform(0, STARTING_S))
            lab.start_daemon()
            if downloaders.errors:
                break
    finally:
        downloaders.finish()
    print(
        f"{len(hit)} kills, {sum(hit) / len(hit):.0f} downloads under way at each; {downloaders.done} downloads equal"
    )
    assert not downloaders.errors, downloaders.errors[0]
    assert len(hit) == kills
    assert min(hit) > DOWNLOADS // 2, "kills without downloads prove nothing"
