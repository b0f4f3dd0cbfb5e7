"""The wires between the lab's ends and the machine: the lab's own topology, with taps in place of the box.

    client --veth-- [outside] brO [tap0] ==== QEMU ==== [tap1] brI [inside] --veth-- server
                    `-------------- namespace of the box ---------------'

Owns the taps. The lab is built as a plain bridge first, which proves it; then the bridge is cut in two. Called by the
fixtures. Knows nothing of what is in the machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from netlab import counters, netns, topology
from netlab.names import BRIDGE, CLIENT_MAC, INSIDE, OUTSIDE, SERVER_MAC, Names
from netlab.process import in_namespace, run
from netlab.topology import Mode

# linux/if_tun.h
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
TAPS = ("tap0", "tap1")


def _tap(namespace: str, name: str) -> int:
    """A tap that lives as long as the descriptor, which is inherited by QEMU."""
    with netns.entered(namespace):
        file = os.open("/dev/net/tun", os.O_RDWR)
    request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
    with netns.entered(namespace):
        fcntl.ioctl(file, _TUNSETIFF, request)
    os.set_inheritable(file, True)
    return file


@contextlib.contextmanager
def wires(names: Names) -> Iterator[tuple[int, int]]:
    """The lab with both its taps; the descriptors are QEMU's to use."""
    netns.require_root()
    topology.demolish(names)
    files: list[int] = []
    try:
        topology.build(Mode.BRIDGE, names)
        counters.install(names)
        run(["ip", "link", "del", BRIDGE], namespace=names.box)
        for port, tap in zip((OUTSIDE, INSIDE), TAPS, strict=True):
            files.append(_tap(names.box, tap))
            bridge = f"br-{port}"
            kind = ["type", "bridge", "stp_state", "0", "forward_delay", "0", "mcast_snooping", "0"]
            run(["ip", "link", "add", bridge, *kind], namespace=names.box)
            run(["ip", "link", "set", bridge, "up"], namespace=names.box)
            for end in (port, tap):
                run(["ip", "link", "set", end, "master", bridge, "up"], namespace=names.box)
        yield files[0], files[1]
    finally:
        for file in files:
            os.close(file)
        topology.demolish(names)


@contextlib.contextmanager
def strangers(names: Names, folder: Path) -> Iterator[dict[str, Path]]:
    """A capture on each wire of what neither end has sent: that is, of what the machine says of itself.

    The files hold packets once the block has ended; with the length of an empty capture they hold none.
    """
    files = {tap: folder / f"{tap}.pcap" for tap in TAPS}
    nobody = ["not", "ether", "src", CLIENT_MAC, "and", "not", "ether", "src", SERVER_MAC]
    captures = []
    for tap, file in files.items():
        argv = ["tcpdump", "-i", tap, "-U", "-Z", "root", "-w", str(file), *nobody]
        captures.append(
            subprocess.Popen(in_namespace(names.box, argv), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        )
    try:
        yield files
    finally:
        for capture in captures:
            capture.terminate()
            capture.wait()
