"""Events to a log server: the messages as a server reads them, and a server that is slow, away, or comes back."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from appliance import syslog
from appliance.events import EventReport
from appliance.models import Syslog as Settings
from appliance.syslog import WAITING, Syslog

LIMIT_S = 60.0
EVENT: EventReport = {
    "service": "web",
    "started_s": 1_700_000_000,
    "ended_s": None,
    "lasted_s": 0,
    "value": "syns_per_s",
    "measured": 40_000,
    "limit": 1000,
    "peak_per_s": 40_000,
    "cut": False,
}
ENDED: EventReport = {**EVENT, "ended_s": 1_700_000_060, "lasted_s": 60, "peak_per_s": 50_000}


def settings(listener: socket.socket, transport: str) -> Settings:
    address, port = listener.getsockname()[:2]
    return Settings.model_validate({"address": address, "port": port, "transport": transport})


@pytest.fixture(params=["127.0.0.1", "::1"])
def udp(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as made:
        made.bind((request.param, 0))
        made.settimeout(LIMIT_S)
        yield made


@pytest.fixture
def tcp() -> Iterator[socket.socket]:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen()
        made.settimeout(LIMIT_S)
        yield made


def turns(one: Syslog, done: Callable[[], bool]) -> None:
    """As the daemon's loop, until it is so."""
    limit = time.monotonic() + LIMIT_S
    while not done():
        assert time.monotonic() < limit
        one.turn()
        time.sleep(0.01)


def all_of(connection: socket.socket) -> bytes:
    found = b""
    while part := connection.recv(1 << 16):
        found += part
    return found


def messages(stream: bytes) -> list[bytes]:
    """RFC 6587 section 3.4.1: each is preceded by its length."""
    found = []
    while stream:
        length, _, stream = stream.partition(b" ")
        found.append(stream[: int(length)])
        assert len(found[-1]) == int(length)
        stream = stream[int(length) :]
    return found


def whole(event: EventReport) -> bytes:
    """As it is sent over TCP."""
    made = syslog.message(event, syslog.hostname(), os.getpid())
    return f"{len(made)} ".encode() + made


def test_a_message() -> None:
    assert syslog.message(EVENT, "box", 7).decode() == (
        "<28>1 2023-11-14T22:13:20Z box levee 7 began "
        '[attack@32473 service="web" started_s="1700000000" lasted_s="0" value="syns_per_s" measured="40000" '
        'limit="1000" peak_per_s="40000" cut="False"] attack on web began: syns_per_s 40000 (limit 1000)'
    )
    ended = syslog.message(ENDED, "box", 7).decode()
    assert ended.startswith("<29>1 2023-11-14T22:14:20Z box levee 7 ended [")
    assert ended.endswith("attack on web ended: syns_per_s 40000 (limit 1000), 60 s, at most 50000 SYNs a second")


def test_what_would_end_a_value_is_quoted() -> None:
    odd: EventReport = {**EVENT, "value": 'a"b]c\\d'}
    assert 'value="a\\"b\\]c\\\\d"' in syslog.message(odd, "box", 7).decode()


def test_over_udp_each_is_a_datagram(udp: socket.socket) -> None:
    one = Syslog(settings(udp, "udp"))
    for event in (EVENT, ENDED):
        one.send(event)
    one.turn()
    assert [udp.recv(4096).split()[5] for _ in range(2)] == [b"began", b"ended"]
    assert one.problem is None


def test_over_tcp_each_has_its_length(tcp: socket.socket) -> None:
    one = Syslog(settings(tcp, "tcp"))
    for event in (EVENT, ENDED):
        one.send(event)
    turns(one, lambda: not one._waiting)
    with tcp.accept()[0] as connection:
        assert [text.split()[5] for text in messages(all_of(connection))] == [b"began", b"ended"]


def test_one_that_is_away_is_said_and_tried_again(tcp: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syslog, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(syslog, "LONGEST_PAUSE_S", 0.05)
    wanted = settings(tcp, "tcp")
    tcp.close()
    one = Syslog(wanted)
    one.send(EVENT)
    turns(one, lambda: one.problem is not None)
    assert one.problem == f"the log server 127.0.0.1 port {wanted.port} (tcp) is not reached: Connection refused"
    with socket.socket() as back:
        back.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        back.bind(("127.0.0.1", wanted.port))
        back.listen()
        back.settimeout(LIMIT_S)
        turns(one, lambda: one.problem is None)
        with back.accept()[0] as connection:
            assert len(messages(all_of(connection))) == 1


def test_one_that_reads_nothing_holds_nobody_up(
    tcp: socket.socket, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody accepts: so many messages wait, the rest is left out. Then somebody reads."""
    monkeypatch.setattr(syslog, "WAITING", 10)
    one = Syslog(settings(tcp, "tcp"))
    long: EventReport = {**EVENT, "service": "w" * 100_000}
    sent = 0
    while one._left_out == 0:
        assert sent < 10_000
        one.send(long)
        one.turn()
        sent += 1
    assert len(one._waiting) == 10
    streams: list[bytes] = []
    wanted = (sent - 1) * len(whole(long))

    def read() -> None:
        """Connection by connection, until all is there: one lasts until nothing waits."""
        while sum(map(len, streams)) < wanted:
            with tcp.accept()[0] as connection:
                connection.settimeout(LIMIT_S)
                streams.append(all_of(connection))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    turns(one, lambda: not one._waiting)
    turns(one, lambda: not reader.is_alive())
    assert [text for stream in streams for text in messages(stream)] == [whole(long).partition(b" ")[2]] * (sent - 1)
    assert "1 events for the log server were left out" in caplog.text


def test_a_message_of_which_a_part_was_sent_goes_on(tcp: socket.socket) -> None:
    """More than the buffers between two sockets take at once."""
    one = Syslog(settings(tcp, "tcp"))
    long: EventReport = {**EVENT, "service": "w" * 100_000}
    for _ in range(WAITING):
        one.send(long)
    turns(one, lambda: len(one._waiting) < WAITING)
    assert one._sent > 0
    with tcp.accept()[0] as connection:
        connection.setblocking(False)
        found = b""
        limit = time.monotonic() + LIMIT_S
        while len(found) < WAITING * len(whole(long)):
            assert time.monotonic() < limit
            one.turn()
            try:
                found += connection.recv(1 << 22)
            except BlockingIOError:
                time.sleep(0.001)
    assert messages(found) == [whole(long).partition(b" ")[2]] * WAITING


def test_without_an_address_nothing_is_kept() -> None:
    one = Syslog(Settings())
    one.send(EVENT)
    one.turn()
    one.close()
    assert not one._waiting


def test_at_the_end_what_waits_is_tried_once_more(udp: socket.socket) -> None:
    one = Syslog(settings(udp, "udp"))
    one.send(EVENT)
    one.close()
    assert b"began" in udp.recv(4096)
