"""`levee block`: a source that is blocked gets nothing through, at once, after a restart, until it is taken out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from netlab import clients
from netlab.process import run
from netlab.session import Lab
from netlab.streams import connected

TIMED_OUT = 28  # of curl


def block(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [str(lab.appliance.levee), "block", *arguments, "--socket", str(lab.names.socket)]
    return run(argv, namespace=lab.names.box, check=False)


def done(lab: Lab, *arguments: str) -> str:
    result = block(lab, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def listed(lab: Lab) -> dict[str, str]:
    return {entry["prefix"]: entry["action"] for entry in json.loads(done(lab, "list", "--json"))["entries"]}


def dropped(lab: Lab) -> int:
    count: int = lab.service_status()["drops"]["blocked"]
    return count


@pytest.fixture(autouse=True)
def nobody_is_blocked(lab: Lab) -> Iterator[None]:
    yield
    if left := list(listed(lab)):
        done(lab, "del", *left)


def test_blocked_and_back(lab: Lab, family: int, nginx: Path) -> None:  # noqa: ARG001
    client, server = lab.client_address(family), lab.server_address(family)
    before = dropped(lab)
    done(lab, "add", client, "--comment", "too many")
    assert clients.curl(lab.names, server, limit_s=2.0).returncode == TIMED_OUT
    assert dropped(lab) > before
    assert listed(lab) == {client: "block"}
    assert "too many" in done(lab, "list")
    done(lab, "del", client)
    assert clients.curl(lab.names, server).returncode == 0


def test_allowed_within_a_blocked_prefix(lab: Lab, family: int, nginx: Path) -> None:  # noqa: ARG001
    around = "198.18.0.0/15" if family == 4 else "2001:db8::/32"
    done(lab, "add", around, "--for", "10m")
    assert clients.curl(lab.names, lab.server_address(family), limit_s=2.0).returncode == TIMED_OUT
    done(lab, "add", lab.client_address(family), "--allow")
    assert clients.curl(lab.names, lab.server_address(family)).returncode == 0


def test_open_connection_is_cut_and_goes_on_when_the_block_ends(lab: Lab, family: int) -> None:
    with connected(lab, family, direct=False) as (client, server):
        done(lab, "add", lab.client_address(family))
        client.sendall(b"held up")
        server.settimeout(1.0)
        with pytest.raises(TimeoutError):
            server.recv(10)
        done(lab, "del", lab.client_address(family))
        server.settimeout(30.0)
        assert server.recv(10) == b"held up"


def test_kept_when_the_daemon_is_killed(lab: Lab, nginx: Path) -> None:  # noqa: ARG001
    done(lab, "add", lab.client_address(4))
    lab.kill_daemon()
    lab.start_daemon()
    assert listed(lab) == {lab.client_address(4): "block"}
    assert clients.curl(lab.names, lab.server_address(4), limit_s=2.0).returncode == TIMED_OUT


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add", "192.0.2.1/24"], "bits set behind its prefix"),
        (["del", "192.0.2.77"], "is not on a list"),
    ],
)
def test_mistakes(lab: Lab, arguments: list[str], said: str) -> None:
    result = block(lab, *arguments)
    assert result.returncode == 3
    assert said in result.stderr
    assert "Traceback" not in result.stderr
