"""Packets that the network delivers twice, in the handshake and in the close, and what the ends make of odd resets.

The three packets of an exchange are sent 2-1-1, 1-2-1 or 1-1-2 times. All copies that belong to the connection
arrive, no second connection comes of them, and the connection works and ends as it should.
"""

from __future__ import annotations

import pytest
from netlab.crafted import FULL_OPTIONS
from netlab.pairs import Pair, established, exchange, unopened
from netlab.session import Lab
from scapy.layers.inet import TCP

PATTERNS = [(2, 1, 1), (1, 2, 1), (1, 1, 2)]
IDS = ["-".join(map(str, pattern)) for pattern in PATTERNS]


@pytest.mark.parametrize("pattern", PATTERNS, ids=IDS)
def test_handshake_with_one_packet_twice(lab: Lab, family: int, pattern: tuple[int, int, int]) -> None:
    """SYN and final ACK of the client, SYN-ACK of the server."""
    syns, syn_acks, acks = pattern
    with unopened(lab, family) as pair:
        first = pair.client.connect()
        for _ in range(syns - 1):
            pair.client.send("S", seq=pair.client.isn, options=FULL_OPTIONS)
            assert pair.client.expect("SA")[TCP].seq == first[TCP].seq
        for _ in range(acks):
            pair.client.send("A")
        pair.server.accept()
        for _ in range(syn_acks - 1):
            pair.server.send("SA", seq=pair.server.isn, options=FULL_OPTIONS[:1])
        for _ in range(syn_acks):
            pair.server.expect("A", lambda p: p[TCP].ack == pair.server.seq)
        exchange(pair)
        assert not _syns(pair), "a second connection was opened"


def _syns(pair: Pair) -> list[str]:
    """What else came to the server that would open a connection."""
    seen = iter(lambda: pair.server.receive(0.3), None)
    return [packet.summary() for packet in seen if packet[TCP].flags == "S"]


@pytest.mark.parametrize("pattern", PATTERNS, ids=IDS)
@pytest.mark.parametrize("closer", ["client", "server"])
def test_close_with_one_packet_twice(lab: Lab, family: int, closer: str, pattern: tuple[int, int, int]) -> None:
    """FIN, the FIN that answers it, and the last ACK."""
    with established(lab, family) as pair:
        first, second = (pair.client, pair.server) if closer == "client" else (pair.server, pair.client)
        first_place, second_place = first.seq, second.seq
        first.seq = (first.seq + 1) & 0xFFFFFFFF
        second.ack = (second.ack + 1) & 0xFFFFFFFF
        for _ in range(pattern[0]):
            first.send("FA", seq=first_place)
        for _ in range(pattern[0]):
            assert second.expect("FA")[TCP].seq == (second.ack - 1) & 0xFFFFFFFF
        second.seq = (second.seq + 1) & 0xFFFFFFFF
        first.ack = (first.ack + 1) & 0xFFFFFFFF
        for _ in range(pattern[1]):
            second.send("FA", seq=second_place)
        for _ in range(pattern[1]):
            assert first.expect("FA")[TCP].ack == first.seq
        for _ in range(pattern[2]):
            first.send("A")
        for _ in range(pattern[2]):
            second.expect("A", lambda p: p[TCP].ack == second.seq)


def test_kernel_challenges_an_inexact_reset_of_the_client(lab: Lab, family: int) -> None:
    """Inside the window, not at the next number: the kernel answers with an ACK, and goes on (RFC 5961, 3.2)."""
    with lab.listen(family) as listener, lab.crafted_client(family, listener.getsockname()[1]) as client:
        client.connect()
        client.send("PA", b"before")
        server, _ = listener.accept()
        with server:
            assert server.recv(10) == b"before"
            client.expect("A", lambda p: p[TCP].ack == client.seq)
            client.send("R", seq=client.seq + 100, options=())
            client.expect("A", lambda p: p[TCP].ack == client.seq)
            client.send("PA", b"after")
            assert server.recv(10) == b"after"
            client.send("R", options=())


def test_kernel_challenges_an_inexact_reset_of_the_server(lab: Lab, family: int) -> None:
    with lab.crafted_server(family) as server, lab.connect(family, server.local_port) as client:
        server.accept()
        server.expect("A", lambda p: p[TCP].ack == server.seq)
        server.send("PA", b"before")
        assert client.recv(10) == b"before"
        server.expect("A", lambda p: p[TCP].ack == server.seq)
        server.send("R", seq=server.seq + 100, options=())
        server.expect("A", lambda p: p[TCP].ack == server.seq)
        server.send("PA", b"after")
        assert client.recv(10) == b"after"
        server.send("R", options=())
