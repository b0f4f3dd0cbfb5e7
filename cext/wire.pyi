"""The packet core's parsers and encoders, callable from Python: the same functions the engines compile in."""

from collections.abc import Iterable, Sequence
from typing import Final, Self, final

from cext.parsed import CookieBits, Options, Packet, Shift, Tcp

WSCALE_MAX: Final[int]
EPOCH_S: Final[int]
SECRET_BYTES: Final[int]
SIPHASH_MAX_BYTES: Final[int]
SEGMENT_MAX_BYTES: Final[int]
COOKIE_MSS: Final[dict[int, tuple[int, ...]]]
COOKIE_WSCALE: Final[tuple[int | None, ...]]

def parse(data: bytes | bytearray | memoryview, ethertype: int, tags: Iterable[tuple[int, int]] = ()) -> Packet:
    """Parse the bytes after an Ethernet header. `tags`: VLAN tags that came out of band. See core/packet.h."""

def checksums_ok(data: bytes | bytearray | memoryview, ethertype: int) -> tuple[bool | None, bool | None]:
    """(IP header, TCP) checksum right? None for what is not there. IPv6 has no header checksum: True."""

def source_impossible(src: bytes, dst: bytes) -> bool:
    """True for a source address that no client of `dst` can have."""

def before(a: int, b: int) -> bool:
    """a < b in sequence space, RFC 9293 section 3.4."""

def after(a: int, b: int) -> bool:
    """a > b in sequence space."""

def within(x: int, low: int, high: int) -> bool:
    """low <= x <= high in sequence space."""

def siphash(key: bytes, data: bytes) -> int:
    """SipHash-2-4 of up to 64 bytes with a 16-byte key, as a 64-bit number (Aumasson and Bernstein, 2012)."""

def checksum(data: bytes | bytearray | memoryview, start: int = 0) -> int:
    """Internet checksum field (RFC 1071) of up to 65535 bytes on top of the sum `start` (at most 0xfffff)."""

def pseudo_sum(src: bytes, dst: bytes, proto: int, length: int) -> int:
    """Sum of the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1), to start `checksum` with."""

def checksum_update16(field: int, changes: Iterable[tuple[int, int]]) -> int:
    """The checksum field after the 16-bit words of `changes`, pairs (old, new), have changed (RFC 1624)."""

def checksum_update32(field: int, changes: Iterable[tuple[int, int, bool]]) -> int:
    """The same for 32-bit fields: (old, new, odd); odd says that the field begins at an odd offset."""

def read_options(options: bytes, syn: bool) -> Options:
    """Read the options that follow the 20 fixed bytes of a TCP header; at most 40 bytes. See core/options.h."""

def write_syn_options(options: Options) -> bytes:
    """The options of a SYN or SYN-ACK as bytes, a multiple of four."""

def write_timestamp_option(options: Options) -> bytes:
    """The options of any other segment of ours: the timestamps, or nothing."""

def cookie_encode(family: int, bits: CookieBits, epoch: int) -> int:
    """The low byte of a cookie: the options rounded down to the tables, and the parity of the epoch."""

def cookie_decode(family: int, low: int) -> CookieBits:
    """What the low byte of a cookie says."""

@final
class CookieKeys:
    """Keys of the current and the previous epoch. `now_ms` is a monotonic clock of 32 bits."""

    def __new__(cls, secret: bytes, epoch: int, now_ms: int) -> Self: ...
    def tick(self, epoch: int, now_ms: int) -> None:
        """Let time pass: to be called at least once a second."""
    @property
    def slots(self) -> tuple[tuple[int, bool, int], tuple[int, bool, int]]:
        """(epoch, valid, issued) of the two keys, by parity."""
    def make(self, src: bytes, dst: bytes, sport: int, dport: int, client_isn: int, bits: CookieBits) -> int:
        """The cookie (our ISN) that answers the SYN src:sport -> dst:dport; counts it as issued."""
    def check(
        self, src: bytes, dst: bytes, sport: int, dport: int, client_isn: int, cookie: int
    ) -> tuple[str, CookieBits | None]:
        """(reason, bits): the reason is cookie_accepted with bits, or why the cookie is refused with None."""
    def macs_accepted(self, src: bytes, dst: bytes, sport: int, dport: int, client_isn: int, low: int) -> int:
        """How many of the 2^24 cookies that end in `low` are accepted: what a blind guesser can hit."""

def rescale_window(window: int, own: int, told: int) -> int:
    """A window sent with scale `own` to a peer that was told scale `told`."""

def translate(segment: bytes, to_server: bool, shift: Shift) -> bytes:
    """Translate a TCP segment (header, options, payload) of an open flow; the checksum is updated, not recomputed."""

def hide_ecn(packet: bytes) -> bytes:
    """An IP packet without ECN-capable transport; an IPv4 header checksum is updated, not recomputed."""

def write_ether(dst: bytes, src: bytes, family: int, tags: Sequence[tuple[int, int]] = ()) -> bytes:
    """An Ethernet header with VLAN tags (EtherType, TCI), outermost first."""

def write_segment(src: bytes, dst: bytes, tcp: Tcp, ttl: int = 64, options: bytes = b"", payload: bytes = b"") -> bytes:
    """An IP packet with one TCP segment; the length fields of `tcp` are not read."""
