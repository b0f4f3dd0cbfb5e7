"""What packets are made of, as Hypothesis strategies.

Owns: the ranges of values. Used by: every test of this folder. Must not know: the functions under test.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import strategies as st

from cext import wire
from cext.parsed import CookieBits, Options, Shift, Tcp

u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
# Numbers near the places where they wrap are where mistakes are.
edge32 = st.one_of(u32, st.integers(-3, 3).map(lambda n: n & 0xFFFFFFFF), st.integers(2**31 - 3, 2**31 + 3))
port = st.integers(1, 0xFFFF)
family = st.sampled_from([4, 6])
ethertype = st.sampled_from([0x0800, 0x86DD, 0x8100, 0x88A8])
tag = st.tuples(st.sampled_from([0x8100, 0x88A8]), u16)
mac = st.binary(min_size=6, max_size=6)
wscale = st.integers(0, 14)
maybe_wscale = st.one_of(st.none(), wscale)

IPV4_MAPPED = bytes(10) + b"\xff\xff"

address4 = st.binary(min_size=4, max_size=4)
address6 = st.binary(min_size=16, max_size=16).filter(lambda raw: not raw.startswith(IPV4_MAPPED))
addresses = st.one_of(st.tuples(address4, address4), st.tuples(address6, address6))


def text_of(address: bytes) -> str:
    """An address as Scapy takes it."""
    return str(IPv4Address(address) if len(address) == 4 else IPv6Address(address))


def plausible(flags: int) -> bool:
    """A combination of flags that a stack sends; the parser refuses the others."""
    fin, syn, rst, ack = (bool(flags & bit) for bit in (1, 2, 4, 16))
    return (syn or rst or ack) and fin + syn + rst <= 1


flags = u8.filter(plausible)
payload = st.binary(max_size=200)

tcp = st.builds(
    Tcp,
    sport=port,
    dport=port,
    seq=edge32,
    ack=edge32,
    flags=flags,
    window=u16,
    header_len=st.just(0),
    payload_len=st.just(0),
)

# What may be written into a SYN.
syn_options = st.builds(
    Options,
    mss=u16,
    wscale=maybe_wscale,
    sack_ok=st.booleans(),
    timestamps=st.one_of(st.none(), st.tuples(u32, u32)),
)

# One below, at and one above each entry of the tables, or anything.
_entries = sorted({entry for table in wire.COOKIE_MSS.values() for entry in table})
mss = st.one_of(u16, st.sampled_from([entry + near for entry in _entries for near in (-1, 0, 1)]))
cookie_bits = st.builds(CookieBits, mss=mss, wscale=maybe_wscale, sack_ok=st.booleans())

shift = st.builds(
    Shift,
    seq=edge32,
    ts=edge32,
    client_ts=st.booleans(),
    server_ts=st.booleans(),
    client_sack=st.booleans(),
    server_sack=st.booleans(),
    client_wscale=st.tuples(wscale, wscale),
    server_wscale=st.tuples(wscale, wscale),
)

_timestamps = st.tuples(u32, u32).map(lambda two: b"\x08\x0a" + two[0].to_bytes(4, "big") + two[1].to_bytes(4, "big"))
_sack = (
    st.integers(1, 4)
    .flatmap(lambda n: st.binary(min_size=8 * n, max_size=8 * n))
    .map(lambda body: bytes([5, 2 + len(body)]) + body)
)
_unknown = st.binary(max_size=6).map(lambda body: bytes([253, 2 + len(body)]) + body)
_option = st.one_of(st.just(b"\x01"), _timestamps, _sack, _unknown)


def _fit(pieces: list[bytes]) -> bytes:
    """As many of the options as fit into a header, ended with padding."""
    out = b""
    for piece in pieces:
        if len(out) + len(piece) <= 40:
            out += piece
    return out + bytes(-len(out) % 4)


# Options of a segment of an open connection, at any offset, odd ones too; and bytes that are none.
segment_options = st.one_of(
    st.lists(_option, max_size=8).map(_fit),
    st.binary(max_size=40).map(lambda raw: raw + bytes(-len(raw) % 4)),
)


@st.composite
def segments(draw: st.DrawFn) -> bytes:
    """A TCP segment, header, options and payload, with any checksum."""
    options = draw(segment_options)
    header = b"".join(
        (
            draw(port).to_bytes(2, "big"),
            draw(port).to_bytes(2, "big"),
            draw(edge32).to_bytes(4, "big"),
            draw(edge32).to_bytes(4, "big"),
            bytes([(20 + len(options)) // 4 << 4, draw(flags)]),
            draw(u16).to_bytes(2, "big"),
            draw(u16).to_bytes(2, "big"),
            draw(u16).to_bytes(2, "big"),
        )
    )
    return header + options + draw(payload)
