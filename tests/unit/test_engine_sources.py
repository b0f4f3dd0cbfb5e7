"""Limits of sources: who proved itself and has too much is dropped, reset or caught; who did not is never counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from box.box import BRIDGE, Box, Talk, mapped, service
from box.wire import V4, V6, Path

OPEN, RATE = 3, 5
ENTRIES = 64


def path(number: int = 1, family: int = 4, cport: int = 4001) -> Path:
    """A client: of the same source as its neighbours, if a source is a /24 or a /64."""
    client = f"198.18.7.{number}" if family == 4 else f"2001:db8:18:7::{number:x}"
    return replace(V4 if family == 4 else V6, client=client, cport=cport)


def limited(**changes: object) -> Box:
    values = {"source_open": OPEN, **changes}
    return Box(service("web", **values), sources=ENTRIES)


def tried(box: Box, where: Path) -> bool:
    """A handshake of this client: whether its server hears of it."""
    talk = Talk(box, where)
    talk.syn()
    sent = talk.ack()
    assert [one.flags for one in sent] in (["S"], [])
    return bool(sent)


def opened(box: Box, where: Path) -> Talk:
    talk = Talk(box, where)
    talk.open()
    return talk


def drops(box: Box, name: str) -> int:
    return box.plane.counters()["services"]["web"]["drops"][name]


@pytest.fixture
def box() -> Iterator[Box]:
    with limited() as one:
        yield one


@pytest.mark.parametrize("family", [4, 6])
def test_so_many_open_and_no_more(box: Box, family: int) -> None:
    # an IPv6 host is its /64: each connection is of another of its addresses
    clients = [path(n if family == 6 else 1, family, 4000 + n) for n in range(1, OPEN + 2)]
    assert [tried(box, one) for one in clients] == [True] * OPEN + [False]
    assert drops(box, "source_open") == 1
    other = path(9) if family == 4 else replace(path(family=6), client="2001:db8:18:8::1")
    assert tried(box, other)


@pytest.mark.parametrize("end", ["fins", "reset by the client", "reset by the server", "refused", "silent", "given up"])
def test_what_ends_makes_room(box: Box, end: str) -> None:
    for n in range(OPEN - 1):
        opened(box, path(cport=5000 + n))
    talk = Talk(box, path())
    talk.syn()
    talk.ack()
    assert not tried(box, path(cport=6000))
    if end in ("refused", "silent", "given up"):
        if end == "refused":
            talk.server(flags="RA", seq=0)
        elif end == "silent":
            box.wait(12_000)
        else:
            talk.client(flags="R", ack=0)
    else:
        talk.synack()
        if end == "fins":
            talk.client(flags="FA")
            talk.c_sent += 1
            talk.server(flags="FA")
            talk.s_sent += 1
            assert not tried(box, path(cport=6000))
            talk.client()
        elif end == "reset by the client":
            talk.client(flags="R", ack=0)
        else:
            talk.server(flags="R", ack=0)
    assert [tried(box, path(cport=6000 + n)) for n in range(2)] == [True, False]


def test_a_reset_that_the_server_did_not_take_gives_nothing(box: Box) -> None:
    talks = [opened(box, path(cport=5000 + n)) for n in range(OPEN)]
    talks[0].client(flags="R", ack=0)
    talks[0].server(b"still here")
    assert not tried(box, path())


def test_idle_connections_are_forgotten(box: Box) -> None:
    for n in range(OPEN):
        opened(box, path(cport=5000 + n))
    box.pass_seconds(7500)
    assert (box.states(), tried(box, path())) == ([], True)


def test_so_many_a_second() -> None:
    with limited(source_open=0, source_new_per_s=RATE) as box:
        assert [tried(box, path(cport=4000 + n)) for n in range(RATE + 2)] == [True] * RATE + [False] * 2
        assert drops(box, "source_rate") == 2
        box.now_ms += 1000 // RATE
        assert [tried(box, path(cport=4100 + n)) for n in range(2)] == [True, False]
        box.now_ms += 60_000
        assert [tried(box, path(cport=4200 + n)) for n in range(RATE + 1)] == [True] * RATE + [False]


def test_who_is_over_a_limit_is_not_among_the_valid(box: Box) -> None:
    """Else one ACK, sent again and again, would make a flood look like finished handshakes."""
    for n in range(OPEN):
        tried(box, path(cport=5000 + n))
    talk = Talk(box, path())
    talk.syn()
    for _ in range(50):
        assert talk.ack() == []
    assert (box.events()["cookie_valid"], drops(box, "source_open")) == (OPEN, 50)


def test_who_was_dropped_gets_its_turn() -> None:
    """TCP repeats what was dropped, with the cookie in it."""
    with limited(source_open=0, source_new_per_s=1) as box:
        assert tried(box, path())
        talk = Talk(box, path(cport=4002))
        talk.syn()
        assert talk.ack(b"GET") == []
        box.now_ms += 1000
        assert [one.flags for one in talk.ack(b"GET")] == ["S"]


@pytest.mark.parametrize("family", [4, 6])
def test_reset(family: int) -> None:
    with limited(source_open=1, source_over="reset") as box:
        assert tried(box, path(family=family))
        talk = Talk(box, path(family=family, cport=4002))
        talk.syn()
        (reset,) = talk.ack(b"GET")
        talk.check(reset)
        assert (reset.side, reset.flags, reset.seq) == ("outside", "R", (talk.isn + 1) & 0xFFFFFFFF)
        assert (drops(box, "source_open"), box.plane.caught()) == (1, [])


def test_block() -> None:
    with limited(source_open=1, source_over="block") as box:
        assert tried(box, path())
        caught = [(mapped(path().client).to_bytes(16, "big"), "web")]
        for n in range(3):
            assert not tried(box, path(cport=4100 + n))
        assert (box.plane.caught(), box.plane.caught()) == (caught, [])
        box.now_ms += 1000
        assert not tried(box, path(cport=4200))
        assert box.plane.caught() == caught


def test_whom_the_operator_allows_has_no_limit(box: Box) -> None:
    address = mapped(path().client)
    box.plane.set_lists([(address, address, False)])
    assert [tried(box, path(cport=4000 + n)) for n in range(2 * OPEN)] == [True] * 2 * OPEN


def test_what_can_be_forged_counts_for_nobody() -> None:
    with limited(source_open=1, source_new_per_s=1) as box:
        for n in range(100):
            for flags in ("S", "A", "PA", "R", "SA"):
                box.outside(path(cport=2000 + n).from_client(flags=flags, ack=0x12345678))
        assert tried(box, path())
        assert (drops(box, "source_open"), drops(box, "source_rate")) == (0, 0)


@pytest.mark.parametrize("family", [4, 6])
def test_longer_and_shorter_prefixes(family: int) -> None:
    with limited(source_open=2, source_prefix4=24, source_prefix6=120) as box:
        assert [tried(box, path(n, family)) for n in (1, 2, 3)] == [True, True, False]
        away = "198.18.8.1" if family == 4 else "2001:db8:18:7::101"
        assert tried(box, replace(path(family=family), client=away))


@pytest.mark.parametrize("bits", [1, 31, 32])
def test_prefixes_of_ipv4(bits: int) -> None:
    with limited(source_open=1, source_prefix4=bits) as box:
        answers = [tried(box, replace(path(), client=client)) for client in ("198.18.7.2", "198.18.7.3", "198.19.7.3")]
        assert answers == [True, bits == 32, bits > 1]


@pytest.mark.parametrize("bits", [1, 63, 64, 65, 127, 128])
def test_prefixes_of_ipv6(bits: int) -> None:
    with limited(source_open=1, source_prefix6=bits) as box:
        clients = ("2001:db8:18:6::2", "2001:db8:18:6::3", "2001:db8:18:6:8000::2", "2001:db8:18:7::2")
        answers = [tried(box, replace(path(family=6), client=client)) for client in clients]
        assert answers == [True, bits > 127, bits > 64, bits > 63]


def test_services_count_apart() -> None:
    services = service(ports=((80, 80),), source_open=1), service("other", ports=((443, 443),), source_open=1)
    with Box(*services, sources=ENTRIES) as box:
        assert [tried(box, replace(path(cport=4000 + n), sport=port)) for n, port in enumerate((80, 443, 80, 443))] == [
            True, True, False, False,
        ]  # fmt: skip


def test_limits_that_come_later_count_what_is_open() -> None:
    with Box(service(), sources=ENTRIES) as box:
        for n in range(OPEN):
            opened(box, path(cport=5000 + n))
        box.plane.set_services([service(source_open=OPEN)])
        box.wait(8000)
        assert box.plane.occupancy()["sources_used"] == 1
        assert not tried(box, path())
        box.plane.set_services([service()])
        assert tried(box, path())
        box.wait(8000)
        assert box.plane.occupancy()["sources_used"] == 0


def test_a_prefix_that_changes_counts_anew(box: Box) -> None:
    for n in range(1, OPEN + 1):
        opened(box, path(n))
    assert tried(box, path(9))
    box.plane.set_services([service(source_open=OPEN + 1, source_prefix4=24)])
    box.wait(8000)
    assert not tried(box, path(10))


def test_a_table_too_small_keeps_those_with_most() -> None:
    """Twice as many sources as there is room for; one of them has all it may have, and gets no more."""
    with Box(service(source_open=OPEN), flows=256, sources=4) as box:
        for n in range(OPEN):
            assert tried(box, path(cport=5000 + n))
        for n in range(2, 100):
            assert tried(box, path(n))
        assert not tried(box, path())
        box.wait(8000)
        assert not tried(box, path())
        assert box.plane.occupancy()["sources_used"] == box.plane.occupancy()["sources_capacity"] == 4


def test_idle_sources_are_forgotten(box: Box) -> None:
    for n in range(1, 30):
        opened(box, path(n)).server(flags="R", ack=0)
    box.wait(8000)
    assert box.plane.occupancy()["sources_used"] == 0


def test_counts_are_right_after_a_thousand_connections() -> None:
    with Box(service(source_open=2), flows=1024, sources=ENTRIES) as box:
        opened(box, path(cport=3999))
        for n in range(1000):
            talk = opened(box, path(cport=4000 + n))
            assert not tried(box, path(cport=3000))
            talk.server(flags="R", ack=0)
            box.wait(50)
        assert tried(box, path(cport=3000))
        assert not tried(box, path(cport=3001))


@pytest.mark.parametrize("layers", [BRIDGE, ("l3", "l3")], ids=["bridge", "routed"])
def test_reset_leaves_where_the_client_is(layers: tuple[str, str]) -> None:
    with Box(service(source_open=1, source_over="reset"), layers=layers, sources=ENTRIES) as box:
        assert tried(box, path())
        talk = Talk(box, path(cport=4002))
        talk.syn()
        (reset,) = talk.ack()
        talk.check(reset)
