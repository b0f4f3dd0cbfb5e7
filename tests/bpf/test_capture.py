"""Captured packets of the programs: each once, by the program or by the thread, with what became of it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from box.box import FULL, SECRET, SERVER_ISN, service
from box.wire import PATHS, Path, segment

from bpf.kernelbox import KernelBox
from cext.capture import Capture, CapturedPacket, CaptureQuery
from cext.dataplane import DataplaneConfig

PLENTY = 1 << 30
LONG_NS = 3600 * 10**9
PATIENCE_S = 5.0
Seen = tuple[bool, str, str]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelBox]:
    config = DataplaneConfig(secret=SECRET, flows=1024, half_open=64)
    with KernelBox(tmp_path_factory.mktemp("capture"), config, [service()]) as one:
        yield one


@pytest.fixture
def capture(box: KernelBox) -> Iterator[Capture]:
    made = Capture(box.plane, choice_map=box.engine.map("lv_capture"), ring_map=box.engine.map("lv_captures"))
    yield made
    made.close()


def begin(capture: Capture, **asked: object) -> None:
    values = {"until_ns": time.monotonic_ns() + LONG_NS, **asked}
    capture.begin(CaptureQuery(**values))  # type: ignore[arg-type]  # names are checked by the frozen dataclass


def taken(capture: Capture, count: int) -> list[CapturedPacket]:
    """So many packets; those that the thread captures come a moment later."""
    limit, found = time.monotonic() + PATIENCE_S, list[CapturedPacket]()
    while len(found) < count and time.monotonic() < limit:
        found += capture.take(PLENTY)
    return found


def seen(found: list[CapturedPacket]) -> list[Seen]:
    return [(one.outside, one.fate, one.reason) for one in found]


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_connection(box: KernelBox, capture: Capture, path: Path) -> None:
    """Frames as they came and as they left, from both programs and from the thread."""
    begin(capture)
    syn = path.from_client(flags="S", seq=7, options=FULL)
    ran = box.offer("outside", syn)
    (synack,) = ran.left
    first, answer = taken(capture, 2)
    assert seen([first, answer]) == [(True, "dropped", "syn_answered"), (True, "sent", "")]
    assert (first.data, first.length, first.service) == (syn, len(syn), "web")
    assert (answer.data, answer.length, answer.service) == (synack[1], len(synack[1]), "web")
    isn = segment(synack[0], "l2", synack[1]).seq
    assert box.offer("outside", path.from_client(seq=8, ack=isn + 1)).verdict == "handover"
    assert seen(taken(capture, 2)) == [(True, "dropped", "cookie_accepted"), (False, "sent", "")]
    box.offer("inside", path.from_server(flags="SA", seq=SERVER_ISN, ack=8))
    assert seen(taken(capture, 2)) == [(False, "dropped", "server_handshake"), (False, "sent", "")]
    data = path.from_client(seq=8, ack=isn + 1, data=b"hello")
    ran = box.offer("outside", data)
    assert ran.verdict == "redirect"
    before, after = taken(capture, 2)
    assert seen([before, after]) == [(True, "translated", ""), (False, "sent", "")]
    assert (before.data, after.data) == (data, ran.left[0][1])
    assert before.time_ns <= after.time_ns
    assert capture.take(PLENTY) == []
    assert capture.missed == 0


def test_what_passes_is_captured_once(box: KernelBox, capture: Capture) -> None:
    """By the splice, not by the gate before it; also what is no service's, and no IP."""
    begin(capture)
    syn = next(iter(PATHS.values())).from_client(flags="S")
    for frame in (syn[:12] + b"\x08\x06" + bytes(46), syn[:12] + b"\x12\x34" + bytes(46)):
        assert box.offer("outside", frame).verdict == "pass"
    found = taken(capture, 2)
    assert seen(found) == [(True, "passed", "")] * 2
    assert capture.take(PLENTY) == []


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({"reasons": ("no_flow",)}, 1),
        ({"reasons": ("syn_answered",)}, 0),
        ({"service": "web"}, 1),
        ({"fates": ("sent",)}, 0),
        ({"addresses": (0, 1)}, 0),
        ({"addresses": (0, (1 << 128) - 1)}, 1),
    ],
)
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_what_is_asked_for(box: KernelBox, capture: Capture, path: Path, asked: dict[str, object], count: int) -> None:
    begin(capture, **asked)
    assert box.offer("outside", path.other(9).from_client(flags="SA", ack=5)).verdict == "drop"
    assert len(capture.take(PLENTY)) == count


def test_the_ring_is_full_and_the_programs_go_on(box: KernelBox, capture: Capture) -> None:
    begin(capture, fates=("dropped",))
    path = next(iter(PATHS.values())).other(9)
    frame = path.from_client(flags="SA", ack=5, data=bytes(1900))
    sent = 0
    while not capture.missed:
        assert box.offer("outside", frame).verdict == "drop"
        sent += 1
    kept = len(capture.take(PLENTY))
    assert kept + capture.missed == sent
    assert kept > 500
    box.offer("outside", frame)
    assert len(capture.take(PLENTY)) == 1


def test_it_ends_with_its_time_whether_or_not_anybody_says_so(box: KernelBox, capture: Capture) -> None:
    """A daemon that was killed in the middle of a capture leaves no programs behind that copy for nobody."""
    frame = next(iter(PATHS.values())).other(9).from_client(flags="SA", ack=5)
    capture.begin(CaptureQuery(until_ns=time.monotonic_ns() - 1))
    box.offer("outside", frame)
    assert capture.take(PLENTY) == []
    begin(capture)
    successor = Capture(box.plane, choice_map=box.engine.map("lv_capture"), ring_map=box.engine.map("lv_captures"))
    box.offer("outside", frame)
    assert successor.take(PLENTY) == []
    successor.close()
