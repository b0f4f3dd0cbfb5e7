"""Traps: who completes a handshake is caught, and no server hears of it; who forges one is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from box.box import Box, Talk, mapped, service
from box.wire import V4, V6, Path


@pytest.fixture
def box() -> Iterator[Box]:
    with Box() as one:
        one.plane.set_services([service(trap=True)])
        yield one


def packed(path: Path) -> bytes:
    return mapped(path.client).to_bytes(16, "big")


def drops(box: Box) -> int:
    return box.plane.counters()["services"]["web"]["drops"]["trapped"]


@pytest.mark.parametrize("path", [V4, V6], ids=["ipv4", "ipv6"])
def test_completed_handshake(box: Box, path: Path) -> None:
    talk = Talk(box, path)
    assert talk.syn().flags == "SA"
    assert talk.ack() == []
    assert (box.plane.caught(), box.plane.caught()) == ([(packed(path), "web")], [])
    assert (box.states(), drops(box)) == ([], 1)
    assert talk.client(b"again").sent == []
    assert box.plane.caught() == [(packed(path), "web")]


def test_nobody_is_caught_by_what_can_be_forged(box: Box) -> None:
    for flags in ("S", "A", "PA", "FA", "R", "SA"):
        box.outside(V4.from_client(flags=flags, ack=0x12345678))
    assert (box.plane.caught(), drops(box)) == ([], 0)


def test_whom_the_operator_allows_is_served(box: Box) -> None:
    address = mapped(V4.client)
    box.plane.set_lists([(address, address, False)])
    Talk(box).open()
    assert box.plane.caught() == []


def test_mailbox_has_a_bound(box: Box) -> None:
    for number in range(1030):
        talk = Talk(box, Path(client=f"198.18.{number >> 8}.{number & 255}"))
        talk.syn()
        talk.ack()
    assert (len(box.plane.caught()), drops(box)) == (1024, 1030)
