"""Blocked sources: nothing of them reaches a protected service, and nothing else changes."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import replace

import pytest
from box.box import Box, Talk, mapped, service
from box.wire import V4, V6, Path, fragments

from cext.sourcelist import Span, longest_decides


@pytest.fixture
def box() -> Iterator[Box]:
    with Box() as one:
        yield one


def prefix(text: str, *, blocked: bool = True) -> Span:
    network = ipaddress.ip_network(text)
    return mapped(str(network[0])), mapped(str(network[-1])), blocked


def block(box: Box, *spans: Span) -> None:
    box.plane.set_lists(longest_decides(spans))


def refused(box: Box, frame: bytes, side: str = "outside") -> bool:
    """Whether it was dropped because its source is blocked; it is then counted, and nothing is sent."""
    before = box.plane.counters()["total"]["drops"]["blocked"]
    result = box.outside(frame) if side == "outside" else box.inside(frame)
    counted = box.plane.counters()["total"]["drops"]["blocked"] - before
    assert not counted or (result.verdict, result.sent) == ("drop", [])
    return bool(counted)


@pytest.mark.parametrize("path", [V4, V6], ids=["ipv4", "ipv6"])
def test_everything_of_a_blocked_source_ends_at_the_gate(box: Box, path: Path) -> None:
    frames = [path.from_client(flags=flags) for flags in ("S", "A", "FA", "R")]
    frames += [path.icmp("too big", path.from_server()[14:], inside=False, mtu=1000, router=path.client)]
    frames += [fragments(path, path.client_packet(data=b"x" * 64), 32)[1]]
    assert not any(refused(box, frame) for frame in frames)
    block(box, prefix(path.client))
    assert all(refused(box, frame) for frame in frames)
    assert not refused(box, path.from_server(flags="SA"), "inside")
    block(box)
    assert not any(refused(box, frame) for frame in frames)


def test_open_connection_of_a_source_that_is_blocked_now(box: Box) -> None:
    talk = Talk(box)
    talk.open()
    block(box, prefix("198.18.0.0/24"))
    assert refused(box, V4.from_client(data=b"x", flags="PA", seq=talk.c_next, ack=talk.s_next_told))
    block(box)
    assert talk.client(b"x").verdict == "rewrite", "its record is untouched"


@pytest.mark.parametrize(
    ("client", "ends"),
    [
        ("198.18.0.255", False),
        ("198.18.1.0", True),
        ("198.18.1.7", False),  # allowed
        ("198.18.1.8", True),
        ("198.18.1.255", True),
        ("198.18.2.0", False),
        ("10.255.255.255", True),  # in a block that begins 2 blocks of the bit map before
        ("11.0.0.0", False),
    ],
)
def test_longest_prefix_decides(box: Box, client: str, *, ends: bool) -> None:
    block(box, prefix("198.18.1.0/24"), prefix("198.18.1.7", blocked=False), prefix("10.0.0.0/8"))
    assert refused(box, replace(V4, client=client).from_client(flags="S")) == ends


@pytest.mark.parametrize(
    ("text", "client", "ends"),
    [
        ("2001:db8:18::/48", "2001:db8:18:ffff::1", True),
        ("2001:db8:18::/48", "2001:db8:19::1", False),
        ("2000::/3", "3fff:ffff::1", True),
        ("2000::/3", "4000::1", False),
        ("2001:db8::/32", "2001:db8:ffff:ffff::", True),
        ("2001:db8::/32", "2001:db9::", False),
    ],
)
def test_prefixes_of_ipv6(box: Box, text: str, client: str, *, ends: bool) -> None:
    block(box, prefix(text))
    assert refused(box, replace(V6, client=client).from_client(flags="S")) == ends


def test_thousands_of_prefixes(box: Box) -> None:
    first = mapped("198.18.0.0")
    box.plane.set_lists([(first + 2 * n, first + 2 * n, True) for n in range(32000)])
    for n in (0, 1, 2, 15999, 16000, 63997, 63998, 63999, 64000):
        client = str(ipaddress.IPv4Address("198.18.0.0") + n)
        assert refused(box, replace(V4, client=client).from_client(flags="S")) == (n % 2 == 0 and n < 64000)
    with pytest.raises(ValueError, match="65535"):
        box.plane.set_lists([(2 * n, 2 * n, True) for n in range(65536)])
    assert refused(box, replace(V4, client="198.18.0.0").from_client(flags="S")), "the lists before are still there"


def test_what_is_not_protected_is_not_asked(box: Box) -> None:
    block(box, prefix("198.18.0.0/16"))
    assert not refused(box, replace(V4, sport=22).from_client(flags="S"))
    box.plane.set_services([service(protect=False)])
    assert not refused(box, V4.from_client(flags="S"))


def test_excepted_hosts_are_not_blocked(box: Box) -> None:
    hosts = service(
        "friends",
        addresses=((mapped("198.18.0.7"), mapped("198.18.0.7")),),
        ports=((0, 65535),),
        protect=False,
        excepted=True,
    )
    box.plane.set_services([service(), hosts])
    block(box, prefix("198.18.0.0/16"))
    assert not refused(box, V4.from_client(flags="S"))
    assert refused(box, replace(V4, client="198.18.0.8").from_client(flags="S"))
