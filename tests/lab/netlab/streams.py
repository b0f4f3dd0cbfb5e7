"""Byte streams between two real kernels: a connected pair of sockets and ways to fill it.

Called by tests. Sockets come from session.Lab; knows nothing of packets.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator

from netlab.session import Lab

DATA = random.Random(7).randbytes(3_000_000)


@contextlib.contextmanager
def connected(lab: Lab, family: int, *, direct: bool) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection as (client's socket, server's socket)."""
    with lab.listen(family) as listener, lab.connect(family, listener.getsockname()[1], direct=direct) as client:
        server, _ = listener.accept()
        with server:
            server.settimeout(20.0)
            yield client, server


def read_all(connection: socket.socket) -> bytes:
    """Everything up to the end of the stream."""
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def reset(connection: socket.socket) -> None:
    """Close with a RST instead of a FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@contextlib.contextmanager
def meanwhile(action: Callable[[], object], limit_s: float = 30.0) -> Iterator[None]:
    """`action` runs in a thread beside the block, and up to limit_s after it; its exception becomes the block's."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            action()
        except BaseException as error:  # noqa: BLE001  it is raised again below
            errors.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    yield
    thread.join(limit_s)
    assert not thread.is_alive(), "the other end did not finish"
    if errors:
        raise errors[0]


def send_and_finish(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def in_flight_bytes(connection: socket.socket) -> int:
    """What the kernel has sent and not seen acknowledged: tcpi_unacked segments of tcpi_snd_mss bytes (linux/tcp.h)."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    segment_bytes, unacknowledged = struct.unpack_from("=16xI4xI", info)
    return int(segment_bytes * unacknowledged)


def send_until(connection: socket.socket, enough: threading.Event) -> None:
    """Send without a pause, and finish when somebody has seen enough."""
    while not enough.is_set():
        connection.sendall(DATA)
    connection.shutdown(socket.SHUT_WR)


def read_away(connection: socket.socket) -> None:
    """Read to the end of the stream, and keep nothing."""
    while connection.recv(1 << 16):
        pass
