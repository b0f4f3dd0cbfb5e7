"""Each segment that a stack sent arrives, once, in order, and changed only as the two handshakes say."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable

import pytest
from netlab.bothsides import Difference, bare_ends, compare, on_one_core
from netlab.loss import losing
from netlab.session import Lab
from netlab.streams import DATA, connected, meanwhile, read_all, reset, send_and_finish

PART = DATA[:1_000_000]
LINES = 40
pytestmark = pytest.mark.deep

Story = Callable[[socket.socket, socket.socket], object]


def _upload(client: socket.socket, server: socket.socket) -> None:
    with meanwhile(lambda: send_and_finish(client, PART)):
        assert read_all(server) == PART


def _download(client: socket.socket, server: socket.socket) -> None:
    _upload(server, client)


def _both_at_once(client: socket.socket, server: socket.socket) -> None:
    with meanwhile(lambda: send_and_finish(client, PART)), meanwhile(lambda: _upload(server, client)):
        assert read_all(server) == PART


def _questions(client: socket.socket, server: socket.socket) -> None:
    for number in range(LINES):
        client.sendall(b"question %d" % number)
        assert server.recv(100) == b"question %d" % number
        server.sendall(b"answer %d" % number)
        assert client.recv(100) == b"answer %d" % number


def _reader_stops(client: socket.socket, server: socket.socket) -> None:
    """The window closes, and opens again."""
    with meanwhile(lambda: send_and_finish(server, DATA)):
        time.sleep(0.5)
        assert read_all(client) == DATA


def _client_resets(client: socket.socket, server: socket.socket) -> None:
    server.sendall(PART[:50_000])
    assert client.recv(100)
    reset(client)
    with contextlib.suppress(ConnectionResetError):
        read_all(server)


def _urgent(client: socket.socket, server: socket.socket) -> None:
    client.send(b"loud", socket.MSG_OOB)
    server.settimeout(5)
    assert server.recv(100) == b"lou"


STORIES = [_upload, _download, _both_at_once, _questions, _reader_stops, _client_resets, _urgent]


def _told(lab: Lab, family: int, story: Story) -> Difference:
    with connected(lab, family, direct=False):
        pass  # the server is known from here on
    with bare_ends(lab), lab.capture_client() as at_client, lab.capture_server() as at_server:
        with connected(lab, family, direct=False) as (client, server):
            port = client.getsockname()[1]
            with on_one_core(lab):
                story(client, server)
        at_client.settle()
        at_server.settle()
    return compare(lab, at_client, at_server, port)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__.strip("_"))
def test_both_sides_agree(lab: Lab, family: int, story: Story) -> None:
    difference = _told(lab, family, story)
    assert not difference.said, str(difference)
    assert difference.compared >= 3


@pytest.mark.parametrize("story", [_upload, _download], ids=lambda story: story.__name__.strip("_"))
def test_both_sides_agree_about_what_was_lost_and_repeated(lab: Lab, family: int, story: Story) -> None:
    """Lost behind the wire, so that the box saw it: SACK blocks and repeated segments are compared, too."""
    with losing(lab, percent=2):
        difference = _told(lab, family, story)
    assert not difference.said, str(difference)
