"""What must be true of the machine before the box can run: the interfaces are there, and lead where they should.

Owns these questions; touches nothing. Called by daemon.py at start. Must not know rules, queues or the data plane.
"""

import socket
from pathlib import Path

from appliance.errors import OperatorError
from appliance.models import Config

# Per network namespace, as seen by the reading process.
FORWARDING = {
    "IPv4": Path("/proc/sys/net/ipv4/ip_forward"),
    "IPv6": Path("/proc/sys/net/ipv6/conf/all/forwarding"),
}


def interfaces() -> dict[str, int]:
    """The interfaces of this network namespace, name to index."""
    return {name: index for index, name in socket.if_nameindex()}


def check_interfaces(config: Config) -> None:
    """Raises OperatorError when an interface of the configuration is missing."""
    present = interfaces()
    wanted = {"outside": config.outside, "inside": config.inside}
    if config.bridge is not None:
        wanted["bridge"] = config.bridge
    missing = [f"{key}: {name}" for key, name in wanted.items() if name not in present]
    if missing:
        hint = f"there are: {', '.join(sorted(present))}"
        raise OperatorError(f"no such interface: {', '.join(missing)}", hint)


def warnings(config: Config) -> list[str]:
    """What keeps packets from getting through although levee itself can run."""
    if config.mode == "bridge":
        return _ports_outside_the_bridge(config)
    if config.mode == "host":
        return []
    families = {4: "IPv4", 6: "IPv6"}
    used = {families[span.family] for service in config.services.values() for span in service.addresses}
    return [
        f"{family} forwarding is off, so nothing of it gets through ({path} is 0)"
        for family, path in FORWARDING.items()
        if family in used and path.exists() and path.read_text().strip() == "0"
    ]


def _ports_outside_the_bridge(config: Config) -> list[str]:
    """Looks into /sys, which shows the namespace it was mounted in; where that is another one, nothing is said."""
    ports = Path(f"/sys/class/net/{config.bridge}/brif")
    if not ports.is_dir():
        return []
    inside = {port.name for port in ports.iterdir()}
    return [
        f"{name} is not a port of {config.bridge} (ip link set {name} master {config.bridge})"
        for name in (config.outside, config.inside)
        if name not in inside
    ]
