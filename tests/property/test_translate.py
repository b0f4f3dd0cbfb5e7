"""Translation: one stream out of two halves, and back; checksums stay right or exactly as wrong as they were."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st
from property import strategies as s
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.utils import checksum as scapy_checksum

from cext import wire
from cext.parsed import Options, Shift, Tcp

WRAP = 2**32
ACK, RST = 0x10, 0x04


def u32_at(raw: bytes, at: int) -> int:
    return int.from_bytes(raw[at : at + 4], "big")


def header_len(segment: bytes) -> int:
    return segment[12] // 16 * 4


def options_of(segment: bytes) -> Options:
    return wire.read_options(segment[20 : header_len(segment)], syn=False)


def with_checksum(segment: bytes) -> bytes:
    """Right checksum, for a pseudo header that sums to zero."""
    blank = segment[:16] + b"\0\0" + segment[18:]
    return blank[:16] + scapy_checksum(blank).to_bytes(2, "big") + blank[18:]


def residue(segment: bytes) -> int:
    """What the checksum is off by."""
    return int(scapy_checksum(segment)) % 0xFFFF


def inverse(shift: Shift) -> Shift:
    return replace(shift, seq=-shift.seq % WRAP, ts=-shift.ts % WRAP)


unscaled = st.tuples(s.wscale, st.just(0)).map(lambda two: (two[0], two[0]))
lossless = st.builds(
    Shift,
    seq=s.edge32,
    ts=s.edge32,
    client_ts=st.just(True),
    server_ts=st.just(True),
    client_sack=st.just(True),
    server_sack=st.just(True),
    client_wscale=unscaled,
    server_wscale=unscaled,
)


def without_checksum(segment: bytes) -> bytes:
    return segment[:16] + segment[18:]


@given(segment=s.segments(), shift=lossless)
def test_to_the_client_and_back_is_identity(segment: bytes, shift: Shift) -> None:
    there = wire.translate(segment, False, shift)
    back = wire.translate(there, False, inverse(shift))
    assert without_checksum(back) == without_checksum(segment)
    assert residue(back) == residue(segment)


@given(segment=s.segments(), shift=lossless)
def test_to_the_server_and_back_is_identity(segment: bytes, shift: Shift) -> None:
    options = options_of(segment)
    if options.timestamps:  # zero means "no echo" and is left alone
        assume(options.timestamps[1] not in (0, shift.ts))
    there = wire.translate(segment, True, shift)
    back = wire.translate(there, True, inverse(shift))
    assert without_checksum(back) == without_checksum(segment)


@given(segment=s.segments(), shift=s.shift, to_server=st.booleans())
def test_checksum_stays_right(segment: bytes, shift: Shift, to_server: bool) -> None:
    """Whatever is changed, removed or rescaled, at even and odd offsets."""
    assert residue(wire.translate(with_checksum(segment), to_server, shift)) == 0


@given(segment=s.segments(), shift=s.shift, to_server=st.booleans())
def test_a_wrong_checksum_stays_as_wrong(segment: bytes, shift: Shift, to_server: bool) -> None:
    assert residue(wire.translate(segment, to_server, shift)) == residue(segment)


@given(segment=s.segments(), shift=s.shift, to_server=st.booleans())
def test_only_what_is_translated_changes(segment: bytes, shift: Shift, to_server: bool) -> None:
    now = wire.translate(segment, to_server, shift)
    size = header_len(segment)
    assert len(now) == len(segment)
    assert now[:4] == segment[:4]
    assert now[12:14] == segment[12:14]
    assert now[18:20] == segment[18:20]
    assert now[size:] == segment[size:]
    assert u32_at(now, 4) == (u32_at(segment, 4) + (0 if to_server else shift.seq)) % WRAP
    acknowledged = to_server and segment[13] & ACK
    assert u32_at(now, 8) == (u32_at(segment, 8) - (shift.seq if acknowledged else 0)) % WRAP


@given(segment=s.segments(), shift=s.shift)
def test_options_to_the_server(segment: bytes, shift: Shift) -> None:
    was = options_of(segment)
    raw = wire.translate(segment, True, shift)
    if was.sack_at and shift.server_sack:
        for edge in range(was.sack_at, was.sack_at + 8 * was.sack_blocks, 4):
            assert u32_at(raw, edge) == (u32_at(segment, edge) - shift.seq) % WRAP
    if was.sack_at and not shift.server_sack:
        assert set(raw[was.sack_at - 2 : was.sack_at + 8 * was.sack_blocks]) == {1}
    if was.timestamps and shift.server_ts:
        value, echo = was.timestamps
        moved = segment[13] & ACK and echo
        assert (u32_at(raw, was.ts_at), u32_at(raw, was.ts_at + 4)) == (
            value,
            (echo - shift.ts) % WRAP if moved else echo,
        )
    if was.timestamps and not shift.server_ts:
        assert set(raw[was.ts_at - 2 : was.ts_at + 8]) == {1}


@given(segment=s.segments(), shift=s.shift)
def test_options_to_the_client(segment: bytes, shift: Shift) -> None:
    was = options_of(segment)
    raw = wire.translate(segment, False, shift)
    size = header_len(segment)
    if was.timestamps:
        value, echo = was.timestamps
        expected = (value + (shift.ts if shift.client_ts else 0)) % WRAP
        assert (u32_at(raw, was.ts_at), u32_at(raw, was.ts_at + 4)) == (expected, echo)
        raw = raw[: was.ts_at] + segment[was.ts_at : was.ts_at + 4] + raw[was.ts_at + 4 :]
    if was.sack_at and not shift.client_sack:
        start, end = was.sack_at - 2, was.sack_at + 8 * was.sack_blocks
        assert set(raw[start:end]) == {1}
        raw = raw[:start] + segment[start:end] + raw[end:]
    assert raw[20:size] == segment[20:size]


@given(segment=s.segments(), shift=s.shift, to_server=st.booleans())
def test_windows(segment: bytes, shift: Shift, to_server: bool) -> None:
    window = int.from_bytes(segment[14:16], "big")
    now = int.from_bytes(wire.translate(segment, to_server, shift)[14:16], "big")
    scales = shift.client_wscale if to_server else shift.server_wscale
    assert now == (window if segment[13] & RST else wire.rescale_window(window, *scales))


@given(ends=s.addresses, tcp=s.tcp, tos=s.u8)
def test_hidden_ecn(ends: tuple[bytes, bytes], tcp: Tcp, tos: int) -> None:
    """Both bits go, nothing else changes, and the header checksum stays right."""
    packet = (IP if len(ends[0]) == 4 else IPv6)(wire.write_segment(*ends, tcp))
    expected = packet.copy()
    if len(ends[0]) == 4:
        packet.tos, expected.tos = tos, tos & 0xFC
        del packet.chksum, expected.chksum
    else:
        packet.tc, expected.tc = tos, tos & 0xFC
    assert wire.hide_ecn(bytes(packet)) == bytes(expected)


@given(window=s.u16, own=s.wscale, told=s.wscale)
def test_a_rescaled_window_is_never_larger_nor_closed(window: int, own: int, told: int) -> None:
    """Rounded down, but for one unit where it would be zero: a closed window would stop the sender."""
    now = wire.rescale_window(window, own, told)
    assert (now == 0) == (window == 0)
    assert now << told <= max(window << own, 1 << told if window else 0)
    if own == told:
        assert now == window
    elif window << own >> told <= 0xFFFF and window << own >= 1 << told:
        assert window << own < (now + 1) << told
