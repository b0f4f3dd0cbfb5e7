"""The SYN cookie: an ISN from which the client's options can be read again when its ACK comes.

    bit 31..8   MAC: the upper 24 bits of a SipHash-2-4
    bit  7..5   MSS, index into a table of its family, rounded down
    bit  4..2   window scale, index, rounded down; index 0: the client has none
    bit  1      the client may be sent SACK
    bit  0      parity of the key epoch

Owns the format and the keys. Called by proxy.py. Must not know: packets.
"""

from __future__ import annotations

import functools
import hmac
import ipaddress
from dataclasses import dataclass

from reference.siphash import siphash

EPOCH_S = 32
MSS_TABLE = {
    4: (216, 536, 1220, 1360, 1400, 1440, 1460, 8960),
    6: (216, 536, 1220, 1340, 1380, 1420, 1440, 8940),
}
WSCALE_TABLE = (None, 0, 2, 4, 6, 7, 8, 10)


@dataclass(frozen=True)
class CookieOptions:
    """What a cookie says of the client's options."""

    mss: int
    wscale: int | None
    sack_ok: bool


@dataclass(frozen=True)
class Tuple:
    """Client's and server's address and port; addresses as text."""

    client: str
    cport: int
    server: str
    sport: int

    @property
    def family(self) -> int:
        """4 or 6."""
        return ipaddress.ip_address(self.client).version

    def packed(self) -> bytes:
        """Addresses and ports in network byte order, the client's before the server's."""
        addresses = (ipaddress.ip_address(text).packed for text in (self.client, self.server))
        return b"".join(addresses) + self.cport.to_bytes(2, "big") + self.sport.to_bytes(2, "big")


def encode(family: int, options: CookieOptions, epoch: int) -> int:
    """The low byte of a cookie: the largest table entries that do not exceed the client's values."""
    mss = max((at for at, value in enumerate(MSS_TABLE[family]) if value <= options.mss), default=0)
    wscale = 0
    if options.wscale is not None:
        wscale = max(at for at, value in enumerate(WSCALE_TABLE) if value is not None and value <= options.wscale)
    return mss << 5 | wscale << 2 | options.sack_ok << 1 | epoch & 1


def decode(family: int, low: int) -> CookieOptions:
    """The options in the low byte of a cookie."""
    return CookieOptions(MSS_TABLE[family][low >> 5], WSCALE_TABLE[low >> 2 & 7], bool(low & 2))


@functools.lru_cache(maxsize=4)
def epoch_key(secret: bytes, epoch: int) -> bytes:
    """The key of an epoch (16 bytes), derived from a secret of 32 bytes."""
    label = b"lvk\0" + epoch.to_bytes(4, "big")
    return b"".join(siphash(half, label).to_bytes(8, "little") for half in (secret[:16], secret[16:]))


def cookie(secret: bytes, epoch: int, flow: Tuple, client_isn: int, low: int) -> int:
    """The ISN for the client's SYN with `client_isn`, `low` being the options as encoded."""
    message = flow.packed() + client_isn.to_bytes(4, "big") + bytes([low, 0, 0, 0]) + epoch.to_bytes(4, "big")
    return siphash(epoch_key(secret, epoch), message) >> 40 << 8 | low


def check(secret: bytes, epoch: int, flow: Tuple, client_isn: int, candidate: int) -> CookieOptions | None:
    """The client's options if `candidate` is a cookie of this epoch or the one before, else None."""
    made_in = epoch if candidate & 1 == epoch & 1 else epoch - 1
    expected = cookie(secret, made_in, flow, client_isn, candidate & 0xFF)
    if not hmac.compare_digest(expected.to_bytes(4, "big"), candidate.to_bytes(4, "big")):
        return None
    return decode(flow.family, candidate & 0xFF)
