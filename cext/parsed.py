"""What the packet core found in bytes, as plain values.

Owns: the result types of cext.wire. Must not know: how they are parsed. Integers are in host byte order; addresses are
4 or 16 bytes as they stand in the packet; offsets and lengths are bytes, offsets count from the first byte handed in.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ip:
    """An IPv4 header (RFC 791), or an IPv6 header with its extension headers (RFC 8200)."""

    family: int  # 4 or 6
    src: bytes
    dst: bytes
    proto: int  # of what follows the last extension header
    ttl: int
    tos: int
    fragment: int  # 0 whole, 1 first fragment, 2 later fragment
    header_at: int
    payload_at: int
    end_at: int  # by the packet's own length


@dataclass(frozen=True, slots=True)
class Tcp:
    """A TCP header (RFC 9293 section 3.1)."""

    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    window: int
    header_len: int
    payload_len: int


@dataclass(frozen=True, slots=True)
class Quote:
    """The start of a TCP packet that an ICMP error carries (RFC 792, RFC 4443)."""

    icmp_type: int
    icmp_code: int
    ip: Ip
    sport: int
    dport: int
    seq: int
    ack: int | None  # None: the quote is too short for it


@dataclass(frozen=True, slots=True)
class Packet:
    """What a packet turned out to be: `kind` is other, tcp, icmp_error, fragment or junk."""

    kind: str
    reason: str | None  # junk: the name of the drop reason
    tags: tuple[tuple[int, int], ...]  # VLAN tags (EtherType, TCI), outermost first
    ip: Ip | None
    tcp: Tcp | None  # kind tcp
    quote: Quote | None  # kind icmp_error


@dataclass(frozen=True, slots=True)
class Options:
    """TCP options. An offset counts from the start of the TCP header, 0 says that the option is absent."""

    mss: int = 0  # 0: absent
    wscale: int | None = None  # shift, 0..14
    sack_ok: bool = False
    timestamps: tuple[int, int] | None = None  # TSval, TSecr
    is_signed: bool = False  # TCP-MD5 or TCP-AO
    ts_at: int = 0  # of TSval
    sack_at: int = 0  # of the first block's left edge
    sack_blocks: int = 0
    sack_ok_at: int = 0
    wscale_at: int = 0
    mss_at: int = 0


@dataclass(frozen=True, slots=True)
class CookieBits:
    """What a cookie says of the client's options."""

    mss: int
    wscale: int | None
    sack_ok: bool


@dataclass(frozen=True, slots=True)
class Shift:
    """How the two halves of a flow differ, for translation. A window scale of an end that has none is 0."""

    seq: int  # what is added to the server's sequence numbers on the way to the client
    ts: int  # what is added to the server's TSval
    client_ts: bool  # the client was told that timestamps are on
    server_ts: bool  # the server agreed to timestamps
    client_sack: bool  # the client was told that SACK is on
    server_sack: bool  # the server agreed to SACK
    client_wscale: tuple[int, int]  # scale of the client's windows, scale the server was told
    server_wscale: tuple[int, int]  # scale of the server's windows, scale the client was told
