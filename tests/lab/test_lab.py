"""The lab itself: what is promised to those who use it. In a lab of its own, beside the one under test."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from netlab import control, flood, netns, topology
from netlab.flood import FloodSpec
from netlab.names import REPOSITORY, Names
from netlab.process import LabError, run
from netlab.topology import Mode

LAB = REPOSITORY / "tests/lab/lab.py"
OWN = Names("levee-own")
MODES = [Mode.BRIDGE, Mode.ROUTED, Mode.HOST]


def lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    """lab.py as `make lab` starts it, for a lab with names of our own."""
    return subprocess.run(
        [sys.executable, str(LAB), *arguments],
        env={**os.environ, "LEVEE_LAB_PREFIX": OWN.prefix},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    control.down(OWN)


def anything_left() -> list[str]:
    return [name for name in OWN.namespaces if netns.exists(name)]


@pytest.mark.parametrize("mode", MODES)
def test_up_and_down_are_idempotent(mode: Mode) -> None:
    first = lab("up", "--mode", mode, "--engine", "none")
    assert first.returncode == 0, first.stderr
    second = lab("up", "--mode", mode, "--engine", "none")
    assert (second.returncode, "was up already" in second.stdout) == (0, True)
    assert lab("down").returncode == 0
    assert not anything_left()
    assert not OWN.lab_dir.exists()
    again = lab("down")
    assert (again.returncode, again.stdout) == (0, "no lab was up\n")


def test_another_mode_replaces_the_lab() -> None:
    for mode in (*MODES, Mode.BRIDGE):
        assert lab("up", "--mode", mode, "--engine", "none").returncode == 0
        assert f"mode {mode}" in lab("status").stdout


@pytest.mark.parametrize("mode", MODES)
def test_names_addresses_and_no_way_out(mode: Mode) -> None:
    """The contract: interface names, the first and last address of each end, no default route."""
    assert lab("up", "--mode", mode, "--engine", "none").returncode == 0
    length = 16 if mode is Mode.ROUTED else 15
    end = topology.addressing(mode)
    names = replace(OWN, box_serves=mode is Mode.HOST)
    for namespace, interface, network, v6 in (
        (OWN.client, "eth0", "198.18", end.client.v6),
        (names.server, names.server_interface, "198.19", end.server.v6),
    ):
        addresses = run(["ip", "-o", "addr", "show", "dev", interface], namespace=namespace).stdout
        for host in (1, 2, 250):
            assert f" {network}.0.{host}/{length} " in addresses
        assert f" {v6}/64 " in addresses
    links = run(["ip", "-o", "link"], namespace=OWN.box).stdout
    assert all(f": {name}" in links for name in ("outside", "inside"))
    assert (": br0" in links) == (mode is Mode.BRIDGE)
    for namespace in OWN.namespaces:
        for family in ("-4", "-6"):
            assert not run(["ip", family, "route", "show", "default"], namespace=namespace).stdout


@pytest.mark.parametrize("refused", [("--mode", "host", "--engine", "bpf"), ("--mode", "routed", "--engine", "bpf")])
def test_what_this_version_cannot_do_is_said(refused: tuple[str, ...]) -> None:
    """The argument is known, the product refuses in its own words, and nothing is left behind."""
    done = lab("up", *refused)
    assert done.returncode == 1
    assert "levee" in done.stderr
    assert refused[-1] in done.stderr
    assert "Traceback" not in done.stderr
    assert not anything_left()


def test_a_missing_configuration_is_said() -> None:
    done = lab("up", "--config", "/nonexistent.yaml")
    assert done.returncode == 1
    assert done.stderr.startswith("lab: /nonexistent.yaml: no such file\nhint: ")


def test_a_wrong_configuration_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("version: 1\nmode: sideways\n")
    done = lab("up", "--config", str(wrong))
    assert done.returncode == 1
    assert "sideways" in done.stderr
    assert not anything_left()


def test_processes_in_the_lab_end_with_it() -> None:
    assert lab("up", "--mode", "routed", "--engine", "none").returncode == 0
    sleeper = subprocess.Popen(["ip", "netns", "exec", OWN.server, "sleep", "600"])
    assert lab("down").returncode == 0
    assert sleeper.wait(10) != 0
    assert not anything_left()


# ---- the flood refuses to be anything but a test


def flood_refused(*argv: str, namespace: str | None = None) -> str:
    done = run([str(flood.compiled()), *argv], namespace=namespace, check=False)
    assert done.returncode != 0
    assert not done.stdout, "nothing was sent"
    return done.stderr


def arguments(**changes: str) -> list[str]:
    spec = FloodSpec("syn", changes.pop("destination", "198.19.0.1"), 1, 1, sources=changes.pop("source", ""))
    return [*spec.arguments(Mode.ROUTED), *(word for name, value in changes.items() for word in (f"--{name}", value))]


def test_flood_refuses_outside_the_lab() -> None:
    assert "not a namespace of the lab" in flood_refused(*arguments(interface="lo"))


def test_flood_refuses_other_targets_and_sources() -> None:
    assert lab("up", "--mode", "routed", "--engine", "none").returncode == 0
    assert "must lie in" in flood_refused(*arguments(destination="192.0.2.1"), namespace=OWN.client)
    assert "must lie in" in flood_refused(*arguments(source="203.0.113.0/24"), namespace=OWN.client)
    assert "--source" in flood_refused(*arguments(source="0.0.0.0/0"), namespace=OWN.client)


@pytest.mark.parametrize("bound", ["count", "seconds"])
def test_flood_needs_both_bounds(bound: str) -> None:
    words = arguments()
    place = words.index(f"--{bound}")
    assert "mandatory" in flood_refused(*words[:place], *words[place + 2 :])


def test_flood_refuses_where_there_is_a_default_route() -> None:
    assert lab("up", "--mode", "routed", "--engine", "none").returncode == 0
    run(["ip", "route", "add", "default", "via", "198.18.255.254"], namespace=OWN.client)
    assert "default route" in flood_refused(*arguments(), namespace=OWN.client)


def test_entering_a_namespace_is_undone() -> None:
    """Sockets stay where they were made, the thread comes back."""
    assert lab("up", "--mode", "routed", "--engine", "none").returncode == 0
    home = Path("/proc/thread-self/ns/net").readlink()
    with netns.entered(OWN.client):
        assert Path("/proc/thread-self/ns/net").readlink() != home
        inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    assert Path("/proc/thread-self/ns/net").readlink() == home
    with inside:
        inside.bind(("198.18.0.1", 0))
    with pytest.raises(LabError):
        run(["false"], namespace=OWN.client)
