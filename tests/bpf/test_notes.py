"""Notes for the log: what the programs refuse has the same one as what the nfqueue engine refuses, and as few."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from box.box import service
from box.wire import PATHS, Path, fragments

from bpf.both import Both
from cext.capture import Capture, CaptureQuery
from cext.notes import Note, Notes

MOST, HOUR_S = 100, 3600
PATIENCE_S = 5.0
SPEC = service(log_refused=(MOST, 1), log_opened=(MOST, 1))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with Both(tmp_path_factory.mktemp("notes"), [SPEC]) as one:
        yield one


class Pair:
    """The notes of both engines."""

    def __init__(self, both: Both) -> None:
        self.both = both
        self.kernel = Notes(both.kernel.plane, ring_map=both.kernel.engine.map("lv_notes"))
        self.user = Notes(both.plane)

    def services(self, **changes: object) -> None:
        specs = [replace(SPEC, **changes)]  # type: ignore[arg-type]  # names are checked by the frozen dataclass
        for plane in (self.both.plane, self.both.kernel.plane):
            plane.set_services(specs)
        self.both.kernel.engine.publish_services()

    def same(self, count: int) -> list[Note]:
        """So many notes, the same of both."""
        user, kernel, limit = self.user.take(), list[Note](), time.monotonic() + PATIENCE_S
        while len(kernel) < count and time.monotonic() < limit:
            kernel += self.kernel.take()
        assert kernel + self.kernel.take() == user
        assert len(user) == count
        return user


@pytest.fixture
def pair(both: Both) -> Iterator[Pair]:
    made = Pair(both)
    made.services(log_refused=(MOST, 1), log_opened=(MOST, 1))
    yield made
    made.kernel.close()
    made.user.close()


def damaged(frame: bytes) -> bytes:
    """A bare segment with another sequence number and its old checksum."""
    return frame[:-13] + bytes([frame[-13] ^ 1]) + frame[-12:]


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_what_is_refused(both: Both, pair: Pair, path: Path) -> None:
    both.begin(path)
    both.outside(path.from_client(flags="S", seq=7))
    pair.same(0)
    for frame, why in (
        (path.from_client(seq=8, ack=4711), "cookie_invalid"),
        (path.from_client(flags="R", seq=99), "no_flow"),
        (path.from_client(flags="FPU"), "tcp_flags"),
        (damaged(path.from_client(flags="S")), "tcp_checksum"),
        *((frame, "fragment") for frame in fragments(path, path.client_packet(data=bytes(64)), 40)),
    ):
        both.outside(frame)
        (note,) = pair.same(1)
        assert (note.service, note.why, note.outside) == ("web", why, True)
        assert note.vlans == tuple(vid for _, vid in path.tags)


def test_a_connection(both: Both, pair: Pair) -> None:
    """Of what user space finishes there is one note, not two."""
    path = PATHS["ipv6 in a VLAN"]
    both.begin(path)
    answer = both.outside(path.from_client(flags="S", seq=7)).sent[0]
    both.outside(path.from_client(seq=8, ack=answer.seq + 1))
    pair.same(0)
    both.inside(path.from_server(flags="SA", seq=100, ack=8))
    (note,) = pair.same(1)
    assert (note.opened, note.why, note.source_port) == (True, "opened", path.cport)
    other = path.other(9)
    answer = both.outside(other.from_client(flags="S", seq=7)).sent[0]
    both.outside(other.from_client(seq=8, ack=answer.seq + 1))
    both.inside(other.from_server(flags="RA", seq=0, ack=8))
    (note,) = pair.same(1)
    assert (note.opened, note.why, note.source_port) == (False, "refused", other.cport)


def test_at_most_so_many_whoever_refuses(both: Both, pair: Pair) -> None:
    """Programs and thread have one meter; another limit counts at once."""
    path = PATHS["ipv4"]
    for most in (3, 5):
        pair.services(log_refused=(most, HOUR_S))
        for number in range(50):
            both.kernel.offer("outside", path.other(number).from_client(ack=4711))
        assert len(pair.kernel.take()) == most
    assert both.kernel.engine.counters()["services"]["web"]["drops"]["cookie_invalid"] >= 100


def test_without_a_log_there_is_none(both: Both, pair: Pair) -> None:
    pair.services(log_refused=(0, 1), log_opened=(0, 1))
    both.kernel.offer("outside", PATHS["ipv4"].from_client(ack=4711))
    assert pair.kernel.take() == []


def test_a_capture_goes_on_beside_it(both: Both, pair: Pair) -> None:
    engine = both.kernel.engine
    capture = Capture(both.kernel.plane, choice_map=engine.map("lv_capture"), ring_map=engine.map("lv_captures"))
    capture.begin(CaptureQuery(until_ns=time.monotonic_ns() + HOUR_S * 10**9, reasons=("cookie_invalid",)))
    time.sleep(1.1)  # a period
    both.kernel.offer("outside", PATHS["ipv4"].from_client(ack=4711))
    (note,) = pair.kernel.take()
    (captured,) = capture.take(1 << 20)
    capture.close()
    assert captured.reason == note.why == "cookie_invalid"


def test_a_predecessors_notes_are_of_other_services(both: Both, pair: Pair) -> None:
    both.kernel.offer("outside", PATHS["ipv4"].from_client(ack=4711))
    pair.kernel.close()
    pair.kernel = Notes(both.kernel.plane, ring_map=both.kernel.engine.map("lv_notes"))
    assert pair.kernel.take() == []
