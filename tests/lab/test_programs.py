"""The bpf engine's programs under traffic: taken away by somebody, and replaced by those of another version.

How each program is found missing and put back is tests/bpf/test_attach.py's; here it is packets that tell.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from netlab import clients
from netlab.process import run
from netlab.session import Lab, wait_until
from netlab.streams import connected

BACK_LIMIT_S = 20.0  # the daemon looks every 5 s
REMOVED = "the programs were removed by someone else, and loaded again"


@pytest.fixture(autouse=True)
def _bpf(lab: Lab) -> None:
    if lab.status()["engine"] != "bpf":
        pytest.skip("about programs, which only the bpf engine has")


@pytest.fixture
def pins(lab: Lab) -> Path:
    return lab.names.runtime_dir / "bpf"


def tc_gone(lab: Lab) -> None:
    run(["tc", "qdisc", "del", "dev", "inside", "clsact"], namespace=lab.names.box)


def xdp_gone(lab: Lab) -> None:
    run(["bpftool", "link", "detach", "pinned", str(lab.names.runtime_dir / "bpf/gate_link")])


@pytest.mark.parametrize("remove", [tc_gone, xdp_gone], ids=["tc", "XDP"])
def test_programs_that_someone_removed_come_back(
    lab: Lab,
    family: int,
    nginx: Path,  # noqa: ARG001
    remove: Callable[[Lab], None],
) -> None:
    with connected(lab, family, direct=False) as (client, server):
        remove(lab)
        assert wait_until(lambda: REMOVED in lab.status()["problems"], BACK_LIMIT_S)
        client.sendall(b"after")
        assert server.recv(10) == b"after"
        server.sendall(b"answer")
        assert client.recv(10) == b"answer"
        before = lab.status()["drops"]["syn_answered"]
        assert clients.curl(lab.names, lab.server_address(family)).returncode == 0
        assert lab.status()["drops"]["syn_answered"] > before


def test_a_version_with_other_maps_takes_open_connections_over(lab: Lab, family: int, pins: Path) -> None:
    """Services in another shape, counters with another number: as a newer version finds its predecessor."""
    with connected(lab, family, direct=False) as (client, server):
        before = {pin.name for pin in pins.glob("lv_*")}
        lab.kill_daemon()
        (services,) = pins.glob("lv_service_tables-*")
        (counts,) = pins.glob("lv_counts-*")
        services.unlink()
        shape = ["type", "array", "key", "4", "value", "8", "entries", "1", "name", "old"]
        run(["bpftool", "map", "create", str(services), *shape])
        counts.rename(pins / "lv_counts-0")
        client.sendall(b"while nobody is at work")
        assert server.recv(30) == b"while nobody is at work"
        lab.start_daemon()
        assert {pin.name for pin in pins.glob("lv_*")} == before
        assert "native" in lab.status()["steering"]
        client.sendall(b"after")
        assert server.recv(10) == b"after"
        server.sendall(b"answer")
        assert client.recv(10) == b"answer"
        with connected(lab, family, direct=False) as (another, there):
            another.sendall(b"new")
            assert there.recv(10) == b"new"
        assert lab.status()["drops"]["syn_answered"] > 0
