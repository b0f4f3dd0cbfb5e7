"""The control socket: a Unix stream socket on which many clients may ask at once.

Owns the socket file and the connections. Driven by the daemon's loop: every file object is registered with the given
selector, and the selector key's data is the function to call. Nothing here ever blocks, and a client can neither make
it wait nor make it grow: one call and one reply per connection in memory, a limited number of connections, some of them
kept free for changers, and an end to those that stand still. A call that takes long is answered from the thread of
jobs.py, and its connection is not listened to until then. Must not know what a method does (varlink.Service).
"""

import logging
import os
import selectors
import socket
from collections.abc import Callable
from pathlib import Path

from appliance.errors import OperatorError
from appliance.jobs import Jobs
from appliance.roles import Access, Caller, Role
from appliance.varlink import END, MAX_CALL_BYTES, Answer, BrokenMessageError, Service

LOG = logging.getLogger(__name__)

MAX_CONNECTIONS = 64
FOR_CHANGERS = 8  # of them: readers cannot lock out who has to act
MAX_STILL_S = 60.0
READ_BYTES = 16 << 10
SOCKET_MODE = 0o660


class _Connection:
    """One client. It is either read from or written to, so that a client that does not read is not listened to."""

    def __init__(self, peer: socket.socket, caller: Caller, service: Service, now_s: float) -> None:
        self.peer = peer
        self.caller = caller
        self.moved_s = now_s
        self.waiting: Answer | None = None
        self._service = service
        self._inbox = bytearray()
        self._called = False  # the inbox holds a whole call: looked for once, however slowly a long one comes
        self._outbox = b""

    @property
    def interest(self) -> int:
        """Write while there is a reply to send or a call to answer (one a turn: clients take turns), else read.

        Nothing while a slow answer is waited for.
        """
        if self.waiting is not None:
            return 0
        busy = self._outbox or self._called
        return selectors.EVENT_WRITE if busy else selectors.EVENT_READ

    def turn(self, events: int) -> bool:
        """Does what can be done without waiting. False: the connection is over."""
        try:
            if events & selectors.EVENT_READ and not self._read():
                return False
            if not self._outbox and self._called:
                self._answer()
            if self._outbox:
                self._outbox = self._outbox[self.peer.send(self._outbox) :]
        except (BlockingIOError, InterruptedError):
            return True  # the selector says when to go on
        except (BrokenMessageError, ConnectionError) as error:
            LOG.debug("control connection ended: %s", error)
            return False
        return True

    @property
    def busy(self) -> bool:
        """A reply is on its way."""
        return self.waiting is not None or bool(self._outbox)

    def reply(self, data: bytes) -> None:
        """What was waited for has come."""
        self.waiting = None
        self._outbox = data

    def _read(self) -> bool:
        data = self.peer.recv(READ_BYTES)
        self._inbox += data
        self._called = self._called or END in data
        most = MAX_CALL_BYTES[self.caller.role]
        if len(self._inbox) > most and not self._called:
            raise BrokenMessageError(f"a call of more than {most} bytes")
        return bool(data)

    def _answer(self) -> None:
        end = self._inbox.index(END)
        call = bytes(self._inbox[:end])
        del self._inbox[: end + 1]
        self._called = END in self._inbox
        answer = self._service.answer(call, self.caller)
        if answer.slow:
            self.waiting = answer
        else:
            self._outbox = answer.give()


class ControlServer:
    """Listens at `path`; a socket file left behind by a predecessor is replaced. Raises OperatorError."""

    def __init__(
        self,
        path: Path,
        service: Service,
        access: Access,
        jobs: Jobs,
        selector: selectors.BaseSelector,
        clock_s: Callable[[], float],
    ) -> None:
        self._path = path
        self._service = service
        self._access = access
        self._jobs = jobs
        self._selector = selector
        self._clock_s = clock_s
        self._connections: set[_Connection] = set()
        self._listener = _listen(path, access.readers)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def sweep(self) -> None:
        """Ends connections that have stood still for too long; called about once a second."""
        limit_s = self._clock_s() - MAX_STILL_S
        for connection in [one for one in self._connections if one.moved_s < limit_s and one.waiting is None]:
            self._end(connection)

    @property
    def busy(self) -> bool:
        """Whether somebody is still to get a reply."""
        return any(connection.busy for connection in self._connections)

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
        caller = self._access.caller(peer)
        if caller is None or not self._has_room(caller.role):
            reason = f"{len(self._connections)} are open" if caller else "its user is in no group that may use it"
            LOG.warning("control connection refused: %s", reason)
            peer.close()
            return
        peer.setblocking(False)
        connection = _Connection(peer, caller, self._service, self._clock_s())
        self._connections.add(connection)
        self._listen_to(connection)

    def _has_room(self, role: Role) -> bool:
        most = MAX_CONNECTIONS if role is Role.CHANGER else MAX_CONNECTIONS - FOR_CHANGERS
        return len(self._connections) < most

    def _listen_to(self, connection: _Connection) -> None:
        self._selector.register(connection.peer, connection.interest, lambda events: self._turn(connection, events))

    def _turn(self, connection: _Connection, events: int) -> None:
        connection.moved_s = self._clock_s()
        if not connection.turn(events):
            self._end(connection)
            return
        if connection.waiting is not None:
            self._selector.unregister(connection.peer)
            self._jobs.submit(connection.waiting.give, lambda reply: self._go_on(connection, reply))
            return
        key = self._selector.get_key(connection.peer)
        if key.events != connection.interest:
            self._selector.modify(connection.peer, connection.interest, key.data)

    def _go_on(self, connection: _Connection, reply: bytes) -> None:
        if connection not in self._connections:
            return  # the server was closed in between
        connection.moved_s = self._clock_s()
        connection.reply(reply)
        self._listen_to(connection)

    def _end(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        if connection.waiting is None:
            self._selector.unregister(connection.peer)
        connection.peer.close()


def _listen(path: Path, group: int) -> socket.socket:
    """A listening socket that appears at `path` complete, with its group and permissions."""
    draft = path.with_name(f".{path.name}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        draft.unlink(missing_ok=True)
        listener.bind(os.fspath(draft))
        if group != draft.stat().st_gid:
            _give_to(draft, group)
        draft.chmod(SOCKET_MODE)
        listener.listen(MAX_CONNECTIONS)
        draft.rename(path)
    except OperatorError:
        listener.close()
        raise
    except OSError as error:
        listener.close()
        raise OperatorError(f"{path}: no control socket: {error.strerror}", "is the folder writable?") from error
    return listener


def _give_to(path: Path, group: int) -> None:
    try:
        os.chown(path, -1, group)
    except PermissionError as error:
        hint = "make levee's own user a member of that group (SupplementaryGroups= in its unit)"
        raise OperatorError(f"control.readers: {path} cannot be given to group {group}", hint) from error
