"""The table: each case on each link, through both engines, packet for packet."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from box.box import Talk
from box.wire import PATHS, Path

from bpf.both import Both
from bpf.cases import PARTS, SERVICES, Case, Scene
from bpf.table import TABLE, TAGGED_ONLY

_number = itertools.count(1)  # each case has a client and a server of its own: what was learned stays away


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with Both(tmp_path_factory.mktemp("both"), SERVICES) as one:
        yield one


def scene(both: Both, case: Case, path: Path) -> Scene:
    count = next(_number)
    number = count | 0x8000 if case.sport == PARTS else count
    server = f"198.19.{number >> 8}.{number & 255}" if path.family == 4 else f"2001:db8:19::{number:x}"
    here = replace(path, server=server, sport=case.sport, cport=2000 + count)
    both.begin(here)
    return Scene(both, Talk(both, here))  # type: ignore[arg-type]  # Both has what Talk asks of a Box


def play(one: Scene, case: Case) -> None:
    """One case: what is given, the packet, what both engines made of it."""
    case.given(one)
    one.frame = case.packet(one)
    one.both.offer("outside" if case.side == "outside" else "inside", one.frame)
    one.left = one.both.outcome.left
    assert one.both.outcome.verdict == case.verdict
    expected = case.out(one)
    assert [(side, frame.hex()) for side, frame in one.left] == [(side, frame.hex()) for side, frame in expected]
    one.both.nothing_else()


@pytest.mark.parametrize(
    ("case", "path"),
    [
        pytest.param(case, path, id=f"{case.name}, {name}")
        for case in TABLE
        for name, path in PATHS.items()
        if path.family in case.families
    ],
)
def test_case(both: Both, case: Case, path: Path) -> None:
    play(scene(both, case, path), case)


@pytest.mark.parametrize("name", [name for name, path in PATHS.items() if path.tags])
def test_service_of_one_vlan(both: Both, name: str) -> None:
    play(scene(both, TAGGED_ONLY, PATHS[name]), TAGGED_ONLY)
