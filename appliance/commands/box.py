"""`levee box`: the bootable appliance itself, beside its daemon: address, SSH keys, time, name, restore, power.

Owns what is printed. The box does it (requests.py); on any other machine nothing is changed.
"""

import base64
import sys
from argparse import Namespace
from pathlib import Path

from appliance import exits, requests
from appliance.errors import OperatorError

MAX_BYTES = 64 << 20  # of a file that is handed over: a backup


def execute(arguments: Namespace) -> int:
    """One request. Raises OperatorError."""
    asked = requests.Requests()
    asked.must_be_here()
    action = arguments.action
    if action == "show":
        print(asked.settings(), end="")
        print(f"# {len(asked.ssh_keys())} SSH keys: levee box keys")
        left_s = asked.trial_left_s()
        if left_s is not None:
            print(f"# a change is on trial for another {left_s} s: levee box keep, or levee box undo")
    elif action == "keys" and arguments.file is None:
        print("".join(f"{one}\n" for one in asked.ssh_keys()), end="")
    elif action == "restart":
        asked.restart()
    elif action == "restore":
        data = base64.b64encode(_read(arguments.file)).decode()
        print(asked.ask(action, data, requests.SLOW_ANSWER_S))
    else:
        text = _read(arguments.file).decode("utf-8", "replace") if "file" in arguments else ""
        print(asked.ask(action, text))
    return exits.DONE


def _read(path: Path) -> bytes:
    try:
        with sys.stdin.buffer if str(path) == "-" else path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise OperatorError(f"{path}: cannot be read: {error.strerror}", "name a file that you may read") from error
    if len(data) > MAX_BYTES:
        raise OperatorError(f"{path}: is larger than {MAX_BYTES >> 20} MiB", "the right file")
    return data
