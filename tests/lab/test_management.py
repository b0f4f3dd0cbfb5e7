"""The bootable appliance's management port on a real link: another address comes, the old one and its routes go."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest
from chassis import ports
from chassis.settings import Management
from netlab.names import names_from_environment
from netlab.process import in_namespace, run

OLD = {
    4: Management(ip_interface("192.0.2.10/24"), gateway=ip_address("192.0.2.1")),
    6: Management(ip_interface("2001:db8:1::10/64"), gateway=ip_address("2001:db8:1::1")),
}
NEW = {4: Management(ip_interface("198.51.100.7/25")), 6: Management(ip_interface("2001:db8:2::7/64"))}


def batch(namespace: str, lines: list[str]) -> None:
    """As ports.apply() runs them."""
    text = "".join(f"{one}\n" for one in lines)
    subprocess.run(in_namespace(namespace, ["ip", "-force", "-batch", "-"]), input=text, text=True, check=True)


@pytest.mark.parametrize("version", [4, 6])
def test_another_address_takes_the_place_of_the_old_one(version: int) -> None:
    name = f"{names_from_environment('levee-test').prefix}-address"
    old, new = OLD[version], NEW[version]
    run(["ip", "netns", "add", name])
    try:
        run(["ip", "link", "add", "management", "type", "veth", "peer", "far"], namespace=name)
        run(["ip", "link", "set", "far", "up"], namespace=name)
        batch(name, ports._management(old))
        shown = ["ip", f"-{version}", "route", "show", "dev", "management"]
        assert "default" in run(shown, namespace=name).stdout
        clock = replace(old, ntp=(ip_address("192.0.2.1"),))
        assert ports._gone(old, clock) == []
        batch(name, [*ports._gone(old, new), *ports._management(new)])
        addresses = run(["ip", f"-{version}", "-o", "addr", "show", "dev", "management"], namespace=name).stdout
        assert str(new.address) in addresses
        assert str(old.address) not in addresses
        routes = run(shown, namespace=name).stdout
        assert "default" not in routes
        assert str(old.address.network) not in routes
        batch(name, ports._gone(new, None))
        assert str(new.address) not in run(["ip", "-o", "addr", "show", "dev", "management"], namespace=name).stdout
    finally:
        run(["ip", "netns", "del", name])
