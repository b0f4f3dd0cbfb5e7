"""`protect: auto` through both engines, packet for packet: watching, the switch in both directions, and what stays."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import pytest
from box.box import Box, Talk, mapped, service
from box.direct import Direct
from box.wire import MASK, PATHS, V4, Path

from bpf.both import Both

MOST = 5
_RANGES = ((mapped("198.19.0.0"), mapped("198.19.127.255")), (mapped("2001:db8:19::"), mapped("2001:db8:19::7fff")))
CALM, TOUCHY = 80, 81
SERVICES = (
    service("calm", addresses=_RANGES, ports=((CALM, CALM),), auto=True, most_syns_per_s=1_000_000),
    service("touchy", addresses=_RANGES, ports=((TOUCHY, TOUCHY),), auto=True, most_syns_per_s=MOST),
)
PATIENCE_S = 5.0
_number = itertools.count(1)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with Both(tmp_path_factory.mktemp("watched"), SERVICES) as one:
        yield one


@pytest.fixture(params=list(PATHS.values()), ids=list(PATHS))
def path(request: pytest.FixtureRequest, boxes: Both) -> Path:
    """A server that nobody has talked to, watched."""
    protect(boxes, on=False)
    number = next(_number)
    given = cast(Path, request.param)
    server = f"198.19.0.{number}" if given.family == 4 else f"2001:db8:19::{number:x}"
    boxes.begin(one := replace(given, server=server, sport=CALM, cport=3000 + number))
    return one


def protect(boxes: Both, *, on: bool, name: str = "calm") -> None:
    for plane in (boxes.plane, boxes.kernel.plane):
        plane.set_guard(name, on)


def through(boxes: Both, path: Path) -> Talk:
    return Talk(cast(Box, boxes), path)


def flows(boxes: Both, path: Path) -> list[str]:
    return [one["state"] for one in boxes.plane.flows(5000) if one["client_port"] == path.cport]


def test_a_watched_connection_passes_and_goes_on_under_protection(boxes: Both, path: Path) -> None:
    one = Direct(boxes, path)
    one.open()
    assert flows(boxes, path) == ["pass"]
    protect(boxes, on=True)
    assert (one.client(b"more"), one.server(b"still")) == ("pass", "pass")
    forged = Direct(boxes, replace(path, cport=path.cport + 3000))
    assert (forged.client(b"GET /"), forged.client(flags="FA"), forged.client(flags="R")) == ("drop",) * 3
    assert (one.client(flags="FA"), one.server(flags="FA"), one.client()) == ("pass",) * 3
    boxes.nothing_else()


def test_a_client_that_started_anew_is_challenged_by_the_box(boxes: Both, path: Path) -> None:
    one = Direct(boxes, path)
    one.open()
    protect(boxes, on=True)
    old = one.c_isn
    one.c_isn = (old + 77777) & MASK
    assert (one.syn(), one.syn()) == ("drop", "drop")
    assert one.client(flags="R", seq=(old + 1) & MASK, ack=0) == "pass"
    assert flows(boxes, path) == ["pass_closed"]
    assert one.syn() == "drop"
    boxes.nothing_else()


def test_a_server_s_challenge_of_a_second_syn_makes_nothing_known(boxes: Both, path: Path) -> None:
    one = Direct(boxes, path)
    assert (one.syn(), one.synack()) == ("pass", "pass")
    challenge = (one.c_isn + 1) & MASK
    one.c_isn = (one.c_isn + 77777) & MASK
    assert (one.syn(), one.server(ack=challenge)) == ("pass", "pass")
    assert flows(boxes, path) == []
    protect(boxes, on=True)
    assert (one.client(), one.client(b"forged")) == ("drop", "drop")
    boxes.nothing_else()


def test_servers_are_learned_while_they_are_watched(boxes: Both, path: Path) -> None:
    Direct(boxes, path).open()
    address = mapped(path.server).to_bytes(16, "big")

    def known(plane: object) -> list[dict[str, object]]:
        found = [one for one in plane.backends() if one["address"] == address]  # type: ignore[attr-defined]
        return [{name: value for name, value in one.items() if name != "age_ms"} for one in found]

    wanted = known(boxes.plane)
    limit = time.monotonic() + PATIENCE_S
    while known(boxes.kernel.plane) != wanted and time.monotonic() < limit:
        time.sleep(0.01)
    assert known(boxes.kernel.plane) == wanted
    assert (wanted[0]["wscale"], wanted[0]["known"]) == (5, ("wscale", "sack", "timestamps"))
    protect(boxes, on=True)
    assert through(boxes, replace(path, cport=path.cport + 3000)).syn().option("WScale") == 5


def test_what_proves_nothing_makes_nothing_known(boxes: Both, path: Path) -> None:
    one = Direct(boxes, path)
    assert (one.syn(), one.client(), one.synack(), one.client(ack=one.s_isn), one.client(flags="R")) == ("pass",) * 5
    assert flows(boxes, path) == []
    protect(boxes, on=True)
    assert one.client(b"x") == "drop"


def test_what_a_server_says_makes_its_connection_known(boxes: Both, path: Path) -> None:
    one = Direct(boxes, path)
    assert one.server(b"tick") == "pass"
    protect(boxes, on=True)
    assert one.client(b"tock") == "pass"


def test_a_handshake_on_its_way_ends_as_it_began(boxes: Both, path: Path) -> None:
    one, two = Direct(boxes, path), Direct(boxes, replace(path, cport=path.cport + 3000))
    assert (one.syn(), one.synack(), two.syn()) == ("pass",) * 3
    protect(boxes, on=True)
    assert (one.client(), one.server(b"x")) == ("pass", "pass")
    assert (two.syn(), two.synack(), two.client(), two.client(b"y")) == ("drop", "pass", "pass", "pass")


def test_a_refusal_passes(boxes: Both, path: Path) -> None:
    one = Direct(boxes, path)
    assert (one.syn(), one.server(flags="RA", seq=0), one.client(), one.server(flags="R")) == ("pass",) * 4


def test_a_server_s_answer_that_nobody_waits_for_is_reset(boxes: Both, path: Path) -> None:
    protect(boxes, on=True)
    assert Direct(boxes, path).synack() == "drop"


def test_what_began_under_protection_ends_as_it_began(boxes: Both, path: Path) -> None:
    protect(boxes, on=True)
    open_one, asked = through(boxes, path), through(boxes, replace(path, cport=path.cport + 3000))
    open_one.open()
    first = asked.syn()
    protect(boxes, on=False)
    assert open_one.client(b"x").verdict == "rewrite"
    assert open_one.server(b"y").verdict == "rewrite"
    assert asked.syn().seq == first.seq
    (syn,) = asked.ack()
    assert syn.flags == "S"
    asked.synack()
    assert flows(boxes, asked.path) == ["established"]
    assert asked.client(b"x").verdict == "rewrite"


def test_a_cookie_alone_is_good_after_protection_has_ended(boxes: Both, path: Path) -> None:
    protect(boxes, on=True)
    talk = through(boxes, path)
    talk.syn()
    for frame in replace(path, client="198.18.9.9" if path.family == 4 else "2001:db8:18::9").syns(64):
        boxes.outside(frame)
    protect(boxes, on=False)
    (syn,) = talk.ack()
    assert syn.flags == "S"


def test_a_connection_that_ended_gives_way(boxes: Both, path: Path) -> None:
    protect(boxes, on=True)
    talk = through(boxes, path)
    talk.open()
    talk.server(flags="R")
    protect(boxes, on=False)
    one = Direct(boxes, path)
    one.c_isn, one.s_isn = 1000, 2000
    one.open()
    assert flows(boxes, path) == ["pass"]
    assert (one.client(b"x"), one.server(b"y")) == ("pass", "pass")


def test_too_many_syns_turn_protection_on(boxes: Both) -> None:
    path = replace(V4, server="198.19.1.1", sport=TOUCHY)
    boxes.begin(path)
    protect(boxes, on=False, name="touchy")
    time.sleep(1.1)  # a second that begins with the first of them, in both
    verdicts = [boxes.outside(frame).verdict for frame in path.syns(MOST + 2)]
    assert verdicts == ["pass"] * MOST + ["drop"] * 2
    assert boxes.plane.guards()["touchy"]
    assert boxes.kernel.plane.guards()["touchy"]
