"""What makes veth behave like a NIC under the bpf engine, and a place for pinned programs that outlives the daemon.

Owns the receiving program at the client's end and the bpf file system of a lab. Called by control.py. Knows nothing of
the appliance's programs.

veth drops what an XDP program sends back (XDP_TX) unless the receiving end has an XDP program too (drivers/net/veth.c,
veth_xdp_flush()); a NIC has no such need. And `ip netns exec` gives each command mounts of its own, which go away with
it: the file system that keeps pinned programs is mounted before. A cable carries a VLAN tag in the frame; veth would
hand it over beside the frame, where XDP does not see it, as long as the sending end claims to insert tags in hardware.
A full frame with two tags is then longer than veth takes at an MTU of 1500 (is_skb_forwardable()
allows for one); NICs take it.
"""

from __future__ import annotations

import os
from pathlib import Path

from netlab.compiled import BPF_OBJECT, compiled
from netlab.names import END_INTERFACE, OUTSIDE, Names
from netlab.process import run

SOURCE = "pass.bpf.c"
_TAGS_IN_THE_FRAME = ("tx-vlan-hw-insert", "off", "tx-vlan-stag-hw-insert", "off")
_MTU_WITH_A_SECOND_TAG = 1500 + 4


def _bpffs(names: Names) -> Path:
    return names.runtime_dir / "bpf"


def behave(names: Names) -> None:
    """Makes the client's end of the cable one."""
    attach = [
        "ip",
        "link",
        "set",
        END_INTERFACE,
        "xdpdrv",
        "obj",
        str(compiled(SOURCE, compiler=BPF_OBJECT)),
        "sec",
        "xdp",
    ]
    run(attach, namespace=names.client)
    run(["ethtool", "-K", END_INTERFACE, *_TAGS_IN_THE_FRAME], namespace=names.client)


def prepare(names: Names) -> None:
    """To be called when the links are there and before the appliance starts."""
    behave(names)
    run(["ip", "link", "set", OUTSIDE, "mtu", str(_MTU_WITH_A_SECOND_TAG)], namespace=names.box)
    folder = _bpffs(names)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.path.ismount(folder):
        run(["mount", "-t", "bpf", "bpf", str(folder)])


def remove(names: Names) -> None:
    """Everything that is pinned goes away with the file system."""
    if os.path.ismount(_bpffs(names)):
        run(["umount", str(_bpffs(names))])
