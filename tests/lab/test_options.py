"""Combinations of TCP options on both sides: what is agreed on each side, and that data flows.

All combinations are far too many for the wire; a fixed random sample is taken here, and the parsers
and encoders see them all in the property tests.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from netlab.crafted import Options, option
from netlab.pairs import established, exchange
from netlab.session import Lab
from scapy.layers.inet import TCP

pytestmark = pytest.mark.deep

PAIRS = 40
MSS = (None, 216, 536, 1220, 1360, 1440, 1452, 1460, 8960)
WSCALE = (None, *range(15))


def combination(dice: random.Random) -> Options:
    """MSS, window scale, SACK and timestamps, each there or not, in random order."""
    chosen: list[tuple[str, Any]] = []
    if (mss := dice.choice(MSS)) is not None:
        chosen.append(("MSS", mss))
    if (wscale := dice.choice(WSCALE)) is not None:
        chosen.append(("WScale", wscale))
    if dice.random() < 0.5:
        chosen.append(("SAckOK", b""))
    if dice.random() < 0.5:
        chosen.append(("Timestamp", (dice.getrandbits(32), 0)))
    dice.shuffle(chosen)
    return chosen


def text(options: Options) -> str:
    names = [f"{name}={value}" if name in ("MSS", "WScale") else name for name, value in options]
    return "+".join(names) or "none"


SAMPLE = [(combination(dice), combination(dice)) for dice in [random.Random(1974)] for _ in range(PAIRS)]


@pytest.mark.parametrize(("client", "server"), SAMPLE, ids=[f"{text(c)}-{text(s)}" for c, s in SAMPLE])
def test_any_options_on_each_side(lab: Lab, family: int, client: Options, server: Options) -> None:
    """Whatever the two want, data goes both ways, and nobody is sent what it did not agree to."""
    with established(lab, family, client, server) as pair:
        exchange(pair)
        pair.server.send("PA", b"d", window=1)
        to_client = pair.client.expect("PA")
        # A server without timestamps behind a SYN-ACK that promised them: RFC 7323, 3.2 would have one in each
        # segment, the box adds none, and stacks accept that. It is so for a server's first connection only.
        both = pair.client.timestamps is not None and pair.server.timestamps is not None
        assert (option(to_client, "Timestamp") is not None) == both
        assert to_client[TCP].window > 0, "a window that is open is never shown as closed"
        pair.client.ack += 1
        pair.client.send("A", window=1)
        to_server = pair.server.expect("A", lambda p: p[TCP].ack == pair.server.seq)
        assert (option(to_server, "Timestamp") is not None) == (pair.server.timestamps is not None)
        assert to_server[TCP].window > 0


@pytest.mark.parametrize("told", [0, 7, 14])
@pytest.mark.parametrize("own", [0, 7, 14])
def test_windows_are_rescaled(lab: Lab, family: int, told: int, own: int) -> None:
    """The SYN-ACK promised one scale, the server has another: the client computes the same bytes."""
    plain: Options = (("MSS", 1460),)
    client: Options = (*plain, ("WScale", told))
    with established(lab, family, client, (*plain, ("WScale", own))) as pair:
        pair.server.send("PA", b"w", window=1000)
        seen = pair.client.expect("PA")
        promised = pair.scale_told_to_client
        assert promised is not None
        meant, shown = 1000 << own, seen[TCP].window << promised
        largest = 0xFFFF << promised
        assert shown <= meant or shown == 1 << promised
        assert shown >= min(meant, largest) - (1 << promised) + 1
