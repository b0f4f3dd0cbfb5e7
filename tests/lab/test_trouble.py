"""Trouble around the box: a link that goes down and comes back under traffic.

Open connections go on by TCP's own retransmission, new ones are answered again at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from netlab import clients
from netlab.names import INSIDE, OUTSIDE
from netlab.process import run
from netlab.session import Lab
from netlab.streams import DATA, connected, meanwhile, read_all, send_and_finish

DOWN_S = 0.7


@pytest.fixture(params=[OUTSIDE, INSIDE])
def interface(lab: Lab, request: pytest.FixtureRequest) -> Iterator[str]:
    """An interface of the box whose IPv6 address, if it has one, outlives the link."""
    keep = ["sysctl", "-qw", f"net.ipv6.conf.{request.param}.keep_addr_on_down=1"]
    run(keep, namespace=lab.names.box)
    yield request.param
    run([*keep[:-1], keep[-1].replace("=1", "=0")], namespace=lab.names.box)


def down_and_up(lab: Lab, interface: str) -> None:
    """The box sees what it sees when somebody pulls the cable and puts it back."""
    run(["ip", "link", "set", interface, "down"], namespace=lab.names.box)
    time.sleep(DOWN_S)
    run(["ip", "link", "set", interface, "up"], namespace=lab.names.box)


def test_link_down_and_up(lab: Lab, family: int, interface: str, nginx: Path) -> None:  # noqa: ARG001
    with (
        connected(lab, family, direct=False) as (client, server),
        meanwhile(lambda: send_and_finish(server, DATA * 5)),
    ):
        begin = client.recv(1 << 16)
        down_and_up(lab, interface)
        assert begin + read_all(client) == DATA * 5
    for _ in range(3):
        done = clients.curl(lab.names, lab.server_address(family))
        assert (done.returncode, done.stdout) == (0, "levee lab\n"), done.stderr
