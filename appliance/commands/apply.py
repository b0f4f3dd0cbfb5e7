"""`levee apply`: puts a configuration in force, and says how to keep it."""

import time
from argparse import Namespace
from pathlib import Path

from appliance import client, exits
from appliance import config as configuration
from appliance.changing import for_user, told
from appliance.errors import OperatorError


def execute(arguments: Namespace) -> int:
    """Sends the text of the file, or nothing: then the daemon reads its own."""
    parameters: dict[str, object] = {
        "confirm_s": arguments.confirm,
        "comment": arguments.comment,
        "for_user": for_user(),
    }
    if arguments.file is not None:
        parameters["text"] = _text(arguments.file)
    path = client.socket_path(arguments.socket)
    reply = client.call(path, "org.levee.Apply", parameters, timeout_s=client.CHANGE_TIMEOUT_S)
    for line in told(path, reply):
        print(line)
    if arguments.confirm:
        until = time.strftime("%H:%M:%S", time.localtime(time.time() + arguments.confirm))
        print(f"it goes back in {arguments.confirm} s, at {until}, unless: levee confirm")
    return exits.DONE


def _text(path: Path) -> str:
    data = configuration.read(path)
    configuration.loads(data, str(path))  # its mistakes with the name it has here
    text = data.decode("utf-8")
    if not text:
        raise OperatorError(f"{path}: is empty", "see: levee check")
    return text
