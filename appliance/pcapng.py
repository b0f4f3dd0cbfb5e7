"""The bytes of a pcapng file: one section, an interface for each side, packets with comments, what was missed.

Owns the format as far as it is written here. Called by commands/capture.py. Must not know where packets come from.
Source: draft-ietf-opsawg-pcapng, sections 4.1 (section header), 4.2 (interface description), 4.3 (enhanced packet),
4.6 (interface statistics) and 3.5 (options). Everything is little-endian; times are nanoseconds since 1970.
"""

from __future__ import annotations

import struct

SECTION_HEADER, INTERFACE, ENHANCED_PACKET, STATISTICS = 0x0A0D0D0A, 1, 6, 5
BYTE_ORDER_MAGIC = 0x1A2B3C4D
UNKNOWN_SECTION_BYTES = -1
LINKTYPE_ETHERNET = 1
END_OF_OPTIONS, COMMENT = 0, 1
USER_APPLICATION = 4  # of the section header
INTERFACE_NAME, INTERFACE_DESCRIPTION, TIME_RESOLUTION = 2, 3, 9
NANOSECONDS = b"\x09"
PACKET_FLAGS = 2
INBOUND, OUTBOUND = 1, 2
DROPPED_BY_SYSTEM = 7  # of the statistics: here, what found no room


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _options(*made: bytes) -> bytes:
    return b"".join(made) + struct.pack("<HH", END_OF_OPTIONS, 0)


def _block(kind: int, body: bytes) -> bytes:
    total = 12 + len(body)
    return struct.pack("<II", kind, total) + body + struct.pack("<I", total)


def section(comment: str, application: str) -> bytes:
    """The first block of a file."""
    body = struct.pack("<IHHq", BYTE_ORDER_MAGIC, 1, 0, UNKNOWN_SECTION_BYTES)
    options = _options(_option(COMMENT, comment.encode()), _option(USER_APPLICATION, application.encode()))
    return _block(SECTION_HEADER, body + options)


def interface(name: str, description: str, most_bytes: int) -> bytes:
    """An Ethernet interface; they are numbered from 0 in their order. most_bytes: kept of each frame."""
    options = _options(
        _option(INTERFACE_NAME, name.encode()),
        _option(INTERFACE_DESCRIPTION, description.encode()),
        _option(TIME_RESOLUTION, NANOSECONDS),
    )
    return _block(INTERFACE, struct.pack("<HHI", LINKTYPE_ETHERNET, 0, most_bytes) + options)


def packet(number: int, time_ns: int, data: bytes, length: int, comment: str, *, outbound: bool) -> bytes:
    """One frame on interface `number`: its beginning, its length on the wire, what became of it."""
    head = struct.pack("<IIIII", number, time_ns >> 32, time_ns & 0xFFFFFFFF, len(data), max(length, len(data)))
    options = _options(
        _option(COMMENT, comment.encode()),
        _option(PACKET_FLAGS, struct.pack("<I", OUTBOUND if outbound else INBOUND)),
    )
    return _block(ENHANCED_PACKET, head + _padded(data) + options)


def statistics(number: int, time_ns: int, missed: int) -> bytes:
    """At the end: packets that were wanted and are not in the file."""
    head = struct.pack("<III", number, time_ns >> 32, time_ns & 0xFFFFFFFF)
    return _block(STATISTICS, head + _options(_option(DROPPED_BY_SYSTEM, struct.pack("<Q", missed))))
