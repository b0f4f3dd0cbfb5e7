"""The log of packets: which of them get a note, at most so many, and the lines that come of it."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from box.box import Box, Talk, service
from box.wire import V4, V6, Path, fragments
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import loads
from appliance.models import Service
from appliance.packetlog import PacketLog
from cext.capture import Capture, CaptureQuery
from cext.dataplane import DROP_REASONS, EVENTS, REFUSALS
from cext.notes import Note, Notes

if TYPE_CHECKING:
    from cext.dataplane import Counters

MOST, PERIOD_S = 3, 60
SPEC = service(log_refused=(MOST, PERIOD_S), log_opened=(MOST, PERIOD_S))
RING = 512
CONFIG = b"""\
version: 1
mode: routed
outside: wan0
inside: lan0
services:
  web: {addresses: [198.19.0.0/24], ports: [80], log: {refused: 3/min, opened: 2/s}}
  quiet: {addresses: [198.19.1.0/24], ports: [80]}
"""
SERVICES = loads(CONFIG, "levee.yaml").services


@pytest.fixture
def box() -> Iterator[Box]:
    with Box(SPEC) as made:
        yield made


@pytest.fixture
def notes(box: Box) -> Iterator[Notes]:
    made = Notes(box.plane)
    yield made
    made.close()


def packed(address: str) -> bytes:
    ip = ipaddress.ip_address(address)
    return ip.packed if ip.version == 6 else bytes(10) + b"\xff\xff" + ip.packed


def of_client(path: Path, why: str, flags: int = 0, **changes: object) -> Note:
    ends = (packed(path.client), path.cport, packed(path.server), path.sport)
    vlans = tuple(vid for _, vid in path.tags)
    note = Note("web", why == "opened", why, True, *ends, vlans, flags)
    return replace(note, **changes)  # type: ignore[arg-type]  # names are checked by the frozen dataclass


# ---- which packets get a note


@pytest.mark.parametrize(
    "path", [V4, V6, replace(V4, tags=((0x8100, 7),)), replace(V6, tags=((0x88A8, 300), (0x8100, 7)))]
)
def test_a_forged_ack(box: Box, notes: Notes, path: Path) -> None:
    box.outside(path.from_client(flags="S"))
    assert notes.take() == [], "the protection at work is no refusal"
    box.outside(path.from_client(flags="PA", seq=7, ack=4711))
    assert notes.take() == [of_client(path, "cookie_invalid", flags=0x18)]
    assert notes.take() == []


def test_what_has_no_ports(box: Box, notes: Notes) -> None:
    first, later = fragments(V4, V4.client_packet(flags="A", data=bytes(64)), 40)
    box.outside(later)
    box.outside(first)
    portless = of_client(V4, "fragment", source_port=0, destination_port=0)
    assert notes.take() == [portless, of_client(V4, "fragment", flags=0x10)]


def test_impossible_flags_belong_to_the_service_of_their_address(box: Box, notes: Notes) -> None:
    box.outside(V6.from_client(flags="FPU"))
    assert notes.take() == [of_client(V6, "tcp_flags", flags=0x29)]
    assert box.plane.counters()["services"]["web"]["drops"]["tcp_flags"] == 1


def test_a_connection_that_is_opened_and_one_that_is_refused(box: Box, notes: Notes) -> None:
    Talk(box).open()
    assert notes.take() == [of_client(V4, "opened")]
    other = Talk(box, V4.other(1))
    other.syn()
    other.ack()
    box.inside(other.path.from_server(flags="RA", seq=0, ack=other.c_next))
    assert notes.take() == [of_client(other.path, "refused")]


def test_a_server_that_does_not_answer(box: Box, notes: Notes) -> None:
    talk = Talk(box, V6)
    talk.syn()
    talk.ack()
    box.wait(12_000)
    assert notes.take() == [of_client(V6, "timed_out")]


def test_a_packet_of_a_server(box: Box, notes: Notes) -> None:
    box.inside(V4.from_server(flags="SA", seq=1, ack=2))
    (note,) = notes.take()
    assert (note.why, note.outside, note.source_port, note.flags) == ("server_unexpected", False, V4.sport, 0x12)


def test_no_log_no_note(box: Box, notes: Notes) -> None:
    box.plane.set_services([service()])
    box.outside(V4.from_client(ack=4711))
    Talk(box).open()
    assert notes.take() == []


def test_a_service_that_is_gone(box: Box, notes: Notes) -> None:
    box.outside(V4.from_client(ack=4711))
    box.plane.set_services([service("other")])
    assert notes.take() == []


# ---- how many


def test_so_many_in_a_period_and_each_kind_by_itself(box: Box, notes: Notes) -> None:
    box.outlast_cookies()
    for number in range(50):
        box.outside(V4.other(number).from_client(ack=4711))
    Talk(box).open()
    assert [note.why for note in notes.take()] == ["ack_no_cookie_out"] * MOST + ["opened"]
    box.pass_seconds(PERIOD_S)
    for number in range(50):
        box.outside(V4.other(number).from_client(ack=4711))
    assert [note.source_port for note in notes.take()] == [V4.other(number).cport for number in range(MOST)]


def test_another_limit_counts_at_once(box: Box, notes: Notes) -> None:
    """And what has been open stays so."""
    talk = Talk(box)
    talk.open()
    for _ in range(9):
        box.outside(V4.other(1).from_client(ack=4711))
    assert len(notes.take()) == 1 + MOST
    box.plane.set_services([replace(SPEC, log_refused=(MOST + 2, PERIOD_S))])
    for _ in range(9):
        box.outside(V4.other(1).from_client(ack=4711))
    assert len(notes.take()) == MOST + 2
    box.plane.set_services([replace(SPEC, log_refused=(1, PERIOD_S))])
    for _ in range(9):
        box.outside(V4.other(1).from_client(ack=4711))
    assert len(notes.take()) == 1
    box.plane.set_services([replace(SPEC, log_refused=(1, PERIOD_S))])
    box.outside(V4.other(1).from_client(ack=4711))
    assert notes.take() == [], "the same limit, the same period"
    assert talk.client(b"still here").verdict == "rewrite"


def test_the_clock_of_another_worker_is_a_little_behind(box: Box, notes: Notes) -> None:
    """It does not begin a period anew."""
    for _ in range(MOST):
        box.outside(V4.from_client(ack=4711))
    box.now_ms -= 5
    box.outside(V4.from_client(ack=4711))
    assert len(notes.take()) == MOST


def test_nobody_reads(box: Box, notes: Notes) -> None:
    """What finds no room has no note; the packets are counted, and the next ones have notes again."""
    box.outlast_cookies()
    box.plane.set_services([replace(SPEC, log_refused=(10_000, 1))])
    for number in range(2 * RING):
        box.outside(V4.other(number).from_client(ack=4711))
    assert len(notes.take()) == RING
    assert box.plane.counters()["services"]["web"]["drops"]["ack_no_cookie_out"] == 2 * RING
    box.outside(V4.from_client(ack=4711))
    assert len(notes.take()) == 1


def test_a_capture_goes_on_beside_it(box: Box, notes: Notes) -> None:
    box.outlast_cookies()
    capture = Capture(box.plane)
    capture.begin(CaptureQuery(until_ns=1 << 62))
    box.outside(V4.from_client(ack=4711))
    (captured,) = capture.take(1 << 20)
    (note,) = notes.take()
    capture.close()
    assert (captured.fate, captured.reason, note.why) == ("dropped", "ack_no_cookie_out", "ack_no_cookie_out")


def test_every_reason_says_whether_it_is_a_refusal() -> None:
    at_work = [name for name in DROP_REASONS if name not in REFUSALS]
    assert at_work == [
        "syn_answered", "syn_watched", "cookie_accepted", "held", "early", "server_handshake", "icmp_consumed",
    ]  # fmt: skip


# ---- the lines


class FakeNotes:
    """An engine's notes without an engine."""

    def __init__(self) -> None:
        self.waiting: list[Note] = []
        self.notes = self

    def take(self) -> list[Note]:
        found, self.waiting = self.waiting, []
        return found


