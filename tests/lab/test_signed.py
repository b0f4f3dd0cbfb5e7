"""TCP-MD5 between real stacks: signed connections go past the box, and nothing else gets by with them."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

import pytest
from netlab.session import Lab, wait_until
from netlab.streams import DATA, meanwhile, read_all
from scapy.layers.inet import TCP

TCP_MD5SIG = 14  # linux/tcp.h
KEY, OTHER_KEY = b"between two routers", b"something else"
SYNS = 300
REFUSED_S = 3.0  # SYNs at 0 and 1 s go unanswered


def sign(made: socket.socket, peer: str, key: bytes = KEY) -> None:
    """All segments of this socket to and from `peer` carry a signature (RFC 2385). struct tcp_md5sig, linux/tcp.h."""
    if ":" in peer:
        address = struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, socket.inet_pton(socket.AF_INET6, peer), 0)
    else:
        address = struct.pack("=HH4s", socket.AF_INET, 0, socket.inet_aton(peer))
    value = struct.pack("=128sBBHi80s", address, 0, 0, len(key), 0, key)
    made.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, value)


@contextlib.contextmanager
def signed(
    lab: Lab, family: int, *, direct: bool = False, key: bytes = KEY
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A listener and a client's socket that is not yet connected, with their keys."""
    address = lab.direct_address(family) if direct else lab.server_address(family)
    with lab.listen(family) as listener, lab.socket_at_client(family) as client:
        sign(listener, lab.client_address(family))
        sign(client, address, key)
        yield listener, client


def everything(sender: socket.socket) -> None:
    sender.sendall(DATA)
    sender.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("direct", [False, True], ids=["levee", "direct"])
def test_a_signed_connection(lab: Lab, family: int, direct: bool) -> None:
    address = lab.direct_address(family) if direct else lab.server_address(family)
    before = lab.service_status()["events"]
    damaged = lab.damaged()
    with lab.capture_server() as capture, signed(lab, family, direct=direct) as (listener, client):
        client.connect((address, listener.getsockname()[1]))
        server, _ = listener.accept()
        with server:
            server.settimeout(20.0)
            for sender, receiver in ((client, server), (server, client)):
                with meanwhile(lambda: everything(sender)):  # noqa: B023  it ends within this turn
                    assert read_all(receiver) == DATA
    assert all("MD5" in dict(packet[TCP].options) for packet in capture.tcp())
    assert lab.damaged() == damaged
    after = lab.service_status()["events"]
    assert after["signed_passed"] - before["signed_passed"] == (0 if direct else 1)
    assert after["synack_sent"] == before["synack_sent"]


def test_another_key_opens_nothing(lab: Lab, family: int) -> None:
    with signed(lab, family, key=OTHER_KEY) as (listener, client):
        client.settimeout(REFUSED_S)
        with pytest.raises(TimeoutError):
            client.connect((lab.server_address(family), listener.getsockname()[1]))


def test_signed_syns_reach_the_server_at_a_trickle(lab: Lab, family: int) -> None:
    """Forged signatures: who has no key gets no answer, and the server hears of few of them."""

    def kept() -> int:
        count: int = lab.service_status()["drops"]["tcp_signature"]
        return count - before

    def arrived() -> int:
        return len(capture.tcp(lambda packet: packet[TCP].flags == "S"))

    before = 0
    before = kept()
    with lab.listen(family) as listener, lab.crafted_client(family, listener.getsockname()[1]) as client:
        frames = [client.packet("S", seq=number, options=[("MD5", bytes(16))]) for number in range(SYNS)]
        with lab.capture_server() as capture:
            for frame in frames:
                client.send_raw(frame)
            assert wait_until(lambda: arrived() + kept() == SYNS)
        client.expect_quiet()
    assert kept() > 0
    assert arrived() > 0
