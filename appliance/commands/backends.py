"""`levee backends`: what servers were heard to announce."""

import json
from argparse import Namespace
from collections.abc import Sequence
from typing import cast

from appliance import client
from appliance.backends import BackendReport
from appliance.screen import duration

COLUMNS = "{:<42}{:<16}{:>6}{:>7}{:>6}{:>6}{:>5}{:>8}  {}"


def execute(arguments: Namespace) -> int:
    """Prints a table, or everything as JSON."""
    reply = client.call(client.socket_path(arguments.socket), "org.levee.Backends")
    if arguments.json:
        print(json.dumps(reply["backends"], indent=2))
    else:
        print(render(cast(Sequence[BackendReport], reply["backends"])), end="")
    return 0


def render(backends: Sequence[BackendReport]) -> str:
    """One line a server; `-` for an option that no client has asked it for yet."""
    if not backends:
        return "no server has been heard yet\n"
    lines = [COLUMNS.format("server", "service", "mss", "wscale", "sack", "times", "ecn", "window", "heard")]
    for one in backends:
        known = one["known"]
        server = f"[{one['address']}]:{one['port']}" if ":" in one["address"] else f"{one['address']}:{one['port']}"
        wscale = "none" if one["wscale"] is None else str(one["wscale"])
        lines.append(
            COLUMNS.format(
                server,
                one["service"] or "-",
                one["mss"],
                wscale if "wscale" in known else "-",
                *(
                    ("yes" if has else "no") if name in known else "-"
                    for name, has in (("sack", one["sack"]), ("timestamps", one["timestamps"]), ("ecn", one["ecn"]))
                ),
                one["window"],
                f"{duration(one['age_s'])} ago{', pinned by its service' if one['pinned'] else ''}",
            )
        )
    return "".join(f"{line}\n" for line in lines)
