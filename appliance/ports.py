"""The network ports of this machine: their links, who is heard on each, and their LEDs.

Owns the questions to the kernel. Called by setup_calls.py, in the thread of jobs: a box may have heard thousands. A
port is an Ethernet interface that stands on a device, or one end of a veth pair. Must not know what the box does with
them.
Source: rtnetlink(7), linux/if_link.h, linux/neighbour.h, linux/ethtool.h.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
import threading
from typing import TYPE_CHECKING, TypedDict

from appliance.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_HEARD = 4  # addresses that are named; the others are counted
MAX_BLINK_S = 30
REFUSED_WITHIN_S = 0.5  # a driver that cannot blink says so at once

_RTM_GETLINK, _RTM_GETNEIGH = 18, 30
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # struct ndmsg: family, index, state, flags, type
_ATTRIBUTE = struct.Struct("=HH")
_NESTED = 0x8000  # NLA_F_NESTED
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_PERM_ADDRESS, _IFLA_PARENT_DEV_NAME = 1, 3, 18, 54, 56
_IFLA_INFO_KIND = 1
_NDA_LLADDR = 2
_ARPHRD_ETHER = 1
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
# NUD_INCOMPLETE, NUD_FAILED, NUD_NOARP, NUD_PERMANENT: not heard, or nobody's.
_NOT_HEARD = 0x01 | 0x20 | 0x40 | 0x80
_RECEIVE_BYTES = 1 << 18
_SIOCETHTOOL, _ETHTOOL_PHYS_ID = 0x8946, 0x1C


class PortReport(TypedDict):
    """One port. use: outside, inside, or nothing. device: where it is plugged in. heard: MACs, and so many `others`."""

    name: str
    mac: str
    device: str
    use: str
    up: bool
    heard: list[str]
    others: int


def report(outside: str, inside: str) -> list[PortReport]:
    """All ports by name, those in use first. Raises OperatorError."""
    heard: dict[int, set[str]] = {}
    for family in (socket.AF_UNSPEC, socket.AF_BRIDGE):  # whom the box talks to; whom its bridge has heard
        for body in _dump(_RTM_GETNEIGH, _NEIGHBOUR.pack(family, 0, 0, 0, 0)):
            _, index, state, _, _ = _NEIGHBOUR.unpack_from(body)
            mac = _attributes(body[_NEIGHBOUR.size :]).get(_NDA_LLADDR, b"")
            if len(mac) == 6 and any(mac) and not state & _NOT_HEARD:
                heard.setdefault(index, set()).add(_mac(mac))
    found = []
    uses = {inside: "inside", outside: "outside"}
    for body in _dump(_RTM_GETLINK, _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
        _, kind, index, flags, _ = _LINK.unpack_from(body)
        attributes = _attributes(body[_LINK.size :])
        name = attributes[_IFLA_IFNAME].split(b"\0")[0].decode()
        if name not in uses and (kind != _ARPHRD_ETHER or not _stands_on_a_device(attributes)):
            continue
        macs = sorted(heard.get(index, ()))
        one: PortReport = {
            "name": name,
            "mac": _mac(attributes.get(_IFLA_PERM_ADDRESS) or attributes.get(_IFLA_ADDRESS, b"")),
            "device": attributes.get(_IFLA_PARENT_DEV_NAME, b"").split(b"\0")[0].decode(),
            "use": uses.get(name, ""),
            "up": flags & (_IFF_UP | _IFF_RUNNING) == _IFF_UP | _IFF_RUNNING,
            "heard": macs[:MOST_HEARD],
            "others": len(macs[MOST_HEARD:]),
        }
        found.append(one)
    order = ("outside", "inside", "")
    return sorted(found, key=lambda one: (order.index(one["use"]), one["name"]))


def blink(name: str, seconds: int) -> None:
    """Its LED blinks for so long, and meanwhile the daemon goes on. Raises OperatorError where the driver cannot.

    ETHTOOL_PHYS_ID waits until it is over, so it has a thread of its own; one that is refused ends at once.
    """
    refused: list[OSError] = []

    def wait_for_the_driver() -> None:
        try:
            _blink(name, seconds)
        except OSError as error:
            refused.append(error)

    thread = threading.Thread(target=wait_for_the_driver, name="levee-blink", daemon=True)
    thread.start()
    thread.join(REFUSED_WITHIN_S)
    if refused:
        error = refused[0]
        if error.errno == errno.EOPNOTSUPP:
            raise OperatorError(f"the driver of {name} cannot blink", "pull its cable, and look whose link goes down")
        if error.errno == errno.ENODEV:
            raise OperatorError(f"there is no port {name}", "levee ports names them")
        if error.errno == errno.EBUSY:
            raise OperatorError(f"{name} blinks already", "look for it")
        raise OperatorError(f"{name} cannot blink: {error.strerror}", "CAP_NET_ADMIN is needed") from error


def _blink(name: str, seconds: int) -> None:
    request = ctypes.create_string_buffer(struct.pack("=II", _ETHTOOL_PHYS_ID, seconds), 8)  # struct ethtool_value
    packed = struct.pack("16sP8x", os.fsencode(name), ctypes.addressof(request))  # struct ifreq
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, _SIOCETHTOOL, packed)


def _dump(kind: int, body: bytes) -> Iterator[bytes]:
    """The bodies of all answers to a question. Raises OperatorError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        flags = _NLM_F_REQUEST | _NLM_F_DUMP
        kernel.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body)
        while True:
            data = kernel.recv(_RECEIVE_BYTES)
            while data:
                length, answer, _, _, _ = _HEADER.unpack_from(data)
                if answer == _NLMSG_DONE:
                    return
                if answer == _NLMSG_ERROR:
                    number = -struct.unpack_from("=i", data, _HEADER.size)[0]
                    raise OperatorError(f"the kernel does not list its ports: {os.strerror(number)}", "see dmesg")
                yield data[_HEADER.size : length]
                data = data[_aligned(length) :]


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        found[kind & ~_NESTED] = data[_ATTRIBUTE.size : length]
        data = data[_aligned(max(length, _ATTRIBUTE.size)) :]
    return found


def _stands_on_a_device(attributes: dict[int, bytes]) -> bool:
    """Bridges, VLANs, tunnels and the like have a kind; so has a veth, which is as good as a port."""
    kind = _attributes(attributes.get(_IFLA_LINKINFO, b"")).get(_IFLA_INFO_KIND, b"").split(b"\0")[0]
    return kind in (b"", b"veth")


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _mac(data: bytes) -> str:
    return data.hex(":")