def nothing_counted() -> Counters:
    return {"drops": dict.fromkeys(DROP_REASONS, 0), "events": dict.fromkeys(EVENTS, 0)}


class Lines:
    """A log, its counters, and what it has written."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        self.engine = FakeNotes()
        self.log = PacketLog(self.engine)  # type: ignore[arg-type]  # what is needed of it
        self.caplog = caplog
        self.services: dict[str, Service] = dict(SERVICES)
        self.counters = {name: nothing_counted() for name in SERVICES}
        self.now_s = 1000.0

    def refuse(self, count: int, *, noted: int = 0, why: str = "cookie_invalid", service: str = "web") -> None:
        self.counters[service]["drops"][why] += count
        self.engine.waiting += [of_client(V4, why, flags=0x10)] * noted

    def turn(self, after_s: float = 1.0, *, last: bool = False) -> list[str]:
        self.now_s += after_s
        self.caplog.clear()
        self.log.turn(self.counters, self.services, self.now_s, last=last)
        return [record.getMessage() for record in self.caplog.records]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    made = Lines(caplog)
    assert made.turn() == []
    return made


def test_a_line_names_them(lines: Lines) -> None:
    lines.refuse(1, noted=1)
    assert lines.turn() == [
        f"web: refused 198.18.0.7:{V4.cport} > 198.19.0.10:80 A from outside: {DROP_REASONS['cookie_invalid']}"
    ]
    assert lines.caplog.records[0].levee_fields == {  # type: ignore[attr-defined]  # put there by fields()
        "service": "web",
        "reason": "cookie_invalid",
        "source": "198.18.0.7",
        "source_port": V4.cport,
        "destination": "198.19.0.10",
        "destination_port": 80,
        "side": "outside",
        "flags": "A",
    }


@pytest.mark.parametrize(
    ("note", "said"),
    [
        (of_client(V6, "opened"), f"web: opened [2001:db8:18::7]:{V6.cport} > [2001:db8:19::10]:80 from outside"),
        (
            of_client(V4, "refused"),
            f"web: refused 198.18.0.7:{V4.cport} > 198.19.0.10:80 from outside: its server refused it",
        ),
        (
            of_client(replace(V6, tags=((0x88A8, 300), (0x8100, 7))), "fragment", source_port=0, destination_port=0),
            f"web: refused 2001:db8:18::7 > 2001:db8:19::10 VLAN 300.7 from outside: {DROP_REASONS['fragment']}",
        ),
    ],
)
def test_words(lines: Lines, note: Note, said: str) -> None:
    lines.engine.waiting = [note]
    assert lines.turn()[0] == said


def test_how_many_were_left_out_is_said_once_in_a_period(lines: Lines) -> None:
    lines.refuse(1000, noted=3)
    lines.refuse(10, why="no_flow")
    assert len(lines.turn()) == 3
    said = "web: 1007 more were refused than this log has lines for: cookie_invalid 997, no_flow 10"
    assert lines.turn(PERIOD_S - 1) == []
    assert lines.turn() == [said]
    assert lines.caplog.records[0].levee_fields == {"service": "web", "left_out": 1007, "kind": "refused"}  # type: ignore[attr-defined]
    assert lines.turn(PERIOD_S) == [], "it is said once"
    lines.refuse(5)
    assert lines.turn() == []
    assert lines.turn(PERIOD_S) == ["web: 5 more were refused than this log has lines for: cookie_invalid 5"]


def test_at_the_end_it_is_said_at_once(lines: Lines) -> None:
    lines.refuse(7)
    assert lines.turn(last=True) == ["web: 7 more were refused than this log has lines for: cookie_invalid 7"]


def test_a_note_may_come_before_its_count(lines: Lines) -> None:
    lines.refuse(0, noted=1)
    assert len(lines.turn()) == 1
    lines.refuse(1)
    assert lines.turn(PERIOD_S) == []
    assert lines.turn(PERIOD_S, last=True) == []


def test_a_service_without_a_log_says_nothing(lines: Lines) -> None:
    lines.refuse(7, service="quiet")
    assert lines.turn(PERIOD_S, last=True) == []


def test_what_was_before_the_log_is_not_left_out_of_it(lines: Lines) -> None:
    lines.services = {"quiet": lines.services["quiet"]}
    lines.refuse(500)
    lines.turn()
    lines.services = dict(SERVICES)
    lines.turn()
    lines.refuse(2)
    assert lines.turn(last=True) == ["web: 2 more were refused than this log has lines for: cookie_invalid 2"]


def test_counters_that_began_again(lines: Lines) -> None:
    lines.refuse(500)
    lines.turn(last=True)
    lines.counters["web"]["drops"]["cookie_invalid"] = 0
    lines.turn()
    lines.refuse(2)
    assert lines.turn(last=True) == ["web: 2 more were refused than this log has lines for: cookie_invalid 2"]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3), st.floats(0.1, 90)), min_size=1, max_size=30))
def test_lines_and_what_was_left_out_are_all_there_was(packets: list[tuple[int, int, float]]) -> None:
    """And of what was left out there is a line a period at most."""
    said: list[dict[str, object]] = []
    engine = FakeNotes()
    log = PacketLog(engine)  # type: ignore[arg-type]  # what is needed of it
    counters, now_s = {"web": nothing_counted()}, 0.0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("appliance.packetlog.LOG.info", lambda *_, extra: said.append(extra["levee_fields"]))
        log.turn(counters, SERVICES, now_s)
        for count, noted, after_s in packets:
            counters["web"]["drops"]["no_flow"] += count
            engine.waiting = [of_client(V4, "no_flow")] * min(count, noted)
            now_s += after_s
            log.turn(counters, SERVICES, now_s)
        summaries = sum("left_out" in about for about in said)
        log.turn(counters, SERVICES, now_s, last=True)
    total = sum(int(str(about.get("left_out", 1))) for about in said)
    assert total == sum(count for count, _, _ in packets)
    assert summaries <= now_s / PERIOD_S
