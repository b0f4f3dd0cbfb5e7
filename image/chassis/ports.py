"""The ports: which NIC is which, their names, the bridge between them, and that nobody sees the box on the wire.

Owns the choice (by MAC or path, never by the kernel's numbering) and the commands, which are a pure function of the
settings and the NICs found. Run by levee-ports.service, and again by stick.py when box.yaml has changed. Must not know
what Levee does with the packets: the bridge forwards before there is a daemon.
"""

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from appliance.errors import OperatorError
from chassis.settings import Management, Settings, load

SYS_NET = Path("/sys/class/net")
TAKEN = Path("/var/lib/levee-box/box.yaml")
RUN = Path("/run/levee-box")
# What other units begin with: each is there when box.yaml asks for it, and its port exists.
ADDRESSED, MIRRORED, CLOCK = RUN / "management", RUN / "mirror", Path("/run/systemd/timesyncd.conf.d/levee.conf")
HOST_NAME, OWN_NAME = Path("/proc/sys/kernel/hostname"), Path("/etc/hostname")
HELD = RUN / "held"  # the port that mirror.py keeps down
OUTSIDE, INSIDE, MANAGEMENT, BRIDGE = "outside", "inside", "management", "br0"
WAIT_S = 60.0
POLL_S = 0.1
ARPHRD_ETHER = "1"
# A bump in the wire passes what bridges keep for themselves (IEEE 802.1D 7.12.6: LLDP, 802.1X, ...); the kernel
# reserves the first three: STP, pause frames, LACP (linux/net/bridge/br_private.h, BR_GROUPFWD_RESTRICTED).
GROUP_FORWARD_MASK = 0xFFF8


@dataclass(frozen=True, slots=True, order=True)
class Nic:
    """A NIC as the kernel shows it, in the order of their paths; `name` is its name of the moment."""

    path: str
    mac: str
    name: str


@dataclass(frozen=True, slots=True)
class Roles:
    """Who is what; a role that nobody can play is None."""

    outside: Nic | None
    inside: Nic | None
    management: Nic | None


def nics(root: Path = SYS_NET) -> tuple[Nic, ...]:
    """The Ethernet NICs that stand on a device, in the order of their paths."""
    found = []
    for link in root.iterdir():
        device = link / "device"
        if not device.exists() or (link / "type").read_text().strip() != ARPHRD_ETHER or (link / "phy80211").exists():
            continue
        found.append(Nic(_path(link, device.resolve()), _address(link), link.name))
    return tuple(sorted(found))


def _path(link: Path, device: Path) -> str:
    """`pci-0000:02:00.0`, and the port where a card has several, as udev's path_id names it."""
    while device.parent != device and ((device / "subsystem").resolve().name != "pci"):
        device = device.parent
    port = (link / "dev_port").read_text().strip()
    return f"pci-{device.name}{f'-port{port}' if port != '0' else ''}"


def _address(link: Path) -> str:
    """The card's own address: the one in force may be another one's."""
    return (link / "address").read_text().strip()


def choose(settings: Settings, found: Sequence[Nic]) -> Roles:
    """Named ports first; the others take what is left, in the order of their paths."""
    wanted = (settings.outside, settings.inside, settings.management and settings.management.port)
    named = [next((nic for nic in found if name in (nic.mac, nic.path)), None) if name else None for name in wanted]
    left = [nic for nic in found if nic not in named]
    roles = [nic or (left.pop(0) if left and not name else None) for nic, name in zip(named, wanted, strict=True)]
    return Roles(roles[0], roles[1], roles[2] if settings.management else None)


def names(roles: Roles) -> dict[str, str]:
    """From the name of the moment to the name of the role."""
    pairs = ((roles.outside, OUTSIDE), (roles.inside, INSIDE), (roles.management, MANAGEMENT))
    return {nic.name: role for nic, role in pairs if nic}


def commands(settings: Settings, roles: Roles, found: Sequence[Nic], *, bridge_exists: bool) -> list[str]:
    """Lines for `ip -batch`. Names go by way of names that nobody has, since two NICs may swap theirs."""
    renamed = {old: new for old, new in names(roles).items() if old != new}
    in_the_way = [nic.name for nic in found if nic.name in renamed.values() and nic.name not in renamed]
    lines = []
    for number, name in enumerate((*renamed, *in_the_way)):
        lines += [f"link set dev {name} down", f"link set dev {name} name port{number}"]
    lines += [f"link set dev port{number} name {new}" for number, new in enumerate(renamed.values())]
    if not bridge_exists:
        mask = f"group_fwd_mask {GROUP_FORWARD_MASK}"
        lines.append(f"link add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0 {mask}")
        lines.append(f"link set dev {BRIDGE} arp off multicast off addrgenmode none")
    for role, nic in ((OUTSIDE, roles.outside), (INSIDE, roles.inside)):
        if nic:
            lines.append(f"link set dev {role} arp off multicast off addrgenmode none")
            lines += [f"link set dev {role} mtu {settings.mtu}"] if settings.mtu else []
            lines += [f"link set dev {role} master {BRIDGE}", f"link set dev {role} up"]
    lines.append(f"link set dev {BRIDGE} up")
    return lines


