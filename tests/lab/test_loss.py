"""Loss on both sides of the box: streams stay whole, and SACK works through the translation.

The kernel of each end drops a share of what arrives at its interface, chosen at random.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from netlab.loss import losing
from netlab.session import Lab
from netlab.streams import DATA, connected, meanwhile, read_all, send_and_finish

pytestmark = pytest.mark.deep


@pytest.fixture(params=[1, 5], ids=["1%", "5%"])
def lossy(lab: Lab, request: pytest.FixtureRequest) -> Iterator[None]:
    with losing(lab, request.param):
        yield


@pytest.mark.usefixtures("lossy")
@pytest.mark.parametrize("direction", ["upload", "download"])
def test_streams_stay_whole_under_loss(lab: Lab, family: int, direction: str) -> None:
    with connected(lab, family, direct=False) as (client, server):
        source, sink = (client, server) if direction == "upload" else (server, client)
        with meanwhile(lambda: send_and_finish(source, DATA)):
            assert read_all(sink) == DATA


@pytest.mark.usefixtures("lossy")
def test_handshakes_succeed_under_loss(lab: Lab, family: int) -> None:
    """SYN, SYN-ACK, final ACK, the server's SYN and its answer get lost, and all is repeated."""
    for number in range(30):
        with connected(lab, family, direct=False) as (client, server):
            server.sendall(b"%d" % number)
            assert client.recv(10) == b"%d" % number
