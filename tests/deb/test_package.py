"""The Debian package in a minimal Debian: installed, used, taken away."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from guest.chroot import run_in_root
from guest.layout import Layout
from guest.mirror import host_mirror
from guest.userland import Tree, make_trees
from recipe.deb import OUT
from recipe.places import REPOSITORY

CACHE = REPOSITORY / ".cache" / "deb"
_LIMIT_S = 300
# A bridge between two cables that lead nowhere, in a network of its own; the daemon as `levee run` starts it.
BOX = """
set -e
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
for port in outside inside; do ip link add $port type veth peer name far-$port; done
ip link add br0 type bridge
for port in outside inside; do ip link set $port master br0 up; ip link set far-$port up; done
ip link set br0 up
levee run -c /etc/levee/levee.yaml & daemon=$!
for _ in $(seq 100); do [ -S /run/levee/control.sock ] && break; sleep 0.1; done
levee status || [ $? -lt 3 ]
levee stop --detach -c /etc/levee/levee.yaml
wait $daemon
ip link del br0
"""
CONFIGURATION = """\
version: 1
mode: bridge
bridge: br0
outside: outside
inside: inside
services:
  web: {addresses: [192.0.2.10], ports: [80, 443]}
"""


def _dependencies(package: Path) -> tuple[str, ...]:
    asked = subprocess.run(["dpkg-deb", "-f", str(package), "Depends"], capture_output=True, text=True, check=True)
    return tuple(dict.fromkeys(word.split()[0] for word in asked.stdout.split(",")))


def _codename() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith("VERSION_CODENAME="))


@dataclass(frozen=True)
class Machine:
    """A Debian in a folder, and the package in it, not yet installed."""

    layout: Layout
    package: str

    def run(self, *argv: str) -> str:
        """What the command printed; GuestError when it fails."""
        run_in_root(self.layout, list(argv), cwd=Path("/"), limit_s=_LIMIT_S, network=False)
        return (self.layout.base / "chroot.log").read_text()


@pytest.fixture(scope="session")
def package() -> Path:
    """The package that was made last; without one there is nothing to test."""
    found = sorted(OUT.glob("levee_*.deb"))
    assert found, f"there is no package in {OUT}: make deb"
    return found[-1]


@pytest.fixture
def machine(package: Path) -> Iterator[Machine]:
    """Debian with what the package depends on and no more; kept from run to run, without the package."""
    wanted = _dependencies(package)
    layout = Layout(CACHE / _codename())
    if not layout.complete.exists() or layout.complete.read_text() != " ".join(wanted):
        shutil.rmtree(layout.base, ignore_errors=True)
        layout.base.mkdir(parents=True)
        make_trees(host_mirror(_codename()), (Tree("debian", layout, layout.root, "apt", wanted),))
        layout.complete.write_text(" ".join(wanted))
    shutil.copy(package, layout.root / package.name)
    yield Machine(layout, f"/{package.name}")
    run_in_root(layout, ["dpkg", "--purge", "levee"], cwd=Path("/"), limit_s=_LIMIT_S, network=False)
    (layout.root / package.name).unlink()


def test_it_is_installed_used_and_taken_away(machine: Machine) -> None:
    root = machine.layout.root
    machine.run("dpkg", "-i", machine.package)
    assert machine.run("levee", "version").startswith("levee 0")
    for example in ("bridge", "routed"):
        machine.run("levee", "check", f"/usr/share/doc/levee/examples/{example}.yaml")
    assert machine.run("stat", "-c", "%U:%G %a", "/etc/levee") == "levee:levee-admin 2775\n"
    assert not list(root.glob("etc/systemd/system/**/levee*")), "nothing is enabled before it is configured"
    (root / "etc/levee/levee.yaml").write_text(CONFIGURATION)
    said = machine.run("unshare", "--net", "sh", "-c", BOX)
    assert "engine" in said
    assert "web" in said
    machine.run("dpkg", "--remove", "levee")
    assert (root / "etc/levee/levee.yaml").exists()
    machine.run("dpkg", "--purge", "levee")
    for path in ("etc/levee", "var/lib/levee", "usr/lib/levee", "usr/bin/levee"):
        assert not (root / path).exists()


def test_it_carries_no_test_and_no_tool(package: Path) -> None:
    listed = subprocess.run(["dpkg-deb", "-c", str(package)], capture_output=True, text=True, check=True).stdout
    names = [line.split()[5] for line in listed.splitlines()]
    assert "./usr/lib/levee/python/appliance/cli.py" in names
    assert not [name for name in names if "/pip/" in name or "/tests/" in name or name.endswith((".c", ".pyx", ".h"))]
