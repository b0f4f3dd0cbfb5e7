"""`levee ports`: the network ports of this machine, who is heard on each, and which one is which."""

import json
from argparse import Namespace
from collections.abc import Sequence
from typing import cast

from appliance import client, exits
from appliance.ports import PortReport

COLUMNS = "{:<16}{:<6}{:<19}{:<10}{:<16}{}"


def execute(arguments: Namespace) -> int:
    """Prints a table, or everything as JSON; with --blink nothing but a light."""
    path = client.socket_path(arguments.socket)
    if arguments.blink is not None:
        client.call(path, "org.levee.Blink", {"port": arguments.blink})
        return exits.DONE
    found = client.call(path, "org.levee.Machine")
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        print(render(cast(Sequence[PortReport], found["ports"])), end="")
    return exits.DONE


def render(ports: Sequence[PortReport]) -> str:
    """One line a port."""
    lines = [COLUMNS.format("port", "link", "MAC", "used as", "device", "heard on it")]
    for one in ports:
        others = f" and {one['others']} more" if one["others"] else ""
        lines.append(
            COLUMNS.format(
                one["name"],
                "up" if one["up"] else "DOWN",
                one["mac"] or "-",
                one["use"] or "-",
                one["device"] or "-",
                f"{', '.join(one['heard']) or '-'}{others}",
            )
        )
    return "".join(f"{line}\n" for line in lines)
