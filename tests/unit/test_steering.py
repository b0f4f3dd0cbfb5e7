"""What kernels and tools say when they cannot do what is asked, and what the operator is told of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance import steering
from appliance.config import loads
from appliance.errors import OperatorError
from appliance.models import Config
from appliance.rules import steered_services

NO_QUEUE = "/dev/stdin:4:3-27: Error: Could not process rule: No such file or directory"
NOT_PERMITTED = "netlink: Error: cache initialization failed: Operation not permitted"


def configuration(mode: str) -> Config:
    bridge = "bridge: br0\n" if mode == "bridge" else ""
    head = f"version: 1\nmode: {mode}\n{bridge}outside: eth0\ninside: eth1\n"
    return loads(f"{head}services:\n  web: {{addresses: [192.0.2.1], ports: [80]}}\n".encode(), "levee.yaml")


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Writes a program that stands in for one of the system's; each call is noted in `calls`, its input in `input`."""
    monkeypatch.setattr(steering, "ENVIRONMENT", {"PATH": f"{tmp_path}:/usr/bin:/bin", "LC_ALL": "C"})

    def write(name: str, body: str) -> None:
        path = tmp_path / name
        note = f'echo "{name} $*" >> {tmp_path}/calls; text=$(cat); printf "%s\\n" "$text" >> {tmp_path}/input'
        path.write_text(f"#!/bin/sh\n{note}\n{body}\n")
        path.chmod(0o755)

    return write


def refuse(what: str, message: str) -> str:
    """Fails when the input or the arguments have `what` in them."""
    return f'case "$text $*" in *{what}*) echo "{message}" >&2; exit 1;; esac'


def explained(config: Config) -> tuple[str, str]:
    with pytest.raises(OperatorError) as caught:
        steering.detect(config)
    return caught.value.message, caught.value.hint


Tool = Callable[[str, str], None]


@pytest.mark.parametrize("mode", ["bridge", "routed"])
def test_a_kernel_with_the_queue_expression(tool: Tool, mode: str) -> None:
    tool("nft", "exit 0")
    assert steering.detect(configuration(mode)) == "queue"


def test_a_kernel_without_it_but_with_iptables(tool: Tool) -> None:
    tool("nft", refuse("queue", NO_QUEUE))
    tool("iptables-restore", "exit 0")
    tool("ip6tables-restore", "exit 0")
    assert steering.detect(configuration("routed")) == "mark"


def test_detection_changes_nothing(tool: Tool, tmp_path: Path) -> None:
    tool("nft", refuse("queue", NO_QUEUE))
    tool("iptables-restore", "exit 0")
    tool("ip6tables-restore", "exit 0")
    steering.detect(configuration("routed"))
    for call in (tmp_path / "calls").read_text().splitlines():
        assert " -c " in call or " --test" in call, call


def test_a_bridge_without_the_queue_expression(tool: Tool) -> None:
    tool("nft", refuse("queue", NO_QUEUE))
    message, hint = explained(configuration("bridge"))
    assert message == (
        "mode: bridge needs nftables' queue expression, which this kernel does not have (CONFIG_NFT_QUEUE)"
    )
    assert hint.endswith("or use mode: routed")


def test_a_kernel_with_neither(tool: Tool) -> None:
    tool("nft", refuse("queue", NO_QUEUE))
    tool("iptables-restore", 'echo "iptables-restore: line 2 failed: No chain/target/match by that name." >&2; exit 1')
    message, hint = explained(configuration("routed"))
    assert "CONFIG_NFT_QUEUE" in message
    assert "CONFIG_NETFILTER_XT_TARGET_NFQUEUE" in message
    assert "No chain/target/match by that name." in message
    assert "Debian's has both" in hint


def test_no_permission(tool: Tool) -> None:
    tool("nft", f'echo "{NOT_PERMITTED}" >&2; exit 1')
    message, hint = explained(configuration("routed"))
    assert message == f"nft -c -f -: {NOT_PERMITTED}"
    assert hint == "run it as root, or give it the capabilities CAP_NET_ADMIN and CAP_NET_RAW"


def test_no_nftables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steering, "ENVIRONMENT", {"PATH": str(tmp_path)})
    assert explained(configuration("routed")) == ("nft is not installed", "apt-get install nftables")


def test_no_iptables(tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool("nft", refuse("queue", NO_QUEUE))
    (tmp_path / "cat").symlink_to("/bin/cat")
    monkeypatch.setattr(steering, "ENVIRONMENT", {"PATH": str(tmp_path)})
    assert explained(configuration("routed")) == ("iptables-restore is not installed", "apt-get install iptables")


def test_a_tool_that_hangs(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    tool("nft", "exec sleep 60")
    monkeypatch.setattr(steering, "TIMEOUT_S", 0.2)
    message, hint = explained(configuration("routed"))
    assert message == "nft gave no answer in 0.2 s"
    assert "nft -c -f -" in hint


def test_rules_that_the_check_refuses_are_never_loaded(tool: Tool, tmp_path: Path) -> None:
    config = configuration("bridge")
    tool("nft", 'case "$*" in *-c*) echo "/dev/stdin:9:1-2: Error: no" >&2; exit 1;; esac')
    with pytest.raises(OperatorError, match="Error: no"):
        steering.Steering("queue").apply(config, steered_services(config))
    assert "nft -f -" not in (tmp_path / "calls").read_text().splitlines()


@pytest.mark.parametrize(("there", "loaded"), [(True, "flush table"), (False, "delete table")])
def test_rules_that_are_there_are_replaced_in_place(tool: Tool, tmp_path: Path, there: bool, loaded: str) -> None:
    config = configuration("bridge")
    tool("nft", "exit 0" if there else refuse("flush", "Error: No such file or directory"))
    steering.Steering("queue").apply(config, steered_services(config))
    assert (tmp_path / "calls").read_text().splitlines()[-1] == "nft -f -"
    last = (tmp_path / "input").read_text().rpartition("# Written by levee")[2]
    assert loaded in last


def test_the_iptables_rules_stand_before_marks_are_set_and_after_they_are_gone(tool: Tool, tmp_path: Path) -> None:
    config = configuration("routed")
    for name in ("nft", "iptables", "ip6tables", "iptables-restore", "ip6tables-restore"):
        tool(name, "exit 0")
    made = steering.Steering("mark")
    made.apply(config, steered_services(config))
    made.remove(config)
    changes = [
        call.split()[0]
        for call in (tmp_path / "calls").read_text().splitlines()
        if "nft -f" in call or "-restore" in call
    ]
    assert changes == ["iptables-restore", "ip6tables-restore", "nft", "nft", "iptables-restore", "ip6tables-restore"]
