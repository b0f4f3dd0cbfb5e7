"""Captured packets: which are kept of those through the data plane, the file they come to, and their words."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from box.box import Box, Talk, mapped, service
from box.wire import V4, V6
from hypothesis import given
from hypothesis import strategies as st
from scapy.utils import RawPcapNgReader

from appliance import capture as capturing
from appliance import pcapng
from appliance.capture import UNREAD_S, Capturing
from appliance.config import loads
from appliance.errors import OperatorError, WrongValue
from appliance.packettext import described
from appliance.roles import Caller, Role
from appliance.varlink import Call
from cext.capture import MOST_BYTES, Capture, CapturedPacket, CaptureQuery

LONG_NS = 3600 * 10**9
PLENTY = 1 << 30
CONFIG = b"""\
version: 1
mode: routed
outside: wan0
inside: lan0
services: {web: {addresses: [198.19.0.0/24], ports: [80]}}
"""
Seen = tuple[bool, str, str]


@pytest.fixture
def box() -> Iterator[Box]:
    other = service("ssh", ports=((22, 22),))
    with Box(service(), other) as made:
        yield made


@pytest.fixture
def capture(box: Box) -> Iterator[Capture]:
    made = Capture(box.plane)
    yield made
    made.close()


def query(**asked: object) -> CaptureQuery:
    values = {"until_ns": time.monotonic_ns() + LONG_NS, **asked}
    return CaptureQuery(**values)  # type: ignore[arg-type]  # names are checked by the frozen dataclass


def seen(capture: Capture) -> list[Seen]:
    return [(one.outside, one.fate, one.reason) for one in capture.take(PLENTY)]


def test_a_handshake_with_what_became_of_each_packet(box: Box, capture: Capture) -> None:
    capture.begin(query())
    talk = Talk(box)
    talk.open()
    talk.client(b"hello")
    assert seen(capture) == [
        (True, "dropped", "syn_answered"),
        (True, "sent", ""),  # SYN-ACK
        (True, "dropped", "cookie_accepted"),
        (False, "sent", ""),  # SYN
        (False, "dropped", "server_handshake"),
        (False, "sent", ""),  # ACK
        (True, "translated", ""),
        (False, "sent", ""),
    ]
    assert capture.missed == 0


def test_frames_are_those_on_the_wire(box: Box, capture: Capture) -> None:
    capture.begin(query(fates=("translated", "sent")))
    talk = Talk(box)
    answer = talk.syn()
    (synack,) = capture.take(PLENTY)
    assert int.from_bytes(synack.data[38:42], "big") == answer.seq
    talk.ack()
    talk.synack()
    capture.take(PLENTY)
    result = talk.client(b"hello")
    before, after = capture.take(PLENTY)
    assert before.data != after.data == result.frame
    assert (before.service, before.length, len(before.data)) == ("web", len(result.frame), len(result.frame))


def test_tags_out_of_band_are_put_back(box: Box, capture: Capture) -> None:
    tagged = replace(V4, tags=((0x8100, 7),))
    capture.begin(query(reasons=("syn_answered",)))
    frame = tagged.from_client(flags="S")
    box.outside(frame)
    (one,) = capture.take(PLENTY)
    assert (one.data, one.length) == (frame, len(frame))
    assert described(one.data).startswith("vlan 7 ")


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({}, 4),
        ({"reasons": ("syn_answered",)}, 2),
        ({"reasons": ("cookie_invalid",)}, 0),
        ({"fates": ("sent",)}, 2),
        ({"fates": ("dropped",)}, 2),
        ({"service": "web"}, 4),
        ({"service": "ssh"}, 0),
        ({"addresses": (mapped(V4.client),) * 2}, 2),
        ({"addresses": (mapped(V4.server),) * 2}, 2),
        ({"addresses": (mapped("2001:db8::"), mapped("2001:db8:ffff::"))}, 2),
        ({"addresses": (mapped("198.18.0.8"), mapped("198.18.0.255"))}, 0),
        ({"addresses": (mapped(V4.client),) * 2, "fates": ("sent",)}, 1),
    ],
)
def test_what_is_asked_for(box: Box, capture: Capture, asked: dict[str, object], count: int) -> None:
    """A SYN over each family, and its answer."""
    capture.begin(query(**asked))
    for path in (V4, V6):
        box.outside(path.from_client(flags="S"))
    assert len(seen(capture)) == count


def test_a_service_that_is_not_there(capture: Capture) -> None:
    with pytest.raises(KeyError):
        capture.begin(query(service="mail"))


def test_only_the_beginning_is_kept(box: Box, capture: Capture) -> None:
    capture.begin(query(bytes_each=20))
    frame = V4.from_client(flags="S", data=bytes(1000))
    box.outside(frame)
    first, answer = capture.take(PLENTY)
    assert (first.data, first.length) == (frame[:20], len(frame))
    assert len(answer.data) == 20


def test_what_finds_no_room_is_counted_and_the_box_goes_on(box: Box, capture: Capture) -> None:
    capture.begin(query(fates=("sent",)))
    for frame in V4.syns(1000):
        assert len(box.outside(frame).sent) == 1
    kept = capture.take(PLENTY)
    assert 0 < len(kept) < 1000
    assert len(kept) + capture.missed == 1000
    box.outside(V4.from_client(flags="S"))
    assert len(seen(capture)) == 1


def test_pages(box: Box, capture: Capture) -> None:
    capture.begin(query(fates=("sent",)))
    for frame in V4.syns(10):
        box.outside(frame)
    pages = [len(capture.take(100)) for _ in range(6)]
    assert sum(pages) == 10
    assert max(pages) == 2


def test_nothing_is_captured_before_and_after(box: Box, capture: Capture) -> None:
    box.outside(V4.from_client(flags="S"))
    assert seen(capture) == []
    capture.begin(query())
    capture.end()
    box.outside(V4.from_client(flags="S"))
    assert seen(capture) == []


def test_a_new_capture_begins_empty(box: Box, capture: Capture) -> None:
    capture.begin(query())
    box.outside(V4.from_client(flags="S"))
    capture.begin(query())
    assert seen(capture) == []


# ---- the daemon's side ----


class Engine:
    def __init__(self, capture: Capture) -> None:
        self.capture = capture


@pytest.fixture
def session(capture: Capture) -> Capturing:
    return Capturing(Engine(capture), loads(CONFIG, "test"))


def call(**parameters: object) -> Call:
    return Call(parameters, Caller(1, 0, Role.CHANGER))


def test_packets_come_by_pages_until_it_is_over(box: Box, session: Capturing) -> None:
    begun = session.begin(call(service="web"))
    assert (begun["outside"], begun["inside"]) == ("wan0", "lan0")
    box.outside(V4.from_client(flags="S"))
    reply = session.take(call(capture=begun["capture"]))
    packets = reply["packets"]
    assert isinstance(packets, list)
    assert [(one["side"], one["fate"], one["service"]) for one in packets] == [
        ("outside", "dropped", "web"),
        ("outside", "sent", "web"),
    ]
    assert abs(packets[0]["time_ns"] - time.time_ns()) < 60 * 10**9
    assert base64.b64decode(packets[0]["data"])[12:14] == b"\x08\x00"
    assert (reply["missed"], reply["over"]) == (0, False)
    session.end(call(capture=begun["capture"]))
    box.outside(V4.from_client(flags="S"))
    assert session.take(call(capture=begun["capture"])) == {"packets": [], "missed": 0, "over": True}


def test_one_at_a_time_until_nobody_takes_its_packets(box: Box, session: Capturing) -> None:
    begun = session.begin(call(seconds=600))
    with pytest.raises(OperatorError, match="a capture by root goes on, for 600 s at most"):
        session.begin(call())
    session.turn(time.monotonic() + UNREAD_S / 2)
    box.outside(V4.from_client(flags="S"))
    session.turn(time.monotonic() + UNREAD_S)
    box.outside(V4.from_client(flags="S"))
    second = session.begin(call())
    assert second["capture"] != begun["capture"]
    with pytest.raises(OperatorError, match="this capture is over"):
        session.take(call(capture=begun["capture"]))


def test_it_ends_with_its_time(box: Box, session: Capturing) -> None:
    begun = session.begin(call(seconds=1))
    session.turn(time.monotonic() + 1)
    box.outside(V4.from_client(flags="S"))
    assert session.take(call(capture=begun["capture"])) == {"packets": [], "missed": 0, "over": True}


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        ({"service": "mail"}, "there is no service mail"),
        ({"address": "198.19.0.0/33"}, "198.19.0.0/33"),
        ({"reasons": "sent,bored"}, "bored is neither a reason nor a fate of a packet"),
    ],
)
def test_what_cannot_be_asked_is_said(session: Capturing, asked: dict[str, object], wrong: str) -> None:
    with pytest.raises(OperatorError, match=wrong):
        session.begin(call(**asked))


def test_the_words_of_the_command_are_checked_before_the_call() -> None:
    with pytest.raises(WrongValue):
        capturing.wanted(address="nowhere", service=None, reasons=(), bytes_each=1, until_ns=0)


# ---- the file, and the words ----


def test_the_file_is_what_other_programs_read(tmp_path: Path) -> None:
    path = tmp_path / "some.pcapng"
    frame = V4.from_client(flags="S")
    now_ns = time.time_ns()
    path.write_bytes(
        pcapng.section("levee capture", "levee 1")
        + pcapng.interface("wan0", "outside", MOST_BYTES)
        + pcapng.interface("lan0", "inside", MOST_BYTES)
        + pcapng.packet(0, now_ns, frame, len(frame), "dropped: why \u00e4", outbound=False)
        + pcapng.packet(1, now_ns + 1, frame[:33], len(frame), "sent", outbound=True)
        + pcapng.statistics(0, now_ns, 7)
    )
    with RawPcapNgReader(str(path)) as reader:
        found: list[Any] = list(reader)  # Scapy's type names no field of pcapng
    (first, about), (second, after) = found
    assert (first, about.wirelen, about.linktype, about.ifname) == (frame, len(frame), 1, b"wan0")
    assert (second, after.wirelen, after.ifname) == (frame[:33], len(frame), b"lan0")
    assert about.comments == ["dropped: why \u00e4".encode()]
    assert (about.tshigh << 32) + about.tslow == now_ns
    assert (about.direction, after.direction) == (1, 2)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (V4.from_client(flags="S", seq=7), "198.18.0.7:40000 > 198.19.0.10:80 TCP S seq 7 win 8192"),
        (V6.from_server(seq=1, ack=2, data=b"abc"), "TCP A seq 1 ack 2 win 8192 3 bytes"),
        (V4.from_client(flags=""), "TCP no flags"),
        (V4.from_client(flags="S")[:40], "198.18.0.7 > 198.19.0.10 TCP cut off"),
        (V4.from_client(flags="S")[:20], "IPv4 cut off"),
        (b"", "cut off"),
        (bytes(12) + b"\x08\x06", "ARP"),
        (bytes(12) + b"\x12\x34", "EtherType 0x1234"),
    ],
)
def test_words(frame: bytes, words: str) -> None:
    assert words in described(frame)


@given(st.binary(max_size=120), st.sampled_from([b"\x08\x00", b"\x86\xdd", b"\x81\x00"]))
def test_any_bytes_have_words(data: bytes, kind: bytes) -> None:
    text = described(bytes(12) + kind + data)
    assert text.isascii()
    assert text.isprintable()


def test_a_packet_for_clients() -> None:
    packet = CapturedPacket(5, outside=False, fate="sent", reason="", service=" except", length=60, data=b"ab")
    assert capturing.packet_report(packet, 10) == {
        "time_ns": 15,
        "side": "inside",
        "fate": "sent",
        "reason": "",
        "service": "except",
        "length": 60,
        "data": "YWI=",
    }
