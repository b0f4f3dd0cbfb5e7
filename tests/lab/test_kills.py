"""SIGKILL at random moments, again and again, while many clients download: none of them loses anything.

`--kills` says how often: a few in the suite, 100 by `make test-kills`. Every fourth time the successor is killed too,
while it is starting: with maps taken up, programs replaced or not, wherever that finds it.
"""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest
from netlab import servers
from netlab.downloaders import DOWNLOADS, Downloaders
from netlab.process import in_namespace
from netlab.session import Lab

FILE_MIB = 8
MOMENT_S = 1.5  # the next kill comes at a random moment within
STARTING_S = 0.6  # about what a start takes


@pytest.fixture(scope="module")
def file(nginx: Path) -> Path:
    path = nginx / "for-kills"
    servers.write_pattern(path, FILE_MIB)
    return path


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
