"""Life of a connection between two real kernels with the box between them.

Same bytes and same ending as on the direct path: each test runs on both, so a test that the direct
path fails is a wrong test.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from netlab.process import run
from netlab.session import Lab, wait_until
from netlab.streams import (
    DATA,
    connected,
    in_flight_bytes,
    meanwhile,
    read_all,
    read_away,
    reset,
    send_and_finish,
    send_until,
)


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.deep)], ids=["through", "direct"])
def direct(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_upload(lab: Lab, family: int, direct: bool) -> None:
    with connected(lab, family, direct=direct) as (client, server), meanwhile(lambda: send_and_finish(client, DATA)):
        assert read_all(server) == DATA


def test_download(lab: Lab, family: int, direct: bool) -> None:
    with connected(lab, family, direct=direct) as (client, server), meanwhile(lambda: send_and_finish(server, DATA)):
        assert read_all(client) == DATA


def test_both_ways_at_once(lab: Lab, family: int, direct: bool) -> None:
    other = DATA[::-1]
    got: list[bytes] = []
    with (
        connected(lab, family, direct=direct) as (client, server),
        meanwhile(lambda: send_and_finish(client, DATA)),
        meanwhile(lambda: send_and_finish(server, other)),
        meanwhile(lambda: got.append(read_all(server))),
    ):
        assert read_all(client) == other
    assert got == [DATA]


def test_server_speaks_first(lab: Lab, family: int, direct: bool) -> None:
    with connected(lab, family, direct=direct) as (client, server):
        server.sendall(b"220 ready\r\n")
        assert client.recv(100) == b"220 ready\r\n"


def test_many_small_exchanges(lab: Lab, family: int, direct: bool) -> None:
    with connected(lab, family, direct=direct) as (client, server):
        for number in range(200):
            client.sendall(b"%d?" % number)
            assert server.recv(100) == b"%d?" % number
            server.sendall(b"%d!" % number)
            assert client.recv(100) == b"%d!" % number


@pytest.mark.parametrize("first", ["client", "server"])
def test_four_way_close(lab: Lab, family: int, direct: bool, first: str) -> None:
    with connected(lab, family, direct=direct) as ends:
        active, passive = ends if first == "client" else reversed(ends)
        active.shutdown(socket.SHUT_WR)
        assert passive.recv(1) == b""
        passive.shutdown(socket.SHUT_WR)
        assert active.recv(1) == b""


@pytest.mark.parametrize("first", ["client", "server"])
def test_half_close_with_data_afterwards(lab: Lab, family: int, direct: bool, first: str) -> None:
    with connected(lab, family, direct=direct) as ends:
        active, passive = ends if first == "client" else reversed(ends)
        active.shutdown(socket.SHUT_WR)
        assert passive.recv(1) == b""
        with meanwhile(lambda: send_and_finish(passive, DATA)):
            assert read_all(active) == DATA


def test_simultaneous_close(lab: Lab, family: int, direct: bool) -> None:
    for _ in range(20):
        with connected(lab, family, direct=direct) as (client, server):
            with meanwhile(lambda end=client: end.shutdown(socket.SHUT_WR)):  # type: ignore[misc]
                server.shutdown(socket.SHUT_WR)
            assert client.recv(1) == server.recv(1) == b""


@pytest.mark.parametrize("first", ["client", "server"])
def test_reset_after_data(lab: Lab, family: int, direct: bool, first: str) -> None:
    with connected(lab, family, direct=direct) as (client, server):
        client.sendall(b"ping")
        assert server.recv(10) == b"ping"
        active, passive = (client, server) if first == "client" else (server, client)
        reset(active)
        with pytest.raises(ConnectionResetError):
            passive.recv(1)


@pytest.mark.parametrize("first", ["client", "server"])
def test_reset_before_data(lab: Lab, family: int, direct: bool, first: str) -> None:
    with connected(lab, family, direct=direct) as (client, server):
        active, passive = (client, server) if first == "client" else (server, client)
        reset(active)
        with pytest.raises(ConnectionResetError):
            passive.recv(1)


def test_server_resets_at_accept(lab: Lab, family: int, direct: bool) -> None:
    with lab.listen(family) as listener, lab.connect(family, listener.getsockname()[1], direct=direct) as client:
        server, _ = listener.accept()
        reset(server)
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_client_resets_at_once(lab: Lab, family: int, direct: bool) -> None:
    """The client is gone before the server was asked, or just then: nothing stays open."""
    with lab.listen(family) as listener:
        reset(lab.connect(family, listener.getsockname()[1], direct=direct))
        listener.settimeout(1.0)
        try:
            server, _ = listener.accept()
        except TimeoutError:
            return  # it was never asked
        with server:
            server.settimeout(3.0)
            with pytest.raises(ConnectionResetError):
                server.recv(1)


def test_urgent_data(lab: Lab, family: int, direct: bool) -> None:
    """The urgent pointer is relative: it must survive translation, and data around it too."""
    with connected(lab, family, direct=direct) as (client, server):
        client.sendall(b"before")
        client.send(b"!", socket.MSG_OOB)
        client.sendall(b"after")
        client.shutdown(socket.SHUT_WR)
        assert wait_until(lambda: _urgent(server) == b"!")
        assert read_all(server) == b"beforeafter"


def _urgent(connection: socket.socket) -> bytes:
    with contextlib.suppress(OSError):  # EINVAL and EAGAIN: not there yet
        return connection.recv(1, socket.MSG_OOB | socket.MSG_PEEK)
    return b""


def test_window_closes_and_opens(lab: Lab, family: int, direct: bool) -> None:
    """The reader stops until the window is zero, then reads on: probes and updates cross the box."""
    with connected(lab, family, direct=direct) as (client, server):
        client.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += client.send(DATA[: 1 << 16])
        client.settimeout(20.0)
        with meanwhile(lambda: send_and_finish(client, b"end")):
            got = read_all(server)
        assert len(got) == sent + 3
        assert got.endswith(b"end")


def test_keep_alive_is_the_first_packet(lab: Lab, family: int, direct: bool) -> None:
    """Nothing is sent after the handshake but keep-alive probes, and they are answered."""
    with connected(lab, family, direct=direct) as (client, server):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
        client.settimeout(4.5)  # unanswered probes would end the connection after 3 s
        with pytest.raises(TimeoutError):
            client.recv(1)
        server.sendall(b"still there")
        assert client.recv(100) == b"still there"


def test_port_used_again_over_time_wait(lab: Lab, family: int, direct: bool) -> None:
    """The server closes first, so it holds TIME-WAIT; the client comes back from the same port."""
    port = 0
    with lab.listen(family) as listener:
        remote = (lab.direct_address if direct else lab.server_address)(family), listener.getsockname()[1]
        for round_number in range(4):
            with lab.socket_at_client(family) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                client.bind((lab.client_address(family), port))
                client.connect(remote)
                port = client.getsockname()[1]
                server, _ = listener.accept()
                with server:
                    client.sendall(b"%d" % round_number)
                    assert server.recv(10) == b"%d" % round_number
                    server.shutdown(socket.SHUT_WR)
                    assert client.recv(1) == b""
                    client.shutdown(socket.SHUT_WR)
                    assert server.recv(1) == b""


@pytest.fixture
def no_timestamps(lab: Lab) -> Iterator[None]:
    for namespace in (lab.names.client, lab.names.server):
        run(["sysctl", "-qw", "net.ipv4.tcp_timestamps=0"], namespace=namespace)
    yield
    for namespace in (lab.names.client, lab.names.server):
        run(["sysctl", "-qw", "net.ipv4.tcp_timestamps=1"], namespace=namespace)


@pytest.mark.usefixtures("no_timestamps")
def test_download_without_timestamps(lab: Lab, family: int, direct: bool) -> None:
    with connected(lab, family, direct=direct) as (client, server), meanwhile(lambda: send_and_finish(server, DATA)):
        assert read_all(client) == DATA


@pytest.mark.parametrize("knob", ["tcp_sack", "tcp_window_scaling", "tcp_timestamps"])
@pytest.mark.parametrize("end", ["client", "server"])
def test_one_end_lacks_an_option(lab: Lab, family: int, direct: bool, end: str, knob: str) -> None:
    """The box may have learned the server differently: the first guess is repaired in translation."""
    namespace = lab.names.client if end == "client" else lab.names.server
    run(["sysctl", "-qw", f"net.ipv4.{knob}=0"], namespace=namespace)
    try:
        for _ in range(2):
            with (
                connected(lab, family, direct=direct) as (client, server),
                meanwhile(lambda c=client: send_and_finish(c, DATA)),  # type: ignore[misc]
            ):
                assert read_all(server) == DATA
    finally:
        run(["sysctl", "-qw", f"net.ipv4.{knob}=1"], namespace=namespace)


def test_more_than_64_kib_are_in_flight(lab: Lab, family: int, direct: bool) -> None:
    """Window scaling works through the box: the sender's kernel reports more unacknowledged than 16 bits can say."""
    seen = threading.Event()
    with (
        connected(lab, family, direct=direct) as (client, server),
        meanwhile(lambda: send_until(server, seen)),
        meanwhile(lambda: read_away(client)),
    ):
        reached = wait_until(lambda: in_flight_bytes(server) > 0xFFFF)
        seen.set()
    assert reached


def test_flows_are_given_back(lab: Lab) -> None:
    """After closing, flows leave the table; only closing states may linger for their time."""
    before = lab.status()["flows"]["used"]
    for _ in range(50):
        with connected(lab, 4, direct=False) as (client, server):
            reset(client)
            with pytest.raises(ConnectionResetError):
                server.recv(1)
    assert wait_until(lambda: lab.status()["flows"]["used"] <= before + 5, 30.0)
