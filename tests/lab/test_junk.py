"""Packets that no honest stack sends: nothing of them reaches the server, and the box goes on.

Each test ends with a good connection through the same box.
"""

from __future__ import annotations

import random

import pytest
from netlab.crafted import FULL_OPTIONS, Endpoint, option
from netlab.pairs import Pair, established, exchange, unopened
from netlab.session import Lab
from scapy.layers.inet import IP, TCP, fragment
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    fragment6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

pytestmark = pytest.mark.deep

GARBAGE_PACKETS = 1500


def still_works(lab: Lab, family: int) -> None:
    with established(lab, family) as pair:
        exchange(pair)


def good_syn(client: Endpoint) -> Packet:
    """A SYN as it would be sent, whole and with its checksums computed."""
    return Ether(bytes(client.packet("S", options=FULL_OPTIONS)))


def total_drops(lab: Lab) -> int:
    return sum(lab.status()["drops"].values())


@pytest.mark.parametrize("flags", ["", "F", "FPU", "SF", "SR", "SFR", "SFPAUR", "FR", "P", "U", "SAR"])
def test_impossible_flags(lab: Lab, family: int, flags: str) -> None:
    before = total_drops(lab)
    with unopened(lab, family) as pair:
        pair.client.send_raw(pair.client.packet(flags, options=()))
        pair.server.expect_quiet()
        pair.client.expect_quiet(0.05)
    assert total_drops(lab) > before, "each dropped packet has a counted reason"
    still_works(lab, family)


def test_wrong_tcp_checksum(lab: Lab, family: int) -> None:
    """A SYN with one is not answered; a final ACK with one proves nothing."""
    with unopened(lab, family) as pair:
        broken = good_syn(pair.client)
        broken[TCP].chksum ^= 0x5555
        pair.client.send_raw(broken)
        pair.client.expect_quiet()
        pair.client.connect()
        ack = Ether(bytes(pair.client.packet("A")))
        ack[TCP].chksum ^= 0x5555
        pair.client.send_raw(ack)
        pair.server.expect_quiet()
        pair.client.send("A")
        pair.server.accept()


@pytest.mark.parametrize("dataofs", [0, 1, 4, 15])
def test_wrong_header_length(lab: Lab, family: int, dataofs: int) -> None:
    with unopened(lab, family) as pair:
        broken = pair.client.packet("S", options=())
        broken[TCP].dataofs = dataofs
        pair.client.send_raw(broken)
        pair.client.expect_quiet()
        pair.server.expect_quiet(0.05)
    still_works(lab, family)


@pytest.mark.parametrize("kept", [1, 4, 8, 13, 19])
def test_cut_short(lab: Lab, family: int, kept: int) -> None:
    """The packet ends inside the TCP header, with the IP length telling the truth."""
    with unopened(lab, family) as pair:
        segment = bytes(good_syn(pair.client)[TCP])[:kept]
        network = pair.client.network()
        setattr(network, "nh" if family == 6 else "proto", 6)
        pair.client.send_raw(pair.client.link() / network / Raw(segment))
        pair.client.expect_quiet()
        pair.server.expect_quiet(0.05)
    still_works(lab, family)


MALFORMED = {
    "length 0": b"\x02\x00\x05\xb4",
    "length 1": b"\x03\x01\x01\x01",
    "beyond the header": b"\x08\x0a\x00\x00",
    "only a kind": b"\x01\x01\x01\x02",
    "MSS of 3": b"\x02\x03\x05\x01",
    "window scale of 2": b"\x03\x02\x01\x01",
    "window scale 255": b"\x03\x03\xff\x01",
    "SACK permitted of 3": b"\x04\x03\x00\x01",
    "unknown, long": b"\xfd\x28" + b"\x00" * 30,
    "two timestamps": (b"\x08\x0a\x00\x00\x00\x01\x00\x00\x00\x00") * 2,
    "two MSS": b"\x02\x04\x05\xb4\x02\x04\x02\x18",
    "end, then more": b"\x00\x02\x04\x05\xb4\x01\x01\x01",
    "all NOP": b"\x01" * 40,
    "MSS 0": b"\x02\x04\x00\x00",
}


