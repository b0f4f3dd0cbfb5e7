"""ICMP errors: translated for whoever sent the packet they quote, believed only about something in flight."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from box.box import Box, Result, Talk, service
from box.wire import MASK, PATHS, V4, V6, Path, prove, split_link
from scapy.compat import raw
from scapy.packet import Packet

FAMILIES = pytest.mark.parametrize("path", [V4, V6], ids=["ipv4", "ipv6"])
KINDS = ["unreachable", "too big", "time"]


@pytest.fixture
def box() -> Iterator[Box]:
    with Box() as one:
        yield one


def quote(packet: Packet, bytes_of_tcp: int, path: Path) -> bytes:
    """The start of a packet, as routers quote it."""
    return raw(packet)[: (20 if path.family == 4 else 40) + bytes_of_tcp]


def quoted(result: Result, path: Path) -> bytes:
    """The TCP header inside a translated ICMP error whose checksum is right."""
    assert result.verdict == "rewrite"
    packet = split_link(result.frame)[3]
    prove(packet)
    return packet[2 * (20 if path.family == 4 else 40) + 8 :]


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [8, 11, 12, 20, 33])
def test_error_about_a_packet_of_the_server_speaks_in_its_numbers(path: Path, kind: str, length: int) -> None:
    with Box() as box:
        talk = Talk(box, path)
        talk.open()
        talk.server(bytes(100))
        told = path.server_packet(seq=talk.s_next_told, ack=talk.c_next, data=bytes(100))
        own = path.server_packet(seq=talk.s_next, ack=talk.c_next, data=bytes(100))
        result = box.outside(path.icmp(kind, quote(told, length, path), inside=False, mtu=1280))
        inner = quoted(result, path)
        whole = 12 if length >= 12 else 8
        assert inner[:whole] == raw(own)[20 if path.family == 4 else 40 :][:whole]
        assert box.states() == ["established"]


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [8, 11, 12, 20, 33])
def test_error_about_a_packet_of_the_client_speaks_in_its_numbers(path: Path, kind: str, length: int) -> None:
    with Box() as box:
        talk = Talk(box, path)
        talk.open()
        talk.client(bytes(100))
        translated = path.client_packet(seq=talk.c_next, ack=talk.s_next, data=bytes(100))
        sent = path.client_packet(seq=talk.c_next, ack=talk.s_next_told, data=bytes(100))
        result = box.inside(path.icmp(kind, quote(translated, length, path), inside=True, mtu=1280))
        inner = quoted(result, path)
        whole = 12 if length >= 12 else 8
        assert inner[:whole] == raw(sent)[20 if path.family == 4 else 40 :][:whole]


@FAMILIES
@pytest.mark.parametrize("inside", [False, True])
def test_checksum_of_the_quoted_segment_stays_right(box: Box, path: Path, inside: bool) -> None:
    talk = Talk(box, path)
    talk.open()
    talk.client(bytes(100))
    talk.server(bytes(100))
    if inside:
        packet = path.client_packet(seq=talk.c_next, ack=talk.s_next, data=bytes(100))
    else:
        packet = path.server_packet(seq=talk.s_next_told, ack=talk.c_next, data=bytes(100))
    header = 20 if path.family == 4 else 40
    frame = path.icmp("too big", raw(packet), inside=inside, mtu=1280)
    result = box.inside(frame) if inside else box.outside(frame)
    quoted(result, path)
    prove(split_link(result.frame)[3][header + 8 :])


@FAMILIES
@pytest.mark.parametrize("offset", [-2, 101, 1 << 20, 1 << 31])
def test_error_about_nothing_in_flight_is_not_believed(box: Box, path: Path, offset: int) -> None:
    """RFC 5927 section 4.1: or anybody could slow or end a connection."""
    talk = Talk(box, path)
    talk.open()
    talk.server(bytes(100))
    talk.client(bytes(100))
    packet = path.server_packet(seq=talk.s_next_told + offset & MASK)
    assert box.outside(path.icmp("unreachable", quote(packet, 8, path), inside=False)).verdict == "drop"
    packet = path.client_packet(seq=talk.c_next + offset & MASK)
    assert box.inside(path.icmp("unreachable", quote(packet, 8, path), inside=True)).verdict == "drop"
    assert (box.drops()["icmp_invalid"], box.states()) == (2, ["established"])


@FAMILIES
@pytest.mark.parametrize("code", [0, 1, 3])
def test_unreachable_server_is_told_to_the_client_at_once(box: Box, path: Path, code: int) -> None:
    talk = Talk(box, path)
    talk.syn()
    (syn,) = talk.ack(b"data")
    packet = path.client_packet(flags="S", seq=syn.seq)
    (reset,) = box.inside(path.icmp("unreachable", quote(packet, 8, path), inside=True, code=code)).sent
    talk.check(reset)
    assert (reset.flags, reset.seq, reset.ack) == ("RA", (talk.isn + 1) & MASK, talk.c_next)
    assert (box.states(), box.events()["refused"], box.drops()["icmp_consumed"]) == ([], 1, 1)
    assert box.plane.occupancy()["hold_bytes_used"] == 0


@FAMILIES
@pytest.mark.parametrize("kind", ["time", "too big"])
def test_other_errors_about_our_syn_leave_it_to_its_timer(box: Box, path: Path, kind: str) -> None:
    talk = Talk(box, path)
    talk.syn()
    (syn,) = talk.ack()
    packet = path.client_packet(flags="S", seq=syn.seq)
    result = box.inside(path.icmp(kind, quote(packet, 8, path), inside=True, mtu=1280))
    assert (result.verdict, result.sent, box.states()) == ("drop", [], ["syn_sent"])
    assert [one.flags for one in box.wait(1000)] == ["S"]


@FAMILIES
def test_forged_error_does_not_end_a_handshake(box: Box, path: Path) -> None:
    talk = Talk(box, path)
    talk.syn()
    talk.ack()
    packet = path.client_packet(flags="S", seq=5)
    assert box.inside(path.icmp("unreachable", quote(packet, 8, path), inside=True)).sent == []
    packet = path.server_packet(flags="S", seq=talk.isn)
    assert box.outside(path.icmp("unreachable", quote(packet, 8, path), inside=False)).sent == []
    assert box.states() == ["syn_sent"]


@FAMILIES
def test_echo_of_our_answers_to_a_flood_goes_no_further(box: Box, path: Path) -> None:
    talk = Talk(box, path)
    answer = talk.syn()
    packet = path.server_packet(flags="SA", seq=answer.seq)
    result = box.outside(path.icmp("unreachable", quote(packet, 8, path), inside=False))
    assert (result.verdict, box.drops()["icmp_no_flow"]) == ("drop", 1)


@FAMILIES
def test_errors_about_others_pass(box: Box, path: Path) -> None:
    packet = path.client_packet(seq=5)
    assert box.inside(path.icmp("unreachable", quote(packet, 8, path), inside=True)).verdict == "pass"
    box.plane.set_services([service(protect=False)])
    packet = path.server_packet(seq=5)
    assert box.outside(path.icmp("unreachable", quote(packet, 8, path), inside=False)).verdict == "pass"


@FAMILIES
def test_errors_about_a_connection_that_is_not_translated_pass(box: Box, path: Path) -> None:
    talk = Talk(box, path)
    talk.server(flags="S", seq=1, ack=0)
    for packet, inside in ((path.server_packet(seq=1), False), (path.client_packet(seq=9), True)):
        offer = box.inside if inside else box.outside
        assert offer(path.icmp("too big", quote(packet, 8, path), inside=inside, mtu=1280)).verdict == "pass"


@FAMILIES
@pytest.mark.parametrize("length", range(8))
def test_quote_without_a_sequence_number_passes(box: Box, path: Path, length: int) -> None:
    """It says nothing that could be translated, and no stack believes it."""
    talk = Talk(box, path)
    talk.open()
    packet = path.client_packet(seq=talk.c_next)
    assert box.inside(path.icmp("unreachable", quote(packet, length, path), inside=True)).verdict == "pass"


@FAMILIES
def test_damaged_error_stays_damaged(box: Box, path: Path) -> None:
    talk = Talk(box, path)
    talk.open()
    talk.server(bytes(100))
    packet = path.server_packet(seq=talk.s_next_told)
    frame = bytearray(path.icmp("too big", quote(packet, 20, path), inside=False, mtu=1280))
    frame[-1] ^= 1
    result = box.outside(bytes(frame))
    with pytest.raises(AssertionError, match="transport checksum"):
        prove(result.frame[14:])


@FAMILIES
def test_errors_about_a_closed_connection_are_translated(box: Box, path: Path) -> None:
    talk = Talk(box, path)
    talk.open()
    talk.client(bytes(100))
    talk.server(flags="R")
    packet = path.client_packet(seq=talk.c_next, ack=talk.s_next)
    assert box.inside(path.icmp("unreachable", quote(packet, 8, path), inside=True)).verdict == "rewrite"
