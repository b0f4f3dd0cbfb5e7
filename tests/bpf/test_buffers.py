"""Frames of several buffers whose headers do not all lie in the first one: the gate sees them as any other.

A NIC may put as little into the first buffer as it likes (split headers), a sender as many extension headers as fit.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from box.box import CLIENT_ISN, Talk
from box.wire import MASK, PATHS, V6, Path
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, PadN

from bpf.both import Both, comparable, one_epoch
from bpf.cases import SERVICES

if TYPE_CHECKING:
    from bpf.kernelbox import Ran

ETHERNET_BYTES = 14  # the least that a frame's first buffer has
MTU_BYTES = 9000
HEADER_BYTES = 2048  # the longest extension header there is, RFC 8200 section 4.2


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with Both(tmp_path_factory.mktemp("buffers"), SERVICES) as two:
        yield two


@pytest.fixture(scope="module")
def splits(both: Both) -> None:
    """The kernel must be able to play a NIC that splits frames."""
    try:
        both.kernel.gate.run(bytes(64), ETHERNET_BYTES)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        pytest.skip("this kernel's BPF_PROG_RUN fills the first buffer before it takes a second (Linux 6.18 does not)")


def here(both: Both, path: Path, number: int) -> Path:
    """The path to a server that no other case has."""
    server = f"198.19.100.{number}" if path.family == 4 else f"2001:db8:19::64{number:02x}"
    found = replace(path, server=server, sport=80)
    both.begin(found)
    return found


def split_anywhere(both: Both, frame: bytes, headers_bytes: int) -> Iterator[tuple[int, Ran]]:
    """What the gate does with a frame whose first buffer ends anywhere in its headers."""
    for first in range(ETHERNET_BYTES, headers_bytes):
        one_epoch()
        yield first, both.kernel.offer("outside", frame, first)


def headers_bytes(path: Path, tcp_bytes: int) -> int:
    return ETHERNET_BYTES + 4 * len(path.tags) + (20 if path.family == 4 else 40) + tcp_bytes


@pytest.mark.usefixtures("splits")
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_syn_split_anywhere_is_answered(both: Both, path: Path) -> None:
    one = here(both, path, 1)
    frame = one.from_client(flags="S", seq=CLIENT_ISN, options=[("MSS", 1400), ("WScale", 7)])
    whole = both.kernel.offer("outside", frame)
    assert whole.verdict == "tx"
    for first, ran in split_anywhere(both, frame, len(frame)):
        assert ran.verdict == "tx", f"first buffer of {first} bytes"
        assert comparable(ran.left) == comparable(whole.left), f"first buffer of {first} bytes"


@pytest.mark.usefixtures("splits")
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_forged_ack_split_anywhere_is_dropped(both: Both, path: Path) -> None:
    one = here(both, path, 2)
    frame = one.from_client(flags="A", seq=CLIENT_ISN, ack=4711, data=bytes(100))
    for first, ran in split_anywhere(both, frame, headers_bytes(one, 20)):
        assert (ran.verdict, ran.way) == ("drop", ("gate",)), f"first buffer of {first} bytes"


@pytest.mark.usefixtures("splits")
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_proof_split_anywhere_is_handed_over(both: Both, path: Path) -> None:
    for number, first in enumerate(range(ETHERNET_BYTES, headers_bytes(path, 20), 7)):
        one = here(both, path, 10 + number)
        talk = Talk(both, one)  # type: ignore[arg-type]  # Both has what Talk asks of a Box
        talk.syn()
        frame = one.from_client(flags="A", seq=(CLIENT_ISN + 1) & MASK, ack=(talk.isn + 1) & MASK, window=500)
        assert both.kernel.offer("outside", frame, first).verdict == "handover", f"first buffer of {first} bytes"


@pytest.mark.parametrize(("count", "verdict"), [(1, "tx"), (2, "drop"), (4, "drop")])
def test_syn_behind_long_extension_headers(both: Both, count: int, verdict: str) -> None:
    """From two such headers on the rest is in another buffer, on every kernel: not followed there, and counted."""
    one = here(both, V6, 50 + count)
    packet = one.client_packet(flags="S", seq=CLIENT_ISN, options=[("MSS", 1400)])
    network, tcp = packet[IPv6], packet[IPv6].payload
    network.remove_payload()
    for _ in range(count):
        padding = [PadN(optdata=bytes(253))] * 8  # 8 * 255 bytes and the header's own 2: padded by 6 more
        network = network / IPv6ExtHdrDestOpt(options=padding)
    frame = one.frame(network / tcp, inside=False)
    assert count * HEADER_BYTES < len(frame) <= MTU_BYTES + ETHERNET_BYTES
    before, _ = both.reasons("ipv6_headers")
    assert both.kernel.offer("outside", frame).verdict == verdict
    after, _ = both.reasons("ipv6_headers")
    assert after - before == (verdict == "drop")
