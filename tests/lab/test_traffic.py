"""Real programs through the box: curl, wrk, iperf3, ssh, a large file, many connections."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from netlab import clients, servers
from netlab.session import Lab

CONNECTIONS = 1000
TRANSFER_LIMIT_S = 240.0


def test_curl(lab: Lab, family: int, nginx: Path) -> None:  # noqa: ARG001
    done = clients.curl(lab.names, lab.server_address(family))
    assert (done.returncode, done.stdout) == (0, "levee lab\n"), done.stderr


def test_hundred_connections_one_after_the_other(lab: Lab, family: int, nginx: Path) -> None:  # noqa: ARG001
    for _ in range(100):
        done = clients.curl(lab.names, lab.server_address(family))
        assert (done.returncode, done.stdout) == (0, "levee lab\n"), done.stderr


def test_each_host_of_the_range(lab: Lab, nginx: Path) -> None:  # noqa: ARG001
    for host in (2, 100, 200):
        assert clients.curl(lab.names, lab.server_address(4, host)).returncode == 0


@pytest.mark.parametrize("close", [False, True], ids=["keep-alive", "connection-each"])
def test_wrk(lab: Lab, family: int, nginx: Path, close: bool) -> None:  # noqa: ARG001
    """Requests follow the handshake at once, so some arrive while the server is being asked: none may be damaged."""
    damaged = lab.damaged()
    got = clients.wrk(lab.names, lab.server_address(family), connections=50, seconds=1, close=close)
    assert got["requests"] > 0
    assert got["errors"] == got["bad_statuses"] == 0, got
    assert lab.damaged() == damaged, "segments with a wrong checksum arrived"


@pytest.fixture
def iperf3_server(lab: Lab, scratch: Path) -> Iterator[None]:
    """One for each test: between two of its own tests iperf3 closes its listener, and with it who is in its queue."""
    with servers.iperf3(lab.names, scratch):
        yield


@pytest.mark.parametrize("reverse", [False, True], ids=["upload", "download"])
def test_iperf3(lab: Lab, family: int, iperf3_server: None, reverse: bool) -> None:  # noqa: ARG001
    got = clients.iperf3(lab.names, lab.server_address(family), seconds=1, reverse=reverse)
    assert got["bits_per_s"] > 0


@pytest.fixture(scope="session")
def ssh_server(lab: Lab, scratch: Path) -> Iterator[None]:
    with servers.sshd(lab.names, scratch):
        yield


def test_ssh_banner(lab: Lab, family: int, ssh_server: None) -> None:  # noqa: ARG001
    """The server speaks first: nothing the client sends after its ACK may be needed."""
    with lab.connect(family, 22) as connection:
        assert connection.makefile("rb").readline().startswith(b"SSH-2.0-")


def test_large_download_is_equal(lab: Lab, family: int, large_file: Path) -> None:
    address = lab.server_address(family)
    clients.download_equals(lab.names, address, large_file.name, large_file, TRANSFER_LIMIT_S)


def test_thousand_connections_at_once(lab: Lab, family: int, nginx: Path) -> None:  # noqa: ARG001
    """All are open before the first is used, and each gets its answer."""
    request = b"GET /small HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n"
    connections: list[socket.socket] = []
    try:
        for _ in range(CONNECTIONS):
            connections.append(lab.connect(family, 80))  # noqa: PERF401
        for connection in connections:
            connection.sendall(request)
        for number, connection in enumerate(connections):
            answer = connection.makefile("rb").read()
            assert answer.endswith(b"\r\n\r\nlevee lab\n"), f"connection {number}: {answer!r}"
    finally:
        for connection in connections:
            connection.close()
