"""Whether there is a carrier on the two interfaces: what an operator looks at first.

Owns the question to the kernel. Called by daemon.py for each Status; it costs a system call each. An interface that is
not there has no link. Source: netdevice(7), SIOCGIFFLAGS.
"""

import fcntl
import socket
import struct

from appliance.models import Config
from appliance.report import LinkReport

SIOCGIFFLAGS = 0x8913
IFF_UP, IFF_RUNNING = 0x1, 0x40
IFREQ = struct.Struct("16sh22x")


def is_up(interface: str) -> bool:
    """Whether it is up, and has a carrier."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            found = fcntl.ioctl(asked, SIOCGIFFLAGS, IFREQ.pack(interface.encode(), 0))
        except OSError:
            return False
    flags: int = IFREQ.unpack(found)[1]
    return flags & (IFF_UP | IFF_RUNNING) == IFF_UP | IFF_RUNNING


def report(config: Config) -> dict[str, LinkReport]:
    """By side: `outside` and `inside`, which are one interface or two."""
    sides = {"outside": config.outside, "inside": config.inside}
    return {side: {"name": name, "up": is_up(name)} for side, name in sides.items()}
