"""The image's mirrored links, on real links: who is at the far end of one port sees what happened at the other one's.

outside-far --veth-- outside [mirror] inside --veth-- inside-far
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from netlab.daemonbox import namespace
from netlab.names import REPOSITORY, names_from_environment
from netlab.process import in_namespace, run
from netlab.session import wait_until

# The box's own folder is not here, and veths need no time to find out their speed.
MIRROR = """
import sys
from pathlib import Path
from chassis import mirror
mirror.HELD, mirror.SETTLE_S = Path(sys.argv[1]), 0.2
mirror.run()
"""


@pytest.fixture
def links() -> Iterator[str]:
    """A namespace with both ports and their far ends, all up."""
    name = f"{names_from_environment('levee-test').prefix}-mirror"
    with namespace(name):
        for far in ("outside-far", "inside-far"):
            run(["ip", "link", "set", far, "up"], namespace=name)
        yield name


@pytest.fixture
def mirrored(links: str, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    path = os.environ | {"PYTHONPATH": str(REPOSITORY / "image")}
    argv = [sys.executable, "-u", "-c", MIRROR, str(tmp_path / "held")]
    with subprocess.Popen(in_namespace(links, argv), env=path, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "links are mirrored\n"
        yield child
        child.kill()


def has_link(links: str, far: str) -> bool:
    said = run(["cat", f"/sys/class/net/{far}/carrier"], namespace=links, check=False)
    return said.stdout.strip() == "1"


@pytest.mark.parametrize(("lost", "seen"), [("outside", "inside"), ("inside", "outside")])
def test_a_lost_link_is_seen_at_the_other_end_until_it_returns(
    lost: str, seen: str, links: str, mirrored: subprocess.Popen[str], tmp_path: Path
) -> None:
    far, other = f"{lost}-far", f"{seen}-far"
    assert wait_until(lambda: has_link(links, other))
    run(["ip", "link", "set", far, "down"], namespace=links)
    assert wait_until(lambda: not has_link(links, other))
    assert (tmp_path / "held").read_text().strip() == seen
    run(["ip", "link", "set", far, "up"], namespace=links)
    assert wait_until(lambda: has_link(links, other) and has_link(links, far))
    assert not (tmp_path / "held").exists()
    assert mirrored.poll() is None


def test_a_held_port_is_up_again_when_mirroring_ends(links: str, mirrored: subprocess.Popen[str]) -> None:
    run(["ip", "link", "set", "outside-far", "down"], namespace=links)
    assert wait_until(lambda: not has_link(links, "inside-far"))
    mirrored.send_signal(signal.SIGTERM)
    assert mirrored.wait(10) == 0
    assert has_link(links, "inside-far")
