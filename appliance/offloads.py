"""What a NIC does to packets before XDP sees them: turned off on the outside NIC while the bpf engine is at work.

Owns the list of such features and ethtool's calls. Called by engine_bpf.py and removal.py. Must not know who undoes a
change, and when. Source: linux/ethtool.h; the names of features are in net/ethtool/common.c (netdev_features_strings).

A tag that the NIC takes out of a frame is not in the buffer that XDP sees: the packet would be looked up in no VLAN,
and answered without its tag. Segments that the NIC joins are no longer those that the client sent. Checksum offload
may stay on: XDP looks at the bytes.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from typing import TYPE_CHECKING

from appliance.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Collection

HIDING = frozenset({"rx-vlan-hw-parse", "rx-vlan-stag-hw-parse", "rx-lro", "rx-gro-hw"})

_SIOCETHTOOL = 0x8946
_GSTRINGS, _GSSET_INFO, _GFEATURES, _SFEATURES = 0x1B, 0x37, 0x3A, 0x3B
_SS_FEATURES = 4
_NAME_BYTES = 32
_WORD = 32  # features in one block of the calls
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENODEV)


def _call(interface: str, request: bytes, answer_bytes: int = 0) -> bytes:
    """One ethtool call; raises OSError."""
    buffer = ctypes.create_string_buffer(request, len(request) + answer_bytes)
    packed = struct.pack("16sP8x", os.fsencode(interface), ctypes.addressof(buffer))  # struct ifreq
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, _SIOCETHTOOL, packed)
    return buffer.raw


def _names(interface: str) -> list[str]:
    """Names of all features this kernel knows, by their number."""
    count = struct.unpack_from("=I", _call(interface, struct.pack("=IIQ", _GSSET_INFO, 0, 1 << _SS_FEATURES), 4), 16)[0]
    text = _call(interface, struct.pack("=III", _GSTRINGS, _SS_FEATURES, count), count * _NAME_BYTES)[12:]
    return [text[at : at + _NAME_BYTES].split(b"\0")[0].decode() for at in range(0, count * _NAME_BYTES, _NAME_BYTES)]


def _active(interface: str, names: list[str]) -> set[str]:
    blocks = -(-len(names) // _WORD)
    answer = _call(interface, struct.pack("=II", _GFEATURES, blocks), blocks * 16)
    found = set()
    for number, name in enumerate(names):
        _, _, active, _ = struct.unpack_from("=4I", answer, 8 + number // _WORD * 16)
        if active >> number % _WORD & 1:
            found.add(name)
    return found


def hiding(interface: str) -> frozenset[str]:
    """The features that hide something from XDP and are on. None, if the driver cannot be asked or is gone."""
    try:
        return HIDING & _active(interface, _names(interface))
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return frozenset()
        raise OperatorError(
            f"{interface}: its offloads cannot be read: {error.strerror}", "see `ethtool -k`"
        ) from error


def turn(interface: str, features: Collection[str], *, on: bool) -> None:
    """Turns features on or off; what the driver keeps as it is, hiding() still tells. Raises OperatorError."""
    try:
        names = _names(interface)
        blocks = [[0, 0] for _ in range(-(-len(names) // _WORD))]
        for number, name in enumerate(names):
            if name in features:
                blocks[number // _WORD][0] |= 1 << number % _WORD
                blocks[number // _WORD][1] |= on << number % _WORD
        request = struct.pack("=II", _SFEATURES, len(blocks))
        _call(interface, request + b"".join(struct.pack("=II", *block) for block in blocks))
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return
        state = "on" if on else "off"
        hint = "CAP_NET_ADMIN is needed" if error.errno == errno.EPERM else f"see `ethtool -k {interface}`"
        message = f"{interface}: cannot turn {state} {', '.join(sorted(features))}: {error.strerror}"
        raise OperatorError(message, hint) from error
