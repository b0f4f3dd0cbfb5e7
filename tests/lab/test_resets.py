"""Resets: valid ones end a connection at once, invalid ones are ignored (RFC 5961, 3.2)."""

from __future__ import annotations

import pytest
from netlab.crafted import QUIET_S
from netlab.pairs import established, exchange, proved, unopened
from netlab.session import Lab
from scapy.layers.inet import TCP

TWO_TO_32 = 1 << 32


def test_client_resets_before_its_handshake_ends(lab: Lab, family: int) -> None:
    """Nobody asked the server yet, so nobody tells it."""
    with unopened(lab, family) as pair:
        pair.client.connect()
        pair.client.send("R", options=())
        pair.server.expect_quiet()


def test_client_resets_while_the_server_is_asked(lab: Lab, family: int) -> None:
    """The server's SYN-ACK finds nobody: it gets a reset with the number it acknowledged."""
    with proved(lab, family) as pair:
        syn = pair.server.expect("S")
        pair.client.send("R", options=())
        pair.server.receive(QUIET_S)  # a reset of the SYN is allowed here
        pair.server.answer(syn)
        answer = pair.server.expect("R")
        assert answer[TCP].seq == pair.server.ack


@pytest.mark.parametrize("resetter", ["client", "server"])
def test_exact_reset_passes(lab: Lab, family: int, resetter: str) -> None:
    with established(lab, family) as pair:
        exchange(pair)
        sender, receiver = (pair.client, pair.server) if resetter == "client" else (pair.server, pair.client)
        sender.send("R", options=())
        packet = receiver.expect("R")
        assert packet[TCP].seq == receiver.ack, "the number that the other end expects"


@pytest.mark.parametrize("resetter", ["client", "server"])
def test_reset_with_ack_passes(lab: Lab, family: int, resetter: str) -> None:
    with established(lab, family) as pair:
        sender, receiver = (pair.client, pair.server) if resetter == "client" else (pair.server, pair.client)
        sender.send("RA", options=())
        packet = receiver.expect("RA")
        assert (packet[TCP].seq, packet[TCP].ack) == (receiver.ack, receiver.seq)


@pytest.mark.parametrize("resetter", ["client", "server"])
def test_reset_outside_the_window_is_ignored(lab: Lab, family: int, resetter: str) -> None:
    """A blind attacker guessed wrong: the flow stays and works."""
    with established(lab, family) as pair:
        exchange(pair)
        sender = pair.client if resetter == "client" else pair.server
        sender.send("R", seq=sender.seq + 0x4000_0000, options=())
        sender.send("R", seq=sender.seq - 0x4000_0000, options=())
        exchange(pair)


@pytest.mark.parametrize("resetter", ["client", "server"])
def test_inexact_reset_closes_nothing(lab: Lab, family: int, resetter: str) -> None:
    """Inside the window but not the next number: the end decides (challenge ACK), the box keeps the flow."""
    with established(lab, family) as pair:
        exchange(pair)
        sender = pair.client if resetter == "client" else pair.server
        sender.send("R", seq=sender.seq + 100, options=())
        exchange(pair)


def test_syn_ack_without_a_syn_is_dropped(lab: Lab, family: int) -> None:
    with unopened(lab, family) as pair:
        pair.client.send("SA")
        pair.server.expect_quiet()


def test_wrong_cookie_opens_nothing(lab: Lab, family: int) -> None:
    with unopened(lab, family) as pair:
        pair.client.connect()
        pair.client.send("A", ack=pair.client.ack + 1)
        pair.client.send("PA", b"data", ack=pair.client.ack - 1)
        pair.server.expect_quiet()
        pair.client.send("A")
        pair.server.accept()


def test_cookie_is_bound_to_its_port(lab: Lab, family: int) -> None:
    """A cookie is good for the connection it was made for and no other one."""
    with unopened(lab, family) as pair:
        pair.client.connect()
        pair.client.local_port += 1000
        pair.client.send("A")
        pair.server.expect_quiet()
