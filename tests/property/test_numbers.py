"""Sequence numbers and checksums: against arithmetic written in another way, and against Scapy's checksum."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from property import strategies as s
from scapy.utils import checksum as scapy_checksum

from cext import wire

WRAP = 2**32


@given(a=s.edge32, distance=st.integers(1, 2**31 - 1))
def test_before_and_after(a: int, distance: int) -> None:
    b = (a + distance) % WRAP
    assert wire.before(a, b)
    assert wire.after(b, a)
    assert not wire.before(b, a)
    assert not wire.after(a, b)


@given(a=s.edge32)
def test_a_number_is_neither_before_nor_after_itself(a: int) -> None:
    assert not wire.before(a, a)
    assert not wire.after(a, a)
    assert wire.within(a, a, a)


@given(low=s.edge32, size=s.edge32, x=s.edge32)
def test_within(low: int, size: int, x: int) -> None:
    """Inside, at both edges, and one beyond them."""
    high = (low + size) % WRAP
    assert wire.within(x, low, high) == ((x - low) % WRAP <= size)
    assert wire.within(low, low, high)
    assert wire.within(high, low, high)
    if size < WRAP - 1:
        assert not wire.within((high + 1) % WRAP, low, high)
        assert not wire.within((low - 1) % WRAP, low, high)


@given(data=st.binary(max_size=2000))
def test_whole_checksum_agrees_with_scapy(data: bytes) -> None:
    assert wire.checksum(data) == scapy_checksum(data)


def test_the_longest_packet() -> None:
    data = bytes(range(255)) * 257
    assert len(data) == 65535
    assert wire.checksum(data) == scapy_checksum(data)
    assert wire.checksum(b"\xff" * 65534, 0xFFFFF) == 0xFFF0


@given(data=st.binary(max_size=300), cut=st.integers(0, 150))
def test_a_sum_may_be_made_in_pieces(data: bytes, cut: int) -> None:
    """At even places; the second piece may be odd."""
    head, tail = data[: 2 * cut], data[2 * cut :]
    if len(head) % 2:
        head, tail = data, b""
    start = wire.checksum(head) ^ 0xFFFF
    assert wire.checksum(tail, start) == wire.checksum(data)


@given(ends=s.addresses, proto=s.u8, length=st.integers(0, 65535), data=st.binary(max_size=100))
def test_pseudo_header(ends: tuple[bytes, bytes], proto: int, length: int, data: bytes) -> None:
    src, dst = ends
    if len(src) == 4:
        head = src + dst + bytes([0, proto]) + length.to_bytes(2, "big")
    else:
        head = src + dst + length.to_bytes(4, "big") + bytes([0, 0, 0, proto])
    assert wire.checksum(data, wire.pseudo_sum(src, dst, proto, length)) == scapy_checksum(head + data)


def same(one: int, other: int) -> bool:
    """Checksum fields that say the same: zero has two forms in one's complement."""
    return one == other or {one, other} == {0, 0xFFFF}


@given(data=st.binary(min_size=4, max_size=200), changes=st.lists(st.tuples(st.integers(0, 99), s.u16), max_size=6))
def test_incremental_16_equals_full(data: bytes, changes: list[tuple[int, int]]) -> None:
    data += bytes(len(data) % 2)
    now, steps = bytearray(data), []
    for where, value in changes:
        at = 2 * (where % (len(now) // 2))
        steps.append((int.from_bytes(now[at : at + 2], "big"), value))
        now[at : at + 2] = value.to_bytes(2, "big")
    assert same(wire.checksum_update16(wire.checksum(data), steps), wire.checksum(now))


@given(data=st.binary(min_size=8, max_size=200), changes=st.lists(st.tuples(s.u8, s.u32), max_size=6))
def test_incremental_32_equals_full_at_every_offset(data: bytes, changes: list[tuple[int, int]]) -> None:
    """Odd offsets too: options need not be aligned."""
    now, steps = bytearray(data), []
    for where, value in changes:
        at = where % (len(now) - 3)
        steps.append((int.from_bytes(now[at : at + 4], "big"), value, bool(at % 2)))
        now[at : at + 4] = value.to_bytes(4, "big")
    assert same(wire.checksum_update32(wire.checksum(data), steps), wire.checksum(now))


@given(field=s.u16, changes=st.lists(st.tuples(s.u16, s.u16), min_size=1, max_size=8))
def test_updates_may_be_undone(field: int, changes: list[tuple[int, int]]) -> None:
    there = wire.checksum_update16(field, changes)
    back = wire.checksum_update16(there, [(now, old) for old, now in changes])
    assert same(back, field)


@given(right=s.u16, wrong=s.u16, changes=st.lists(st.tuples(s.u16, s.u16), max_size=4))
def test_a_wrong_checksum_stays_wrong(right: int, wrong: int, changes: list[tuple[int, int]]) -> None:
    """By exactly as much as it was: two fields that differ are updated to two that differ."""
    updated = (wire.checksum_update16(right, changes), wire.checksum_update16(wrong, changes))
    assert same(right, wrong) == same(*updated)
