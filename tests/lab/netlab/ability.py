"""What the kernel at hand can do, asked by doing it in a namespace of its own.

Decides which modes a test run covers when nobody says. Called by conftest.py and the demo.
"""

from __future__ import annotations

import os
from pathlib import Path

from netlab.process import run
from netlab.topology import Mode

_BRIDGE_QUEUE = """
table bridge probe {
    chain forward { type filter hook forward priority 0; queue num 0; }
}
"""
_OLDEST_WITH_BPF = (6, 1)


def bridge_queue() -> bool:
    """Whether nft's `queue` works in the bridge family, which bridge mode with nfqueue needs."""
    probe = f"levee-probe-{os.getpid()}"
    run(["ip", "netns", "add", probe])
    try:
        done = run(["nft", "-f", "-"], namespace=probe, text_in=_BRIDGE_QUEUE, check=False)
        return done.returncode == 0
    finally:
        run(["ip", "netns", "del", probe])


def vlans() -> bool:
    """Whether this kernel has VLAN interfaces (CONFIG_VLAN_8021Q)."""
    probe = f"levee-probe-{os.getpid()}"
    run(["ip", "netns", "add", probe])
    try:
        add = ["ip", "link", "add", "link", "lo", "name", "probe", "type", "vlan", "id", "1"]
        return "Unknown device type" not in run(add, namespace=probe, check=False).stderr
    finally:
        run(["ip", "netns", "del", probe])


def bpf_missing() -> str:
    """What the bpf engine lacks here, or nothing."""
    if os.geteuid() != 0:
        return "bpf engine: loading programs needs root"
    major, minor = os.uname().release.split(".")[:2]
    if (int(major), int(minor)) < _OLDEST_WITH_BPF:
        return "bpf engine: needs Linux {}.{}".format(*_OLDEST_WITH_BPF)
    if "bpf" not in Path("/proc/filesystems").read_text().split():
        return "bpf engine: this kernel has no bpf file system"
    return ""


def modes() -> list[Mode]:
    """Modes the appliance can run in here; what is left out has its reason in left_out()."""
    return [Mode.ROUTED, Mode.BRIDGE] if bridge_queue() else [Mode.ROUTED]


def left_out(chosen: list[Mode]) -> str:
    if Mode.BRIDGE in chosen:
        return ""
    return "bridge mode: this kernel has no nft queue expression in the bridge family"
