"""TCP options: each malformed length, order, duplicates and cuts, against a second reading written from the RFCs.

The model reads as Linux does (net/ipv4/tcp_input.c, tcp_parse_options): the last option of a kind counts, one of a
wrong length is stepped over, a length below two or beyond the header ends the reading.
"""

from __future__ import annotations

import itertools

import pytest

from cext import wire
from cext.parsed import Options

MSS, WSCALE, SACK_OK, SACK, TS, MD5, AO, FASTOPEN = 2, 3, 4, 5, 8, 19, 29, 34
KINDS = (MSS, WSCALE, SACK_OK, SACK, TS, MD5, AO, FASTOPEN, 253)


def split(options: bytes) -> list[tuple[int, int, bytes]]:
    """(offset in the TCP header, kind, body) of each option that a receiver sees."""
    found = []
    at = 0
    while at < len(options) and options[at] != 0:
        if options[at] == 1:
            at += 1
            continue
        if at + 1 >= len(options):
            break
        length = options[at + 1]
        if length < 2 or at + length > len(options):
            break
        found.append((20 + at, options[at], options[at + 2 : at + length]))
        at += length
    return found


def model(options: bytes, syn: bool) -> Options:
    """What the options say."""
    values: dict[str, object] = {}
    for at, kind, body in split(options):
        if kind == MSS and syn and len(body) == 2 and body != b"\0\0":
            values |= {"mss": int.from_bytes(body, "big"), "mss_at": at}
        elif kind == WSCALE and syn and len(body) == 1:
            values |= {"wscale": min(body[0], 14), "wscale_at": at}
        elif kind == SACK_OK and syn and not body:
            values |= {"sack_ok": True, "sack_ok_at": at}
        elif kind == SACK and not syn and body and len(body) % 8 == 0:
            values |= {"sack_at": at + 2, "sack_blocks": len(body) // 8}
        elif kind == TS and len(body) == 8:
            stamps = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:], "big")
            values |= {"timestamps": stamps, "ts_at": at + 2}
        elif kind in (MD5, AO):
            values["is_signed"] = True
    return Options(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("syn", [True, False])
def test_every_length_of_every_kind_at_every_cut(kind: int, syn: bool) -> None:
    for length, total in itertools.product(range(256), range(41)):
        options = (bytes([kind, length]) + bytes(range(7, 45)))[:total]
        assert wire.read_options(options, syn) == model(options, syn)


@pytest.mark.parametrize("syn", [True, False])
@pytest.mark.parametrize("at", range(20))
def test_usual_options_with_one_byte_changed(at: int, syn: bool) -> None:
    """The layout that Linux writes is read by a way of its own; nothing may be told by it that is not so."""
    usual = bytes.fromhex("020405b4 0402 080a 0102030405060708 01 030307".replace(" ", ""))
    for value in range(256):
        options = usual[:at] + bytes([value]) + usual[at + 1 :]
        assert wire.read_options(options, syn) == model(options, syn)
        assert wire.read_options(options[:-4], syn) == model(options[:-4], syn)


@pytest.mark.parametrize("syn", [True, False])
@pytest.mark.parametrize("lead", range(4))
def test_every_length_behind_nops(syn: bool, lead: int) -> None:
    """The timestamps and SACK blocks may stand at any offset, odd ones too."""
    for kind, length in itertools.product(KINDS, range(41)):
        options = (bytes([1] * lead + [kind, length]) + bytes(range(7, 45)))[:40]
        assert wire.read_options(options, syn) == model(options, syn)


@pytest.mark.parametrize("syn", [True, False])
def test_pairs_of_options(syn: bool) -> None:
    """Duplicates, options of a wrong kind of segment, and a malformed one before a good one."""
    single = [
        bytes([MSS, 4, 5, 0xB4]),
        bytes([MSS, 4, 2, 0x18]),
        bytes([MSS, 4, 0, 0]),
        bytes([MSS, 3, 1]),
        bytes([WSCALE, 3, 7]),
        bytes([WSCALE, 3, 255]),
        bytes([WSCALE, 4, 7, 7]),
        bytes([SACK_OK, 2]),
        bytes([SACK_OK, 3, 0]),
        bytes([SACK, 10, *range(8)]),
        bytes([SACK, 18, *range(16)]),
        bytes([SACK, 2]),
        bytes([SACK, 11, *range(9)]),
        bytes([TS, 10, *range(8)]),
        bytes([TS, 10, *range(8, 16)]),
        bytes([TS, 9, *range(7)]),
        bytes([MD5, 18, *range(16)]),
        bytes([AO, 16, *range(14)]),
        bytes([0]),
        bytes([1]),
        bytes([77, 0]),
        bytes([77, 1]),
        bytes([77, 6, 1, 2, 3, 4]),
    ]
    for one, two in itertools.product(single, repeat=2):
        options = one + two
        assert wire.read_options(options, syn) == model(options, syn)


def test_known_segments() -> None:
    linux_syn = bytes.fromhex("020405b40402080a0000000100000000" + "01030307")
    assert wire.read_options(linux_syn, syn=True) == Options(
        mss=1460, wscale=7, sack_ok=True, timestamps=(1, 0), mss_at=20, sack_ok_at=24, ts_at=28, wscale_at=37
    )
    linux_ack = bytes.fromhex("0101080a0000000200000001" + "0101050a0000000a00000014")
    assert wire.read_options(linux_ack, syn=False) == Options(timestamps=(2, 1), ts_at=24, sack_at=36, sack_blocks=1)


def test_options_that_only_a_syn_carries_are_not_read_elsewhere() -> None:
    options = bytes.fromhex("020405b40402030307")
    assert wire.read_options(options, syn=False) == Options()
    assert wire.read_options(bytes([SACK, 10, *range(8)]), syn=True) == Options()


def test_order_and_padding_of_what_is_written() -> None:
    full = Options(mss=1460, wscale=7, sack_ok=True, timestamps=(1, 2))
    assert wire.write_syn_options(full).hex() == "020405b40402080a000000010000000201030307"
    assert wire.write_syn_options(Options(mss=1460, sack_ok=True)).hex() == "020405b404020101"
    assert wire.write_syn_options(Options(mss=1460, timestamps=(1, 2))).hex() == "020405b40101080a0000000100000002"
    assert wire.write_syn_options(Options()) == b""
    assert wire.write_timestamp_option(Options(timestamps=(1, 2))).hex() == "0101080a0000000100000002"
    assert wire.write_timestamp_option(Options(mss=1460)) == b""


@pytest.mark.parametrize("wscale", [-1, 15, 255])
def test_a_window_scale_out_of_range_is_refused(wscale: int) -> None:
    with pytest.raises(ValueError, match="window scale"):
        wire.write_syn_options(Options(wscale=wscale))


def test_more_than_forty_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="40 bytes"):
        wire.read_options(bytes(41), syn=True)
