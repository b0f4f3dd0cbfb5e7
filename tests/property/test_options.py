"""TCP options: what is written reads the same, by us and by Scapy; any bytes give offsets inside the header."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from property import strategies as s
from scapy.layers.inet import TCP

from cext import wire
from cext.parsed import Options


def values(options: Options) -> Options:
    """Without the offsets."""
    return replace(options, ts_at=0, sack_at=0, sack_blocks=0, sack_ok_at=0, wscale_at=0, mss_at=0)


@given(options=s.syn_options)
def test_written_options_read_the_same(options: Options) -> None:
    raw = wire.write_syn_options(options)
    assert len(raw) % 4 == 0
    assert len(raw) <= 20
    assert values(wire.read_options(raw, syn=True)) == options
    stamps = wire.write_timestamp_option(options)
    assert wire.read_options(stamps, syn=False).timestamps == options.timestamps
    assert len(stamps) in (0, 12)


@given(options=s.syn_options)
def test_scapy_reads_the_same(options: Options) -> None:
    raw = wire.write_syn_options(options)
    layer = TCP(bytes(TCP(dataofs=5 + len(raw) // 4))[:20] + raw)
    read = {name: value for name, value in layer.options if name not in ("NOP", "EOL")}
    expected: dict[str, object] = {}
    if options.mss:
        expected["MSS"] = options.mss
    if options.wscale is not None:
        expected["WScale"] = options.wscale
    if options.sack_ok:
        expected["SAckOK"] = b""
    if options.timestamps:
        expected["Timestamp"] = options.timestamps
    assert read == expected


@given(raw=st.binary(max_size=40), syn=st.booleans())
def test_offsets_lie_inside_and_point_at_what_was_read(raw: bytes, syn: bool) -> None:
    options = wire.read_options(raw, syn)
    header = bytes(20) + raw

    def at(offset: int, size: int) -> int:
        assert 20 <= offset <= offset + size <= len(header)
        return int.from_bytes(header[offset : offset + size], "big")

    if options.mss_at:
        assert at(options.mss_at, 4) == 0x02040000 | options.mss
    if options.wscale_at:
        assert options.wscale == min(at(options.wscale_at, 3) & 0xFF, 14)
    if options.sack_ok_at:
        assert at(options.sack_ok_at, 2) == 0x0402
    if options.ts_at:
        assert options.timestamps == (at(options.ts_at, 4), at(options.ts_at + 4, 4))
    if options.sack_at:
        assert 1 <= options.sack_blocks <= 4
        assert at(options.sack_at - 1, 1) == 2 + 8 * options.sack_blocks
    assert bool(options.timestamps) == bool(options.ts_at)
    assert bool(options.mss) == bool(options.mss_at)


@given(options=s.syn_options, noise=st.lists(st.sampled_from([b"\x01", b"\xfd\x02", b"\xfd\x04ab"]), max_size=5))
def test_padding_and_unknown_options_in_front_change_nothing(options: Options, noise: list[bytes]) -> None:
    raw = b"".join(noise) + wire.write_syn_options(options)
    if len(raw) <= 40:
        assert values(wire.read_options(raw, syn=True)) == options
