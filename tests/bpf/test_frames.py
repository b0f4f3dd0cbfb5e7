"""The benchmark's forged frames: what lvb_next() of frames.bpf.c draws is complete and in its bounds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bench import programs
from bench.programs import Frames, Plan
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

FRAMES = 200
_DROP = 1


@pytest.fixture(scope="module")
def frames() -> Iterator[Frames]:
    with programs.loaded() as one:
        one.measure("xdp", one.programs["lvb_xdp_nothing"])
        yield one


def drawn(frames: Frames, plan: Plan, count: int = FRAMES) -> list[Ether]:
    """So many frames of a plan, each written over a buffer of another length."""
    frames.plan(plan)
    made = []
    for _ in range(count):
        verdict, data = frames.programs["lvb_xdp_case"].run(bytes(70))
        assert verdict == _DROP
        made.append(Ether(data))
    return made


def syn(seq: int = 0) -> bytes:
    options = [("MSS", 1460), ("Timestamp", (1, 0))]
    ip = IP(src="198.18.128.1", dst="198.19.0.10", flags="DF")
    return bytes(Ether() / ip / TCP(dport=80, seq=seq, flags="S", options=options))


def test_checksums_are_right(frames: Frames) -> None:
    for frame in drawn(frames, Plan(syn())):
        again = frame.copy()
        del again[IP].chksum, again[TCP].chksum
        assert bytes(again) == bytes(frame)


def test_each_frame_is_another_client(frames: Frames) -> None:
    made = drawn(frames, Plan(syn()))
    assert len({(frame[IP].src, frame[TCP].sport) for frame in made}) == FRAMES
    assert len({frame[TCP].seq for frame in made}) == FRAMES
    assert all(frame[IP].src.startswith("198.18.") and int(frame[IP].src.split(".")[2]) >= 128 for frame in made)
    assert all(frame[TCP].ack == 0 and frame[TCP].sport >= 1024 for frame in made)


def test_few_clients_and_servers(frames: Frames) -> None:
    made = drawn(frames, Plan(syn(seq=7), clients=3, servers=2, new_numbers=False))
    assert len({(frame[IP].src, frame[TCP].sport) for frame in made}) == 3
    assert {frame[IP].dst for frame in made} == {"198.19.0.10", "198.19.0.11"}
    assert {frame[TCP].seq for frame in made} == {7}


def test_a_server_sends(frames: Frames) -> None:
    answer = Ether() / IP(src="198.19.0.10", dst="198.18.128.1") / TCP(sport=80, dport=9, flags="A") / b"0123456789"
    made = drawn(frames, Plan(bytes(answer), client_sends=False))
    assert {frame[IP].src for frame in made} == {"198.19.0.10"}
    assert len({(frame[IP].dst, frame[TCP].dport) for frame in made}) == FRAMES
    assert {frame[TCP].sport for frame in made} == {80}
    for frame in made:
        again = frame.copy()
        del again[IP].chksum, again[TCP].chksum
        assert bytes(again) == bytes(frame)
