"""forward_to: to clients nothing is different, and to the server everything has its own name.

A box that forwards stands beside one that does not; both get the same packets of the client, and the same ones of the
server under its two names. What leaves must differ in that name alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from box.box import Box, Result, Talk, mapped, service
from box.direct import Direct
from box.wire import MASK, PATHS, V4, V6, Option, Path, Seg, prove, segment, split_link
from scapy.compat import raw
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

PORT = 8080
OTHER = {4: "198.19.0.77", 6: "2001:db8:19::77"}
PLAIN: list[Option] = [("MSS", 1400), ("SAckOK", b""), ("NOP", None), ("WScale", 9)]  # timestamps of two boxes differ
KINDS = ("port", "address")


class Twins:
    """Both boxes as one that Talk and Direct can play with; `path` has the names that clients use."""

    layers = ("l2", "l2")

    def __init__(self, path: Path, kind: str, *, auto: bool = False) -> None:
        self.path = path
        self.inner = dataclasses.replace(path, sport=PORT, server=path.server if kind == "port" else OTHER[path.family])
        address, server = mapped(path.server), mapped(self.inner.server)
        own = service(addresses=((address, address),), ports=((path.sport, path.sport),), auto=auto)
        own = dataclasses.replace(own, most_syns_per_s=1000)
        there = dataclasses.replace(
            own, forward_port=PORT, forward_address=server if kind == "address" else None, name="there"
        )
        back = service(
            "back",
            addresses=((server, server),),
            ports=((PORT, PORT),),
            protect=False,
            target=True,
            forward_port=path.sport,
            forward_address=address if kind == "address" else None,
        )
        self.services = [there, back]
        self.plain, self.box = Box(own), Box(*self.services)

    def __enter__(self) -> Twins:
        return self

    def __exit__(self, *_: object) -> None:
        self.plain.plane.close()
        self.box.plane.close()

    @property
    def now_ms(self) -> int:
        return self.plain.now_ms

    def outside(self, frame: bytes) -> Result:
        one, other = self.plain.outside(frame), self.box.outside(frame)
        self.agree(one, other)
        assert (one.verdict == "drop") == (other.verdict == "drop")
        if one.verdict != "drop":
            assert segment("", "forward", other.frame) == self.renamed(segment("", "forward", one.frame))
        return one

    def inside(self, frame: bytes) -> Result:
        """`frame` has the names that clients use; the box that forwards gets it as the server would send it."""
        one, other = self.plain.inside(frame), self.box.inside(self.as_sent(frame))
        self.agree(one, other)
        assert (one.verdict == "drop") == (other.verdict == "drop")
        if one.verdict != "drop":
            assert other.frame == one.frame
        return one

    def agree(self, one: Result, other: Result) -> None:
        assert other.sent == [self.renamed(seg) if seg.side == "inside" else seg for seg in one.sent]

    def renamed(self, seg: Seg) -> Seg:
        assert (seg.dst, seg.dport) == (self.path.server, self.path.sport)
        return dataclasses.replace(seg, dst=self.inner.server, dport=self.inner.sport)

    def as_sent(self, frame: bytes) -> bytes:
        packet = Ether(frame)
        network = packet[IP if self.path.family == 4 else IPv6]
        network.src, packet[TCP].sport = self.inner.server, self.inner.sport
        del packet[TCP].chksum
        if self.path.family == 4:
            del network.chksum
        return raw(packet)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=list(PATHS.values()), ids=list(PATHS))
def twins(request: pytest.FixtureRequest, kind: str) -> Iterator[Twins]:
    with Twins(request.param, kind) as one:
        yield one


def talk(twins: Twins) -> Talk:
    return Talk(twins, twins.path, list(PLAIN), list(PLAIN))  # type: ignore[arg-type]  # stands for a box


def test_a_connection_from_its_first_packet_to_its_last(twins: Twins) -> None:
    one = talk(twins)
    one.open(b"early")
    for data in (b"x", b"odd", bytes(700)):
        one.server(data)
        one.s_sent += len(data)
        one.client(data)
        one.c_sent += len(data)
    one.client(flags="FA")
    one.c_sent += 1
    one.server(flags="FA")
    one.s_sent += 1
    one.client()
    assert twins.box.states() == twins.plain.states() == ["closed"]


def test_resets_of_both_ends(twins: Twins) -> None:
    one = talk(twins)
    one.open()
    one.client(flags="R", ack=0)
    assert twins.box.states() == ["closed"]
    two = Talk(twins, twins.path.other(9), list(PLAIN), list(PLAIN))  # type: ignore[arg-type]
    twins.path = two.path
    twins.inner = dataclasses.replace(twins.inner, cport=two.path.cport)
    two.open()
    two.server(flags="RA")
    assert twins.box.states() == ["closed", "closed"]


def test_a_server_that_refuses_and_one_that_is_silent(twins: Twins) -> None:
    one = talk(twins)
    one.syn()
    one.ack()
    one.server(flags="RA", seq=0, ack=(one.c_isn + 1) & MASK)
    assert twins.box.states() == []
    two = talk(twins)
    two.syn()
    (asked,) = two.ack()
    assert asked.flags == "S"
    again = [twins.renamed(seg) if seg.side == "inside" else seg for seg in twins.plain.wait(12_000)]
    assert twins.box.wait(12_000) == again
    assert [seg.flags for seg in again] == ["S", "S", "S", "RA"]


def test_a_late_answer_is_reset_under_the_server_s_own_name(twins: Twins) -> None:
    late = twins.path.from_server(flags="SA", seq=5, ack=6, options=PLAIN)
    assert [seg.flags for seg in twins.inside(late).sent] == ["R"]


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_watched_connections_are_forwarded_too(path: Path, kind: str) -> None:
    with Twins(path, kind, auto=True) as twins:
        one = Direct(twins, path, list(PLAIN))
        one.open()
        assert twins.box.states() == ["pass"]
        assert (one.client(b"more"), one.server(b"still")) == ("pass", "pass")
        for box in (twins.plain, twins.box):
            box.plane.set_guard(box.plane.guards().popitem()[0], True)
        assert (one.client(b"more"), one.server(b"still")) == ("pass", "pass")


@pytest.mark.parametrize("path", [V4, V6], ids=["ipv4", "ipv6"])
def test_servers_are_learned_under_the_name_that_clients_use(path: Path, kind: str) -> None:
    with Twins(path, kind) as twins:
        talk(twins).open()
        (one,) = twins.box.plane.backends()
        assert (int.from_bytes(one["address"], "big"), one["port"]) == (mapped(path.server), path.sport)


def test_the_server_s_own_name_is_closed_to_clients(twins: Twins) -> None:
    for flags in ("S", "A", "R", "FA"):
        assert twins.box.outside(twins.inner.from_client(flags=flags)).verdict == "drop"
    assert twins.box.drops() == {"forward_target": 4}


def test_other_ports_of_the_same_hosts_are_left_alone(twins: Twins) -> None:
    for path in (twins.path, twins.inner):
        other = dataclasses.replace(path, sport=22)
        frame, answer = other.from_client(flags="S"), other.from_server(flags="SA")
        assert (twins.box.outside(frame).verdict, twins.box.inside(answer).verdict) == ("pass", "pass")


def test_an_excepted_client_meets_the_hosts_as_they_are(kind: str) -> None:
    with Twins(V4, kind) as twins:
        client = mapped(V4.client)
        hosts = service("hosts", addresses=((client, client),), ports=((1, 65535),), protect=False, excepted=True)
        twins.box.plane.set_services([*twins.services, hosts])
        for path in (twins.path, twins.inner):
            assert twins.box.outside(path.from_client(flags="S")).verdict == "pass"
            assert twins.box.inside(path.from_server(flags="SA")).verdict == "pass"


# -- ICMP errors quote packets under the name that the one they are for knows


def quote(packet: Packet, path: Path, bytes_of_tcp: int) -> bytes:
    return raw(packet)[: header(path) + bytes_of_tcp]


def header(path: Path) -> int:
    return 20 if path.family == 4 else 40


def whole(length: int) -> int:
    """Of a quoted header: what is whole and says something."""
    return min(length, 12)


def taken_apart(result: Result, path: Path) -> tuple[bytes, bytes, bytes]:
    """(source, destination, quoted packet) of an ICMP error whose checksums are right."""
    assert result.verdict == "rewrite"
    packet = split_link(result.frame)[3]
    prove(packet)
    ends = packet[12:20] if path.family == 4 else packet[8:40]
    half = len(ends) // 2
    return ends[:half], ends[half:], packet[header(path) + 8 :]


@pytest.mark.parametrize("length", [8, 12, 20])
@pytest.mark.parametrize("error", ["too big", "time", "unreachable"])
def test_errors_of_routers_outside(twins: Twins, error: str, length: int) -> None:
    path, one = twins.path, talk(twins)
    one.open()
    one.server(bytes(100))
    told = path.server_packet(seq=one.s_next_told, ack=one.c_next, data=bytes(100))
    own = twins.inner.server_packet(seq=one.s_next, ack=one.c_next, data=bytes(100))
    result = twins.box.outside(path.icmp(error, quote(told, path, length), inside=False, mtu=1280))
    _, to, quoted = taken_apart(result, path)
    assert to == (raw(own)[12:16] if path.family == 4 else raw(own)[8:24])
    assert quoted[: header(path) + whole(length)] == quote(own, path, whole(length))


@pytest.mark.parametrize("length", [8, 12, 20])
@pytest.mark.parametrize("error", ["too big", "time"])
@pytest.mark.parametrize("of_the_server", [False, True])
def test_errors_from_inside(twins: Twins, error: str, length: int, of_the_server: bool) -> None:
    path, one = twins.path, talk(twins)
    one.open()
    one.client(bytes(100))
    told = twins.inner.client_packet(seq=one.c_next, ack=one.s_next, data=bytes(100))
    own = path.client_packet(seq=one.c_next, ack=one.s_next_told, data=bytes(100))
    router = twins.inner.server if of_the_server else ""
    result = twins.box.inside(path.icmp(error, quote(told, path, length), inside=True, mtu=1280, router=router))
    source, _, quoted = taken_apart(result, path)
    if of_the_server:
        assert source == (raw(own)[16:20] if path.family == 4 else raw(own)[24:40])
    assert quoted[: header(path) + whole(length)] == quote(own, path, whole(length))
