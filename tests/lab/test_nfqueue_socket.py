"""One netfilter queue, read and answered by our own netlink code: what happens on the wire."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator

import pytest
from netlab.names import CLIENT_MAC, END_INTERFACE, OUTSIDE, OUTSIDE_MAC, SERVER_MAC
from netlab.process import run
from netlab.queuebed import ARRIVAL_LIMIT_S, UDP_PORT, QueueBed, modes, queue_bed, receive
from netlab.topology import Mode

from cext.errors import EngineError
from cext.netlink import QueueSocket
from cext.queues import Message

QUEUE = 7
Decide = Callable[[Message], bool | bytes]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "bed" in metafunc.fixturenames:
        found = modes(metafunc.config)
        metafunc.parametrize("bed", found, ids=[str(mode) for mode in found], indirect=True, scope="module")


@pytest.fixture(scope="module")
def bed(request: pytest.FixtureRequest) -> Iterator[QueueBed]:
    with queue_bed(request.param) as up, up.queued(f"udp dport {UDP_PORT}", str(QUEUE)):
        yield up


def opened(bed: QueueBed, *, length: int = 1024, fail_open: bool = False) -> QueueSocket:
    queue = QueueSocket()
    with bed.inside_box():
        queue.open(QUEUE, length, fail_open)
    return queue


@pytest.fixture
def queue(bed: QueueBed) -> Iterator[QueueSocket]:
    ready = opened(bed)
    yield ready
    ready.close()


def serve(queue: QueueSocket, count: int, decide: Decide) -> list[Message]:
    """Answer packets until there were `count`."""
    seen: list[Message] = []

    def noting(packet: Message) -> bool | bytes:
        seen.append(packet)
        return decide(packet)

    limit = time.monotonic() + ARRIVAL_LIMIT_S
    while len(seen) < count:
        assert time.monotonic() < limit, f"{len(seen)} of {count} packets were queued"
        queue.serve_once(noting)
    return seen


def data_of(packet: Message) -> bytes:
    """Of an IPv4 UDP packet without IP options."""
    return packet["payload"][28:]


def with_data(packet: Message, data: bytes) -> bytes:
    """The packet with other data, lengths and IP checksum made right; UDP needs none (RFC 768)."""
    ip = bytearray(packet["payload"][:20])
    ports = packet["payload"][20:24]
    struct.pack_into("!H", ip, 2, 28 + len(data))
    struct.pack_into("!H", ip, 10, 0)
    total = sum(struct.unpack("!10H", ip))
    total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into("!H", ip, 10, ~(total + (total >> 16)) & 0xFFFF)
    return bytes(ip) + ports + struct.pack("!HH", 8 + len(data), 0) + data


def test_passed_packets_arrive_as_they_were(bed: QueueBed, queue: QueueSocket) -> None:
    with bed.udp() as (send, server):
        for number in range(3):
            send(b"%d" % number)
        serve(queue, 3, lambda _: True)
        assert receive(server, 3) == [b"0", b"1", b"2"]


def test_dropped_packets_do_not_arrive(bed: QueueBed, queue: QueueSocket) -> None:
    with bed.udp() as (send, server):
        send(b"x")
        serve(queue, 1, lambda _: False)
        assert receive(server, 0) == []


@pytest.mark.parametrize("data", [b"", b"a", b"same!", b"longer than it was" * 3], ids=len)
def test_rewritten_packets_arrive_rewritten(bed: QueueBed, queue: QueueSocket, data: bytes) -> None:
    with bed.udp() as (send, server):
        send(b"12345")
        serve(queue, 1, lambda packet: with_data(packet, data))
        assert receive(server, 1) == [data]


def test_any_mixture_of_verdicts_keeps_the_order(bed: QueueBed, queue: QueueSocket) -> None:
    """More than one batch of packets, runs of every length, all in one socket: none gets another's verdict."""
    count = 300

    def decide(packet: Message) -> bool | bytes:
        number = int(data_of(packet))
        if number % 7 in (0, 1, 4):
            return False
        return with_data(packet, b"new %d" % number) if number % 7 in (2, 5) else True

    expected = [b"new %d" % n if n % 7 in (2, 5) else b"%d" % n for n in range(count) if n % 7 not in (0, 1, 4)]
    with bed.udp() as (send, server):
        for number in range(count):
            send(b"%d" % number)
        serve(queue, count, decide)
        assert receive(server, len(expected)) == expected
    assert bed.kernel_queue(QUEUE)["waiting"] == 0
    assert queue.verdict_error_counts() == {}


def test_a_queue_of_full_frames_fits_the_receive_buffer(bed: QueueBed) -> None:
    count = 500
    queue = opened(bed, length=count)
    try:
        with bed.udp() as (send, _):
            for _ in range(count):
                send(bytes(1472))
            counters = bed.kernel_queue(QUEUE)
            assert (counters["waiting"], counters["dropped_queue_full"], counters["dropped_user"]) == (count, 0, 0)
            packets = serve(queue, count, lambda _: False)
    finally:
        queue.close()
    assert {len(packet["payload"]) for packet in packets} == {1500}