def _gone(before: Management | None, now: Management | None) -> list[str]:
    """Takes the address of before away where it is not the one of now; a link that is down has no routes either."""
    if before is None or (now is not None and replace(now, ntp=()) == replace(before, ntp=())):
        return []
    return [f"link set dev {MANAGEMENT} down", f"addr flush dev {MANAGEMENT}"]


def _management(management: Management) -> list[str]:
    lines = [f"link set dev {MANAGEMENT} up", f"addr replace {management.address} dev {MANAGEMENT}"]
    if management.gateway:
        lines.append(f"route replace default via {management.gateway} dev {MANAGEMENT}")
    return lines


def clock(servers: Sequence[object]) -> str:
    """Configuration of systemd-timesyncd(8): these servers and no others."""
    return f"[Time]\nNTP={' '.join(map(str, servers))}\nFallbackNTP=\n"


def table(found: Sequence[Nic], roles: Roles) -> str:
    """PORTS.txt: what an operator copies a port's name from."""
    uses = {nic: role for role, nic in zip((OUTSIDE, INSIDE, MANAGEMENT), _players(roles), strict=True) if nic}
    lines = [f"{nic.path:<28}{nic.mac:<20}{uses.get(nic, '(not used)')}" for nic in found]
    return "\n".join(("path                        MAC                 used as", *lines, ""))


def _players(roles: Roles) -> tuple[Nic | None, Nic | None, Nic | None]:
    return roles.outside, roles.inside, roles.management


def _silence(name: str, value: str) -> None:
    """IPv6 off, or on again for management; the default for every new interface is off (sysctl.d)."""
    path = Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
    if path.exists():
        path.write_text(value)


def _wait(settings: Settings) -> tuple[tuple[Nic, ...], Roles]:
    """Until both data ports are there: their drivers come when udev finds them."""
    limit_s = time.monotonic() + WAIT_S
    while True:
        found = nics()
        roles = choose(settings, found)
        if (roles.outside and roles.inside) or time.monotonic() > limit_s:
            return found, roles
        time.sleep(POLL_S)


def apply(settings: Settings, before: Settings | None = None) -> None:
    """Sets the ports up as asked; before: what was in force, when a box that runs is changed.

    Raises OperatorError when a data port is missing, after doing what can be done.
    """
    found, roles = _wait(settings)
    for nic in found:
        _silence(nic.name, "1")
    if before and (SYS_NET / MANAGEMENT).exists():
        _batch(_gone(before.management, settings.management))
    _batch(commands(settings, roles, found, bridge_exists=(SYS_NET / BRIDGE).exists()))
    RUN.mkdir(exist_ok=True)
    (RUN / "PORTS.txt").write_text(table(found, roles))
    addressed = settings.management if roles.management else None
    if addressed:
        _silence(MANAGEMENT, "0")
        _batch(_management(addressed))
    servers = addressed.ntp if addressed else ()
    for flag, wanted, text in (
        (ADDRESSED, addressed is not None, ""),
        (MIRRORED, settings.mirror_links, ""),
        (CLOCK, bool(servers), clock(servers)),
    ):
        if wanted:
            flag.parent.mkdir(parents=True, exist_ok=True)
            flag.write_text(text)
        else:
            flag.unlink(missing_ok=True)
    HOST_NAME.write_text(f"{settings.name or OWN_NAME.read_text().strip()}\n")
    missing = [role for role, nic in ((OUTSIDE, roles.outside), (INSIDE, roles.inside)) if nic is None]
    if missing:
        hint = f"{len(found)} Ethernet ports were found; PORTS.txt lists them"
        raise OperatorError(f"no port for {' and '.join(missing)}", hint)


def _batch(lines: Sequence[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(
        ["ip", "-force", "-batch", "-"], input=text, text=True, capture_output=True, check=False, timeout=60
    )
    if done.returncode != 0:
        raise OperatorError(f"ports could not be set up: {done.stderr.strip()}")


def run() -> None:
    """The ports as the settings say that were taken last."""
    apply(load(TAKEN))
