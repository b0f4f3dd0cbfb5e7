"""`levee history`: what was in force, since when, and by whom; or the text of one entry."""

import time
from argparse import Namespace
from typing import Any

from appliance import client, exits


def execute(arguments: Namespace) -> int:
    """One line for each entry, the newest last."""
    path = client.socket_path(arguments.socket)
    if arguments.number is not None:
        reply = client.call(path, "org.levee.Configuration", {"of": str(arguments.number)})
        print(reply["text"], end="")
        return exits.DONE
    found: dict[str, Any] = client.call(path, "org.levee.History")
    for entry in found["entries"]:
        print(_line(entry, found["current"], found["pending"]))
    return exits.DONE


def _line(entry: dict[str, Any], current: int, pending: dict[str, Any] | None) -> str:
    mark = "*" if entry["number"] == current else " "
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry["time_s"]))
    text = f"{mark}{entry['number']:>4}  {when}  {entry['action']:<8}  {entry['user']:<16}  {entry['comment']}"
    if pending and pending["number"] == entry["number"]:
        return f"{text.rstrip()} (on trial, {pending['left_s']} s left)"
    return text.rstrip() if entry["kept"] or entry["action"] == "aside" else f"{text.rstrip()} (taken back)"