@pytest.mark.parametrize("fail_open", [False, True], ids=["drop", "pass"])
def test_a_full_queue_does_what_was_asked(bed: QueueBed, fail_open: bool) -> None:
    queue = opened(bed, length=5, fail_open=fail_open)
    try:
        with bed.udp() as (send, server):
            for number in range(12):
                send(b"%d" % number)
            over = [b"%d" % number for number in range(5, 12)] if fail_open else []
            assert receive(server, len(over)) == over
            counters = bed.kernel_queue(QUEUE)
            assert counters["waiting"] == 5
            assert counters["dropped_queue_full"] == (0 if fail_open else 7)
            serve(queue, 5, lambda _: True)
            assert receive(server, 5) == [b"%d" % number for number in range(5)]
    finally:
        queue.close()


def test_closing_lets_go_of_the_queue(bed: QueueBed) -> None:
    """What was in it is dropped, and another may bind it at once."""
    queue = opened(bed)
    with bed.udp() as (send, server):
        send(b"x")
        queue.close()
        queue.close()
        assert receive(server, 0) == []
    opened(bed).close()


def test_a_taken_queue_names_its_reader(bed: QueueBed, queue: QueueSocket) -> None:
    assert queue is not None
    with pytest.raises(EngineError, match=f"cannot bind queue {QUEUE}") as caught:
        opened(bed)
    assert "first_queue" in caught.value.hint


def test_the_kernel_says_where_a_packet_came_in(bed: QueueBed, queue: QueueSocket) -> None:
    with bed.udp() as (send, server):
        send(b"x")
        (packet,) = serve(queue, 1, lambda _: True)
        assert receive(server, 1) == [b"x"]
    assert packet["proto"] == 0x0800
    assert packet["cap_len"] == 0
    assert packet["source"] == bytes.fromhex(CLIENT_MAC.replace(":", ""))
    port = bed.ifindex(OUTSIDE)
    # A bridge packet names its port here or there, depending on whether the kernel was built with br_netfilter.
    assert port in (packet["physindev"], packet["indev"])
    if bed.mode is Mode.BRIDGE:
        macs = bytes.fromhex((SERVER_MAC + CLIENT_MAC).replace(":", ""))
        assert packet["l2"] == macs + b"\x08\x00"
    else:
        assert packet["l2"] is None
        assert bed.mac(OUTSIDE) == bytes.fromhex(OUTSIDE_MAC.replace(":", ""))


def test_the_checksum_of_a_local_sender_is_complete(bed: QueueBed, queue: QueueSocket) -> None:
    """The sender left it to its NIC; without F_GSO the kernel finishes it before it queues the packet."""
    with bed.udp() as (send, _):
        send(b"checksum")
        (packet,) = serve(queue, 1, lambda _: False)
    payload = packet["payload"]
    pseudo = payload[12:20] + struct.pack("!HH", 17, len(payload) - 20)
    total = sum(struct.unpack(f"!{(len(pseudo) + len(payload) - 20) // 2}H", pseudo + payload[20:]))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF
    assert packet["skb_info"] & 1 == 0


def test_a_tag_comes_beside_the_packet(bed: QueueBed, queue: QueueSocket) -> None:
    if bed.mode is not Mode.BRIDGE:
        pytest.skip("the kernel delivers tags in the bridge family only")
    name = f"{END_INTERFACE}.{(os.getpid() % 4000) + 1}"
    vid = int(name.partition(".")[2])
    link = ["ip", "link", "add", "link", END_INTERFACE, "name", name, "type", "vlan", "id", str(vid)]
    run(link, namespace=bed.names.client)
    try:
        run(["ip", "addr", "add", "198.18.255.1/32", "dev", name], namespace=bed.names.client)
        run(["ip", "link", "set", name, "up"], namespace=bed.names.client)
        run(["ip", "route", "add", "198.19.255.2/32", "dev", name], namespace=bed.names.client)
        neighbour = ["ip", "neigh", "replace", "198.19.255.2", "lladdr", SERVER_MAC, "dev", name]
        run(neighbour, namespace=bed.names.client)
        text = f"import socket; socket.socket(2, 2).sendto(b'x', ('198.19.255.2', {UDP_PORT}))"
        run(["python3", "-c", text], namespace=bed.names.client)
        (packet,) = serve(queue, 1, lambda _: False)
    finally:
        run(["ip", "link", "del", name], namespace=bed.names.client)
    assert (packet["vlan_proto"], packet["vlan_tci"] & 0xFFF) == (0x8100, vid)
    assert packet["proto"] == 0x0800
    assert packet["payload"][0] == 0x45
