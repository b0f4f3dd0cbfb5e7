"""`levee block add|del|list`: sources that are blocked, or never to be."""

import json
import time
from argparse import Namespace
from typing import cast

from appliance import client

COLUMNS = "{:<8}{:<45}{:<14}{}"


def execute(arguments: Namespace) -> int:
    """Changes or prints the lists of the running daemon."""
    socket = client.socket_path(arguments.socket)
    if arguments.action == "list":
        return _print(client.call(socket, "org.levee.BlockList"), as_json=arguments.json)
    parameters: dict[str, object] = {"prefixes": arguments.prefixes}
    if arguments.action == "add":
        parameters |= {"allow": arguments.allow, "for_s": arguments.for_s, "comment": arguments.comment}
    client.call(socket, "org.levee.BlockAdd" if arguments.action == "add" else "org.levee.BlockDelete", parameters)
    return 0


def _print(reply: dict[str, object], *, as_json: bool) -> int:
    if as_json:
        print(json.dumps(reply, indent=2))
        return 0
    entries = cast("list[dict[str, object]]", reply["entries"])
    print(COLUMNS.format("WHAT", "SOURCE", "LEFT", "COMMENT"))
    for entry in entries:
        left = _left(cast("int | None", entry["until_s"]))
        print(COLUMNS.format(entry["action"], entry["prefix"], left, entry["comment"]).rstrip())
    return 0


def _left(until_s: int | None) -> str:
    """How long it still holds, in the largest unit that says something."""
    if until_s is None:
        return "for good"
    left_s = max(0, until_s - int(time.time()))
    for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60)):
        if left_s >= 2 * seconds:
            return f"{left_s // seconds}{unit}"
    return f"{left_s}s"
