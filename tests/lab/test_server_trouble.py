"""Servers that refuse, are slow, stay silent or cannot be reached: what the client is told."""

from __future__ import annotations

import time

import pytest
from netlab.crafted import Endpoint
from netlab.pairs import exchange, proved
from netlab.session import Lab
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

SILENCE_LIMIT_S = 20.0  # SYNs after 1, 2 and 4 s, then the reset


def test_server_refuses(lab: Lab, family: int) -> None:
    """RST of the server becomes a RST with the number that the client expects."""
    with proved(lab, family) as pair:
        syn = pair.server.expect("S")
        pair.server.remote_port = syn[TCP].sport
        pair.server.send("RA", seq=0, ack=syn[TCP].seq + 1, options=())
        answer = _expect_reset(pair.client)
        assert answer[TCP].seq == pair.client.ack


def test_server_refuses_and_data_is_waiting(lab: Lab, family: int) -> None:
    with proved(lab, family) as pair:
        pair.client.send("PA", b"hello")
        syn = pair.server.expect("S")
        pair.server.remote_port = syn[TCP].sport
        pair.server.send("RA", seq=0, ack=syn[TCP].seq + 1, options=())
        assert _expect_reset(pair.client)[TCP].seq == pair.client.ack


def test_forged_refusal_is_ignored(lab: Lab, family: int) -> None:
    """A RST that does not acknowledge the SYN is not the server's (RFC 9293, 3.10.7.3)."""
    with proved(lab, family) as pair:
        syn = pair.server.expect("S")
        pair.server.remote_port = syn[TCP].sport
        pair.server.send("RA", seq=0, ack=syn[TCP].seq + 1000, options=())
        pair.client.expect_quiet()
        pair.server.answer(syn)
        exchange(pair)


def test_server_answers_after_three_seconds(lab: Lab, family: int) -> None:
    """The client's data waits, the SYN is repeated, nothing is lost."""
    with proved(lab, family) as pair:
        pair.client.send("PA", b"hello")
        first = pair.server.expect("S")
        repeated = pair.server.expect("S", limit_s=4.0)
        assert repeated[TCP].seq == first[TCP].seq
        time.sleep(1.5)
        pair.server.answer(first)
        assert pair.server.expect_data(5) == b"hello"
        exchange(pair)


def test_silent_server(lab: Lab, family: int) -> None:
    """The SYN is repeated three times, then the client gets its reset and the server is left alone."""
    before = lab.service_status()["timed_out"]
    with proved(lab, family) as pair:
        for _ in range(4):
            pair.server.expect("S", limit_s=SILENCE_LIMIT_S)
        answer = _expect_reset(pair.client, SILENCE_LIMIT_S)
        assert answer[TCP].seq == pair.client.ack
    assert lab.service_status()["timed_out"] == before + 1


def _expect_reset(client: Endpoint, limit_s: float = 3.0) -> Packet:
    """A RST or RST+ACK; an acknowledgment lies in what the client has sent."""
    limit = time.monotonic() + limit_s
    while (packet := client.receive(limit - time.monotonic())) is not None:
        if "R" in packet[TCP].flags:
            if "A" in packet[TCP].flags:
                assert packet[TCP].ack - client.isn - 1 in range(client.seq - client.isn)
            return packet
    raise AssertionError("no reset came")


def unreachable(sender: Endpoint, cause: Packet, *, port: bool) -> Packet:
    """What a router or host says about `cause`, a packet that `sender` received."""
    if cause.haslayer(IP):
        error = ICMP(type=3, code=3 if port else 1)
        return sender.link() / IP(src=sender.local, dst=sender.remote) / error / bytes(cause[IP])
    error6 = ICMPv6DestUnreach(code=4 if port else 3)
    return sender.link() / IPv6(src=sender.local, dst=sender.remote) / error6 / bytes(cause[IPv6])


@pytest.mark.parametrize("port", [True, False], ids=["port", "host"])
def test_server_is_unreachable(lab: Lab, family: int, port: bool) -> None:
    """ICMP about the box's SYN: the client, whose handshake is done, gets a reset."""
    with proved(lab, family) as pair:
        syn = pair.server.expect("S")
        pair.server.send_raw(unreachable(pair.server, syn, port=port))
        assert _expect_reset(pair.client, SILENCE_LIMIT_S)[TCP].seq == pair.client.ack


def test_unreachable_about_another_number_is_ignored(lab: Lab, family: int) -> None:
    """A forged ICMP error quotes a packet that was never sent (RFC 5927, 4.1)."""
    with proved(lab, family) as pair:
        syn = pair.server.expect("S")
        forged = Ether(bytes(syn))
        forged[TCP].seq = (forged[TCP].seq + 12345) % (1 << 32)
        pair.server.send_raw(unreachable(pair.server, forged, port=True))
        pair.server.answer(syn)
        exchange(pair)
