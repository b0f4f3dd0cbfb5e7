"""One call to the control socket of a running daemon.

Owns the client's side of the connection. Called by the command line, later by the terminal interface. Knows of the
daemon only what comes over the socket.
"""

import os
import socket
from pathlib import Path

from appliance.errors import OperatorError
from appliance.varlink import END, BrokenMessageError, decode, encode

DEFAULT_SOCKET = Path("/run/levee/control.sock")
SOCKET_VARIABLE = "LEVEE_SOCKET"
TIMEOUT_S = 10.0
MAX_REPLY_BYTES = 64 << 20


def socket_path(given: Path | None) -> Path:
    """Where the control socket is: as given, else as LEVEE_SOCKET says, else at its usual place."""
    return given or Path(os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET)


def call(path: Path, method: str, parameters: dict[str, object] | None = None) -> dict[str, object]:
    """The parameters of the reply. Raises OperatorError when there is no daemon, or when it replies with an error."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.connect(os.fspath(path))
            connection.sendall(encode({"method": method, "parameters": parameters or {}}))
            reply = decode(_receive(connection))
    except (FileNotFoundError, ConnectionRefusedError) as error:
        hint = f"start it with: levee run; or name its socket with --socket or {SOCKET_VARIABLE}"
        raise OperatorError(f"{path}: no levee is running here", hint) from error
    except PermissionError as error:
        raise OperatorError(
            f"{path}: you may not use this socket", "ask as root, or as a member of its group"
        ) from error
    except (OSError, BrokenMessageError) as error:
        raise OperatorError(f"{path}: {error}", "is this the control socket of levee?") from error
    found = reply.get("parameters")
    result = found if isinstance(found, dict) else {}
    if "error" in reply:
        raise OperatorError(f"{path}: {method}: {reply['error']} {result}", "is the daemon of another version?")
    return result


def _receive(connection: socket.socket) -> bytes:
    data = bytearray()
    while not data.endswith(END):
        part = connection.recv(1 << 16)
        if not part or len(data) > MAX_REPLY_BYTES:
            raise BrokenMessageError("the connection ended before the reply did")
        data += part
    return bytes(data[:-1])
