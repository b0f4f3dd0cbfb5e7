"""`levee stop`: what stays at work, and that --detach leaves nothing, whether the daemon lives or was killed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from netlab import clients
from netlab.appliance import command
from netlab.names import OUTSIDE
from netlab.process import run
from netlab.session import Lab, wait_until
from netlab.streams import connected

STRIPPED = "rx-vlan-hw-parse"  # what a veth has on, and XDP would not see


def stop(lab: Lab, *options: str) -> subprocess.CompletedProcess[str]:
    argv = [str(lab.appliance.levee), "stop", *options, "-c", str(lab.names.lab_dir / "levee.yaml")]
    return run(argv, namespace=lab.names.box, check=False, timeout_s=120.0)


def in_box(lab: Lab, *argv: str) -> str:
    return run(argv, namespace=lab.names.box).stdout


def traces(lab: Lab) -> dict[str, object]:
    """All that Levee may leave behind in a box, by kind; only what is there."""
    pins = lab.names.runtime_dir / "bpf"
    found = {
        "rules": "levee" in in_box(lab, "nft", "list", "ruleset"),
        "iptables": any("NFQUEUE" in in_box(lab, one, "-t", "raw", "-S") for one in ("iptables", "ip6tables")),
        "XDP": "prog/xdp" in in_box(lab, "ip", "link", "show", OUTSIDE),
        "tc": "clsact" in in_box(lab, "tc", "qdisc", "show"),
        "pins": sorted(pin.name for pin in pins.glob("[lg][va]*")),
        "offloads": f"{STRIPPED}: off" in in_box(lab, "ethtool", "-k", OUTSIDE).replace("rx-vlan-offload", STRIPPED),
        "files": sorted({path.name for path in lab.names.runtime_dir.iterdir()} - {"bpf", "lock"}),
    }
    return {kind: one for kind, one in found.items() if one}


@pytest.fixture
def engine(lab: Lab) -> Iterator[str]:
    """The engine; whatever a test did to the daemon, it runs afterwards."""
    name: str = lab.status()["engine"]
    yield name
    if not lab.process.alive:
        lab.start_daemon()


def test_stop_ends_the_daemon_and_leaves_open_connections_alone(lab: Lab, family: int, engine: str) -> None:
    """bpf: they go on at once. nfqueue: as soon as there is a daemon again, as after SIGTERM."""
    with connected(lab, family, direct=False) as (client, server):
        done = stop(lab)
        assert (done.returncode, done.stderr) == (0, "")
        assert lab.process.wait_gone(5.0)
        if engine == "nfqueue":
            assert traces(lab) == {"files": ["flows"]}
            lab.start_daemon()
        client.sendall(b"after")
        assert server.recv(10) == b"after"
        server.sendall(b"answer")
        assert client.recv(10) == b"answer"


def test_programs_follow_the_fail_policy_after_a_stop(lab: Lab, engine: str, nginx: Path) -> None:  # noqa: ARG001
    if engine != "bpf":
        pytest.skip("about programs, which only the bpf engine has")
    assert stop(lab).returncode == 0
    assert {"XDP", "tc", "pins"} <= traces(lab).keys()
    assert clients.curl(lab.names, lab.server_address(4), limit_s=4.0).returncode == 28
    lab.start_daemon()
    assert clients.curl(lab.names, lab.server_address(4)).returncode == 0


@pytest.mark.parametrize("alive", [True, False], ids=["daemon runs", "daemon was killed"])
def test_detach_leaves_nothing(lab: Lab, engine: str, nginx: Path, alive: bool) -> None:  # noqa: ARG001
    if not alive:
        lab.kill_daemon()
    done = stop(lab, "--detach")
    assert done.returncode == 0, done.stderr
    assert lab.process.wait_gone(5.0)
    assert traces(lab) == {}
    assert clients.curl(lab.names, lab.server_address(4)).returncode == 0, "the box stands in the way"
    assert stop(lab, "--detach").returncode == 0, "it can be repeated"
    lab.start_daemon()
    assert clients.curl(lab.names, lab.server_address(4)).returncode == 0
    assert lab.status()["drops"]["syn_answered"] > 0


def test_stop_without_a_daemon_says_so(lab: Lab, engine: str) -> None:  # noqa: ARG001
    lab.kill_daemon()
    done = stop(lab)
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        "levee: error: no levee is running",
        "levee: hint: what it left in the kernel is taken away by: levee stop --detach",
    ]


def test_what_hides_packets_is_off_and_said(lab: Lab, engine: str) -> None:
    """veth keeps a tag beside the frame, as many NICs do: XDP would not see it."""
    if engine != "bpf":
        pytest.skip("the nfqueue engine gets the tag from the kernel")
    assert "rx-vlan-offload: off" in in_box(lab, "ethtool", "-k", OUTSIDE)
    assert f"turned off on {OUTSIDE}: {STRIPPED}" in lab.status()["steering"]
    in_box(lab, "ethtool", "-K", OUTSIDE, "rxvlan", "on")
    hidden = f"{OUTSIDE} hides packets from the gate: {STRIPPED} is on (ethtool -K {OUTSIDE} {STRIPPED} off)"
    assert wait_until(lambda: hidden in lab.status()["problems"], 20.0)
    in_box(lab, "ethtool", "-K", OUTSIDE, STRIPPED, "off")
    assert wait_until(lambda: hidden not in lab.status()["problems"], 20.0)


def test_a_mount_of_its_own_goes_too(lab: Lab, engine: str, tmp_path: Path) -> None:
    """nsenter and not `ip netns exec`, which gives a command mounts of its own."""
    if engine != "bpf":
        pytest.skip("about pins, which only the bpf engine has")
    assert stop(lab, "--detach").returncode == 0
    text = (lab.names.lab_dir / "levee.yaml").read_text()
    config = tmp_path / "levee.yaml"
    config.write_text(text.replace(str(lab.names.runtime_dir), str(tmp_path / "run")))
    enter = ["nsenter", f"--net=/run/netns/{lab.names.box}", str(command())]
    with subprocess.Popen([*enter, "run", "-c", str(config)], stderr=subprocess.DEVNULL) as daemon:
        try:
            assert wait_until((tmp_path / "run/control.sock").exists, 20.0)
            asked = [*enter, "status", "--json", "--socket", str(tmp_path / "run/control.sock")]
            assert wait_until(lambda: run(asked, check=False).stdout != "", 20.0)
            assert os.path.ismount(tmp_path / "run/bpf")
            mounted = json.loads((tmp_path / "run/footprint").read_text())["mounted"]
            assert mounted == [str(tmp_path / "run/bpf")]
            assert run([*enter, "stop", "--detach", "-c", str(config)], check=False).returncode == 0
        finally:
            daemon.kill()
    assert not (tmp_path / "run/bpf").exists()
