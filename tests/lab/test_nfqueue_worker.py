"""A queue worker with the packet core and without the appliance: real connections, real interfaces that come and go."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Literal

import pytest
from netlab import netns
from netlab.flood import Flood, FloodSpec
from netlab.names import INSIDE, OUTSIDE
from netlab.process import run
from netlab.queuebed import QueueBed, modes, queue_bed
from netlab.topology import Mode

from cext.dataplane import Dataplane, DataplaneConfig, ServiceSpec
from cext.errors import EngineError
from cext.nfqueue import QueueWorker
from cext.rawsock import RawSenders

QUEUE = 11  # and the next; SYNs from SYN_QUEUE on
SYN_QUEUE = 21
PROTECTED, OPEN_TO_ALL = 80, 81
LIMIT_S = 10.0


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "bed" in metafunc.fixturenames:
        found = modes(metafunc.config)
        metafunc.parametrize("bed", found, ids=[str(mode) for mode in found], indirect=True, scope="module")


@pytest.fixture(scope="module")
def bed(request: pytest.FixtureRequest) -> Iterator[QueueBed]:
    with queue_bed(request.param) as up:
        yield up


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def server(request: pytest.FixtureRequest, bed: QueueBed) -> str:
    return bed.server.v4 if request.param == 4 else bed.server.v6


def mapped(address: str) -> int:
    found = ip_address(address)
    return int(found) if found.version == 6 else 0xFFFF << 32 | int(found)


@contextlib.contextmanager
def dataplane(bed: QueueBed, workers: int = 1) -> Iterator[Dataplane]:
    addresses = tuple((mapped(address), mapped(address)) for address in (bed.server.v4, bed.server.v6))
    config = DataplaneConfig(
        secret=bytes(range(32)),
        workers=workers,
        flows=4096,
        half_open=1024,
        hold_total_bytes=1 << 20,
        route_inside=bed.mode is Mode.ROUTED,
    )
    with Dataplane(config) as ready:
        ready.set_services([ServiceSpec(name="web", addresses=addresses, ports=((PROTECTED, PROTECTED),))])
        yield ready


def worker(bed: QueueBed, plane: Dataplane, index: int = 0, *, cpu: int | None = None) -> QueueWorker:
    mode: Literal["bridge", "routed"] = "bridge" if bed.mode is Mode.BRIDGE else "routed"
    return QueueWorker(
        plane,
        queue=QUEUE + index,
        syn_queue=SYN_QUEUE + index,
        index=index,
        outside=OUTSIDE,
        inside=INSIDE,
        mode=mode,
        length=1024,
        cpu=cpu,
    )


def total(one: QueueWorker, *names: str) -> int:
    """Sum of these counters over both queues."""
    return sum(queue[name] for queue in one.stats()["queues"] for name in names)  # type: ignore[literal-required]


@contextlib.contextmanager
def working(bed: QueueBed, count: int = 1) -> Iterator[list[QueueWorker]]:
    """Workers that run, then rules; the rules go first at the end, as the daemon does it."""
    with contextlib.ExitStack() as undo:
        plane = undo.enter_context(dataplane(bed, count))
        workers = [worker(bed, plane, index) for index in range(count)]
        with bed.inside_box():
            for one in workers:
                undo.callback(one.stop)
                one.open()
        for one in workers:
            one.start()
        numbers, syns = (f"{first}-{first + count - 1}".removesuffix(f"-{first}") for first in (QUEUE, SYN_QUEUE))
        undo.enter_context(bed.queued("tcp", numbers, syns=syns, interfaces=(OUTSIDE, INSIDE)))
        yield workers


def _echo(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data)


@contextlib.contextmanager
def echo_server(bed: QueueBed, address: str, port: int) -> Iterator[None]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = netns.new_socket(bed.names.server, family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen()
    thread = threading.Thread(target=_echo, args=(listener,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(LIMIT_S)


def echo(bed: QueueBed, address: str, port: int, data: bytes) -> bytes:
    """Send data from the client and return what comes back."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with netns.new_socket(bed.names.client, family, socket.SOCK_STREAM) as client:
        client.settimeout(LIMIT_S)
        client.connect((address, port))
        sender = threading.Thread(target=client.sendall, args=(data,))
        sender.start()
        found = bytearray()
        while len(found) < len(data):
            part = client.recv(65536)
            assert part, "the connection ended early"
            found += part
        sender.join()
    return bytes(found)


def test_a_protected_connection_goes_through_the_box(bed: QueueBed, server: str) -> None:
    """GSO senders on both sides: each segment is rewritten by itself and arrives whole."""
    data = bytes(range(256)) * 4096
    with working(bed) as (one,), echo_server(bed, server, PROTECTED):
        assert echo(bed, server, PROTECTED, data) == data
        stats = one.stats()
        bad = total(one, "malformed", "truncated", "unknown_interface")
    rest, syns = stats["queues"]
    assert (rest["carries"], syns["carries"]) == ("connections", "syns")
    assert rest["verdict_rewrite"] > 0
    assert (syns["received"], syns["verdict_drop"]) == (1, 1)
    assert stats["sent"]["outside"] > 0, "the SYN-ACK leaves as a frame"
    routed = stats["sent"]["ipv4"] + stats["sent"]["ipv6"]
    assert (routed if bed.mode is Mode.ROUTED else stats["sent"]["inside"]) > 0, "our SYN to the server"
    assert stats["send_errors"] == {}
    assert [queue[kind] for queue in (rest, syns) for kind in ("receive_errors", "verdict_errors")] == [{}] * 4
    assert bad == 0


def test_other_ports_pass_untouched(bed: QueueBed, server: str) -> None:
    with working(bed) as (one,), echo_server(bed, server, OPEN_TO_ALL):
        assert echo(bed, server, OPEN_TO_ALL, b"hello") == b"hello"
    # Stopped by now: the counters stand still.
    assert total(one, "verdict_pass") == total(one, "received") > 0


