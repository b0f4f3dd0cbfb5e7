"""No daemon: the heartbeat is late, and new connections follow the fail policy. Only the programs are at work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from box.box import FULL, SECRET
from box.wire import PATHS, Path

from bpf.cases import SERVICES
from bpf.kernelbox import KernelBox
from cext.dataplane import DataplaneConfig


@pytest.fixture(scope="module", params=["fail closed", "fail open"])
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelBox]:
    config = DataplaneConfig(secret=SECRET, flows=64, half_open=4)
    fail_open = request.param == "fail open"
    with KernelBox(tmp_path_factory.mktemp("late"), config, SERVICES, working=False, fail_open=fail_open) as one:
        yield one


def outcome(box: KernelBox, frame: bytes) -> str:
    """What became of a frame from outside; one that passes must be as it came."""
    ran = box.offer("outside", frame)
    assert ran.left == ((("inside", frame),) if ran.verdict == "pass" else ())
    return ran.verdict


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_syn(box: KernelBox, path: Path) -> None:
    before = box.engine.counters()["total"]["drops"]["no_daemon"]
    assert outcome(box, path.from_client(flags="S", options=FULL)) == box.new_connections
    after = box.engine.counters()["total"]["drops"]["no_daemon"]
    assert after - before == (box.new_connections == "drop")


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_connection_to_its_server(box: KernelBox, path: Path) -> None:
    """Failing open, it comes to stand without anybody's help, and is known from its server's answer on."""
    one = path.other(7)
    assert outcome(box, one.from_client(flags="S", seq=6, options=FULL)) == box.new_connections
    answer = one.from_server(flags="SA", seq=100, ack=7)
    ran = box.offer("inside", answer)
    if box.new_connections == "drop":
        assert ran.verdict == "handover"  # the server's is late: nobody reads it
        return
    assert (ran.verdict, ran.left) == ("pass", (("outside", answer),))
    assert outcome(box, one.from_client(seq=7, ack=101)) == "pass"


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_ack_without_a_cookie(box: KernelBox, path: Path) -> None:
    """Failing open, it may belong to a connection that began while nobody was at work."""
    assert outcome(box, path.from_client(ack=0x12345678)) == box.new_connections


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("flags", ["", "SF", "SR", "FPU"])
def test_junk_is_junk(box: KernelBox, path: Path, flags: str) -> None:
    assert outcome(box, path.from_client(flags=flags)) == "drop"


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_signed_syn(box: KernelBox, path: Path) -> None:
    """It takes no daemon to leave it to the server."""
    assert outcome(box, path.from_client(flags="S", options=[("MD5", bytes(16))])) == "pass"
