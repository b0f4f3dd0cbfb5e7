"""`levee diff`: what lies between two configurations, line by line, and what the step between them takes."""

import difflib
from argparse import Namespace
from pathlib import Path

from appliance import client, running
from appliance import config as configuration
from appliance.errors import ConfigError

DIFFERENT = 1  # as diff(1)
SAME = 0


def execute(arguments: Namespace) -> int:
    """Exit code as diff(1): 0 the same, 1 different."""
    socket = client.socket_path(arguments.socket)
    old = arguments.old or "running"
    new = arguments.new or ("file" if old == "running" else "running")
    before, after = _text(socket, old), _text(socket, new)
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), _name(old), _name(new), lineterm="")
    for line in lines:
        print(line)
    if before == after:
        return SAME
    print(_step(before, after, new))
    return DIFFERENT


def _text(socket: Path, which: str) -> str:
    return str(client.call(socket, "org.levee.Configuration", {"of": which})["text"])


def _name(which: str) -> str:
    return f"entry {which}" if which.isdecimal() else which


def _step(before: str, after: str, new: str) -> str:
    try:
        one = configuration.loads(before.encode(), "old")
        other = configuration.loads(after.encode(), new)
    except ConfigError as error:
        return f"# cannot be applied:\n{error.message}"
    fixed = running.fixed_differences(one, other)
    if fixed:
        return (
            f"# starts the parts anew, for {', '.join(fixed)}; open connections go on where the engine stays the same"
        )
    return "# disturbs no open connection" if one != other else "# changes nothing but text"
