"""Signed SYNs through both engines, packet for packet: the SYN passes, and only a signed answer opens a way."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import pytest
from box.box import mapped, service
from box.wire import PATHS, Option, Path
from scapy.layers.inet import TCPAOValue

from bpf.both import Both

_RANGES = ((mapped("198.19.0.0"), mapped("198.19.127.255")), (mapped("2001:db8:19::"), mapped("2001:db8:19::7fff")))
WANTED, UNWANTED = 80, 81
SERVICES = (
    service("wanted", addresses=_RANGES, ports=((WANTED, WANTED),)),
    service("unwanted", addresses=_RANGES, ports=((UNWANTED, UNWANTED),), signed_drop=True),
)
SIGNATURES: dict[str, Option] = {
    "md5": ("MD5", bytes(range(16))),
    "ao": ("AO", TCPAOValue(keyid=1, rnextkeyid=1, mac=bytes(12))),
}
_number = itertools.count(1)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with Both(tmp_path_factory.mktemp("signed"), SERVICES) as one:
        yield one


@pytest.fixture(params=list(PATHS.values()), ids=list(PATHS))
def path(request: pytest.FixtureRequest, boxes: Both) -> Path:
    number = next(_number)
    given = cast(Path, request.param)
    server = f"198.19.0.{number}" if given.family == 4 else f"2001:db8:19::{number:x}"
    boxes.begin(one := replace(given, server=server, sport=WANTED, cport=3000 + number))
    return one


@pytest.fixture(params=list(SIGNATURES))
def signature(request: pytest.FixtureRequest) -> Option:
    return SIGNATURES[request.param]


def syn(boxes: Both, path: Path, signature: Option) -> str:
    return boxes.outside(path.from_client(flags="S", seq=100, options=[("MSS", 1460), signature])).verdict


def synack(boxes: Both, path: Path, *signatures: Option) -> str:
    answer: list[Option] = [("MSS", 1460), *signatures]
    return boxes.inside(path.from_server(flags="SA", seq=900, ack=101, options=answer)).verdict


def ack(boxes: Both, path: Path, signature: Option) -> str:
    return boxes.outside(path.from_client(flags="A", seq=101, ack=901, options=[signature])).verdict


def test_a_signed_connection_passes(boxes: Both, path: Path, signature: Option) -> None:
    assert (syn(boxes, path, signature), synack(boxes, path, signature), syn(boxes, path, signature)) == ("pass",) * 3
    assert (ack(boxes, path, signature), syn(boxes, path, signature)) == ("pass", "drop")
    boxes.nothing_else()


def test_without_the_server_s_signature_nothing_opens(boxes: Both, path: Path, signature: Option) -> None:
    assert (syn(boxes, path, signature), ack(boxes, path, signature)) == ("pass", "drop")
    assert (synack(boxes, path), ack(boxes, path, signature)) == ("drop", "drop")
    boxes.nothing_else()


def test_where_they_are_not_wanted_they_are_dropped(boxes: Both, path: Path, signature: Option) -> None:
    there = replace(path, sport=UNWANTED)
    assert (syn(boxes, there, signature), synack(boxes, there, signature)) == ("drop", "drop")
    boxes.nothing_else()


def test_a_flood_of_them_reaches_the_server_at_a_trickle(boxes: Both, path: Path, signature: Option) -> None:
    """Each engine has a clock and so a second of its own: what is compared is that both let few through."""
    frames = [replace(path, cport=10_000 + number).from_client(flags="S", options=[signature]) for number in range(400)]
    before = boxes.reasons("tcp_signature")
    for frame in frames:
        boxes.kernel.offer("outside", frame)
        boxes.plane.packet("outside", frame, boxes.now_ms)
    refused = [now - then for now, then in zip(boxes.reasons("tcp_signature"), before, strict=True)]
    assert min(refused) > 0
