"""Limits of sources: the programs refuse in the driver whom the nfqueue engine refuses, and count the same ends."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path as FilePath
from typing import cast

import pytest
from box.box import Box, Talk, mapped, service
from box.wire import MASK, PATHS, Path

from bpf.both import Both

_RANGES = ((mapped("198.19.0.0"), mapped("198.19.127.255")), (mapped("2001:db8:19::"), mapped("2001:db8:19::7fff")))
OPEN, RATE, RESET, BLOCK = 80, 81, 82, 83  # ports
MOST = 2
SERVICES = (
    service("open", addresses=_RANGES, ports=((OPEN, OPEN),), source_open=MOST),
    service("rate", addresses=_RANGES, ports=((RATE, RATE),), source_new_per_s=MOST),
    service("reset", addresses=_RANGES, ports=((RESET, RESET),), source_open=MOST, source_over="reset"),
    service("block", addresses=_RANGES, ports=((BLOCK, BLOCK),), source_open=MOST, source_over="block"),
)
PATIENCE_S = 10.0
_number = itertools.count(1)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with Both(tmp_path_factory.mktemp("sources"), SERVICES) as one:
        yield one


@pytest.fixture(params=list(PATHS.values()), ids=list(PATHS))
def path(request: pytest.FixtureRequest, both: Both) -> Path:
    """A client that nobody knows, and a server of its own."""
    number = next(_number)
    given = cast(Path, request.param)
    four = given.family == 4
    client = f"198.18.40.{number}" if four else f"2001:db8:40:{number:x}::1"
    server = f"198.19.4.{number}" if four else f"2001:db8:19::4{number:02x}"
    both.begin(one := replace(given, client=client, server=server, sport=OPEN))
    return one


def proved(both: Both, path: Path, number: int) -> Talk:
    """A client whose ACK has come; what became of it is both.outcome."""
    talk = Talk(cast(Box, both), replace(path, cport=5000 + number))
    talk.syn()
    talk.ack()
    return talk


def refused(both: Both, path: Path, number: int, reason: str = "source_open") -> bool:
    """Whether both engines refuse this connection, for the same reason; the programs before the ring."""
    before = both.reasons(reason)
    proved(both, path, number)
    counted = tuple(after - was for after, was in zip(both.reasons(reason), before, strict=True))
    assert counted in ((0, 0), (1, 1))
    assert (both.outcome.verdict == "handover") == (counted == (0, 0))
    return counted == (1, 1)


def until(is_so: Callable[[], bool]) -> bool:
    limit = time.monotonic() + PATIENCE_S
    while not is_so() and time.monotonic() < limit:
        time.sleep(0.05)
    return is_so()


def test_so_many_open_and_no_more(both: Both, path: Path) -> None:
    assert [refused(both, path, n) for n in range(MOST + 2)] == [False] * MOST + [True] * 2
    other = path.client.replace(".40.", ".41.").replace(":40:", ":41:")
    assert not refused(both, replace(path, client=other), 0)
    both.nothing_else()


@pytest.mark.parametrize("end", ["fins", "reset by the client", "reset by the server", "refused"])
def test_what_ends_makes_room(both: Both, path: Path, end: str) -> None:
    """The splice, in the kernel, sees an open connection end; user space sees a handshake end."""
    talks = [proved(both, path, n) for n in range(MOST)]
    assert refused(both, path, 9)
    if end == "refused":
        talks[0].server(flags="RA", seq=0)
    else:
        talks[0].synack()
    if end == "fins":
        talks[0].client(flags="FA")
        talks[0].c_sent += 1
        talks[0].server(flags="FA")
        talks[0].s_sent += 1
        talks[0].client()
    elif end.startswith("reset"):
        (talks[0].client if end.endswith("client") else talks[0].server)(flags="R", ack=0)
    assert [refused(both, path, 10 + n) for n in range(2)] == [False, True]
    both.nothing_else()


def test_a_reset_that_the_server_did_not_take_gives_nothing(both: Both, path: Path) -> None:
    talks = [proved(both, path, n) for n in range(MOST)]
    talks[0].synack()
    talks[0].client(flags="R", ack=0)
    talks[0].server(b"still here")
    assert refused(both, path, 9)


def test_so_many_a_second(both: Both, path: Path) -> None:
    here = replace(path, sport=RATE)
    assert [refused(both, here, n, "source_rate") for n in range(MOST + 1)] == [False] * MOST + [True]
    time.sleep(1.1)
    assert not refused(both, here, 9, "source_rate")


def test_reset(both: Both, path: Path) -> None:
    here = replace(path, sport=RESET)
    for n in range(MOST):
        proved(both, here, n)
    talk = Talk(cast(Box, both), replace(here, cport=6000))
    talk.syn()
    (reset,) = talk.ack()
    talk.check(reset)
    assert (both.outcome.verdict, reset.flags, reset.seq) == ("tx", "R", (talk.isn + 1) & MASK)
    (reset,) = talk.ack(b"GET / HTTP/1.0")
    assert (both.outcome.verdict, reset.flags) == ("tx", "R")


def test_block(both: Both, path: Path) -> None:
    """User space is told once, and of nobody else."""
    here = replace(path, sport=BLOCK)
    both.kernel.plane.caught(), both.plane.caught()
    for n in range(MOST):
        proved(both, here, n)
    before = both.reasons("source_open")
    for n in range(3):
        proved(both, here, 10 + n)
    assert both.reasons("source_open") == tuple(count + 3 for count in before)
    expected = [(mapped(path.client).to_bytes(16, "big"), "block")]
    assert both.plane.caught() == expected
    found: list[tuple[bytes, str]] = []

    def told() -> bool:
        found.extend(both.kernel.plane.caught())
        return bool(found)

    assert until(told)
    assert found == expected
    both.nothing_else()


def test_whom_the_operator_allows_has_no_limit(both: Both, path: Path) -> None:
    both.set_lists([(mapped(path.client), mapped(path.client), False)])
    try:
        assert [refused(both, path, n) for n in range(MOST + 2)] == [False] * (MOST + 2)
    finally:
        both.set_lists([])


def test_what_can_be_forged_counts_for_nobody(both: Both, path: Path) -> None:
    for n in range(20):
        for flags in ("S", "A", "R"):
            both.outside(replace(path, cport=2000 + n).from_client(flags=flags, ack=0x12345678))
    assert [refused(both, path, n) for n in range(MOST + 1)] == [False] * MOST + [True]


def test_a_cookie_alone_is_judged_too(both: Both, path: Path) -> None:
    for n in range(MOST):
        proved(both, path, n)
    talk = Talk(cast(Box, both), replace(path, cport=6000))
    talk.syn()
    for frame in replace(path, cport=0, client="198.18.9.9" if path.family == 4 else "2001:db8:9::9").syns(64):
        both.outside(frame)
    assert talk.ack() == []
    assert both.outcome.verdict == "drop"


def test_data_right_behind_the_proof_is_of_one_connection(both: Both, path: Path) -> None:
    talk = proved(both, path, 0)
    talk.client(b"first")
    talk.client(b"again")
    assert [refused(both, path, 1 + n) for n in range(MOST)] == [False] * (MOST - 1) + [True]


def test_limits_that_come_later_count_what_is_open(tmp_path: FilePath) -> None:
    """The sweep finds the connections; a table of sources begins empty."""
    free = [replace(one, source_open=0, source_new_per_s=0) for one in SERVICES]
    path = replace(PATHS["ipv4"], server="198.19.5.1", sport=OPEN)
    with Both(tmp_path, free) as boxes:
        boxes.begin(path)
        talks = [proved(boxes, path, n) for n in range(MOST)]
        for talk in talks:
            talk.synack()
        boxes.kernel.plane.set_services(SERVICES)
        boxes.kernel.engine.publish_services()
        assert until(lambda: boxes.kernel.engine.occupancy()["sources_used"] == 1)
        assert boxes.kernel.offer("outside", _proof(boxes, path)).verdict == "drop"


def _proof(boxes: Both, path: Path) -> bytes:
    """An ACK with a valid cookie, for the programs alone."""
    one = replace(path, cport=6000)
    talk = Talk(cast(Box, boxes), one)
    talk.syn()
    return one.from_client(flags="A", seq=talk.c_next, ack=(talk.isn + 1) & MASK, window=500)