def test_answered_syns_leave_the_queue_when_the_flood_ends(bed: QueueBed, server: str) -> None:
    """While more come, the last answered ones wait for their verdict; a SYN that passes does not wait behind them."""
    flood = FloodSpec("syn-options", server, 40_000, 20, port=str(PROTECTED), rate_pps=20_000)
    with working(bed) as (one,), echo_server(bed, server, OPEN_TO_ALL):
        waiting = []
        with Flood(bed.names, bed.mode, flood) as running:
            while running.running:
                assert echo(bed, server, OPEN_TO_ALL, b"hello") == b"hello"
                waiting.append(bed.kernel_queue(SYN_QUEUE)["waiting"])
                time.sleep(0.05)
            sent = running.wait().sent
        deadline = time.monotonic() + LIMIT_S
        while bed.kernel_queue(SYN_QUEUE)["waiting"]:
            assert time.monotonic() < deadline, "answered SYNs stay in the queue"
            time.sleep(0.01)
    assert max(waiting) > 0
    assert one.stats()["queues"][1]["verdict_drop"] == sent


def test_several_queues_share_the_work(bed: QueueBed, server: str) -> None:
    """One flow stays on one queue, whichever way its packets go; both workers see some of many clients."""
    with working(bed, 2) as workers, echo_server(bed, server, PROTECTED):
        for _ in range(8):
            assert echo(bed, server, PROTECTED, b"x" * 5000) == b"x" * 5000
        received = [total(one, "received") for one in workers]
        cpus = {one.stats()["cpu"] for one in workers}
    assert sum(received) > 0
    assert None not in cpus


def test_an_interface_that_comes_back_is_found_again(bed: QueueBed) -> None:
    with working(bed) as (one,), echo_server(bed, bed.server.v4, PROTECTED):
        assert echo(bed, bed.server.v4, PROTECTED, b"before") == b"before"
        bed.replace_outside()
        assert echo(bed, bed.server.v4, PROTECTED, b"after") == b"after"
        assert one.running
        assert one.failure is None


def test_stopping_twice_and_starting_again(bed: QueueBed) -> None:
    with dataplane(bed) as plane:
        one = worker(bed, plane)
        for _ in range(2):
            with bed.inside_box():
                one.open()
            one.start()
            running = [one.running]
            one.stop()
            one.stop()
            running.append(one.running)
            assert running == [True, False]
            assert one.failure is None


def test_a_worker_is_a_context(bed: QueueBed) -> None:
    with dataplane(bed) as plane, bed.inside_box(), worker(bed, plane) as one:
        assert one.running
        one.refresh_interfaces()
        assert [queue["num"] for queue in one.stats()["queues"]] == [QUEUE, SYN_QUEUE]
    assert not one.running


def test_a_cpu_that_is_not_there_is_told(bed: QueueBed) -> None:
    with dataplane(bed) as plane:
        one = worker(bed, plane, cpu=4095)
        with bed.inside_box():
            one.start()
        limit = time.monotonic() + LIMIT_S
        while one.running:
            assert time.monotonic() < limit
            time.sleep(0.01)
        assert one.failure is not None
        assert "CPU 4095" in one.failure
        one.stop()


def test_a_missing_interface_is_told(bed: QueueBed) -> None:
    with dataplane(bed) as plane:
        one = QueueWorker(plane, queue=1, syn_queue=2, index=0, outside="missing", inside=INSIDE, mode="routed")
        with bed.inside_box(), pytest.raises(EngineError, match="there is no interface missing"):
            one.open()
        with bed.inside_box(), worker(bed, plane):  # nothing was left behind
            pass


@pytest.fixture
def two_links(bed: QueueBed) -> Iterator[tuple[str, str]]:
    names = ("pair-a", "pair-b")
    for name in names:
        bed.add_pair(name)
    yield names
    for name in names:
        run(["ip", "link", "del", name], namespace=bed.names.box)


def test_senders_follow_an_interface(bed: QueueBed, two_links: tuple[str, str]) -> None:
    """What cannot be sent is counted by name and forgotten; the next lookup finds the interface again."""
    frame = bytes(12) + b"\x08\x00" + bytes(46)
    senders = RawSenders()
    with bed.inside_box():
        senders.open(*two_links, False, 0)
    senders.send(0, frame)
    assert senders.sent()["outside"] == 1
    run(["ip", "link", "set", two_links[0], "down"], namespace=bed.names.box)
    senders.send(0, frame)
    assert senders.errors() == {"outside ENETDOWN": 1}
    run(["ip", "link", "del", two_links[0]], namespace=bed.names.box)
    senders.send(0, frame)
    assert senders.errors() == {"outside ENETDOWN": 1, "outside ENXIO": 1}
    assert senders.lookup()[0][0] == 0
    senders.send(1, frame)
    bed.add_pair(two_links[0])
    assert senders.lookup()[0][0] == bed.ifindex(two_links[0])
    senders.send(0, frame)
    assert senders.sent() == {"outside": 2, "inside": 1, "ipv4": 0, "ipv6": 0}
    senders.close()


def test_senders_say_what_is_no_packet(bed: QueueBed, two_links: tuple[str, str]) -> None:
    senders = RawSenders()
    with bed.inside_box():
        senders.open(*two_links, True, 0)
    for junk in (b"", b"\x45", bytes(60), b"\x60" + bytes(38)):
        senders.send(None, junk)
    senders.send(0, bytes(70000))
    assert senders.errors() == {"ipv4 EINVAL": 4, "outside EMSGSIZE": 1}
    assert sum(senders.sent().values()) == 0
    senders.close()
