"""Blocked sources: the programs and the nfqueue engine drop the same packets, for the same reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from box.box import FULL, Talk, mapped
from box.wire import PATHS, Path, fragments

from bpf.both import Both
from bpf.cases import SERVICES, TRAP
from cext.sourcelist import longest_decides

BLOCKED = {4: "198.18.77.0", 6: "2001:db8:77::"}
ALLOWED = {4: "198.18.77.7", 6: "2001:db8:77::7"}
SPANS = longest_decides(
    [
        (mapped("198.18.77.0"), mapped("198.18.77.255"), True),
        (mapped("198.18.77.7"), mapped("198.18.77.7"), False),
        (mapped("2001:db8:77::"), mapped("2001:db8:77:ffff:ffff:ffff:ffff:ffff"), True),
        (mapped("2001:db8:77::7"), mapped("2001:db8:77::7"), False),
    ]
)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with Both(tmp_path_factory.mktemp("lists"), SERVICES) as one:
        one.set_lists(SPANS)
        yield one


def frames(path: Path) -> dict[str, bytes]:
    return {
        "SYN": path.from_client(flags="S", options=FULL),
        "ACK": path.from_client(),
        "RST": path.from_client(flags="R"),
        "ICMP error": path.icmp(
            "too big", path.from_server()[14 + 4 * len(path.tags) :], inside=False, router=path.client
        ),
        "fragment": fragments(path, path.client_packet(data=b"x" * 64), 32)[1],
    }


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("kind", frames(PATHS["ipv4"]))
def test_blocked(both: Both, name: str, kind: str) -> None:
    path = replace(PATHS[name], client=BLOCKED[PATHS[name].family])
    before = both.reasons("blocked")
    assert both.outside(frames(path)[kind]).verdict == "drop"
    assert both.reasons("blocked") == tuple(count + 1 for count in before)


@pytest.mark.parametrize("name", PATHS)
def test_allowed_within_what_is_blocked(both: Both, name: str) -> None:
    path = replace(PATHS[name], client=ALLOWED[PATHS[name].family])
    both.begin(path)
    Talk(both, path).open()  # type: ignore[arg-type]  # Both has what Talk asks of a Box


@pytest.mark.parametrize("name", PATHS)
def test_open_connection_is_cut(both: Both, name: str) -> None:
    path = replace(PATHS[name], client=BLOCKED[PATHS[name].family], cport=41000)
    both.set_lists([])
    both.begin(path)
    talk = Talk(both, path)  # type: ignore[arg-type]
    talk.open()
    data = path.from_client(data=b"x", flags="PA", seq=talk.c_next, ack=talk.s_next_told, window=500)
    both.set_lists(SPANS)
    both.outside(data)
    assert both.outcome.verdict == "drop"
    both.set_lists([])
    both.outside(data)
    assert both.outcome.verdict == "redirect"
    both.set_lists(SPANS)


@pytest.mark.parametrize("name", PATHS)
def test_trap(both: Both, name: str) -> None:
    """The ACK goes up to user space, and nothing comes of it but the source's name."""
    path = replace(PATHS[name], sport=TRAP)
    both.begin(path)
    talk = Talk(both, path)  # type: ignore[arg-type]
    talk.syn()
    assert talk.ack() == []
    assert both.outcome.verdict == "handover"
    both.nothing_else()
    expected = [(mapped(path.client).to_bytes(16, "big"), "trap")]
    assert (both.kernel.plane.caught(), both.plane.caught()) == (expected, expected)
