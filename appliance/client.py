"""One call to the control socket of a running daemon.

Owns the client's side of the connection. Called by the command line, later by the terminal interface. Knows of the
daemon only what comes over the socket.
"""

import os
import socket
from pathlib import Path

from appliance.errors import ConfigError, OperatorError, Problem
from appliance.varlink import (
    CONFIGURATION_REFUSED,
    END,
    PERMISSION_DENIED,
    REFUSED,
    BrokenMessageError,
    decode,
    encode,
)

DEFAULT_SOCKET = Path("/run/levee/control.sock")
SOCKET_VARIABLE = "LEVEE_SOCKET"
TIMEOUT_S = 10.0
CHANGE_TIMEOUT_S = 150.0  # longer than nft may take (steering.py), and it is asked twice
MAX_REPLY_BYTES = 64 << 20


def socket_path(given: Path | None) -> Path:
    """Where the control socket is: as given, else as LEVEE_SOCKET says, else at its usual place."""
    return given or Path(os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET)


def call(
    path: Path, method: str, parameters: dict[str, object] | None = None, *, timeout_s: float = TIMEOUT_S
) -> dict[str, object]:
    """The parameters of the reply. Raises OperatorError when there is no daemon, or when it replies with an error."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
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
        raise _refusal(path, method, str(reply["error"]), result)
    return result


def _refusal(path: Path, method: str, name: str, parameters: dict[str, object]) -> OperatorError:
    """What the daemon said, as its own error here."""
    interface, _, short = name.rpartition(".")
    if interface == "org.levee" and short == CONFIGURATION_REFUSED:
        problems = parameters.get("problems")
        found = [Problem(**one) for one in problems] if isinstance(problems, list) else []
        return ConfigError(str(parameters.get("file")), found)
    if interface == "org.levee" and short == REFUSED:
        return OperatorError(str(parameters.get("message")), str(parameters.get("hint")))
    if interface == "org.levee" and short == PERMISSION_DENIED:
        hint = "ask as root, or as a member of the group that control.changers names"
        return OperatorError(f"{method}: you may look, but not change anything", hint)
    return OperatorError(f"{path}: {method}: {name} {parameters}", "is the daemon of another version?")


def _receive(connection: socket.socket) -> bytes:
    data = bytearray()
    while not data.endswith(END):
        part = connection.recv(1 << 16)
        if not part or len(data) > MAX_REPLY_BYTES:
            raise BrokenMessageError("the connection ended before the reply did")
        data += part
    return bytes(data[:-1])
