"""Extensions of TCP that a box in the middle cannot carry fall back to plain TCP, between real stacks: nothing is lost.

Each test first sees the extension at work on the direct way; a kernel without it is a skip with its reason.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator

import pytest
from netlab import netns
from netlab.process import run
from netlab.session import Lab
from netlab.streams import DATA, meanwhile, read_all, send_and_finish
from netlab.wire import Capture
from scapy.layers.inet import TCP
from scapy.packet import Packet

pytestmark = pytest.mark.deep

IPPROTO_MPTCP = 262
SOL_MPTCP, MPTCP_INFO, MPTCP_INFO_BYTES = 284, 1, 64  # linux/mptcp.h
OPTION_MPTCP, OPTION_FASTOPEN = 30, 34  # IANA; Scapy knows the second as TFO
PART = DATA[:300_000]
# ip-sysctl.rst: ask for a cookie; send data in the SYN without one.
FASTOPEN_ASK, FASTOPEN_WITHOUT_COOKIE = 0x1, 0x5
# ... and for a server: take it, take it without a cookie.
FASTOPEN_SERVER = 0x2 | 0x200
MSG_FASTOPEN = 0x20000000
FIRST = b"already in the SYN"


def _mptcp_socket(family: int, namespace: str) -> socket.socket:
    domain = socket.AF_INET if family == 4 else socket.AF_INET6
    try:
        made = netns.new_socket(namespace, domain, socket.SOCK_STREAM, IPPROTO_MPTCP)
    except OSError as error:
        if error.errno in (errno.EPROTONOSUPPORT, errno.EINVAL, errno.ENOPROTOOPT):
            pytest.skip(f"this kernel has no multipath TCP (CONFIG_MPTCP): {error.strerror}")
        raise
    made.settimeout(20.0)
    return made


@contextlib.contextmanager
def _multipath(lab: Lab, family: int, *, direct: bool) -> Iterator[tuple[socket.socket, socket.socket]]:
    any_address = "0.0.0.0" if family == 4 else "::"
    with (
        _mptcp_socket(family, lab.names.server) as listener,
        _mptcp_socket(family, lab.names.client) as client,
    ):
        listener.bind((any_address, 0))
        listener.listen()
        address = lab.direct_address(family) if direct else lab.server_address(family)
        client.connect((address, listener.getsockname()[1]))
        server, _ = listener.accept()
        with server:
            server.settimeout(20.0)
            yield client, server


def _is_multipath(connection: socket.socket) -> bool:
    """One that fell back answers as the TCP socket it is (net/mptcp/sockopt.c)."""
    try:
        connection.getsockopt(SOL_MPTCP, MPTCP_INFO, MPTCP_INFO_BYTES)
    except OSError as error:
        if error.errno in (errno.ENOPROTOOPT, errno.EOPNOTSUPP):
            return False
        raise
    return True


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "through"])
def test_multipath_falls_back(lab: Lab, family: int, direct: bool) -> None:
    with lab.capture_server() as wire:
        with _multipath(lab, family, direct=direct) as (client, server):
            port = client.getpeername()[1]
            for one, another in ((client, server), (server, client)):
                _sent(one, another)
            assert [_is_multipath(end) for end in (client, server)] == [direct, direct]
        wire.settle()
    asked = [p for p in _syns(wire, port) if _has_option(p, OPTION_MPTCP)]
    assert bool(asked) is direct


def _sent(source: socket.socket, sink: socket.socket) -> None:
    with meanwhile(lambda: send_and_finish(source, PART)):
        assert read_all(sink) == PART


def _syns(wire: Capture, port: int) -> list[Packet]:
    found = wire.tcp(lambda p: p[TCP].dport == port and int(p[TCP].flags) & 0x12 == 0x02)
    assert found, "there is no SYN on the wire"
    return found


def _has_option(packet: Packet, kind: int) -> bool:
    return any(name in (kind, {OPTION_FASTOPEN: "TFO"}.get(kind)) for name, _ in packet[TCP].options)


@contextlib.contextmanager
def _fastopen(lab: Lab, at_client: int) -> Iterator[None]:
    """The extension is on at both ends. It is one setting for both families."""
    wanted = {lab.names.client: at_client, lab.names.server: FASTOPEN_SERVER}
    name = "net.ipv4.tcp_fastopen"
    before = {namespace: run(["sysctl", "-n", name], namespace=namespace).stdout.strip() for namespace in wanted}
    for namespace, value in wanted.items():
        run(["sysctl", "-qw", f"{name}={value}"], namespace=namespace)
    try:
        yield
    finally:
        for namespace, text in before.items():
            run(["sysctl", "-qw", f"{name}={text}"], namespace=namespace)


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "through"])
@pytest.mark.parametrize("at_client", [FASTOPEN_ASK, FASTOPEN_WITHOUT_COOKIE], ids=["cookie-asked", "data-in-the-SYN"])
def test_fast_open_falls_back(lab: Lab, family: int, at_client: int, direct: bool) -> None:
    """The data of the SYN arrives once, with the rest behind it."""
    with _fastopen(lab, at_client), lab.capture_client() as at_ours, lab.capture_server() as at_theirs:
        with lab.listen(family) as listener, lab.socket_at_client(family) as client:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
            address = lab.direct_address(family) if direct else lab.server_address(family)
            port = listener.getsockname()[1]
            client.setblocking(True)  # without a cookie the call waits for the SYN-ACK
            client.sendto(FIRST, MSG_FASTOPEN, (address, port))
            client.settimeout(20.0)
            server, _ = listener.accept()
            with server:
                server.settimeout(20.0)
                with meanwhile(lambda: send_and_finish(client, PART)):
                    assert read_all(server) == FIRST + PART
                server.sendall(b"thanks")
                assert client.recv(10) == b"thanks"
        at_ours.settle()
        at_theirs.settle()
    syn, arrived = _syns(at_ours, port)[0], _syns(at_theirs, port)[0]
    if at_client == FASTOPEN_ASK:
        assert _has_option(syn, OPTION_FASTOPEN), "the client did not ask"
        assert _has_option(arrived, OPTION_FASTOPEN) is direct
    else:
        assert bytes(syn[TCP].payload).startswith(FIRST), "the client sent no data in its SYN"
        assert bytes(arrived[TCP].payload).startswith(FIRST) is direct
