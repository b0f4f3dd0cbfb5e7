"""The control socket: a Unix stream socket on which many clients may ask at once.

Owns the socket file and the connections. Driven by the daemon's loop: every file object is registered with the given
selector, and the selector key's data is the function to call. Nothing here ever blocks, and a client can neither make
it wait nor make it grow: one call and one reply per connection in memory, a limited number of connections, and an end
to those that stand still. Must not know what a method does (varlink.Service).
"""

import logging
import os
import selectors
import socket
from collections.abc import Callable
from pathlib import Path

from appliance.errors import OperatorError
from appliance.varlink import END, MAX_MESSAGE_BYTES, BrokenMessageError, Service

LOG = logging.getLogger(__name__)

MAX_CONNECTIONS = 64
MAX_STILL_S = 60.0
READ_BYTES = 16 << 10
SOCKET_MODE = 0o660


class _Connection:
    """One client. It is either read from or written to, so that a client that does not read is not listened to."""

    def __init__(self, peer: socket.socket, service: Service, now_s: float) -> None:
        self.peer = peer
        self.moved_s = now_s
        self._service = service
        self._inbox = bytearray()
        self._outbox = b""

    @property
    def interest(self) -> int:
        """Write while there is a reply to send or a call to answer (one a turn: clients take turns), else read."""
        busy = self._outbox or END in self._inbox
        return selectors.EVENT_WRITE if busy else selectors.EVENT_READ

    def turn(self, events: int) -> bool:
        """Does what can be done without waiting. False: the connection is over."""
        try:
            if events & selectors.EVENT_READ and not self._read():
                return False
            if not self._outbox and END in self._inbox:
                self._answer()
            if self._outbox:
                self._outbox = self._outbox[self.peer.send(self._outbox) :]
        except (BlockingIOError, InterruptedError):
            return True  # the selector says when to go on
        except (BrokenMessageError, ConnectionError) as error:
            LOG.debug("control connection ended: %s", error)
            return False
        return True

    def _read(self) -> bool:
        data = self.peer.recv(READ_BYTES)
        self._inbox += data
        if END not in self._inbox and len(self._inbox) > MAX_MESSAGE_BYTES:
            raise BrokenMessageError(f"a call of more than {MAX_MESSAGE_BYTES} bytes")
        return bool(data)

    def _answer(self) -> None:
        end = self._inbox.index(END)
        call = bytes(self._inbox[:end])
        del self._inbox[: end + 1]
        self._outbox = self._service.answer(call)


class ControlServer:
    """Listens at `path`; a socket file left behind by a predecessor is replaced. Raises OperatorError."""

    def __init__(
        self,
        path: Path,
        service: Service,
        selector: selectors.BaseSelector,
        clock_s: Callable[[], float],
    ) -> None:
        self._path = path
        self._service = service
        self._selector = selector
        self._clock_s = clock_s
        self._connections: set[_Connection] = set()
        self._listener = _listen(path)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def sweep(self) -> None:
        """Ends connections that have stood still for too long; called about once a second."""
        limit_s = self._clock_s() - MAX_STILL_S
        for connection in [one for one in self._connections if one.moved_s < limit_s]:
            self._end(connection)

    def close(self) -> None:
        """Ends all connections and removes the socket file."""
        for connection in list(self._connections):
            self._end(connection)
        self._selector.unregister(self._listener)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept(self, _events: int) -> None:
        try:
            peer, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return  # the client went away first
        except OSError as error:
            LOG.warning("control connection not accepted: %s", error.strerror)
            return
        if len(self._connections) >= MAX_CONNECTIONS:
            LOG.warning("control connection refused: %d are open", MAX_CONNECTIONS)
            peer.close()
            return
        peer.setblocking(False)
        connection = _Connection(peer, self._service, self._clock_s())
        self._connections.add(connection)
        self._selector.register(peer, connection.interest, lambda events: self._turn(connection, events))

    def _turn(self, connection: _Connection, events: int) -> None:
        connection.moved_s = self._clock_s()
        if not connection.turn(events):
            self._end(connection)
            return
        key = self._selector.get_key(connection.peer)
        if key.events != connection.interest:
            self._selector.modify(connection.peer, connection.interest, key.data)

    def _end(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        self._selector.unregister(connection.peer)
        connection.peer.close()


def _listen(path: Path) -> socket.socket:
    """A listening socket that appears at `path` complete, with its permissions."""
    draft = path.with_name(f".{path.name}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        draft.unlink(missing_ok=True)
        listener.bind(os.fspath(draft))
        draft.chmod(SOCKET_MODE)
        listener.listen(MAX_CONNECTIONS)
        draft.rename(path)
    except OSError as error:
        listener.close()
        raise OperatorError(f"{path}: no control socket: {error.strerror}", "is the folder writable?") from error
    return listener