@pytest.mark.parametrize("options", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_options(lab: Lab, family: int, options: bytes) -> None:
    """Answered or not: no crash, nothing at the server, and no option that was not offered."""
    padded = options + b"\x00" * (-len(options) % 4)
    with unopened(lab, family) as pair:
        whole = pair.client.packet("S", options=())
        whole[TCP].dataofs = 5 + len(padded) // 4
        pair.client.send_raw(whole / Raw(padded))
        answer = pair.client.receive(0.2)
        if answer is not None:
            assert answer[TCP].flags == "SA"
            assert option(answer, "WScale") is None or b"\x03\x03" in options
        pair.server.expect_quiet(0.05)
    still_works(lab, family)


def _fragments(client: Endpoint) -> list[Packet]:
    whole = client.packet("S", b"x" * 64, options=FULL_OPTIONS)
    if whole.haslayer(IP):
        whole[IP].flags = 0
        return [client.link() / part for part in fragment(whole[IP], fragsize=24)]  # type: ignore[no-untyped-call]
    inside = IPv6(src=client.local, dst=client.remote) / IPv6ExtHdrFragment(id=77) / whole[TCP]
    return [client.link() / part for part in fragment6(inside, 120)]  # type: ignore[no-untyped-call]


def test_fragmented_syn(lab: Lab, family: int) -> None:
    """`fragments: drop`, the default: not one of them goes through."""
    with unopened(lab, family) as pair, lab.capture_server() as capture:
        pieces = _fragments(pair.client)
        assert len(pieces) > 1
        for piece in pieces:
            pair.client.send_raw(piece)
        pair.client.expect_quiet()
        capture.settle()
        assert not [p for p in capture.packets() if p.sniffed_on == "received" and _from_client(p, pair)]
    still_works(lab, family)


def _from_client(packet: Packet, pair: Pair) -> bool:
    return any(packet.haslayer(layer) and packet[layer].src == pair.client.local for layer in (IP, IPv6)) and not (
        packet.haslayer("ICMPv6ND_NS") or packet.haslayer("ICMPv6ND_NA")
    )


CHAINS = {
    "hop by hop": (IPv6ExtHdrHopByHop,),
    "destination": (IPv6ExtHdrDestOpt,),
    "hop by hop, destination": (IPv6ExtHdrHopByHop, IPv6ExtHdrDestOpt),
    "destination, twice": (IPv6ExtHdrDestOpt, IPv6ExtHdrDestOpt),
}


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS.keys())
def test_syn_behind_extension_headers_is_no_way_round(lab: Lab, chain: tuple[type[Packet], ...]) -> None:
    """Either answered by the box like any SYN or dropped; never passed to the server as it is."""
    with unopened(lab, 6) as pair:
        syn = pair.client.packet("S", options=FULL_OPTIONS)
        packet = pair.client.link() / pair.client.network()
        for header in chain:
            packet = packet / header()
        pair.client.send_raw(packet / syn[TCP])
        answer = pair.client.receive(0.3)
        if answer is not None:
            assert answer[TCP].flags == "SA"
        pair.server.expect_quiet()
    still_works(lab, 6)


def test_syn_behind_a_routing_header(lab: Lab) -> None:
    with unopened(lab, 6) as pair:
        syn = pair.client.packet("S", options=FULL_OPTIONS)
        header = IPv6ExtHdrRouting(type=0, addresses=[pair.client.remote], segleft=0)
        pair.client.send_raw(pair.client.link() / pair.client.network() / header / syn[TCP])
        pair.server.expect_quiet()
    still_works(lab, 6)


def test_garbage(lab: Lab, family: int) -> None:
    """Good packets with bytes changed at random, addressed to a protected port."""
    dice = random.Random(20)
    process = lab.process
    with unopened(lab, family) as pair:
        for _ in range(GARBAGE_PACKETS):
            flags = "".join(dice.sample("FSRPAU", dice.randint(0, 4)))
            frame = bytearray(bytes(pair.client.packet(flags, dice.randbytes(dice.randint(0, 40)))))
            for _ in range(dice.randint(1, 6)):
                frame[dice.randrange(14, len(frame))] = dice.randrange(256)
            pair.client.send_raw(Raw(bytes(frame[: dice.randint(34, len(frame))])))
    assert process.alive
    still_works(lab, family)
